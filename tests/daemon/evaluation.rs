//! Evaluation reports: noticed by the daemon, and made by `evaluate` behind the gate.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{FakeReport, Project, code, command, err, is_alive, out, wait};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";
const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/evaluation/fake_glue");
const GLUE_SCRIPT: &str = "scripts/evaluate_concept_encoder_glue.sh";

/// A project with evaluation programs, whose run has a final model with this rank.
pub(crate) fn evaluated_project(rank: f64) -> Project {
    let project = Project::new();
    for folder in ["scripts", "evaluation"] {
        fs::create_dir_all(project.path(folder)).unwrap();
    }
    fs::copy(FAKE, project.path(GLUE_SCRIPT)).unwrap();
    // The model is written into this one.
    fs::write(project.path("scripts/evaluate_concept_encoder_sick.sh"), "MODEL=x\nexit 1\n")
        .unwrap();
    fs::write(project.path("evaluation/evaluate_on_benchmark.py"), "").unwrap();
    let text = fs::read_to_string(project.path("runscribe.toml")).unwrap();
    let with_python = format!("[analysis]\npython = \"{FAKE}\"\n");
    project.configure(&text.replacen("[analysis]\n", &with_python, 1));
    project.script("default", FakeReport::with_rank(rank));
    project.save(RUN, 20);
    project.save_final(RUN, 20);
    project
}

fn analyzed_project(rank: f64) -> Project {
    let project = evaluated_project(rank);
    let once = project.run(&["watch", "--once"]);
    assert_eq!(code(&once), 0, "{}", err(&once));
    project
}

/// Returns the lines of the table under a heading that name the run, as cells.
fn rows(project: &Project, heading: &str) -> Vec<Vec<String>> {
    let log = project.log();
    let Some((_, below)) = log.split_once(heading) else { return Vec::new() };
    let section = below.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with('|') && line.contains(RUN));
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect();
    rows.map(cells).collect()
}

