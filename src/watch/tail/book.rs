//! Which file holds which log: what is known of all logs, and what a listing teaches about them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::RecordedLog;
use super::follower::open;
use super::marks::{self, FileId};
use super::sources::{Found, Listing, problem_with};
use crate::model::Timestamp;
use crate::model::shell_log::{LogKey, LogMarks};
use crate::watch::files::FileTime;

/// A log, whether it is being read or rests.
#[derive(Debug, Clone)]
pub(super) struct Log {
    /// Where its content lies.
    pub(super) path: PathBuf,
    /// Up to where it was told.
    pub(super) offset: u64,
    /// By what its content up to there is recognized, and the file that holds it.
    pub(super) marks: LogMarks,
    pub(super) length: u64,
    pub(super) modified: FileTime,
    /// Whether its file has no name any more where logs are looked for, and is still open.
    pub(super) is_displaced: bool,
    /// Whether it cannot be read on as it is: until it changes or is listed again.
    pub(super) is_blocked: bool,
}

/// A file that holds no log of its own, until it changes.
#[derive(Debug, Clone)]
struct Waiting {
    found: Found,
    /// The log that it is a copy of; `None`: it is empty, or cannot be read.
    copy_of: Option<LogKey>,
}

/// All logs, and the files that they lie in.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) logs: BTreeMap<LogKey, Log>,
    files: HashMap<FileId, LogKey>,
    waiting: BTreeMap<FileId, Waiting>,
}

/// What a listing brought.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Logs that bear another name, or lie in another file.
    pub(super) moved: BTreeSet<LogKey>,
    /// Logs whose file is another one now, or holds other content: who reads the old one must stop.
    pub(super) taken_over: BTreeSet<LogKey>,
    /// Logs whose content is nowhere any more.
    pub(super) gone: Vec<LogKey>,
    /// Files that cannot be read, and what to do.
    pub(super) problems: BTreeMap<PathBuf, String>,
}

impl Log {
    fn id(&self) -> FileId {
        (self.marks.device, self.marks.inode)
    }

    fn lies_in(&mut self, found: &Found) {
        (self.marks.device, self.marks.inode) = found.id;
        self.path.clone_from(&found.path);
        (self.length, self.modified) = (found.length, found.modified);
        (self.is_displaced, self.is_blocked) = (false, false);
    }

    fn is_as(&self, found: &Found) -> bool {
        self.length == found.length && self.modified == found.modified
    }
}

impl Book {
    /// Takes in what the journal knows.
    pub(super) fn new(recorded: Vec<RecordedLog>, root: &Path) -> Self {
        let mut book = Self::default();
        for RecordedLog { key, path, offset, marks, length, modified } in recorded {
            let log = Log {
                path: root.join(path),
                offset,
                marks,
                length,
                modified: FileTime::of(modified),
                is_displaced: false,
                is_blocked: false,
            };
            book.files.insert(log.id(), key.clone());
            book.logs.insert(key, log);
        }
        book
    }

    /// Returns the logs that were written to since a time, of very many the newest.
    pub(super) fn newest(&self, most: usize, since: FileTime) -> Vec<LogKey> {
        let close = self.logs.iter().filter(|(_, log)| log.modified >= since && !log.is_displaced);
        let mut newest: Vec<(FileTime, &LogKey)> =
            close.map(|(key, log)| (log.modified, key)).collect();
        newest.sort_unstable_by(|one, other| other.cmp(one));
        newest.into_iter().take(most).map(|(_, key)| key.clone()).collect()
    }

    /// Returns the files without a log of their own that were written to since a time, of very many
    /// the newest.
    pub(super) fn waiting(&self, most: usize, since: FileTime) -> Vec<Found> {
        let all = self.waiting.values().map(|one| &one.found);
        let mut newest: Vec<&Found> = all.filter(|found| found.modified >= since).collect();
        newest.sort_unstable_by_key(|found| std::cmp::Reverse(found.modified));
        newest.into_iter().take(most).cloned().collect()
    }

    /// Forgets a log.
    pub(super) fn forget(&mut self, key: &LogKey) {
        if let Some(log) = self.logs.remove(key)
            && self.files.get(&log.id()) == Some(key)
        {
            self.files.remove(&log.id());
        }
    }

