//! Whether a checkpoint is complete: the design's section 4, decided from gathered facts.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::names::{CONFIG_FILE, INCOMPLETE_MARKER, TRAINER_STATE_FILE, WeightsForm};
use crate::model::checkpoint::{CompleteCheckpoint, Condition, ModelConfig, TrainingPoint};
use crate::model::ids::{CheckpointName, Digest};
use crate::model::numbers::grouped;

/// The phrase for a missing configuration.
pub(super) const NO_CONFIG: &str = "no `config.json`";
/// The phrase for missing weights.
pub(super) const NO_WEIGHTS: &str = "no weights";

/// What is known of one file.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum FileFact<T> {
    /// It is not there.
    #[default]
    Missing,
    /// It is there and cannot be read; the text says so in a whole sentence and what to do.
    Unreadable(String),
    /// It was read and is not what it should be; the text is the predicate of a sentence about it.
    Invalid(String),
    /// It was read.
    Valid(T),
}

/// What is known of one weights file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsFile {
    /// Its name inside the folder.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// Whether it is whole.
    pub state: WeightsState,
}

/// Whether a weights file is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightsState {
    /// It has all its bytes.
    Whole,
    /// It is not there.
    Missing,
    /// It cannot be read; the text says so in a whole sentence and what to do.
    Unreadable(String),
    /// Its header is valid and implies another length, in bytes.
    WrongLength {
        /// The length that the header implies.
        expected: u64,
    },
    /// It is not a weights file (yet); the text is the predicate of a sentence about it.
    Invalid(String),
    /// It has its length, but ends in zeros that reach into several tensors.
    ZeroTail,
}

/// The weights of a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightsFacts {
    /// In which form they are.
    pub form: WeightsForm,
    /// The index; `Valid` where the form needs none.
    pub index: FileFact<()>,
    /// The weights files, in name order.
    pub files: Vec<WeightsFile>,
}

/// Everything about a checkpoint's folder that decides whether it is complete.
#[derive(Debug, Clone, PartialEq)]
pub struct FolderFacts {
    /// Which checkpoint it is, by its name.
    pub name: CheckpointName,
    /// `config.json`.
    pub config: FileFact<ModelConfig>,
    /// `trainer_state.json`; not read for a final model, which has none.
    pub trainer_state: FileFact<TrainingPoint>,
    /// The weights that a program would load; `None` if there are none in any form.
    pub weights: Option<WeightsFacts>,
    /// Whether `checkpoint-is-incomplete.txt` is there.
    pub has_incomplete_marker: bool,
    /// Since when nothing in the folder changed; `None` if it holds no file.
    pub quiet_since: Option<Timestamp>,
    /// Whether a file changed or vanished while the facts were gathered.
    pub changed_while_read: bool,
}

/// A checkpoint with all its parts; with the digests of its content it is complete.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeCheckpoint {
    /// What `config.json` says.
    pub config: ModelConfig,
    /// Where training stood; `None` for a final model.
    pub training: Option<TrainingPoint>,
    /// Names and lengths in bytes of the weights files, in name order.
    pub weights: Vec<(String, u64)>,
    /// Whether they are safetensors files.
    pub is_safetensors: bool,
}

impl WholeCheckpoint {
    /// Joins the digests of content and weights to the facts.
    pub fn with_digests(self, digest: Digest, weights_digest: Digest) -> Condition {
        let weights_bytes = self.weights.iter().map(|(_, length)| *length).sum();
        Condition::Complete(Arc::new(CompleteCheckpoint {
            digest,
            weights_digest,
            weights_bytes,
            weights_files: self.weights.into_iter().map(|(name, _)| name).collect(),
            config: self.config,
            training: self.training,
        }))
    }
}

/// Decides whether a checkpoint has all its parts, and otherwise says what it lacks.
///
/// What cannot be read comes first, because nobody should wait for it; then what is missing; then
/// a final model's quiet time; then a tail of zeros, which is only certain when nothing is still
/// being written.
pub fn assess(
    facts: &FolderFacts,
    now: Timestamp,
    settle: Duration,
) -> Result<WholeCheckpoint, Condition> {
    let unreadable = unreadable_files(facts);
    if !unreadable.is_empty() {
        return Err(Condition::Unreadable { problem: unreadable.join("; ") });
    }
    let (missing, zero_tails) = (missing_parts(facts), zero_tails(facts));
    let FolderFacts { config: FileFact::Valid(config), weights: Some(weights), .. } = facts else {
        return Err(Condition::Incomplete { missing });
    };
    if !missing.is_empty() {
        let missing = missing.into_iter().chain(zero_tails).collect();
        return Err(Condition::Incomplete { missing });
    }
    if let Some(until) = settling_until(facts, now, settle) {
        return Err(Condition::Settling { until });
    }
    if !zero_tails.is_empty() {
        return Err(Condition::Damaged { problem: zero_tails.join("; ") });
    }
    let files = weights.files.iter().map(|file| (file.name.clone(), file.length));
    Ok(WholeCheckpoint {
        config: config.clone(),
        training: training_of(facts),
        weights: files.collect(),
        is_safetensors: weights.form.is_safetensors(),
    })
}