fn calls(project: &Project) -> Vec<String> {
    let text = fs::read_to_string(project.path("fake_glue.log")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn shell_logs(project: &Project) -> Vec<String> {
    let entries = fs::read_dir(project.path("Cache/logs")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("evaluate_")).collect()
}

fn write_report(project: &Project, task: &str, stamp: &str, f1: f64) {
    let folder = project.path("Cache/Evaluation_reports");
    fs::create_dir_all(&folder).unwrap();
    let name = format!("glue-{task}-x-42M-{stamp}");
    let path = format!("Cache/Training/{RUN}/{RUN}");
    let results = format!("model_name,task,metric,score\n{path},{task},f1,{f1}\n");
    fs::write(folder.join(format!("{name}-results.csv")), results).unwrap();
    let summary = format!("model_name,task,main_metric,score\n{path},{task},accuracy,0.5\n");
    fs::write(folder.join(format!("{name}-summary.csv")), summary).unwrap();
}

#[test]
fn without_a_daemon_a_sweep_is_run_recorded_and_written_although_one_task_fails() {
    let project = analyzed_project(20.0);
    fs::write(project.path("fake_glue_fails"), "qqp\n").unwrap();
    let dry = project.run(&["evaluate", RUN, "--dry-run"]);
    assert_eq!(code(&dry), 0, "{}", err(&dry));
    for part in [
        "gate: pass",
        "device: cpu",
        "MODEL_PATH_OVERRIDE=",
        "evaluate_concept_encoder_glue.sh mrpc",
    ] {
        assert!(out(&dry).contains(part), "no {part} in {}", out(&dry));
    }
    assert!(calls(&project).is_empty() && shell_logs(&project).is_empty(), "nothing was run");
    let before = project.log();

    let first = project.run(&["evaluate", RUN]);
    assert_eq!(code(&first), 1, "{}{}", out(&first), err(&first));
    for part in [
        "mrpc: f1 0.8217",
        "stsb: pearson 0.6502",
        "qqp: failed: no report was written (exit 0): RuntimeError: no data set for qqp",
        "4 of 5 tasks have a report",
    ] {
        assert!(out(&first).contains(part), "no {part} in {}", out(&first));
    }
    let model = format!("diffusion_mlm Cache/Training/{RUN}/{RUN} gpu= wandb=unset");
    let tasks = ["mrpc", "stsb", "qqp", "mnli-matched", "mnli-mismatched"];
    assert_eq!(calls(&project), tasks.map(|task| format!("{task} {model}")));
    let cell =
        "**MRPC:** 82.2% <br> **STS-B:** 0.650 <br> **MNLI-m:** 59.8% <br> **MNLI-mm:** 59.8%";
    assert_eq!(rows(&project, "## Training Runs")[0][9], cell);
    assert!(out(&first).contains("\n+| ") && out(&first).contains(cell), "{}", out(&first));
    assert_ne!(project.log(), before);
    let log =
        fs::read_to_string(project.path("Cache/logs").join(&shell_logs(&project)[0])).unwrap();
    assert!(log.contains("=== evaluating qqp ===") && log.contains("=== qqp: failed:"), "{log}");

    fs::remove_file(project.path("fake_glue_fails")).unwrap();
    let second = project.run(&["evaluate", RUN, "--task", "qqp"]);
    assert_eq!(code(&second), 0, "{}{}", out(&second), err(&second));
    let row = &rows(&project, "## Evaluation Experiments")[0];
    assert_eq!(row[1], "GLUE `diffusion_mlm`");
    assert_eq!(row[4], "mrpc, stsb, qqp, mnli-matched, mnli-mismatched");
    assert!(
        row[5].starts_with("**MRPC F1:** 82.2% <br> **STS-B P:** 0.650 <br> **QQP F1:** 61.5%")
    );
    assert_eq!(rows(&project, "## Evaluation Experiments").len(), 1);
    // A daemon finds nothing new.
    let log = project.log();
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    assert_eq!(project.log(), log);
}

#[test]
fn a_closed_gate_refuses_and_who_overrides_it_is_on_record() {
    let project = evaluated_project(2.0);
    let refused = project.run(&["evaluate", RUN]);
    assert_eq!(code(&refused), 4, "{}", err(&refused));
    assert!(
        out(&refused).contains("none: the final model")
            && err(&refused).contains("--override-gate")
    );
    let once = project.run(&["watch", "--once"]);
    assert_eq!(code(&once), 0, "{}", err(&once));
    for arguments in [&["evaluate", RUN][..], &["evaluate", RUN, "--dry-run"]] {
        let refused = project.run(arguments);
        assert_eq!(code(&refused), 3, "{}", out(&refused));
        assert!(out(&refused).contains("gate: fail"), "{}", out(&refused));
    }
    assert_eq!(code(&project.run(&["evaluate", RUN, "--override-gate", " "])), 2);
    let other = project.run(&["evaluate", "other_H1L1C1_20260101_000000"]);
    assert_eq!(code(&other), 4, "{}", err(&other));
    assert!(calls(&project).is_empty() && shell_logs(&project).is_empty());

    let why = ["evaluate", RUN, "--task", "mrpc", "--override-gate", "a baseline"];
    let dry = project.run(&[&why[..], &["--dry-run"]].concat());
    assert_eq!(code(&dry), 0, "{}", err(&dry));
    let overridden = project.run(&why);
    assert_eq!(code(&overridden), 0, "{}{}", out(&overridden), err(&overridden));
    let row = &rows(&project, "## Evaluation Experiments")[0];
    assert!(
        row[7].starts_with("Gate overridden (fail: ") && row[7].ends_with("a baseline"),
        "{row:?}"
    );
    let report = project.run(&["report", RUN, "--dry-run"]);
    assert!(out(&report).contains("+## Evaluation"), "{}", out(&report));
    assert!(
        out(&report).contains("to evaluate (fail: ")
            && out(&report).contains("| MRPC | F1 | 82.2% |")
    );
    let daemon = project.start();
    let events = daemon.events();
    let told: Vec<_> = events.iter().filter(|event| event["kind"] == "gate_overridden").collect();
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["run"], &told[0]["reason"]), (&RUN.into(), &"a baseline".into()));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn sick_goes_past_a_script_with_the_model_written_in() {
    let project = analyzed_project(20.0);
    let ran = project.run(&["evaluate", RUN, "--suite", "sick"]);
    assert_eq!(code(&ran), 0, "{}{}", out(&ran), err(&ran));
    assert!(out(&ran).contains("sick_relatedness: pearson 0.7123"), "{}", out(&ran));
    assert!(out(&ran).contains("sick_entailment: accuracy 0.8123"), "{}", out(&ran));
    assert!(calls(&project)[0].starts_with("sick_all diffusion_mlm Cache/Training/"));
    let row = &rows(&project, "## Evaluation Experiments")[0];
    assert_eq!(row[1], "SICK `diffusion_mlm`");
    assert_eq!(row[5], "**SICK-R P:** 0.712 <br> **SICK-E:** 81.2%");
    assert_eq!(rows(&project, "## Training Runs")[0][9], "--", "that is no GLUE");
    let refused = project.run(&["evaluate", RUN, "--suite", "sick", "--task", "mrpc"]);
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("`mrpc` is no task of this suite"), "{}", err(&refused));
    fs::remove_file(project.path("evaluation/evaluate_on_benchmark.py")).unwrap();
    let refused = project.run(&["evaluate", RUN, "--suite", "paws"]);
    assert!(err(&refused).contains("[[evaluation_scripts]]"), "{}", err(&refused));
}

