//! A journal in memory, for tests of the decider: what `record` makes of transactions, without
//! SQLite.

use crate::model::alert::QueuedAlert;
use crate::model::evaluation::KnownEvaluation;
use crate::model::event::Happening;
use crate::model::ids::{CheckpointId, Digest, RunId};
use crate::model::journal::{Change, KnownCheckpoint, Memory, Standing, Transaction};
use crate::model::observation::DocumentEdit;

/// What was recorded so far.
#[derive(Debug)]
pub(crate) struct MemoryJournal {
    /// What a restart would get.
    pub(crate) memory: Memory,
    /// All events, oldest first.
    pub(crate) events: Vec<Happening>,
    /// All outbox entries, oldest first.
    pub(crate) documents: Vec<DocumentEdit>,
}

impl MemoryJournal {
    pub(crate) fn new() -> Self {
        let memory = Memory { fresh: true, ..Memory::default() };
        Self { memory, events: Vec::new(), documents: Vec::new() }
    }

    /// Takes a transaction in.
    pub(crate) fn record(&mut self, transaction: Transaction) {
        self.events.extend(transaction.events.into_iter().map(|event| event.what));
        self.documents.extend(transaction.documents);
        for change in transaction.changes {
            self.remember(change);
        }
    }

    fn remember(&mut self, change: Change) {
        let memory = &mut self.memory;
        match change {
            Change::Run(known) => {
                memory.runs.retain(|run| run.run != known.run);
                memory.runs.push(known);
            }
            Change::RunRenamed { from, to } => Self::rename(memory, &from, &to),
            Change::CheckpointComplete { checkpoint, content, time } => {
                let standing = Standing::Pending;
                memory.checkpoints.push(KnownCheckpoint {
                    checkpoint,
                    content,
                    standing,
                    first_complete: time,
                });
            }
            Change::Standing { checkpoint, digest, standing } => {
                self.stand(&checkpoint, &digest, standing);
            }
            Change::Observed(observation) => {
                let (id, digest) = (observation.checkpoint.clone(), observation.digest.clone());
                self.memory.observations.push(*observation);
                self.stand(&id, &digest, Standing::Observed);
            }
            Change::NoteDecided { run, kind, file } => memory.notes.push((run, kind, file)),
            Change::StuckReported { checkpoint, signature } => {
                memory.stuck.push((checkpoint, signature));
            }
            Change::Reopened { checkpoint, digest } => {
                self.stand(&checkpoint, &digest, Standing::Pending);
            }
            Change::Paused(since) => memory.paused = since,
            Change::Asked(asked) => memory.asked = asked,
            Change::ShellLog(known) => {
                memory.shell_logs.retain(|log| log.key != known.key);
                memory.shell_logs.push(*known);
            }
            Change::RunState(run, state) => {
                memory.run_states.retain(|known| known.0 != run);
                memory.run_states.push((run, state));
            }
            Change::ShellLogGone(key) => memory.shell_logs.retain(|log| log.key != key),
            Change::Alert(queued) => Self::queue(memory, *queued),
            Change::AlertEnded { receiver, id } => {
                memory.alerts.retain(|one| one.receiver != receiver || one.alert.id != id);
            }
            Change::TroubleBegan(trouble, at) => memory.troubles.push((trouble, at)),
            Change::TroubleEnded(trouble) => memory.troubles.retain(|known| known.0 != trouble),
            Change::FirstScanEnded => memory.fresh = false,
            Change::Evaluated(known) => Self::evaluated(memory, *known),
            Change::EvaluationsLooked => memory.evaluations.looked = true,
            Change::GateOverridden(one) => memory.evaluations.overrides.push(*one),
            Change::ModelTypeRejected { model_type, protocol } => {
                memory.rejected_model_types.push((model_type, protocol));
            }
        }
    }

    fn evaluated(memory: &mut Memory, known: KnownEvaluation) {
        let key = |one: &KnownEvaluation| (one.report.name.clone(), one.report.task.clone());
        memory.evaluations.reports.retain(|one| key(one) != key(&known));
        memory.evaluations.reports.push(known);
    }

    fn queue(memory: &mut Memory, queued: QueuedAlert) {
        let is_it = |one: &&mut QueuedAlert| {
            one.receiver == queued.receiver && one.alert.id == queued.alert.id
        };
        match memory.alerts.iter_mut().find(is_it) {
            Some(known) => *known = queued,
            None => memory.alerts.push(queued),
        }
    }

    fn rename(memory: &mut Memory, from: &RunId, to: &RunId) {
        let rename = |run: &mut RunId| {
            if *run == *from {
                *run = to.clone();
            }
        };
        memory.runs.iter_mut().for_each(|known| rename(&mut known.run));
        memory.checkpoints.iter_mut().for_each(|one| rename(&mut one.checkpoint.run));
        memory.observations.iter_mut().for_each(|one| rename(&mut one.checkpoint.run));
        memory.stuck.iter_mut().for_each(|one| rename(&mut one.0.run));
        memory.notes.iter_mut().for_each(|note| rename(&mut note.0));
        memory.run_states.iter_mut().for_each(|known| rename(&mut known.0));
        let models =
            memory.evaluations.reports.iter_mut().filter_map(|one| one.model.as_mut().ok());
        models.for_each(|model| rename(&mut model.run));
        memory.evaluations.overrides.iter_mut().for_each(|one| rename(&mut one.run));
        memory.troubles.iter_mut().filter_map(|known| known.0.run.as_mut()).for_each(rename);
        memory.shell_logs.iter_mut().filter_map(|log| log.run.as_mut()).for_each(rename);
    }

    fn stand(&mut self, checkpoint: &CheckpointId, digest: &Digest, standing: Standing) {
        let is_it = |one: &&mut KnownCheckpoint| {
            one.checkpoint == *checkpoint && one.content.digest == *digest
        };
        if let Some(known) = self.memory.checkpoints.iter_mut().find(is_it) {
            known.standing = standing;
        }
    }
}
