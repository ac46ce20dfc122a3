//! The snapshots that are on their way to clients, as finished lines.

use std::sync::{Arc, Weak};

use super::wire;
use crate::model::status::Status;

/// From how many bytes of lines on no further one is made, so that clients that connect and take
/// nothing cannot fill the memory: a thousand runs make a line of a megabyte, and a busy daemon
/// makes twenty snapshots a second.
const SENT_BYTES: usize = 16 * 1024 * 1024;

/// A snapshot as it is sent.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// The line, with its newline.
    pub(super) line: Arc<String>,
    /// The last event that the snapshot knows of. Who wants to miss nothing goes on after it.
    pub(super) seq: u64,
}

/// The lines that clients still hold; one that nobody holds any more is forgotten.
#[derive(Debug)]
pub(super) struct Snapshots {
    limit: usize,
    /// The newest last.
    sent: Vec<Sent>,
}

#[derive(Debug)]
struct Sent {
    of: Weak<Status>,
    line: Weak<String>,
    seq: u64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { limit: SENT_BYTES, sent: Vec::new() }
    }
}

impl Snapshots {
    /// Returns the line of a status, made once however many clients ask for it.
    ///
    /// While clients hold too many different lines, it is the newest of those: older than it could
    /// be, but whole, and its `seq` says from where on events make up for that.
    pub(super) fn line_of(&mut self, status: &Arc<Status>) -> Snapshot {
        self.sent.retain(|sent| sent.line.strong_count() > 0);
        let held: Vec<Arc<String>> =
            self.sent.iter().filter_map(|sent| sent.line.upgrade()).collect();
        let bytes: usize = held.iter().map(|line| line.len()).sum();
        if let Some(newest) = self.sent.last()
            && let Some(line) = newest.line.upgrade()
            && (bytes >= self.limit || std::ptr::eq(newest.of.as_ptr(), Arc::as_ptr(status)))
        {
            return Snapshot { line, seq: newest.seq };
        }
        let seq = status.daemon.seq;
        let message = wire::Message::Status(Box::new(wire::Status::from(&**status)));
        let line = Arc::new(message.line());
        let (of, kept) = (Arc::downgrade(status), Arc::downgrade(&line));
        self.sent.push(Sent { of, line: kept, seq });
        Snapshot { line, seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(seq: u64) -> Arc<Status> {
        let mut status = Status::default();
        status.daemon.seq = seq;
        Arc::new(status)
    }

    #[test]
    fn one_line_serves_all_who_ask_at_once_and_is_forgotten_with_the_last() {
        let mut snapshots = Snapshots::default();
        let first = status(1);
        let held = snapshots.line_of(&first);
        assert!(Arc::ptr_eq(&held.line, &snapshots.line_of(&first).line));
        assert_eq!(Arc::strong_count(&held.line), 1, "nothing is kept for nobody");
        let second = snapshots.line_of(&status(2));
        assert_eq!((held.seq, second.seq), (1, 2));
        assert!(second.line.contains("\"seq\":2"), "{}", second.line);
        drop((held, second));
        snapshots.line_of(&status(3));
        assert_eq!(snapshots.sent.len(), 1);
    }

    #[test]
    fn clients_that_take_nothing_cannot_fill_the_memory() {
        let mut snapshots = Snapshots::default();
        snapshots.limit = 3 * snapshots.line_of(&status(1)).line.len();
        let mut held: Vec<Snapshot> = (1..=50).map(|seq| snapshots.line_of(&status(seq))).collect();
        assert!(snapshots.sent.len() <= 4, "{}", snapshots.sent.len());
        // What is given in place of a newer one says itself what it knows.
        let last = held.last().unwrap();
        assert!(last.seq < 50 && last.line.contains(&format!("\"seq\":{}", last.seq)));
        held.clear();
        assert_eq!(snapshots.line_of(&status(51)).seq, 51, "there is room again");
    }
}
