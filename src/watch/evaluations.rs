//! Evaluation reports as they come: a hint from inotify says when to look, a look at the whole folder
//! says what is there. A report is taken once all of its files are whole and quiet.
//!
//! Beside them lies what people said when they went past a gate, one small JSON file each, written by
//! `runscribe evaluate`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{INotifyWatcher, RecursiveMode, Watcher};
use sha2::{Digest as _, Sha256};

use super::files::{FileTime, folder_identity, read_bounded};
use super::orders::{OrderInbox, Orders};
use crate::model::evaluation::{
    EvaluationNews, EvaluationReport, EvaluationSighting, GateOverride,
};
use crate::model::ids::{Digest, FolderIdentity};
use crate::model::journal::EvaluationMemory;
use crate::parse::evaluation::{self, FileName, Files, Part};
use crate::settings::{Backend, Settings};

/// A longer file is no report of one evaluation, in bytes.
const LONGEST: u64 = 8 << 20;
/// A file that does not look whole is taken all the same when nobody wrote to it for so long.
const GIVEN_UP: Duration = Duration::from_mins(1);
/// Hints come in bursts; so long is waited for the end of one.
const BURST: Duration = Duration::from_millis(200);
/// The folder in the state folder in which overrides lie.
pub const OVERRIDES: &str = "overrides";

/// What looking at evaluations needs to know.
#[derive(Debug, Clone)]
pub struct EvaluationConfig {
    /// The reports' folder; it need not exist.
    pub folder: PathBuf,
    /// Where overrides lie; it need not exist.
    pub overrides: PathBuf,
    /// Time between looks.
    pub reconcile: Duration,
    /// Quiet time before a report is taken.
    pub settle: Duration,
    /// Where hints come from.
    pub backend: Backend,
}

impl From<&Settings> for EvaluationConfig {
    fn from(settings: &Settings) -> Self {
        Self {
            folder: settings.paths.evaluation.clone(),
            overrides: settings.paths.state.join(OVERRIDES),
            reconcile: settings.watch.reconcile,
            settle: settings.watch.settle,
            backend: settings.watch.backend,
        }
    }
}

/// What was told and recorded before.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// The content of each report, by its name.
    pub reports: BTreeMap<String, Digest>,
    /// The names of overrides.
    pub overrides: BTreeSet<String>,
}

impl From<&EvaluationMemory> for Told {
    fn from(memory: &EvaluationMemory) -> Self {
        let report = |one: &crate::model::evaluation::KnownEvaluation| {
            (one.report.name.clone(), one.digest.clone())
        };
        Self {
            reports: memory.reports.iter().map(report).collect(),
            overrides: memory.overrides.iter().map(|one| one.name.clone()).collect(),
        }
    }
}

/// Where hints and orders arrive.
pub type EvaluationInbox = OrderInbox<EvaluationConfig>;

/// Looks for evaluation reports and tells of them until the inbox says stop, or `tell` returns
/// whether anybody listens and nobody does.
///
/// This blocks and is meant for a thread of its own.
pub fn run(
    config: EvaluationConfig,
    told: Told,
    inbox: &Arc<EvaluationInbox>,
    mut tell: impl FnMut(EvaluationNews) -> bool,
) {
    let mut looker = Looker::new(config, told);
    let mut hints = Hints { watcher: None, watched: None };
    let mut is_first = true;
    loop {
        hints.watch(&looker.config, inbox);
        let Look { news, again } = looker.look(Timestamp::now());
        let last = is_first.then_some(EvaluationNews::AllRead);
        is_first = false;
        if news.into_iter().chain(last).any(|news| !tell(news)) {
            break;
        }
        let pause = again.map_or(looker.config.reconcile, |soon| soon.min(looker.config.reconcile));
        let mut pending = inbox.take(Instant::now() + pause);
        if pending.is_hinted && !pending.stop {
            let more = inbox.take(Instant::now() + BURST);
            pending.stop |= more.stop;
            pending.starts_over |= more.starts_over;
            pending.settings = more.settings.or(pending.settings);
        }
        if pending.stop {
            break;
        }
        looker.take_orders(pending);
    }
    tracing::debug!("nobody looks for evaluation reports any more");
}

/// Looks once, without a daemon: everything that is whole and quiet, whatever was told before.
pub fn look_once(config: EvaluationConfig, told: Told) -> Vec<EvaluationNews> {
    Looker::new(config, told).look(Timestamp::now()).news
}

