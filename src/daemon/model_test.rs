//! The promise of checkpoints, held against random histories: the real worker and scan on a real
//! file system, the real decider, and a journal that survives restarts.
//!
//! A trainer creates, fills, saves again, rotates, renames and deletes; hints about it are dropped,
//! repeated and late; the training folder is unmounted and comes back, folders cannot be read for a
//! while; the daemon dies and starts again. Whatever happens: nothing is analyzed that never was
//! complete, a full scan finds whatever is complete, nothing is gone while it is unmounted or
//! unreadable, and in the end every content that was seen complete has exactly one observation or
//! is gone.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{ProptestConfig, Strategy, proptest};
use proptest::strategy::Just;
use proptest::test_runner::RngSeed;
use proptest::{collection, prop_oneof};

use crate::engine::memory_journal::MemoryJournal;
use crate::engine::{self, Effect, Event, World};
use crate::model::Timestamp;
use crate::model::analysis::{
    AnalysisOrder, AnalysisOutcome, AnalysisResult, FailureClass, ProgramFacts, ProgramKind,
};
use crate::model::checkpoint::{Condition, TrainingFolder};
use crate::model::event::Happening;
use crate::model::ids::{CheckpointId, Digest, RunId};
use crate::model::journal::{KnownCheckpoint, Standing};
use crate::model::measurement::{Report, ReportSource};
use crate::model::status::{DaemonStatus, Readiness};
use crate::model::time::Moment;
use crate::settings::Settings;
use crate::watch::by_hand::{Hint, WorkerByHand};
use crate::watch::{Control, Scanner, WatchConfig, WatchEvent, denied, signature_of};

use super::event_loop::translate;

/// More histories for a longer look: `RUNSCRIBE_MODEL_CASES=100000 cargo test model_test`.
const CASES: u32 = 2000;
const STEPS: [u64; 3] = [10, 20, 30];

/// The files of a checkpoint in the order in which the trainer writes them; with the last one it
/// is complete. Source: traces of real saves.
const STAGES: usize = 5;

#[derive(Debug, Clone, Copy)]
enum Move {
    /// Writes the next file of a checkpoint.
    Fill { run: usize, step: usize, content: u8 },
    /// Saves a whole checkpoint at once, over what is there.
    Save { run: usize, step: usize, content: u8 },
    /// Removes the weights, as rotation does first.
    LoseWeights { run: usize, step: usize },
    /// Removes a checkpoint's folder.
    Delete { run: usize, step: usize },
    /// Removes a run's folder.
    DeleteRun { run: usize },
    /// Renames a run's folder.
    Rename { run: usize },
    /// Puts an empty folder in the training folder's place, or takes it away again.
    Mount,
    /// One of the hints that wait arrives.
    Hint { which: usize },
    /// One of them arrives and will come again.
    HintTwice { which: usize },
    /// All hints that wait are dropped, with or without a word about it.
    DropHints { says_so: bool },
    /// The training folder, a run or a checkpoint cannot be read any more, or all can again.
    Lock { run: usize, step: usize, depth: u8 },
    /// Everything is scanned.
    Reconcile,
    /// The oldest analysis ends.
    End { how: u8 },
    /// Time passes.
    Later { minutes: u8 },
    /// The daemon is killed and starts again.
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let (run, step, content) = (0..3_usize, 0..STEPS.len(), 0..3_u8);
    let place = (run.clone(), step, content);
    let one = prop_oneof![
        8 => place.clone().prop_map(|(run, step, content)| Move::Fill { run, step, content }),
        5 => place.clone().prop_map(|(run, step, content)| Move::Save { run, step, content }),
        2 => place.clone().prop_map(|(run, step, _)| Move::LoseWeights { run, step }),
        2 => place.prop_map(|(run, step, _)| Move::Delete { run, step }),
        1 => run.clone().prop_map(|run| Move::DeleteRun { run }),
        1 => run.clone().prop_map(|run| Move::Rename { run }),
        1 => Just(Move::Mount),
        8 => (0..64_usize).prop_map(|which| Move::Hint { which }),
        2 => (0..64_usize).prop_map(|which| Move::HintTwice { which }),
        1 => (0..2_u8).prop_map(|says_so| Move::DropHints { says_so: says_so == 1 }),
        1 => (run, 0..STEPS.len(), 0..3_u8)
            .prop_map(|(run, step, depth)| Move::Lock { run, step, depth }),
        3 => Just(Move::Reconcile),
        4 => (0..8_u8).prop_map(|how| Move::End { how }),
        2 => (1..90_u8).prop_map(|minutes| Move::Later { minutes }),
        1 => Just(Move::Restart),
    ];
    collection::vec(one, 1..40)
}

