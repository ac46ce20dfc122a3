//! From what is not there, or not whole, to what is concluded of it: deleted runs, checkpoints that
//! are gone, broken or stuck.
//!
//! Nothing is concluded but from a listing without error of the same training folder.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::checkpoint::Condition;
use crate::model::event::Happening;
use crate::model::ids::{CheckpointId, CheckpointName, Digest, FolderIdentity, RunId};
use crate::model::journal::{Change, KnownRun, Standing};
use crate::model::time::Moment;

use super::world::{Run, World};
use super::{Decisions, Effect, outcome};

/// How often what does not come is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A known run that is missing from its own training folder was deleted, unless a folder that is
/// still unknown may be it under another name.
pub(super) fn conclude_gone_runs(
    world: &mut World,
    identity: FolderIdentity,
    now: Moment,
    out: &mut Decisions,
) {
    if world.journal_problem.is_some() {
        world.missed_sightings = true;
        return;
    }
    let may_be_renamed = |known: &KnownRun| {
        let same = |(id, listed): (&RunId, &FolderIdentity)| {
            *listed == known.identity && world.runs.get(id).is_none_or(|run| run.known.is_none())
        };
        world.listed.iter().any(same)
    };
    let missing: Vec<RunId> = world
        .runs
        .iter()
        .filter(|(id, _)| !world.listed.contains_key(*id))
        .filter(|(_, run)| {
            let is_missing = |known: &KnownRun| {
                !known.gone && known.training_folder == identity && !may_be_renamed(known)
            };
            run.known.as_ref().is_some_and(is_missing)
        })
        .map(|(id, _)| id.clone())
        .collect();
    for run in missing {
        run_gone(world, &run, now, out);
    }
    conclude_leftovers(world, now, out);
    let listed = &world.listed;
    world.runs.retain(|id, run| {
        // A run may be known by its log before it has a folder, and by what was written of it.
        let is_told_of = !run.logs.is_empty() || !run.notes.is_empty() || run.training.is_some();
        run.known.is_some() || is_told_of || listed.contains_key(id)
    });
}

/// What an analysis still worked on when its run was deleted is concluded when that has ended.
pub(super) fn conclude_leftovers(world: &mut World, now: Moment, out: &mut Decisions) {
    let is_gone = |id: &RunId| {
        let known = world.runs.get(id).and_then(|run| run.known.as_ref());
        known.is_some_and(|known| known.gone)
    };
    let owed: BTreeSet<RunId> = world
        .pending
        .iter()
        .map(|(checkpoint, _)| checkpoint.run.clone())
        .filter(|run| is_gone(run))
        .collect();
    for run in owed {
        conclude_gone_checkpoints(world, &run, now, out);
    }
}

pub(super) fn run_gone(world: &mut World, id: &RunId, now: Moment, out: &mut Decisions) {
    let run = world.run_mut(id);
    run.present.clear();
    if let Some(known) = &mut run.known {
        known.gone = true;
        out.transaction.changes.push(Change::Run(known.clone()));
    }
    out.event(now, id, None, Happening::RunGone);
    conclude_gone_checkpoints(world, id, now, out);
}

/// Pending contents whose files vanished, or whose name bears other content now, are gone; one
/// that was tried already ends with its failure instead. A running analysis works on its pin, and
/// its outcome decides.
pub(super) fn conclude_gone_checkpoints(
    world: &mut World,
    id: &RunId,
    now: Moment,
    out: &mut Decisions,
) {
    let Some(run) = world.runs.get(id) else { return };
    if !is_in_sight(world, run) {
        return;
    }
    let vanished = |checkpoint: &CheckpointId, digest: &Digest| match run
        .present
        .get(&checkpoint.name)
    {
        None => true,
        Some(_) => run.present_complete(checkpoint.name).is_some_and(|now| now.digest != *digest),
    };
    let gone: Vec<(CheckpointId, Digest)> = world
        .pending_of(id)
        .filter(|(checkpoint, digest)| !world.is_running(checkpoint, digest))
        .filter(|(checkpoint, digest)| vanished(checkpoint, digest))
        .cloned()
        .collect();
    for (checkpoint, digest) in gone {
        lose(world, checkpoint, digest, now, out);
    }
}

/// Whether the training folder that was listed last is the one that holds the run.
fn is_in_sight(world: &World, run: &Run) -> bool {
    let same = |known: &KnownRun| Some(known.training_folder) == world.training_identity;
    world.training_problem.is_none() && run.known.as_ref().is_some_and(same)
}

/// A content that is no longer there: gone, or failed if it was tried before.
fn lose(
    world: &mut World,
    checkpoint: CheckpointId,
    digest: Digest,
    now: Moment,
    out: &mut Decisions,
) {
    if outcome::give_up_vanished(world, &checkpoint, &digest, now, out) {
        return;
    }
    out.event(now, &checkpoint.run, Some(checkpoint.name), Happening::CheckpointGone);
    out.stand(world, checkpoint, digest, Standing::Gone);
}

