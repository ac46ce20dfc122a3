//! `publish`: what the conditions say of a run, and the upload as a supervised child.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::analyze::child::{self, Limits, Plan};
use crate::analyze::program;
use crate::audit::publication::{self, Condition, Facts, Pushed};
use crate::git::history;
use crate::model::analysis::{Ending, fill_placeholders};
use crate::model::evaluation::GateOverride;
use crate::model::ids::{CheckpointName, RunId};
use crate::model::journal::Memory;
use crate::settings::Settings;

use super::evaluating::{self, Gate, final_gate, record_override};
use super::run_facts::train_tag;
use super::setup::surroundings;
use super::{Stop, log_branch, reading};

/// No upload takes longer.
const LIMIT: Duration = Duration::from_hours(12);
/// Time from TERM to KILL.
const GRACE: Duration = Duration::from_secs(10);

/// A publication, ready to be made.
#[derive(Debug)]
pub struct Publication {
    run: RunId,
    /// What the conditions say.
    pub conditions: Vec<Condition>,
    /// The program and its arguments, or why there is no program.
    pub argv: Result<Vec<String>, String>,
    /// Its log, absolute.
    log: PathBuf,
}

/// Looks at everything that a publication depends on.
///
/// # Errors
/// No program is configured, there is no such run, or the journal cannot be read.
pub async fn prepare(settings: &Settings, run: &RunId) -> anyhow::Result<Publication> {
    let template = &settings.publish.command;
    if template.is_empty() {
        bail!("`publish.command` is empty: name the program that uploads a model");
    }
    let (own, of_run) = (settings.clone(), run.clone());
    let found = tokio::task::spawn_blocking(move || local_facts(&own, &of_run)).await??;
    let (mut facts, memory) = found;
    if let Some(tag) = &facts.tag {
        facts.pushed = pushed(&settings.paths.root, tag).await;
    }
    let needs_python = template.iter().any(|part| part.contains("{python}"));
    let python = if needs_python {
        program::interpreter(settings, &surroundings(&memory)).await
    } else {
        Ok(String::new())
    };
    let fill = |python: String| {
        let values = [("{python}", python.as_str()), ("{run_id}", run.as_str())];
        template.iter().map(|part| fill_placeholders(part, &values)).collect()
    };
    let argv = python.map(fill);
    let log = evaluating::new_log(settings, &format!("publish_{run}"));
    let conditions = publication::conditions(run, &facts);
    Ok(Publication { run: run.clone(), conditions, argv, log })
}

/// Everything but what the remote says.
fn local_facts(settings: &Settings, run: &RunId) -> anyhow::Result<(Facts, Memory)> {
    let gate = final_gate(settings, run)?;
    let memory = reading::memory(&settings.paths.state)?.unwrap_or_default();
    let recorded = memory.runs.iter().find(|known| known.run == *run);
    if recorded.is_none() && !settings.paths.training.join(run.as_str()).exists() {
        bail!("nothing is recorded of a run `{run}`");
    }
    let tag = recorded.and_then(|known| known.facts.training_tag()).map(str::to_owned);
    let facts = Facts {
        verdict: gate.verdict,
        verdict_text: gate.text,
        scored_tasks: scored_tasks(&memory, run),
        report: report(settings, run)?,
        tag: tag.or_else(|| train_tag(settings, run)),
        pushed: Err("no remote was asked".to_owned()),
    };
    Ok((facts, memory))
}

/// Returns the tasks that the run's final model has a score of.
fn scored_tasks(memory: &Memory, run: &RunId) -> Vec<String> {
    let of_final = memory.evaluations.reports.iter().filter(|known| {
        let model = known.model.as_ref();
        model.is_ok_and(|model| model.run == *run && model.checkpoint == CheckpointName::Final)
    });
    let scored = of_final.filter(|known| known.report.headline().is_some());
    let mut tasks: Vec<String> = scored.map(|known| known.report.task.clone()).collect();
    tasks.sort();
    tasks.dedup();
    tasks
}

/// Finds a report about the run: a document of that name that is no failure note.
fn report(settings: &Settings, run: &RunId) -> anyhow::Result<Option<String>> {
    let folder = log_branch::documents(settings).reports;
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", folder.display()));
        }
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let rest = name.strip_suffix(".md").and_then(|name| name.split_once(run.as_str()));
        if rest.is_some_and(|(_, rest)| !rest.starts_with("_failure_")) {
            names.push(name);
        }
    }
    names.sort();
    let shown = |name: &String| evaluating::relative(settings, &folder).join(name);
    Ok(names.first().map(|name| shown(name).display().to_string()))
}

async fn pushed(root: &Path, tag: &str) -> Result<Pushed, String> {
    let Some(remote) = history::remote(root).await.map_err(|error| error.to_string())? else {
        return Err("the repository has no remote".to_owned());
    };
    let tags = history::remote_tags(root, &remote).await.map_err(|error| error.to_string())?;
    Ok(Pushed { has_tag: tags.iter().any(|known| known == tag), remote })
}

impl Publication {
    /// Returns the conditions that are not met.
    pub fn missing(&self) -> impl Iterator<Item = &Condition> {
        self.conditions.iter().filter(|condition| !condition.is_met)
    }

    /// Returns where the upload's output goes, as seen from the root.
    pub fn log<'a>(&'a self, settings: &Settings) -> &'a Path {
        evaluating::relative(settings, &self.log)
    }

    /// Writes down that a person publishes although something is missing, and why.
    ///
    /// # Errors
    /// It cannot be written; then nothing may be published.
    pub fn record_override(&self, settings: &Settings, why: &str) -> anyhow::Result<GateOverride> {
        let missing: Vec<&str> = self.missing().map(|one| one.text.as_str()).collect();
        let gate = Gate { verdict: None, text: missing.join("; ") };
        record_override(settings, ("publish", &self.run), &gate, why)
    }

    /// Runs the upload to its end.
    ///
    /// # Errors
    /// It did not end well: how, and its last words.
    pub async fn upload(&self, settings: &Settings, stop: &Stop) -> anyhow::Result<()> {
        let argv = self.argv.clone().map_err(anyhow::Error::msg)?;
        let log = Arc::new(evaluating::open_log(&self.log)?);
        let plan = Plan {
            supervisor: PathBuf::from(child::OWN_EXECUTABLE),
            argv,
            env: evaluating::own_environment(settings),
            working_directory: settings.paths.root.clone(),
            limits: Limits { timeout: LIMIT, kill_grace: GRACE, nice: 0, open_files: None },
            output: Some(log),
        };
        let ran = child::run(plan, stop).await.context("the upload cannot be started")?;
        if ran.ending == Ending::Exit(0) {
            return Ok(());
        }
        let how =
            if stop.is_asked() { "stopped".to_owned() } else { evaluating::in_words(ran.ending) };
        bail!("the upload failed ({how}){}", evaluating::last_words(&self.log, 0))
    }
}
