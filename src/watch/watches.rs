//! The inotify watches: which folders are watched, and what to do when the kernel refuses one.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{ErrorKind, INotifyWatcher, RecursiveMode, Watcher};
use rustix::fs::statfs;

use super::WatchBackend;
use super::hints::Inbox;
use crate::model::ids::FolderIdentity;
use crate::settings::Backend;

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

/// Whether a folder is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// Since just now: what happened before may have gone unseen, so look again.
    New,
    /// It was before.
    Already,
    /// It is not, and full scans have to do.
    Not,
}

/// The folders that are watched.
#[derive(Debug)]
pub(super) struct Watches {
    inbox: Arc<Inbox>,
    watcher: Option<INotifyWatcher>,
    watched: BTreeMap<PathBuf, FolderIdentity>,
    backend: WatchBackend,
    problem: Option<String>,
}

impl Watches {
    /// Prepares to watch; hints go into the inbox.
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        let watched = BTreeMap::new();
        Self { inbox, watcher: None, watched, backend: WatchBackend::Poll, problem: None }
    }

    /// Turns inotify on or off for this training folder, as the setting and its file system ask.
    pub(super) fn choose_backend(&mut self, setting: Backend, folder: &Path) {
        let wants_inotify = match setting {
            Backend::Inotify => true,
            Backend::Poll => false,
            Backend::Auto => network_file_system(folder).is_none(),
        };
        if !wants_inotify {
            self.watched.clear();
            self.watcher = None;
            self.problem = None;
            self.backend = WatchBackend::Poll;
        } else if self.watcher.is_none() {
            self.start();
        }
    }

    /// Returns what is in use.
    pub(super) fn backend(&self) -> WatchBackend {
        self.backend
    }

    /// Returns how many folders are watched.
    pub(super) fn count(&self) -> u64 {
        self.watched.len() as u64
    }

    /// Returns why not everything is watched that should be.
    pub(super) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Makes it look as if the kernel had refused a watch.
    #[cfg(test)]
    pub(super) fn refuse(&mut self) {
        self.problem = Some("no watch left".to_owned());
    }

    /// Forgets the last problem, before everything is tried again.
    pub(super) fn retry(&mut self) {
        if self.watcher.is_some() {
            self.problem = None;
        }
    }

    /// Watches a folder unless it is watched already. Another folder under a watched path is
    /// watched in its place.
    pub(super) fn ensure(&mut self, folder: &Path, identity: FolderIdentity) -> Watched {
        if self.watched.get(folder) == Some(&identity) {
            return Watched::Already;
        }
        self.release(folder);
        let Some(watcher) = &mut self.watcher else { return Watched::Not };
        match watcher.watch(folder, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(folder.to_owned(), identity);
                Watched::New
            }
            Err(error) => {
                if let Some(problem) = explained(folder, &error) {
                    self.problem = Some(problem);
                }
                Watched::Not
            }
        }
    }

    /// Watches all folders anew. A watch can end without notice, as on an unmount.
    pub(super) fn renew(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        self.watched.retain(|folder, _| watcher.watch(folder, RecursiveMode::NonRecursive).is_ok());
    }

    /// Stops to watch a folder.
    pub(super) fn release(&mut self, folder: &Path) {
        if self.watched.remove(folder).is_none() {
            return;
        }
        if let Some(watcher) = &mut self.watcher
            && let Err(error) = watcher.unwatch(folder)
        {
            // The kernel ends a watch together with its folder, so this is ordinary.
            tracing::debug!(folder = %folder.display(), %error, "the watch had ended already");
        }
    }

    /// Stops to watch what lies below a folder and `keep` does not want.
    pub(super) fn release_below(&mut self, folder: &Path, keep: impl Fn(&Path) -> bool) {
        // Paths are ordered by their components, so those below a folder follow it.
        let below = self.watched.range::<Path, _>((Bound::Excluded(folder), Bound::Unbounded));
        let below = below.map(|(path, _)| path).take_while(|path| path.starts_with(folder));
        let released: Vec<PathBuf> = below.filter(|path| !keep(path)).cloned().collect();
        for path in released {
            self.release(&path);
        }
    }

    /// Stops to watch everything that `keep` does not want.
    pub(super) fn retain(&mut self, keep: impl Fn(&Path) -> bool) {
        let released: Vec<PathBuf> =
            self.watched.keys().filter(|path| !keep(path)).cloned().collect();
        for path in released {
            self.release(&path);
        }
    }

    fn start(&mut self) {
        let inbox = Arc::clone(&self.inbox);
        let handler = move |event| inbox.note(event);
        match INotifyWatcher::new(handler, notify::Config::default()) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.backend = WatchBackend::Inotify;
                self.problem = None;
            }
            Err(error) => {
                self.backend = WatchBackend::Poll;
                self.problem = Some(cannot_start(&error));
            }
        }
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

