//! The queue as a person steers it, through the real program and its socket.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use serde_json::Value;

use crate::support::{Daemon, FakeReport, Project, code, command, err, out};

const NOBODY: u32 = 65534;
const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

/// Runs `queue` and expects it to be done.
fn queue(project: &Project, arguments: &[&str]) -> String {
    let output = project.run(&[&["queue"], arguments].concat());
    assert_eq!(code(&output), 0, "{arguments:?}: {}", err(&output));
    out(&output)
}

/// Runs a command that must be refused, and returns why.
fn refused(project: &Project, arguments: &[&str]) -> String {
    let output = project.run(arguments);
    assert_eq!(code(&output), 1, "{arguments:?}: {}{}", out(&output), err(&output));
    err(&output)
}

fn is_running(status: &Value) -> bool {
    !status["running"].as_array().unwrap().is_empty()
}

fn waiting(daemon: &Daemon, count: usize) -> Value {
    daemon.wait_until(&format!("{count} waiting"), |status| {
        status["queue"].as_array().unwrap().len() == count
    })
}

fn path_of(project: &Project, step: u64) -> String {
    let path = project.path("Cache/Training").join(RUN).join(format!("checkpoint-{step}"));
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_paused_queue_stays_paused_through_kill_and_restart_and_goes_on_when_resumed() {
    let project = Project::new();
    project.script("checkpoint-20", FakeReport::healthy());
    project.script_file("checkpoint-20", "slow", "1");
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_until("a running analysis", is_running);
    let said = queue(&project, &["pause"]);
    assert!(said.contains("1 running analysis comes to its end"), "{said}");
    project.save(RUN, 40);
    // What runs comes to its end, and the next one waits.
    daemon.wait_for_observations(1);
    let status = waiting(&daemon, 1);
    let reason = status["queue"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("paused since"), "{reason}");
    assert!(status["paused"].is_string());
    daemon.kill();
    let daemon = project.start();
    project.save(RUN, 60);
    waiting(&daemon, 2);
    let listed = queue(&project, &["list"]);
    assert!(listed.starts_with("paused since"), "{listed}");
    assert!(listed.contains("checkpoint-40: paused"), "{listed}");
    let text = out(&project.run(&["status"]));
    assert!(text.contains("runscribe queue resume"), "{text}");
    assert_eq!(project.starts().len(), 1);
    assert_eq!(queue(&project, &["resume"]), "resumed; 2 checkpoints are waiting\n");
    daemon.wait_for_observations(3);
    assert_eq!(queue(&project, &["list"]), "nothing waits\n");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn one_pass_over_a_paused_queue_says_what_it_left() {
    let project = Project::new();
    let daemon = project.start();
    queue(&project, &["pause"]);
    assert_eq!(daemon.stop(), Some(0));
    project.save(RUN, 20);
    let once = project.run(&["watch", "--once"]);
    assert_eq!(code(&once), 1);
    assert!(err(&once).contains("1 checkpoints are not analyzed: paused since"), "{}", err(&once));
}

#[test]
fn a_checkpoint_that_is_asked_for_goes_first_and_other_paths_are_refused() {
    let project = Project::new();
    let daemon = project.start();
    queue(&project, &["pause"]);
    for step in [20, 40, 60] {
        project.save(RUN, step);
    }
    waiting(&daemon, 3);
    let said = queue(&project, &["analyze", &path_of(&project, 20)]);
    assert!(said.contains("checkpoint-20 is the next one"), "{said}");
    let json: Value = serde_json::from_str(&queue(&project, &["list", "--json"])).unwrap();
    assert_eq!(json["queue"][0]["checkpoint"], "checkpoint-20");
    // Outside the training folder, also by a link inside it that leads there.
    let elsewhere = project.path("elsewhere").join(RUN).join("checkpoint-20");
    std::fs::create_dir_all(elsewhere.parent().unwrap()).unwrap();
    std::fs::rename(path_of(&project, 60), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, path_of(&project, 80)).unwrap();
    for path in [elsewhere.to_str().unwrap(), &path_of(&project, 80)] {
        let why = refused(&project, &["queue", "analyze", path]);
        assert!(why.contains("does not lie in the training folder"), "{why}");
    }
    let why = refused(&project, &["queue", "analyze", &path_of(&project, 99)]);
    assert!(why.contains("cannot look at"), "{why}");
    queue(&project, &["resume"]);
    daemon.wait_for_observations(2);
    assert_eq!(project.observations()[0][2], "`checkpoint-20`");
    let why = refused(&project, &["queue", "analyze", &path_of(&project, 20)]);
    assert!(why.contains("verdict pass"), "{why}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_failure_for_good_is_analyzed_again_when_a_person_has_mended_its_cause() {
    let project = Project::new();
    let tokenizer = "OSError: Can't load tokenizer for '/x'. If you were trying to load it from \
                     'https://huggingface.co/models', make sure you don't have a local directory \
                     with the same name.\n";
    project.script_file("checkpoint-20", "stderr.txt", tokenizer);
    project.script_file("checkpoint-20", "exit", "1");
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    assert_eq!(project.observations()[0][7], "analysis failed");
    std::fs::remove_dir_all(project.path("fake/checkpoint-20")).unwrap();
    let said = queue(&project, &["retry", RUN, "checkpoint-20"]);
    assert!(said.contains("is queued again"), "{said}");
    daemon.wait_until("the second observation", |_| project.observations().len() == 2);
    daemon.wait_for_observations(1);
    let rows = project.observations();
    assert_eq!((rows[0][7].as_str(), rows[1][7].as_str()), ("analysis failed", "pass"));
    let why = refused(&project, &["queue", "retry", RUN, "checkpoint-20"]);
    assert!(why.contains("verdict pass"), "{why}");
    let why = refused(&project, &["queue", "retry", "no_such_run", "final"]);
    assert!(why.contains("there is no run `no_such_run`"), "{why}");
    assert_eq!(code(&project.run(&["gate", RUN])), 0);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn old_runs_are_listed_until_they_are_adopted() {
    let project = Project::new();
    for run in [RUN, "perceiver_mlm_H64L2C128_20261122_063802"] {
        project.save(run, 20);
        let folder = project.path("Cache/Training").join(run).join("checkpoint-20");
        let long_ago = std::time::SystemTime::now() - std::time::Duration::from_hours(48);
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = std::fs::File::options().append(true).open(entry.unwrap().path()).unwrap();
            file.set_modified(long_ago).unwrap();
        }
    }
    let daemon = project.start();
    let status = daemon.wait_until("two old runs", |status| {
        let runs = status["runs"].as_array().unwrap();
        runs.len() == 2 && runs.iter().all(|run| run["state"] == "old")
    });
    assert_eq!(status["queue"].as_array().unwrap().len(), 0);
    assert_eq!(project.log(), "", "old runs get no row");
    assert!(refused(&project, &["adopt", "no_such_run"]).contains("there is no run"));
    let folder = project.path("Cache/Training").join(RUN);
    let adopted = project.run(&["adopt", folder.to_str().unwrap()]);
    assert_eq!((code(&adopted), out(&adopted).as_str()), (0, "1 run adopted\n"));
    daemon.wait_for_observations(1);
    assert_eq!(project.observations().len(), 1);
    let runs = project.log();
    let (runs, _) = runs.split_once("## Checkpoint Observations").unwrap();
    assert!(runs.contains(&format!("`{RUN}`")), "{runs}");
    assert!(!runs.contains("perceiver_mlm"), "{runs}");
    daemon.kill();
    // Adopting and the first analysis outlive the daemon; the other run is still old.
    let daemon = project.start();
    assert_eq!(out(&project.run(&["adopt", "--all"])), "1 run adopted\n");
    daemon.wait_for_observations(2);
    assert_eq!(project.starts().get("checkpoint-20"), Some(&2));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn two_analyses_run_at_a_time_when_that_is_configured() {
    let project = Project::new();
    let text = std::fs::read_to_string(project.path("runscribe.toml")).unwrap();
    project.configure(&text.replacen("[analysis]\n", "[analysis]\nmax_concurrent = 2\n", 1));
    project.script("default", FakeReport::healthy());
    project.script_file("default", "slow", "1");
    let daemon = project.start();
    for step in [20, 40, 60] {
        project.save(RUN, step);
    }
    let status = daemon.wait_until("two of three running", |status| {
        let count = |key: &str| status[key].as_array().unwrap().len();
        assert!(count("running") <= 2, "{status:#}");
        count("running") == 2 && count("queue") == 1
    });
    assert_eq!(status["queue"][0]["reason"], "its turn comes after those before it");
    daemon.wait_for_observations(3);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn another_user_may_read_and_not_command() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can act as another user");
        return;
    }
    let project = Project::new();
    project.append_configuration("[status]\nsocket_mode = \"0666\"\n");
    let root = project.root();
    let open = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    open(&root);
    let daemon = project.start();
    let socket = project.path("Cache/runscribe/status.sock");
    // The program itself may lie where nobody else may look.
    let program = project.path("runscribe-for-all");
    std::fs::copy(env!("CARGO_BIN_EXE_runscribe"), &program).unwrap();
    open(&program);
    let as_nobody = |arguments: &[&str]| {
        let mut other = std::process::Command::new(&program);
        other.args(arguments).arg("--root").arg(&root).arg("--socket").arg(&socket);
        other.env_clear().current_dir("/").uid(NOBODY).gid(NOBODY).output().unwrap()
    };
    let status = as_nobody(&["status"]);
    assert_eq!(code(&status), 0, "{}", err(&status));
    let pause = as_nobody(&["queue", "pause"]);
    assert_eq!(code(&pause), 1, "{}", out(&pause));
    assert!(err(&pause).contains("only the daemon's own user and root"), "{}", err(&pause));
    assert!(daemon.snapshot()["paused"].is_null());
    assert_eq!(code(&project.run(&["queue", "pause"])), 0);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn without_a_daemon_the_queue_cannot_be_changed() {
    let project = Project::new();
    for arguments in [&["queue", "pause"][..], &["queue", "list"], &["adopt", "--all"]] {
        let output = project.run(arguments);
        assert_eq!(code(&output), 69, "{}", err(&output));
    }
    for arguments in
        [&["queue"][..], &["adopt"], &["adopt", "--all", RUN], &["queue", "retry", RUN]]
    {
        assert_eq!(code(&command(arguments).output().unwrap()), 2, "{arguments:?}");
    }
}
