//! Evaluation reports: whose they are, what the log gets of them, and where gates were overridden.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime};

use crate::document::{escape, scores};
use crate::model::evaluation::{
    EvaluatedModel, EvaluationNews, EvaluationReport, EvaluationSighting, GateOverride,
    KnownEvaluation, Suite, task_order,
};
use crate::model::event::{Happening, NewEvent};
use crate::model::ids::{CheckpointName, RunId};
use crate::model::journal::{Change, EvaluationMemory};
use crate::model::observation::{CellFill, DocumentEdit, EvaluationCells, EvaluationRow};
use crate::model::status::{ScoreStatus, UnlinkedReport};
use crate::model::time::Moment;
use crate::parse::evaluation::{clean_name, model_of};
use crate::settings::Adopt;

use super::Decisions;
use super::world::{Run, World};

/// Reports of one model that are further apart belong to two sweeps.
const SWEEP: SignedDuration = SignedDuration::from_hours(24);
/// Reports without a run that are shown.
const SHOWN_UNLINKED: usize = 20;

/// A report's name and task.
type Key = (String, String);

/// Everything that is known of evaluations.
#[derive(Debug, Default)]
pub(crate) struct Evaluations {
    /// By the reports' names and tasks.
    known: BTreeMap<Key, KnownEvaluation>,
    /// Which of them are of which run: a snapshot asks for every run.
    by_run: BTreeMap<RunId, Vec<Key>>,
    /// Where people went past a gate, oldest first.
    pub(crate) overrides: Vec<GateOverride>,
    /// Whether reports were ever looked for.
    pub(crate) looked: bool,
    /// Whether this life has read all that were there at its start.
    pub(crate) read: bool,
    /// What is wrong with their folder.
    pub(crate) problems: Vec<String>,
}

impl Evaluations {
    /// Takes up what the journal remembers.
    pub(crate) fn remembered(memory: EvaluationMemory) -> Self {
        let EvaluationMemory { reports, overrides, looked } = memory;
        let key = |one: KnownEvaluation| ((one.report.name.clone(), one.report.task.clone()), one);
        let known = reports.into_iter().map(key).collect();
        let mut own = Self { known, overrides, looked, ..Self::default() };
        own.index();
        own
    }

    fn index(&mut self) {
        self.by_run.clear();
        for (key, one) in &self.known {
            if let Ok(model) = &one.model {
                self.by_run.entry(model.run.clone()).or_default().push(key.clone());
            }
        }
    }

    fn of_run(&self, run: &RunId) -> impl Iterator<Item = &KnownEvaluation> {
        let keys = self.by_run.get(run).into_iter().flatten();
        keys.filter_map(|key| self.known.get(key))
    }
}

/// Takes in what looking at evaluations tells.
pub(super) fn news(world: &mut World, news: EvaluationNews, now: Moment, out: &mut Decisions) {
    match news {
        EvaluationNews::Problems(problems) => world.evaluations.problems = problems,
        EvaluationNews::AllRead => {
            world.evaluations.read = true;
            if !std::mem::replace(&mut world.evaluations.looked, true) {
                out.transaction.changes.push(Change::EvaluationsLooked);
            }
        }
        // They are asked for again when it can commit.
        _ if world.journal_problem.is_some() => world.missed_sightings = true,
        EvaluationNews::Overridden(one) => overridden(world, *one, out),
        EvaluationNews::Seen(seen) => {
            let EvaluationSighting { reports, digest, modified } = *seen;
            let is_old = match world.settings.analysis.adopt {
                Adopt::All => false,
                Adopt::YoungerThan(age) => !world.evaluations.looked && now.since(modified) > age,
            };
            for report in reports {
                let model = link(world, &report);
                let (digest, row) = (digest.clone(), None);
                let known = KnownEvaluation { report, digest, model, row, old: is_old };
                take(world, known, now, out);
            }
        }
    }
}

/// Looks again whose those reports are that belong to no run: runs have come since.
pub(super) fn relink(world: &mut World, now: Moment, out: &mut Decisions) {
    let unlinked = world.evaluations.known.values().filter(|one| one.model.is_err());
    for known in unlinked.cloned().collect::<Vec<_>>() {
        let model = link(world, &known.report);
        if model.is_ok() {
            take(world, KnownEvaluation { model, ..known }, now, out);
        }
    }
}

/// Gives everything of a renamed run to its new id, as the journal does.
pub(super) fn renamed(world: &mut World, from: &RunId, to: &RunId) {
    let of_reports = world.evaluations.known.values_mut();
    let of_reports = of_reports.filter_map(|one| one.model.as_mut().ok()).map(|m| &mut m.run);
    let of_overrides = world.evaluations.overrides.iter_mut().map(|one| &mut one.run);
    of_reports.chain(of_overrides).filter(|run| **run == *from).for_each(|run| *run = to.clone());
    world.evaluations.index();
}

