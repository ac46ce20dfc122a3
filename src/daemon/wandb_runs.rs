//! The worker that asks W&B's service for runs. Without a key it asks nobody, and a service that is
//! away is asked again when a run's next checkpoint wants it, an hour later at the soonest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch as state};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::engine::Event;
use crate::model::ids::RunId;
use crate::model::journal::WandbFacts;
use crate::settings::Settings;
use crate::wandb::api::{self, ApiError, ApiKey, Patience, Service};

use super::{environment, http};

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How soon a run is asked for again.
const AGAIN: Duration = Duration::from_hours(1);
/// Runs that were asked for are remembered up to this number.
const REMEMBERED: usize = 10_000;

/// Asks for one run after the other; what is found goes to the loop.
pub(super) async fn answer(
    settings: state::Receiver<Arc<Settings>>,
    mut wanted: mpsc::Receiver<RunId>,
    news: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut asked: BTreeMap<RunId, Instant> = BTreeMap::new();
    loop {
        // Both arms are cancel-safe.
        let run = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            run = wanted.recv() => match run {
                Some(run) => run,
                None => return Ok(()),
            },
        };
        if asked.get(&run).is_some_and(|last| last.elapsed() < AGAIN) {
            continue;
        }
        let current = Arc::clone(&settings.borrow());
        let found = tokio::select! {
            found = ask(&current, &run) => found,
            () = stop.cancelled() => return Ok(()),
        };
        if asked.len() >= REMEMBERED {
            asked.clear();
        }
        let event = found.map(|facts| Event::WandbRun(run.clone(), facts));
        asked.insert(run, Instant::now());
        if let Some(event) = event
            && news.send(event).await.is_err()
        {
            return Ok(());
        }
    }
}

/// Asks for one run; that there is no answer is ordinary.
async fn ask(settings: &Settings, run: &RunId) -> Option<WandbFacts> {
    let base_url = settings.wandb.base_url.clone();
    let address = base_url.clone();
    // A home on a network folder may hang.
    let key = spawn_blocking(move || ApiKey::find(&environment(), &address)).await;
    let key = key.ok().flatten()?;
    let client = http::client(LIMIT)
        .inspect_err(|error| tracing::warn!("W&B is not asked: {error:#}"))
        .ok()?;
    let (project, entity) = (settings.wandb.project.clone(), settings.wandb.entity.clone());
    let service = Service { base_url, project, entity, key, patience: Patience::default() };
    match api::find_run(&client, &service, run).await {
        Ok(found) => {
            let found = found?;
            let url = found.page.map(|page| page.url);
            Some(WandbFacts { url, final_loss: found.final_loss })
        }
        Err(error @ ApiError::Away(_)) => {
            tracing::debug!(%run, %error, "not asked further");
            None
        }
        Err(error @ ApiError::Refused(_)) => {
            tracing::warn!(%run, %error, "the run's page and loss are not known");
            None
        }
    }
}
