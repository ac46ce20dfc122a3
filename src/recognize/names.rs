//! What the names in a training folder, a run folder and a checkpoint folder mean.

use regex::Regex;

use crate::model::ids::{CheckpointName, RunId};

/// The model's configuration, the first file of a save.
pub const CONFIG_FILE: &str = "config.json";
/// Where training stood, the last file of an intermediate save.
pub const TRAINER_STATE_FILE: &str = "trainer_state.json";
/// A file by which a person or a tool says that a checkpoint must not be used yet.
pub const INCOMPLETE_MARKER: &str = "checkpoint-is-incomplete.txt";

/// What an entry of the training folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrainingEntry {
    /// The folder of a run.
    Run(RunId),
    /// Something else.
    Ignored {
        /// Why, as the predicate of a sentence about it.
        reason: String,
    },
}

/// What an entry of a run folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEntry {
    /// The folder of an intermediate checkpoint; the name is always a step.
    Checkpoint(CheckpointName),
    /// The folder of the final model, `<run>/<run>`.
    FinalFolder,
    /// A file that makes the run folder itself a final model if it holds a configuration and
    /// weights.
    ModelFile,
    /// Something else.
    Ignored {
        /// Why, as the predicate of a sentence about it.
        reason: String,
    },
}

/// In which form a folder holds weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightsForm {
    /// `model.safetensors`.
    Safetensors,
    /// `model.safetensors.index.json` and its shards.
    SafetensorsShards,
    /// `pytorch_model.bin`.
    Bin,
    /// `pytorch_model.bin.index.json` and its shards.
    BinShards,
}

impl WeightsForm {
    /// All forms in the order in which transformers looks for them
    /// (`PreTrainedModel.from_pretrained`).
    pub const IN_ORDER: [Self; 4] =
        [Self::Safetensors, Self::SafetensorsShards, Self::Bin, Self::BinShards];

    /// Returns the file whose presence means this form: the weights or the index.
    pub fn file(self) -> &'static str {
        match self {
            Self::Safetensors => "model.safetensors",
            Self::SafetensorsShards => "model.safetensors.index.json",
            Self::Bin => "pytorch_model.bin",
            Self::BinShards => "pytorch_model.bin.index.json",
        }
    }

    /// Returns whether the file is an index that names the shards.
    pub fn is_index(self) -> bool {
        matches!(self, Self::SafetensorsShards | Self::BinShards)
    }

    /// Returns whether the tensors are stored as safetensors.
    pub fn is_safetensors(self) -> bool {
        matches!(self, Self::Safetensors | Self::SafetensorsShards)
    }
}

/// Returns the weights that transformers would load from a folder with these files, if any.
///
/// The first form that is present decides, whole or not: a program that loads the folder would
/// not look at the others either.
pub fn choose_weights(is_present: impl Fn(&str) -> bool) -> Option<WeightsForm> {
    WeightsForm::IN_ORDER.into_iter().find(|form| is_present(form.file()))
}

/// Returns whether a file of this name says something about the completeness or the content of a
/// checkpoint. Tokenizer, optimizer and random state do not.
pub fn is_key_file(name: &str) -> bool {
    if name.starts_with('.') {
        return false;
    }
    let is_torch = name.starts_with("pytorch_model");
    name == CONFIG_FILE
        || name == TRAINER_STATE_FILE
        || name == INCOMPLETE_MARKER
        || name.ends_with(".safetensors")
        || name.ends_with(".safetensors.index.json")
        || (is_torch && (name.strip_suffix(".bin").is_some() || name.ends_with(".bin.index.json")))
}

/// Tells runs from other entries of the training folder.
pub fn entry_of_training_folder(name: &str, is_folder: bool, pattern: &Regex) -> TrainingEntry {
    let ignored = |reason: &str| TrainingEntry::Ignored { reason: reason.to_owned() };
    if name.starts_with('.') {
        ignored("is hidden")
    } else if !is_folder {
        ignored("is not a folder")
    } else if pattern.is_match(name) {
        TrainingEntry::Run(RunId::new(name))
    } else {
        ignored(&format!("does not have the name of a run (`run_pattern` is `{pattern}`)"))
    }
}

/// Tells checkpoints from other entries of a run's folder.
pub fn entry_of_run_folder(run: &RunId, name: &str, is_folder: bool) -> RunEntry {
    let ignored = |reason: &str| RunEntry::Ignored { reason: reason.to_owned() };
    if name.starts_with('.') {
        return ignored("is hidden");
    }
    if !is_folder {
        return if is_key_file(name) { RunEntry::ModelFile } else { ignored("is not a folder") };
    }
    if name == run.as_str() {
        return RunEntry::FinalFolder;
    }
    match name.parse::<CheckpointName>() {
        Ok(step @ CheckpointName::Step(_)) => RunEntry::Checkpoint(step),
        _ if name.starts_with("tmp-") => ignored("is a temporary folder"),
        _ => ignored("is neither `checkpoint-<step>` nor named like its run"),
    }
}
