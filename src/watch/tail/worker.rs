//! The worker that follows logs: looks once a second, reads what there is in small pieces, and tells
//! what came of it. One thread of its own, because folders can hang.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use super::book::{Book, News};
use super::follower::Follower;
use super::pace::Pace;
use super::reading::Halt;
use super::sources::{self, Found, Source, Stamp};
use super::{LogEvent, LogStore, RecordedLog, TailConfig, TailInbox};
use crate::model::Timestamp;
use crate::model::shell_log::{LogKey, LogSighting};
use crate::watch::files::FileTime;

/// Time between looks at what was written lately.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many files are looked at that often, those that were written last.
pub(super) const CLOSE: usize = 64;
/// Files that were not written to for so long are looked at in each reconcile period only.
const LATELY: Duration = Duration::from_hours(24);
/// A log that did not grow for so long is no longer held open.
pub(super) const LIVE: Duration = Duration::from_mins(10);
/// The rest of a file without a name is waited for so long.
const LAST_WORDS: Duration = Duration::from_mins(1);
/// A change this recent may be followed by another one with the same time stamp.
const UNSETTLED: Duration = Duration::from_secs(2);
/// So many problems are told one by one.
const SHOWN_PROBLEMS: usize = 5;

/// Follows shell logs until the inbox says stop or the receiver of events is dropped.
///
/// This blocks and is meant for a thread of its own. It never ends otherwise; a panic is a defect
/// that the daemon must notice. While nobody takes its events it reads nothing.
pub fn run(
    config: TailConfig,
    recorded: Vec<RecordedLog>,
    store: Box<dyn LogStore>,
    output: Sender<LogEvent>,
    inbox: &Arc<TailInbox>,
) {
    let mut tail = Tail::new(config, recorded, store, (output, Arc::clone(inbox)));
    // The only reason to end is to have been asked to.
    let Err(Stopped) = tail.work();
    tracing::debug!("the tail of shell logs has ended");
}

/// The worker was asked to end, or nobody listens any more.
#[derive(Debug)]
pub(super) struct Stopped;

/// Everything that following logs needs.
pub(super) struct Tail {
    pub(super) config: TailConfig,
    sources: Vec<Source>,
    pub(super) store: Box<dyn LogStore>,
    output: Sender<LogEvent>,
    inbox: Arc<TailInbox>,
    /// What time it is.
    pub(super) clock: fn() -> Timestamp,
    pub(super) book: Book,
    /// The logs that are being read.
    pub(super) followers: BTreeMap<LogKey, Follower>,
    pub(super) buffer: Vec<u8>,
    /// `None`: as fast as it goes, for tests that turn it by hand.
    pub(super) pace: Option<Pace>,
    /// The folders as they were listed last; those that may have changed since are not in it.
    folders: BTreeMap<PathBuf, Stamp>,
    /// What is looked at each second: logs that were written lately, and files that may become some.
    close: Vec<LogKey>,
    waiting: Vec<Found>,
    /// Whether a log may hold more than was read.
    may_have_more: bool,
    /// When everything is looked at again, whatever seems to have changed.
    next_listing: Instant,
    /// Whether to go back to what the journal says as soon as that can be read.
    starts_over: bool,
    listing_problems: BTreeMap<PathBuf, String>,
    /// Logs that cannot be read on.
    pub(super) reading_problems: BTreeMap<LogKey, String>,
    told_problems: Vec<String>,
    /// Whether everything that was there at the start is read.
    is_caught_up: bool,
}

impl Tail {
    pub(super) fn new(
        config: TailConfig,
        recorded: Vec<RecordedLog>,
        store: Box<dyn LogStore>,
        (output, inbox): (Sender<LogEvent>, Arc<TailInbox>),
    ) -> Self {
        let now = Instant::now();
        Self {
            sources: config.sources.iter().map(|source| Source::new(source)).collect(),
            book: Book::new(recorded, &config.root),
            config,
            store,
            output,
            inbox,
            clock: Timestamp::now,
            followers: BTreeMap::new(),
            buffer: Vec::new(),
            pace: Some(Pace::new(now)),
            folders: BTreeMap::new(),
            close: Vec::new(),
            waiting: Vec::new(),
            may_have_more: false,
            next_listing: now,
            starts_over: false,
            listing_problems: BTreeMap::new(),
            reading_problems: BTreeMap::new(),
            told_problems: Vec::new(),
            is_caught_up: false,
        }
    }

    fn work(&mut self) -> Result<Infallible, Stopped> {
        let mut next_look = Instant::now();
        let mut is_busy = false;
        loop {
            let deadline = if is_busy { Instant::now() } else { next_look };
            let orders = self.inbox.take(deadline);
            if orders.stop {
                return Err(Stopped);
            }
            self.starts_over |= orders.starts_over;
            if let Some(settings) = orders.settings {
                self.apply(&settings);
            }
            let now = Instant::now();
            if now >= next_look {
                next_look = now + LOOK_EVERY;
                self.look(now)?;
            }
            is_busy = self.may_have_more && self.read_round()?;
            self.may_have_more = is_busy;
            if !is_busy && !self.is_caught_up {
                self.is_caught_up = true;
                self.tell(LogEvent::CaughtUp)?;
            }
        }
    }

