//! The log's own branch: between the recorder, which writes the documents, and git, which keeps them.
//!
//! The documents are in one pair of hands at a time: the desk lends them to the recorder when
//! they stand on the newest default branch, and takes them back to be committed. Whatever asks
//! another host is tried again with a backoff, and keeps no row waiting.

mod desk;
mod remote;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::engine::Event;
use crate::git;
use crate::git::log_branch::{self, LogBranch, Prepared, Project};
use crate::host;
use crate::model::ids::RunId;
use crate::model::journal::Memory;
use crate::model::status::LogStatus;
use crate::record::keeping::{InPlace, Keeper};
use crate::record::recorder::Request;
use crate::settings::{LogWrite, Settings};

use super::workers::Workers;

use desk::{After, Desk, Work};
use remote::Remote;

/// How often the remote is asked whether the default branch has moved, while there is something on
/// the branch that it does not have.
const LOOK: Duration = Duration::from_mins(1);
/// How soon it is noticed that a person pulled or committed: what they merge next should stand on
/// that.
const NOTICE: Duration = Duration::from_secs(1);
/// When a commit that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// Run ids that a commit's message lists at most.
const LISTED_RUNS: usize = 100;

/// Where the documents are that runscribe writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Documents {
    /// The project's root, as their paths are shown.
    pub root: PathBuf,
    /// The experiment log.
    pub log: PathBuf,
    /// The run reports folder.
    pub reports: PathBuf,
}

/// Returns where the documents are that the daemon writes: in the checkout, or in the working tree of
/// the log's own branch.
pub fn documents(settings: &Settings) -> Documents {
    let paths = &settings.paths;
    if settings.log.write == LogWrite::InPlace {
        let (root, log) = (paths.root.clone(), paths.experiment_log.clone());
        return Documents { root, log, reports: paths.run_reports.clone() };
    }
    let log_branch::Written { root, log, reports } = log_branch::written(project(settings));
    Documents { root, log, reports }
}

/// Returns the experiment log to read: the one that the daemon writes, or the checkout's while that
/// is not there yet.
pub fn written_log(settings: &Settings) -> PathBuf {
    let written = documents(settings).log;
    if written.exists() { written } else { settings.paths.experiment_log.clone() }
}

/// Returns who keeps the documents; on a branch, it has a worker of its own.
pub(super) fn keep(
    workers: &mut Workers,
    settings: &Settings,
    (records, news): (SyncSender<Request>, mpsc::Sender<Event>),
    stop: &CancellationToken,
) -> Arc<dyn Keeper> {
    let Some(branch) = branch(settings) else { return Arc::new(InPlace(git::busy_with)) };
    let desk = Arc::new(Desk::new(machine(settings), branch.clone()));
    let keeping = Keeping::new(branch, settings, Arc::clone(&desk), records, news);
    workers.spawn("log branch", keeping.run(stop.clone()));
    desk
}

/// Returns who keeps the documents while no daemon runs. The branch is written by the daemon only: what
/// is recorded meanwhile waits for it.
pub(super) fn keep_alone(settings: &Settings) -> Arc<dyn Keeper> {
    match settings.log.write {
        LogWrite::InPlace => Arc::new(InPlace(git::busy_with)),
        LogWrite::Branch => Arc::new(InPlace(|_| {
            Some("the daemon writes the log's branch: start `runscribe watch`".to_owned())
        })),
    }
}

/// Returns what is known of the branch before anything was looked at.
pub(super) fn first_status(settings: &Settings) -> LogStatus {
    branch(settings).map_or_else(LogStatus::default, |branch| LogStatus {
        branch: Some(branch.branch()),
        is_busy: true,
        ..LogStatus::default()
    })
}

/// With a new journal, what stands on the branch must be known before the first scan.
pub(super) async fn make_readable(settings: &Settings, memory: &Memory) {
    let Some(branch) = branch(settings).filter(|_| memory.fresh) else { return };
    if let Err(problem) = branch.prepare(&message(&BTreeSet::new(), &machine(settings))).await {
        tracing::warn!(problem, "what stands on the log's branch is not known yet");
    }
}

/// Returns the log's own branch, if it is to be written there.
pub(super) fn branch(settings: &Settings) -> Option<LogBranch> {
    let is_wanted = settings.log.write == LogWrite::Branch;
    is_wanted.then(|| LogBranch::new(project(settings), &machine(settings), settings.log.push))
}

