//! From what the scan saw to what is known: runs, complete checkpoints, gone and stuck ones.

use std::sync::Arc;

use crate::model::checkpoint::{
    CheckpointSighting, CompleteCheckpoint, Condition, RunSighting, TrainingFolder,
};
use crate::model::event::Happening;
use crate::model::ids::{CheckpointId, CheckpointName, RunId};
use crate::model::journal::{Change, KnownRun, RunFacts, Standing};
use crate::model::time::Moment;
use crate::settings::Adopt;

use super::contents::Owed;
use super::world::{Present, Run, World};
use super::{Decisions, Effect, absence, begun, documents, evaluations, shell_logs, training};

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
            absence::conclude_gone_runs(world, identity, now, out);
        }
    }
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
        run.problem = None;
        run.newest_change = sighting.newest_modified;
        remember_present(run, sighting.checkpoints, now);
        training::judge(world, &id, now, out);
        return;
    }
    let run = world.run_mut(&id);
    run.problem = None;
    run.newest_change = sighting.newest_modified;
    let elsewhere = wake_up(run, &sighting, out);
    remember_present(run, sighting.checkpoints, now);
    share_contents(run);
    let complete: Vec<(CheckpointName, Arc<CompleteCheckpoint>)> = run
        .present
        .keys()
        .filter_map(|name| Some((*name, Arc::clone(run.present_complete(*name)?))))
        .collect();
    let mut has_new = false;
    for (name, content) in complete {
        let checkpoint = CheckpointId { run: id.clone(), name };
        has_new |= take_complete(world, checkpoint, content, now, out);
    }
    if has_new {
        // What its shell log says at this step is wanted by the time the verdict is there.
        out.effects.push(Effect::ReadRunFacts(id.clone()));
    }
    if !elsewhere {
        absence::conclude_gone_checkpoints(world, &id, now, out);
        absence::conclude_broken(world, &id, now, out);
    }
    training::judge(world, &id, now, out);
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
    // Empty folders and rank shadows have nothing complete and stay unknown; an old run that never
    // came to a complete checkpoint is listed if it has anything of a model.
    if !has_complete && (old_since.is_none() || !crate::recognize::holds_model(sighting)) {
        former_run(world, sighting, now, out);
        return false;
    }
    let renamed_from = take_renamed(world, sighting, now, out);
    let first_seen = now;
    let (run, identity) = (id.clone(), sighting.identity);
    let is_new = old_since.is_none() && renamed_from.is_none();
    let begun = if is_new { begun::tie(world, id, now, out) } else { None };
    let facts = RunFacts { begun, ..RunFacts::default() };
    let gone = false;
    let known = KnownRun { run, identity, training_folder, first_seen, old_since, gone, facts };
    out.transaction.changes.push(Change::Run(known.clone()));
    let old = old_since.is_some();
    out.event(now, id, None, Happening::RunSeen { old, renamed_from: renamed_from.clone() });
    world.run_mut(id).known = Some(known);
    shell_logs::relink(world, now, out);
    match renamed_from {
        _ if old => {}
        Some(_) => out.effects.push(Effect::ReadRunFacts(id.clone())),
        None => documents::first_row(world, sighting, out),
    }
    documents::log_facts(world, id, out);
    training::fill_results(world, id, out);
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
        Condition::Complete(content) => run.contents.standing(seen.name, &content.digest).is_some(),
        _ => false,
    };
    if sighting.checkpoints.iter().any(holds) {
        return Some(from);
    }
    absence::run_gone(world, &from, now, out);
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
    let renamed = |checkpoint: CheckpointId| {
        let moves = checkpoint.run == from;
        if moves { CheckpointId { run: sighting.run.clone(), ..checkpoint } } else { checkpoint }
    };
    world.pending = std::mem::take(&mut world.pending)
        .into_iter()
        .map(|(checkpoint, digest)| (renamed(checkpoint), digest))
        .collect();
    world.stuck = std::mem::take(&mut world.stuck)
        .into_iter()
        .map(|(checkpoint, signature)| (renamed(checkpoint), signature))
        .collect();
    let to = sighting.run.clone();
    world.rename_training(&from, &to, &run.logs);
    evaluations::renamed(world, &from, &to);
    world.runs.insert(to.clone(), run);
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
            // Any file counts: while the optimizer's state is being written the save goes on.
            let same = before.remove(&seen.name).filter(|old| {
                old.signature == seen.signature && old.newest_change == seen.newest_change
            });
            let present = Present {
                folder: seen.folder,
                signature: seen.signature,
                condition: seen.condition,
                newest_change: seen.newest_change,
                unchanged_since: same.map_or(now, |old| old.unchanged_since),
                stale: false,
            };
            (seen.name, Box::new(present))
        })
        .collect();
}

/// What is on disk and what is owed an analysis are mostly the same, and need memory only once.
fn share_contents(run: &mut Run) {
    for (name, present) in &run.present {
        if let Condition::Complete(complete) = &present.condition {
            run.contents.share(*name, complete);
        }
    }
}

/// A content that is seen complete for the first time is announced once, and queued unless its run
/// is old. Returns whether it is to be analyzed and was not known.
fn take_complete(
    world: &mut World,
    id: CheckpointId,
    complete: Arc<CompleteCheckpoint>,
    now: Moment,
    out: &mut Decisions,
) -> bool {
    let digest = complete.digest.clone();
    let run = world.run_mut(&id.run);
    let is_live = run.is_live();
    if let Some(standing) = run.contents.standing(id.name, &digest) {
        // Its run woke up; or it came back (a folder was moved away and back), and its analysis is
        // still owed.
        if is_live && matches!(standing, Standing::Listed | Standing::Gone) {
            out.stand(world, id, digest, Standing::Pending);
        }
        return false;
    }
    let what = Happening::CheckpointComplete {
        digest: digest.clone(),
        weights_bytes: complete.weights_bytes,
    };
    out.event(now, &id.run, Some(id.name), what);
    let content = Arc::clone(&complete);
    let change = Change::CheckpointComplete { checkpoint: id.clone(), content, time: now };
    out.transaction.changes.push(change);
    let key = (id.run.to_string(), id.name.to_string());
    let standing = match (world.made_before.remove(&key), is_live) {
        (true, _) => Standing::Observed,
        (false, true) => Standing::Pending,
        (false, false) => Standing::Listed,
    };
    let owed = Owed { complete, standing: standing.clone(), interruptions: 0 };
    world.run_mut(&id.run).contents.add(id.name, owed, now);
    if standing == Standing::Pending {
        world.pending.insert((id, digest));
        return true;
    }
    out.stand(world, id, digest, standing);
    false
}

/// From now on every new run is a run of today.
pub(super) fn first_scan_done(world: &mut World, now: Moment, out: &mut Decisions) {
    if std::mem::take(&mut world.adopting) {
        out.transaction.changes.push(Change::FirstScanEnded);
    }
    world.first_scan_done = true;
    evaluations::relink(world, now, out);
    training::judge_all(world, now, out);
}
