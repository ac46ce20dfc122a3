//! Pure. Facts about files and folders to what they are: which folders are runs, which are
//! checkpoints, whether a checkpoint is complete, and what is missing if it is not.
//!
//! `watch` gathers the facts and asks here; nothing in this room reads a file or a clock.

mod completeness;
mod describe;
mod logs;
mod names;
mod shadow;

pub use completeness::{
    FileFact, FolderFacts, WeightsFacts, WeightsFile, WeightsState, WholeCheckpoint, assess,
};
pub use describe::describe;
pub use logs::{family_and_time, run_by_name};
pub use names::{
    CONFIG_FILE, INCOMPLETE_MARKER, RunEntry, TRAINER_STATE_FILE, TrainingEntry, WeightsForm,
    choose_weights, entry_of_run_folder, entry_of_training_folder, is_key_file,
};
pub use shadow::{holds_model, possible_siblings, rank_shadow};

#[cfg(test)]
mod tests;
