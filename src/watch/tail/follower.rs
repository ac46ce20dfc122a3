//! One log that is being read: its file, its parser, and how far it got.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::marks::{self, FileId};
use super::sources::id_of;
use crate::model::Timestamp;
use crate::model::journal::KnownLog;
use crate::model::shell_log::{LogKey, LogMarks, LogPosition, LogReading, LogSighting};
use crate::parse::shell_log::{LogReader, Thresholds};
use crate::watch::files::{FileTime, fill_at, read_at};

/// Bytes that are read at a time.
pub(super) const PIECE: usize = 1 << 20;
/// Without a new failure or an end, a log is told at most this often.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// In so many bytes a line is looked for that a part of a log can begin with.
const LONGEST_LINE: usize = 64 << 10;
/// Lines of what is passed over are counted if it is not longer than this.
const COUNTED: u64 = 64 << 20;

/// A log that is being read.
#[derive(Debug)]
pub(super) struct Follower {
    reader: LogReader,
    file: File,
    pub(super) id: FileId,
    pub(super) offset: u64,
    skipped: u64,
    /// The marks of what was read, and up to where they stand.
    marks: LogMarks,
    marked: u64,
    /// What was told last: when, how many failures and how many ends of training.
    told: Option<(Instant, usize, usize)>,
    /// Whether more was read than was told.
    pub(super) has_news: bool,
    /// When it was last seen to grow.
    pub(super) grew: Instant,
}

/// What came of reading a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// So many bytes.
    Read(u64),
    /// There is no more.
    End,
    /// The file no longer holds what was read before.
    OtherContent,
}

/// Opens a file for reading if it is a regular one; a pipe in its place is not waited for.
pub(super) fn open(path: &Path) -> io::Result<(File, FileId)> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, id_of(&metadata)))
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

