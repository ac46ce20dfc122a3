//! Recognition held against the contract, case by case.

use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use regex::Regex;

use super::*;
use crate::model::checkpoint::{
    CheckpointSighting, Condition, ModelConfig, RunSighting, TrainingPoint,
};
use crate::model::ids::{CheckpointName, Digest, FolderIdentity, RunId};

const SETTLE: Duration = Duration::from_secs(2);

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH.checked_add(Duration::from_secs(1_000_000)).unwrap_or_default()
}

fn file(name: &str, state: WeightsState) -> WeightsFile {
    WeightsFile { name: name.to_owned(), length: 1_048_576, state }
}

fn weights(state: WeightsState) -> WeightsFacts {
    WeightsFacts {
        form: WeightsForm::Safetensors,
        index: FileFact::Valid(()),
        files: vec![file("model.safetensors", state)],
    }
}

fn state_at(step: u64) -> FileFact<TrainingPoint> {
    FileFact::Valid(TrainingPoint { step, total_steps: Some(40), ..TrainingPoint::default() })
}

/// Facts of a complete `checkpoint-20`.
fn whole() -> FolderFacts {
    FolderFacts {
        name: CheckpointName::Step(20),
        config: FileFact::Valid(ModelConfig { concepts: Some(128), ..ModelConfig::default() }),
        trainer_state: state_at(20),
        weights: Some(weights(WeightsState::Whole)),
        has_incomplete_marker: false,
        quiet_since: Some(now()),
        changed_while_read: false,
    }
}

/// Facts of a final model that nothing changed for this long.
fn quiet_final(seconds: i64) -> FolderFacts {
    FolderFacts {
        name: CheckpointName::Final,
        trainer_state: FileFact::Missing,
        quiet_since: Timestamp::new(1_000_000 - seconds, 0).ok(),
        ..whole()
    }
}

fn condition(facts: &FolderFacts) -> Condition {
    match assess(facts, now(), SETTLE) {
        Ok(whole) => whole.with_digests(Digest::from_bytes(&[1]), Digest::from_bytes(&[2])),
        Err(condition) => condition,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "cases read better")]
fn check(facts: FolderFacts, expected: Expect) {
    expected.assert_eq(&describe(&condition(&facts), now()));
}

#[test]
fn complete_with_all_its_parts() {
    check(
        whole(),
        expect![
            "It is complete, with 1,048,576 bytes of weights in `model.safetensors`. It was saved at step 20 of 40."
        ],
    );
}

#[test]
fn each_missing_part_is_named() {
    check(
        FolderFacts { trainer_state: FileFact::Missing, ..whole() },
        expect!["It is incomplete: no `trainer_state.json`."],
    );
    check(
        FolderFacts { trainer_state: FileFact::Invalid("ends in the middle".into()), ..whole() },
        expect!["It is incomplete: `trainer_state.json` ends in the middle."],
    );
    check(
        FolderFacts { trainer_state: state_at(40), ..whole() },
        expect!["It is incomplete: `trainer_state.json` says step 40."],
    );
    check(
        FolderFacts { config: FileFact::Missing, ..whole() },
        expect!["It is incomplete: no `config.json`."],
    );
    check(
        FolderFacts { config: FileFact::Invalid("is not a JSON object".into()), ..whole() },
        expect!["It is incomplete: `config.json` is not a JSON object."],
    );
    check(
        FolderFacts { has_incomplete_marker: true, ..whole() },
        expect!["It is incomplete: `checkpoint-is-incomplete.txt` is there."],
    );
    check(
        FolderFacts { changed_while_read: true, ..whole() },
        expect!["It is incomplete: files changed while they were read."],
    );
    check(
        FolderFacts {
            config: FileFact::Missing,
            weights: None,
            trainer_state: FileFact::Missing,
            ..whole()
        },
        expect!["It is incomplete: no `config.json`; no weights; no `trainer_state.json`."],
    );
}

#[test]
fn weights_that_are_not_whole_are_incomplete() {
    let with = |state| FolderFacts { weights: Some(weights(state)), ..whole() };
    check(
        with(WeightsState::WrongLength { expected: 4_289_008 }),
        expect!["It is incomplete: `model.safetensors` has 1,048,576 of 4,289,008 bytes."],
    );
    check(
        with(WeightsState::Invalid("begins with zeros".into())),
        expect!["It is incomplete: `model.safetensors` begins with zeros."],
    );
    let shards = WeightsFacts {
        form: WeightsForm::BinShards,
        index: FileFact::Valid(()),
        files: vec![
            file("pytorch_model-00001-of-00002.bin", WeightsState::Whole),
            file("pytorch_model-00002-of-00002.bin", WeightsState::Missing),
        ],
    };
    check(
        FolderFacts { weights: Some(shards), ..whole() },
        expect!["It is incomplete: no `pytorch_model-00002-of-00002.bin`."],
    );
    let index = WeightsFacts {
        form: WeightsForm::SafetensorsShards,
        index: FileFact::Invalid("ends in the middle".into()),
        files: Vec::new(),
    };
    check(
        FolderFacts { weights: Some(index), ..whole() },
        expect!["It is incomplete: `model.safetensors.index.json` ends in the middle."],
    );
}

