//! Pure. Checked settings: what the rest of the program reads.
//!
//! This file is the plain result, with paths made absolute and units parsed. Its children lead
//! there: `load` (the only one that does IO) reads the files, `toml_text` and `environment` turn
//! each source into a `layer` held against the `schema`, `compose` merges the layers into `raw`,
//! and `check` makes the settings of it.

mod alerts;
mod check;
mod compose;
mod discipline;
mod effective;
pub mod env_file;
mod environment;
mod layer;
mod lists;
mod load;
mod problem;
mod raw;
mod rule;
mod schema;
mod scripts;
mod toml_text;
pub mod units;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex::Regex;

pub use self::alerts::{AlertAddress, AlertSettings};
pub use self::compose::Loaded;
pub use self::discipline::{
    DisciplineSettings, EvaluationScript, Platform, PublishSettings, TagForms, TrainingScript,
    WandbSettings, is_reference,
};
pub use self::effective::{EffectiveValue, render_effective};
pub use self::load::{Sources, load};
pub use self::problem::{ConfigProblem, ConfigProblems, Fault};

use crate::model::measurement::Gate;
use crate::model::observation::HeaderNames;

/// Everything that can be configured, checked and with absolute paths.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where things are.
    pub paths: Paths,
    /// Which folders of the training folder are runs.
    pub run_pattern: Regex,
    /// The machine's name for the log; `None`: from the run's own files.
    pub machine: Option<String>,
    /// Watching.
    pub watch: WatchSettings,
    /// Analyses.
    pub analysis: AnalysisSettings,
    /// Where their programs run.
    pub launcher: Launcher,
    /// Gates, in the order they were configured.
    pub gates: Vec<Gate>,
    /// Health of training.
    pub training: TrainingSettings,
    /// The experiment log.
    pub log: LogSettings,
    /// The status socket.
    pub status: StatusSettings,
    /// The documents and conventions that the audit knows.
    pub discipline: DisciplineSettings,
    /// Scripts that start trainings.
    pub training_scripts: Vec<TrainingScript>,
    /// Scripts that evaluate models.
    pub evaluation_scripts: Vec<EvaluationScript>,
    /// Weights & Biases.
    pub wandb: WandbSettings,
    /// How a model is published.
    pub publish: PublishSettings,
    /// Who is told of trouble.
    pub alerts: Vec<AlertSettings>,
}

/// Returns the built-in defaults for a project, with no file and no variable read.
///
/// # Panics
///
/// Never; a test proves that the built-in defaults are valid.
#[expect(clippy::expect_used, reason = "the defaults are constants that a test proves valid")]
pub fn defaults(root: &Path) -> Settings {
    let surroundings = check::Surroundings {
        root: root.to_owned(),
        root_origin: layer::BUILT_IN.to_owned(),
        socket: None,
        runtime_directory: None,
    };
    let loaded = compose::compose(&[layer::Layer::of_defaults()], &surroundings, Vec::new());
    loaded.expect("the built-in defaults are valid").settings
}

/// Absolute paths of everything that is read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The project's root.
    pub root: PathBuf,
    /// `training_dir`.
    pub training: PathBuf,
    /// `shell_logs`: folders or globs, joined with the root.
    pub shell_logs: Vec<PathBuf>,
    /// `run_logs_dir`.
    pub run_logs: PathBuf,
    /// `evaluation_dir`.
    pub evaluation: PathBuf,
    /// `state_dir`.
    pub state: PathBuf,
    /// `experiment_log`.
    pub experiment_log: PathBuf,
    /// `run_reports_dir`.
    pub run_reports: PathBuf,
}

/// How changes are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchSettings {
    /// Time between full scans.
    pub reconcile: Duration,
    /// Where hints come from.
    pub backend: Backend,
    /// Quiet time before a final model counts as complete.
    pub settle: Duration,
    /// Time without progress after which an incomplete checkpoint is reported.
    pub stuck_after: Duration,
}

/// Where hints about changes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// inotify, but polling on network file systems.
    Auto,
    /// inotify.
    Inotify,
    /// Full scans only.
    Poll,
}

/// Where the programs of analyses run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launcher {
    /// On this host.
    Local,
}

/// Which device an analysis may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A GPU that nobody computes on, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// This CUDA device.
    Cuda(u32),
}

/// Which runs without young files are analyzed at the first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopt {
    /// Runs with a file younger than this.
    YoungerThan(Duration),
    /// All runs.
    All,
}

/// How checkpoints are analyzed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnalysisSettings {
    /// argv with placeholders; empty: the project's script, else the embedded probe.
    pub command: Vec<String>,
    /// Arguments that are appended.
    pub args: Vec<String>,
    /// The Python interpreter; `None`: found.
    pub python: Option<String>,
    /// The data set; `None`: `<state_dir>/dataset` if it exists, else the script's own.
    pub dataset: Option<String>,
    /// The model type; `None`: from `config.json`.
    pub model_type: Option<String>,
    /// Time limit of one analysis.
    pub timeout: Duration,
    /// Time from TERM to KILL.
    pub kill_grace: Duration,
    /// Analyses at a time, at least 1.
    pub max_concurrent: usize,
    /// Quick retries.
    pub retries: u32,
    /// How long hourly retries go on.
    pub retry_for: Duration,
    /// What is analyzed at the first start.
    pub adopt: Adopt,
    /// Where it computes.
    pub device: Device,
    /// GPU memory that must be free, in bytes.
    pub min_free_gpu_memory: u64,
    /// Niceness of the analysis, 0 to 19.
    pub nice: u8,
    /// Whether to analyze a hard-linked copy.
    pub pin: bool,
    /// How long reports are kept.
    pub keep_reports: Duration,
    /// A file of `KEY=value` lines, absolute; read if present.
    pub env_file: PathBuf,
    /// Variables for the analysis, keys in their own spelling.
    pub env: BTreeMap<String, String>,
    /// `config.json` architecture to model type, extends the built-in table.
    pub model_types: BTreeMap<String, String>,
}

/// When training counts as unhealthy.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingSettings {
    /// Stalled after this many learned log intervals …
    pub stall_factor: f64,
    /// … and never sooner than this.
    pub stall_floor: Duration,
    /// A gradient norm this many times the running median is divergence.
    pub grad_norm_factor: f64,
    /// A loss this many times the lowest so far is divergence.
    pub loss_factor: f64,
    /// Of a young shell log that was never seen before at most so many bytes are read.
    pub read_at_start: u64,
    /// Of one that is older than `analysis.adopt` at most so many.
    pub old_log_tail: u64,
}

/// What is written into the experiment log.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own for a person")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Rows of the observations table.
    pub observations: bool,
    /// Empty cells of a run's row.
    pub fill_run_row: bool,
    /// Rows of runs that have none.
    pub add_missing_rows: bool,
    /// Failure notes and their lines.
    pub failure_notes: bool,
    /// Where it is written.
    pub write: LogWrite,
    /// Whether the log's own branch is pushed.
    pub push: bool,
    /// `headers`: further header texts of the run table.
    pub headers: HeaderNames,
}

/// Where the experiment log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogWrite {
    /// In the project's own working tree.
    InPlace,
    /// On a branch of its own, in a linked working tree.
    Branch,
}

/// The status socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusSettings {
    /// Its path, absolute.
    pub socket: PathBuf,
    /// Its permission bits.
    pub socket_mode: u32,
    /// Its group; `None`: the daemon's own.
    pub socket_group: Option<String>,
    /// How many events are kept for replay.
    pub keep_events: u64,
}
