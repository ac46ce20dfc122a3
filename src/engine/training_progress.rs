//! How far training is: step, metrics and the expected end, from the shell log and the checkpoints.

use std::borrow::Cow;

use crate::judge::pace::{Speed, estimate};
use crate::model::Timestamp;
use crate::model::checkpoint::TrainingPoint;
use crate::model::ids::{CheckpointName, RunId};
use crate::model::shell_log::{LogMetricKind, LoggedTraining};
use crate::model::time::Moment;
use crate::model::training::{MetricSource, RunMetric, TrainingState};
use crate::parse::run_metrics::merge;

use super::log::Log;
use super::training::newest_log;
use super::world::{Run, World};

/// Metrics of a run that are shown.
const SHOWN_METRICS: usize = 20;

/// Returns the newest metrics of a run from all that tells of them.
pub(super) fn metrics(world: &World, id: &RunId, run: &Run) -> Vec<RunMetric> {
    let logged = logged(world, id, run).map(|(_, training)| training.metrics.as_slice());
    merge(logged.unwrap_or_default(), &run.history, SHOWN_METRICS)
}

fn logged<'world>(
    world: &'world World,
    id: &RunId,
    run: &Run,
) -> Option<(&'world Log, &'world LoggedTraining)> {
    let log = newest_log(world, id, run)?;
    Some((log, log.training_of(id)?.1))
}

/// Returns where training stands by the newest of its checkpoints and what its log says since.
pub(super) fn point(world: &World, id: &RunId, run: &Run) -> Option<TrainingPoint> {
    let saved = saved_point(run);
    let Some((_, training)) = logged(world, id, run) else { return saved };
    let mut point = saved.unwrap_or_default();
    point.total_steps = training.total_steps.or(point.total_steps);
    if training.step.is_some_and(|step| step < point.step) {
        // The checkpoints come from somewhere else, or the log lags behind.
        return Some(point);
    }
    point.step = training.step.unwrap_or(point.step);
    let metrics = metrics(world, id, run);
    let newest = |kind| metrics.iter().rev().find(|one| one.kind == kind);
    // What the state tells of is told by the checkpoint already.
    let is_later = |one: &&RunMetric| one.source == MetricSource::ShellLog;
    if let Some(train) = newest(LogMetricKind::Train).filter(is_later) {
        point.loss = train.value("loss");
        point.grad_norm = train.value("grad_norm");
        point.learning_rate = train.value("learning_rate");
        point.epoch = train.value("epoch").or(point.epoch);
        point.loss_step = train.step;
        let not_finite = train.values.iter().filter(|(_, value)| !value.is_finite());
        point.not_finite = not_finite.map(|(name, _)| name.clone()).collect();
    }
    if let Some(evaluation) = newest(LogMetricKind::Eval).filter(is_later)
        && let Some(loss) = evaluation.value("eval_loss")
    {
        (point.eval_loss, point.eval_step) = (Some(loss), evaluation.step);
    }
    let is_empty = training.step.is_none() && metrics.is_empty();
    (!is_empty || point.step > 0).then_some(point)
}

fn saved_point(run: &Run) -> Option<TrainingPoint> {
    run.present
        .keys()
        .rev()
        .find_map(|name| run.present_complete(*name)?.training.clone())
        .or_else(|| run.observations.training().cloned())
}

/// Returns when training is expected to end, and what that is based on or why it is not known.
pub(super) fn end(
    world: &World,
    (id, run): (&RunId, &Run),
    point: Option<&TrainingPoint>,
) -> (Option<String>, Cow<'static, str>) {
    let state = run.training.as_ref().map(|training| training.known.state);
    match state {
        Some(TrainingState::Training) => {}
        Some(TrainingState::Stalled) => return (None, "unknown: it is stalled".into()),
        Some(TrainingState::Failed | TrainingState::Complete) => {
            return (None, "training has ended".into());
        }
        Some(TrainingState::Unknown) | None => {
            return (None, "unknown: nothing shows that it trains".into());
        }
    }
    let Some((step, total)) = point.and_then(|point| Some((point.step, point.total_steps?))) else {
        return (None, "unknown: its planned steps are not known".into());
    };
    let found = speed(world, id, run).and_then(|(at, speed)| {
        estimate((step, total), Moment::new(at, world.now.offset()), &speed)
    });
    match found {
        Some((end, basis)) => (Some(end.to_string()), basis.into()),
        None => (None, "unknown: no progress was observed yet".into()),
    }
}

/// Returns how fast training is and when it was where it is: by what was observed, else by its own
/// bar, else by its checkpoints.
fn speed(world: &World, id: &RunId, run: &Run) -> Option<(Timestamp, Speed)> {
    let by_bar = |training: &LoggedTraining| {
        let basis = "by its progress bar".to_owned();
        Some(Speed { steps_per_second: training.steps_per_second?, basis })
    };
    let by_log = logged(world, id, run).and_then(|(log, training)| {
        let observed = log.awake.as_ref().and_then(|awake| awake.pace.observed());
        Some((log.grown_at, observed.or_else(|| by_bar(training))?))
    });
    by_log.or_else(|| by_checkpoints(run))
}

fn by_checkpoints(run: &Run) -> Option<(Timestamp, Speed)> {
    let mut newest = run.present.iter().rev().filter(|(name, _)| name.step().is_some());
    let ((last, is), (before, was)) = (newest.next()?, newest.next()?);
    let time = is.newest_change?.duration_since(was.newest_change?).as_secs_f64();
    let steps = last.step()?.checked_sub(before.step()?)?;
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    let steps_per_second = steps as f64 / time;
    let basis = format!("between {} and {}", CheckpointName::to_string(before), last);
    (time > 0.0).then_some((is.newest_change?, Speed { steps_per_second, basis }))
}
