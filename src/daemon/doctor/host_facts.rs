//! Looks at what the host offers: the analysis program, GPUs, inotify, a running daemon.

use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::time::timeout;

use super::{Check, QUICK, files, hangs, look};
use crate::analyze::program;
use crate::daemon::devices::Devices;
use crate::daemon::{reading, setup};
use crate::host::kernel_log::{KERNEL_LOG, KernelLog};
use crate::model::analysis::{ProgramFacts, ProgramKind};
use crate::model::status::{GpuReading, Readiness};
use crate::publish::{Client, ClientError, wire::Subscription};
use crate::settings::Settings;

/// How long the self-test of the analysis may take; its imports have three minutes of their own.
const SELF_TEST: Duration = Duration::from_mins(5);
/// The kernel's limits of one user.
const LIMITS: &str = "/proc/sys/fs/inotify";

/// The kernel's log, which tells of killed processes and of errors of GPUs.
pub(super) fn kernel_log() -> Check {
    let name = "kernel log";
    match KernelLog::new(Path::new(KERNEL_LOG)).read() {
        Ok(_) => Check::fine(name, "readable: killed processes and errors of GPUs are seen"),
        Err(problem) => {
            let advice = "nothing, unless you want to be told why training was killed";
            Check::warning(name, problem, advice)
        }
    }
}

/// The analysis program by a self-test, its data set, and the caches that it writes.
pub(super) async fn analysis(settings: &Settings, may_run: bool) -> Vec<Check> {
    if !may_run {
        let advice = "see `root`";
        let found = "not tested: it would run as the wrong user";
        return vec![Check::problem("analysis", found, advice)];
    }
    let Ok((facts, readiness)) = timeout(SELF_TEST, discover(settings)).await else {
        return vec![hangs("analysis", SELF_TEST)];
    };
    let (kind, home) = (facts.kind, facts.environment.get("HF_HOME").cloned());
    let mut checks = vec![self_test(readiness, kind)];
    if kind == ProgramKind::Script {
        let settings = settings.clone();
        checks.push(look("dataset", QUICK, move || dataset(&settings)).await);
    }
    if let Some(home) = home {
        checks.push(look("caches", QUICK, move || caches(&home)).await);
    }
    checks
}

async fn discover(settings: &Settings) -> (ProgramFacts, Readiness) {
    let state = settings.paths.state.clone();
    let memory = tokio::task::spawn_blocking(move || reading::memory(&state)).await;
    // A journal that cannot be read has a line of its own.
    let memory = memory.ok().and_then(Result::ok).flatten().unwrap_or_default();
    program::discover(settings, &setup::surroundings(&memory), None).await
}

fn self_test(readiness: Readiness, kind: ProgramKind) -> Check {
    let name = "analysis";
    match readiness {
        Readiness::NotReady { problem } => {
            let advice = "set `analysis.python`, `analysis.dataset` or `analysis.command`, or mend \
                          what is missing";
            Check::problem(name, problem, advice)
        }
        Readiness::Checking => Check::problem(name, "the self-test did not end", "try again"),
        Readiness::Ready { program } if kind == ProgramKind::Probe => Check::warning(
            name,
            program,
            "it measures weights, not representations; give the project its \
             `analysis/run_concept_analysis.py`, or set `analysis.command`",
        ),
        Readiness::Ready { program } => Check::fine(name, program),
    }
}

/// Without a data set of its own the project's script streams one.
fn dataset(settings: &Settings) -> Check {
    match program::dataset(settings) {
        Some(dataset) => Check::fine("dataset", dataset),
        None => Check::warning(
            "dataset",
            "the script's own, which it streams from the hub",
            "set `analysis.dataset` to a local one: without a network every analysis fails",
        ),
    }
}

fn caches(home: &str) -> Check {
    let there = files::nearest(Path::new(home));
    match files::may_write(there) {
        Ok(()) => Check::fine("caches", format!("`HF_HOME` is `{home}`")),
        Err(error) => Check::warning(
            "caches",
            format!("`HF_HOME` is `{home}`, and `{}` cannot be written: {error}", there.display()),
            "let this user write it, or set HF_HOME in `env_file`",
        ),
    }
}