/// The whole play: trainer, file system, daemon.
struct Play {
    folder: tempfile::TempDir,
    settings: Arc<Settings>,
    worker: WorkerByHand,
    world: World,
    now: Moment,
    orders: Vec<AnalysisOrder>,
    /// What the kernel noticed and nobody was told yet.
    hints: Vec<Hint>,
    /// Runs that the decider wants looked at.
    doubts: Vec<RunId>,
    /// What cannot be read.
    locked: Option<PathBuf>,
    journal: MemoryJournal,
    /// The names that the three runs bear now.
    runs: [String; 3],
    renames: u32,
    mounted: bool,
    /// Digests of all contents that ever were complete on disk.
    ever_complete: BTreeSet<Digest>,
}

impl Play {
    fn new() -> Self {
        let memory_backed = Path::new("/dev/shm");
        let parent =
            if memory_backed.is_dir() { memory_backed.into() } else { std::env::temp_dir() };
        let folder = tempfile::Builder::new().prefix("runscribe-model-").tempdir_in(parent);
        let folder = folder.unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let mut settings = crate::settings::defaults(folder.path());
        settings.watch.settle = Duration::ZERO;
        make(&settings.paths.training);
        let settings = Arc::new(settings);
        let journal = MemoryJournal::new();
        let now = super::now();
        NOW.set(now.timestamp());
        denied::only(BTreeSet::new());
        let mut play = Self {
            worker: worker(&settings),
            world: world(&settings, &journal, now),
            settings,
            folder,
            now,
            orders: Vec::new(),
            hints: Vec::new(),
            doubts: Vec::new(),
            locked: None,
            journal,
            runs: [0, 1, 2].map(|run| format!("family{run}_H64L2C128_20261123_06380{run}")),
            renames: 0,
            mounted: true,
            ever_complete: BTreeSet::new(),
        };
        play.start();
        play
    }

    fn start(&mut self) {
        let facts = ProgramFacts {
            kind: ProgramKind::Script,
            argv: vec!["analysis".to_owned()],
            python: Ok(String::new()),
            environment: std::collections::BTreeMap::new(),
            secrets: crate::model::secrets::Secrets::default(),
            protocol: "aaaa1111".to_owned(),
            root: self.settings.paths.root.clone(),
            cores: 2,
        };
        let ready = Readiness::Ready { program: "analysis".to_owned() };
        self.event(Event::Program(Box::new(facts), ready));
        self.reconcile();
        self.event(Event::FirstScanDone);
    }

    fn event(&mut self, event: Event) {
        let before = self.journal.memory.checkpoints.clone();
        let events_before = self.journal.events.len();
        // The end of an analysis may conclude what was seen before the unmount.
        let from_a_look = !matches!(event, Event::Analyzed(_));
        for effect in engine::step(&mut self.world, event, self.now) {
            match effect {
                Effect::Record(transaction) => self.journal.record(transaction),
                Effect::Analyze(order) => {
                    let digest = &order.content.digest;
                    assert!(self.ever_complete.contains(digest), "never complete: {order:?}");
                    self.orders.push(*order);
                }
                Effect::RescanRun(run) => self.doubts.push(run),
                Effect::RescanAll(_)
                | Effect::LookForWriters(_)
                | Effect::AskWandb(_)
                | Effect::ReadRunFacts(_)
                | Effect::SendAlert { .. }
                | Effect::Answer(..) => {}
            }
        }
        if from_a_look {
            let new = self.journal.events.get(events_before..).unwrap_or_default();
            self.check_gone(&before, new);
        }
    }

    /// What cannot be seen is never concluded to be gone.
    fn check_gone(&self, before: &[KnownCheckpoint], new: &[Happening]) {
        let concludes =
            |event: &Happening| matches!(event, Happening::CheckpointGone | Happening::RunGone);
        assert!(self.mounted || !new.iter().any(concludes), "gone while unmounted: {new:?}");
        let Some(locked) = self.locked.as_ref().filter(|locked| locked.exists()) else { return };
        let was_gone = |one: &KnownCheckpoint| {
            let same = |old: &&KnownCheckpoint| {
                old.checkpoint == one.checkpoint && old.content.digest == one.content.digest
            };
            before.iter().find(same).is_none_or(|old| old.standing == Standing::Gone)
        };
        let gone = self.journal.memory.checkpoints.iter();
        for one in gone.filter(|one| one.standing == Standing::Gone && !was_gone(one)) {
            let run = self.training().join(one.checkpoint.run.as_str());
            let folder = run.join(one.checkpoint.name.to_string());
            assert!(!folder.starts_with(locked), "gone while unreadable: {one:?}");
        }
    }

