//! The worker: waits for hints, looks, and tells what changed. One thread of its own, because
//! folders can hang.

mod looks;
mod plan;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::Sender;

use super::begun::BegunBook;
use super::hints::{Inbox, Pending};
use super::scan::{Scanner, Thoroughness};
use super::{WatchBackend, WatchConfig, WatchEvent};
use crate::model::checkpoint::{CheckpointSighting, Condition, RunSighting, TrainingFolder};
use crate::model::ids::RunId;
use plan::{DueLooks, Todo};

/// Without hints full scans come this often …
const POLL_AT_LEAST: Duration = Duration::from_secs(2);
/// … but so rarely that scanning takes at most one part in so many of one core.
const POLL_SHARE: u32 = 100;
/// Every so many full scans all watches are made anew, and all folders are listed.
const RENEW_EVERY: u64 = 10;

/// Watches the training folder until the inbox says stop or the receiver of events is dropped.
///
/// This blocks and is meant for a thread of its own, beside another one for [`keep`](super::keep),
/// without which no hint comes. It never ends otherwise; a panic is a defect that the daemon must
/// notice. Where hints cannot be had (`backend` is `poll`, a network file system, an exhausted limit
/// of the kernel, an inotify that does not keep up) a full scan is made every two seconds, less
/// often if it takes longer than 20 ms, but never less often than `reconcile`.
pub fn run(config: WatchConfig, output: Sender<WatchEvent>, inbox: &Arc<Inbox>) {
    let mut worker = Worker::new(config, output, inbox, Timestamp::now);
    // The only reason to end is to have been asked to.
    let Err(Stopped) = worker.work();
    tracing::debug!("the watch worker has ended");
}

/// The worker was asked to end, or nobody listens any more.
#[derive(Debug)]
struct Stopped;

#[derive(Debug)]
struct Worker {
    config: WatchConfig,
    output: Sender<WatchEvent>,
    inbox: Arc<Inbox>,
    /// What time it is.
    clock: fn() -> Timestamp,
    scanner: Scanner,
    due: DueLooks,
    next_reconcile: Instant,
    /// Lost hints do not make full scans come sooner than this, so that a storm of events cannot
    /// make the scan a load of its own.
    earliest_reconcile: Instant,
    /// Why hints were lost since the last full scan.
    overflow: Option<String>,
    reconciles: u64,
    /// The training folder as it was told last.
    told_folder: Option<TrainingFolder>,
    /// Runs that were told to be unreadable.
    told_unreadable: BTreeMap<RunId, String>,
    /// The problem with watching as it was told last.
    told_problem: Option<String>,
    begun: BegunBook,
}

