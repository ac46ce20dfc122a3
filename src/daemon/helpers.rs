//! The small workers beside the loop: they look at programs, run files and the host, and bring
//! what they find as events.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch as state};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::analyze::program::{self, Surroundings};
use crate::analyze::reports;
use crate::engine::Event;
use crate::host::Sampler;
use crate::host::gpus::Gpus;
use crate::model::ids::RunId;
use crate::model::journal::EvaluationMemory;
use crate::model::shell_log::LogKey;
use crate::model::status::Readiness;
use crate::settings::Settings;
use crate::watch::evaluations::{self, EvaluationConfig, EvaluationInbox, Told};

use super::workers::Workers;
use super::{host_evidence, run_facts, wandb_runs};

/// How often the host is read.
const SAMPLE: Duration = Duration::from_secs(10);
/// How often the GPUs are read for people; to load the driver's library costs some milliseconds of
/// a core, and up to seconds where it has to wake a GPU first.
const SAMPLE_GPUS: Duration = Duration::from_secs(30);
/// How often the analysis program is looked at again: it may have been mended or changed.
const LOOK: Duration = Duration::from_secs(30);
/// How often reports that are too old are looked for.
const SWEEP: Duration = Duration::from_hours(6);
/// The longest pause between looks at a program that cannot run.
const RARE_LOOK: Duration = Duration::from_mins(10);
/// Runs whose files wait to be read.
const QUESTIONS: usize = 1024;

/// The loop's hold on them.
#[derive(Debug)]
pub(super) struct Helpers {
    questions: mpsc::Sender<RunId>,
    logs: mpsc::Sender<Vec<(LogKey, String)>>,
    pages: mpsc::Sender<RunId>,
    settings: state::Sender<Arc<Settings>>,
    news: mpsc::Sender<Event>,
    address: PathBuf,
    evaluations: Arc<EvaluationInbox>,
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.evaluations.stop();
    }
}

impl Helpers {
    pub(super) fn start(
        workers: &mut Workers,
        settings: Arc<Settings>,
        surroundings: Surroundings,
        news: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let address = settings.paths.state.join("daemon.json");
        let sampler = Sampler::new(&settings.paths.training);
        let (changes, current) = state::channel(settings);
        workers.spawn(
            "program",
            watch_program(current.clone(), surroundings, news.clone(), stop.clone()),
        );
        workers.spawn("reports", sweep_reports(current.clone(), stop.clone()));
        workers.spawn("host", sample_host(sampler, news.clone(), stop.clone()));
        let (pages, wanted) = mpsc::channel(QUESTIONS);
        let ask = wandb_runs::answer(current.clone(), wanted, news.clone(), stop.clone());
        workers.spawn("W&B", ask);
        workers.spawn("kernel log", host_evidence::listen_to_kernel(news.clone(), stop));
        let logs = find_writers(workers, &current.borrow().paths.root, news.clone())?;
        let to_loop = news.clone();
        workers.spawn_looker("run files", move || {
            read_runs(asked, &current, &news);
            Ok(())
        })?;
        let evaluations = Arc::new(EvaluationInbox::default());
        Ok(Self { questions, logs, pages, settings: changes, news: to_loop, address, evaluations })
    }

    /// Reads the GPUs again and again, for people: an analysis asks anew before it starts.
    pub(super) fn sample_gpus(&self, workers: &mut Workers, gpus: Gpus, stop: CancellationToken) {
        workers.spawn("gpu readings", sample_gpus(gpus, self.news.clone(), stop));
    }

    /// Looks for evaluation reports from now on.
    pub(super) fn follow_evaluations(
        &self,
        workers: &mut Workers,
        settings: &Settings,
        memory: &EvaluationMemory,
    ) -> anyhow::Result<()> {
        let (config, told) = (EvaluationConfig::from(settings), Told::from(memory));
        let (inbox, news) = (Arc::clone(&self.evaluations), self.news.clone());
        workers.spawn_looker("evaluations", move || {
            evaluations::run(config, told, &inbox, |told| {
                news.blocking_send(Event::Evaluations(told)).is_ok()
            });
            Ok(())
        })
    }

    /// Has all evaluation reports told again.
    pub(super) fn look_at_evaluations_again(&self) {
        self.evaluations.start_over();
    }

    /// Asks what a run's own files say of it. While a thousand runs wait a further one is left
    /// out; its next checkpoint asks again.
    pub(super) fn read_run_facts(&self, run: RunId) {
        if self.questions.try_send(run).is_err() {
            tracing::debug!("too many runs wait for their files to be read");
        }
    }

    /// Asks W&B's service for a run. While a thousand wait a further one is left out; its next
    /// checkpoint asks again.
    pub(super) fn ask_wandb(&self, run: RunId) {
        if self.pages.try_send(run).is_err() {
            tracing::debug!("too many runs wait to be asked for at W&B");
        }
    }

    /// Asks who writes these logs. While that is being found out, a further question is left out.
    pub(super) fn look_for_writers(&self, logs: Vec<(LogKey, String)>) {
        if self.logs.try_send(logs).is_err() {
            tracing::debug!("who writes shell logs is still being looked for");
        }
    }

