//! Saves that went into a file after it had been replaced.
//!
//! A program that had the old file open before it was replaced, and truncates or writes it after,
//! writes into a file without a name. Nobody would see that text again, so the old file is kept
//! open until the second look.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use jiff::Timestamp;

use super::reading::LONGEST_DOCUMENT;

/// Bytes that are read at a time.
const BLOCK: usize = 1 << 16;

/// The old file of a replaced one, without a name.
#[derive(Debug)]
pub struct Displaced {
    file: File,
    state: (u64, i64, i64),
    successor: u64,
}

impl Displaced {
    /// Takes the old file and compares it with the text that is expected in it. `successor` is the
    /// fingerprint of the text that replaced it. The second value is the text if it is another one.
    pub(super) fn compare(
        file: File,
        expected: &[u8],
        successor: u64,
    ) -> io::Result<(Self, Option<Vec<u8>>)> {
        // The state is taken before the text: a write between the two must count as a later one.
        let state = state(&file)?;
        let displaced = Self { file, state, successor };
        let other = if displaced.holds(expected)? { None } else { Some(displaced.text()?) };
        Ok((displaced, other))
    }

    /// Returns whether the file holds exactly this text; no second copy of it is made.
    fn holds(&self, expected: &[u8]) -> io::Result<bool> {
        let mut block = vec![0; BLOCK];
        let mut rest = expected;
        let mut offset = 0;
        loop {
            let length = self.file.read_at(&mut block, offset)?;
            if length == 0 {
                return Ok(rest.is_empty());
            }
            let Some((same, behind)) = rest.split_at_checked(length) else { return Ok(false) };
            if block.get(..length) != Some(same) {
                return Ok(false);
            }
            rest = behind;
            offset += length as u64;
        }
    }

    /// Returns the fingerprint of the text that replaced it.
    pub(super) fn successor(&self) -> u64 {
        self.successor
    }

    /// Returns the text that somebody wrote into it since, `None` if nobody did.
    pub fn saved_since(&self) -> io::Result<Option<Vec<u8>>> {
        if state(&self.file)? == self.state { Ok(None) } else { self.text().map(Some) }
    }

    /// Returns when somebody last wrote into it since it was replaced.
    pub(super) fn last_write(&self) -> Option<Timestamp> {
        let now = state(&self.file).ok().filter(|now| *now != self.state)?;
        Timestamp::new(now.1, i32::try_from(now.2).unwrap_or(0)).ok()
    }

    /// Returns whether somebody emptied it, as an editor does before it writes.
    pub(super) fn is_emptied(&self) -> bool {
        self.state.0 > 0 && state(&self.file).is_ok_and(|now| now.0 == 0)
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let length = state(&self.file)?.0.min(LONGEST_DOCUMENT);
        let mut text = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let mut block = vec![0; BLOCK];
        loop {
            let offset = text.len() as u64;
            match self.file.read_at(&mut block, offset)? {
                0 => return Ok(text),
                read => text.extend_from_slice(block.get(..read).unwrap_or_default()),
            }
            if offset > LONGEST_DOCUMENT {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
    }
}

fn state(file: &File) -> io::Result<(u64, i64, i64)> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}
