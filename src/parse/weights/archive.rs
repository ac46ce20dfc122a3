//! The end of a zip archive, which is how `torch.save` writes `pytorch_model.bin`.
//!
//! The records are those of PKWARE's APPNOTE 6.3.10, sections 4.3.12 and 4.3.14 to 4.3.16. An
//! archive is written front to back with its directory last, so one that ends in it is whole.

/// The end record and the longest comment that may follow it: how much of a file's end
/// [`ends_in_zip_directory`] needs to see, in bytes.
pub const ARCHIVE_TAIL_BYTES: usize = END_BYTES + u16::MAX as usize;

const END_BYTES: usize = 22;
const END_SIGNATURE: &[u8] = b"PK\x05\x06";
const LOCATOR_BYTES: usize = 20;
const LOCATOR_SIGNATURE: &[u8] = b"PK\x06\x07";
const END64_BYTES: u64 = 56;
const END64_SIGNATURE: &[u8] = b"PK\x06\x06";
const ENTRY_SIGNATURE: &[u8] = b"PK\x01\x02";

/// Returns whether a file ends in the directory of a zip archive that is not empty.
///
/// `tail` is the end of the file, [`ARCHIVE_TAIL_BYTES`] of it or all if it is shorter. What of the
/// directory lies inside the tail is checked, the rest only by its place. The 64-bit records of
/// large archives, which torch always writes, are understood.
pub fn ends_in_zip_directory(tail: &[u8], file_length: u64) -> bool {
    let Some(tail_begin) = file_length.checked_sub(tail.len() as u64) else { return false };
    let tail = Tail { bytes: tail, begin: tail_begin };
    let candidates = memchr::memmem::rfind_iter(tail.bytes, END_SIGNATURE);
    candidates.into_iter().any(|at| tail.ends_with_record_at(at))
}

/// The end of a file, addressed by offsets into the file or into the tail.
struct Tail<'bytes> {
    bytes: &'bytes [u8],
    begin: u64,
}

/// Where an archive's directory lies in the file.
struct Directory {
    size: u64,
    offset: u64,
}

impl Tail<'_> {
    /// Returns whether an end record at this place of the tail reaches the end of the file and has
    /// a directory before it.
    fn ends_with_record_at(&self, at: usize) -> bool {
        let Some(record) = self.bytes.get(at..at + END_BYTES) else { return false };
        let comment_bytes = number(record, 20, 2).and_then(|bytes| usize::try_from(bytes).ok());
        if comment_bytes.map(|bytes| at + END_BYTES + bytes) != Some(self.bytes.len()) {
            return false;
        }
        let limit = self.begin + at as u64;
        let (directory, limit) = match self.locator_before(at) {
            Some(end64_offset) => {
                let Some(directory) = self.directory64(record, end64_offset, limit) else {
                    return false;
                };
                (directory, end64_offset)
            }
            None => match directory(record, 12, 4) {
                Some(directory) => (directory, limit),
                None => return false,
            },
        };
        self.holds(&directory, limit)
    }

    /// Returns the offset of the 64-bit end record that a locator before this place names.
    fn locator_before(&self, at: usize) -> Option<u64> {
        let locator = self.bytes.get(at.checked_sub(LOCATOR_BYTES)?..at)?;
        if locator.starts_with(LOCATOR_SIGNATURE) { number(locator, 8, 8) } else { None }
    }

    /// Returns the directory that the 64-bit end record names; that record stands right before its
    /// locator, and `limit` is where the plain end record begins.
    fn directory64(&self, plain: &[u8], offset: u64, limit: u64) -> Option<Directory> {
        if offset.checked_add(END64_BYTES)? > limit.checked_sub(LOCATOR_BYTES as u64)? {
            return None;
        }
        match self.at_file_offset(offset) {
            Some(record) if record.starts_with(END64_SIGNATURE) => directory(record, 40, 8),
            Some(_) => None,
            None => directory(plain, 12, 4),
        }
    }

    /// Returns whether the directory lies before `limit` and begins with an entry.
    fn holds(&self, directory: &Directory, limit: u64) -> bool {
        let end = directory.offset.checked_add(directory.size);
        if directory.size == 0 || end.is_none_or(|end| end > limit) {
            return false;
        }
        let begin = self.at_file_offset(directory.offset);
        begin.is_none_or(|bytes| bytes.starts_with(ENTRY_SIGNATURE))
    }

    /// Returns the tail from an offset into the file on; `None` if that lies before the tail.
    fn at_file_offset(&self, offset: u64) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.begin)?).ok()?;
        self.bytes.get(at..)
    }
}

/// Reads size and offset of a directory, which stand one after the other, `width` bytes each.
fn directory(record: &[u8], at: usize, width: usize) -> Option<Directory> {
    let (size, offset) = (number(record, at, width)?, number(record, at + width, width)?);
    Some(Directory { size, offset })
}

/// Reads a little-endian number of at most eight bytes.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let digits = bytes.get(at..at + width)?;
    Some(digits.iter().rev().fold(0, |number, digit| number << 8 | u64::from(*digit)))
}
