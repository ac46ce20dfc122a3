//! Passing over progress bars that a later one overwrites, as a reader of a console does.
//!
//! Nearly all bytes of a console are bars. Where nothing but bars can matter, and the training bar
//! is settled, what counts of many is the last: the others leave nothing behind that it does not
//! replace. `tests.rs` holds this against reading every frame.

use memchr::{memmem, memrchr};

use super::gates::quiet_beginning;
use super::lines::{HEAD_BYTES, is_blank};
use super::progress::{ProgressTracker, leading_bar, undisguised};

/// Bytes that are passed over at once. No frame among them is so long that its middle is dropped.
const REACH: usize = HEAD_BYTES;
/// The same while the training bar is not settled: bars of others may cost a search each.
const UNSETTLED_REACH: usize = 4 * 1024;

/// What a row of frames leaves behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Skimmed {
    /// How many bytes the frames have, their ends included.
    pub(super) length: usize,
    /// The last step of the training bar, if it is among them.
    pub(super) step: Option<u64>,
    /// Whether one of them holds more than spaces.
    pub(super) has_text: bool,
    /// Whether the last one that is not empty holds nothing but spaces, if there is one.
    pub(super) after_blank: Option<bool>,
}

/// Passes over the frames at the beginning of `bytes` of which only the last training bar counts,
/// and tells the tracker of that one. Gives `None` where every frame must be read.
pub(super) fn skim(tracker: &mut ProgressTracker, bytes: &[u8]) -> Option<Skimmed> {
    let total = tracker.lone_total()?;
    let reach = if tracker.is_settled() { REACH } else { UNSETTLED_REACH };
    let mut quiet = quiet_beginning(bytes.get(..reach).unwrap_or(bytes));
    if !tracker.is_settled() {
        // The end of this bar would let another one take its place.
        let last_step = format!("{total}/");
        let end = memmem::find(quiet, last_step.as_bytes()).unwrap_or(quiet.len());
        quiet = quiet.get(..end)?;
    }
    let length = memrchr(b'\r', quiet)? + 1;
    let mut skimmed = Skimmed { length, ..Skimmed::default() };
    let mut rest = quiet.get(..length - 1)?;
    loop {
        let begin = memrchr(b'\r', rest).map_or(0, |position| position + 1);
        let is_enough = look(tracker, rest.get(begin..)?, &mut skimmed);
        if is_enough || begin == 0 {
            return Some(skimmed);
        }
        rest = rest.get(..begin - 1)?;
    }
}

/// Looks at one frame, from the last to the first; gives whether those before it matter no more.
fn look(tracker: &mut ProgressTracker, frame: &[u8], skimmed: &mut Skimmed) -> bool {
    if frame.is_empty() {
        return false;
    }
    let plain = if leading_bar(frame).is_none() { undisguised(frame) } else { None };
    let mut bar = leading_bar(plain.as_deref().unwrap_or(frame));
    let is_blank = bar.is_none() && is_blank(frame);
    skimmed.has_text |= !is_blank;
    skimmed.after_blank.get_or_insert(is_blank);
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
