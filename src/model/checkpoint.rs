//! What the scan saw: folders, files, and the state of each checkpoint.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{CheckpointName, Digest, FolderIdentity, RunId};

/// The parts of a checkpoint's `config.json` that runscribe uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// The first entry of `architectures`, such as `ConceptEncoderForMaskedDiffusion`.
    pub architecture: Option<String>,
    /// Number of concepts C (`concept_num`).
    pub concepts: Option<u64>,
    /// Hidden size H (`hidden_size`).
    pub hidden: Option<u64>,
    /// Number of encoder layers (`num_hidden_layers`).
    pub layers: Option<u64>,
    /// The longest sequence that the model accepts, in tokens (`max_sequence_length`).
    pub max_sequence_length: Option<u64>,
}

/// Where training stood when a checkpoint was saved, from `trainer_state.json`.
///
/// Values that are NaN or infinite are kept as such in memory and stored as `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainingPoint {
    /// Optimizer steps done (`global_step`).
    pub step: u64,
    /// Planned optimizer steps (`max_steps`).
    pub total_steps: Option<u64>,
    /// Epochs done.
    pub epoch: Option<f64>,
    /// The last logged training loss, and the step it belongs to.
    pub loss: Option<f64>,
    /// The step of `loss`, `grad_norm` and `learning_rate`.
    pub loss_step: Option<u64>,
    /// The last logged gradient norm.
    pub grad_norm: Option<f64>,
    /// The last logged learning rate.
    pub learning_rate: Option<f64>,
    /// The last evaluation loss, and the step it belongs to.
    pub eval_loss: Option<f64>,
    /// The step of `eval_loss`.
    pub eval_step: Option<u64>,
    /// Names of the logged values that were not finite at the last logged step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_finite: Vec<String>,
}

/// One entry of a trainer's log history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossEntry {
    /// The optimizer step.
    pub step: u64,
    /// The training loss; NaN and infinities are kept.
    pub loss: Option<f64>,
    /// The evaluation loss.
    pub eval_loss: Option<f64>,
}

/// The scan's view of the training folder.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainingFolder {
    /// It was listed without error.
    Listed {
        /// Which folder it is; another one under the same path makes nothing *gone*.
        identity: FolderIdentity,
        /// All run folders in it.
        runs: Vec<(RunId, FolderIdentity)>,
    },
    /// It does not exist.
    Missing,
    /// It could not be listed; the text says why and what to do.
    Unreadable(String),
}

/// The scan's view of one run folder that was listed without error.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSighting {
    /// The run's id, which is the folder's name.
    pub run: RunId,
    /// Which folder it is.
    pub identity: FolderIdentity,
    /// The training folder that it lay in when it was listed.
    pub training_folder: FolderIdentity,
    /// The latest modification time of any file in its checkpoints; old runs are told by it.
    pub newest_modified: Option<Timestamp>,
    /// Its checkpoints, each name at most once.
    pub checkpoints: Vec<CheckpointSighting>,
}

/// The scan's view of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointSighting {
    /// Which checkpoint of the run.
    pub name: CheckpointName,
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// Stands for names, sizes, modification times and inodes of the files that were looked at;
    /// an equal signature means that nothing has to be read again.
    pub signature: u64,
    /// The latest change of any of its files, from the inode change time.
    pub newest_change: Option<Timestamp>,
    /// The latest modification time of any of its files.
    pub newest_modified: Option<Timestamp>,
    /// Complete, or what is missing.
    pub condition: Condition,
}

/// Whether a checkpoint can be analyzed, and why not.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// All that an analysis needs is there and whole.
    Complete(Arc<CompleteCheckpoint>),
    /// A final model whose files are whole but changed less than `settle` ago.
    Settling {
        /// When it counts as complete if nothing changes until then.
        until: Timestamp,
    },
    /// Still being written, or left unfinished.
    Incomplete {
        /// What is missing, each a short phrase such as ``no `trainer_state.json` ``.
        missing: Vec<String>,
    },
    /// Whole by length, but not believable (a tail of zeros): reported, never judged.
    Damaged {
        /// What is wrong with it.
        problem: String,
    },
    /// Files that this user may not read: a stated problem, never "incomplete".
    Unreadable {
        /// Which file, and what to do.
        problem: String,
    },
}

/// Everything that is known of a complete checkpoint before its analysis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompleteCheckpoint {
    /// Identity of the content: headers and sampled blocks of config, weights, trainer state.
    pub digest: Digest,
    /// The same of the weights alone; equal ones may be byte-identical, others cannot be.
    pub weights_digest: Digest,
    /// Total length of the weights files, in bytes.
    pub weights_bytes: u64,
    /// The names of the weights files inside the folder, sorted.
    pub weights_files: Vec<String>,
    /// What `config.json` says.
    pub config: ModelConfig,
    /// Where training stood; a final model has none of its own.
    pub training: Option<TrainingPoint>,
}
