//! IO shell. Finds out what lies in the training folder: hints from inotify say when to look, an
//! idempotent scan says what is there.
//!
//! The scan is the only source of facts; a hint that is dropped costs time, never a checkpoint.
//! What the facts mean is decided by `recognize`.

#![expect(clippy::disallowed_methods, reason = "IO shell: reads folders, files and the clock")]

mod begun;
mod digest;
pub mod evaluations;
mod facts;
mod files;
mod hints;
mod keeper;
mod orders;
mod scan;
mod sight;
pub mod tail;
mod watches;
mod weights;
mod worker;

#[cfg(test)]
mod testing;
#[cfg(test)]
pub(crate) use files::denied;
#[cfg(test)]
pub(crate) use worker::by_hand;

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use regex::Regex;

use crate::model::begun::{BEGUN_FOLDER, BegunTraining};
use crate::model::checkpoint::{RunSighting, TrainingFolder};
use crate::model::ids::RunId;
use crate::settings::{Backend, Settings};

pub use begun::read as begun_trainings;
pub use hints::{Control, Inbox};
pub use keeper::keep;
pub use scan::{ScanProblem, ScanSettings, Scanner, Thoroughness, signature_of};
pub use sight::{PathSighting, Place, sight};
pub use worker::run;

/// What watching needs to know.
#[derive(Debug, Clone)]
pub struct WatchConfig {
    /// The training folder as it was configured; it need not exist.
    pub training: PathBuf,
    /// Folders that are runs.
    pub run_pattern: Regex,
    /// Time between full scans.
    pub reconcile: Duration,
    /// Quiet time before a final model counts as complete.
    pub settle: Duration,
    /// Where hints come from.
    pub backend: Backend,
    /// The folder in which trainings that were begun are written down.
    pub begun: PathBuf,
}

impl WatchConfig {
    /// Returns the part that the scan needs.
    pub fn scan_settings(&self) -> ScanSettings {
        ScanSettings {
            training: self.training.clone(),
            run_pattern: self.run_pattern.clone(),
            settle: self.settle,
        }
    }
}

impl From<&Settings> for WatchConfig {
    fn from(settings: &Settings) -> Self {
        Self {
            training: settings.paths.training.clone(),
            run_pattern: settings.run_pattern.clone(),
            reconcile: settings.watch.reconcile,
            settle: settings.watch.settle,
            backend: settings.watch.backend,
            begun: settings.paths.state.join(BEGUN_FOLDER),
        }
    }
}

/// What the watch worker tells.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent {
    /// The training folder, when something about it or its list of runs changed.
    TrainingFolder(TrainingFolder),
    /// The trainings that were begun, when they are others than before: told before a run that may
    /// be one of them.
    Begun(Vec<BegunTraining>),
    /// A run whose folder was listed without error, when something about it changed.
    Run(RunSighting),
    /// A run about which nothing may be concluded now; the next `Run` of it ends this.
    RunUnreadable {
        /// Which run.
        run: RunId,
        /// Why, and what to do.
        problem: String,
    },
    /// Everything that was there at the start was told.
    FirstScanDone,
    /// A full scan ended.
    Reconciled {
        /// When.
        ended: Timestamp,
        /// How long it took.
        took: Duration,
        /// Folders watched now.
        watches: u64,
        /// Whether hints come from inotify, or nothing but full scans is done.
        backend: WatchBackend,
    },
    /// Watching works worse than it should, why, and what to do; `None`: it is cured.
    Degraded(Option<String>),
    /// Hints were lost; a full scan follows at once.
    Overflow(String),
}

/// What is in use to see changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchBackend {
    /// Hints from inotify and full scans.
    Inotify,
    /// Full scans only.
    Poll,
}

impl WatchBackend {
    /// Returns the name for status and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inotify => "inotify",
            Self::Poll => "poll",
        }
    }
}
