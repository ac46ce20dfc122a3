//! Pure. The only decider: `step(&mut World, Event, now)` turns what happened into effects.
//!
//! Total: every pair of state and event has an answer, and none of them reads a clock, a file or
//! an environment. Effects are carried out by `daemon`; what comes of them returns as events.
//!
//! Invariants:
//! - An event about a checkpoint's content leads to at most one observation of it.
//! - Nothing is analyzed while the journal cannot commit.
//! - *Gone* is concluded only from a listing without error of the same training folder.

mod absence;
mod alert_conditions;
mod alert_queue;
mod alerts;
mod begun;
mod commands;
mod contents;
mod dispatch;
mod documents;
mod evaluations;
mod failures;
mod log;
mod log_explained;
#[cfg(test)]
pub(crate) mod memory_journal;
mod observed;
mod outcome;
mod shell_logs;
mod sightings;
mod snapshot;
#[cfg(test)]
mod tests;
mod training;
mod training_notes;
mod training_progress;
mod wandb_facts;
pub mod world;

use std::sync::Arc;
use std::time::Duration;

use crate::model::alert::{Alert, AlertOutcome, ReceiverKey};
use crate::model::analysis::{AnalysisOrder, AnalysisOutcome, ProgramFacts};
use crate::model::begun::BegunTraining;
use crate::model::checkpoint::{RunSighting, TrainingFolder};
use crate::model::command::{Answer, Order};
use crate::model::evaluation::EvaluationNews;
use crate::model::event::{Happening, NewEvent};
use crate::model::host_evidence::{KernelReading, LogWriters};
use crate::model::ids::{CheckpointId, CheckpointName, Digest, RunId};
use crate::model::journal::{
    Change, DocumentsState, FoundFacts, Standing, Transaction, WandbFacts,
};
use crate::model::shell_log::{LogKey, LogSighting};
use crate::model::status::{GpuReading, HostStatus, LogStatus, Readiness};
use crate::model::time::Moment;
use crate::settings::{AlertSettings, Settings};

pub use alert_queue::{alerts_in_flight, alerts_on_their_way};
pub use dispatch::idle;
pub use documents::{relative, row_fills};
pub use log_explained::explain_log;
pub use snapshot::{leaves_runs, snapshot, snapshot_after, snapshot_of_the_rest};
pub use world::World;

/// Something that happened outside.
#[derive(Debug)]
pub enum Event {
    /// The daemon's loop begins.
    Started,
    /// The training folder was listed, or could not be.
    TrainingFolder(TrainingFolder),
    /// The trainings that were begun, all of them, before the runs of which they tell.
    Begun(Vec<BegunTraining>),
    /// A run folder was listed without error.
    Run(RunSighting),
    /// A run folder could not be listed.
    RunUnreadable {
        /// Which run.
        run: RunId,
        /// Why, and what to do.
        problem: String,
    },
    /// A shell log was read further, or something about it changed.
    ShellLog(Box<LogSighting>),
    /// A shell log's content is nowhere any more.
    ShellLogGone(LogKey),
    /// All shell logs that were there at the start are read.
    ShellLogsRead,
    /// What is wrong with shell logs, in place of what was wrong before.
    ShellLogProblems(Vec<String>),
    /// Who writes those logs that were asked about ([`Effect::LookForWriters`]).
    LogWriters(Vec<LogWriters>),
    /// What the kernel's log says that is new, or whether it can be read.
    KernelLog(KernelReading),
    /// What looking at evaluations tells.
    Evaluations(EvaluationNews),
    /// Everything was scanned once.
    FirstScanDone,
    /// Everything was scanned again.
    Reconciled {
        /// When the scan ended.
        ended: Moment,
        /// How long it took.
        took: Duration,
        /// Watches in use.
        watches: u64,
        /// `inotify` or `poll`.
        backend: &'static str,
    },
    /// Watching works worse than it should, or well again.
    WatchDegraded(Option<String>),
    /// Hints were lost; everything is being scanned anew.
    WatchOverflow(String),
    /// What the host offers for analyses.
    Program(Box<ProgramFacts>, Readiness),
    /// What a run's own files say of it.
    RunFacts(RunId, FoundFacts),
    /// What W&B's service says of a run.
    WandbRun(RunId, WandbFacts),
    /// A device was chosen for a running order, and why this one.
    Placed {
        /// The order's number.
        number: u64,
        /// Device and reason.
        device: String,
    },
    /// An order came to its end.
    Analyzed(Box<AnalysisOutcome>),
    /// A transaction is durable.
    Recorded {
        /// The journal's last sequence number.
        last_seq: u64,
        /// How many of the transactions that were decided in this life are durable.
        transactions: u64,
    },
    /// What became of an alert: whose, its id, and how it went.
    AlertSent(ReceiverKey, String, AlertOutcome),
    /// The journal cannot commit, or can again.
    CommitTrouble(Option<String>),
    /// The state of the documents.
    Documents(DocumentsState),
    /// The state of the log's own branch.
    Log(LogStatus),
    /// A reading of the host without its GPUs, and the daemon's own resident memory in bytes.
    Host(HostStatus, Option<u64>),
    /// A reading of the GPUs.
    Gpus(GpuReading),
    /// A new configuration, and the changed keys that need a restart.
    Reloaded(Arc<Settings>, Vec<String>),
    /// A person asks for something; the number stands in the answer.
    Command(u64, Order),
    /// Time has passed.
    Tick,
    /// The daemon was asked to stop.
    Stopping(String),
}

