//! Golden files of every message, and what the form must survive.

use std::collections::BTreeSet;
use std::path::Path;

use expect_test::expect_file;

use super::*;
use crate::model;
use crate::model::analysis::FailureClass;
use crate::model::checkpoint::TrainingPoint;
use crate::model::event::{Happening, NewEvent, StoredEvent};
use crate::model::ids::{CheckpointName, Digest, RunId};
use crate::model::journal::{DocumentsState, HeldDocument};
use crate::model::measurement::Verdict;
use crate::model::shell_log::LogMetricKind;
use crate::model::training::{MetricSource, RunMetric};
use crate::publish::tests::support::moment;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/wire");
const RUN: &str = "diffusion_H512L2C128D2_20260223_203349";
const NOTE: &str = "docs/2_Experiments_Registry/run_reports/diffusion_H512L2C128D2_20260223_203349\
_failure_20260225_effective-rank.md";
const LOG: &str = "docs/2_Experiments_Registry/master_experiment_log.md";

fn text(text: &str) -> String {
    text.to_owned()
}

/// What happened, whether to a run, and to which checkpoint.
type Case = (Happening, bool, Option<CheckpointName>);

fn daemon(what: Happening) -> Case {
    (what, false, None)
}

fn run(what: Happening) -> Case {
    (what, true, None)
}

fn at(what: Happening) -> Case {
    (what, true, Some(CheckpointName::Step(5000)))
}

/// Returns one of each kind.
fn happenings() -> Vec<Case> {
    let mut all = happenings_of_daemon_and_runs();
    all.extend(happenings_of_checkpoints());
    all
}

fn happenings_of_daemon_and_runs() -> Vec<Case> {
    vec![
        daemon(Happening::DaemonStarted {
            version: text("0.1.0"),
            pid: 4711,
            root: text("/home/user/project"),
        }),
        daemon(Happening::DaemonStopping { reason: text("SIGTERM") }),
        daemon(Happening::ConfigReloaded { needs_restart: vec![text("status.socket")] }),
        run(Happening::RunSeen { old: false, renamed_from: Some(RunId::new("old_name")) }),
        run(Happening::RunState { state: text("training"), evidence: text("step 5000 of 20000") }),
        run(Happening::RunGone),
        daemon(Happening::DocumentHeld {
            document: text(LOG),
            reason: text("it has conflict markers; resolve them"),
        }),
        run(Happening::TrainingFailure {
            failure: text("out_of_memory"),
            evidence: text("torch.OutOfMemoryError: CUDA out of memory."),
            log: Some(text("Cache/logs/shell_diffusion_20260223_203320.log")),
            line: Some(412),
        }),
        at(Happening::Evaluated {
            report: text("glue-mrpc-diffusion-42M-20260226_1012"),
            task: text("mrpc"),
            metric: Some(text("f1")),
            score: Some(0.8217),
            problems: Vec::new(),
        }),
        run(Happening::GateOverridden {
            action: text("evaluate"),
            verdict: text("fail: effective rank 7.3 is below 10.0"),
            reason: text("a baseline for the paper"),
        }),
        daemon(Happening::WatchDegraded { reason: text("no inotify watch is left") }),
        daemon(Happening::Rescan { reason: text("the event queue overflowed") }),
    ]
}

fn happenings_of_checkpoints() -> Vec<Case> {
    let digest = || Digest::from_bytes(&[0x3f, 0x2a, 0x00, 0x9c]);
    vec![
        at(Happening::CheckpointComplete { digest: digest(), weights_bytes: 202_000_000 }),
        at(Happening::CheckpointGone),
        at(Happening::CheckpointStuck { missing: vec![text("no `trainer_state.json`")] }),
        at(Happening::AnalysisStarted { attempt: 1, digest: digest() }),
        (
            Happening::AnalysisFinished {
                seconds: 8.25,
                conditions: vec![text("cpu: every GPU is in use"), text("pinned")],
                same_as: Some(CheckpointName::Step(80)),
            },
            true,
            Some(CheckpointName::Final),
        ),
        at(Happening::AnalysisFailed {
            class: FailureClass::OutOfMemory,
            attempt: 2,
            retry_at: Some(text("2026-02-25T15:03:07+01:00")),
            failing_checkpoints: 3,
            evidence: text("signal 9"),
            conditions: vec![text("pinned"), text("cpu: no NVIDIA driver")],
        }),
        at(Happening::Verdict {
            verdict: Verdict::Fail,
            reasons: vec![text("effective rank 7.3 is below 10.0")],
            rank: Some(7.25),
            measurement: Some(text("global_effective_rank")),
            concepts: Some(128),
            hidden: Some(512),
            threshold: Some(10.0),
        }),
        at(Happening::ObservationWritten { document: text(LOG) }),
        at(Happening::FailureNoted { note: text(NOTE), failure: text("effective-rank") }),
    ]
}

