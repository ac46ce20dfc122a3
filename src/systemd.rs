#![expect(clippy::disallowed_methods, reason = "IO shell: reads the environment that systemd sets")]
//! IO shell. Tells systemd what it wants to know; does nothing anywhere else.
//!
//! Source of the protocol: `sd_notify(3)`. The messages are sent without blocking, which no library
//! offers: a service manager that is busy must not stop the daemon's loop.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The status line is for people; systemd keeps only the last one.
const STATUS_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The service manager's end of the notification socket, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    status: String,
    status_sent: Option<Instant>,
}

impl Notifier {
    /// Looks whether systemd started this process with a notification socket.
    pub fn from_environment() -> Self {
        let manager = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            connect(&name)
                .inspect_err(|error| tracing::warn!(%error, "cannot use NOTIFY_SOCKET"))
                .ok()
        });
        Self { manager, ..Self::default() }
    }

    /// Says that the socket is bound and the first scan is done.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// Says in one line what the daemon is doing, when that is something new and not too often.
    pub fn status(&mut self, text: &str) {
        let soon = self.status_sent.is_some_and(|sent| sent.elapsed() < STATUS_AT_MOST_EVERY);
        if !soon && self.status != text {
            self.send(&format!("STATUS={text}"));
            text.clone_into(&mut self.status);
            self.status_sent = Some(Instant::now());
        }
    }

    /// Says that the event loop has turned.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Says that the daemon is on its way out.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.manager else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::debug!(%error, message, "systemd did not take a message");
        }
    }
}

/// A name that begins with `@` is an abstract one.
fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier(folder: &std::path::Path) -> io::Result<(UnixDatagram, Notifier)> {
        let path = folder.join("notify");
        let manager = UnixDatagram::bind(&path)?;
        let connected = connect(path.as_os_str())?;
        Ok((manager, Notifier { manager: Some(connected), ..Notifier::default() }))
    }

    #[test]
    fn messages_arrive_and_a_repeated_status_is_not_sent() {
        let folder = tempfile::tempdir().unwrap();
        let (manager, mut notifier) = notifier(folder.path()).unwrap();
        notifier.ready();
        notifier.status("2 runs");
        notifier.status("3 runs");
        notifier.stopping();
        let mut buffer = [0; 100];
        for expected in ["READY=1", "STATUS=2 runs", "STOPPING=1"] {
            let length = manager.recv(&mut buffer).unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), expected);
        }
    }

    #[test]
    fn a_manager_that_takes_nothing_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let (_manager, notifier) = notifier(folder.path()).unwrap();
        for _ in 0..100_000 {
            notifier.alive();
        }
    }
}
