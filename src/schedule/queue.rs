//! The order of the queue.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::model::Timestamp;
use crate::model::ids::{CheckpointId, CheckpointName, RunId};

/// A checkpoint that could be analyzed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// When its content was first seen complete.
    pub first_complete: Timestamp,
}

/// Sorts candidates into the order in which they are analyzed: final models, then the newest
/// checkpoint of each run, then the rest oldest first.
pub fn order(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut newest: BTreeMap<RunId, CheckpointName> = BTreeMap::new();
    for candidate in &candidates {
        let name = candidate.checkpoint.name;
        let entry = newest.entry(candidate.checkpoint.run.clone()).or_insert(name);
        *entry = name.max(*entry);
    }
    let rank = |candidate: &Candidate| match candidate.checkpoint.name {
        CheckpointName::Final => 0_u8,
        name if newest.get(&candidate.checkpoint.run) == Some(&name) => 1,
        CheckpointName::Step(_) => 2,
    };
    candidates.sort_by_cached_key(|candidate| {
        let class = rank(candidate);
        let id = candidate.checkpoint.clone();
        // Among the newest of their runs the youngest run goes first: it is the one training now.
        let youngest = if class == 1 { Some(Reverse(candidate.first_complete)) } else { None };
        (class, youngest, candidate.first_complete, id)
    });
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(run: &str, name: &str, second: i64) -> Candidate {
        Candidate {
            checkpoint: CheckpointId {
                run: RunId::new(run),
                name: name.parse().unwrap_or(CheckpointName::Final),
            },
            first_complete: Timestamp::from_second(second).unwrap_or(Timestamp::MIN),
        }
    }

    #[test]
    fn finals_first_then_the_newest_of_each_run_then_the_oldest() {
        let ordered = order(vec![
            candidate("a", "checkpoint-10", 1),
            candidate("a", "checkpoint-20", 2),
            candidate("a", "checkpoint-30", 3),
            candidate("b", "checkpoint-5", 2),
            candidate("b", "checkpoint-7", 9),
            candidate("c", "checkpoint-100", 0),
            candidate("c", "final", 8),
        ]);
        let names: Vec<String> = ordered.iter().map(|one| one.checkpoint.to_string()).collect();
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
    }

    #[test]
    fn steps_order_by_number_not_by_text() {
        let ordered =
            order(vec![candidate("a", "checkpoint-900", 1), candidate("a", "checkpoint-1000", 1)]);
        assert_eq!(ordered[0].checkpoint.name, CheckpointName::Step(1000));
    }
}
