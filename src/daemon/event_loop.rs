//! The loop: one event in, one step of the decider, its effects out. Nothing here blocks; what
//! does runs in a worker.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use std::time::Duration;

use anyhow::anyhow;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::engine::{self, Effect, Event};
use crate::model::event::Happening;
use crate::model::ids::RunId;
use crate::model::journal::Transaction;
use crate::model::observation::DocumentEdit;
use crate::record::recorder::{Output, Request};
use crate::settings::Loaded;
use crate::watch::tail::LogEvent;
use crate::watch::{Control, WatchEvent};

use super::alerts::Message;
use super::commands::{Answers, Ordered};
use super::setup::House;
use super::signals::Asked;
use super::summary::summary;
use super::{Fatal, Options, now, once, reload};

/// One deadline for the whole stop, below systemd's `TimeoutStopSec`.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// The part of it that analyses leave to the journal.
const DRAIN_SHARE: Duration = Duration::from_secs(5);
/// How long alerts that are on their way are waited for.
const ALERT_SHARE: Duration = Duration::from_secs(2);
/// How often time itself is an event at most.
const TICK: Duration = Duration::from_millis(500);
/// How long a changed world may go without a new snapshot.
const SNAPSHOT_DELAY: Duration = Duration::from_millis(50);
/// How old a snapshot may become while nothing happens.
const SNAPSHOT_AT_LEAST: Duration = Duration::from_secs(15);
/// How old what a snapshot says of runs may become while nothing happens to them: some are shown
/// for a day only.
const RUNS_AT_LEAST: Duration = Duration::from_mins(1);
/// Transactions that wait for the recorder. Beyond this the loop takes no more sightings: the
/// scan waits, and nothing is lost because it looks again.
const MAX_BACKLOG: usize = 256;

/// Everything that the loop owns.
pub(super) struct Loop {
    pub(super) house: House,
    /// Transactions that the recorder had no room for.
    backlog: VecDeque<Transaction>,
    /// How many document entries each transaction brings that has no answer yet, oldest first.
    unanswered: VecDeque<u64>,
    /// Transactions given to the recorder, and those of them that are durable.
    asked: u64,
    answered: u64,
    /// Who waits for the answer to a command.
    answers: Answers,
    /// The configuration, when it is read again.
    pub(super) reading: reload::Reading,
    /// Since when the snapshot is older than the world.
    dirty_since: Option<Instant>,
    /// When time itself was an event.
    ticked_at: Instant,
    /// When the last snapshot was taken.
    snapshot_at: Instant,
    /// When the last one was taken for which every run was looked at, and whether something may
    /// have happened to one since.
    runs_at: Instant,
    runs_changed: bool,
}

/// What one turn of the loop brought.
enum Turn {
    Event(Box<Event>),
    Recorded(Output),
    Asked(Asked),
    Order(Ordered),
    Read(Box<Result<Loaded, String>>),
    Snapshot,
    Failed(anyhow::Error),
}

/// Turns until asked to stop, or until one pass is done.
pub(super) async fn turn(house: House, options: &Options) -> Result<(), Fatal> {
    let mut own = Loop::new(house);
    own.handle(Event::Started);
    let result = loop {
        match own.next().await {
            Turn::Event(event) => own.happened(*event),
            Turn::Recorded(output) => {
                if let Some(error) = own.output(output) {
                    break Err(Fatal::Failed(error));
                }
            }
            Turn::Asked(Asked::Stop(signal)) => {
                tracing::info!(signal, "stopping");
                own.handle(Event::Stopping(signal.to_owned()));
                break Ok(());
            }
            Turn::Order(Ordered { order, reply }) => {
                tracing::info!(?order, "asked for by a client");
                let number = own.answers.expect(reply);
                own.happened(Event::Command(number, order));
            }
            Turn::Asked(Asked::Reload) => own.reading.begin(&options.sources),
            Turn::Read(read) => reload::take(&mut own, *read, options),
            Turn::Asked(Asked::Summary) => own.log_summary(),
            Turn::Snapshot => own.publish_snapshot(),
            Turn::Failed(error) => break Err(Fatal::Failed(error)),
        }
        own.house.notifier.turned();
        if options.once && own.all_durable() {
            match once::progress(&own.house.world) {
                once::Progress::GoesOn => {}
                once::Progress::Done => break Ok(()),
                once::Progress::Stuck(problem) => break Err(Fatal::Failed(anyhow!(problem))),
            }
        }
    };
    own.finish(result).await
}