impl Worker {
    fn new(
        config: WatchConfig,
        output: Sender<WatchEvent>,
        inbox: &Arc<Inbox>,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            clock,
            scanner: Scanner::new(config.scan_settings()),
            inbox: Arc::clone(inbox),
            config,
            output,
            due: DueLooks::default(),
            next_reconcile: Instant::now(),
            earliest_reconcile: Instant::now(),
            overflow: None,
            reconciles: 0,
            told_folder: None,
            told_unreadable: BTreeMap::new(),
            told_problem: None,
            begun: BegunBook::default(),
        }
    }

    fn work(&mut self) -> Result<Infallible, Stopped> {
        self.reconcile(Telling::Changes)?;
        self.tell(WatchEvent::FirstScanDone)?;
        loop {
            let pending = self.inbox.take(self.wake_at());
            self.turn(pending)?;
        }
    }

    /// Returns when something is to be done although nothing comes in.
    fn wake_at(&self) -> Instant {
        // What cannot be watched in time is told, and full scans are frequent until it can.
        let late = match &self.told_problem {
            None => self.inbox.watches().late_at(),
            Some(_) => None,
        };
        let planned = self.due.next().min(self.next_reconcile);
        late.map_or(planned, |late| planned.min(late))
    }

    /// Does what came in and what is due.
    fn turn(&mut self, mut pending: Pending) -> Result<(), Stopped> {
        self.go_on()?;
        for path in &pending.lost {
            self.inbox.watches().release(path);
        }
        let new_settings = pending.settings.take();
        let has_new_settings = new_settings.is_some();
        if let Some(settings) = new_settings {
            self.apply(*settings);
        }
        if let Some(reason) = pending.overflow.take() {
            // The end of a watch may be among what was lost.
            self.inbox.watches().renew();
            self.overflow = Some(reason);
            self.next_reconcile = self.next_reconcile.min(self.earliest_reconcile);
        }
        if pending.renewed {
            self.next_reconcile = self.next_reconcile.min(self.earliest_reconcile);
        }
        let now = Instant::now();
        if pending.rescan.is_some() {
            self.reconcile(Telling::Everything)
        } else if has_new_settings || now >= self.next_reconcile {
            self.reconcile(Telling::Changes)?;
            self.look_at_asked_runs(pending)
        } else {
            self.follow_hints(pending, now)
        }
    }

    fn look_at_asked_runs(&mut self, pending: Pending) -> Result<(), Stopped> {
        for run in pending.runs {
            self.look_at_run(&run, Thoroughness::All, Telling::Everything)?;
        }
        Ok(())
    }

    fn apply(&mut self, settings: WatchConfig) {
        let same_place = settings.training == self.config.training
            && settings.run_pattern.as_str() == self.config.run_pattern.as_str();
        if same_place {
            self.scanner.set_settle(settings.settle);
        } else {
            self.inbox.watches().retain(|_| false);
            self.scanner = Scanner::new(settings.scan_settings());
            self.told_folder = None;
        }
        self.config = settings;
    }

    /// Looks at everything. Hints only make this come sooner, so it is the guarantee.
    fn reconcile(&mut self, telling: Telling) -> Result<(), Stopped> {
        let started = Instant::now();
        if let Some(reason) = self.overflow.take() {
            self.tell(WatchEvent::Overflow(reason))?;
        }
        self.inbox.watches().choose_backend(self.config.backend, &self.config.training);
        self.reconciles += 1;
        let believes_nothing = self.reconciles.is_multiple_of(RENEW_EVERY);
        if believes_nothing {
            self.inbox.watches().renew();
        }
        let is_on_network = self.inbox.watches().is_on_network();
        self.scanner.list_anew(believes_nothing || is_on_network);
        self.due.clear();
        for (run, _) in self.look_at_training_folder(telling)? {
            self.look_at_run(&run, Thoroughness::All, telling)?;
        }
        let (took, ended) = (started.elapsed(), Instant::now());
        self.next_reconcile = ended + self.pause_after(took);
        self.earliest_reconcile = ended + self.shortest_pause(took);
        self.tell_problem()?;
        self.tell(WatchEvent::Reconciled {
            ended: (self.clock)(),
            took,
            watches: self.inbox.watches().count(),
            backend: self.inbox.watches().backend(),
        })
    }

    /// Returns the time until the next full scan after one that took this long.
    fn pause_after(&self, took: Duration) -> Duration {
        let watches = self.inbox.watches();
        let blind = watches.backend() == WatchBackend::Poll
            || watches.problem(Instant::now()).is_some()
            || matches!(self.told_folder, Some(TrainingFolder::Unreadable(_)));
        if blind { self.shortest_pause(took) } else { self.config.reconcile }
    }

    /// Returns how soon after a full scan that took this long another one may come by itself.
    fn shortest_pause(&self, took: Duration) -> Duration {
        self.config.reconcile.min(POLL_AT_LEAST.max(took.saturating_mul(POLL_SHARE)))
    }

    /// Looks where the hints point, and at what is due.
    fn follow_hints(&mut self, pending: Pending, now: Instant) -> Result<(), Stopped> {
        let mut todo = Todo::from_hints(&pending.folders, self.scanner.root());
        let watched = Todo::from_hints(&pending.watched, self.scanner.root());
        todo.checkpoints.extend(watched.checkpoints);
        todo.checkpoints.extend(self.due.take(now));
        if todo.training_folder || watched.training_folder {
            let runs = self.look_at_training_folder(Telling::Changes)?;
            let unknown = runs.into_iter().filter(|(run, at)| !self.scanner.knows(run, *at));
            todo.runs.extend(unknown.map(|(run, _)| run));
        }
        for run in todo.runs.difference(&watched.runs) {
            self.look_at_run(run, Thoroughness::New, Telling::Changes)?;
        }
        // What happened before a run's folder was watched may be in any of its checkpoints.
        for run in &watched.runs {
            self.look_at_run(run, Thoroughness::All, Telling::Changes)?;
        }
        for (run, names) in todo.checkpoints_by_run() {
            self.look_at_checkpoints(&run, &names)?;
        }
        self.look_at_asked_runs(pending)?;
        self.tell_problem()
    }

    fn tell_run(&mut self, run: &RunId, tells: bool) -> Result<(), Stopped> {
        match self.scanner.sighting(run) {
            Some(sighting) if tells => {
                self.tell_begun(&sighting)?;
                self.tell(WatchEvent::Run(sighting))
            }
            _ => Ok(()),
        }
    }

    /// A run that has a complete checkpoint may be made known by what is told of it, and by then it
    /// has to be known what it was begun as.
    fn tell_begun(&mut self, sighting: &RunSighting) -> Result<(), Stopped> {
        let is_complete =
            |seen: &CheckpointSighting| matches!(seen.condition, Condition::Complete(_));
        if !sighting.checkpoints.iter().any(is_complete) {
            return Ok(());
        }
        match self.begun.read_changed(&self.config.begun) {
            Some(begun) => self.tell(WatchEvent::Begun(begun)),
            None => Ok(()),
        }
    }

    fn tell_problem(&mut self) -> Result<(), Stopped> {
        let problem = self.inbox.watches().problem(Instant::now());
        if problem == self.told_problem {
            return Ok(());
        }
        self.told_problem.clone_from(&problem);
        if problem.is_some() {
            // What cannot be watched from now on must not wait for a full scan that was planned
            // while everything was.
            let soon = Instant::now() + self.pause_after(Duration::ZERO);
            self.next_reconcile = self.next_reconcile.min(soon);
        }
        self.tell(WatchEvent::Degraded(problem))
    }

    fn tell(&self, event: WatchEvent) -> Result<(), Stopped> {
        self.output.blocking_send(event).map_err(|_| Stopped)
    }

    fn go_on(&self) -> Result<(), Stopped> {
        if self.inbox.is_stopped() { Err(Stopped) } else { Ok(()) }
    }
}

/// How much to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    /// What differs from what was told last.
    Changes,
    /// Everything.
    Everything,
}

#[cfg(test)]
pub(crate) mod by_hand;
#[cfg(test)]
mod tests;
