//! Observations as the cells of the experiment log.
//!
//! Values are plain text in an [`ObservationRow`] and finished Markdown in a [`CellFill`]; what is
//! not known is `--` in the first and no fill in the second.

use crate::model::checkpoint::{ModelConfig, TrainingPoint};
use crate::model::ids::CheckpointName;
use crate::model::measurement::{
    EMBEDDING_WEIGHT_RANK, GLOBAL_EFFECTIVE_RANK, MAX_CONCEPT_SIMILARITY, MEAN_CONCEPT_SIMILARITY,
    RankGate, RankReading, Verdict,
};
use crate::model::observation::{
    CellFill, Observation, ObservationOutcome, ObservationRow, RunColumn,
};

use super::Links;
use super::columns::EMPTY;
use super::escape::{self, CELL_LIMIT};

/// The kind of failure that NaN or Inf in a checkpoint's weights is.
const NON_FINITE: &str = "non-finite";

/// Returns an observation's row of the observations table, before escaping.
pub fn observation_row(observation: &Observation) -> ObservationRow {
    ObservationRow {
        time: observation.time.table_form(),
        run: observation.checkpoint.run.to_string(),
        checkpoint: observation.checkpoint.name.to_string(),
        rank: rank(observation).unwrap_or_else(|| EMPTY.into()),
        mean_similarity: similarity(observation, MEAN_CONCEPT_SIMILARITY),
        max_similarity: similarity(observation, MAX_CONCEPT_SIMILARITY),
        eval_loss: eval_loss(observation.training.as_ref()).unwrap_or_else(|| EMPTY.into()),
        verdict: verdict(observation).into(),
        note: note(observation),
    }
}

/// Returns the `Eff. Rank` cell: `**10.1 / 128** (7.9%)`.
///
/// Only the global effective rank of a report that the gates could judge goes there: never the
/// rank of weights, and never the number of a report that is not believed.
pub fn effective_rank_fill(observation: &Observation) -> Option<CellFill> {
    let judgment = observation.judgment()?;
    let is_non_finite = judgment.failure_kind.as_deref() == Some(NON_FINITE);
    let reading = judgment.rank.as_ref()?;
    let is_the_rank = reading.measurement == GLOBAL_EFFECTIVE_RANK;
    if judgment.verdict == Verdict::Unknown || is_non_finite || !is_the_rank {
        return None;
    }
    let share = share(reading).map_or(String::new(), |share| format!(" ({share})"));
    let value = format!("**{}**{share}", rank_of_concepts(reading)?);
    Some(CellFill { column: RunColumn::EffectiveRank, value })
}

/// Returns `H512 L2 C128` from a configuration, as far as it says so.
pub fn architecture(config: &ModelConfig) -> Option<String> {
    let parts = [("H", config.hidden), ("L", config.layers), ("C", config.concepts)];
    let known: Vec<String> = parts
        .into_iter()
        .filter_map(|(letter, number)| number.map(|number| format!("{letter}{number}")))
        .collect();
    (!known.is_empty()).then(|| known.join(" "))
}

/// Returns the `Task Loss` cell: the last training loss, three decimals. A loss beside values that
/// were not finite is none: trainers print 0.0 where it was NaN.
pub fn task_loss_fill(observation: &Observation) -> Option<CellFill> {
    let training = observation.training.as_ref()?;
    loss_fill(training.loss.filter(|_| training.not_finite.is_empty())?)
}

/// Returns the `Task Loss` cell of a loss; nothing for one that is no number.
pub fn loss_fill(loss: f64) -> Option<CellFill> {
    let value = format!("{loss:.3}");
    loss.is_finite().then_some(CellFill { column: RunColumn::TaskLoss, value })
}

/// Returns the `Speed` cell: optimizer steps per second, two decimals.
pub fn speed_fill(steps_per_second: f64) -> Option<CellFill> {
    let is_known = steps_per_second.is_finite() && steps_per_second > 0.0;
    let value = format!("{steps_per_second:.2}");
    is_known.then_some(CellFill { column: RunColumn::Speed, value })
}

/// Returns the `WandB Link` cell; nothing for a text that is no web address.
pub fn wandb_fill(url: &str) -> Option<CellFill> {
    let value = format!("[link]({url})");
    escape::is_web_address(url).then_some(CellFill { column: RunColumn::WandbLink, value })
}

/// Returns the `Git Tag` cell; nothing for a blank name.
pub fn git_tag_fill(tag: &str) -> Option<CellFill> {
    let value = escape::code(tag);
    (!tag.trim().is_empty()).then_some(CellFill { column: RunColumn::GitTag, value })
}

