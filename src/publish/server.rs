//! The server: accepts clients, owns their tasks, and ends them all when it is told to stop.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::connection;
use super::ring::Publisher;
use super::snapshots::{Snapshot, Snapshots};
use super::socket::BoundSocket;
use super::wire;
use crate::model::command::{Answer, Command};
use crate::model::event::StoredEvent;
use crate::model::status::Status;
use crate::model::time::Moment;

/// Who speaks, for the first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The daemon's version.
    pub version: String,
    /// Id of the journal.
    pub journal: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Name of the host.
    pub host: String,
    /// The watched root.
    pub root: String,
}

/// Asks the journal for one page of old events.
///
/// The answer holds the oldest events whose number is greater than `after`, ascending, at most
/// `limit` of them, and is empty only if there are none. The error is a text for people.
#[derive(Debug)]
pub struct HistoryRequest {
    /// The last sequence number that the client has.
    pub after: u64,
    /// How many events to give at most.
    pub limit: usize,
    /// Where the answer goes; nobody may listen any more.
    pub reply: oneshot::Sender<Result<Vec<StoredEvent>, String>>,
}

/// Asks the daemon to carry out a command. The answer comes when what it changed is durable.
#[derive(Debug)]
pub struct CommandRequest {
    /// What to do.
    pub command: Command,
    /// Where the answer goes; nobody may listen any more.
    pub reply: oneshot::Sender<Answer>,
}

/// Limits of time and number; the defaults are the contract's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a client has for its request line.
    pub request_wait: Duration,
    /// How long a client may take nothing.
    pub stall: Duration,
    /// After how much silence `alive` is sent.
    pub silence: Duration,
    /// How long the journal has for one page.
    pub history: Duration,
    /// How long the daemon has to carry out a command.
    pub command: Duration,
    /// How long clients have to take the last events when the daemon stops.
    pub flush: Duration,
    /// How long to wait after the system refused to accept a client.
    pub accept_pause: Duration,
    /// How many clients are served at a time; more are told so and closed.
    pub clients: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_wait: Duration::from_millis(500),
            stall: Duration::from_secs(30),
            silence: Duration::from_secs(15),
            history: Duration::from_secs(30),
            command: Duration::from_secs(30),
            flush: Duration::from_millis(500),
            accept_pause: Duration::from_millis(100),
            clients: 4096,
        }
    }
}

/// Everything that the server reads from.
pub struct Server {
    /// Who speaks.
    pub identity: Identity,
    /// The durable events.
    pub publisher: Publisher,
    /// The snapshots.
    pub snapshots: watch::Receiver<Arc<Status>>,
    /// The journal's old events.
    pub history: mpsc::Sender<HistoryRequest>,
    /// What takes commands.
    pub commands: mpsc::Sender<CommandRequest>,
    /// Limits of time and number.
    pub limits: Limits,
    /// Tells the time for `alive`.
    pub clock: fn() -> Moment,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Server")
            .field("identity", &self.identity)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Serves clients until the token is canceled, then lets each take the last events within
    /// `limits.flush`, and removes the socket's file.
    ///
    /// All tasks are owned by this future: dropping it ends them. An error means a bug (a task
    /// panicked); trouble with single clients or with accepting is logged and survived.
    pub async fn serve(self, socket: BoundSocket, stop: CancellationToken) -> anyhow::Result<()> {
        let limits = self.limits;
        let service = Arc::new(Service { server: self, snapshots: Mutex::default() });
        let mut clients = JoinSet::new();
        let (mut refused, mut turned_away) = (Complaint::default(), Complaint::default());
        info!(socket = %socket.path().display(), "serving status");
        loop {
            // All branches are cancel-safe: a connection that was not yet accepted stays in the
            // system's queue, and a task that was not yet joined stays in the set.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = clients.join_next() => ended.context("a client's task failed")?,
                accepted = accept(&socket, limits.accept_pause, &mut refused) => {
                    let Some(stream) = accepted else { continue };
                    if clients.len() >= limits.clients {
                        turn_away(&stream, limits.clients, &mut turned_away);
                        continue;
                    }
                    clients.spawn(connection::attend(stream, Arc::clone(&service), stop.clone()));
                }
            }
        }
        while let Some(ended) = clients.join_next().await {
            ended.context("a client's task failed")?;
        }
        Ok(())
    }
}