/// Returns the newest score of each task: of the final model, else of the highest step that was
/// evaluated.
pub(super) fn newest<'a>(world: &'a World, run: &RunId) -> Vec<&'a EvaluationReport> {
    newest_among(world.evaluations.of_run(run))
}

/// Returns a run's scores for the snapshot.
pub(super) fn scores(world: &World, run: &RunId) -> Vec<ScoreStatus> {
    let mut reports = newest(world, run);
    reports.sort_by_key(|report| (task_order(&report.task), &report.task));
    let score = |report: &EvaluationReport| {
        let (metric, score) = report.headline()?;
        let (task, report) = (report.task.clone(), report.name.clone());
        Some(ScoreStatus { task, metric: metric.to_owned(), score, report })
    };
    reports.into_iter().filter_map(score).collect()
}

/// Returns the reports of today that belong to no run, the newest first.
pub(super) fn unlinked(world: &World) -> Vec<UnlinkedReport> {
    let mut unlinked: Vec<(&KnownEvaluation, &String)> = world
        .evaluations
        .known
        .values()
        .filter(|one| !one.old)
        .filter_map(|one| Some((one, one.model.as_ref().err()?)))
        .collect();
    unlinked.sort_by_key(|(one, _)| std::cmp::Reverse(one.report.stamp));
    let shown = unlinked.into_iter().take(SHOWN_UNLINKED);
    let shown = shown
        .map(|(one, why)| UnlinkedReport { report: one.report.name.clone(), reason: why.clone() });
    shown.collect()
}

fn overridden(world: &mut World, one: GateOverride, out: &mut Decisions) {
    if world.evaluations.overrides.iter().any(|known| known.name == one.name) {
        return;
    }
    let (action, verdict) = (one.action.clone(), one.verdict.clone());
    let what = Happening::GateOverridden { action, verdict, reason: one.reason.clone() };
    let checkpoint = Some(CheckpointName::Final);
    let event = NewEvent { time: one.time, run: Some(one.run.clone()), checkpoint, what };
    out.transaction.events.push(event);
    out.transaction.changes.push(Change::GateOverridden(Box::new(one.clone())));
    world.evaluations.overrides.push(one);
}

fn link(world: &World, report: &EvaluationReport) -> Result<EvaluatedModel, String> {
    let is_known = |run: &RunId| world.runs.get(run).is_some_and(|run| run.known.is_some());
    let by_clean_name = |wanted: &str| {
        let mut fits = world.runs.keys().filter(|run| clean_name(run.as_str()) == wanted);
        fits.next().filter(|_| fits.next().is_none()).cloned()
    };
    model_of(report, &is_known, &by_clean_name)
}

/// Takes a report in, and writes down what is new of it.
fn take(world: &mut World, mut known: KnownEvaluation, now: Moment, out: &mut Decisions) {
    let key = (known.report.name.clone(), known.report.task.clone());
    let before = world.evaluations.known.get(&key);
    let is_same =
        before.is_some_and(|before| before.report == known.report && before.model == known.model);
    known.old &= before.is_none_or(|before| before.old && is_same);
    let kept = before.and_then(|before| before.row.filter(|_| before.model == known.model));
    known.row = kept.or_else(|| row(world, &known));
    if is_same && before.is_some_and(|before| before.digest == known.digest) {
        return;
    }
    let model = known.model.clone().ok();
    let shown = |world: &World| {
        let glue = model.as_ref().and_then(|model| glue(world, &model.run));
        (glue, sweep(world, &known))
    };
    let (old_glue, old_sweep) = shown(world);
    out.transaction.changes.push(Change::Evaluated(Box::new(known.clone())));
    world.evaluations.known.insert(key, known.clone());
    world.evaluations.index();
    if known.old || is_same {
        return;
    }
    tell(&known, now, out);
    let Some(model) = model.as_ref() else { return };
    let (glue, sweep) = shown(world);
    if glue != old_glue {
        fill_row(world, &model.run, glue, out);
    }
    if sweep != old_sweep {
        write_sweep(world, (model, &known), (sweep, old_sweep), out);
    }
}

fn tell(known: &KnownEvaluation, now: Moment, out: &mut Decisions) {
    let report = &known.report;
    let headline = report.headline().map(|(metric, score)| (metric.to_owned(), score));
    let (metric, score) = headline.unzip();
    let reason = known.model.as_ref().err();
    let reason = reason.map(|reason| format!("it belongs to no run: {reason}"));
    let what = Happening::Evaluated {
        report: report.name.clone(),
        task: report.task.clone(),
        metric,
        score,
        problems: report.problems.iter().cloned().chain(reason).collect(),
    };
    let model = known.model.as_ref().ok();
    let (run, checkpoint) = model.map(|model| (model.run.clone(), model.checkpoint)).unzip();
    out.transaction.events.push(NewEvent { time: now, run, checkpoint, what });
}

