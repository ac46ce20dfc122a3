//! The worker's inbox: hints from inotify, orders from the daemon, and the way to wait for them.
//!
//! Nobody who writes into it ever waits. Hints are folders to look at; too many of them collapse
//! into one full scan, so the inbox is bounded whatever happens in the file system.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RemoveKind, RenameMode};

use super::WatchConfig;
use super::watches::Watches;
use crate::model::ids::RunId;

/// With more dirty folders than this a full scan is cheaper than single looks.
const MAX_FOLDERS: usize = 4096;

/// An order from the daemon.
#[derive(Debug, Clone)]
pub enum Control {
    /// Scan everything and tell everything again.
    Rescan {
        /// Why.
        reason: String,
    },
    /// Scan one run again and tell it, changed or not.
    RescanRun(RunId),
    /// New settings are in force.
    Settings(Box<WatchConfig>),
}

/// Where hints and orders arrive; shared between the watcher, the daemon, the worker and the keeper
/// of the watches.
#[derive(Debug, Default)]
pub struct Inbox {
    pending: Mutex<Pending>,
    wake: Condvar,
    watches: Watches,
    /// Whether hints are dropped, as an overloaded kernel does without a word.
    #[cfg(test)]
    pub(super) is_deaf: std::sync::atomic::AtomicBool,
}

/// What has arrived since the worker looked last.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Folders in which something changed.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Paths that were removed or renamed; watches on them are void.
    pub(super) lost: BTreeSet<PathBuf>,
    /// Folders that are watched since just now: what happened in them before brought no hint.
    pub(super) watched: BTreeSet<PathBuf>,
    /// Whether all folders are watched anew, so that any of them may have been deaf before.
    pub(super) renewed: bool,
    /// Why hints were lost, if they were.
    pub(super) overflow: Option<String>,
    /// Why everything is to be scanned and told again, if it is.
    pub(super) rescan: Option<String>,
    /// Runs to be scanned and told again.
    pub(super) runs: BTreeSet<RunId>,
    /// New settings.
    pub(super) settings: Option<Box<WatchConfig>>,
    /// Whether to stop.
    pub(super) stop: bool,
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.folders.is_empty()
            && self.watched.is_empty()
            && !self.renewed
            && self.lost.is_empty()
            && self.runs.is_empty()
            && self.overflow.is_none()
            && self.rescan.is_none()
            && self.settings.is_none()
            && !self.stop
    }

    fn collapse(&mut self, reason: String) {
        self.overflow = Some(reason);
        self.folders.clear();
        self.lost.clear();
    }
}

impl Inbox {
    /// Gives an order to the worker.
    pub fn send(&self, control: Control) {
        let mut pending = self.lock();
        match control {
            Control::Rescan { reason } => pending.rescan = Some(reason),
            Control::RescanRun(run) => {
                pending.runs.insert(run);
            }
            Control::Settings(settings) => pending.settings = Some(settings),
        }
        self.wake.notify_one();
    }

