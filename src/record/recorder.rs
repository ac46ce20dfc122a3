//! The one thread that writes: commits first, documents between them.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

use super::Now;
use super::delivery::Delivery;
use super::journal::{CommitError, Journal, Recorded};
use crate::model::journal::{DocumentsState, Transaction};

/// The wait before a transaction that could not be committed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How many due steps of delivery are still taken when the recorder ends.
const LAST_STEPS: u32 = 64;

/// What the recorder is asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Make this durable. Requests are answered in order.
    Commit {
        /// Given back with the answer.
        ticket: u64,
        /// What to make durable.
        transaction: Transaction,
    },
    /// Look at the documents: whoever keeps them wants something.
    LookAtDocuments,
}

/// What the recorder says.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A transaction is durable: a request's, or one that delivery made by itself.
    Recorded(Recorded),
    /// A request will never be recorded; nothing of it is.
    Refused {
        /// The request's ticket.
        ticket: u64,
        /// Why.
        reason: String,
    },
    /// Why the journal cannot be written for now, once for each reason; `None`: it can again.
    CommitTrouble(Option<String>),
    /// The state of the documents, when it is another one than before.
    Documents(DocumentsState),
}

/// Transactions that could not be committed before the end.
#[derive(Debug, thiserror::Error)]
#[error("{transactions} transactions could not be recorded before the end: {reason}")]
pub struct Unrecorded {
    /// How many of them.
    pub transactions: usize,
    /// Why the first of them could not.
    pub reason: String,
}

/// What one turn did.
#[derive(Debug, Default, PartialEq)]
pub struct Turn {
    /// What to say, in order.
    pub outputs: Vec<Output>,
    /// When the next turn is due; `None`: with the next request.
    pub wake: Option<Instant>,
}

/// Owns journal and documents; a state machine that never waits.
#[derive(Debug)]
pub struct Recorder {
    journal: Journal,
    delivery: Delivery,
    queue: VecDeque<(u64, Transaction)>,
    trouble: Option<String>,
    retry_at: Option<Instant>,
    shown: Option<DocumentsState>,
}

impl Recorder {
    /// Joins a journal and its delivery.
    pub fn new(journal: Journal, delivery: Delivery) -> Self {
        Self {
            journal,
            delivery,
            queue: VecDeque::new(),
            trouble: None,
            retry_at: None,
            shown: None,
        }
    }

    /// Queues a request.
    pub fn accept(&mut self, request: Request) {
        if let Request::Commit { ticket, transaction } = request {
            self.queue.push_back((ticket, transaction));
        }
    }

    /// Commits one request, or does one step for a document if there is none.
    pub fn turn(&mut self, now: Now) -> Turn {
        let mut outputs = Vec::new();
        if let Some(retry_at) = self.retry_at.filter(|&retry_at| retry_at > now.instant) {
            return Turn { outputs, wake: Some(retry_at) };
        }
        // Counting open entries has its price in a flood of commits that bring none.
        let mut touches_documents = self.shown.is_none();
        let done = if let Some((_, transaction)) = self.queue.front() {
            touches_documents |= !transaction.documents.is_empty();
            self.commit_front(now, &mut outputs)
        } else {
            touches_documents = true;
            self.deliver(now, &mut outputs)
        };
        match done {
            Ok(()) => self.end_trouble(&mut outputs),
            Err(error) => self.begin_trouble(&error, now, &mut outputs),
        }
        if touches_documents {
            self.show_documents(&mut outputs);
        }
        let ready = (!self.queue.is_empty()).then_some(now.instant);
        Turn { outputs, wake: self.retry_at.or(ready).or_else(|| self.delivery.due(now)) }
    }

