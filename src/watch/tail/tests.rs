//! Tests of following logs, on real files; the worker is turned by hand.

mod faults;
mod properties;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, channel};

use super::worker::Tail;
use super::*;
use crate::model::shell_log::LogReading;
use crate::parse::shell_log::LogReader;

const THRESHOLDS: Thresholds = Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 };
/// More events than one turn of a small project brings.
const ROOM: usize = 4096;

/// What was recorded, and what a restart finds.
#[derive(Debug, Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<LogKey, KnownLog>>>);

impl Recorded {
    fn all(&self) -> Vec<KnownLog> {
        self.0.lock().unwrap().values().cloned().collect()
    }

    fn take_in(&self, event: &LogEvent) {
        let mut logs = self.0.lock().unwrap();
        match event {
            LogEvent::Seen(seen) => {
                logs.insert(seen.key.clone(), KnownLog::new((**seen).clone(), None));
            }
            LogEvent::Gone(key) => drop(logs.remove(key)),
            LogEvent::CaughtUp | LogEvent::Problems(_) => {}
        }
    }
}

impl LogStore for Recorded {
    fn recorded(&self, key: &LogKey) -> Result<Option<KnownLog>, String> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
}

/// A project with logs, and a tail that moves when the test says so.
struct ByHand {
    root: PathBuf,
    tail: Tail,
    events: Receiver<LogEvent>,
    recorded: Recorded,
    /// The time as the tail sees it; it runs ahead of that of the host.
    now: Instant,
    _folder: Option<tempfile::TempDir>,
}

impl ByHand {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("logs")).unwrap();
        let recorded = Recorded::default();
        let (tail, events) = start(&root, &recorded);
        Self { root, tail, events, recorded, now: Instant::now(), _folder: Some(folder) }
    }

    /// Ends the tail as a crash does, and begins anew with what is recorded.
    fn restart(&mut self) {
        (self.tail, self.events) = start(&self.root, &self.recorded);
    }

    /// Turns until nothing is left to be done, and returns what was told.
    fn turn(&mut self) -> Vec<LogEvent> {
        let mut told = Vec::new();
        // What a look finds out may need another one.
        for _ in 0..3 {
            told.extend(self.one_turn());
        }
        told
    }

    fn one_turn(&mut self) -> Vec<LogEvent> {
        let told = self.turn_unrecorded();
        for event in &told {
            self.recorded.take_in(event);
        }
        told
    }

    /// Turns once; nothing of what is told becomes durable.
    fn turn_unrecorded(&mut self) -> Vec<LogEvent> {
        self.now += Duration::from_secs(2);
        self.tail.look(self.now).unwrap();
        while self.tail.read_round().unwrap() {}
        self.tail.look(self.now + Duration::from_secs(1)).unwrap();
        let mut told = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            told.push(event);
        }
        told
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(name)
    }

    fn append(&self, name: &str, text: &[u8]) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(text).unwrap();
    }

    /// Returns what is recorded of the log with this name.
    fn log(&self, name: &str) -> KnownLog {
        let path = format!("logs/{name}");
        let mut of_path: Vec<KnownLog> =
            self.recorded.all().into_iter().filter(|log| log.path == path).collect();
        assert_eq!(of_path.len(), 1, "logs with the path {path}: {:#?}", self.recorded.all());
        of_path.remove(0)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.recorded.all().iter().map(|log| log.path.replace("logs/", "")).collect();
        names.sort();
        names
    }

    /// Makes sure that a log was read to its end, and says what one pass over its file says.
    #[track_caller]
    fn assert_read(&self, name: &str) {
        let bytes = fs::read(self.path(name)).unwrap();
        let log = self.log(name);
        assert_eq!(log.position.offset, bytes.len() as u64, "{name}");
        assert_eq!(log.reading, reading_of(&bytes), "{name}");
    }
}

fn config(root: &Path) -> TailConfig {
    TailConfig {
        root: root.to_owned(),
        sources: vec![root.join("logs")],
        reconcile: Duration::from_secs(30),
        thresholds: THRESHOLDS,
        first_look: FirstLook {
            young: Duration::from_hours(24),
            of_young: 1 << 30,
            of_old: 1 << 20,
        },
    }
}

fn start(root: &Path, recorded: &Recorded) -> (Tail, Receiver<LogEvent>) {
    let (output, events) = channel(ROOM);
    let known = recorded.all().iter().map(RecordedLog::from).collect();
    let ways = (output, Arc::new(TailInbox::default()));
    let mut tail = Tail::new(config(root), known, Box::new(recorded.clone()), ways);
    tail.pace = None;
    (tail, events)
}

fn reading_of(bytes: &[u8]) -> LogReading {
    let mut reader = LogReader::new(THRESHOLDS);
    reader.push(bytes);
    reader.reading().clone()
}

/// A metric line whose number tells it from all others.
fn line(number: usize) -> String {
    format!("{{'loss': {number}.25, 'grad_norm': 1.5, 'learning_rate': 0.0003, 'epoch': 0.02}}\n")
}

fn lines(numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers.map(line).collect::<String>().into_bytes()
}

fn gone(told: &[LogEvent]) -> usize {
    told.iter().filter(|event| matches!(event, LogEvent::Gone(_))).count()
}
