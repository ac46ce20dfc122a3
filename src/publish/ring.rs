//! The newest events as finished lines, kept once for all clients.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;
use tracing::warn;

use super::wire::{Event, Message};
use crate::model::event::StoredEvent;
use crate::model::ids::RunId;
use crate::record::Recorded;

/// How many bytes of lines one read of the ring gives out at most, unless a single line is longer.
///
/// A client holds one such page while it writes it, so this times the number of clients bounds
/// what stalled clients cost.
const PAGE_BYTES: usize = 16 * 1024;

/// How much the ring keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingLimits {
    /// Events at most.
    pub events: usize,
    /// Bytes of finished lines at most.
    pub bytes: usize,
}

impl Default for RingLimits {
    fn default() -> Self {
        Self { events: 4096, bytes: 1024 * 1024 }
    }
}

/// Where durable events enter the room; cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ring: RwLock<Ring>,
    head: watch::Sender<u64>,
}

impl Publisher {
    /// Starts behind the journal's last sequence number, 0 if it has no events.
    pub fn new(last_seq: u64) -> Self {
        Self::with_limits(last_seq, RingLimits::default())
    }

    /// The same with other limits.
    pub fn with_limits(last_seq: u64, limits: RingLimits) -> Self {
        let ring = RwLock::new(Ring { limits, entries: VecDeque::new(), bytes: 0, head: last_seq });
        Self { shared: Arc::new(Shared { ring, head: watch::Sender::new(last_seq) }) }
    }

    /// Makes durable events known to all clients, in the order of their sequence numbers.
    ///
    /// Never waits for a client. Events at or below the last known number are ignored.
    pub fn publish(&self, recorded: &Recorded) {
        self.announce(recorded.events());
    }

    pub(super) fn announce(&self, events: &[StoredEvent]) {
        let entries: Vec<(u64, Entry)> =
            events.iter().map(|stored| (stored.seq, Entry::from(stored))).collect();
        let head = {
            let mut ring = self.shared.ring.write().unwrap_or_else(PoisonError::into_inner);
            for (seq, entry) in entries {
                ring.push(seq, entry);
            }
            ring.head
        };
        // Set once for the whole batch, and only after its lines can be read.
        self.shared.head.send_if_modified(|known| std::mem::replace(known, head) != head);
    }

    /// Returns the last published sequence number.
    pub fn head(&self) -> u64 {
        *self.shared.head.borrow()
    }

    /// Returns a receiver that changes with every publication.
    pub(super) fn heads(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }

    /// Reads the lines after `after` up to and including `until`, of one run or of all.
    pub(super) fn read(&self, after: u64, until: u64, run: Option<&RunId>) -> Reading {
        self.shared.ring.read().unwrap_or_else(PoisonError::into_inner).read(after, until, run)
    }
}

/// What a read of the ring gives.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// There is nothing after the cursor.
    UpToDate,
    /// Lines.
    Page(Page),
    /// The next event is older than the ring.
    Older {
        /// The last sequence number that the ring does not hold but the history may.
        until: u64,
    },
}

/// Finished lines, and the cursor behind them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Lines with their newlines; may be empty when a filter took everything out.
    pub(super) bytes: Vec<u8>,
    /// The last sequence number that was considered.
    pub(super) last: u64,
}

#[derive(Debug)]
struct Entry {
    run: Option<RunId>,
    line: Box<str>,
}

impl From<&StoredEvent> for Entry {
    fn from(stored: &StoredEvent) -> Self {
        let line = Message::Event(Box::new(Event::from(stored))).line().into_boxed_str();
        Self { run: stored.event.run.clone(), line }
    }
}

/// Consecutive events, the last of which is `head` unless there are none.
#[derive(Debug)]
struct Ring {
    limits: RingLimits,
    entries: VecDeque<Entry>,
    bytes: usize,
    head: u64,
}

impl Ring {
    fn push(&mut self, seq: u64, entry: Entry) {
        if seq <= self.head {
            warn!(seq, head = self.head, "event published twice, ignored");
            return;
        }
        if seq != self.head + 1 {
            // Lines are found by position, so the ring must stay consecutive; what is between is
            // in the journal or nowhere, and clients ask there.
            warn!(seq, head = self.head, "events were not published in sequence");
            self.entries.clear();
            self.bytes = 0;
        }
        self.head = seq;
        self.bytes += entry.line.len();
        self.entries.push_back(entry);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.entries.len() > self.limits.events || self.bytes > self.limits.bytes {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.line.len();
        }
    }

