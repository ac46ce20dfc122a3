//! The worker without threads and without a kernel, for tests: hints come when the test says so, and
//! nothing happens by itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::{Receiver, channel};

use super::{Telling, Worker};
use crate::settings::Backend;
use crate::watch::{Control, Inbox, WatchConfig, WatchEvent};

/// More events than one turn of a small project brings.
const ROOM: usize = 4096;

/// What the kernel could have said.
#[derive(Debug, Clone)]
pub(crate) enum Hint {
    /// Something changed in a folder.
    Changed(PathBuf),
    /// A folder was removed or renamed.
    Lost(PathBuf),
    /// A folder is watched since just now.
    Watched(PathBuf),
    /// Hints were lost.
    Overflow,
}

/// A worker that is moved by hand.
#[derive(Debug)]
pub(crate) struct WorkerByHand {
    worker: Worker,
    events: Receiver<WatchEvent>,
}

impl WorkerByHand {
    pub(crate) fn new(config: WatchConfig, clock: fn() -> Timestamp) -> Self {
        let (sender, events) = channel(ROOM);
        // Whatever it wants watched waits for a keeper for ever.
        let config = WatchConfig { backend: Backend::Inotify, ..config };
        let worker = Worker::new(config, sender, &Arc::new(Inbox::default()), clock);
        Self { worker, events }
    }

    /// Scans everything and returns what is told.
    pub(crate) fn reconcile(&mut self) -> Vec<WatchEvent> {
        assert!(self.worker.reconcile(Telling::Changes).is_ok());
        self.take_turns()
    }

    /// Lets a hint arrive and returns what is told.
    pub(crate) fn hint(&mut self, hint: Hint) -> Vec<WatchEvent> {
        let inbox = &self.worker.inbox;
        match hint {
            Hint::Changed(folder) => inbox.note_folder(folder),
            Hint::Lost(folder) => inbox.note_lost(folder),
            Hint::Watched(folder) => inbox.note_watched(folder),
            Hint::Overflow => inbox.note_overflow("the queue overflowed".to_owned()),
        }
        self.take_turns()
    }

    /// Gives an order and returns what is told.
    pub(crate) fn order(&mut self, control: Control) -> Vec<WatchEvent> {
        self.worker.inbox.send(control);
        self.take_turns()
    }

    fn take_turns(&mut self) -> Vec<WatchEvent> {
        loop {
            // Full scans come when the test says so, or at once where hints were lost.
            self.worker.next_reconcile = Instant::now() + Duration::from_hours(1);
            self.worker.earliest_reconcile = Instant::now();
            let pending = self.worker.inbox.take(Instant::now());
            if pending.is_empty() {
                break;
            }
            assert!(self.worker.turn(pending).is_ok());
        }
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}
