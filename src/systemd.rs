#![expect(clippy::disallowed_methods, reason = "IO shell: reads the environment that systemd sets")]
//! IO shell. Tells systemd what it wants to know; does nothing anywhere else.
//!
//! Source of the protocol: `sd_notify(3)`.

use sd_notify::NotifyState;

/// The service manager's end of the notification socket, if there is one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notifier {
    active: bool,
}

impl Notifier {
    /// Looks whether systemd started this process with a notification socket.
    pub fn from_environment() -> Self {
        Self { active: std::env::var_os("NOTIFY_SOCKET").is_some() }
    }

    /// Says that the socket is bound and the first scan is done.
    pub fn ready(self) {
        self.send(&[NotifyState::Ready]);
    }

    /// Says in one line what the daemon is doing.
    pub fn status(self, text: &str) {
        self.send(&[NotifyState::Status(text)]);
    }

    /// Says that the event loop has turned.
    pub fn alive(self) {
        self.send(&[NotifyState::Watchdog]);
    }

    /// Says that the daemon is on its way out.
    pub fn stopping(self) {
        self.send(&[NotifyState::Stopping]);
    }

    fn send(self, states: &[NotifyState<'_>]) {
        if self.active
            && let Err(error) = sd_notify::notify(states)
        {
            tracing::warn!(%error, "cannot tell systemd");
        }
    }
}
