//! Follows shell logs: finds them, recognizes them by their content, and reads on from where the
//! journal says that everything was recorded.
//!
//! Nothing here waits for the kernel to say that something happened. A log that is written without
//! a pause would bring an event for each write, and a network file system none at all; so once a
//! second the few logs that were written lately are asked for their length and the folders for the
//! time of their last change, which costs some microseconds. Everything else is looked at in each
//! reconcile period.
//!
//! What counts is the journal: a position is durable together with all that was concluded of the
//! log up to there. What is told here is cumulative, so that reading some bytes once more after a
//! crash says nothing twice.

mod book;
mod follower;
mod marks;
mod pace;
mod reading;
mod sources;
mod worker;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::Timestamp;
use crate::model::journal::KnownLog;
use crate::model::shell_log::{LogKey, LogMarks, LogSighting};
use crate::parse::shell_log::Thresholds;
use crate::settings::{Adopt, Settings};

use super::orders::OrderInbox;

pub use worker::run;

/// Where orders for the tail arrive.
pub type TailInbox = OrderInbox<TailConfig>;

/// What following shell logs needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct TailConfig {
    /// The project's root; paths below it are told relative to it.
    pub root: PathBuf,
    /// Folders or globs; none of them need exist.
    pub sources: Vec<PathBuf>,
    /// Time between looks at everything.
    pub reconcile: Duration,
    /// When training counts as unhealthy.
    pub thresholds: Thresholds,
    /// How much of logs is read that were never seen before.
    pub first_look: FirstLook,
}

/// How much is read of a log that was never seen before, so that the first start on a host with
/// terabytes of old logs is over in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstLook {
    /// A log that was written to within this time is young.
    pub young: Duration,
    /// Of a young log at most so many of the last bytes are read.
    pub of_young: u64,
    /// Of an older one at most so many.
    pub of_old: u64,
}

impl From<&Settings> for TailConfig {
    fn from(settings: &Settings) -> Self {
        let training = &settings.training;
        Self {
            root: settings.paths.root.clone(),
            sources: settings.paths.shell_logs.clone(),
            reconcile: settings.watch.reconcile,
            thresholds: Thresholds {
                loss_factor: training.loss_factor,
                grad_norm_factor: training.grad_norm_factor,
            },
            first_look: FirstLook {
                young: match settings.analysis.adopt {
                    Adopt::YoungerThan(age) => age,
                    Adopt::All => Duration::MAX,
                },
                of_young: training.read_at_start,
                of_old: training.old_log_tail,
            },
        }
    }
}

/// Returns whether `project.shell_logs` names this path, whether or not there is a file.
pub fn is_named(configured: &[PathBuf], path: &Path) -> bool {
    sources::name(configured, path)
}

/// What following a shell log tells.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEvent {
    /// A log, when it was read further or bears another name.
    Seen(Box<LogSighting>),
    /// A log whose content is nowhere any more: deleted, or written anew.
    Gone(LogKey),
    /// All logs that were there at the start are read.
    CaughtUp,
    /// What is wrong with shell logs right now, each a sentence that says what to do.
    Problems(Vec<String>),
}

/// A log of which the journal knows, without what it says.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedLog {
    /// Which log.
    pub key: LogKey,
    /// Its path as it was told.
    pub path: String,
    /// Up to where everything that it says is recorded.
    pub offset: u64,
    /// By what it is recognized.
    pub marks: LogMarks,
    /// Its length when it was last looked at.
    pub length: u64,
    /// When it was last written to.
    pub modified: Timestamp,
}

impl From<&KnownLog> for RecordedLog {
    fn from(known: &KnownLog) -> Self {
        Self {
            key: known.key.clone(),
            path: known.path.clone(),
            offset: known.position.offset,
            marks: known.position.marks,
            length: known.length,
            modified: known.modified,
        }
    }
}

/// Where what is recorded of a log is read again, when it grows after a long rest.
pub trait LogStore: Send {
    /// Returns what is recorded of a log; `None`: nothing yet.
    ///
    /// # Errors
    /// The journal cannot be read now; the text says why.
    fn recorded(&self, key: &LogKey) -> Result<Option<KnownLog>, String>;
}
