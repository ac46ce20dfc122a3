//! The keeper of the inotify watches: asks the kernel for what the worker wants, on a thread of its
//! own, because that can take long, and says what to do when the kernel refuses.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{ErrorKind, INotifyWatcher, RecursiveMode, Watcher};

use super::hints::Inbox;
use super::watches::{Orders, Wanted};

/// Keeps the watches that the worker of this inbox wants, until the inbox says stop.
///
/// This blocks and is meant for a thread of its own. It never ends otherwise; a panic is a defect
/// that the daemon must notice.
pub fn keep(inbox: &Arc<Inbox>) {
    let mut keeper = Keeper { inbox, watcher: None, watched: BTreeMap::new() };
    while let Some(orders) = inbox.watches().take_orders() {
        keeper.carry_out(orders);
    }
    tracing::debug!("the keeper of the watches has ended");
}

#[derive(Debug)]
struct Keeper<'inbox> {
    inbox: &'inbox Arc<Inbox>,
    watcher: Option<INotifyWatcher>,
    watched: BTreeMap<PathBuf, Wanted>,
}

impl Keeper<'_> {
    fn carry_out(&mut self, orders: Orders) {
        if orders.wants_inotify {
            self.start();
        } else {
            self.watcher = None;
            self.watched.clear();
        }
        if orders.renews {
            self.renew();
        }
        // A renamed folder keeps its watch in the kernel: the end of the one for the old path must
        // not take that of the new path with it.
        for (folder, wanted) in &orders.folders {
            if self.watched.get(folder) != wanted.as_ref() {
                self.release(folder);
            }
        }
        for (folder, wanted) in orders.folders {
            if let Some(wanted) = wanted {
                self.watch(folder, wanted);
            }
        }
        self.inbox.watches().orders_done(self.watched.len());
    }

    fn start(&mut self) {
        if self.watcher.is_some() {
            return;
        }
        let inbox = Arc::clone(self.inbox);
        let handler = move |event| inbox.note(event);
        match INotifyWatcher::new(handler, notify::Config::default()) {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                self.inbox.watches().started(None);
            }
            Err(error) => self.inbox.watches().started(Some(cannot_start(&error))),
        }
    }

    fn watch(&mut self, folder: PathBuf, wanted: Wanted) {
        let Some(watcher) = &mut self.watcher else { return };
        if self.watched.get(&folder) == Some(&wanted) {
            return;
        }
        let answer = watcher.watch(&folder, RecursiveMode::NonRecursive);
        self.inbox.watches().progress();
        match answer {
            Ok(()) => {
                self.watched.insert(folder.clone(), wanted);
                self.inbox.watches().watched(&folder);
                self.inbox.note_watched(folder);
            }
            Err(error) => {
                let problem = explained(&folder, &error);
                self.inbox.watches().not_watched(&folder, wanted, problem);
                if is_not_found(&error) {
                    // It went before anything could tell so.
                    self.inbox.note_folder(folder);
                }
            }
        }
    }

    fn renew(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let desired = self.inbox.watches();
        self.watched.retain(|folder, wanted| {
            let answer = watcher.watch(folder, RecursiveMode::NonRecursive);
            desired.progress();
            let Err(error) = answer else { return true };
            desired.not_watched(folder, *wanted, explained(folder, &error));
            false
        });
        self.inbox.note_renewed();
    }

    fn release(&mut self, folder: &Path) {
        if self.watched.remove(folder).is_none() {
            return;
        }
        if let Some(watcher) = &mut self.watcher
            && let Err(error) = watcher.unwatch(folder)
        {
            // The kernel ends a watch together with its folder, so this is ordinary.
            tracing::debug!(folder = %folder.display(), %error, "the watch had ended already");
        }
        self.inbox.watches().progress();
    }
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
        _ if is_not_found(error) => None,
        ErrorKind::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        _ => Some(format!("`{}` cannot be watched: {error}", folder.display())),
    }
}

fn is_not_found(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound => true,
        ErrorKind::Io(error) => error.kind() == io::ErrorKind::NotFound,
        _ => false,
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
}
