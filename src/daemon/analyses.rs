//! The running analyses, as tasks that are owned and can all be stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::timeout;

use crate::analyze::child::Stop;
use crate::analyze::{self, Workshop};
use crate::model::analysis::{AnalysisOrder, AnalysisOutcome, AnalysisResult, FailureClass};

use super::twins;

/// How long killed analyses are waited for: longer than the kernel needs, shorter than what is left
/// of the daemon's stop.
const KILL_LIMIT: Duration = Duration::from_secs(3);

/// All analyses that have not come to their end.
#[derive(Debug)]
pub(super) struct Analyses {
    workshop: Workshop,
    set: JoinSet<AnalysisOutcome>,
    orders: BTreeMap<Id, AnalysisOrder>,
    stop: Stop,
}

impl Analyses {
    pub(super) fn new(workshop: Workshop) -> Self {
        Self { workshop, set: JoinSet::new(), orders: BTreeMap::new(), stop: Stop::default() }
    }

    pub(super) fn start(&mut self, order: AnalysisOrder) {
        let (workshop, stop) = (self.workshop.clone(), self.stop.clone());
        let ordered = order.clone();
        let work = async move {
            let order = twins::recall(ordered, workshop.state.clone()).await;
            analyze::run(order, workshop, stop).await
        };
        let id = self.set.spawn(Box::pin(work)).id();
        self.orders.insert(id, order);
    }

    /// Changes how the next analyses run. What the daemon changed of itself at its start stays.
    pub(super) fn equip(&mut self, workshop: Workshop) {
        self.workshop = Workshop { open_files: self.workshop.open_files, ..workshop };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Asks all of them to stop; each ends within its grace time.
    pub(super) fn stop(&self) {
        self.stop.gently.cancel();
    }

    /// Ends all of them now, with everything they started, and waits until that is done. What hangs
    /// all the same, such as a read from a dead disk, is left to itself.
    pub(super) async fn kill(&mut self) {
        self.stop.at_once.cancel();
        let all = async { while self.set.join_next().await.is_some() {} };
        if timeout(KILL_LIMIT, all).await.is_err() {
            tracing::warn!("an analysis does not end; leaving without it");
        }
        self.set.shutdown().await;
        self.orders.clear();
    }

    /// Waits for the next one that ends; pending forever while none runs. Cancel-safe.
    ///
    /// A panic in one is its failure and nobody else's: what came from outside must not be able
    /// to end the daemon.
    pub(super) async fn next(&mut self) -> AnalysisOutcome {
        loop {
            match self.set.join_next_with_id().await {
                None => std::future::pending().await,
                Some(Ok((id, outcome))) => {
                    self.orders.remove(&id);
                    return outcome;
                }
                Some(Err(error)) => {
                    tracing::error!(%error, "an analysis task panicked");
                    if let Some(order) = self.orders.remove(&error.id()) {
                        return panicked(order);
                    }
                }
            }
        }
    }
}

fn panicked(order: AnalysisOrder) -> AnalysisOutcome {
    AnalysisOutcome {
        number: order.number,
        checkpoint: order.checkpoint,
        digest: order.content.digest,
        weights_sha256: None,
        finite: None,
        conditions: Vec::new(),
        result: AnalysisResult::Failed {
            elapsed: Duration::ZERO,
            class: FailureClass::Unknown,
            evidence: "a bug in runscribe: its analysis task panicked; see the daemon's log".into(),
        },
    }
}
