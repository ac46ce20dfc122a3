//! The worker as the daemon runs it: on its own thread, seen through its channel. Nothing sleeps;
//! each wait has a condition and a deadline that says what was seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::JoinHandle;

use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::model::ids::CheckpointName;
use crate::settings::Backend;
use crate::watch::Control;
use crate::watch::testing::{
    Project, RUN, checkpoint_files, final_files, one_file, run_id, save_checkpoint, write_all,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// A running worker with its keeper, and what it told so far.
#[derive(Debug)]
struct Watching {
    inbox: Arc<Inbox>,
    events: Receiver<WatchEvent>,
    threads: Vec<JoinHandle<()>>,
    clock: tokio::runtime::Runtime,
    seen: Seen,
}

/// What was told so far.
#[derive(Debug, Default)]
struct Seen {
    folder: Option<TrainingFolder>,
    runs: BTreeMap<RunId, RunSighting>,
    /// How often each run was told.
    times: BTreeMap<RunId, usize>,
    first_scan_done: bool,
    watches: Option<u64>,
    reconciles: usize,
    overflows: usize,
    unreadable: BTreeMap<RunId, String>,
}

impl Seen {
    fn note(&mut self, event: WatchEvent) {
        match event {
            WatchEvent::TrainingFolder(folder) => self.folder = Some(folder),
            WatchEvent::Run(sighting) => {
                *self.times.entry(sighting.run.clone()).or_default() += 1;
                self.unreadable.remove(&sighting.run);
                self.runs.insert(sighting.run.clone(), sighting);
            }
            WatchEvent::FirstScanDone => self.first_scan_done = true,
            WatchEvent::Reconciled { watches, .. } => {
                self.watches = Some(watches);
                self.reconciles += 1;
            }
            WatchEvent::Overflow(_) => self.overflows += 1,
            WatchEvent::RunUnreadable { run, problem } => {
                self.unreadable.insert(run, problem);
            }
            WatchEvent::Begun(_) | WatchEvent::Degraded(_) => {}
        }
    }

    fn complete(&self, run: &str) -> BTreeSet<CheckpointName> {
        let checkpoints =
            self.runs.get(&RunId::new(run)).into_iter().flat_map(|run| &run.checkpoints);
        checkpoints
            .filter(|seen| matches!(seen.condition, Condition::Complete(_)))
            .map(|seen| seen.name)
            .collect()
    }

    fn has(&self, run: &str, steps: &[u64]) -> bool {
        self.complete(run) == steps.iter().copied().map(CheckpointName::Step).collect()
    }

    fn told(&self) -> usize {
        self.times.get(&run_id()).copied().unwrap_or(0)
    }

    fn run_names(&self) -> Option<Vec<&str>> {
        match &self.folder {
            Some(TrainingFolder::Listed { runs, .. }) => {
                Some(runs.iter().map(|(run, _)| run.as_str()).collect())
            }
            _ => None,
        }
    }
}

impl Watching {
    fn start(config: WatchConfig) -> Self {
        Self::start_with(config, Arc::default())
    }

    fn start_with(config: WatchConfig, inbox: Arc<Inbox>) -> Self {
        let (sender, events) = channel(16);
        let (for_worker, for_keeper) = (Arc::clone(&inbox), Arc::clone(&inbox));
        let threads = vec![
            std::thread::spawn(move || run(config, sender, &for_worker)),
            std::thread::spawn(move || crate::watch::keep(&for_keeper)),
        ];
        let clock = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut watching = Self { inbox, events, threads, clock, seen: Seen::default() };
        watching.wait_until("the first scan", |seen| seen.first_scan_done);
        watching
    }

    #[track_caller]
    fn wait_until(&mut self, what: &str, holds: impl Fn(&Seen) -> bool) {
        let started = Instant::now();
        while !holds(&self.seen) {
            let left = DEADLINE.saturating_sub(started.elapsed());
            let events = &mut self.events;
            let event =
                self.clock.block_on(async { tokio::time::timeout(left, events.recv()).await });
            match event {
                Ok(Some(event)) => self.seen.note(event),
                Ok(None) => panic!("the worker ended before {what}"),
                Err(late) => panic!("no {what}: {late} after {DEADLINE:?}; seen: {:#?}", self.seen),
            }
        }
    }

    /// Makes a full scan and waits for its end, so that whatever would be told has been.
    fn scan_now(&mut self) {
        let before = self.seen.reconciles;
        self.inbox.send(Control::Rescan { reason: "a test asks".into() });
        self.wait_until("a full scan", |seen| seen.reconciles > before);
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.inbox.stop();
        self.events.close();
        let ended: Vec<_> = self.threads.drain(..).map(JoinHandle::join).collect();
        assert!(ended.iter().all(Result::is_ok) || std::thread::panicking());
    }
}

/// Writes two runs of 150 checkpoints each as fast as two threads can.
fn write_300(project: &Project) -> [&'static str; 2] {
    let runs = ["one_H64_20260101_000000", "two_H512_20260101_000000"];
    std::thread::scope(|scope| {
        for run in runs {
            let folder = project.run(run);
            scope.spawn(move || {
                for step in 1..=150 {
                    save_checkpoint(&folder, step, 1);
                }
            });
        }
    });
    runs
}

#[test]
fn all_of_300_checkpoints_are_seen_by_hints_alone() {
    let project = Project::new();
    let mut watching = Watching::start(project.config(Backend::Inotify));
    let inbox = Arc::clone(&watching.inbox);
    let runs = write_300(&project);
    watching.wait_until("300 complete checkpoints", |seen| {
        runs.iter().all(|run| seen.complete(run).len() == 150)
    });
    assert!(!inbox.is_stopped());
    assert_eq!(watching.seen.reconciles, 1);
}

#[test]
fn all_of_300_checkpoints_are_seen_without_any_hint() {
    let project = Project::new();
    let quick =
        |backend| WatchConfig { reconcile: Duration::from_millis(50), ..project.config(backend) };
    let deaf = Arc::new(Inbox::default());
    deaf.is_deaf.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut deaf = Watching::start_with(quick(Backend::Inotify), deaf);
    let mut polling = Watching::start(quick(Backend::Poll));
    let runs = write_300(&project);
    for watching in [&mut deaf, &mut polling] {
        watching.wait_until("300 complete checkpoints", |seen| {
            runs.iter().all(|run| seen.complete(run).len() == 150)
        });
    }
}

#[test]
fn a_save_is_told_when_its_last_file_is_closed() {
    let project = Project::new();
    let mut watching = Watching::start(project.config(Backend::Inotify));
    let files = checkpoint_files(20, one_file(1));
    let folder = project.run(RUN).join("checkpoint-20");
    let (last, others) = files.split_last().unwrap();
    write_all(&folder, others);
    watching.wait_until("an incomplete checkpoint", |seen| {
        seen.runs.get(&run_id()).is_some_and(|run| run.checkpoints.len() == 1)
    });
    assert!(watching.seen.has(RUN, &[]));
    write_all(&folder, std::slice::from_ref(last));
    watching.wait_until("its completion", |seen| seen.has(RUN, &[20]));
    // A complete checkpoint needs no watch any more.
    assert_eq!(watching.inbox.watches().wanted(), [project.training(), project.run(RUN)]);
}

#[test]
fn a_final_model_is_told_complete_when_it_has_settled() {
    let project = Project::new();
    let settle = Duration::from_millis(200);
    let config = WatchConfig { settle, ..project.config(Backend::Inotify) };
    let mut watching = Watching::start(config);
    write_all(&project.run(RUN).join(RUN), &final_files(one_file(1)));
    watching.wait_until("a settled final model", |seen| {
        seen.complete(RUN).contains(&CheckpointName::Final)
    });
    fs::remove_dir_all(project.run(RUN).join(RUN)).unwrap();
    write_all(&project.run(RUN), &final_files(one_file(1)));
    watching.wait_until("the run's folder as the final model", |seen| {
        let run = seen.runs.get(&run_id());
        seen.complete(RUN).contains(&CheckpointName::Final)
            && run.is_some_and(|run| run.checkpoints[0].folder == project.run(RUN))
    });
}

#[test]
fn a_training_folder_that_appears_later_is_found() {
    let project = Project::new();
    fs::remove_dir_all(project.root().join("Cache")).unwrap();
    let mut watching = Watching::start(project.config(Backend::Inotify));
    assert_eq!(watching.seen.folder, Some(TrainingFolder::Missing));
    save_checkpoint(&project.run(RUN), 20, 1);
    watching.wait_until("the checkpoint", |seen| seen.has(RUN, &[20]));
}

#[test]
fn a_training_folder_that_is_removed_and_made_again_is_watched_again() {
    let project = Project::new();
    save_checkpoint(&project.run(RUN), 20, 1);
    let mut watching = Watching::start(project.config(Backend::Inotify));
    let first = watching.seen.folder.clone();
    fs::rename(project.training(), project.root().join("away")).unwrap();
    watching.wait_until("that it is missing", |seen| seen.folder == Some(TrainingFolder::Missing));
    fs::create_dir(project.training()).unwrap();
    watching
        .wait_until("the empty one", |seen| seen.run_names().is_some_and(|names| names.is_empty()));
    assert_ne!(watching.seen.folder, first);
    save_checkpoint(&project.run(RUN), 40, 1);
    watching.wait_until("its checkpoint", |seen| seen.has(RUN, &[40]));
    fs::remove_dir_all(project.training()).unwrap();
    watching.wait_until("that it is gone", |seen| seen.folder == Some(TrainingFolder::Missing));
    fs::rename(project.root().join("away"), project.training()).unwrap();
    watching.wait_until("the old one", |seen| seen.folder == first && seen.has(RUN, &[20]));
}

/// While a folder is removed and made again, hints about both arrive under one path.
#[test]
fn a_run_that_is_removed_and_made_again_is_watched_again() {
    let project = Project::new();
    let mut watching = Watching::start(project.config(Backend::Inotify));
    for step in 1..=30 {
        save_checkpoint(&project.run(RUN), step, 1);
        watching.wait_until("the checkpoint", |seen| seen.has(RUN, &[step]));
        fs::remove_dir_all(project.run(RUN)).unwrap();
    }
}

#[test]
fn folders_that_are_moved_in_or_renamed_are_seen_whole() {
    let project = Project::new();
    let outside = project.root().join("elsewhere");
    save_checkpoint(&outside.join(RUN), 20, 1);
    let mut watching = Watching::start(project.config(Backend::Inotify));
    fs::rename(outside.join(RUN), project.run(RUN)).unwrap();
    watching.wait_until("the run", |seen| seen.has(RUN, &[20]));
    // Older trainers write into a temporary folder and rename it.
    let temporary = project.run(RUN).join("tmp-checkpoint-40");
    write_all(&temporary, &checkpoint_files(40, one_file(2)));
    fs::rename(&temporary, project.run(RUN).join("checkpoint-40")).unwrap();
    watching.wait_until("the renamed checkpoint", |seen| seen.has(RUN, &[20, 40]));
    let renamed = "renamed_H64_20260101_000000";
    let before = watching.seen.runs.get(&run_id()).unwrap().identity;
    fs::rename(project.run(RUN), project.run(renamed)).unwrap();
    watching.wait_until("the renamed run", |seen| {
        seen.run_names() == Some(vec![renamed]) && seen.has(renamed, &[20, 40])
    });
    assert_eq!(watching.seen.runs.get(&RunId::new(renamed)).unwrap().identity, before);
    save_checkpoint(&project.run(renamed), 60, 1);
    watching.wait_until("a checkpoint after that", |seen| seen.has(renamed, &[20, 40, 60]));
}

#[test]
fn a_checkpoint_that_rotation_removed_is_no_longer_told() {
    let project = Project::new();
    save_checkpoint(&project.run(RUN), 20, 1);
    save_checkpoint(&project.run(RUN), 40, 1);
    let mut watching = Watching::start(project.config(Backend::Inotify));
    assert!(watching.seen.has(RUN, &[20, 40]));
    fs::remove_dir_all(project.run(RUN).join("checkpoint-20")).unwrap();
    watching.wait_until("the rotation", |seen| seen.has(RUN, &[40]));
}

#[test]
fn nothing_is_told_twice_unless_it_is_asked_for() {
    let project = Project::new();
    save_checkpoint(&project.run(RUN), 20, 1);
    let mut watching = Watching::start(project.config(Backend::Inotify));
    assert_eq!(watching.seen.told(), 1);
    let overflow =
        notify::Event::new(notify::EventKind::Other).set_flag(notify::event::Flag::Rescan);
    watching.inbox.note(Ok(overflow));
    watching.wait_until("the overflow and its scan", |seen| {
        seen.overflows == 1 && seen.reconciles == 2
    });
    assert_eq!(watching.seen.told(), 1);
    watching.scan_now();
    assert_eq!(watching.seen.told(), 2);
    watching.inbox.send(Control::RescanRun(run_id()));
    watching.wait_until("the run again", |seen| seen.told() == 3);
    watching.inbox.send(Control::RescanRun(RunId::new("unknown_20260101_000000")));
    watching.scan_now();
    assert_eq!(watching.seen.told(), 4);
}

#[test]
fn a_run_that_may_not_be_listed_is_told_and_so_is_its_cure() {
    use std::os::unix::fs::PermissionsExt;
    let project = Project::new();
    save_checkpoint(&project.run(RUN), 20, 1);
    let mut watching = Watching::start(project.config(Backend::Inotify));
    let allow = |mode| fs::set_permissions(project.run(RUN), fs::Permissions::from_mode(mode));
    allow(0o000).unwrap();
    if fs::read_dir(project.run(RUN)).is_ok() {
        eprintln!("skipped: this user may list everything");
        return;
    }
    watching.wait_until("the problem", |seen| {
        seen.unreadable.get(&run_id()).is_some_and(|problem| problem.contains("setfacl"))
    });
    assert_eq!(watching.seen.run_names(), Some(vec![RUN]));
    allow(0o755).unwrap();
    watching.wait_until("the cure", |seen| seen.unreadable.is_empty() && seen.has(RUN, &[20]));
}

#[test]
fn new_settings_take_effect() {
    let project = Project::new();
    let elsewhere = project.root().join("elsewhere");
    save_checkpoint(&elsewhere.join(RUN), 40, 1);
    save_checkpoint(&project.run(RUN), 20, 1);
    let mut watching = Watching::start(project.config(Backend::Inotify));
    assert!(watching.seen.has(RUN, &[20]));
    let moved = WatchConfig { training: elsewhere.clone(), ..project.config(Backend::Inotify) };
    watching.inbox.send(Control::Settings(Box::new(moved)));
    watching.wait_until("the other folder's run", |seen| seen.has(RUN, &[40]));
    save_checkpoint(&elsewhere.join(RUN), 60, 1);
    watching.wait_until("its new checkpoint", |seen| seen.has(RUN, &[40, 60]));
}

#[test]
fn the_worker_ends_when_nobody_listens() {
    let project = Project::new();
    let (sender, events) = channel(1);
    drop(events);
    run(project.config(Backend::Inotify), sender, &Arc::default());
}

#[test]
fn scanning_without_hints_is_bounded_in_both_directions() {
    let project = Project::new();
    let config = |seconds| WatchConfig {
        reconcile: Duration::from_secs(seconds),
        ..project.config(Backend::Poll)
    };
    let pause = |reconcile, took_ms| {
        let (sender, _events) = channel(1);
        let worker = Worker::new(config(reconcile), sender, &Arc::default(), Timestamp::now);
        worker.pause_after(Duration::from_millis(took_ms)).as_millis()
    };
    assert_eq!(pause(30, 1), 2_000);
    assert_eq!(pause(30, 100), 10_000);
    assert_eq!(pause(30, 5_000), 30_000);
    assert_eq!(pause(1, 1), 1_000);
}

/// A watch that was refused between two full scans once left its checkpoint unseen until the next
/// one, which had been planned while everything was watched.
#[test]
fn a_refused_watch_is_told_once_and_makes_full_scans_frequent() {
    let project = Project::new();
    let (sender, mut events) = channel(16);
    let mut worker =
        Worker::new(project.config(Backend::Inotify), sender, &Arc::default(), Timestamp::now);
    worker.next_reconcile = Instant::now() + Duration::from_hours(1);
    worker.inbox.watches().refuse(true);
    worker.tell_problem().unwrap();
    assert!(worker.next_reconcile <= Instant::now() + POLL_AT_LEAST);
    worker.tell_problem().unwrap();
    assert_eq!(events.try_recv(), Ok(WatchEvent::Degraded(Some("no watch left".into()))));
    assert!(events.try_recv().is_err(), "told once");
    worker.inbox.watches().refuse(false);
    worker.reconcile(Telling::Changes).unwrap();
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    assert!(told.contains(&WatchEvent::Degraded(None)), "the full scan found it cured: {told:?}");
    assert!(worker.next_reconcile > Instant::now() + POLL_AT_LEAST);
}

/// The library once took 19 seconds to answer, while two writers wrote into a watched folder
/// without a pause.
#[test]
fn a_kernel_that_takes_long_to_watch_makes_full_scans_frequent() {
    let project = Project::new();
    let (sender, mut events) = channel(16);
    let mut worker =
        Worker::new(project.config(Backend::Inotify), sender, &Arc::default(), Timestamp::now);
    worker.reconcile(Telling::Changes).unwrap();
    assert!(worker.wake_at() <= Instant::now() + crate::watch::watches::PATIENCE);
    worker.inbox.watches().hold_up(crate::watch::watches::PATIENCE);
    worker.turn(Pending::default()).unwrap();
    let told: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    let behind = |event: &WatchEvent| matches!(event, WatchEvent::Degraded(Some(why)) if why.contains("does not keep up"));
    assert!(told.iter().any(behind), "{told:?}");
    assert!(worker.next_reconcile <= Instant::now() + POLL_AT_LEAST);
    assert_eq!(worker.wake_at(), worker.next_reconcile);
}

/// A storm of events overflows the kernel's queue again and again.
#[test]
fn lost_hints_bring_a_full_scan_soon_but_not_without_a_pause() {
    let project = Project::new();
    let (sender, mut events) = channel(64);
    let mut worker =
        Worker::new(project.config(Backend::Inotify), sender, &Arc::default(), Timestamp::now);
    worker.reconcile(Telling::Changes).unwrap();
    for _ in 0..5 {
        let overflow = Some("the queue overflowed".to_owned());
        worker.turn(Pending { overflow, ..Pending::default() }).unwrap();
    }
    assert_eq!(worker.reconciles, 1);
    assert!(worker.next_reconcile <= Instant::now() + POLL_AT_LEAST);
    worker.next_reconcile = Instant::now();
    worker.turn(Pending::default()).unwrap();
    assert_eq!(worker.reconciles, 2);
    let told = std::iter::from_fn(|| events.try_recv().ok());
    let overflows = told.filter(|event| matches!(event, WatchEvent::Overflow(_))).count();
    assert_eq!(overflows, 1, "told once for the scan that follows");
}

/// Once a late hint about a checkpoint called it gone while the training folder was unmounted.
#[test]
fn a_checkpoint_is_missed_only_in_a_listing_of_the_same_training_folder() {
    let project = Project::new();
    save_checkpoint(&project.run(RUN), 20, 1);
    let (sender, mut events) = channel(64);
    let mut worker =
        Worker::new(project.config(Backend::Poll), sender, &Arc::default(), Timestamp::now);
    let folder = project.run(RUN).join("checkpoint-20");
    let mut told = |worker: &mut Worker| -> Vec<WatchEvent> {
        worker.inbox.note_folder(folder.clone());
        while let pending = worker.inbox.take(Instant::now())
            && !pending.is_empty()
        {
            worker.turn(pending).unwrap();
        }
        let told = std::iter::from_fn(|| events.try_recv().ok());
        told.filter(|event| matches!(event, WatchEvent::Run(_))).collect()
    };
    let training = project.training();
    worker.next_reconcile = Instant::now() + Duration::from_hours(1);
    worker.reconcile(Telling::Changes).unwrap();
    assert_eq!(told(&mut worker).len(), 1);
    let away = training.with_file_name("away");
    fs::rename(&training, &away).unwrap();
    fs::create_dir(&training).unwrap();
    assert_eq!(told(&mut worker), [], "nothing is said of the run");
    fs::remove_dir(&training).unwrap();
    fs::rename(&away, &training).unwrap();
    assert!(
        matches!(told(&mut worker).as_slice(), [WatchEvent::Run(run)] if run.checkpoints.len() == 1)
    );
    fs::remove_dir_all(&folder).unwrap();
    assert!(
        matches!(told(&mut worker).as_slice(), [WatchEvent::Run(run)] if run.checkpoints.is_empty())
    );
}

#[test]
fn the_nearest_ancestor_is_a_folder_that_exists() {
    let project = Project::new();
    let found = looks::nearest_ancestor(&project.training().join("a/b/c"));
    assert_eq!(found.map(|(folder, _)| folder), Some(project.training()));
    assert_eq!(looks::nearest_ancestor(Path::new("/")), None);
}