/// Reads the reports of a folder of which a file was written since a moment, whole or not.
///
/// # Errors
/// The folder cannot be listed.
pub fn written_since(folder: &Path, since: Timestamp) -> io::Result<Vec<EvaluationReport>> {
    let mut written = Vec::new();
    for (name, files) in reports(folder)?.into_values() {
        if files.iter().all(|file| file.modified < since) {
            continue;
        }
        let mut parts: BTreeMap<Part, Vec<u8>> = BTreeMap::new();
        for file in &files {
            parts.insert(file.part, read_bounded(&folder.join(&file.name), LONGEST)?);
        }
        written.extend(evaluation::read(&name, in_parts(&parts)).reports);
    }
    Ok(written)
}

/// The watch on the reports' folder, where inotify gives one.
struct Hints {
    watcher: Option<INotifyWatcher>,
    watched: Option<FolderIdentity>,
}

impl Hints {
    /// Watches the folder that is there now. Without a watch reports are found by the next look.
    fn watch(&mut self, config: &EvaluationConfig, inbox: &Arc<EvaluationInbox>) {
        let folder = folder_identity(&config.folder).ok().map(|(identity, _)| identity);
        if config.backend == Backend::Poll || folder.is_none() {
            (self.watcher, self.watched) = (None, None);
            return;
        }
        if self.watched == folder {
            return;
        }
        let hinted = Arc::clone(inbox);
        let handler = move |event: notify::Result<notify::Event>| {
            // Our own reading brings events as well.
            let is_change = event.is_ok_and(|event| {
                let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
                !matches!(event.kind, EventKind::Access(_)) || event.kind == closed
            });
            if is_change {
                hinted.hint();
            }
        };
        let watcher = INotifyWatcher::new(handler, notify::Config::default());
        let watcher = watcher.and_then(|mut watcher| {
            watcher.watch(&config.folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => (self.watcher, self.watched) = (Some(watcher), folder),
            Err(error) => {
                tracing::debug!(%error, "no hints of evaluation reports");
                // Not tried again for this folder: a look every `reconcile` finds them as well.
                (self.watcher, self.watched) = (None, folder);
            }
        }
    }
}

/// What one look found.
struct Look {
    news: Vec<EvaluationNews>,
    /// When to look again before the next regular time.
    again: Option<Duration>,
}

struct Looker {
    config: EvaluationConfig,
    told: Told,
    /// Names, lengths and times of the files as they were read last, by the report's name.
    seen: BTreeMap<String, Vec<Found>>,
    problems: Vec<String>,
}

/// One file of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    name: String,
    part: Part,
    length: u64,
    modified: Timestamp,
}

impl Looker {
    fn new(config: EvaluationConfig, told: Told) -> Self {
        Self { config, told, seen: BTreeMap::new(), problems: Vec::new() }
    }

    fn take_orders(&mut self, orders: Orders<EvaluationConfig>) {
        if let Some(settings) = orders.settings {
            self.config = *settings;
        }
        if orders.starts_over {
            self.told = Told::default();
            self.seen.clear();
        }
    }

    fn look(&mut self, now: Timestamp) -> Look {
        let mut news = Vec::new();
        let mut problems = Vec::new();
        let mut again = None;
        match overrides(&self.config.overrides) {
            Ok(found) => {
                let new =
                    found.into_iter().filter(|one| self.told.overrides.insert(one.name.clone()));
                news.extend(new.map(|one| EvaluationNews::Overridden(Box::new(one))));
            }
            Err(error) => problems.push(problem(&self.config.overrides, &error)),
        }
        match reports(&self.config.folder) {
            Ok(found) => {
                self.seen.retain(|name, _| found.contains_key(name));
                for (name, files) in found.into_values() {
                    match self.read(&name, &files, now) {
                        Ok(Some(seen)) => news.push(EvaluationNews::Seen(Box::new(seen))),
                        Ok(None) => {}
                        Err(Postponed(wait)) => {
                            again = Some(again.map_or(wait, |soon: Duration| soon.min(wait)));
                        }
                    }
                }
            }
            Err(error) => problems.push(problem(&self.config.folder, &error)),
        }
        if problems != self.problems {
            self.problems.clone_from(&problems);
            news.push(EvaluationNews::Problems(problems));
        }
        Look { news, again }
    }