    /// Takes in a listing. `is_open` says whether a log's file is held open to be read on.
    pub(super) fn take_in(
        &mut self,
        listing: &Listing,
        is_open: impl Fn(&LogKey) -> bool,
        now: Timestamp,
    ) -> News {
        let mut news = News::default();
        let mut unknown = Vec::new();
        let mut homeless: BTreeSet<LogKey> = BTreeSet::new();
        for found in listing.files.values() {
            match self.files.get(&found.id).cloned() {
                Some(key) if self.is_still_in(&key, found, &mut news) => {}
                Some(key) => {
                    homeless.insert(key.clone());
                    news.taken_over.insert(key);
                    self.files.remove(&found.id);
                    unknown.push(found);
                }
                None => unknown.push(found),
            }
        }
        let missing: Vec<LogKey> = self
            .logs
            .iter()
            .filter(|(key, log)| !homeless.contains(*key) && !listing.files.contains_key(&log.id()))
            .map(|(key, _)| key.clone())
            .collect();
        homeless.extend(missing.iter().cloned());
        self.waiting.retain(|id, _| listing.files.contains_key(id));
        // The oldest first: a copy is younger than what it was made of.
        unknown.sort_by_key(|found| found.modified);
        for found in unknown {
            self.place(found, &mut homeless, now, &mut news);
        }
        for key in homeless {
            self.conclude(&key, listing, is_open(&key), &mut news);
        }
        news
    }

    /// Whether a known file still holds its log.
    fn is_still_in(&mut self, key: &LogKey, found: &Found, news: &mut News) -> bool {
        let Some(log) = self.logs.get_mut(key) else { return false };
        if !log.is_as(found) || log.is_blocked {
            match open(&found.path) {
                Ok((file, id)) if id == found.id => {
                    match marks::holds(&file, &log.marks, log.offset) {
                        Ok(true) => {}
                        Ok(false) => return false,
                        Err(error) => news.problem(&found.path, &error),
                    }
                }
                // It is another file by now: the next listing tells.
                Ok(_) => return true,
                // What cannot be read proves nothing.
                Err(error) => {
                    news.problem(&found.path, &error);
                    log.is_blocked = true;
                    return true;
                }
            }
        }
        if log.path != found.path {
            news.moved.insert(key.clone());
        }
        log.lies_in(found);
        true
    }

    /// Finds out what an unknown file is.
    fn place(
        &mut self,
        found: &Found,
        homeless: &mut BTreeSet<LogKey>,
        now: Timestamp,
        news: &mut News,
    ) {
        let before = self.waiting.remove(&found.id).filter(|one| one.found == *found);
        let copied = before.and_then(|one| one.copy_of);
        if let Some(key) = &copied
            && !homeless.contains(key)
        {
            self.wait(found, copied);
            return;
        }
        let placed = match open(&found.path) {
            Ok((file, id)) if id == found.id => {
                self.place_open(found, &file, (homeless, copied), now, news)
            }
            // It is another file by now: the next listing tells.
            Ok(_) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => Err(error),
        };
        if let Err(error) = placed {
            news.problem(&found.path, &error);
            self.wait(found, None);
        }
    }

    fn place_open(
        &mut self,
        found: &Found,
        file: &File,
        (homeless, copied): (&mut BTreeSet<LogKey>, Option<LogKey>),
        now: Timestamp,
        news: &mut News,
    ) -> io::Result<()> {
        if found.length == 0 {
            self.wait(found, None);
            return Ok(());
        }
        let heir = match self.held_by(file, found.length, homeless)? {
            Some(key) => Some(key),
            // A copy that was made while we read on: what it lacks was read.
            None => copied.filter(|key| homeless.contains(key)),
        };
        if let Some(key) = heir {
            homeless.remove(&key);
            return self.move_to(key, found, file, news);
        }
        if let Some(key) = self.original_of(found, file, homeless) {
            self.wait(found, Some(key));
            return Ok(());
        }
        let text = format!(
            "{:x}-{:x}-{:016x}-{:x}",
            found.id.0,
            found.id.1,
            marks::head_hash(file)?,
            now.as_nanosecond()
        );
        let key = LogKey::new(text);
        let log = Log {
            path: found.path.clone(),
            offset: 0,
            marks: marks::marks_of(file, found.id, 0)?,
            length: found.length,
            modified: found.modified,
            is_displaced: false,
            is_blocked: false,
        };
        self.files.insert(found.id, key.clone());
        self.logs.insert(key, log);
        Ok(())
    }

