//! The registered scripts: what is missing in one, and which stands twice.

use std::collections::BTreeSet;

use super::check::Finding;
use super::lists::{EVALUATION_SCRIPTS, TRAINING_SCRIPTS};
use super::problem::Fault;
use super::raw::{RawEvaluationScript, RawTrainingScript};
use super::{EvaluationScript, Platform, TrainingScript};

/// Returns the scripts that start trainings, and states what is wrong with the others.
pub(super) fn training_scripts(
    raw: Vec<RawTrainingScript>,
    findings: &mut Vec<Finding>,
) -> Vec<TrainingScript> {
    let mut seen = BTreeSet::new();
    let mut scripts = Vec::new();
    for (position, script) in raw.into_iter().enumerate() {
        let known = path_and_platform(script.path, script.platform, &mut seen);
        match known.and_then(|known| Ok((known, script.model.ok_or_else(|| lacks("model"))?))) {
            Ok(((path, platform), model)) => scripts.push(TrainingScript { path, platform, model }),
            Err(fault) => findings.push((format!("{TRAINING_SCRIPTS}[{}]", position + 1), fault)),
        }
    }
    scripts
}

/// Returns the scripts that evaluate models, and states what is wrong with the others.
pub(super) fn evaluation_scripts(
    raw: Vec<RawEvaluationScript>,
    findings: &mut Vec<Finding>,
) -> Vec<EvaluationScript> {
    let mut seen = BTreeSet::new();
    let mut scripts = Vec::new();
    for (position, script) in raw.into_iter().enumerate() {
        let benchmarks = script.benchmarks;
        let known = path_and_platform(script.path, script.platform, &mut seen);
        let known = known.and_then(|known| {
            if benchmarks.is_empty() { Err(lacks("benchmarks")) } else { Ok(known) }
        });
        match known {
            Ok((path, platform)) => scripts.push(EvaluationScript { path, platform, benchmarks }),
            Err(fault) => findings.push((format!("{EVALUATION_SCRIPTS}[{}]", position + 1), fault)),
        }
    }
    scripts
}

fn path_and_platform(
    path: Option<String>,
    platform: Option<Platform>,
    seen: &mut BTreeSet<String>,
) -> Result<(String, Platform), Fault> {
    let path = path.ok_or_else(|| lacks("path"))?;
    let platform = platform.ok_or_else(|| lacks("platform"))?;
    if !seen.insert(path.clone()) {
        return Err(Fault::new("has the `path` of an earlier one"));
    }
    Ok((path, platform))
}

fn lacks(field: &str) -> Fault {
    Fault::new(format!("has no `{field}`"))
}
