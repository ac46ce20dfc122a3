//! What W&B gives of a run where nothing else does: its page, and its final loss.

use crate::model::ids::RunId;
use crate::model::journal::{RunFacts, WandbFacts};
use crate::model::observation::RunColumn;

use super::world::{Run, World};
use super::{Decisions, documents, training};

/// Takes in what W&B says of a run. What the run's own log and checkpoints say is never replaced.
pub(super) fn learn(world: &mut World, id: &RunId, found: WandbFacts, out: &mut Decisions) {
    let Some(run) = world.runs.get(id).filter(|run| run.is_live()) else { return };
    let loss = found.final_loss.filter(|_| lacks_loss(world, id, run));
    if run.facts().wandb_url.is_none() && found.url.is_some() {
        let facts = RunFacts { wandb_url: found.url, ..RunFacts::default() };
        documents::learn_facts(world, id, facts, out);
    }
    if loss.is_some() {
        documents::fill_results(world, id, (None, loss), out);
    }
}

/// Returns whether its service is worth asking: nobody names the run's page, or nothing on this
/// host has a loss of a run that was analyzed.
pub(super) fn are_wanted(world: &World, id: &RunId) -> bool {
    world.runs.get(id).filter(|run| run.is_live()).is_some_and(|run| {
        let is_analyzed = run.observations.newest().is_some();
        run.facts().wandb_url.is_none() || is_analyzed && lacks_loss(world, id, run)
    })
}

fn lacks_loss(world: &World, id: &RunId, run: &Run) -> bool {
    let mut fills = run.observations.result_fills().into_iter();
    let has_one = fills.any(|fill| fill.column == RunColumn::TaskLoss);
    !has_one && run.history.is_empty() && training::newest_log(world, id, run).is_none()
}
