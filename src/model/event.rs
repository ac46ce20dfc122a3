//! What happened: the durable event stream.

use serde::{Deserialize, Serialize};

use super::analysis::FailureClass;
use super::ids::{CheckpointName, Digest, RunId};
use super::measurement::Verdict;
use super::time::Moment;

/// One thing that happened, before it has a sequence number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEvent {
    /// When, local time with offset.
    pub time: Moment,
    /// The run it is about.
    pub run: Option<RunId>,
    /// The checkpoint it is about.
    pub checkpoint: Option<CheckpointName>,
    /// What happened.
    pub what: Happening,
}

/// An event as the journal holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredEvent {
    /// Durable sequence number: starts at 1, increases by one, continues across restarts.
    pub seq: u64,
    /// The event.
    #[serde(flatten)]
    pub event: NewEvent,
}

/// The kinds of events with their facts. The serialized form is stored in the journal and is the
/// base of the wire form: `kind` is the `snake_case` name, the fields follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happening {
    /// The daemon began to work.
    DaemonStarted {
        /// Its version.
        version: String,
        /// Its process id.
        pid: u32,
        /// The watched root.
        root: String,
    },
    /// The daemon was asked to stop.
    DaemonStopping {
        /// By what.
        reason: String,
    },
    /// A new configuration is in force.
    ConfigReloaded {
        /// Changed keys that take effect only after a restart.
        needs_restart: Vec<String>,
    },
    /// A run was seen for the first time.
    RunSeen {
        /// Whether it was old at the first start, and is listed only.
        old: bool,
        /// The id it had before, if its folder was renamed.
        renamed_from: Option<RunId>,
    },
    /// A run changed its state.
    RunState {
        /// The new state.
        state: String,
        /// One line of evidence.
        evidence: String,
    },
    /// A run's folder was deleted.
    RunGone,
    /// A checkpoint was first seen complete; once per content.
    CheckpointComplete {
        /// Identity of the content.
        digest: Digest,
        /// Length of the weights files, in bytes.
        weights_bytes: u64,
    },
    /// A checkpoint's files vanished before its analysis began.
    CheckpointGone,
    /// An incomplete checkpoint made no progress for `stuck_after`.
    CheckpointStuck {
        /// What is missing.
        missing: Vec<String>,
    },
    /// An analysis was started.
    AnalysisStarted {
        /// The first attempt is 1.
        attempt: u32,
        /// The checkpoint's content.
        digest: Digest,
    },
    /// An analysis ended with a report, or a twin made it unnecessary.
    AnalysisFinished {
        /// Wall time, in seconds.
        seconds: f64,
        /// Device and reason, pinned or in place.
        conditions: Vec<String>,
        /// The checkpoint with byte-identical weights, if one was found.
        same_as: Option<CheckpointName>,
    },
    /// An analysis failed.
    AnalysisFailed {
        /// Why.
        class: FailureClass,
        /// The first attempt is 1.
        attempt: u32,
        /// When it is tried again, RFC 3339; `None` if never.
        retry_at: Option<String>,
        /// How many checkpoints of the run have failed in this way by now, this one included: what
        /// alerts people does so at 1 only. Events of before this was counted say 1.
        #[serde(default = "once")]
        failing_checkpoints: u32,
        /// Exit code and last lines of stderr, redacted and bounded.
        evidence: String,
        /// Device and reason, pinned or in place; the first version did not store them.
        #[serde(default)]
        conditions: Vec<String>,
    },
    /// The gates have spoken.
    Verdict {
        /// What they say.
        verdict: Verdict,
        /// Why.
        reasons: Vec<String>,
        /// The measured rank.
        rank: Option<f64>,
        /// Which measurement `rank` is.
        measurement: Option<String>,
        /// Number of concepts C.
        concepts: Option<u64>,
        /// Hidden size H.
        hidden: Option<u64>,
        /// The rank gate's minimum after scaling.
        threshold: Option<f64>,
    },
    /// A row stands in the experiment log.
    ObservationWritten {
        /// The document's path relative to the root.
        document: String,
    },
    /// A failure note stands in the run reports folder.
    FailureNoted {
        /// The note's path relative to the root.
        note: String,
        /// Which kind, such as `effective-rank`.
        failure: String,
    },
    /// A document cannot be written for now; what was to be written is kept.
    DocumentHeld {
        /// The document's path relative to the root.
        document: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Training failed.
    TrainingFailure {
        /// Which class.
        failure: String,
        /// The first line of evidence.
        evidence: String,
        /// The shell log that tells of it, relative to the root; the first versions did not say.
        #[serde(default)]
        log: Option<String>,
        /// The line of the evidence in it, counted from 1.
        #[serde(default)]
        line: Option<u64>,
    },
    /// An evaluation report was read, or says something else than before.
    Evaluated {
        /// The name that its files share.
        report: String,
        /// The task, as its program calls it.
        task: String,
        /// What its score measures.
        metric: Option<String>,
        /// The score that stands for the task.
        score: Option<f64>,
        /// What is wrong with it, and why it belongs to no run, if it does not.
        problems: Vec<String>,
    },
    /// A person went past a gate.
    GateOverridden {
        /// What was done all the same.
        action: String,
        /// What the gate says.
        verdict: String,
        /// The person's reason.
        reason: String,
    },
    /// Watching works, but worse than it should.
    WatchDegraded {
        /// Why, and what to do.
        reason: String,
    },
    /// Everything was scanned anew because events were lost.
    Rescan {
        /// Why.
        reason: String,
    },
}

fn once() -> u32 {
    1
}

impl Happening {
    /// Returns the kind as it stands on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::DaemonStarted { .. } => "daemon_started",
            Self::DaemonStopping { .. } => "daemon_stopping",
            Self::ConfigReloaded { .. } => "config_reloaded",
            Self::RunSeen { .. } => "run_seen",
            Self::RunState { .. } => "run_state",
            Self::RunGone => "run_gone",
            Self::CheckpointComplete { .. } => "checkpoint_complete",
            Self::CheckpointGone => "checkpoint_gone",
            Self::CheckpointStuck { .. } => "checkpoint_stuck",
            Self::AnalysisStarted { .. } => "analysis_started",
            Self::AnalysisFinished { .. } => "analysis_finished",
            Self::AnalysisFailed { .. } => "analysis_failed",
            Self::Verdict { .. } => "verdict",
            Self::ObservationWritten { .. } => "observation_written",
            Self::FailureNoted { .. } => "failure_noted",
            Self::DocumentHeld { .. } => "document_held",
            Self::TrainingFailure { .. } => "training_failure",
            Self::Evaluated { .. } => "evaluated",
            Self::GateOverridden { .. } => "gate_overridden",
            Self::WatchDegraded { .. } => "watch_degraded",
            Self::Rescan { .. } => "rescan",
        }
    }
}
