//! Reading a document within a bound, and noticing that somebody writes it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::OFlags;

/// The longest document that is edited, in bytes.
pub(super) const LONGEST_DOCUMENT: u64 = 256 * 1024 * 1024;

/// A document as it was read.
#[derive(Debug)]
pub struct Document {
    /// Its whole text.
    pub text: Vec<u8>,
    /// Its state before the text was read: while it stays that, so does the text.
    pub(super) stamp: Stamp,
}

/// Stands for the state of a file: another one means that somebody wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
    /// When the file last changed, content or attributes.
    pub(super) changed: Timestamp,
}

/// Returns the stamp of a file, links followed, `None` if there is none.
pub(super) fn stamp(path: &Path) -> Result<Option<Stamp>, String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    Ok(Some(Stamp::of(&metadata)))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanosecond = i32::try_from(metadata.ctime_nsec()).unwrap_or(0);
        Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: Timestamp::new(metadata.ctime(), nanosecond).unwrap_or(Timestamp::MAX),
        }
    }
}

/// Reads a document, `None` if there is none. The error says why it cannot be read and what to
/// do.
pub(super) fn read(path: &Path) -> Result<Option<Document>, String> {
    // Opening a named pipe would wait for a writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        return Err(format!("`{}` is not a regular file", path.display()));
    }
    let length = usize::try_from(metadata.len()).unwrap_or(0).min(1 << 28);
    let mut text = Vec::with_capacity(length);
    let mut bounded = file.take(LONGEST_DOCUMENT + 1);
    bounded.read_to_end(&mut text).map_err(|error| unreadable(path, &error))?;
    if text.len() as u64 > LONGEST_DOCUMENT {
        return Err(format!("`{}` is longer than 256 MiB: it is not edited", path.display()));
    }
    Ok(Some(Document { text, stamp: Stamp::of(&metadata) }))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "`{}` is not readable: let the user that runs runscribe read and write it",
            path.display()
        ),
        _ => format!("`{}` is not readable: {error}", path.display()),
    }
}
