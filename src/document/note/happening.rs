//! The failure note's first section: *What happened*.

use crate::model::checkpoint::TrainingPoint;
use crate::model::measurement::{FiniteWeights, GLOBAL_EFFECTIVE_RANK, RankReading, definition};
use crate::model::observation::{Observation, ObservationOutcome};

use crate::document::cells;
use crate::document::escape::{self, CELL_LIMIT};

use super::{EVIDENCE_LIMIT, UNKNOWN, add, item, number};

/// Readers know RankMe (2023), exp(entropy) of the same singular values.
const BELOW_RANKME: &str =
    " It is never larger than an entropy-based rank (RankMe) and often far smaller.";

/// Writes the section: gate, value, threshold, definition, how far training was.
pub(super) fn what_happened(observation: &Observation) -> String {
    let mut section = String::from("## What happened\n\n");
    let place = cells::place(observation.checkpoint.name);
    match &observation.outcome {
        ObservationOutcome::Judged(judgment) => {
            add(&mut section, &format!("The verdict on {place} is `{}`:\n", judgment.verdict));
            for reason in &judgment.reasons {
                add(&mut section, &format!("- {}", item(reason, EVIDENCE_LIMIT)));
            }
            if let Some(reading) = &judgment.rank {
                section.push_str(&rank_facts(reading));
            }
        }
        ObservationOutcome::AnalysisFailed { class, evidence } => {
            add(&mut section, &format!("The analysis of {place} failed: `{}`.\n", class.as_str()));
            add(&mut section, &format!("- {}", item(evidence, EVIDENCE_LIMIT)));
        }
    }
    if let Some(finite) = &observation.finite {
        section.push_str(&finite_facts(finite));
    }
    add(&mut section, &format!("- Training: {}", progress(observation.training.as_ref())));
    if let Some(twin) = observation.same_as {
        add(
            &mut section,
            &format!(
                "- The weights are byte-identical to those of `{twin}`, whose measurements these are."
            ),
        );
    }
    section
}

fn rank_facts(reading: &RankReading) -> String {
    let mut facts = String::new();
    let name = cells::rank_name(&reading.measurement);
    let threshold = reading.gate.as_ref().map(|gate| gate.threshold);
    let value = if reading.value.is_finite() {
        cells::on_its_side(reading.value, threshold)
    } else {
        UNKNOWN.into()
    };
    add(&mut facts, &format!("- Value: {name} {value} ({}).", escape::code(&reading.measurement)));
    if let Some(definition) = definition(&reading.measurement) {
        let is_the_rank = reading.measurement == GLOBAL_EFFECTIVE_RANK;
        let comparison = if is_the_rank { BELOW_RANKME } else { "" };
        add(&mut facts, &format!("- Definition: {definition}.{comparison}"));
    }
    add(
        &mut facts,
        &format!(
            "- Dimensions: C = {} concepts, H = {} hidden.",
            number(reading.concepts),
            number(reading.hidden)
        ),
    );
    if let Some(gate) = &reading.gate {
        let form = cells::gate_form(gate, cells::dimensions(reading));
        let name = escape::code(&gate.name);
        add(
            &mut facts,
            &format!(
                "- Gate: {name}, {form}: the smallest value that passes is {}.",
                cells::short(gate.threshold)
            ),
        );
        facts.push_str(&scaling(reading));
    }
    facts
}

/// Explains a threshold that was scaled to the dimensions that a model can use.
fn scaling(reading: &RankReading) -> String {
    let Some(gate) = &reading.gate else { return String::new() };
    let (Some(reference), Some(dimensions)) = (gate.reference, cells::dimensions(reading)) else {
        return String::new();
    };
    let threshold = cells::short(gate.threshold);
    let (min, scale) = (gate.min, "a matrix of C concepts in H dimensions has at most min(C, H)");
    format!(
        "- Scaling: the gate asks for {min} of {reference} dimensions; {scale} = {dimensions}, so \
         the threshold is {min}/{reference} × {dimensions} = {threshold}.\n"
    )
}

fn finite_facts(finite: &FiniteWeights) -> String {
    match finite {
        FiniteWeights::Counted { tensors, elements, not_finite, first_tensors } => {
            let names: Vec<String> =
                first_tensors.iter().take(5).map(|n| escape::code(n)).collect();
            let where_found = if names.is_empty() {
                String::new()
            } else {
                format!(", first in {}", names.join(", "))
            };
            format!(
                "- Weights: {not_finite} of {elements} elements in {tensors} tensors are NaN or infinite{where_found}.\n"
            )
        }
        FiniteWeights::NotScanned { reason } => {
            format!(
                "- Weights: not scanned for NaN and infinities ({}).\n",
                escape::escaped(reason, CELL_LIMIT)
            )
        }
    }
}

pub(super) fn progress(training: Option<&TrainingPoint>) -> String {
    let Some(training) = training else { return format!("{UNKNOWN}.") };
    let epoch = training.epoch.filter(|epoch| epoch.is_finite());
    let epoch = epoch.map_or(String::new(), |epoch| format!(", epoch {epoch:.2}"));
    match training.total_steps.filter(|total| *total > 0) {
        Some(total) => {
            #[expect(clippy::cast_precision_loss, reason = "a share for people, one decimal")]
            let percent = training.step as f64 / total as f64 * 100.0;
            format!("step {} of {total} ({percent:.1}%){epoch}.", training.step)
        }
        None => format!("step {}{epoch}.", training.step),
    }
}