    /// Takes in what the worker tells.
    fn told(&mut self, events: Vec<WatchEvent>) {
        for event in events {
            self.event(translate(event));
        }
    }

    /// Carries out what the decider asked for.
    fn look_again(&mut self) {
        for run in std::mem::take(&mut self.doubts) {
            let told = self.worker.order(Control::RescanRun(run));
            self.told(told);
        }
    }

    fn training(&self) -> &Path {
        &self.settings.paths.training
    }

    /// Where the trainer's files are, mounted or not.
    fn disk(&self) -> PathBuf {
        if self.mounted { self.training().to_owned() } else { self.folder.path().join("unmounted") }
    }

    fn checkpoint(&self, run: usize, step: usize) -> PathBuf {
        self.disk().join(&self.runs[run]).join(format!("checkpoint-{}", STEPS[step]))
    }

    fn apply(&mut self, next: Move) {
        self.look_again();
        match next {
            Move::Fill { run, step, content } => self.fill(run, step, content),
            Move::Save { run, step, content } => self.save(run, step, content),
            Move::LoseWeights { run, step } => {
                remove_file(&self.checkpoint(run, step).join("model.safetensors"));
                self.hints.push(Hint::Changed(self.seen_at(run, Some(step))));
            }
            Move::Delete { run, step } => {
                remove_folder(&self.checkpoint(run, step));
                self.hints.push(Hint::Lost(self.seen_at(run, Some(step))));
            }
            Move::DeleteRun { run } => {
                remove_folder(&self.disk().join(&self.runs[run]));
                self.hints.push(Hint::Lost(self.seen_at(run, None)));
            }
            Move::Rename { run } => self.rename(run),
            Move::Mount => self.mount(),
            Move::Hint { which } => self.hint(which, false),
            Move::HintTwice { which } => self.hint(which, true),
            Move::DropHints { says_so } => {
                self.hints.clear();
                self.hints.extend(says_so.then_some(Hint::Overflow));
            }
            Move::Lock { run, step, depth } => self.lock(run, step, depth),
            Move::Reconcile => self.reconcile(),
            Move::End { how } => self.end(how),
            Move::Later { minutes } => self.later(u64::from(minutes)),
            Move::Restart => self.restart(),
        }
    }

    /// Where the kernel would say that something happened.
    fn seen_at(&self, run: usize, step: Option<usize>) -> PathBuf {
        let run = self.training().join(&self.runs[run]);
        step.map_or_else(|| run.clone(), |step| run.join(format!("checkpoint-{}", STEPS[step])))
    }

    fn fill(&mut self, run: usize, step: usize, content: u8) {
        let folder = self.checkpoint(run, step);
        let stage = stage_of(&folder);
        if stage < STAGES {
            write_stage(&folder, stage, STEPS[step], content);
            self.note_complete();
            self.hints.push(Hint::Changed(self.seen_at(run, Some(step))));
            if stage == 0 {
                self.hint_at_new(run, step);
            }
        }
    }

    fn save(&mut self, run: usize, step: usize, content: u8) {
        let folder = self.checkpoint(run, step);
        remove_folder(&folder);
        self.hints.push(Hint::Lost(self.seen_at(run, Some(step))));
        (0..STAGES).for_each(|stage| write_stage(&folder, stage, STEPS[step], content));
        self.note_complete();
        self.hint_at_new(run, step);
    }

    /// A new folder shows in the folder around it; then it is watched, sooner or later.
    fn hint_at_new(&mut self, run: usize, step: usize) {
        let (run_folder, folder) = (self.seen_at(run, None), self.seen_at(run, Some(step)));
        let new = [
            Hint::Changed(self.training().to_owned()),
            Hint::Watched(run_folder.clone()),
            Hint::Changed(run_folder),
            Hint::Watched(folder),
        ];
        self.hints.extend(new);
    }

    fn hint(&mut self, which: usize, comes_again: bool) {
        if self.hints.is_empty() {
            return;
        }
        let which = which % self.hints.len();
        let hint = if comes_again { self.hints[which].clone() } else { self.hints.remove(which) };
        let told = self.worker.hint(hint);
        self.told(told);
    }

