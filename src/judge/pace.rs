//! How often a training shows that it goes on, learned from itself, and when it will be done.
//!
//! One training prints a frame of its bar each second, another one line per half hour: a fixed
//! limit of silence is wrong for one of them. What counts is the time between two signs of progress
//! (a further step, or a further line of training metrics). Everything else that is printed breaks
//! the silence but teaches nothing: around an evaluation and a save several lines come at once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Timestamp;
use crate::model::numbers::grouped;
use crate::model::time::Moment;
use crate::settings::TrainingSettings;

/// Times between signs of progress that the learned one is the median of: the newest.
const GAPS: usize = 9;
/// So many of them outweigh what the log itself says of its intervals.
const OWN_GAPS: usize = 3;
/// A silence that was longer than any before and ended well makes this much of it ordinary.
const LONGEST_FACTOR: f64 = 1.5;
/// Multiples of `stall_floor` that a training may be silent before anything is known of its pace:
/// data may be prepared for an hour, and models compiled.
const PATIENCE: u32 = 12;
/// Points of progress that are kept, and the least time between two of them: twelve minutes.
const POINTS: usize = 25;
const BETWEEN_POINTS: Duration = Duration::from_secs(30);
/// Progress over less time than this foretells nothing.
const LEAST_SPAN: Duration = Duration::from_mins(1);
/// A stretch in which a step took so many times what it usually takes was a pause.
const PAUSE_FACTOR: f64 = 4.0;

/// What was learned of one training while it was watched.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pace {
    progress_at: Option<Timestamp>,
    output_at: Option<Timestamp>,
    gaps: VecDeque<Duration>,
    longest: Duration,
    points: VecDeque<(Timestamp, u64)>,
}

/// How fast a training is, and how that is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Speed {
    /// Optimizer steps per second.
    pub steps_per_second: f64,
    /// `over the last 12 min`.
    pub basis: String,
}

impl Pace {
    /// Takes note of output at a time, which may be a sign of progress, and of the step then.
    /// `limit` is how long a silence was ordinary until then.
    pub fn saw_output(&mut self, at: Timestamp, is_progress: bool, step: u64, limit: Duration) {
        let silence = self.output_at.map(|before| between(before, at)).unwrap_or_default();
        if self.progress_at.is_some() {
            // A night in which the host slept must not make nights ordinary.
            self.longest = self.longest.max(silence.min(limit.saturating_mul(2)));
        }
        self.output_at = Some(at);
        if !is_progress {
            return;
        }
        if let Some(before) = self.progress_at.replace(at) {
            self.gaps.push_back(between(before, at));
            self.gaps.drain(..self.gaps.len().saturating_sub(GAPS));
        }
        self.add_point(at, step);
    }

    fn add_point(&mut self, at: Timestamp, step: u64) {
        if self.points.back().is_some_and(|(_, last)| *last > step) {
            self.points.clear();
        }
        let is_due = self
            .points
            .back()
            .is_none_or(|(last, known)| *known < step && between(*last, at) >= BETWEEN_POINTS);
        if is_due {
            self.points.push_back((at, step));
            self.points.drain(..self.points.len().saturating_sub(POINTS));
        }
    }

    /// Returns how long this training usually takes between two signs of progress. `printed` are
    /// the seconds between its lines of metrics by its own clock.
    pub fn learned(&self, printed: &[u64], by_checkpoints: Option<Duration>) -> Option<Duration> {
        let own = median(self.gaps.iter().copied());
        let printed = median(printed.iter().copied().map(Duration::from_secs));
        let by_few = own.into_iter().chain(printed).max();
        own.filter(|_| self.gaps.len() >= OWN_GAPS).or(by_few).or(by_checkpoints)
    }

    /// Returns how long a silence is ordinary.
    pub fn limit(&self, learned: Option<Duration>, settings: &TrainingSettings) -> Duration {
        let floor = settings.stall_floor;
        let Some(learned) = learned else { return floor.saturating_mul(PATIENCE) };
        let usual = times(learned, settings.stall_factor);
        floor.max(usual).max(times(self.longest, LONGEST_FACTOR))
    }

    /// Returns the speed that was observed, without pauses.
    pub fn observed(&self) -> Option<Speed> {
        let (first, last) = (self.points.front()?, self.points.back()?);
        let span = between(first.0, last.0);
        let stretches: Vec<(f64, f64)> = self
            .points
            .iter()
            .zip(self.points.iter().skip(1))
            .map(|((from, before), (to, after))| {
                (between(*from, *to).as_secs_f64(), exact(after.saturating_sub(*before)))
            })
            .collect();
        let mut seconds_a_step: Vec<f64> =
            stretches.iter().map(|(seconds, steps)| seconds / steps).collect();
        seconds_a_step.sort_by(f64::total_cmp);
        let usual = *seconds_a_step.get(seconds_a_step.len().checked_sub(1)? / 2)?;
        let moving = stretches.iter().filter(|(time, steps)| time / steps <= usual * PAUSE_FACTOR);
        let (time, steps) =
            moving.fold((0.0, 0.0), |(time, steps), one| (time + one.0, steps + one.1));
        let is_enough = span >= LEAST_SPAN && time > 0.0 && steps > 0.0;
        let basis = format!("over the last {}", minutes(span));
        is_enough.then(|| Speed { steps_per_second: steps / time, basis })
    }
}

/// Returns when training will be done and what that is based on, for a training at `step` of
/// `total` at a time.
pub fn estimate((step, total): (u64, u64), at: Moment, speed: &Speed) -> Option<(Moment, String)> {
    let rate = speed.steps_per_second;
    if !rate.is_finite() || rate <= 0.0 || step > total {
        return None;
    }
    let left = Duration::try_from_secs_f64(exact(total - step) / rate).ok()?;
    let rate = if rate < 0.1 { format!("{rate:.3}") } else { format!("{rate:.1}") };
    let basis =
        format!("{} of {} steps, {rate} steps/s {}", grouped(step), grouped(total), speed.basis);
    Some((at.after(left).whole_seconds(), basis))
}

/// Prints a duration for a sentence: `31 s`, `12 min`, `2 h 5 min`.
pub(super) fn minutes(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds, seconds / 60) {
        (0..120, _) => format!("{seconds} s"),
        (_, minutes @ 0..120) => format!("{minutes} min"),
        (_, minutes) if minutes % 60 == 0 => format!("{} h", minutes / 60),
        (_, minutes) => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

fn between(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

fn times(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

fn median(values: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut sorted: Vec<Duration> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
fn exact(count: u64) -> f64 {
    count as f64
}