fn stored((what, run, checkpoint): Case) -> StoredEvent {
    let run = run.then(|| RunId::new(RUN));
    StoredEvent { seq: 7, event: NewEvent { time: moment(), run, checkpoint, what } }
}

fn recent_metrics() -> Vec<RunMetric> {
    vec![
        RunMetric {
            step: Some(5000),
            line: Some(408),
            kind: LogMetricKind::Train,
            values: vec![(text("loss"), 0.0), (text("grad_norm"), f64::NAN)],
            source: MetricSource::Both,
        },
        RunMetric {
            step: None,
            line: Some(410),
            kind: LogMetricKind::Eval,
            values: vec![(text("eval_loss"), 1.433)],
            source: MetricSource::ShellLog,
        },
    ]
}

fn full_run() -> model::status::RunStatus {
    model::status::RunStatus {
        run: RunId::new(RUN),
        state: "training".into(),
        evidence: "a metrics line 4 minutes ago".into(),
        step: Some(5000),
        total_steps: Some(20_000),
        eta: Some(text("2026-02-26T01:00:00+01:00")),
        eta_basis: "0.5 steps/s over the last 3 hours".into(),
        metrics: Some(TrainingPoint {
            step: 5000,
            total_steps: Some(20_000),
            epoch: Some(1.5),
            loss: Some(f64::NAN),
            loss_step: Some(5000),
            grad_norm: Some(f64::INFINITY),
            learning_rate: Some(0.000_27),
            eval_loss: Some(1.433),
            eval_step: Some(4000),
            not_finite: vec![text("loss"), text("grad_norm")],
        }),
        checkpoints: model::status::CheckpointCounts {
            seen: 7,
            complete: 6,
            analyzed: 4,
            pending: 1,
            gone: 1,
        },
        verdict: Some(Verdict::Warn),
        reasons: vec![text("mean similarity 0.61 is above 0.50")],
        rank: Some(10.125),
        rank_measurement: Some(text("global_effective_rank")),
        concepts: Some(128),
        trajectory: vec![(1000, 14.5), (2000, f64::NAN), (5000, 10.125)],
        recent_metrics: recent_metrics(),
        shell_log: Some(text("Cache/logs/shell_diffusion_20260223_203320.log")),
        shell_logs: vec![
            text("Cache/logs/shell_diffusion_20260223_203320.log"),
            text("Cache/logs/shell_diffusion_20260222_101500.log"),
        ],
        wandb_url: Some(text("https://wandb.ai/entity/MrCogito/runs/abc")),
        failure_notes: vec![text(NOTE)],
        scores: vec![model::status::ScoreStatus {
            task: text("mrpc"),
            metric: text("f1"),
            score: 0.8217,
            report: text("glue-mrpc-diffusion-42M-20260226_1012"),
        }],
        incomplete: vec![(text("checkpoint-6000"), text("no `trainer_state.json`"))],
    }
}

fn full_log() -> model::status::LogStatus {
    model::status::LogStatus {
        branch: Some(text("runscribe/polonez")),
        unmerged: 2,
        is_busy: false,
        problem: Some(text("`origin` cannot be reached: fatal: no route to host")),
    }
}

fn full_status() -> model::status::Status {
    use model::status::{DaemonStatus, QueueEntry, Readiness, RunningAnalysis};
    let at = || text("2026-02-25T14:03:07+01:00");
    model::status::Status {
        paused: Some(moment().to_string()),
        time: at(),
        runs: vec![full_run().into()],
        analysis: Readiness::Ready { program: text(".venv/bin/python analysis/run.py") },
        unlinked_logs: vec![model::status::UnlinkedLog {
            path: text("Cache/logs/shell_tsdae_20260223_203320.log"),
            reason: text("it names no run, and 2 fit by family and time"),
        }],
        unlinked_reports: vec![model::status::UnlinkedReport {
            report: text("glue-mrpc-bert-66M-20260226_1012"),
            reason: text("`bert-base-cased` names no run"),
        }],
        queue: vec![QueueEntry {
            run: RunId::new(RUN),
            checkpoint: text("checkpoint-5000"),
            reason: text("one analysis at a time"),
        }],
        running: vec![RunningAnalysis {
            run: RunId::new(RUN),
            checkpoint: text("checkpoint-4000"),
            since: at(),
            attempt: 1,
            device: Some(text("cpu: no NVIDIA driver")),
        }],
        documents: DocumentsState {
            pending: 2,
            held: vec![HeldDocument {
                document: text(LOG),
                reason: text("it has conflict markers; resolve them"),
                since: at(),
                entries: 2,
            }],
        },
        log: full_log(),
        watch: full_watch(),
        host: full_host(),
        daemon: DaemonStatus {
            version: text("0.1.0"),
            pid: 4711,
            root: text("/home/user/project"),
            uptime_seconds: 3600,
            memory: Some(12_000_000),
            journal: text("j1"),
            journal_problem: Some(text("the disk is full")),
            seq: 7,
        },
        alerts: vec![model::status::ReceiverStatus {
            address: text("https://hooks.slack.com/…"),
            format: "slack",
            waiting: 2,
            lost: 1,
            problem: Some(text("answered 503")),
        }],
        problems: vec![text("the disk is full; free some space")],
    }
}

