//! Scores in the run's row and in the evaluations table.

use expect_test::{Expect, expect};

use super::support::{PROJECT_LOG, difference, edited, links, moment, run_row};
use crate::document::{apply, contains, scores};
use crate::model::evaluation::{
    ACCURACY, EvaluatedModel, EvaluationReport, F1, GateOverride, KnownEvaluation, MATTHEWS,
    PEARSON, Suite,
};
use crate::model::ids::{CheckpointName, Digest, RunId};
use crate::model::observation::{
    CellFill, DocumentEdit, EvaluationCells, EvaluationRow, RunColumn,
};

const RUN: &str = "perceiver_mlm_H512L6C128_20260219_105435";
const PROJECT_TABLE: &str = "## Evaluation Experiments (Zero Training Cost)

| Date | Eval Type | Source Checkpoint | Machine | Tasks | Key Scores | WandB | Conclusion |
|---|---|---|---|---|---|---|---|
| 2026-02-22 | `perceiver_decoder_cls` (ViaDecoder) | `perceiver_mlm_H512L6C128_20260208_211633` | Odra | mrpc | **MRPC F1:** 82.73% | [WandB](https://x) | good |

Prose.
";

fn report(task: &str, scores: &[(&str, f64)]) -> EvaluationReport {
    EvaluationReport {
        name: format!("glue-{task}"),
        suite: Suite::Glue,
        task: task.into(),
        stamp: jiff::civil::date(2026, 2, 26).at(10, 12, 0, 0),
        scores: scores.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect(),
        main_metric: None,
        model: None,
        model_type: Some("perceiver_decoder_cls".into()),
        claimed_run: None,
        name_of_model: String::new(),
        wandb_url: Some(format!("https://wandb.ai/x/y/runs/{task}")),
        problems: Vec::new(),
    }
}

fn sweep() -> Vec<EvaluationReport> {
    vec![
        report("qqp", &[(ACCURACY, 0.7), (F1, 0.615)]),
        report("mnli-matched", &[(ACCURACY, 0.5975)]),
        report("mrpc", &[(ACCURACY, 0.71), (F1, 0.8217)]),
        report("stsb", &[(PEARSON, 0.65)]),
        report("rte", &[]),
    ]
}

fn row(tasks: &[&str], before: Option<&[&str]>) -> DocumentEdit {
    let cells = |tasks: &[&str]| {
        let sweep = sweep();
        let found: Vec<_> = sweep.iter().filter(|one| tasks.contains(&one.task.as_str())).collect();
        scores::evaluation_cells(&found)
    };
    DocumentEdit::EvaluationRow(EvaluationRow {
        run: RUN.into(),
        checkpoint: "final".into(),
        date: "2026-02-26".into(),
        kind: scores::kind(&report("mrpc", &[])),
        cells: cells(tasks),
        before: before.map(cells),
    })
}

fn check(log: &str, edit: &DocumentEdit, expected: &Expect) -> String {
    let after = edited(log, edit);
    expected.assert_eq(&difference(log, &after));
    assert!(contains(after.as_bytes(), edit), "{after}");
    assert_eq!(edited(&after, edit), after);
    after
}

#[test]
fn the_glue_cell_names_the_measure_only_where_it_is_unusual() {
    let shown = |reports: &[EvaluationReport]| {
        let fill = scores::glue_fill(&reports.iter().collect::<Vec<_>>());
        fill.map(|CellFill { column, value }| {
            assert_eq!(column, RunColumn::GlueScores);
            value
        })
    };
    expect!["**MRPC:** 82.2% <br> **STS-B:** 0.650 <br> **QQP:** 61.5% <br> **MNLI-m:** 59.8%"]
        .assert_eq(&shown(&sweep()).unwrap());
    let unusual = [report("mrpc", &[(ACCURACY, 0.7108)]), report("cola", &[(MATTHEWS, -0.02)])];
    expect!["**MRPC acc:** 71.1% <br> **CoLA:** -0.020"].assert_eq(&shown(&unusual).unwrap());
    assert_eq!(shown(&[report("rte", &[])]), None);
    assert_eq!(shown(&[]), None);
}

#[test]
fn the_glue_cell_is_filled_where_it_is_empty_or_ours() {
    let edit = |value| run_row(RUN, &[(RunColumn::GlueScores, value)], false);
    let first = edited(PROJECT_LOG, &edit("**MRPC:** 82.2%"));
    assert!(
        first.contains("| **TBD** | **MRPC:** 82.2% | ? |"),
        "{}",
        difference(PROJECT_LOG, &first)
    );
    let more = edit("**MRPC:** 82.2% <br> **QQP:** 61.5%");
    let theirs = apply(Some(first.as_bytes()), &more, &|_| None, &links()).unwrap();
    assert!(!theirs.changed, "a person may have written it");
    let ours = |_| Some("**MRPC:** 82.2%".to_owned());
    let updated = apply(Some(first.as_bytes()), &more, &ours, &links()).unwrap();
    assert!(String::from_utf8_lossy(&updated.bytes).contains("82.2% <br> **QQP:** 61.5% | ? |"));
}

#[test]
fn a_sweep_has_one_row_that_grows_with_it() {
    let first = check(
        PROJECT_TABLE,
        &row(&["mrpc"], None),
        &expect![[r#"
        +| 2026-02-26 | GLUE `perceiver_decoder_cls` | `perceiver_mlm_H512L6C128_20260219_105435` | -- | mrpc | **MRPC F1:** 82.2% | [link](https://wandb.ai/x/y/runs/mrpc) | -- |
    "#]],
    );
    let second = row(&["mrpc", "stsb", "mnli-matched"], Some(&["mrpc"]));
    let grown = check(
        &first,
        &second,
        &expect![[r#"
        -| 2026-02-26 | GLUE `perceiver_decoder_cls` | `perceiver_mlm_H512L6C128_20260219_105435` | -- | mrpc | **MRPC F1:** 82.2% | [link](https://wandb.ai/x/y/runs/mrpc) | -- |
        +| 2026-02-26 | GLUE `perceiver_decoder_cls` | `perceiver_mlm_H512L6C128_20260219_105435` | -- | mrpc, stsb, mnli-matched | **MRPC F1:** 82.2% <br> **STS-B P:** 0.650 <br> **MNLI-m:** 59.8% | [MRPC](https://wandb.ai/x/y/runs/mrpc) <br> [STS-B](https://wandb.ai/x/y/runs/stsb) <br> [MNLI-m](https://wandb.ai/x/y/runs/mnli-matched) | -- |
    "#]],
    );
    // The first entry, made again after a crash, finds its row and takes nothing back.
    assert_eq!(edited(&grown, &row(&["mrpc"], None)), grown);
    // What a person wrote stays; what is still ours goes on.
    let words = grown.replace("**MRPC F1:** 82.2% <br> ", "**MRPC F1:** 82.2 (best of 3) <br> ");
    let words = words.replace("mrpc, stsb, mnli-matched |", "-- |");
    let after = edited(&words, &row(&["mrpc", "qqp"], Some(&["mrpc", "stsb", "mnli-matched"])));
    assert!(after.contains("| mrpc, qqp | **MRPC F1:** 82.2 (best of 3) <br>"), "{after}");
}

#[test]
fn another_date_checkpoint_or_kind_is_another_row() {
    let log = edited(PROJECT_TABLE, &row(&["mrpc"], None));
    let changed = |change: fn(&mut EvaluationRow)| {
        let DocumentEdit::EvaluationRow(mut other) = row(&["mrpc"], None) else { return 0 };
        change(&mut other);
        let after = edited(&log, &DocumentEdit::EvaluationRow(other));
        after.lines().count() - log.lines().count()
    };
    assert_eq!(changed(|_| {}), 0);
    assert_eq!(changed(|row| row.date = "2026-03-26".into()), 1);
    assert_eq!(changed(|row| row.checkpoint = "checkpoint-5000".into()), 1);
    assert_eq!(changed(|row| row.kind = "GLUE `perceiver_mlm`".into()), 1);
    assert_eq!(changed(|row| row.run = "perceiver_mlm_H512L6C128_20260219_105436".into()), 1);
}

#[test]
fn the_table_is_made_where_there_is_none_and_other_columns_are_understood() {
    check(
        "# Log\n",
        &row(&["stsb"], None),
        &expect![[r#"
        +
        +## Evaluation Experiments (Zero Training Cost)
        +
        +| Date | Eval Type | Source Checkpoint | Machine | Tasks | Key Scores | WandB | Conclusion |
        +|---|---|---|---|---|---|---|---|
        +| 2026-02-26 | GLUE `perceiver_decoder_cls` | `perceiver_mlm_H512L6C128_20260219_105435` | -- | stsb | **STS-B P:** 0.650 | [link](https://wandb.ai/x/y/runs/stsb) | -- |
    "#]],
    );
    check(
        PROJECT_LOG,
        &row(&["stsb"], None),
        &expect![[r#"
        +| 2026-02-26 | `perceiver_mlm_H512L6C128_20260219_105435` | -- | -- | -- |
    "#]],
    );
}

#[test]
fn text_from_outside_stays_in_its_cell() {
    let mut odd = report("a|b <i>", &[(ACCURACY, 0.5)]);
    odd.model_type = Some("x|y".into());
    odd.wandb_url = Some("javascript:alert(1)".into());
    let cells = scores::evaluation_cells(&[&odd]);
    assert_eq!(cells.wandb, "");
    let edit = DocumentEdit::EvaluationRow(EvaluationRow {
        run: "odd | run".into(),
        checkpoint: "checkpoint-7".into(),
        date: "2026-02-26".into(),
        kind: scores::kind(&odd),
        cells: EvaluationCells { conclusion: "a | b\nc".into(), ..cells },
        before: None,
    });
    let after = edited(PROJECT_TABLE, &edit);
    let line = after.lines().find(|line| line.contains("checkpoint-7")).unwrap();
    assert_eq!(line.replace("\\|", "").matches('|').count(), 9, "{line}");
    assert!(contains(after.as_bytes(), &edit), "{line}");
    assert_eq!(edited(&after, &edit), after);
}

#[test]
fn a_run_s_report_lists_its_scores_and_who_overrode_the_gate() {
    let known = |report: EvaluationReport| KnownEvaluation {
        report,
        digest: Digest::from_bytes(&[1]),
        model: Ok(EvaluatedModel { run: RunId::new(RUN), checkpoint: CheckpointName::Final }),
        row: None,
        old: false,
    };
    let reports: Vec<_> = sweep().into_iter().take(3).map(known).collect();
    let overrides = [GateOverride {
        name: "a".into(),
        action: "evaluate".into(),
        run: RunId::new(RUN),
        verdict: "fail: rank 7.3".into(),
        reason: "a <b> baseline".into(),
        time: moment("2026-02-26T10:00:00+01:00"),
    }];
    expect![[r#"
        ## Evaluation

        | Date | Model | Evaluated as | Task | Measure | Score | Report |
        |---|---|---|---|---|---|---|
        | 2026-02-26 10:12 | `final` | GLUE `perceiver_decoder_cls` | QQP | F1 | 61.5% | `glue-qqp` |
        | 2026-02-26 10:12 | `final` | GLUE `perceiver_decoder_cls` | MNLI-m | acc | 59.8% | `glue-mnli-matched` |
        | 2026-02-26 10:12 | `final` | GLUE `perceiver_decoder_cls` | MRPC | F1 | 82.2% | `glue-mrpc` |

        - Gate overridden at 2026-02-26 10:00:00 +01:00 to evaluate (fail: rank 7.3): a &lt;b> baseline
    "#]]
    .assert_eq(&scores::report_section(&reports, &overrides));
    assert_eq!(scores::report_section(&[], &[]), "");
    assert!(scores::report_section(&[], &overrides).starts_with("## Evaluation\n\n- Gate"));
}