/// Returns the `Conclusion` cell of a failed run:
/// `**FAILED: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000.** [Note](…)`.
pub fn conclusion_fill(observation: &Observation, note: &str, links: &Links) -> Option<CellFill> {
    Some(failed_fill(&headline(observation)?, note, links))
}

/// Returns the `Conclusion` cell of a run that failed by this, which is Markdown.
pub fn failed_fill(headline: &str, note: &str, links: &Links) -> CellFill {
    let value = format!("**FAILED: {headline}.** [Note]({})", links.target(note));
    CellFill { column: RunColumn::Conclusion, value }
}

/// Returns what failed, as Markdown: `effective rank 7.3 / 128 (gate 10/128) at
/// checkpoint-15000`; nothing if the verdict is not `fail`.
pub fn headline(observation: &Observation) -> Option<String> {
    let judgment = observation.judgment().filter(|judgment| judgment.verdict == Verdict::Fail)?;
    let kind = judgment.failure_kind.as_deref();
    let failed_rank = judgment.rank.as_ref().and_then(failed_rank);
    let what = match failed_rank {
        _ if kind == Some(NON_FINITE) => "non-finite weights".to_owned(),
        Some(rank) if kind.is_none_or(|kind| is_kind_of_rank(kind, judgment.rank.as_ref())) => rank,
        _ => {
            let reason = judgment.reasons.first().map(String::as_str);
            escape::escaped(reason.or(kind).unwrap_or("a gate"), CELL_LIMIT)
        }
    };
    Some(format!("{what} at {}", place(observation.checkpoint.name)))
}

/// Returns the text of the failure list's item behind its link: `2026-02-25: effective rank 7.3 /
/// 128 (gate 10/128) at checkpoint-15000`. It is finished Markdown.
pub fn failure_summary(observation: &Observation) -> Option<String> {
    Some(format!("{}: {}", observation.time.date_form(), headline(observation)?))
}

/// Returns the rank as the observations table shows it: `10.1 / 128 (7.9%)`, or `4.9 / 128 (7.7%
/// of 64)` when H < C; nothing if there is no finite one.
pub fn rank(observation: &Observation) -> Option<String> {
    let reading = observation.judgment()?.rank.as_ref()?;
    let share = share(reading).map_or(String::new(), |share| format!(" ({share})"));
    Some(format!("{}{share}", rank_of_concepts(reading)?))
}

/// Prints a gate as `10/128`, `5.0 = 10/128 of 64` when it is scaled, or `10` without reference.
pub(super) fn gate_form(gate: &RankGate, dimensions: Option<u64>) -> String {
    let Some(reference) = gate.reference else { return gate.min.to_string() };
    let rule = format!("{}/{reference}", gate.min);
    if number_is(gate.threshold, gate.min) {
        return rule;
    }
    let of = dimensions.map_or(String::new(), |dimensions| format!(" of {dimensions}"));
    format!("{} = {rule}{of}", short(gate.threshold))
}

/// Prints a value with one decimal, or as many as put the printed number on the value's own side
/// of the threshold. Equality is the passing side.
pub(super) fn on_its_side(value: f64, threshold: Option<f64>) -> String {
    let is_true = |text: &String| {
        let printed = text.parse::<f64>().unwrap_or(f64::NAN);
        threshold.is_none_or(|threshold| (printed >= threshold) == (value >= threshold))
    };
    (1..=12)
        .map(|decimals| format!("{value:.decimals$}"))
        .find(is_true)
        .unwrap_or_else(|| value.to_string())
}

/// Prints a threshold with one decimal, or up to four if it needs them.
pub(super) fn short(value: f64) -> String {
    let exact = |text: &String| text.parse::<f64>().is_ok_and(|printed| number_is(printed, value));
    let mut forms = (1..=4).map(|decimals| format!("{value:.decimals$}"));
    forms.find(exact).unwrap_or_else(|| format!("{value:.4}"))
}

/// The smaller of C and H: the largest rank that the concepts can have.
pub(super) fn dimensions(reading: &RankReading) -> Option<u64> {
    Some(reading.concepts?.min(reading.hidden?)).filter(|dimensions| *dimensions > 0)
}

/// Names the checkpoint in a sentence.
pub(super) fn place(name: CheckpointName) -> String {
    match name {
        CheckpointName::Step(_) => name.to_string(),
        CheckpointName::Final => "the final model".into(),
    }
}

/// Names a rank measurement in a sentence.
pub(super) fn rank_name(measurement: &str) -> String {
    match measurement {
        GLOBAL_EFFECTIVE_RANK => "effective rank".into(),
        EMBEDDING_WEIGHT_RANK => "embedding weight rank".into(),
        other => escape::escaped(&other.replace('_', " "), CELL_LIMIT),
    }
}

