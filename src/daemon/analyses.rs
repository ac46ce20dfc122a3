//! The running analyses, as tasks that are owned and can all be stopped.

use std::collections::BTreeMap;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::analyze::{self, Workshop};
use crate::model::analysis::{AnalysisOrder, AnalysisOutcome, AnalysisResult, FailureClass};

/// All analyses that have not come to their end.
#[derive(Debug)]
pub(super) struct Analyses {
    workshop: Workshop,
    set: JoinSet<AnalysisOutcome>,
    orders: BTreeMap<Id, AnalysisOrder>,
    stop: CancellationToken,
}

impl Analyses {
    pub(super) fn new(workshop: Workshop) -> Self {
        let stop = CancellationToken::new();
        Self { workshop, set: JoinSet::new(), orders: BTreeMap::new(), stop }
    }

    pub(super) fn start(&mut self, order: AnalysisOrder) {
        let (workshop, stop) = (self.workshop.clone(), self.stop.child_token());
        let work = Box::pin(analyze::run(order.clone(), workshop, stop));
        let id = self.set.spawn(work).id();
        self.orders.insert(id, order);
    }

    /// Changes how the next analyses run.
    pub(super) fn equip(&mut self, workshop: Workshop) {
        self.workshop = workshop;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Asks all of them to stop; each ends within its grace time.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends all of them now, with everything they started, and waits until that is done: dropping
    /// a run kills its process group.
    pub(super) async fn kill(&mut self) {
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
            elapsed: std::time::Duration::ZERO,
            class: FailureClass::Unknown,
            evidence: "a bug in runscribe: its analysis task panicked; see the daemon's log".into(),
        },
    }
}
