//! Whole logs: our own ones of every kind, and the captures where they are at hand.

mod disguises;

use std::fmt::Write as _;
use std::path::Path;

use expect_test::{ExpectFile, expect, expect_file};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use serde_json::Value;

use super::*;

const THRESHOLDS: Thresholds = Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 };

macro_rules! fixtures {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!("../../../tests/fixtures/parse/shell_logs/", $name)))),*]
    };
}

const OWN: [(&str, &[u8]); 20] = fixtures![
    "diffusion_clean.console",
    "diffusion_clean.log",
    "diffusion_crlf.log",
    "diffusion_dataset_missing.log",
    "diffusion_disk_full.log",
    "diffusion_divergence.log",
    "diffusion_import_error.log",
    "diffusion_interrupted.log",
    "diffusion_killed.log",
    "diffusion_nan.log",
    "diffusion_stops.log",
    "odd_bytes.log",
    "perceiver_cuda_out_of_memory.log",
    "perceiver_nccl_timeout.log",
    "perceiver_rank_killed.log",
    "perceiver_shape_mismatch.log",
    "perceiver_verbose_online.log",
    "tsdae_no_run_id.log",
    "two_trainings.log",
    "weighted_transformers5.log",
];

/// Parses a whole log into the object that `runscribe parse shell-log` prints.
fn summary(log: &[u8]) -> Value {
    let mut parser = ShellLogParser::new(THRESHOLDS);
    let mut summary = LogSummary::default();
    let items = parser.push(log);
    let (rest, progress) = parser.finish();
    items.into_iter().chain(rest).for_each(|item| summary.add(item));
    serde_json::to_value(summary.shown_with(&progress)).unwrap()
}

/// Shows a log in few lines: metrics as `line kind@step`, with `!` where values are not finite.
fn shown(name: &str, log: &[u8]) -> String {
    let value = summary(log);
    let list = |key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| match value.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "absent".to_owned(),
    };
    let metrics: Vec<String> = list("metrics")
        .iter()
        .map(|metric| {
            let values = metric["values"].as_object();
            let not_finite = values.is_some_and(|values| values.values().any(Value::is_null));
            let mark = if not_finite { "!" } else { "" };
            let step = text(metric, "step").replace("null", "?");
            format!("{} {}@{step}{mark}", text(metric, "line"), text(metric, "kind"))
        })
        .collect();
    let failures: String = list("failures").iter().fold(String::new(), |mut shown, failure| {
        let [class, role, line, text] =
            ["class", "role", "line", "text"].map(|key| text(failure, key));
        writeln!(shown, "  {role} {class} {line}: {text:.110}").ok();
        shown
    });
    format!(
        "{name}\n  {} {} completed={}\n  {}\n  {}\n{failures}",
        text(&value, "run"),
        text(&value, "wandb"),
        text(&value, "completed"),
        text(&value, "progress"),
        if metrics.is_empty() { "no metrics".to_owned() } else { metrics.join(", ") },
    )
}

fn check(logs: &[(&str, &[u8])], expected: &ExpectFile) {
    let all: Vec<String> = logs.iter().map(|(name, log)| shown(name, log)).collect();
    expected.assert_eq(&all.join("\n"));
}

fn metrics_without_place(log: &[u8]) -> Vec<(MetricKind, Vec<(String, MetricValue)>)> {
    let items = ShellLogParser::new(THRESHOLDS).push(log);
    let metric = |item| match item {
        LogItem::Metric { metric, .. } => Some((metric.kind, metric.values)),
        _ => None,
    };
    items.into_iter().filter_map(metric).collect()
}

/// Returns a capture, or `None` where the folder of captures is absent.
#[expect(clippy::disallowed_methods, reason = "the captures are no part of the repository")]
fn capture(name: &str) -> Option<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/shell_logs");
    std::fs::read(Path::new(folder).join(name)).ok()
}

#[test]
fn own_logs_of_every_kind() {
    check(&OWN, &expect_file!["../../../tests/fixtures/parse/shell_logs/own.expected"]);
}

#[test]
fn captured_logs() {
    let names = [
        "diffusion_clean.console",
        "diffusion_clean.log",
        "diffusion_disk_full.log",
        "diffusion_import_error.log",
        "diffusion_killed_by_sigkill.log",
        "diffusion_nan.log",
        "diffusion_no_run_id.log",
        "diffusion_transformers5.log",
        "perceiver_ddp_rank_killed.log",
        "perceiver_rotation.log",
    ];
    let logs: Vec<_> = names.iter().filter_map(|name| Some((*name, capture(name)?))).collect();
    if logs.len() < names.len() {
        println!("skipped: the captures in ../shared/data/shell_logs are not there");
        return;
    }
    let logs: Vec<_> = logs.iter().map(|(name, log)| (*name, log.as_slice())).collect();
    check(&logs, &expect_file!["../../../tests/fixtures/parse/shell_logs/captures.expected"]);
    assert_eq!(metrics_without_place(logs[0].1), metrics_without_place(logs[1].1));
}

