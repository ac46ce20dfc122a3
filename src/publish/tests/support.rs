//! What the room's tests share: events, settings, and a server on a socket of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::command::{Command, Order};
use crate::model::event::{Happening, NewEvent, StoredEvent};
use crate::model::ids::RunId;
use crate::model::status::Status;
use crate::model::time::Moment;
use crate::publish::{
    CommandRequest, HistoryRequest, Identity, Limits, Publisher, RingLimits, Server, bind,
};
use crate::settings::StatusSettings;

/// How long anything in these tests may take before it counts as hung.
pub(in crate::publish) const DEADLINE: Duration = Duration::from_secs(20);

pub(in crate::publish) fn moment() -> Moment {
    let time = jiff::Timestamp::from_second(1_772_024_587).unwrap_or_default();
    Moment::new(time, jiff::tz::Offset::constant(1))
}

/// Returns an event about no run.
pub(in crate::publish) fn event(seq: u64) -> StoredEvent {
    let what = Happening::Rescan { reason: format!("reason {seq}") };
    StoredEvent { seq, event: NewEvent { time: moment(), run: None, checkpoint: None, what } }
}

/// Returns an event about a run.
pub(in crate::publish) fn event_of(seq: u64, run: &str) -> StoredEvent {
    let mut stored = event(seq);
    stored.event.run = Some(RunId::new(run));
    stored
}

pub(in crate::publish) fn status_settings(socket: PathBuf) -> StatusSettings {
    StatusSettings { socket, socket_mode: 0o660, socket_group: None, keep_events: 100 }
}

/// Returns a snapshot that knows of the events up to this one.
pub(in crate::publish) fn status_at(seq: u64) -> Status {
    let mut status = Status::default();
    status.daemon.seq = seq;
    status
}

/// Returns limits under which a request is never missed, however busy the machine is: half a second
/// passes unnoticed where several builds run.
pub(in crate::publish) fn limits() -> Limits {
    Limits { request_wait: DEADLINE, ..Limits::default() }
}

/// A journal in memory: what was kept of the events.
#[derive(Debug, Clone, Default)]
pub(in crate::publish) struct Journal(Arc<Mutex<Vec<StoredEvent>>>);

impl Journal {
    pub(in crate::publish) fn append(&self, events: &[StoredEvent]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(events);
    }

    /// Forgets the events up to this one.
    pub(in crate::publish) fn prune(&self, up_to: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|event| event.seq > up_to);
    }

    fn page(&self, after: u64, limit: usize) -> Vec<StoredEvent> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|event| event.seq > after).take(limit).cloned().collect()
    }
}

/// A server with all that it reads from.
pub(in crate::publish) struct House {
    pub(in crate::publish) publisher: Publisher,
    pub(in crate::publish) journal: Journal,
    pub(in crate::publish) snapshots: watch::Sender<Arc<Status>>,
    pub(in crate::publish) stop: CancellationToken,
    pub(in crate::publish) socket: PathBuf,
    pub(in crate::publish) tasks: JoinSet<anyhow::Result<()>>,
    _folder: tempfile::TempDir,
}

