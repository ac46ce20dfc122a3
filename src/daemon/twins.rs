//! What the journal has of a checkpoint whose weights may be those of the one to be analyzed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep, timeout_at};

use crate::model::analysis::{AnalysisOrder, Twin};
use crate::model::ids::CheckpointId;
use crate::model::observation::Observation;
use crate::model::time::Moment;
use crate::record::history::Reader;

/// How long an observation that was just made is waited for: the journal commits within some
/// milliseconds. Without it the checkpoint is analyzed itself, which is right and only takes longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the journal is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Adds to an order what was observed of its twin, or takes the twin away where that is of no use.
pub(super) async fn recall(mut order: AnalysisOrder, state: PathBuf) -> AnalysisOrder {
    let Some(twin) = order.twin.take() else { return order };
    let id = CheckpointId { run: order.checkpoint.run.clone(), name: twin.name };
    match find(&state, &id, twin.time).await {
        Ok(observation) if Twin::may_be(&observation, &order.content) => {
            order.twin = Some(Twin { observation: Some(Box::new(observation)), ..twin });
        }
        Ok(_) => tracing::debug!(checkpoint = %order.checkpoint, twin = %id, "no twin after all"),
        Err(error) => {
            tracing::warn!(checkpoint = %order.checkpoint, twin = %id,
                error = format!("{error:#}"), "its twin cannot be read; analyzing it as well");
        }
    }
    order
}

async fn find(state: &Path, id: &CheckpointId, time: Moment) -> anyhow::Result<Observation> {
    let end = Instant::now() + PATIENCE;
    loop {
        let (state, id) = (state.to_owned(), id.clone());
        let read =
            tokio::task::spawn_blocking(move || Reader::open(&state)?.observation(&id, time));
        let found = timeout_at(end, read).await.context("the journal does not answer")?;
        if let Some(observation) = found.context("reading the journal panicked")?? {
            return Ok(observation);
        }
        timeout_at(end, sleep(ASK_EVERY)).await.context("the journal does not have it")?;
    }
}