#[test]
fn a_running_daemon_notices_reports_and_records_each_once_across_restarts() {
    let project = evaluated_project(20.0);
    let daemon = project.start();
    daemon.wait_for_observations(2);
    let ran = project.run(&["evaluate", RUN, "--task", "mrpc"]);
    assert_eq!(code(&ran), 0, "{}{}", out(&ran), err(&ran));
    assert!(out(&ran).contains("written down by the daemon"), "{}", out(&ran));
    assert!(out(&ran).contains("**MRPC:** 82.2%"), "{}", out(&ran));
    let scores = &daemon.snapshot()["runs"][0]["scores"];
    assert_eq!((&scores[0]["task"], &scores[0]["metric"]), (&"mrpc".into(), &"f1".into()));
    let text = out(&project.run(&["status"]));
    assert!(text.contains("scores: mrpc f1 0.822"), "{text}");
    // A report from elsewhere, in the file's own time.
    write_report(&project, "qqp", "20261123_0900", 0.615);
    let has_two = |status: &serde_json::Value| {
        let scores = status["runs"][0]["scores"].as_array().map_or(0, Vec::len);
        scores == 2 && status["documents"]["pending"] == 0
    };
    daemon.wait_until("the second score in the log", has_two);
    assert_eq!(rows(&project, "## Training Runs")[0][9], "**MRPC:** 82.2% <br> **QQP:** 61.5%");
    // One that says not whose it is.
    let folder = project.path("Cache/Evaluation_reports");
    let lost = "task,main_metric,score\nrte,accuracy,0.5\n";
    fs::write(folder.join("glue-rte-bert-66M-20261123_0900-summary.csv"), lost).unwrap();
    let status = daemon.wait_until("the report without a run", |status| {
        status["unlinked_reports"].as_array().is_some_and(|reports| reports.len() == 1)
    });
    assert_eq!(status["unlinked_reports"][0]["report"], "glue-rte-bert-66M-20261123_0900");
    daemon.kill();
    let log = project.log();
    let daemon = project.start();
    daemon.wait_until("everything read again", has_two);
    let evaluated = |events: &[serde_json::Value]| {
        events.iter().filter(|event| event["kind"] == "evaluated").count()
    };
    assert_eq!(evaluated(&daemon.events()), 3);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(project.log(), log);
}

#[test]
fn a_script_that_is_not_executable_is_given_to_its_interpreter() {
    let project = analyzed_project(20.0);
    let script: &Path = &project.path(GLUE_SCRIPT);
    fs::set_permissions(script, fs::Permissions::from_mode(0o644)).unwrap();
    let ran = project.run(&["evaluate", RUN, "--task", "stsb"]);
    assert_eq!(code(&ran), 0, "{}{}", out(&ran), err(&ran));
    assert!(out(&ran).contains(&format!("bash {GLUE_SCRIPT} stsb")), "{}", out(&ran));
}

#[test]
fn asked_to_stop_it_ends_what_it_started_and_says_so() {
    let project = analyzed_project(20.0);
    fs::write(project.path("fake_glue_hangs"), "").unwrap();
    let mut evaluate = command(&["evaluate", RUN, "--root"]);
    evaluate.arg(project.root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = evaluate.spawn().unwrap();
    let pid_file = project.path("fake_glue_pid");
    wait("the program to hang", || {
        fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n'))
    });
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 1, "{}{}", out(&output), err(&output));
    assert!(
        out(&output).contains("mrpc: failed: no report was written (stopped)"),
        "{}",
        out(&output)
    );
    assert!(out(&output).contains("stsb: failed: stopped before it began"), "{}", out(&output));
    assert_eq!(calls(&project).len(), 1);
    assert!(!is_alive(pid));
}

#[test]
fn scores_wait_for_a_log_that_cannot_be_written_and_the_tasks_still_count() {
    let project = analyzed_project(20.0);
    let log = project.log();
    fs::write(project.log_path(), format!("{log}<<<<<<< mine\n")).unwrap();
    let ran = project.run(&["evaluate", RUN, "--task", "mrpc"]);
    assert_eq!(code(&ran), 0, "{}{}", out(&ran), err(&ran));
    assert!(out(&ran).contains("recorded, and to be written: "), "{}", out(&ran));
    assert!(out(&ran).contains("merge conflict marker"), "{}", out(&ran));
    fs::write(project.log_path(), log).unwrap();
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    assert_eq!(rows(&project, "## Training Runs")[0][9], "**MRPC:** 82.2%");
}
