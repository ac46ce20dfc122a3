//! From what a shell log says to what is recorded of it: its position, the run that it belongs to,
//! and the failures of training that it tells of, all in one transaction.

use crate::model::Timestamp;
use crate::model::event::Happening;
use crate::model::ids::RunId;
use crate::model::journal::{Change, KnownLog};
use crate::model::shell_log::{
    LogFailure, LogKey, LogMetricKind, LogReading, LogSighting, LoggedTraining,
};
use crate::model::time::Moment;
use crate::recognize;
use crate::settings::Adopt;

use super::log::Log;
use super::world::{Run, World};
use super::{Decisions, Effect, absence, documents, training};

/// Failures that end nothing and are told of all the same.
const AILMENTS: [&str; 2] = ["non_finite", "divergence"];
/// So many of the most recently written logs are remembered with all that they say.
const AWAKE: usize = 64;

/// Takes in a log: how far it was read is recorded together with what is concluded of it.
pub(super) fn seen(world: &mut World, seen: LogSighting, now: Moment, out: &mut Decisions) {
    if world.journal_problem.is_some() {
        world.missed_sightings = true;
        return;
    }
    detach(world, &seen.key);
    let before = world.logs.remove(&seen.key);
    let told = before.as_ref().map(|log| roots_of(&log.known.reading)).unwrap_or_default();
    let mut known = KnownLog::new(seen, None);
    known.old_since = old_since(world, before.as_ref(), &known, now);
    let mut log = Log::new(known, now);
    if let Some(before) = before {
        log.go_on(before, &world.settings.training, now);
    }
    link(world, &mut log);
    out.transaction.changes.push(Change::ShellLog(Box::new(log.known.clone())));
    log.known.position.parser = String::new();
    announce_failures(&log, &told, now, out);
    let runs: Vec<RunId> = log.runs.iter().flatten().cloned().collect();
    let key = log.known.key.clone();
    world.logs.insert(key.clone(), log);
    attach(world, &key);
    put_to_rest(world);
    for run in runs {
        documents::log_facts(world, &run, out);
        training::judge(world, &run, now, out);
    }
}

/// From now on silence means something.
pub(super) fn all_read(world: &mut World, now: Moment, out: &mut Decisions) {
    world.shell_logs_read = true;
    training::judge_all(world, now, out);
    // What the newest checkpoints' states say is not in the journal.
    let is_of_today = |log: &&Log| log.known.old_since.is_none();
    let mut logs: Vec<&Log> = world.logs.values().filter(is_of_today).collect();
    logs.sort_by_key(|log| std::cmp::Reverse(log.grown_at));
    let runs = logs.into_iter().filter_map(|log| log.known.run.as_ref()).take(AWAKE);
    let is_live = |id: &&RunId| world.runs.get(*id).is_some_and(Run::is_live);
    out.effects.extend(runs.filter(is_live).cloned().map(Effect::ReadRunFacts));
}

/// Forgets a log whose content is nowhere any more.
pub(super) fn gone(world: &mut World, key: &LogKey, out: &mut Decisions) {
    if world.journal_problem.is_some() {
        world.missed_sightings = true;
        return;
    }
    detach(world, key);
    world.logs.remove(key);
    out.transaction.changes.push(Change::ShellLogGone(key.clone()));
}

/// A log that is old when it is seen for the first time is listed only, until it is written to.
fn old_since(
    world: &World,
    before: Option<&Log>,
    known: &KnownLog,
    now: Moment,
) -> Option<Timestamp> {
    match (before, world.settings.analysis.adopt) {
        (Some(before), _) => before.known.old_since.filter(|old| known.modified <= *old),
        (None, Adopt::All) => None,
        (None, Adopt::YoungerThan(age)) => {
            (now.since(known.modified) > age).then_some(known.modified)
        }
    }
}

/// Tells of the failures that were not told of when the log was recorded last. Both are recorded
/// together, so that each is told of once.
fn announce_failures(log: &Log, told: &[(u64, String)], now: Moment, out: &mut Decisions) {
    if log.known.old_since.is_some() {
        return;
    }
    for (position, training) in log.known.reading.trainings.iter().enumerate() {
        let run = log.runs.get(position).cloned().flatten();
        for failure in training.failures.iter().filter(|failure| is_told_of(failure)) {
            if told.contains(&(failure.line, failure.class.clone())) {
                continue;
            }
            let what = Happening::TrainingFailure {
                failure: failure.class.clone(),
                evidence: failure.text.clone(),
                log: Some(log.known.path.clone()),
                line: Some(failure.line),
            };
            match &run {
                Some(run) => out.event(now, run, None, what),
                None => out.daemon_event(now, what),
            }
        }
    }
}

/// Whether a failure is one of its own, and bears on training.
pub(super) fn is_told_of(failure: &LogFailure) -> bool {
    !failure.is_cascade && (failure.ends_training || AILMENTS.contains(&failure.class.as_str()))
}

/// Returns which failures a reading tells of.
fn roots_of(reading: &LogReading) -> Vec<(u64, String)> {
    let failures = reading.trainings.iter().flat_map(|training| &training.failures);
    let told = failures.filter(|failure| is_told_of(failure));
    told.map(|failure| (failure.line, failure.class.clone())).collect()
}

