//! What the scan remembers of one checkpoint, and when that may be believed without reading again.

use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{AtFlags, Mode, OFlags, Stat, statat};

use crate::model::checkpoint::{CheckpointSighting, Condition};
use crate::model::ids::{CheckpointName, FolderIdentity};
use crate::watch::facts::{Examination, Examined, FolderStats, examine};
use crate::watch::files::{self, FileTime, Fnv};

/// Files that changed less than this before they were read may have changed after it without a
/// trace: file systems store times in steps, the coarsest of two seconds (FAT).
const TIMESTAMP_STEP: Duration = Duration::from_secs(2);

/// Stands for a folder that cannot even be asked which one it is.
const NO_FOLDER: FolderIdentity = FolderIdentity { device: 0, inode: 0 };

/// How what is remembered changed; ordered by weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::watch) enum Change {
    /// Not at all.
    None,
    /// Only the time of the newest change.
    Times,
    /// What a reader of the sighting has to know at once.
    Content,
}

/// One look at a checkpoint's folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Visit<'scan> {
    /// Which checkpoint it is, by its name.
    pub(super) name: CheckpointName,
    /// Its folder.
    pub(super) folder: &'scan Path,
    /// The canonical training folder.
    pub(super) bounds: &'scan Path,
    /// The present.
    pub(super) now: Timestamp,
    /// Quiet time before a final model counts as complete.
    pub(super) settle: Duration,
}

/// What is remembered of a checkpoint.
#[derive(Debug)]
pub(super) struct Record {
    /// What was seen.
    pub(super) sighting: CheckpointSighting,
    identity: FolderIdentity,
    folder_modified: FileTime,
    /// The names of the key files, in name order.
    key_names: Box<[Box<str>]>,
    /// Whether the key files were old enough when they were read for their times to prove that
    /// they are the same.
    is_trusted: bool,
    newest_change: Option<FileTime>,
    /// Since when this scanner has seen these same files.
    seen_since: Timestamp,
    changed_while_read: bool,
}

impl Record {
    /// Returns which folder it is about.
    pub(super) fn identity(&self) -> FolderIdentity {
        self.identity
    }

    /// Returns whether the checkpoint is complete.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.sighting.condition, Condition::Complete(_))
    }

    /// Returns whether it must be looked at again soon.
    pub(super) fn changed_while_read(&self) -> bool {
        self.changed_while_read
    }

    /// Returns whether equal times of the key files prove that its condition still holds.
    ///
    /// A settling model's condition changes with time alone, and permissions are no part of the
    /// signature.
    fn holds_while_files_are_same(&self) -> bool {
        self.is_trusted
            && !self.changed_while_read
            && !matches!(
                self.sighting.condition,
                Condition::Settling { .. } | Condition::Unreadable { .. }
            )
    }
}

/// Looks at a checkpoint that is not known. Returns `None` if its folder is not found.
pub(super) fn look_first(visit: &Visit<'_>) -> Option<Record> {
    look_closely(visit, None)
}

/// Looks at a known checkpoint, reading only what must be read, and says how what is remembered of
/// it changed. Returns `None` if its folder is not found; then it is remembered as it was.
pub(super) fn look_again(visit: &Visit<'_>, known: &mut Record) -> Option<Change> {
    let holds = known.is_complete() && known.holds_while_files_are_same();
    if holds && is_untouched(visit.folder, known) {
        return Some(Change::None);
    }
    let seen = look_closely(visit, Some(known))?;
    let change = compare(&known.sighting, &seen.sighting);
    *known = seen;
    Some(change)
}

/// Returns whether neither the folder's list of entries nor a key file changed. Whatever goes wrong
/// is left to the close look.
fn is_untouched(folder: &Path, known: &Record) -> bool {
    stat_untouched(folder, known).unwrap_or(false)
}

fn stat_untouched(folder: &Path, known: &Record) -> io::Result<bool> {
    #[cfg(test)]
    files::denied::check(folder)?;
    // A path handle raises no "opened" event, so this does not wake the watcher.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&folder)?;
    let identity = FolderIdentity { device: stat.st_dev, inode: stat.st_ino };
    if identity != known.identity || modified(&stat) != known.folder_modified {
        return Ok(false);
    }
    let mut signature = Fnv::new();
    for name in &known.key_names {
        let stat = statat(&folder, &**name, AtFlags::empty())?;
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        signature.add_file(name, [length, stat.st_ino], modified(&stat));
    }
    Ok(signature.value() == known.sighting.signature)
}

