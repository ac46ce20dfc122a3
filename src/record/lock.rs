//! Advisory locks: one daemon for each state folder, one writer for each document's folder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use super::opening::OpenError;

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
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: path.clone(), pid: read_pid(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(source)),
        }
        file.set_len(0).map_err(io_error)?;
        file.rewind().map_err(io_error)?;
        writeln!(file, "{}", std::process::id()).map_err(io_error)?;
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
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