impl Loop {
    fn new(house: House) -> Self {
        Self {
            house,
            backlog: VecDeque::new(),
            unanswered: VecDeque::new(),
            asked: 0,
            answered: 0,
            answers: Answers::default(),
            reading: reload::Reading::default(),
            dirty_since: None,
            ticked_at: Instant::now(),
            snapshot_at: Instant::now(),
            runs_at: Instant::now(),
            runs_changed: true,
        }
    }

    /// Waits for the next thing to do. Every branch is cancel-safe: receivers keep what was not
    /// taken, and joining an owned task loses nothing.
    async fn next(&mut self) -> Turn {
        let room = self.backlog.len() < MAX_BACKLOG;
        let tick_due = self.tick_due();
        let snapshot_due = self.dirty_since.map(|since| since + SNAPSHOT_DELAY);
        let far = Instant::now() + Duration::from_hours(1);
        tokio::select! {
            biased;
            asked = self.house.signals.next() => Turn::Asked(asked),
            error = self.house.workers.first_end() => Turn::Failed(error),
            Some(output) = self.house.recorded.recv() => Turn::Recorded(output),
            () = sleep_until(snapshot_due.unwrap_or(far)), if snapshot_due.is_some() => Turn::Snapshot,
            outcome = self.house.analyses.next() => {
                Turn::Event(Box::new(Event::Analyzed(Box::new(outcome))))
            }
            Some(order) = self.house.orders.recv() => Turn::Order(order),
            read = self.reading.next() => Turn::Read(Box::new(read)),
            Some(event) = self.house.news.recv() => Turn::Event(Box::new(event)),
            // Before the sightings, which may come without a pause.
            () = sleep_until(tick_due) => Turn::Event(Box::new(Event::Tick)),
            Some(seen) = self.house.sightings.recv(), if room => Turn::Event(Box::new(translate(seen))),
            // Last of all: a storm of logs keeps nothing else waiting.
            Some(told) = self.house.logs.recv(), if room => Turn::Event(Box::new(of_log(told))),
        }
    }

    /// Returns when time itself is the next event: as soon as anything waits for nothing else. To
    /// wake for nothing twice a second is most of what a daemon at rest would cost.
    fn tick_due(&self) -> Instant {
        let wanted = [
            engine::wants_tick_within(&self.house.world, now()),
            self.house.notifier.wants_turn_within(),
            SNAPSHOT_AT_LEAST.saturating_sub(self.snapshot_at.elapsed()),
        ];
        let soonest = wanted.into_iter().min().unwrap_or(TICK);
        (self.ticked_at + TICK).max(Instant::now() + soonest)
    }

    fn happened(&mut self, event: Event) {
        let first_scan = matches!(event, Event::FirstScanDone);
        let quiet = matches!(event, Event::Tick);
        if quiet {
            self.ticked_at = Instant::now();
        }
        self.handle(event);
        if first_scan {
            self.publish_snapshot();
            self.house.notifier.ready();
            tracing::info!("the first scan is done");
        }
        // What hangs brings no event, and has to be told all the same.
        if !quiet || self.snapshot_at.elapsed() >= SNAPSHOT_AT_LEAST {
            self.mark_dirty();
        }
    }

    fn mark_dirty(&mut self) {
        self.dirty_since.get_or_insert_with(Instant::now);
    }

