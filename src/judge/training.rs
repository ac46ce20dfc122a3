//! The state of a run's training, with one line of evidence.
//!
//! The rules, in the order in which they win:
//! 1. The newest training of its newest log says that it came to its end, or the final model is
//!    there: `complete`. A log that began after the final model was saved is another try.
//! 2. The log tells of a failure that ends training, and of nothing after it: `failed`.
//! 3. The log goes on with another run: `unknown`, nobody says how this one ended.
//! 4. The process that wrote the log is gone and the log is read to its end: `failed`.
//! 5. Silence for longer than is ordinary for this training: `stalled` if it was seen alive, or a
//!    process still holds the log; else `unknown`.
//! 6. All else is `training`. Output that returns revives a run by these same rules.

use std::time::Duration;

use crate::model::Timestamp;
use crate::model::host_evidence::KernelFinding;
use crate::model::numbers::grouped;
use crate::model::shell_log::{LogFailure, LogMetricKind, LoggedTraining};
use crate::model::time::Moment;
use crate::model::training::{KnownState, TrainingState};

use super::pace::minutes;

/// How long the last lines of a process that is gone may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// The longest quotation of a log's line, in characters.
const QUOTED: usize = 160;

/// Everything that tells of a run's training.
#[derive(Debug, Clone, Copy)]
pub struct TrainingSigns<'a> {
    /// The final model, if it is there.
    pub final_model: Option<FinalModel>,
    /// Its newest log.
    pub log: Option<LogSigns<'a>>,
    /// When a file of a checkpoint changed last.
    pub saved_at: Option<Timestamp>,
    /// Whether it can be said how often checkpoints come.
    pub checkpoints_come: bool,
    /// How long a silence is ordinary, and how long the time is that this was learned from.
    pub limit: Duration,
    /// The learned interval between two signs of progress.
    pub learned: Option<Duration>,
    /// The state that was announced last.
    pub before: Option<&'a KnownState>,
    /// The present.
    pub now: Moment,
}

/// A final model that is there, or was.
#[derive(Debug, Clone, Copy)]
pub struct FinalModel {
    /// When it was written, as far as that is known.
    pub written: Option<Timestamp>,
}

/// What a log tells of a run's training.
#[derive(Debug, Clone, Copy)]
pub struct LogSigns<'a> {
    /// Its path as people are told it.
    pub path: &'a str,
    /// The newest training of the run in it.
    pub training: &'a LoggedTraining,
    /// The run and the first line of the training that follows in the log, if one does.
    pub followed_by: Option<(&'a str, u64)>,
    /// When it began, as far as its name tells.
    pub began: Option<Timestamp>,
    /// When it grew last.
    pub grown_at: Timestamp,
    /// Whether it was read to its end.
    pub is_read: bool,
    /// Processes that hold it open for writing; `None`: it cannot be told.
    pub writers: Option<&'a [u32]>,
    /// What the kernel says of the time at which the log stopped.
    pub kernel: Option<&'a KernelFinding>,
    /// Why the kernel's log cannot be read, if it cannot.
    pub kernel_note: Option<&'a str>,
}

/// A state with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedState {
    /// The state.
    pub state: TrainingState,
    /// One line of evidence.
    pub evidence: String,
    /// Whether training ended without a word, so that no failure stands in the log.
    pub is_silent_end: bool,
}

/// Returns the state of a run's training.
pub fn judge_training(signs: &TrainingSigns<'_>) -> JudgedState {
    let told = |state, evidence: String| JudgedState { state, evidence, is_silent_end: false };
    let Some(log) = &signs.log else {
        return match signs.final_model {
            Some(_) => told(TrainingState::Complete, "its final model is there".to_owned()),
            None => by_checkpoints(signs),
        };
    };
    if let Some(line) = log.training.completed {
        let evidence = format!("`{}` says so at line {line}", log.path);
        return told(TrainingState::Complete, evidence);
    }
    let failure = standing_failure(log.training);
    let is_later_try = |model: FinalModel| {
        log.began.zip(model.written).is_some_and(|(began, written)| began > written)
    };
    if let Some(model) = signs.final_model
        && !is_later_try(model)
    {
        let after = failure.map(|failure| {
            format!(", although its log tells of {} at line {}", failure.class, failure.line)
        });
        let evidence = format!("its final model is there{}", after.unwrap_or_default());
        return told(TrainingState::Complete, evidence);
    }
    if let Some(failure) = failure {
        let quoted: String = failure.text.chars().take(QUOTED).collect();
        let evidence =
            format!("{} at line {} of `{}`: {quoted}", failure.class, failure.line, log.path);
        return told(TrainingState::Failed, evidence);
    }
    if let Some((next, line)) = log.followed_by {
        let evidence =
            format!("`{}` goes on with run `{next}` at line {line} and says no more", log.path);
        return told(TrainingState::Unknown, evidence);
    }
    by_silence(signs, log)
}

