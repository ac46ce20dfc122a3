//! Any bytes into every parser: nothing panics, and a shell log says the same in any chunking.
//!
//! The input is a byte that says where the bytes are cut, and the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runscribe::model::shell_log::LogReading;
use runscribe::parse::shell_log::{LogReader, LogSummary, ShellLogParser, Thresholds};
use runscribe::parse::{ansi, checkpoint, json, redact, report, stderr, wandb, weights};

const THRESHOLDS: Thresholds = Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 };

fn summary(pieces: &[&[u8]]) -> String {
    let mut parser = ShellLogParser::new(THRESHOLDS);
    let mut summary = LogSummary::default();
    for piece in pieces {
        parser.push(piece).into_iter().for_each(|item| summary.add(item));
    }
    let (rest, progress) = parser.finish();
    rest.into_iter().for_each(|item| summary.add(item));
    serde_json::to_string(&summary.shown_with(&progress)).expect("a summary is printable")
}

/// What a followed log says, put away and taken up between the pieces.
fn reading(pieces: &[&[u8]]) -> (LogReading, String) {
    let mut reader = LogReader::new(THRESHOLDS);
    for piece in pieces {
        let kept = serde_json::to_string(reader.reading()).expect("a reading is printable");
        let kept = serde_json::from_str(&kept).expect("a reading reads back");
        reader = LogReader::take_up(THRESHOLDS, &reader.put_away(), kept).expect("its own state");
        reader.push(piece);
    }
    (reader.reading().clone(), reader.put_away())
}

fuzz_target!(|data: &[u8]| {
    let Some((cut, bytes)) = data.split_first() else { return };
    let cut = usize::from(*cut).min(bytes.len());
    let (before, after) = bytes.split_at(cut);
    assert_eq!(summary(&[bytes]), summary(&[before, after]));
    let (whole, cut) = (reading(&[bytes]), reading(&[before, after]));
    assert_eq!(whole.0, cut.0, "a break is not seen");
    let _ = json::parse(bytes);
    let _ = checkpoint::model_config(bytes);
    let _ = checkpoint::training_point(bytes);
    let _ = checkpoint::loss_history(bytes);
    if let Ok(report) = report::from_either(bytes) {
        let _ = report::parsed_json(&report);
    }
    let _ = weights::header_length(bytes);
    let _ = weights::safetensors_header(bytes);
    let _ = weights::shard_files(bytes);
    let _ = stderr::newly_initialized_encoder(bytes);
    let _ = wandb::debug_log(bytes);
    let _ = wandb::config_yaml(bytes);
    let _ = wandb::metadata(bytes);
    let text = ansi::readable(bytes);
    let redacted = redact::redact(&text);
    assert_eq!(redact::redact(&redacted), redacted, "what is redacted stays as it is");
});