/// Rotation unlinks the weights before the trainer state: for a moment the state is there and the
/// weights are gone, which must not look like a save in progress.
#[test]
fn weights_that_went_first_are_called_gone() {
    check(
        FolderFacts { weights: None, ..whole() },
        expect!["It is incomplete: weights are gone (rotation?)."],
    );
}

#[test]
fn a_tail_of_zeros_is_damage_only_when_all_else_is_there() {
    let zeros = Some(weights(WeightsState::ZeroTail));
    check(
        FolderFacts { weights: zeros.clone(), ..whole() },
        expect![
            "It is damaged: `model.safetensors` ends in zeros over several tensors (a crash before the data was on disk?). It is reported, but not judged."
        ],
    );
    check(
        FolderFacts { weights: zeros.clone(), trainer_state: FileFact::Missing, ..whole() },
        expect![
            "It is incomplete: no `trainer_state.json`; `model.safetensors` ends in zeros over several tensors (a crash before the data was on disk?)."
        ],
    );
    check(
        FolderFacts { weights: zeros, ..quiet_final(1) },
        expect![
            "All its files are whole. It counts as complete in 1.0 s if nothing changes until then."
        ],
    );
}

#[test]
fn what_cannot_be_read_is_never_called_incomplete() {
    let no = |name: &str| FileFact::Unreadable(format!("`{name}` may not be read by this user"));
    check(
        FolderFacts { config: no("config.json"), weights: None, ..whole() },
        expect![
            "It cannot be judged, because it cannot be read: `config.json` may not be read by this user."
        ],
    );
    let unreadable = WeightsState::Unreadable("`model.safetensors` may not be read".into());
    check(
        FolderFacts {
            weights: Some(weights(unreadable)),
            trainer_state: FileFact::Unreadable("`trainer_state.json` may not be read".into()),
            ..whole()
        },
        expect![
            "It cannot be judged, because it cannot be read: `model.safetensors` may not be read; `trainer_state.json` may not be read."
        ],
    );
}

#[test]
fn a_final_model_settles_and_needs_no_trainer_state() {
    check(
        quiet_final(1),
        expect![
            "All its files are whole. It counts as complete in 1.0 s if nothing changes until then."
        ],
    );
    check(
        quiet_final(2),
        expect!["It is complete, with 1,048,576 bytes of weights in `model.safetensors`."],
    );
    assert!(matches!(
        assess(&quiet_final(0), now(), Duration::ZERO),
        Ok(WholeCheckpoint { training: None, .. })
    ));
    check(
        FolderFacts { weights: None, ..quiet_final(0) },
        expect!["It is incomplete: no weights."],
    );
}

#[test]
fn an_intermediate_checkpoint_does_not_settle() {
    let facts = FolderFacts { quiet_since: Some(now()), ..whole() };
    assert!(assess(&facts, now(), Duration::MAX).is_ok());
}

#[test]
fn entries_of_the_training_folder() {
    let pattern = Regex::new(r"_\d{8}_\d{6}$").unwrap();
    let entry = |name, is_folder| entry_of_training_folder(name, is_folder, &pattern);
    for run in ["diffusion_H512L2C128D2_20260223_203349", "x_20260101_000000", "ö_20260101_000000"]
    {
        assert_eq!(entry(run, true), TrainingEntry::Run(RunId::new(run)));
    }
    for (name, is_folder, reason) in [
        ("mrpc", true, r"does not have the name of a run (`run_pattern` is `_\d{8}_\d{6}$`)"),
        (".cache_20260101_000000", true, "is hidden"),
        ("x_20260101_000000", false, "is not a folder"),
    ] {
        assert_eq!(entry(name, is_folder), TrainingEntry::Ignored { reason: reason.into() });
    }
}

#[test]
fn entries_of_a_run_folder() {
    let run = RunId::new("x_20260101_000000");
    let entry = |name, is_folder| entry_of_run_folder(&run, name, is_folder);
    assert_eq!(entry("checkpoint-20", true), RunEntry::Checkpoint(CheckpointName::Step(20)));
    assert_eq!(entry("checkpoint-0", true), RunEntry::Checkpoint(CheckpointName::Step(0)));
    assert_eq!(entry(run.as_str(), true), RunEntry::FinalFolder);
    assert_eq!(entry("model.safetensors", false), RunEntry::ModelFile);
    for (name, is_folder) in [
        ("final", true),
        ("checkpoint-020", true),
        ("checkpoint-20.tmp", true),
        ("checkpoint-", true),
        ("checkpoint--1", true),
        ("checkpoint-99999999999999999999999", true),
        ("tmp-checkpoint-20", true),
        (".checkpoint-20", true),
        ("runs", true),
        ("checkpoint-20", false),
        ("x_20260101_000000", false),
        ("tokenizer.json", false),
        (".tmpAbCdEf", false),
    ] {
        assert!(matches!(entry(name, is_folder), RunEntry::Ignored { .. }), "{name}");
    }
}

