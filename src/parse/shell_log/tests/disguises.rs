//! Lines as consoles, launchers and schedulers really print them: what they say must not depend on
//! what stands around it.

use super::*;

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

/// Shows what a log says in one line.
fn told(log: &str) -> String {
    let mut reader = LogReader::new(THRESHOLDS);
    reader.push(log.as_bytes());
    let mut told = Vec::new();
    for training in &reader.reading().trainings {
        told.extend(training.run.iter().map(|run| format!("run {run}")));
        told.extend(training.wandb_url.iter().cloned());
        let at = |step: Option<u64>| step.map_or("?".to_owned(), |step| step.to_string());
        if training.step.is_some() {
            told.push(format!("{}/{}", at(training.step), at(training.total_steps)));
        }
        for metric in &training.metrics {
            let (name, value) = &metric.values[0];
            told.push(format!("{name} {value}"));
        }
        for failure in &training.failures {
            let role = if failure.is_cascade { "cascade" } else { "root" };
            told.push(format!("{role} {} {}", failure.class, failure.line));
        }
        told.extend(training.completed.map(|line| format!("complete {line}")));
    }
    told.join(", ")
}

#[test]
fn metrics_are_read_in_every_disguise() {
    let bar = " 50%|█████     | 20/40 [00:02<00:02,  9.55it/s]";
    let nested = "100%|██████████| 5/5 [00:00<00:00, 41.31it/s]\x1b[A";
    for (log, expected) in [
        (format!("{bar}{{'loss': 8.6, 'epoch': 1}}\n"), "20/40, loss 8.6"),
        (format!("{bar}\x1b[A{{'eval_loss': 8.2, 'epoch': 1}}\n"), "eval_loss 8.2"),
        (format!("{bar}\r{nested}\x1b[A{{'eval_loss': 8.2}}\n"), "20/40, eval_loss 8.2"),
        ("\x1b[A\x1b[A{'eval_loss': 8.2}\x1b[A\n".into(), "eval_loss 8.2"),
        ("\x1b[32m{'loss': '8.6', 'epoch': '0.1'}\x1b[0m\r\n".into(), "loss 8.6"),
        ("\x1b[2K\x1b[1G{'loss': 8.6, 'grad_norm': 1}\n".into(), "loss 8.6"),
        ("[rank0]: {'loss': 8.6}\n".into(), "loss 8.6"),
        ("[default0]:{'loss': 8.6}\n".into(), "loss 8.6"),
        ("\x1b[36m[rank0]:\x1b[0m {'loss': 8.6}\n".into(), "loss 8.6"),
        ("0: {'loss': 8.6, 'epoch': 1}\n".into(), "loss 8.6"),
        ("Map: 100%|█| 5/5 [00:01<?, 3 examples/s]{'loss': 2.5, 'epoch': 1}\n".into(), "loss 2.5"),
        (format!("{{'loss': 2.5, 'epoch': 1}}{bar}\n"), "20/40, loss 2.5"),
        (format!("{{'loss': 2.5, 'epoch': 1}} {bar}{bar}\n"), "20/40, loss 2.5"),
        ("{'loss': nan, 'grad_norm': inf}\n".into(), "loss nan, root non_finite 1"),
        ("{'loss': 'nan', 'epoch': '1'}\n".into(), "loss nan, root non_finite 1"),
        ("{'loss': -inf, 'epoch': 1}\n".into(), "loss -inf, root non_finite 1"),
        ("{'eval_loss': '-inf', 'epoch': 1}\n".into(), "eval_loss -inf, root non_finite 1"),
        ("{'loss': 0.0, 'grad_norm': nan}\n".into(), "loss 0, root non_finite 1"),
        ("{'loss': 3e-05, 'epoch': 1}{'eval_loss': 1e20}\n".into(), "loss 0.00003, eval_loss 1e20"),
        ("\0\0{'loss': 8.6, 'epoch': 1}\n".into(), "loss 8.6"),
    ] {
        assert_eq!(told(&log), expected, "{log:?}");
    }
}