impl House {
    /// Starts a server whose journal holds the events 1 to `known`, and whose ring holds none.
    pub(in crate::publish) async fn open(
        known: u64,
        limits: Limits,
        ring: RingLimits,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("status.sock");
        let bound = bind(&status_settings(socket.clone()), folder.path()).await?;
        let publisher = Publisher::with_limits(known, ring);
        let journal = Journal::default();
        journal.append(&(1..=known).map(event).collect::<Vec<_>>());
        let (history, mut requests) = mpsc::channel::<HistoryRequest>(16);
        let (commands, mut orders) = mpsc::channel::<CommandRequest>(16);
        let (snapshots, receiver) = watch::channel(Arc::new(status_at(known)));
        let server = Server {
            identity: Identity {
                version: "0.1.0".to_owned(),
                journal: "j1".to_owned(),
                pid: 42,
                host: "gpu-1".to_owned(),
                root: "/home/user/project".to_owned(),
            },
            publisher: publisher.clone(),
            snapshots: receiver,
            history,
            commands,
            limits,
            clock: moment,
        };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(bound, stop.clone()));
        let mut kept = Vec::new();
        let shelf = journal.clone();
        tasks.spawn(async move {
            while let Some(HistoryRequest { after, limit, reply }) = requests.recv().await {
                drop(reply.send(Ok(shelf.page(after, limit))));
            }
            Ok(())
        });
        tasks.spawn(async move {
            // Answers with what was asked for; a retry is never answered.
            while let Some(CommandRequest { command, reply }) = orders.recv().await {
                match command {
                    Command::Order(Order::Retry(_)) => kept.push(reply),
                    Command::Order(Order::Resume) => drop(reply.send(Err("not now".to_owned()))),
                    other => drop(reply.send(Ok(format!("{other:?}")))),
                }
            }
            Ok(())
        });
        Ok(Self { publisher, journal, snapshots, stop, socket, tasks, _folder: folder })
    }

    /// Makes events durable, then publishes them.
    pub(in crate::publish) fn happen(&self, events: &[StoredEvent]) {
        self.journal.append(events);
        self.publisher.announce(events);
    }

    /// Connects and sends this request, if it is not empty.
    pub(in crate::publish) async fn talk(&self, request: &str) -> anyhow::Result<Talk> {
        Talk::open(&self.socket, request).await
    }

    /// Stops the server and returns how it ended.
    pub(in crate::publish) async fn close(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = timeout(DEADLINE, self.tasks.join_next()).await? {
            ended??;
        }
        anyhow::ensure!(!self.socket.exists(), "the socket's file is left behind");
        Ok(())
    }
}

/// A client without client code.
pub(in crate::publish) struct Talk {
    pub(in crate::publish) stream: BufReader<UnixStream>,
}

impl Talk {
    pub(in crate::publish) async fn open(socket: &Path, request: &str) -> anyhow::Result<Self> {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        stream.write_all(request.as_bytes()).await?;
        Ok(Self { stream })
    }

    /// Reads one message, `None` at the end.
    pub(in crate::publish) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        let mut line = String::new();
        let count = timeout(DEADLINE, self.stream.read_line(&mut line)).await??;
        Ok(if count == 0 { None } else { Some(serde_json::from_str(&line)?) })
    }

    /// Reads messages up to and including the first of this type; returns all in short form.
    pub(in crate::publish) async fn until(&mut self, last: &str) -> anyhow::Result<Vec<String>> {
        let mut seen = Vec::new();
        // One deadline for all: `alive` messages must not keep a test that waits in vain alive.
        let deadline = Instant::now() + DEADLINE;
        loop {
            anyhow::ensure!(Instant::now() < deadline, "no `{last}` in {seen:?}");
            match self.next().await? {
                Some(message) => seen.push(short(&message)),
                None => seen.push("end".to_owned()),
            }
            if seen.last().is_some_and(|seen| seen.starts_with(last)) {
                return Ok(seen);
            }
            anyhow::ensure!(seen.last().is_none_or(|seen| seen != "end"), "ended: {seen:?}");
        }
    }
}

/// Prints what these tests look at: `event 7`, `live 9`, `gap 1-4`, `status`.
fn short(message: &Value) -> String {
    let text = |key: &str| message.get(key).map_or(String::new(), Value::to_string);
    let kind = message.get("type").and_then(Value::as_str).unwrap_or("?");
    match kind {
        "event" | "live" | "alive" => format!("{kind} {}", text("seq")),
        "gap" => format!("gap {}-{}", text("from"), text("to")),
        "error" => format!("error {}", text("message")),
        "reply" => format!("reply {} {}", text("ok"), text("error") + &text("message")),
        _ => kind.to_owned(),
    }
}