/// Returns the failure that ended a training: a root of its own class, with nothing of training
/// behind it.
pub fn standing_failure(training: &LoggedTraining) -> Option<&LogFailure> {
    let mut lines = training.metrics.iter().filter(|one| one.kind == LogMetricKind::Train);
    let last_line = lines.next_back().map_or(0, |metric| metric.line);
    training
        .failures
        .iter()
        .find(|one| one.ends_training && !one.is_cascade && one.line >= last_line)
}

fn by_silence(signs: &TrainingSigns<'_>, log: &LogSigns<'_>) -> JudgedState {
    let heard = log.grown_at.max(signs.saved_at.unwrap_or(log.grown_at)).min(signs.now.timestamp());
    if let Some(before) = signs.before.filter(|before| before.state == TrainingState::Failed)
        && heard <= before.since.timestamp()
    {
        // It ended without a word, and there was none since.
        let evidence = before.evidence.clone();
        return JudgedState { state: TrainingState::Failed, evidence, is_silent_end: false };
    }
    let silent = signs.now.since(heard);
    let last = format!("{}{}", clock(heard, signs.now), at_step(log.training));
    let known = signs.before.filter(|before| before.state.is_open());
    let is_read = log.is_read && silent >= LAST_WORDS;
    if let Some([]) = log.writers
        && let Some(known) = known.filter(|known| is_read && !known.writers.is_empty())
    {
        return silent_end(log, known, &last);
    }
    if silent < signs.limit || !log.is_read {
        let evidence = format!("last output at {last}");
        return JudgedState { state: TrainingState::Training, evidence, is_silent_end: false };
    }
    let usual = match signs.learned {
        Some(learned) => format!(", where {} are usual", minutes(learned)),
        None => String::new(),
    };
    let (state, who) = match (log.writers, known) {
        (Some([_, ..]), _) => (TrainingState::Stalled, holders(log.writers)),
        (Some([]), Some(_)) => (TrainingState::Stalled, "no process here writes it".to_owned()),
        (Some([]), None) => (TrainingState::Unknown, "no process writes it".to_owned()),
        (None, Some(_)) => (TrainingState::Stalled, UNTOLD.to_owned()),
        (None, None) => (TrainingState::Unknown, UNTOLD.to_owned()),
    };
    let evidence = format!("no output since {last}{usual}; {who}");
    JudgedState { state, evidence, is_silent_end: false }
}

const UNTOLD: &str = "which process writes the log cannot be told";

fn holders(writers: Option<&[u32]>) -> String {
    let pids: Vec<String> = writers.unwrap_or_default().iter().map(u32::to_string).collect();
    let plural = if pids.len() == 1 { "pid" } else { "pids" };
    let holds = if pids.len() == 1 { "holds" } else { "hold" };
    format!("{plural} {} still {holds} the log", pids.join(", "))
}

/// Training that is gone without a word: what SIGKILL, a lost host session or a lack of memory
/// leave behind. Only what is known is said.
fn silent_end(log: &LogSigns<'_>, known: &KnownState, last: &str) -> JudgedState {
    let pids: Vec<String> = known.writers.iter().map(u32::to_string).collect();
    let kernel = match (log.kernel, log.kernel_note) {
        (Some(finding), _) => format!("the kernel says: {}", finding.text),
        (None, Some(note)) => note.to_owned(),
        (None, None) => "the kernel's log says nothing of it".to_owned(),
    };
    let evidence = format!(
        "its log just stops at {last}, and what wrote it (pid {}) is gone; {kernel}",
        pids.join(", ")
    );
    JudgedState { state: TrainingState::Failed, evidence, is_silent_end: true }
}

/// Without a log there are only the checkpoints to go by.
fn by_checkpoints(signs: &TrainingSigns<'_>) -> JudgedState {
    let told = |state, evidence: String| JudgedState { state, evidence, is_silent_end: false };
    let Some(saved) = signs.saved_at else {
        return told(TrainingState::Unknown, "no shell log tells of it".to_owned());
    };
    let (silent, at) = (signs.now.since(saved), clock(saved, signs.now));
    let was_open = signs.before.is_some_and(|before| before.state.is_open());
    let what = format!("its newest checkpoint is of {at}; no shell log tells of it");
    match (silent < signs.limit, signs.checkpoints_come, was_open) {
        (true, true, _) => told(TrainingState::Training, what),
        (false, _, true) => told(TrainingState::Stalled, what),
        _ => told(TrainingState::Unknown, what),
    }
}

fn at_step(training: &LoggedTraining) -> String {
    match (training.step, training.total_steps) {
        (Some(step), Some(total)) => format!(", step {} of {}", grouped(step), grouped(total)),
        (Some(step), None) => format!(", step {}", grouped(step)),
        (None, _) => String::new(),
    }
}

/// Prints a time of today without its date.
fn clock(time: Timestamp, now: Moment) -> String {
    let time = Moment::new(time, now.offset());
    let form = if time.date_form() == now.date_form() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    time.local().strftime(form).to_string()
}
