//! What to look at next: hints sorted by the folder they are about, and looks that are due later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::model::ids::{CheckpointName, RunId};
use crate::recognize::{RunEntry, entry_of_run_folder};

/// A time that never comes in one wait.
const FAR_AWAY: Duration = Duration::from_hours(24);

/// What hints point at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Todo {
    /// Whether to list the training folder.
    pub(super) training_folder: bool,
    /// Runs to list.
    pub(super) runs: BTreeSet<RunId>,
    /// Single checkpoints to look at.
    pub(super) checkpoints: BTreeSet<(RunId, CheckpointName)>,
}

impl Todo {
    /// Sorts folders in which something changed. What lies above the training folder, or anything
    /// while that is missing, is a reason to look whether it is there.
    pub(super) fn from_hints(folders: &BTreeSet<PathBuf>, root: Option<&Path>) -> Self {
        let mut todo = Self::default();
        for folder in folders {
            match root.map(|root| folder.strip_prefix(root)) {
                Some(Ok(inside)) => todo.add_inside(inside),
                Some(Err(_)) | None => todo.training_folder = true,
            }
        }
        todo
    }

    /// Groups the checkpoints by run.
    pub(super) fn checkpoints_by_run(self) -> BTreeMap<RunId, Vec<CheckpointName>> {
        let mut runs: BTreeMap<RunId, Vec<CheckpointName>> = BTreeMap::new();
        for (run, name) in self.checkpoints {
            runs.entry(run).or_default().push(name);
        }
        runs
    }

    fn add_inside(&mut self, inside: &Path) {
        let mut names = inside.iter().map(|name| name.to_str());
        match (names.next(), names.next()) {
            (None, _) => self.training_folder = true,
            (Some(Some(run)), None) => {
                self.runs.insert(RunId::new(run));
            }
            (Some(Some(run)), Some(Some(name))) => {
                let run = RunId::new(run);
                let checkpoint = match entry_of_run_folder(&run, name, true) {
                    RunEntry::Checkpoint(step) => step,
                    RunEntry::FinalFolder => CheckpointName::Final,
                    RunEntry::ModelFile | RunEntry::Ignored { .. } => return,
                };
                self.checkpoints.insert((run, checkpoint));
            }
            _ => {}
        }
    }
}

/// Looks that are due at a later time, each checkpoint at most once.
#[derive(Debug, Default)]
pub(super) struct DueLooks(BTreeMap<(RunId, CheckpointName), Instant>);

impl DueLooks {
    /// Plans a look, in place of one that was planned for the same checkpoint.
    pub(super) fn add(&mut self, run: &RunId, name: CheckpointName, at: Instant) {
        self.0.insert((run.clone(), name), at);
    }

    /// Returns the earliest time at which one is due.
    pub(super) fn next(&self) -> Instant {
        self.0.values().min().copied().unwrap_or_else(|| Instant::now() + FAR_AWAY)
    }

    /// Takes those that are due.
    pub(super) fn take(&mut self, now: Instant) -> Vec<(RunId, CheckpointName)> {
        self.0.extract_if(.., |_, at| *at <= now).map(|(checkpoint, _)| checkpoint).collect()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_sorted_by_the_folder_they_are_about() {
        let check = |folder: &str, expected: &Todo| {
            let folders = BTreeSet::from([PathBuf::from(folder)]);
            assert_eq!(&Todo::from_hints(&folders, Some(Path::new("/p/T"))), expected, "{folder}");
        };
        let training = Todo { training_folder: true, ..Todo::default() };
        for folder in ["/p/T", "/p", "/", "/elsewhere"] {
            check(folder, &training);
        }
        let run = RunId::new("r_1");
        check("/p/T/r_1", &Todo { runs: BTreeSet::from([run.clone()]), ..Todo::default() });
        let checkpoint =
            |name| Todo { checkpoints: BTreeSet::from([(run.clone(), name)]), ..Todo::default() };
        check("/p/T/r_1/checkpoint-20", &checkpoint(CheckpointName::Step(20)));
        check("/p/T/r_1/r_1", &checkpoint(CheckpointName::Final));
        check("/p/T/r_1/tmp-checkpoint-20", &Todo::default());
    }

    #[test]
    fn without_a_training_folder_every_hint_asks_for_it() {
        let folders = BTreeSet::from([PathBuf::from("/p/T/r_1")]);
        let todo = Todo::from_hints(&folders, None);
        assert_eq!(todo, Todo { training_folder: true, ..Todo::default() });
    }

    #[test]
    fn looks_come_due_once_and_the_last_plan_holds() {
        let (run, now) = (RunId::new("r_1"), Instant::now());
        let later = now + Duration::from_secs(1);
        let mut due = DueLooks::default();
        assert!(due.next() > later);
        due.add(&run, CheckpointName::Final, now);
        due.add(&run, CheckpointName::Final, later);
        due.add(&run, CheckpointName::Step(1), now);
        assert_eq!(due.next(), now);
        assert_eq!(due.take(now), [(run.clone(), CheckpointName::Step(1))]);
        assert_eq!(due.next(), later);
        assert_eq!(due.take(later), [(run, CheckpointName::Final)]);
        assert_eq!(due.take(later), []);
    }
}