fn modified(stat: &Stat) -> FileTime {
    FileTime(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

fn look_closely(visit: &Visit<'_>, known: Option<&Record>) -> Option<Record> {
    let found = match files::folder_identity(visit.folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        found => found.unwrap_or((NO_FOLDER, FileTime(0, 0))),
    };
    match FolderStats::of(visit.folder, visit.bounds) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(unreadable(visit, &error, found.0)),
        Ok(stats) => {
            let known = known.filter(|known| known.identity == found.0);
            Some(judge(visit, found, &stats, known))
        }
    }
}

/// Makes the record of a folder that was listed, from what is known as far as that still holds.
fn judge(
    visit: &Visit<'_>,
    (identity, folder_modified): (FolderIdentity, FileTime),
    stats: &FolderStats,
    known: Option<&Record>,
) -> Record {
    let signature = stats.signature();
    let newest_change = stats.newest_change();
    let known = known.filter(|known| known.sighting.signature == signature);
    let was_complete = known.is_some_and(Record::is_complete);
    let seen_since = known
        .filter(|known| known.newest_change == newest_change)
        .map_or(visit.now, |known| known.seen_since);
    // A clock that is ahead on another host must not keep a model settling for ever, so it is
    // quiet at the latest since it was seen like this.
    let quiet_since = newest_change.map(|time| time.timestamp().min(seen_since));
    let believed = known.filter(|known| known.holds_while_files_are_same());
    let examined = if let Some(known) = believed {
        Examined { condition: known.sighting.condition.clone(), changed: false }
    } else {
        let examination = Examination {
            folder: visit.folder,
            bounds: visit.bounds,
            name: visit.name,
            now: visit.now,
            // Our own hard links change a complete model's change times; it stays settled.
            settle: if was_complete { Duration::ZERO } else { visit.settle },
            quiet_since,
        };
        examine(&examination, stats)
    };
    let sighting = CheckpointSighting {
        name: visit.name,
        folder: visit.folder.to_owned(),
        signature,
        newest_change: match known.filter(|_| was_complete) {
            Some(known) => known.sighting.newest_change,
            None => newest_change.map(FileTime::timestamp),
        },
        newest_modified: stats.newest_modification().map(FileTime::timestamp),
        condition: examined.condition,
    };
    Record {
        sighting,
        identity,
        folder_modified,
        key_names: stats.key_files().map(|file| file.name.as_str().into()).collect(),
        is_trusted: is_old_enough(stats, folder_modified, visit.now),
        newest_change,
        seen_since,
        changed_while_read: examined.changed,
    }
}

fn is_old_enough(stats: &FolderStats, folder_modified: FileTime, now: Timestamp) -> bool {
    let newest =
        stats.newest_key_modification().map_or(folder_modified, |time| time.max(folder_modified));
    is_trusted(newest, now)
}

/// Returns whether a time is so long ago that a change since then would have another one.
pub(super) fn is_trusted(time: FileTime, now: Timestamp) -> bool {
    time.timestamp().checked_add(TIMESTAMP_STEP).is_ok_and(|trusted_from| trusted_from <= now)
}

/// Makes the record of a folder that is there and cannot be listed.
fn unreadable(visit: &Visit<'_>, error: &io::Error, identity: FolderIdentity) -> Record {
    let problem = files::problem_with(&visit.name.to_string(), error);
    Record {
        sighting: CheckpointSighting {
            name: visit.name,
            folder: visit.folder.to_owned(),
            signature: 0,
            newest_change: None,
            newest_modified: None,
            condition: Condition::Unreadable { problem },
        },
        identity,
        folder_modified: FileTime(0, 0),
        key_names: Box::default(),
        is_trusted: false,
        newest_change: None,
        seen_since: visit.now,
        changed_while_read: false,
    }
}

fn compare(before: &CheckpointSighting, after: &CheckpointSighting) -> Change {
    let same = match (&before.condition, &after.condition) {
        // Values that are NaN are not equal to themselves, so contents are compared by digest.
        (Condition::Complete(one), Condition::Complete(other)) => {
            one.digest == other.digest && before.signature == after.signature
        }
        (one, other) => one == other,
    };
    if !same || before.folder != after.folder {
        Change::Content
    } else if before.signature != after.signature || before.newest_change != after.newest_change {
        Change::Times
    } else {
        Change::None
    }
}