/// Returns the date in the row that a report belongs to: that of the sweep that it continues, else
/// its own.
fn row(world: &World, known: &KnownEvaluation) -> Option<Date> {
    if known.old || known.model.is_err() {
        return None;
    }
    let stamp = known.report.stamp;
    let near = |one: &&KnownEvaluation| {
        is_same_kind(one, known) && stamp.duration_since(one.report.stamp).abs() <= SWEEP
    };
    let neighbors = world.evaluations.known.values().filter(near);
    let neighbor = neighbors.filter(|one| one.row.is_some()).max_by_key(|one| one.report.stamp);
    neighbor.map_or(Some(stamp.date()), |one| one.row)
}

/// Whether two reports are of one model, evaluated as the same type on the same benchmarks.
fn is_same_kind(one: &KnownEvaluation, other: &KnownEvaluation) -> bool {
    one.model.is_ok()
        && one.model == other.model
        && scores::kind(&one.report) == scores::kind(&other.report)
}

fn newest_among<'a>(
    reports: impl Iterator<Item = &'a KnownEvaluation>,
) -> Vec<&'a EvaluationReport> {
    let scored: Vec<(CheckpointName, &EvaluationReport)> = reports
        .filter(|one| one.report.headline().is_some())
        .filter_map(|one| Some((one.model.as_ref().ok()?.checkpoint, &one.report)))
        .collect();
    let Some(best) = scored.iter().map(|(checkpoint, _)| *checkpoint).max() else {
        return Vec::new();
    };
    let mut by_task: BTreeMap<&str, &EvaluationReport> = BTreeMap::new();
    for (_, report) in scored.into_iter().filter(|(checkpoint, _)| *checkpoint == best) {
        let slot = by_task.entry(&report.task).or_insert(report);
        if (report.stamp, &report.name) > (slot.stamp, &slot.name) {
            *slot = report;
        }
    }
    by_task.into_values().collect()
}

/// The run's `Key GLUE Scores` cell.
pub(super) fn glue(world: &World, run: &RunId) -> Option<CellFill> {
    let of_glue = world.evaluations.of_run(run).filter(|one| one.report.suite == Suite::Glue);
    scores::glue_fill(&newest_among(of_glue))
}

/// The cells of the sweep that a report belongs to, as far as it is known.
fn sweep(world: &World, known: &KnownEvaluation) -> Option<EvaluationCells> {
    let date = known.row?;
    let is_in = |one: &&KnownEvaluation| one.row == Some(date) && is_same_kind(one, known);
    let reports = newest_among(world.evaluations.known.values().filter(is_in));
    let last = reports.iter().map(|report| report.stamp).max()?;
    let run = &known.model.as_ref().ok()?.run;
    let conclusion = conclusion(world, run, date, last).unwrap_or_default();
    Some(EvaluationCells { conclusion, ..scores::evaluation_cells(&reports) })
}

/// Says why the gate was overridden for a sweep, if it was.
fn conclusion(world: &World, run: &RunId, date: Date, last: DateTime) -> Option<String> {
    let began = date.to_datetime(jiff::civil::Time::midnight());
    let is_of_sweep = |one: &&GateOverride| {
        let time = one.time.local();
        one.run == *run && one.action == "evaluate" && began.duration_since(time) <= SWEEP
            // Reports bear the minute.
            && time.duration_since(last) <= SignedDuration::from_mins(1)
    };
    let one = world.evaluations.overrides.iter().rev().find(is_of_sweep)?;
    let reason = escape::escaped(&one.reason, escape::CELL_LIMIT);
    let verdict = escape::escaped(&one.verdict, escape::CELL_LIMIT);
    Some(format!("Gate overridden ({verdict}): {reason}"))
}

/// Fills the run's cell. A run that is listed only, or is known by its reports alone, gets no row.
fn fill_row(world: &World, run: &RunId, glue: Option<CellFill>, out: &mut Decisions) {
    let log = &world.settings.log;
    let Some(glue) = glue.filter(|_| log.fill_run_row) else { return };
    let is_live = world.runs.get(run).is_some_and(Run::is_live);
    out.transaction.documents.push(DocumentEdit::RunRow {
        run: run.clone(),
        fills: vec![glue],
        add_missing: log.add_missing_rows && is_live,
        headers: log.headers.clone(),
    });
}

fn write_sweep(
    world: &World,
    (model, known): (&EvaluatedModel, &KnownEvaluation),
    (sweep, before): (Option<EvaluationCells>, Option<EvaluationCells>),
    out: &mut Decisions,
) {
    let Some((cells, date)) = sweep.zip(known.row) else { return };
    if !world.settings.log.add_missing_rows {
        return;
    }
    out.transaction.documents.push(DocumentEdit::EvaluationRow(EvaluationRow {
        run: model.run.to_string(),
        checkpoint: model.checkpoint.to_string(),
        date: date.to_string(),
        kind: scores::kind(&known.report),
        cells,
        before,
    }));
}