    fn commit_front(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), CommitError> {
        let Some((ticket, transaction)) = self.queue.front() else { return Ok(()) };
        let ticket = *ticket;
        match self.journal.commit(transaction, now.moment) {
            Ok(recorded) => {
                for edit in &transaction.documents {
                    self.delivery.notice(edit, now);
                }
                outputs.push(Output::Recorded(recorded.with_ticket(ticket)));
            }
            Err(error) if error.is_final() => {
                tracing::error!(%error, "a transaction is refused");
                outputs.push(Output::Refused { ticket, reason: error.to_string() });
            }
            Err(error) => return Err(error),
        }
        self.queue.pop_front();
        Ok(())
    }

    fn deliver(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), CommitError> {
        let recorded = self.delivery.step(&mut self.journal, now)?;
        outputs.extend(recorded.into_iter().map(Output::Recorded));
        Ok(())
    }

    fn begin_trouble(&mut self, error: &CommitError, now: Now, outputs: &mut Vec<Output>) {
        self.retry_at = Some(now.instant + RETRY);
        let reason = error.to_string();
        if self.trouble.as_ref() != Some(&reason) {
            outputs.push(Output::CommitTrouble(Some(reason.clone())));
            self.trouble = Some(reason);
        }
    }

    fn end_trouble(&mut self, outputs: &mut Vec<Output>) {
        self.retry_at = None;
        if self.trouble.take().is_some() {
            outputs.insert(0, Output::CommitTrouble(None));
        }
    }

    fn show_documents(&mut self, outputs: &mut Vec<Output>) {
        match self.delivery.state(&self.journal) {
            Ok(state) if self.shown.as_ref() == Some(&state) => {}
            Ok(state) => {
                // Before the answers: whoever hears that something is durable must not think that
                // its documents were, too.
                outputs.insert(0, Output::Documents(state.clone()));
                self.shown = Some(state);
            }
            Err(error) => tracing::debug!(%error, "the state of the documents is not known"),
        }
    }

    /// Commits what is queued, does what is due for the documents, and closes the journal. What is
    /// not due stays in the outbox for the next life.
    pub fn finish(mut self, now: Now, mut say: impl FnMut(Output)) -> Result<(), Unrecorded> {
        self.retry_at = None;
        let mut outputs = Vec::new();
        while !self.queue.is_empty() {
            if let Err(error) = self.commit_front(now, &mut outputs) {
                outputs.into_iter().for_each(say);
                let transactions = self.queue.len();
                return Err(Unrecorded { transactions, reason: error.to_string() });
            }
        }
        for _ in 0..LAST_STEPS {
            let due = self.delivery.due(now).is_some_and(|due| due <= now.instant);
            if !due || self.deliver(now, &mut outputs).is_err() {
                break;
            }
        }
        self.show_documents(&mut outputs);
        outputs.drain(..).for_each(&mut say);
        if let Err(error) = self.journal.close() {
            tracing::warn!(%error, "the journal is not closed in order");
        }
        Ok(())
    }
}

/// Runs a recorder until the last sender of requests is gone. Blocks: it needs a thread of its
/// own, outside any asynchronous one.
///
/// When nobody takes the outputs any more, requests are still made durable.
pub fn run(
    mut recorder: Recorder,
    requests: &Receiver<Request>,
    outputs: &Sender<Output>,
) -> Result<(), Unrecorded> {
    let say = |output| {
        if outputs.blocking_send(output).is_err() {
            tracing::debug!("nobody takes what the recorder says");
        }
    };
    loop {
        let ended = loop {
            match requests.try_recv() {
                Ok(request) => recorder.accept(request),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
        };
        if ended {
            return recorder.finish(Now::read(), say);
        }
        let turn = recorder.turn(Now::read());
        turn.outputs.into_iter().for_each(say);
        let request = match turn.wake {
            None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wake) => requests.recv_timeout(wake.saturating_duration_since(Instant::now())),
        };
        match request {
            Ok(request) => recorder.accept(request),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return recorder.finish(Now::read(), say),
        }
    }
}

#[cfg(test)]
mod tests;
