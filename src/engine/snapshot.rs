//! The status snapshot, computed from the world on demand.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use crate::model::checkpoint::Condition;
use crate::model::ids::{CheckpointId, CheckpointName, RunId};
use crate::model::journal::Standing;
use crate::model::status::{
    CheckpointCounts, QueueEntry, Readiness, ReceiverStatus, RunStatus, RunningAnalysis, Status,
    UnlinkedLog,
};
use crate::model::time::Moment;
use crate::schedule::queue::{self, Candidate};

use super::dispatch::{Turn, candidate, turn};
use super::log::Log;
use super::observed::Observed;
use super::world::{Run, World};
use super::{Event, absence, alert_queue, evaluations, training, training_progress};

/// A queue is shown to people; more entries than this are only counted.
const SHOWN_QUEUE: usize = 200;
/// A full scan may take this long, and the time between two of them, before it is said to hang.
const SCAN_PATIENCE: Duration = Duration::from_secs(30);
const SHOWN_INCOMPLETE: usize = 10;
/// Logs without a run that are shown.
const SHOWN_UNLINKED: usize = 20;
/// A run that never had a folder is shown for so long after its training ended.
const SHOWN_AFTER_END: Duration = Duration::from_hours(24);

/// Returns what the daemon knows at this moment.
pub fn snapshot(world: &World, now: Moment) -> Status {
    snapshot_after(&Status::default(), world, now)
}

/// Returns what the daemon knows at this moment, and shares what is the same as in the snapshot
/// before.
pub fn snapshot_after(before: &Status, world: &World, now: Moment) -> Status {
    let shown = |(_, run): &(&RunId, &Run)| {
        run.known.is_some() || !run.present.is_empty() || is_known_by_its_log(world, run, now)
    };
    let mut runs: Vec<(&RunId, &Run)> = world.runs.iter().filter(shown).collect();
    runs.sort_by_key(|(id, run)| (Reverse(run.newest_change), *id));
    let runs = runs.into_iter().enumerate().map(|(position, (id, run))| {
        let status = run_status(world, id, run);
        // The order rarely changes, so the same run stood in the same place.
        let same = before.runs.get(position).filter(|old| ***old == status);
        same.map_or_else(|| Arc::new(status), Arc::clone)
    });
    Status { runs: runs.collect(), ..without_runs(world, now) }
}

/// Returns what the daemon knows at this moment, when nothing happened to any run since the
/// snapshot before ([`leaves_runs`]).
pub fn snapshot_of_the_rest(before: &Status, world: &World, now: Moment) -> Status {
    let same = |old: &Arc<RunStatus>| match world.runs.get(&old.run) {
        // How long is still waited for a checkpoint is told as well.
        Some(run) if !old.incomplete.is_empty() => Arc::new(run_status(world, &old.run, run)),
        _ => Arc::clone(old),
    };
    Status { runs: before.runs.iter().map(same).collect(), ..without_runs(world, now) }
}

/// Returns whether an event cannot change what is told of any run, unless it leads to an effect.
///
/// With a thousand runs known their statuses are by far the most of a snapshot, and most snapshots
/// of a daemon at rest are made because the host was read again.
pub fn leaves_runs(world: &World, event: &Event) -> bool {
    match event {
        Event::Host(..) | Event::Gpus(_) | Event::Reconciled { .. } | Event::Recorded { .. } => {
            true
        }
        // Runs that train are judged anew.
        Event::Tick => world.restless.is_empty(),
        _ => false,
    }
}

fn without_runs(world: &World, now: Moment) -> Status {
    let mut daemon = world.daemon.clone();
    daemon.uptime_seconds = now.since(world.started.timestamp()).as_secs();
    daemon.journal_problem.clone_from(&world.journal_problem);
    daemon.seq = world.seq;
    let mut watch = world.watch.clone();
    watch.training_folder = match (&world.training_problem, world.training_identity) {
        (Some(problem), _) => problem.clone(),
        (None, Some(_)) => "listed".to_owned(),
        (None, None) => "not looked at yet".to_owned(),
    };
    Status {
        time: now.to_string(),
        runs: Vec::new(),
        analysis: world.readiness.clone(),
        paused: world.paused.map(|since| since.whole_seconds().to_string()),
        queue: queue_entries(world, now),
        unlinked_logs: unlinked_logs(world),
        unlinked_reports: evaluations::unlinked(world),
        running: world.running.iter().map(running).collect(),
        documents: world.documents.clone(),
        log: world.log.clone(),
        watch,
        host: world.host.clone(),
        daemon,
        alerts: alert_queue::status(world),
        problems: problems(world, now),
    }
}

/// Whether a run without a folder is to be shown: as long as its training is open, and for a day
/// after that.
fn is_known_by_its_log(world: &World, run: &Run, now: Moment) -> bool {
    let Some(training) = &run.training else { return false };
    let since = now.since(training.known.since.timestamp());
    !run.logs.is_empty()
        && (training.known.state.is_open() || since < SHOWN_AFTER_END)
        && run.logs.iter().any(|key| world.logs.contains_key(key))
}

