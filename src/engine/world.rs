//! Everything the decider knows: plain data, rebuilt from the journal at each start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use litemap::LiteMap;

use crate::model::analysis::ProgramFacts;
use crate::model::begun::BegunTraining;
use crate::model::checkpoint::{CompleteCheckpoint, Condition};
use crate::model::host_evidence::KernelFinding;
use crate::model::ids::{CheckpointId, CheckpointName, Digest, FolderIdentity, RunId};
use crate::model::journal::{
    DocumentsState, KnownCheckpoint, KnownLog, KnownRun, Memory, RunFacts, Standing,
};
use crate::model::observation::Observation;
use crate::model::shell_log::LogKey;
use crate::model::status::{DaemonStatus, HostStatus, LogStatus, Readiness, WatchStatus};
use crate::model::time::Moment;
use crate::model::training::{KnownState, TrainerMetric};
use crate::schedule::command::Rejected;
use crate::settings::Settings;

use super::alerts::Alerts;
use super::contents::{Contents, Owed, OwedContent};
use super::evaluations::Evaluations;
use super::log::Log;
use super::observed::{Observations, Shared};
use super::shell_logs;

/// The decider's whole state.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact")]
#[derive(Debug)]
pub struct World {
    /// The settings in force.
    pub settings: Arc<Settings>,
    /// The time of the last step.
    pub now: Moment,
    /// When the daemon started.
    pub started: Moment,
    /// The daemon itself.
    pub daemon: DaemonStatus,
    pub(crate) runs: BTreeMap<RunId, Run>,
    /// Contents that still need an analysis; everything else is found through `runs`.
    pub(crate) pending: BTreeSet<(CheckpointId, Digest)>,
    pub(crate) running: Vec<Running>,
    /// What observations have in common.
    pub(crate) shared: Shared,
    pub(crate) next_order: u64,
    pub(crate) program: Option<ProgramFacts>,
    pub(crate) readiness: Readiness,
    pub(crate) rejected: Rejected,
    pub(crate) training_identity: Option<FolderIdentity>,
    pub(crate) training_problem: Option<String>,
    pub(crate) listed: BTreeMap<RunId, FolderIdentity>,
    /// Trainings that were begun, whether or not their runs have been seen.
    pub(crate) begun: Vec<BegunTraining>,
    /// Checkpoints that were reported as stuck, and the signature that each had.
    pub(crate) stuck: BTreeMap<CheckpointId, u64>,
    /// Whether this is the first start, until everything was scanned once.
    pub(crate) adopting: bool,
    pub(crate) first_scan_done: bool,
    /// Since when no analysis is started because a person asked for it.
    pub(crate) paused: Option<Moment>,
    /// Contents that a person asked for, the first one first. What is no longer pending in it means
    /// nothing.
    pub(crate) asked: Vec<(CheckpointId, Digest)>,
    /// Observations found in the log at the first start: run id and checkpoint cell.
    pub(crate) made_before: BTreeSet<(String, String)>,
    pub(crate) journal_problem: Option<String>,
    pub(crate) missed_sightings: bool,
    pub(crate) shell_log_problems: Vec<String>,
    /// What the kernel's log said lately, oldest first, and why it cannot be read, if it cannot.
    pub(crate) kernel: VecDeque<KernelFinding>,
    pub(crate) kernel_note: Option<String>,
    pub(crate) logs: BTreeMap<LogKey, Log>,
    /// Runs that were renamed: their logs go on naming them as before.
    pub(crate) aliases: BTreeMap<RunId, RunId>,
    /// Runs whose training may change its state by the mere passing of time.
    pub(crate) restless: BTreeSet<RunId>,
    /// When those were looked at last.
    pub(crate) restless_looked_at: Option<Moment>,
    /// Whether all shell logs that were there at the start are read.
    pub(crate) shell_logs_read: bool,
    pub(crate) evaluations: Evaluations,
    pub(crate) documents: DocumentsState,
    pub(crate) log: LogStatus,
    pub(crate) alerts: Alerts,
    pub(crate) watch: WatchStatus,
    /// When all runs were last looked through for what is stuck or broken.
    pub(crate) absence_looked_at: Option<Moment>,
    /// When the last full scan ended; the start of the daemon before there was one.
    pub(crate) last_scan: Moment,
    pub(crate) host: HostStatus,
    pub(crate) seq: u64,
    pub(crate) stopping: bool,
}

/// One run.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pub(crate) known: Option<KnownRun>,
    /// Most runs have a few, and a tree's node has room for eleven.
    pub(crate) present: LiteMap<CheckpointName, Box<Present>>,
    pub(crate) contents: Contents,
    pub(crate) observations: Observations,
    /// Failure notes: kind to file name.
    pub(crate) notes: BTreeMap<String, String>,
    pub(crate) problem: Option<String>,
    /// Whether any of its checkpoints has weights or a configuration, whole or not.
    pub(crate) holds_model: bool,
    pub(crate) newest_change: Option<crate::model::Timestamp>,
    /// The shell logs that tell of it.
    pub(crate) logs: Vec<LogKey>,
    /// What its training does.
    pub(crate) training: Option<Box<RunTraining>>,
    /// The newest entries of its trainer's log history, for the runs that were written last.
    pub(crate) history: Vec<TrainerMetric>,
}

