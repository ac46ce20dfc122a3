//! Evaluation reports: the CSV files that the watched project's evaluation programs write.
//!
//! Forms, from `evaluation/evaluate_model_on_glue.py` and `evaluate_on_benchmark.py`:
//! - `glue-{task}-{model}-{N}M-{YYYYmmdd_HHMM}-{results,metadata,summary}.csv`, written in this
//!   order. *results* has one row for each measure, *metadata* the model's origin, *summary* one
//!   main measure for each task, which is accuracy for MRPC and QQP where *results* has F1 as well.
//! - `bench-{name}-{run}-{N}M-{stamp}-results.csv`, one wide row.

mod csv;
mod link;
mod name;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::model::evaluation::{ACCURACY, EvaluationReport, F1, MATTHEWS, PEARSON, SPEARMAN};

pub use link::{clean_name, model_of};
pub use name::{FileName, Part};

use csv::Table;

/// The files of one report, as far as they are there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files<'a> {
    /// `…-results.csv`.
    pub results: Option<&'a [u8]>,
    /// `…-metadata.csv`.
    pub metadata: Option<&'a [u8]>,
    /// `…-summary.csv`.
    pub summary: Option<&'a [u8]>,
}

/// What the files of one name say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// One report for each task.
    pub reports: Vec<EvaluationReport>,
    /// What is wrong with the files as a whole.
    pub problems: Vec<String>,
}

/// Returns whether a file looks as if it was written to its end: it ends in a line end, outside of
/// a quoted cell, and its last row has as many cells as its header.
pub fn is_whole(bytes: &[u8]) -> bool {
    matches!(bytes.last(), Some(b'\n' | b'\r')) && csv::table(bytes).is_ok_and(|table| table.whole)
}

/// Reads the files of one report, whatever they hold.
pub fn read(name: &FileName, files: Files<'_>) -> Reading {
    let mut reading = Reading::default();
    let mut table = |what: &str, bytes: Option<&[u8]>| {
        let table = bytes.map(csv::table)?;
        if let Err(problem) = &table {
            reading.problems.push(format!("its {what} cannot be read: {problem}"));
        }
        table.ok()
    };
    let results = table("results", files.results);
    let metadata = table("metadata", files.metadata);
    let summary = table("summary", files.summary);
    let mut drafts = Drafts { name, found: BTreeMap::new() };
    if let Some(results) = &results {
        if results.has("metric") { drafts.long(results) } else { drafts.wide(results) }
    }
    if let Some(summary) = &summary {
        drafts.summary(summary);
    }
    if let Some(metadata) = &metadata {
        drafts.metadata(metadata);
    }
    reading.reports = drafts.found.into_values().collect();
    for report in &mut reading.reports {
        if report.scores.is_empty() && report.problems.is_empty() {
            report.problems.push("it holds no score".to_owned());
        }
    }
    if reading.reports.is_empty() && reading.problems.is_empty() {
        reading.problems.push("it has no row".to_owned());
    }
    reading
}

/// Returns our name of a measure, however its program spells it; nothing for what is none, such as
/// a runtime or a loss.
fn metric(spelled: &str) -> Option<&'static str> {
    let lower = spelled.trim().to_lowercase();
    let plain = lower.strip_prefix("eval_").unwrap_or(&lower);
    let plain = plain.strip_prefix("sklearn_").unwrap_or(plain);
    match plain {
        "f1" | "f1_score" => Some(F1),
        "accuracy" | "accuracy_score" | "acc" => Some(ACCURACY),
        "pearsonr" | "pearson" => Some(PEARSON),
        "spearmanr" | "spearman" => Some(SPEARMAN),
        "matthews_correlation" | "matthews_corrcoef" | "mcc" => Some(MATTHEWS),
        _ => None,
    }
}

/// Reports in the making.
struct Drafts<'a> {
    name: &'a FileName,
    /// By task.
    found: BTreeMap<String, EvaluationReport>,
}

