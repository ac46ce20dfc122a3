//! Which folders are to be watched, and how far inotify has got with that.
//!
//! Asking the kernel for a watch can take very long: the library answers only when it has read all
//! events, and a folder on a dead network never answers. So the worker only writes down here what it
//! wants, the [`keeper`](super::keeper) asks for it on a thread of its own, and a folder that came
//! to be watched is a hint to look at it: always watch, then look.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::statfs;

use super::WatchBackend;
use crate::model::ids::FolderIdentity;
use crate::settings::Backend;

/// An order that takes longer than this makes full scans frequent until it is done.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// File systems that other hosts may write to, by `f_type` of `statfs(2)`, from the kernel's
/// `linux/magic.h` and the file systems' own sources. inotify reports nothing of what others do.
const NETWORK_FILE_SYSTEMS: [(u64, &str); 16] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0bd0_0bd0, "Lustre"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x0102_1997, "9P"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x7375_7245, "Coda"),
    (0xaad7_aaea, "PanFS"),
];

/// The folders that are to be watched; shared by the worker and the keeper.
#[derive(Debug, Default)]
pub(super) struct Watches {
    state: Mutex<State>,
    wake: Condvar,
}

#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact")]
#[derive(Debug, Default)]
struct State {
    wanted: BTreeMap<PathBuf, Wanted>,
    next_ticket: u64,
    /// Folders about which the keeper has something to do; bounded, since each stands here once.
    orders: BTreeSet<PathBuf>,
    /// Since when the keeper has got no further although there are orders.
    waiting_since: Option<Instant>,
    wants_inotify: bool,
    on_network: bool,
    is_renewal_due: bool,
    watched: u64,
    /// Why inotify cannot be used at all.
    cannot_start: Option<String>,
    /// Folders whose watch was refused, and why.
    refused: BTreeMap<PathBuf, String>,
    is_stopped: bool,
}

/// A folder that is to be watched. Two tickets are two watches: between them the folder was
/// released, so that the first one may have ended with another folder of that path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    identity: FolderIdentity,
    ticket: u64,
}

/// What the keeper has to do next.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Whether inotify is to be used.
    pub(super) wants_inotify: bool,
    /// Whether to watch everything anew.
    pub(super) renews: bool,
    /// Folders, and what is wanted of each; `None`: not to be watched.
    pub(super) folders: Vec<(PathBuf, Option<Wanted>)>,
}

impl Watches {
    /// Turns inotify on or off for this training folder, as the setting and its file system ask.
    pub(super) fn choose_backend(&self, setting: Backend, folder: &Path) {
        let on_network = network_file_system(folder).is_some();
        let wants_inotify = match setting {
            Backend::Inotify => true,
            Backend::Poll => false,
            Backend::Auto => !on_network,
        };
        let mut state = self.lock();
        state.on_network = on_network;
        if !wants_inotify {
            state.wanted.clear();
            state.refused.clear();
            state.cannot_start = None;
        }
        // One that could not start is tried again.
        if state.wants_inotify != wants_inotify || state.cannot_start.is_some() {
            state.wants_inotify = wants_inotify;
            self.wake_up(&mut state);
        }
    }

    /// Returns what is in use.
    pub(super) fn backend(&self) -> WatchBackend {
        let state = self.lock();
        if state.wants_inotify && state.cannot_start.is_none() {
            WatchBackend::Inotify
        } else {
            WatchBackend::Poll
        }
    }

    /// Returns whether the training folder lies on a network file system.
    pub(super) fn is_on_network(&self) -> bool {
        self.lock().on_network
    }

    /// Returns how many folders are watched.
    pub(super) fn count(&self) -> u64 {
        self.lock().watched
    }

    /// Returns why not everything is watched that should be.
    pub(super) fn problem(&self, now: Instant) -> Option<String> {
        let state = self.lock();
        let late = state.waiting_since.is_some_and(|since| now.duration_since(since) >= PATIENCE);
        let behind = || {
            "inotify does not keep up (is a file in a folder of checkpoints written to without a \
             pause?), so new files are found by scanning until it does"
                .to_owned()
        };
        let refused = || state.refused.values().next().cloned();
        state.cannot_start.clone().or_else(refused).or_else(|| late.then(behind))
    }

    /// Returns when it will be known that an order takes too long.
    pub(super) fn late_at(&self) -> Option<Instant> {
        self.lock().waiting_since.map(|since| since + PATIENCE)
    }

    /// Wants a folder watched. Another folder under a path that is watched already is watched in
    /// its place.
    pub(super) fn ensure(&self, folder: &Path, identity: FolderIdentity) {
        let mut state = self.lock();
        let known = state.wanted.get(folder).is_some_and(|wanted| wanted.identity == identity);
        if known || !state.wants_inotify {
            return;
        }
        state.next_ticket += 1;
        let wanted = Wanted { identity, ticket: state.next_ticket };
        state.wanted.insert(folder.to_owned(), wanted);
        state.orders.insert(folder.to_owned());
        self.wake_up(&mut state);
    }

