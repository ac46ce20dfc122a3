//! Listing folders and reading files with bounds: the only place where `watch` opens anything.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirEntryExt as _, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::model::ids::FolderIdentity;
use crate::recognize::is_key_file;

/// A folder with more entries than this is reported and not read, so that it cannot fill memory.
pub(super) const MAX_ENTRIES: usize = 200_000;

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The name; others than UTF-8 are left out and counted.
    pub(super) text: String,
    /// Whether it is a folder or a link to one.
    pub(super) is_folder: bool,
    /// Whether it is a symbolic link.
    pub(super) is_link: bool,
    /// The inode of the entry itself, not of what a link points at.
    pub(super) inode: u64,
}

/// The names in a folder, sorted, and how many had to be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The names, sorted.
    pub(super) names: Vec<Name>,
    /// One of the names that are not UTF-8, as far as it can be printed.
    pub(super) not_utf8: Option<String>,
}

/// A point in time as file systems store it: seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileTime(pub(super) i64, pub(super) i64);

impl FileTime {
    /// Returns a time as file systems store it.
    pub(super) fn of(time: Timestamp) -> Self {
        let (second, nanosecond) = (time.as_second(), i64::from(time.subsec_nanosecond()));
        if nanosecond < 0 {
            Self(second - 1, nanosecond + 1_000_000_000)
        } else {
            Self(second, nanosecond)
        }
    }

    /// Returns the time that was so long ago.
    pub(super) fn before(now: Timestamp, ago: Duration) -> Self {
        Self::of(now.checked_sub(ago).unwrap_or(Timestamp::MIN))
    }

    /// Converts to a timestamp; times that one cannot hold are moved to the nearest that it can.
    pub(super) fn timestamp(self) -> Timestamp {
        let limit = if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX };
        let nanoseconds = i32::try_from(self.1).unwrap_or(0);
        Timestamp::new(self.0, nanoseconds).unwrap_or(limit)
    }
}

/// What `stat` says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileStat {
    /// The file's name.
    pub(super) name: String,
    /// Its length in bytes.
    pub(super) length: u64,
    /// When its content changed.
    pub(super) modified: FileTime,
    /// When its content or its attributes changed.
    pub(super) changed: FileTime,
    /// Its inode.
    pub(super) inode: u64,
    /// What it is.
    pub(super) kind: FileKind,
}

/// What kind of file an entry is, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A regular file.
    Regular,
    /// A symbolic link to a regular file inside the training folder.
    Link,
    /// A symbolic link that leads out of the training folder; it is not followed.
    LinkLeadsOut,
    /// A folder, pipe, socket, device or broken link.
    Other,
}

/// Returns which folder a path leads to and when its list of entries changed.
///
/// Something that is no folder is an error of kind `NotADirectory`.
pub(super) fn folder_identity(path: &Path) -> io::Result<(FolderIdentity, FileTime)> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let identity = FolderIdentity { device: metadata.dev(), inode: metadata.ino() };
    Ok((identity, FileTime(metadata.mtime(), metadata.mtime_nsec())))
}

/// When a folder's list of entries changed, and when it was changed in any way: a list that was read
/// before holds as long as both are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FolderTimes {
    modified: FileTime,
    changed: FileTime,
}

