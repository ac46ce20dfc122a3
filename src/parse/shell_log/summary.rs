//! The whole of a shell log in one object, as `runscribe parse shell-log` prints it.

use serde_json::{Map, Value, json};

use crate::model::ids::RunId;

use super::facts::Fact;
use super::failures::{Failure, Role};
use super::health::Thresholds;
use super::metrics::Metric;
use super::progress::Progress;
use super::{LogItem, ShellLogParser};

/// Collects the items of a log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogSummary {
    /// The run, if the log names one.
    pub run: Option<RunId>,
    /// The run's page at W&B.
    pub wandb: Option<String>,
    /// All metrics in the order of the log, each with its step where that is certain.
    pub metrics: Vec<(Metric, Option<u64>)>,
    /// All failures.
    pub failures: Vec<Failure>,
    /// Whether training came to its planned end and nothing failed after that.
    pub completed: bool,
    /// Examples of the training set.
    pub train_examples: Option<u64>,
    /// Examples of the evaluation set.
    pub eval_examples: Option<u64>,
}

impl LogSummary {
    /// Adds an item. Items must come in the order in which the parser gave them.
    pub fn add(&mut self, item: LogItem) {
        match item {
            LogItem::Metric { metric, .. } => self.metrics.push((metric, None)),
            LogItem::MetricStep { index, step } => {
                let metric = usize::try_from(index).ok().and_then(|at| self.metrics.get_mut(at));
                if let Some((_, known)) = metric {
                    *known = Some(step);
                }
            }
            LogItem::Fact { fact, .. } => self.add_fact(fact),
            LogItem::Failure { index, failure } => {
                let ends_training = failure.ends_training && failure.role == Role::Root;
                match self.failures.get_mut(index) {
                    Some(known) => *known = failure,
                    None => self.failures.push(failure),
                }
                self.completed &= !ends_training;
            }
        }
    }

    /// Prints the object of the design's section 9: run, wandb, metrics, progress, failures,
    /// completed. A number that is not finite is `null`.
    pub fn to_json(&self, progress: &Progress) -> Value {
        let metrics: Vec<Value> =
            self.metrics.iter().map(|(metric, step)| metric_json(metric, *step)).collect();
        let failures: Vec<Value> = self.failures.iter().map(failure_json).collect();
        json!({
            "run": self.run.as_ref().map(RunId::as_str),
            "wandb": self.wandb,
            "metrics": metrics,
            "progress": {
                "step": progress.step,
                "total_steps": progress.total_steps,
                "rate_steps_per_second": progress.rate_steps_per_second,
                "elapsed_seconds": progress.elapsed_seconds,
            },
            "failures": failures,
            "completed": self.completed,
        })
    }

    fn add_fact(&mut self, fact: Fact) {
        match fact {
            Fact::Run(run) => self.run = Some(run),
            Fact::WandbUrl(url) => self.wandb = Some(url),
            Fact::TrainExamples(examples) => self.train_examples = Some(examples),
            Fact::EvalExamples(examples) => self.eval_examples = Some(examples),
            Fact::TrainingBegins => self.completed = false,
            Fact::Completed => self.completed = true,
            Fact::TotalSteps(_) | Fact::CheckpointSaving(..) => {}
        }
    }
}

/// Parses a whole log and prints the object of [`LogSummary::to_json`].
pub fn summary(log: &[u8], thresholds: Thresholds) -> Value {
    let mut parser = ShellLogParser::new(thresholds);
    let mut summary = LogSummary::default();
    let items = parser.push(log);
    let (rest, progress) = parser.finish();
    items.into_iter().chain(rest).for_each(|item| summary.add(item));
    summary.to_json(&progress)
}

fn metric_json(metric: &Metric, step: Option<u64>) -> Value {
    let values: Map<String, Value> =
        metric.values.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
    let mut object = Map::new();
    object.insert("line".into(), metric.line.into());
    object.insert("kind".into(), metric.kind.as_str().into());
    object.insert("step".into(), step.into());
    object.insert("values".into(), Value::Object(values));
    Value::Object(object)
}

fn failure_json(failure: &Failure) -> Value {
    json!({
        "class": failure.class.as_str(),
        "role": failure.role.as_str(),
        "line": failure.line,
        "text": failure.text,
    })
}
