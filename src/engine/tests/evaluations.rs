//! Evaluation reports on their way into the log.

use crate::model::evaluation::{
    ACCURACY, EvaluationReport, EvaluationSighting, F1, GateOverride, Suite,
};
use crate::model::observation::{EvaluationRow, RunColumn};

use super::*;

const OTHER: &str = "perceiver_mlm_H512L6C128_20260208_211633";

fn report(task: &str, minute: i8, score: f64) -> EvaluationReport {
    EvaluationReport {
        name: format!("glue-{task}-20261123_08{minute:02}"),
        suite: Suite::Glue,
        task: task.to_owned(),
        stamp: jiff::civil::date(2026, 11, 23).at(8, minute, 0, 0),
        scores: [(ACCURACY.to_owned(), 0.5), (F1.to_owned(), score)].into(),
        main_metric: Some(ACCURACY.to_owned()),
        model: Some(format!("Cache/Training/{RUN}/{RUN}")),
        model_type: Some("perceiver_decoder_cls".to_owned()),
        claimed_run: Some(RUN.to_owned()),
        name_of_model: String::new(),
        wandb_url: None,
        problems: Vec::new(),
    }
}

fn seen(play: &mut Play, report: EvaluationReport, age: u64) {
    let now = play.now.timestamp();
    let age = jiff::SignedDuration::from_secs(i64::try_from(age).unwrap());
    let digest = Digest::from_bytes(format!("{:?}", report.scores).as_bytes());
    let sighting = EvaluationSighting { reports: vec![report], digest, modified: now - age };
    play.event(Event::Evaluations(EvaluationNews::Seen(Box::new(sighting))));
}

/// A play in which reports were looked for long ago.
fn looked() -> Play {
    let mut play = Play::new();
    play.event(Event::Evaluations(EvaluationNews::AllRead));
    play
}

fn cells(play: &Play) -> Vec<String> {
    let glue = |edit: &DocumentEdit| match edit {
        DocumentEdit::RunRow { fills, add_missing: false, .. } => {
            let fill = fills.iter().find(|fill| fill.column == RunColumn::GlueScores)?;
            Some(fill.value.clone())
        }
        _ => None,
    };
    play.journal.documents.iter().filter_map(glue).collect()
}

fn rows(play: &Play) -> Vec<EvaluationRow> {
    let row = |edit: &DocumentEdit| match edit {
        DocumentEdit::EvaluationRow(row) => Some(row.clone()),
        _ => None,
    };
    play.journal.documents.iter().filter_map(row).collect()
}

fn told(play: &Play) -> Vec<String> {
    let event = |event: &Happening| match event {
        Happening::Evaluated { task, metric, score, problems, .. } => {
            let metric = metric.clone().unwrap_or_default();
            Some(format!("{task} {metric} {} {}", score.unwrap_or(-1.0), problems.join("; ")))
        }
        Happening::GateOverridden { action, reason, .. } => Some(format!("{action}: {reason}")),
        _ => None,
    };
    play.journal.events.iter().filter_map(event).collect()
}

#[test]
fn a_sweep_fills_the_runs_cell_and_one_row_and_each_report_is_recorded_once() {
    let mut play = looked();
    seen(&mut play, report("mrpc", 10, 0.82), 3);
    seen(&mut play, report("mrpc", 10, 0.82), 3);
    seen(&mut play, report("qqp", 40, 0.61), 3);
    assert_eq!(told(&play), ["mrpc f1 0.82 ", "qqp f1 0.61 "]);
    assert_eq!(cells(&play), ["**MRPC:** 82.0%", "**MRPC:** 82.0% <br> **QQP:** 61.0%"]);
    let [first, second] = rows(&play).try_into().unwrap();
    assert_eq!((first.date.as_str(), first.before.as_ref()), ("2026-11-23", None));
    assert_eq!(first.kind, "GLUE `perceiver_decoder_cls`");
    assert_eq!(second.before, Some(first.cells));
    assert_eq!(second.cells.tasks, "mrpc, qqp");
    // Another life knows them, and says nothing again.
    play.restart();
    seen(&mut play, report("mrpc", 10, 0.82), 3);
    assert_eq!((told(&play).len(), rows(&play).len()), (2, 2));
    let status = snapshot(&play.world, play.now);
    assert!(status.runs.is_empty(), "nothing but reports is known of the run");
    // A repeated task: the newest one wins, also when it comes first.
    seen(&mut play, report("mrpc", 50, 0.84), 3);
    seen(&mut play, report("mrpc", 45, 0.10), 3);
    assert_eq!(cells(&play).last().unwrap(), "**MRPC:** 84.0% <br> **QQP:** 61.0%");
    assert_eq!(rows(&play).len(), 3);
    // A report that is corrected replaces itself.
    seen(&mut play, report("qqp", 40, 0.63), 3);
    assert_eq!(cells(&play).last().unwrap(), "**MRPC:** 84.0% <br> **QQP:** 63.0%");
}

