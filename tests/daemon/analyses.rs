//! Analyses that misbehave: the queue moves on, nothing is left behind, nothing is believed that
//! was not measured.

use crate::support::{FakeReport, Project, is_alive, wait};

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
}

#[test]
fn the_analysis_has_the_file_limit_that_the_daemon_was_started_with() {
    let project = Project::new();
    project.script_file("checkpoint-20", "hang", "");
    let daemon = project.start_with_open_files(256);
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
fn reports_that_did_not_measure_the_model_are_unknown() {
    let project = Project::new();
    let random = "Some weights of ConceptEncoderForMaskedLMPerceiver were not initialized from the \
                  model checkpoint and are newly initialized: ['encoder.layers.0.Wi.bias']\n";
    project.script("checkpoint-20", FakeReport::healthy());
    project.script_file("checkpoint-20", "stderr.txt", random);
    let harmless = random.replace("encoder.layers.0.Wi.bias", "lm_head.weight");
    project.script("checkpoint-40", FakeReport::healthy());
    project.script_file("checkpoint-40", "stderr.txt", &harmless);
    project.script("checkpoint-60", FakeReport::healthy());
    project.replace_in_script("checkpoint-60", "out.json", "@MODEL_PATH@", "/another/checkpoint");
    project.script("checkpoint-80", FakeReport::healthy());
    project.replace_in_script("checkpoint-80", "out.json", "20.0", "21.0");
    project.script("checkpoint-100", FakeReport::healthy());
    project.replace_in_script("checkpoint-100", "out.json", "20.0", "NaN");
    project.replace_in_script("checkpoint-100", "stdout.txt", "20.0000", "nan");
    let daemon = project.start();
    for step in [20, 40, 60, 80, 100] {
        project.save(RUN, step);
        daemon.wait_for_observations(step / 20);
    }
    let verdicts: Vec<String> = project.observations().iter().map(|row| row[7].clone()).collect();
    assert_eq!(verdicts, ["unknown", "pass", "unknown", "unknown", "unknown"], "{}", project.log());
    assert_eq!(daemon.stop(), Some(0));
}
