//! `tail` over the life and death of the daemon.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Project, command, wait};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

/// A `tail` that writes into files; killed when dropped.
struct Tail {
    child: Child,
    printed: PathBuf,
    said: PathBuf,
}

impl Tail {
    fn start(project: &Project, name: &str, arguments: &[&str]) -> Self {
        let (printed, said) = (project.path(name), project.path(&format!("{name}.err")));
        let mut tail = command(&["tail"]);
        tail.args(arguments).arg("--root").arg(project.root());
        tail.stdout(fs::File::create(&printed).unwrap());
        tail.stderr(fs::File::create(&said).unwrap());
        Self { child: tail.spawn().unwrap(), printed, said }
    }

    fn printed(&self) -> String {
        fs::read_to_string(&self.printed).unwrap()
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    fn wait_for(&self, text: &str) {
        let shown = || format!("`{text}` in:\n{}\n{}", self.printed(), self.said());
        wait(&shown(), || self.printed().contains(text) || self.said().contains(text));
    }

    /// Returns the numbers of the events that were printed as JSON.
    fn numbers(&self) -> Vec<u64> {
        let printed = self.printed();
        let whole = printed.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let messages = whole.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        messages
            .filter(|message| message["type"] == "event")
            .map(|message| message["seq"].as_u64().unwrap())
            .collect()
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Interrupts it as Ctrl-C does, and returns its exit code.
    fn interrupt(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn no_event_is_lost_or_doubled_while_daemons_come_and_go() {
    let project = Project::new();
    let mut daemon = project.start();
    let all = Tail::start(&project, "all.jsonl", &["--json", "--since", "0"]);
    let people = Tail::start(&project, "people.txt", &["--since", "0"]);
    for life in 1..=4 {
        project.save(RUN, life * 20);
        daemon.wait_for_observations(life);
        if life % 2 == 0 {
            daemon.kill();
        } else {
            assert_eq!(daemon.stop(), Some(0));
        }
        // What happens while nobody watches is told later.
        project.save(RUN, life * 20 + 10);
        daemon = project.start();
        // Who waits for a daemon looks ever more rarely: the next life must not be over by then.
        wait(&format!("return {life}"), || {
            people.printed().matches("the daemon is back").count() as u64 == life
        });
        daemon.wait_for_observations(life);
    }
    daemon.wait_for_observations(8);
    let last = daemon.snapshot()["daemon"]["seq"].as_u64().unwrap();
    wait(&format!("event {last}"), || all.numbers().last() >= Some(&last));
    let numbers = all.numbers();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    wait("the same for people", || people.printed().matches("checkpoint_complete").count() >= 8);
    let printed = people.printed();
    let count = |text: &str| printed.lines().filter(|line| line.contains(text)).count();
    assert!(printed.matches("waiting for the daemon to come back").count() >= 4, "{printed}");
    assert_eq!(count("the daemon is back"), 4, "{printed}");
    assert_eq!(count("checkpoint_complete"), 8, "{printed}");
    assert!(!all.printed().contains("come back") && all.said().contains("come back"));
    assert_eq!((all.interrupt(), people.interrupt()), (Some(0), Some(0)));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn another_journal_is_noticed_and_followed_from_its_first_event() {
    let project = Project::new();
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    let mut tail = Tail::start(&project, "tail.txt", &["--since", "0"]);
    tail.wait_for("observation_written");
    daemon.kill();
    fs::remove_dir_all(project.path("Cache/runscribe")).unwrap();
    let daemon = project.start();
    tail.wait_for("another journal");
    project.save(RUN, 40);
    tail.wait_for("checkpoint-40");
    let printed = tail.printed();
    let (_, after) = printed.split_once("another journal").unwrap();
    assert!(after.contains("daemon_started") && after.contains("run_seen"), "{printed}");
    assert!(tail.is_alive());
    assert_eq!(tail.interrupt(), Some(0));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn one_run_alone_is_followed_over_a_restart() {
    let other = "tsdae_posonly_H64L2C128_20261123_070000";
    let project = Project::new();
    let daemon = project.start();
    let tail = Tail::start(&project, "tail.jsonl", &["--json", "--since", "0", "--run", RUN]);
    project.save(other, 20);
    project.save(RUN, 20);
    daemon.wait_for_observations(2);
    daemon.kill();
    let daemon = project.start();
    project.save(other, 40);
    project.save(RUN, 40);
    daemon.wait_for_observations(4);
    let has_second = || {
        let printed = tail.printed();
        printed.lines().any(|line| line.contains("observation_written") && line.contains("-40"))
    };
    wait("the second observation", has_second);
    let printed = tail.printed();
    let events: Vec<&str> =
        printed.lines().filter(|line| line.contains("\"type\":\"event\"")).collect();
    assert!(events.iter().all(|line| line.contains(RUN) && !line.contains(other)), "{events:#?}");
    let complete = events.iter().filter(|line| line.contains("checkpoint_complete")).count();
    assert_eq!(complete, 2, "{events:#?}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let project = Project::new();
    let daemon = project.start();
    let mut tail = command(&["tail", "--since", "0", "--root"]);
    tail.arg(project.root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tail = tail.spawn().unwrap();
    let mut first = [0; 10];
    tail.stdout.take().unwrap().read_exact(&mut first).unwrap();
    // Nobody reads any more; the next event, or a look when the daemon goes, tells.
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(tail.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    tail.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}
