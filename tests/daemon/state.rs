//! What training is doing, told by the real daemon from logs that grow while it watches.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::support::{Daemon, Project, code, command, out, wait};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";
const LOG: &str = "Cache/logs/shell_diffusion_20261123_063745.log";

fn open(project: &Project, log: &str) -> File {
    OpenOptions::new().append(true).create(true).open(project.path(log)).unwrap()
}

fn append(project: &Project, log: &str, text: &str) {
    open(project, log).write_all(text.as_bytes()).unwrap();
}

/// Frames of a bar up to a step, as a trainer prints them, each ended by the next one.
fn frames(steps: std::ops::RangeInclusive<u64>) -> String {
    steps.fold(String::new(), |mut text, step| {
        write!(text, "\r {step:3}%|█  | {step}/100 [00:{step:02}<01:00,  1.00it/s]").unwrap();
        text
    })
}

fn state(status: &Value) -> &str {
    let runs = status["runs"].as_array().unwrap();
    let run = runs.iter().find(|run| run["run"] == RUN);
    run.and_then(|run| run["state"].as_str()).unwrap_or_default()
}

fn wait_for_state(daemon: &Daemon, wanted: &str) -> Value {
    daemon.wait_until(&format!("the state {wanted}"), |status| state(status) == wanted)
}

/// Returns the events of a kind, as the states or failures that they tell.
fn told(daemon: &Daemon, kind: &str, fact: &str) -> Vec<String> {
    let events = daemon.events();
    let of_kind = events.iter().filter(|event| event["kind"] == kind);
    of_kind.map(|event| event[fact].as_str().unwrap_or_default().to_owned()).collect()
}

fn wait_for_notes(project: &Project, count: usize) {
    wait(&format!("{count} notes"), || project.notes().len() >= count);
}

/// The note of the failure, its cell and its list item.
fn the_failure_is_documented_once(project: &Project) {
    assert_eq!(project.notes().len(), 1, "{:?}", project.notes());
    let name = &project.notes()[0];
    assert!(name.starts_with(RUN) && name.ends_with("_out-of-memory.md"), "{name}");
    let note = project.path("docs/2_Experiments_Registry/run_reports").join(name);
    let note = fs::read_to_string(note).unwrap();
    assert!(
        note.contains("| Loss | 8.3238 | 20 |") && note.contains(&format!("{LOG}, line 6")),
        "{note}"
    );
    let log = project.log();
    assert!(log.contains("**FAILED: out_of_memory at step"), "{log}");
    assert_eq!(
        log.matches(&format!("({})", Path::new("run_reports").join(name).display())).count(),
        2
    );
}