#[test]
fn weights_are_chosen_as_transformers_does() {
    let choose = |names: &[&str]| choose_weights(|name| names.contains(&name));
    assert_eq!(choose(&["config.json"]), None);
    assert_eq!(choose(&["pytorch_model.bin.index.json"]), Some(WeightsForm::BinShards));
    assert_eq!(
        choose(&["pytorch_model.bin", "pytorch_model.bin.index.json"]),
        Some(WeightsForm::Bin)
    );
    assert_eq!(
        choose(&["pytorch_model.bin", "model.safetensors.index.json"]),
        Some(WeightsForm::SafetensorsShards)
    );
    assert_eq!(
        choose(&["model.safetensors.index.json", "model.safetensors"]),
        Some(WeightsForm::Safetensors)
    );
}

#[test]
fn key_files_decide_and_others_do_not() {
    for name in [
        "config.json",
        "trainer_state.json",
        "checkpoint-is-incomplete.txt",
        "model-00001-of-00002.safetensors",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model.bin.index.json",
    ] {
        assert!(is_key_file(name), "{name}");
    }
    for name in
        ["training_args.bin", "optimizer.pt", "optimizer.bin", "tokenizer.json", ".tmp.safetensors"]
    {
        assert!(!is_key_file(name), "{name}");
    }
}

#[test]
fn numbers_are_grouped_by_three() {
    for (number, text) in
        [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567"), (100_000, "100,000")]
    {
        assert_eq!(crate::model::numbers::grouped(number), text);
    }
}

fn sighting(conditions: Vec<Condition>) -> RunSighting {
    let checkpoints = conditions.into_iter().enumerate().map(|(step, condition)| {
        let name = CheckpointName::Step(step as u64);
        CheckpointSighting {
            name,
            folder: name.to_string().into(),
            signature: 0,
            newest_change: None,
            newest_modified: None,
            condition,
        }
    });
    RunSighting {
        run: RunId::new("x_20260101_000000"),
        identity: FolderIdentity { device: 1, inode: 2 },
        training_folder: FolderIdentity { device: 1, inode: 1 },
        newest_modified: None,
        checkpoints: checkpoints.collect(),
    }
}

#[test]
fn a_run_without_configuration_and_weights_anywhere_holds_no_model() {
    let bare = FolderFacts {
        config: FileFact::Missing,
        weights: None,
        trainer_state: FileFact::Missing,
        ..whole()
    };
    assert!(!holds_model(&sighting(vec![])));
    assert!(!holds_model(&sighting(vec![condition(&bare), condition(&bare)])));
    let with_config = FolderFacts { config: whole().config, ..bare.clone() };
    assert!(holds_model(&sighting(vec![condition(&bare), condition(&with_config)])));
    let broken_config =
        FolderFacts { config: FileFact::Invalid("is empty".into()), ..bare.clone() };
    assert!(holds_model(&sighting(vec![condition(&broken_config)])));
    let with_weights = FolderFacts { weights: whole().weights, ..bare };
    assert!(holds_model(&sighting(vec![condition(&with_weights)])));
    assert!(holds_model(&sighting(vec![condition(&whole())])));
}

#[test]
fn possible_siblings_are_those_within_a_quarter_of_an_hour() {
    let window = |run: &str| {
        possible_siblings(&RunId::new(run)).map(|(first, last)| format!("{first} … {last}"))
    };
    assert_eq!(
        window("a_H64_20261231_235000").as_deref(),
        Some("a_H64_20261231_233500 … a_H64_20270101_000500")
    );
    assert_eq!(window("no_stamp"), None);
}

#[test]
fn rank_shadows_stand_near_a_sibling_with_a_model() {
    let check = |run: &str, holds: bool, siblings: &[(&str, bool)], expected: Option<&str>| {
        let siblings: Vec<_> =
            siblings.iter().map(|(name, holds)| (RunId::new(*name), *holds)).collect();
        let siblings = siblings.iter().map(|(run, holds)| (run, *holds));
        let shadow = rank_shadow(&RunId::new(run), holds, siblings);
        assert_eq!(shadow, expected.map(RunId::new), "{run}");
    };
    let near = ("x_H64_20260101_120000", true);
    check("x_H64_20260101_120010", false, &[near], Some(near.0));
    check("x_H64_20260101_114500", false, &[near], Some(near.0));
    check("x_H64_20260101_114459", false, &[near], None);
    check("x_H64_20260101_121501", false, &[near], None);
    // The clocks of two processes may stand on both sides of midnight.
    check(
        "x_H64_20251231_235959",
        false,
        &[("x_H64_20260101_000003", true)],
        Some("x_H64_20260101_000003"),
    );
    check("x_H64_20260101_120010", true, &[near], None);
    check("x_H64_20260101_120010", false, &[("x_H64_20260101_120000", false)], None);
    check("x_H32_20260101_120010", false, &[near], None);
    check("x_H64_20260101_120010", false, &[("x_H64_20260101_120010", true)], None);
    check("no stamp", false, &[near], None);
    // The nearest one is the most likely.
    check(
        "x_H64_20260101_120010",
        false,
        &[("x_H64_20260101_115500", true), near, ("x_H64_20260101_120100", true)],
        Some(near.0),
    );
}
