//! The scan: the truth about what lies in the training folder.
//!
//! It remembers what it saw, so that looking again at thousands of complete checkpoints costs a
//! few `stat` calls each, and nothing is read that did not change.

mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use litemap::LiteMap;
use regex::Regex;

use super::facts::FolderStats;
use super::files::{self, FolderTimes, Name, Names};
use crate::model::checkpoint::{CheckpointSighting, RunSighting, TrainingFolder};
use crate::model::ids::{CheckpointName, FolderIdentity, RunId};
use crate::recognize::{
    CONFIG_FILE, RunEntry, TrainingEntry, choose_weights, entry_of_run_folder,
    entry_of_training_folder,
};
use record::{Change, Record, Visit};

pub(super) use record::Change as ScanChange;

/// At most so many odd names are remembered in order to report each once.
const MAX_REPORTED_NAMES: usize = 1000;

/// What a scan needs to know.
#[derive(Debug, Clone)]
pub struct ScanSettings {
    /// The training folder as it was configured.
    pub training: PathBuf,
    /// Folders that are runs.
    pub run_pattern: Regex,
    /// Quiet time before a final model counts as complete.
    pub settle: Duration,
}

/// Why a run could not be scanned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanProblem {
    /// Its folder is not there (any more); the training folder has to be listed again.
    #[error("the folder of the run is not there")]
    Vanished,
    /// It could not be listed; nothing about the run may be concluded.
    #[error("{0}")]
    Unreadable(String),
}

/// How thoroughly to look at a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thoroughness {
    /// Checkpoints that are known are believed; only what is new is examined.
    New,
    /// Every checkpoint is looked at again.
    All,
}

/// Looks at the training folder and remembers what it saw.
#[derive(Debug)]
pub struct Scanner {
    settings: ScanSettings,
    root: Option<PathBuf>,
    runs: BTreeMap<RunId, RunRecord>,
    reported_names: BTreeSet<PathBuf>,
    lists_anew: bool,
}

/// What is remembered of one run.
#[derive(Debug)]
struct RunRecord {
    identity: FolderIdentity,
    training_folder: FolderIdentity,
    /// The times of its folder when it was listed, if they prove that another list would be equal.
    listed_at: Option<FolderTimes>,
    /// Most runs have a few, and a tree's node has room for eleven.
    checkpoints: LiteMap<CheckpointName, Box<Record>>,
}

impl RunRecord {
    /// Returns whether the path of a run leads to the folder that this is about, in the same
    /// training folder.
    fn is_at(&self, root: &Path, run: &RunId) -> bool {
        let is = |path: &Path, wanted: FolderIdentity| {
            files::folder_identity(path).is_ok_and(|(identity, _)| identity == wanted)
        };
        is(root, self.training_folder) && is(&root.join(run.as_str()), self.identity)
    }
}

impl Scanner {
    /// Makes a scanner that has seen nothing yet.
    pub fn new(settings: ScanSettings) -> Self {
        Self {
            settings,
            root: None,
            runs: BTreeMap::new(),
            reported_names: BTreeSet::new(),
            lists_anew: true,
        }
    }

    /// Makes a scanner for runs in a folder whose real path is known.
    pub(super) fn at(root: PathBuf, settings: ScanSettings) -> Self {
        Self { root: Some(root), ..Self::new(settings) }
    }

    /// Returns the training folder's real path, once it was found.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    /// Changes the quiet time of final models.
    pub fn set_settle(&mut self, settle: Duration) {
        self.settings.settle = settle;
    }

    /// Says whether runs' folders are listed at each look, or only when their times changed. The
    /// times suffice on a local disk, and opening a folder raises events for whoever watches it;
    /// a network file system may tell old times for a while.
    pub fn list_anew(&mut self, lists_anew: bool) {
        self.lists_anew = lists_anew;
    }

    /// Lists the runs. What is remembered of runs that are gone is dropped.
    pub fn list_training_folder(&mut self) -> TrainingFolder {
        match self.try_list() {
            Ok((identity, runs)) => {
                let kept: BTreeSet<&RunId> = runs.iter().map(|(run, _)| run).collect();
                self.runs.retain(|run, _| kept.contains(run));
                TrainingFolder::Listed { identity, runs }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.root = None;
                TrainingFolder::Missing
            }
            Err(error) => {
                let shown = self.settings.training.display().to_string();
                TrainingFolder::Unreadable(files::problem_with(&shown, &error))
            }
        }
    }

