//! When a document with pending entries is due: at once, when it is quiet, or after a backoff.

use std::time::{Duration, Instant};

use super::Now;
use super::reading::Stamp;

/// A document is edited when nobody has changed it for this long …
pub(super) const QUIET: Duration = Duration::from_millis(200);
/// … or when this much time was spent on waiting for it.
const QUIET_AT_MOST: Duration = Duration::from_secs(2);
/// The first wait before a held document is tried again; it doubles each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait before a held document is tried again.
const RETRY_AT_MOST: Duration = Duration::from_mins(1);
/// When it is asked again whether a document is ready.
const READY_SOON: Duration = Duration::from_millis(50);
/// How often a person may save in between before the document counts as held.
const CROSSINGS: u32 = 10;

/// A document with pending entries.
#[derive(Debug)]
pub(super) struct Line {
    due: Instant,
    quiet: Option<Quiet>,
    crossings: u32,
    backoff: Duration,
    is_held: bool,
}

/// What was seen while waiting for quiet.
#[derive(Debug)]
struct Quiet {
    stamp: Option<Stamp>,
    since: Instant,
    give_up: Instant,
}

impl Line {
    /// Begins with a document that is due now.
    pub(super) fn new(now: Now) -> Self {
        Self { due: now.instant, quiet: None, crossings: 0, backoff: RETRY_FIRST, is_held: false }
    }

    /// Returns whether the document was tried and could not be written.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Returns when the document is to be tried.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Returns whether the document has been left alone long enough; else sets when to ask again.
    pub(super) fn is_quiet(&mut self, stamp: Option<Stamp>, now: Now) -> bool {
        let give_up = now.instant + QUIET_AT_MOST;
        let quiet = self.quiet.get_or_insert(Quiet { stamp, since: now.instant, give_up });
        if quiet.stamp != stamp {
            quiet.stamp = stamp;
            quiet.since = now.instant;
        }
        let watched = now.instant.saturating_duration_since(quiet.since);
        // The time of the last change saves the wait, where the file system's clock is ours.
        let age = stamp.map_or(Duration::ZERO, |stamp| now.moment.since(stamp.changed));
        let left = QUIET.saturating_sub(watched.max(age));
        self.due = quiet.give_up.min(now.instant + left);
        left.is_zero() || now.instant >= quiet.give_up
    }

    /// Notices that somebody saved in between. Returns whether it is tried again soon; it is not
    /// when that has happened too often.
    pub(super) fn cross(&mut self, now: Now) -> bool {
        self.crossings += 1;
        self.quiet = None;
        self.due = now.instant + QUIET;
        self.crossings <= CROSSINGS
    }

    /// Asks again in a moment: the document is being made ready.
    pub(super) fn wait(&mut self, now: Now) {
        self.due = now.instant + READY_SOON;
    }

    /// Waits with a backoff.
    pub(super) fn hold(&mut self, now: Now) {
        self.is_held = true;
        self.quiet = None;
        self.crossings = 0;
        self.due = now.instant + self.backoff;
        self.backoff = (self.backoff * 2).min(RETRY_AT_MOST);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::Offset;

    use super::*;
    use crate::model::time::Moment;

    fn at(start: Instant, milliseconds: u64) -> Now {
        // Files of the test are from a distant future then, so that only watching them helps.
        let moment = Moment::new(Timestamp::UNIX_EPOCH, Offset::UTC);
        let since = Duration::from_millis(milliseconds);
        Now { instant: start + since, moment: moment.after(since) }
    }

    #[test]
    fn a_missing_document_is_quiet_after_it_was_missing_for_a_while() {
        // Some editors move the file away before they write the new one.
        let start = Instant::now();
        let mut line = Line::new(at(start, 0));
        assert!(!line.is_quiet(None, at(start, 0)));
        assert_eq!(line.due(), start + QUIET);
        assert!(!line.is_quiet(None, at(start, 199)));
        assert!(line.is_quiet(None, at(start, 200)));
    }

    #[test]
    fn waiting_for_quiet_has_an_end() {
        let start = Instant::now();
        let mut line = Line::new(at(start, 0));
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("log.md");
        for round in 0..20_u64 {
            // The file grows each time, and its clock is ahead of ours.
            std::fs::write(&path, "x".repeat(usize::try_from(round).unwrap())).unwrap();
            let stamp = crate::record::reading::stamp(&path).unwrap();
            assert!(stamp.is_some());
            assert!(!line.is_quiet(stamp, at(start, round * 100)), "round {round}");
        }
        assert!(line.is_quiet(None, at(start, 2000)));
    }

    #[test]
    fn the_backoff_doubles_up_to_a_minute() {
        let start = Instant::now();
        let mut line = Line::new(at(start, 0));
        let mut waits = Vec::new();
        for _ in 0..8 {
            line.hold(at(start, 0));
            waits.push(line.due().duration_since(start).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
