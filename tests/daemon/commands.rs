//! The commands and their exit codes.

use crate::support::{FakeReport, Project, code, command, err, out};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

#[test]
fn wrong_command_lines_exit_with_2_and_help_with_0() {
    for arguments in [&[][..], &["dance"], &["watch", "--onec"], &["gate"], &["parse", "poem", "x"]]
    {
        let output = command(arguments).output().unwrap();
        assert_eq!(code(&output), 2, "{arguments:?}: {}", err(&output));
        assert!(!err(&output).is_empty() && out(&output).is_empty(), "{arguments:?}");
    }
    let commands = ["watch", "demo", "status", "tail", "analyze", "gate", "probe", "explain"];
    let more = ["parse", "config", "report", "queue", "adopt", "doctor"];
    let discipline = ["changelog", "todo", "tag", "hook"];
    for name in commands.into_iter().chain(more).chain(discipline) {
        let output = command(&[name, "--help"]).output().unwrap();
        assert_eq!(code(&output), 0);
        assert!(out(&output).contains("Example"), "{name} has no example:\n{}", out(&output));
    }
}

#[test]
fn configuration_errors_exit_with_78_and_name_everything_at_once() {
    let project = Project::new();
    project.configure("[watch]\nreconcil = \"30s\"\nsettle = \"soon\"\n");
    for arguments in [&["watch"][..], &["config", "--check"], &["status"], &["gate", RUN]] {
        let output = project.run(arguments);
        assert_eq!(code(&output), 78, "{arguments:?}: {}", err(&output));
        for part in ["runscribe.toml", "watch.reconcil", "reconcile", "watch.settle", "soon"] {
            assert!(err(&output).contains(part), "no {part} in {}", err(&output));
        }
    }
    let output = command(&["watch", "--root", "/nonexistent/project"]).output().unwrap();
    assert_eq!(code(&output), 78);
}

#[test]
fn config_prints_every_value_with_its_origin() {
    let project = Project::new();
    let output = project.run(&["config"]);
    assert_eq!(code(&output), 0);
    assert!(out(&output).contains("settle = \"300ms\""), "{}", out(&output));
    assert!(out(&output).contains("runscribe.toml"), "{}", out(&output));
}

#[test]
fn without_a_daemon_status_and_tail_exit_with_69() {
    let project = Project::new();
    for arguments in [&["status"][..], &["status", "--json"], &["tail"]] {
        let output = project.run(arguments);
        assert_eq!(code(&output), 69, "{}", err(&output));
        assert!(err(&output).contains("runscribe watch"), "{}", err(&output));
    }
}

#[test]
fn gate_decides_by_exit_code_with_and_without_a_daemon() {
    let project = Project::new();
    project.script("checkpoint-20", FakeReport::healthy());
    project.script("checkpoint-40", FakeReport::with_rank(2.0));
    project.script("checkpoint-60", FakeReport::healthy());
    project.replace_in_script("checkpoint-60", "out.json", "20.0", "0.0");
    project.replace_in_script("checkpoint-60", "stdout.txt", "20.0000", "0.0000");
    assert_eq!(code(&project.run(&["gate", RUN])), 4);
    let daemon = project.start();
    for (step, expected, word) in [(20, 0, "pass"), (40, 3, "fail"), (60, 4, "unknown")] {
        project.save(RUN, step);
        daemon.wait_for_observations(step / 20);
        let output = project.run(&["gate", RUN]);
        assert_eq!(code(&output), expected, "{}", out(&output));
        assert!(out(&output).starts_with(word), "{}", out(&output));
        assert_eq!(out(&output).lines().count(), 1);
    }
    let status = project.run(&["status"]);
    assert_eq!(code(&status), 0);
    assert!(out(&status).contains(RUN) && out(&status).contains("unknown"), "{}", out(&status));
    let json: serde_json::Value =
        serde_json::from_str(&out(&project.run(&["status", "--json"]))).unwrap();
    assert_eq!(json["runs"][0]["checkpoints"]["analyzed"], 3);
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(code(&project.run(&["gate", RUN])), 4);
}

