//! The state of each run's training: judged when something was seen of it, and while it is open
//! whenever time has passed.

use std::time::Duration;

use crate::judge::pace::Pace;
use crate::judge::training::{FinalModel, JudgedState, LogSigns, TrainingSigns, judge_training};
use crate::model::Timestamp;
use crate::model::checkpoint::Condition;
use crate::model::event::Happening;
use crate::model::host_evidence::{KernelFinding, KernelHappening, KernelReading, LogWriters};
use crate::model::ids::{CheckpointName, RunId};
use crate::model::journal::{Change, Standing};
use crate::model::shell_log::{LogKey, LogMetricKind};
use crate::model::time::Moment;
use crate::model::training::{KnownState, TrainingState};
use crate::recognize;

use super::log::Log;
use super::world::{Run, RunTraining, World};
use super::{Decisions, Effect, documents, training_notes};

/// How often runs are looked at whose state may change by the passing of time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked who writes a log that was silent for a moment, and for long.
const ASK_EVERY: Duration = Duration::from_secs(10);
const ASK_LATER: Duration = Duration::from_mins(1);
/// Silence after which it is worth asking again, and after which it is not urgent.
const QUIET: Duration = Duration::from_secs(15);
const LONG_QUIET: Duration = Duration::from_mins(3);
/// Logs that are asked about at a time.
const MOST_ASKED: usize = 32;
/// What the kernel said is remembered so long after each other.
const KERNEL_FINDINGS: usize = 64;
/// What the kernel says bears on a log that stopped so much later or earlier.
const KERNEL_BEFORE: Duration = Duration::from_mins(2);
const KERNEL_AFTER: Duration = Duration::from_mins(10);

/// Judges the state of a run's training, and announces it if it is another one than before.
pub(super) fn judge(world: &mut World, id: &RunId, now: Moment, out: &mut Decisions) {
    let Some(run) = world.runs.get(id) else {
        world.restless.remove(id);
        return;
    };
    let judged = is_watched(world, run).then(|| judged(world, id, run, now));
    let Some(judged) = judged.filter(|judged| may_be_said(world, judged.state)) else { return };
    let notes_wait = training_notes::write_due(world, id, now, out);
    if judged.state.is_open() || notes_wait {
        world.restless.insert(id.clone());
    } else {
        world.restless.remove(id);
    }
    let writers = writers_of(world, id);
    let run = world.run_mut(id);
    let before = run.training.as_ref().map(|training| &training.known);
    let is_news = match before {
        None => judged.state != TrainingState::Unknown,
        Some(before) => before.state != judged.state,
    };
    let known = match before {
        Some(before) if !is_news => KnownState {
            writers: writers.unwrap_or_else(|| before.writers.clone()),
            ..before.clone()
        },
        _ => KnownState {
            state: judged.state,
            since: now.whole_seconds(),
            // What is not announced is not remembered either.
            evidence: if is_news { judged.evidence.clone() } else { String::new() },
            writers: writers.unwrap_or_default(),
        },
    };
    if is_news || before.is_some_and(|before| *before != known) {
        out.transaction.changes.push(Change::RunState(id.clone(), known.clone()));
    }
    run.training = Some(Box::new(RunTraining { known, evidence: judged.evidence.clone() }));
    if is_news {
        announce(world, id, &judged, now, out);
    }
}

fn announce(world: &mut World, id: &RunId, judged: &JudgedState, now: Moment, out: &mut Decisions) {
    let state = judged.state.as_str().to_owned();
    out.event(now, id, None, Happening::RunState { state, evidence: judged.evidence.clone() });
    if judged.is_silent_end {
        training_notes::silent_end(world, id, &judged.evidence, now, out);
    }
    if !judged.state.is_open() {
        fill_results(world, id, out);
    }
}

/// Whether a run's state is more than what is known of its folder: deleted ones, old ones and the
/// folders of other ranks have none, unless a log that is not old tells of them.
fn is_watched(world: &World, run: &Run) -> bool {
    let has_log = run
        .logs
        .iter()
        .filter_map(|key| world.logs.get(key))
        .any(|log| log.known.old_since.is_none());
    match &run.known {
        Some(known) => !known.gone && (known.old_since.is_none() || has_log),
        None => has_log || run.training.is_some(),
    }
}

/// What is concluded from silence waits until everything was looked at once: a daemon that was away
/// for an hour has not seen what was written since.
fn may_be_said(world: &World, state: TrainingState) -> bool {
    let is_positive = matches!(state, TrainingState::Failed | TrainingState::Complete);
    (world.shell_logs_read && world.first_scan_done) || is_positive
}

