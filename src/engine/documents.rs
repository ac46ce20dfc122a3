//! What the experiment log and the run reports get of a decision.

use std::path::{Component, Path, PathBuf};

use crate::document::{Links, cells, note};
use crate::model::checkpoint::{Condition, ModelConfig, RunSighting};
use crate::model::ids::{CheckpointName, RunId};
use crate::model::journal::Change;
use crate::model::measurement::{GLOBAL_EFFECTIVE_RANK, Verdict};
use crate::model::observation::{CellFill, DocumentEdit, Observation, RunColumn};
use crate::model::time::Moment;

use super::Decisions;
use super::world::{Run, RunFacts, World};

/// The row of a run that was just seen for the first time: its date and architecture.
pub(super) fn first_row(world: &World, sighting: &RunSighting, out: &mut Decisions) {
    let config = sighting.checkpoints.iter().find_map(|seen| match &seen.condition {
        Condition::Complete(complete) => Some(&complete.config),
        _ => None,
    });
    let mut fills = vec![CellFill {
        column: RunColumn::Date,
        value: sighting
            .run
            .stamp()
            .map_or_else(|| world.now.date_form(), |stamp| stamp.strftime("%Y-%m-%d").to_string()),
    }];
    fills.extend(config.and_then(architecture_fill));
    run_row(world, &sighting.run, fills, out);
}

fn architecture_fill(config: &ModelConfig) -> Option<CellFill> {
    let value = cells::architecture(config)?;
    Some(CellFill { column: RunColumn::Architecture, value })
}

fn run_row(world: &World, run: &RunId, fills: Vec<CellFill>, out: &mut Decisions) {
    let log = world.settings.log;
    let wanted = if log.fill_run_row { fills } else { Vec::new() };
    if wanted.is_empty() && !log.add_missing_rows {
        return;
    }
    let (run, add_missing) = (run.clone(), log.add_missing_rows);
    let edit = DocumentEdit::RunRow { run, fills: wanted, add_missing };
    out.transaction.documents.push(edit);
}

/// Takes in what a run's own files say of it, and fills the machine's cell.
pub(super) fn run_facts(world: &mut World, id: &RunId, facts: RunFacts, out: &mut Decisions) {
    let configured = world.settings.machine.clone();
    let run = world.run_mut(id);
    let before = std::mem::replace(&mut run.facts, facts);
    let machine = configured.or_else(|| run.facts.machine.clone());
    let wandb = run.facts.wandb_url.clone().filter(|_| before.wandb_url.is_none());
    if !run.is_live() {
        return;
    }
    let mut fills = Vec::new();
    if before.machine.is_none()
        && let Some(value) = machine
    {
        fills.push(CellFill { column: RunColumn::Machine, value });
    }
    if let Some(url) = wandb {
        fills.push(CellFill { column: RunColumn::WandbLink, value: format!("[W&B]({url})") });
    }
    if !fills.is_empty() {
        run_row(world, id, fills, out);
    }
}

/// Everything that the documents get of an observation.
pub(super) fn observed(
    world: &mut World,
    observation: &Observation,
    now: Moment,
    out: &mut Decisions,
) {
    if world.settings.log.observations {
        let row = cells::observation_row(observation);
        out.transaction.documents.push(DocumentEdit::ObservationRow(row));
    }
    let id = observation.checkpoint.run.clone();
    let fills = result_fills(world.run_mut(&id));
    if !fills.is_empty() {
        run_row(world, &id, fills, out);
    }
    if world.settings.log.failure_notes {
        failure_note(world, observation, now, out);
    }
}

/// The rank and loss of the final model, else of the highest step that was analyzed.
fn result_fills(run: &Run) -> Vec<CellFill> {
    let believed = |observation: &&Observation| {
        let judgment = observation.judgment();
        judgment.is_some_and(|judgment| {
            let measured = judgment.rank.as_ref();
            judgment.verdict != Verdict::Unknown
                && measured.is_some_and(|rank| rank.measurement == GLOBAL_EFFECTIVE_RANK)
        })
    };
    let newest = |one: &&Observation| (one.checkpoint.name, one.time);
    let measured = run.observations.iter().filter(believed).max_by_key(newest);
    let trained = run
        .observations
        .iter()
        .filter(|observation| observation.checkpoint.name != CheckpointName::Final)
        .max_by_key(newest);
    let loss = trained.and_then(cells::task_loss_fill);
    measured.and_then(cells::effective_rank_fill).into_iter().chain(loss).collect()
}

/// The first failing observation of a kind makes one note; later ones are observations like any
/// other.
fn failure_note(world: &mut World, observation: &Observation, now: Moment, out: &mut Decisions) {
    let Some(judgment) = observation.judgment() else { return };
    let Some(kind) = judgment.failure_kind.clone() else { return };
    let id = observation.checkpoint.run.clone();
    let machine = world.settings.machine.clone();
    let links = links(world);
    let run = world.run_mut(&id);
    if run.notes.contains_key(&kind) {
        return;
    }
    let file = note::note_file(&id, now, &kind);
    let facts = note::NoteFacts {
        observation,
        trajectory: &run.observations,
        machine: machine.or_else(|| run.facts.machine.clone()),
        wandb: run.facts.wandb_url.clone(),
        shell_log: run.facts.shell_log.clone(),
        git_commit: None,
        git_tag: None,
        evidence: observation.conditions.clone(),
    };
    let text = note::failure_note(&facts);
    run.notes.insert(kind.clone(), file.clone());
    let documents = &mut out.transaction.documents;
    documents.push(DocumentEdit::FailureNote { run: id.clone(), file: file.clone(), text });
    if let Some(summary) = cells::failure_summary(observation) {
        let (run, file) = (id.clone(), file.clone());
        documents.push(DocumentEdit::FailureLine { run, file, summary });
    }
    let conclusion = cells::conclusion_fill(observation, &file, &links);
    out.transaction.changes.push(Change::NoteDecided { run: id.clone(), kind, file });
    if let Some(conclusion) = conclusion {
        run_row(world, &id, vec![conclusion], out);
    }
}

/// Returns the run reports folder as seen from the experiment log's folder.
fn links(world: &World) -> Links {
    let paths = &world.settings.paths;
    let folder = paths.experiment_log.parent().unwrap_or(Path::new(""));
    Links { reports: relative(folder, &paths.run_reports) }
}

/// Writes `to` as seen from the folder `from`; both absolute.
pub(super) fn relative(from: &Path, to: &Path) -> String {
    let from: Vec<Component<'_>> = from.components().collect();
    let to: Vec<Component<'_>> = to.components().collect();
    let shared = from.iter().zip(&to).take_while(|(left, right)| left == right).count();
    let ups = from.iter().skip(shared).map(|_| Component::ParentDir);
    let path: PathBuf = ups.chain(to.iter().skip(shared).copied()).collect();
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_relative_to_the_logs_folder() {
        for (from, to, link) in [
            ("/p/docs/2", "/p/docs/2/run_reports", "run_reports"),
            ("/p/docs/2", "/p/docs/reports", "../reports"),
            ("/p", "/q/r", "../q/r"),
        ] {
            assert_eq!(relative(Path::new(from), Path::new(to)), link);
        }
    }
}
