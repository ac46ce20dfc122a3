//! What the daemon is doing, in one line for systemd and the log.

use crate::model::numbers::counted;
use crate::model::status::Status;

/// Returns the line: what is done, what waits, and the first thing that is wrong.
pub(super) fn summary(status: &Status) -> String {
    if status.watch.last_reconcile.is_none() {
        return "reading the training folder for the first time".to_owned();
    }
    let mut parts = vec![format!("watching {}", counted(status.runs.len() as u64, "run"))];
    match status.running.as_slice() {
        [] => {}
        [one] => parts.push(format!("analyzing {} of {}", one.checkpoint, one.run)),
        several => parts.push(format!("analyzing {} checkpoints", several.len())),
    }
    if !status.queue.is_empty() {
        parts.push(format!("{} queued", status.queue.len()));
    }
    if status.paused.is_some() {
        parts.push("paused".to_owned());
    }
    if status.documents.pending > 0 {
        parts.push(format!("{} pending", counted(status.documents.pending, "document")));
    }
    let line = parts.join(", ");
    match status.problems.as_slice() {
        [] => line,
        [one] => format!("{line}; problem: {one}"),
        [first, ..] => format!("{line}; {} problems, the first: {first}", status.problems.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::RunId;
    use crate::model::status::RunningAnalysis;

    fn check(change: impl FnOnce(&mut Status), expected: &str) {
        let mut status = Status::default();
        status.watch.last_reconcile = Some("2026-11-23T10:00:00+01:00".to_owned());
        change(&mut status);
        assert_eq!(summary(&status), expected);
    }

    fn running(checkpoint: &str) -> RunningAnalysis {
        RunningAnalysis {
            run: RunId::new("tsdae_20261123_063802"),
            checkpoint: checkpoint.to_owned(),
            since: String::new(),
            attempt: 1,
            device: None,
        }
    }

    #[test]
    fn one_line_says_what_is_done_and_what_is_wrong() {
        check(|_| {}, "watching 0 runs");
        check(
            |status| status.watch.last_reconcile = None,
            "reading the training folder for the first time",
        );
        check(
            |status| {
                status.running = vec![running("checkpoint-20")];
                status.documents.pending = 1;
            },
            "watching 0 runs, analyzing checkpoint-20 of tsdae_20261123_063802, 1 document pending",
        );
        check(
            |status| {
                status.running = vec![running("checkpoint-20"), running("final")];
                status.paused = Some("2026-11-23T10:00:00+01:00".to_owned());
                status.problems = vec!["no space left".to_owned()];
            },
            "watching 0 runs, analyzing 2 checkpoints, paused; problem: no space left",
        );
        check(
            |status| status.problems = vec!["one".to_owned(), "two".to_owned()],
            "watching 0 runs; 2 problems, the first: one",
        );
    }
}
