//! Analyses that misbehave: the queue moves on, nothing is left behind, nothing is believed that
//! was not measured.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Daemon, FakeReport, Project, command, is_alive, wait};

const RUN: &str = "perceiver_mlm_H64L2C128_20261123_063901";

#[test]
fn an_analysis_that_hangs_is_ended_with_its_whole_group_and_the_queue_moves_on() {
    let project = Project::new();
    project.script_file("checkpoint-20", "hang", "");
    project.append_configuration("[analysis.env]\nX = \"1\"\n");
    project.set_timeout("600ms", 0);
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_until("the hanging analysis to be given up or retried", |status| {
        let reason = status["queue"][0]["reason"].as_str().unwrap_or_default();
        reason.contains("deadline")
    });
    project.save(RUN, 40);
    daemon.wait_for_observations(1);
    assert_eq!(project.observations()[0][2], "`checkpoint-40`");
    project.assert_nothing_is_left();
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn stopping_ends_a_running_analysis_and_the_next_start_begins_it_again() {
    let project = Project::new();
    project.script_file("checkpoint-20", "hang", "");
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_until("a running analysis", |status| {
        !status["running"].as_array().unwrap().is_empty()
            && project.starts().contains_key("checkpoint-20")
    });
    assert_eq!(daemon.stop(), Some(0));
    project.assert_nothing_is_left();
    std::fs::remove_file(project.path("fake/checkpoint-20/hang")).unwrap();
    project.script("checkpoint-20", FakeReport::healthy());
    let daemon = project.start();
    daemon.wait_for_observations(1);
    assert_eq!(project.starts().get("checkpoint-20"), Some(&2));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_daemon_that_was_killed_leaves_nothing_running() {
    let project = Project::new();
    project.script_file("checkpoint-20", "daemonize", "");
    project.script_file("checkpoint-20", "background", "");
    project.script_file("checkpoint-20", "hang", "");
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_until("a running analysis that has left something behind", |_| {
        project.pids_of_the_fake().len() == 3
    });
    let processes = project.pids_of_the_fake();
    assert!(processes.iter().all(|pid| is_alive(*pid)), "{processes:?}");
    daemon.kill();
    wait("everything to end", || processes.iter().all(|pid| !is_alive(*pid)));
    wait("the supervisor to end", || project.processes_of_the_fake().is_empty());
    // What it wrote and nobody read is gone with the next start.
    std::fs::write(project.path("Cache/runscribe/outputs/1-1.json"), "{").unwrap();
    let daemon = project.start();
    assert!(!project.path("Cache/runscribe/outputs/1-1.json").exists());
    assert_eq!(daemon.stop(), Some(0));
    project.assert_nothing_is_left();
}

#[test]
fn the_analysis_has_the_file_limit_that_the_daemon_was_started_with() {
    let project = Project::new();
    project.script_file("checkpoint-20", "hang", "");
    let daemon = project.start_with_open_files("-Sn", 256);
    project.save(RUN, 20);
    daemon.wait_until("a running analysis", |_| !project.pids_of_the_fake().is_empty());
    let (analysis, hard) = open_files(&project.pids_of_the_fake()[0].to_string());
    let (of_the_daemon, _) = open_files(&daemon.pid().to_string());
    assert_eq!(analysis, 256);
    assert_eq!(of_the_daemon, hard.min(1 << 16));
    assert_eq!(daemon.stop(), Some(0));
}

/// Returns soft and hard limit on open files of a process.
fn open_files(process: &str) -> (u64, u64) {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_ascii_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn a_stop_leaves_nothing_behind_however_patient_the_grace_time_is() {
    for asked_twice in [true, false] {
        let project = Project::new();
        project.script_file("checkpoint-20", "hang", "");
        project.set_grace("10m");
        let daemon = project.start();
        project.save(RUN, 20);
        daemon.wait_until("a running analysis", |_| project.starts().contains_key("checkpoint-20"));
        if asked_twice {
            daemon.ask_to_stop();
        }
        assert_eq!(daemon.stop(), Some(0));
        project.assert_nothing_is_left();
    }
}

#[test]
fn failures_that_time_cannot_cure_become_a_row_with_their_class() {
    let project = Project::new();
    let corrupt = "Traceback (most recent call last):\nsafetensors_rust.SafetensorError: Error while \
                   deserializing header: incomplete metadata, file not fully covered\n";
    project.script_file("checkpoint-20", "stderr.txt", corrupt);
    project.script_file("checkpoint-20", "exit", "1");
    project.script_file("checkpoint-40", "exit", "0");
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    project.save(RUN, 40);
    daemon.wait_for_observations(2);
    let ends: Vec<(String, String)> =
        project.observations().iter().map(|row| (row[7].clone(), row[8].clone())).collect();
    assert_eq!(ends[0], ("analysis failed".to_owned(), "corrupt_weights".to_owned()));
    assert_eq!(ends[1], ("analysis failed".to_owned(), "no_report".to_owned()));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_rejected_model_type_is_skipped_with_its_reason() {
    let project = Project::new();
    let usage = "usage: run_concept_analysis.py [-h]\nrun_concept_analysis.py: error: argument \
                 --model_type: invalid choice: 'diffusion_mlm' (choose from 'perceiver_mlm')\n";
    project.script_file("checkpoint-20", "stderr.txt", usage);
    project.script_file("checkpoint-20", "exit", "2");
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_until("the reason", |status| {
        let reason = status["queue"][0]["reason"].as_str().unwrap_or_default();
        reason.contains("does not know model type `diffusion_mlm`")
    });
    assert_eq!(project.observations().len(), 0);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn output_of_any_size_costs_no_memory_and_is_kept_within_a_bound() {
    let project = Project::new();
    project.script("checkpoint-20", FakeReport::healthy());
    project.script_file("checkpoint-20", "print", "600");
    let daemon = project.start();
    let before = peak_memory(&daemon);
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    assert_eq!(project.observations()[0][7], "pass", "{}", project.log());
    let grown = peak_memory(&daemon) - before;
    assert!(grown < 16 << 20, "the daemon's peak grew by {grown} bytes");
    let kept = project.path("Cache/runscribe/reports").join(RUN).join("checkpoint-20/stdout.txt");
    let text = std::fs::read_to_string(kept).unwrap();
    assert!(text.len() < 300 << 10, "{} bytes kept", text.len());
    assert!(text.starts_with("Device: cpu") && text.contains(" bytes left out]"));
    assert_eq!(daemon.stop(), Some(0));
}

/// Returns the largest memory that the daemon ever had, in bytes.
fn peak_memory(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kilobytes: u64 = line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes << 10
}

#[test]
fn secrets_of_the_environment_are_stored_and_shown_nowhere() {
    let project = Project::new();
    // Neither is passed on, and the program can read both where they stand.
    let (from_file, from_settings) = ("correct horse battery", "Tr0ub4dor-and-3");
    std::fs::write(project.path(".env"), format!("WANDB_API_KEY=\"{from_file}\"\n")).unwrap();
    project.append_configuration(&format!("[analysis.env]\nMY_TOKEN = \"{from_settings}\"\n"));
    let said =
        format!("login with {from_file} and {from_settings}, then HF_TOKEN=hf_Abc123Abc123\n");
    project.script("checkpoint-20", FakeReport::healthy());
    project.script_file("checkpoint-20", "stderr.txt", &said);
    project.replace_in_script(
        "checkpoint-20",
        "out.json",
        "\"n_samples\"",
        &format!("\"remark\": \"{said}\", \"n_samples\"").replace('\n', ""),
    );
    project.script_file("checkpoint-40", "stderr.txt", &format!("{said}ValueError: {said}"));
    project.script_file("checkpoint-40", "exit", "1");
    let daemon = project.start();
    for step in [20, 40] {
        project.save(RUN, step);
        daemon.wait_for_observations(step / 20);
    }
    let failed = daemon.events().into_iter().find(|event| event["kind"] == "analysis_failed");
    let evidence = failed.unwrap()["evidence"].as_str().unwrap().to_owned();
    assert!(evidence.contains("login with [redacted] and [redacted], then"), "{evidence}");
    assert_eq!(daemon.stop(), Some(0));
    for entry in walk(&project.path("Cache/runscribe")).into_iter().chain([project.log_path()]) {
        let bytes = std::fs::read(&entry).unwrap();
        for secret in [from_file, from_settings, "hf_Abc123Abc123"] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "`{secret}` stands in {}", entry.display());
        }
    }
}

/// Returns all plain files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(walk(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            files.push(entry.path());
        }
    }
    files
}

#[test]
fn one_analysis_that_is_stopped_by_hand_leaves_nothing_behind() {
    let project = Project::new();
    project.script_file("checkpoint-20", "daemonize", "");
    project.script_file("checkpoint-20", "hang", "");
    project.save(RUN, 20);
    let temporary = project.path("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let checkpoint = project.path("Cache/Training").join(RUN).join("checkpoint-20");
    let mut analyze = command(&["analyze"]);
    analyze.arg(checkpoint).arg("--root").arg(project.root()).env("TMPDIR", &temporary);
    let mut analyze = analyze.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    wait("the analysis to run", || project.pids_of_the_fake().len() == 2);
    kill_process(Pid::from_child(&analyze), Signal::TERM).unwrap();
    assert_eq!(analyze.wait().unwrap().code(), Some(1));
    let mut said = String::new();
    analyze.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("stopped before its end"), "{said}");
    project.assert_nothing_is_left();
    assert_eq!(walk(&temporary), Vec::<PathBuf>::new());
}
