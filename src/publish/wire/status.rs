//! The wire form of the snapshot: `{"type":"status",…}`.
//!
//! Keys that an older daemon does not send yet are read as their empty value.

mod convert;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::measurement::Verdict;
use crate::model::shell_log::LogMetricKind;
use crate::model::training::MetricSource;

/// Everything that the daemon knows right now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// When it was taken, RFC 3339 with offset.
    pub time: String,
    /// What is wrong right now, each a sentence that says what to do.
    pub problems: Vec<String>,
    /// The runs, the most recently changed first.
    pub runs: Vec<Run>,
    /// Whether analyses can run.
    pub analysis: Analysis,
    /// Since when no analysis is started because a person asked for it, RFC 3339 with offset.
    pub paused: Option<String>,
    /// Checkpoints that wait to be analyzed, in the order they will be.
    pub queue: Vec<Queued>,
    /// Shell logs that belong to no run, the newest first, at most twenty.
    pub unlinked_logs: Vec<UnlinkedLog>,
    /// Evaluation reports that belong to no run, the newest first, at most twenty.
    pub unlinked_reports: Vec<UnlinkedReport>,
    /// The running analyses.
    pub running: Vec<Running>,
    /// Documents pending or held.
    pub documents: Documents,
    /// Where the experiment log is written.
    pub log: Log,
    /// How the training folder is watched.
    pub watch: Watch,
    /// The host.
    pub host: Host,
    /// The daemon itself.
    pub daemon: Daemon,
    /// How the receivers of alerts are reached, in the order of the configuration.
    pub alerts: Vec<Receiver>,
}

/// Where the experiment log is written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// The log's own branch; `null` when it is written in the checkout.
    pub branch: Option<String>,
    /// Commits of that branch that the default branch does not have.
    pub unmerged: u64,
    /// Why the branch is not as it should be, and what happens about it.
    pub problem: Option<String>,
}

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Its id.
    pub run: String,
    /// `training`, `stalled`, `failed`, `complete`, `unknown`; `old`, `gone`, `rank shadow` for
    /// runs that are listed only.
    pub state: String,
    /// One line of evidence for the state.
    pub evidence: String,
    /// The last known step.
    pub step: Option<u64>,
    /// Planned steps.
    pub total_steps: Option<u64>,
    /// Estimated end, RFC 3339.
    pub eta: Option<String>,
    /// What the estimate is based on, or why there is none.
    pub eta_basis: String,
    /// The last metrics.
    pub metrics: Option<Metrics>,
    /// Counts of its checkpoints.
    pub checkpoints: CheckpointCounts,
    /// The newest verdict.
    pub verdict: Option<Verdict>,
    /// Why, if it is not `pass`.
    pub reasons: Vec<String>,
    /// The rank that goes with it.
    pub rank: Option<f64>,
    /// Which measurement `rank` is.
    pub rank_measurement: Option<String>,
    /// Number of concepts C.
    pub concepts: Option<u64>,
    /// Ranks over steps, oldest first, of the newest protocol.
    pub trajectory: Vec<TrajectoryPoint>,
    /// The newest lines of metrics, from its shell log and its trainer's state without doubles, in
    /// the order of training, at most twenty.
    pub recent_metrics: Vec<RecentMetric>,
    /// Its newest shell log, relative to the root.
    pub shell_log: Option<String>,
    /// All of its shell logs, the newest first, if there are several.
    pub shell_logs: Vec<String>,
    /// Its page at W&B.
    pub wandb_url: Option<String>,
    /// Failure notes, relative to the root.
    pub failure_notes: Vec<String>,
    /// The newest scores of its evaluations: of the final model, else of the highest step.
    pub scores: Vec<Score>,
    /// Checkpoints that are not complete, at most ten.
    pub incomplete: Vec<Incomplete>,
}

/// A line of metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecentMetric {
    /// The optimizer step; `null` if it is not certain.
    pub step: Option<u64>,
    /// The line of the shell log, counted from 1; `null` if only the trainer's state tells of it.
    pub line: Option<u64>,
    /// `train`, `eval` or `summary`.
    pub kind: LogMetricKind,
    /// `shell_log`, `trainer_state` or `both`.
    pub source: MetricSource,
    /// Names and numbers; `null` for NaN and infinities.
    pub values: BTreeMap<String, Option<f64>>,
}

/// The score of one task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Score {
    /// The task, as its program calls it.
    pub task: String,
    /// What it measures: `f1`, `accuracy`, `pearson`, `spearman` or `matthews`.
    pub metric: String,
    /// The score, 0 to 1 or -1 to 1.
    pub score: Option<f64>,
    /// The report that it is from.
    pub report: String,
}

/// An evaluation report that belongs to no run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnlinkedReport {
    /// Its name.
    pub report: String,
    /// Why.
    pub reason: String,
}

/// A shell log that belongs to no run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnlinkedLog {
    /// Its path, relative to the root.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// A rank at a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrajectoryPoint {
    /// The step.
    pub step: u64,
    /// The rank; `null` if it was not finite.
    pub rank: Option<f64>,
}

