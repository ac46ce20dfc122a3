//! Whole screens of synthetic snapshots.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them when it updates")]

use expect_test::expect;

use super::*;
use crate::model::measurement::Verdict;
use crate::publish::wire::{
    CheckpointCounts, Daemon, Incomplete, Metrics, Queued, Run, Running, TrajectoryPoint,
};

fn text(text: &str) -> String {
    text.to_owned()
}

fn now() -> Option<Moment> {
    Moment::parse("2026-02-25T14:03:19+01:00")
}

fn snapshot(runs: Vec<Run>) -> Status {
    Status {
        alerts: Vec::new(),
        paused: None,
        time: text("2026-02-25T14:03:17+01:00"),
        problems: Vec::new(),
        runs,
        analysis: Analysis::Ready {
            program: text(".venv/bin/python analysis/run_concept_analysis.py"),
        },
        unlinked_logs: Vec::new(),
        queue: Vec::new(),
        unlinked_reports: Vec::new(),
        running: Vec::new(),
        log: Log::default(),
        documents: Documents::default(),
        watch: Watch {
            backend: text("inotify"),
            watches: 14,
            overflows: 0,
            last_reconcile: Some(text("2026-02-25T14:03:07+01:00")),
            reconcile_ms: Some(3.46),
            degraded: None,
            training_folder: text("listed"),
        },
        host: host_with_gpu(),
        daemon: Daemon {
            version: text("0.1.0"),
            pid: 4711,
            root: text("/home/user/project"),
            uptime_seconds: 11_520,
            memory: Some(12_000_000),
            journal: text("j1"),
            journal_problem: None,
            seq: 1234,
        },
    }
}

fn host_with_gpu() -> Host {
    Host {
        name: text("gpu-1"),
        cpu: Some(0.345),
        memory_used: Some(17_179_869_184),
        memory_total: Some(68_719_476_736),
        disk_free: Some(1 << 40),
        disk_total: Some(4 << 40),
        gpus: vec![Gpu {
            uuid: text("GPU-1"),
            name: text("NVIDIA A100"),
            memory_used: Some(38 << 30),
            memory_total: Some(40 << 30),
            utilization: Some(0.98),
            processes: Some(vec![99]),
            ..Gpu::default()
        }],
        gpu_note: None,
    }
}

fn run(name: &str, state: &str) -> Run {
    Run { run: text(name), state: text(state), ..Run::default() }
}

fn points(ranks: &[f64]) -> Vec<TrajectoryPoint> {
    let point = |(index, &rank): (usize, &f64)| TrajectoryPoint {
        step: (index as u64 + 1) * 1000,
        rank: rank.is_finite().then_some(rank),
    };
    ranks.iter().enumerate().map(point).collect()
}

fn healthy() -> Run {
    Run {
        evidence: text("a metrics line 4 minutes ago"),
        step: Some(5000),
        total_steps: Some(20_000),
        eta: Some(text("2026-02-26T01:00:00+01:00")),
        eta_basis: text("0.5 steps/s over the last 3 hours"),
        metrics: Some(Metrics {
            step: 5000,
            loss: Some(2.3145),
            grad_norm: Some(1.2),
            learning_rate: Some(0.000_27),
            eval_loss: Some(1.433),
            ..Metrics::default()
        }),
        checkpoints: CheckpointCounts { seen: 6, complete: 5, analyzed: 4, pending: 1, gone: 0 },
        verdict: Some(Verdict::Pass),
        rank: Some(13.188),
        rank_measurement: Some(text("global_effective_rank")),
        concepts: Some(128),
        trajectory: points(&[22.5, 18.0, 14.1, 13.2, 13.188]),
        incomplete: vec![Incomplete {
            checkpoint: text("checkpoint-6000"),
            missing: text("no `trainer_state.json`"),
        }],
        ..run("diffusion_H512L2C128D2_20260223_203349", "training")
    }
}

fn failing() -> Run {
    Run {
        evidence: text("torch.OutOfMemoryError: CUDA out of memory. (line 1201)"),
        step: Some(19_999),
        total_steps: Some(20_000),
        eta: None,
        eta_basis: text("the run has ended"),
        verdict: Some(Verdict::Fail),
        reasons: vec![text("effective rank 7.3 is below 10.0"), text("NaN in the weights")],
        rank: Some(7.3),
        trajectory: points(&[22.5, 18.0, f64::NAN, 9.1, 7.3, 4.0]),
        metrics: Some(Metrics { not_finite: vec![text("loss")], ..Metrics::default() }),
        failure_notes: vec![text("docs/run_reports/x_failure_20260225_effective-rank.md")],
        incomplete: Vec::new(),
        checkpoints: CheckpointCounts { seen: 7, complete: 6, analyzed: 6, pending: 0, gone: 1 },
        ..Run { state: text("failed"), ..healthy() }
    }
}

