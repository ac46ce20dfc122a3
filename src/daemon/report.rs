//! Writing the report of a run and its plot, from the journal and the trainer's own state.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::document::report::{self, ReportFacts};
use crate::document::{self, difference, plot};
use crate::model::checkpoint::LossEntry;
use crate::model::evaluation::{GateOverride, KnownEvaluation};
use crate::model::ids::{CheckpointName, RunId};
use crate::model::journal::{Memory, RunFacts};
use crate::model::observation::Observation;
use crate::parse::checkpoint;
use crate::record::replace::{self, ReplaceError};
use crate::settings::Settings;
use crate::{engine, git};

use super::log_branch::{self, written_log};
use super::reading;

/// Lines around a change that are shown.
const CONTEXT: usize = 3;

/// A document with what it is going to hold.
#[derive(Debug)]
pub struct Draft {
    /// Where it is or comes to be.
    pub path: PathBuf,
    text: String,
    before: Option<replace::Document>,
}

/// Returns the report of a run and its plot, which lies beside it, ready to be written.
///
/// # Errors
/// Nothing is recorded of the run, or a file with somebody else's words is in the way.
pub fn drafts(settings: &Settings, run: &RunId, out: Option<&Path>) -> anyhow::Result<[Draft; 2]> {
    let usual = settings.paths.run_reports.join(report::report_file(run));
    let path = std::path::absolute(out.unwrap_or(&usual)).context("no current folder")?;
    let picture = path.with_extension("svg");
    if picture == path {
        bail!("`{}` is the plot's name; give the report another one", path.display());
    }
    let state = &settings.paths.state;
    let memory = reading::existing_memory(state)?;
    let known = memory.runs.iter().find(|known| known.run == *run);
    let observations = observations(&memory, run);
    if known.is_none() && observations.is_empty() {
        bail!("nothing is recorded of a run `{run}`");
    }
    let files = known.map(|known| spelled(settings, &known.facts)).transpose()?.unwrap_or_default();
    // A note that somebody removed would be a link that leads nowhere.
    let folders = [&settings.paths.run_reports, &log_branch::documents(settings).reports];
    let is_there = |file: &String| folders.iter().any(|folder| folder.join(file).exists());
    let of_run = memory.notes.iter().filter(|(of, _, file)| of == run && is_there(file));
    let folder = path.parent().unwrap_or(Path::new("/"));
    let link = |file: &String| engine::relative(folder, &settings.paths.run_reports.join(file));
    let notes: Vec<_> = of_run.map(|(_, kind, file)| (kind.clone(), link(file))).collect();
    let (losses, source) = losses(settings, run, &observations);
    let shown =
        |path: &Path| path.strip_prefix(&settings.paths.root).unwrap_or(path).display().to_string();
    let journal = format!("Observations: the journal in {}", shown(state));
    let source = source.map(|source| format!("Losses: {}", shown(&source)));
    let evidence: Vec<String> = [journal].into_iter().chain(source).collect();
    let name = picture.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (evaluations, overrides) = evaluations(&memory, run);
    let facts = ReportFacts {
        run,
        observations: &observations,
        files: &files,
        losses: &losses,
        notes: &notes,
        evaluations: (&evaluations, &overrides),
        plot: &name,
        evidence: &evidence,
    };
    let drawn = plot::svg(&report::plot(&facts));
    let is_plot = |text: &[u8]| text.starts_with(plot::BEGINNING.as_bytes());
    // The plot first: a report whose picture is missing would be there for a moment otherwise.
    Ok([
        draft(picture, drawn, is_plot)?,
        draft(path, report::run_report(&facts), report::is_untouched)?,
    ])
}

/// Returns what was observed of a run, oldest first.
pub(super) fn observations(memory: &Memory, run: &RunId) -> Vec<Observation> {
    let of_run = memory.observations.iter().filter(|one| one.checkpoint.run == *run);
    let mut observations: Vec<Observation> = of_run.cloned().collect();
    observations.sort_by_key(|one| one.time);
    observations
}

