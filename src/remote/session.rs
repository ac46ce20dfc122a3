//! A connection to the `sftp` subsystem of a host, request by request.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use super::RemoteError;
use super::packet::{Fields, Packet, kind};
use super::ssh::{self, Complaints};

/// The protocol's version that OpenSSH speaks.
const VERSION: u32 = 3;
/// The longest packet that is taken, in bytes; OpenSSH sends 256 KiB at most.
const LONGEST: u32 = 1 << 20;
/// How long the other side may leave a request without an answer. Connecting has its own limits.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long `ssh` may take to end.
const ENDING: Duration = Duration::from_secs(3);

/// Status codes.
pub(super) const OK: u32 = 0;
pub(super) const END_OF_FILE: u32 = 1;
pub(super) const NO_SUCH_FILE: u32 = 2;
const PERMISSION_DENIED: u32 = 3;
pub(super) const FAILURE: u32 = 4;
pub(super) const UNSUPPORTED: u32 = 8;

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    login: String,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    complaints: Complaints,
    next: u32,
    extensions: Vec<Vec<u8>>,
    waiting: VecDeque<u32>,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) kind: u8,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields(&self.body)
    }

    /// Returns the code and text of a status.
    pub(super) fn status(&self) -> Option<(u32, String)> {
        if self.kind != kind::STATUS {
            return None;
        }
        let mut fields = self.fields();
        let code = fields.number()?;
        let text = fields.text().unwrap_or_default();
        Some((code, String::from_utf8_lossy(text).into_owned()))
    }
}

impl Session {
    /// Connects, with the user's own configuration of `ssh`.
    pub(super) async fn open(login: &str) -> Result<Self, RemoteError> {
        let mut command = ssh::ssh();
        command.args(["-s", "--", login, "sftp"]);
        let started = command.spawn();
        let mut child = started.map_err(|error| {
            let todo = if error.kind() == std::io::ErrorKind::NotFound {
                "; install OpenSSH's client"
            } else {
                ""
            };
            RemoteError::Connection(format!("cannot start `ssh`: {error}{todo}"))
        })?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output), Some(errors)) = (input, output, child.stderr.take()) else {
            return Err(RemoteError::Connection("`ssh` has no streams".to_owned()));
        };
        let mut session = Self {
            login: login.to_owned(),
            child,
            input: Some(input),
            output: BufReader::new(output),
            complaints: Complaints::collect(errors),
            next: 1,
            extensions: Vec::new(),
            waiting: VecDeque::new(),
        };
        session.greet().await?;
        Ok(session)
    }

    async fn greet(&mut self) -> Result<(), RemoteError> {
        // Here the version stands in the place of the id.
        self.write(&Packet::new(kind::INIT, VERSION).finish()).await?;
        let reply = self.read().await?;
        let mut fields = reply.fields();
        if reply.kind != kind::VERSION || fields.number() < Some(VERSION) {
            return Err(self.nonsense().await);
        }
        while let (Some(name), Some(_)) = (fields.text(), fields.text()) {
            self.extensions.push(name.to_owned());
        }
        Ok(())
    }

    pub(super) fn has(&self, extension: &str) -> bool {
        self.extensions.iter().any(|name| name == extension.as_bytes())
    }

    pub(super) fn login(&self) -> &str {
        &self.login
    }

    /// Sends a request and returns its answer. Answers that nobody took, because something on this
    /// host failed in between, are passed over.
    pub(super) async fn ask(
        &mut self,
        kind: u8,
        fill: impl FnOnce(Packet) -> Packet,
    ) -> Result<Reply, RemoteError> {
        while !self.waiting.is_empty() {
            self.answer().await?;
        }
        self.send(kind, fill).await?;
        self.answer().await
    }

    /// Sends a request without waiting for its answer.
    pub(super) async fn send(
        &mut self,
        kind: u8,
        fill: impl FnOnce(Packet) -> Packet,
    ) -> Result<(), RemoteError> {
        let id = self.next;
        self.next = self.next.wrapping_add(1);
        let packet = fill(Packet::new(kind, id)).finish();
        self.waiting.push_back(id);
        self.write(&packet).await
    }

    /// Returns the answer to the oldest request that waits for one; OpenSSH answers in order.
    pub(super) async fn answer(&mut self) -> Result<Reply, RemoteError> {
        let expected = self.waiting.pop_front();
        let reply = self.read().await?;
        let mut fields = reply.fields();
        if fields.number() != expected {
            return Err(self.nonsense().await);
        }
        let body = fields.0.to_owned();
        Ok(Reply { kind: reply.kind, body })
    }

    /// Returns how many requests wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), RemoteError> {
        let Some(input) = &mut self.input else { return Err(self.lost("it is closed").await) };
        match timeout(PATIENCE, input.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.lost(&error.to_string()).await),
            Err(_) => Err(self.lost("it takes nothing").await),
        }
    }

    async fn read(&mut self) -> Result<Reply, RemoteError> {
        let output = &mut self.output;
        let packet = async {
            let length = output.read_u32().await?;
            if length == 0 || length > LONGEST {
                return Err(std::io::Error::other("it sends what is no sftp"));
            }
            let kind = output.read_u8().await?;
            let mut body = vec![0; usize::try_from(length - 1).unwrap_or(0)];
            output.read_exact(&mut body).await?;
            Ok(Reply { kind, body })
        };
        match timeout(PATIENCE, packet).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => Err(self.lost(&error.to_string()).await),
            Err(_) => Err(self.lost("it does not answer").await),
        }
    }

    pub(super) async fn nonsense(&mut self) -> RemoteError {
        self.lost("it sends what is no sftp; a login script there may print something").await
    }

    /// Ends a connection that is of no use any more, and says why it is not.
    async fn lost(&mut self, why: &str) -> RemoteError {
        self.input = None;
        if timeout(ENDING, self.child.wait()).await.is_err() {
            self.child.start_kill().unwrap_or_default();
        }
        let complaints = self.complaints.when_ended().await;
        tracing::debug!(login = self.login, why, complaints, "a connection is lost");
        if complaints.is_empty() {
            let login = &self.login;
            let text = format!("`{login}` ended the connection ({why}): run it again");
            return RemoteError::Connection(text);
        }
        RemoteError::Connection(ssh::advice(&self.login, &complaints))
    }

    /// Closes the connection in good order.
    pub(super) async fn close(mut self) {
        self.input = None;
        if timeout(ENDING, self.child.wait()).await.is_err() {
            self.child.start_kill().unwrap_or_default();
        }
    }
}

/// Makes an error of a status.
pub(super) fn refused(what: &str, path: &str, (code, text): (u32, String)) -> RemoteError {
    if code == NO_SUCH_FILE {
        return RemoteError::NotFound(path.to_owned());
    }
    let why = match code {
        PERMISSION_DENIED => "permission denied: it belongs to somebody else".to_owned(),
        // Version 3 has no code for a full disk.
        FAILURE => format!("{text} (is the disk full, or something of another kind in the way?)"),
        _ => format!("{text} (code {code})"),
    };
    RemoteError::Refused { what: format!("cannot {what} `{path}` on the other host"), why }
}