    /// Looks at every checkpoint of a run.
    pub fn scan_run(&mut self, run: &RunId, now: Timestamp) -> Result<RunSighting, ScanProblem> {
        self.refresh_run(run, Thoroughness::All, now)?;
        self.sighting(run).ok_or(ScanProblem::Vanished)
    }

    /// Looks at a run again and says how what is remembered of it changed.
    pub(super) fn refresh_run(
        &mut self,
        run: &RunId,
        thoroughness: Thoroughness,
        now: Timestamp,
    ) -> Result<Change, ScanProblem> {
        if thoroughness == Thoroughness::All
            && let Some(change) = self.refresh_as_listed(run, now)
        {
            return Ok(change);
        }
        let refreshed = self.try_refresh_run(run, thoroughness, now);
        refreshed.map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                self.runs.remove(run);
                return ScanProblem::Vanished;
            }
            ScanProblem::Unreadable(files::problem_with(run.as_str(), &error))
        })
    }

    /// Looks at known checkpoints of a run again; those that are not known are left to the next look
    /// at the run.
    ///
    /// `None`: the run is not known, or something on the way to them is not there or not the same, so
    /// that only a look at the whole run can tell whether they were deleted, or unmounted with
    /// everything above them. Until then they are remembered as they were.
    pub(super) fn refresh_checkpoints(
        &mut self,
        run: &RunId,
        names: &[CheckpointName],
        now: Timestamp,
    ) -> Option<Change> {
        let change = self.look_at_known(run, names, now)?;
        let (root, record) = (self.root.as_ref()?, self.runs.get(run)?);
        record.is_at(root, run).then_some(change)
    }

    fn look_at_known(
        &mut self,
        run: &RunId,
        names: &[CheckpointName],
        now: Timestamp,
    ) -> Option<Change> {
        let (root, record) = (self.root.as_ref()?, self.runs.get_mut(run)?);
        let mut change = Change::None;
        for name in names {
            let Some(known) = record.checkpoints.get_mut(name) else { continue };
            let folder = known.sighting.folder.clone();
            let settle = self.settings.settle;
            let visit = Visit { name: *name, folder: &folder, bounds: root, now, settle };
            change = change.max(record::look_again(&visit, known)?);
        }
        Some(change)
    }

    /// Returns what is remembered of a run.
    pub fn sighting(&self, run: &RunId) -> Option<RunSighting> {
        let record = self.runs.get(run)?;
        let checkpoints: Vec<CheckpointSighting> =
            record.checkpoints.values().map(|record| record.sighting.clone()).collect();
        Some(RunSighting {
            run: run.clone(),
            identity: record.identity,
            training_folder: record.training_folder,
            newest_modified: checkpoints.iter().filter_map(|seen| seen.newest_modified).max(),
            checkpoints,
        })
    }

    /// Returns the checkpoints of a run that are not complete, and those that must be looked at
    /// again because they changed while they were read.
    pub(super) fn unfinished(&self, run: &RunId) -> impl Iterator<Item = Unfinished<'_>> {
        let checkpoints = self.runs.get(run).map(|record| &record.checkpoints);
        checkpoints.into_iter().flatten().filter(|(_, record)| !record.is_complete()).map(
            |(name, record)| Unfinished {
                name: *name,
                sighting: &record.sighting,
                identity: record.identity(),
                changed_while_read: record.changed_while_read(),
            },
        )
    }

    /// Returns whether this run was scanned while its folder was this one.
    pub(super) fn knows(&self, run: &RunId, identity: FolderIdentity) -> bool {
        self.runs.get(run).is_some_and(|known| known.identity == identity)
    }

    /// Forgets everything, because the training folder is another one.
    pub(super) fn forget(&mut self) {
        self.runs.clear();
    }

    fn try_list(&mut self) -> io::Result<(FolderIdentity, Vec<(RunId, FolderIdentity)>)> {
        let root = self.settings.training.canonicalize()?;
        let (identity, _) = files::folder_identity(&root)?;
        let names = files::list(&root)?;
        self.report_odd_name(&root, names.not_utf8.as_deref());
        let mut runs = Vec::new();
        let mut links = Vec::new();
        for name in &names.names {
            let found = self.run_named(&root, name)?;
            if name.is_link { links.extend(found) } else { runs.extend(found) }
        }
        add_links(&mut runs, links);
        // A folder that is removed while it is listed looks empty.
        if files::folder_identity(&root)?.0 != identity {
            return Err(io::Error::other("it was replaced while it was listed"));
        }
        self.root = Some(root);
        Ok((identity, runs))
    }

    /// Returns the run that an entry is, unless it vanished meanwhile. Any other error counts: a
    /// run that cannot be looked at is not gone.
    fn run_named(&self, root: &Path, name: &Name) -> io::Result<Option<(RunId, FolderIdentity)>> {
        let pattern = &self.settings.run_pattern;
        let entry = entry_of_training_folder(&name.text, name.is_folder, pattern);
        let TrainingEntry::Run(run) = entry else { return Ok(None) };
        let folder = root.join(&name.text);
        if name.is_link && !stays_inside(&folder, root) {
            return Ok(None);
        }
        match files::folder_identity(&folder) {
            Ok((identity, _)) => Ok(Some((run, identity))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks at the checkpoints that the last list of a run named, if another one would be equal.
    ///
    /// That the training folder is the same was found out by the list of it that comes before; with
    /// a thousand runs to ask it once more for each is a tenth of the work.
    fn refresh_as_listed(&mut self, run: &RunId, now: Timestamp) -> Option<Change> {
        let record = self.runs.get(run).filter(|_| !self.lists_anew)?;
        let (folder, identity) = (self.root.as_ref()?.join(run.as_str()), record.identity);
        if record.listed_at != Some(FolderTimes::of(&folder).ok()?) {
            return None;
        }
        let names: Vec<CheckpointName> = record.checkpoints.keys().copied().collect();
        let change = self.look_at_known(run, &names, now)?;
        files::folder_identity(&folder).is_ok_and(|(now, _)| now == identity).then_some(change)
    }

    fn try_refresh_run(
        &mut self,
        run: &RunId,
        thoroughness: Thoroughness,
        now: Timestamp,
    ) -> io::Result<Change> {
        let Some(root) = self.root.clone() else { return Err(io::ErrorKind::NotFound.into()) };
        let folder = root.join(run.as_str());
        let (training_folder, _) = files::folder_identity(&root)?;
        let (identity, _) = files::folder_identity(&folder)?;
        let times = FolderTimes::of(&folder)?;
        let names = files::list(&folder)?;
        self.report_odd_name(&folder, names.not_utf8.as_deref());
        let found = checkpoints_in(run, &folder, &root, &names);
        let known = self.runs.remove(run).filter(|known| known.identity == identity);
        let mut change = if known.is_some() { Change::None } else { Change::Content };
        let before = known.map(|known| known.checkpoints).unwrap_or_default();
        let mut before: BTreeMap<CheckpointName, Box<Record>> = before.into_iter().collect();
        let is_plain = found.values().all(|place| place.inode.is_some());
        let listed_at = (is_plain && record::is_trusted(times.newest(), now)).then_some(times);
        let mut checkpoints = LiteMap::with_capacity(found.len());
        for (name, place) in found {
            let (folder, settle) = (&place.folder, self.settings.settle);
            let visit = Visit { name, folder, bounds: &root, now, settle };
            match before.remove(&name).filter(|record| place.is_of(record)) {
                Some(record) if thoroughness == Thoroughness::New && !place.is_run_folder => {
                    checkpoints.insert(name, record);
                }
                Some(mut record) => {
                    let looked = record::look_again(&visit, &mut record);
                    change = change.max(looked.unwrap_or(Change::Content));
                    if looked.is_some() {
                        checkpoints.insert(name, record);
                    }
                }
                None => {
                    let Some(record) = record::look_first(&visit) else { continue };
                    change = Change::Content;
                    checkpoints.insert(name, Box::new(record));
                }
            }
        }
        // What is left was there before and is not any more.
        if !before.is_empty() {
            change = Change::Content;
        }
        let record = RunRecord { identity, training_folder, listed_at, checkpoints };
        self.runs.insert(run.clone(), record);
        if files::folder_identity(&folder)?.0 != identity {
            return Err(io::Error::other("it was replaced while it was listed"));
        }
        Ok(change)
    }

    /// Logs a name that cannot be handled, once.
    fn report_odd_name(&mut self, folder: &Path, name: Option<&str>) {
        let Some(name) = name else { return };
        let path = folder.join(name);
        if self.reported_names.len() < MAX_REPORTED_NAMES
            && self.reported_names.insert(path.clone())
        {
            tracing::warn!(path = %path.display(), "a name that is not UTF-8 is ignored");
        }
    }
}

/// Adds the runs that links lead to. A link to the folder of another run is a second name of that
/// run and no run of its own.
fn add_links(runs: &mut Vec<(RunId, FolderIdentity)>, links: Vec<(RunId, FolderIdentity)>) {
    if links.is_empty() {
        return;
    }
    for (run, identity) in links {
        if !runs.iter().any(|(_, known)| *known == identity) {
            runs.push((run, identity));
        }
    }
    runs.sort_unstable_by(|one, other| one.0.cmp(&other.0));
}

/// A checkpoint that is not complete.
#[derive(Debug)]
pub(super) struct Unfinished<'scanner> {
    /// Its name.
    pub(super) name: CheckpointName,
    /// What was seen of it.
    pub(super) sighting: &'scanner CheckpointSighting,
    /// Which folder it is.
    pub(super) identity: FolderIdentity,
    /// Whether it changed while it was read and must be looked at again soon.
    pub(super) changed_while_read: bool,
}

/// Where a checkpoint lies.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    /// The entry's inode; `None` for a link, whose target may be another folder without notice.
    inode: Option<u64>,
    /// Whether the run's folder itself is the final model.
    is_run_folder: bool,
}

