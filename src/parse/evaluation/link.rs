//! Which model a report is about.

use crate::model::evaluation::{EvaluatedModel, EvaluationReport};
use crate::model::ids::{CheckpointName, RunId};

/// Returns which model of which run a report is about: by the run that its metadata names, by its
/// model's path, or by the model in its file's name. `is_known` says whether a run is known;
/// `by_clean_name` finds the known run whose [`clean_name`] this is, if there is exactly one.
///
/// A name in the form of a run's id needs not be known: models are evaluated on other hosts.
///
/// # Errors
/// Says why that cannot be told.
pub fn model_of(
    report: &EvaluationReport,
    is_known: &dyn Fn(&RunId) -> bool,
    by_clean_name: &dyn Fn(&str) -> Option<RunId>,
) -> Result<EvaluatedModel, String> {
    let is_run = |name: &&str| {
        let run = RunId::new(*name);
        run.stamp().is_some() || is_known(&run)
    };
    let parts = |path: &'_ str| -> Vec<String> {
        path.rsplit(['/', '\\']).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let path = report.model.as_deref().map(parts).unwrap_or_default();
    let claimed = report.claimed_run.as_deref().filter(is_run);
    let of_path = path.iter().map(String::as_str).find(is_run);
    if let (Some(claimed), Some(of_path)) = (claimed, of_path)
        && claimed != of_path
    {
        return Err(format!("its metadata names `{claimed}` and its model's path `{of_path}`"));
    }
    let of_name = Some(report.name_of_model.as_str()).filter(is_run);
    let run = claimed.or(of_path).or(of_name).map(RunId::new);
    let Some(run) = run.or_else(|| by_clean_name(&report.name_of_model)) else {
        let named = report.claimed_run.as_deref().or(report.model.as_deref());
        return Err(match named {
            Some(named) => format!("`{named}` names no run"),
            None => "it does not say which model was evaluated".to_owned(),
        });
    };
    let names = path.iter().map(String::as_str).chain(report.claimed_run.as_deref());
    let step = names.chain([report.name_of_model.as_str()]).find_map(step);
    Ok(EvaluatedModel { run, checkpoint: step.unwrap_or(CheckpointName::Final) })
}

fn step(name: &str) -> Option<CheckpointName> {
    name.parse().ok().filter(|name: &CheckpointName| name.step().is_some())
}

/// Returns a run's id as the GLUE program spells it in file names: lower case, and single dashes in
/// place of everything else.
pub fn clean_name(run: &str) -> String {
    let dashed = run.to_lowercase().replace(['_', ' ', '.'], "-");
    dashed.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}