#[test]
fn a_training_is_followed_from_its_first_line_to_its_failure_through_a_kill() {
    let project = Project::new();
    let daemon = project.start();
    append(
        &project,
        LOG,
        &format!("Output directory: {}/{RUN}\n", project.path("Cache/Training").display()),
    );
    append(&project, LOG, &frames(1..=20));
    let status = wait_for_state(&daemon, "training");
    assert_eq!(status["runs"][0]["checkpoints"]["seen"], 0, "known by its log only");
    assert!(!project.log().contains(RUN), "no row before the first checkpoint");

    append(&project, LOG, "\n{'loss': 8.3238, 'grad_norm': 1.86, 'epoch': 0.1}\n");
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    let status = daemon.wait_until("the metrics of both sources as one", |status| {
        let metrics = &status["runs"][0]["recent_metrics"];
        metrics[0]["source"] == "both" && metrics[0]["line"] == 3 && metrics[0]["step"] == 20
    });
    assert_eq!(status["runs"][0]["shell_log"], LOG);
    daemon.kill();

    // It fails while nobody looks; the daemon says so once, and not again at the next start.
    append(&project, LOG, &frames(21..=25));
    append(
        &project,
        LOG,
        "Traceback (most recent call last):\n  File \"train.py\", line 3, in <module>\n\
         torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n",
    );
    let daemon = project.start();
    wait_for_state(&daemon, "failed");
    wait_for_notes(&project, 1);
    daemon.kill();
    let daemon = project.start();
    wait_for_state(&daemon, "failed");
    append(&project, LOG, "wandb: Run summary:\n");
    wait("the log to be read to its end", || {
        let explained = out(&project.run(&["explain", project.path(LOG).to_str().unwrap()]));
        explained.contains("read to its end") && explained.contains("out_of_memory at line")
    });
    assert_eq!(told(&daemon, "run_state", "state"), ["training", "failed"]);
    assert_eq!(told(&daemon, "training_failure", "failure"), ["out_of_memory"]);
    daemon.wait_until("all documents", |status| status["documents"]["pending"] == 0);
    the_failure_is_documented_once(&project);
    let text = out(&project.run(&["status"]));
    assert!(text.contains("failed: out_of_memory at line 6"), "{text}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_loss_that_is_not_finite_is_told_while_training_goes_on() {
    let project = Project::new();
    let log = include_str!("../fixtures/parse/shell_logs/diffusion_nan.log");
    let run = log.split_once("offline-run-").unwrap().1.lines().next().unwrap();
    let run = run.split_once('-').unwrap().1;
    let daemon = project.start();
    append(&project, LOG, log);
    daemon.wait_until("the run", |status| status["runs"][0]["run"] == run);
    wait_for_notes(&project, 1);
    assert!(project.notes()[0].ends_with("_non-finite.md"), "{:?}", project.notes());
    assert_eq!(told(&daemon, "training_failure", "failure"), ["non_finite"]);
    let note = project.path("docs/2_Experiments_Registry/run_reports").join(&project.notes()[0]);
    assert!(fs::read_to_string(note).unwrap().contains("nan"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_silent_training_is_stalled_while_its_process_lives_and_revived_by_output() {
    let project = Project::new();
    project.append_configuration("[training]\nstall_factor = 1.0\nstall_floor = \"3s\"\n");
    let daemon = project.start();
    // The test itself is the process that holds the log.
    let mut held = open(&project, LOG);
    write!(held, "Output directory: Cache/Training/{RUN}\n{}", frames(1..=2)).unwrap();
    wait_for_state(&daemon, "training");
    // It learns a pace from lines that come while it looks.
    for step in [5, 9, 13] {
        write!(held, "{}", frames(step - 2..=step + 1)).unwrap();
        daemon.wait_until("a step further", |status| {
            status["runs"][0]["step"].as_u64() >= Some(step)
        });
    }
    let status = daemon.wait_until("a stall with its evidence", |status| {
        let evidence = status["runs"][0]["evidence"].as_str().unwrap_or_default();
        state(status) == "stalled" && evidence.contains("still holds the log")
    });
    let evidence = status["runs"][0]["evidence"].as_str().unwrap();
    assert!(evidence.contains(&format!("pid {}", std::process::id())), "{evidence}");
    assert!(status["runs"][0]["eta"].is_null());
    write!(held, "{}", frames(15..=18)).unwrap();
    wait_for_state(&daemon, "training");
    write!(held, "\nTraining completed successfully!\n").unwrap();
    wait_for_state(&daemon, "complete");
    assert_eq!(
        told(&daemon, "run_state", "state"),
        ["training", "stalled", "training", "complete"]
    );
    assert_eq!(project.notes(), Vec::<String>::new());
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_log_that_fits_no_run_is_shown_with_its_reason() {
    let project = Project::new();
    append(&project, "Cache/logs/shell_tsdae_posonly_20261123_063745.log", &frames(1..=5));
    let daemon = project.start();
    let status = daemon.wait_until("the log", |status| !status["unlinked_logs"][0].is_null());
    let reason = status["unlinked_logs"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("no run of the family `tsdae_posonly`"), "{reason}");
    let text = out(&project.run(&["status"]));
    assert!(text.contains("belongs to no run"), "{text}");
    project.save("tsdae_posonly_H64L2C128_20261123_063802", 20);
    daemon.wait_until("the link", |status| {
        status["unlinked_logs"].as_array().unwrap().is_empty()
            && status["runs"][0]["state"] == "training"
    });
    let gone =
        command(&["explain", "Cache/logs/nothing.log", "--root"]).arg(project.root()).output();
    assert_eq!(code(&gone.unwrap()), 1);
    assert_eq!(daemon.stop(), Some(0));
}
