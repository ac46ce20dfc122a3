//! Evaluation reports: what a benchmark said of a model.

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};

use super::ids::{CheckpointName, Digest, RunId};
use super::time::Moment;

/// Harmonic mean of precision and recall, 0 to 1.
pub const F1: &str = "f1";
/// Share of right answers, 0 to 1.
pub const ACCURACY: &str = "accuracy";
/// Pearson's correlation, -1 to 1.
pub const PEARSON: &str = "pearson";
/// Spearman's rank correlation, -1 to 1.
pub const SPEARMAN: &str = "spearman";
/// Matthews' correlation, -1 to 1.
pub const MATTHEWS: &str = "matthews";

/// Which program wrote a report, and so in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suite {
    /// `glue-….csv`.
    Glue,
    /// `bench-….csv`.
    Benchmark,
}

/// What one evaluation of one task said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// The name that its files share: `glue-mrpc-…-20260226_1012`.
    pub name: String,
    /// Which form it has.
    pub suite: Suite,
    /// The task, as its program calls it: `mrpc`, `mnli-matched`, `sick_relatedness`.
    pub task: String,
    /// When it was written, as its name says; local time of the host that evaluated.
    pub stamp: DateTime,
    /// Finite scores by the names of this module.
    pub scores: BTreeMap<String, f64>,
    /// The measure that its program calls the main one.
    pub main_metric: Option<String>,
    /// The model's path or name, as it was given to the program.
    pub model: Option<String>,
    /// As which type the model was evaluated.
    pub model_type: Option<String>,
    /// The run that the report itself names.
    pub claimed_run: Option<String>,
    /// The model's name inside the file's name.
    pub name_of_model: String,
    /// Its page at W&B.
    pub wandb_url: Option<String>,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

/// Which model a report is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluatedModel {
    /// The run that trained it.
    pub run: RunId,
    /// Which of its models.
    pub checkpoint: CheckpointName,
}

/// A report as the journal knows it. Name and task are its key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownEvaluation {
    /// What it says.
    pub report: EvaluationReport,
    /// The content of its files.
    pub digest: Digest,
    /// Whose it is, or why that cannot be said.
    pub model: Result<EvaluatedModel, String>,
    /// The date in the row of the evaluations table that it belongs to; `None`: to none.
    pub row: Option<Date>,
    /// Whether it was old when reports were looked for the first time: nothing is written of it by
    /// itself.
    pub old: bool,
}

/// What was found of one report's files, all of them whole and quiet.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationSighting {
    /// One for each task.
    pub reports: Vec<EvaluationReport>,
    /// The content of the files.
    pub digest: Digest,
    /// When the newest of them was written.
    pub modified: jiff::Timestamp,
}

/// A person went past a gate, and said why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateOverride {
    /// What it is known by: no other has the same.
    pub name: String,
    /// What was done all the same: `evaluate`.
    pub action: String,
    /// Of which run.
    pub run: RunId,
    /// What the gate says, in one line.
    pub verdict: String,
    /// The person's reason.
    pub reason: String,
    /// When.
    pub time: Moment,
}

/// What looking at evaluations tells.
#[derive(Debug, Clone, PartialEq)]
pub enum EvaluationNews {
    /// A gate was overridden. Told before the reports that came of it.
    Overridden(Box<GateOverride>),
    /// A report's files are new, or hold something else than before.
    Seen(Box<EvaluationSighting>),
    /// All reports that were there at the start were told.
    AllRead,
    /// What is wrong with the reports' folder, in place of what was wrong before; each a sentence
    /// that says what to do.
    Problems(Vec<String>),
}

impl EvaluationReport {
    /// Returns the score that stands for the task, and its measure: F1 for MRPC and QQP, Pearson's
    /// correlation for similarity, accuracy for the rest; where that is missing, what the program
    /// calls its main measure, else the first that there is.
    pub fn headline(&self) -> Option<(&str, f64)> {
        let usual = usual_metric(&self.task);
        let main = self.main_metric.as_deref().unwrap_or(usual);
        let known = |metric: &str| self.scores.get_key_value(metric);
        let found = known(usual).or_else(|| known(main)).or_else(|| self.scores.iter().next());
        found.map(|(metric, score)| (metric.as_str(), *score))
    }
}

/// Returns the measure by which a task is compared.
pub fn usual_metric(task: &str) -> &'static str {
    match task {
        "mrpc" | "qqp" => F1,
        "stsb" | "sick_relatedness" | "stsb_zero_shot" => PEARSON,
        "cola" => MATTHEWS,
        _ => ACCURACY,
    }
}

/// Returns the name of a task as the literature writes it.
pub fn task_title(task: &str) -> String {
    let known = match task {
        "mrpc" => "MRPC",
        "stsb" => "STS-B",
        "qqp" => "QQP",
        "mnli" => "MNLI",
        "mnli-matched" => "MNLI-m",
        "mnli-mismatched" => "MNLI-mm",
        "cola" => "CoLA",
        "sst2" => "SST-2",
        "qnli" => "QNLI",
        "rte" => "RTE",
        "wnli" => "WNLI",
        "paws" => "PAWS",
        "sick_relatedness" => "SICK-R",
        "sick_entailment" => "SICK-E",
        "stsb_zero_shot" => "STS-B zero-shot",
        other => return other.to_owned(),
    };
    known.to_owned()
}

/// Returns where a task stands among others: the order in which the project lists them.
pub fn task_order(task: &str) -> usize {
    const ORDER: [&str; 15] = [
        "mrpc",
        "stsb",
        "qqp",
        "mnli",
        "mnli-matched",
        "mnli-mismatched",
        "cola",
        "sst2",
        "qnli",
        "rte",
        "wnli",
        "sick_relatedness",
        "sick_entailment",
        "paws",
        "stsb_zero_shot",
    ];
    ORDER.iter().position(|known| *known == task).unwrap_or(ORDER.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(task: &str, main: Option<&str>, scores: &[(&str, f64)]) -> EvaluationReport {
        EvaluationReport {
            name: "glue".into(),
            suite: Suite::Glue,
            task: task.into(),
            stamp: jiff::civil::date(2026, 2, 26).at(10, 12, 0, 0),
            scores: scores.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect(),
            main_metric: main.map(str::to_owned),
            model: None,
            model_type: None,
            claimed_run: None,
            name_of_model: String::new(),
            wandb_url: None,
            problems: Vec::new(),
        }
    }

    #[test]
    fn each_task_is_told_by_its_own_measure() {
        for (task, main, scores, expected) in [
            ("mrpc", Some(ACCURACY), &[(ACCURACY, 0.7), (F1, 0.82)][..], Some((F1, 0.82))),
            ("qqp", Some(ACCURACY), &[(ACCURACY, 0.7)], Some((ACCURACY, 0.7))),
            ("stsb", None, &[(SPEARMAN, 0.6), (PEARSON, 0.65)], Some((PEARSON, 0.65))),
            ("mnli-matched", None, &[(ACCURACY, 0.6)], Some((ACCURACY, 0.6))),
            ("cola", Some(MATTHEWS), &[(MATTHEWS, -0.02)], Some((MATTHEWS, -0.02))),
            ("mrpc", None, &[], None),
        ] {
            assert_eq!(report(task, main, scores).headline(), expected, "{task}");
        }
    }
}