fn unknown() -> Run {
    Run {
        evidence: text("no shell log names it"),
        step: Some(80),
        eta_basis: text("no progress was observed"),
        verdict: Some(Verdict::Unknown),
        reasons: vec![text("weights only")],
        rank: Some(35.0),
        rank_measurement: Some(text("embedding_weight_rank")),
        concepts: Some(128),
        ..run("tsdae_posonly_H64L2C128_20260224_101500", "unknown")
    }
}

#[test]
fn no_runs_yet() {
    let mut status = snapshot(Vec::new());
    status.analysis = Analysis::Checking;
    status.host = Host { gpu_note: Some(text("no driver")), ..Host::default() };
    expect![[r#"
        runscribe 0.1.0  /home/user/project  up 3 h 12 min, pid 4711, event 1234

        no runs yet

        analysis   is being checked
        documents  all written
        watch      inotify, 14 watches, last full scan 12 s ago in 3.5 ms
        host       GPU: no driver
        daemon     11.4 MiB resident
    "#]]
    .assert_eq(&status_text(&status, false, 120, now()));
    expect![[r#"
        runscribe     up 0 s, pid 0, event 0

        no runs yet

        analysis   is being checked
        documents  all written
        watch      , 0 watches, no full scan yet
        host       no reading
    "#]]
    .assert_eq(&status_text(&Status::default(), false, 120, now()));
}

#[test]
fn one_healthy_run() {
    let mut status = snapshot(vec![healthy()]);
    status.running = vec![Running {
        run: healthy().run,
        checkpoint: text("checkpoint-5000"),
        since: text("2026-02-25T14:03:12+01:00"),
        attempt: 2,
        device: Some(text("cpu: GPU 0 is used by process 99")),
    }];
    expect![[r#"
        runscribe 0.1.0  /home/user/project on gpu-1  up 3 h 12 min, pid 4711, event 1234

        RUN                                    STATE     STEP            DONE            RANK      TREND  VERDICT  ANALYZED
        diffusion_H512L2C1…D2_20260223_203349  training  5000/20000 25%  in 10 h 56 min  13.2/128  ▇▅▅▃▃  pass     4 of 5, 1 waiting, 1 incomplete
            training: a metrics line 4 minutes ago
            loss 2.314, grad norm 1.2, learning rate 0.00027, eval loss 1.433
            end: 0.5 steps/s over the last 3 hours
            checkpoint-6000: no `trainer_state.json`

        analysis   ready: .venv/bin/python analysis/run_concept_analysis.py
        running    diffusion_H512L2C128D2_20260223_203349/checkpoint-5000 for 7 s, attempt 2, cpu: GPU 0 is used by process 99
        documents  all written
        watch      inotify, 14 watches, last full scan 12 s ago in 3.5 ms
        host       CPU 34%, memory 16.0 GiB of 64.0 GiB, disk 1.0 TiB of 4.0 TiB free
                   GPU 0 NVIDIA A100: 38.0 GiB of 40.0 GiB, 98%, 1 process
        daemon     11.4 MiB resident
    "#]].assert_eq(&status_text(&status, false, 140, now()));
    // Without a clock, times are those of the daemon's own offset.
    expect![[r#"
        runscribe 0.1.0  /home/user/project on gpu-1  up 3 h 12 min, pid 4711, event 1234

        RUN                                     STATE     STEP            DONE         RANK      TREND  VERDICT  ANALYZED
        diffusion_H512L2C128D2_20260223_203349  training  5000/20000 25%  02-26 01:00  13.2/128  ▇▅▅▃▃  pass     4 of 5, 1 waiting, 1 incomplete
            training: a metrics line 4 minutes ago
            loss 2.314, grad norm 1.2, learning rate 0.00027, eval loss 1.433
            end: 0.5 steps/s over the last 3 hours
            checkpoint-6000: no `trainer_state.json`

        analysis   ready: .venv/bin/python analysis/run_concept_analysis.py
        running    diffusion_H512L2C128D2_20260223_203349/checkpoint-5000 since 02-25 14:03, attempt 2, cpu: GPU 0 is used by process 99
        documents  all written
        watch      inotify, 14 watches, last full scan at 02-25 14:03 in 3.5 ms
        host       CPU 34%, memory 16.0 GiB of 64.0 GiB, disk 1.0 TiB of 4.0 TiB free
                   GPU 0 NVIDIA A100: 38.0 GiB of 40.0 GiB, 98%, 1 process
        daemon     11.4 MiB resident
    "#]].assert_eq(&status_text(&status, false, 140, None));
}

#[test]
fn a_narrow_screen_leaves_the_least_out_first() {
    expect![[r#"
        runscribe 0.1.0  /home/user/project on gpu-1  up 3 h 12 min, pid 4711, event 12…

        RUN                                STATE     STEP            RANK      VERDICT
        diffusion_H512L2…_20260223_203349  training  5000/20000 25%  13.2/128  pass
            training: a metrics line 4 minutes ago
            loss 2.314, grad norm 1.2, learning rate 0.00027, eval loss 1.433
            end: 0.5 steps/s over the last 3 hours
            checkpoint-6000: no `trainer_state.json`

        analysis   ready: .venv/bin/python analysis/run_concept_analysis.py
        documents  all written
        watch      inotify, 14 watches, last full scan 12 s ago in 3.5 ms
        host       CPU 34%, memory 16.0 GiB of 64.0 GiB, disk 1.0 TiB of 4.0 TiB free
                   GPU 0 NVIDIA A100: 38.0 GiB of 40.0 GiB, 98%, 1 process
        daemon     11.4 MiB resident
    "#]]
    .assert_eq(&status_text(&snapshot(vec![healthy()]), false, 80, now()));
    for width in 0..200 {
        let printed = status_text(&snapshot(vec![healthy(), failing()]), false, width, now());
        let widest = printed.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(width.max(1)), "{width}: {widest:?}");
    }
}

#[test]
fn forty_columns_hold_all_that_matters() {
    let mut status = snapshot(vec![failing(), healthy()]);
    status.problems = vec![text("the journal cannot commit (the disk is full); free some space")];
    expect![[r#"
        runscribe 0.1.0  /home/user/project on …
          ! the journal cannot commit (the disk
            is full); free some space

        diffusion_H512L2C128D2_20260223_203349
          training  5000/20000 25%
          in 10 h 56 min  13.2/128  ▇▅▅▃▃  pass
          4 of 5, 1 waiting, 1 incomplete
            training: a metrics line 4 minutes
            ago
            loss 2.314, grad norm 1.2, learning
            rate 0.00027, eval loss 1.433
            end: 0.5 steps/s over the last 3
            hours
            checkpoint-6000: no
            `trainer_state.json`
        diffusion_H512L2C128D2_20260223_203349
          failed  19999/20000 99%  7.3/128
          ▇▅·▃▂▁  fail  6 of 6, 1 gone
            verdict fail: effective rank 7.3 is
            below 10.0; NaN in the weights
            failed: torch.OutOfMemoryError: CUDA
            out of memory. (line 1201)
            note:
            docs/run_reports/x_failure_20260225…
            not finite: loss

        analysis   ready: .venv/bin/python anal…
        documents  all written
        watch      inotify, 14 watches, last fu…
        host       CPU 34%, memory 16.0 GiB of …
                   GPU 0 NVIDIA A100: 38.0 GiB …
        daemon     11.4 MiB resident
    "#]]
    .assert_eq(&status_text(&status, false, 40, now()));
}

#[test]
fn a_thousand_runs_and_a_very_long_name_fit_one_screen() {
    let long = Run { run: "x".repeat(250) + "_20260101_000000", ..healthy() };
    let mut runs: Vec<Run> =
        (0..999).map(|number| run(&format!("run{number}_20260101_000000"), "complete")).collect();
    runs.push(long);
    for width in [40, 80, 120] {
        let printed = status_text(&snapshot(runs.clone()), false, width, now());
        assert!(printed.lines().count() <= 50, "{printed}");
        let first = printed.lines().find(|line| line.starts_with("xxx")).unwrap();
        let id = first.split_whitespace().next().unwrap();
        assert!(id.chars().count() <= width && id.ends_with("1_000000"), "{printed}");
        assert!(printed.contains("and 990 more: 990 complete"), "{printed}");
    }
}

#[test]
fn failing_and_unknown_runs_say_why() {
    let status = snapshot(vec![failing(), unknown()]);
    expect![[r#"
        runscribe 0.1.0  /home/user/project on gpu-1  up 3 h 12 min, pid 4711, event 1234

        RUN                                      STATE    STEP             DONE     RANK              TREND   VERDICT  ANALYZED
        diffusion_H512L2C128D2_20260223_203349   failed   19999/20000 99%  --       7.3/128           ▇▅·▃▂▁  fail     6 of 6, 1 gone
            verdict fail: effective rank 7.3 is below 10.0; NaN in the weights
            failed: torch.OutOfMemoryError: CUDA out of memory. (line 1201)
            note: docs/run_reports/x_failure_20260225_effective-rank.md
            not finite: loss
        tsdae_posonly_H64L2C128_20260224_101500  unknown  80               unknown  35.0/128 weights          unknown  0 of 0
            verdict unknown: weights only
            unknown: no shell log names it
            end: no progress was observed

        analysis   ready: .venv/bin/python analysis/run_concept_analysis.py
        documents  all written
        watch      inotify, 14 watches, last full scan 12 s ago in 3.5 ms
        host       CPU 34%, memory 16.0 GiB of 64.0 GiB, disk 1.0 TiB of 4.0 TiB free
                   GPU 0 NVIDIA A100: 38.0 GiB of 40.0 GiB, 98%, 1 process
        daemon     11.4 MiB resident
    "#]].assert_eq(&status_text(&status, false, 140, now()));
}

#[test]
fn twelve_runs_fit_one_screen() {
    let mut runs: Vec<Run> = (0..8)
        .map(|number| Run {
            run: format!("weighted_mlm_H512L6C128_2026021{number}_101112"),
            state: text("complete"),
            eta_basis: String::new(),
            eta: None,
            metrics: None,
            ..healthy()
        })
        .collect();
    runs.insert(3, failing());
    runs.push(failing());
    runs.push(run("perceiver_mlm_H512L6C128_20260101_000000", "stalled"));
    runs.push(healthy());
    runs.extend(["old", "gone", "old"].map(|state| run("x_20250101_000000", state)));
    let printed = status_text(&snapshot(runs), false, 140, now());
    assert!(printed.lines().count() <= 40);
    expect![[r#"
        runscribe 0.1.0  /home/user/project on gpu-1  up 3 h 12 min, pid 4711, event 1234

        RUN                                  STATE     STEP             DONE            RANK      TREND   VERDICT  ANALYZED
        perceiver_mlm_H51…8_20260101_000000  stalled   --               unknown         --                --       0 of 0
        diffusion_H512L2C…2_20260223_203349  training  5000/20000 25%   in 10 h 56 min  13.2/128  ▇▅▅▃▃   pass     4 of 5, 1 waiting, 1 incomplete
        weighted_mlm_H512…8_20260210_101112  complete  5000/20000 25%   --              13.2/128  ▇▅▅▃▃   pass     4 of 5, 1 waiting, 1 incomplete
        weighted_mlm_H512…8_20260211_101112  complete  5000/20000 25%   --              13.2/128  ▇▅▅▃▃   pass     4 of 5, 1 waiting, 1 incomplete
        weighted_mlm_H512…8_20260212_101112  complete  5000/20000 25%   --              13.2/128  ▇▅▅▃▃   pass     4 of 5, 1 waiting, 1 incomplete
        diffusion_H512L2C…2_20260223_203349  failed    19999/20000 99%  --              7.3/128   ▇▅·▃▂▁  fail     6 of 6, 1 gone
            verdict fail: effective rank 7.3 is below 10.0; NaN in the weights
            failed: torch.OutOfMemoryError: CUDA out of memory. (line 1201)
        weighted_mlm_H512…8_20260213_101112  complete  5000/20000 25%   --              13.2/128  ▇▅▅▃▃   pass     4 of 5, 1 waiting, 1 incomplete
        weighted_mlm_H512…8_20260214_101112  complete  5000/20000 25%   --              13.2/128  ▇▅▅▃▃   pass     4 of 5, 1 waiting, 1 incomplete
        weighted_mlm_H512…8_20260215_101112  complete  5000/20000 25%   --              13.2/128  ▇▅▅▃▃   pass     4 of 5, 1 waiting, 1 incomplete
        weighted_mlm_H512…8_20260216_101112  complete  5000/20000 25%   --              13.2/128  ▇▅▅▃▃   pass     4 of 5, 1 waiting, 1 incomplete
        and 2 more: 1 complete, 1 failed
        listed only: 2 old, 1 gone

        analysis   ready: .venv/bin/python analysis/run_concept_analysis.py
        documents  all written
        watch      inotify, 14 watches, last full scan 12 s ago in 3.5 ms
        host       CPU 34%, memory 16.0 GiB of 64.0 GiB, disk 1.0 TiB of 4.0 TiB free
                   GPU 0 NVIDIA A100: 38.0 GiB of 40.0 GiB, 98%, 1 process
        daemon     11.4 MiB resident
    "#]].assert_eq(&printed);
}

#[test]
fn problems_stand_on_top_and_once() {
    let mut status = snapshot(vec![run("a_20260101_000000", "training")]);
    status.time = text("2026-02-25T13:53:19+01:00");
    // As the daemon says them; of a held document it knows neither age nor entries.
    status.problems = vec![
        text("the journal cannot commit (the disk is full); free some space"),
        text("`docs/log.md` is held: it has conflict markers; resolve them"),
    ];
    status.daemon.journal_problem = Some(text("the disk is full"));
    status.analysis = Analysis::NotReady { problem: text("torch cannot be imported") };
    status.watch.degraded = Some(text("no inotify watch is left; raise the limit"));
    status.watch.training_folder = text("missing");
    status.watch.overflows = 2;
    status.documents = Documents {
        pending: 4,
        held: vec![Held {
            document: text("docs/log.md"),
            reason: text("it has conflict markers; resolve them"),
            since: text("2026-02-25T13:03:19+01:00"),
            entries: 3,
        }],
    };
    let waiting = |step: u32| Queued {
        run: text("a_20260101_000000"),
        checkpoint: format!("checkpoint-{step}"),
        reason: text("one analysis at a time"),
    };
    status.queue = (1..=5).map(waiting).collect();
    expect![[r#"
        runscribe 0.1.0  /home/user/project on gpu-1  up 3 h 12 min, pid 4711, event 1234, as of 10 min ago
          ! the journal cannot commit (the disk is full); free some space
          ! `docs/log.md` is held for 1 h 0 min, 3 entries wait: it has conflict markers; resolve them
          ! no analysis can run: torch cannot be imported
          ! watching is degraded: no inotify watch is left; raise the limit
          ! the training folder: missing

        RUN                STATE     STEP  DONE     RANK  TREND  VERDICT  ANALYZED
        a_20260101_000000  training  --    unknown  --           --       0 of 0

        analysis   not ready
        waiting    a_20260101_000000/checkpoint-1: one analysis at a time
                   a_20260101_000000/checkpoint-2: one analysis at a time
                   a_20260101_000000/checkpoint-3: one analysis at a time
                   and 2 more
        documents  4 to write or look at again, 1 document held
        watch      inotify, 14 watches, last full scan 12 s ago in 3.5 ms, 2 overflows
        host       CPU 34%, memory 16.0 GiB of 64.0 GiB, disk 1.0 TiB of 4.0 TiB free
                   GPU 0 NVIDIA A100: 38.0 GiB of 40.0 GiB, 98%, 1 process
        daemon     11.4 MiB resident
    "#]].assert_eq(&status_text(&status, false, 140, now()));
}

#[test]
fn color_is_only_what_was_asked_for() {
    let plain = status_text(&snapshot(vec![healthy(), failing()]), false, 140, now());
    assert!(!plain.contains('\u{1b}'));
    let colored = status_text(&snapshot(vec![healthy(), failing()]), true, 140, now());
    assert!(colored.contains("\u{1b}[31mfail\u{1b}[0m") && colored.contains("\u{1b}[32mpass"));
    let mut bare = String::new();
    for (index, part) in colored.split('\u{1b}').enumerate() {
        bare.push_str(if index == 0 {
            part
        } else {
            part.split_once('m').map_or(part, |(_, rest)| rest)
        });
    }
    let trimmed: Vec<&str> = bare.lines().map(str::trim_end).collect();
    assert_eq!(trimmed, plain.lines().collect::<Vec<_>>());
}

#[test]
fn text_from_outside_cannot_act_on_the_terminal() {
    let mut evil = healthy();
    evil.run = text("a\u{1b}[2J\n_20260101_000000");
    evil.state = text("\u{1b}[31m\u{202e}");
    evil.evidence = text("x\r\u{7}y");
    let mut status = snapshot(vec![evil]);
    status.problems = vec![text("p\u{1b}]0;title\u{7}\nq")];
    let printed = status_text(&status, false, 140, now());
    let acts = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202e}';
    assert!(!printed.contains(acts), "{printed:?}");
    assert_eq!(
        printed.lines().count(),
        status_text(&snapshot(vec![healthy()]), false, 140, now()).lines().count() + 1
    );
}
