//! What each frame says, in the light of those before it.

use serde::{Deserialize, Serialize};

use super::super::ansi::strip_ansi;
use super::super::redact::presentable;
use super::evidence::TrainingFailureClass as Class;
use super::facts::{self, Fact, FactReader};
use super::failures::{FailureTracker, MAX_TEXT_CHARS};
use super::health::{Ailment, HealthWatch, Thresholds};
use super::lines::{FrameEnd, TakeFrames, is_blank};
use super::metrics::{Metric, MetricKind, find_metrics};
use super::progress::{
    Bar, Progress, ProgressTracker, description_of_bar, leading_bar, undisguised,
};
use super::skim::skim;
use super::steps::StepFinder;
use super::{LogItem, gates};

/// How far a training came, which decides whether another run's name begins a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Phase {
    /// No metrics were printed yet.
    #[default]
    Beginning,
    /// It trained.
    Trained,
    /// It came to its end, planned or not.
    Ended,
}

/// Makes items of frames.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FrameReader {
    line: u64,
    thresholds: Thresholds,
    /// Whether the line showed any text so far.
    line_has_text: bool,
    /// Whether the frame before, on the same line, held nothing but spaces.
    after_blank: bool,
    metrics_seen: u64,
    phase: Phase,
    /// Whether training was reported to have come to its end, and nothing failed since.
    completed: bool,
    progress: ProgressTracker,
    /// How far the training before was, when this frame began another one.
    #[serde(skip)]
    before: Option<Progress>,
    steps: StepFinder,
    health: HealthWatch,
    facts: FactReader,
    failures: FailureTracker,
}

impl FrameReader {
    pub(super) fn new(thresholds: Thresholds, line: u64) -> Self {
        Self {
            line,
            thresholds,
            line_has_text: false,
            after_blank: false,
            metrics_seen: 0,
            phase: Phase::default(),
            completed: false,
            progress: ProgressTracker::default(),
            before: None,
            steps: StepFinder::default(),
            health: HealthWatch::new(thresholds),
            facts: FactReader::default(),
            failures: FailureTracker::default(),
        }
    }

