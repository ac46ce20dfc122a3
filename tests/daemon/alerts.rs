//! Alerts reach their receivers once, whatever those do and whenever the daemon dies.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::receiver::{Answer, Receiver, TAKEN};
use crate::support::{Daemon, FakeReport, Project, err, out, wait};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

/// A project whose checkpoints fail, with a receiver at each URL.
fn failing_project(receivers: &[(String, &str)]) -> Project {
    let project = Project::new();
    project.script("default", FakeReport::with_rank(3.0));
    let mut text = String::new();
    for (url, format) in receivers {
        write!(text, "[[alerts]]\nurl = \"{url}\"\nformat = \"{format}\"\n").unwrap();
    }
    project.append_configuration(&text);
    project
}

fn wait_for(daemon: &Daemon, what: &str, receiver: &Receiver, holds: impl Fn(&Receiver) -> bool) {
    daemon.wait_until(what, |_| holds(receiver));
}

#[test]
fn a_verdict_and_its_recovery_arrive_once_in_every_form() {
    let forms = ["json", "slack", "discord", "ntfy"];
    let receivers = forms.map(|_| Receiver::start(&[]));
    let urls: Vec<(String, &str)> =
        receivers.iter().zip(forms).map(|(one, form)| (one.url("secret-path"), form)).collect();
    let project = failing_project(&urls);
    let daemon = project.start();
    project.save(RUN, 20);
    project.save(RUN, 40);
    daemon.wait_for_observations(2);
    project.script("default", FakeReport::healthy());
    project.save(RUN, 60);
    daemon.wait_for_observations(3);
    for receiver in &receivers {
        wait_for(&daemon, "both messages", receiver, |one| one.taken().len() == 2);
    }
    let status = daemon.wait_until("nothing that waits", |status| {
        status["alerts"].as_array().unwrap().iter().all(|alert| alert["waiting"] == 0)
    });
    assert!(status["alerts"].as_array().unwrap().iter().all(|alert| alert["problem"].is_null()));
    assert_eq!(daemon.stop(), Some(0));
    let [json, slack, discord, ntfy] = receivers.map(|receiver| receiver.requests());
    let (failed, passed) = (json[0].json(), json[1].json());
    assert_eq!((failed["kind"].as_str(), failed["state"].as_str()), (Some("fail"), Some("raised")));
    assert_eq!(failed["run"], RUN);
    assert_eq!(failed["facts"]["rank"], 3.0);
    assert_eq!(passed["state"], "recovered");
    assert_ne!(failed["id"], passed["id"]);
    let id = failed["id"].as_str().unwrap();
    for requests in [&json, &slack, &discord, &ntfy] {
        assert_eq!(requests.len(), 2);
        assert!(requests[0].head.to_lowercase().contains(&format!("runscribe-alert-id: {id}")));
    }
    assert!(slack[0].json()["text"].as_str().unwrap().contains("&lt; 5"), "{:?}", slack[0]);
    assert_eq!(discord[0].json()["allowed_mentions"]["parse"], serde_json::json!([]));
    assert!(ntfy[0].head.to_lowercase().contains("priority: high"), "{:?}", ntfy[0]);
}