    fn lock(&mut self, run: usize, step: usize, depth: u8) {
        let folder = match depth {
            0 => self.training().to_owned(),
            1 => self.seen_at(run, None),
            _ => self.seen_at(run, Some(step)),
        };
        self.locked = self.locked.is_none().then_some(folder);
        denied::only(self.locked.iter().cloned().collect());
    }

    /// Returns all that lies on the disk complete, mounted or not, as a scanner finds it that has
    /// never looked before and may read everything.
    fn complete_on_disk(&self) -> Vec<(CheckpointId, Digest)> {
        denied::only(BTreeSet::new());
        let mut settings = WatchConfig::from(&*self.settings).scan_settings();
        settings.training = self.disk();
        let mut scanner = Scanner::new(settings);
        let mut complete = Vec::new();
        if let TrainingFolder::Listed { runs, .. } = scanner.list_training_folder() {
            for (run, _) in runs {
                let Ok(seen) = scanner.scan_run(&run, self.now.timestamp()) else { continue };
                for checkpoint in seen.checkpoints {
                    let Condition::Complete(content) = checkpoint.condition else { continue };
                    assert_eq!(stage_of(&checkpoint.folder), STAGES);
                    let id = CheckpointId { run: run.clone(), name: checkpoint.name };
                    complete.push((id, content.digest.clone()));
                }
            }
        }
        denied::only(self.locked.iter().cloned().collect());
        complete
    }

    fn note_complete(&mut self) {
        let complete = self.complete_on_disk();
        self.ever_complete.extend(complete.into_iter().map(|(_, digest)| digest));
    }

    fn rename(&mut self, run: usize) {
        self.renames += 1;
        let name = format!("renamed{}_H64L2C128_20261124_00000{run}", self.renames);
        let (from, to) = (self.disk().join(&self.runs[run]), self.disk().join(&name));
        if fs::rename(from, to).is_ok() {
            self.hints.push(Hint::Lost(self.seen_at(run, None)));
            self.runs[run] = name;
            self.hints.push(Hint::Changed(self.seen_at(run, None)));
        }
    }

    fn mount(&mut self) {
        let elsewhere = self.folder.path().join("unmounted");
        let training = self.training().to_owned();
        if self.mounted {
            fs::rename(&training, elsewhere).unwrap_or_else(|error| panic!("{error}"));
            make(&training);
        } else {
            fs::remove_dir(&training).unwrap_or_else(|error| panic!("{error}"));
            fs::rename(elsewhere, &training).unwrap_or_else(|error| panic!("{error}"));
        }
        self.mounted = !self.mounted;
    }

    /// A full scan; whatever is complete and can be seen is known after it.
    fn reconcile(&mut self) {
        let told = self.worker.reconcile();
        self.told(told);
        if !self.mounted || self.locked.is_some() {
            return;
        }
        for (id, digest) in self.complete_on_disk() {
            let is_it =
                |one: &KnownCheckpoint| one.checkpoint == id && one.content.digest == digest;
            assert!(self.journal.memory.checkpoints.iter().any(is_it), "missed: {id} {digest}");
        }
    }

    /// Ends the oldest analysis; like the real one it voids its result when the files changed.
    fn end(&mut self, how: u8) {
        if self.orders.is_empty() {
            return;
        }
        let order = self.orders.remove(0);
        let unchanged = signature_of(&order.folder, self.training())
            .is_ok_and(|signature| signature == order.signature);
        let result = match how {
            _ if !unchanged => AnalysisResult::Changed,
            0 => failed(FailureClass::OutOfMemory),
            1 => failed(FailureClass::CorruptWeights),
            _ => reported(),
        };
        let outcome = AnalysisOutcome {
            number: order.number,
            checkpoint: order.checkpoint,
            digest: order.content.digest,
            weights_sha256: Some(order.content.weights_digest),
            finite: None,
            conditions: Vec::new(),
            result,
        };
        self.event(Event::Analyzed(Box::new(outcome)));
    }

    fn later(&mut self, minutes: u64) {
        self.now = self.now.after(Duration::from_mins(minutes));
        NOW.set(self.now.timestamp());
        // Full scans come twice a minute.
        self.reconcile();
        self.event(Event::Tick);
    }

    fn restart(&mut self) {
        self.orders.clear();
        self.doubts.clear();
        self.worker = worker(&self.settings);
        self.world = world(&self.settings, &self.journal, self.now);
        self.start();
    }