fn training_of(facts: &FolderFacts) -> Option<TrainingPoint> {
    match (&facts.trainer_state, facts.name) {
        (FileFact::Valid(point), CheckpointName::Step(_)) => Some(point.clone()),
        _ => None,
    }
}

fn unreadable_files(facts: &FolderFacts) -> Vec<String> {
    let mut problems = Vec::new();
    if let FileFact::Unreadable(problem) = &facts.config {
        problems.push(problem.clone());
    }
    if let Some(weights) = &facts.weights {
        if let FileFact::Unreadable(problem) = &weights.index {
            problems.push(problem.clone());
        }
        problems.extend(weights.files.iter().filter_map(|file| match &file.state {
            WeightsState::Unreadable(problem) => Some(problem.clone()),
            _ => None,
        }));
    }
    if let FileFact::Unreadable(problem) = &facts.trainer_state {
        problems.push(problem.clone());
    }
    problems
}

/// Lists what is missing, in the order in which a save writes it.
fn missing_parts(facts: &FolderFacts) -> Vec<String> {
    let mut missing = Vec::new();
    if facts.has_incomplete_marker {
        missing.push(format!("`{INCOMPLETE_MARKER}` is there"));
    }
    match &facts.config {
        FileFact::Missing => missing.push(NO_CONFIG.to_owned()),
        FileFact::Invalid(problem) => missing.push(format!("`{CONFIG_FILE}` {problem}")),
        FileFact::Unreadable(_) | FileFact::Valid(_) => {}
    }
    missing.extend(missing_weights(facts));
    if let Some(step) = facts.name.step() {
        missing.extend(wrong_trainer_state(&facts.trainer_state, step));
    }
    if facts.changed_while_read {
        missing.push("files changed while they were read".to_owned());
    }
    missing
}

fn missing_weights(facts: &FolderFacts) -> Vec<String> {
    let Some(weights) = &facts.weights else {
        // Rotation removes the weights before the trainer state, so this is how a checkpoint looks
        // while it goes; a save writes them the other way around.
        let leaves = matches!(facts.trainer_state, FileFact::Valid(_));
        let phrase = if leaves { "weights are gone (rotation?)" } else { NO_WEIGHTS };
        return vec![phrase.to_owned()];
    };
    let index = weights.form.file();
    let wrong_index = match &weights.index {
        FileFact::Missing => Some(format!("no `{index}`")),
        FileFact::Invalid(problem) => Some(format!("`{index}` {problem}")),
        FileFact::Unreadable(_) | FileFact::Valid(()) => None,
    };
    wrong_index.into_iter().chain(weights.files.iter().filter_map(partial_file)).collect()
}

fn partial_file(file: &WeightsFile) -> Option<String> {
    let name = &file.name;
    match &file.state {
        WeightsState::Missing => Some(format!("no `{name}`")),
        WeightsState::WrongLength { expected } => {
            let (length, expected) = (grouped(file.length), grouped(*expected));
            Some(format!("`{name}` has {length} of {expected} bytes"))
        }
        WeightsState::Invalid(problem) => Some(format!("`{name}` {problem}")),
        WeightsState::Whole | WeightsState::ZeroTail | WeightsState::Unreadable(_) => None,
    }
}

fn wrong_trainer_state(state: &FileFact<TrainingPoint>, step: u64) -> Option<String> {
    let name = TRAINER_STATE_FILE;
    match state {
        FileFact::Missing => Some(format!("no `{name}`")),
        FileFact::Invalid(problem) => Some(format!("`{name}` {problem}")),
        FileFact::Valid(point) if point.step != step => {
            Some(format!("`{name}` says step {}", point.step))
        }
        FileFact::Unreadable(_) | FileFact::Valid(_) => None,
    }
}

fn zero_tails(facts: &FolderFacts) -> Vec<String> {
    let files = facts.weights.iter().flat_map(|weights| &weights.files);
    files
        .filter(|file| file.state == WeightsState::ZeroTail)
        .map(|file| {
            let name = &file.name;
            format!(
                "`{name}` ends in zeros over several tensors (a crash before the data was on disk?)"
            )
        })
        .collect()
}

fn settling_until(facts: &FolderFacts, now: Timestamp, settle: Duration) -> Option<Timestamp> {
    if facts.name != CheckpointName::Final || settle.is_zero() {
        return None;
    }
    let quiet_since = facts.quiet_since.unwrap_or(now);
    let until = quiet_since.checked_add(settle).unwrap_or(Timestamp::MAX);
    (until > now).then_some(until)
}
