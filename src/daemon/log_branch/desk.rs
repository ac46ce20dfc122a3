//! In whose hands the documents are.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::document::Machine;
use crate::git::{self, log_branch::LogBranch};
use crate::model::divided::DividedLog;
use crate::model::ids::RunId;
use crate::record::keeping::{Keeper, Leave};

/// The documents of the log's branch, lent to one at a time.
#[derive(Debug)]
pub(crate) struct Desk {
    machine: String,
    branch: LogBranch,
    wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hands: Hands,
    /// Whether the recorder asked for them.
    wanted: bool,
    /// Why it does not get them, until it has heard so.
    refused: Option<String>,
    /// The runs of what was written and not committed.
    uncommitted: BTreeSet<RunId>,
    /// Whether the branch must begin anew before anything else.
    anew: bool,
    others: Vec<String>,
}

/// Whose hands the documents are in.
#[derive(Debug, Default)]
enum Hands {
    #[default]
    Nobody,
    Git,
    Recorder,
    /// The recorder's, to make pending again what our side had.
    Divided(Arc<DividedLog>),
}

/// What is to be done for the documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    /// They are wanted.
    pub(super) wanted: bool,
    /// Their branch begins anew.
    pub(super) anew: bool,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum After {
    Free,
    Lent,
    Divided(Arc<DividedLog>),
    Failed(String),
}

impl Desk {
    pub(crate) fn new(machine: String, branch: LogBranch) -> Self {
        Self { machine, branch, wake: Notify::new(), state: Mutex::default() }
    }

    /// Waits until something is wanted. Cancel-safe.
    pub(super) async fn wanted(&self) {
        self.wake.notified().await;
    }

    /// Takes the documents for git if there is something to do, unless they are in the recorder's
    /// hands.
    pub(super) fn begin(&self, looks: bool) -> Option<Work> {
        let mut state = self.state();
        let is_wanted = state.wanted || state.anew || !state.uncommitted.is_empty() || looks;
        if !is_wanted || !matches!(state.hands, Hands::Nobody) {
            return None;
        }
        state.hands = Hands::Git;
        Some(Work { wanted: state.wanted, anew: state.anew })
    }

    /// Hears that the branch has begun anew.
    pub(super) fn has_begun_anew(&self) {
        self.state().anew = false;
    }

    /// Gives the documents on. Where git failed, whoever asked for them hears why.
    pub(super) fn end(&self, after: After) {
        let mut state = self.state();
        match after {
            After::Free => state.hands = Hands::Nobody,
            After::Lent => (state.hands, state.wanted) = (Hands::Recorder, false),
            After::Divided(divided) => state.hands = Hands::Divided(divided),
            After::Failed(problem) => {
                state.hands = Hands::Nobody;
                if std::mem::take(&mut state.wanted) {
                    state.refused = Some(problem);
                }
            }
        }
    }

    /// Returns the runs of what is written and not committed, if anything is.
    pub(super) fn uncommitted(&self) -> Option<BTreeSet<RunId>> {
        let state = self.state();
        (!state.uncommitted.is_empty()).then(|| state.uncommitted.clone())
    }

    pub(super) fn has_committed(&self, runs: &BTreeSet<RunId>) {
        self.state().uncommitted.retain(|run| !runs.contains(run));
    }

    /// Returns whether something waits that was tried or is to be tried.
    pub(super) fn is_waiting(&self) -> bool {
        let state = self.state();
        let is_asked = state.wanted || state.anew || !state.uncommitted.is_empty();
        matches!(state.hands, Hands::Nobody) && is_asked
    }

    pub(super) fn learn_machines(&self, others: Vec<String>) {
        self.state().others = others;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done with it can end halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper for Desk {
    fn ask(&self, log: Option<&Path>) -> Leave {
        let mut state = self.state();
        if matches!(state.hands, Hands::Recorder) && !self.branch.is_there() {
            // Somebody removed it in this moment: what were written now would stand in no tree.
            state.hands = Hands::Nobody;
        }
        if matches!(state.hands, Hands::Recorder) {
            return match log.and_then(git::busy_with) {
                None => Leave::Now,
                Some(reason) => Leave::Held(reason),
            };
        }
        state.wanted = true;
        self.wake.notify_one();
        state.refused.take().map_or(Leave::Soon, Leave::Held)
    }

    fn wrote(&self, runs: &BTreeSet<RunId>) {
        let mut state = self.state();
        state.uncommitted.extend(runs.iter().cloned());
        if matches!(state.hands, Hands::Recorder) {
            state.hands = Hands::Nobody;
        }
        self.wake.notify_one();
    }

    fn is_at_rest(&self) -> bool {
        let state = self.state();
        let is_still = matches!(state.hands, Hands::Nobody | Hands::Recorder);
        is_still && !state.anew && state.uncommitted.is_empty()
    }

    fn divided(&self) -> Option<Arc<DividedLog>> {
        match &self.state().hands {
            Hands::Divided(divided) => Some(Arc::clone(divided)),
            _ => None,
        }
    }

    fn is_pending_again(&self) {
        let mut state = self.state();
        (state.hands, state.anew) = (Hands::Nobody, true);
        self.wake.notify_one();
    }

    fn machine(&self) -> Option<Machine> {
        Some(Machine { name: self.machine.clone(), others: self.state().others.clone() })
    }
}
