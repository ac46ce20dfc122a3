//! Pure. Console output of training: metrics, progress, facts and failures.
//!
//! [`ShellLogParser`] takes bytes in any pieces and gives the same items however they were cut. It
//! never waits for more than the end of a frame (`\r` or `\n`), and what later lines teach about
//! an earlier item comes as an item of its own: [`LogItem::MetricStep`], or a
//! [`LogItem::Failure`] with an index that was given before.

mod bytes_as_text;
mod evidence;
mod facts;
mod failures;
mod health;
mod launcher;
mod lines;
mod metrics;
mod progress;
mod reading;
mod roles;
mod steps;
mod summary;
#[cfg(test)]
mod tests;
mod traceback;

use std::sync::LazyLock;

use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::ansi::strip_ansi;
use super::redact::presentable;
use evidence::TrainingFailureClass as Class;
use failures::FailureTracker;
use health::{Ailment, HealthWatch};
use lines::{FrameEnd, FrameSplitter};
use progress::{Bar, ProgressTracker, is_described_bar, leading_bar};
use steps::StepFinder;

pub use evidence::TrainingFailureClass;
pub use facts::Fact;
pub use failures::{Failure, Role};
pub use health::Thresholds;
pub use metrics::{Metric, MetricKind, MetricValue};
pub use progress::Progress;
pub use reading::LogReader;
pub use summary::{LogSummary, summary};

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
    reader: Reader,
}

impl ShellLogParser {
    /// Begins at the start of a log.
    pub fn new(thresholds: Thresholds) -> Self {
        Self::at_line(thresholds, 1)
    }

    /// Begins at the start of this line, counted from 1 by `\n`, as `grep -n` counts.
    pub fn at_line(thresholds: Thresholds, line: u64) -> Self {
        Self { splitter: FrameSplitter::default(), reader: Reader::new(thresholds, line) }
    }

    /// Reads the next bytes and returns what the frames that they complete say.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<LogItem> {
        let mut items = Vec::new();
        let Self { splitter, reader } = self;
        splitter.feed(bytes, |frame, end| reader.frame(frame, end, &mut items));
        items
    }

    /// Reads a last line that has no end, and returns what it says and how far training was.
    pub fn finish(self) -> (Vec<LogItem>, Progress) {
        let mut items = Vec::new();
        let Self { splitter, mut reader } = self;
        splitter.finish(|frame, end| reader.frame(frame, end, &mut items));
        (items, reader.progress.progress())
    }

    /// Returns how far training is by what was read so far.
    pub fn progress(&self) -> Progress {
        self.reader.progress.progress()
    }

    /// Lets these thresholds count from now on.
    pub(crate) fn use_thresholds(&mut self, thresholds: Thresholds) {
        self.reader.thresholds = thresholds;
        self.reader.health.use_thresholds(thresholds);
    }

    /// Returns the line that is being read, counted from 1.
    pub fn line(&self) -> u64 {
        self.reader.line
    }
}

/// Texts of which a line must hold one to be looked at for facts.
static FACT_GATE: LazyLock<Option<Regex>> = LazyLock::new(|| any_of(&facts::LABELS));

/// Texts of which a line outside of tracebacks must hold one to be looked at for failures.
static FAILURE_GATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let mut needles: Vec<&str> = evidence::ANYWHERE.iter().map(|(needle, _)| *needle).collect();
    needles.extend([traceback::HEADER, "what():"]);
    needles.extend(traceback::PRELUDES);
    needles.extend(launcher::NEEDLES);
    any_of(&needles)
});

/// One search for all needles: ordinary lines pass it at the speed of memory.
fn any_of(needles: &[&str]) -> Option<Regex> {
    let escaped: Vec<String> = needles.iter().map(|needle| regex::escape(needle)).collect();
    Regex::new(&escaped.join("|")).ok()
}

/// Lets everything pass if there is no gate.
fn passes(gate: Option<&Regex>, text: &[u8]) -> bool {
    gate.is_none_or(|gate| gate.is_match(text))
}

/// Makes items of frames.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Reader {
    line: u64,
    thresholds: Thresholds,
    /// Whether the line showed any text so far.
    line_has_text: bool,
    /// Whether the frame before, on the same line, held nothing but spaces.
    after_blank: bool,
    metrics_seen: u64,
    /// Whether training was reported to have come to its end, and nothing failed since.
    completed: bool,
    progress: ProgressTracker,
    steps: StepFinder,
    health: HealthWatch,
    facts: facts::FactReader,
    failures: FailureTracker,
}

impl Reader {
    fn new(thresholds: Thresholds, line: u64) -> Self {
        Self {
            line,
            thresholds,
            line_has_text: false,
            after_blank: false,
            metrics_seen: 0,
            completed: false,
            progress: ProgressTracker::default(),
            steps: StepFinder::default(),
            health: HealthWatch::new(thresholds),
            facts: facts::FactReader::default(),
            failures: FailureTracker::default(),
        }
    }