#[test]
fn receivers_that_misbehave_get_each_message_once_and_hold_up_no_other() {
    let elsewhere = Receiver::start(&[]);
    let location: &'static str =
        Box::leak(format!("Location: {}\r\n", elsewhere.url("stolen")).into_boxed_str());
    let repaired = [
        Receiver::start(&[Answer::Close]),
        Receiver::start(&[Answer::Garbage]),
        Receiver::start(&[Answer::Status(503, "")]),
        Receiver::start(&[Answer::Status(429, "Retry-After: 7\r\n")]),
        Receiver::start(&[Answer::Hang]),
    ];
    let refusing = [
        Receiver::start(&[Answer::Status(307, location)]),
        Receiver::start(&[Answer::Status(404, "")]),
    ];
    let good = Receiver::start(&[]);
    let urls: Vec<(String, &str)> = repaired
        .iter()
        .chain(&refusing)
        .chain([&good])
        .map(|receiver| (receiver.url("secret"), "json"))
        .collect();
    let project = failing_project(&urls);
    let daemon = project.start();
    project.save(RUN, 20);
    wait_for(&daemon, "the one that works", &good, |one| one.taken().len() == 1);
    let hanging = &repaired[4];
    assert_eq!(hanging.taken().len(), 0, "it was waited for");
    for receiver in &repaired {
        wait_for(&daemon, "the second attempt", receiver, |one| one.taken().len() == 1);
        let ids: Vec<_> =
            receiver.requests().iter().map(|request| request.json()["id"].clone()).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0], ids[1]);
    }
    let status = daemon.wait_until("nothing that waits", |status| {
        status["alerts"].as_array().unwrap().iter().all(|alert| alert["waiting"] == 0)
    });
    let told = |position: usize| (status["alerts"][position].clone(), &status["problems"]);
    let (redirected, problems) = told(5);
    assert_eq!(redirected["lost"], 1);
    assert!(redirected["problem"].as_str().unwrap().contains("redirects"), "{redirected}");
    assert!(problems.to_string().contains("answered 404"), "{problems}");
    assert_eq!(elsewhere.requests().len(), 0);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn what_waits_outlives_the_daemon() {
    // A port that nobody listens on.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let project = failing_project(&[(format!("http://{address}/secret"), "json")]);
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_until("an attempt", |status| status["alerts"][0]["problem"].is_string());
    daemon.kill();
    let daemon = project.start();
    daemon.wait_until("another attempt", |status| status["alerts"][0]["problem"].is_string());
    assert_eq!(daemon.stop(), Some(0));
    let receiver = Receiver::listen(TcpListener::bind(address).unwrap(), &[]);
    let daemon = project.start();
    wait_for(&daemon, "the message", &receiver, |one| one.taken().len() == 1);
    daemon.wait_until("the mark", |status| status["alerts"][0]["waiting"] == 0);
    daemon.kill();
    let daemon = project.start();
    project.save(RUN, 40);
    daemon.wait_for_observations(2);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn one_pass_delivers_what_it_can() {
    let receiver = Receiver::start(&[TAKEN]);
    let project = failing_project(&[(receiver.url("x"), "json")]);
    project.save(RUN, 20);
    let once = project.run(&["watch", "--once"]);
    assert_eq!(once.status.code(), Some(0), "{}", err(&once));
    assert_eq!(receiver.taken().len(), 1);
}

#[test]
fn an_address_is_shown_nowhere() {
    let receiver = Receiver::start(&[Answer::Status(404, ""), Answer::Close]);
    let secret = "s3cr3t-path";
    let url = receiver.url(secret).replace("http://", "http://user:s3cr3t-word@");
    let project = failing_project(&[(url, "json")]);
    let daemon = project.start_with_arguments(&["-vv"]);
    project.save(RUN, 20);
    daemon.wait_until("the refusal", |status| status["alerts"][0]["lost"] == 1);
    project.script("default", FakeReport::healthy());
    project.save(RUN, 40);
    daemon.wait_until("the next failure", |status| status["alerts"][0]["waiting"] == 1);
    wait_for(&daemon, "the second attempt", &receiver, |one| one.taken().len() == 1);
    let mut shown = daemon.log_text();
    for arguments in
        [&["config"][..], &["status", "--json"], &["status"], &["doctor"], &["tail", "--help"]]
    {
        let output = project.run(arguments);
        shown += &(out(&output) + &err(&output));
    }
    assert_eq!(daemon.stop(), Some(0));
    for entry in fs::read_dir(project.path("Cache/runscribe")).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap_or_default();
        shown += &String::from_utf8_lossy(&bytes);
    }
    assert!(shown.contains("http://127.0.0.1:"), "the host is shown");
    let at = shown.find("s3cr3t");
    let around = at.map(|at| shown.get(at.saturating_sub(300)..at + 60));
    assert_eq!(around, None);
}

#[test]
fn a_proxy_is_asked_where_the_environment_names_one() {
    let proxy = Receiver::start(&[]);
    let project = failing_project(&[("http://hooks.invalid/x".to_owned(), "json")]);
    let address = proxy.url("");
    let daemon = project.start_with(&[("HTTP_PROXY", Path::new(&address))]);
    project.save(RUN, 20);
    wait_for(&daemon, "the proxy", &proxy, |one| one.taken().len() == 1);
    assert!(proxy.requests()[0].head.starts_with("POST http://hooks.invalid/x"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn hanging_analyses_and_receivers_do_not_hold_up_the_stop() {
    let receiver = Receiver::start(&[Answer::Hang]);
    let project = failing_project(&[(receiver.url("x"), "json")]);
    project.script_file("checkpoint-40", "hang", "");
    let daemon = project.start();
    project.save(RUN, 20);
    wait("the message", || receiver.requests().len() == 1);
    project.save(RUN, 40);
    wait("the analysis", || project.starts().contains_key("checkpoint-40"));
    let asked = Instant::now();
    assert_eq!(daemon.stop(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    project.assert_nothing_is_left();
}
