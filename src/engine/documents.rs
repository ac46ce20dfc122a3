//! What the experiment log and the run reports get of a decision.

use std::cmp::Reverse;
use std::path::{Component, Path, PathBuf};

use crate::document::{Links, cells, note};
use crate::model::checkpoint::{Condition, ModelConfig, RunSighting};
use crate::model::ids::{CheckpointId, RunId};
use crate::model::journal::{Change, FoundFacts, RunFacts};
use crate::model::observation::{CellFill, DocumentEdit, Observation, RunColumn};
use crate::model::shell_log::{LogMetric, LogMetricKind};
use crate::model::time::Moment;
use crate::parse::run_metrics::is_printed_as;

use super::world::{Run, World};
use super::{Decisions, Effect, evaluations, training, wandb_facts};

/// Runs whose newest metrics are remembered.
const HISTORIES: usize = 64;

/// The row of a run that was just seen for the first time: its date and architecture.
pub(super) fn first_row(world: &World, sighting: &RunSighting, out: &mut Decisions) {
    let config = sighting.checkpoints.iter().find_map(|seen| match &seen.condition {
        Condition::Complete(complete) => Some(&complete.config),
        _ => None,
    });
    let date = date_fill(&sighting.run, world.now);
    let fills = [date].into_iter().chain(config.and_then(architecture_fill)).collect();
    run_row(world, &sighting.run, fills, out);
}

/// The day of the run's own stamp; without one, the day on which it was first seen.
fn date_fill(run: &RunId, first_seen: Moment) -> CellFill {
    let stamped = run.stamp().map(|stamp| stamp.strftime("%Y-%m-%d").to_string());
    CellFill { column: RunColumn::Date, value: stamped.unwrap_or_else(|| first_seen.date_form()) }
}

/// Returns all that is known for the cells of a run's row; `None` for a run that is not known. Its
/// observations are given whole, oldest first.
pub fn row_fills(world: &World, id: &RunId, observations: &[Observation]) -> Option<Vec<CellFill>> {
    let run = world.runs.get(id)?;
    let first_seen = run.known.as_ref().map_or(world.now, |known| known.first_seen);
    let owed = run.contents.all_owed().next().map(|content| &content.owed.complete.config);
    let config = observations.last().map(|newest| &newest.config).or(owed);
    let architecture = config.and_then(architecture_fill);
    let (speed, loss) = training::results(world, id).unwrap_or_default();
    let mut fills = vec![date_fill(id, first_seen)];
    fills.extend(architecture);
    fills.extend(facts_fills(&run.facts()));
    fills.extend(speed.and_then(cells::speed_fill));
    fills.extend(loss.and_then(cells::loss_fill));
    fills.extend(run.observations.result_fills());
    fills.extend(evaluations::glue(world, id));
    fills.extend(first_failure(world, run, observations));
    Some(fills)
}

/// The conclusion that the first failed observation came to, if a note was written about it.
fn first_failure(world: &World, run: &Run, observations: &[Observation]) -> Option<CellFill> {
    let failed = |one: &'_ Observation| one.judgment().and_then(|one| one.failure_kind.clone());
    let (first, kind) = observations.iter().find_map(|one| Some((one, failed(one)?)))?;
    cells::conclusion_fill(first, run.notes.get(&kind)?, &links(world))
}

/// The cells of what a run's own files say of it.
fn facts_fills(facts: &RunFacts) -> impl Iterator<Item = CellFill> {
    let machine = facts.machine.clone();
    let machine = machine.map(|value| CellFill { column: RunColumn::Machine, value });
    let link = facts.wandb_url.as_deref().and_then(cells::wandb_fill);
    let tag = facts.git_tag.as_deref().and_then(cells::git_tag_fill);
    machine.into_iter().chain(link).chain(tag)
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
    // A run gets a row with its first complete checkpoint.
    let is_known = world.runs.get(run).is_some_and(|run| run.known.is_some());
    let (run, add_missing) = (run.clone(), log.add_missing_rows && is_known);
    let headers = log.headers.clone();
    let edit = DocumentEdit::RunRow { run, fills: wanted, add_missing, headers };
    out.transaction.documents.push(edit);
}

/// Takes in what a run's own files say of it.
pub(super) fn run_facts(world: &mut World, id: &RunId, found: FoundFacts, out: &mut Decisions) {
    let run = world.run_mut(id);
    if run.is_live() {
        run.history = found.history;
        forget_old_histories(world);
        learn_facts(world, id, found.facts, out);
        wandb_facts::learn(world, id, found.wandb, out);
        if wandb_facts::are_wanted(world, id) {
            out.effects.push(Effect::AskWandb(id.clone()));
        }
    }
}

/// The metrics of the runs that were written last are kept: hundreds of runs may be known.
fn forget_old_histories(world: &mut World) {
    let with_one = world.runs.values_mut().filter(|run| !run.history.is_empty());
    let mut with_one: Vec<&mut Run> = with_one.collect();
    with_one.sort_by_key(|run| Reverse(run.newest_change));
    for run in with_one.into_iter().skip(HISTORIES) {
        run.history = Vec::new();
    }
}

/// Takes in what a run's newest shell log says of it.
pub(super) fn log_facts(world: &mut World, id: &RunId, out: &mut Decisions) {
    let Some(run) = world.runs.get(id).filter(|run| run.is_live()) else { return };
    let Some(log) = training::newest_log(world, id, run) else { return };
    let url = log.training_of(id).and_then(|(_, training)| training.wandb_url.clone());
    let found =
        RunFacts { shell_log: Some(log.known.path.clone()), wandb_url: url, ..RunFacts::default() };
    learn_facts(world, id, found, out);
}

