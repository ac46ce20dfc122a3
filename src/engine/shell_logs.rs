//! From what a shell log says to what is recorded of it.

use crate::model::journal::{Change, KnownLog};
use crate::model::shell_log::LogSighting;

use super::Decisions;
use super::world::World;

/// Takes in a log: how far it was read is recorded together with what is concluded of it.
pub(super) fn seen(world: &mut World, seen: LogSighting, out: &mut Decisions) {
    if world.journal_problem.is_some() {
        world.missed_sightings = true;
        return;
    }
    let run = seen.reading.trainings.last().and_then(|training| training.run.clone());
    out.transaction.changes.push(Change::ShellLog(Box::new(KnownLog::new(seen, run))));
}
