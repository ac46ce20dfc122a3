//! Progress bars: which one counts training steps, and how far it is.
//!
//! Source of the form: tqdm's `format_meter` and `format_interval`, transformers' `ProgressCallback`
//! (the training bar has no description; evaluation bars are nested below it and end in `ESC [ A`).

use bstr::ByteSlice;
use serde::{Deserialize, Serialize};

use super::super::ansi::strip_ansi;
use super::bytes_as_text;
use super::lines::split_rank;

/// Evaluation bars move the cursor back up to the training bar.
const CURSOR_UP: &[u8] = b"\x1b[A";
const ESCAPE: u8 = 0x1b;
/// The longest timing part that is kept of a bar.
const TIMING_BYTES: usize = 96;
/// Descriptions are short; longer text before a bar may be something else.
const MAX_DESCRIPTION_BYTES: usize = 64;
const SECONDS_PER_DAY: u64 = 86_400;

/// How far training is, as its progress bar and its checkpoints say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: Option<u64>,
    /// Planned optimizer steps.
    pub total_steps: Option<u64>,
    /// The speed that the bar shows, in optimizer steps per second.
    pub rate_steps_per_second: Option<f64>,
    /// Time since the bar began, in seconds.
    pub elapsed_seconds: Option<u64>,
}

/// A bar without description at the beginning of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bar<'a> {
    pub(super) step: u64,
    pub(super) total: u64,
    /// What stands in its brackets: `00:02<00:02,  9.55it/s`.
    pub(super) timing: &'a [u8],
    /// Whether it is drawn below another one.
    pub(super) nested: bool,
    /// What stands behind it on the same frame.
    pub(super) rest: &'a [u8],
}

/// Reads a bar such as ` 50%|█████     | 20/40 [00:02<00:02,  9.55it/s]` that begins a frame.
///
/// Nearly all bytes of a console are such frames, so this looks at as few of them as it can.
pub(super) fn leading_bar(frame: &[u8]) -> Option<Bar<'_>> {
    let percent = frame.iter().position(|byte| *byte != b' ')?;
    let digits = frame.get(percent..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let body = frame.get(percent + digits..)?;
    if !(1..=3).contains(&digits) || !body.starts_with(b"%|") {
        return None;
    }
    let open = memchr::memchr(b'[', body)?;
    let (step, total) = counts(body.get(..open)?)?;
    let inside = body.get(open + 1..)?;
    let close = memchr::memchr(b']', inside)?;
    let timing = inside.get(..close)?;
    let mut rest = inside.get(close + 1..)?;
    let nested = rest.starts_with(CURSOR_UP);
    while let Some(after) = rest.strip_prefix(CURSOR_UP) {
        rest = after;
    }
    Some(Bar { step, total, timing, nested, rest })
}

/// Returns a frame that begins with a bar once a rank's prefix and colors are taken off, without
/// them; `None` for every other frame.
pub(super) fn undisguised(frame: &[u8]) -> Option<Vec<u8>> {
    let may_be_disguised = frame.first() == Some(&b'[') || frame.contains(&ESCAPE);
    if !may_be_disguised || !frame.contains_str("%|") {
        return None;
    }
    let is_nested = frame.ends_with(CURSOR_UP);
    let stripped = strip_ansi(frame);
    let mut plain = split_rank(&stripped).1.to_vec();
    if is_nested {
        plain.extend_from_slice(CURSOR_UP);
    }
    leading_bar(&plain).is_some().then_some(plain)
}

/// Returns the description of a bar that has one, such as `Map:` of `Map:  12%|█▎ | …`, if the frame
/// holds nothing behind the bar. Data set and loading bars are such, and there may be very many.
pub(super) fn description_of_bar(frame: &[u8]) -> Option<&[u8]> {
    let percent = memchr::memchr(b'%', frame).filter(|at| *at <= MAX_DESCRIPTION_BYTES)?;
    let before = frame.get(..percent)?;
    let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (description, _) = before.split_at_checked(percent - digits)?;
    let bar = leading_bar(frame.get(description.len()..)?)?;
    bar.rest.is_empty().then_some(description)
}

/// Reads the `20/40 ` at the end of a bar's body.
fn counts(body: &[u8]) -> Option<(u64, u64)> {
    let body = body.strip_suffix(b" ").unwrap_or(body);
    let (total, digits) = number_at_end(body)?;
    let body = body.get(..body.len().checked_sub(digits)?)?.strip_suffix(b"/")?;
    let (step, digits) = number_at_end(body)?;
    // Before the step stands a space: `1.5k/3k` and the like are no exact counts.
    let before = body.get(..body.len().checked_sub(digits)?)?.last();
    matches!(before, Some(b' ' | b'|')).then_some((step, total))
}

/// Returns the number at the end of `text` and how many digits it has.
fn number_at_end(text: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    let mut scale = 1_u64;
    let mut digits = 0_usize;
    for byte in text.iter().rev().take_while(|byte| byte.is_ascii_digit()) {
        value = value.checked_add(u64::from(byte - b'0').checked_mul(scale)?)?;
        scale = scale.saturating_mul(10);
        digits += 1;
    }
    (digits > 0).then_some((value, digits))
}