#[test]
fn bars_are_read_in_every_disguise() {
    for (log, expected) in [
        ("\r  0%|          | 0/40 [00:00<?, ?it/s]", "0/40"),
        ("\r 50%|█████     | 20/40 [1 day, 2:03:04<2 days, 3:00:00, 4.00s/it]", "20/40"),
        ("\r 50%|#####     | 20/40 [00:02<00:02,  9.55it/s, loss=2.5]", "20/40"),
        ("\r[rank0]:  50%|█████     | 20/40 [00:02<00:02,  9.55it/s]", "20/40"),
        ("\r[default0]: 50%|█████     | 20/40 [00:02<00:02,  9.55it/s]", "20/40"),
        ("\r 50%|\x1b[32m█████     \x1b[0m| 20/40 [00:02<00:02,  9.55it/s]", "20/40"),
        ("\r\x1b[32m 50%|█████     | 20/40 [00:02<00:02,  9.55it/s]\x1b[0m", "20/40"),
        ("\r\x1b[K 50%|█████     | 20/40 [00:02<00:02,  9.55it/s]", "20/40"),
        (" 48%|█| 19/40 [00:02<?, 9it/s] 50%|█| 20/40 [00:02<?, 9it/s]", "20/40"),
        ("\r 50%|\x1b[32m█████     \x1b[0m| 20/40 [00:02<00:02,  9.55it/s]\x1b[A", ""),
        ("\r[rank0]:  50%|█████     | 20/40 [00:02<00:02,  9.55it/s]\x1b[A", ""),
        ("\r[rank0]: Map:  50%|█████     | 20/40 [00:02<00:02,  9.55 examples/s]", ""),
    ] {
        for end in ["\r", "\n", "\r\r\r\n"] {
            assert_eq!(told(&format!("{log}{end}")), expected, "{log:?}");
        }
    }
}

#[test]
fn facts_are_read_in_every_disguise() {
    let page = format!("https://wandb.ai/e/p/runs/{RUN}");
    let named = format!("run {RUN}");
    for (log, expected) in [
        (format!("[rank0]: Output directory: /p/{RUN}"), named.clone()),
        (format!("\x1b[32m12:00 - INFO - Output directory: /p/{RUN}\x1b[0m"), named.clone()),
        (
            format!(
                "\x1b[34m\x1b[1mwandb\x1b[0m: Run data is saved locally in \
                 \x1b[35m\x1b[1m/p/wandb/offline-run-20261123_063802-{RUN}\x1b[0m"
            ),
            named.clone(),
        ),
        (
            format!(
                "[rank0]: \x1b[1;34mwandb\x1b[0m: 🚀 View run \x1b[33m{RUN}\x1b[0m at: \x1b[34m{page}\x1b[0m"
            ),
            format!("{named}, {page}"),
        ),
        (
            format!(
                "[rank0]:[INFO|trainer.py:4289] 2026-11-23 06:38:02,1 >> Saving model checkpoint to /p/{RUN}/checkpoint-20"
            ),
            format!("{named}, 20/?"),
        ),
        (
            format!(
                "  5%|█| 20/400 [00:02<00:02, 9it/s]Saving model checkpoint to /p/{RUN}/checkpoint-20"
            ),
            format!("{named}, 20/400"),
        ),
        ("\x1b[32mTraining completed successfully!\x1b[0m".into(), "complete 1".into()),
    ] {
        assert_eq!(told(&format!("{log}\n")), expected, "{log:?}");
    }
}

/// Classes, roles and lines of what goes wrong on hosts, as programs print it: each log stands
/// behind what it should say, with `␛` for the escape character.
#[test]
fn failures_are_read_in_every_disguise() {
    let cases = include_str!("../../../../tests/fixtures/parse/disguised_failures.txt");
    let cases: Vec<&str> = cases.split("== ").filter(|case| !case.is_empty()).collect();
    assert!(cases.len() > 40);
    for case in cases {
        let (expected, log) = case.split_once('\n').unwrap();
        let told = told(&log.replace('␛', "\x1b"));
        assert_eq!(if told.is_empty() { "nothing" } else { &told }, expected, "{log}");
    }
}
