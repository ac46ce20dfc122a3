//! When a remote is asked: at once, and after a failure ever more rarely.

use std::time::Duration;

use tokio::time::Instant;

/// The first wait after a failure; it doubles each time.
const FIRST: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(5);

/// The remote that the branch is sent to.
#[derive(Debug)]
pub(super) struct Remote {
    problem: Option<String>,
    wait: Duration,
    /// Not before this.
    ask_at: Instant,
    /// Whether something is to be sent.
    wanted: bool,
}

impl Remote {
    /// Begins with what an earlier life may not have sent.
    pub(super) fn new(now: Instant) -> Self {
        Self { problem: None, wait: FIRST, ask_at: now, wanted: true }
    }

    pub(super) fn may_ask(&self, now: Instant) -> bool {
        self.ask_at <= now
    }

    /// Returns when the branch is to be sent, if it is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.wanted.then_some(self.ask_at)
    }

    pub(super) fn want(&mut self, now: Instant) {
        self.wanted = true;
        if self.problem.is_none() {
            self.ask_at = now;
        }
    }

    pub(super) fn is_sent(&mut self) {
        self.wanted = false;
    }

    /// Takes in whether the remote answered.
    pub(super) fn answered(&mut self, answer: Result<(), String>, now: Instant) {
        match answer {
            Ok(()) => {
                if self.problem.take().is_some() {
                    tracing::info!("the remote of the log's branch answers again");
                }
                self.wait = FIRST;
                self.ask_at = now;
            }
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    tracing::warn!(problem, "the log's branch is not sent; trying again");
                }
                self.problem = Some(problem);
                self.ask_at = now + self.wait;
                self.wait = (self.wait * 2).min(LONGEST);
            }
        }
    }

    /// Returns what is wrong with it, and that it is tried again.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.problem.as_ref()?;
        Some(format!("{problem}; what is written is committed here, and sent when it answers"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_that_is_away_is_asked_ever_more_rarely_and_at_once_when_it_is_back() {
        let now = Instant::now();
        let mut remote = Remote::new(now);
        assert_eq!(remote.due(), Some(now), "what an earlier life left");
        let mut waits = Vec::new();
        for _ in 0..10 {
            remote.answered(Err("away".into()), now);
            remote.want(now);
            assert!(!remote.may_ask(now));
            waits.push(remote.due().unwrap().duration_since(now).as_secs());
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert!(remote.problem().unwrap().starts_with("away; "));
        remote.answered(Ok(()), now);
        assert_eq!((remote.problem(), remote.due()), (None, Some(now)));
        remote.is_sent();
        assert_eq!(remote.due(), None);
    }
}
