//! From the end of an analysis to an observation, a retry, or another look.

use std::collections::BTreeMap;

use crate::judge::{self, Evidence};
use crate::model::analysis::{AnalysisOutcome, AnalysisResult, FailureClass};
use crate::model::checkpoint::TrainingPoint;
use crate::model::event::Happening;
use crate::model::ids::{CheckpointId, CheckpointName, Digest};
use crate::model::journal::{Change, Standing};
use crate::model::measurement::{Judgment, Report};
use crate::model::observation::{Observation, ObservationOutcome};
use crate::model::time::Moment;
use crate::schedule::retry;

use super::contents::Owed;
use super::observed::Observed;
use super::world::{Running, World};
use super::{Decisions, Effect, documents, failures};

/// After so many interruptions by the daemon's own death the analysis itself is the suspect.
const MAX_INTERRUPTIONS: u32 = 20;

/// Digits of a protocol that are shown to people.
const SHOWN_PROTOCOL: usize = 4;

/// An order that came to its end, with what it was about.
struct Ended {
    running: Running,
    content: Owed,
    outcome: AnalysisOutcome,
}

impl Ended {
    fn event(&self, what: Happening, now: Moment, out: &mut Decisions) {
        let checkpoint = &self.running.checkpoint;
        out.event(now, &checkpoint.run, Some(checkpoint.name), what);
    }

    fn finished(
        &self,
        seconds: f64,
        same_as: Option<CheckpointName>,
        now: Moment,
        out: &mut Decisions,
    ) {
        let conditions = self.outcome.conditions.clone();
        self.event(Happening::AnalysisFinished { seconds, conditions, same_as }, now, out);
    }

    fn failed(&self, world: &World, failure: &Failure, retry: Retry, out: &mut Decisions) {
        let checkpoint = &self.running.checkpoint;
        let run = world.runs.get(&checkpoint.run);
        let mut failing =
            run.map(|run| failures::checkpoints(run, failure.class)).unwrap_or_default();
        failing.insert(checkpoint.name);
        let what = Happening::AnalysisFailed {
            class: failure.class,
            attempt: self.running.attempt,
            retry_at: retry.at.map(|at| at.whole_seconds().to_string()),
            failing_checkpoints: u32::try_from(failing.len()).unwrap_or(u32::MAX),
            evidence: failure.evidence.clone(),
            conditions: self.outcome.conditions.clone(),
        };
        self.event(what, retry.now, out);
    }

    /// Asks the gates; the report's absence is theirs to judge as well.
    fn judgment(&self, world: &World, report: Option<&Report>, disbelief: &[String]) -> Judgment {
        let config = &self.content.complete.config;
        let finite = self.outcome.finite.as_ref();
        judge::judge(&Evidence { report, disbelief, finite, config }, &world.settings.gates)
    }

    /// Makes an observation of a judgment, at a time that no other one of its checkpoint has.
    fn observation(
        &self,
        world: &World,
        report: Option<&Report>,
        judgment: Judgment,
        now: Moment,
    ) -> Observation {
        let complete = &self.content.complete;
        Observation {
            time: free_time(world, &self.running, now),
            checkpoint: self.running.checkpoint.clone(),
            digest: self.running.digest.clone(),
            weights_sha256: self.outcome.weights_sha256.clone(),
            weights_digest: complete.weights_digest.clone(),
            config: complete.config.clone(),
            measurements: report.map(|report| report.measurements.clone()).unwrap_or_default(),
            concepts: report.and_then(|report| report.concepts).or(complete.config.concepts),
            hidden: report.and_then(|report| report.hidden).or(complete.config.hidden),
            finite: self.outcome.finite.clone(),
            note: judge::note(&judgment),
            outcome: ObservationOutcome::Judged(judgment),
            training: complete.training.clone().or_else(|| last_training(world, &self.running)),
            protocol: self.running.protocol.clone(),
            same_as: None,
            conditions: self.outcome.conditions.clone(),
        }
    }
}

/// When a failed analysis is tried again, seen from now.
#[derive(Clone, Copy)]
struct Retry {
    now: Moment,
    at: Option<Moment>,
}

/// Why there is no report.
struct Failure {
    class: FailureClass,
    evidence: String,
}

/// Takes in what came of an order. An outcome that nobody waits for is dropped: its content was
/// replaced or its run renamed while it ran.
pub(super) fn analyzed(
    world: &mut World,
    outcome: AnalysisOutcome,
    now: Moment,
    out: &mut Decisions,
) {
    let Some(position) = world.running.iter().position(|one| one.number == outcome.number) else {
        return;
    };
    let running = world.running.swap_remove(position);
    let Some(content) = content(world, &running) else { return };
    let ended = Ended { running, content, outcome };
    match &ended.outcome.result {
        AnalysisResult::Changed => look_again(world, &ended.running, out),
        AnalysisResult::Interrupted => interrupted(world, &ended, now, out),
        AnalysisResult::SameWeights(twin) => same_weights(world, &ended, twin, now, out),
        AnalysisResult::Reported { elapsed, report, disbelief } => {
            ended.finished(elapsed.as_secs_f64(), None, now, out);
            let mut judgment = ended.judgment(world, Some(report), disbelief);
            warn_of_fall(world, &ended.running, &mut judgment);
            observe(world, ended.observation(world, Some(report), judgment, now), now, out);
        }
        AnalysisResult::Failed { class, evidence, .. } => {
            let failure = Failure { class: *class, evidence: evidence.clone() };
            failed(world, &ended, failure, now, out);
        }
    }
}

