//! What a person asks of the running daemon.

use std::collections::BTreeSet;

use crate::model::command::{Answer, Order, Whom};
use crate::model::ids::{CheckpointId, Digest, RunId};
use crate::model::journal::{Change, Standing};
use crate::model::numbers::counted;
use crate::model::time::Moment;

use super::dispatch::{Turn, turn};
use super::observed::{Observed, Outcome};
use super::world::World;
use super::{Decisions, Effect};

/// Carries out an order, or says why not; then nothing was changed.
pub(super) fn carry_out(
    world: &mut World,
    order: Order,
    now: Moment,
    out: &mut Decisions,
) -> Answer {
    if let Some(problem) = &world.journal_problem {
        return Err(format!("nothing is changed while the journal cannot commit: {problem}"));
    }
    if world.stopping {
        return Err("the daemon is stopping".to_owned());
    }
    world.asked.retain(|asked| world.pending.contains(asked));
    match order {
        Order::Pause => Ok(pause(world, now, out)),
        Order::Resume => Ok(resume(world, out)),
        Order::Analyze(checkpoint) => analyze(world, &checkpoint, out),
        Order::Retry(checkpoint) => retry(world, &checkpoint, out),
        Order::Adopt(Whom::All) => Ok(adopt_all(world, out)),
        Order::Adopt(Whom::Runs(runs)) => adopt(world, &runs, out),
    }
}

/// Returns the content that a person asked for first and that can be analyzed now.
pub(super) fn first_asked(world: &World, now: Moment) -> Option<(CheckpointId, Digest)> {
    let is_ready = |(checkpoint, digest): &&(CheckpointId, Digest)| {
        let is_ready = |owed| matches!(turn(world, checkpoint, owed, now), Turn::Ready);
        world.pending.contains(&(checkpoint.clone(), digest.clone()))
            && world.owed(checkpoint, digest).is_some_and(|content| is_ready(content.owed))
    };
    world.asked.iter().find(is_ready).cloned()
}

fn pause(world: &mut World, now: Moment, out: &mut Decisions) -> String {
    if let Some(since) = world.paused {
        return format!("paused already since {}", since.table_form());
    }
    let since = now.whole_seconds();
    world.paused = Some(since);
    out.transaction.changes.push(Change::Paused(Some(since)));
    match world.running.len() {
        0 => "paused; no analysis is started until `runscribe queue resume`".to_owned(),
        running => format!(
            "paused; {running} running {} to its end, and no other is started until `runscribe \
             queue resume`",
            if running == 1 { "analysis comes" } else { "analyses come each" }
        ),
    }
}

fn resume(world: &mut World, out: &mut Decisions) -> String {
    if world.paused.take().is_none() {
        return "not paused".to_owned();
    }
    out.transaction.changes.push(Change::Paused(None));
    format!("resumed; {} waiting", checkpoints(world.pending.len()))
}

fn checkpoints(count: usize) -> String {
    format!("{count} {}", if count == 1 { "checkpoint is" } else { "checkpoints are" })
}

/// Puts a checkpoint before all others, also one of an old run, which stays old otherwise.
fn analyze(world: &mut World, checkpoint: &CheckpointId, out: &mut Decisions) -> Answer {
    let digest = on_disk(world, checkpoint, out)?;
    refuse_running(world, checkpoint, &digest)?;
    match world.standing(checkpoint, &digest).cloned() {
        None => return Err(format!("{checkpoint} has just appeared; ask again")),
        Some(Standing::Observed) => return Err(observed(world, checkpoint, &digest)),
        Some(Standing::Waiting { .. } | Standing::Listed | Standing::Gone) => {
            start_over(world, checkpoint, &digest, out);
        }
        Some(Standing::Pending | Standing::Started { .. }) => {}
    }
    let waits = world
        .owed(checkpoint, &digest)
        .map(|content| turn(world, checkpoint, content.owed, world.now));
    let asked = (checkpoint.clone(), digest);
    world.asked.retain(|other| *other != asked);
    world.asked.insert(0, asked);
    out.transaction.changes.push(Change::Asked(world.asked.clone()));
    Ok(match waits {
        Some(Turn::Waits(reason)) => format!("{checkpoint} goes before others; now {reason}"),
        _ => format!("{checkpoint} is the next one{}", unless_paused(world)),
    })
}

fn unless_paused(world: &World) -> String {
    world.paused.map_or_else(String::new, |since| {
        format!(" when the queue, paused since {}, is resumed", since.table_form())
    })
}

/// Queues a checkpoint again whose analysis failed, be it until the next attempt or for good.
fn retry(world: &mut World, checkpoint: &CheckpointId, out: &mut Decisions) -> Answer {
    let digest = on_disk(world, checkpoint, out)?;
    refuse_running(world, checkpoint, &digest)?;
    let Some(standing) = world.standing(checkpoint, &digest) else {
        return Err(format!("{checkpoint} has just appeared; ask again"));
    };
    match standing {
        Standing::Listed | Standing::Gone => {
            let run = &checkpoint.run;
            let adopt = format!("`runscribe adopt {run}` has its run analyzed");
            return Err(format!("{checkpoint} was never analyzed; {adopt}"));
        }
        Standing::Waiting { .. } => start_over(world, checkpoint, &digest, out),
        Standing::Observed if failed_for_good(world, checkpoint, &digest) => {
            let (checkpoint, digest) = (checkpoint.clone(), digest);
            world.stand(&checkpoint, &digest, Standing::Pending);
            out.transaction.changes.push(Change::Reopened { checkpoint, digest });
        }
        Standing::Observed => return Err(observed(world, checkpoint, &digest)),
        Standing::Pending | Standing::Started { .. } => {
            let content = world.owed(checkpoint, &digest);
            let reason = match content.map(|one| turn(world, checkpoint, one.owed, world.now)) {
                Some(Turn::Waits(reason)) => reason,
                Some(Turn::Ready) | None => "its turn comes".to_owned(),
            };
            return Ok(format!("{checkpoint} is queued already: {reason}"));
        }
    }
    Ok(format!("{checkpoint} is queued again{}", unless_paused(world)))
}