/// Returns what evaluations of a run said, and where its gate was overridden, oldest first.
fn evaluations(memory: &Memory, run: &RunId) -> (Vec<KnownEvaluation>, Vec<GateOverride>) {
    let is_its = |one: &&KnownEvaluation| one.model.as_ref().is_ok_and(|model| model.run == *run);
    let mut known: Vec<_> = memory.evaluations.reports.iter().filter(is_its).cloned().collect();
    known.sort_by_key(|one| (one.report.stamp, one.report.name.clone()));
    let overrides = memory.evaluations.overrides.iter().filter(|one| one.run == *run);
    (known, overrides.cloned().collect())
}

/// Spells the machine as the experiment log does.
fn spelled(settings: &Settings, facts: &RunFacts) -> anyhow::Result<RunFacts> {
    let log = replace::read(&written_log(settings))?;
    let log = log.as_ref().map(|log| log.text.as_slice());
    let headers = &settings.log.headers;
    let spell = |machine: &String| document::machine_spelling(log, machine, headers);
    Ok(RunFacts { machine: facts.machine.as_ref().map(spell), ..facts.clone() })
}

/// Reads what the newest trainer state that is still there logged.
fn losses(
    settings: &Settings,
    run: &RunId,
    observations: &[Observation],
) -> (Vec<LossEntry>, Option<PathBuf>) {
    let mut steps: Vec<u64> =
        observations.iter().filter_map(|one| one.checkpoint.name.step()).collect();
    steps.sort_unstable();
    for step in steps.into_iter().rev() {
        let name = CheckpointName::Step(step).to_string();
        let folder = settings.paths.training.join(run.as_str()).join(name);
        let path = folder.join("trainer_state.json");
        let read = reading::bytes(&path)
            .and_then(|bytes| checkpoint::loss_history(&bytes).map_err(anyhow::Error::msg));
        match read {
            Ok(losses) => return (losses, Some(path)),
            // Rotation removes old checkpoints; an older one that is there will do.
            Err(error) => tracing::debug!(path = %path.display(), "no losses: {error:#}"),
        }
    }
    (Vec::new(), None)
}

fn draft(path: PathBuf, text: String, is_ours: fn(&[u8]) -> bool) -> anyhow::Result<Draft> {
    let before = replace::read(&path)?;
    if before.as_ref().is_some_and(|before| !is_ours(&before.text)) {
        bail!(
            "`{}` holds what somebody else wrote: give another file with `--out`, or move it away",
            path.display()
        );
    }
    Ok(Draft { path, text, before })
}

/// Returns what changes in a document, in the form of `diff -u`; empty if nothing does.
pub(super) fn difference(path: &Path, before: Option<&[u8]>, after: &[u8]) -> String {
    difference::unified(&path.display().to_string(), before, after, CONTEXT)
}

impl Draft {
    /// Returns what changes in the document, in the form of `diff -u`; empty if nothing does.
    pub fn difference(&self) -> String {
        let before = self.before.as_ref().map(|before| before.text.as_slice());
        difference(&self.path, before, self.text.as_bytes())
    }

    /// Returns whether the document is to hold something else than it does.
    pub fn is_news(&self) -> bool {
        self.before.as_ref().is_none_or(|before| before.text != self.text.as_bytes())
    }

    /// Writes it atomically.
    ///
    /// # Errors
    /// Git is in the middle of something, somebody saves the file in this moment, or the file
    /// cannot be written; the text says what to do.
    pub fn write(&self) -> anyhow::Result<()> {
        if let Some(reason) = git::busy_with(&self.path) {
            bail!("`{}` is not written now: {reason}", self.path.display());
        }
        let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        match replace::replace(&self.path, self.before.as_ref(), self.text.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error @ (ReplaceError::Changed | ReplaceError::Busy)) => {
                bail!("`{}` is not written: {error}; run it again", self.path.display())
            }
            Err(error) => Err(error.into()),
        }
    }
}