/// Whether a later reading of a training shows that it goes on.
pub(super) fn is_progress(before: &LoggedTraining, after: &LoggedTraining) -> bool {
    let last_line = |training: &LoggedTraining| {
        let mut lines = training.metrics.iter().filter(|one| one.kind == LogMetricKind::Train);
        lines.next_back().map(|metric| metric.line)
    };
    after.step > before.step || last_line(after) > last_line(before)
}

/// Finds the runs that the trainings of a log belong to, or says why its newest one has none.
fn link(world: &World, log: &mut Log) {
    let trainings = &log.known.reading.trainings;
    let names_all = trainings.iter().all(|training| training.run.is_some());
    let by_name = if names_all { Err(String::new()) } else { by_name(world, log) };
    log.runs = trainings
        .iter()
        .map(|training| match &training.run {
            Some(named) => Some(resolve(world, named)),
            None => by_name.clone().ok(),
        })
        .collect();
    log.known.run = log.runs.last().cloned().flatten();
    log.reason = by_name.err().filter(|_| log.known.run.is_none());
}

/// Returns the run that a log means by a name: it may have been renamed since, and each process of a
/// distributed training may have formed an id of its own, of which one holds the model.
fn resolve(world: &World, named: &RunId) -> RunId {
    if let Some(renamed) = world.aliases.get(named) {
        return renamed.clone();
    }
    absence::shadowed_sibling(world, named).unwrap_or_else(|| named.clone())
}

/// Finds the run of a log that names none. A run that it was tied to once stays its own.
fn by_name(world: &World, log: &Log) -> Result<RunId, String> {
    if let Some(run) = log.known.run.as_ref().filter(|run| world.runs.contains_key(run)) {
        return Ok(run.clone());
    }
    let is_candidate = |id: &RunId| {
        world.runs.get(id).is_some_and(|run| run.known.is_some() || !run.present.is_empty())
            && !absence::is_shadow(world, id)
    };
    let candidates = world.runs.keys().filter(|id| is_candidate(id));
    let run = recognize::run_by_name(&log.known.path, candidates)?;
    // A launch that failed before it formed an id leaves a log as well: the later one is the run's.
    let rival = recognize::family_and_time(&log.known.path).zip(run.stamp()).and_then(
        |((family, time), stamp)| {
            world.logs.values().find_map(|other| {
                let (other_family, began) = recognize::family_and_time(&other.known.path)?;
                let is_nearer = other_family == family && began > time && began <= stamp;
                is_nearer.then(|| other.known.path.clone())
            })
        },
    );
    match rival {
        None => Ok(run),
        Some(rival) => Err(format!(
            "it names no run, and `{rival}` began after it and before run `{run}`, which alone fits"
        )),
    }
}

/// Looks once more for the runs of logs that had none, because a run appeared.
pub(super) fn relink(world: &mut World, now: Moment, out: &mut Decisions) {
    let unlinked: Vec<LogKey> = world
        .logs
        .iter()
        .filter(|(_, log)| log.reason.is_some())
        .map(|(key, _)| key.clone())
        .collect();
    for key in unlinked {
        detach(world, &key);
        let Some(mut log) = world.logs.remove(&key) else { continue };
        link(world, &mut log);
        let run = log.known.run.clone();
        world.logs.insert(key.clone(), log);
        attach(world, &key);
        if let Some(run) = run {
            documents::log_facts(world, &run, out);
            training::judge(world, &run, now, out);
        }
    }
}

/// Ties all logs to their runs at the start.
pub(super) fn link_all(world: &mut World) {
    for log in world.logs.values() {
        let named = log.known.reading.trainings.last().and_then(|training| training.run.as_ref());
        if let (Some(named), Some(run)) = (named, &log.known.run)
            && named != run
        {
            // It was renamed in an earlier life.
            world.aliases.insert(named.clone(), run.clone());
        }
    }
    let keys: Vec<LogKey> = world.logs.keys().cloned().collect();
    for key in keys {
        let Some(mut log) = world.logs.remove(&key) else { continue };
        link(world, &mut log);
        world.logs.insert(key.clone(), log);
        attach(world, &key);
    }
}

fn attach(world: &mut World, key: &LogKey) {
    let Some(log) = world.logs.get(key) else { return };
    for run in log.runs.iter().flatten() {
        let logs = &mut world.runs.entry(run.clone()).or_default().logs;
        if !logs.contains(key) {
            logs.reserve_exact(1);
            logs.push(key.clone());
        }
    }
}

fn detach(world: &mut World, key: &LogKey) {
    let Some(log) = world.logs.get(key) else { return };
    for run in log.runs.iter().flatten() {
        if let Some(run) = world.runs.get_mut(run) {
            run.logs.retain(|known| known != key);
        }
    }
}

/// Forgets what logs at rest need not be remembered with, because hundreds of them are known.
fn put_to_rest(world: &mut World) {
    let awake = world.logs.values().filter(|log| log.awake.is_some());
    if awake.clone().count() <= AWAKE {
        return;
    }
    let oldest = awake.min_by_key(|log| log.known.modified).map(|log| log.known.key.clone());
    if let Some(log) = oldest.and_then(|key| world.logs.get_mut(&key)) {
        log.known.rest();
        log.awake = None;
    }
}
