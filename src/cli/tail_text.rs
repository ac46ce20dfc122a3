//! One readable line per event, for `tail`.

use crate::cli::terminal::{
    Line, Tint, bytes_text, clock_text, rank_text, state_tint, verdict_tint,
};
use crate::model::measurement::EMBEDDING_WEIGHT_RANK;
use crate::publish::wire::{Event, Happened, Message};

/// How wide the column of kinds is: as the longest kind.
const KIND_COLUMNS: usize = 19;

/// Prints a message of the stream as a line without a newline; `None` for those that say nothing
/// to a person who follows the events.
pub fn tail_message(message: &Message, colored: bool) -> Option<String> {
    match message {
        Message::Event(event) => Some(tail_line(event, colored)),
        Message::Gap { from, to } => {
            Some(notice(&format!("events {from} to {to} are no longer available"), colored))
        }
        Message::Error { message } => {
            Some(Line::default().with(Tint::Red, message).print(usize::MAX, colored))
        }
        _ => None,
    }
}

/// Prints what is no event but matters to a person who follows them.
pub fn notice(text: &str, colored: bool) -> String {
    Line::default().with(Tint::Yellow, text).print(usize::MAX, colored)
}

/// Prints an event as one line without a newline: local time, kind, what it is about, the facts.
pub fn tail_line(event: &Event, colored: bool) -> String {
    let time = event.time.get(..19).unwrap_or(&event.time).replace('T', " ");
    let about = match (&event.run, &event.checkpoint) {
        (Some(run), Some(checkpoint)) => format!("{run}/{checkpoint}"),
        (Some(run), None) => run.clone(),
        (None, _) => String::new(),
    };
    let facts = facts(&event.what);
    let gap = if about.is_empty() || facts.is_empty() { "" } else { "  " };
    Line::default()
        .with(Tint::Dim, &time)
        .with(Tint::Plain, "  ")
        .padded(tint(&event.what), event.what.kind(), KIND_COLUMNS)
        .with(Tint::Plain, "  ")
        .with(Tint::Bold, &about)
        .with(Tint::Plain, gap)
        .with(Tint::Plain, &facts)
        .print(usize::MAX, colored)
}

fn tint(what: &Happened) -> Tint {
    match what {
        Happened::Verdict { verdict, .. } => verdict_tint(*verdict),
        Happened::RunState { state, .. } => state_tint(state),
        Happened::TrainingFailure { .. }
        | Happened::FailureNoted { .. }
        | Happened::AnalysisFailed { retry_at: None, .. } => Tint::Red,
        Happened::AnalysisFailed { .. }
        | Happened::CheckpointGone
        | Happened::CheckpointStuck { .. }
        | Happened::DocumentHeld { .. }
        | Happened::GateOverridden { .. }
        | Happened::WatchDegraded { .. } => Tint::Yellow,
        Happened::ConfigReloaded { needs_restart } if !needs_restart.is_empty() => Tint::Yellow,

        Happened::ObservationWritten { .. } => Tint::Green,
        Happened::CheckpointComplete { .. } | Happened::RunSeen { .. } => Tint::Bold,
        _ => Tint::Plain,
    }
}

