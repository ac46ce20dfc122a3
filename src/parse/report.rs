//! Analysis reports: the JSON file and the text on standard output, each read on its own, and what
//! they say together.
//!
//! Both are written by the project's `run_concept_analysis.py` and, in the same forms, by the
//! embedded probe, which has `embedding_weight_rank` in place of `global_effective_rank`. The
//! JSON has one key per measurement, full precision, and bare `NaN`; it lacks C and H, which only
//! the text has.

mod combine;
mod text;

use std::collections::BTreeMap;

pub use combine::{Combined, combine};
pub use text::{TextReport, text_report};

use super::json::{self, Json};
use crate::model::measurement::{
    EMBEDDING_WEIGHT_RANK, GLOBAL_EFFECTIVE_RANK, MAX_CONCEPT_SIMILARITY, MEAN_CONCEPT_SIMILARITY,
    Report, ReportSource, definition,
};

/// What the verdict may rest on besides the ranks.
const SIMILARITIES: [&str; 2] = [MEAN_CONCEPT_SIMILARITY, MAX_CONCEPT_SIMILARITY];

/// A report without any of these is not complete.
const RANKS: [&str; 2] = [GLOBAL_EFFECTIVE_RANK, EMBEDDING_WEIGHT_RANK];

/// A report has about 30 measurements; one with more than this is none.
const MAX_MEASUREMENTS: usize = 1000;

/// Reads the JSON form. Every key with a number becomes a measurement of that name, the entries of
/// `top5_singular_values` become `top1_singular_value` to `top5_singular_value`.
///
/// The error says why there is no complete report: it needs a rank (which may be NaN), `n_batches`
/// and `model_path`.
pub fn from_json(bytes: &[u8]) -> Result<Report, String> {
    let value = json::parse(bytes).map_err(|problem| format!("the JSON report {problem}"))?;
    let Json::Object(members) = &value else {
        return Err("the JSON report is not a JSON object".to_owned());
    };
    let incomplete = |key: &str| format!("the JSON report is incomplete: no `{key}`");
    if RANKS.iter().all(|rank| value.get(rank).is_none()) {
        return Err(incomplete(GLOBAL_EFFECTIVE_RANK));
    }
    let batches = value.get("n_batches").and_then(Json::as_u64);
    let batches = batches.ok_or_else(|| incomplete("n_batches"))?;
    let model_path = value.get("model_path").and_then(Json::as_str);
    let model_path = model_path.ok_or_else(|| incomplete("model_path"))?;
    if members.len() > MAX_MEASUREMENTS {
        return Err(format!("the JSON report has {} keys", members.len()));
    }
    let mut report = empty(ReportSource::Json);
    report.batches = Some(batches);
    report.model_path = Some(model_path.to_owned());
    report.model_type = value.get("model_type").and_then(Json::as_str).map(str::to_owned);
    for (name, value) in members {
        match value {
            Json::Array(elements) if name == "top5_singular_values" => {
                for (rank, element) in (1..=5).zip(elements) {
                    add_json(&mut report, singular_value_name(rank), element);
                }
            }
            _ if name == "n_batches" || name == "model_type" => {}
            _ => add_json(&mut report, name.clone(), value),
        }
    }
    Ok(report)
}

/// Reads the text form: the last report in arbitrary output.
///
/// The error says why there is no complete report: it needs the line of a rank (which may be
/// `nan`) and the rule that closes it.
pub fn from_text(bytes: &[u8]) -> Result<Report, String> {
    text_report(bytes).map(|text| text.report)
}

/// Reads a file that holds either form. The error is about the form that it seems to be.
pub fn from_either(bytes: &[u8]) -> Result<Report, String> {
    from_json(bytes).or_else(|json_problem| {
        let begun = bytes.trim_ascii_start().first();
        let looks_like_json = matches!(begun, Some(b'{' | b'[' | b'\xef'));
        let problem = |text_problem| if looks_like_json { json_problem } else { text_problem };
        from_text(bytes).map_err(problem)
    })
}

/// Returns what `parse report` prints, keys in this order; numbers that are not finite are `null`.
pub fn parsed_json(report: &Report) -> serde_json::Value {
    serde_json::json!({
        "source": match report.source {
            ReportSource::Json => "json",
            ReportSource::Text => "text",
        },
        "model_path": report.model_path,
        "model_type": report.model_type,
        "concepts": report.concepts,
        "hidden": report.hidden,
        "batches": report.batches,
        "measurements": report.measurements,
        "problems": report.problems,
    })
}

fn empty(source: ReportSource) -> Report {
    Report {
        source,
        model_path: None,
        model_type: None,
        concepts: None,
        hidden: None,
        batches: None,
        measurements: BTreeMap::new(),
        problems: Vec::new(),
    }
}

fn singular_value_name(rank: usize) -> String {
    format!("top{rank}_singular_value")
}

/// Adds a value that is a number, or `null`, which some writers put in place of NaN.
fn add_json(report: &mut Report, name: String, value: &Json) {
    match value {
        Json::Number(number) => add_number(report, name, *number),
        Json::Null => {
            report.problems.push(format!("`{name}` is null"));
            report.measurements.insert(name, None);
        }
        _ if definition(&name).is_some() || SIMILARITIES.contains(&name.as_str()) => {
            report.problems.push(format!("`{name}` is not a number"));
            report.measurements.insert(name, None);
        }
        // A text about the report, such as a path.
        _ => {}
    }
}

/// Adds a measurement; a number that is not finite becomes `None` with a problem.
fn add_number(report: &mut Report, name: String, number: f64) {
    if number.is_nan() {
        report.problems.push(format!("`{name}` is NaN"));
    } else if number.is_infinite() {
        report.problems.push(format!("`{name}` is infinite"));
    }
    report.measurements.insert(name, Some(number).filter(|number| number.is_finite()));
}

#[cfg(test)]
mod tests;
