//! Pure. Console output of training: metrics, progress, facts and failures.
//!
//! [`ShellLogParser`] takes bytes in any pieces and gives the same items however they were cut. It
//! never waits for more than the end of a frame (`\r` or `\n`), and what later lines teach about
//! an earlier item comes as an item of its own: [`LogItem::MetricStep`], or a
//! [`LogItem::Failure`] with an index that was given before.

mod bytes_as_text;
mod evidence;
mod excerpt;
mod facts;
mod failures;
mod frames;
mod gates;
mod health;
mod launcher;
mod lines;
mod metrics;
mod progress;
mod reading;
mod roles;
mod skim;
mod steps;
mod summary;
#[cfg(test)]
mod tests;
mod traceback;

use serde::{Deserialize, Serialize};

use frames::{FrameReader, Seen};
use lines::FrameSplitter;

pub use evidence::TrainingFailureClass;
pub use facts::Fact;
pub use failures::{Failure, Role};
pub use health::Thresholds;
pub use metrics::{Metric, MetricKind, MetricValue};
pub use progress::Progress;
pub use reading::LogReader;
pub use summary::LogSummary;

/// Something that the log says.
#[derive(Debug, Clone, PartialEq)]
pub enum LogItem {
    /// A metric dictionary.
    Metric {
        /// Its number in this log, from 0.
        index: u64,
        /// What it says.
        metric: Metric,
    },
    /// The step of an earlier metric, now that it is certain.
    MetricStep {
        /// The metric's number.
        index: u64,
        /// Its optimizer step.
        step: u64,
    },
    /// A fact about the run.
    Fact {
        /// The line that states it, counted from 1.
        line: u64,
        /// What it states.
        fact: Fact,
    },
    /// A failure, or what became of one when more of the log was read.
    Failure {
        /// Its number in this log, from 0; an item with a known number replaces the earlier one.
        index: usize,
        /// What it says.
        failure: Failure,
    },
}

/// Reads a shell log piece by piece, in bounded memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShellLogParser {
    splitter: FrameSplitter,
    frames: FrameReader,
}

impl ShellLogParser {
    /// Begins at the start of a log.
    pub fn new(thresholds: Thresholds) -> Self {
        Self::at_line(thresholds, 1)
    }

    /// Begins at the start of this line, counted from 1 by `\n`, as `grep -n` counts.
    pub fn at_line(thresholds: Thresholds, line: u64) -> Self {
        Self { splitter: FrameSplitter::default(), frames: FrameReader::new(thresholds, line) }
    }

    /// Reads the next bytes and returns what the frames that they complete say.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<LogItem> {
        let mut items = Vec::new();
        self.read(bytes, &mut |seen| items.append(seen.items));
        items
    }

    /// Reads a last line that has no end, and returns what it says and how far training was.
    pub fn finish(self) -> (Vec<LogItem>, Progress) {
        let mut items = Vec::new();
        let Self { splitter, mut frames } = self;
        splitter.finish(|frame, end| {
            frames.read(frame, end, &mut items);
        });
        (items, frames.progress().progress())
    }

    /// Returns how far training is by what was read so far.
    pub fn progress(&self) -> Progress {
        self.frames.progress().progress()
    }

    /// Returns the line that is being read, counted from 1.
    pub fn line(&self) -> u64 {
        self.frames.line()
    }

    /// Lets these thresholds count from now on.
    pub(crate) fn use_thresholds(&mut self, thresholds: Thresholds) {
        self.frames.use_thresholds(thresholds);
    }

    /// Reads the next bytes and shows each frame that is more than a bar.
    fn read(&mut self, bytes: &[u8], show: &mut dyn FnMut(&mut Seen<'_>)) {
        let Self { splitter, frames } = self;
        splitter.feed(bytes, &mut frames.shown_to(show));
    }
}