/// Something to do outside.
#[derive(Debug)]
#[must_use = "an effect that is dropped never happens"]
pub enum Effect {
    /// Commit this to the journal.
    Record(Transaction),
    /// Analyze this.
    Analyze(Box<AnalysisOrder>),
    /// Look at one run again, whether or not it changed.
    RescanRun(RunId),
    /// Look at everything again; the text says why.
    RescanAll(String),
    /// Find out what a run's own files say of it.
    ReadRunFacts(RunId),
    /// Ask W&B's service for a run's page and final loss, which nothing on this host gives.
    AskWandb(RunId),
    /// Find out who writes these logs, by key and path; while that is being done for others, it is
    /// left out, so ask again. Looking through all processes costs some milliseconds.
    LookForWriters(Vec<(LogKey, String)>),
    /// Answer a command, as soon as all that was recorded before is durable.
    Answer(u64, Answer),
    /// Send an alert; what comes of it is [`Event::AlertSent`].
    SendAlert {
        /// To whom.
        receiver: Box<AlertSettings>,
        /// What.
        alert: Box<Alert>,
        /// Whether it is given up if it is not taken now.
        is_last: bool,
    },
}

/// What one step decides, collected.
#[derive(Debug, Default)]
pub(crate) struct Decisions {
    transaction: Transaction,
    effects: Vec<Effect>,
}

impl Decisions {
    fn event(&mut self, now: Moment, run: &RunId, name: Option<CheckpointName>, what: Happening) {
        let run = Some(run.clone());
        self.transaction.events.push(NewEvent { time: now, run, checkpoint: name, what });
    }

    fn daemon_event(&mut self, now: Moment, what: Happening) {
        self.transaction.events.push(NewEvent { time: now, run: None, checkpoint: None, what });
    }

    /// Gives a content another standing, in the world and in the journal.
    fn stand(
        &mut self,
        world: &mut World,
        checkpoint: CheckpointId,
        digest: Digest,
        standing: Standing,
    ) {
        world.stand(&checkpoint, &digest, standing.clone());
        self.transaction.changes.push(Change::Standing { checkpoint, digest, standing });
    }

    fn into_effects(self) -> Vec<Effect> {
        let record = (!self.transaction.is_empty()).then_some(Effect::Record(self.transaction));
        record.into_iter().chain(self.effects).collect()
    }
}

/// Takes one event in and returns what is to be done, in order: first what is to be made durable.
#[must_use = "effects that are dropped never happen"]
pub fn step(world: &mut World, event: Event, now: Moment) -> Vec<Effect> {
    let mut decisions = Decisions::default();
    world.now = now;
    let is_tick = matches!(event, Event::Tick);
    handle(world, event, now, &mut decisions);
    dispatch::start_analyses(world, now, &mut decisions);
    alerts::decide(world, is_tick, now, &mut decisions);
    world.alerts.decided += u64::from(!decisions.transaction.is_empty());
    decisions.into_effects()
}

/// Returns how soon [`Event::Tick`] has to come: at once where anything waits that may become due at
/// any moment, else when something is next looked at.
pub fn wants_tick_within(world: &World, now: Moment) -> Duration {
    if !world.pending.is_empty() || !world.running.is_empty() {
        return Duration::ZERO;
    }
    let wanted = [
        absence::next_look(world, now),
        training::next_look(world, now),
        alerts::next_look(world, now),
    ];
    wanted.into_iter().min().unwrap_or_default()
}

/// Returns the time that is left until something is looked at again; none where it never was.
fn left(looked_at: Option<Moment>, every: Duration, now: Moment) -> Duration {
    looked_at.map_or(Duration::ZERO, |at| every.saturating_sub(now.since(at.timestamp())))
}