/// Returns the name under which this host writes.
pub(super) fn machine(settings: &Settings) -> String {
    settings.machine.clone().unwrap_or_else(host::host_name)
}

fn project(settings: &Settings) -> Project<'_> {
    let paths = &settings.paths;
    Project {
        root: &paths.root,
        state: &paths.state,
        log: &paths.experiment_log,
        reports: &paths.run_reports,
    }
}

/// Keeps the branch.
#[derive(Debug)]
pub(super) struct Keeping {
    branch: LogBranch,
    machine: String,
    desk: Arc<Desk>,
    remote: Option<Remote>,
    records: SyncSender<Request>,
    news: mpsc::Sender<Event>,
    /// Why what was written could not be committed, or the branch not be put onto its base.
    problem: Option<String>,
    unmerged: usize,
    has_looked: bool,
    /// What tells that the default branch may have moved here.
    signs: Vec<SystemTime>,
    /// When it is looked at the default branch again.
    look_at: Instant,
    told: Option<LogStatus>,
}

impl Keeping {
    /// Begins with the documents in nobody's hands.
    pub(super) fn new(
        branch: LogBranch,
        settings: &Settings,
        desk: Arc<Desk>,
        records: SyncSender<Request>,
        news: mpsc::Sender<Event>,
    ) -> Self {
        let remote = settings.log.push.then(|| Remote::new(Instant::now()));
        Self {
            branch,
            machine: machine(settings),
            desk,
            remote,
            records,
            news,
            problem: None,
            unmerged: 0,
            has_looked: false,
            signs: Vec::new(),
            look_at: Instant::now(),
            told: None,
        }
    }

