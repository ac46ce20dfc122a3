//! From a checkpoint on disk to rows and notes in the documents.

use crate::support::{FakeReport, Project, TIME_ZONE, wait};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

#[test]
fn a_checkpoint_becomes_one_row_and_fills_the_runs_row() {
    let project = Project::new();
    let before = "# Log\n\n## Training Runs\n\n| Date | Run ID / Model Type | Machine | Eff. Rank \
                  | Conclusion / Takeaway |\n|---|---|---|---|---|\n| 2026-11-23 | \
                  `diffusion_H64L2C128D2_20261123_063802` | -- | -- | a person wrote this |\n\nProse \
                  that stays.\n";
    std::fs::write(project.log_path(), before).unwrap();
    let events = project.path("Cache/logs").join(RUN);
    std::fs::create_dir_all(&events).unwrap();
    std::fs::write(events.join("events.out.tfevents.1764000000.odin.17.0"), "").unwrap();
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    let rows = project.observations();
    assert_eq!(rows.len(), 1, "{}", project.log());
    let cells: Vec<&str> = rows[0].iter().skip(1).map(String::as_str).collect();
    assert_eq!(
        cells,
        [
            "`diffusion_H64L2C128D2_20261123_063802`",
            "`checkpoint-20`",
            "20.0 / 128 (31.2% of 64)",
            "0.229",
            "0.739",
            "8.239",
            "pass",
            ""
        ]
    );
    // Local time with offset, as the run ids are.
    let offset = jiff::Zoned::now().in_tz(TIME_ZONE).unwrap().strftime("%:z").to_string();
    assert!(rows[0][0].ends_with(&offset), "{}", rows[0][0]);
    daemon.wait_until("the machine's cell", |_| project.log().contains("| odin |"));
    let log = project.log();
    let row = "| odin | **20.0 / 128** (31.2% of 64) | a person wrote this |";
    assert!(log.contains(row), "{log}");
    assert!(
        log.starts_with("# Log\n\n## Training Runs\n") && log.contains("\nProse that stays.\n")
    );
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_failing_rank_makes_exactly_one_note_with_the_trajectory() {
    let project = Project::new();
    project.script("checkpoint-20", FakeReport::with_rank(6.5));
    project.script("checkpoint-40", FakeReport::with_rank(4.9));
    project.script("checkpoint-60", FakeReport::with_rank(3.2));
    let daemon = project.start();
    for step in [20, 40, 60] {
        project.save(RUN, step);
        daemon.wait_for_observations(step / 20);
    }
    let notes = project.notes();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with(&format!("{RUN}_failure_")), "{notes:?}");
    assert!(notes[0].ends_with("_effective-rank.md"), "{notes:?}");
    let folder = project.path("docs/2_Experiments_Registry/run_reports");
    let note = std::fs::read_to_string(folder.join(&notes[0])).unwrap();
    for part in ["4.9", "6.5", "`checkpoint-20`", "`checkpoint-40`", "nuclear norm", "Decision"] {
        assert!(note.contains(part), "no {part} in\n{note}");
    }
    assert!(!note.contains("checkpoint-60"), "the note is not rewritten:\n{note}");
    let log = project.log();
    assert_eq!(log.matches("## Failure Notes").count(), 1);
    let conclusion = "**FAILED: effective rank 4.9 / 128 (gate 5.0 = 10/128 of 64) at \
                      checkpoint-40.** [Note](run_reports/";
    assert!(log.contains(conclusion), "{log}");
    let verdicts: Vec<String> = project.observations().iter().map(|row| row[7].clone()).collect();
    assert_eq!(verdicts, ["pass", "**fail**", "**fail**"]);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_note_tells_the_commit_that_the_run_recorded_and_the_tag_that_was_made_for_it() {
    let project = Project::new();
    let logs = project.path(&format!("wandb/offline-run-20261123_063805-{RUN}/logs"));
    std::fs::create_dir_all(&logs).unwrap();
    let config = "config: {'hidden_size': 64, 'git_commit': '54ee870', 'git_tag': None}\n";
    std::fs::write(logs.join("debug.log"), config).unwrap();
    // What the repository says now is another commit, and of no interest.
    std::fs::create_dir_all(project.path(".git")).unwrap();
    std::fs::write(project.path(".git/HEAD"), "9999999999999999999999999999999999999999\n")
        .unwrap();
    let packed = "54ee870000000000000000000000000000000000 \
                  refs/tags/train/diffusion_H64L2C128D2_20261123\n";
    std::fs::write(project.path(".git/packed-refs"), packed).unwrap();
    project.script("checkpoint-20", FakeReport::with_rank(4.9));
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    wait("the note", || project.notes().len() == 1);
    let folder = project.path("docs/2_Experiments_Registry/run_reports");
    let note = std::fs::read_to_string(folder.join(&project.notes()[0])).unwrap();
    assert!(note.contains("**Git commit:** `54ee870`"), "{note}");
    assert!(note.contains("**Git tag:** `train/diffusion_H64L2C128D2_20261123`"), "{note}");
    daemon.wait_until("the tag's cell", |_| {
        project.log().contains("| `train/diffusion_H64L2C128D2_20261123` |")
    });
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_note_tells_the_shell_logs_line_that_says_what_the_trainers_state_says() {
    // A log is looked for among those that were written since the run's own stamp.
    let run = "diffusion_H64L2C128D2_20250101_000000";
    let project = Project::new();
    let folder = project.path("Cache/Training").join(run);
    let log = format!(
        "Output directory: {}\n{{'loss': 8.6391, 'grad_norm': 2.292, 'epoch': 0.02}}\n\
         {{'loss': 8.3238, 'grad_norm': 1.86, 'learning_rate': 0.00024, 'epoch': 0.04}}\n",
        folder.display()
    );
    std::fs::write(project.path("Cache/logs/shell_diffusion_20250101_000000.log"), log).unwrap();
    project.script("checkpoint-20", FakeReport::with_rank(4.9));
    // An analysis takes seconds, in which the log is read.
    project.script_file("checkpoint-20", "slow", "1");
    let daemon = project.start();
    project.save(run, 20);
    daemon.wait_for_observations(1);
    wait("the note", || project.notes().len() == 1);
    let folder = project.path("docs/2_Experiments_Registry/run_reports");
    let note = std::fs::read_to_string(folder.join(&project.notes()[0])).unwrap();
    let expected = "shell_diffusion_20250101_000000.log, line 3, step 20: loss 8.3238, grad";
    assert!(note.replace('\\', "").contains(expected), "{note}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_final_model_with_a_checkpoints_weights_is_not_analyzed_again() {
    let project = Project::new();
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    project.save_final(RUN, 20);
    daemon.wait_for_observations(2);
    let rows = project.observations();
    assert_eq!(rows[1][2], "`final`");
    assert_eq!(rows[1][8], "= checkpoint-20");
    assert_eq!(rows[1][3], rows[0][3]);
    assert_eq!(project.starts().get("final"), None);
    // Another final model of the run has weights of its own.
    project.save_final(RUN, 40);
    daemon.wait_for_observations(3);
    assert_eq!(project.starts().get("final"), Some(&1));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn values_that_are_not_finite_in_the_weights_fail_whatever_the_report_says() {
    let project = Project::new();
    let daemon = project.start();
    project.save_not_finite(RUN, 20);
    daemon.wait_for_observations(1);
    let rows = project.observations();
    assert_eq!(rows[0][7], "**fail**");
    assert!(rows[0][8].contains("not finite") || rows[0][8].contains("NaN"), "{rows:?}");
    assert!(project.notes()[0].ends_with("_non-finite.md"));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn an_edit_of_a_person_between_two_observations_stays() {
    let project = Project::new();
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    let mut log = project.log();
    log.push_str("\n## My own section\n\ntext without a final newline");
    std::fs::write(project.log_path(), &log).unwrap();
    project.save(RUN, 40);
    daemon.wait_for_observations(2);
    let log = project.log();
    assert!(log.ends_with("text without a final newline"), "{log}");
    assert_eq!(project.observations().len(), 2);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_held_log_is_stated_and_delivered_later() {
    let project = Project::new();
    std::fs::create_dir_all(project.path(".git")).unwrap();
    std::fs::write(project.path(".git/MERGE_HEAD"), "").unwrap();
    std::fs::write(project.log_path(), "# Log\n").unwrap();
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_until("a held document", |status| {
        let reason = status["documents"]["held"][0]["reason"].as_str().unwrap_or_default();
        reason.contains("merge")
    });
    assert_eq!(project.log(), "# Log\n");
    std::fs::remove_file(project.path(".git/MERGE_HEAD")).unwrap();
    daemon.wait_for_observations(1);
    assert_eq!(project.observations().len(), 1);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn folders_that_are_no_runs_and_training_folders_that_come_later_are_understood() {
    let project = Project::new();
    std::fs::remove_dir(project.path("Cache/Training")).unwrap();
    let daemon = project.start();
    daemon.wait_until("the missing folder", |status| {
        status["watch"]["training_folder"].as_str().unwrap_or_default().contains("does not exist")
    });
    project.save("mrpc", 20);
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    let runs = daemon.snapshot()["runs"].as_array().unwrap().len();
    assert_eq!(runs, 1);
    assert_eq!(project.starts().len(), 1);
    wait("the row", || project.observations().len() == 1);
    assert_eq!(daemon.stop(), Some(0));
}
