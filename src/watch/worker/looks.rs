//! The worker's looks: at the training folder, at a run, at single checkpoints. Each first wants
//! watched what it looks at; once that is watched another look follows, so that nothing falls
//! between.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Stopped, Telling, Worker};
use crate::model::checkpoint::{Condition, TrainingFolder};
use crate::model::ids::{CheckpointName, FolderIdentity, RunId};
use crate::watch::scan::{ScanChange, ScanProblem, Thoroughness};
use crate::watch::{WatchEvent, files};

/// Time after which files that changed while they were read are read again. Their closing hints
/// come sooner; this is for those that bring none.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);

impl Worker {
    /// Lists the training folder, watches it, and returns its runs.
    pub(super) fn look_at_training_folder(
        &mut self,
        telling: Telling,
    ) -> Result<Vec<(RunId, FolderIdentity)>, Stopped> {
        let folder = self.scanner.list_training_folder();
        self.watch_training_folder(&folder);
        if folder_identity(&folder).is_some() && self.is_another_folder(&folder) {
            self.scanner.forget();
        }
        let runs = match &folder {
            TrainingFolder::Listed { runs, .. } => runs.clone(),
            TrainingFolder::Missing | TrainingFolder::Unreadable(_) => Vec::new(),
        };
        if telling == Telling::Everything || self.told_folder.as_ref() != Some(&folder) {
            self.tell(WatchEvent::TrainingFolder(folder.clone()))?;
            self.told_folder = Some(folder);
        }
        Ok(runs)
    }

    /// Returns whether another folder than the one that was told last bears its path now.
    fn is_another_folder(&self, folder: &TrainingFolder) -> bool {
        self.told_folder.as_ref().and_then(folder_identity) != folder_identity(folder)
    }

    /// Wants the training folder watched, or its nearest ancestor while it is not there, and nothing
    /// that is no longer in it.
    fn watch_training_folder(&self, folder: &TrainingFolder) {
        let watches = self.inbox.watches();
        match (folder, self.scanner.root()) {
            (TrainingFolder::Listed { identity, runs }, Some(root)) => {
                watches.retain(|path| path == root || is_below_a_run(path, root, runs));
                watches.ensure(root, *identity);
            }
            // What cannot be listed now may be the same again soon.
            (TrainingFolder::Unreadable(_), Some(_)) => {}
            _ => {
                let ancestor = nearest_ancestor(&self.config.training);
                let Some((ancestor, identity)) = ancestor else { return };
                watches.retain(|path| path == ancestor);
                watches.ensure(&ancestor, identity);
            }
        }
    }

    pub(super) fn look_at_checkpoints(
        &mut self,
        run: &RunId,
        names: &[CheckpointName],
    ) -> Result<(), Stopped> {
        self.go_on()?;
        let Some(change) = self.scanner.refresh_checkpoints(run, names, (self.clock)()) else {
            // Only the listing of the run's folder may say that a checkpoint is not there, and only
            // that of the training folder that it still is the same one.
            self.inbox.note_folder(self.config.training.clone());
            return self.look_at_run(run, Thoroughness::New, Telling::Changes);
        };
        self.attend_to_unfinished(run);
        self.release_finished(run);
        self.tell_run(run, change == ScanChange::Content)
    }

    pub(super) fn look_at_run(
        &mut self,
        run: &RunId,
        thoroughness: Thoroughness,
        telling: Telling,
    ) -> Result<(), Stopped> {
        self.go_on()?;
        let Some(identity) = self.listed_as(run) else { return Ok(()) };
        self.watch_run(run, identity);
        match self.scanner.refresh_run(run, thoroughness, (self.clock)()) {
            Ok(change) => {
                let was_unreadable = self.told_unreadable.remove(run).is_some();
                self.attend_to_unfinished(run);
                // Else what is finished was released when it was seen to be.
                if change > ScanChange::None || was_unreadable {
                    self.release_finished(run);
                }
                let least = match thoroughness {
                    Thoroughness::All => ScanChange::Times,
                    Thoroughness::New => ScanChange::Content,
                };
                let tells = telling == Telling::Everything || was_unreadable || change >= least;
                self.tell_run(run, tells)
            }
            Err(ScanProblem::Vanished) => {
                self.told_unreadable.remove(run);
                self.inbox.note_folder(self.config.training.clone());
                Ok(())
            }
            Err(ScanProblem::Unreadable(problem)) => {
                let told = self.told_unreadable.insert(run.clone(), problem.clone());
                if telling == Telling::Changes && told.as_ref() == Some(&problem) {
                    return Ok(());
                }
                self.tell(WatchEvent::RunUnreadable { run: run.clone(), problem })
            }
        }
    }

