//! At which step a metric dictionary was printed: only where the bars around it leave no choice.
//!
//! Two rules, both certain; every other metric has no step:
//!
//! 1. *Between equal frames.* The training bar never runs ahead of the step and never runs back, so
//!    a dictionary between two of its frames with the same step belongs to that step.
//! 2. *Redrawn bar.* tqdm's `write` blanks the bar, prints, and redraws the bar at its present
//!    count. In a raw console that is a blank frame, the dictionary, a newline, `\r` and the bar
//!    at once. Cleaned logs keep only the last frame of a line, which may be a later one, and lack
//!    the blank frame, so the rule does not apply to them.

use serde::{Deserialize, Serialize};

use super::lines::FrameEnd;

/// Dictionaries between two frames of a bar; more than that never belong to one step.
const MAX_PENDING: usize = 64;

/// Watches the frames around metric dictionaries.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct StepFinder {
    /// The training bar's last step.
    last: Option<u64>,
    /// Metrics since then.
    pending: Vec<u64>,
    /// Whether training printed its summary: bars behind the next one belong to another training.
    ending: bool,
    redraw: Redraw,
}

/// Where the signature of tqdm's `write` stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Redraw {
    #[default]
    No,
    /// This metric was printed by `write`; its line has not ended.
    Printed(u64),
    /// Its line ended; the next one must begin with `\r`.
    LineEnded(u64),
    /// The next frame must be the training bar.
    Returned(u64),
}

impl StepFinder {
    /// Takes note of a metric. `after_blank`: its frame follows a blank one on the same line.
    pub(super) fn saw_metric(&mut self, metric: u64, after_blank: bool) {
        if self.last.is_some() && !self.ending && self.pending.len() < MAX_PENDING {
            self.pending.push(metric);
        }
        self.redraw = if after_blank { Redraw::Printed(metric) } else { Redraw::No };
    }

    /// Takes note that the metric before was the summary of training.
    pub(super) fn saw_summary(&mut self) {
        self.ending = true;
    }

    /// Takes note of the end of a frame that is not the training bar's.
    pub(super) fn frame_ended(&mut self, is_empty: bool, end: FrameEnd) {
        self.redraw = match (self.redraw, is_empty, end) {
            (Redraw::Printed(metric), false, FrameEnd::Newline) => Redraw::LineEnded(metric),
            (Redraw::LineEnded(metric), true, FrameEnd::Return) => Redraw::Returned(metric),
            _ => Redraw::No,
        };
    }

    /// Takes note of the training bar and returns the metrics whose step it decides.
    pub(super) fn saw_training_bar(&mut self, step: u64) -> Vec<u64> {
        let mut decided = std::mem::take(&mut self.pending);
        if self.last != Some(step) {
            decided.clear();
        }
        if let Redraw::Returned(metric) = self.redraw
            && !decided.contains(&metric)
        {
            decided.push(metric);
        }
        self.redraw = Redraw::No;
        self.last = (!std::mem::take(&mut self.ending)).then_some(step);
        decided
    }

    /// Returns whether bars decide nothing, so that only the last one matters.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.redraw == Redraw::No && !self.ending
    }

    /// Takes note of the last one of many training bars, while idle.
    pub(super) fn passed_training_bars(&mut self, step: u64) {
        self.last = Some(step);
    }

    /// Forgets the bar: training ended or began anew, so its next frame may be of another one.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_between_equal_frames_belong_to_their_step() {
        let mut finder = StepFinder::default();
        assert!(finder.saw_training_bar(20).is_empty());
        finder.saw_metric(0, false);
        finder.frame_ended(false, FrameEnd::Newline);
        finder.saw_metric(1, false);
        assert_eq!(finder.saw_training_bar(20), [0, 1]);
        finder.saw_metric(2, false);
        assert!(finder.saw_training_bar(25).is_empty());
        assert!(finder.saw_training_bar(25).is_empty());
    }

    #[test]
    fn redrawn_bar_names_the_step() {
        let mut finder = StepFinder::default();
        assert!(finder.saw_training_bar(4).is_empty());
        finder.saw_metric(0, true);
        finder.frame_ended(false, FrameEnd::Newline);
        finder.frame_ended(true, FrameEnd::Return);
        assert_eq!(finder.saw_training_bar(5), [0]);
    }

    /// A cleaned log has the same lines, but its bar may be one that was drawn much later.
    #[test]
    fn without_the_whole_signature_there_is_no_step() {
        for (after_blank, first_end, middle) in [
            (false, FrameEnd::Newline, Some((true, FrameEnd::Return))),
            (true, FrameEnd::Newline, None),
            (true, FrameEnd::Newline, Some((true, FrameEnd::Newline))),
            (true, FrameEnd::Newline, Some((false, FrameEnd::Return))),
            (true, FrameEnd::Return, Some((true, FrameEnd::Newline))),
        ] {
            let mut finder = StepFinder::default();
            assert!(finder.saw_training_bar(4).is_empty());
            finder.saw_metric(0, after_blank);
            finder.frame_ended(false, first_end);
            if let Some((is_empty, end)) = middle {
                finder.frame_ended(is_empty, end);
            }
            assert!(finder.saw_training_bar(5).is_empty());
        }
    }

    #[test]
    fn another_training_may_reach_the_same_step() {
        let mut finder = StepFinder::default();
        assert!(finder.saw_training_bar(40).is_empty());
        finder.saw_metric(0, false);
        finder.saw_summary();
        finder.saw_metric(1, false);
        assert_eq!(finder.saw_training_bar(40), [0]);
        finder.saw_metric(2, false);
        assert!(finder.saw_training_bar(40).is_empty());
        finder.forget();
        finder.saw_metric(3, false);
        assert!(finder.saw_training_bar(40).is_empty());
    }
}