/// Tells the training bar from evaluation and data set bars and remembers where it stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ProgressTracker {
    total: Option<u64>,
    /// Whether the log itself named the total.
    declared: bool,
    step: Option<u64>,
    /// The highest step of a checkpoint that was saved.
    saved_step: Option<u64>,
    #[serde(with = "bytes_as_text")]
    timing: Vec<u8>,
    /// Whether the log showed training metrics: from then on the bar's total cannot change.
    training_seen: bool,
}

impl ProgressTracker {
    /// Takes note of a bar and returns whether it is the training bar.
    ///
    /// It is the one whose total the log named; else the first bar in `it` that is not nested. A
    /// bar that ends before any training metric was some preparation, and the next one counts.
    pub(super) fn see(&mut self, bar: &Bar<'_>) -> bool {
        if bar.nested || bar.total == 0 || self.is_other(bar) || !counts_iterations(bar.timing) {
            return false;
        }
        self.total = Some(bar.total);
        self.step = Some(bar.step);
        self.timing.clear();
        self.timing.extend_from_slice(bar.timing.get(..TIMING_BYTES).unwrap_or(bar.timing));
        true
    }

    /// Returns the total of the training bar, if only bars with it can be the training bar until
    /// its last step.
    pub(super) fn lone_total(&self) -> Option<u64> {
        self.total.filter(|total| *total > 0 && (self.is_settled() || self.step != Some(*total)))
    }

    /// Returns whether no bar with another total can take the training bar's place.
    pub(super) fn is_settled(&self) -> bool {
        self.declared || self.training_seen
    }

    fn is_other(&self, bar: &Bar<'_>) -> bool {
        match self.total {
            Some(total) if total != bar.total => self.is_settled() || self.step != Some(total),
            _ => false,
        }
    }

    /// Takes note of `Total optimization steps`, which begins a training.
    pub(super) fn declare_total(&mut self, total: u64) {
        *self = Self { total: Some(total), declared: true, ..Self::default() };
    }

    /// Takes note that training metrics were printed.
    pub(super) fn saw_training(&mut self) {
        self.training_seen = true;
    }

    /// Takes note of a checkpoint of this step.
    pub(super) fn saw_checkpoint(&mut self, step: u64) {
        self.saved_step = self.saved_step.max(Some(step));
    }

    /// Returns how far training is.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            step: self.step.max(self.saved_step),
            total_steps: self.total,
            rate_steps_per_second: rate(&self.timing),
            elapsed_seconds: elapsed(&self.timing),
        }
    }
}

/// Returns whether a bar counts in tqdm's default unit, as training does.
fn counts_iterations(timing: &[u8]) -> bool {
    timing.ends_with(b"it/s")
        || timing.ends_with(b"s/it")
        || timing.contains_str("it/s")
        || timing.contains_str("s/it")
}

/// Reads `9.55it/s` and `2.37s/it` as steps per second.
fn rate(timing: &[u8]) -> Option<f64> {
    let (_, after) = timing.split_once_str("<")?;
    let word = after
        .split(|byte| matches!(byte, b',' | b' '))
        .find(|word| word.ends_with(b"it/s") || word.ends_with(b"s/it"))?
        .to_str()
        .ok()?;
    let rate = match word.strip_suffix("it/s") {
        Some(per_second) => per_second.parse::<f64>().ok()?,
        None => 1.0 / word.strip_suffix("s/it")?.parse::<f64>().ok()?,
    };
    rate.is_finite().then_some(rate)
}

