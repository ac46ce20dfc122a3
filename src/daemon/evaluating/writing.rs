//! What an evaluation left goes into journal and experiment log: by the daemon where one runs, else
//! here, by the same decider and the same recorder.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::document::difference;
use crate::engine::{self, Effect, Event, World};
use crate::model::evaluation::EvaluationNews;
use crate::model::ids::RunId;
use crate::model::journal::{DocumentsState, HeldDocument};
use crate::model::status::DaemonStatus;
use crate::publish::Client;
use crate::publish::wire::{Message, Status, Subscription};
use crate::record::Now;
use crate::record::journal::Journal;
use crate::record::opening::OpenError;
use crate::record::recorder::{Output, Recorder, Request};
use crate::record::replace;
use crate::settings::Settings;
use crate::watch::evaluations::{self, EvaluationConfig, Told};

use super::super::{log_branch, now, setup};

/// How long documents may take; a second look comes two seconds after each write.
const LIMIT: Duration = Duration::from_secs(30);
/// How often the daemon is asked whether it has written.
const ASK: Duration = Duration::from_millis(250);

/// Lines around a change that are shown.
const CONTEXT: usize = 3;

/// Who wrote, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Whether a running daemon did.
    pub by_daemon: bool,
    /// Why the experiment log is not written yet, and who does it; it is recorded in any case.
    pub remark: Option<String>,
    /// What changed in the experiment log, in the form of `diff -u`; empty if nothing did.
    pub difference: String,
}

/// Reads the experiment log, to tell later what changed in it.
///
/// # Errors
/// It is there and cannot be read.
pub fn experiment_log(settings: &Settings) -> anyhow::Result<Option<Vec<u8>>> {
    Ok(replace::read(&log_branch::written_log(settings))?.map(|read| read.text))
}

/// Has the reports recorded and written into the experiment log. `reports` are the names of those
/// that a running daemon is waited for to know,
/// `before` is the log as it was.
///
/// # Errors
/// The journal or the log cannot be written, or the daemon did not do it in time.
pub async fn write_down(
    settings: &Settings,
    socket: &Path,
    run: &RunId,
    (reports, before): (&[String], Option<Vec<u8>>),
) -> anyhow::Result<Written> {
    let own = settings.clone();
    let recorded = tokio::task::spawn_blocking(move || record(&own)).await?;
    let (by_daemon, remark) = match recorded {
        Ok(remark) => (false, remark),
        Err(error) if is_locked(&error) => (true, wait_for_daemon(socket, run, reports).await?),
        Err(error) => return Err(error),
    };
    let log = &settings.paths.experiment_log;
    let after = experiment_log(settings)?;
    let name = log.strip_prefix(&settings.paths.root).unwrap_or(log).display().to_string();
    let after = after.unwrap_or_default();
    let difference = difference::unified(&name, before.as_deref(), &after, CONTEXT);
    Ok(Written { by_daemon, remark, difference })
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<OpenError>(), Some(OpenError::Locked { .. }))
}

/// Records all reports and overrides that are new, and delivers what the documents get of them.
/// Blocking. Returns why the experiment log is not written yet, if it is not.
fn record(settings: &Settings) -> anyhow::Result<Option<String>> {
    let (journal, memory) = Journal::open(&settings.paths.state, settings.status.keep_events)?;
    let told = Told::from(&memory.evaluations);
    let config = EvaluationConfig { settle: Duration::ZERO, ..EvaluationConfig::from(settings) };
    let shared = Arc::new(settings.clone());
    let mut world = World::new(shared, memory, DaemonStatus::default(), now());
    let mut recorder = setup::open_recorder(settings, journal, log_branch::keep_alone(settings))?;
    let news = evaluations::look_once(config, told);
    for (ticket, news) in (1..).zip(news.into_iter().chain([EvaluationNews::AllRead])) {
        for effect in engine::step(&mut world, Event::Evaluations(news), now()) {
            if let Effect::Record(transaction) = effect {
                recorder.accept(Request::Commit { ticket, transaction });
            }
        }
    }
    deliver(&mut recorder)
}

/// Turns the recorder until nothing is left that can be done now.
fn deliver(recorder: &mut Recorder) -> anyhow::Result<Option<String>> {
    let deadline = Instant::now() + LIMIT;
    let mut documents = DocumentsState::default();
    loop {
        let turn = recorder.turn(Now::read());
        for output in turn.outputs {
            match output {
                Output::Refused { reason, .. } => bail!("the journal refused a report: {reason}"),
                Output::CommitTrouble(Some(problem)) => {
                    bail!("the journal cannot be written: {problem}")
                }
                Output::Documents(state) => documents = state,
                Output::Recorded(_) | Output::CommitTrouble(None) => {}
            }
        }
        let Some(wake) = turn.wake else { return Ok(None) };
        if let Some(held) = documents.held.first() {
            let HeldDocument { document, reason, .. } = held;
            return Ok(Some(format!("`{document}` cannot be written now: {reason}")));
        }
        if wake > deadline {
            return Ok(Some("the experiment log was not written in time".to_owned()));
        }
        std::thread::sleep(wake.saturating_duration_since(Instant::now()));
    }
}

/// Waits until the daemon knows these reports and has written all that it has to. Returns why it has
/// not, if it has not.
async fn wait_for_daemon(
    socket: &Path,
    run: &RunId,
    reports: &[String],
) -> anyhow::Result<Option<String>> {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let status = snapshot(socket).await?;
        if let Some(held) = status.documents.held.first() {
            return Ok(Some(format!("the daemon holds `{}`: {}", held.document, held.reason)));
        }
        let of_run = status.runs.iter().find(|one| one.run == run.as_str());
        let known = of_run.map(|run| &run.scores).into_iter().flatten();
        let known: Vec<&str> = known.map(|score| score.report.as_str()).collect();
        let is_known = reports.iter().all(|report| known.contains(&report.as_str()));
        if is_known && status.documents.pending == 0 {
            return Ok(None);
        }
        if tokio::time::Instant::now() > deadline {
            let late = "the daemon has not written the scores yet; `runscribe status` says why";
            return Ok(Some(late.to_owned()));
        }
        tokio::time::sleep(ASK).await;
    }
}

async fn snapshot(socket: &Path) -> anyhow::Result<Status> {
    let once = Subscription { once: true, ..Subscription::default() };
    let (mut client, _) = Client::connect(socket, &once).await?;
    while let Some(line) = client.next_line().await? {
        if let Ok(Message::Status(status)) = serde_json::from_str::<Message>(&line) {
            return Ok(*status);
        }
    }
    bail!("the daemon closed the connection")
}
