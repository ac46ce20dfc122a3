//! One gate on one report: decided, violated, or why it cannot be decided.

use std::cmp::Ordering;

use super::BORDERLINE;
use super::belief::{Dimensions, is_rank};
use super::wording::{comparison, kind, label, missing, number};
use crate::model::measurement::{Gate, RankGate, Report, Severity, Verdict};

/// A value this near to its threshold, relative to it, is borderline.
const BORDERLINE_SHARE: f64 = 0.05;

/// Something that keeps a verdict from being `pass`.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    pub(super) reason: String,
    /// The kind of failure note, for violated gates.
    pub(super) kind: Option<String>,
}

impl Finding {
    pub(super) fn undecided(reason: String) -> Self {
        Self { verdict: Verdict::Unknown, reason, kind: None }
    }

    fn violation(gate: &Gate, reason: String) -> Self {
        let verdict = match gate.severity {
            Severity::Warn => Verdict::Warn,
            Severity::Fail => Verdict::Fail,
        };
        Self { verdict, reason, kind: Some(kind(&gate.name)) }
    }
}

/// What one gate says of one report.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) measurement: String,
    pub(super) findings: Vec<Finding>,
    pub(super) borderline: Option<String>,
    /// The minimum as it applied; `None` when there is none or it could not decide.
    pub(super) minimum: Option<RankGate>,
}

/// Applies a gate: equality with a threshold passes, compared as the numbers are, without a margin.
pub(super) fn apply(gate: &Gate, report: &Report, dimensions: Dimensions) -> Applied {
    let mut applied = Applied {
        measurement: gate.measurement.clone(),
        findings: Vec::new(),
        borderline: None,
        minimum: None,
    };
    let Some(value) = finite_value(report, &gate.measurement) else {
        applied.findings.push(Finding::undecided(missing(report, &gate.measurement)));
        return applied;
    };
    apply_minimum(gate, value, dimensions, &mut applied);
    apply_maximum(gate, value, &mut applied);
    applied
}

/// Returns the gate to show beside a rank: the one that its value violates, else the first.
pub(super) fn rank_gate(rank_name: &str, applied: &[Applied]) -> Option<RankGate> {
    let on_rank = |gate: &&Applied| gate.measurement == rank_name && gate.minimum.is_some();
    let failed =
        |gate: &&Applied| gate.findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    let worst = applied.iter().filter(on_rank).find(failed);
    worst.or_else(|| applied.iter().find(on_rank)).and_then(|gate| gate.minimum.clone())
}

/// Returns a measurement's value if it is there and finite.
pub(super) fn finite_value(report: &Report, measurement: &str) -> Option<f64> {
    report.value(measurement).filter(|value| value.is_finite())
}

#[expect(clippy::cast_precision_loss, reason = "sizes of matrices are far below 2^53")]
pub(super) fn exact(count: u64) -> f64 {
    count as f64
}

fn apply_minimum(gate: &Gate, value: f64, dimensions: Dimensions, applied: &mut Applied) {
    let Some(min) = gate.min else { return };
    let minimum = match scaled_minimum(gate, min, dimensions) {
        Ok(minimum) => minimum,
        Err(reason) => return applied.findings.push(Finding::undecided(reason)),
    };
    if value < minimum.threshold {
        let compared = comparison(&gate.measurement, value, minimum.threshold, Ordering::Less);
        let basis = basis(&minimum, dimensions);
        let reason = if basis.is_empty() { compared } else { format!("{compared} ({basis})") };
        applied.findings.push(Finding::violation(gate, reason));
    }
    note_borderline(gate, value, minimum.threshold, applied);
    applied.minimum = Some(minimum);
}

fn apply_maximum(gate: &Gate, value: f64, applied: &mut Applied) {
    let Some(max) = gate.max else { return };
    if !max.is_finite() {
        let reason = format!("gate {} has the maximum {max}", gate.name);
        return applied.findings.push(Finding::undecided(reason));
    }
    if value > max {
        let reason = comparison(&gate.measurement, value, max, Ordering::Greater);
        applied.findings.push(Finding::violation(gate, reason));
    }
    note_borderline(gate, value, max, applied);
}

/// Scales a minimum by min(C, H) / reference, or says why it cannot decide.
fn scaled_minimum(gate: &Gate, min: f64, dimensions: Dimensions) -> Result<RankGate, String> {
    let whole =
        RankGate { name: gate.name.clone(), threshold: min, min, reference: gate.reference };
    if !min.is_finite() {
        return Err(format!("gate {} has the minimum {min}", gate.name));
    }
    let Some(reference) = gate.reference else { return Ok(whole) };
    if reference == 0 {
        return Err(format!("gate {} has the reference 0", gate.name));
    }
    let Some(size) = dimensions.smaller() else {
        return Err(format!("gate {} cannot be scaled, C or H is unknown", gate.name));
    };
    // One division of an exact product: the gate of 10/128 is exactly 5 for 64 dimensions.
    let threshold = min * exact(size) / exact(reference);
    if threshold < 1.0 {
        let ratio = format!("{}/{reference} of {size}", number(min));
        let threshold = number(threshold);
        return Err(format!("gate {} cannot decide, {ratio} is {threshold} < 1", gate.name));
    }
    Ok(RankGate { threshold, ..whole })
}

/// Returns what a threshold was scaled from: `10/128`, `10/128 of 64`, or nothing.
fn basis(minimum: &RankGate, dimensions: Dimensions) -> String {
    match (minimum.reference, dimensions.smaller()) {
        (Some(reference), Some(size)) if size != reference => {
            format!("{}/{reference} of {size}", number(minimum.min))
        }
        (Some(reference), _) => format!("{}/{reference}", number(minimum.min)),
        (None, _) => String::new(),
    }
}

fn note_borderline(gate: &Gate, value: f64, threshold: f64, applied: &mut Applied) {
    if (value - threshold).abs() > BORDERLINE_SHARE * threshold.abs() {
        return;
    }
    applied.borderline = Some(if is_rank(&gate.measurement) {
        BORDERLINE.to_owned()
    } else {
        format!("{BORDERLINE} {}", label(&gate.measurement))
    });
}