fn facts(what: &Happened) -> String {
    match what {
        Happened::DaemonStarted { version, pid, root } => {
            format!("version {version}, pid {pid}, watching {root}")
        }
        Happened::ConfigReloaded { needs_restart } if needs_restart.is_empty() => {
            "in force".to_owned()
        }
        Happened::ConfigReloaded { needs_restart } => {
            format!("in force; only after a restart: {}", needs_restart.join(", "))
        }
        Happened::RunSeen { old, renamed_from } => run_seen(*old, renamed_from.as_deref()),
        Happened::RunState { state, evidence } => format!("{state}: {evidence}"),
        Happened::RunGone => "its folder was deleted".to_owned(),
        Happened::CheckpointComplete { weights_bytes, .. } => {
            format!("{} of weights", bytes_text(*weights_bytes))
        }
        Happened::CheckpointGone => "its files vanished before its analysis".to_owned(),
        Happened::CheckpointStuck { missing } => format!("no progress: {}", missing.join(", ")),
        Happened::AnalysisStarted { attempt: 1, .. } => String::new(),
        Happened::AnalysisStarted { attempt, .. } => format!("attempt {attempt}"),
        Happened::AnalysisFinished { seconds, conditions, same_as } => {
            analysis_finished(*seconds, conditions, same_as.as_deref())
        }
        Happened::AnalysisFailed {
            class,
            attempt,
            retry_at,
            failing_checkpoints,
            evidence,
            ..
        } => {
            let retry = retry_at.as_deref().map_or_else(
                || "final".to_owned(),
                |time| format!("again at {}", clock_text(time)),
            );
            let count = match failing_checkpoints {
                0 | 1 => String::new(),
                more => format!(", {more} checkpoints by now"),
            };
            format!("{class} (attempt {attempt}, {retry}{count}): {evidence}")
        }
        Happened::Verdict { .. } => verdict(what),
        Happened::ObservationWritten { document } => document.clone(),
        Happened::FailureNoted { note, failure } => format!("{failure}: {note}"),
        Happened::DocumentHeld { document, reason } => format!("{document}: {reason}"),
        Happened::TrainingFailure { failure, evidence, log, line } => {
            let log = log.as_ref().map_or_else(String::new, |log| format!(", `{log}`"));
            let line = line.map_or_else(String::new, |line| format!(" line {line}"));
            format!("{failure}: {evidence}{log}{line}")
        }
        Happened::Evaluated { .. } => evaluated(what),
        Happened::GateOverridden { action, verdict, reason } => {
            format!("{action} all the same: {reason} (the gate says {verdict})")
        }
        Happened::DaemonStopping { reason }
        | Happened::WatchDegraded { reason }
        | Happened::Rescan { reason } => reason.clone(),
        Happened::Other(facts) => other(facts),
    }
}

/// `mrpc f1 0.822`.
fn evaluated(what: &Happened) -> String {
    let Happened::Evaluated { task, metric, score, problems, .. } = what else {
        return String::new();
    };
    let score = metric.as_ref().zip(*score).map(|(metric, score)| format!("{metric} {score:.3}"));
    let facts: Vec<String> = score.into_iter().chain(problems.iter().cloned()).collect();
    format!("{task} {}", facts.join("; "))
}

fn run_seen(old: bool, renamed_from: Option<&str>) -> String {
    let renamed = renamed_from.map(|from| format!("renamed from {from}"));
    let old = old.then(|| "old: listed, not analyzed".to_owned());
    let facts: Vec<String> = renamed.into_iter().chain(old).collect();
    facts.join(", ")
}

fn analysis_finished(seconds: Option<f64>, conditions: &[String], same: Option<&str>) -> String {
    let same = same.map(|name| format!("same weights as {name}"));
    let time = seconds.map(|seconds| format!("{seconds:.1} s"));
    let facts: Vec<String> =
        same.into_iter().chain(time).chain(conditions.iter().cloned()).collect();
    facts.join(", ")
}

/// `fail  rank 7.3 / 128  gate 10.0  effective rank 7.3 is below 10.0`.
fn verdict(what: &Happened) -> String {
    let Happened::Verdict { verdict, reasons, rank, measurement, concepts, threshold, .. } = what
    else {
        return String::new();
    };
    let mut facts = vec![verdict.to_string()];
    if let Some(rank) = rank {
        let weights = measurement.as_deref() == Some(EMBEDDING_WEIGHT_RANK);
        let name = if weights { "weight rank" } else { "rank" };
        let concepts = concepts.map_or_else(String::new, |concepts| format!(" / {concepts}"));
        facts.push(format!("{name} {}{concepts}", rank_text(*rank, *threshold)));
    }
    facts.extend(threshold.map(|threshold| format!("gate {threshold:.1}")));
    if !reasons.is_empty() {
        facts.push(reasons.join("; "));
    }
    facts.join("  ")
}

/// Prints the facts of a kind that this version does not know.
fn other(facts: &serde_json::Map<String, serde_json::Value>) -> String {
    let rest = facts.iter().filter(|(key, _)| key.as_str() != "kind");
    let rest: Vec<String> = rest.map(|(key, value)| format!("{key} {value}")).collect();
    rest.join(", ")
}