    /// Wants all folders watched anew. A watch can end without notice, as on an unmount.
    pub(super) fn renew(&self) {
        let mut state = self.lock();
        state.is_renewal_due = true;
        self.wake_up(&mut state);
    }

    /// Wants a folder no longer watched.
    pub(super) fn release(&self, folder: &Path) {
        self.release_all(|state| {
            state.wanted.contains_key(folder).then(|| folder.to_owned()).into_iter().collect()
        });
    }

    /// Wants nothing watched below a folder but what `keep` says.
    pub(super) fn release_below(&self, folder: &Path, keep: impl Fn(&Path) -> bool) {
        // Paths are ordered by their components, so those below a folder follow it.
        let bounds = (Bound::Excluded(folder), Bound::Unbounded);
        self.release_all(|state| {
            let below = state.wanted.range::<Path, _>(bounds).map(|(path, _)| path);
            let below = below.take_while(|path| path.starts_with(folder));
            below.filter(|path| !keep(path)).cloned().collect()
        });
    }

    /// Wants nothing watched but what `keep` says.
    pub(super) fn retain(&self, keep: impl Fn(&Path) -> bool) {
        self.release_all(|state| {
            state.wanted.keys().filter(|path| !keep(path)).cloned().collect::<Vec<_>>()
        });
    }

    fn release_all(&self, choose: impl FnOnce(&State) -> Vec<PathBuf>) {
        let mut state = self.lock();
        let released = choose(&state);
        if released.is_empty() {
            return;
        }
        for path in released {
            state.wanted.remove(&path);
            state.refused.remove(&path);
            state.orders.insert(path);
        }
        self.wake_up(&mut state);
    }

    /// Ends the keeper.
    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.wake.notify_one();
    }

    /// Waits for orders and takes them; `None`: the end.
    pub(super) fn take_orders(&self) -> Option<Orders> {
        let mut state = self.lock();
        loop {
            if state.is_stopped {
                return None;
            }
            if state.waiting_since.is_some() {
                break;
            }
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let folders = std::mem::take(&mut state.orders).into_iter();
        let folders = folders.map(|path| (state.wanted.get(&path).copied(), path));
        Some(Orders {
            wants_inotify: state.wants_inotify,
            folders: folders.map(|(wanted, path)| (path, wanted)).collect(),
            renews: std::mem::take(&mut state.is_renewal_due),
        })
    }

    /// Notes that the keeper has got further.
    pub(super) fn progress(&self) {
        let mut state = self.lock();
        if state.waiting_since.is_some() {
            state.waiting_since = Some(Instant::now());
        }
    }

    /// Notes that the orders that were taken are carried out, and how many folders are watched.
    pub(super) fn orders_done(&self, watched: usize) {
        let mut state = self.lock();
        state.watched = watched as u64;
        let has_more = !state.orders.is_empty() || state.is_renewal_due;
        state.waiting_since = has_more.then(Instant::now);
    }

    /// Notes whether inotify can be used at all.
    pub(super) fn started(&self, problem: Option<String>) {
        let mut state = self.lock();
        if problem.is_some() {
            // What is wanted again when it is tried again needs orders anew.
            state.wanted.clear();
        }
        state.cannot_start = problem;
    }

    /// Notes that a folder is watched.
    pub(super) fn watched(&self, folder: &Path) {
        self.lock().refused.remove(folder);
    }

    /// Notes that a folder cannot be watched, so that the next look at it asks again. Without a
    /// problem it is just not there any more or may not be read, which that look finds out.
    pub(super) fn not_watched(&self, folder: &Path, wanted: Wanted, problem: Option<String>) {
        let mut state = self.lock();
        // It may have been released, or wanted anew, meanwhile.
        if state.wanted.get(folder) != Some(&wanted) {
            return;
        }
        state.wanted.remove(folder);
        match problem {
            Some(problem) => state.refused.insert(folder.to_owned(), problem),
            None => state.refused.remove(folder),
        };
    }

    fn wake_up(&self, state: &mut State) {
        state.waiting_since.get_or_insert_with(Instant::now);
        self.wake.notify_one();
    }

    /// A panic of another holder cannot leave the plain sets inside in a state that matters.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the name of the network file system that a folder lies on, if it does. A folder that
/// does not exist is judged by its nearest ancestor that does.
fn network_file_system(folder: &Path) -> Option<&'static str> {
    let stat = folder.ancestors().find_map(|ancestor| statfs(ancestor).ok())?;
    // The type is a signed word of which the magic numbers use the lower 32 bits.
    let kind = u64::try_from(stat.f_type & 0xffff_ffff).unwrap_or(0);
    let found = NETWORK_FILE_SYSTEMS.iter().find(|(magic, _)| *magic == kind);
    found.map(|(_, name)| *name)
}