fn content(world: &World, running: &Running) -> Option<Owed> {
    world.owed(&running.checkpoint, &running.digest).map(|content| content.owed.clone())
}

/// The result is thrown away; the next sighting says whether the content is still there.
fn look_again(world: &mut World, running: &Running, out: &mut Decisions) {
    let run = world.run_mut(&running.checkpoint.run);
    if let Some(present) = run.present.get_mut(&running.checkpoint.name) {
        present.stale = true;
    }
    out.stand(world, running.checkpoint.clone(), running.digest.clone(), Standing::Pending);
    out.effects.push(Effect::RescanRun(running.checkpoint.run.clone()));
}

/// Our own stop or death is no attempt; the journal's *started* mark counts it at the next start.
fn interrupted(world: &mut World, ended: &Ended, now: Moment, out: &mut Decisions) {
    let times = ended.content.interruptions;
    if times >= MAX_INTERRUPTIONS && !world.stopping {
        let evidence = format!("interrupted {times} times");
        give_up(world, ended, Failure { class: FailureClass::Killed, evidence }, now, out);
    }
}

fn failed(world: &mut World, ended: &Ended, failure: Failure, now: Moment, out: &mut Decisions) {
    let running = &ended.running;
    if failure.class == FailureClass::ModelType {
        model_type_rejected(world, running, out);
        return;
    }
    let since = running.failing_since.unwrap_or(now.timestamp());
    let settings = &world.settings.analysis;
    let Some(next) = retry::retry_at(settings, failure.class, running.attempt, since, now) else {
        give_up(world, ended, failure, now, out);
        return;
    };
    ended.failed(world, &failure, Retry { now, at: Some(next) }, out);
    let standing = Standing::Waiting {
        attempt: running.attempt,
        class: failure.class,
        since,
        retry_at: next.timestamp(),
        evidence: failure.evidence,
        interruptions: ended.content.interruptions,
    };
    out.stand(world, running.checkpoint.clone(), running.digest.clone(), standing);
}

/// The program does not know the type: the checkpoint waits until the program changes.
fn model_type_rejected(world: &mut World, running: &Running, out: &mut Decisions) {
    if let Some(model_type) = running.model_type.clone() {
        let protocol = running.protocol.clone();
        world.rejected.insert((model_type.clone(), protocol.clone()));
        out.transaction.changes.push(Change::ModelTypeRejected { model_type, protocol });
    }
    out.stand(world, running.checkpoint.clone(), running.digest.clone(), Standing::Pending);
}

/// A failure that is final becomes an observation, unless our own reading of the weights already
/// says more: NaN or Inf in them is a verdict.
fn give_up(world: &mut World, ended: &Ended, failure: Failure, now: Moment, out: &mut Decisions) {
    ended.failed(world, &failure, Retry { now, at: None }, out);
    let judgment = ended.judgment(world, None, &[]);
    let judged = judgment.failure_kind.is_some();
    let mut observation = ended.observation(world, None, judgment, now);
    if judged {
        observe(world, observation, now, out);
        return;
    }
    failure.class.as_str().clone_into(&mut observation.note);
    let Failure { class, evidence } = failure;
    observation.outcome = ObservationOutcome::AnalysisFailed { class, evidence };
    commit(world, observation, now, out);
}

/// Ends a content that failed before and will not be tried again because its files vanished.
/// Returns whether there was such a failure.
pub(super) fn give_up_vanished(
    world: &mut World,
    checkpoint: &CheckpointId,
    digest: &Digest,
    now: Moment,
    out: &mut Decisions,
) -> bool {
    let content = world.owed(checkpoint, digest).map(|content| content.owed.clone());
    let Some(content) = content else { return false };
    let Standing::Waiting { attempt, class, evidence, since, .. } = content.standing.clone() else {
        return false;
    };
    let program = world.program.as_ref();
    let running = Running {
        number: 0,
        checkpoint: checkpoint.clone(),
        digest: digest.clone(),
        attempt,
        failing_since: Some(since),
        protocol: program.map(|program| program.protocol.clone()).unwrap_or_default(),
        model_type: None,
        device: None,
        since: now,
    };
    let outcome = AnalysisOutcome {
        number: 0,
        checkpoint: checkpoint.clone(),
        digest: digest.clone(),
        weights_sha256: None,
        finite: None,
        conditions: vec!["its files vanished before the next attempt".to_owned()],
        result: AnalysisResult::Interrupted,
    };
    let ended = Ended { running, content, outcome };
    give_up(world, &ended, Failure { class, evidence }, now, out);
    true
}

