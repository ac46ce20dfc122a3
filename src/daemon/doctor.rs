//! The preflight: what would stop the daemon's work on this host, and what to do about it. Changes
//! nothing; every look has a time limit.

mod files;
mod host_facts;

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use crate::model::numbers::counted;
use crate::settings::Settings;

use super::log_branch;

/// How long a look at files may take.
const QUICK: Duration = Duration::from_secs(15);
/// How long a look at all checkpoints may take.
const SCAN: Duration = Duration::from_mins(1);

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do, unless it is fine.
    pub advice: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Fine,
    /// It works, and not as well as it could.
    Warning,
    /// It stops work.
    Problem,
}

impl Check {
    fn fine(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Fine, found: found.into(), advice: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let (state, advice) = (State::Warning, Some(advice.into()));
        Self { name, state, found: found.into(), advice }
    }

    fn problem(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Problem, ..Self::warning(name, found, advice) }
    }
}

/// Looks at everything that the daemon needs, in the order in which it needs it.
pub async fn examine(settings: &Settings) -> Vec<Check> {
    let files = |name, limit, work: fn(&Settings) -> Check| {
        let settings = settings.clone();
        look(name, limit, move || work(&settings))
    };
    let root = files("root", QUICK, files::root).await;
    let may_run = root.state != State::Problem;
    let (training, state, journal, git, log, reports, watch) = tokio::join!(
        files("training", SCAN, files::training),
        files("state", QUICK, files::state),
        files("journal", QUICK, files::journal),
        git(settings),
        files("log", QUICK, files::log),
        files("reports", QUICK, files::reports),
        files("inotify", QUICK, host_facts::inotify),
    );
    let (analysis, gpus, socket) = tokio::join!(
        host_facts::analysis(settings, may_run),
        host_facts::gpus(settings),
        host_facts::socket(settings),
    );
    let kernel = look("kernel log", QUICK, host_facts::kernel_log).await;
    let before = [root, training, state, journal];
    let alerts = alerts(settings);
    let after = [gpus, kernel, watch, git, log, reports, socket, alerts];
    before.into_iter().chain(analysis).chain(after).collect()
}

/// What git is doing with the log, in the checkout or on its own branch.
async fn git(settings: &Settings) -> Check {
    let Some(branch) = log_branch::branch(settings) else {
        let settings = settings.clone();
        return look("git", QUICK, move || files::git(&settings)).await;
    };
    let name = branch.branch();
    let sent = if settings.log.push { "it is pushed" } else { "it is not pushed" };
    match timeout(QUICK, branch.unmerged()).await {
        Err(_) => hangs("git", QUICK),
        Ok(Err(problem)) => {
            Check::problem("git", problem, "until then what is to be written into the log waits")
        }
        Ok(Ok(unmerged)) => Check::fine(
            "git",
            format!(
                "the log is written on the branch `{name}`: {} that the default branch does not \
                 have; {sent}",
                counted(unmerged as u64, "commit")
            ),
        ),
    }
}

/// Says who is told of trouble, by host only. Nothing is sent.
fn alerts(settings: &Settings) -> Check {
    let receivers = settings.alerts.iter();
    let texts: Vec<String> =
        receivers.map(|one| format!("{} ({})", one.address, one.format.as_str())).collect();
    let found = match texts.as_slice() {
        [] => "nobody is told of trouble; `[[alerts]]` names receivers".to_owned(),
        texts => texts.join(", "),
    };
    Check::fine("alerts", found)
}

/// Looks at files off the async threads, within a limit: a disk that hangs is a finding.
async fn look(
    name: &'static str,
    limit: Duration,
    work: impl FnOnce() -> Check + Send + 'static,
) -> Check {
    match timeout(limit, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(check)) => check,
        Ok(Err(error)) => Check::problem(name, error.to_string(), "report this as a bug"),
        Err(_) => hangs(name, limit),
    }
}

fn hangs(name: &'static str, limit: Duration) -> Check {
    let found = format!("the disk did not answer within {} s", limit.as_secs());
    Check::problem(name, found, "look at its mount, and at the kernel's log")
}