/// Prints the last evaluation loss with three decimals; `nan` or `inf` if that is what it was.
pub(super) fn eval_loss(training: Option<&TrainingPoint>) -> Option<String> {
    let training = training?;
    logged(training.eval_loss, "eval_loss", training)
}

/// Prints the last training loss like an evaluation loss. One beside a gradient norm that was not
/// finite is `nan`: trainers print 0.0 where it was.
pub(super) fn train_loss(training: Option<&TrainingPoint>) -> Option<String> {
    let training = training?;
    let hidden = training.not_finite.iter().any(|name| name == "grad_norm");
    if hidden { Some("nan".to_owned()) } else { logged(training.loss, "loss", training) }
}

fn logged(loss: Option<f64>, name: &str, training: &TrainingPoint) -> Option<String> {
    match loss {
        Some(loss) if loss.is_finite() => Some(format!("{loss:.3}")),
        Some(loss) => Some(loss.to_string().to_lowercase()),
        // A stored value that is not finite comes back as none, its name is kept.
        None => training.not_finite.iter().any(|one| one == name).then(|| "nan".into()),
    }
}

/// Returns the word of the Verdict column.
pub(super) fn verdict(observation: &Observation) -> &'static str {
    match observation.judgment().map(|judgment| judgment.verdict) {
        Some(Verdict::Pass) => "pass",
        Some(Verdict::Warn) => "warn",
        Some(Verdict::Fail) => "**fail**",
        Some(Verdict::Unknown) => "unknown",
        None => "analysis failed",
    }
}

/// The Note; where the observation has none of its own, the reason of anything but `pass`.
fn note(observation: &Observation) -> String {
    if !observation.note.trim().is_empty() {
        return escape::readable(&observation.note, CELL_LIMIT);
    }
    match &observation.outcome {
        ObservationOutcome::Judged(judgment) => {
            escape::readable(&judgment.reasons.join("; "), CELL_LIMIT)
        }
        ObservationOutcome::AnalysisFailed { class, .. } => class.as_str().into(),
    }
}

fn similarity(observation: &Observation, measurement: &str) -> String {
    measured(observation, measurement).unwrap_or_else(|| EMPTY.into())
}

/// Prints a measurement with three decimals; nothing for one that is missing or not finite.
pub(super) fn measured(observation: &Observation, measurement: &str) -> Option<String> {
    let value = observation.measurements.get(measurement).copied().flatten();
    value.filter(|value| value.is_finite()).map(|value| format!("{value:.3}"))
}

/// Prints `10.1 / 128`, or the rank alone if C is not known.
fn rank_of_concepts(reading: &RankReading) -> Option<String> {
    if !reading.value.is_finite() {
        return None;
    }
    let value = on_its_side(reading.value, reading.gate.as_ref().map(|gate| gate.threshold));
    Some(match reading.concepts {
        Some(concepts) => format!("{value} / {concepts}"),
        None => value,
    })
}

/// Prints the rank's share of the dimensions it can fill: `7.9%`, or `7.7% of 64` when H < C.
fn share(reading: &RankReading) -> Option<String> {
    let dimensions = dimensions(reading)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of dimensions is far below 2^52")]
    let percent = reading.value / dimensions as f64 * 100.0;
    let of = if reading.concepts == Some(dimensions) {
        String::new()
    } else {
        format!(" of {dimensions}")
    };
    Some(format!("{percent:.1}%{of}"))
}

/// Prints a rank below its gate: `effective rank 7.3 / 128 (gate 10/128)`.
fn failed_rank(reading: &RankReading) -> Option<String> {
    let gate = reading.gate.as_ref().filter(|gate| reading.value < gate.threshold)?;
    let name = rank_name(&reading.measurement);
    let gate = gate_form(gate, dimensions(reading));
    Some(format!("{name} {} (gate {gate})", rank_of_concepts(reading)?))
}

/// A failure that is not of the rank's gate must not be told as one, although the rank may be
/// below its gate as well.
fn is_kind_of_rank(kind: &str, reading: Option<&RankReading>) -> bool {
    let gate = reading.and_then(|reading| reading.gate.as_ref());
    kind == "effective-rank" || gate.is_some_and(|gate| slug(&gate.name) == slug(kind))
}

fn slug(name: &str) -> String {
    let dashed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(dashed).collect()
}

/// Compares numbers of a configuration, which are equal or clearly different.
fn number_is(number: f64, other: f64) -> bool {
    (number - other).abs() <= 1e-9 * other.abs().max(1.0)
}