    /// Lets everything come to rest: mounted, scanned, analyzed.
    fn settle(&mut self) {
        if !self.mounted {
            self.mount();
        }
        self.locked = None;
        denied::only(BTreeSet::new());
        for round in 0..60 {
            self.look_again();
            while !self.orders.is_empty() {
                self.end(9);
            }
            self.later(61);
            let is_over =
                |one: &KnownCheckpoint| matches!(one.standing, Standing::Observed | Standing::Gone);
            if round > 1 && self.journal.memory.checkpoints.iter().all(is_over) {
                break;
            }
        }
    }

    fn check(&self) {
        let memory = &self.journal.memory;
        let mut observed = BTreeSet::new();
        for observation in &memory.observations {
            let key = (observation.checkpoint.clone(), observation.digest.clone());
            assert!(observed.insert(key), "observed twice: {:?}", observation.checkpoint);
        }
        let mut seen = BTreeSet::new();
        for known in &memory.checkpoints {
            let key = (known.checkpoint.clone(), known.content.digest.clone());
            assert_eq!(
                known.standing == Standing::Observed,
                observed.contains(&key),
                "neither observed nor gone: {known:?}"
            );
            assert!(matches!(known.standing, Standing::Observed | Standing::Gone), "{known:?}");
            assert!(seen.insert(key), "announced twice: {known:?}");
        }
        for (id, digest) in self.complete_on_disk() {
            assert!(observed.contains(&(id.clone(), digest)), "not observed: {id}");
        }
    }
}

thread_local! {
    /// The time of the play that this thread runs.
    static NOW: Cell<Timestamp> = const { Cell::new(Timestamp::UNIX_EPOCH) };
}

fn worker(settings: &Settings) -> WorkerByHand {
    WorkerByHand::new(WatchConfig::from(settings), || NOW.get())
}

fn world(settings: &Arc<Settings>, journal: &MemoryJournal, now: Moment) -> World {
    World::new(Arc::clone(settings), journal.memory.clone(), DaemonStatus::default(), now)
}

fn make(folder: &Path) {
    fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn remove_file(path: &Path) {
    drop(fs::remove_file(path));
}

fn remove_folder(path: &Path) {
    drop(fs::remove_dir_all(path));
}

/// How many of its files a checkpoint has, in the trainer's order.
fn stage_of(folder: &Path) -> usize {
    let there = |name: &str| folder.join(name).exists();
    let stages = [
        folder.exists(),
        there("config.json"),
        there(".tmpAbCdEf") || there("model.safetensors"),
        there("model.safetensors"),
        there("trainer_state.json"),
    ];
    stages.iter().take_while(|there| **there).count()
}

fn write_stage(folder: &Path, stage: usize, step: u64, content: u8) {
    let model = safetensors(content);
    match stage {
        0 => make(folder),
        1 => write(&folder.join("config.json"), b"{\"concept_num\": 128, \"hidden_size\": 64}"),
        // The trainer makes the file at its full size at once and fills it then.
        2 => write(&folder.join(".tmpAbCdEf"), &vec![0; model.len()]),
        3 => {
            remove_file(&folder.join(".tmpAbCdEf"));
            write(&folder.join("model.safetensors"), &model);
        }
        _ => {
            let text = format!("{{\"global_step\": {step}, \"log_history\": [{content}]}}");
            write(&folder.join("trainer_state.json"), text.as_bytes());
        }
    }
}

fn safetensors(content: u8) -> Vec<u8> {
    let header = br#"{"w":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(&[content + 1; 32]);
    bytes
}

fn failed(class: FailureClass) -> AnalysisResult {
    AnalysisResult::Failed { elapsed: Duration::ZERO, class, evidence: "exit 1".to_owned() }
}

fn reported() -> AnalysisResult {
    let report = Report {
        source: ReportSource::Json,
        model_path: None,
        model_type: None,
        concepts: Some(128),
        hidden: Some(64),
        batches: Some(3),
        measurements: [("global_effective_rank".to_owned(), Some(20.0))].into(),
        problems: Vec::new(),
    };
    let (report, disbelief) = (Box::new(report), Vec::new());
    AnalysisResult::Reported { elapsed: Duration::ZERO, report, disbelief }
}

/// The same histories each time, so that a change is judged by what it changed; other ones in the
/// long mode.
fn config() -> ProptestConfig {
    let asked = std::env::var("RUNSCRIBE_MODEL_CASES").ok().and_then(|text| text.parse().ok());
    let rng_seed = if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(20_261_123) };
    ProptestConfig { cases: asked.unwrap_or(CASES), rng_seed, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_checkpoint_ends_in_one_observation_or_is_gone(history in moves()) {
        let mut play = Play::new();
        for next in history {
            play.apply(next);
        }
        play.settle();
        play.check();
    }
}
