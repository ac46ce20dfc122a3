//! A throw-away training folder with small real checkpoints, saved in the order of the watched
//! project's trainer.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use regex::Regex;
use tempfile::TempDir;

use super::WatchConfig;
use crate::model::ids::RunId;
use crate::settings::Backend;

/// A configuration with H < C.
pub(super) const SMALL_CONFIG: &str =
    include_str!("../../tests/fixtures/watch/config.diffusion_H64C128.json");
/// A configuration with H >= C.
pub(super) const LARGE_CONFIG: &str =
    include_str!("../../tests/fixtures/watch/config.weighted_H512C128.json");
/// A trainer state at step 20 with bare `NaN` and `Infinity`.
pub(super) const DIVERGED_STATE: &str =
    include_str!("../../tests/fixtures/watch/trainer_state.diverged_20.json");

/// The run that most tests use.
pub(super) const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

/// A file of a save: its name and its content.
pub(super) type SavedFile = (String, Vec<u8>);

/// A training folder that vanishes with this value.
#[derive(Debug)]
pub(super) struct Project {
    folder: TempDir,
}

impl Project {
    /// Makes the folder with nothing in it.
    pub(super) fn new() -> Self {
        let project = Self { folder: TempDir::new().unwrap() };
        fs::create_dir_all(project.training()).unwrap();
        project
    }

    /// Returns the project's root.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// Returns the training folder.
    pub(super) fn training(&self) -> PathBuf {
        self.root().join("Cache/Training")
    }

    /// Returns a run's folder.
    pub(super) fn run(&self, run: &str) -> PathBuf {
        self.training().join(run)
    }

    /// Returns settings for it with a full scan each hour, so that tests depend on hints alone.
    pub(super) fn config(&self, backend: Backend) -> WatchConfig {
        WatchConfig {
            training: self.training(),
            run_pattern: Regex::new(r"_\d{8}_\d{6}$").unwrap(),
            reconcile: Duration::from_hours(1),
            settle: Duration::from_secs(2),
            backend,
            begun: self.root().join("Cache/runscribe/begun"),
        }
    }
}

/// Returns the id of the run that most tests use.
pub(super) fn run_id() -> RunId {
    RunId::new(RUN)
}

/// Returns the present moved by so many seconds.
pub(super) fn now_plus(seconds: i64) -> Timestamp {
    let now = Timestamp::now();
    Timestamp::new(now.as_second() + seconds, now.subsec_nanosecond()).unwrap()
}

/// Makes a safetensors file with `tensors` matrices of 64 × 64 numbers that depend on `seed`.
pub(super) fn safetensors(tensors: u32, seed: u32) -> Vec<u8> {
    const BYTES: u32 = 64 * 64 * 4;
    let entries: Vec<String> = (0..tensors)
        .map(|index| {
            let (begin, end) = (index * BYTES, (index + 1) * BYTES);
            format!(
                r#""t{index:03}":{{"dtype":"F32","shape":[64,64],"data_offsets":[{begin},{end}]}}"#
            )
        })
        .collect();
    let header = format!(r#"{{"__metadata__":{{"format":"pt"}},{}}}"#, entries.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    // A small generator of well mixed numbers (Knuth's multiplicative one).
    let numbers = (0..tensors * 64 * 64)
        .map(|index| index.wrapping_add(seed.wrapping_mul(7919)).wrapping_mul(2_654_435_761) | 1);
    bytes.extend(numbers.flat_map(u32::to_le_bytes));
    bytes
}

/// Makes what the end of a zip archive with one nameless entry looks like, after its content.
pub(super) fn torch_archive(length: u32, seed: u8) -> Vec<u8> {
    const ENTRY_BYTES: u32 = 46;
    let mut bytes = vec![seed | 1; length as usize];
    bytes.extend_from_slice(b"PK\x01\x02");
    bytes.resize((length + ENTRY_BYTES) as usize, 0);
    bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    bytes.extend_from_slice(&ENTRY_BYTES.to_le_bytes());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

/// Makes a `trainer_state.json`.
pub(super) fn trainer_state(step: u64) -> String {
    format!(
        r#"{{"epoch": 0.5, "global_step": {step}, "max_steps": 400, "log_history": [
  {{"epoch": 0.5, "grad_norm": 1.5, "learning_rate": 0.0003, "loss": 7.25, "step": {step}}}]}}"#
    )
}

/// Returns the files of an intermediate checkpoint in the order in which a trainer writes them.
pub(super) fn checkpoint_files(step: u64, weights: Vec<SavedFile>) -> Vec<SavedFile> {
    let mut files = final_files(weights);
    files.push(("optimizer.pt".into(), vec![7; 4096]));
    files.push(("scheduler.pt".into(), vec![8; 128]));
    files.push(("rng_state.pth".into(), vec![9; 128]));
    files.push(("trainer_state.json".into(), trainer_state(step).into_bytes()));
    files
}

/// Returns the files of a final model in order.
pub(super) fn final_files(weights: Vec<SavedFile>) -> Vec<SavedFile> {
    let mut files = vec![("config.json".to_owned(), SMALL_CONFIG.as_bytes().to_vec())];
    files.extend(weights);
    for name in ["tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"] {
        files.push((name.to_owned(), b"{}".to_vec()));
    }
    files.push(("training_args.bin".to_owned(), vec![6; 64]));
    files
}

/// Returns weights as one safetensors file that depends on `seed`.
pub(super) fn one_file(seed: u32) -> Vec<SavedFile> {
    vec![("model.safetensors".to_owned(), safetensors(8, seed))]
}

/// Writes files into a folder that is made if it is missing.
pub(super) fn write_all(folder: &Path, files: &[SavedFile]) {
    fs::create_dir_all(folder).unwrap();
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
}

/// Saves a whole intermediate checkpoint of a run and returns its folder.
pub(super) fn save_checkpoint(run_folder: &Path, step: u64, seed: u32) -> PathBuf {
    let folder = run_folder.join(format!("checkpoint-{step}"));
    write_all(&folder, &checkpoint_files(step, one_file(seed)));
    folder
}

/// Sets a file's modification time.
pub(super) fn touch(path: &Path, time: std::time::SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}
