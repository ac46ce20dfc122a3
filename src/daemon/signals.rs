//! Signals, as a stream of what they mean.

use std::io;

use futures_util::StreamExt as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Stop; asked twice: at once.
    Stop(&'static str),
    /// Read the configuration again.
    Reload,
    /// Log a summary of the status.
    Summary,
}

/// The daemon's signals.
pub(super) struct Asking {
    signals: Signals,
}

impl Asking {
    /// Takes over TERM, INT, HUP and USR1.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { signals: Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])? })
    }

    /// Waits for the next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Asked {
        loop {
            match self.signals.next().await {
                Some(SIGTERM) => return Asked::Stop("TERM"),
                Some(SIGINT) => return Asked::Stop("INT"),
                Some(SIGHUP) => return Asked::Reload,
                Some(SIGUSR1) => return Asked::Summary,
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}