/// The raw console and the cleaned log of a run say the same; only the console names every step.
#[test]
fn console_and_cleaned_log_have_the_same_metrics() {
    let console = metrics_without_place(OWN[0].1);
    assert_eq!(console.len(), 6);
    assert_eq!(console, metrics_without_place(OWN[1].1));
    assert_eq!(console, metrics_without_place(OWN[2].1));
}

#[test]
fn the_whole_object_has_the_documented_form() {
    let log = b"Output directory: /p/r_20260303_101112\n\
        {'loss': '8.5', 'grad_norm': nan, 'epoch': 1}\n 50%| | 1/2 [00:01<00:01, 2.00it/s]\n";
    let json = serde_json::to_string_pretty(&summary(log)).unwrap();
    expect![[r#"
        {
          "run": "r_20260303_101112",
          "wandb": null,
          "metrics": [
            {
              "line": 2,
              "kind": "train",
              "step": null,
              "values": {
                "loss": 8.5,
                "grad_norm": null,
                "epoch": 1
              }
            }
          ],
          "progress": {
            "step": 1,
            "total_steps": 2,
            "rate_steps_per_second": 2.0,
            "elapsed_seconds": 1
          },
          "failures": [
            {
              "class": "non_finite",
              "role": "root",
              "line": 2,
              "text": "{'loss': '8.5', 'grad_norm': nan, 'epoch': 1}"
            }
          ],
          "completed": false
        }"#]]
    .assert_eq(&json);
}

#[test]
fn facts_come_with_their_lines() {
    let items = ShellLogParser::at_line(THRESHOLDS, 7).push(OWN[16].1);
    let facts: Vec<String> = items
        .iter()
        .filter_map(|item| match item {
            LogItem::Fact { line, fact } => Some(format!("{line} {fact:?}")),
            _ => None,
        })
        .collect();
    expect![[r#"
        7 Run(RunId("perceiver_posonly_mlm_H512L6C128_20260303_101112"))
        10 TrainExamples(3920)
        11 EvalExamples(80)
        13 WandbUrl("https://wandb.ai/entity/MrCogito/runs/perceiver_posonly_mlm_H512L6C128_20260303_101112")
        14 TrainingBegins
        17 TotalSteps(20)
        25 CheckpointSaving(RunId("perceiver_posonly_mlm_H512L6C128_20260303_101112"), Step(10))
        28 CheckpointSaving(RunId("perceiver_posonly_mlm_H512L6C128_20260303_101112"), Step(20))
        31 Completed
        35 CheckpointSaving(RunId("perceiver_posonly_mlm_H512L6C128_20260303_101112"), Final)"#]].assert_eq(&facts.join("\n"));
}

/// A rank that lost its peer looks like the cause until the launcher names the rank that was
/// killed; the first opinion is corrected by an item with the same index.
#[test]
fn opinions_are_corrected_by_later_lines() {
    let items = ShellLogParser::new(THRESHOLDS).push(OWN[14].1);
    let roles: Vec<(usize, Role, TrainingFailureClass)> = items
        .iter()
        .filter_map(|item| match item {
            LogItem::Failure { index, failure } => Some((*index, failure.role, failure.class)),
            _ => None,
        })
        .collect();
    assert_eq!(roles.first(), Some(&(0, Role::Root, TrainingFailureClass::Nccl)));
    assert!(roles.contains(&(0, Role::Cascade, TrainingFailureClass::Nccl)));
    assert_eq!(roles.last(), Some(&(1, Role::Root, TrainingFailureClass::Killed)));
}

#[test]
fn a_partial_last_line_waits_for_its_end() {
    let mut parser = ShellLogParser::new(THRESHOLDS);
    assert!(parser.push(b"{'loss': 8.5, 'epoch': 1").is_empty());
    assert!(parser.push(b"}").is_empty());
    assert_eq!(parser.clone().finish().0.len(), 1);
    assert_eq!(parser.push(b"\n").len(), 1);
    assert_eq!(parser.line(), 2);
}

#[test]
fn a_metric_may_end_a_line_of_any_length() {
    let mut parser = ShellLogParser::new(THRESHOLDS);
    for _ in 0..40 {
        assert!(parser.push(&vec![b'x'; 1 << 20]).is_empty());
    }
    let items = parser.push(b" {'loss': 8.5, 'epoch': 1}\n");
    assert!(
        matches!(&items[..], [LogItem::Metric { metric, .. }] if metric.line == 1),
        "{items:?}"
    );
}

/// Each brace that begins no dictionary costs a look at what follows it.
#[test]
fn braces_without_end_cost_little() {
    let log = "{'a':".repeat(15_000);
    assert!(ShellLogParser::new(THRESHOLDS).push(format!("{log}\n").as_bytes()).is_empty());
}

fn read_in_pieces(log: &[u8], sizes: &[usize]) -> String {
    let mut parser = ShellLogParser::new(THRESHOLDS);
    let mut items = Vec::new();
    let mut rest = log;
    for size in sizes.iter().cycle() {
        let (piece, after) = rest.split_at_checked(*size).unwrap_or((rest, &[]));
        items.extend(parser.push(piece));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let (last, progress) = parser.finish();
    items.extend(last);
    format!("{items:?} {progress:?}")
}

fn log_piece() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<Vec<u8>> = OWN
        .iter()
        .flat_map(|(_, log)| log.split_inclusive(|byte| *byte == b'\n'))
        .map(<[u8]>::to_vec)
        .collect();
    prop_oneof![
        6 => proptest::sample::select(lines),
        1 => proptest::sample::select(OWN.to_vec()).prop_map(|(_, log)| log.to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..40),
        1 => proptest::sample::select(vec![b"\r".to_vec(), b"\n".to_vec(), b"\x1b[A".to_vec()]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn any_chunking_gives_the_same_items(
        pieces in proptest::collection::vec(log_piece(), 0..30),
        sizes in proptest::collection::vec(1_usize..200, 1..20),
    ) {
        let log = pieces.concat();
        prop_assert_eq!(read_in_pieces(&log, &sizes), read_in_pieces(&log, &[usize::MAX]));
    }
}

/// A bar, or what may stand between bars: everything that can make the last bar not the only one
/// that counts.
fn console_piece() -> impl Strategy<Value = Vec<u8>> {
    let timings = ["00:02<00:02,  9.55it/s", "1 day, 2:03:04<?, 2.5s/it", "00:01<?, 3 examples/s"];
    let ends = ["", "", "", "\x1b[A", "tail", " 40%|█| 4/7 [00:01<00:01, 2it/s]", "\x1b[0m"];
    let bar = (
        0_u64..8,
        proptest::sample::select(vec![0_u64, 1, 5, 6, 7, 45, 400]),
        proptest::sample::select(timings.to_vec()),
        proptest::sample::select(ends.to_vec()),
        proptest::sample::select(vec!["", "", "", "[rank0]: ", "\x1b[32m", "\x1b[K"]),
    );
    let bar = bar.prop_map(|(step, total, timing, behind, before)| {
        format!("{before} {}%|█▍  | {step}/{total} [{timing}]{behind}", step * 10)
    });
    let between = [
        "",
        " ",
        "      ",
        "Map:  5%|█| 1/9 [00:01<?, ?it/s]",
        "text",
        "12",
        "5/",
        "[rank0]: ",
        "{'loss': 2.5, 'epoch': 1}",
        "{'eval_loss': 2.5, 'epoch': 1}",
        "\x1b[A{'loss': 3.5}",
        "{'train_runtime': 1.0, 'train_loss': 2.0}",
        "***** Running training *****",
        "  Total optimization steps = 7",
        "Output directory: /p/a_20260303_101112",
        "Output directory: /p/b_20260304_101112",
        "Traceback (most recent call last):",
        "  File \"x.py\", line 1",
        "ValueError: no",
        "Killed",
        "Training completed successfully!",
    ];
    let frame = prop_oneof![
        12 => bar,
        3 => proptest::sample::select(between.to_vec()).prop_map(str::to_owned),
    ];
    // Of consoles and of cleaned logs.
    let end = prop_oneof![6 => proptest::strategy::Just("\r"), 4 => proptest::strategy::Just("\n")];
    (frame, end).prop_map(|(frame, end)| (frame + end).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// One byte at a time, every frame is read; in one piece, bars are passed over. Nothing tells
    /// the one from the other, not even what would be put away.
    #[test]
    fn passing_over_bars_leaves_what_reading_each_leaves(
        pieces in proptest::collection::vec(console_piece(), 0..60),
    ) {
        let log = pieces.concat();
        let mut whole = LogReader::new(THRESHOLDS);
        whole.push(&log);
        let mut slow = LogReader::new(THRESHOLDS);
        log.chunks(1).for_each(|byte| slow.push(byte));
        prop_assert_eq!(whole.reading(), slow.reading());
        prop_assert_eq!(whole.put_away(), slow.put_away());
        prop_assert_eq!(read_in_pieces(&log, &[usize::MAX]), read_in_pieces(&log, &[1]));
    }
}