#[cfg(test)]
#[expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them when it updates")]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn event(mut value: serde_json::Value, run: bool, checkpoint: bool) -> Option<Event> {
        let keys = value.as_object_mut()?;
        keys.insert("seq".to_owned(), json!(7));
        keys.insert("time".to_owned(), json!("2026-02-25T14:03:07.25+01:00"));
        if run {
            keys.insert("run".to_owned(), json!("diffusion_H512L2C128D2_20260223_203349"));
        }
        if checkpoint {
            keys.insert("checkpoint".to_owned(), json!("checkpoint-5000"));
        }
        serde_json::from_value(value).ok()
    }

    fn lines(cases: &[serde_json::Value], run: bool, checkpoint: bool) -> String {
        let line = |value: &serde_json::Value| {
            event(value.clone(), run, checkpoint)
                .map_or_else(|| format!("not an event: {value}"), |event| tail_line(&event, false))
        };
        cases.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn of_the_daemon() {
        let printed = lines(
            &[
                json!({"kind": "daemon_started", "version": "0.1.0", "pid": 4711, "root": "/p"}),
                json!({"kind": "daemon_stopping", "reason": "SIGTERM"}),
                json!({"kind": "config_reloaded", "needs_restart": []}),
                json!({"kind": "config_reloaded", "needs_restart": ["status.socket", "project"]}),
                json!({"kind": "document_held", "document": "docs/log.md", "reason": "git merges"}),
                json!({"kind": "watch_degraded", "reason": "no watch is left; raise the limit"}),
                json!({"kind": "rescan", "reason": "the event queue overflowed"}),
                json!({"kind": "later", "x": [1], "y": "z"}),
            ],
            false,
            false,
        );
        expect![[r#"
            2026-02-25 14:03:07  daemon_started       version 0.1.0, pid 4711, watching /p
            2026-02-25 14:03:07  daemon_stopping      SIGTERM
            2026-02-25 14:03:07  config_reloaded      in force
            2026-02-25 14:03:07  config_reloaded      in force; only after a restart: status.socket, project
            2026-02-25 14:03:07  document_held        docs/log.md: git merges
            2026-02-25 14:03:07  watch_degraded       no watch is left; raise the limit
            2026-02-25 14:03:07  rescan               the event queue overflowed
            2026-02-25 14:03:07  later                x [1], y "z""#]].assert_eq(&printed);
    }

    #[test]
    fn of_a_run() {
        let printed = lines(
            &[
                json!({"kind": "run_seen", "old": false, "renamed_from": null}),
                json!({"kind": "run_seen", "old": true, "renamed_from": "before"}),
                json!({"kind": "run_state", "state": "training", "evidence": "step 5000"}),
                json!({"kind": "run_gone"}),
                json!({"kind": "training_failure", "failure": "killed", "evidence": "SIGKILL"}),
                json!({"kind": "evaluated", "report": "glue-mrpc-x", "task": "mrpc", "metric": "f1",
                    "score": 0.8217, "problems": []}),
                json!({"kind": "gate_overridden", "action": "evaluate", "verdict": "fail",
                    "reason": "a baseline"}),
            ],
            true,
            false,
        );
        expect![[r#"
            2026-02-25 14:03:07  run_seen             diffusion_H512L2C128D2_20260223_203349
            2026-02-25 14:03:07  run_seen             diffusion_H512L2C128D2_20260223_203349  renamed from before, old: listed, not analyzed
            2026-02-25 14:03:07  run_state            diffusion_H512L2C128D2_20260223_203349  training: step 5000
            2026-02-25 14:03:07  run_gone             diffusion_H512L2C128D2_20260223_203349  its folder was deleted
            2026-02-25 14:03:07  training_failure     diffusion_H512L2C128D2_20260223_203349  killed: SIGKILL
            2026-02-25 14:03:07  evaluated            diffusion_H512L2C128D2_20260223_203349  mrpc f1 0.822
            2026-02-25 14:03:07  gate_overridden      diffusion_H512L2C128D2_20260223_203349  evaluate all the same: a baseline (the gate says fail)"#]].assert_eq(&printed);
    }

    #[test]
    fn of_a_checkpoint() {
        let printed = lines(
            &[
                json!({"kind": "checkpoint_complete", "digest": "3f", "weights_bytes": 202_000_000}),
                json!({"kind": "checkpoint_gone"}),
                json!({"kind": "checkpoint_stuck", "missing": ["no config.json", "no weights"]}),
                json!({"kind": "analysis_started", "attempt": 1, "digest": "3f"}),
                json!({"kind": "analysis_started", "attempt": 2, "digest": "3f"}),
                json!({"kind": "analysis_finished", "seconds": 8.24, "conditions": ["cpu", "pinned"],
                    "same_as": null}),
                json!({"kind": "analysis_finished", "seconds": null, "conditions": [],
                    "same_as": "checkpoint-80"}),
                json!({"kind": "analysis_failed", "class": "hub", "attempt": 2,
                    "retry_at": "2026-02-25T15:03:07+01:00", "evidence": "exit 1"}),
                json!({"kind": "analysis_failed", "class": "usage", "attempt": 1,
                    "retry_at": null, "failing_checkpoints": 3, "evidence": "exit 2\nsecond line"}),
                json!({"kind": "observation_written", "document": "docs/log.md"}),
                json!({"kind": "failure_noted", "note": "docs/n.md", "failure": "effective-rank"}),
            ],
            true,
            true,
        );
        expect![[r#"
            2026-02-25 14:03:07  checkpoint_complete  diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  192 MiB of weights
            2026-02-25 14:03:07  checkpoint_gone      diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  its files vanished before its analysis
            2026-02-25 14:03:07  checkpoint_stuck     diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  no progress: no config.json, no weights
            2026-02-25 14:03:07  analysis_started     diffusion_H512L2C128D2_20260223_203349/checkpoint-5000
            2026-02-25 14:03:07  analysis_started     diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  attempt 2
            2026-02-25 14:03:07  analysis_finished    diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  8.2 s, cpu, pinned
            2026-02-25 14:03:07  analysis_finished    diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  same weights as checkpoint-80
            2026-02-25 14:03:07  analysis_failed      diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  hub (attempt 2, again at 02-25 15:03): exit 1
            2026-02-25 14:03:07  analysis_failed      diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  usage (attempt 1, final, 3 checkpoints by now): exit 2 second line
            2026-02-25 14:03:07  observation_written  diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  docs/log.md
            2026-02-25 14:03:07  failure_noted        diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  effective-rank: docs/n.md"#]].assert_eq(&printed);
    }

    #[test]
    fn of_verdicts() {
        let verdict = |verdict: &str, reasons: &[&str], rank: Option<f64>, name: &str| {
            json!({"kind": "verdict", "verdict": verdict, "reasons": reasons, "rank": rank,
                "measurement": name, "concepts": 128, "hidden": 512, "threshold": 10.0})
        };
        let printed = lines(
            &[
                verdict("pass", &[], Some(13.188), "global_effective_rank"),
                verdict("fail", &["below the gate", "NaN"], Some(9.97), "global_effective_rank"),
                verdict("unknown", &["weights only"], Some(35.0), "embedding_weight_rank"),
                verdict("unknown", &["the rank is missing"], None, "global_effective_rank"),
            ],
            true,
            true,
        );
        expect![[r#"
            2026-02-25 14:03:07  verdict              diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  pass  rank 13.2 / 128  gate 10.0
            2026-02-25 14:03:07  verdict              diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  fail  rank 9.97 / 128  gate 10.0  below the gate; NaN
            2026-02-25 14:03:07  verdict              diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  unknown  weight rank 35.0 / 128  gate 10.0  weights only
            2026-02-25 14:03:07  verdict              diffusion_H512L2C128D2_20260223_203349/checkpoint-5000  unknown  gate 10.0  the rank is missing"#]].assert_eq(&printed);
    }

    #[test]
    fn what_is_not_an_event_is_said_only_when_it_matters() {
        let gap = tail_message(&Message::Gap { from: 3, to: 9 }, false);
        assert_eq!(gap.as_deref(), Some("events 3 to 9 are no longer available"));
        let error = tail_message(&Message::Error { message: "a\nb".to_owned() }, false);
        assert_eq!(error.as_deref(), Some("a b"));
        for message in [
            Message::Live { seq: 1 },
            Message::Alive { time: String::new(), seq: 1 },
            Message::Unrecognized,
        ] {
            assert_eq!(tail_message(&message, false), None);
        }
    }

    #[test]
    fn color_is_for_the_kind_and_text_from_outside_cannot_color() {
        let value = json!({"kind": "training_failure", "failure": "\u{1b}[2Jx", "evidence": "y"});
        let line = tail_line(&event(value, false, false).unwrap(), true);
        expect![[
            r#"\u{1b}[2m2026-02-25 14:03:07\u{1b}[0m  \u{1b}[31mtraining_failure\u{1b}[0m     x: y"#
        ]]
        .assert_eq(&line.escape_debug().to_string());
    }
}
