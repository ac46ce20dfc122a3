//! What the journal stores and gives back: transactions and the memory of earlier lives.

use jiff::Timestamp;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::alert::{QueuedAlert, ReceiverKey, Trouble};
use super::analysis::FailureClass;
use super::checkpoint::CompleteCheckpoint;
use super::evaluation::{GateOverride, KnownEvaluation};
use super::event::NewEvent;
use super::ids::{CheckpointId, CheckpointName, Digest, FolderIdentity, RunId};
use super::observation::{DocumentEdit, Observation};
use super::shell_log::{LogKey, LogPosition, LogReading, LogSighting};
use super::time::Moment;
use super::training::{KnownState, TrainerMetric};

/// One atomic step of the journal: all of it is durable, or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transaction {
    /// Changes of what is known.
    pub changes: Vec<Change>,
    /// Events that get their sequence numbers here, in this order.
    pub events: Vec<NewEvent>,
    /// Outbox entries for the documents, in this order.
    pub documents: Vec<DocumentEdit>,
}

impl Transaction {
    /// Returns whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.events.is_empty() && self.documents.is_empty()
    }
}

/// One change of what the journal knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A run is known from now on, or changed its standing. Replaces what was known of it.
    Run(KnownRun),
    /// A run that was renamed: everything under the old id belongs to the new one.
    RunRenamed {
        /// The id before.
        from: RunId,
        /// The id now.
        to: RunId,
    },
    /// A content was first seen complete.
    CheckpointComplete {
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// What is known of its content.
        content: Arc<CompleteCheckpoint>,
        /// When.
        time: Moment,
    },
    /// A content's standing changed. Replaces what was known of it.
    Standing {
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// Which content.
        digest: Digest,
        /// Its standing now.
        standing: Standing,
    },
    /// An observation was made. Its content's standing becomes [`Standing::Observed`].
    Observed(Box<Observation>),
    /// A failure note was decided: once per run and kind.
    NoteDecided {
        /// Whose.
        run: RunId,
        /// Which kind, such as `effective-rank`.
        kind: String,
        /// The note's file name inside the run reports folder.
        file: String,
    },
    /// Everything was scanned once: from now on every new run is a run of today.
    FirstScanEnded,
    /// An incomplete checkpoint was reported as stuck.
    StuckReported {
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// The signature that its folder had: the same one is not reported again.
        signature: u64,
    },
    /// A content whose analysis failed for good is to be analyzed once more, because a person asked
    /// for it: its observation no longer counts as the one of this content. Its standing becomes
    /// [`Standing::Pending`].
    Reopened {
        /// Which checkpoint.
        checkpoint: CheckpointId,
        /// Which content.
        digest: Digest,
    },
    /// Since when no analysis is started because a person asked for it; `None`: no longer.
    Paused(Option<Moment>),
    /// The contents that a person wants analyzed before all others, the first one first.
    Asked(Vec<(CheckpointId, Digest)>),
    /// A shell log was read further, or was tied to another run. Replaces what was known of it.
    ShellLog(Box<KnownLog>),
    /// A run's training is in this state from now on. Replaces what was known of it.
    RunState(RunId, KnownState),
    /// A shell log's content is nowhere any more; nothing is known of it from now on.
    ShellLogGone(LogKey),
    /// An alert waits for its receiver. Replaces one of the same receiver and id.
    Alert(Box<QueuedAlert>),
    /// An alert was delivered, or never will be.
    AlertEnded {
        /// Whose.
        receiver: ReceiverKey,
        /// Which.
        id: String,
    },
    /// Trouble is alerted, and not again before it has ended; the checkpoint that it was seen at.
    TroubleBegan(Trouble, Option<CheckpointName>),
    /// Trouble has ended.
    TroubleEnded(Trouble),
    /// An evaluation report is known from now on. Replaces what was known of it.
    Evaluated(Box<KnownEvaluation>),
    /// Evaluation reports were looked for once: from now on every new one is one of today.
    EvaluationsLooked,
    /// A person went past a gate.
    GateOverridden(Box<GateOverride>),
    /// A program rejected a model type; forgotten when the program's protocol changes.
    ModelTypeRejected {
        /// The rejected type.
        model_type: String,
        /// Digest of the program that rejected it.
        protocol: String,
    },
}

