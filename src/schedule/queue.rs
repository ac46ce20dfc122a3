//! The order of the queue.

use std::cmp::Reverse;

use crate::model::Timestamp;
use crate::model::ids::{CheckpointId, CheckpointName, Digest};

/// A content that could be analyzed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate<'queue> {
    /// Which checkpoint.
    pub checkpoint: &'queue CheckpointId,
    /// Which content.
    pub digest: &'queue Digest,
    /// When it was first seen complete.
    pub first_complete: Timestamp,
    /// Whether it is the newest checkpoint of its run, whatever became of the others. Told of the
    /// candidates alone, each one that is left would become the newest in its turn, and the rest
    /// would go newest first.
    pub is_newest: bool,
}

/// Sorts candidates into the order in which they are analyzed: final models, then the newest
/// checkpoint of each run, then the rest oldest first.
pub fn order(mut candidates: Vec<Candidate<'_>>) -> Vec<Candidate<'_>> {
    candidates.sort_by(|one, other| key(one).cmp(&key(other)));
    candidates
}

/// Returns the one that is analyzed first. With thousands of them this is far cheaper than to sort.
pub fn first<'queue>(candidates: &[Candidate<'queue>]) -> Option<Candidate<'queue>> {
    candidates.iter().copied().min_by(|one, other| key(one).cmp(&key(other)))
}

type Key<'queue> = (u8, Option<Reverse<Timestamp>>, Timestamp, &'queue CheckpointId);

fn key<'queue>(candidate: &Candidate<'queue>) -> Key<'queue> {
    let class = match candidate.checkpoint.name {
        CheckpointName::Final => 0,
        CheckpointName::Step(_) if candidate.is_newest => 1,
        CheckpointName::Step(_) => 2,
    };
    // Among the newest of their runs the youngest run goes first: it is the one training now.
    let youngest = (class == 1).then_some(Reverse(candidate.first_complete));
    (class, youngest, candidate.first_complete, candidate.checkpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::RunId;

    /// Orders candidates that are given as run, name and second of completion; the names of the
    /// newest begin with a `*`.
    fn ordered(given: &[(&str, &str, i64)]) -> Vec<String> {
        let digest = Digest::from_stored("d");
        let ids: Vec<CheckpointId> = given
            .iter()
            .map(|(run, name, _)| CheckpointId {
                run: RunId::new(*run),
                name: name.trim_start_matches('*').parse().unwrap(),
            })
            .collect();
        let candidates: Vec<Candidate<'_>> = ids
            .iter()
            .zip(given)
            .map(|(checkpoint, (_, name, second))| Candidate {
                checkpoint,
                digest: &digest,
                first_complete: Timestamp::from_second(*second).unwrap_or(Timestamp::MIN),
                is_newest: name.starts_with('*'),
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
            ("a", "*checkpoint-30", 3),
            ("b", "checkpoint-5", 2),
            ("b", "*checkpoint-7", 9),
            ("c", "*checkpoint-100", 0),
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
        let names = ordered(&[("a", "checkpoint-1000", 1), ("a", "checkpoint-900", 1)]);
        assert_eq!(names, ["a/checkpoint-900", "a/checkpoint-1000"]);
    }

    #[test]
    fn the_rest_goes_oldest_first_also_when_the_newest_is_no_candidate_any_more() {
        let names = ordered(&[
            ("a", "checkpoint-30", 3),
            ("a", "checkpoint-10", 1),
            ("b", "*checkpoint-5", 0),
            ("a", "checkpoint-20", 2),
        ]);
        let expected = ["b/checkpoint-5", "a/checkpoint-10", "a/checkpoint-20", "a/checkpoint-30"];
        assert_eq!(names, expected);
    }
}