/// Says what to do about a refused watch; `None` if the folder is just not there any more or may
/// not be read, which the scan finds out and tells by itself.
fn explained(folder: &Path, error: &notify::Error) -> Option<String> {
    match &error.kind {
        ErrorKind::MaxFilesWatch => Some(format!(
            "the kernel has no inotify watch left{}, so new files are found by scanning only: \
             raise it with `sysctl fs.inotify.max_user_watches=1048576` and keep it in \
             /etc/sysctl.d",
            limit("max_user_watches")
        )),
        ErrorKind::PathNotFound => None,
        ErrorKind::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            None
        }
        _ => Some(format!("`{}` cannot be watched: {error}", folder.display())),
    }
}

fn cannot_start(error: &notify::Error) -> String {
    const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();
    match &error.kind {
        ErrorKind::Io(error) if error.raw_os_error() == Some(EMFILE) => format!(
            "inotify refuses another user of it (too many instances{} or open files), so new \
             files are found by scanning only: raise it with `sysctl \
             fs.inotify.max_user_instances=1024` and keep it in /etc/sysctl.d",
            limit("max_user_instances")
        ),
        _ => format!("inotify cannot be used, so new files are found by scanning only: {error}"),
    }
}

fn limit(name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}"));
    text.map_or_else(|_| String::new(), |text| format!(" (the limit is {})", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_watch_says_which_limit_to_raise() {
        let folder = Path::new("/p/T");
        let explain = |kind| explained(folder, &notify::Error::new(kind));
        let limit = explain(ErrorKind::MaxFilesWatch).unwrap();
        assert!(limit.contains("sysctl fs.inotify.max_user_watches="), "{limit}");
        assert!(limit.contains("(the limit is "), "{limit}");
        let other = explain(ErrorKind::Io(io::Error::other("odd"))).unwrap();
        assert_eq!(other, "`/p/T` cannot be watched: odd");
        // The scan finds these out and says more about them.
        assert_eq!(explain(ErrorKind::PathNotFound), None);
        assert_eq!(explain(ErrorKind::Io(io::ErrorKind::PermissionDenied.into())), None);
    }

    #[test]
    fn a_refused_start_says_which_limit_to_raise() {
        let refused = io::Error::from(rustix::io::Errno::MFILE);
        let text = cannot_start(&notify::Error::io(refused));
        assert!(text.contains("sysctl fs.inotify.max_user_instances="), "{text}");
    }

    #[test]
    fn folders_are_released_by_place() {
        let temporary = tempfile::TempDir::new().unwrap();
        let root = temporary.path();
        let mut watches = Watches::new(Arc::default());
        watches.choose_backend(Backend::Inotify, root);
        let mut ensure = |name: &str, inode| {
            let folder = root.join(name);
            std::fs::create_dir_all(&folder).unwrap();
            watches.ensure(&folder, FolderIdentity { device: 1, inode })
        };
        assert_eq!(ensure("a", 1), Watched::New);
        assert_eq!(ensure("a", 1), Watched::Already);
        assert_eq!(ensure("a", 2), Watched::New);
        for name in ["a/x", "a/y", "a-b", "b"] {
            assert_eq!(ensure(name, 3), Watched::New);
        }
        watches.release_below(&root.join("a"), |path| path.ends_with("y"));
        let left: Vec<_> =
            watches.watched.keys().filter_map(|path| path.strip_prefix(root).ok()).collect();
        assert_eq!(left, ["a", "a/y", "a-b", "b"].map(Path::new));
        watches.renew();
        assert_eq!(watches.count(), 4);
        watches.choose_backend(Backend::Poll, root);
        assert_eq!((watches.count(), watches.backend()), (0, WatchBackend::Poll));
        assert_eq!(watches.ensure(root, FolderIdentity { device: 1, inode: 1 }), Watched::Not);
    }
}
