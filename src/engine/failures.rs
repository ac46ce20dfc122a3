//! Failed analyses, counted: one cause often fails every checkpoint of a run, and people want to
//! hear of it once.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::analysis::FailureClass;
use crate::model::ids::CheckpointName;
use crate::model::journal::Standing;

use super::observed::{Observed, Outcome};
use super::world::{Run, World};

/// Returns the checkpoints of a run whose analysis failed in this way and has not succeeded since,
/// whether it will be tried again or not.
pub(super) fn checkpoints(run: &Run, class: FailureClass) -> BTreeSet<CheckpointName> {
    let waiting = waiting(run).filter(|failure| failure.class == class);
    let given_up = given_up(run).filter(|failure| failure.class == class);
    waiting.chain(given_up).map(|failure| failure.checkpoint).collect()
}

/// Says of each run why its analyses fail now: those that are tried again, and what ended the
/// newest one. What a later success has made past is not said any more.
pub(super) fn problems(world: &World) -> Vec<String> {
    let with_retries: BTreeSet<_> =
        world.pending.iter().map(|(checkpoint, _)| &checkpoint.run).collect();
    let mut problems = Vec::new();
    for (id, run) in &world.runs {
        let retried = with_retries.contains(id).then(|| waiting(run)).into_iter().flatten();
        let newest = run.observations.newest().and_then(failure_of);
        let evidence = run.observations.evidence();
        let newest = newest.map(|failure| Failure { evidence, ..failure });
        let mut last_of_class = BTreeMap::new();
        for failure in newest.into_iter().chain(retried) {
            last_of_class.insert(failure.class, failure);
        }
        for (class, failure) in last_of_class {
            problems.push(problem(id.as_str(), &failure, checkpoints(run, class).len()));
        }
    }
    problems
}

fn problem(run: &str, last: &Failure<'_>, count: usize) -> String {
    let class = last.class.as_str();
    let last_line = last.evidence.lines().last().unwrap_or_default();
    let place = match count {
        0 | 1 => format!("{}", last.checkpoint),
        more => format!("{more} checkpoints, {} among them", last.checkpoint),
    };
    format!("run `{run}`: the analysis fails ({class}) at {place}: {last_line}")
}

/// One checkpoint's failure.
struct Failure<'a> {
    checkpoint: CheckpointName,
    class: FailureClass,
    evidence: &'a str,
}

/// Returns the failures that are tried again, by step.
fn waiting(run: &Run) -> impl Iterator<Item = Failure<'_>> {
    run.contents.all_owed().filter_map(|content| match &content.owed.standing {
        Standing::Waiting { class, evidence, .. } => {
            Some(Failure { checkpoint: content.name, class: *class, evidence })
        }
        _ => None,
    })
}

/// Returns the failures that are final, oldest first, of checkpoints that no later observation
/// speaks of.
fn given_up(run: &Run) -> impl Iterator<Item = Failure<'_>> {
    let newest: BTreeMap<_, _> = run.observations.iter().map(|one| (one.name, one)).collect();
    newest.into_values().filter_map(failure_of)
}

/// Only the newest observation's evidence is remembered.
fn failure_of(observed: &Observed) -> Option<Failure<'_>> {
    match observed.outcome {
        Outcome::Failed(class) => Some(Failure { checkpoint: observed.name, class, evidence: "" }),
        Outcome::Judged(_) => None,
    }
}