    pub(super) fn use_settings(&self, settings: Arc<Settings>) {
        self.evaluations.use_settings(EvaluationConfig::from(&*settings));
        self.settings.send_replace(settings);
    }

    /// Writes down where the socket is, for commands.
    pub(super) fn write_address(&self, socket: &Path) {
        let text = serde_json::json!({
            "pid": std::process::id(), "socket": socket, "version": env!("CARGO_PKG_VERSION"),
        });
        let temporary = self.address.with_extension("json.new");
        let written = std::fs::write(&temporary, format!("{text}\n"))
            .and_then(|()| std::fs::rename(&temporary, &self.address));
        if let Err(error) = written {
            tracing::warn!(%error, "cannot write down the socket's path");
        }
    }

    /// Takes the address back at a clean stop.
    pub(super) fn forget_address(&self) {
        if let Err(error) = std::fs::remove_file(&self.address) {
            tracing::debug!(%error, "cannot remove the address file");
        }
    }
}

fn find_writers(
    workers: &mut Workers,
    root: &Path,
    news: mpsc::Sender<Event>,
) -> anyhow::Result<mpsc::Sender<Vec<(LogKey, String)>>> {
    let (logs, asked) = mpsc::channel(1);
    let root = root.to_owned();
    workers.spawn_looker("log writers", move || {
        host_evidence::find_writers(&root, asked, &news);
        Ok(())
    })?;
    Ok(logs)
}

/// Looks at the analysis program at the start and again and again; tells the loop what changed.
///
/// A program that cannot run is tried anew ever more rarely: to import torch in vain costs seconds
/// of a core that training has a use for. A reload of the configuration tries it at once.
async fn watch_program(
    mut settings: state::Receiver<Arc<Settings>>,
    surroundings: Surroundings,
    news: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut known = None;
    let mut pause = LOOK;
    loop {
        let current = Arc::clone(&settings.borrow_and_update());
        let found = tokio::select! {
            found = program::discover(&current, &surroundings, known.as_ref()) => found,
            () = stop.cancelled() => return Ok(()),
        };
        if known.as_ref() != Some(&found) {
            let (facts, readiness) = found.clone();
            tracing::info!(?readiness, protocol = facts.protocol, "analysis program");
            if news.send(Event::Program(Box::new(facts), readiness)).await.is_err() {
                return Ok(());
            }
        }
        pause = match &found.1 {
            Readiness::NotReady { .. } if known.as_ref() == Some(&found) => {
                (pause * 2).min(RARE_LOOK)
            }
            _ => LOOK,
        };
        known = Some(found);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = timeout(pause, settings.changed()) => {
                if matches!(changed, Ok(Err(_))) {
                    return Ok(());
                }
            }
        }
    }
}

/// Removes reports that are older than the settings say, again and again.
async fn sweep_reports(
    settings: state::Receiver<Arc<Settings>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut every = interval(SWEEP);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick comes at once, and the start has swept already.
    every.tick().await;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let (state, analysis) = {
            let settings = settings.borrow();
            (settings.paths.state.clone(), settings.analysis.clone())
        };
        // What an analysis that runs now wrote at its start is in use, however short the time.
        let keep = analysis.keep_reports.max(analysis.timeout.saturating_mul(2));
        let swept = tokio::task::spawn_blocking(move || reports::sweep(&state, keep));
        let swept = tokio::select! {
            swept = swept => swept?,
            // A disk that does not answer must not hold up the stop.
            () = stop.cancelled() => return Ok(()),
        };
        match swept {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "removed reports that are too old"),
            Err(error) => tracing::warn!(%error, "cannot remove reports that are too old"),
        }
    }
}

async fn sample_host(
    sampler: Sampler,
    news: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut every = interval(SAMPLE);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sampler = Some(sampler);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let Some(mut own) = sampler.take() else { return Ok(()) };
        let read = tokio::task::spawn_blocking(move || (own.read(), own));
        let (reading, own) = tokio::select! {
            read = read => read?,
            // A host that does not answer (a dead mount) must not hold up the stop.
            () = stop.cancelled() => return Ok(()),
        };
        sampler = Some(own);
        let (host, memory) = reading;
        if news.send(Event::Host(host, memory)).await.is_err() {
            return Ok(());
        }
    }
}

async fn sample_gpus(
    gpus: Gpus,
    news: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut every = interval(SAMPLE_GPUS);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let reading = tokio::select! {
            reading = async {
                every.tick().await;
                gpus.read().await
            } => reading,
            () = stop.cancelled() => return Ok(()),
        };
        if news.send(Event::Gpus(reading)).await.is_err() {
            return Ok(());
        }
    }
}

fn read_runs(
    mut asked: mpsc::Receiver<RunId>,
    settings: &state::Receiver<Arc<Settings>>,
    news: &mpsc::Sender<Event>,
) {
    while let Some(run) = asked.blocking_recv() {
        let settings = Arc::clone(&settings.borrow());
        let facts = run_facts::read(&settings, &run);
        if news.blocking_send(Event::RunFacts(run, facts)).is_err() {
            break;
        }
    }
}
