//! From what the scan saw to what is known: runs, complete checkpoints, gone and stuck ones.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::checkpoint::{
    CheckpointSighting, CompleteCheckpoint, Condition, RunSighting, TrainingFolder,
};
use crate::model::event::Happening;
use crate::model::ids::{CheckpointId, CheckpointName, Digest, FolderIdentity, RunId};
use crate::model::journal::{Change, KnownRun, RunFacts, Standing};
use crate::model::time::Moment;
use crate::settings::Adopt;

use super::world::{Content, Present, Run, World};
use super::{Decisions, Effect, documents, outcome};

/// Takes in a listing of the training folder.
pub(super) fn training_folder(
    world: &mut World,
    folder: TrainingFolder,
    now: Moment,
    out: &mut Decisions,
) {
    match folder {
        TrainingFolder::Missing => {
            world.training_problem = Some("the training folder does not exist yet".to_owned());
        }
        TrainingFolder::Unreadable(problem) => world.training_problem = Some(problem),
        TrainingFolder::Listed { identity, runs } => {
            world.training_problem = None;
            world.training_identity = Some(identity);
            world.listed = runs.into_iter().collect();
            conclude_gone_runs(world, identity, now, out);
        }
    }
}

/// A known run that is missing from its own training folder was deleted, unless a folder that is
/// still unknown may be it under another name.
fn conclude_gone_runs(
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
    world.runs.retain(|id, run| run.known.is_some() || listed.contains_key(id));
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

fn run_gone(world: &mut World, id: &RunId, now: Moment, out: &mut Decisions) {
    let run = world.run_mut(id);
    run.present.clear();
    if let Some(known) = &mut run.known {
        known.gone = true;
        out.transaction.changes.push(Change::Run(known.clone()));
    }
    out.event(now, id, None, Happening::RunGone);
    conclude_gone_checkpoints(world, id, now, out);
}

/// Takes in the listing of one run folder.
pub(super) fn run(world: &mut World, sighting: RunSighting, now: Moment, out: &mut Decisions) {
    if world.journal_problem.is_some() {
        world.missed_sightings = true;
        return;
    }
    let id = sighting.run.clone();
    // It may be newer than the last listing: a mount that came back brings runs before that.
    world.training_identity = Some(sighting.training_folder);
    world.listed.insert(id.clone(), sighting.identity);
    let holds_model = crate::recognize::holds_model(&sighting);
    world.run_mut(&id).holds_model = holds_model;
    if !make_known(world, &sighting, now, out) {
        let run = world.run_mut(&id);
        run.newest_change = sighting.newest_modified;
        remember_present(run, sighting.checkpoints, now);
        return;
    }
    let run = world.run_mut(&id);
    run.problem = None;
    run.newest_change = sighting.newest_modified;
    let elsewhere = wake_up(run, &sighting, out);
    remember_present(run, sighting.checkpoints, now);
    if !run.is_live() {
        return;
    }
    let complete: Vec<(CheckpointName, CompleteCheckpoint)> = run
        .present
        .keys()
        .filter_map(|name| Some((*name, run.present_complete(*name)?.clone())))
        .collect();
    for (name, content) in complete {
        take_complete(world, CheckpointId { run: id.clone(), name }, content, now, out);
    }
    if !elsewhere {
        conclude_gone_checkpoints(world, &id, now, out);
    }
}

/// Makes a run known once it has something to show. Returns whether it is known.
fn make_known(world: &mut World, sighting: &RunSighting, now: Moment, out: &mut Decisions) -> bool {
    let id = &sighting.run;
    if world.runs.get(id).is_some_and(|run| run.known.is_some()) {
        return true;
    }
    let training_folder = sighting.training_folder;
    let old_since = sighting.newest_modified.filter(|newest| match world.settings.analysis.adopt {
        Adopt::All => false,
        Adopt::YoungerThan(age) => world.adopting && now.since(*newest) > age,
    });
    let has_complete =
        sighting.checkpoints.iter().any(|seen| matches!(seen.condition, Condition::Complete(_)));
    // Empty folders and rank shadows have nothing complete and stay unknown.
    if !has_complete && (old_since.is_none() || sighting.checkpoints.is_empty()) {
        former_run(world, sighting, now, out);
        return false;
    }
    let renamed_from = take_renamed(world, sighting, now, out);
    let first_seen = now;
    let (run, identity) = (id.clone(), sighting.identity);
    let facts = RunFacts::default();
    let gone = false;
    let known = KnownRun { run, identity, training_folder, first_seen, old_since, gone, facts };
    out.transaction.changes.push(Change::Run(known.clone()));
    let old = old_since.is_some();
    out.event(now, id, None, Happening::RunSeen { old, renamed_from: renamed_from.clone() });
    world.run_mut(id).known = Some(known);
    if !old {
        out.effects.push(Effect::ReadRunFacts(id.clone()));
        if renamed_from.is_none() {
            documents::first_row(world, sighting, out);
        }
    }
    true
}

/// Finds the run that this folder was before: same inode, and at least one content that is the
/// same under the same name. The inode alone would not do, because file systems use one again; a
/// run whose inode another folder has now is gone.
fn former_run(
    world: &mut World,
    sighting: &RunSighting,
    now: Moment,
    out: &mut Decisions,
) -> Option<RunId> {
    let same_folder = |(id, run): (&RunId, &Run)| {
        let same = |known: &KnownRun| known.identity == sighting.identity && !known.gone;
        let hit = run.known.as_ref().is_some_and(same) && !world.listed.contains_key(id);
        hit.then(|| id.clone())
    };
    let from = world.runs.iter().find_map(same_folder)?;
    let run = world.runs.get(&from)?;
    let holds = |seen: &CheckpointSighting| match &seen.condition {
        Condition::Complete(content) => run.content(seen.name, &content.digest).is_some(),
        _ => false,
    };
    if sighting.checkpoints.iter().any(holds) {
        return Some(from);
    }
    run_gone(world, &from, now, out);
    None
}

/// Moves everything that is known of a renamed run to its new id.
fn take_renamed(
    world: &mut World,
    sighting: &RunSighting,
    now: Moment,
    out: &mut Decisions,
) -> Option<RunId> {
    let from = former_run(world, sighting, now, out)?;
    let mut run = world.runs.remove(&from)?;
    run.present.clear();
    for observation in &mut run.observations {
        observation.checkpoint.run = sighting.run.clone();
    }
    let (moved, kept) = std::mem::take(&mut world.pending)
        .into_iter()
        .partition(|(checkpoint, _)| checkpoint.run == from);
    world.pending = kept;
    let moved: Vec<_> = Vec::from_iter::<BTreeSet<_>>(moved);
    world.pending.extend(moved.into_iter().map(|(checkpoint, digest)| {
        (CheckpointId { run: sighting.run.clone(), name: checkpoint.name }, digest)
    }));
    world.runs.insert(sighting.run.clone(), run);
    let to = sighting.run.clone();
    out.transaction.changes.push(Change::RunRenamed { from: from.clone(), to });
    Some(from)
}

/// An old run whose files changed, and a deleted one that came back, are watched from now on.
/// Returns whether the training folder is another one than before, so that nothing may be
/// concluded from what the run lacks.
fn wake_up(run: &mut Run, sighting: &RunSighting, out: &mut Decisions) -> bool {
    let Some(known) = &mut run.known else { return false };
    let before = known.clone();
    if known.old_since.is_some_and(|old| sighting.newest_modified.is_some_and(|new| new > old)) {
        known.old_since = None;
        out.effects.push(Effect::ReadRunFacts(sighting.run.clone()));
    }
    known.gone = false;
    known.identity = sighting.identity;
    if !sighting.checkpoints.is_empty() {
        known.training_folder = sighting.training_folder;
    }
    let elsewhere = known.training_folder != before.training_folder || before.gone;
    if *known != before {
        out.transaction.changes.push(Change::Run(known.clone()));
    }
    elsewhere
}

fn remember_present(run: &mut Run, sightings: Vec<CheckpointSighting>, now: Moment) {
    let mut before = std::mem::take(&mut run.present);
    run.present = sightings
        .into_iter()
        .map(|seen| {
            let same = before.remove(&seen.name).filter(|old| old.signature == seen.signature);
            let present = Present {
                folder: seen.folder,
                signature: seen.signature,
                condition: seen.condition,
                unchanged_since: same.as_ref().map_or(now, |old| old.unchanged_since),
                stuck_reported: same.is_some_and(|old| old.stuck_reported),
                stale: false,
            };
            (seen.name, present)
        })
        .collect::<BTreeMap<_, _>>();
}

/// A content that is seen complete for the first time is announced once and queued.
fn take_complete(
    world: &mut World,
    id: CheckpointId,
    complete: CompleteCheckpoint,
    now: Moment,
    out: &mut Decisions,
) {
    let digest = complete.digest.clone();
    let run = world.run_mut(&id.run);
    if let Some(content) = run.content_mut(id.name, &digest) {
        if content.standing == Standing::Gone {
            // It came back (a folder was moved away and back): its analysis is still owed.
            content.standing = Standing::Pending;
            set_standing(world, id, digest, Standing::Pending, out);
        }
        return;
    }
    let what = Happening::CheckpointComplete {
        digest: digest.clone(),
        weights_bytes: complete.weights_bytes,
    };
    out.event(now, &id.run, Some(id.name), what);
    let content = Box::new(complete.clone());
    let change = Change::CheckpointComplete { checkpoint: id.clone(), content, time: now };
    out.transaction.changes.push(change);
    let key = (id.run.to_string(), id.name.to_string());
    let made_before = world.made_before.remove(&key);
    let standing = if made_before { Standing::Observed } else { Standing::Pending };
    let entry =
        Content { complete, standing: standing.clone(), first_complete: now, interruptions: 0 };
    world.run_mut(&id.run).contents.entry(id.name).or_default().push(entry);
    if made_before {
        set_standing(world, id, digest, standing, out);
    } else {
        world.pending.insert((id, digest));
    }
}

fn set_standing(
    world: &mut World,
    checkpoint: CheckpointId,
    digest: Digest,
    standing: Standing,
    out: &mut Decisions,
) {
    let owed = matches!(standing, Standing::Pending | Standing::Waiting { .. });
    let key = (checkpoint.clone(), digest.clone());
    if owed {
        world.pending.insert(key);
    } else {
        world.pending.remove(&key);
    }
    out.transaction.changes.push(Change::Standing { checkpoint, digest, standing });
}

/// Pending contents whose files vanished, or whose name bears other content now, are gone; one
/// that was tried already ends with its failure instead. A running analysis works on its pin, and
/// its outcome decides.
fn conclude_gone_checkpoints(world: &mut World, id: &RunId, now: Moment, out: &mut Decisions) {
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
        .pending
        .iter()
        .filter(|(checkpoint, _)| checkpoint.run == *id)
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
    if let Some(content) = world.run_mut(&checkpoint.run).content_mut(checkpoint.name, &digest) {
        content.standing = Standing::Gone;
    }
    out.event(now, &checkpoint.run, Some(checkpoint.name), Happening::CheckpointGone);
    set_standing(world, checkpoint, digest, Standing::Gone, out);
}

/// A pending content whose folder lost files and was left like that for a reconcile period is not
/// coming back: a rotation or a save that was cut short.
pub(super) fn conclude_broken(world: &mut World, now: Moment, out: &mut Decisions) {
    if world.pending.is_empty() || world.journal_problem.is_some() {
        return;
    }
    let patience = world.settings.watch.reconcile;
    let is_broken = |checkpoint: &CheckpointId| {
        let run = world.runs.get(&checkpoint.run)?;
        let present = run.present.get(&checkpoint.name)?;
        let is_incomplete = matches!(present.condition, Condition::Incomplete { .. });
        let quiet = now.since(present.unchanged_since.timestamp());
        (is_in_sight(world, run) && is_incomplete && quiet >= patience).then_some(())
    };
    let broken: Vec<(CheckpointId, Digest)> = world
        .pending
        .iter()
        .filter(|(checkpoint, digest)| !world.is_running(checkpoint, digest))
        .filter(|(checkpoint, _)| is_broken(checkpoint).is_some())
        .cloned()
        .collect();
    for (checkpoint, digest) in broken {
        lose(world, checkpoint, digest, now, out);
    }
}

/// From now on every new run is a run of today.
pub(super) fn first_scan_done(world: &mut World, out: &mut Decisions) {
    if std::mem::take(&mut world.adopting) {
        out.transaction.changes.push(Change::FirstScanEnded);
    }
    world.first_scan_done = true;
}

/// Reports incomplete checkpoints that made no progress for `stuck_after`, each once.
pub(super) fn report_stuck(world: &mut World, now: Moment, out: &mut Decisions) {
    let limit = world.settings.watch.stuck_after;
    for (id, run) in &mut world.runs {
        if !run.is_live() {
            continue;
        }
        for (name, present) in &mut run.present {
            let Condition::Incomplete { missing } = &present.condition else { continue };
            if present.stuck_reported || now.since(present.unchanged_since.timestamp()) < limit {
                continue;
            }
            present.stuck_reported = true;
            let missing = missing.clone();
            out.event(now, id, Some(*name), Happening::CheckpointStuck { missing });
        }
    }
}