/// The GPUs, and which device an analysis would get now. The CPU is no problem.
pub(super) async fn gpus(settings: &Settings) -> Check {
    let name = "gpu";
    let devices = match Devices::on_a_thread() {
        Ok(devices) => devices,
        Err(error) => return Check::warning(name, error.to_string(), "raise the limit of threads"),
    };
    let GpuReading { gpus, note } = devices.gpus().read().await;
    let choice = devices.choose(&settings.analysis, false).await.reason;
    let seen = note.unwrap_or_else(|| format!("{} GPUs", gpus.len()));
    let found = format!("{seen}; now an analysis would get {choice}");
    if gpus.iter().any(|gpu| gpu.problem.is_some()) {
        return Check::warning(
            name,
            found,
            "look at `nvidia-smi`; what cannot be used is left alone",
        );
    }
    Check::fine(name, found)
}

/// Whether this user can have one more inotify instance and enough watches.
pub(super) fn inotify(settings: &Settings) -> Check {
    let name = "inotify";
    let poll = "until then new checkpoints are found by full scans only";
    if let Err(error) = inotify::init(inotify::CreateFlags::CLOEXEC) {
        let found = format!("no instance is left ({error}); {poll}");
        return Check::warning(name, found, "sysctl -w fs.inotify.max_user_instances=1024");
    }
    let limit = std::fs::read_to_string(Path::new(LIMITS).join("max_user_watches"));
    let limit: Option<u64> = limit.ok().and_then(|text| text.trim().parse().ok());
    let Some(limit) = limit else { return Check::fine(name, "an instance can be had") };
    let needed = watches(&settings.paths.training);
    if limit < needed.saturating_mul(2) {
        let found =
            format!("{limit} watches for all programs of this user, {needed} needed; {poll}");
        return Check::warning(name, found, "sysctl -w fs.inotify.max_user_watches=524288");
    }
    Check::fine(name, format!("{limit} watches allowed, about {needed} needed"))
}

/// The training folder, each run, and at the worst one unfinished checkpoint in each.
fn watches(training: &Path) -> u64 {
    let runs = std::fs::read_dir(training).map_or(0, |entries| entries.count() as u64);
    1 + 2 * runs
}

/// A running daemon, or whether one could offer its socket.
pub(super) async fn socket(settings: &Settings) -> Check {
    let (name, path) = ("socket", &settings.status.socket);
    let once = Subscription { once: true, ..Subscription::default() };
    match Client::connect(path, &once).await {
        Ok((_, hello)) if Path::new(&hello.root) != settings.paths.root => Check::problem(
            name,
            format!("`{}` is served for another project, `{}`", path.display(), hello.root),
            "set another `status.socket`",
        ),
        Ok((_, hello)) => Check::fine(name, format!("a daemon runs, process {}", hello.pid)),
        Err(error @ ClientError::NotAllowed { .. }) => {
            Check::problem(name, error.to_string(), "ask the daemon's user for access")
        }
        Err(error) if !error.is_unreachable() => {
            Check::problem(name, error.to_string(), "stop what serves it, or set another one")
        }
        Err(_) => {
            let path = path.clone();
            look(name, QUICK, move || could_serve(&path)).await
        }
    }
}

fn could_serve(path: &Path) -> Check {
    let folder = files::nearest(path.parent().unwrap_or(path));
    match files::may_write(folder) {
        Ok(()) => Check::fine("socket", "no daemon runs"),
        Err(error) => Check::problem(
            "socket",
            format!("`{}` cannot be written: {error}", folder.display()),
            "set `status.socket`, or let systemd make its folder (`RuntimeDirectory=`)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn what_is_not_there_needs_one_watch() {
        assert_eq!(watches(Path::new("/nonexistent")), 1);
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        assert_eq!(watches(folder.path()), 3);
    }

    #[test]
    fn a_socket_in_a_folder_that_can_be_made_could_be_served() {
        let folder = tempfile::tempdir().unwrap();
        let check = could_serve(&folder.path().join("not/yet/there/status.sock"));
        assert_eq!(check.state, State::Fine, "{check:?}");
        let none = could_serve(Path::new("/proc/self/status.sock"));
        assert_eq!(none.state, State::Problem, "{none:?}");
    }
}
