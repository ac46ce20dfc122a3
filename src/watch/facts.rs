//! From a checkpoint's folder to its condition: lists it, reads what has to be read, and asks
//! `recognize`.

use std::io;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::digest::{digest_content, digest_weights};
use super::files::{self, FileKind, FileStat, FileTime, Names};
use super::weights::{leads_out, parts, weights_facts};
use crate::model::checkpoint::Condition;
use crate::model::ids::CheckpointName;
use crate::parse::checkpoint::{model_config, training_point};
use crate::recognize::{
    CONFIG_FILE, FileFact, FolderFacts, INCOMPLETE_MARKER, TRAINER_STATE_FILE, WholeCheckpoint,
    assess, is_key_file,
};

/// The longest `config.json` or `trainer_state.json` that is read, in bytes.
const MAX_JSON_BYTES: u64 = 64 * 1024 * 1024;

/// The files of a folder, without their contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FolderStats {
    /// Everything in it that is not a folder, in name order.
    pub(super) files: Vec<FileStat>,
    /// One of its names that are not UTF-8.
    pub(super) not_utf8: Option<String>,
}

impl FolderStats {
    /// Lists a folder and asks for the facts of its files.
    pub(super) fn of(folder: &Path, bounds: &Path) -> io::Result<Self> {
        let Names { names, not_utf8 } = files::list(folder)?;
        let names = Names { names, not_utf8: None };
        Ok(Self { files: files::stat_files(folder, &names, bounds)?, not_utf8 })
    }

    /// Stands for the key files; equal as long as none of them changed.
    pub(super) fn signature(&self) -> u64 {
        files::signature(&self.files)
    }

    /// Returns the key files.
    pub(super) fn key_files(&self) -> impl Iterator<Item = &FileStat> {
        self.files.iter().filter(|file| is_key_file(&file.name))
    }

    /// Returns the latest change of content or attributes of any file.
    pub(super) fn newest_change(&self) -> Option<FileTime> {
        self.files.iter().map(|file| file.changed).max()
    }

    /// Returns the latest change of content of any file.
    pub(super) fn newest_modification(&self) -> Option<FileTime> {
        self.files.iter().map(|file| file.modified).max()
    }

    /// Returns the latest change of content of any key file.
    pub(super) fn newest_key_modification(&self) -> Option<FileTime> {
        self.key_files().map(|file| file.modified).max()
    }
}

/// A checkpoint folder to examine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Examination<'folder> {
    /// The folder.
    pub(super) folder: &'folder Path,
    /// The canonical training folder; links that lead out of it are not followed.
    pub(super) bounds: &'folder Path,
    /// Which checkpoint it is, by its name.
    pub(super) name: CheckpointName,
    /// The present.
    pub(super) now: Timestamp,
    /// Quiet time before a final model counts as complete.
    pub(super) settle: Duration,
    /// Since when nothing in the folder changed.
    pub(super) quiet_since: Option<Timestamp>,
}

/// What came of an examination.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Examined {
    /// The checkpoint's condition.
    pub(super) condition: Condition,
    /// Whether files changed meanwhile, so that it has to be examined again soon.
    pub(super) changed: bool,
}

/// Reads a folder's files and decides on its condition.
///
/// It is never complete by a mixture of old and new files: what was read counts only if the key
/// files are the same afterwards as before.
pub(super) fn examine(examination: &Examination<'_>, stats: &FolderStats) -> Examined {
    let mut reading = Reading { folder: examination.folder, stats, changed: false };
    let (config, config_bytes) = read_fact(&mut reading, CONFIG_FILE, MAX_JSON_BYTES, model_config);
    let (trainer_state, state_bytes) = match examination.name {
        CheckpointName::Step(_) => {
            read_fact(&mut reading, TRAINER_STATE_FILE, MAX_JSON_BYTES, training_point)
        }
        // A final model has none; one that a trainer saved there later must not make it another
        // content.
        CheckpointName::Final => (FileFact::Missing, None),
    };
    let facts = FolderFacts {
        name: examination.name,
        config,
        trainer_state,
        weights: weights_facts(&mut reading),
        has_incomplete_marker: reading.stat(INCOMPLETE_MARKER).is_some(),
        quiet_since: examination.quiet_since,
        changed_while_read: reading.changed,
    };
    match assess(&facts, examination.now, examination.settle) {
        Err(condition) => Examined { condition, changed: facts.changed_while_read },
        Ok(whole) => {
            let bytes = (config_bytes.unwrap_or_default(), state_bytes);
            complete(examination, stats, whole, bytes).unwrap_or_else(|()| {
                let missing = vec!["files changed while they were read".to_owned()];
                Examined { condition: Condition::Incomplete { missing }, changed: true }
            })
        }
    }
}

/// Adds the digests and makes sure that nothing changed; the error says that something did.
fn complete(
    examination: &Examination<'_>,
    stats: &FolderStats,
    whole: WholeCheckpoint,
    (config, trainer_state): (Vec<u8>, Option<Vec<u8>>),
) -> Result<Examined, ()> {
    let parts = parts(&whole.weights, &stats.files);
    let weights = match digest_weights(examination.folder, &parts) {
        Ok(digest) => digest,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(()),
        Err(error) => {
            let problem = files::problem_with("the weights", &error);
            return Ok(Examined { condition: Condition::Unreadable { problem }, changed: false });
        }
    };
    let content = digest_content(&config, trainer_state.as_deref(), &weights);
    let after = FolderStats::of(examination.folder, examination.bounds).map_err(drop)?;
    if after.signature() != stats.signature() {
        return Err(());
    }
    Ok(Examined { condition: whole.with_digests(content, weights), changed: false })
}

/// A folder that is being read.
#[derive(Debug)]
pub(super) struct Reading<'folder> {
    /// The folder.
    pub(super) folder: &'folder Path,
    /// Its files when it was listed.
    stats: &'folder FolderStats,
    /// Whether one of them vanished since.
    pub(super) changed: bool,
}

impl Reading<'_> {
    /// Returns the facts of a file if it was there when the folder was listed.
    pub(super) fn stat(&self, name: &str) -> Option<&FileStat> {
        let position = self.stats.files.binary_search_by(|file| file.name.as_str().cmp(name));
        position.ok().and_then(|position| self.stats.files.get(position))
    }
}

/// Reads and parses one small file; returns its bytes too if it is valid.
pub(super) fn read_fact<T>(
    reading: &mut Reading<'_>,
    name: &str,
    limit: u64,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> (FileFact<T>, Option<Vec<u8>>) {
    let Some(kind) = reading.stat(name).map(|stat| stat.kind) else {
        return (FileFact::Missing, None);
    };
    match kind {
        FileKind::LinkLeadsOut => return (FileFact::Unreadable(leads_out(name)), None),
        FileKind::Other => {
            return (FileFact::Invalid("is not a regular file".to_owned()), None);
        }
        FileKind::Regular | FileKind::Link => {}
    }
    let read = files::open(&reading.folder.join(name), kind)
        .and_then(|file| files::read_whole(&file, limit));
    match read {
        Ok(bytes) => match parse(&bytes) {
            Ok(value) => (FileFact::Valid(value), Some(bytes)),
            Err(problem) => (FileFact::Invalid(problem), None),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            reading.changed = true;
            (FileFact::Missing, None)
        }
        Err(error) => (FileFact::Unreadable(files::problem_with(name, &error)), None),
    }
}