/// What the training of a run does.
#[derive(Debug)]
pub(crate) struct RunTraining {
    /// As it was announced.
    pub(crate) known: KnownState,
    /// The evidence as it is now.
    pub(crate) evidence: String,
}

/// A checkpoint as the last scan saw it.
#[derive(Debug, Clone)]
pub(crate) struct Present {
    pub(crate) folder: PathBuf,
    pub(crate) signature: u64,
    pub(crate) condition: Condition,
    /// The latest change of any of its files.
    pub(crate) newest_change: Option<crate::model::Timestamp>,
    /// Since when this daemon has seen nothing change.
    pub(crate) unchanged_since: Moment,
    /// Whether it must be looked at again before it may be analyzed.
    pub(crate) stale: bool,
}

/// An order that has not come to its end.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) number: u64,
    pub(crate) checkpoint: CheckpointId,
    pub(crate) digest: Digest,
    pub(crate) attempt: u32,
    /// When the first attempt failed, if this is a retry.
    pub(crate) failing_since: Option<crate::model::Timestamp>,
    pub(crate) protocol: String,
    pub(crate) model_type: Option<String>,
    /// Where it computes and why, once that is chosen.
    pub(crate) device: Option<String>,
    pub(crate) since: Moment,
}

impl Present {
    /// Returns since when no file of it changed, as far as the files' own times can be believed.
    pub(crate) fn quiet_since(&self) -> crate::model::Timestamp {
        let seen = self.unchanged_since.timestamp();
        self.newest_change.map_or(seen, |change| change.min(seen))
    }
}

impl Run {
    /// Whether its checkpoints are to be analyzed.
    pub(crate) fn is_live(&self) -> bool {
        self.known.as_ref().is_some_and(|known| known.old_since.is_none() && !known.gone)
    }

    /// Returns what its own files say of it, as far as it is known.
    pub(crate) fn facts(&self) -> RunFacts {
        self.known.as_ref().map(|known| known.facts.clone()).unwrap_or_default()
    }

    /// Returns the newest of its checkpoints that was seen complete and is not gone.
    pub(crate) fn newest_step(&self) -> Option<CheckpointName> {
        self.contents.newest_step()
    }

    /// Returns what lies on disk under a name, if it is complete.
    pub(crate) fn present_complete(
        &self,
        name: CheckpointName,
    ) -> Option<&Arc<CompleteCheckpoint>> {
        match &self.present.get(&name)?.condition {
            Condition::Complete(complete) => Some(complete),
            _ => None,
        }
    }
}

impl World {
    /// Rebuilds the world from what the journal remembers.
    pub fn new(settings: Arc<Settings>, memory: Memory, daemon: DaemonStatus, now: Moment) -> Self {
        let mut world = Self {
            settings,
            now,
            started: now,
            daemon: DaemonStatus { journal: memory.journal, ..daemon },
            runs: BTreeMap::new(),
            pending: BTreeSet::new(),
            running: Vec::new(),
            shared: Shared::default(),
            next_order: 1,
            program: None,
            readiness: Readiness::Checking,
            rejected: memory.rejected_model_types.into_iter().collect(),
            training_identity: None,
            training_problem: None,
            listed: BTreeMap::new(),
            begun: Vec::new(),
            stuck: memory.stuck.into_iter().collect(),
            adopting: memory.fresh,
            first_scan_done: false,
            paused: memory.paused,
            asked: memory.asked,
            made_before: BTreeSet::new(),
            journal_problem: None,
            missed_sightings: false,
            shell_log_problems: Vec::new(),
            kernel: VecDeque::new(),
            kernel_note: None,
            logs: BTreeMap::new(),
            aliases: BTreeMap::new(),
            restless: BTreeSet::new(),
            restless_looked_at: None,
            shell_logs_read: false,
            evaluations: Evaluations::remembered(memory.evaluations),
            documents: DocumentsState::default(),
            log: LogStatus::default(),
            alerts: Alerts::remembered(memory.troubles, memory.alerts),
            watch: WatchStatus::default(),
            absence_looked_at: None,
            last_scan: now,
            host: HostStatus::default(),
            seq: memory.last_seq,
            stopping: false,
        };
        for known in memory.runs {
            let run = known.run.clone();
            world.run_mut(&run).known = Some(known);
        }
        for known in memory.checkpoints {
            world.remember(known);
        }
        for observation in memory.observations {
            world.observe(&observation);
        }
        for (run, kind, file) in memory.notes {
            world.run_mut(&run).notes.insert(kind, file);
        }
        world.remember_training(memory.run_states, memory.shell_logs);
        world
    }

