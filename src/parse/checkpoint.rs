//! What a checkpoint's `config.json` and `trainer_state.json` say.
//!
//! Both are written by Hugging Face transformers (4.57 and 5.23 were seen). `trainer_state.json`
//! holds bare `NaN` and `Infinity` once a run has diverged.

use super::json::{self, Json};
use crate::model::checkpoint::{LossEntry, ModelConfig, TrainingPoint};
use crate::model::shell_log::LogMetricKind;
use crate::model::training::TrainerMetric;

/// Values of an entry of the log history that are kept, and the longest name of one, in bytes.
const MAX_VALUES: usize = 16;
const MAX_NAME_BYTES: usize = 64;

/// Reads `config.json`. Keys that are missing or of another type are `None`.
///
/// The error says what is wrong with the file, as the predicate of a sentence about it.
pub fn model_config(bytes: &[u8]) -> Result<ModelConfig, String> {
    let config = object(bytes)?;
    let number = |key| config.get(key).and_then(Json::as_u64);
    let architectures = config.get("architectures").and_then(Json::as_array);
    let architecture = architectures.and_then(|all| all.first()?.as_str());
    Ok(ModelConfig {
        architecture: architecture.map(str::to_owned),
        concepts: number("concept_num"),
        hidden: number("hidden_size"),
        layers: number("num_hidden_layers"),
        max_sequence_length: number("max_sequence_length"),
    })
}

/// Reads `trainer_state.json`, which must hold an integer `global_step`.
///
/// The losses are those of the last entries of `log_history` that have them. A loss alone says
/// little: the trainer's NaN filter logs 0.0 for a loss that is NaN, and only `grad_norm` shows it.
/// `not_finite` therefore names every value that is NaN or infinite in the entries of the last
/// logged step, training and evaluation alike.
///
/// The error says what is wrong with the file, as the predicate of a sentence about it.
pub fn training_point(bytes: &[u8]) -> Result<TrainingPoint, String> {
    let state = object(bytes)?;
    let step = state.get("global_step").and_then(Json::as_u64);
    let step = step.ok_or("has no integer `global_step`")?;
    let history = state.get("log_history").and_then(Json::as_array).unwrap_or_default();
    let last_with = |key| history.iter().rev().find(|entry| number(entry, key).is_some());
    let training = last_with("loss").unwrap_or(&Json::Null);
    let evaluation = last_with("eval_loss").unwrap_or(&Json::Null);
    Ok(TrainingPoint {
        step,
        total_steps: state.get("max_steps").and_then(Json::as_u64).filter(|steps| *steps > 0),
        epoch: number(&state, "epoch"),
        loss: number(training, "loss"),
        loss_step: training.get("step").and_then(Json::as_u64),
        grad_norm: number(training, "grad_norm"),
        learning_rate: number(training, "learning_rate"),
        eval_loss: number(evaluation, "eval_loss"),
        eval_step: evaluation.get("step").and_then(Json::as_u64),
        not_finite: not_finite(history),
    })
}

/// Reads the losses of `log_history` in `trainer_state.json`, in their order.
///
/// The error says what is wrong with the file, as the predicate of a sentence about it.
pub fn loss_history(bytes: &[u8]) -> Result<Vec<LossEntry>, String> {
    let state = object(bytes)?;
    let history = state.get("log_history").and_then(Json::as_array).unwrap_or_default();
    let entry = |entry: &Json| {
        let step = entry.get("step").and_then(Json::as_u64)?;
        let (loss, eval_loss) = (number(entry, "loss"), number(entry, "eval_loss"));
        (loss.is_some() || eval_loss.is_some()).then_some(LossEntry { step, loss, eval_loss })
    };
    Ok(history.iter().filter_map(entry).collect())
}

/// Reads the newest entries of `log_history` in `trainer_state.json`, at most so many, in their order.
/// An entry that is no line of training, no evaluation and no summary is left out.
///
/// The error says what is wrong with the file, as the predicate of a sentence about it.
pub fn metric_history(bytes: &[u8], newest: usize) -> Result<Vec<TrainerMetric>, String> {
    let state = object(bytes)?;
    let history = state.get("log_history").and_then(Json::as_array).unwrap_or_default();
    let mut metrics: Vec<TrainerMetric> =
        history.iter().rev().filter_map(trainer_metric).take(newest).collect();
    metrics.reverse();
    Ok(metrics)
}

fn trainer_metric(entry: &Json) -> Option<TrainerMetric> {
    let Json::Object(members) = entry else { return None };
    let step = entry.get("step").and_then(Json::as_u64)?;
    let has = |key| number(entry, key).is_some();
    let kind = if has("train_runtime") {
        LogMetricKind::Summary
    } else if members.iter().any(|(name, _)| name.starts_with("eval_")) {
        LogMetricKind::Eval
    } else if has("loss") || has("grad_norm") {
        LogMetricKind::Train
    } else {
        return None;
    };
    let values = members.iter().filter(|(name, _)| name != "step" && name.len() <= MAX_NAME_BYTES);
    let values = values.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
    Some(TrainerMetric { step, kind, values: values.take(MAX_VALUES).collect() })
}

fn object(bytes: &[u8]) -> Result<Json, String> {
    let value = json::parse(bytes).map_err(|problem| problem.to_string())?;
    if value.is_object() { Ok(value) } else { Err("is not a JSON object".to_owned()) }
}

fn number(object: &Json, key: &str) -> Option<f64> {
    object.get(key).and_then(Json::as_f64)
}

/// Names the values that are not finite in the entries of the last logged step, each once.
fn not_finite(history: &[Json]) -> Vec<String> {
    let Some((last, earlier)) = history.split_last() else { return Vec::new() };
    let step = last.get("step").and_then(Json::as_u64);
    let same_step =
        |entry: &&Json| step.is_some() && entry.get("step").and_then(Json::as_u64) == step;
    let of_the_step = earlier.iter().rev().take_while(same_step).count();
    let mut names = Vec::new();
    for entry in history.iter().skip(earlier.len() - of_the_step) {
        let Json::Object(members) = entry else { continue };
        for (name, value) in members {
            let bad = value.as_f64().is_some_and(|number| !number.is_finite());
            if bad && !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests;
