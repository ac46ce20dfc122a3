//! The wire form: newline-delimited JSON messages of the status socket, protocol 1.
//!
//! These types are separate from the model so that a change of the model cannot silently change
//! what other programs read; golden files under `tests/fixtures/wire/` hold every message.
//!
//! Rules of the form: every key of a message is always there and an unknown value is `null`, with
//! one exception: an event's `run` and `checkpoint` are absent when it is about neither. Numbers
//! that are not finite are `null`. Readers must ignore keys and message types that they do not
//! know.

mod command;
mod event;
mod status;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use command::Command;
pub use event::{Event, Happened};
pub use status::{
    Analysis, CheckpointCounts, Daemon, Documents, Gpu, Held, Host, Incomplete, Log, Metrics,
    Queued, RecentMetric, Run, Running, Score, Status, TrajectoryPoint, UnlinkedLog,
    UnlinkedReport, Watch,
};

use crate::model::command::Answer;

/// Version of the protocol, as `hello` states it.
pub const PROTOCOL: u32 = 1;

/// One line that the server sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// The first line: who speaks.
    Hello(Hello),
    /// The snapshot.
    Status(Box<Status>),
    /// Something that happened.
    Event(Box<Event>),
    /// The replay is over; later events have greater numbers than this.
    Live {
        /// The last sequence number that the replay covered.
        seq: u64,
    },
    /// These events are no longer available.
    Gap {
        /// The first missing sequence number.
        from: u64,
        /// The last missing sequence number.
        to: u64,
    },
    /// Nothing happened for a while, and the daemon is alive.
    Alive {
        /// When, RFC 3339 with offset.
        time: String,
        /// The last event's sequence number.
        seq: u64,
    },
    /// The answer to a command.
    Reply(Reply),
    /// Why the server is about to close the connection.
    Error {
        /// What was wrong, for people.
        message: String,
    },
    /// A message of a later protocol, to be ignored.
    #[serde(other)]
    Unrecognized,
}

/// Who speaks, and where its stream of events stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`] of the server.
    pub protocol: u32,
    /// The daemon's version.
    pub version: String,
    /// Id of the journal: with another one, remembered sequence numbers mean nothing.
    pub journal: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Name of the host it runs on.
    pub host: String,
    /// The watched root.
    pub root: String,
    /// The last event's sequence number, 0 if there is none.
    pub seq: u64,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Whether it was carried out.
    pub ok: bool,
    /// What was done, for people; absent when nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why not; absent when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        match answer {
            Ok(message) => Self { ok: true, message: Some(message), error: None },
            Err(error) => Self { ok: false, message: None, error: Some(error) },
        }
    }
}

impl Message {
    /// Returns the message as one line with its newline.
    pub fn line(&self) -> String {
        // Every type here has text keys and total serializers, so a failure is a bug of ours; the
        // reader is told in the protocol's own terms instead of being cut off.
        let mut line = serde_json::to_string(self).unwrap_or_else(|error| {
            serde_json::json!({"type": "error", "message": error.to_string()}).to_string()
        });
        line.push('\n');
        line
    }
}

/// What a client may ask for with its one request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Snapshot and events.
    Subscribe(Subscription),
    /// A command, or what is wrong with it: that is told in a reply.
    Command(Result<Command, String>),
}

/// Which events a client wants.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Subscription {
    /// Replay the events after this sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Close after the snapshot.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// Only events of this run. The snapshot stays whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

impl Request {
    /// Reads a request line; a blank one asks for nothing special. The error is for the client.
    ///
    /// Unknown keys are refused: a misspelt `since` would otherwise lose the replay silently.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        if line.trim_ascii().is_empty() {
            return Ok(Self::Subscribe(Subscription::default()));
        }
        let value: Value = serde_json::from_slice(line)
            .map_err(|error| format!("the request is not JSON: {error}"))?;
        let Value::Object(keys) = &value else {
            return Err("the request must be a JSON object, such as {\"since\":0}".to_owned());
        };
        match keys.get("command") {
            Some(Value::String(_)) => Ok(Self::Command(Command::parse(value))),
            Some(_) => Err("`command` must be a text".to_owned()),
            None => serde_json::from_value(value)
                .map(Self::Subscribe)
                .map_err(|error| format!("the request cannot be understood: {error}")),
        }
    }
}

/// Returns the number, or `None` for NaN and the infinities, which JSON cannot hold.
fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}

#[cfg(test)]
mod tests;