/// A run as the journal knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnownRun {
    /// Its id.
    pub run: RunId,
    /// Its folder, to recognize a rename.
    pub identity: FolderIdentity,
    /// The training folder that it was seen in: a listing of another one says nothing of it.
    pub training_folder: FolderIdentity,
    /// When it was first seen.
    pub first_seen: Moment,
    /// Whether it was old at the first start and nothing changed since: listed only. Holds the
    /// newest change that its files had.
    pub old_since: Option<Timestamp>,
    /// Whether its folder was deleted.
    pub gone: bool,
    /// What its own files say of it.
    #[serde(default)]
    pub facts: RunFacts,
}

/// A shell log as the journal knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownLog {
    /// Which log.
    pub key: LogKey,
    /// Its path relative to the root, or absolute where it lies elsewhere.
    pub path: String,
    /// Up to where everything that it says is recorded.
    pub position: LogPosition,
    /// What everything up to there says.
    pub reading: LogReading,
    /// Its length when it was last looked at, in bytes.
    pub length: u64,
    /// When it was last written to.
    pub modified: Timestamp,
    /// The run of its newest training, if it is known.
    pub run: Option<RunId>,
    /// Whether it was old when it was first seen, and was not written to since: nothing that it says
    /// is announced. Holds when it was last written to then.
    pub old_since: Option<Timestamp>,
}

impl KnownLog {
    /// Makes what is to be known of a log that was seen, and tied to this run.
    pub fn new(seen: LogSighting, run: Option<RunId>) -> Self {
        let LogSighting { key, path, position, reading, length, modified } = seen;
        Self { key, path, position, reading, length, modified, run, old_since: None }
    }

    /// Forgets what is of no use while the log does not grow, because hundreds of old logs are
    /// known: the parser's state, which the journal keeps, the metrics but the newest one of the
    /// newest training, and excerpts, which were used when they were new.
    pub fn rest(&mut self) {
        self.position.parser = String::new();
        let trainings = &mut self.reading.trainings;
        let newest = trainings.len().saturating_sub(1);
        for (place, training) in trainings.iter_mut().enumerate() {
            let spare = training.metrics.len().saturating_sub(usize::from(place == newest));
            training.metrics.drain(..spare);
            training.metrics.shrink_to_fit();
            training.metric_intervals = Vec::new();
            training.failures.iter_mut().for_each(|failure| failure.excerpt = Vec::new());
            training.failures.shrink_to_fit();
        }
        trainings.shrink_to_fit();
    }
}

/// What a run's own files say of it, outside its checkpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFacts {
    /// The host in the name of the run's `events.out.tfevents.<time>.<host>.<pid>`.
    pub machine: Option<String>,
    /// The shell log that names the run, relative to the root.
    pub shell_log: Option<String>,
    /// The run's page at W&B, as its shell log names it.
    pub wandb_url: Option<String>,
    /// The commit that the run itself recorded.
    #[serde(default)]
    pub git_commit: Option<String>,
    /// The tag that the run itself recorded, else the one tag that was made for it.
    #[serde(default)]
    pub git_tag: Option<String>,
    /// The tag of the training that was begun as this run, if it was one with `begin`.
    #[serde(default)]
    pub begun: Option<String>,
}

impl RunFacts {
    /// Returns the tag of the run's training: its own, else that with which it was begun.
    pub fn training_tag(&self) -> Option<&str> {
        self.git_tag.as_deref().or(self.begun.as_deref())
    }
}

/// What was found in a run's own files.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FoundFacts {
    /// What is kept.
    pub facts: RunFacts,
    /// The newest entries of the log history in its newest checkpoint, in their order.
    pub history: Vec<TrainerMetric>,
    /// What W&B left of it on this host.
    pub wandb: WandbFacts,
}

/// What W&B knows of a run, from its files on this host or from its service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WandbFacts {
    /// The run's page.
    pub url: Option<String>,
    /// The last training loss of a run that has ended.
    pub final_loss: Option<f64>,
}