fn running(one: &super::world::Running) -> RunningAnalysis {
    RunningAnalysis {
        run: one.checkpoint.run.clone(),
        checkpoint: one.checkpoint.name.to_string(),
        since: one.since.whole_seconds().to_string(),
        attempt: one.attempt,
        device: one.device.clone(),
    }
}

/// Says so when the training folder does not answer: a network folder whose server is away holds
/// whoever looks at it, without an error.
pub(super) fn hanging_scan(world: &World, now: Moment) -> Option<String> {
    let silent = now.since(world.last_scan.timestamp());
    let patience = SCAN_PATIENCE + world.settings.watch.reconcile * 2;
    let folder = world.settings.paths.training.display();
    (silent > patience).then(|| {
        format!(
            "no full scan of `{folder}` has ended for {} s: does a disk or a network folder hang?",
            silent.as_secs()
        )
    })
}

fn problems(world: &World, now: Moment) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(hanging_scan(world, now));
    problems.extend(
        world.journal_problem.as_ref().map(|why| format!("the journal cannot commit: {why}")),
    );
    if let Readiness::NotReady { problem } = &world.readiness {
        problems.push(format!("analyses cannot run: {problem}"));
    }
    problems.extend(world.training_problem.clone());
    problems.extend(world.watch.degraded.clone());
    let held = world.documents.held.iter();
    problems.extend(held.map(|held| format!("`{}` is held: {}", held.document, held.reason)));
    let branch = world.log.branch.as_ref().zip(world.log.problem.as_ref());
    problems
        .extend(branch.map(|(branch, problem)| format!("the log's branch `{branch}`: {problem}")));
    let unreadable = world.runs.iter().filter_map(|(id, run)| {
        run.problem.as_ref().map(|problem| format!("run `{id}`: {problem}"))
    });
    problems.extend(unreadable);
    problems.extend(super::failures::problems(world));
    problems.extend(super::begun::problems(world));
    problems.extend(world.shell_log_problems.iter().cloned());
    problems.extend(world.evaluations.problems.iter().cloned());
    for (id, run) in &world.runs {
        for (name, present) in &run.present {
            match &present.condition {
                Condition::Unreadable { problem } | Condition::Damaged { problem } => {
                    problems.push(format!("{id}/{name}: {problem}"));
                }
                _ => {}
            }
        }
    }
    problems.extend(alert_queue::status(world).iter().filter_map(undelivered));
    problems
}

fn undelivered(receiver: &ReceiverStatus) -> Option<String> {
    let problem = receiver.problem.as_ref()?;
    let ReceiverStatus { address, waiting, lost, .. } = receiver;
    Some(format!("alerts to `{address}` fail: {problem} ({waiting} wait, {lost} lost)"))
}

fn queue_entries(world: &World, now: Moment) -> Vec<QueueEntry> {
    let candidates = world
        .pending
        .iter()
        .filter_map(|(checkpoint, digest)| Some(candidate(world, checkpoint, digest)?.0));
    let mut ordered = queue::order(candidates.collect());
    // A stable sort: those that a person asked for in the order in which they will be analyzed,
    // then all others in the order of the queue.
    ordered.sort_by_key(|candidate| {
        let asked = world.asked.iter().position(|(id, _)| id == candidate.checkpoint);
        asked.unwrap_or(usize::MAX)
    });
    ordered
        .into_iter()
        .filter(|candidate| !is_running(world, candidate.checkpoint))
        .take(SHOWN_QUEUE)
        .map(|candidate| QueueEntry {
            reason: waits_for(world, &candidate, now),
            run: candidate.checkpoint.run.clone(),
            checkpoint: candidate.checkpoint.name.to_string(),
        })
        .collect()
}

fn is_running(world: &World, checkpoint: &CheckpointId) -> bool {
    world.running.iter().any(|running| running.checkpoint == *checkpoint)
}

fn waits_for(world: &World, candidate: &Candidate<'_>, now: Moment) -> String {
    let Candidate { checkpoint, digest, .. } = candidate;
    let Some(content) = world.owed(checkpoint, digest) else { return "unknown".to_owned() };
    if let Turn::Waits(reason) = turn(world, checkpoint, content.owed, now) {
        return reason;
    }
    if world.journal_problem.is_some() {
        return "nothing is started while the journal cannot commit".to_owned();
    }
    if let Some(since) = world.paused {
        let since = since.table_form();
        return format!("paused since {since}; `runscribe queue resume` goes on");
    }
    match &world.readiness {
        Readiness::NotReady { problem } => problem.clone(),
        Readiness::Checking => "the analysis program is being checked".to_owned(),
        Readiness::Ready { .. } => "its turn comes after those before it".to_owned(),
    }
}

