//! Which log is read next, and what comes of it.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::follower::{Follower, Piece, open};
use super::sources::problem_with;
use super::worker::{CLOSE, LIVE, Stopped, Tail};
use crate::model::Timestamp;
use crate::model::shell_log::LogKey;
use crate::watch::files::FileTime;

/// Why a log is not read on now.
pub(super) enum Halt {
    /// It cannot be read; the text says what to do.
    Problem(String),
    /// Its file no longer holds what was read.
    OtherContent,
}

impl Tail {
    /// Reads one piece of every log that was written lately, and of one other log. Returns whether
    /// there is more.
    pub(super) fn read_round(&mut self) -> Result<bool, Stopped> {
        let fresh = FileTime::before((self.clock)(), LIVE);
        let mut unread: Vec<(FileTime, LogKey)> = self
            .book
            .logs
            .iter()
            .filter(|(key, log)| {
                let read = self.followers.get(*key).map_or(log.offset, |follower| follower.offset);
                log.length > read && !log.is_blocked
            })
            .map(|(key, log)| (log.modified, key.clone()))
            .collect();
        // The newest first; and of those that are not being written only one in each round, so that
        // terabytes of old logs do not keep a live one waiting.
        unread.sort_unstable_by(|one, other| other.cmp(one));
        let live = unread.iter().take_while(|(modified, _)| *modified >= fresh).count();
        let more = unread.len() > live + 1;
        let mut is_busy = more;
        for (_, key) in unread.into_iter().take(live + 1) {
            is_busy |= self.read_some(&key)?;
        }
        Ok(is_busy)
    }

    /// Reads a piece of a log. Returns whether there is more.
    fn read_some(&mut self, key: &LogKey) -> Result<bool, Stopped> {
        let read = self.make_room().map(|()| self.read_piece(key));
        let now = Instant::now();
        match read? {
            Ok(0) => Ok(false),
            Ok(bytes) => {
                let Some(follower) = self.followers.get_mut(key) else { return Ok(false) };
                follower.grew = now;
                let length = self.book.logs.get(key).map_or(0, |log| log.length);
                let at_end = follower.offset >= length;
                if follower.is_due(now, at_end) {
                    self.tell_read(key, now)?;
                }
                self.rest_after(bytes)?;
                Ok(!at_end)
            }
            Err(halt) => {
                self.halt(key, halt);
                Ok(false)
            }
        }
    }

    fn read_piece(&mut self, key: &LogKey) -> Result<u64, Halt> {
        let path = self.path_of(key);
        let because = |error: io::Error| Halt::Problem(problem_with(&path, &error));
        if !self.followers.contains_key(key) {
            let follower = self.follow(key)?;
            self.followers.insert(key.clone(), follower);
        }
        let length = self.book.logs.get(key).map_or(0, |log| log.length);
        let Some(follower) = self.followers.get_mut(key) else { return Ok(0) };
        let piece = follower.read_piece(length, &mut self.buffer).map_err(because)?;
        self.reading_problems.remove(key);
        match piece {
            Piece::Read(bytes) => Ok(bytes),
            Piece::OtherContent => Err(Halt::OtherContent),
            Piece::End => {
                // It is shorter than it was a moment ago: the next look finds out.
                let offset = follower.offset;
                if let Some(log) = self.book.logs.get_mut(key) {
                    log.length = offset;
                }
                Ok(0)
            }
        }
    }

    /// Opens a log to read on behind what is recorded of it.
    fn follow(&self, key: &LogKey) -> Result<Follower, Halt> {
        let path = self.path_of(key);
        let because = |error: io::Error| Halt::Problem(problem_with(&path, &error));
        let Some(log) = self.book.logs.get(key) else { return Err(Halt::OtherContent) };
        let opened = match open(&log.path) {
            Ok((file, id)) if id == (log.marks.device, log.marks.inode) => (file, id),
            Ok(_) => return Err(Halt::OtherContent),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Halt::OtherContent);
            }
            Err(error) => return Err(because(error)),
        };
        let is_new = log.offset == 0;
        let recorded =
            if is_new { None } else { self.store.recorded(key).map_err(Halt::Problem)? };
        let thresholds = self.config.thresholds;
        if let Some(known) = recorded {
            let again = opened.0.try_clone().map_err(because)?;
            let resumed = Follower::resume((again, opened.1), thresholds, known);
            if let Some(follower) = resumed.map_err(because)? {
                return Ok(follower);
            }
        }
        let limit = self.first_limit(log.modified);
        Follower::begin(opened, thresholds, limit).map_err(because)
    }

    /// Returns how many bytes are read of a log of which nothing is recorded.
    fn first_limit(&self, modified: FileTime) -> u64 {
        let first = self.config.first_look;
        let now: Timestamp = (self.clock)();
        let age = now.duration_since(modified.timestamp());
        let age = Duration::try_from(age).unwrap_or(Duration::ZERO);
        if age <= first.young { first.of_young } else { first.of_old }
    }

    /// Lets go of the log that has been silent longest if too many are open.
    fn make_room(&mut self) -> Result<(), Stopped> {
        while self.followers.len() > CLOSE {
            let oldest = self.followers.iter().min_by_key(|(_, follower)| follower.grew);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { break };
            self.tell_read(&key, Instant::now())?;
            self.followers.remove(&key);
        }
        Ok(())
    }

    pub(super) fn halt_by(&mut self, key: &LogKey, error: &io::Error) {
        let problem = problem_with(&self.path_of(key), error);
        self.halt(key, Halt::Problem(problem));
    }

    /// Stops reading a log until it changed or was looked at closely.
    pub(super) fn halt(&mut self, key: &LogKey, halt: Halt) {
        self.followers.remove(key);
        if let Some(log) = self.book.logs.get_mut(key) {
            log.is_blocked = true;
        }
        match halt {
            Halt::Problem(problem) => {
                self.reading_problems.insert(key.clone(), problem);
            }
            Halt::OtherContent => self.list_soon(),
        }
    }

    fn path_of(&self, key: &LogKey) -> PathBuf {
        self.book.logs.get(key).map(|log| log.path.clone()).unwrap_or_default()
    }
}