    /// Steps the decider and carries out what it decides.
    pub(super) fn handle(&mut self, event: Event) {
        let leaves_runs = engine::leaves_runs(&self.house.world, &event);
        let effects = engine::step(&mut self.house.world, event, now());
        self.runs_changed |= !(leaves_runs && effects.is_empty());
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Record(transaction) => {
                log_failures(&transaction);
                log_ties(&transaction);
                self.unanswered.push_back(transaction.documents.len() as u64);
                self.backlog.push_back(transaction);
                self.send_backlog();
            }
            Effect::Analyze(order) => {
                tracing::info!(checkpoint = %order.checkpoint, attempt = order.attempt, "analyzing");
                self.house.analyses.start(*order);
            }
            Effect::RescanRun(run) => self.house.watch.send(Control::RescanRun(run)),
            Effect::RescanAll(reason) => {
                self.house.tail.start_over();
                self.house.helpers.look_at_evaluations_again();
                self.house.watch.send(Control::Rescan { reason });
            }
            Effect::SendAlert { receiver, alert, is_last } => {
                self.house.alerts.send(Message { receiver: *receiver, alert: *alert, is_last });
            }
            Effect::LookForWriters(logs) => self.house.helpers.look_for_writers(logs),
            Effect::AskWandb(run) => self.house.helpers.ask_wandb(run),
            Effect::ReadRunFacts(run) => self.house.helpers.read_run_facts(run),
            Effect::Answer(number, answer) => {
                // Everything that was decided before it is asked for or in the backlog by now.
                let after = self.asked + self.backlog.len() as u64;
                self.answers.put_off(number, answer, after);
                self.give_answers();
            }
        }
    }

    fn send_backlog(&mut self) {
        while let Some(transaction) = self.backlog.pop_front() {
            let request = Request::Commit { ticket: self.asked + 1, transaction };
            match self.house.records.try_send(request) {
                Ok(()) => self.asked += 1,
                Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) => {
                    if let Request::Commit { transaction, .. } = request {
                        self.backlog.push_front(transaction);
                    }
                    return;
                }
            }
        }
    }

    fn all_durable(&self) -> bool {
        self.backlog.is_empty() && self.asked == self.answered
    }

    /// Takes in what the recorder says. Returns an error that the daemon must not survive.
    fn output(&mut self, output: Output) -> Option<anyhow::Error> {
        match output {
            Output::Recorded(recorded) => {
                if recorded.ticket().is_some() {
                    self.answered += 1;
                    self.unanswered.pop_front();
                }
                self.house.publisher.publish(&recorded);
                let (last_seq, transactions) = (recorded.last_seq(), self.answered);
                self.handle(Event::Recorded { last_seq, transactions });
                self.give_answers();
                self.send_backlog();
            }
            Output::Refused { reason, .. } => {
                // The world and the journal disagree; a new life rebuilds the one from the other.
                return Some(anyhow!("the journal refused a transaction: {reason}"));
            }
            Output::CommitTrouble(problem) => {
                if let Some(problem) = &problem {
                    tracing::error!(problem, "the journal cannot commit; trying again");
                }
                self.handle(Event::CommitTrouble(problem));
            }
            Output::Documents(documents) => self.handle(Event::Documents(documents)),
        }
        self.mark_dirty();
        None
    }

    /// Answers those commands whose changes are durable. Who has the answer and then looks at the
    /// status must see what was done.
    fn give_answers(&mut self) {
        if self.answers.are_due(self.answered) {
            self.publish_snapshot();
            self.answers.give(self.answered);
        }
    }

    fn publish_snapshot(&mut self) {
        self.dirty_since = None;
        self.snapshot_at = Instant::now();
        let before = Arc::clone(&self.house.snapshots.borrow());
        let world = &self.house.world;
        let mut status = if self.runs_changed || self.runs_at.elapsed() >= RUNS_AT_LEAST {
            (self.runs_at, self.runs_changed) = (Instant::now(), false);
            engine::snapshot_after(&before, world, now())
        } else {
            engine::snapshot_of_the_rest(&before, world, now())
        };
        drop(before);
        // The world knows of an observation before the recorder has counted what it brings.
        status.documents.pending += self.unanswered.iter().sum::<u64>();
        self.house.notifier.status(&summary(&status));
        self.house.snapshots.send_replace(Arc::new(status));
    }

    fn log_summary(&self) {
        let status = engine::snapshot(&self.house.world, now());
        tracing::info!(problems = ?status.problems, "{}", summary(&status));
    }

    /// Stops in order: no new events, children TERM, the recorder drains, publishers flush; one
    /// deadline for all of it. A second signal leaves at once.
    async fn finish(mut self, result: Result<(), Fatal>) -> Result<(), Fatal> {
        self.house.notifier.stopping();
        let deadline = Instant::now() + STOP_LIMIT;
        self.house.analyses.stop();
        // What is left of the deadline when the analyses had their share is for the journal.
        let patience = deadline - DRAIN_SHARE;
        while !self.house.analyses.is_empty() {
            tokio::select! {
                outcome = self.house.analyses.next() => {
                    self.handle(Event::Analyzed(Box::new(outcome)));
                }
                Asked::Stop(_) = self.house.signals.next() => {
                    tracing::warn!("asked twice: stopping at once");
                    self.house.analyses.kill().await;
                    return result;
                }
                () = sleep_until(patience) => self.house.analyses.kill().await,
            }
        }
        if self.last_alerts().await.is_break() {
            return result;
        }
        if !self.drain(deadline).await {
            tracing::error!("the journal did not take the last events in time");
        }
        let House {
            helpers,
            alerts,
            analyses,
            devices,
            stop,
            watch,
            tail,
            sightings,
            logs,
            records,
            recorded,
            workers,
            mut signals,
            ..
        } = self.house;
        helpers.forget_address();
        stop.cancel();
        watch.stop();
        tail.stop();
        // Threads end when the other ends of their channels are gone.
        drop((helpers, alerts, analyses, devices, sightings, logs, records, recorded));
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::select! {
            () = workers.finish(left) => {}
            Asked::Stop(_) = signals.next() => tracing::warn!("asked twice: stopping at once"),
        }
        tracing::info!("stopped");
        result
    }

    /// Waits a moment for what became of the alerts that are on their way: one that was taken and is
    /// not marked would be sent again in the next life. Breaks when asked to stop at once.
    async fn last_alerts(&mut self) -> ControlFlow<()> {
        let patience = Instant::now() + ALERT_SHARE;
        while engine::alerts_in_flight(&self.house.world) {
            tokio::select! {
                Some(event) = self.house.news.recv() => self.handle(event),
                Asked::Stop(_) = self.house.signals.next() => {
                    tracing::warn!("asked twice: stopping at once");
                    return ControlFlow::Break(());
                }
                () = sleep_until(patience) => break,
            }
        }
        ControlFlow::Continue(())
    }

    /// Gives the recorder what is left and waits until it is durable.
    async fn drain(&mut self, deadline: Instant) -> bool {
        while !self.all_durable() {
            self.send_backlog();
            let output = tokio::select! {
                output = timeout_at(deadline, self.house.recorded.recv()) => output,
                Asked::Stop(_) = self.house.signals.next() => return false,
            };
            let Ok(Some(output)) = output else { return false };
            if let Some(error) = self.output(output) {
                tracing::error!("{error:#}");
                return false;
            }
        }
        true
    }
}