    /// Reads one frame. Bars are by far the most frequent ones and are told apart first.
    fn frame(&mut self, frame: &[u8], end: FrameEnd, items: &mut Vec<LogItem>) {
        let mut is_training_bar = false;
        if let Some(bar) = leading_bar(frame) {
            is_training_bar = self.bar(&bar, items);
            self.line_has_text = true;
            self.after_blank = false;
            if !bar.rest.is_empty() {
                self.text(bar.rest, items);
            }
        } else if !frame.is_empty() {
            let is_blank = frame.iter().all(|byte| *byte == b' ');
            self.line_has_text |= !is_blank;
            if !is_blank && !is_described_bar(frame) {
                self.text(frame, items);
            }
            self.after_blank = is_blank;
        }
        if !is_training_bar {
            self.steps.frame_ended(frame.is_empty(), end);
        }
        if end == FrameEnd::Newline {
            self.line_ended(items);
        }
    }

    fn line_ended(&mut self, items: &mut Vec<LogItem>) {
        if !self.line_has_text && self.failures.needs_every_line() {
            self.failures.read(self.line, b"");
            self.give_failures(items);
        }
        self.line = self.line.saturating_add(1);
        self.line_has_text = false;
        self.after_blank = false;
    }

    fn bar(&mut self, bar: &Bar<'_>, items: &mut Vec<LogItem>) -> bool {
        let is_training_bar = self.progress.see(bar);
        if is_training_bar {
            let decided = self.steps.saw_training_bar(bar.step);
            items.extend(
                decided.into_iter().map(|index| LogItem::MetricStep { index, step: bar.step }),
            );
        }
        is_training_bar
    }

    fn text(&mut self, text: &[u8], items: &mut Vec<LogItem>) {
        let text = strip_ansi(text);
        if memchr::memchr(b'{', &text).is_some() {
            self.read_metrics(&text, items);
        }
        if passes(FACT_GATE.as_ref(), &text) {
            self.read_facts(&text, items);
        }
        if self.failures.needs_every_line() || passes(FAILURE_GATE.as_ref(), &text) {
            self.failures.read(self.line, &text);
        }
        self.give_failures(items);
    }

    fn read_metrics(&mut self, text: &[u8], items: &mut Vec<LogItem>) {
        for found in metrics::find_metrics(text) {
            let metric = Metric { line: self.line, kind: found.kind, values: found.values };
            let bytes = text.get(found.begin..found.end).unwrap_or_default();
            let shown = || presentable(bytes, failures::MAX_TEXT_CHARS);
            for (ailment, evidence) in self.health.see(&metric, &shown) {
                let class = match ailment {
                    Ailment::NonFinite => Class::NonFinite,
                    Ailment::Divergence => Class::Divergence,
                };
                self.failures.saw_metric(class, evidence.line, evidence.text);
            }
            let (index, kind) = (self.metrics_seen, metric.kind);
            self.metrics_seen += 1;
            self.steps.saw_metric(index, self.after_blank);
            items.push(LogItem::Metric { index, metric });
            match kind {
                MetricKind::Train => self.progress.saw_training(),
                MetricKind::Summary => {
                    self.steps.saw_summary();
                    self.give_completed(items);
                }
                MetricKind::Eval => {}
            }
        }
    }

    fn read_facts(&mut self, text: &[u8], items: &mut Vec<LogItem>) {
        for fact in self.facts.read(text) {
            match &fact {
                Fact::TotalSteps(total) => self.progress.declare_total(*total),
                Fact::CheckpointSaving(_, name) => {
                    if let Some(step) = name.step() {
                        self.progress.saw_checkpoint(step);
                    }
                }
                Fact::TrainingBegins => self.begin_training(),
                Fact::Completed => {
                    self.give_completed(items);
                    continue;
                }
                _ => {}
            }
            items.push(LogItem::Fact { line: self.line, fact });
        }
        // W&B prints its summary after a crash as well, behind the traceback.
        if facts::is_wandb_summary(text) && !self.failures.has_ended_training() {
            self.give_completed(items);
        }
    }

    fn begin_training(&mut self) {
        self.health = HealthWatch::new(self.thresholds);
        self.failures.begin_training();
        self.steps.forget();
        self.completed = false;
    }

    /// Several lines say that training is complete; the first one counts.
    fn give_completed(&mut self, items: &mut Vec<LogItem>) {
        if !std::mem::replace(&mut self.completed, true) {
            items.push(LogItem::Fact { line: self.line, fact: Fact::Completed });
        }
    }

    fn give_failures(&mut self, items: &mut Vec<LogItem>) {
        for (index, failure) in self.failures.take_changes() {
            if failure.class.ends_training() {
                self.steps.forget();
                self.completed = false;
            }
            items.push(LogItem::Failure { index, failure });
        }
    }
}