/// The measurements of byte-identical weights are this final model's own.
fn same_weights(
    world: &mut World,
    ended: &Ended,
    measured: &Observation,
    now: Moment,
    out: &mut Decisions,
) {
    let same = measured.weights_sha256 == ended.outcome.weights_sha256;
    let Some(judgment) = measured.judgment().filter(|_| same).cloned() else {
        look_again(world, &ended.running, out);
        return;
    };
    let twin = measured.checkpoint.name;
    ended.finished(0.0, Some(twin), now, out);
    let mut observation = ended.observation(world, None, judgment, now);
    observation.measurements.clone_from(&measured.measurements);
    observation.concepts = measured.concepts;
    observation.hidden = measured.hidden;
    observation.protocol.clone_from(&measured.protocol);
    observation.same_as = Some(twin);
    observation.note = match observation.note.as_str() {
        "" => format!("= {twin}"),
        note => format!("= {twin}; {note}"),
    };
    verdict_event(&observation, now, out);
    commit(world, observation, now, out);
}

fn observe(world: &mut World, mut observation: Observation, now: Moment, out: &mut Decisions) {
    if let Some(change) = protocol_change(world, &observation) {
        let note = std::mem::take(&mut observation.note);
        observation.note = if note.is_empty() { change } else { format!("{note}; {change}") };
    }
    verdict_event(&observation, now, out);
    commit(world, observation, now, out);
}

/// Looks at a rank beside the earlier ones of the same measurement and protocol.
fn warn_of_fall(world: &World, running: &Running, judgment: &mut Judgment) {
    let CheckpointId { run, name } = &running.checkpoint;
    let Some(step) = name.step() else { return };
    let Some(measurement) = judgment.rank.as_ref().map(|rank| rank.measurement.clone()) else {
        return;
    };
    let observations = world.runs.get(run).into_iter().flat_map(|run| run.observations.iter());
    // Of a step that was observed twice the newest observation counts.
    let earlier: BTreeMap<u64, f64> = observations
        .filter(|one| *one.protocol == *running.protocol)
        .filter_map(|one| Some((one.name.step()?, one.rank()?)))
        .filter(|(_, (_, measured))| *measured == measurement)
        .map(|(step, (value, _))| (step, value))
        .collect();
    judge::warn_of_fall(judgment, &earlier.into_iter().collect::<Vec<_>>(), step);
}

/// Says so when this run's previous observation was measured in another way.
fn protocol_change(world: &World, observation: &Observation) -> Option<String> {
    let run = world.runs.get(&observation.checkpoint.run)?;
    let previous = run.observations.newest_judged()?;
    (*previous.protocol != *observation.protocol).then(|| {
        let short: String = observation.protocol.chars().take(SHOWN_PROTOCOL).collect();
        format!("protocol {short}")
    })
}

/// Returns where training stood at the highest step that was saved: a final model has no state of
/// its own, and was saved after that.
fn last_training(world: &World, running: &Running) -> Option<TrainingPoint> {
    let run = world.runs.get(&running.checkpoint.run)?;
    run.contents.last_training().cloned()
}

/// Returns the time of a new observation: the key of its row, so no other observation of this
/// checkpoint may have it.
fn free_time(world: &World, running: &Running, now: Moment) -> Moment {
    let mut time = now.whole_seconds();
    let run = world.runs.get(&running.checkpoint.run);
    let taken = |time: Moment| {
        let same = |one: &Observed| one.name == running.checkpoint.name && one.time == time;
        run.is_some_and(|run| run.observations.iter().any(same))
    };
    while taken(time) {
        time = time.after(std::time::Duration::from_secs(1));
    }
    time
}

fn verdict_event(observation: &Observation, now: Moment, out: &mut Decisions) {
    let Some(judgment) = observation.judgment() else { return };
    let rank = judgment.rank.as_ref();
    let what = Happening::Verdict {
        verdict: judgment.verdict,
        reasons: judgment.reasons.clone(),
        rank: rank.map(|rank| rank.value),
        measurement: rank.map(|rank| rank.measurement.clone()),
        concepts: observation.concepts,
        hidden: observation.hidden,
        threshold: rank.and_then(|rank| rank.gate.as_ref()).map(|gate| gate.threshold),
    };
    let checkpoint = &observation.checkpoint;
    out.event(now, &checkpoint.run, Some(checkpoint.name), what);
}

/// Makes the observation a fact: once, with everything that the documents get of it.
fn commit(world: &mut World, observation: Observation, now: Moment, out: &mut Decisions) {
    let Observation { checkpoint, digest, .. } = &observation;
    world.stand(checkpoint, digest, Standing::Observed);
    world.observe(&observation);
    documents::observed(world, &observation, now, out);
    out.transaction.changes.push(Change::Observed(Box::new(observation)));
}
