//! Training folders for benches: many small checkpoints that the program takes for real ones.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A project that vanishes with this value.
#[derive(Debug)]
pub(crate) struct Tree {
    folder: TempDir,
}

impl Tree {
    /// Makes a project without any run.
    pub(crate) fn new() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("runscribe-bench-").tempdir()?;
        let tree = Self { folder };
        fs::create_dir_all(tree.training())?;
        fs::create_dir_all(tree.root().join("Cache/logs/shell"))?;
        fs::create_dir_all(tree.root().join("docs"))?;
        Ok(tree)
    }

    /// Makes a project with so many complete checkpoints in each of so many runs.
    pub(crate) fn with_runs(runs: usize, per_run: u64) -> io::Result<Self> {
        let tree = Self::new()?;
        for run in 0..runs {
            for step in 1..=per_run {
                write_checkpoint(&tree.training().join(run_name(run)), step, run as u64)?;
            }
        }
        Ok(tree)
    }

    /// Returns the project's root, without links in it.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap_or_else(|_| self.folder.path().to_owned())
    }

    /// Returns the training folder.
    pub(crate) fn training(&self) -> PathBuf {
        self.root().join("Cache/Training")
    }
}

/// Returns the id of a run by its number.
pub(crate) fn run_name(number: usize) -> String {
    let (hour, minute, second) = (number / 3600 % 24, number / 60 % 60, number % 60);
    format!("diffusion_H64L2C128D2_20260101_{hour:02}{minute:02}{second:02}")
}

/// Writes a whole checkpoint in the order of the trainer, the trainer state last, and returns its
/// folder.
pub(crate) fn write_checkpoint(run: &Path, step: u64, seed: u64) -> io::Result<PathBuf> {
    let folder = run.join(format!("checkpoint-{step}"));
    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("config.json"),
        r#"{"architectures": ["ConceptEncoderForMaskedDiffusion"], "concept_num": 128,
            "hidden_size": 64, "num_hidden_layers": 2, "max_sequence_length": 64}"#,
    )?;
    fs::write(folder.join("model.safetensors"), safetensors(seed, step))?;
    fs::write(folder.join("optimizer.pt"), [7; 64])?;
    let state = format!(
        r#"{{"global_step": {step}, "max_steps": 100000, "epoch": 0.5, "log_history": [
            {{"step": {step}, "loss": 7.25, "grad_norm": 1.0, "learning_rate": 0.0003}}]}}"#
    );
    fs::write(folder.join("trainer_state.json"), state)?;
    Ok(folder)
}

/// Makes a model of one small tensor that differs by seed and step.
fn safetensors(seed: u64, step: u64) -> Vec<u8> {
    let header = br#"{"w":{"dtype":"F32","shape":[16,16],"data_offsets":[0,1024]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    let numbers = (1..=128_u64).map(|index| {
        // Knuth's multiplicative hash mixes well enough to tell contents apart.
        (index + seed.wrapping_mul(7919) + step.wrapping_mul(104_729)).wrapping_mul(2_654_435_761)
            & 0x3f7f_ffff_3f7f_ffff
            | 1
    });
    bytes.extend(numbers.flat_map(u64::to_le_bytes));
    bytes
}
