//! What is known of a shell log: which file it is, how far it was read, and what it says.
//!
//! A reading is cumulative and bounded: it holds what everything up to the position said, so a
//! newer one of the same log replaces an older one and nothing is counted twice.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::ids::{CheckpointName, RunId};

/// Identity of a log's content: device, inode and a fingerprint of its head. A file that was
/// renamed keeps it; one that was truncated, written anew or replaced has another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogKey(String);

impl LogKey {
    /// Makes a key of its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How far a log was read, and all that is needed to read on as if there had been no break.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Bytes from the beginning that were read.
    pub offset: u64,
    /// The state of the parser behind them, as the parser itself prints it.
    pub parser: String,
    /// By what the content before the offset is recognized.
    pub marks: LogMarks,
}

/// By what the content of a log that was read up to an offset is recognized: in its own file, under
/// another name, and in a copy. The marks follow the offset, so a longer content has better ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMarks {
    /// Device number of the file system that the file was last seen on.
    pub device: u64,
    /// Inode number of that file.
    pub inode: u64,
    /// How many of the first bytes `head` stands for.
    pub head_length: u64,
    /// A hash of the first bytes.
    pub head: u64,
    /// A hash of the last bytes before the offset.
    pub end: u64,
}

/// A log as it was last looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSighting {
    /// Which log.
    pub key: LogKey,
    /// Its path relative to the root, or absolute where it lies elsewhere.
    pub path: String,
    /// Up to where it was read.
    pub position: LogPosition,
    /// What everything up to there says.
    pub reading: LogReading,
    /// Its length when it was looked at, in bytes; what lies between is read next.
    pub length: u64,
    /// When it was last written to.
    pub modified: Timestamp,
}

/// What a log says, up to a position.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LogReading {
    /// The trainings that it tells of, oldest first; of many only the newest are kept. Never empty
    /// once anything was read.
    pub trainings: Vec<LoggedTraining>,
    /// How many bytes at its beginning were passed over, because it was long and old when it was
    /// first seen.
    #[serde(default)]
    pub skipped: u64,
}

/// One training as a log tells of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoggedTraining {
    /// The first line that is about it, counted from 1.
    pub first_line: u64,
    /// The run, if the log names one.
    pub run: Option<RunId>,
    /// The run's page at W&B.
    pub wandb_url: Option<String>,
    /// The last step that a progress bar or a checkpoint shows.
    pub step: Option<u64>,
    /// Planned steps.
    pub total_steps: Option<u64>,
    /// The bar's speed, in steps per second.
    pub steps_per_second: Option<f64>,
    /// The bar's own clock, in seconds since training began.
    pub elapsed_seconds: Option<u64>,
    /// The newest checkpoint that was announced; its files may not exist yet.
    pub checkpoint: Option<CheckpointName>,
    /// Examples of the training set.
    pub train_examples: Option<u64>,
    /// Examples of the evaluation set.
    pub eval_examples: Option<u64>,
    /// The newest metrics, in the order of the log.
    pub metrics: Vec<LogMetric>,
    /// The failures, each root before its cascades; of many the first ones are kept.
    pub failures: Vec<LogFailure>,
    /// The line that says that training came to its planned end, if nothing failed since.
    pub completed: Option<u64>,
    /// Seconds of the bar's clock between the newest training metric lines, where both are known,
    /// oldest first: how often this training prints, without a clock of ours.
    pub metric_intervals: Vec<u64>,
}

/// A metric dictionary as a log prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMetric {
    /// The line, counted from 1.
    pub line: u64,
    /// What it is about.
    pub kind: LogMetricKind,
    /// Its optimizer step, if the log makes it certain.
    pub step: Option<u64>,
    /// Names and numbers as text, so that `nan` and `inf` survive: `("loss", "8.6391")`.
    pub values: Vec<(String, String)>,
}

impl LogMetric {
    /// Returns a value by its name, NaN and infinities included.
    pub fn value(&self, name: &str) -> Option<f64> {
        let (_, text) = self.values.iter().find(|(known, _)| known == name)?;
        text.parse().ok()
    }
}

/// What a metric dictionary is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogMetricKind {
    /// A line of training.
    Train,
    /// An evaluation.
    Eval,
    /// The summary at the end of training.
    Summary,
}

/// A failure as a log tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFailure {
    /// The class by its name, such as `out_of_memory`.
    pub class: String,
    /// Whether it follows from another failure.
    pub is_cascade: bool,
    /// Whether training ended by it; a NaN loss, for one, ends nothing.
    pub ends_training: bool,
    /// The first line of evidence, counted from 1.
    pub line: u64,
    /// That line, redacted and bounded.
    pub text: String,
    /// Up to ten lines around it, redacted and bounded.
    pub excerpt: Vec<String>,
}
