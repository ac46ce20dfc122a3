//! Orders for the tail, and the way to wait for them. Nobody who gives one ever waits.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::TailConfig;

/// Where orders for the tail arrive; shared with the daemon.
#[derive(Debug, Default)]
pub struct TailInbox {
    pending: Mutex<Orders>,
    wake: Condvar,
}

/// What is to be done beside following.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Whether to go back to what the journal says, because what was told may have been lost.
    pub(super) starts_over: bool,
    /// New settings.
    pub(super) settings: Option<Box<TailConfig>>,
    /// Whether to end.
    pub(super) stop: bool,
}

impl TailInbox {
    /// Asks for everything to be told anew that the journal does not know.
    pub fn start_over(&self) {
        self.lock().starts_over = true;
        self.wake.notify_one();
    }

    /// Brings new settings.
    pub fn use_settings(&self, settings: TailConfig) {
        self.lock().settings = Some(Box::new(settings));
        self.wake.notify_one();
    }

    /// Asks the worker to end, which it does before the next piece that it reads; whoever asks must
    /// also drop or drain the receiver of its events.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_one();
    }

    /// Waits until there is an order or the time is over, and takes all orders.
    pub(super) fn take(&self, deadline: Instant) -> Orders {
        let mut pending = self.lock();
        while !(pending.starts_over || pending.settings.is_some() || pending.stop) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.wake.wait_timeout(pending, left);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let stop = pending.stop;
        std::mem::replace(&mut *pending, Orders { stop, ..Orders::default() })
    }

    /// Waits this long, less if asked to stop. Returns whether it was.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut pending = self.lock();
        while !pending.stop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.wake.wait_timeout(pending, left);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        pending.stop
    }

    /// A panic of another holder cannot leave the plain values inside in a state that matters.
    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
