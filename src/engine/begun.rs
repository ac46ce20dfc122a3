//! Which run is which training that was begun.

use crate::model::begun::BegunTraining;
use crate::model::ids::RunId;
use crate::model::observation::DocumentEdit;
use crate::model::time::Moment;

use super::Decisions;
use super::world::World;

/// Gives a run that is seen for the first time the row of the training that was begun as it, if
/// exactly one can be. Returns that one's tag.
///
/// The row is looked for when the log is written; where it is gone the run gets one of its own.
pub(super) fn tie(
    world: &World,
    run: &RunId,
    first_seen: Moment,
    out: &mut Decisions,
) -> Option<String> {
    let candidates = candidates(world, run, first_seen);
    let [begun] = candidates.as_slice() else { return None };
    out.transaction.documents.push(DocumentEdit::TieRow {
        run: run.clone(),
        base: begun.run.clone(),
        tag: begun.tag.clone(),
        cells: begun.cells.clone(),
        headers: world.settings.log.headers.clone(),
    });
    Some(begun.tag.clone())
}

/// Says of which runs it is not known which training they are.
pub(super) fn problems(world: &World) -> Vec<String> {
    if world.begun.is_empty() {
        return Vec::new();
    }
    let untied = world.runs.iter().filter_map(|(id, run)| {
        let known = run.known.as_ref().filter(|known| !known.gone && known.old_since.is_none())?;
        let candidates = candidates(world, id, known.first_seen);
        let is_open = known.facts.begun.is_none() && !candidates.is_empty();
        is_open.then(|| unclear(id, &candidates))
    });
    untied.collect()
}

fn unclear(run: &RunId, candidates: &[&BegunTraining]) -> String {
    let tags: Vec<String> = candidates.iter().map(|begun| format!("`{}`", begun.tag)).collect();
    format!(
        "run `{run}` may be what was begun as {}: write its id into the row that is its own, and \
         delete the row that it does not need",
        tags.join(" or ")
    )
}

/// Returns what a run may have been begun as: what no other run is.
fn candidates<'a>(world: &'a World, run: &RunId, first_seen: Moment) -> Vec<&'a BegunTraining> {
    let is_taken = |tag: &str| {
        let mut known = world.runs.values().filter_map(|run| run.known.as_ref());
        known.any(|known| known.facts.begun.as_deref() == Some(tag))
    };
    let fitting = world.begun.iter().filter(|begun| begun.can_be(run, first_seen));
    fitting.filter(|begun| !is_taken(&begun.tag)).collect()
}
