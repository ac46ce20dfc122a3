//! What the daemon says on stderr, in each form, whatever the text and whatever becomes of stderr.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Project, code, err};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";
/// A folder's name may hold anything but `/` and NUL.
const FORGING: &str = "x\n<3>forged\n{\"level\":\"ERROR\"}\u{1b}[31m_20261123_063802";

/// Runs the daemon on a run with a hostile name and a failing analysis, and returns its log.
fn log_of(arguments: &[&str]) -> String {
    let project = Project::new();
    project.script_file("default", "exit", "1");
    project.set_timeout("10s", 0);
    let daemon = project.start_with_arguments(arguments);
    project.save(FORGING, 20);
    daemon.wait_until("the failure", |status| status["runs"][0]["checkpoints"]["seen"] == 1);
    daemon.wait_until("its warning", |_| daemon.log_text().contains("an analysis failed"));
    let log = daemon.log_text();
    assert_eq!(daemon.stop(), Some(0));
    log
}

#[test]
fn json_logs_are_one_object_a_line() {
    let log = log_of(&["--log-format", "json"]);
    let mut messages = Vec::new();
    for line in log.lines() {
        let object: Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["time", "level", "target", "message", "fields"], "{line}");
        messages.push(object);
    }
    let failed =
        messages.iter().find(|one| one["message"] == "an analysis failed").expect("the warning");
    assert_eq!(failed["level"], "WARN");
    assert_eq!(failed["fields"]["run"], FORGING);
}

#[test]
fn lines_for_the_journal_have_a_priority_each_and_no_time() {
    let log = log_of(&["--log-format", "journald", "-v"]);
    let first_digits: Vec<&str> = log.lines().filter_map(|line| line.get(..3)).collect();
    assert_eq!(first_digits.len(), log.lines().count());
    assert!(
        first_digits.iter().all(|prefix| ["<3>", "<4>", "<6>", "<7>"].contains(prefix)),
        "{log}"
    );
    assert!(log.contains("<4>an analysis failed"), "{log}");
    assert!(!first_digits.contains(&"<3>"), "nothing is forged, and nothing went wrong: {log}");
}

#[test]
fn text_has_a_time_and_a_level_a_line() {
    for line in log_of(&[]).lines() {
        let is_head = line.starts_with("20") && line.get(23..24) == Some("Z");
        assert!(is_head || line.starts_with("    "), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}

#[test]
fn the_journal_is_recognized_by_what_stderr_is_connected_to() {
    let project = Project::new();
    let log = project.path("daemon.log");
    fs::write(&log, "").unwrap();
    let metadata = fs::metadata(&log).unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let daemon = project.start_with(&[("JOURNAL_STREAM", Path::new(&stream))]);
    assert!(daemon.log_text().starts_with("<6>watching "), "{}", daemon.log_text());
    assert_eq!(daemon.stop(), Some(0));
    fs::write(&log, "").unwrap();
    // Inherited from a service, and redirected into a file.
    let daemon = project.start_with(&[("JOURNAL_STREAM", Path::new("8:1"))]);
    assert!(daemon.log_text().starts_with("20"), "{}", daemon.log_text());
    assert_eq!(daemon.stop(), Some(0));
    let by_environment = [("RUNSCRIBE_LOG_FORMAT", Path::new("json"))];
    fs::write(&log, "").unwrap();
    let daemon = project.start_with(&by_environment);
    assert!(daemon.log_text().starts_with("{\"time\":"), "{}", daemon.log_text());
    assert_eq!(daemon.stop(), Some(0));
    let wrong = project.run(&["status", "--log-format", "xml"]);
    assert_eq!(code(&wrong), 2);
    assert!(err(&wrong).contains("journald"), "{}", err(&wrong));
}

#[test]
fn a_stderr_that_nobody_reads_any_more_changes_nothing() {
    let project = Project::new();
    let daemon = project.start_without_a_reader();
    for step in [20, 40] {
        project.save(RUN, step);
        daemon.signal(rustix::process::Signal::USR1);
        daemon.signal(rustix::process::Signal::HUP);
        daemon.wait_for_observations(step / 20);
    }
    let reloads = daemon.events().iter().filter(|one| one["kind"] == "config_reloaded").count();
    assert!(reloads >= 1, "{reloads}");
    assert_eq!(daemon.stop(), Some(0));
}
