//! What the experiment log and the run reports get of a decision.

use std::path::{Component, Path, PathBuf};

use crate::document::{Links, cells, note};
use crate::model::checkpoint::{Condition, ModelConfig, RunSighting};
use crate::model::ids::{CheckpointId, CheckpointName, RunId};
use crate::model::journal::{Change, LoggedMetric, RunFacts};
use crate::model::measurement::{GLOBAL_EFFECTIVE_RANK, Verdict};
use crate::model::observation::{CellFill, DocumentEdit, Observation, RunColumn};
use crate::model::time::Moment;

use super::world::{Run, World};
use super::{Decisions, Effect};

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
    let log = &world.settings.log;
    let wanted = if log.fill_run_row { fills } else { Vec::new() };
    if wanted.is_empty() && !log.add_missing_rows {
        return;
    }
    let (run, add_missing) = (run.clone(), log.add_missing_rows);
    let headers = log.headers.clone();
    let edit = DocumentEdit::RunRow { run, fills: wanted, add_missing, headers };
    out.transaction.documents.push(edit);
}

/// Takes in what a run's own files say of it, and fills the cells that were not known before. What
/// was known stays known when its source is gone.
pub(super) fn run_facts(world: &mut World, id: &RunId, found: RunFacts, out: &mut Decisions) {
    let configured = world.settings.machine.clone();
    let run = world.run_mut(id);
    if !run.is_live() {
        return;
    }
    let Some(known) = &mut run.known else { return };
    let before = known.facts.clone();
    known.facts = RunFacts {
        machine: configured.or(found.machine).or(before.machine.clone()),
        shell_log: found.shell_log.or(before.shell_log.clone()),
        wandb_url: found.wandb_url.or(before.wandb_url.clone()),
        // The first answer stays: a tag that is made later was not the run's.
        git_commit: before.git_commit.clone().or(found.git_commit),
        git_tag: before.git_tag.clone().or(found.git_tag),
        logged: if found.logged.is_empty() { before.logged.clone() } else { found.logged },
    };
    if known.facts == before {
        return;
    }
    out.transaction.changes.push(Change::Run(known.clone()));
    let fill = |column, value| CellFill { column, value };
    let machine = known.facts.machine.clone().filter(|_| known.facts.machine != before.machine);
    let url = known.facts.wandb_url.clone().filter(|_| known.facts.wandb_url != before.wandb_url);
    let machine = machine.map(|machine| fill(RunColumn::Machine, machine));
    let link = url.and_then(|url| cells::wandb_fill(&url));
    let tag = known.facts.git_tag.clone().filter(|_| known.facts.git_tag != before.git_tag);
    let tag = tag.and_then(|tag| cells::git_tag_fill(&tag));
    let fills: Vec<CellFill> = machine.into_iter().chain(link).chain(tag).collect();
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
    let facts = world.run_mut(&id).facts();
    if facts.shell_log.is_none() || facts.git_commit.is_none() {
        out.effects.push(Effect::ReadRunFacts(id));
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
    let links = links(world);
    let evidence = evidence(world, observation);
    let run = world.run_mut(&id);
    if run.notes.contains_key(&kind) {
        return;
    }
    let file = note::note_file(&id, now, &kind);
    let facts = run.facts();
    let facts = note::NoteFacts {
        observation,
        trajectory: &run.observations,
        machine: facts.machine,
        wandb: facts.wandb_url,
        shell_log: facts.shell_log,
        git_commit: facts.git_commit,
        git_tag: facts.git_tag,
        evidence,
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

/// Says where what was measured and what measured it can be looked at.
fn evidence(world: &World, observation: &Observation) -> Vec<String> {
    let paths = &world.settings.paths;
    let CheckpointId { run, name } = &observation.checkpoint;
    let reports = paths.state.join("reports").join(run.as_str()).join(name.to_string());
    let present = world.runs.get(run).and_then(|run| run.present.get(name));
    let folder = present.map(|present| relative(&paths.root, &present.folder));
    let report = format!("Report and output: {}", relative(&paths.root, &reports));
    let checkpoint = folder.map(|folder| format!("Checkpoint: {folder}"));
    let facts = world.runs.get(run).map(Run::facts).unwrap_or_default();
    checkpoint.into_iter().chain([report]).chain(logged(&facts, observation)).collect()
}

/// Returns what the shell log says of training and evaluation at a checkpoint: the last of each
/// that is not of a later step, or that says the same as the trainer's state.
fn logged(facts: &RunFacts, observation: &Observation) -> Vec<String> {
    let Some(point) = observation.training.as_ref() else { return Vec::new() };
    let log = facts.shell_log.as_deref().unwrap_or("shell log");
    let last = |is_evaluation: bool| {
        let mut of_kind = facts.logged.iter().filter(|one| one.is_evaluation == is_evaluation);
        let (name, value, step) = if is_evaluation {
            ("eval_loss", point.eval_loss, point.eval_step)
        } else {
            ("loss", point.loss, point.loss_step)
        };
        let same = value.map(|value| format!("{name} {value}"));
        let says_same =
            |one: &LoggedMetric| one.text.split(", ").any(|part| Some(part) == same.as_deref());
        let fits = |one: &&LoggedMetric| match one.step {
            Some(step) => step <= point.step,
            None => says_same(one),
        };
        let one = of_kind.rfind(fits)?;
        let step = one.step.or(step).map_or_else(String::new, |step| format!(", step {step}"));
        Some(format!("{log}, line {}{step}: {}", one.line, one.text))
    };
    last(false).into_iter().chain(last(true)).collect()
}

/// Returns the run reports folder as seen from the experiment log's folder.
fn links(world: &World) -> Links {
    let paths = &world.settings.paths;
    let folder = paths.experiment_log.parent().unwrap_or(Path::new(""));
    Links { reports: relative(folder, &paths.run_reports) }
}

/// Writes `to` as seen from the folder `from`; both absolute.
pub fn relative(from: &Path, to: &Path) -> String {
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
