//! Passing over progress bars that a later one overwrites, as a reader of a console does.
//!
//! Nearly all bytes of a console are bars. Where nothing but bars can matter, and the training bar
//! is settled, what counts of many is the last: the others leave nothing behind that it does not
//! replace. `tests.rs` holds this against reading every frame.

use memchr::{memchr_iter, memmem, memrchr2};

use super::gates::{quiet_beginning, quiet_lines};
use super::lines::{HEAD_BYTES, is_blank};
use super::progress::{ProgressTracker, leading_bar, undisguised};

/// Bytes that are passed over at once. No frame among them is so long that its middle is dropped.
const REACH: usize = HEAD_BYTES;
/// The same while the training bar is not settled: bars of others may cost a search each.
const UNSETTLED_REACH: usize = 4 * 1024;

/// A console's bars stand on one line; where lines are shorter, bars have one each.
const SHORT_LINE: usize = 1_024;

/// What a row of frames leaves behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Skimmed {
    /// How many bytes the frames have, their ends included.
    pub(super) length: usize,
    /// How many lines end among them.
    pub(super) lines: u64,
    /// The last step of the training bar, if it is among them.
    pub(super) step: Option<u64>,
    /// Whether a frame of the line that goes on holds more than spaces.
    pub(super) has_text: bool,
    /// Whether the last frame of that line that is not empty holds nothing but spaces, if there is
    /// one.
    pub(super) after_blank: Option<bool>,
}

/// Passes over the frames at the beginning of `bytes` of which only the last training bar counts,
/// and tells the tracker of that one. Gives `None` where every frame must be read.
pub(super) fn skim(tracker: &mut ProgressTracker, bytes: &[u8]) -> Option<Skimmed> {
    let total = tracker.lone_total()?;
    let reach = if tracker.is_settled() { REACH } else { UNSETTLED_REACH };
    let bytes = bytes.get(..reach).unwrap_or(bytes);
    let mut quiet = quiet_beginning(bytes);
    let has_short_lines = quiet.len() < SHORT_LINE && bytes.get(quiet.len()) == Some(&b'\n');
    if has_short_lines {
        quiet = quiet_lines(bytes);
    }
    if !tracker.is_settled() {
        // The end of this bar would let another one take its place.
        let last_step = format!("{total}/");
        let end = memmem::find(quiet, last_step.as_bytes()).unwrap_or(quiet.len());
        quiet = quiet.get(..end)?;
    }
    let length = memrchr2(b'\r', b'\n', quiet)? + 1;
    let frames = quiet.get(..length)?;
    let lines = if has_short_lines { memchr_iter(b'\n', frames).count() as u64 } else { 0 };
    let mut skimmed = Skimmed { length, lines, ..Skimmed::default() };
    let (mut end, mut rest) = frames.split_last()?;
    let mut line_goes_on = true;
    loop {
        line_goes_on &= *end != b'\n';
        let begin = memrchr2(b'\r', b'\n', rest).map_or(0, |position| position + 1);
        let is_enough = look(tracker, rest.get(begin..)?, line_goes_on, &mut skimmed);
        if is_enough || begin == 0 {
            return Some(skimmed);
        }
        (end, rest) = rest.get(..begin)?.split_last()?;
    }
}

/// Looks at one frame, from the last to the first; gives whether those before it matter no more.
fn look(
    tracker: &mut ProgressTracker,
    frame: &[u8],
    line_goes_on: bool,
    skimmed: &mut Skimmed,
) -> bool {
    if frame.is_empty() {
        return false;
    }
    let plain = if leading_bar(frame).is_none() { undisguised(frame) } else { None };
    let mut bar = leading_bar(plain.as_deref().unwrap_or(frame));
    let is_blank = bar.is_none() && is_blank(frame);
    if line_goes_on {
        skimmed.has_text |= !is_blank;
        skimmed.after_blank.get_or_insert(is_blank);
    }
    let mut is_training_bar = false;
    while let Some(seen) = bar {
        if tracker.see(&seen) {
            is_training_bar = true;
            skimmed.step = Some(seen.step);
        }
        bar = leading_bar(seen.rest);
    }
    is_training_bar
}
