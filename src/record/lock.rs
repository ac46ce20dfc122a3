//! Advisory locks: one daemon for each state folder, one writer for each document's folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::opening::OpenError;

/// How long a lock outlives its owner at most. A program that is started while a lock is held shares it
/// until it has begun, which takes some milliseconds: when its owner was killed, or let go of it.
const HEIR: Duration = Duration::from_secs(2);

/// Keeps a second daemon away from a state folder for as long as it lives.
#[derive(Debug)]
pub(super) struct StateLock {
    _file: File,
}

impl StateLock {
    /// Locks `<state_dir>/lock` and writes the process id into it for the other one's message.
    ///
    /// The kernel releases the lock with the process, so a leftover file means nothing.
    pub(super) fn acquire(state_dir: &Path) -> Result<Self, OpenError> {
        let path = state_dir.join("lock");
        let io_error = |source| OpenError::io(&path, source);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io_error)?;
        let deadline = Instant::now() + HEIR;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let pid = read_pid(&mut file);
                    if !pid.is_some_and(is_heirs) || Instant::now() > deadline {
                        return Err(OpenError::Locked { path: path.clone(), pid });
                    }
                    pause();
                }
                Err(TryLockError::Error(source)) => return Err(io_error(source)),
            }
        }
        file.set_len(0).map_err(io_error)?;
        file.rewind().map_err(io_error)?;
        writeln!(file, "{}", std::process::id()).map_err(io_error)?;
        Ok(Self { _file: file })
    }
}

/// Whether who wrote this id holds the lock no more: no process has it, or this one, which asks for
/// the lock because it has let go of it.
fn is_heirs(pid: u32) -> bool {
    let is_dead = || matches!(Path::new("/proc").join(pid.to_string()).try_exists(), Ok(false));
    pid == std::process::id() || is_dead()
}

#[expect(clippy::disallowed_methods, reason = "the kernel tells nobody that a lock is free")]
fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    Read::take(file, 32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// What came of locking a folder.
#[derive(Debug)]
pub(super) enum FolderLock {
    /// It is ours until this is dropped.
    Held { _folder: File },
    /// The file system knows no such locks (some network ones); replacing is still safe without.
    Unsupported,
    /// Another runscribe, perhaps with a state folder of its own, writes there right now.
    Busy,
}

impl FolderLock {
    /// Locks a folder without waiting.
    ///
    /// The folder itself is locked, not a file in it or in the state folder: it is what two
    /// runscribes with different state folders share, it survives the replacing of the document,
    /// and nothing has to be left behind beside a file that git tracks.
    pub(super) fn try_acquire(folder: &Path) -> io::Result<Self> {
        let file = File::open(folder)?;
        Ok(match file.try_lock() {
            Ok(()) => Self::Held { _folder: file },
            Err(TryLockError::WouldBlock) => Self::Busy,
            Err(TryLockError::Error(_)) => Self::Unsupported,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the lock as another process would, which leaves this id behind.
    fn taken(state: &Path, pid: u32) -> File {
        let mut file = File::create(state.join("lock")).unwrap();
        file.try_lock().unwrap();
        writeln!(file, "{pid}").unwrap();
        file
    }

    #[test]
    fn a_lock_whose_owner_is_gone_is_waited_for_and_that_of_a_live_one_is_not() {
        // A daemon that was killed while it started an analysis kept its successor from starting.
        let folder = tempfile::tempdir().unwrap();
        let mut ended = std::process::Command::new("/bin/true").spawn().unwrap();
        ended.wait().unwrap();
        // So did a program that was started at the moment at which a journal was closed.
        for owner in [ended.id(), std::process::id()] {
            let heir = taken(folder.path(), owner);
            let release = std::thread::Builder::new().spawn(move || {
                pause();
                drop(heir);
            });
            let lock = StateLock::acquire(folder.path()).unwrap();
            release.unwrap().join().unwrap();
            drop(lock);
        }

        let alive = taken(folder.path(), std::os::unix::process::parent_id());
        let began = Instant::now();
        let refused = StateLock::acquire(folder.path()).unwrap_err();
        assert!(matches!(refused, OpenError::Locked { pid: Some(_), .. }), "{refused}");
        assert!(began.elapsed() < HEIR);
        drop(alive);
    }
}