#[test]
fn a_report_is_written_with_its_plot_and_never_over_a_persons_words() {
    let project = Project::new();
    project.script("checkpoint-20", FakeReport::with_rank(4.9));
    project.save(RUN, 20);
    project.save(RUN, 40);
    assert_eq!(code(&project.run(&["report", RUN])), 1, "there is no journal yet");
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    let folder = project.path("docs/2_Experiments_Registry/run_reports");
    let (text, plot) =
        (folder.join(format!("{RUN}_report.md")), folder.join(format!("{RUN}_report.svg")));
    let dry = project.run(&["report", RUN, "--dry-run"]);
    assert_eq!(code(&dry), 0, "{}", err(&dry));
    assert!(out(&dry).contains("would be written") && out(&dry).contains("+## Trajectory"));
    assert!(!text.exists() && !plot.exists());
    // The path of a checkpoint names its run as well.
    let written = project.run(&["report", &format!("Cache/Training/{RUN}/checkpoint-40/")]);
    assert_eq!(code(&written), 0, "{}", err(&written));
    let report = std::fs::read_to_string(&text).unwrap();
    assert!(report.contains("| `checkpoint-40` | 40 |") && report.contains("_report.svg)"));
    assert!(report.contains("/checkpoint-40/trainer_state.json"), "{report}");
    assert!(std::fs::read_to_string(&plot).unwrap().ends_with("</svg>\n"));
    // What nobody touched is brought up to date, and the difference is shown.
    project.save(RUN, 60);
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    let again = project.run(&["report", RUN]);
    assert!(out(&again).contains("+| `checkpoint-60` | 60 |"), "{}", out(&again));
    assert!(!out(&again).contains("+| `checkpoint-40` |"), "{}", out(&again));
    // A person's interpretation is theirs.
    let report = std::fs::read_to_string(&text).unwrap();
    let words = report.replace("## Interpretation\n\n—", "## Interpretation\n\nToo few steps.");
    assert_ne!(words, report);
    std::fs::write(&text, &words).unwrap();
    let refused = project.run(&["report", RUN]);
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("--out"), "{}", err(&refused));
    assert_eq!(std::fs::read_to_string(&text).unwrap(), words);
    let elsewhere = project.path("elsewhere.md");
    let elsewhere = elsewhere.to_str().unwrap();
    assert_eq!(code(&project.run(&["report", RUN, "--out", elsewhere])), 0);
    assert!(project.path("elsewhere.svg").exists());
    let report = std::fs::read_to_string(elsewhere).unwrap();
    let note = project.notes().into_iter().find(|name| name.contains("_failure_")).unwrap();
    let link = format!("(docs/2_Experiments_Registry/run_reports/{note}).");
    assert!(report.contains(&link), "no {link} in\n{report}");
    let unknown = project.run(&["report", "no_such_run_20260101_000000"]);
    assert_eq!(code(&unknown), 1);
    assert!(err(&unknown).contains("nothing is recorded"), "{}", err(&unknown));
}

#[test]
fn a_row_is_printed_for_pasting_and_two_runs_are_compared_at_equal_steps() {
    let project = Project::new();
    let other = "diffusion_H512L6C128D2_20260224_101010";
    project.script("checkpoint-40", FakeReport::with_rank(4.9));
    for (run, step) in [(RUN, 20), (RUN, 40), (RUN, 60), (other, 20), (other, 40)] {
        project.save(run, step);
    }
    // Without a journal the run's own files say what they can.
    let row = project.run(&["row", RUN]);
    assert!(code(&row) == 0 && out(&row).contains(&format!("| `{RUN}` |")), "{}", err(&row));
    assert_eq!(code(&project.run(&["row", "diffusion_H1L1C1D1_20260101_000000"])), 1);
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    let log = project.log();
    let written = log.lines().find(|line| line.contains(RUN) && line.contains("FAILED")).unwrap();
    let row = project.run(&["row", RUN]);
    assert_eq!(code(&row), 0, "{}", err(&row));
    assert_eq!(out(&row).trim_end(), written);
    // Without the log the row says the same.
    std::fs::remove_file(project.log_path()).unwrap();
    let again = project.run(&["row", RUN, "--header"]);
    assert_eq!(out(&again).lines().last(), Some(written), "{}", err(&again));
    assert_eq!(out(&again).lines().count(), 3);
    assert!(!project.log_path().exists());
    let compared = project.run(&["compare", RUN, other]);
    assert_eq!(code(&compared), 0, "{}", err(&compared));
    let lines: Vec<String> = out(&compared).lines().map(str::to_owned).collect();
    assert_eq!(lines.iter().filter(|line| line.starts_with("| `checkpoint-")).count(), 2);
    assert!(lines.iter().any(|line| line.contains("`checkpoint-40` | 4.9 / ")), "{lines:?}");
    assert_eq!(lines.last().unwrap(), "- A alone has 1 more.");
    let unknown = project.run(&["compare", RUN, "no_such_run_20260101_000000"]);
    assert_eq!(code(&unknown), 1);
    assert!(err(&unknown).contains("has been analyzed"), "{}", err(&unknown));
}

