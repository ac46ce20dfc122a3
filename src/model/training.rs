//! The state of a run's training, and the metrics that were merged from its sources.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::shell_log::LogMetricKind;
use super::time::Moment;

/// What training is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrainingState {
    /// It goes on.
    Training,
    /// It was silent for much longer than it usually is.
    Stalled,
    /// It ended before its planned end.
    Failed,
    /// It came to its planned end.
    Complete,
    /// It cannot be said.
    Unknown,
}

impl TrainingState {
    /// Returns the name that people and programs read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Stalled => "stalled",
            Self::Failed => "failed",
            Self::Complete => "complete",
            Self::Unknown => "unknown",
        }
    }

    /// Whether something is still expected of it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Training | Self::Stalled)
    }
}

impl fmt::Display for TrainingState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A run's state as it was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownState {
    /// The state.
    pub state: TrainingState,
    /// Since when.
    pub since: Moment,
    /// The line of evidence that was announced with it.
    pub evidence: String,
    /// The processes that were last seen to write its log: when they are gone later, it has ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writers: Vec<u32>,
}

/// An entry of a trainer's log history.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainerMetric {
    /// The optimizer step.
    pub step: u64,
    /// What it is about.
    pub kind: LogMetricKind,
    /// Names and numbers, NaN and infinities included.
    pub values: Vec<(String, f64)>,
}

/// Where a metric was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricSource {
    /// In a shell log.
    ShellLog,
    /// In a checkpoint's `trainer_state.json`.
    TrainerState,
    /// In both, which agree.
    Both,
}

/// A metric of a run, from whatever tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunMetric {
    /// The optimizer step, if it is certain.
    pub step: Option<u64>,
    /// The line of the shell log, counted from 1.
    pub line: Option<u64>,
    /// What it is about.
    pub kind: LogMetricKind,
    /// Names and numbers, NaN and infinities included.
    pub values: Vec<(String, f64)>,
    /// Where it was read.
    pub source: MetricSource,
}

impl RunMetric {
    /// Returns a value by its name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}
