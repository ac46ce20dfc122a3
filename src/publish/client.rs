//! The client's side of the socket, for the commands that talk to a daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::socket;
use super::wire::{Command, Hello, Message, PROTOCOL, Reply, Subscription};

/// How long the daemon has for its greeting and for taking the request.
const GREETING_WAIT: Duration = Duration::from_secs(5);
/// How long a daemon may be silent: four times the time after which it says that it is alive.
const SILENCE: Duration = Duration::from_mins(1);
/// How long one line may be, in bytes; the snapshot of ten thousand runs has about 10 MB.
const LINE_BYTES: u64 = 256 * 1024 * 1024;

/// Why a command cannot talk to the daemon.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody serves the socket.
    #[error("no daemon is reachable at `{}`; start one with `runscribe watch`", path.display())]
    NotReachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket exists but this user may not use it.
    #[error("this user may not connect to `{}`; its mode and group are `status.socket_mode` and `status.socket_group`", path.display())]
    NotAllowed {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon stopped talking.
    #[error("the daemon said nothing for {} seconds", after.as_secs())]
    Silent {
        /// How long.
        after: Duration,
    },
    /// What came is not the protocol.
    #[error("the daemon sent something that is not understood: {0}")]
    NotUnderstood(String),
    /// The daemon turned this client away.
    #[error("the daemon refused the connection: {0}")]
    Refused(String),
    /// The daemon speaks another version of the protocol.
    #[error(
        "the daemon speaks protocol {0}, this program speaks {PROTOCOL}; use the daemon's version of `runscribe`"
    )]
    OtherProtocol(u32),
    /// The connection broke.
    #[error("the connection to the daemon broke")]
    Broken(#[from] io::Error),
}

impl ClientError {
    /// Returns whether there is no daemon to talk to, as opposed to trouble with one.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::NotReachable { .. } | Self::NotAllowed { .. } | Self::Silent { .. })
    }
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    /// What was read of the line that is not yet whole.
    partial: Vec<u8>,
    silence: Duration,
}

impl Client {
    /// Connects, whatever the path's length, asks, and reads the greeting, within five seconds each.
    ///
    /// The request is sent before the greeting is read: the server waits only half a second for it.
    pub async fn connect(
        path: &Path,
        subscription: &Subscription,
    ) -> Result<(Self, Hello), ClientError> {
        Self::ask(path, subscription).await
    }

    /// Has the daemon carry out a command and returns its reply.
    pub async fn order(path: &Path, command: &Command) -> Result<Reply, ClientError> {
        let (mut client, _) = Self::ask(path, command).await?;
        while let Some(message) = client.next().await? {
            match message {
                Message::Reply(reply) => return Ok(reply),
                Message::Error { message } => return Err(ClientError::Refused(message)),
                _ => {}
            }
        }
        Err(ClientError::NotUnderstood("no reply".to_owned()))
    }

