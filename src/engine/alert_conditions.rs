//! The daemon's own conditions: what `degraded` means.

use std::time::Duration;

use crate::model::status::Readiness;
use crate::model::time::Moment;

use super::alerts::Alerts;
use super::snapshot;
use super::world::World;

/// What passes by itself within this time is not told.
const PATIENCE: Duration = Duration::from_mins(1);
/// A person who edits the experiment log holds it for minutes.
const DOCUMENT_PATIENCE: Duration = Duration::from_mins(5);
/// A database that is busy for a moment is not worth a message.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(10);
/// Less free space than this is trouble, and twice as much is its end.
const LEAST_FREE: u64 = 2 << 30;

pub(super) const JOURNAL: &str = "journal";
const DISK: &str = "disk";

/// One condition.
pub(super) struct Condition {
    /// Its name as a cause.
    pub(super) cause: &'static str,
    /// How long it may be bad before anybody is told.
    pub(super) patience: Duration,
    /// What is said when it is bad, and when it is fine again.
    pub(super) bad: &'static str,
    pub(super) fine: &'static str,
    /// Whether it is fine, or why not; `None`: that cannot be said.
    pub(super) state: Option<Result<(), String>>,
}

/// Looks at all of them.
pub(super) fn all(world: &World) -> [Condition; 6] {
    let condition =
        |cause, (bad, fine), state| Condition { cause, patience: PATIENCE, bad, fine, state };
    let now = world.now;
    [
        Condition {
            patience: JOURNAL_PATIENCE,
            ..condition(
                JOURNAL,
                ("the journal cannot be written", "the journal can be written again"),
                Some(fine_unless(world.journal_problem.clone())),
            )
        },
        condition(
            "watch",
            ("checkpoints are not watched as they should be", "checkpoints are watched again"),
            after_the_first_scan(world, watch_problem(world)),
        ),
        condition(
            "scan",
            ("the training folder does not answer", "the training folder answers again"),
            after_the_first_scan(world, snapshot::hanging_scan(world, now)),
        ),
        condition(
            "analysis",
            ("analyses cannot run", "analyses can run again"),
            match &world.readiness {
                Readiness::Checking => None,
                Readiness::Ready { .. } => Some(Ok(())),
                Readiness::NotReady { problem } => Some(Err(problem.clone())),
            },
        ),
        Condition {
            patience: Duration::ZERO,
            ..condition(
                "documents",
                ("a document cannot be written", "the documents can be written again"),
                after_the_first_scan(world, held_document(world, now)),
            )
        },
        condition(
            DISK,
            ("the disk is nearly full", "the disk has room again"),
            disk(world, &world.alerts),
        ),
    ]
}

fn fine_unless(problem: Option<String>) -> Result<(), String> {
    problem.map_or(Ok(()), Err)
}

/// Before everything was looked at once, the absence of a problem says nothing.
fn after_the_first_scan(world: &World, problem: Option<String>) -> Option<Result<(), String>> {
    match problem {
        Some(problem) => Some(Err(problem)),
        None => world.first_scan_done.then_some(Ok(())),
    }
}

fn watch_problem(world: &World) -> Option<String> {
    world.training_problem.clone().or_else(|| world.watch.degraded.clone())
}

fn held_document(world: &World, now: Moment) -> Option<String> {
    let since = |since: &str| Moment::parse(since).map(|since| now.since(since.timestamp()));
    let held = world.documents.held.iter();
    let long = held.filter(|held| since(&held.since).is_some_and(|age| age >= DOCUMENT_PATIENCE));
    let texts: Vec<String> =
        long.map(|held| format!("`{}` is held: {}", held.document, held.reason)).collect();
    (!texts.is_empty()).then(|| texts.join("\n"))
}

/// One threshold alone would have a disk at it told of again and again.
fn disk(world: &World, alerts: &Alerts) -> Option<Result<(), String>> {
    let free = world.host.disk_free?;
    let is_told = alerts.troubles.keys().any(|known| known.run.is_none() && known.cause == DISK);
    let least = if is_told { LEAST_FREE * 2 } else { LEAST_FREE };
    let mebibytes = free >> 20;
    let folder = world.settings.paths.training.display();
    Some(if free >= least {
        Ok(())
    } else {
        Err(format!("{mebibytes} MiB are free on the disk of `{folder}`; free some space"))
    })
}
