//! Starting analyses: which content is next, and why each other one waits.

use crate::model::analysis::{AnalysisOrder, Twin};
use crate::model::event::Happening;
use crate::model::ids::{CheckpointId, CheckpointName, Digest};
use crate::model::journal::{Change, Standing};
use crate::model::status::Readiness;
use crate::model::time::Moment;
use crate::schedule::command;
use crate::schedule::queue::{self, Candidate};

use super::contents::{Owed, OwedContent};
use super::world::{Run, Running, World};
use super::{Decisions, Effect, commands};

/// Whether a content can be analyzed now.
pub(super) enum Turn {
    /// It can.
    Ready,
    /// It waits; the text says for what.
    Waits(String),
}

/// Starts as many analyses as may run at a time.
pub(super) fn start_analyses(world: &mut World, now: Moment, out: &mut Decisions) {
    while let Some((checkpoint, digest)) = next(world, now) {
        if !start(world, &checkpoint, &digest, now, out) {
            break;
        }
    }
}

/// Returns whether nothing is running and nothing could be started: what `--once` waits for.
/// Final models that are settling count as something to wait for.
pub fn idle(world: &World) -> bool {
    let settling = |run: &Run| {
        let is_settling = |condition: &crate::model::checkpoint::Condition| {
            matches!(condition, crate::model::checkpoint::Condition::Settling { .. })
        };
        run.present.values().any(|present| is_settling(&present.condition))
    };
    world.first_scan_done
        && world.readiness != Readiness::Checking
        && world.running.is_empty()
        && next(world, world.now).is_none()
        && !world.runs.values().any(settling)
}

fn may_start(world: &World) -> bool {
    !world.stopping
        && world.paused.is_none()
        && world.journal_problem.is_none()
        && world.first_scan_done
        && matches!(world.readiness, Readiness::Ready { .. })
        && world.running.len() < world.settings.analysis.max_concurrent
}

fn next(world: &World, now: Moment) -> Option<(CheckpointId, Digest)> {
    if !may_start(world) {
        return None;
    }
    if let Some(asked) = commands::first_asked(world, now) {
        return Some(asked);
    }
    let ready = world.pending.iter().filter_map(|(checkpoint, digest)| {
        let (candidate, content) = candidate(world, checkpoint, digest)?;
        matches!(turn(world, checkpoint, content.owed, now), Turn::Ready).then_some(candidate)
    });
    // A final model whose twin still has to be measured lends that twin its place.
    let first = queue::first(&ready.collect::<Vec<_>>())?;
    Some((first.checkpoint.clone(), first.digest.clone()))
}

/// Returns what the queue has to know of a pending content, and the content.
pub(super) fn candidate<'world>(
    world: &'world World,
    checkpoint: &'world CheckpointId,
    digest: &'world Digest,
) -> Option<(Candidate<'world>, OwedContent<'world>)> {
    let run = world.runs.get(&checkpoint.run)?;
    let content = run.contents.owed(checkpoint.name, digest)?;
    let first_complete = content.first_complete;
    let is_newest = run.newest_step() == Some(checkpoint.name);
    Some((Candidate { checkpoint, digest, first_complete, is_newest }, content))
}

/// Says whether a pending content can be analyzed now, or what it waits for.
pub(super) fn turn(world: &World, checkpoint: &CheckpointId, content: &Owed, now: Moment) -> Turn {
    let waits = |reason: &str| Turn::Waits(reason.to_owned());
    let Some(run) = world.runs.get(&checkpoint.run) else { return waits("its run is unknown") };
    if world.is_running(checkpoint, &content.complete.digest) {
        return waits("it is being analyzed");
    }
    if let Standing::Waiting { retry_at, class, attempt, .. } = &content.standing
        && *retry_at > now.timestamp()
    {
        let at = Moment::new(*retry_at, now.offset()).table_form();
        let class = class.as_str();
        return Turn::Waits(format!("attempt {attempt} failed ({class}), next try at {at}"));
    }
    let on_disk = run.present_complete(checkpoint.name);
    if on_disk.is_none_or(|complete| complete.digest != content.complete.digest) {
        return waits("its files are not there as they were; waiting for the next scan");
    }
    if run.present.get(&checkpoint.name).is_some_and(|present| present.stale) {
        return waits("its files changed during the analysis; waiting for the next scan");
    }
    if let Some(program) = &world.program {
        let settings = &world.settings.analysis;
        let config = &content.complete.config;
        if let Err(problem) = command::check(program, settings, config, &world.rejected) {
            return Turn::Waits(problem);
        }
    }
    match twin_owed(world, run, checkpoint, content) {
        Some(twin) => Turn::Waits(format!("its weights may be those of {twin}, which goes first")),
        None => Turn::Ready,
    }
}