impl Drafts<'_> {
    /// One row for each measure of each task.
    fn long(&mut self, table: &Table) {
        for row in table.rows() {
            let task = row.get("task").unwrap_or(&self.name.task).to_owned();
            let Some(metric) = row.get("metric").and_then(metric) else { continue };
            let report = self.of_task(&task);
            take_score(report, metric, row.get("score"));
            describe(report, |column| row.get(column));
        }
    }

    /// One row for a benchmark, one column for each measure.
    fn wide(&mut self, table: &Table) {
        for row in table.rows() {
            let task = row.get("benchmark").or_else(|| row.get("task"));
            let task = task.unwrap_or(&self.name.task).to_owned();
            let report = self.of_task(&task);
            for (column, value) in row.cells() {
                if let Some(metric) = metric(column) {
                    take_score(report, metric, Some(value));
                }
            }
            describe(report, |column| row.get(column));
        }
    }

    /// The main measure of each task. It adds to what the results say.
    fn summary(&mut self, table: &Table) {
        for row in table.rows() {
            let task = row.get("task").unwrap_or(&self.name.task).to_owned();
            let report = self.of_task(&task);
            describe(report, |column| row.get(column));
            let Some(spelled) = row.get("main_metric") else {
                report.problems.push("its summary does not say what its score measures".to_owned());
                continue;
            };
            let Some(metric) = metric(spelled) else {
                report.problems.push(format!("`{spelled}` is no measure that is known"));
                continue;
            };
            report.main_metric = Some(metric.to_owned());
            if !report.scores.contains_key(metric) {
                take_score(report, metric, row.get("score"));
            }
        }
    }

    /// The model's origin, for each task, else for all.
    fn metadata(&mut self, table: &Table) {
        for row in table.rows() {
            let task = row.get("task");
            for report in self.found.values_mut().filter(|one| task.is_none_or(|t| one.task == t)) {
                describe(report, |column| row.get(column));
            }
        }
    }

    fn of_task(&mut self, task: &str) -> &mut EvaluationReport {
        self.found.entry(task.to_owned()).or_insert_with(|| empty(self.name, task))
    }
}

fn empty(name: &FileName, task: &str) -> EvaluationReport {
    EvaluationReport {
        name: name.stem.clone(),
        suite: name.suite,
        task: task.to_owned(),
        stamp: name.stamp,
        scores: BTreeMap::new(),
        main_metric: None,
        model: None,
        model_type: None,
        claimed_run: None,
        name_of_model: name.model.clone(),
        wandb_url: None,
        problems: Vec::new(),
    }
}

/// Takes a score in. A fraction is kept as it is, a percentage becomes one; what cannot be a score
/// of this measure is a problem and no score.
fn take_score(report: &mut EvaluationReport, metric: &'static str, text: Option<&str>) {
    let number = text.and_then(|text| text.trim_end_matches('%').trim().parse::<f64>().ok());
    // A data frame prints NaN as an empty cell.
    let Some(number) = number.filter(|number| number.is_finite()) else {
        let text = text.unwrap_or_default();
        report.problems.push(format!("its {metric} is no number: `{text}`"));
        return;
    };
    let is_share = matches!(metric, F1 | ACCURACY);
    let score = if number.abs() > 1.0 { number / 100.0 } else { number };
    if score.abs() > 1.0 || (is_share && score < 0.0) {
        report.problems.push(format!("its {metric} is impossible: {number}"));
        return;
    }
    // The same measure twice, by two libraries: the first one is the program's own.
    report.scores.entry(metric.to_owned()).or_insert(score);
}

/// Takes in what is told of the model, where nothing told it before.
fn describe<'t>(report: &mut EvaluationReport, cell: impl Fn(&str) -> Option<&'t str>) {
    let fill = |field: &mut Option<String>, columns: &[&str]| {
        if field.is_none() {
            *field = columns.iter().find_map(|column| cell(column)).map(str::to_owned);
        }
    };
    fill(&mut report.claimed_run, &["source_training_run_id"]);
    fill(&mut report.model, &["model_path", "model_name", "model_name_or_path"]);
    fill(&mut report.model_type, &["model_type"]);
    fill(&mut report.wandb_url, &["wandb_url"]);
}
