//! How fast logs are read: the host and its disks belong to training.

use std::time::{Duration, Instant};

/// Bytes in a second, on average.
const RATE: u64 = 200 << 20;

/// Spreads what is read over time.
#[derive(Debug)]
pub(super) struct Pace {
    /// When what was read so far would have been read at the rate.
    due: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { due: now }
    }

    /// Notes that so much was read, and returns how long to wait before the next piece.
    pub(super) fn read(&mut self, bytes: u64, now: Instant) -> Duration {
        let nanoseconds = bytes.saturating_mul(1_000_000_000) / RATE;
        self.due = self.due.max(now) + Duration::from_nanos(nanoseconds);
        self.due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gigabyte_takes_seconds_and_a_pause_is_not_made_up_for() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut waited = Duration::ZERO;
        for _ in 0..1024 {
            waited = pace.read(1 << 20, start);
        }
        assert!((5.0..5.3).contains(&waited.as_secs_f64()), "{waited:?}");
        let later = start + Duration::from_hours(1);
        assert!(pace.read(1 << 20, later) > Duration::ZERO, "an hour of silence gives no credit");
    }
}