    /// Returns the line that is being read, counted from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    pub(super) fn progress(&self) -> &ProgressTracker {
        &self.progress
    }

    /// Lets these thresholds count from now on.
    pub(super) fn use_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
        self.health.use_thresholds(thresholds);
    }

    /// Reads frames and shows each that is more than a bar.
    pub(super) fn shown_to<'a>(&'a mut self, show: &'a mut dyn FnMut(&mut Seen<'_>)) -> Shown<'a> {
        Shown { reader: self, items: Vec::new(), show }
    }

    /// Reads one frame and returns what it holds besides bars, if it is more than signs and numbers.
    /// Bars are by far the most frequent frames and are told apart first.
    pub(super) fn read<'frame>(
        &mut self,
        frame: &'frame [u8],
        end: FrameEnd,
        items: &mut Vec<LogItem>,
    ) -> Option<&'frame [u8]> {
        let bar = leading_bar(frame);
        if bar.is_none()
            && let Some(plain) = undisguised(frame)
        {
            return self.read_plain(&plain, leading_bar(&plain), end, items).map(|_| frame);
        }
        self.read_plain(frame, bar, end, items)
    }

    fn read_plain<'frame>(
        &mut self,
        frame: &'frame [u8],
        bar: Option<Bar<'frame>>,
        end: FrameEnd,
        items: &mut Vec<LogItem>,
    ) -> Option<&'frame [u8]> {
        let mut is_training_bar = false;
        let mut is_blank_frame = false;
        let mut text = None;
        if let Some(bar) = bar {
            let rest = self.bars(bar, &mut is_training_bar, items);
            self.after_blank = false;
            text = Some(rest).filter(|rest| !rest.is_empty());
        } else if is_blank(frame) {
            is_blank_frame = true;
        } else if !description_of_bar(frame).is_some_and(gates::says_nothing) {
            text = Some(frame);
        }
        self.line_has_text |= !is_blank_frame;
        if let Some(text) = text {
            self.text(text, items);
        }
        if !frame.is_empty() {
            self.after_blank = is_blank_frame;
        }
        if !is_training_bar {
            self.steps.frame_ended(frame.is_empty(), end);
        }
        if end == FrameEnd::Newline {
            self.line_ended(items);
        }
        text.filter(|text| !gates::is_quiet(text))
    }

    /// Passes over bars where they cannot matter; gives how many bytes they have.
    fn skim(&mut self, bytes: &[u8]) -> usize {
        if !self.steps.is_idle() || self.failures.needs_every_line() {
            return 0;
        }
        let Some(skimmed) = skim(&mut self.progress, bytes) else { return 0 };
        if let Some(step) = skimmed.step {
            self.steps.passed_training_bars(step);
        }
        if skimmed.lines > 0 {
            self.line = self.line.saturating_add(skimmed.lines);
            self.line_has_text = false;
            self.after_blank = false;
        }
        self.line_has_text |= skimmed.has_text;
        self.after_blank = skimmed.after_blank.unwrap_or(self.after_blank);
        skimmed.length
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

    /// Reads a bar and those right behind it, as cleaned logs have them; gives what is behind all.
    fn bars<'frame>(
        &mut self,
        first: Bar<'frame>,
        is_training_bar: &mut bool,
        items: &mut Vec<LogItem>,
    ) -> &'frame [u8] {
        let mut bar = first;
        loop {
            *is_training_bar |= self.bar(&bar, items);
            match leading_bar(bar.rest) {
                Some(next) => bar = next,
                None => return bar.rest,
            }
        }
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
        if gates::may_hold_metrics(&text) {
            self.read_metrics(&text, items);
        }
        if gates::may_state_facts(&text) {
            self.read_facts(&text, items);
        }
        if self.failures.needs_every_line() || gates::may_tell_of_failure(&text) {
            self.failures.read(self.line, &text);
        }
        self.give_failures(items);
    }

    fn read_metrics(&mut self, text: &[u8], items: &mut Vec<LogItem>) {
        let found = find_metrics(text);
        let behind = found.last().and_then(|last| text.get(last.end..));
        for found in found {
            let metric = Metric { line: self.line, kind: found.kind, values: found.values };
            let bytes = text.get(found.begin..found.end).unwrap_or_default();
            let shown = || presentable(bytes, MAX_TEXT_CHARS);
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
                MetricKind::Train => {
                    self.progress.saw_training();
                    self.phase = self.phase.max(Phase::Trained);
                }
                MetricKind::Summary => {
                    self.steps.saw_summary();
                    self.give_completed(items);
                }
                MetricKind::Eval => {}
            }
        }
        if let Some(bar) = behind.and_then(leading_bar) {
            self.bars(bar, &mut false, items);
        }
    }

    fn read_facts(&mut self, text: &[u8], items: &mut Vec<LogItem>) {
        for fact in self.facts.read(text, self.phase) {
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
        self.before.get_or_insert(self.progress.progress());
        if self.phase != Phase::Beginning {
            self.progress = ProgressTracker::default();
        }
        self.phase = Phase::Beginning;
        self.health = HealthWatch::new(self.thresholds);
        self.failures.begin_training();
        self.steps.forget();
        self.completed = false;
    }

    /// Several lines say that training is complete; the first one counts.
    fn give_completed(&mut self, items: &mut Vec<LogItem>) {
        self.phase = Phase::Ended;
        if !std::mem::replace(&mut self.completed, true) {
            items.push(LogItem::Fact { line: self.line, fact: Fact::Completed });
        }
    }

    fn give_failures(&mut self, items: &mut Vec<LogItem>) {
        for (index, failure) in self.failures.take_changes() {
            if failure.ends_training {
                self.steps.forget();
                self.completed = false;
                self.phase = Phase::Ended;
            }
            items.push(LogItem::Failure { index, failure });
        }
    }
}

/// What a frame that is more than a bar shows.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    /// Its line, counted from 1.
    pub(super) line: u64,
    /// What it holds besides bars, as it was printed.
    pub(super) text: Option<&'a [u8]>,
    /// What it says; whoever looks takes them out.
    pub(super) items: &'a mut Vec<LogItem>,
    /// How far training is behind it.
    pub(super) progress: &'a ProgressTracker,
    /// How far the training before was, if the frame begins another one.
    pub(super) before: Option<&'a Progress>,
}

/// Reads frames for somebody.
pub(super) struct Shown<'a> {
    reader: &'a mut FrameReader,
    items: Vec<LogItem>,
    show: &'a mut dyn FnMut(&mut Seen<'_>),
}

impl TakeFrames for Shown<'_> {
    fn frame(&mut self, frame: &[u8], end: FrameEnd) {
        let line = self.reader.line;
        let text = self.reader.read(frame, end, &mut self.items);
        if text.is_some() || !self.items.is_empty() {
            let FrameReader { progress, before, .. } = &*self.reader;
            let (items, before) = (&mut self.items, before.as_ref());
            (self.show)(&mut Seen { line, text, items, progress, before });
            self.items.clear();
            self.reader.before = None;
        }
    }

    fn skim(&mut self, bytes: &[u8]) -> usize {
        self.reader.skim(bytes)
    }
}
