//! The wire form of events: `{"type":"event","seq":…,"time":…,"kind":…,"run":…,"checkpoint":…,…}`.

use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::finite;
use crate::model::event::{Happening, StoredEvent};
use crate::model::ids::CheckpointName;
use crate::model::measurement;

/// One durable event.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Starts at 1, increases by one, continues across restarts.
    pub seq: u64,
    /// When, RFC 3339 with offset.
    pub time: String,
    /// The run id, if it is about a run.
    #[serde(default)]
    pub run: Option<String>,
    /// `checkpoint-<step>` or `final`, if it is about a checkpoint.
    #[serde(default)]
    pub checkpoint: Option<String>,
    /// `kind` and the facts of that kind.
    #[serde(flatten)]
    pub what: Happened,
}

/// The kinds of events with their facts, beside each other in the event's object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Happened {
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
        renamed_from: Option<String>,
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
        digest: String,
        /// Length of the weights files, in bytes.
        weights_bytes: u64,
    },
    /// A checkpoint's files vanished before its analysis began.
    CheckpointGone,
    /// An incomplete checkpoint made no progress for a long time.
    CheckpointStuck {
        /// What is missing.
        missing: Vec<String>,
    },
    /// An analysis was started.
    AnalysisStarted {
        /// The first attempt is 1.
        attempt: u32,
        /// The checkpoint's content.
        digest: String,
    },
    /// An analysis ended with a report, or a twin made it unnecessary.
    AnalysisFinished {
        /// Wall time, in seconds.
        seconds: Option<f64>,
        /// Device and reason, pinned or in place.
        conditions: Vec<String>,
        /// The checkpoint with byte-identical weights, if one was found.
        same_as: Option<String>,
    },
    /// An analysis failed.
    AnalysisFailed {
        /// Why.
        class: String,
        /// The first attempt is 1.
        attempt: u32,
        /// When it is tried again, RFC 3339; `null` if never.
        retry_at: Option<String>,
        /// How many checkpoints of the run have failed with this class by now, this one included.
        #[serde(default)]
        failing_checkpoints: u32,
        /// Exit code and last lines of stderr, redacted and bounded.
        evidence: String,
        /// Device and reason, pinned or in place.
        #[serde(default)]
        conditions: Vec<String>,
    },
    /// The gates have spoken.
    Verdict {
        /// `pass`, `warn`, `fail` or `unknown`.
        verdict: measurement::Verdict,
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
        /// The shell log that tells of it, relative to the root; `null` if none does.
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
        /// What its score measures; `null` if it holds none.
        metric: Option<String>,
        /// The score that stands for the task; `null` if it holds none.
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
    /// An event of a later version, with all of its keys.
    #[serde(untagged)]
    Other(Map<String, Value>),
}

impl Happened {
    /// Returns the kind as it stands on the wire.
    pub fn kind(&self) -> &str {
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
            Self::Other(facts) => facts.get("kind").and_then(Value::as_str).unwrap_or("unknown"),
        }
    }
}

impl Serialize for Event {
    /// Writes the keys in the documented order, which people who read the stream rely on: a
    /// derived form would put the facts between `kind` and `run`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(mut facts) =
            serde_json::to_value(&self.what).map_err(S::Error::custom)?
        else {
            return Err(S::Error::custom("the facts of an event are not an object"));
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("seq", &self.seq)?;
        map.serialize_entry("time", &self.time)?;
        map.serialize_entry("kind", &facts.shift_remove("kind"))?;
        if let Some(run) = &self.run {
            map.serialize_entry("run", run)?;
        }
        if let Some(checkpoint) = &self.checkpoint {
            map.serialize_entry("checkpoint", checkpoint)?;
        }
        for (key, value) in &facts {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl From<&StoredEvent> for Event {
    fn from(stored: &StoredEvent) -> Self {
        let event = &stored.event;
        Self {
            seq: stored.seq,
            time: event.time.to_string(),
            run: event.run.as_ref().map(ToString::to_string),
            checkpoint: event.checkpoint.as_ref().map(CheckpointName::to_string),
            what: Happened::from(event.what.clone()),
        }
    }
}

impl From<Happening> for Happened {
    fn from(what: Happening) -> Self {
        use Happening as Model;
        match what {
            Model::DaemonStarted { version, pid, root } => {
                Self::DaemonStarted { version, pid, root }
            }
            Model::DaemonStopping { reason } => Self::DaemonStopping { reason },
            Model::ConfigReloaded { needs_restart } => Self::ConfigReloaded { needs_restart },
            Model::RunSeen { old, renamed_from } => {
                Self::RunSeen { old, renamed_from: renamed_from.map(|run| run.to_string()) }
            }
            Model::RunState { state, evidence } => Self::RunState { state, evidence },
            Model::RunGone => Self::RunGone,
            Model::CheckpointComplete { digest, weights_bytes } => {
                Self::CheckpointComplete { digest: digest.to_string(), weights_bytes }
            }
            Model::CheckpointGone => Self::CheckpointGone,
            Model::CheckpointStuck { missing } => Self::CheckpointStuck { missing },
            Model::AnalysisStarted { attempt, digest } => {
                Self::AnalysisStarted { attempt, digest: digest.to_string() }
            }
            Model::AnalysisFinished { seconds, conditions, same_as } => {
                let same_as = same_as.map(|name| name.to_string());
                Self::AnalysisFinished { seconds: finite(seconds), conditions, same_as }
            }
            Model::AnalysisFailed {
                class,
                attempt,
                retry_at,
                failing_checkpoints,
                evidence,
                conditions,
            } => Self::AnalysisFailed {
                class: class.as_str().to_owned(),
                attempt,
                retry_at,
                failing_checkpoints,
                evidence,
                conditions,
            },
            Model::Verdict { verdict, reasons, rank, measurement, concepts, hidden, threshold } => {
                let (rank, threshold) = (rank.and_then(finite), threshold.and_then(finite));
                Self::Verdict { verdict, reasons, rank, measurement, concepts, hidden, threshold }
            }
            Model::ObservationWritten { document } => Self::ObservationWritten { document },
            Model::FailureNoted { note, failure } => Self::FailureNoted { note, failure },
            Model::DocumentHeld { document, reason } => Self::DocumentHeld { document, reason },
            Model::TrainingFailure { failure, evidence, log, line } => {
                Self::TrainingFailure { failure, evidence, log, line }
            }
            Model::Evaluated { report, task, metric, score, problems } => {
                Self::Evaluated { report, task, metric, score, problems }
            }
            Model::GateOverridden { action, verdict, reason } => {
                Self::GateOverridden { action, verdict, reason }
            }
            Model::WatchDegraded { reason } => Self::WatchDegraded { reason },
            Model::Rescan { reason } => Self::Rescan { reason },
        }
    }
}