#[test]
fn reports_of_another_day_or_checkpoint_have_rows_of_their_own() {
    let mut play = looked();
    seen(&mut play, report("mrpc", 10, 0.8), 3);
    let mut later = report("mrpc", 10, 0.85);
    later.stamp = jiff::civil::date(2026, 11, 25).at(8, 10, 0, 0);
    later.name = "glue-mrpc-20261125_0810".to_owned();
    seen(&mut play, later, 3);
    let mut step = report("stsb", 20, 0.9);
    step.model = Some(format!("Cache/Training/{RUN}/checkpoint-40"));
    seen(&mut play, step, 3);
    let keys: Vec<_> =
        rows(&play).into_iter().map(|row| format!("{} {}", row.date, row.checkpoint)).collect();
    assert_eq!(keys, ["2026-11-23 final", "2026-11-25 final", "2026-11-23 checkpoint-40"]);
    // The cell is of the final model.
    assert_eq!(cells(&play), ["**MRPC:** 80.0%", "**MRPC:** 85.0%"]);
}

#[test]
fn reports_that_were_old_when_first_looked_for_are_known_and_not_written() {
    let mut play = Play::new();
    seen(&mut play, report("mrpc", 10, 0.8), 100 * 3600);
    play.event(Event::Evaluations(EvaluationNews::AllRead));
    assert_eq!((told(&play).len(), rows(&play).len(), cells(&play).len()), (0, 0, 0));
    // They count for the cell once something new is written.
    seen(&mut play, report("qqp", 20, 0.6), 100 * 3600);
    assert_eq!(cells(&play), ["**MRPC:** 80.0% <br> **QQP:** 60.0%"]);
    assert_eq!(rows(&play).first().unwrap().cells.tasks, "qqp");
}

#[test]
fn a_report_without_a_run_is_shown_with_its_reason_until_its_run_comes() {
    let mut play = looked();
    let mut lost = report("mrpc", 10, 0.8);
    (lost.model, lost.claimed_run) = (None, None);
    lost.name_of_model = "diffusion-h64l2c128d2-20261123-063802".to_owned();
    seen(&mut play, lost, 3);
    let unlinked = snapshot(&play.world, play.now).unlinked_reports;
    assert_eq!(unlinked.len(), 1);
    assert!(unlinked.first().unwrap().reason.contains("does not say which model"));
    assert!(rows(&play).is_empty());
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    play.event(Event::FirstScanDone);
    let status = snapshot(&play.world, play.now);
    assert!(status.unlinked_reports.is_empty());
    let scores = &status.runs.first().unwrap().scores;
    assert_eq!((scores.len(), scores.first().unwrap().metric.as_str()), (1, F1));
    assert_eq!(rows(&play).len(), 1);
    assert_eq!(told(&play).last().unwrap(), "mrpc f1 0.8 ");
}

#[test]
fn an_overridden_gate_is_told_once_and_stands_in_the_sweeps_row() {
    let mut play = looked();
    let one = GateOverride {
        name: "a.json".to_owned(),
        action: "evaluate".to_owned(),
        run: RunId::new(RUN),
        verdict: "fail".to_owned(),
        reason: "a | baseline".to_owned(),
        time: play.now,
    };
    for _ in 0..2 {
        let news = EvaluationNews::Overridden(Box::new(one.clone()));
        play.event(Event::Evaluations(news));
    }
    play.restart();
    play.event(Event::Evaluations(EvaluationNews::Overridden(Box::new(one))));
    seen(&mut play, report("mrpc", 10, 0.8), 3);
    assert_eq!(told(&play), ["evaluate: a | baseline", "mrpc f1 0.8 "]);
    assert_eq!(
        rows(&play).first().unwrap().cells.conclusion,
        "Gate overridden (fail): a \\| baseline"
    );
    let mut other = report("mrpc", 10, 0.8);
    "other".clone_into(&mut other.name);
    (other.model, other.claimed_run) = (None, Some(OTHER.to_owned()));
    seen(&mut play, other, 3);
    assert_eq!(rows(&play).last().unwrap().cells.conclusion, "", "another run's");
}

#[test]
fn a_score_that_is_none_is_told_and_writes_nothing() {
    let mut play = looked();
    let mut empty = report("mrpc", 10, 0.8);
    empty.scores.clear();
    empty.problems.push("its f1 is no number: `nan`".to_owned());
    seen(&mut play, empty, 3);
    assert_eq!(told(&play), ["mrpc  -1 its f1 is no number: `nan`"]);
    assert!(rows(&play).is_empty() && cells(&play).is_empty());
}

#[test]
fn while_the_journal_cannot_commit_reports_are_asked_for_again() {
    let mut play = looked();
    play.event(Event::CommitTrouble(Some("the disk is full".to_owned())));
    seen(&mut play, report("mrpc", 10, 0.8), 3);
    assert!(told(&play).is_empty());
    let before = play.rescans;
    play.event(Event::CommitTrouble(None));
    assert_eq!(play.rescans, before + 1);
    seen(&mut play, report("mrpc", 10, 0.8), 3);
    assert_eq!(told(&play).len(), 1);
}