impl FolderTimes {
    /// Asks for the times of a folder.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(folder)?;
        Ok(Self {
            modified: FileTime(metadata.mtime(), metadata.mtime_nsec()),
            changed: FileTime(metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Returns the later one.
    pub(super) fn newest(self) -> FileTime {
        self.modified.max(self.changed)
    }
}

/// Lists a folder. Any error makes the whole listing one: a name that is left out by mistake would
/// look like a deleted file.
///
/// No folder in it is opened: each opening is an event for whoever watches that one, this daemon
/// among them.
pub(super) fn list(folder: &Path) -> io::Result<Names> {
    #[cfg(test)]
    denied::check(folder)?;
    let mut listed = Names::default();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(text) = name.to_str() else {
            listed.not_utf8 = Some(name.to_string_lossy().into_owned());
            continue;
        };
        if listed.names.len() >= MAX_ENTRIES {
            return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} entries")));
        }
        let kind = entry.file_type()?;
        let is_link = kind.is_symlink();
        let is_folder = if is_link {
            entry.path().metadata().is_ok_and(|metadata| metadata.is_dir())
        } else {
            kind.is_dir()
        };
        listed.names.push(Name { text: text.to_owned(), is_folder, is_link, inode: entry.ino() });
    }
    listed.names.sort_unstable_by(|one, other| one.text.cmp(&other.text));
    Ok(listed)
}

/// Asks for the facts of the listed files that are not folders, in name order. One that vanished
/// meanwhile is left out.
pub(super) fn stat_files(folder: &Path, names: &Names, bounds: &Path) -> io::Result<Vec<FileStat>> {
    let mut files = Vec::new();
    for name in names.names.iter().filter(|name| !name.is_folder) {
        match stat_file(folder, &name.text, bounds) {
            Ok(stat) => files.push(stat),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// Asks for the facts of one file.
pub(super) fn stat_file(folder: &Path, name: &str, bounds: &Path) -> io::Result<FileStat> {
    let path = folder.join(name);
    let own = std::fs::symlink_metadata(&path)?;
    if !own.is_symlink() {
        let kind = if own.is_file() { FileKind::Regular } else { FileKind::Other };
        return Ok(file_stat(name, &own, kind));
    }
    let Ok(target) = path.canonicalize() else {
        return Ok(file_stat(name, &own, FileKind::Other));
    };
    if !target.starts_with(bounds) {
        return Ok(file_stat(name, &own, FileKind::LinkLeadsOut));
    }
    let metadata = std::fs::metadata(&target)?;
    let kind = if metadata.is_file() { FileKind::Link } else { FileKind::Other };
    Ok(file_stat(name, &metadata, kind))
}

fn file_stat(name: &str, metadata: &Metadata, kind: FileKind) -> FileStat {
    FileStat {
        name: name.to_owned(),
        length: metadata.len(),
        modified: FileTime(metadata.mtime(), metadata.mtime_nsec()),
        changed: FileTime(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
        kind,
    }
}

/// Stands for names, lengths, modification times and inodes of the key files.
///
/// The change time is no part of it, because our own hard links change that.
pub(super) fn signature<'file>(files: impl IntoIterator<Item = &'file FileStat>) -> u64 {
    let mut signature = Fnv::new();
    for file in files.into_iter().filter(|file| is_key_file(&file.name)) {
        signature.add_file(&file.name, [file.length, file.inode], file.modified);
    }
    signature.value()
}

/// The 64-bit hash of Fowler, Noll and Vo (FNV-1a): small, and the same in every version.
#[derive(Debug)]
pub(super) struct Fnv(u64);

impl Fnv {
    /// Starts an empty hash.
    pub(super) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds what is known of one file.
    pub(super) fn add_file(&mut self, name: &str, numbers: [u64; 2], modified: FileTime) {
        self.add(name.as_bytes());
        self.add(&[0]);
        for number in numbers {
            self.add(&number.to_le_bytes());
        }
        self.add(&modified.0.to_le_bytes());
        self.add(&modified.1.to_le_bytes());
    }

    /// Returns the hash.
    pub(super) fn value(&self) -> u64 {
        self.0
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// Opens a regular file for reading.
///
/// A pipe that somebody put in a file's place must not stop the scan, so the file is opened
/// without waiting and refused unless it is regular. A link is followed only where it was found to
/// stay inside the training folder.
pub(super) fn open(path: &Path, kind: FileKind) -> io::Result<File> {
    let follow = if kind == FileKind::Link { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = i32::try_from((OFlags::NONBLOCK | follow).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// Reads a whole file of at most `limit` bytes.
pub(super) fn read_whole(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it is longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// Reads a regular file of at most `limit` bytes, links followed.
pub(super) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_whole(&open(path, FileKind::Link)?, limit)
}

/// Reads `length` bytes at an offset, fewer only at the end of the file.
pub(super) fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let filled = fill_at(file, offset, &mut bytes)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Fills a buffer with the bytes at an offset. Returns how many there were: fewer than it holds only
/// at the end of the file.
pub(super) fn fill_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Translates an error about a file or folder into a sentence that says what to do.
pub(super) fn problem_with(what: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::PermissionDenied {
        format!(
            "`{what}` may not be read by this user: run runscribe as the user who trains, or \
             allow it with `setfacl -R -m u:<user>:rX` on the training folder"
        )
    } else {
        format!("`{what}` cannot be read: {error}")
    }
}

/// Folders that may not be read, for tests: one that runs as root may read everything.
#[cfg(test)]
pub(crate) mod denied {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::io;
    use std::path::{Path, PathBuf};

    thread_local! {
        static DENIED: RefCell<BTreeSet<PathBuf>> = const { RefCell::new(BTreeSet::new()) };
    }

    /// Forbids this thread to read these folders, and no others.
    pub(crate) fn only(folders: BTreeSet<PathBuf>) {
        DENIED.set(folders);
    }

    pub(crate) fn check(folder: &Path) -> io::Result<()> {
        let is_denied = DENIED
            .with_borrow(|denied| folder.ancestors().any(|ancestor| denied.contains(ancestor)));
        if is_denied { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(()) }
    }
}
