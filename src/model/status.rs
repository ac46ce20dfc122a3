//! The snapshot: what the daemon knows right now, for the socket and for people.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::checkpoint::TrainingPoint;
use super::ids::RunId;
use super::journal::DocumentsState;
use super::measurement::Verdict;
use super::training::RunMetric;

/// Everything that `runscribe status` shows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    /// When it was taken, RFC 3339 with offset.
    pub time: String,
    /// The runs, the most recently changed first. What stays the same is shared with the snapshot
    /// before, so that a thousand runs need memory once.
    pub runs: Vec<Arc<RunStatus>>,
    /// Whether analyses can run, and if not why and what to do.
    pub analysis: Readiness,
    /// Since when no analysis is started because a person asked for it, RFC 3339 with offset.
    pub paused: Option<String>,
    /// Checkpoints that wait to be analyzed, in the order they will be.
    pub queue: Vec<QueueEntry>,
    /// Shell logs that belong to no run, the newest first, at most twenty.
    pub unlinked_logs: Vec<UnlinkedLog>,
    /// Evaluation reports that belong to no run, the newest first, at most twenty.
    pub unlinked_reports: Vec<UnlinkedReport>,
    /// The running analyses.
    pub running: Vec<RunningAnalysis>,
    /// Documents pending or held.
    pub documents: DocumentsState,
    /// Where the experiment log is written.
    pub log: LogStatus,
    /// How the training folder is watched.
    pub watch: WatchStatus,
    /// The host.
    pub host: HostStatus,
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// How the receivers of alerts are reached.
    pub alerts: Vec<ReceiverStatus>,
    /// What is wrong right now, each a sentence that says what to do.
    pub problems: Vec<String>,
}

/// Where the experiment log is written: in the checkout unless there is a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// The log's own branch, if it is written there.
    pub branch: Option<String>,
    /// Commits of it that the default branch does not have.
    pub unmerged: u64,
    /// Whether something is being done for it that is not over yet.
    pub is_busy: bool,
    /// Why it is not as it should be, and what happens about it.
    pub problem: Option<String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunStatus {
    /// Its id.
    pub run: RunId,
    /// `training`, `stalled`, `failed`, `complete` or `unknown`; `old`, `gone` and `rank shadow`
    /// for runs that are listed only.
    pub state: Cow<'static, str>,
    /// One line of evidence for the state.
    pub evidence: Cow<'static, str>,
    /// The last known step.
    pub step: Option<u64>,
    /// Planned steps.
    pub total_steps: Option<u64>,
    /// Estimated end, RFC 3339, from observed progress only.
    pub eta: Option<String>,
    /// What the estimate is based on, or why there is none.
    pub eta_basis: Cow<'static, str>,
    /// The last metrics.
    pub metrics: Option<TrainingPoint>,
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
    /// Ranks over steps: (step, rank), oldest first, of the newest protocol.
    pub trajectory: Vec<(u64, f64)>,
    /// The newest lines of metrics, from its shell log and its trainer's state without doubles, in
    /// the order of training.
    pub recent_metrics: Vec<RunMetric>,
    /// Its newest shell log, relative to the root.
    pub shell_log: Option<String>,
    /// All of its shell logs, the newest first, if there are several.
    pub shell_logs: Vec<String>,
    /// Its page at W&B.
    pub wandb_url: Option<String>,
    /// Failure notes, relative to the root.
    pub failure_notes: Vec<String>,
    /// The newest scores of its evaluations: of the final model, else of the highest step.
    pub scores: Vec<ScoreStatus>,
    /// Checkpoints that are not complete: name and what is missing, at most ten.
    pub incomplete: Vec<(String, String)>,
}

/// The score of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreStatus {
    /// The task, as its program calls it.
    pub task: String,
    /// What it measures.
    pub metric: String,
    /// The score, finite.
    pub score: f64,
    /// The report that it is from.
    pub report: String,
}

/// An evaluation report that belongs to no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnlinkedReport {
    /// Its name.
    pub report: String,
    /// Why.
    pub reason: String,
}

/// A shell log that belongs to no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnlinkedLog {
    /// Its path, relative to the root.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// How a receiver of alerts is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverStatus {
    /// Its address, by scheme and host only.
    pub address: String,
    /// The form of its messages.
    pub format: &'static str,
    /// Messages that wait for it.
    pub waiting: u64,
    /// Messages that it never took, in this life of the daemon.
    pub lost: u64,
    /// Why the last attempt failed, if it did.
    pub problem: Option<String>,
}

/// Counts of a run's checkpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Readiness {
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
pub struct QueueEntry {
    /// Its run.
    pub run: RunId,
    /// Its name.
    pub checkpoint: String,
    /// Why it waits.
    pub reason: String,
}

/// One running analysis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningAnalysis {
    /// Its run.
    pub run: RunId,
    /// Its checkpoint.
    pub checkpoint: String,
    /// Since when, RFC 3339 with offset.
    pub since: String,
    /// The first attempt is 1.
    pub attempt: u32,
    /// Where it computes and why; unknown until that is chosen.
    pub device: Option<String>,
}

/// How the training folder is watched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchStatus {
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
pub struct HostStatus {
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
    pub gpus: Vec<GpuStatus>,
    /// Why there is no GPU reading, if there is none.
    pub gpu_note: Option<String>,
}

/// One GPU. What could not be read is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuStatus {
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

/// What the driver says of all GPUs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GpuReading {
    /// The GPUs, in the driver's order.
    pub gpus: Vec<GpuStatus>,
    /// Why there is none.
    pub note: Option<String>,
}

/// The daemon itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DaemonStatus {
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
    /// The last event's sequence number.
    pub seq: u64,
}
