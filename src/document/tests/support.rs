//! Observations, edits and logs for the tests of this room.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::Offset;

use crate::document::{Applied, Held, Links, apply};
use crate::model::checkpoint::{ModelConfig, TrainingPoint};
use crate::model::ids::{CheckpointId, CheckpointName, Digest, RunId};
use crate::model::measurement::{GLOBAL_EFFECTIVE_RANK, Judgment, RankGate, RankReading, Verdict};
use crate::model::observation::{
    CellFill, DocumentEdit, HeaderNames, Observation, ObservationOutcome, ObservationRow, RunColumn,
};
use crate::model::time::Moment;

pub(crate) const PROJECT_LOG: &str =
    include_str!("../../../tests/fixtures/document/project_log.md");
pub(crate) const PERCEIVER: &str =
    include_str!("../../../tests/fixtures/document/report_perceiver_h512_c128.json");
pub(crate) const DIFFUSION: &str =
    include_str!("../../../tests/fixtures/document/report_diffusion_h64_c128.json");
pub(crate) const WEIGHTED: &str =
    include_str!("../../../tests/fixtures/document/report_weighted_h128_c32.json");

pub(crate) fn links() -> Links {
    Links { reports: "run_reports".into() }
}

pub(crate) fn moment(text: &str) -> Moment {
    Moment::parse(text).unwrap_or(Moment::new(Timestamp::UNIX_EPOCH, Offset::UTC))
}

/// Applies an edit for which nothing was written before.
pub(crate) fn first_apply(log: Option<&str>, edit: &DocumentEdit) -> Result<Applied, Held> {
    apply(log.map(str::as_bytes), edit, &|_| None, &links())
}

/// Applies an edit and returns the text after it; a held log shows its reason instead.
pub(crate) fn edited(log: &str, edit: &DocumentEdit) -> String {
    match first_apply(Some(log), edit) {
        Ok(applied) => String::from_utf8_lossy(&applied.bytes).into_owned(),
        Err(held) => format!("HELD: {held}"),
    }
}

/// Returns the lines of a text that another one does not have, to show what an edit did.
pub(crate) fn difference(before: &str, after: &str) -> String {
    let lines = |text: &str| text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>();
    let (old, new) = (lines(before), lines(after));
    let same_start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let rest = old.len().min(new.len()) - same_start;
    let same_end =
        old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let part = |lines: &[String], mark: &str| {
        let changed = lines.iter().take(lines.len() - same_end).skip(same_start);
        let shown = changed.map(|line| line.trim_end_matches('\n').replace('\r', "␍"));
        shown.flat_map(|line| [mark.to_owned(), line, "\n".to_owned()]).collect::<String>()
    };
    part(&old, "-") + &part(&new, "+")
}

pub(crate) fn row(time: &str, run: &str, checkpoint: &str) -> ObservationRow {
    ObservationRow {
        time: time.into(),
        run: run.into(),
        checkpoint: checkpoint.into(),
        rank: "10.1 / 128 (7.9%)".into(),
        mean_similarity: "0.187".into(),
        max_similarity: "1.000".into(),
        eval_loss: "1.433".into(),
        verdict: "pass".into(),
        note: "duplicate concepts".into(),
    }
}

pub(crate) fn observed(time: &str, run: &str, checkpoint: &str) -> DocumentEdit {
    DocumentEdit::ObservationRow(row(time, run, checkpoint))
}

pub(crate) fn fill(column: RunColumn, value: &str) -> CellFill {
    CellFill { column, value: value.into() }
}

pub(crate) fn run_row(run: &str, fills: &[(RunColumn, &str)], add_missing: bool) -> DocumentEdit {
    DocumentEdit::RunRow {
        run: RunId::new(run),
        fills: fills.iter().map(|(column, value)| fill(*column, value)).collect(),
        add_missing,
        headers: HeaderNames::new(),
    }
}

pub(crate) fn failure_line(run: &str, file: &str, summary: &str) -> DocumentEdit {
    DocumentEdit::FailureLine { run: RunId::new(run), file: file.into(), summary: summary.into() }
}

/// Builds the observation of a report; a rank below 10/128 of the dimensions fails.
pub(crate) fn observation(report: &str, shape: (u64, u64), step: u64) -> Observation {
    let json: serde_json::Value = serde_json::from_str(report).unwrap_or_default();
    let text = |key: &str| json.get(key).and_then(|value| value.as_str()).unwrap_or_default();
    let run = text("model_path").rsplit('/').nth(1).unwrap_or_default().to_owned();
    let measurements: BTreeMap<String, Option<f64>> = json
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| value.as_f64().map(|value| (name.clone(), Some(value))))
        .collect();
    let (hidden, concepts) = shape;
    let rank = measurements.get(GLOBAL_EFFECTIVE_RANK).copied().flatten().unwrap_or(f64::NAN);
    Observation {
        time: moment("2026-02-25T14:03:07+01:00"),
        checkpoint: CheckpointId { run: RunId::new(run), name: CheckpointName::Step(step) },
        digest: Digest::from_bytes(&[0xc0, 0xff, 0xee]),
        weights_sha256: None,
        weights_digest: Digest::from_bytes(&[1]),
        config: ModelConfig {
            architecture: Some("ConceptEncoder".into()),
            concepts: Some(concepts),
            hidden: Some(hidden),
            layers: Some(2),
            max_sequence_length: Some(512),
        },
        measurements,
        concepts: Some(concepts),
        hidden: Some(hidden),
        finite: None,
        outcome: ObservationOutcome::Judged(judgment(rank, shape)),
        training: Some(training(step)),
        protocol: "3f2a9c".into(),
        same_as: None,
        conditions: vec!["on the CPU: no GPU is free".into()],
        note: String::new(),
    }
}

/// Returns an observation that may be changed before it is used.
pub(crate) fn with(
    mut observation: Observation,
    change: impl FnOnce(&mut Observation),
) -> Observation {
    change(&mut observation);
    observation
}

/// Changes a judgment in place; an observation without one stays as it is.
pub(crate) fn rejudge(observation: &mut Observation, change: impl FnOnce(&mut Judgment)) {
    if let ObservationOutcome::Judged(judgment) = &mut observation.outcome {
        change(judgment);
    }
}

fn judgment(rank: f64, (hidden, concepts): (u64, u64)) -> Judgment {
    #[expect(clippy::cast_precision_loss, reason = "small numbers of a test")]
    let threshold = 10.0 / 128.0 * hidden.min(concepts) as f64;
    let fails = rank < threshold;
    Judgment {
        verdict: if fails { Verdict::Fail } else { Verdict::Pass },
        reasons: if fails {
            vec![format!("effective rank {rank:.1} < {threshold:.1}")]
        } else {
            vec![]
        },
        remarks: vec![],
        rank: Some(RankReading {
            measurement: GLOBAL_EFFECTIVE_RANK.into(),
            value: rank,
            concepts: Some(concepts),
            hidden: Some(hidden),
            gate: Some(RankGate {
                name: "effective-rank".into(),
                threshold,
                min: 10.0,
                reference: Some(128),
            }),
        }),
        failure_kind: fails.then(|| "effective-rank".into()),
    }
}

fn training(step: u64) -> TrainingPoint {
    TrainingPoint {
        step,
        total_steps: Some(40_000),
        epoch: Some(3.25),
        loss: Some(2.717_9),
        loss_step: Some(step),
        grad_norm: Some(1.691_9),
        learning_rate: Some(0.000_27),
        eval_loss: Some(1.432_9),
        eval_step: Some(step),
        not_finite: vec![],
    }
}