/// Reads `02:03`, `30:12:01` and `1 day, 2:03:04` in seconds.
fn elapsed(timing: &[u8]) -> Option<u64> {
    let text = timing.split_once_str("<").map_or(timing, |(before, _)| before).to_str().ok()?;
    let (days, clock) = match text.split_once("day") {
        Some((days, rest)) => {
            (days.trim().parse::<u64>().ok()?, rest.trim_start_matches(['s', ',', ' ']))
        }
        None => (0, text),
    };
    // A clock of one part is none; tqdm always prints minutes and seconds.
    if !(2..=3).contains(&clock.split(':').count()) {
        return None;
    }
    let clock_seconds = clock.split(':').try_fold(0_u64, |seconds, part| {
        seconds.checked_mul(60)?.checked_add(part.trim().parse().ok()?)
    })?;
    days.checked_mul(SECONDS_PER_DAY)?.checked_add(clock_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(text: &str) -> Option<(u64, u64, bool, &str)> {
        let bar = leading_bar(text.as_bytes())?;
        Some((bar.step, bar.total, bar.nested, bar.rest.to_str().ok()?))
    }

    #[test]
    fn bars_are_told_from_other_text() {
        for (text, expected) in [
            (" 50%|█████     | 20/40 [00:02<00:02,  9.55it/s]", Some((20, 40, false, ""))),
            ("  0%|          | 0/5 [00:00<?, ?it/s]\x1b[A", Some((0, 5, true, ""))),
            (
                "  4%|▍         | 17/400 [00:06<02:37,  2.43it/s]Trace",
                Some((17, 400, false, "Trace")),
            ),
            ("100%|##########| 5/5 [00:00<00:00, 41.31it/s]\x1b[A\x1b[A", Some((5, 5, true, ""))),
            ("Map (num_proc=8):  12%|█▎        | 490/3920 [00:02<00:15, 223.15 examples/s]", None),
            ("Generating train split: 4000 examples [00:00, 89904.75 examples/s]", None),
            (" 50%|█████     | 1.5k/3k [00:02<00:02,  9.55it/s]", None),
            (" 50%|█████     | 20/40 [00:02<00:02", None),
            (" 50%|█████     | 99999999999999999999999/40 [00:02<00:02]", None),
            ("50% of it", None),
            ("   ", None),
            ("", None),
        ] {
            assert_eq!(bar(text), expected, "{text}");
        }
    }

    #[test]
    fn described_bars_are_recognized_only_when_nothing_is_behind_them() {
        for (text, expected) in [
            (
                "Map (num_proc=8):  12%|█▎        | 490/3920 [00:02<00:15, 223.15 examples/s]",
                Some("Map (num_proc=8):  "),
            ),
            (
                "Writing model shards: 100%|█| 1/1 [00:00<00:00, 90.35it/s]",
                Some("Writing model shards: "),
            ),
            ("Map:  12%|█▎| 490/3920 [00:02<00:15, 223.15 examples/s]Traceback", None),
            ("Map:  12%|█▎| 490/3920 [00:02<00:15", None),
            ("accuracy 12% of [all]", None),
            ("%", None),
            ("", None),
        ] {
            let description =
                description_of_bar(text.as_bytes()).map(|text| text.to_str().unwrap());
            assert_eq!(description, expected, "{text}");
        }
    }

    #[test]
    fn timing_is_read_in_every_unit() {
        for (text, speed, seconds) in [
            ("00:02<00:02,  9.5it/s", Some(9.5), Some(2)),
            ("30:12:01<1:00:00,  2.00s/it", Some(0.5), Some(108_721)),
            ("1 day, 2:03:04<2 days, 3:00:00, 4.00s/it", Some(0.25), Some(93_784)),
            ("2 days, 0:00:01<?, ?it/s", None, Some(172_801)),
            ("00:00<?, ?it/s", None, Some(0)),
            ("00:02<00:02, 9.5it/s, loss=1.2]", Some(9.5), Some(2)),
            ("00:02<00:02, 0.00s/it", None, Some(2)),
            ("junk", None, None),
            ("99999999999999999999:00<0, 1it/s", Some(1.0), None),
            ("", None, None),
        ] {
            assert_eq!(
                (rate(text.as_bytes()), elapsed(text.as_bytes())),
                (speed, seconds),
                "{text}"
            );
        }
    }

    fn steps_seen(tracker: &mut ProgressTracker, frames: &[&str]) -> Vec<bool> {
        let see = |frame: &&str| leading_bar(frame.as_bytes()).map(|bar| tracker.see(&bar));
        frames.iter().filter_map(see).collect()
    }

    #[test]
    fn the_training_bar_is_told_from_nested_and_preparing_ones() {
        let mut tracker = ProgressTracker::default();
        let frames = [
            "100%|█| 3/3 [00:00<00:00, 41.31it/s]",
            "100%|█| 7/7 [00:00<00:00, 41.31 examples/s]",
            "  0%| | 0/40 [00:00<?, ?it/s]",
            " 50%| | 20/40 [00:02<00:02,  9.5it/s]",
            "  0%| | 0/5 [00:00<?, ?it/s]\x1b[A",
            " 40%| | 2/5 [00:00<?, 4it/s]",
        ];
        assert_eq!(steps_seen(&mut tracker, &frames), [true, false, true, true, false, false]);
        tracker.saw_training();
        assert_eq!(
            tracker.progress(),
            Progress {
                step: Some(20),
                total_steps: Some(40),
                rate_steps_per_second: Some(9.5),
                elapsed_seconds: Some(2),
            }
        );
        let after = ["100%| | 40/40 [00:04<00:00, 9.5it/s]", "100%| | 5/5 [00:00<00:00, 4it/s]"];
        assert_eq!(steps_seen(&mut tracker, &after), [true, false]);
        tracker.saw_checkpoint(38);
        assert_eq!(tracker.progress().step, Some(40));
    }

    #[test]
    fn a_declared_total_decides() {
        let mut tracker = ProgressTracker::default();
        tracker.declare_total(100);
        let frames = ["100%| | 3/3 [00:00<00:00, 4it/s]", "  1%| | 1/100 [00:00<00:00, 4it/s]"];
        assert_eq!(steps_seen(&mut tracker, &frames), [false, true]);
        tracker.saw_checkpoint(20);
        assert_eq!(tracker.progress().step, Some(20));
    }
}