fn full_watch() -> model::status::WatchStatus {
    model::status::WatchStatus {
        backend: text("inotify"),
        watches: 14,
        overflows: 1,
        last_reconcile: Some(text("2026-02-25T14:03:07+01:00")),
        reconcile_ms: Some(3.5),
        degraded: Some(text("no inotify watch is left")),
        training_folder: text("listed"),
    }
}

fn full_host() -> model::status::HostStatus {
    model::status::HostStatus {
        name: text("gpu-1"),
        cpu: Some(0.25),
        memory_used: Some(17_179_869_184),
        memory_total: Some(68_719_476_736),
        disk_free: Some(1_000_000_000),
        disk_total: Some(4_000_000_000),
        gpus: vec![
            model::status::GpuStatus {
                index: 0,
                uuid: text("GPU-1"),
                name: text("NVIDIA A100"),
                memory_used: Some(1),
                memory_total: Some(2),
                utilization: Some(f64::NAN),
                processes: Some(vec![123]),
                problem: None,
            },
            model::status::GpuStatus {
                index: 1,
                problem: Some(text("device fell off the bus")),
                ..Default::default()
            },
        ],
        gpu_note: None,
    }
}

/// Returns every message under the name of its golden file.
fn messages() -> Vec<(String, Message)> {
    let hello = Hello {
        protocol: PROTOCOL,
        version: text("0.1.0"),
        journal: text("j1"),
        pid: 4711,
        host: text("gpu-1"),
        root: text("/home/user/project"),
        seq: 7,
    };
    let empty = model::status::Status::default();
    let reply = |answer| Message::Reply(Reply::from(answer));
    let mut messages = vec![
        (text("hello"), Message::Hello(hello)),
        (text("status"), Message::Status(Box::new(Status::from(&full_status())))),
        (text("status_empty"), Message::Status(Box::new(Status::from(&empty)))),
        (text("live"), Message::Live { seq: 7 }),
        (text("gap"), Message::Gap { from: 1, to: 6 }),
        (text("alive"), Message::Alive { time: moment().to_string(), seq: 7 }),
        (text("reply_ok"), reply(Ok(text("paused")))),
        (text("reply_error"), reply(Err(text("there is no run `r`")))),
        (text("error"), Message::Error { message: text("the request is not JSON") }),
    ];
    for happening in happenings() {
        let name = format!("event_{}", happening.0.kind());
        messages.push((name, Message::Event(Box::new(Event::from(&stored(happening))))));
    }
    messages
}

/// Returns every command under the name of its golden file.
fn commands() -> Vec<(String, Command)> {
    let run = text("diffusion_H512L2C128D2_20260223_203349");
    let path = text("Cache/Training/diffusion_H512L2C128D2_20260223_203349/checkpoint-5000");
    vec![
        (text("request_pause"), Command::Pause {}),
        (text("request_resume"), Command::Resume {}),
        (text("request_analyze"), Command::Analyze { path }),
        (
            text("request_retry"),
            Command::Retry { run: run.clone(), checkpoint: text("checkpoint-5000") },
        ),
        (text("request_adopt"), Command::Adopt { runs: vec![run], all: false }),
        (text("request_adopt_all"), Command::Adopt { runs: Vec::new(), all: true }),
    ]
}

/// Returns every kind of subscription under the name of its golden file.
fn subscriptions() -> Vec<(String, Subscription)> {
    let plain = Subscription::default;
    vec![
        (text("request_since"), Subscription { since: Some(1234), ..plain() }),
        (text("request_once"), Subscription { once: true, ..plain() }),
        (text("request_run"), Subscription { since: Some(0), run: Some(text(RUN)), ..plain() }),
    ]
}

