//! Looks at the project's files and the daemon's own.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::Access;

use super::Check;
use crate::daemon::instant;
use crate::daemon::log_branch::{documents, written_log};
use crate::document;
use crate::host;
use crate::model::checkpoint::{Condition, TrainingFolder};
use crate::model::observation::{DocumentEdit, ObservationRow};
use crate::record::history::Reader;
use crate::record::opening::{self, OpenError};
use crate::settings::Settings;
use crate::watch::{ScanProblem, Scanner, WatchConfig};

/// Free space below which the journal is about to stop, in bytes.
const LITTLE_SPACE: u64 = 1 << 30;
/// Problems of single checkpoints that are shown.
const SHOWN: usize = 3;

/// Who owns the project: a daemon started as root would run the owner's code as root.
pub(super) fn root(settings: &Settings) -> Check {
    let root = &settings.paths.root;
    let owner = host::owner(root);
    let user = rustix::process::geteuid();
    match owner {
        None => Check::problem(
            "root",
            format!("`{}` cannot be read", root.display()),
            "name the project with --root, as a user who may read it",
        ),
        Some(owner) if user.is_root() && owner != 0 => Check::problem(
            "root",
            format!("`{}` belongs to user {owner}, and this is root", root.display()),
            "run as that user, whose code an analysis runs (`User=` in the unit)",
        ),
        Some(_) => Check::fine("root", root.display().to_string()),
    }
}

/// The training folder and everything in it that should be readable.
pub(super) fn training(settings: &Settings) -> Check {
    let name = "training";
    let shown = settings.paths.training.display();
    let mut scanner = Scanner::new(WatchConfig::from(settings).scan_settings());
    let runs = match scanner.list_training_folder() {
        TrainingFolder::Listed { runs, .. } => runs,
        TrainingFolder::Unreadable(problem) => {
            return Check::problem(name, problem, "let this user read the training folder");
        }
        TrainingFolder::Missing => {
            let advice = "the first training makes it; else set `project.training_dir`";
            return Check::warning(name, format!("`{shown}` does not exist yet"), advice);
        }
    };
    let (mut complete, mut problems) = (0, Vec::new());
    for (run, _) in &runs {
        match scanner.scan_run(run, instant()) {
            Ok(sighting) => {
                for seen in sighting.checkpoints {
                    match seen.condition {
                        Condition::Complete(_) => complete += 1,
                        Condition::Unreadable { problem } | Condition::Damaged { problem } => {
                            problems.push(format!("{run}/{}: {problem}", seen.name));
                        }
                        Condition::Settling { .. } | Condition::Incomplete { .. } => {}
                    }
                }
            }
            Err(ScanProblem::Unreadable(problem)) => problems.push(format!("{run}: {problem}")),
            Err(ScanProblem::Vanished) => {}
        }
    }
    let found = format!("`{shown}`: {} runs, {complete} complete checkpoints", runs.len());
    if problems.is_empty() {
        return Check::fine(name, found);
    }
    let more = problems.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    problems.truncate(SHOWN);
    let found = format!("{found}; {}{more}", problems.join("; "));
    Check::warning(name, found, "make these readable, or save them again; all others are analyzed")
}

/// The state folder: local, writable, on the training folder's file system, with space.
pub(super) fn state(settings: &Settings) -> Check {
    let (name, state) = ("state", &settings.paths.state);
    let advice = "set `project.state_dir` to a folder on a local disk that this user may write";
    let there = nearest(state);
    if let Err(error) = opening::check_file_system(there) {
        return Check::problem(name, error.to_string(), advice);
    }
    if let Err(error) = may_write(there) {
        let found = format!("`{}` cannot be written: {error}", there.display());
        return Check::problem(name, found, advice);
    }
    let free = host::disk_space(state).map(|(free, _)| free);
    if free.is_some_and(|free| free < LITTLE_SPACE) {
        let found =
            format!("only {} MiB are free for `{}`", free.unwrap_or(0) >> 20, there.display());
        return Check::warning(name, found, "free some space: without any the journal stops");
    }
    let device = |path: &Path| std::fs::metadata(nearest(path)).ok().map(|found| found.dev());
    if settings.analysis.pin && device(state) != device(&settings.paths.training) {
        let found =
            format!("`{}` is on another file system than the training folder", there.display());
        let advice = "move it there: without hard links a rotation can pull a checkpoint away from \
                      its analysis";
        return Check::warning(name, found, advice);
    }
    Check::fine(name, format!("`{}` is writable", state.display()))
}

