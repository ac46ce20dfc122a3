//! The whole of a shell log in one object, as `runscribe parse shell-log` prints it.
//!
//! A log of days holds hundreds of thousands of metrics. Each is kept in about 140 bytes, and
//! the object is printed metric by metric.

use std::collections::HashMap;

use serde::ser::{SerializeMap as _, SerializeSeq as _, SerializeStruct as _};
use serde::{Serialize, Serializer};

use crate::model::ids::RunId;

use super::LogItem;
use super::facts::Fact;
use super::failures::{Failure, Role};
use super::metrics::{Metric, MetricKind, MetricValue};
use super::progress::Progress;

/// Collects the items of a log.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogSummary {
    run: Option<RunId>,
    wandb: Option<String>,
    metrics: Vec<KeptMetric>,
    names: NameLists,
    failures: Vec<Failure>,
    /// Whether training came to its planned end and nothing failed after that.
    completed: bool,
}

/// A metric in few bytes.
#[derive(Debug, Clone, PartialEq)]
struct KeptMetric {
    line: u64,
    /// Its step, where that is certain.
    step: Option<u64>,
    kind: MetricKind,
    names: usize,
    values: Box<[MetricValue]>,
}

/// The names of metrics' values, each list once: a log has few different ones.
#[derive(Debug, Clone, Default, PartialEq)]
struct NameLists {
    lists: Vec<Vec<String>>,
    numbers: HashMap<Vec<String>, usize>,
}

impl NameLists {
    fn number(&mut self, names: Vec<String>) -> usize {
        if let Some(known) = self.numbers.get(&names) {
            return *known;
        }
        let number = self.lists.len();
        self.lists.push(names.clone());
        self.numbers.insert(names, number);
        number
    }
}

impl LogSummary {
    /// Adds an item. Items must come in the order in which the parser gave them.
    pub fn add(&mut self, item: LogItem) {
        match item {
            LogItem::Metric { metric, .. } => self.add_metric(metric),
            LogItem::MetricStep { index, step } => {
                let metric = usize::try_from(index).ok().and_then(|at| self.metrics.get_mut(at));
                if let Some(metric) = metric {
                    metric.step = Some(step);
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

    /// Returns what prints the object of the design's section 9: run, wandb, metrics, progress,
    /// failures, completed. A number that is not finite is `null`.
    pub fn shown_with<'a>(&'a self, progress: &'a Progress) -> impl Serialize + 'a {
        Shown { summary: self, progress }
    }

    fn add_metric(&mut self, metric: Metric) {
        let (names, values): (Vec<String>, Vec<MetricValue>) = metric.values.into_iter().unzip();
        self.metrics.push(KeptMetric {
            line: metric.line,
            step: None,
            kind: metric.kind,
            names: self.names.number(names),
            values: values.into_boxed_slice(),
        });
    }

    fn add_fact(&mut self, fact: Fact) {
        match fact {
            Fact::Run(run) => self.run = Some(run),
            Fact::WandbUrl(url) => self.wandb = Some(url),
            Fact::TrainingBegins => self.completed = false,
            Fact::Completed => self.completed = true,
            Fact::TrainExamples(_)
            | Fact::EvalExamples(_)
            | Fact::TotalSteps(_)
            | Fact::CheckpointSaving(..) => {}
        }
    }
}

struct Shown<'a> {
    summary: &'a LogSummary,
    progress: &'a Progress,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { summary, progress } = self;
        let mut object = serializer.serialize_struct("LogSummary", 6)?;
        object.serialize_field("run", &summary.run.as_ref().map(RunId::as_str))?;
        object.serialize_field("wandb", &summary.wandb)?;
        object.serialize_field("metrics", &Metrics(summary))?;
        object.serialize_field("progress", progress)?;
        let failures: Vec<ShownFailure<'_>> = summary.failures.iter().map(ShownFailure).collect();
        object.serialize_field("failures", &failures)?;
        object.serialize_field("completed", &summary.completed)?;
        object.end()
    }
}

struct Metrics<'a>(&'a LogSummary);

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.metrics.len()))?;
        for metric in &self.0.metrics {
            list.serialize_element(&ShownMetric { metric, names: &self.0.names })?;
        }
        list.end()
    }
}

struct ShownMetric<'a> {
    metric: &'a KeptMetric,
    names: &'a NameLists,
}

impl Serialize for ShownMetric<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Metric", 4)?;
        object.serialize_field("line", &self.metric.line)?;
        object.serialize_field("kind", self.metric.kind.as_str())?;
        object.serialize_field("step", &self.metric.step)?;
        object.serialize_field("values", &Values(self))?;
        object.end()
    }
}

struct Values<'a>(&'a ShownMetric<'a>);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ShownMetric { metric, names } = self.0;
        let names = names.lists.get(metric.names).map(Vec::as_slice).unwrap_or_default();
        let mut values = serializer.serialize_map(None)?;
        for (at, (name, value)) in names.iter().zip(&metric.values).enumerate() {
            // As in Python, a name that comes twice has its last value, in its first place.
            if names.get(..at).is_some_and(|before| before.contains(name)) {
                continue;
            }
            let last = names.iter().zip(&metric.values).rfind(|(other, _)| *other == name);
            values.serialize_entry(name, &last.map_or(*value, |(_, last)| *last).to_json())?;
        }
        values.end()
    }
}

struct ShownFailure<'a>(&'a Failure);

impl Serialize for ShownFailure<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Failure", 4)?;
        object.serialize_field("class", self.0.class.as_str())?;
        object.serialize_field("role", self.0.role.as_str())?;
        object.serialize_field("line", &self.0.line)?;
        object.serialize_field("text", &self.0.text)?;
        object.end()
    }
}
