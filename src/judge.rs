//! Pure. Measurements and gates in, a verdict with its reasons out; signs of training in, its state
//! with its evidence out ([`training`]).
//!
//! The rules, in the order in which they win:
//! 1. NaN or Inf in the checkpoint's own weights is `fail` (the built-in gate `finite-weights`), even
//!    when there is no report or it is not believed.
//! 2. A report that must not be believed is `unknown`: what the caller says, zero batches, sizes that
//!    differ from `config.json`, values that no matrix has.
//! 3. A violated gate of severity `fail` is `fail`.
//! 4. A gate that cannot be decided, or a rank that is missing or NaN, is `unknown`, never `pass`.
//! 5. A violated gate of severity `warn` is `warn`, and so is a rank that passes but falls toward its
//!    gate ([`warn_of_fall`]).
//! 6. All else is `pass`.
//!
//! The rank is the nuclear norm over the spectral norm of the uncentered mean concept matrix. It is
//! never larger than the entropy-based rank of Roy & Vetterli (2007) and of `RankMe` (2023), and often
//! far smaller: thresholds for one mean nothing for the other.

mod belief;
mod gates;
pub mod pace;
pub mod training;
mod trend;
mod wording;

use crate::model::checkpoint::ModelConfig;
use crate::model::measurement::{
    EMBEDDING_WEIGHT_RANK, FiniteWeights, GLOBAL_EFFECTIVE_RANK, Gate, Judgment,
    MAX_CONCEPT_SIMILARITY, RankReading, Report, Verdict,
};
use belief::Dimensions;
use gates::{Applied, Finding};
pub use trend::warn_of_fall;

/// The remark of a report by the embedded probe, which measures weights and not representations.
pub const WEIGHTS_ONLY: &str = "weights only";
/// The remark of a value within 5 % of its gate, on either side.
pub const BORDERLINE: &str = "borderline";
/// The remark of a largest similarity of 0.99 or more.
pub const DUPLICATE_CONCEPTS: &str = "duplicate concepts";
/// The kind of failure note that NaN or Inf in the weights asks for.
pub const NON_FINITE: &str = "non-finite";

/// From this |cosine| on, two concepts count as one.
const DUPLICATE_SIMILARITY: f64 = 0.99;
/// The longest note, in characters.
const MAX_NOTE_CHARS: usize = 200;

/// Everything that a verdict on one checkpoint rests on.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// What the analysis reported.
    pub report: Option<&'a Report>,
    /// Why the report must not be believed, each a sentence fragment; empty when it may be.
    pub disbelief: &'a [String],
    /// NaN and Inf in the checkpoint's weights, if they were counted.
    pub finite: Option<&'a FiniteWeights>,
    /// What the checkpoint's `config.json` says.
    pub config: &'a ModelConfig,
}

/// Returns what the gates say of one checkpoint, and why.
///
/// `rank` of the result is present only when it was read from a report that is believed, and, for
/// the embedded probe's rank, only when a gate is set on it.
pub fn judge(evidence: &Evidence<'_>, gates: &[Gate]) -> Judgment {
    let weights = non_finite_weights(evidence.finite);
    let mut judgment = match belief::doubts(evidence).as_slice() {
        [] => evidence.report.map_or_else(
            || verdict_of(vec![Finding::undecided("no report".to_owned())]),
            |report| judge_report(report, evidence, gates),
        ),
        doubts => verdict_of(doubts.iter().cloned().map(Finding::undecided).collect()),
    };
    if let Some(reason) = weights {
        judgment.verdict = Verdict::Fail;
        judgment.reasons.insert(0, reason);
        judgment.failure_kind = Some(NON_FINITE.to_owned());
    }
    if evidence.report.is_some_and(is_of_weights) {
        judgment.remarks.push(WEIGHTS_ONLY.to_owned());
    }
    if matches!(evidence.finite, Some(FiniteWeights::NotScanned { .. })) {
        judgment.remarks.push("weights not scanned for NaN".to_owned());
    }
    judgment
}

/// Returns the text of the Note cell: reasons, then remarks, joined by `; `, at most 200 characters,
/// not yet escaped for Markdown.
pub fn note(judgment: &Judgment) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in judgment.reasons.iter().chain(&judgment.remarks) {
        if !parts.contains(&part.as_str()) {
            parts.push(part);
        }
    }
    let text = parts.join("; ");
    if text.chars().count() <= MAX_NOTE_CHARS {
        return text;
    }
    text.chars().take(MAX_NOTE_CHARS - 1).chain(['…']).collect()
}