#[cfg(test)]
impl Watches {
    /// Makes it look as if the kernel had refused a watch, or granted it after all.
    pub(super) fn refuse(&self, refuses: bool) {
        let mut state = self.lock();
        state.refused.clear();
        if refuses {
            state.refused.insert(PathBuf::from("/refused"), "no watch left".to_owned());
        }
    }

    /// Makes it look as if the keeper had been at its orders for so long.
    pub(super) fn hold_up(&self, how_long: Duration) {
        self.lock().waiting_since = Instant::now().checked_sub(how_long);
    }

    pub(super) fn wanted(&self) -> Vec<PathBuf> {
        self.lock().wanted.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(inode: u64) -> FolderIdentity {
        FolderIdentity { device: 1, inode }
    }

    fn watches() -> Watches {
        let watches = Watches::default();
        watches.choose_backend(Backend::Inotify, Path::new("/"));
        assert!(watches.take_orders().unwrap().wants_inotify);
        watches.orders_done(0);
        watches
    }

    /// Takes the orders as paths with whether they are to be watched.
    fn taken(watches: &Watches) -> Vec<(String, bool)> {
        let orders = watches.take_orders().unwrap().folders;
        watches.orders_done(0);
        orders
            .into_iter()
            .map(|(path, wanted)| (path.display().to_string(), wanted.is_some()))
            .collect()
    }

    #[test]
    fn each_change_of_what_is_wanted_is_one_order() {
        let watches = watches();
        watches.ensure(Path::new("/a"), folder(1));
        watches.ensure(Path::new("/a"), folder(1));
        watches.ensure(Path::new("/b"), folder(2));
        watches.release(Path::new("/b"));
        watches.release(Path::new("/never"));
        assert_eq!(taken(&watches), [("/a".into(), true), ("/b".into(), false)]);
        watches.ensure(Path::new("/a"), folder(3));
        assert_eq!(taken(&watches), [("/a".into(), true)]);
    }

    #[test]
    fn a_folder_that_was_released_and_is_wanted_again_is_another_watch() {
        let watches = watches();
        let ticket = |watches: &Watches| {
            let orders = watches.take_orders().unwrap();
            watches.orders_done(0);
            orders.folders.first().unwrap().1.unwrap()
        };
        watches.ensure(Path::new("/a"), folder(1));
        let first = ticket(&watches);
        watches.release(Path::new("/a"));
        watches.ensure(Path::new("/a"), folder(1));
        let second = ticket(&watches);
        assert_ne!(first, second);
        // What came of the first one says nothing about the second.
        watches.not_watched(Path::new("/a"), first, Some("no watch left".to_owned()));
        assert_eq!(watches.problem(Instant::now()), None);
        watches.not_watched(Path::new("/a"), second, Some("no watch left".to_owned()));
        assert_eq!(watches.problem(Instant::now()).as_deref(), Some("no watch left"));
        // The next look asks for it again, and the problem lasts until that has an answer.
        watches.ensure(Path::new("/a"), folder(1));
        assert!(watches.problem(Instant::now()).is_some());
        watches.watched(Path::new("/a"));
        assert_eq!(watches.problem(Instant::now()), None);
    }

    #[test]
    fn folders_are_released_by_place() {
        let watches = watches();
        for name in ["/a", "/a/x", "/a/y", "/a-b", "/b"] {
            watches.ensure(Path::new(name), folder(1));
        }
        watches.release_below(Path::new("/a"), |path| path.ends_with("y"));
        assert_eq!(watches.wanted(), ["/a", "/a/y", "/a-b", "/b"].map(PathBuf::from));
        watches.retain(|path| path.starts_with("/a"));
        assert_eq!(watches.wanted(), ["/a", "/a/y"].map(PathBuf::from));
        watches.choose_backend(Backend::Poll, Path::new("/"));
        watches.ensure(Path::new("/c"), folder(1));
        assert_eq!(watches.wanted(), Vec::<PathBuf>::new());
        assert_eq!(watches.backend(), WatchBackend::Poll);
    }

    #[test]
    fn orders_that_take_too_long_are_a_problem_until_they_are_done() {
        let watches = watches();
        watches.ensure(Path::new("/a"), folder(1));
        let now = Instant::now();
        assert_eq!(watches.problem(now), None);
        let problem = watches.problem(now + PATIENCE).unwrap();
        assert!(problem.starts_with("inotify does not keep up"), "{problem}");
        assert!(watches.late_at().unwrap() <= now + PATIENCE);
        taken(&watches);
        assert_eq!(watches.problem(now + PATIENCE), None);
        assert_eq!(watches.late_at(), None);
    }

    #[test]
    fn an_inotify_that_cannot_start_is_asked_again() {
        let watches = watches();
        watches.started(Some("too many instances".to_owned()));
        assert_eq!(watches.backend(), WatchBackend::Poll);
        assert_eq!(watches.problem(Instant::now()).as_deref(), Some("too many instances"));
        watches.choose_backend(Backend::Inotify, Path::new("/"));
        assert!(watches.take_orders().is_some());
        watches.started(None);
        assert_eq!(watches.backend(), WatchBackend::Inotify);
    }
}