/// How long one complaint stands for all that would repeat it.
const COMPLAINT: Duration = Duration::from_mins(1);

/// Something that clients can bring about as often as they like and that must not fill the log.
#[derive(Debug, Default)]
struct Complaint {
    said: Option<Instant>,
    times: u64,
}

impl Complaint {
    /// Counts one more time, and returns how many times there were since it was last said if it is
    /// time to say it again.
    fn due(&mut self, now: Instant) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|said| now.duration_since(said) < COMPLAINT) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

/// Accepts one client; `None` after the system refused and a pause, so that running out of file
/// descriptors is neither the end nor a busy loop.
async fn accept(
    socket: &BoundSocket,
    pause: Duration,
    refused: &mut Complaint,
) -> Option<UnixStream> {
    match socket.accept().await {
        Ok(stream) => Some(stream),
        Err(error) => {
            if let Some(times) = refused.due(Instant::now()) {
                warn!(%error, times, "cannot accept clients; trying again");
            }
            tokio::time::sleep(pause).await;
            None
        }
    }
}

fn turn_away(stream: &UnixStream, most: usize, turned_away: &mut Complaint) {
    let message = "too many clients; close some and connect again".to_owned();
    let line = wire::Message::Error { message }.line();
    // A socket that was just accepted has room for one short line; if not, being closed says it.
    let told: io::Result<usize> = stream.try_write(line.as_bytes());
    if let Some(clients) = turned_away.due(Instant::now()) {
        warn!(clients, most, told = told.is_ok(), "turned clients away: too many are connected");
    }
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) server: Server,
    snapshots: Mutex<Snapshots>,
}

impl Service {
    /// Returns the greeting for a client that connects now.
    pub(super) fn hello(&self) -> wire::Message {
        let Identity { version, journal, pid, host, root } = self.server.identity.clone();
        let seq = self.server.publisher.head();
        let protocol = wire::PROTOCOL;
        wire::Message::Hello(wire::Hello { protocol, version, journal, pid, host, root, seq })
    }

    /// Returns the newest snapshot as a line.
    pub(super) fn snapshot(&self) -> Snapshot {
        let status = Arc::clone(&self.server.snapshots.borrow());
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner).line_of(&status)
    }

    /// Has a command carried out and returns the daemon's answer.
    pub(super) async fn order(&self, command: Command) -> Answer {
        let (reply, answer) = oneshot::channel();
        let limit = self.server.limits.command;
        let ask = async {
            self.server.commands.send(CommandRequest { command, reply }).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(limit, ask).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err("the daemon is stopping".to_owned()),
            Err(_) => Err(format!(
                "no answer within {} s; `runscribe status` shows what the daemon waits for, and \
                 the command may still take effect",
                limit.as_secs()
            )),
        }
    }

    /// Asks the journal for the events after `after`.
    pub(super) async fn older(&self, after: u64, limit: usize) -> Result<Vec<StoredEvent>, String> {
        let (reply, answer) = oneshot::channel();
        let request = HistoryRequest { after, limit, reply };
        let ask = async {
            self.server.history.send(request).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(self.server.limits.history, ask).await {
            Ok(Some(events)) => events,
            Ok(None) => Err("the journal is closed".to_owned()),
            Err(_) => Err("the journal does not answer".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_minute_and_none_of_it_is_uncounted() {
        let (mut complaint, start) = (Complaint::default(), Instant::now());
        assert_eq!(complaint.due(start), Some(1));
        for _ in 0..500 {
            assert_eq!(complaint.due(start + COMPLAINT / 2), None);
        }
        assert_eq!(complaint.due(start + COMPLAINT), Some(501));
        assert_eq!(complaint.due(start + COMPLAINT), None);
    }
}