    /// Returns the log without a file whose content a file begins with, the longest one of several.
    fn held_by(
        &self,
        file: &File,
        length: u64,
        homeless: &BTreeSet<LogKey>,
    ) -> io::Result<Option<LogKey>> {
        let known = homeless.iter().filter_map(|key| Some((key, self.logs.get(key)?)));
        let mut candidates: Vec<(&LogKey, &Log)> =
            known.filter(|(_, log)| log.offset > 0 && log.offset <= length).collect();
        candidates.sort_by_key(|(_, log)| std::cmp::Reverse(log.offset));
        for (key, log) in candidates {
            if marks::holds(file, &log.marks, log.offset)? {
                return Ok(Some(key.clone()));
            }
        }
        Ok(None)
    }

    /// Gives a log another file, which holds the same up to where it was told, or all of a copy.
    fn move_to(
        &mut self,
        key: LogKey,
        found: &Found,
        file: &File,
        news: &mut News,
    ) -> io::Result<()> {
        let Some(log) = self.logs.get_mut(&key) else { return Ok(()) };
        if log.offset > found.length {
            log.offset = found.length;
            log.marks = marks::marks_of(file, found.id, found.length)?;
        }
        if self.files.get(&log.id()) == Some(&key) {
            self.files.remove(&log.id());
        }
        log.lies_in(found);
        self.files.insert(found.id, key.clone());
        news.taken_over.insert(key.clone());
        news.moved.insert(key);
        Ok(())
    }

    /// Returns the log that a file is a copy of, or of its beginning. A log of its own with the same
    /// first lines differs as soon as it grows, and is found out then.
    fn original_of(
        &self,
        found: &Found,
        file: &File,
        homeless: &BTreeSet<LogKey>,
    ) -> Option<LogKey> {
        let may_be = |log: &Log| log.offset > 0 && log.length >= found.length && !log.is_displaced;
        let heads = self.logs.iter().filter(|(key, log)| may_be(log) && !homeless.contains(*key));
        let mut known = HashMap::new();
        for (key, log) in heads {
            let length = log.marks.head_length.min(found.length);
            let same_head = length < log.marks.head_length
                || *known.entry(length).or_insert_with(|| {
                    let marks = marks::marks_of(file, found.id, length).ok()?;
                    Some(marks.head)
                }) == Some(log.marks.head);
            if same_head
                && let Ok((original, id)) = open(&log.path)
                && id == log.id()
                && marks::begin_alike(file, &original).unwrap_or(false)
            {
                return Some(key.clone());
            }
        }
        None
    }

    fn wait(&mut self, found: &Found, copy_of: Option<LogKey>) {
        self.waiting.insert(found.id, Waiting { found: found.clone(), copy_of });
    }

    /// Decides on a log that lies in none of the listed files.
    fn conclude(&mut self, key: &LogKey, listing: &Listing, is_open: bool, news: &mut News) {
        let Some(log) = self.logs.get_mut(key) else { return };
        let folder = log.path.parent().and_then(|folder| listing.folders.get(folder));
        let was_here = |id: FileId| id.0 == log.marks.device;
        // A folder that is not there, cannot be listed, or is another file system's while the right
        // one is not mounted, says nothing.
        let is_absent = folder.is_some_and(|stamp| stamp.is_some_and(|(id, _)| was_here(id)));
        let is_overwritten = news.taken_over.contains(key);
        if is_absent && is_open && !is_overwritten {
            // The rest of it is read through the open file first.
            log.is_displaced = true;
        } else if is_absent || is_overwritten {
            news.gone.push(key.clone());
            self.forget(key);
        }
    }
}

impl News {
    fn problem(&mut self, path: &Path, error: &io::Error) {
        self.problems.insert(path.to_owned(), problem_with(path, error));
    }
}