fn judged(world: &World, id: &RunId, run: &Run, now: Moment) -> JudgedState {
    let before = run.training.as_ref().map(|training| &training.known);
    let log = newest_log(world, id, run);
    let is_over = |before: &&KnownState| {
        matches!(before.state, TrainingState::Failed | TrainingState::Complete)
    };
    let saved_at = run.newest_change;
    if let Some(before) = before.filter(is_over)
        && log.is_none()
        && saved_at.is_none_or(|saved| saved <= before.since.timestamp())
    {
        // Its log was tidied away, and with it the evidence, but not what was known.
        let (state, evidence) = (before.state, before.evidence.clone());
        return JudgedState { state, evidence, is_silent_end: false };
    }
    let (limit, learned) = patience(world, run, log);
    let signs = TrainingSigns {
        final_model: final_model(run),
        log: log.and_then(|log| log_signs(world, id, log, now)),
        saved_at,
        checkpoints_come: checkpoint_interval(run).is_some(),
        limit,
        learned,
        before,
        now,
    };
    judge_training(&signs)
}

/// Returns the log of a run that was written last.
pub(super) fn newest_log<'world>(
    world: &'world World,
    id: &RunId,
    run: &Run,
) -> Option<&'world Log> {
    let logs = run.logs.iter().filter_map(|key| world.logs.get(key));
    logs.filter(|log| log.training_of(id).is_some()).max_by_key(|log| log.grown_at)
}

/// Returns how long a silence is ordinary for a run, and what that was learned from.
fn patience(world: &World, run: &Run, log: Option<&Log>) -> (Duration, Option<Duration>) {
    let unknown = Pace::default();
    let pace = log.and_then(|log| log.awake.as_deref()).map_or(&unknown, |awake| &awake.pace);
    let printed = log.and_then(|log| log.known.reading.trainings.last());
    let printed = printed.map(|training| training.metric_intervals.as_slice()).unwrap_or_default();
    let learned = pace.learned(printed, checkpoint_interval(run));
    (pace.limit(learned, &world.settings.training), learned)
}

/// Returns the time between the newest two checkpoints.
pub(super) fn checkpoint_interval(run: &Run) -> Option<Duration> {
    let mut newest = run.present.iter().rev().filter(|(name, _)| name.step().is_some());
    let (_, last) = newest.next()?;
    let (_, before) = newest.next()?;
    let between = last.newest_change?.duration_since(before.newest_change?);
    Duration::try_from(between).ok().filter(|between| !between.is_zero())
}

fn final_model(run: &Run) -> Option<FinalModel> {
    let whole = |condition: &Condition| {
        matches!(condition, Condition::Complete(_) | Condition::Settling { .. })
    };
    let present = run.present.get(&CheckpointName::Final);
    if let Some(present) = present.filter(|present| whole(&present.condition)) {
        return Some(FinalModel { written: present.newest_change });
    }
    let was_there = run.contents.has(CheckpointName::Final);
    was_there.then_some(FinalModel { written: None })
}

fn log_signs<'a>(world: &'a World, id: &RunId, log: &'a Log, now: Moment) -> Option<LogSigns<'a>> {
    let (position, training) = log.training_of(id)?;
    let next = log.known.reading.trainings.get(position + 1);
    let next_run = log.runs.get(position + 1).and_then(Option::as_ref);
    let began = recognize::family_and_time(&log.known.path).map(|(_, time)| time);
    Some(LogSigns {
        path: &log.known.path,
        training,
        followed_by: next.map(|next| (next_run.map_or("?", RunId::as_str), next.first_line)),
        began: began.and_then(|began| now.offset().to_timestamp(began).ok()),
        grown_at: log.grown_at,
        is_read: log.is_read() && world.shell_logs_read,
        writers: log.awake.as_ref().and_then(|awake| awake.writers.as_deref()),
        kernel: kernel_findings(world, log.grown_at).first().copied(),
        kernel_note: world.kernel_note.as_deref(),
    })
}

/// Returns what the kernel says of about the time at which a log stopped: killed processes first.
pub(super) fn kernel_findings(world: &World, stopped: Timestamp) -> Vec<&KernelFinding> {
    let within = |distance: jiff::SignedDuration, most: Duration| {
        Duration::try_from(distance).is_ok_and(|distance| distance <= most)
    };
    let is_near = |finding: &&KernelFinding| {
        within(finding.time.duration_since(stopped), KERNEL_AFTER)
            || within(stopped.duration_since(finding.time), KERNEL_BEFORE)
    };
    let is_kill =
        |finding: &KernelFinding| matches!(finding.what, KernelHappening::OutOfMemory { .. });
    let mut near: Vec<&KernelFinding> = world.kernel.iter().filter(is_near).collect();
    near.sort_by_key(|finding| !is_kill(finding));
    near
}

fn writers_of(world: &World, id: &RunId) -> Option<Vec<u32>> {
    let log = newest_log(world, id, world.runs.get(id)?)?;
    log.awake.as_ref()?.writers.clone().filter(|writers| !writers.is_empty())
}