/// Returns the content that lies on disk, or why there is none to analyze.
fn on_disk(
    world: &World,
    checkpoint: &CheckpointId,
    out: &mut Decisions,
) -> Result<Digest, String> {
    let CheckpointId { run: id, name } = checkpoint;
    let run = world.runs.get(id).ok_or_else(|| format!("there is no run `{id}`"))?;
    match run.present_complete(*name) {
        Some(complete) if run.known.is_some() => Ok(complete.digest.clone()),
        _ => {
            out.effects.push(Effect::RescanRun(id.clone()));
            let seen = run.present.get(name).map(|present| {
                crate::recognize::describe(&present.condition, world.now.timestamp())
            });
            let why = seen.unwrap_or_else(|| "The last scan did not see it.".to_owned());
            Err(format!("{checkpoint} cannot be analyzed: {why}"))
        }
    }
}

fn refuse_running(world: &World, checkpoint: &CheckpointId, digest: &Digest) -> Result<(), String> {
    if world.is_running(checkpoint, digest) {
        return Err(format!("{checkpoint} is being analyzed"));
    }
    Ok(())
}

fn newest_observation<'a>(
    world: &'a World,
    checkpoint: &CheckpointId,
    digest: &Digest,
) -> Option<&'a Observed> {
    let run = world.runs.get(&checkpoint.run)?;
    let is_it = |one: &&Observed| one.name == checkpoint.name && one.digest == *digest;
    run.observations.iter().rev().find(is_it)
}

fn failed_for_good(world: &World, checkpoint: &CheckpointId, digest: &Digest) -> bool {
    newest_observation(world, checkpoint, digest).is_some_and(|one| one.verdict().is_none())
}

/// Says what is known of a content that is not analyzed again.
fn observed(world: &World, checkpoint: &CheckpointId, digest: &Digest) -> String {
    let Some(observation) = newest_observation(world, checkpoint, digest) else {
        return format!("the row of {checkpoint} stood in the log before the journal began");
    };
    let at = observation.time.table_form();
    match observation.outcome {
        Outcome::Judged(verdict) => format!(
            "{checkpoint} was analyzed at {at}, verdict {verdict}; `runscribe analyze` with its \
             path measures it again and records nothing"
        ),
        Outcome::Failed(class) => format!(
            "the analysis of {checkpoint} failed for good at {at} ({}); `runscribe queue retry {} \
             {}` tries it again",
            class.as_str(),
            checkpoint.run,
            checkpoint.name
        ),
    }
}

/// Forgets the failures so far: what a person asked for is the first attempt of its own.
fn start_over(world: &mut World, checkpoint: &CheckpointId, digest: &Digest, out: &mut Decisions) {
    forget_interruptions(world, checkpoint, digest);
    out.stand(world, checkpoint.clone(), digest.clone(), Standing::Pending);
}

fn forget_interruptions(world: &mut World, checkpoint: &CheckpointId, digest: &Digest) {
    world.run_mut(&checkpoint.run).contents.forget_interruptions(checkpoint.name, digest);
}

fn adopt_all(world: &mut World, out: &mut Decisions) -> String {
    let old = |run: &super::world::Run| {
        run.known.as_ref().is_some_and(|known| known.old_since.is_some() && !known.gone)
    };
    let runs: Vec<RunId> =
        world.runs.iter().filter(|(_, run)| old(run)).map(|(id, _)| id.clone()).collect();
    for run in &runs {
        wake(world, run, out);
    }
    format!("{} adopted", counted(runs.len() as u64, "run"))
}

/// All of the named runs, or none when one of them cannot be.
fn adopt(world: &mut World, runs: &[RunId], out: &mut Decisions) -> Answer {
    let mut old = Vec::new();
    let runs: BTreeSet<&RunId> = runs.iter().collect();
    for run in &runs {
        match world.runs.get(*run).and_then(|run| run.known.as_ref()) {
            Some(known) if known.gone => return Err(format!("the folder of `{run}` was deleted")),
            Some(known) if known.old_since.is_some() => old.push(*run),
            Some(_) => {}
            None => return Err(format!("there is no run `{run}` with a complete checkpoint")),
        }
    }
    let watched = runs.len() - old.len();
    for run in &old {
        wake(world, run, out);
    }
    let also = match watched {
        0 => String::new(),
        watched => format!("; {} watched already", counted(watched as u64, "run")),
    };
    Ok(format!("{} adopted{also}", counted(old.len() as u64, "run")))
}

/// From now on the run is one of today: a look at it finds what is to be analyzed.
fn wake(world: &mut World, id: &RunId, out: &mut Decisions) {
    if let Some(known) = &mut world.run_mut(id).known {
        known.old_since = None;
        out.transaction.changes.push(Change::Run(known.clone()));
        out.effects.push(Effect::ReadRunFacts(id.clone()));
        out.effects.push(Effect::RescanRun(id.clone()));
    }
}