#[test]
fn once_does_one_pass_and_dry_run_writes_nothing() {
    let project = Project::new();
    project.save(RUN, 20);
    project.save(RUN, 40);
    project.save_final(RUN, 40);
    let dry = project.run(&["watch", "--dry-run"]);
    assert_eq!(code(&dry), 0, "{}", err(&dry));
    assert!(out(&dry).contains(&format!("would analyze {RUN}/checkpoint-40")), "{}", out(&dry));
    assert!(!project.path("Cache/runscribe").exists());
    let once = project.run(&["watch", "--once"]);
    assert_eq!(code(&once), 0, "{}", err(&once));
    assert_eq!(project.observations().len(), 3);
    let again = project.run(&["watch", "--once"]);
    assert_eq!(code(&again), 0, "{}", err(&again));
    assert_eq!(project.observations().len(), 3);
    assert_eq!(project.starts().values().sum::<usize>(), 2);
}

#[test]
fn once_tries_again_what_an_earlier_pass_could_not_write() {
    // It once ended at the reason that an earlier life had left in the journal.
    let project = Project::new();
    std::fs::create_dir_all(project.path(".git")).unwrap();
    std::fs::write(project.path(".git/MERGE_HEAD"), "").unwrap();
    std::fs::write(project.log_path(), "# Log\n").unwrap();
    project.save(RUN, 20);
    for _ in 0..2 {
        let held = project.run(&["watch", "--once"]);
        assert_eq!(code(&held), 1, "{}", err(&held));
        assert!(err(&held).contains("a merge is unfinished"), "{}", err(&held));
        assert_eq!(project.log(), "# Log\n");
    }
    std::fs::remove_file(project.path(".git/MERGE_HEAD")).unwrap();
    let written = project.run(&["watch", "--once"]);
    assert_eq!(code(&written), 0, "{}", err(&written));
    assert_eq!(project.observations().len(), 1);
}

#[test]
fn explain_says_in_plain_sentences_what_a_path_is() {
    let project = Project::new();
    project.save(RUN, 20);
    let folder = project.path("Cache/Training").join(RUN).join("checkpoint-40");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{").unwrap();
    let complete = project.run(&["explain", "Cache/Training/x"]);
    assert_eq!(code(&complete), 1, "{}", out(&complete));
    let path = project.path("Cache/Training").join(RUN).join("checkpoint-20");
    let complete = out(&project.run(&["explain", path.to_str().unwrap()]));
    assert!(complete.contains("It is complete"), "{complete}");
    let incomplete = out(&project.run(&["explain", folder.to_str().unwrap()]));
    assert!(incomplete.contains("It is incomplete"), "{incomplete}");
    assert!(incomplete.contains("`config.json` ends in the middle"), "{incomplete}");
}

#[test]
fn explain_says_of_a_log_that_is_not_followed_which_ones_are() {
    let project = Project::new();
    let settings = project.path("runscribe.toml");
    let configured = std::fs::read_to_string(&settings).unwrap_or_default();
    let configured = format!("project.shell_logs = [\"Cache/logs/shell_*.log\"]\n{configured}");
    std::fs::write(&settings, configured).unwrap();
    for (log, expected) in [
        (
            "Cache/logs/other.log",
            "It is not among the watched shell logs: `project.shell_logs` \
                                  names `Cache/logs/shell_*.log`.",
        ),
        ("Cache/logs/shell_x.log", "`project.shell_logs` names it, but"),
    ] {
        let path = project.path(log);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "{'loss': 8.5, 'epoch': 0.1}\n").unwrap();
        let told = out(&project.run(&["explain", path.to_str().unwrap()]));
        assert!(told.contains(expected), "{told}");
    }
}

/// Asks `explain` about a path in the training folder.
fn explained(project: &Project, path: &str) -> String {
    let path = project.path("Cache/Training").join(path);
    let output = project.run(&["explain", path.to_str().unwrap()]);
    assert_eq!(code(&output), 0, "{}: {}", path.display(), err(&output));
    out(&output)
}