/// The journal, if there is one.
pub(super) fn journal(settings: &Settings) -> Check {
    let name = "journal";
    match Reader::open(&settings.paths.state).and_then(|reader| reader.memory()) {
        Ok(memory) => {
            let (runs, made) = (memory.runs.len(), memory.observations.len());
            Check::fine(name, format!("{runs} runs, {made} observations"))
        }
        Err(OpenError::Missing { .. }) => Check::fine(name, "none yet; the daemon makes one"),
        Err(error @ OpenError::Older { .. }) => {
            Check::warning(name, error.to_string(), "start the daemon, it updates the journal")
        }
        Err(error) => Check::problem(name, error.to_string(), "see there; the file was left alone"),
    }
}

/// The experiment log: there, understood, writable.
pub(super) fn log(settings: &Settings) -> Check {
    let (name, path) = ("log", &written_log(settings));
    let shown = path.display();
    let folder = nearest(path.parent().unwrap_or(path));
    if let Err(error) = may_write(folder) {
        let found = format!("`{}` cannot be written: {error}", folder.display());
        return Check::problem(name, found, "let this user write it: the log is replaced in it");
    }
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Check::fine(name, format!("`{shown}` does not exist yet; it is made"));
        }
        Err(error) => {
            let found = format!("`{shown}` cannot be read: {error}");
            return Check::problem(name, found, "let this user read and write it");
        }
    };
    let links = document::Links { reports: String::new() };
    if let Err(held) = document::apply(Some(&text), &sample(), &|_| None, &links) {
        return Check::problem(name, format!("`{shown}` cannot be edited: {held}"), "mend the log");
    }
    let tables = document::run_tables(&text, &settings.log.headers);
    let made = document::observed(&text).len();
    let found = format!("`{shown}`: {tables} tables of runs, {made} observations");
    if tables == 0 {
        let advice = "give the table of training runs a `Run ID` column, or expect a new table";
        return Check::warning(name, found, advice);
    }
    Check::fine(name, found)
}

/// What git is doing with the log, or would make of it.
pub(super) fn git(settings: &Settings) -> Check {
    let (name, log) = ("git", &settings.paths.experiment_log);
    if let Some(why) = crate::git::busy_with(log) {
        return Check::warning(name, why, "until then what is to be written into the log waits");
    }
    if crate::git::is_changed(log) {
        let found = "the log is tracked and differs from what git last saw";
        let advice = "commit it before the next training, which records whether the checkout is \
                      clean; each observation changes it again";
        return Check::warning(name, found, advice);
    }
    Check::fine(
        name,
        "the log is written in place; nothing is under way, and it is not a change of the checkout",
    )
}

/// The row that the log is asked to take; nothing is written.
fn sample() -> DocumentEdit {
    let cell = || "--".to_owned();
    DocumentEdit::ObservationRow(ObservationRow {
        time: "2026-01-01 00:00:00 +00:00".to_owned(),
        run: "doctor_20260101_000000".to_owned(),
        checkpoint: "final".to_owned(),
        rank: cell(),
        mean_similarity: cell(),
        max_similarity: cell(),
        eval_loss: cell(),
        verdict: "unknown".to_owned(),
        note: String::new(),
    })
}

/// The folder of failure notes.
pub(super) fn reports(settings: &Settings) -> Check {
    let (name, folder) = ("reports", &documents(settings).reports);
    let there = nearest(folder);
    match may_write(there) {
        Ok(()) => Check::fine(name, format!("`{}` is writable", folder.display())),
        Err(error) => {
            let found = format!("`{}` cannot be written: {error}", there.display());
            Check::problem(name, found, "let this user write failure notes there")
        }
    }
}

/// Returns the path, or the nearest folder above it that exists.
pub(super) fn nearest(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

/// Asks the kernel, which knows of read-only mounts, and of them for root as well.
pub(super) fn may_write(folder: &Path) -> io::Result<()> {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    Ok(rustix::fs::access(folder, wanted)?)
}
