//! Signals, and a stop that always comes to its end.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::receiver::Receiver;
use crate::support::{FakeReport, Project, wait};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

#[test]
fn a_second_term_does_not_wait_for_an_analysis() {
    let project = Project::new();
    project.set_grace("1h");
    project.script_file("default", "hang", "");
    let daemon = project.start();
    project.save(RUN, 20);
    wait("the analysis", || project.starts().contains_key("checkpoint-20"));
    daemon.ask_to_stop();
    let asked = Instant::now();
    daemon.stop();
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    project.assert_nothing_is_left();
}

#[test]
fn usr1_logs_a_summary() {
    let project = Project::new();
    let daemon = project.start();
    daemon.wait_until("the first scan", |status| !status["watch"]["last_reconcile"].is_null());
    daemon.signal(Signal::USR1);
    daemon.wait_until("the summary", |_| daemon.log_text().contains("watching 0 runs"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_wrong_configuration_is_reported_and_the_old_one_stays_in_force() {
    let receiver = Receiver::start(&[]);
    let project = Project::new();
    project.script("default", FakeReport::with_rank(3.0));
    let right = format!("[[alerts]]\nurl = \"{}\"\n", receiver.url("x"));
    project.append_configuration(&right);
    let daemon = project.start();
    project.append_configuration("[[alerts]]\nurl = \"nowhere\"\n");
    daemon.signal(Signal::HUP);
    daemon.wait_until("the complaint", |_| {
        daemon.log_text().contains("the old configuration stays in force")
    });
    assert!(!daemon.log_text().contains("nowhere"), "{}", daemon.log_text());
    project.save(RUN, 20);
    daemon.wait_until("the alert of the old one", |_| receiver.taken().len() == 1);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn receivers_come_and_go_with_the_configuration() {
    let receivers = [Receiver::start(&[]), Receiver::start(&[])];
    let project = Project::new();
    project.script("default", FakeReport::with_rank(3.0));
    let without = std::fs::read_to_string(project.path("runscribe.toml")).unwrap();
    let daemon = project.start();
    let listed = |count: usize| {
        daemon.signal(Signal::HUP);
        daemon.wait_until("the receivers", |status| {
            status["alerts"].as_array().unwrap().len() == count
        });
    };
    let alerts: Vec<String> =
        receivers.iter().map(|one| format!("[[alerts]]\nurl = \"{}\"\n", one.url("x"))).collect();
    project.append_configuration(&alerts.concat());
    listed(2);
    project.configure(&(without.clone() + &alerts[1]));
    listed(1);
    project.save(RUN, 20);
    daemon.wait_until("the alert", |_| receivers[1].taken().len() == 1);
    assert_eq!(receivers[0].requests().len(), 0);
    project.configure(&without);
    listed(0);
    assert_eq!(daemon.stop(), Some(0));
}