    /// Works until it is stopped. What is written is committed before that.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            self.turn(&stop).await;
            if stop.is_cancelled() {
                // Commands that work on this host only are never cut off: they would leave locks.
                self.commit().await;
                return Ok(());
            }
            let due = self.due();
            tokio::select! {
                () = self.desk.wanted() => {}
                () = sleep_until(due) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn due(&self) -> Instant {
        let retry = self.desk.is_waiting().then(|| Instant::now() + RETRY);
        let push = self.remote.as_ref().and_then(Remote::due);
        let notice = (self.unmerged > 0).then(|| Instant::now() + NOTICE);
        [retry, push, notice].into_iter().flatten().fold(self.look_at, Instant::min)
    }

    async fn turn(&mut self, stop: &CancellationToken) {
        let looks = self.look_at <= Instant::now();
        if looks {
            self.look_at = Instant::now() + LOOK;
        }
        // Before the work: what a person does meanwhile is looked at after it.
        let signs = self.branch.signs();
        let looks = if self.unmerged > 0 {
            looks || self.signs != signs
        } else {
            looks && !self.has_looked
        };
        if let Some(work) = self.desk.begin(looks) {
            self.tell(true).await;
            let after = self.work(work, looks, stop).await;
            self.signs = signs;
            let is_divided = matches!(after, After::Divided(_));
            self.desk.end(after);
            // The recorder may have nothing to do by itself.
            if is_divided && self.records.try_send(Request::LookAtDocuments).is_err() {
                tracing::debug!("the recorder is busy; it looks at the documents by itself");
            }
        }
        let is_due = |remote: &Remote| remote.due().is_some_and(|due| due <= Instant::now());
        if self.remote.as_ref().is_some_and(is_due) {
            self.tell(true).await;
            self.push(stop).await;
        }
        self.tell(false).await;
    }

    /// Does what the documents need, in nobody else's hands.
    async fn work(&mut self, work: Work, looks: bool, stop: &CancellationToken) -> After {
        if work.anew {
            match self.branch.begin_anew().await {
                Ok(left) => tracing::warn!(left, "the log's branch begins anew; its rows follow"),
                Err(problem) => return After::Failed(self.fail(problem)),
            }
            self.desk.has_begun_anew();
        }
        if !self.commit().await {
            return After::Failed(self.problem.clone().unwrap_or_default());
        }
        if !work.wanted && !looks {
            return After::Free;
        }
        self.fetch(stop).await;
        match self.branch.prepare(&self.message(&BTreeSet::new())).await {
            Ok(Prepared::Ready) => (self.problem, self.has_looked) = (None, true),
            Ok(Prepared::Divided(divided)) => return After::Divided(Arc::new(*divided)),
            Err(problem) => return After::Failed(self.fail(problem)),
        }
        self.count().await;
        if work.wanted { After::Lent } else { After::Free }
    }

    /// Commits what was written. Returns whether nothing is left to be.
    async fn commit(&mut self) -> bool {
        let Some(runs) = self.desk.uncommitted() else { return true };
        match self.branch.commit(&self.message(&runs)).await {
            Ok(_) => {
                self.desk.has_committed(&runs);
                self.problem = None;
                self.count().await;
                true
            }
            Err(problem) => {
                self.fail(problem);
                false
            }
        }
    }

    fn fail(&mut self, problem: String) -> String {
        if self.problem.as_ref() != Some(&problem) {
            tracing::warn!(problem, "the log's branch cannot be written; trying again");
        }
        self.problem = Some(problem.clone());
        problem
    }

    /// Learns what is on the branch, and asks for it to be sent.
    async fn count(&mut self) {
        match self.branch.unmerged().await {
            Ok(unmerged) => self.unmerged = unmerged,
            Err(problem) => {
                tracing::debug!(problem, "the commits of the log's branch are not counted");
            }
        }
        match self.branch.machines().await {
            Ok(machines) => self.desk.learn_machines(machines),
            Err(problem) => tracing::debug!(problem, "the other machines are not known"),
        }
        if let Some(remote) = &mut self.remote {
            remote.want(Instant::now());
        }
    }

    async fn fetch(&mut self, stop: &CancellationToken) {
        let Some(remote) = self.remote.as_mut().filter(|remote| remote.may_ask(Instant::now()))
        else {
            return;
        };
        let fetched = tokio::select! {
            fetched = self.branch.fetch() => fetched,
            () = stop.cancelled() => return,
        };
        remote.answered(fetched, Instant::now());
    }

    async fn push(&mut self, stop: &CancellationToken) {
        let Some(remote) = &mut self.remote else { return };
        let pushed = tokio::select! {
            pushed = self.branch.push() => pushed,
            () = stop.cancelled() => return,
        };
        match pushed {
            Ok(pushed) => {
                tracing::info!(branch = self.branch.branch(), ?pushed, "the log's branch is sent");
                remote.answered(Ok(()), Instant::now());
                remote.is_sent();
            }
            Err(problem) => remote.answered(Err(problem), Instant::now()),
        }
    }

    /// Tells the loop what is new.
    async fn tell(&mut self, works: bool) {
        let remote = self.remote.as_ref();
        let sends =
            remote.is_some_and(|remote| remote.due().is_some() && remote.problem().is_none());
        let waits = self.problem.is_none() && self.desk.is_waiting();
        let problem = self.problem.clone().or_else(|| remote?.problem());
        let status = LogStatus {
            branch: Some(self.branch.branch()),
            unmerged: self.unmerged as u64,
            is_busy: works || waits || sends,
            problem,
        };
        if self.told.as_ref() != Some(&status) {
            self.told = Some(status.clone());
            // A loop that is on its way out takes no news.
            self.news.send(Event::Log(status)).await.unwrap_or_default();
        }
    }

    fn message(&self, runs: &BTreeSet<RunId>) -> String {
        message(runs, &self.machine)
    }
}

/// Returns the message of a commit.
fn message(runs: &BTreeSet<RunId>, machine: &str) -> String {
    let shown = |text: &str| text.replace(char::is_control, " ");
    let machine = shown(machine);
    let Some(first) = runs.first().map(|run| shown(run.as_str())) else {
        return format!("docs: runscribe ({machine})");
    };
    if runs.len() == 1 {
        return format!("docs: runscribe {first} ({machine})");
    }
    let list: Vec<String> = runs.iter().take(LISTED_RUNS).map(|run| shown(run.as_str())).collect();
    let more = runs.len() - 1;
    format!("docs: runscribe {first} and {more} more ({machine})\n\n{}", list.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_names_its_run_and_the_machine() {
        let runs = |names: &[&str]| names.iter().map(|name| RunId::new(*name)).collect();
        for (names, expected) in [
            (&["r_1"][..], "docs: runscribe r_1 (odra)"),
            (&[], "docs: runscribe (odra)"),
            (&["r\n1", "s"], "docs: runscribe r 1 and 1 more (odra)\n\nr 1\ns"),
        ] {
            assert_eq!(message(&runs(names), "odra"), expected);
        }
    }
}