/// A checkpoint that is not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    /// Its name.
    pub checkpoint: String,
    /// What is missing.
    pub missing: String,
}

/// Where training stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// Optimizer steps done.
    pub step: u64,
    /// Planned optimizer steps.
    pub total_steps: Option<u64>,
    /// Epochs done.
    pub epoch: Option<f64>,
    /// The last logged training loss.
    pub loss: Option<f64>,
    /// The step of `loss`, `grad_norm` and `learning_rate`.
    pub loss_step: Option<u64>,
    /// The last logged gradient norm.
    pub grad_norm: Option<f64>,
    /// The last logged learning rate.
    pub learning_rate: Option<f64>,
    /// The last evaluation loss.
    pub eval_loss: Option<f64>,
    /// The step of `eval_loss`.
    pub eval_step: Option<u64>,
    /// Names of the logged values that were not finite at the last logged step.
    pub not_finite: Vec<String>,
}

/// Counts of a run's checkpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CheckpointCounts {
    /// Seen in any state.
    pub seen: u64,
    /// Seen complete.
    pub complete: u64,
    /// Observed.
    pub analyzed: u64,
    /// Waiting or running.
    pub pending: u64,
    /// Vanished before their analysis.
    pub gone: u64,
}

/// Whether analyses can run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Analysis {
    /// The self-test has not ended.
    #[default]
    Checking,
    /// They can.
    Ready {
        /// The program and how it was found.
        program: String,
    },
    /// They cannot.
    NotReady {
        /// Why, and what to do.
        problem: String,
    },
}

/// One waiting checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Its run.
    pub run: String,
    /// Its name.
    pub checkpoint: String,
    /// Why it waits.
    pub reason: String,
}

/// One running analysis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its run.
    pub run: String,
    /// Its checkpoint.
    pub checkpoint: String,
    /// Since when, RFC 3339 with offset.
    pub since: String,
    /// The first attempt is 1.
    pub attempt: u32,
    /// Where it computes and why; unknown until that is chosen.
    pub device: Option<String>,
}

/// Documents pending or held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Documents {
    /// Entries that are not yet written, or written but not yet looked at again.
    pub pending: u64,
    /// Documents that cannot be written for now.
    pub held: Vec<Held>,
}

/// A document that cannot be written for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Its path relative to the root.
    pub document: String,
    /// Why, and what to do.
    pub reason: String,
    /// Since when, RFC 3339 with offset.
    pub since: String,
    /// How many entries wait for it.
    pub entries: u64,
}

/// How a receiver of alerts is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Receiver {
    /// Its address, by scheme and host only.
    pub address: String,
    /// `json`, `slack`, `discord` or `ntfy`.
    pub format: String,
    /// Messages that wait for it.
    pub waiting: u64,
    /// Messages that it never took, since the daemon started.
    pub lost: u64,
    /// Why the last attempt failed; `null` if it did not.
    pub problem: Option<String>,
}

/// How the training folder is watched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// `inotify` or `poll`.
    pub backend: String,
    /// Watches in use.
    pub watches: u64,
    /// How often events were lost.
    pub overflows: u64,
    /// When the last full scan ended, RFC 3339 with offset.
    pub last_reconcile: Option<String>,
    /// How long it took, in milliseconds.
    pub reconcile_ms: Option<f64>,
    /// Why watching works worse than it should.
    pub degraded: Option<String>,
    /// The training folder: `listed`, or what is wrong with it.
    pub training_folder: String,
}

/// The host, as far as it can be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Busy share of all cores, 0 to 1.
    pub cpu: Option<f64>,
    /// Memory in use, in bytes.
    pub memory_used: Option<u64>,
    /// Memory in all, in bytes.
    pub memory_total: Option<u64>,
    /// Free bytes on the file system of the training folder.
    pub disk_free: Option<u64>,
    /// Size of that file system, in bytes.
    pub disk_total: Option<u64>,
    /// What is known of GPUs.
    pub gpus: Vec<Gpu>,
    /// Why there is no GPU reading, if there is none.
    pub gpu_note: Option<String>,
}

/// One GPU.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// Its number in the driver's order, which is that of `nvidia-smi`.
    pub index: u32,
    /// Its UUID; empty if it cannot be read.
    pub uuid: String,
    /// Its product name; empty if it cannot be read.
    pub name: String,
    /// Memory that is not free, in bytes.
    pub memory_used: Option<u64>,
    /// Memory in all, in bytes.
    pub memory_total: Option<u64>,
    /// Busy share, 0 to 1.
    pub utilization: Option<f64>,
    /// Process ids that compute on it.
    pub processes: Option<Vec<u32>>,
    /// Why it cannot be used, if it cannot.
    pub problem: Option<String>,
}

/// The daemon itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Daemon {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The watched root.
    pub root: String,
    /// Seconds since it started.
    pub uptime_seconds: u64,
    /// Resident memory, in bytes.
    pub memory: Option<u64>,
    /// Id of the journal.
    pub journal: String,
    /// Why the journal cannot commit, if it cannot.
    pub journal_problem: Option<String>,
    /// The last event's sequence number when the snapshot was taken.
    pub seq: u64,
}