/// Logs failed analyses: a class once for each run, its repetitions for those who look closer.
fn log_failures(transaction: &Transaction) {
    for event in &transaction.events {
        let Happening::AnalysisFailed { class, attempt, failing_checkpoints, evidence, .. } =
            &event.what
        else {
            continue;
        };
        let (run, checkpoint) = (event.run.as_ref(), event.checkpoint.map(|name| name.to_string()));
        let (run, class) = (run.map(RunId::as_str), class.as_str());
        if *failing_checkpoints == 1 && *attempt == 1 {
            tracing::warn!(run, checkpoint, class, evidence, "an analysis failed");
        } else {
            tracing::debug!(run, checkpoint, class, attempt, failing_checkpoints, "failed again");
        }
    }
}

/// Logs which runs are what a person began.
fn log_ties(transaction: &Transaction) {
    for edit in &transaction.documents {
        if let DocumentEdit::TieRow { run, tag, .. } = edit {
            tracing::info!(%run, tag, "a run is the training that was begun");
        }
    }
}

/// Turns what the watch worker tells into what the decider takes.
pub(super) fn translate(seen: WatchEvent) -> Event {
    match seen {
        WatchEvent::TrainingFolder(folder) => Event::TrainingFolder(folder),
        WatchEvent::Begun(begun) => Event::Begun(begun),
        WatchEvent::Run(sighting) => Event::Run(sighting),
        WatchEvent::RunUnreadable { run, problem } => Event::RunUnreadable { run, problem },
        WatchEvent::FirstScanDone => Event::FirstScanDone,
        WatchEvent::Reconciled { ended, took, watches, backend } => {
            let ended = crate::model::time::Moment::new(ended, now().offset());
            Event::Reconciled { ended, took, watches, backend: backend.as_str() }
        }
        WatchEvent::Degraded(reason) => Event::WatchDegraded(reason),
        WatchEvent::Overflow(reason) => Event::WatchOverflow(reason),
    }
}

/// Turns what is told of shell logs into what the decider takes.
fn of_log(told: LogEvent) -> Event {
    match told {
        LogEvent::Seen(seen) => Event::ShellLog(seen),
        LogEvent::Gone(key) => Event::ShellLogGone(key),
        LogEvent::CaughtUp => Event::ShellLogsRead,
        LogEvent::Problems(problems) => Event::ShellLogProblems(problems),
    }
}