#[test]
fn every_message_has_its_golden_form_and_is_read_back() {
    let mut names = BTreeSet::new();
    for (name, message) in messages() {
        let line = message.line();
        assert_eq!(line.matches('\n').count(), 1, "{name}");
        let value: Value = serde_json::from_str(&line).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap() + "\n";
        expect_file![format!("{FOLDER}/{name}.json")].assert_eq(&pretty);
        assert_eq!(serde_json::from_str::<Message>(&line).unwrap(), message, "{name}");
        names.insert(format!("{name}.json"));
    }
    for (name, command) in commands() {
        let pretty = serde_json::to_string_pretty(&command).unwrap() + "\n";
        expect_file![format!("{FOLDER}/{name}.json")].assert_eq(&pretty);
        let line = serde_json::to_vec(&command).unwrap();
        assert_eq!(Request::parse(&line), Ok(Request::Command(Ok(command))), "{name}");
        names.insert(format!("{name}.json"));
    }
    for (name, subscription) in subscriptions() {
        let pretty = serde_json::to_string_pretty(&subscription).unwrap() + "\n";
        expect_file![format!("{FOLDER}/{name}.json")].assert_eq(&pretty);
        let line = serde_json::to_vec(&subscription).unwrap();
        assert_eq!(Request::parse(&line), Ok(Request::Subscribe(subscription)), "{name}");
        names.insert(format!("{name}.json"));
    }
    let files: BTreeSet<String> = std::fs::read_dir(Path::new(FOLDER))
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(files, names, "every golden file belongs to a message");
}

#[test]
fn kinds_on_the_wire_are_the_models_kinds() {
    let mut kinds = BTreeSet::new();
    for happening in happenings() {
        let kind = happening.0.kind();
        let event = Event::from(&stored(happening));
        assert_eq!(event.what.kind(), kind);
        let line = Message::Event(Box::new(event)).line();
        assert!(line.contains(&format!("\"kind\":\"{kind}\"")), "{line}");
        kinds.insert(kind);
    }
    assert_eq!(kinds.len(), 21, "each kind once");
}

#[test]
fn numbers_that_are_not_finite_are_null() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let finished =
            Happening::AnalysisFinished { seconds: bad, conditions: vec![], same_as: None };
        let line = Message::Event(Box::new(Event::from(&stored((finished, true, None))))).line();
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value.get("seconds"), Some(&Value::Null), "{line}");
    }
}

#[test]
fn text_from_outside_stays_on_one_line() {
    let reason = "a\nb\r\u{0}\u{1b}[31m\u{2028}\"\\".to_owned();
    let event = stored((Happening::Rescan { reason: reason.clone() }, false, None));
    let line = Message::Event(Box::new(Event::from(&event))).line();
    assert_eq!(line.lines().count(), 1);
    let Message::Event(read) = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
    assert_eq!(read.what, Happened::Rescan { reason });
}

#[test]
fn events_of_a_later_version_are_read_with_their_facts() {
    let line = r#"{"type":"event","seq":9,"time":"t","kind":"later","run":"r","x":[1]}"#;
    let Message::Event(event) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
    assert_eq!((event.seq, event.run.as_deref()), (9, Some("r")));
    let Happened::Other(facts) = &event.what else { panic!("{event:?}") };
    assert_eq!(event.what.kind(), "later");
    assert_eq!(facts.get("x"), Some(&serde_json::json!([1])));
    assert_eq!(Message::Event(event).line().trim_end(), line);
}

#[test]
fn snapshots_of_another_version_are_read() {
    let line = r#"{"type":"status","time":"t","runs":[{"run":"r","new":1}],"new":{}}"#;
    let Message::Status(status) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
    assert_eq!(status.runs.len(), 1);
    assert_eq!(status.runs[0].run, "r");
}

#[test]
fn requests_are_written_as_they_are_read() {
    for subscription in [
        Subscription::default(),
        Subscription { since: Some(0), once: true, run: Some(text("a \"b\"")) },
    ] {
        let line = serde_json::to_vec(&subscription).unwrap();
        assert_eq!(Request::parse(&line), Ok(Request::Subscribe(subscription)));
    }
    assert_eq!(serde_json::to_string(&Subscription::default()).unwrap(), "{}");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_request_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        if let Err(message) = Request::parse(&bytes) {
            proptest::prop_assert!(!message.is_empty());
        }
    }
}
