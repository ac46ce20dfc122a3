//! When a failed analysis is tried again.

use std::time::Duration;

use crate::model::Timestamp;
use crate::model::analysis::FailureClass;
use crate::model::time::Moment;
use crate::settings::AnalysisSettings;

/// The wait before the first quick retry; each further one waits four times as long.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
/// The wait between retries after the quick ones.
const SLOW_BACKOFF: Duration = Duration::from_hours(1);

/// Returns when to try again after `attempt` failed attempts (the first is 1), or `None` when the
/// failure is final: its cause cannot pass, or it has lasted for `retry_for`.
pub fn retry_at(
    settings: &AnalysisSettings,
    class: FailureClass,
    attempt: u32,
    first_failure: Timestamp,
    now: Moment,
) -> Option<Moment> {
    if !class.may_pass() {
        return None;
    }
    if attempt <= settings.retries {
        let factor = 4_u32.saturating_pow(attempt.saturating_sub(1));
        return Some(now.after(FIRST_BACKOFF.saturating_mul(factor).min(SLOW_BACKOFF)));
    }
    let next = now.after(SLOW_BACKOFF);
    (next.since(first_failure) <= settings.retry_for).then_some(next)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn at(second: i64) -> Moment {
        let timestamp = Timestamp::from_second(second).unwrap_or(Timestamp::MIN);
        Moment::new(timestamp, jiff::tz::Offset::UTC)
    }

    fn wait(class: FailureClass, attempt: u32, seconds_failing: i64) -> Option<u64> {
        let settings = crate::settings::defaults(Path::new("/project")).analysis;
        let now = at(1_000_000);
        let first = at(1_000_000 - seconds_failing).timestamp();
        let next = retry_at(&settings, class, attempt, first, now)?;
        Some(next.since(now.timestamp()).as_secs())
    }

    #[test]
    fn quick_retries_then_hourly_ones_then_none() {
        assert_eq!(wait(FailureClass::OutOfMemory, 1, 0), Some(5));
        assert_eq!(wait(FailureClass::OutOfMemory, 2, 5), Some(20));
        assert_eq!(wait(FailureClass::OutOfMemory, 3, 25), Some(3600));
        assert_eq!(wait(FailureClass::OutOfMemory, 20, 22 * 3600), Some(3600));
        assert_eq!(wait(FailureClass::OutOfMemory, 30, 23 * 3600 + 1), None);
    }

    #[test]
    fn what_time_cannot_cure_is_final_at_once() {
        for class in [FailureClass::Usage, FailureClass::CorruptWeights, FailureClass::Tokenizer] {
            assert_eq!(wait(class, 1, 0), None, "{class:?}");
        }
    }
}