    /// Asks the worker and the keeper to end. The worker does so before its next look at a run;
    /// whoever asks must also drop or drain the receiver of its events, in which it may be waiting
    /// for space.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_one();
        self.watches.stop();
    }

    /// Returns what is to be watched.
    pub(super) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Returns whether the worker was asked to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stop
    }

    /// Waits until something is there or `deadline` has come, and takes all of it.
    pub(super) fn take(&self, deadline: Instant) -> Pending {
        let mut pending = self.lock();
        while pending.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            if left.is_zero() {
                break;
            }
            let waited = self.wake.wait_timeout(pending, left);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let stop = pending.stop;
        Pending { stop, ..std::mem::replace(&mut *pending, Pending { stop, ..Pending::default() }) }
    }

    /// Asks for a look at a folder.
    pub(super) fn note_folder(&self, folder: PathBuf) {
        self.lock().folders.insert(folder);
        self.wake.notify_one();
    }

    /// Notes that a folder is watched from now on.
    pub(super) fn note_watched(&self, folder: PathBuf) {
        let mut pending = self.lock();
        pending.watched.insert(folder);
        if pending.watched.len() > MAX_FOLDERS {
            pending.watched.clear();
            pending.renewed = true;
        }
        self.wake.notify_one();
    }

    /// Notes that all folders are watched anew.
    pub(super) fn note_renewed(&self) {
        self.lock().renewed = true;
        self.wake.notify_one();
    }

    /// Notes what an event of the file system hints at. This runs on the watcher's own thread, on
    /// which any delay would overflow the kernel's queue.
    pub(super) fn note(&self, event: notify::Result<notify::Event>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.note_overflow(format!("inotify failed: {error}")),
        };
        if event.need_rescan() {
            return self.note_overflow("the kernel's queue of file events overflowed".to_owned());
        }
        if is_noise(event.kind) {
            return;
        }
        #[cfg(test)]
        if self.is_deaf.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        let removes = is_removal(event.kind);
        let mut pending = self.lock();
        for path in event.paths {
            if let Some(folder) = path.parent() {
                pending.folders.insert(folder.to_owned());
            }
            // New permissions are those of the path itself. And something else may bear a removed
            // one's path by now, whose watch ended with the old one's.
            if removes || matches!(event.kind, EventKind::Modify(ModifyKind::Metadata(_))) {
                pending.folders.insert(path.clone());
            }
            if removes {
                pending.lost.insert(path);
            }
        }
        if pending.folders.len() > MAX_FOLDERS || pending.lost.len() > MAX_FOLDERS {
            pending.collapse("more folders changed at once than are looked at one by one".into());
        }
        self.wake.notify_one();
    }

    /// Notes that a folder was removed or renamed.
    #[cfg(test)]
    pub(super) fn note_lost(&self, folder: PathBuf) {
        let mut pending = self.lock();
        pending.folders.extend(folder.parent().map(ToOwned::to_owned));
        pending.folders.insert(folder.clone());
        pending.lost.insert(folder);
    }

    pub(super) fn note_overflow(&self, reason: String) {
        self.lock().collapse(reason);
        self.wake.notify_one();
    }

    /// A panic of another holder cannot leave the plain sets inside in a state that matters.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opening, reading and each single write say nothing: what counts is that a file was closed,
/// created, renamed, removed or changed its permissions.
fn is_noise(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access != AccessKind::Close(AccessMode::Write),
        EventKind::Modify(ModifyKind::Data(_)) => true,
        _ => false,
    }
}

/// Returns whether a folder may have gone from its path. (A renamed file looks the same.)
fn is_removal(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::Remove(RemoveKind::Folder | RemoveKind::Any | RemoveKind::Other)
            | EventKind::Modify(ModifyKind::Name(RenameMode::From | RenameMode::Both))
    )
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind};

    use super::*;

    fn taken(events: Vec<notify::Result<notify::Event>>) -> Pending {
        let inbox = Inbox::default();
        for event in events {
            inbox.note(event);
        }
        inbox.take(Instant::now())
    }

    fn event(kind: EventKind, path: &str) -> notify::Event {
        notify::Event::new(kind).add_path(path.into())
    }

    #[test]
    fn only_what_can_change_a_condition_is_a_hint() {
        for (kind, is_hint, is_lost) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), false, false),
            (EventKind::Access(AccessKind::Close(AccessMode::Read)), false, false),
            (EventKind::Modify(ModifyKind::Data(DataChange::Any)), false, false),
            (EventKind::Access(AccessKind::Close(AccessMode::Write)), true, false),
            (EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any)), true, false),
            (EventKind::Modify(ModifyKind::Name(RenameMode::To)), true, false),
            (EventKind::Create(CreateKind::Folder), true, false),
            (EventKind::Remove(RemoveKind::File), true, false),
            (EventKind::Remove(RemoveKind::Folder), true, true),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), true, true),
        ] {
            let pending = taken(vec![Ok(event(kind, "/t/run/name"))]);
            assert_eq!(pending.folders.contains(&PathBuf::from("/t/run")), is_hint, "{kind:?}");
            assert_eq!(pending.lost.contains(&PathBuf::from("/t/run/name")), is_lost, "{kind:?}");
        }
    }

    #[test]
    fn lost_hints_are_an_overflow() {
        let flagged = notify::Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert!(taken(vec![Ok(flagged)]).overflow.is_some());
        assert!(taken(vec![Err(notify::Error::generic("broken"))]).overflow.is_some());
        let create = EventKind::Create(CreateKind::Folder);
        let many = (0..=MAX_FOLDERS).map(|number| Ok(event(create, &format!("/t/run-{number}/x"))));
        let pending = taken(many.collect());
        assert!(pending.overflow.is_some());
        assert!(pending.folders.len() <= MAX_FOLDERS);
    }

    #[test]
    fn an_order_to_stop_stays() {
        let inbox = Inbox::default();
        assert!(!inbox.take(Instant::now()).stop);
        inbox.stop();
        assert!(inbox.take(Instant::now()).stop);
        assert!(inbox.take(Instant::now()).stop);
    }
}