    fn remember_training(&mut self, states: Vec<(RunId, KnownState)>, logs: Vec<KnownLog>) {
        for (run, known) in states {
            if known.state.is_open() {
                self.restless.insert(run.clone());
            }
            let evidence = known.evidence.clone();
            self.run_mut(&run).training = Some(Box::new(RunTraining { known, evidence }));
        }
        let now = self.now;
        self.logs =
            logs.into_iter().map(|known| (known.key.clone(), Log::new(known, now))).collect();
        shell_logs::link_all(self);
        // A log that was recorded before its run's state could be judged.
        let is_unjudged =
            |(_, run): &(&RunId, &Run)| run.training.is_none() && !run.logs.is_empty();
        let unjudged = self.runs.iter().filter(is_unjudged).map(|(id, _)| id.clone());
        self.restless.extend(unjudged.collect::<Vec<_>>());
    }

    /// Takes in the observations that stood in the experiment log when the journal was new, as
    /// run id and checkpoint cell: they count as made.
    pub fn use_made_before(&mut self, rows: BTreeSet<(String, String)>) {
        self.made_before = rows;
    }

    /// A started analysis found in the journal was interrupted: no attempt, but counted.
    fn remember(&mut self, known: KnownCheckpoint) {
        let KnownCheckpoint { checkpoint, content, standing, first_complete } = known;
        let interruptions = match &standing {
            Standing::Started { interruptions, .. } => interruptions + 1,
            Standing::Waiting { interruptions, .. } => *interruptions,
            Standing::Pending | Standing::Listed | Standing::Observed | Standing::Gone => 0,
        };
        let standing = match standing {
            Standing::Started { .. } => Standing::Pending,
            other => other,
        };
        if matches!(standing, Standing::Pending | Standing::Waiting { .. }) {
            self.pending.insert((checkpoint.clone(), content.digest.clone()));
        }
        let owed = Owed { complete: content, standing, interruptions };
        self.run_mut(&checkpoint.run).contents.add(checkpoint.name, owed, first_complete);
    }

    /// Adds the newest observation.
    pub(crate) fn observe(&mut self, observation: &Observation) {
        let run = self.runs.entry(observation.checkpoint.run.clone()).or_default();
        run.observations.add(observation, &mut self.shared);
    }

    /// Returns where a content stands.
    pub(crate) fn standing(&self, checkpoint: &CheckpointId, digest: &Digest) -> Option<&Standing> {
        self.runs.get(&checkpoint.run)?.contents.standing(checkpoint.name, digest)
    }

    /// Returns what is known of a content that is owed an analysis.
    pub(crate) fn owed(
        &self,
        checkpoint: &CheckpointId,
        digest: &Digest,
    ) -> Option<OwedContent<'_>> {
        self.runs.get(&checkpoint.run)?.contents.owed(checkpoint.name, digest)
    }

    /// Gives a content another standing, and with that a place in the queue or none.
    pub(crate) fn stand(&mut self, checkpoint: &CheckpointId, digest: &Digest, standing: Standing) {
        let key = (checkpoint.clone(), digest.clone());
        let is_owed = matches!(standing, Standing::Pending | Standing::Waiting { .. });
        let run = self.run_mut(&checkpoint.run);
        let on_disk = run.present_complete(checkpoint.name).cloned();
        let stands = run.contents.stand((checkpoint.name, digest), standing, on_disk);
        if is_owed && stands {
            self.pending.insert(key);
        } else if !is_owed {
            self.pending.remove(&key);
        }
    }

    /// Whether an order for this content has not come to its end.
    pub(crate) fn is_running(&self, checkpoint: &CheckpointId, digest: &Digest) -> bool {
        self.running.iter().any(|one| one.checkpoint == *checkpoint && one.digest == *digest)
    }

    /// Returns the contents of a run that still need an analysis.
    pub(crate) fn pending_of(
        &self,
        run: &RunId,
    ) -> impl Iterator<Item = &(CheckpointId, Digest)> + use<'_> {
        let first = CheckpointId { run: run.clone(), name: CheckpointName::Step(0) };
        let run = run.clone();
        self.pending
            .range((first, Digest::from_stored(""))..)
            .take_while(move |(checkpoint, _)| checkpoint.run == run)
    }

    /// Moves what is known of a run's training to its new id.
    pub(crate) fn rename_training(&mut self, from: &RunId, to: &RunId, logs: &[LogKey]) {
        self.aliases.values_mut().filter(|run| **run == *from).for_each(|run| *run = to.clone());
        self.aliases.insert(from.clone(), to.clone());
        if self.restless.remove(from) {
            self.restless.insert(to.clone());
        }
        for log in logs {
            let Some(log) = self.logs.get_mut(log) else { continue };
            let renamed = log.runs.iter_mut().flatten().chain(log.known.run.as_mut());
            renamed.filter(|run| **run == *from).for_each(|run| *run = to.clone());
        }
    }

    pub(crate) fn run_mut(&mut self, run: &RunId) -> &mut Run {
        self.runs.entry(run.clone()).or_default()
    }
}
