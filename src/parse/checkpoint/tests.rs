//! Tests of the readers of `config.json` and `trainer_state.json`.

use proptest::prelude::*;

use super::super::captures;
use super::*;

fn config(architecture: &str, numbers: [u64; 4]) -> ModelConfig {
    let [concepts, hidden, layers, max_sequence_length] = numbers.map(Some);
    let architecture = Some(architecture.to_owned());
    ModelConfig { architecture, concepts, hidden, layers, max_sequence_length }
}

#[test]
fn reads_configurations() {
    for (text, expected) in [
        (
            include_str!("../../../tests/fixtures/parse/config.diffusion_H64C128.json"),
            config("ConceptEncoderForMaskedDiffusion", [128, 64, 2, 64]),
        ),
        (
            include_str!("../../../tests/fixtures/parse/config.perceiver_H512C128.json"),
            config("ConceptEncoderForMaskedLMPerceiverPosOnly", [128, 512, 6, 2048]),
        ),
        ("{}", ModelConfig::default()),
        (r#"{"architectures":[],"concept_num":"32","hidden_size":64.5}"#, ModelConfig::default()),
        (r#"{"architectures":"A","concept_num":-1,"hidden_size":null}"#, ModelConfig::default()),
    ] {
        assert_eq!(model_config(text.as_bytes()), Ok(expected), "{text}");
    }
    for (text, expected) in [
        ("[]", "is not a JSON object"),
        ("{\"concept_num\": 1", "ends in the middle at byte 17"),
        ("", "ends in the middle at byte 0"),
    ] {
        assert_eq!(model_config(text.as_bytes()), Err(expected.to_owned()), "{text}");
    }
}

#[test]
fn reads_where_training_stood() {
    let bytes = include_bytes!("../../../tests/fixtures/parse/trainer_state.healthy.json");
    let expected = TrainingPoint {
        step: 45,
        total_steps: Some(490),
        epoch: Some(0.091_836_734_693_877_56),
        loss: Some(8.0823),
        loss_step: Some(45),
        grad_norm: Some(1.610_286_116_600_036_6),
        learning_rate: Some(0.000_23),
        eval_loss: Some(8.0529),
        eval_step: Some(40),
        not_finite: vec![],
    };
    assert_eq!(training_point(bytes), Ok(expected));
}

/// A diverged run logs a loss of 0.0 because the trainer filters NaN losses; the gradient norm and
/// the evaluation loss tell the truth.
#[test]
fn a_diverged_run_names_what_is_not_finite() {
    let bytes = include_bytes!("../../../tests/fixtures/parse/trainer_state.diverged.json");
    let point = training_point(bytes).unwrap();
    assert_eq!((point.step, point.loss_step, point.eval_step), (10, Some(10), Some(10)));
    assert_eq!(point.loss, Some(0.0));
    assert!(point.grad_norm.unwrap().is_nan());
    assert!(point.eval_loss.unwrap().is_nan());
    assert_eq!(point.not_finite, ["grad_norm", "eval_loss"]);
}

fn names(history: &str) -> Result<Vec<String>, String> {
    let state = format!(r#"{{"global_step": 9, "log_history": [{history}]}}"#);
    training_point(state.as_bytes()).map(|point| point.not_finite)
}

#[test]
fn only_the_last_logged_step_counts_as_not_finite() {
    for (history, expected) in [
        ("", &[][..]),
        (r#"{"loss": NaN, "step": 1}, {"loss": 1, "step": 2}"#, &[]),
        (r#"{"loss": NaN, "step": 1}, {"eval_loss": 1, "step": 2}"#, &[]),
        (r#"{"loss": NaN, "step": 2}, {"eval_loss": 1, "step": 2}"#, &["loss"]),
        (
            r#"{"grad_norm": Infinity, "step": 2}, {"grad_norm": NaN, "x": -Infinity, "step": 2}"#,
            &["grad_norm", "x"],
        ),
        (r#"{"loss": NaN}, {"grad_norm": NaN}"#, &["grad_norm"]),
        (r#"1, {"loss": "nan"}, null"#, &[]),
    ] {
        let expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(names(history), Ok(expected), "{history}");
    }
}

#[test]
fn an_unusable_state_says_why() {
    for (text, expected) in [
        ("{}", "has no integer `global_step`"),
        (r#"{"global_step": 1.5}"#, "has no integer `global_step`"),
        (r#"{"global_step": "20"}"#, "has no integer `global_step`"),
        ("null", "is not a JSON object"),
        (r#"{"global_step": 20, "log_his"#, "ends in the middle at byte 28"),
    ] {
        assert_eq!(training_point(text.as_bytes()), Err(expected.to_owned()), "{text}");
    }
    let odd = br#"{"global_step": 20, "max_steps": -1, "log_history": {"loss": 1}}"#;
    assert_eq!(training_point(odd), Ok(TrainingPoint { step: 20, ..TrainingPoint::default() }));
}

#[test]
fn reads_the_captured_files() {
    for (name, step, not_finite) in [
        ("trainer_state.diffusion.json", 40, &[][..]),
        ("trainer_state.tf5_diffusion.json", 10, &[]),
        ("trainer_state.nan_diverged.json", 60, &["grad_norm", "eval_loss"]),
    ] {
        let Some(bytes) = captures::read(&format!("checkpoints/{name}")) else { return };
        let point = training_point(&bytes).unwrap();
        assert_eq!(
            (point.step, point.not_finite.as_slice()),
            (step, not_finite_names(not_finite).as_slice())
        );
        assert_eq!((point.loss_step, point.eval_step), (Some(step), Some(step)));
    }
    for (name, concepts) in [("diffusion", 128), ("perceiver_mlm", 128), ("weighted_mlm", 32)] {
        let Some(bytes) = captures::read(&format!("checkpoints/config.{name}.json")) else {
            return;
        };
        let config = model_config(&bytes).unwrap();
        assert_eq!(
            (config.concepts, config.hidden, config.layers),
            (Some(concepts), Some(64), Some(2))
        );
        assert!(config.architecture.unwrap().starts_with("ConceptEncoderForMasked"));
        assert_eq!(config.max_sequence_length, Some(64));
    }
}

fn not_finite_names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

proptest! {
    #[test]
    fn a_state_that_was_cut_off_is_no_state(length in 0_usize..1200) {
        let whole = include_bytes!("../../../tests/fixtures/parse/trainer_state.healthy.json");
        prop_assert!(length >= whole.len() - 1 || training_point(&whole[..length]).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _any: Result<_, String> = model_config(&bytes);
        let _any: Result<_, String> = training_point(&bytes);
    }
}

#[test]
fn the_losses_of_the_log_history_come_in_its_order() {
    let state = br#"{"global_step": 20, "log_history": [
        {"step": 10, "loss": 8.5, "grad_norm": 1.0}, {"step": 10, "eval_loss": 8.25, "epoch": 1},
        {"step": 20, "loss": NaN}, {"loss": 1.0}, {"step": 20, "train_runtime": 4.7}, 7]}"#;
    let found = loss_history(state).unwrap();
    let shown: Vec<_> = found.iter().map(|one| (one.step, one.loss, one.eval_loss)).collect();
    let expected = [(10, Some(8.5), None), (10, None, Some(8.25))];
    assert_eq!(shown.get(..2), Some(expected.as_slice()));
    assert!(shown.len() == 3 && found[2].loss.is_some_and(f64::is_nan), "{shown:?}");
    assert_eq!(loss_history(b"{}"), Ok(vec![]));
    assert!(loss_history(b"[]").is_err() && loss_history(b"{").is_err());
}