    async fn ask(path: &Path, request: &impl Serialize) -> Result<(Self, Hello), ClientError> {
        let not_reachable = |source: io::Error| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::PermissionDenied => ClientError::NotAllowed { path },
                _ => ClientError::NotReachable { path, source },
            }
        };
        let mut request = serde_json::to_vec(request).map_err(io::Error::from)?;
        request.push(b'\n');
        let ask = async {
            let mut stream = socket::connect(path).await?;
            match stream.write_all(&request).await {
                // A server that turns clients away has said why before it closed.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(stream),
            }
        };
        let asked = timeout(GREETING_WAIT, ask).await;
        let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
        let stream = BufReader::new(asked.unwrap_or_else(late).map_err(not_reachable)?);
        let mut client = Self { stream, partial: Vec::new(), silence: GREETING_WAIT };
        let hello = match client.next().await? {
            Some(Message::Hello(hello)) if hello.protocol == PROTOCOL => hello,
            Some(Message::Hello(hello)) => return Err(ClientError::OtherProtocol(hello.protocol)),
            Some(Message::Error { message }) => return Err(ClientError::Refused(message)),
            Some(_) => return Err(ClientError::NotUnderstood("no greeting".to_owned())),
            None => return Err(not_reachable(io::ErrorKind::UnexpectedEof.into())),
        };
        client.silence = SILENCE;
        Ok((client, hello))
    }

    /// Reads the next line without its newline, `None` at the end. Cancel-safe.
    ///
    /// Fails when the daemon is silent for longer than `alive` messages allow.
    pub async fn next_line(&mut self) -> Result<Option<String>, ClientError> {
        let room = LINE_BYTES.saturating_sub(self.partial.len() as u64);
        let mut bounded = (&mut self.stream).take(room);
        let read = timeout(self.silence, bounded.read_until(b'\n', &mut self.partial)).await;
        let count = read.map_err(|_| ClientError::Silent { after: self.silence })??;
        if self.partial.last() == Some(&b'\n') {
            self.partial.pop();
        } else if self.partial.len() as u64 >= LINE_BYTES {
            return Err(ClientError::NotUnderstood("a line without an end".to_owned()));
        } else if count == 0 && self.partial.is_empty() {
            return Ok(None);
        }
        let line = String::from_utf8(std::mem::take(&mut self.partial));
        line.map(Some).map_err(|error| ClientError::NotUnderstood(error.to_string()))
    }

    /// Reads the next message, `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Message>, ClientError> {
        let Some(line) = self.next_line().await? else { return Ok(None) };
        let message = serde_json::from_str(&line);
        message.map(Some).map_err(|error| ClientError::NotUnderstood(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// Connects to a server that reads the request `{}`, sends these bytes and closes.
    async fn connect_to(bytes: &[u8]) -> Result<Vec<Message>, ClientError> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path)?;
        let bytes = bytes.to_vec();
        let server = tokio::task::spawn_blocking(move || {
            let (mut stream, _) = listener.accept()?;
            stream.read_exact(&mut [0; 3])?;
            stream.write_all(&bytes)
        });
        let talk = async {
            let (mut client, _) = Client::connect(&path, &Subscription::default()).await?;
            let mut messages = Vec::new();
            while let Some(message) = client.next().await? {
                messages.push(message);
            }
            Ok(messages)
        };
        let messages = talk.await;
        server.await.map_err(io::Error::from)??;
        messages
    }

    fn hello(protocol: u32) -> String {
        let (version, journal) = ("0".to_owned(), "j".to_owned());
        let (host, root) = ("h".to_owned(), "/".to_owned());
        Message::Hello(Hello { protocol, version, journal, pid: 1, host, root, seq: 0 }).line()
    }

    #[tokio::test]
    async fn a_missing_or_dead_socket_is_unreachable() {
        let folder = tempfile::tempdir().unwrap();
        let dead = folder.path().join("dead");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        for path in [folder.path().join("missing"), dead, folder.path().join("no/such/folder")] {
            let error = Client::connect(&path, &Subscription::default()).await.unwrap_err();
            assert!(error.is_unreachable(), "{error:?}");
        }
        assert!(connect_to(b"").await.unwrap_err().is_unreachable());
    }

    #[tokio::test]
    async fn what_is_not_the_protocol_is_refused() {
        for bytes in ["HTTP/1.1 400\r\n", "\u{0}\n", "{}\n", "{\"type\":\"live\",\"seq\":1}\n"] {
            let error = connect_to(bytes.as_bytes()).await.unwrap_err();
            assert!(matches!(error, ClientError::NotUnderstood(_)), "{bytes}: {error:?}");
            assert!(!error.is_unreachable());
        }
        let error = connect_to(b"\xff\xff\n").await.unwrap_err();
        assert!(matches!(error, ClientError::NotUnderstood(_)), "{error:?}");
        let error = connect_to(hello(2).as_bytes()).await.unwrap_err();
        assert!(matches!(error, ClientError::OtherProtocol(2)), "{error:?}");
    }

    #[tokio::test]
    async fn unknown_messages_and_a_last_line_without_newline_are_read() {
        let bytes = hello(1) + "{\"type\":\"later\",\"x\":1}\n{\"type\":\"live\",\"seq\":3}";
        let messages = connect_to(bytes.as_bytes()).await.unwrap();
        assert_eq!(messages, [Message::Unrecognized, Message::Live { seq: 3 }]);
    }
}
