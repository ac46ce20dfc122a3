//! The failure notes of training: one for each run and kind, with all that is known by then.

use std::time::Duration;

use crate::document::cells;
use crate::document::note::{self, TrainingNoteFacts};
use crate::judge::training::standing_failure;
use crate::model::event::Happening;
use crate::model::host_evidence::KernelHappening;
use crate::model::ids::{CheckpointName, RunId};
use crate::model::shell_log::{LogFailure, LogMetricKind, LoggedTraining};
use crate::model::time::Moment;

use super::documents::{self, DecidedNote};
use super::log::Log;
use super::shell_logs::is_told_of;
use super::world::{Run, World};
use super::{Decisions, training, training_progress};

/// What a person did is no failure that needs a document.
const NO_NOTE: &str = "interrupted";
/// The class of an end of which nothing tells why.
const UNKNOWN: &str = "unknown";
const OUT_OF_MEMORY: &str = "out_of_memory";
/// A log that was quiet for so long has said all that it says of a failure.
const QUIET: Duration = Duration::from_secs(3);
/// One that goes on is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(15);
/// Lines of metrics that are quoted, and lines of the kernel.
const QUOTED_METRICS: usize = 3;
const QUOTED_KERNEL: usize = 5;

/// A failure of a training of a run.
struct Found {
    class: String,
    ends_training: bool,
    text: String,
    line: Option<u64>,
    excerpt: Vec<String>,
    evidence: Vec<String>,
}

/// Writes the notes that a run's logs ask for. Returns whether one still waits for what the log says
/// next.
pub(super) fn write_due(world: &mut World, id: &RunId, now: Moment, out: &mut Decisions) -> bool {
    let Some(run) = world.runs.get(id).filter(|run| may_have_notes(world, run)) else {
        return false;
    };
    let mut due = Vec::new();
    let mut waits = false;
    for log in run.logs.iter().filter_map(|key| world.logs.get(key)) {
        let failures = failures(log, id, run);
        let is_quiet = now.since(log.grown_at) >= QUIET;
        let since = log.awake.as_ref().and_then(|awake| awake.failing_since);
        let is_late = since.is_some_and(|since| now.since(since.timestamp()) >= PATIENCE);
        for (training, failure) in failures {
            if is_quiet || is_late {
                due.push(found(world, log, training, failure));
            } else {
                waits = true;
            }
        }
    }
    let keys = if waits { run.logs.clone() } else { Vec::new() };
    for log in keys {
        let Some(log) = world.logs.get_mut(&log) else { continue };
        log.awake.get_or_insert_default().failing_since.get_or_insert(now);
    }
    for found in due {
        write(world, id, found, now, out);
    }
    waits
}

/// Notes are for runs that are followed: not for those that were old, nor for deleted ones.
fn may_have_notes(world: &World, run: &Run) -> bool {
    let is_followed =
        |known: &crate::model::journal::KnownRun| known.old_since.is_none() && !known.gone;
    world.settings.log.failure_notes && run.known.as_ref().is_none_or(is_followed)
}

/// Returns the failures of a run in a log that ask for a note which is not written yet.
fn failures<'log>(
    log: &'log Log,
    id: &RunId,
    run: &Run,
) -> Vec<(&'log LoggedTraining, &'log LogFailure)> {
    if log.known.old_since.is_some() {
        return Vec::new();
    }
    // A run that came to its final model did not fail, whatever an earlier try of it did.
    let has_final =
        run.present.contains_key(&CheckpointName::Final) || run.contents.has(CheckpointName::Final);
    let trainings = log.known.reading.trainings.iter().zip(&log.runs);
    let own = trainings.filter(|(_, one)| one.as_ref() == Some(id)).map(|(training, _)| training);
    own.flat_map(|training| training.failures.iter().map(move |failure| (training, failure)))
        .filter(|(training, failure)| {
            let ended = !failure.ends_training
                || (!has_final
                    && training.completed.is_none()
                    && standing_failure(training) == Some(*failure));
            is_told_of(failure)
                && failure.class != NO_NOTE
                && !run.notes.contains_key(&kind(&failure.class))
                && ended
        })
        .collect()
}

/// Returns the kind of note of a class: `out-of-memory`.
fn kind(class: &str) -> String {
    class.replace('_', "-")
}

