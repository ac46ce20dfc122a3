//! The contents that bore the names of a run's checkpoints: everything about those that are owed an
//! analysis, and of all others what tells them from new ones and how they ended.
//!
//! A run of months has thousands of the latter, and none is ever forgotten.

use std::sync::Arc;

use crate::model::Timestamp;
use crate::model::checkpoint::{CompleteCheckpoint, TrainingPoint};
use crate::model::ids::{CheckpointName, Digest};
use crate::model::journal::Standing;
use crate::model::time::Moment;

/// All contents of a run.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// By name; those of one name in the order in which they were seen.
    entries: Vec<Entry>,
    /// Where training stood at the highest step that was saved, and that step.
    last_training: Option<Box<(CheckpointName, TrainingPoint)>>,
}

/// One content that bore a checkpoint's name.
#[derive(Debug)]
struct Entry {
    name: CheckpointName,
    digest: Digest,
    first_complete: Timestamp,
    state: State,
}

#[derive(Debug)]
enum State {
    Listed,
    Observed,
    Gone,
    Owed(Box<Owed>),
}

/// What is known of a content that is owed an analysis.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    pub(crate) complete: Arc<CompleteCheckpoint>,
    pub(crate) standing: Standing,
    pub(crate) interruptions: u32,
}

/// A content that is owed an analysis, and since when it is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwedContent<'run> {
    pub(crate) name: CheckpointName,
    pub(crate) first_complete: Timestamp,
    pub(crate) owed: &'run Owed,
}

impl State {
    fn new(owed: Owed) -> Self {
        match owed.standing {
            Standing::Listed => Self::Listed,
            Standing::Observed => Self::Observed,
            Standing::Gone => Self::Gone,
            Standing::Pending | Standing::Started { .. } | Standing::Waiting { .. } => {
                Self::Owed(Box::new(owed))
            }
        }
    }
}

impl Entry {
    fn standing(&self) -> &Standing {
        match &self.state {
            State::Listed => &Standing::Listed,
            State::Observed => &Standing::Observed,
            State::Gone => &Standing::Gone,
            State::Owed(owed) => &owed.standing,
        }
    }

    fn owed(&self) -> Option<OwedContent<'_>> {
        let State::Owed(owed) = &self.state else { return None };
        let (name, first_complete) = (self.name, self.first_complete);
        Some(OwedContent { name, first_complete, owed })
    }
}

impl Contents {
    /// Adds a content that was not known.
    pub(crate) fn add(&mut self, name: CheckpointName, owed: Owed, first_complete: Moment) {
        if let Some(training) = &owed.complete.training
            && self.last_training.as_ref().is_none_or(|known| known.0 < name)
        {
            self.last_training = Some(Box::new((name, training.clone())));
        }
        let digest = owed.complete.digest.clone();
        let first_complete = first_complete.timestamp();
        let entry = Entry { name, digest, first_complete, state: State::new(owed) };
        make_room(&mut self.entries);
        let place = self.entries.partition_point(|known| known.name <= name);
        self.entries.insert(place, entry);
    }

    /// Gives a content another standing. Returns whether it has that now: what ended can only be
    /// owed again while it lies on disk.
    pub(crate) fn stand(
        &mut self,
        (name, digest): (CheckpointName, &Digest),
        standing: Standing,
        on_disk: Option<Arc<CompleteCheckpoint>>,
    ) -> bool {
        let Some(entry) = self.entry_mut(name, digest) else { return false };
        let owed = match &mut entry.state {
            State::Owed(owed) => Owed { complete: Arc::clone(&owed.complete), standing, ..**owed },
            _ => match on_disk.filter(|complete| complete.digest == *digest) {
                Some(complete) => Owed { complete, standing, interruptions: 0 },
                None => return false,
            },
        };
        entry.state = State::new(owed);
        true
    }

    /// Says what lies on disk, so that it need not be in memory twice.
    pub(crate) fn share(&mut self, name: CheckpointName, complete: &Arc<CompleteCheckpoint>) {
        if let Some(Entry { state: State::Owed(owed), .. }) = self.entry_mut(name, &complete.digest)
        {
            owed.complete = Arc::clone(complete);
        }
    }

    /// Forgets how often the analysis of a content was interrupted.
    pub(crate) fn forget_interruptions(&mut self, name: CheckpointName, digest: &Digest) {
        if let Some(Entry { state: State::Owed(owed), .. }) = self.entry_mut(name, digest) {
            owed.interruptions = 0;
        }
    }

    /// Returns where a content stands, if it is known.
    pub(crate) fn standing(&self, name: CheckpointName, digest: &Digest) -> Option<&Standing> {
        self.entry(name, digest).map(Entry::standing)
    }