impl Follower {
    /// Begins with a log of which nothing is recorded, with at most `limit` of its last bytes.
    pub(super) fn begin(
        (file, id): (File, FileId),
        thresholds: Thresholds,
        limit: u64,
    ) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let hole = leading_hole(&file, length)?;
        let (start, line) = match length.checked_sub(limit) {
            Some(skip) if skip > hole => start_of_part(&file, skip, length)?,
            _ => (hole, 1),
        };
        let reader = LogReader::at_line(thresholds, line);
        let skipped = if start > hole { start } else { 0 };
        let marks = marks::marks_of(&file, id, start)?;
        Ok(Self::new(reader, (file, id), (start, skipped), marks))
    }

    /// Goes on behind what is recorded; `None` if the file does not hold that, or the parser's state
    /// is one of another version.
    pub(super) fn resume(
        (file, id): (File, FileId),
        thresholds: Thresholds,
        known: KnownLog,
    ) -> io::Result<Option<Self>> {
        let LogPosition { offset, parser, marks } = known.position;
        if !marks::holds(&file, &marks, offset)? {
            return Ok(None);
        }
        let skipped = known.reading.skipped;
        let reader = match LogReader::take_up(thresholds, &parser, known.reading) {
            Ok(reader) => reader,
            Err(error) => {
                tracing::info!(log = %known.key, %error, "reading a shell log anew");
                return Ok(None);
            }
        };
        Ok(Some(Self::new(reader, (file, id), (offset, skipped), marks)))
    }

    fn new(
        reader: LogReader,
        (file, id): (File, FileId),
        (offset, skipped): (u64, u64),
        marks: LogMarks,
    ) -> Self {
        Self {
            reader,
            file,
            id,
            offset,
            skipped,
            marks: LogMarks { device: id.0, inode: id.1, ..marks },
            marked: offset,
            told: None,
            has_news: false,
            grew: Instant::now(),
        }
    }

    /// Returns the length of its file now, whatever became of its name.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether the file still holds what was read up to the last marks.
    pub(super) fn is_same(&self) -> io::Result<bool> {
        marks::holds(&self.file, &self.marks, self.marked)
    }

    /// Reads the next piece, at most up to this length of the file. The buffer only grows, so that a
    /// log that grows every second costs no new memory each time.
    pub(super) fn read_piece(&mut self, length: u64, buffer: &mut Vec<u8>) -> io::Result<Piece> {
        if self.marked == self.offset && !self.is_same()? {
            return Ok(Piece::OtherContent);
        }
        let wanted = usize::try_from(length.saturating_sub(self.offset)).unwrap_or(PIECE);
        let wanted = wanted.min(PIECE);
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        let room = buffer.get_mut(..wanted).unwrap_or_default();
        let filled = fill_at(&self.file, self.offset, room)?;
        let piece = room.get(..filled).unwrap_or_default();
        if piece.is_empty() {
            return Ok(Piece::End);
        }
        self.reader.push(piece);
        let length = piece.len() as u64;
        self.offset += length;
        self.has_news = true;
        Ok(Piece::Read(length))
    }

    /// Takes the marks of what was read now. Returns whether the file still begins as before: what
    /// was read while it was written anew must not be told.
    pub(super) fn mark(&mut self) -> io::Result<bool> {
        let marks = marks::marks_of(&self.file, self.id, self.offset)?;
        let before = LogMarks { end: marks.end, ..self.marks };
        let is_same = marks::holds(&self.file, &before, self.offset)?;
        (self.marks, self.marked) = (marks, self.offset);
        Ok(is_same)
    }

    /// Whether it is time to tell what was read.
    pub(super) fn is_due(&self, now: Instant, at_end: bool) -> bool {
        let Some((when, failures, ends)) = self.told else { return at_end || self.has_news };
        let (failures_now, ends_now) = self.milestones();
        self.has_news
            && (now.duration_since(when) >= TELL_EVERY
                || failures_now != failures
                || ends_now != ends)
    }

    /// Returns what is to be told, which counts as told then.
    pub(super) fn tell(
        &mut self,
        (key, path): (LogKey, String),
        (length, modified): (u64, FileTime),
        now: Instant,
    ) -> LogSighting {
        let (failures, ends) = self.milestones();
        self.told = Some((now, failures, ends));
        self.has_news = false;
        let modified: Timestamp = modified.timestamp();
        let position =
            LogPosition { offset: self.offset, parser: self.reader.put_away(), marks: self.marks };
        let reading = LogReading { skipped: self.skipped, ..self.reader.reading().clone() };
        LogSighting { key, path, position, reading, length, modified }
    }

    fn milestones(&self) -> (usize, usize) {
        let trainings = &self.reader.reading().trainings;
        let failures = trainings.iter().map(|training| training.failures.len()).sum();
        (failures, trainings.iter().filter(|training| training.completed.is_some()).count())
    }
}

/// Returns how many NUL bytes a file begins with. One that was truncated while its writer kept its
/// place has a hole there as long as all that was written before.
fn leading_hole(file: &File, length: u64) -> io::Result<u64> {
    if read_at(file, 0, 1)?.first() != Some(&0) {
        return Ok(0);
    }
    // Where the file system knows of holes, only what is behind them has to be read.
    let data = rustix::fs::seek(file, rustix::fs::SeekFrom::Data(0)).unwrap_or(0);
    let mut offset = data.min(length);
    while offset < length {
        let piece = read_at(file, offset, PIECE)?;
        if piece.is_empty() {
            break;
        }
        if let Some(place) = piece.iter().position(|byte| *byte != 0) {
            return Ok(offset + place as u64);
        }
        offset += piece.len() as u64;
    }
    Ok(offset)
}

/// Returns where the first whole line behind `skip` bytes begins, and its number if that is cheap
/// to know, else 1.
fn start_of_part(file: &File, skip: u64, length: u64) -> io::Result<(u64, u64)> {
    let near = read_at(file, skip.saturating_sub(1), LONGEST_LINE)?;
    let end_of_line = memchr::memchr(b'\n', &near).map_or(0, |place| place as u64);
    let start = (skip + end_of_line).min(length);
    if start > COUNTED {
        return Ok((start, 1));
    }
    let (mut line, mut offset) = (1, 0);
    while offset < start {
        let piece = usize::try_from(start - offset).unwrap_or(PIECE).min(PIECE);
        let piece = read_at(file, offset, piece)?;
        if piece.is_empty() {
            break;
        }
        line += memchr::memchr_iter(b'\n', &piece).count() as u64;
        offset += piece.len() as u64;
    }
    Ok((start, line))
}