/// Where a checkpoint's content stands on its way to one observation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    /// To be analyzed.
    Pending,
    /// An analysis was started; found at the start of the daemon, it was interrupted.
    Started {
        /// The first attempt is 1.
        attempt: u32,
        /// How often an analysis was interrupted by the daemon's own stop or death.
        interruptions: u32,
    },
    /// An analysis failed and is tried again.
    Waiting {
        /// Attempts so far.
        attempt: u32,
        /// Why the last one failed.
        class: FailureClass,
        /// When the first one failed.
        since: Timestamp,
        /// When to try again.
        retry_at: Timestamp,
        /// Exit code and last lines of stderr, redacted and bounded.
        evidence: String,
        /// How often an analysis was interrupted by the daemon's own stop or death.
        interruptions: u32,
    },
    /// Complete in a run that was old at the first start: not analyzed until the run wakes up.
    Listed,
    /// There is an observation of it.
    Observed,
    /// Its files vanished, or other content took its place, before its analysis began.
    Gone,
}

/// What a journal remembers when it is opened.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    /// Id of the journal; another one means that the old journal was lost.
    pub journal: String,
    /// Whether no first scan has ended yet, so that old runs are still to be told from new ones.
    pub fresh: bool,
    /// The last event's sequence number; 0 if there is none.
    pub last_seq: u64,
    /// All known runs.
    pub runs: Vec<KnownRun>,
    /// All known contents.
    pub checkpoints: Vec<KnownCheckpoint>,
    /// All observations, oldest first.
    pub observations: Vec<Observation>,
    /// Checkpoints that were reported as stuck, and the signature that each had.
    pub stuck: Vec<(CheckpointId, u64)>,
    /// Decided failure notes: run, kind, file name.
    pub notes: Vec<(RunId, String, String)>,
    /// Since when no analysis is started because a person asked for it.
    pub paused: Option<Moment>,
    /// The contents that a person wanted analyzed before all others, the first one first; those
    /// that are not owed an analysis any more mean nothing.
    pub asked: Vec<(CheckpointId, Digest)>,
    /// All shell logs, the most recently written first, without the state of their parsers; all but
    /// the newest few hold what a log at rest needs ([`KnownLog::rest`]).
    pub shell_logs: Vec<KnownLog>,
    /// The states of training as they were announced.
    pub run_states: Vec<(RunId, KnownState)>,
    /// Alerts that wait for their receivers, oldest first.
    pub alerts: Vec<QueuedAlert>,
    /// Trouble that was alerted and has not ended, and the checkpoint that it was seen at.
    pub troubles: Vec<(Trouble, Option<CheckpointName>)>,
    /// What is known of evaluations.
    pub evaluations: EvaluationMemory,
    /// Rejected model types: type, protocol.
    pub rejected_model_types: Vec<(String, String)>,
}

/// What a journal remembers of evaluations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EvaluationMemory {
    /// All reports.
    pub reports: Vec<KnownEvaluation>,
    /// Where people went past a gate, oldest first.
    pub overrides: Vec<GateOverride>,
    /// Whether reports were ever looked for.
    pub looked: bool,
}

/// A checkpoint's content as the journal knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownCheckpoint {
    /// Which checkpoint.
    pub checkpoint: CheckpointId,
    /// What is known of its content.
    pub content: Arc<CompleteCheckpoint>,
    /// Where it stands.
    pub standing: Standing,
    /// When it was first seen complete.
    pub first_complete: Moment,
}

/// The state of the documents, for the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentsState {
    /// Entries that are not yet written, or written but not yet looked at again.
    pub pending: u64,
    /// Documents that cannot be written for now.
    pub held: Vec<HeldDocument>,
}

/// A document that cannot be written for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldDocument {
    /// Its path relative to the root.
    pub document: String,
    /// Why, and what to do.
    pub reason: String,
    /// Since when, RFC 3339 with offset.
    pub since: String,
    /// How many entries wait for it.
    pub entries: u64,
}