/// Fills the cells of what was not known before. What was known stays known when its source is
/// gone.
pub(super) fn learn_facts(world: &mut World, id: &RunId, found: RunFacts, out: &mut Decisions) {
    let configured = world.settings.machine.clone();
    let Some(known) = &mut world.run_mut(id).known else { return };
    let before = known.facts.clone();
    known.facts = RunFacts {
        machine: configured.or(found.machine).or(before.machine.clone()),
        shell_log: found.shell_log.or(before.shell_log.clone()),
        wandb_url: found.wandb_url.or(before.wandb_url.clone()),
        // The first answer stays: a tag that is made later was not the run's.
        git_commit: before.git_commit.clone().or(found.git_commit),
        git_tag: before.git_tag.clone().or(found.git_tag),
        begun: before.begun.clone(),
    };
    if known.facts == before {
        return;
    }
    out.transaction.changes.push(Change::Run(known.clone()));
    let old: Vec<CellFill> = facts_fills(&before).collect();
    let fills: Vec<CellFill> =
        facts_fills(&known.facts).filter(|fill| !old.contains(fill)).collect();
    if !fills.is_empty() {
        run_row(world, id, fills, out);
    }
}

/// Fills what a training that ended leaves: its speed, and its last loss.
pub(super) fn fill_results(
    world: &World,
    id: &RunId,
    (speed, loss): (Option<f64>, Option<f64>),
    out: &mut Decisions,
) {
    let speed = speed.and_then(cells::speed_fill);
    let fills: Vec<CellFill> = speed.into_iter().chain(loss.and_then(cells::loss_fill)).collect();
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
    let fills = world.run_mut(&id).observations.result_fills();
    if !fills.is_empty() {
        run_row(world, &id, fills, out);
    }
    if world.settings.log.failure_notes {
        failure_note(world, observation, now, out);
    }
    let facts = world.run_mut(&id).facts();
    if facts.git_commit.is_none() {
        out.effects.push(Effect::ReadRunFacts(id));
    }
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
    let facts = note::NoteFacts {
        observation,
        trajectory: &run.observations.trajectory(&id),
        files: run.facts().into(),
        evidence,
    };
    let text = note::failure_note(&facts);
    let conclusion = cells::conclusion_fill(observation, &file, &links);
    let summary = cells::failure_summary(observation);
    write_note(world, &id, DecidedNote { kind, file, text, summary, conclusion }, out);
}

/// A failure note with all that links to it.
pub(super) struct DecidedNote {
    pub(super) kind: String,
    pub(super) file: String,
    pub(super) text: String,
    /// The list item in the experiment log.
    pub(super) summary: Option<String>,
    /// The run's conclusion.
    pub(super) conclusion: Option<CellFill>,
}

/// Decides a note, once for each run and kind.
pub(super) fn write_note(world: &mut World, id: &RunId, note: DecidedNote, out: &mut Decisions) {
    let DecidedNote { kind, file, text, summary, conclusion } = note;
    world.run_mut(id).notes.insert(kind.clone(), file.clone());
    let documents = &mut out.transaction.documents;
    documents.push(DocumentEdit::FailureNote { run: id.clone(), file: file.clone(), text });
    if let Some(summary) = summary {
        let (run, file) = (id.clone(), file.clone());
        documents.push(DocumentEdit::FailureLine { run, file, summary });
    }
    out.transaction.changes.push(Change::NoteDecided { run: id.clone(), kind, file });
    if let Some(conclusion) = conclusion {
        run_row(world, id, vec![conclusion], out);
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
    let logged = logged(world, observation);
    checkpoint.into_iter().chain([report]).chain(logged).collect()
}

/// Returns what the shell log says of training and evaluation at a checkpoint: the last of each
/// that is not of a later step, or that says the same as the trainer's state.
fn logged(world: &World, observation: &Observation) -> Vec<String> {
    let id = &observation.checkpoint.run;
    let Some(point) = observation.training.as_ref() else { return Vec::new() };
    let log = world.runs.get(id).and_then(|run| training::newest_log(world, id, run));
    let Some(log) = log else { return Vec::new() };
    let Some((_, training)) = log.training_of(id) else { return Vec::new() };
    let last = |kind: LogMetricKind| {
        let mut of_kind = training.metrics.iter().filter(|one| one.kind == kind);
        let (name, value, step) = if kind == LogMetricKind::Eval {
            ("eval_loss", point.eval_loss, point.eval_step)
        } else {
            ("loss", point.loss, point.loss_step)
        };
        let printed = |one: &LogMetric| {
            one.values.iter().find(|(known, _)| known == name).map(|(_, text)| text.clone())
        };
        let fits = |one: &&LogMetric| match one.step {
            Some(step) => step <= point.step,
            None => {
                value.zip(printed(one)).is_some_and(|(value, text)| is_printed_as(value, &text))
            }
        };
        let one = of_kind.rfind(fits)?;
        let step = one.step.or(step).map_or_else(String::new, |step| format!(", step {step}"));
        Some(format!("{}, line {}{step}: {}", log.known.path, one.line, as_text(one)))
    };
    last(LogMetricKind::Train).into_iter().chain(last(LogMetricKind::Eval)).collect()
}

/// Prints `loss 8.6391, grad_norm 2.29`.
pub(super) fn as_text(metric: &LogMetric) -> String {
    let value = |(name, value): &(String, String)| format!("{name} {value}");
    metric.values.iter().map(value).collect::<Vec<_>>().join(", ")
}

/// Returns the run reports folder as seen from the experiment log's folder.
pub(super) fn links(world: &World) -> Links {
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