    /// Reads a report whose files changed since they were read last.
    fn read(
        &mut self,
        name: &FileName,
        files: &[Found],
        now: Timestamp,
    ) -> Result<Option<EvaluationSighting>, Postponed> {
        if self.seen.get(&name.stem).is_some_and(|seen| seen == files) {
            return Ok(None);
        }
        let Some(modified) = files.iter().map(|file| file.modified).max() else { return Ok(None) };
        let quiet = Duration::try_from(now.duration_since(modified)).unwrap_or(Duration::ZERO);
        if let Some(wait) = self.config.settle.checked_sub(quiet).filter(|wait| !wait.is_zero()) {
            return Err(Postponed(wait));
        }
        let mut parts: BTreeMap<Part, Vec<u8>> = BTreeMap::new();
        for file in files {
            match read_bounded(&self.config.folder.join(&file.name), LONGEST) {
                Ok(bytes) => drop(parts.insert(file.part, bytes)),
                // It is being replaced or removed: the next look sees what has become of it.
                Err(error) => {
                    tracing::debug!(file = file.name, %error, "a report cannot be read now");
                    return Ok(None);
                }
            }
        }
        let is_whole = parts.values().all(|bytes| evaluation::is_whole(bytes));
        if !is_whole && quiet < GIVEN_UP {
            return Err(Postponed(GIVEN_UP.saturating_sub(quiet)));
        }
        self.seen.insert(name.stem.clone(), files.to_vec());
        let digest = digest(&parts);
        if self.told.reports.get(&name.stem) == Some(&digest) {
            return Ok(None);
        }
        self.told.reports.insert(name.stem.clone(), digest.clone());
        let reading = evaluation::read(name, in_parts(&parts));
        for problem in &reading.problems {
            tracing::warn!(report = name.stem, problem, "an evaluation report cannot be used");
        }
        let reports = reading.reports;
        Ok((!reports.is_empty()).then_some(EvaluationSighting { reports, digest, modified }))
    }
}

/// The files are not taken yet; look again after this time.
struct Postponed(Duration);

/// Lists the reports of a folder; a folder that is not there holds none.
fn reports(folder: &Path) -> io::Result<BTreeMap<String, (FileName, Vec<Found>)>> {
    let mut found: BTreeMap<String, (FileName, Vec<Found>)> = BTreeMap::new();
    for entry in listed(folder)? {
        let entry = entry?;
        let Some(file) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let Some((name, part)) = FileName::parse(&file) else { continue };
        // One that was removed meanwhile is none.
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        if !metadata.is_file() {
            continue;
        }
        let (length, modified) = (metadata.len(), modified(&metadata));
        let slot = found.entry(name.stem.clone()).or_insert_with(|| (name, Vec::new()));
        slot.1.push(Found { name: file, part, length, modified });
    }
    for (_, files) in found.values_mut() {
        files.sort_by(|left, right| left.name.cmp(&right.name));
    }
    Ok(found)
}

/// Reads the overrides of a folder. One that cannot be understood is left out and said.
fn overrides(folder: &Path) -> io::Result<Vec<GateOverride>> {
    let mut found = Vec::new();
    for entry in listed(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let read =
            read_bounded(&path, LONGEST).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        match read {
            Ok(one) => found.push(one),
            Err(error) => tracing::warn!(path = %path.display(), %error, "this is no override"),
        }
    }
    found.sort_by(|left: &GateOverride, right| left.name.cmp(&right.name));
    Ok(found)
}

fn listed(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<std::fs::DirEntry>>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

fn modified(metadata: &std::fs::Metadata) -> Timestamp {
    use std::os::unix::fs::MetadataExt as _;

    FileTime(metadata.mtime(), metadata.mtime_nsec()).timestamp()
}

fn in_parts(parts: &BTreeMap<Part, Vec<u8>>) -> Files<'_> {
    let part = |part| parts.get(&part).map(Vec::as_slice);
    Files {
        results: part(Part::Results),
        metadata: part(Part::Metadata),
        summary: part(Part::Summary),
    }
}

fn digest(parts: &BTreeMap<Part, Vec<u8>>) -> Digest {
    let mut hash = Sha256::new();
    for (part, bytes) in parts {
        hash.update(format!("{part:?} {}\n", bytes.len()));
        hash.update(bytes);
    }
    Digest::from_bytes(&hash.finalize())
}

fn problem(folder: &Path, error: &io::Error) -> String {
    format!("`{}` cannot be listed: {error}; let runscribe's user read it", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "glue-mrpc-x-42M-20260222_1012";

    struct Folder {
        place: tempfile::TempDir,
        looker: Looker,
    }

    impl Folder {
        fn new() -> Self {
            let place = tempfile::tempdir().unwrap();
            let config = EvaluationConfig {
                folder: place.path().join("reports"),
                overrides: place.path().join("overrides"),
                reconcile: Duration::from_secs(30),
                settle: Duration::from_secs(2),
                backend: Backend::Poll,
            };
            Self { looker: Looker::new(config, Told::default()), place }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::create_dir_all(self.place.path().join("reports")).unwrap();
            std::fs::write(self.place.path().join("reports").join(name), text).unwrap();
        }

        /// Looks so many seconds from now; returns what was told, and whether to look again soon.
        fn look(&mut self, seconds: i64) -> (Vec<String>, bool) {
            let later = jiff::SignedDuration::from_secs(seconds);
            let Look { news, again } = self.looker.look(Timestamp::now() + later);
            let shown = news.into_iter().map(|news| match news {
                EvaluationNews::Seen(seen) => {
                    let scores = seen.reports.iter().map(|one| format!("{:?}", one.scores));
                    scores.collect::<Vec<_>>().join(" ")
                }
                EvaluationNews::Overridden(one) => one.reason,
                EvaluationNews::Problems(problems) => format!("{} problems", problems.len()),
                EvaluationNews::AllRead => "all".to_owned(),
            });
            (shown.collect(), again.is_some())
        }
    }

    #[test]
    fn a_report_is_told_once_it_is_whole_and_quiet_and_again_when_it_changes() {
        let mut folder = Folder::new();
        assert_eq!(folder.look(0), (vec![], false), "there is no folder yet");
        folder.write(&format!("{NAME}-summary.csv"), "task,main_metric,score\nmrpc,accuracy,0.7");
        folder.write("notes.csv", "a,b\n");
        assert_eq!(folder.look(0), (vec![], true), "it is being written");
        assert_eq!(folder.look(10), (vec![], true), "its last line has no end");
        folder.write(&format!("{NAME}-summary.csv"), "task,main_metric,score\nmrpc,accuracy,0.7\n");
        assert_eq!(folder.look(10), (vec!["{\"accuracy\": 0.7}".to_owned()], false));
        assert_eq!(folder.look(20), (vec![], false), "once");
        folder.write(&format!("{NAME}-results.csv"), "task,metric,score\nmrpc,f1,0.8\n");
        assert_eq!(folder.look(20), (vec!["{\"accuracy\": 0.7, \"f1\": 0.8}".to_owned()], false));
        folder.write(&format!("{NAME}-results.csv"), "task,metric,score\nmrpc,f1,0.8\n");
        assert_eq!(folder.look(30), (vec![], false), "written again, and the same");
        // Another life knows what was recorded.
        let told = folder.looker.told.clone();
        folder.looker = Looker::new(folder.looker.config.clone(), told);
        assert_eq!(folder.look(30), (vec![], false));
        folder.looker.take_orders(Orders { starts_over: true, ..Orders::default() });
        assert_eq!(folder.look(30).0.len(), 1, "asked to start over");
    }

    #[test]
    fn what_nobody_ends_is_taken_as_it_is_after_a_while() {
        let mut folder = Folder::new();
        folder.write(&format!("{NAME}-summary.csv"), "task,main_metric,score\nmrpc,f1,0.7");
        assert_eq!(folder.look(50), (vec![], true));
        assert_eq!(folder.look(70).0, ["{\"f1\": 0.7}"]);
    }

    #[test]
    fn overrides_are_told_once_and_before_reports() {
        let mut folder = Folder::new();
        folder.write(&format!("{NAME}-summary.csv"), "task,main_metric,score\nmrpc,f1,0.7\n");
        let place = folder.place.path().join("overrides");
        std::fs::create_dir_all(&place).unwrap();
        let one = serde_json::json!({
            "name": "a.json", "action": "evaluate", "run": "r", "verdict": "fail",
            "reason": "why", "time": "2026-02-25T14:03:07+01:00",
        });
        std::fs::write(place.join("a.json"), one.to_string()).unwrap();
        std::fs::write(place.join("b.json"), "{").unwrap();
        assert_eq!(folder.look(10).0, ["why", "{\"f1\": 0.7}"]);
        assert_eq!(folder.look(20).0, Vec::<String>::new());
    }

    #[test]
    fn a_new_report_is_told_long_before_the_next_look() {
        let folder = Folder::new();
        folder.write("first.txt", "");
        let config = EvaluationConfig {
            settle: Duration::from_millis(10),
            reconcile: Duration::from_hours(1),
            backend: Backend::Inotify,
            ..folder.looker.config.clone()
        };
        let (tell, told) = std::sync::mpsc::channel();
        let inbox = Arc::new(EvaluationInbox::default());
        let own = Arc::clone(&inbox);
        let worker = std::thread::spawn(move || {
            run(config, Told::default(), &own, |news| tell.send(news).is_ok());
        });
        let limit = Duration::from_secs(20);
        assert_eq!(told.recv_timeout(limit), Ok(EvaluationNews::AllRead));
        folder.write(&format!("{NAME}-summary.csv"), "task,main_metric,score\nmrpc,f1,0.7\n");
        assert!(matches!(told.recv_timeout(limit), Ok(EvaluationNews::Seen(_))));
        inbox.stop();
        worker.join().unwrap();
    }
}
