//! Orders for a worker on a thread of its own, and the way to wait for them. Nobody who gives one
//! ever waits, and each kind of order is kept once, so the inbox is bounded.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Where orders for a worker with these settings arrive; shared with the daemon.
#[derive(Debug)]
pub struct OrderInbox<Config> {
    pending: Mutex<Orders<Config>>,
    wake: Condvar,
}

/// What is to be done beside the regular work.
#[derive(Debug)]
pub(super) struct Orders<Config> {
    /// Whether to look at once, because something changed.
    pub(super) is_hinted: bool,
    /// Whether to go back to what the journal says, because what was told may have been lost.
    pub(super) starts_over: bool,
    /// New settings.
    pub(super) settings: Option<Box<Config>>,
    /// Whether to end.
    pub(super) stop: bool,
}

impl<Config> Default for Orders<Config> {
    fn default() -> Self {
        Self { is_hinted: false, starts_over: false, settings: None, stop: false }
    }
}

impl<Config> Orders<Config> {
    fn is_empty(&self) -> bool {
        !(self.is_hinted || self.starts_over || self.settings.is_some() || self.stop)
    }
}

impl<Config> Default for OrderInbox<Config> {
    fn default() -> Self {
        Self { pending: Mutex::default(), wake: Condvar::new() }
    }
}

impl<Config> OrderInbox<Config> {
    /// Asks for everything to be told anew that the journal does not know.
    pub fn start_over(&self) {
        self.order(|pending| pending.starts_over = true);
    }

    /// Brings new settings.
    pub fn use_settings(&self, settings: Config) {
        self.order(|pending| pending.settings = Some(Box::new(settings)));
    }

    /// Asks the worker to end, which it does before the next piece of its work; whoever asks must
    /// also drop or drain the receiver of its events.
    pub fn stop(&self) {
        self.order(|pending| pending.stop = true);
    }

    /// Asks for a look.
    pub(super) fn hint(&self) {
        self.order(|pending| pending.is_hinted = true);
    }

    fn order(&self, give: impl FnOnce(&mut Orders<Config>)) {
        give(&mut self.lock());
        self.wake.notify_one();
    }

    /// Waits until there is an order or the time is over, and takes all orders; the one to end stays.
    pub(super) fn take(&self, deadline: Instant) -> Orders<Config> {
        let mut pending = self.wait(deadline, Orders::is_empty);
        let stop = pending.stop;
        std::mem::replace(&mut *pending, Orders { stop, ..Orders::default() })
    }

    /// Waits this long, less if asked to stop. Returns whether it was.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        self.wait(Instant::now() + pause, |pending| !pending.stop).stop
    }

    fn wait(
        &self,
        deadline: Instant,
        goes_on: impl Fn(&Orders<Config>) -> bool,
    ) -> MutexGuard<'_, Orders<Config>> {
        let mut pending = self.lock();
        while goes_on(&pending) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.wake.wait_timeout(pending, left);
            pending = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        pending
    }

    /// A panic of another holder cannot leave the plain values inside in a state that matters.
    fn lock(&self) -> MutexGuard<'_, Orders<Config>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_taken_once_and_the_one_to_end_stays() {
        let inbox = OrderInbox::default();
        let now = Instant::now();
        assert!(inbox.take(now).is_empty());
        inbox.hint();
        inbox.start_over();
        inbox.use_settings(1);
        inbox.use_settings(2);
        let taken = inbox.take(now);
        assert!(taken.is_hinted && taken.starts_over && !taken.stop);
        assert_eq!(taken.settings.as_deref(), Some(&2));
        assert!(inbox.take(now).is_empty());
        assert!(!inbox.pause(Duration::ZERO));
        inbox.stop();
        assert!(inbox.pause(Duration::from_hours(1)));
        assert!(inbox.take(now).stop);
        assert!(inbox.take(now).stop);
    }
}