/// Applies the gates to a report that is believed.
fn judge_report(report: &Report, evidence: &Evidence<'_>, gates: &[Gate]) -> Judgment {
    let dimensions = Dimensions::of(report, evidence.config);
    let rank_name = rank_measurement(report);
    if is_of_weights(report) && !gates.iter().any(|gate| gate.measurement == rank_name) {
        // The other gates are meant for representations and cannot pass, or fail, a run on weights.
        return verdict_of(vec![Finding::undecided(WEIGHTS_ONLY.to_owned())]);
    }
    let applied: Vec<Applied> = gates
        .iter()
        .filter(|gate| !is_of_weights(report) || gate.measurement != GLOBAL_EFFECTIVE_RANK)
        .map(|gate| gates::apply(gate, report, dimensions))
        .collect();
    let mut findings: Vec<Finding> =
        applied.iter().flat_map(|gate| gate.findings.iter().cloned()).collect();
    findings.extend(missing_rank(report, gates));
    let mut judgment = verdict_of(findings);
    judgment.remarks = remarks(report, &applied);
    judgment.rank = gates::finite_value(report, rank_name).map(|value| RankReading {
        measurement: rank_name.to_owned(),
        value,
        concepts: dimensions.concepts,
        hidden: dimensions.hidden,
        gate: gates::rank_gate(rank_name, &applied),
    });
    judgment
}

/// Combines findings: the worst one is the verdict, and worse ones come first among the reasons.
fn verdict_of(mut findings: Vec<Finding>) -> Judgment {
    findings.sort_by_key(|finding| std::cmp::Reverse(precedence(finding.verdict)));
    let verdict = findings.first().map_or(Verdict::Pass, |finding| finding.verdict);
    let failure_kind = findings
        .iter()
        .filter(|_| verdict == Verdict::Fail)
        .find_map(|finding| finding.kind.clone());
    let mut reasons: Vec<String> = Vec::new();
    for finding in findings {
        push_new(&mut reasons, finding.reason);
    }
    Judgment { verdict, reasons, remarks: Vec::new(), rank: None, failure_kind }
}

/// `fail` > `unknown` > `warn` > `pass`.
fn precedence(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fail => 3,
        Verdict::Unknown => 2,
        Verdict::Warn => 1,
        Verdict::Pass => 0,
    }
}

/// Returns the reason of the gate `finite-weights`, if it is violated.
fn non_finite_weights(finite: Option<&FiniteWeights>) -> Option<String> {
    match finite {
        Some(FiniteWeights::Counted { not_finite, elements, first_tensors, .. })
            if *not_finite > 0 =>
        {
            let first = first_tensors.first();
            let place = first.map_or_else(String::new, |name| format!(", first in `{name}`"));
            Some(format!("{not_finite} of {elements} weights are NaN or Inf{place}"))
        }
        _ => None,
    }
}

/// Tells the embedded probe's report, which has a rank of weights and none of representations.
fn is_of_weights(report: &Report) -> bool {
    report.measurements.contains_key(EMBEDDING_WEIGHT_RANK)
        && !report.measurements.contains_key(GLOBAL_EFFECTIVE_RANK)
}

/// Returns the name of the rank that this report is about.
fn rank_measurement(report: &Report) -> &'static str {
    if is_of_weights(report) { EMBEDDING_WEIGHT_RANK } else { GLOBAL_EFFECTIVE_RANK }
}

/// Returns a finding when the report's own rank is missing or NaN, whatever the gates are.
///
/// A rank that the report does not speak of is no loss where the project gates another one that is
/// there, such as `rankme`.
fn missing_rank(report: &Report, gates: &[Gate]) -> Option<Finding> {
    let name = rank_measurement(report);
    if gates::finite_value(report, name).is_some() {
        return None;
    }
    let another_is_gated = gates.iter().any(|gate| {
        belief::is_rank(&gate.measurement)
            && gates::finite_value(report, &gate.measurement).is_some()
    });
    if another_is_gated && !report.measurements.contains_key(name) {
        return None;
    }
    Some(Finding::undecided(wording::missing(report, name)))
}

/// Appends a text that is not there yet: two gates may say the same.
fn push_new(texts: &mut Vec<String>, text: String) {
    if !texts.contains(&text) {
        texts.push(text);
    }
}

fn remarks(report: &Report, applied: &[Applied]) -> Vec<String> {
    let mut remarks: Vec<String> = Vec::new();
    for remark in applied.iter().filter_map(|gate| gate.borderline.clone()) {
        push_new(&mut remarks, remark);
    }
    let largest = gates::finite_value(report, MAX_CONCEPT_SIMILARITY);
    if largest.is_some_and(|similarity| similarity >= DUPLICATE_SIMILARITY) {
        remarks.push(DUPLICATE_CONCEPTS.to_owned());
    }
    remarks
}

#[cfg(test)]
mod tests;