impl Place {
    /// Returns whether a record is about the same folder.
    fn is_of(&self, record: &Record) -> bool {
        record.sighting.folder == self.folder
            && self.inode.is_none_or(|inode| inode == record.identity().inode)
    }
}

/// Finds the checkpoints among the names in a run's folder.
fn checkpoints_in(
    run: &RunId,
    folder: &Path,
    root: &Path,
    names: &Names,
) -> BTreeMap<CheckpointName, Place> {
    let mut found = BTreeMap::new();
    for name in &names.names {
        let checkpoint = match entry_of_run_folder(run, &name.text, name.is_folder) {
            RunEntry::Checkpoint(step) => step,
            RunEntry::FinalFolder => CheckpointName::Final,
            RunEntry::ModelFile | RunEntry::Ignored { .. } => continue,
        };
        let path = folder.join(&name.text);
        if name.is_link && !stays_inside(&path, root) {
            continue;
        }
        let inode = (!name.is_link).then_some(name.inode);
        found.insert(checkpoint, Place { folder: path, inode, is_run_folder: false });
    }
    if !found.contains_key(&CheckpointName::Final) && is_model_folder(names) {
        let place = Place { folder: folder.to_owned(), inode: None, is_run_folder: true };
        found.insert(CheckpointName::Final, place);
    }
    found
}

/// Returns whether a folder with these names holds a configuration and weights.
fn is_model_folder(names: &Names) -> bool {
    let has_file = |wanted: &str| {
        let position = names.names.binary_search_by(|name| name.text.as_str().cmp(wanted));
        let name = position.ok().and_then(|position| names.names.get(position));
        name.is_some_and(|name| !name.is_folder)
    };
    has_file(CONFIG_FILE) && choose_weights(has_file).is_some()
}

/// Returns whether a link's target lies inside the training folder; a broken one does not.
fn stays_inside(link: &Path, root: &Path) -> bool {
    link.canonicalize().is_ok_and(|target| target.starts_with(root))
}

/// Returns the signature of a checkpoint's folder as the scan would make it now: equal to the one
/// of a sighting exactly when no key file changed since.
///
/// Files that links lead to are followed only inside `bounds`, the canonical training folder.
pub fn signature_of(folder: &Path, bounds: &Path) -> io::Result<u64> {
    Ok(FolderStats::of(folder, bounds)?.signature())
}

#[cfg(test)]
mod tests;
