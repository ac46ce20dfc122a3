//! What the two forms of one report say together.

use super::text::TextReport;
use super::{GLOBAL_EFFECTIVE_RANK, RANKS};
use crate::model::measurement::{
    EMBEDDING_WEIGHT_RANK, MAX_CONCEPT_SIMILARITY, MEAN_CONCEPT_SIMILARITY, Report,
};

/// The measurements that both forms print from the same number. Other lines of the text are
/// derived differently and are not compared.
const COMPARED: [&str; 6] = [
    GLOBAL_EFFECTIVE_RANK,
    "global_effective_rank_normalized",
    EMBEDDING_WEIGHT_RANK,
    "embedding_weight_rank_normalized",
    MEAN_CONCEPT_SIMILARITY,
    MAX_CONCEPT_SIMILARITY,
];

/// The part of a number that printing and comparing it may lose in binary arithmetic.
const FLOAT_SLACK: f64 = 1e-12;

/// What the two forms of a report say together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Combined {
    /// The report to judge; `None` if neither form is complete.
    pub report: Option<Report>,
    /// Where the forms contradict each other beyond rounding; such a report is not believed.
    pub disagreements: Vec<String>,
    /// Why a form could not be read. The other one is used alone.
    pub problems: Vec<String>,
}

/// Combines what was read of the two forms; `None` means that a form does not exist.
///
/// The JSON form is preferred for its precision; C and H come from the text, the only form that has
/// them.
pub fn combine(
    json: Option<Result<Report, String>>,
    text: Option<Result<TextReport, String>>,
) -> Combined {
    let mut problems = Vec::new();
    let json = readable(json, &mut problems);
    let text = readable(text, &mut problems);
    let mut disagreements = Vec::new();
    let report = match (json, text) {
        (Some(json), Some(text)) => {
            disagreements = contradictions(&json, &text);
            let concepts = text.report.concepts.or(json.concepts);
            let hidden = text.report.hidden.or(json.hidden);
            Some(Report { concepts, hidden, ..json })
        }
        (json, text) => json.or_else(|| text.map(|text| text.report)),
    };
    Combined { report, disagreements, problems }
}

fn readable<R>(form: Option<Result<R, String>>, problems: &mut Vec<String>) -> Option<R> {
    form?.map_err(|problem| problems.push(problem)).ok()
}

fn contradictions(json: &Report, text: &TextReport) -> Vec<String> {
    let numbers = COMPARED.iter().map(|name| measurement_contradiction(name, json, text));
    let printed = &text.report;
    let descriptions = [
        contradiction("model path", json.model_path.as_ref(), printed.model_path.as_ref()),
        contradiction("model type", json.model_type.as_ref(), printed.model_type.as_ref()),
        contradiction("number of batches", json.batches.as_ref(), printed.batches.as_ref()),
    ];
    numbers.chain(descriptions).flatten().collect()
}

/// Says how a description differs; one that a form lacks contradicts nothing.
fn contradiction<T: PartialEq + std::fmt::Display>(
    what: &str,
    json: Option<&T>,
    text: Option<&T>,
) -> Option<String> {
    let (json, text) = (json?, text?);
    (json != text).then(|| format!("the {what} is `{json}` in the JSON and `{text}` in the text"))
}

/// Says how a measurement differs beyond the printed rounding. NaN in both forms agrees; the JSON
/// of a NaN report lacks most keys, which contradicts nothing. A rank that only one form has does:
/// then the forms do not speak of the same thing.
fn measurement_contradiction(name: &str, json: &Report, text: &TextReport) -> Option<String> {
    let in_json = json.measurements.get(name);
    let in_text = text.report.measurements.get(name);
    let agrees = match (in_json, in_text) {
        (Some(Some(exact)), Some(Some(printed))) => {
            let slack = FLOAT_SLACK * exact.abs().max(1.0);
            (exact - printed).abs() <= text.rounding(name) + slack
        }
        (Some(exact), Some(printed)) => exact.is_some() == printed.is_some(),
        (None, None) => true,
        _ => !RANKS.contains(&name),
    };
    let shown = |value: Option<&Option<f64>>| match value {
        Some(Some(number)) => number.to_string(),
        Some(None) => "not finite".to_owned(),
        None => "missing".to_owned(),
    };
    (!agrees).then(|| {
        format!("`{name}` is {} in the JSON and {} in the text", shown(in_json), shown(in_text))
    })
}