fn run_status(world: &World, id: &RunId, run: &Run) -> RunStatus {
    let newest = run.observations.newest_judged();
    let rank = newest.and_then(Observed::rank);
    let metrics = training_progress::point(world, id, run);
    let (state, evidence) = state(world, id, run);
    let (eta, eta_basis) = training_progress::end(world, (id, run), metrics.as_ref());
    let newest_log = training::newest_log(world, id, run).map(|log| log.known.path.clone());
    RunStatus {
        run: id.clone(),
        state,
        evidence,
        step: metrics.as_ref().map(|point| point.step),
        total_steps: metrics.as_ref().and_then(|point| point.total_steps),
        eta,
        eta_basis,
        recent_metrics: training_progress::metrics(world, id, run),
        metrics,
        checkpoints: counts(run),
        verdict: newest.and_then(Observed::verdict),
        reasons: run.observations.reasons().to_vec(),
        rank: rank.map(|(value, _)| value),
        rank_measurement: rank.map(|(_, measurement)| measurement.to_owned()),
        concepts: run.observations.concepts,
        trajectory: trajectory(run),
        shell_logs: shell_logs(world, run),
        shell_log: newest_log.or_else(|| run.facts().shell_log),
        wandb_url: run.facts().wandb_url,
        failure_notes: run.notes.values().map(|file| note_path(world, file)).collect(),
        scores: evaluations::scores(world, id),
        incomplete: incomplete(run, world.now),
    }
}

fn note_path(world: &World, file: &str) -> String {
    let paths = &world.settings.paths;
    super::documents::relative(&paths.root, &paths.run_reports.join(file))
}

fn state(world: &World, id: &RunId, run: &Run) -> (Cow<'static, str>, Cow<'static, str>) {
    let (state, evidence) = match &run.known {
        Some(known) if known.gone => ("gone", "its folder was deleted"),
        Some(known) if known.old_since.is_some() => {
            ("old", "no file changed shortly before the first start; listed only")
        }
        None if absence::is_shadow(world, id) => {
            ("rank shadow", "another rank's folder of the same training")
        }
        _ => return training_state(run),
    };
    (state.into(), evidence.into())
}

fn training_state(run: &Run) -> (Cow<'static, str>, Cow<'static, str>) {
    match &run.training {
        Some(training) => (training.known.state.as_str().into(), training.evidence.clone().into()),
        None if has_final(run) => ("complete".into(), "its final model is there".into()),
        None => ("unknown".into(), "nothing tells of its training yet".into()),
    }
}

/// Returns the paths of a run's logs, the newest first, if there are several.
fn shell_logs(world: &World, run: &Run) -> Vec<String> {
    let mut logs: Vec<&Log> = run.logs.iter().filter_map(|key| world.logs.get(key)).collect();
    if logs.len() < 2 {
        return Vec::new();
    }
    logs.sort_by_key(|log| Reverse(log.grown_at));
    logs.into_iter().map(|log| log.known.path.clone()).collect()
}

/// Returns the logs of today that belong to no run, the newest first, each with the reason.
fn unlinked_logs(world: &World) -> Vec<UnlinkedLog> {
    let mut logs: Vec<&Log> =
        world.logs.values().filter(|log| log.known.old_since.is_none()).collect();
    logs.sort_by_key(|log| Reverse(log.grown_at));
    let unlinked = logs.into_iter().filter_map(|log| {
        let (path, reason) = (log.known.path.clone(), log.reason.clone()?);
        Some(UnlinkedLog { path, reason })
    });
    unlinked.take(SHOWN_UNLINKED).collect()
}

fn has_final(run: &Run) -> bool {
    run.present_complete(CheckpointName::Final).is_some() || run.contents.has(CheckpointName::Final)
}

fn counts(run: &Run) -> CheckpointCounts {
    let count = |wanted: fn(&Standing) -> bool| {
        run.contents.standings().filter(|standing| wanted(standing)).count() as u64
    };
    let unseen = |name: &&CheckpointName| !run.contents.has(**name);
    let complete = count(|_| true);
    CheckpointCounts {
        seen: complete + run.present.keys().filter(unseen).count() as u64,
        complete,
        analyzed: count(|standing| *standing == Standing::Observed),
        pending: count(|standing| {
            !matches!(standing, Standing::Listed | Standing::Observed | Standing::Gone)
        }),
        gone: count(|standing| *standing == Standing::Gone),
    }
}

/// Trends are not drawn across different protocols, nor across different measurements.
fn trajectory(run: &Run) -> Vec<(u64, f64)> {
    let Some((newest, (_, measurement))) =
        run.observations.iter().rev().find_map(|one| Some((one, one.rank()?)))
    else {
        return Vec::new();
    };
    let mut points: Vec<(u64, f64)> = run
        .observations
        .iter()
        .filter(|one| one.protocol == newest.protocol)
        .filter_map(|one| Some((one.name.step()?, one.rank()?)))
        .filter(|(_, (_, measured))| *measured == measurement)
        .map(|(step, (value, _))| (step, value))
        .collect();
    points.sort_by_key(|point| point.0);
    points
}

fn incomplete(run: &Run, now: Moment) -> Vec<(String, String)> {
    let describe = |condition: &Condition| match condition {
        Condition::Complete(_) => None,
        other => Some(crate::recognize::describe(other, now.timestamp())),
    };
    run.present
        .iter()
        .filter_map(|(name, present)| Some((name.to_string(), describe(&present.condition)?)))
        .take(SHOWN_INCOMPLETE)
        .collect()
}