fn handle(world: &mut World, event: Event, now: Moment, out: &mut Decisions) {
    match event {
        Event::Started => started(world, now, out),
        Event::TrainingFolder(folder) => sightings::training_folder(world, folder, now, out),
        Event::Begun(begun) => world.begun = begun,
        Event::Run(sighting) => sightings::run(world, sighting, now, out),
        Event::RunUnreadable { run, problem } => world.run_mut(&run).problem = Some(problem),
        Event::ShellLog(seen) => shell_logs::seen(world, *seen, now, out),
        Event::ShellLogGone(key) => shell_logs::gone(world, &key, out),
        Event::LogWriters(found) => training::writers(world, found, now, out),
        Event::KernelLog(reading) => training::kernel(world, reading),
        Event::ShellLogsRead => shell_logs::all_read(world, now, out),
        Event::ShellLogProblems(problems) => world.shell_log_problems = problems,
        Event::Evaluations(news) => evaluations::news(world, news, now, out),
        Event::FirstScanDone => sightings::first_scan_done(world, now, out),
        Event::Reconciled { ended, took, watches, backend } => {
            world.watch.watches = watches;
            backend.clone_into(&mut world.watch.backend);
            reconciled(world, (ended, took), now, out);
        }
        Event::WatchDegraded(reason) => watch_degraded(world, reason, now, out),
        Event::WatchOverflow(reason) => watch_overflow(world, reason, now, out),
        Event::Program(facts, readiness) => {
            (world.program, world.readiness) = (Some(*facts), readiness);
        }
        Event::RunFacts(run, facts) => documents::run_facts(world, &run, facts, out),
        Event::WandbRun(run, found) => wandb_facts::learn(world, &run, found, out),
        Event::Placed { number, device } => placed(world, number, device),
        Event::Analyzed(outcome) => {
            outcome::analyzed(world, *outcome, now, out);
            absence::conclude_leftovers(world, now, out);
        }
        Event::Recorded { last_seq, transactions } => {
            (world.seq, world.alerts.durable) = (last_seq, transactions);
        }
        Event::AlertSent(receiver, id, outcome) => {
            alert_queue::sent(world, (&receiver, &id), outcome, now, out);
        }
        Event::CommitTrouble(problem) => commit_trouble(world, problem, out),
        Event::Documents(documents) => world.documents = documents,
        Event::Log(log) => world.log = log,
        Event::Host(host, own_memory) => host_reading(world, host, own_memory),
        Event::Gpus(reading) => gpu_reading(world, reading),
        Event::Reloaded(settings, needs_restart) => {
            reloaded(world, settings, needs_restart, now, out);
        }
        Event::Command(number, order) => {
            let answer = commands::carry_out(world, order, now, out);
            out.effects.push(Effect::Answer(number, answer));
        }
        Event::Tick => {
            absence::look_for_absent(world, now, out);
            training::look_at_restless(world, now, out);
        }
        Event::Stopping(reason) => {
            world.stopping = true;
            out.daemon_event(now, Happening::DaemonStopping { reason });
        }
    }
}

fn reloaded(
    world: &mut World,
    settings: Arc<Settings>,
    needs_restart: Vec<String>,
    now: Moment,
    out: &mut Decisions,
) {
    world.settings = settings;
    alert_queue::drop_unknown(world, out);
    out.daemon_event(now, Happening::ConfigReloaded { needs_restart });
}

fn reconciled(
    world: &mut World,
    (ended, took): (Moment, Duration),
    now: Moment,
    out: &mut Decisions,
) {
    evaluations::relink(world, now, out);
    world.last_scan = now;
    world.watch.last_reconcile = Some(ended.to_string());
    world.watch.reconcile_ms = Some(took.as_secs_f64() * 1000.0);
}

fn placed(world: &mut World, number: u64, device: String) {
    if let Some(running) = world.running.iter_mut().find(|one| one.number == number) {
        running.device = Some(device);
    }
}

/// The GPUs are read by another worker, less often.
fn host_reading(world: &mut World, host: HostStatus, own_memory: Option<u64>) {
    let (gpus, gpu_note) = (world.host.gpus.split_off(0), world.host.gpu_note.take());
    world.host = HostStatus { gpus, gpu_note, ..host };
    world.daemon.memory = own_memory;
}

fn gpu_reading(world: &mut World, GpuReading { gpus, note }: GpuReading) {
    (world.host.gpus, world.host.gpu_note) = (gpus, note);
}

fn started(world: &mut World, now: Moment, out: &mut Decisions) {
    alert_queue::drop_unknown(world, out);
    let daemon = &world.daemon;
    let version = daemon.version.clone();
    let root = daemon.root.clone();
    out.daemon_event(now, Happening::DaemonStarted { version, pid: daemon.pid, root });
}

fn watch_degraded(world: &mut World, reason: Option<String>, now: Moment, out: &mut Decisions) {
    if world.watch.degraded != reason
        && let Some(reason) = reason.clone()
    {
        out.daemon_event(now, Happening::WatchDegraded { reason });
    }
    world.watch.degraded = reason;
}

fn watch_overflow(world: &mut World, reason: String, now: Moment, out: &mut Decisions) {
    world.watch.overflows += 1;
    out.daemon_event(now, Happening::Rescan { reason });
}

/// Sightings are idempotent, so those that came while nothing could be recorded are simply asked
/// for again; keeping them would need memory without a bound.
fn commit_trouble(world: &mut World, problem: Option<String>, out: &mut Decisions) {
    let recovered = world.journal_problem.is_some() && problem.is_none();
    world.journal_problem = problem;
    if recovered && std::mem::take(&mut world.missed_sightings) {
        out.effects.push(Effect::RescanAll("the journal can commit again".to_owned()));
    }
}