/// Returns the checkpoint with possibly the same weights that is still to be measured.
fn twin_owed(
    world: &World,
    run: &Run,
    checkpoint: &CheckpointId,
    content: &Owed,
) -> Option<CheckpointName> {
    if checkpoint.name != CheckpointName::Final {
        return None;
    }
    let comes_soon = |other: &OwedContent<'_>| {
        let OwedContent { name, owed, .. } = *other;
        let id = CheckpointId { run: checkpoint.run.clone(), name };
        owed.complete.weights_digest == content.complete.weights_digest
            && run.present_complete(name).is_some_and(|on| on.digest == owed.complete.digest)
            && is_running_or_ready(world, &id, owed)
    };
    run.contents
        .all_owed()
        .filter(|other| other.name != CheckpointName::Final)
        .find(comes_soon)
        .map(|other| other.name)
}

/// Whether it runs or can be started, and does not wait for anything.
fn is_running_or_ready(world: &World, id: &CheckpointId, content: &Owed) -> bool {
    let is_pending = matches!(content.standing, Standing::Pending | Standing::Started { .. });
    world.running.iter().any(|one| one.checkpoint == *id)
        || (is_pending && matches!(turn(world, id, content, world.now), Turn::Ready))
}

fn start(
    world: &mut World,
    checkpoint: &CheckpointId,
    digest: &Digest,
    now: Moment,
    out: &mut Decisions,
) -> bool {
    let Some(order) = order(world, checkpoint, digest) else { return false };
    let Some(content) = world.owed(checkpoint, digest) else { return false };
    let (attempt, interruptions) = (order.attempt, content.owed.interruptions);
    let failing_since = match content.owed.standing {
        Standing::Waiting { since, .. } => Some(since),
        _ => None,
    };
    world.running.push(Running {
        number: order.number,
        checkpoint: checkpoint.clone(),
        digest: digest.clone(),
        attempt,
        failing_since,
        protocol: order.program.protocol.clone(),
        model_type: order.program.model_type.clone(),
        device: None,
        since: now,
    });
    world.next_order += 1;
    out.transaction.changes.push(Change::Standing {
        checkpoint: checkpoint.clone(),
        digest: digest.clone(),
        standing: Standing::Started { attempt, interruptions },
    });
    let what = Happening::AnalysisStarted { attempt, digest: digest.clone() };
    out.event(now, &checkpoint.run, Some(checkpoint.name), what);
    out.effects.push(Effect::Analyze(Box::new(order)));
    true
}

fn order(world: &World, checkpoint: &CheckpointId, digest: &Digest) -> Option<AnalysisOrder> {
    let run = world.runs.get(&checkpoint.run)?;
    let present = run.present.get(&checkpoint.name)?;
    let content = run.contents.owed(checkpoint.name, digest)?.owed;
    let config = &content.complete.config;
    let settings = &world.settings.analysis;
    let program =
        command::template(world.program.as_ref()?, settings, checkpoint, config, &world.rejected);
    let attempt = match &content.standing {
        Standing::Waiting { attempt, .. } => attempt + 1,
        _ => 1,
    };
    Some(AnalysisOrder {
        number: world.next_order,
        checkpoint: checkpoint.clone(),
        folder: present.folder.clone(),
        signature: present.signature,
        content: (*content.complete).clone(),
        attempt,
        program: program.ok()?,
        twin: twin(run, checkpoint, content),
    })
}

/// Returns an observed checkpoint of the run whose weights may be those of this final model.
fn twin(run: &Run, checkpoint: &CheckpointId, content: &Owed) -> Option<Twin> {
    if checkpoint.name != CheckpointName::Final {
        return None;
    }
    let digest = &content.complete.weights_digest;
    let mut newest_first = run.observations.iter().rev();
    let observed = newest_first.find(|one| {
        one.name != CheckpointName::Final && one.verdict().is_some() && one.may_have_weights(digest)
    })?;
    Some(Twin { name: observed.name, time: observed.time, observation: None })
}
