//! Commands of the socket on their way to the decider, and its answers on their way back.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::command::{Answer, Command, Order};
use crate::model::ids::CheckpointId;
use crate::publish::CommandRequest;
use crate::settings::Settings;

use super::reading;

/// How long a look at a path may take.
const LOOK: Duration = Duration::from_secs(10);

/// An order for the decider, and where its answer goes.
pub(super) struct Ordered {
    pub(super) order: Order,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// Turns commands into orders: whatever needs a look at a disk is done here and not in the loop.
pub(super) async fn serve(
    settings: Arc<Settings>,
    mut commands: mpsc::Receiver<CommandRequest>,
    orders: mpsc::Sender<Ordered>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut looks = Looks { settings, pending: None };
    loop {
        // Cancel-safe: a command that is dropped while the daemon stops is answered so.
        let request = tokio::select! {
            request = commands.recv() => request,
            () = stop.cancelled() => None,
        };
        let Some(CommandRequest { command, reply }) = request else { return Ok(()) };
        let order = match command {
            Command::Order(order) => Ok(order),
            Command::AnalyzePath(path) => tokio::select! {
                found = looks.checkpoint(path) => found.map(Order::Analyze),
                () = stop.cancelled() => return Ok(()),
            },
        };
        match order {
            Ok(order) => {
                if orders.send(Ordered { order, reply }).await.is_err() {
                    return Ok(());
                }
            }
            // A client that left needs no answer.
            Err(problem) => drop(reply.send(Err(problem))),
        }
    }
}

/// Looks at paths, one at a time: of those that hang on a dead disk there is never more than one.
struct Looks {
    settings: Arc<Settings>,
    pending: Option<JoinHandle<anyhow::Result<CheckpointId>>>,
}

impl Looks {
    async fn checkpoint(&mut self, path: PathBuf) -> Result<CheckpointId, String> {
        if self.pending.as_ref().is_some_and(|look| !look.is_finished()) {
            return Err("the disk has not answered an earlier question yet".to_owned());
        }
        let settings = Arc::clone(&self.settings);
        let path = settings.paths.root.join(path);
        let look = move || reading::watched_checkpoint(&settings, &path);
        let look = self.pending.insert(tokio::task::spawn_blocking(look));
        match timeout(LOOK, look).await {
            Ok(found) => {
                self.pending = None;
                found
                    .unwrap_or_else(|error| Err(error.into()))
                    .map_err(|error| format!("{error:#}"))
            }
            Err(_) => Err(format!("the disk did not answer within {} s", LOOK.as_secs())),
        }
    }
}

/// Answers that wait until what they say is durable.
#[derive(Debug, Default)]
pub(super) struct Answers {
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    due: VecDeque<(u64, oneshot::Sender<Answer>, Answer)>,
}

impl Answers {
    /// Returns the number under which the answer is put off.
    pub(super) fn expect(&mut self, reply: oneshot::Sender<Answer>) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, reply);
        self.last
    }

    /// Keeps an answer until so many transactions are durable.
    pub(super) fn put_off(&mut self, number: u64, answer: Answer, transactions: u64) {
        if let Some(reply) = self.waiting.remove(&number) {
            self.due.push_back((transactions, reply, answer));
        }
    }

    /// Returns whether so many durable transactions allow an answer.
    pub(super) fn are_due(&self, durable: u64) -> bool {
        self.due.front().is_some_and(|(transactions, ..)| *transactions <= durable)
    }

    /// Gives the answers that so many durable transactions allow.
    pub(super) fn give(&mut self, durable: u64) {
        while self.are_due(durable) {
            if let Some((_, reply, answer)) = self.due.pop_front() {
                // A client that left needs no answer.
                drop(reply.send(answer));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_waits_for_the_transactions_before_it() {
        let mut answers = Answers::default();
        let (first, mut first_answer) = oneshot::channel();
        let (second, mut second_answer) = oneshot::channel();
        let (one, two) = (answers.expect(first), answers.expect(second));
        answers.put_off(one, Ok("paused".to_owned()), 3);
        answers.put_off(two, Err("no".to_owned()), 4);
        answers.give(2);
        assert!(first_answer.try_recv().is_err());
        answers.give(3);
        assert_eq!(first_answer.try_recv().unwrap(), Ok("paused".to_owned()));
        assert!(second_answer.try_recv().is_err());
        answers.give(9);
        assert_eq!(second_answer.try_recv().unwrap(), Err("no".to_owned()));
    }
}
