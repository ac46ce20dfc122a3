//! `--once`: when one full pass is done.

use crate::engine::{self, World};
use crate::model::status::{Readiness, Status};

/// How far the pass is.
pub(super) enum Progress {
    /// Something is still to be done.
    GoesOn,
    /// Scanned, analyzed, recorded, delivered.
    Done,
    /// All that could be done is done, and something is left that only a person can mend.
    Stuck(String),
}

/// Says how far the pass is, when nothing waits for the journal.
pub(super) fn progress(world: &World) -> Progress {
    let is_busy = !engine::idle(world) || engine::alerts_on_their_way(world);
    if is_busy || !world.shell_logs_read || !world.evaluations.read {
        return Progress::GoesOn;
    }
    let status = engine::snapshot(world, world.now);
    let held: u64 = status.documents.held.iter().map(|held| held.entries).sum();
    // What is written on a branch counts when it is committed there, and sent.
    let branch = &status.log;
    if let Some(problem) = branch.problem.as_ref().filter(|_| !branch.is_busy) {
        return Progress::Stuck(problem.clone());
    }
    if branch.is_busy || status.documents.pending > held {
        return Progress::GoesOn;
    }
    left_over(&status).map_or(Progress::Done, Progress::Stuck)
}

fn left_over(status: &Status) -> Option<String> {
    if let Some(held) = status.documents.held.first() {
        return Some(format!("`{}` cannot be written: {}", held.document, held.reason));
    }
    if let (Some(since), waiting @ 1..) = (&status.paused, status.queue.len()) {
        return Some(format!(
            "{waiting} checkpoints are not analyzed: paused since {since}; `runscribe queue \
             resume` goes on while a daemon runs"
        ));
    }
    match (&status.analysis, status.queue.len()) {
        (Readiness::NotReady { problem }, waiting) if waiting > 0 => {
            Some(format!("{waiting} checkpoints are not analyzed: {problem}"))
        }
        _ => None,
    }
}