    /// Returns what is known of a content that is owed an analysis.
    pub(crate) fn owed(&self, name: CheckpointName, digest: &Digest) -> Option<OwedContent<'_>> {
        self.entry(name, digest)?.owed()
    }

    /// Returns all that are owed an analysis, by name.
    pub(crate) fn all_owed(&self) -> impl Iterator<Item = OwedContent<'_>> {
        self.entries.iter().filter_map(Entry::owed)
    }

    /// Returns where each content stands.
    pub(crate) fn standings(&self) -> impl Iterator<Item = &Standing> {
        self.entries.iter().map(Entry::standing)
    }

    /// Returns whether a checkpoint of this name was ever complete.
    pub(crate) fn has(&self, name: CheckpointName) -> bool {
        self.of_name(name).next().is_some()
    }

    /// Returns the newest checkpoint that was seen complete and is not gone.
    pub(crate) fn newest_step(&self) -> Option<CheckpointName> {
        let stands =
            |entry: &&Entry| entry.name.step().is_some() && !matches!(entry.state, State::Gone);
        self.entries.iter().rev().find(stands).map(|entry| entry.name)
    }

    /// Returns where training stood at the highest step that was saved.
    pub(crate) fn last_training(&self) -> Option<&TrainingPoint> {
        self.last_training.as_deref().map(|(_, training)| training)
    }

    fn of_name(&self, name: CheckpointName) -> impl Iterator<Item = &Entry> {
        let first = self.entries.partition_point(|entry| entry.name < name);
        let rest = self.entries.get(first..).unwrap_or_default();
        rest.iter().take_while(move |entry| entry.name == name)
    }

    fn entry(&self, name: CheckpointName, digest: &Digest) -> Option<&Entry> {
        self.of_name(name).find(|entry| entry.digest == *digest)
    }

    fn entry_mut(&mut self, name: CheckpointName, digest: &Digest) -> Option<&mut Entry> {
        let first = self.entries.partition_point(|entry| entry.name < name);
        let mut rest = self.entries.get_mut(first..).unwrap_or_default().iter_mut();
        rest.by_ref().take_while(|entry| entry.name == name).find(|entry| entry.digest == *digest)
    }
}

/// Makes room for one more, and for an eighth when there are many: doubling would leave half of what
/// is never forgotten empty.
pub(super) fn make_room<T>(all: &mut Vec<T>) {
    if all.len() == all.capacity() {
        all.reserve_exact(1 + all.len() / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::checkpoint::ModelConfig;

    fn complete(digest: &str, step: Option<u64>) -> Arc<CompleteCheckpoint> {
        let training = step.map(|step| TrainingPoint { step, ..TrainingPoint::default() });
        Arc::new(CompleteCheckpoint {
            digest: Digest::from_stored(digest),
            weights_digest: Digest::from_stored("w"),
            weights_bytes: 1,
            weights_files: vec!["model.safetensors".to_owned()],
            config: ModelConfig::default(),
            training,
        })
    }

    fn owed(digest: &str, step: Option<u64>) -> Owed {
        let complete = complete(digest, step);
        Owed { complete, standing: Standing::Pending, interruptions: 3 }
    }

    fn now() -> Moment {
        Moment::new(Timestamp::UNIX_EPOCH, jiff::tz::Offset::UTC)
    }

    #[test]
    fn what_ended_is_owed_again_only_while_it_lies_on_disk() {
        let (name, digest) = (CheckpointName::Step(20), Digest::from_stored("a"));
        let mut contents = Contents::default();
        contents.add(name, owed("a", Some(20)), now());
        let key = (name, &digest);
        assert!(contents.stand(key, Standing::Observed, None));
        assert!(contents.owed(name, &digest).is_none());
        assert!(!contents.stand(key, Standing::Pending, None));
        assert!(!contents.stand(key, Standing::Pending, Some(complete("b", None))));
        assert_eq!(contents.standing(name, &digest), Some(&Standing::Observed));
        assert!(contents.stand(key, Standing::Pending, Some(complete("a", None))));
        let again = contents.owed(name, &digest).map(|content| content.owed.interruptions);
        assert_eq!(again, Some(0));
        assert_eq!(contents.last_training().map(|point| point.step), Some(20));
    }

    #[test]
    fn contents_are_found_by_name_and_digest_and_the_newest_step_is_not_gone() {
        let mut contents = Contents::default();
        let steps = [40, 20, 30, 40];
        for (step, digest) in steps.into_iter().zip(["a", "b", "c", "d"]) {
            contents.add(CheckpointName::Step(step), owed(digest, Some(step)), now());
        }
        contents.add(CheckpointName::Final, owed("e", None), now());
        let names: Vec<String> =
            contents.all_owed().map(|content| content.name.to_string()).collect();
        let expected =
            ["checkpoint-20", "checkpoint-30", "checkpoint-40", "checkpoint-40", "final"];
        assert_eq!(names, expected);
        let name = CheckpointName::Step(40);
        for digest in ["a", "d"].map(Digest::from_stored) {
            assert_eq!(contents.newest_step(), Some(name));
            assert!(contents.stand((name, &digest), Standing::Gone, None));
        }
        assert_eq!(contents.newest_step(), Some(CheckpointName::Step(30)));
        assert!(contents.has(CheckpointName::Final) && !contents.has(CheckpointName::Step(21)));
        assert!(contents.standing(name, &Digest::from_stored("b")).is_none());
        assert_eq!(contents.standings().count(), 5);
    }
}