    /// Returns which folder a run was in the last listing, if it was there; hints may be older.
    fn listed_as(&self, run: &RunId) -> Option<FolderIdentity> {
        let Some(TrainingFolder::Listed { runs, .. }) = &self.told_folder else { return None };
        let position = runs.binary_search_by(|(listed, _)| listed.cmp(run)).ok()?;
        runs.get(position).map(|(_, identity)| *identity)
    }

    fn watch_run(&self, run: &RunId, identity: FolderIdentity) {
        if let Some(root) = self.scanner.root() {
            self.inbox.watches().ensure(&root.join(run.as_str()), identity);
        }
    }

    /// Wants watched what is not complete. Complete checkpoints need no watch: that one is removed
    /// shows in the run's folder, and one that is saved anew in place is found by the next full scan.
    fn attend_to_unfinished(&mut self, run: &RunId) {
        for found in self.scanner.unfinished(run) {
            self.inbox.watches().ensure(&found.sighting.folder, found.identity);
        }
        self.plan_looks(run);
    }

    /// Notes when to look again at what settles or changed while it was read.
    fn plan_looks(&mut self, run: &RunId) {
        let (now, time) = (Instant::now(), (self.clock)());
        for found in self.scanner.unfinished(run) {
            let wait = match found.sighting.condition {
                Condition::Settling { until } => {
                    Duration::try_from(until.duration_since(time)).unwrap_or_default()
                }
                _ if found.changed_while_read => READ_AGAIN_AFTER,
                _ => continue,
            };
            self.due.add(run, found.name, now + wait);
        }
    }

    fn release_finished(&mut self, run: &RunId) {
        let Some(root) = self.scanner.root() else { return };
        let folder = root.join(run.as_str());
        let unfinished: Vec<PathBuf> =
            self.scanner.unfinished(run).map(|found| found.sighting.folder.clone()).collect();
        self.inbox
            .watches()
            .release_below(&folder, |path| unfinished.iter().any(|kept| kept == path));
    }
}

fn folder_identity(folder: &TrainingFolder) -> Option<FolderIdentity> {
    match folder {
        TrainingFolder::Listed { identity, .. } => Some(*identity),
        TrainingFolder::Missing | TrainingFolder::Unreadable(_) => None,
    }
}

/// Returns whether a path below the training folder belongs to one of the runs.
fn is_below_a_run(path: &Path, root: &Path, runs: &[(RunId, FolderIdentity)]) -> bool {
    let below = path.strip_prefix(root).ok().and_then(|below| below.iter().next());
    let name = below.and_then(|name| name.to_str());
    name.is_some_and(|name| contains_run(runs, name))
}

/// Returns whether a run is in a list that is sorted by run.
fn contains_run(runs: &[(RunId, FolderIdentity)], name: &str) -> bool {
    runs.binary_search_by(|(run, _)| run.as_str().cmp(name)).is_ok()
}

/// Returns the deepest folder on the way to a path that exists.
pub(super) fn nearest_ancestor(path: &Path) -> Option<(PathBuf, FolderIdentity)> {
    path.ancestors().skip(1).find_map(|ancestor| {
        let folder = ancestor.canonicalize().ok()?;
        let (identity, _) = files::folder_identity(&folder).ok()?;
        Some((folder, identity))
    })
}