/// Takes in who writes logs.
pub(super) fn writers(world: &mut World, found: Vec<LogWriters>, now: Moment, out: &mut Decisions) {
    for LogWriters { log, pids } in found {
        let Some(log) = world.logs.get_mut(&log) else { continue };
        log.awake.get_or_insert_default().writers = pids;
        let runs: Vec<RunId> = log.runs.iter().flatten().cloned().collect();
        if world.journal_problem.is_some() {
            continue;
        }
        for run in runs {
            judge(world, &run, now, out);
        }
    }
}

/// Takes in what the kernel says.
pub(super) fn kernel(world: &mut World, reading: KernelReading) {
    world.kernel_note = reading.note;
    world.kernel.extend(reading.findings);
    let surplus = world.kernel.len().saturating_sub(KERNEL_FINDINGS);
    world.kernel.drain(..surplus);
}

/// Judges every run, once everything was looked at.
pub(super) fn judge_all(world: &mut World, now: Moment, out: &mut Decisions) {
    if !(world.shell_logs_read && world.first_scan_done) || world.journal_problem.is_some() {
        return;
    }
    let runs: Vec<RunId> = world.runs.keys().cloned().collect();
    for run in runs {
        judge(world, &run, now, out);
    }
}

/// Looks at the runs whose state may change by the passing of time, and asks who writes their logs.
pub(super) fn look_at_restless(world: &mut World, now: Moment, out: &mut Decisions) {
    let is_due = world.restless_looked_at.is_none_or(|at| now.since(at.timestamp()) >= LOOK_EVERY);
    if !is_due || world.journal_problem.is_some() || world.restless.is_empty() {
        return;
    }
    world.restless_looked_at = Some(now);
    let runs: Vec<RunId> = world.restless.iter().cloned().collect();
    let mut asked: Vec<(LogKey, String)> = Vec::new();
    for run in runs {
        judge(world, &run, now, out);
        if asked.len() < MOST_ASKED {
            asked.extend(question(world, &run, now));
        }
    }
    if !asked.is_empty() {
        out.effects.push(Effect::LookForWriters(asked));
    }
}

/// Returns how soon that is due again.
pub(super) fn next_look(world: &World, now: Moment) -> Duration {
    if world.restless.is_empty() {
        return Duration::MAX;
    }
    super::left(world.restless_looked_at, LOOK_EVERY, now)
}

/// Returns the log of a run of which it should be asked who writes it.
fn question(world: &mut World, id: &RunId, now: Moment) -> Option<(LogKey, String)> {
    let run = world.runs.get(id)?;
    if !run.training.as_ref().is_some_and(|training| training.known.state.is_open()) {
        return None;
    }
    let key = newest_log(world, id, run)?.known.key.clone();
    let log = world.logs.get_mut(&key)?;
    let quiet = now.since(log.grown_at);
    let awake = log.awake.get_or_insert_default();
    let since = awake.asked.map(|asked| now.since(asked.timestamp()));
    let is_known = awake.writers.as_ref().is_some_and(|writers| !writers.is_empty());
    let is_due = match since {
        None => true,
        Some(since) if quiet >= LONG_QUIET || (is_known && quiet < QUIET) => since >= ASK_LATER,
        Some(since) => since >= ASK_EVERY,
    };
    is_due.then(|| {
        awake.asked = Some(now);
        (key, log.known.path.clone())
    })
}

/// Fills what is known at the end of a training.
pub(super) fn fill_results(world: &World, id: &RunId, out: &mut Decisions) {
    if world.runs.get(id).is_some_and(Run::is_live)
        && let Some(results) = results(world, id)
    {
        documents::fill_results(world, id, results, out);
    }
}

/// Returns what a training that is over leaves: its speed, and the last loss where no checkpoint
/// had one.
pub(super) fn results(world: &World, id: &RunId) -> Option<(Option<f64>, Option<f64>)> {
    let run = world.runs.get(id)?;
    let is_over = |training: &RunTraining| !training.known.state.is_open();
    if !run.training.as_deref().is_some_and(is_over) {
        return None;
    }
    let (_, training) = newest_log(world, id, run).and_then(|log| log.training_of(id))?;
    let summary = training.metrics.iter().rev().find(|one| one.kind == LogMetricKind::Summary);
    let speed = summary.and_then(|metric| metric.value("train_steps_per_second"));
    let last = training.metrics.iter().rev().find(|one| one.kind == LogMetricKind::Train);
    let has_loss = run.contents.standings().any(|standing| *standing == Standing::Observed);
    let loss = last.filter(|_| !has_loss).and_then(|metric| {
        let is_finite = |name| metric.value(name).is_none_or(f64::is_finite);
        metric.value("loss").filter(|_| is_finite("loss") && is_finite("grad_norm"))
    });
    Some((speed.or(training.steps_per_second), loss))
}
