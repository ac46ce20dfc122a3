//! The order of the queue.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::Timestamp;
use crate::model::ids::{CheckpointId, CheckpointName, Digest, RunId};

/// A content that could be analyzed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'queue> {
    /// Which checkpoint.
    pub checkpoint: &'queue CheckpointId,
    /// Which content.
    pub digest: &'queue Digest,
    /// When it was first seen complete.
    pub first_complete: Timestamp,
}

/// Sorts candidates into the order in which they are analyzed: final models, then the newest
/// checkpoint of each run, then the rest oldest first.
pub fn order(mut candidates: Vec<Candidate<'_>>) -> Vec<Candidate<'_>> {
    let newest = newest_of_each_run(&candidates);
    candidates.sort_by_cached_key(|candidate| key(candidate, &newest));
    candidates
}

/// Returns the one that is analyzed first. With thousands of them this is far cheaper than to sort.
pub fn first<'queue>(candidates: &[Candidate<'queue>]) -> Option<Candidate<'queue>> {
    let newest = newest_of_each_run(candidates);
    candidates.iter().copied().min_by_key(|candidate| key(candidate, &newest))
}

type Newest<'queue> = BTreeMap<&'queue RunId, CheckpointName>;
type Key<'queue> = (u8, Option<Reverse<Timestamp>>, Timestamp, &'queue CheckpointId);

fn newest_of_each_run<'queue>(candidates: &[Candidate<'queue>]) -> Newest<'queue> {
    let mut newest = Newest::new();
    for candidate in candidates {
        let CheckpointId { run, name } = candidate.checkpoint;
        let entry = newest.entry(run).or_insert(*name);
        *entry = (*name).max(*entry);
    }
    newest
}

fn key<'queue>(candidate: &Candidate<'queue>, newest: &Newest<'_>) -> Key<'queue> {
    let CheckpointId { run, name } = candidate.checkpoint;
    let class = match name {
        CheckpointName::Final => 0,
        name if newest.get(run) == Some(name) => 1,
        CheckpointName::Step(_) => 2,
    };
    // Among the newest of their runs the youngest run goes first: it is the one training now.
    let youngest = (class == 1).then_some(Reverse(candidate.first_complete));
    (class, youngest, candidate.first_complete, candidate.checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders candidates that are given as run, name and second of completion.
    fn ordered(given: &[(&str, &str, i64)]) -> Vec<String> {
        let digest = Digest::from_stored("d");
        let ids: Vec<CheckpointId> = given
            .iter()
            .map(|(run, name, _)| CheckpointId {
                run: RunId::new(*run),
                name: name.parse().unwrap_or(CheckpointName::Final),
            })
            .collect();
        let candidates: Vec<Candidate<'_>> = ids
            .iter()
            .zip(given)
            .map(|(checkpoint, (_, _, second))| Candidate {
                checkpoint,
                digest: &digest,
                first_complete: Timestamp::from_second(*second).unwrap_or(Timestamp::MIN),
            })
            .collect();
        let first = first(&candidates);
        let ordered = order(candidates);
        assert_eq!(first, ordered.first().copied());
        ordered.into_iter().map(|one| one.checkpoint.to_string()).collect()
    }

    #[test]
    fn finals_first_then_the_newest_of_each_run_then_the_oldest() {
        let names = ordered(&[
            ("a", "checkpoint-10", 1),
            ("a", "checkpoint-20", 2),
            ("a", "checkpoint-30", 3),
            ("b", "checkpoint-5", 2),
            ("b", "checkpoint-7", 9),
            ("c", "checkpoint-100", 0),
            ("c", "final", 8),
        ]);
        assert_eq!(
            names,
            [
                "c/final",
                "b/checkpoint-7",
                "a/checkpoint-30",
                "c/checkpoint-100",
                "a/checkpoint-10",
                "a/checkpoint-20",
                "b/checkpoint-5",
            ]
        );
        assert_eq!(ordered(&[]), Vec::<String>::new());
    }

    #[test]
    fn steps_order_by_number_not_by_text() {
        let names = ordered(&[("a", "checkpoint-900", 1), ("a", "checkpoint-1000", 1)]);
        assert_eq!(names, ["a/checkpoint-1000", "a/checkpoint-900"]);
    }
}