    /// New sources need a restart, as all of `[project]` does.
    fn apply(&mut self, settings: &TailConfig) {
        self.config.reconcile = settings.reconcile;
        self.config.thresholds = settings.thresholds;
        self.config.first_look = settings.first_look;
    }

    /// Finds out what changed, and tells what is due.
    pub(super) fn look(&mut self, now: Instant) -> Result<(), Stopped> {
        if self.starts_over {
            self.start_over(now);
        }
        if now >= self.next_listing || self.has_changed() {
            self.take_stock(now)?;
        }
        self.watch_displaced(now)?;
        let due: Vec<LogKey> = self
            .followers
            .iter()
            .filter(|(_, follower)| follower.is_due(now, false))
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.tell_read(&key, now)?;
        }
        self.followers
            .retain(|_, follower| follower.has_news || now.duration_since(follower.grew) < LIVE);
        if self.followers.is_empty() {
            self.buffer = Vec::new();
        }
        self.tell_problems()
    }

    /// Makes the next look one at everything.
    pub(super) fn list_soon(&mut self) {
        self.folders.clear();
    }

    /// Whether a folder, or one of the files that were written lately, is not as it was.
    fn has_changed(&mut self) -> bool {
        let has_folders = !self.folders.is_empty();
        if !has_folders || self.folders.iter().any(|(path, then)| sources::stamp(path) != *then) {
            return true;
        }
        let is_other = |before: &Found| sources::look_at(&before.path).as_ref() != Some(before);
        if self.waiting.iter().any(is_other) {
            return true;
        }
        let close = std::mem::take(&mut self.close);
        let mut has_changed = false;
        for key in &close {
            has_changed |= !self.has_only_grown(key);
        }
        self.close = close;
        has_changed
    }

    /// Looks at a log's length. Returns whether its name still leads to its file, which is as long
    /// as what was read or longer.
    fn has_only_grown(&mut self, key: &LogKey) -> bool {
        let read = self.followers.get(key).map(|follower| follower.offset);
        let Some(log) = self.book.logs.get_mut(key) else { return true };
        let Some(found) = sources::look_at(&log.path) else { return false };
        if found.id != (log.marks.device, log.marks.inode)
            || found.length < read.unwrap_or(log.offset)
        {
            return false;
        }
        if (found.length, found.modified) != (log.length, log.modified) {
            (log.length, log.modified) = (found.length, found.modified);
            log.is_blocked = false;
            self.may_have_more = true;
        }
        true
    }

    /// Lists the sources and takes in what is there.
    fn take_stock(&mut self, now: Instant) -> Result<(), Stopped> {
        let listing = sources::list(&self.sources);
        let Self { book, followers, .. } = self;
        let news = book.take_in(&listing, |key| followers.contains_key(key), (self.clock)());
        self.listing_problems = listing.problems;
        // What changed just now may change once more without another time stamp.
        let recent = FileTime::before((self.clock)(), UNSETTLED);
        let is_settled = |stamp: &Stamp| stamp.is_none_or(|(_, changed)| changed < recent);
        let unsettled = listing.folders.values().any(|stamp| !is_settled(stamp));
        self.folders = if unsettled { BTreeMap::new() } else { listing.folders };
        self.next_listing = now + self.config.reconcile;
        let lately = FileTime::before((self.clock)(), LATELY);
        self.close = self.book.newest(CLOSE, lately);
        self.waiting = self.book.waiting(CLOSE, lately);
        self.may_have_more = true;
        self.reading_problems.retain(|key, _| self.book.logs.contains_key(key));
        self.tell_news(news)
    }

    fn tell_news(&mut self, news: News) -> Result<(), Stopped> {
        self.listing_problems.extend(news.problems);
        for key in &news.taken_over {
            self.followers.remove(key);
        }
        for key in news.moved {
            self.tell_moved(&key)?;
        }
        for key in news.gone {
            self.followers.remove(&key);
            self.tell(LogEvent::Gone(key))?;
        }
        Ok(())
    }

    /// Tells where a log lies now. What it says is what was told before.
    fn tell_moved(&mut self, key: &LogKey) -> Result<(), Stopped> {
        if let Some(follower) = self.followers.get_mut(key) {
            follower.has_news = true;
            return self.tell_read(key, Instant::now());
        }
        let known = match self.store.recorded(key) {
            Ok(Some(known)) => known,
            // It is told with its first reading.
            Ok(None) => return Ok(()),
            Err(problem) => {
                self.reading_problems.insert(key.clone(), problem);
                self.starts_over = true;
                return Ok(());
            }
        };
        let Some(log) = self.book.logs.get_mut(key) else { return Ok(()) };
        let mut position = known.position;
        if position.offset > log.offset {
            (position.offset, position.marks) = (log.offset, log.marks);
        }
        (position.marks.device, position.marks.inode) = (log.marks.device, log.marks.inode);
        (log.offset, log.marks) = (position.offset, position.marks);
        let (length, modified) = (log.length, log.modified.timestamp());
        let path = spelled(&self.config.root, &log.path);
        let (key, reading) = (key.clone(), known.reading);
        let seen = LogSighting { key, path, position, reading, length, modified };
        self.tell(LogEvent::Seen(Box::new(seen)))
    }

    /// Reads the rest of files that have no name any more, and gives them up when it does not come.
    fn watch_displaced(&mut self, now: Instant) -> Result<(), Stopped> {
        let mut over = Vec::new();
        for (key, log) in self.book.logs.iter_mut().filter(|(_, log)| log.is_displaced) {
            let length = self.followers.get(key).map(Follower::length);
            match length {
                Some(Ok(length)) => {
                    self.may_have_more |= length > log.length;
                    log.length = length;
                }
                Some(Err(error)) => tracing::debug!(%key, %error, "cannot look at an open log"),
                None => {}
            }
            let waits = |follower: &Follower| {
                now.duration_since(follower.grew) < LAST_WORDS || follower.offset < log.length
            };
            if !self.followers.get(key).is_some_and(waits) {
                over.push(key.clone());
            }
        }
        for key in over {
            self.tell_read(&key, now)?;
            self.followers.remove(&key);
            self.book.forget(&key);
            self.tell(LogEvent::Gone(key))?;
        }
        Ok(())
    }

    /// Goes back to what the journal says of every log.
    fn start_over(&mut self, now: Instant) {
        let keys: Vec<LogKey> = self.book.logs.keys().cloned().collect();
        for key in keys {
            match self.store.recorded(&key) {
                Ok(Some(known)) => {
                    if let Some(log) = self.book.logs.get_mut(&key) {
                        (log.offset, log.marks) = (known.position.offset, known.position.marks);
                        // A follower of its own begins where the journal stands.
                        (log.length, log.is_blocked) = (log.length.max(log.offset), false);
                    }
                }
                // It is found again.
                Ok(None) => self.book.forget(&key),
                Err(problem) => {
                    tracing::warn!(problem, "cannot read what is recorded of shell logs");
                    return;
                }
            }
            self.followers.remove(&key);
        }
        self.starts_over = false;
        self.next_listing = now;
    }

    /// Tells what was read of a log, and remembers that as told.
    pub(super) fn tell_read(&mut self, key: &LogKey, now: Instant) -> Result<(), Stopped> {
        let Some(follower) = self.followers.get_mut(key).filter(|follower| follower.has_news)
        else {
            return Ok(());
        };
        // What was read while the file was written anew must not be told.
        match follower.mark() {
            Ok(true) => {}
            Ok(false) => {
                self.halt(key, Halt::OtherContent);
                return Ok(());
            }
            Err(error) => {
                self.halt_by(key, &error);
                return Ok(());
            }
        }
        let Some(log) = self.book.logs.get_mut(key) else { return Ok(()) };
        let path = spelled(&self.config.root, &log.path);
        let seen = follower.tell((key.clone(), path), (log.length, log.modified), now);
        (log.offset, log.marks) = (seen.position.offset, seen.position.marks);
        self.tell(LogEvent::Seen(Box::new(seen)))
    }

    fn tell_problems(&mut self) -> Result<(), Stopped> {
        let all = self.listing_problems.values().chain(self.reading_problems.values());
        let mut problems: Vec<String> = all.take(SHOWN_PROBLEMS).cloned().collect();
        let more = (self.listing_problems.len() + self.reading_problems.len())
            .saturating_sub(SHOWN_PROBLEMS);
        if more > 0 {
            problems.push(format!("{more} more shell logs or folders of them cannot be read"));
        }
        if problems != self.told_problems {
            self.told_problems.clone_from(&problems);
            self.tell(LogEvent::Problems(problems))?;
        }
        Ok(())
    }

    /// Waits until what was read has taken as long as it may.
    pub(super) fn rest_after(&mut self, bytes: u64) -> Result<(), Stopped> {
        let now = Instant::now();
        let pause = self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.read(bytes, now));
        if self.inbox.pause(pause) { Err(Stopped) } else { Ok(()) }
    }

    fn tell(&self, event: LogEvent) -> Result<(), Stopped> {
        self.output.blocking_send(event).map_err(|_| Stopped)
    }
}

/// Spells a path as it is told: relative to the root if it lies below.
fn spelled(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

#[cfg(test)]
impl Tail {
    /// Goes back to the journal with the next look.
    pub(super) fn start_over_soon(&mut self) {
        self.starts_over = true;
    }
}