#[test]
fn explain_knows_what_is_gone_renamed_ignored_and_unfinished() {
    let project = Project::new();
    let training = project.path("Cache/Training");
    let folder = |run: &str, name: &str| {
        let folder = training.join(run).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    };
    for step in [20, 40, 60, 80] {
        project.save(RUN, step);
    }
    let shadow = RUN.replace("063802", "063810");
    std::fs::write(folder(&shadow, "checkpoint-20").join("rng_state_1.pth"), "x").unwrap();
    std::fs::remove_file(folder(RUN, "checkpoint-60").join("model.safetensors")).unwrap();
    std::fs::write(folder(RUN, "checkpoint-80").join("checkpoint-is-incomplete.txt"), "").unwrap();
    folder(&RUN.replace("063802", "070000"), "");
    folder(RUN, "tmp-checkpoint-100");
    folder("mrpc", "checkpoint-3");
    std::os::unix::fs::symlink("/usr", training.join("out_20260101_000000")).unwrap();
    std::os::unix::fs::symlink("nowhere", training.join("broken_20260101_000000")).unwrap();
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    for (path, expected) in [
        (format!("{RUN}/checkpoint-20"), "verdict pass"),
        (format!("{RUN}/checkpoint-60"), "weights are gone (rotation?)"),
        (format!("{RUN}/checkpoint-80"), "`checkpoint-is-incomplete.txt` is there"),
        (RUN.to_owned(), "4 checkpoints, 2 of them complete"),
        (RUN.to_owned(), "`checkpoint-60`: It is incomplete"),
        (shadow, "It is a rank shadow of"),
        (RUN.replace("063802", "070000"), "It has no checkpoint yet"),
        (format!("{RUN}/tmp-checkpoint-100"), "is a temporary folder"),
        ("mrpc/checkpoint-3".to_owned(), "does not have the name of a run"),
        ("out_20260101_000000".to_owned(), "such links are not followed"),
        ("broken_20260101_000000".to_owned(), "a link that leads nowhere"),
        (String::new(), "It is the training folder and holds 3 runs"),
    ] {
        let text = explained(&project, &path);
        assert!(text.contains(expected), "{path}: {text}");
    }

    std::fs::remove_dir_all(folder(RUN, "checkpoint-40")).unwrap();
    let gone = explained(&project, &format!("{RUN}/checkpoint-40"));
    assert!(gone.contains("is not there") && gone.contains("verdict pass"), "{gone}");
    let renamed = RUN.replace("diffusion", "renamed");
    std::fs::rename(training.join(RUN), training.join(&renamed)).unwrap();
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    let old = explained(&project, RUN);
    assert!(old.contains(&format!("is named `{renamed}` now")), "{old}");
    let new = explained(&project, &renamed);
    assert!(new.contains(&format!("It was named `{RUN}` before")), "{new}");
    std::fs::remove_dir_all(training.join(&renamed)).unwrap();
    assert_eq!(code(&project.run(&["watch", "--once"])), 0);
    let deleted = explained(&project, &format!("{renamed}/checkpoint-20"));
    assert!(
        deleted.contains("folder was deleted") && deleted.contains("verdict pass"),
        "{deleted}"
    );
    assert_eq!(code(&project.run(&["explain", "Cache/Training/never"])), 1);
}

#[test]
fn analyze_prints_report_and_verdict_and_records_nothing() {
    let project = Project::new();
    project.save(RUN, 20);
    project.script("checkpoint-20", FakeReport::with_rank(3.0));
    let path = project.path("Cache/Training").join(RUN).join("checkpoint-20");
    let path = path.to_str().unwrap();
    let dry = project.run(&["analyze", path, "--dry-run"]);
    assert_eq!(code(&dry), 0, "{}", err(&dry));
    assert!(out(&dry).contains("CUDA_VISIBLE_DEVICES") || out(&dry).contains("environment:"));
    let output = project.run(&["analyze", path]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    assert!(out(&output).contains("CONCEPT SPACE GEOMETRY REPORT"), "{}", out(&output));
    assert!(out(&output).contains("Verdict: fail"), "{}", out(&output));
    assert!(!project.path("Cache/runscribe").exists());
    assert_eq!(project.log(), "");
}

#[test]
fn probe_reads_real_weights_and_says_that_they_are_weights() {
    let project = Project::new();
    project.save(RUN, 20);
    let path = project.path("Cache/Training").join(RUN).join("checkpoint-20");
    let json = project.path("probe.json");
    let arguments =
        ["--model_path", path.to_str().unwrap(), "--output_json", json.to_str().unwrap()];
    let output = command(&["probe"]).args(arguments).output().unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(out(&output).contains("concept embedding weights, not representations"));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let rank = report["embedding_weight_rank"].as_f64().unwrap();
    assert!((rank - 20.0).abs() < 0.5, "{rank}");
    let parsed = out(&command(&["parse", "report", json.to_str().unwrap()]).output().unwrap());
    assert!(parsed.contains("embedding_weight_rank"), "{parsed}");
    let missing = command(&["probe", "--model_path", "/nonexistent"]).output().unwrap();
    assert_eq!(code(&missing), 1);
    assert!(err(&missing).contains("/nonexistent"), "{}", err(&missing));
}

#[test]
fn man_and_completions_are_generated() {
    assert!(out(&command(&["man"]).output().unwrap()).contains("runscribe"));
    let completions = out(&command(&["completions", "bash"]).output().unwrap());
    assert!(completions.contains("complete -F"), "{completions}");
}
