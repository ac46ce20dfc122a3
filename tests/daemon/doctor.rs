//! The preflight, and the self-test of the analysis that `status` shows.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Project, code};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";
const SCRIPT: &str = "analysis/run_concept_analysis.py";

fn examine(project: &Project) -> (i32, Value) {
    let output = project.run(&["doctor", "--json"]);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let value = serde_json::from_str(&text);
    let said = String::from_utf8_lossy(&output.stderr);
    (code(&output), value.unwrap_or_else(|error| panic!("{error}: {text}{said}")))
}

/// Returns state and text of one check.
fn check(checks: &Value, name: &str) -> (String, String) {
    let all = checks["checks"].as_array().unwrap();
    let one = all.iter().find(|check| check["name"] == name);
    let one = one.unwrap_or_else(|| panic!("no {name} in {checks:#}"));
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    (text("state"), format!("{} -> {}", text("found"), text("advice")))
}

#[track_caller]
fn expect(checks: &Value, name: &str, state: &str, part: &str) {
    let (is, text) = check(checks, name);
    assert_eq!(is, state, "{name}: {text}");
    assert!(text.contains(part), "{name}: no `{part}` in {text}");
}

/// Gives the project its own script and this as its Python.
fn with_script(project: &Project, python: &str, more: &str) {
    fs::create_dir_all(project.path("analysis")).unwrap();
    fs::write(project.path(SCRIPT), "").unwrap();
    let path = project.path("python");
    fs::write(&path, format!("#!/bin/sh\n{python}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    project.configure(&format!("[analysis]\npython = \"{}\"\n{more}", path.display()));
}

#[test]
fn a_sound_project_is_fine_with_and_without_a_daemon_and_nothing_is_written() {
    let project = Project::new();
    project.save(RUN, 20);
    let (exit, checks) = examine(&project);
    assert_eq!((exit, checks["problems"].as_u64()), (0, Some(0)), "{checks:#}");
    expect(&checks, "training", "fine", "1 runs, 1 complete checkpoints");
    expect(&checks, "analysis", "fine", "fake_analysis");
    expect(&checks, "journal", "fine", "none yet");
    expect(&checks, "log", "fine", "it is made");
    expect(&checks, "socket", "fine", "no daemon runs");
    for name in ["root", "state", "gpu", "inotify", "git", "reports"] {
        assert_ne!(check(&checks, name).0, "problem", "{checks:#}");
    }
    assert!(!project.path("Cache/runscribe").exists());
    let daemon = project.start();
    daemon.wait_for_observations(1);
    let text = project.run(&["doctor"]);
    let shown = String::from_utf8(text.stdout.clone()).unwrap();
    assert_eq!(code(&text), 0, "{shown}");
    assert!(shown.contains(&format!("a daemon runs, process {}", daemon.pid())), "{shown}");
    assert!(shown.contains("1 runs, 1 observations"), "{shown}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn an_analysis_that_cannot_run_is_a_problem_here_and_in_the_status() {
    let missing = "echo \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1";
    let without_data = "dataset = \"/nonexistent/minipile\"\n";
    for (python, more, part) in [
        (missing, "", "No module named 'torch'"),
        ("exit 0", without_data, "the data set `/nonexistent/minipile` is not there"),
    ] {
        let project = Project::new();
        with_script(&project, python, more);
        let (exit, checks) = examine(&project);
        assert_eq!((exit, checks["problems"].as_u64()), (1, Some(1)), "{checks:#}");
        expect(&checks, "analysis", "problem", part);
        let daemon = project.start();
        project.save(RUN, 20);
        let status = daemon.wait_until("the reason", |status| {
            status["analysis"]["state"] == "not_ready"
                && status["queue"].as_array().unwrap().len() == 1
        });
        let problem = status["analysis"]["problem"].as_str().unwrap();
        assert!(problem.contains(part), "{problem}");
        assert!(status["queue"][0]["reason"].as_str().unwrap().contains(part), "{status:#}");
        assert_eq!(daemon.stop(), Some(0));
    }
}

#[test]
fn a_sound_script_without_a_data_set_is_ready_and_warned_about() {
    let project = Project::new();
    with_script(&project, "exit 0", "");
    let (exit, checks) = examine(&project);
    assert_eq!(exit, 0, "{checks:#}");
    expect(&checks, "analysis", "fine", SCRIPT);
    expect(&checks, "dataset", "warning", "set `analysis.dataset`");
    fs::remove_file(project.path(SCRIPT)).unwrap();
    let (_, checks) = examine(&project);
    expect(&checks, "analysis", "warning", "weights only");
}

#[test]
fn what_is_broken_is_named_and_left_as_it_is() {
    let project = Project::new();
    project.save(RUN, 20);
    let daemon = project.start();
    daemon.wait_for_observations(1);
    assert_eq!(daemon.stop(), Some(0));
    let conflict = "<<<<<<< HEAD\na\n=======\nb\n>>>>>>> other\n";
    fs::write(project.log_path(), conflict).unwrap();
    let journal = project.path("Cache/runscribe/journal.db");
    fs::write(&journal, "no database, and long enough to be looked at ".repeat(40)).unwrap();
    // What is left of a write-ahead log would bring the journal's beginning back.
    for rest in ["journal.db-wal", "journal.db-shm"] {
        drop(fs::remove_file(project.path("Cache/runscribe").join(rest)));
    }
    let before = fs::read(&journal).unwrap();
    let (exit, checks) = examine(&project);
    assert_eq!(exit, 1, "{checks:#}");
    expect(&checks, "log", "problem", "merge conflict marker");
    expect(&checks, "journal", "problem", "cannot be trusted");
    assert_eq!(checks["problems"], 2, "{checks:#}");
    assert_eq!(fs::read(&journal).unwrap(), before);
    assert_eq!(project.log(), conflict);
    let text = project.run(&["doctor"]);
    let shown = String::from_utf8(text.stdout).unwrap();
    assert!(shown.contains("2 problems stop work"), "{shown}");
}

#[test]
fn git_in_the_middle_of_a_merge_is_said() {
    let project = Project::new();
    fs::create_dir(project.path(".git")).unwrap();
    fs::write(project.path(".git/MERGE_HEAD"), "").unwrap();
    let (exit, checks) = examine(&project);
    assert_eq!(exit, 0, "{checks:#}");
    expect(&checks, "git", "warning", "a merge is unfinished");
}

#[test]
fn root_does_not_run_the_code_of_another_users_project() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a project to another user");
        return;
    }
    let project = Project::new();
    with_script(&project, "exit 0", "");
    let mark = project.path("ran");
    fs::write(project.path("python"), format!("#!/bin/sh\ntouch {}\n", mark.display())).unwrap();
    std::os::unix::fs::chown(project.root(), Some(65534), None).unwrap();
    let (exit, checks) = examine(&project);
    assert_eq!(exit, 1, "{checks:#}");
    expect(&checks, "root", "problem", "belongs to user 65534, and this is root");
    expect(&checks, "analysis", "problem", "not tested");
    assert!(!Path::new(&mark).exists(), "the other user's program was run");
}