    fn read(&self, after: u64, until: u64, run: Option<&RunId>) -> Reading {
        let until = until.min(self.head);
        if after >= until {
            return Reading::UpToDate;
        }
        let first = self.head + 1 - self.entries.len() as u64;
        if after + 1 < first {
            return Reading::Older { until: until.min(first - 1) };
        }
        let position = usize::try_from(after + 1 - first).unwrap_or(usize::MAX);
        let mut page = Page { bytes: Vec::new(), last: after };
        for entry in self.entries.range(position.min(self.entries.len())..) {
            let wanted = run.is_none_or(|run| entry.run.as_ref() == Some(run));
            let full = !page.bytes.is_empty() && page.bytes.len() + entry.line.len() > PAGE_BYTES;
            if page.last >= until || (wanted && full) {
                break;
            }
            if wanted {
                page.bytes.extend_from_slice(entry.line.as_bytes());
            }
            page.last += 1;
        }
        Reading::Page(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::tests::support::{event, event_of};

    fn numbers(page: &Page) -> Vec<u64> {
        let lines = page.bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        lines
            .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
            .filter_map(|value| value.get("seq").and_then(serde_json::Value::as_u64))
            .collect()
    }

    fn pages(publisher: &Publisher, mut after: u64, run: Option<&RunId>) -> (Vec<u64>, Reading) {
        let mut all = Vec::new();
        loop {
            match publisher.read(after, u64::MAX, run) {
                Reading::Page(page) => {
                    assert!(page.last > after, "no progress");
                    all.extend(numbers(&page));
                    after = page.last;
                }
                other => return (all, other),
            }
        }
    }

    #[test]
    fn reads_in_order_from_any_cursor() {
        let publisher = Publisher::new(10);
        publisher.announce(&(11..=600).map(event).collect::<Vec<_>>());
        for after in [10, 11, 300, 599, 600, 700] {
            let expected: Vec<u64> = (after + 1..=600).collect();
            assert_eq!(pages(&publisher, after, None), (expected, Reading::UpToDate), "{after}");
        }
        assert_eq!(publisher.read(9, 600, None), Reading::Older { until: 10 });
        assert_eq!(publisher.read(3, 8, None), Reading::Older { until: 8 });
    }

    #[test]
    fn an_empty_ring_points_to_the_history() {
        assert_eq!(Publisher::new(0).read(0, u64::MAX, None), Reading::UpToDate);
        assert_eq!(Publisher::new(7).read(2, u64::MAX, None), Reading::Older { until: 7 });
    }

    #[test]
    fn both_bounds_hold() {
        let publisher = Publisher::with_limits(0, RingLimits { events: 3, bytes: 1 << 20 });
        publisher.announce(&(1..=9).map(event).collect::<Vec<_>>());
        assert_eq!(publisher.read(5, 9, None), Reading::Older { until: 6 });
        assert_eq!(pages(&publisher, 6, None).0, [7, 8, 9]);

        let publisher = Publisher::with_limits(0, RingLimits { events: 100, bytes: 250 });
        publisher.announce(&(1..=9).map(event).collect::<Vec<_>>());
        let ring = publisher.shared.ring.read().unwrap();
        assert!(ring.bytes <= 250 && !ring.entries.is_empty());
        assert_eq!(ring.bytes, ring.entries.iter().map(|entry| entry.line.len()).sum::<usize>());
    }

    #[test]
    fn a_line_larger_than_every_bound_is_left_to_the_history() {
        let publisher = Publisher::with_limits(0, RingLimits { events: 9, bytes: 10 });
        publisher.announce(&[event(1)]);
        assert_eq!(publisher.head(), 1);
        assert_eq!(publisher.read(0, 1, None), Reading::Older { until: 1 });
    }

    #[test]
    fn a_filter_passes_over_other_runs_and_still_advances() {
        let publisher = Publisher::new(0);
        let events: Vec<_> =
            (1..=9).map(|seq| event_of(seq, if seq % 3 == 0 { "a" } else { "b" })).collect();
        publisher.announce(&events);
        assert_eq!(pages(&publisher, 0, Some(&RunId::new("a"))).0, [3, 6, 9]);
        let none = publisher.read(0, 9, Some(&RunId::new("c")));
        assert_eq!(none, Reading::Page(Page { bytes: Vec::new(), last: 9 }));
    }

    #[test]
    fn doubles_are_ignored_and_a_hole_restarts_the_ring() {
        let publisher = Publisher::new(0);
        publisher.announce(&[event(1), event(2), event(2), event(1)]);
        assert_eq!(pages(&publisher, 0, None).0, [1, 2]);
        publisher.announce(&[event(5), event(6)]);
        assert_eq!(publisher.read(2, 9, None), Reading::Older { until: 4 });
        assert_eq!(pages(&publisher, 4, None).0, [5, 6]);
    }
}