fn found(world: &World, log: &Log, training: &LoggedTraining, failure: &LogFailure) -> Found {
    let path = &log.known.path;
    let cascades = training.failures.iter().filter(|one| one.is_cascade);
    let cascades =
        cascades.map(|one| format!("{path}, line {} (follows from it): {}", one.line, one.text));
    let mut evidence = quoted_metrics(log, training);
    evidence.extend(cascades);
    if failure.ends_training {
        evidence.extend(kernel(world, log));
    }
    Found {
        class: failure.class.clone(),
        ends_training: failure.ends_training,
        text: failure.text.clone(),
        line: Some(failure.line),
        excerpt: failure.excerpt.clone(),
        evidence,
    }
}

fn quoted_metrics(log: &Log, training: &LoggedTraining) -> Vec<String> {
    let path = &log.known.path;
    let lines = training.metrics.iter().filter(|one| one.kind != LogMetricKind::Summary);
    let skipped = lines.clone().count().saturating_sub(QUOTED_METRICS);
    lines
        .skip(skipped)
        .map(|one| format!("{path}, line {}: {}", one.line, documents::as_text(one)))
        .collect()
}

/// Quotes what the kernel says of that time, or says that it cannot be read.
fn kernel(world: &World, log: &Log) -> Vec<String> {
    let findings = training::kernel_findings(world, log.grown_at).into_iter().take(QUOTED_KERNEL);
    let lines = findings.map(|finding| format!("Kernel: {}", finding.text));
    lines.chain(world.kernel_note.clone()).collect()
}

/// Tells of a training that ended without a word, and writes its note.
pub(super) fn silent_end(
    world: &mut World,
    id: &RunId,
    evidence: &str,
    now: Moment,
    out: &mut Decisions,
) {
    let Some(run) = world.runs.get(id) else { return };
    let Some(log) = training::newest_log(world, id, run) else { return };
    let Some((_, training)) = log.training_of(id) else { return };
    let is_kill = training::kernel_findings(world, log.grown_at)
        .into_iter()
        .any(|finding| matches!(finding.what, KernelHappening::OutOfMemory { .. }));
    let class = if is_kill { OUT_OF_MEMORY } else { UNKNOWN };
    let found = Found {
        class: class.to_owned(),
        ends_training: true,
        text: evidence.to_owned(),
        line: None,
        excerpt: Vec::new(),
        evidence: quoted_metrics(log, training).into_iter().chain(kernel(world, log)).collect(),
    };
    let what = Happening::TrainingFailure {
        failure: found.class.clone(),
        evidence: found.text.clone(),
        log: Some(log.known.path.clone()),
        line: None,
    };
    out.event(now, id, None, what);
    if may_have_notes(world, run) && !run.notes.contains_key(&kind(class)) {
        write(world, id, found, now, out);
    }
}

fn write(world: &mut World, id: &RunId, found: Found, now: Moment, out: &mut Decisions) {
    let Some(run) = world.runs.get(id) else { return };
    let kind = kind(&found.class);
    if run.notes.contains_key(&kind) {
        return;
    }
    let mut files = note::RunFiles::from(run.facts());
    if let Some(log) = training::newest_log(world, id, run) {
        files.shell_log = Some(log.known.path.clone());
        let url = log.training_of(id).and_then(|(_, training)| training.wandb_url.clone());
        files.wandb = url.or(files.wandb);
    }
    let facts = TrainingNoteFacts {
        run: id,
        time: now.whole_seconds(),
        class: &found.class,
        ends_training: found.ends_training,
        text: &found.text,
        line: found.line,
        excerpt: &found.excerpt,
        training: training_progress::point(world, id, run),
        checkpoint: run.newest_step(),
        trajectory: &run.observations.trajectory(id),
        files,
        evidence: found.evidence,
    };
    let step = facts.training.as_ref().map(|point| point.step);
    let headline = note::training_headline(&found.class, found.ends_training, step);
    let file = note::note_file(id, now, &kind);
    let text = note::training_note(&facts);
    // The first failure that was concluded stays.
    let conclusion = run
        .notes
        .is_empty()
        .then(|| cells::failed_fill(&headline, &file, &documents::links(world)));
    let summary = Some(format!("{}: {headline}", now.date_form()));
    documents::write_note(world, id, DecidedNote { kind, file, text, summary, conclusion }, out);
}
