//! By what the content of a log is recognized: hashes of its first bytes and of the last ones
//! before the offset up to which it was read.

use std::fs::File;
use std::io;

use crate::model::shell_log::LogMarks;
use crate::watch::files::{Fnv, read_at};

/// How many of the first bytes are looked at; training prints the same first lines again and again,
/// but hardly so many of them without a time, a path or a loss.
const HEAD: u64 = 4096;
/// How many of the last bytes before the offset are looked at.
const END: u64 = 1024;

/// A file by device and inode number.
pub(super) type FileId = (u64, u64);

/// Returns the marks of the content before an offset.
pub(super) fn marks_of(file: &File, id: FileId, offset: u64) -> io::Result<LogMarks> {
    let head_length = offset.min(HEAD);
    Ok(LogMarks {
        device: id.0,
        inode: id.1,
        head_length,
        head: hash(file, 0, head_length)?,
        end: hash(file, offset.saturating_sub(END), offset.min(END))?,
    })
}

/// Returns whether a file begins with the content that has these marks at this offset.
pub(super) fn holds(file: &File, marks: &LogMarks, offset: u64) -> io::Result<bool> {
    Ok(file.metadata()?.len() >= offset
        && hash(file, 0, marks.head_length)? == marks.head
        && hash(file, offset.saturating_sub(END), offset.min(END))? == marks.end)
}

/// Returns whether two files hold the same up to the length of the shorter one, as far as their
/// first bytes and the last common ones tell.
pub(super) fn begin_alike(one: &File, other: &File) -> io::Result<bool> {
    let common = one.metadata()?.len().min(other.metadata()?.len());
    let id = (0, 0);
    Ok(common > 0 && marks_of(one, id, common)? == marks_of(other, id, common)?)
}

/// Returns a hash of the first bytes of a file, which tells new contents of one file apart.
pub(super) fn head_hash(file: &File) -> io::Result<u64> {
    hash(file, 0, HEAD)
}

fn hash(file: &File, offset: u64, length: u64) -> io::Result<u64> {
    let mut hash = Fnv::new();
    hash.add(&read_at(file, offset, usize::try_from(length).unwrap_or(0))?);
    Ok(hash.value())
}
