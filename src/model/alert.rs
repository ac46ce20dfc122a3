//! Alerts: what is sent to the addresses that a user configured.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ids::{CheckpointName, RunId};
use super::time::Moment;

/// What an alert is about, as `on` of `[[alerts]]` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A verdict `fail`.
    Fail,
    /// Training failed, or is not healthy.
    TrainingFailure,
    /// Training stalled.
    Stalled,
    /// The daemon cannot do all of its work.
    Degraded,
}

impl AlertKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Fail, Self::TrainingFailure, Self::Stalled, Self::Degraded];

    /// Returns its name in the configuration and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::TrainingFailure => "training_failure",
            Self::Stalled => "stalled",
            Self::Degraded => "degraded",
        }
    }
}

/// The form in which a receiver wants its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlertFormat {
    /// Our own JSON object.
    Json,
    /// An incoming webhook of Slack, and of what understands the same.
    Slack,
    /// A webhook of Discord.
    Discord,
    /// A topic of ntfy.
    Ntfy,
}

impl AlertFormat {
    /// Returns its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
            Self::Discord => "discord",
            Self::Ntfy => "ntfy",
        }
    }
}

/// Which receiver: a digest of its address, which itself is a secret and is not stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReceiverKey(String);

impl ReceiverKey {
    /// Takes a key that was made before.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }

    /// Returns its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether an alert tells of trouble or of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// Something is wrong.
    Raised,
    /// What an earlier alert told of is over.
    Recovered,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Stays the same however often it is sent, so that a receiver can drop doubles.
    pub id: String,
    /// What it is about.
    pub kind: AlertKind,
    /// Trouble, or its end.
    pub state: AlertState,
    /// Which trouble: it is alerted once for each run, until it has ended.
    pub cause: String,
    /// The run it is about.
    pub run: Option<RunId>,
    /// The checkpoint it is about.
    pub checkpoint: Option<CheckpointName>,
    /// When it was decided.
    pub time: Moment,
    /// One line.
    pub title: String,
    /// What is known, a few lines at most.
    pub text: String,
    /// The same as names and values.
    pub facts: BTreeMap<String, Value>,
    /// Titles of later alerts that are told of in this one, because there were too many; the first
    /// few of them.
    pub more: Vec<String>,
    /// How many those are.
    pub more_count: u64,
}

/// An alert that waits for its receiver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueuedAlert {
    /// Whose.
    pub receiver: ReceiverKey,
    /// What.
    pub alert: Alert,
}

/// Trouble that was alerted and has not ended.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Trouble {
    /// The run; `None`: the daemon itself.
    pub run: Option<RunId>,
    /// Which trouble.
    pub cause: String,
}

/// What became of sending an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertOutcome {
    /// The receiver took it.
    Delivered,
    /// It may be taken later.
    Later {
        /// Why not now; holds nothing of the address but its host.
        problem: String,
        /// How long the receiver wants to be left alone.
        wait: Option<Duration>,
    },
    /// It will never be taken.
    Refused {
        /// Why; holds nothing of the address but its host.
        problem: String,
    },
}