/// Pending contents whose folder lost files and was left like that for a reconcile period: a
/// rotation or a save that was cut short. They are not coming back.
fn broken(world: &World, id: &RunId, now: Moment) -> Vec<(CheckpointId, Digest)> {
    let patience = world.settings.watch.reconcile;
    let in_sight = |run: &&Run| run.problem.is_none() && is_in_sight(world, run);
    let Some(run) = world.runs.get(id).filter(in_sight) else { return Vec::new() };
    let is_broken = |name: CheckpointName| {
        run.present.get(&name).is_some_and(|present| {
            matches!(present.condition, Condition::Incomplete { .. })
                && now.since(present.unchanged_since.timestamp()) >= patience
        })
    };
    let broken = world.pending_of(id).filter(|(checkpoint, digest)| {
        is_broken(checkpoint.name) && !world.is_running(checkpoint, digest)
    });
    broken.cloned().collect()
}

/// Looks through all runs for what does not come or does not come back, now and then: with a
/// thousand of them that is work, and half a minute is the least that anything waits for.
pub(super) fn look_for_absent(world: &mut World, now: Moment, out: &mut Decisions) {
    let is_due = world.absence_looked_at.is_none_or(|at| now.since(at.timestamp()) >= LOOK_EVERY);
    if !is_due || world.journal_problem.is_some() {
        return;
    }
    world.absence_looked_at = Some(now);
    report_stuck(world, now, out);
    doubt_broken(world, now, out);
}

/// Returns how soon that is due again.
pub(super) fn next_look(world: &World, now: Moment) -> Duration {
    super::left(world.absence_looked_at, LOOK_EVERY, now)
}

/// Asks for another look at what seems broken: what was seen half a minute ago proves nothing now.
fn doubt_broken(world: &World, now: Moment, out: &mut Decisions) {
    let runs: BTreeSet<&RunId> =
        world.pending.iter().map(|(checkpoint, _)| &checkpoint.run).collect();
    for run in runs {
        if !broken(world, run, now).is_empty() {
            out.effects.push(Effect::RescanRun(run.clone()));
        }
    }
}

/// Concludes what a listing of the run that was made just now shows to be broken.
pub(super) fn conclude_broken(world: &mut World, id: &RunId, now: Moment, out: &mut Decisions) {
    for (checkpoint, digest) in broken(world, id, now) {
        lose(world, checkpoint, digest, now, out);
    }
}

/// Reports checkpoints that are not complete and made no progress for `stuck_after`, each once. One
/// that is damaged will make none, so a reconcile period is enough for it.
fn report_stuck(world: &mut World, now: Moment, out: &mut Decisions) {
    let watch = &world.settings.watch;
    let (limit, damaged_limit) = (watch.stuck_after, watch.reconcile.min(watch.stuck_after));
    let mut stuck = Vec::new();
    for (id, run) in world.runs.iter().filter(|(_, run)| may_be_stuck(run)) {
        for (name, present) in &run.present {
            let limit = match &present.condition {
                Condition::Incomplete { .. } => limit,
                Condition::Damaged { .. } => damaged_limit,
                _ => continue,
            };
            let checkpoint = CheckpointId { run: id.clone(), name: *name };
            let is_reported = world.stuck.get(&checkpoint) == Some(&present.signature);
            if !is_reported && now.since(present.quiet_since()) >= limit {
                stuck.push((checkpoint, present.signature, lacks(&present.condition)));
            }
        }
    }
    for (checkpoint, signature, missing) in stuck {
        let (run, name) = (checkpoint.run.clone(), checkpoint.name);
        // Another rank's folder stays as it is for ever, and nobody has to hear of it.
        world.stuck.insert(checkpoint.clone(), signature);
        if is_shadow(world, &run) {
            continue;
        }
        out.transaction.changes.push(Change::StuckReported { checkpoint, signature });
        out.event(now, &run, Some(name), Happening::CheckpointStuck { missing });
    }
}

fn lacks(condition: &Condition) -> Vec<String> {
    match condition {
        Condition::Incomplete { missing } => missing.clone(),
        Condition::Damaged { problem } => vec![problem.clone()],
        _ => Vec::new(),
    }
}

/// Whether somebody waits for this run's checkpoints: also for those of a run that has none that
/// is complete and so is not known yet, but not for those of an old one.
fn may_be_stuck(run: &Run) -> bool {
    run.problem.is_none() && (run.known.is_none() || run.is_live())
}

/// Whether a run is another rank's folder. A shadow has nothing of a model anywhere; a sibling that
/// is known has shown something.
pub(super) fn is_shadow(world: &World, id: &RunId) -> bool {
    world.runs.contains_key(id) && shadowed_sibling(world, id).is_some()
}

/// Returns the run that an id without a model of its own is another rank's name of.
pub(super) fn shadowed_sibling(world: &World, id: &RunId) -> Option<RunId> {
    let run = world.runs.get(id);
    if run.is_some_and(|run| run.known.is_some()) {
        return None;
    }
    let holds_model = run.is_some_and(|run| run.holds_model);
    // Asked of every such folder in each snapshot, and ids order as their stamps do.
    let (first, last) = crate::recognize::possible_siblings(id)?;
    let others = world.runs.range(first..=last).filter(|(other, _)| *other != id);
    let siblings = others.map(|(other, run)| (other, run.known.is_some() || run.holds_model));
    crate::recognize::rank_shadow(id, holds_model, siblings)
}
