//! The runs that the training folder, the journal and the folders of their logs know of.

use std::collections::BTreeMap;
use std::path::Path;

use super::relative;
use crate::audit::facts::{Recorded, RunFact};
use crate::daemon::reading;
use crate::model::checkpoint::TrainingFolder;
use crate::model::ids::RunId;
use crate::model::journal::Memory;
use crate::model::measurement::Verdict;
use crate::model::training::TrainingState;
use crate::settings::Settings;
use crate::wandb;
use crate::watch::{Scanner, WatchConfig};

/// What is known of runs, and what is not.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) runs: BTreeMap<RunId, RunFact>,
    pub(super) unknown: Vec<String>,
}

pub(super) fn read(settings: &Settings) -> anyhow::Result<Runs> {
    let mut found = Runs::default();
    in_training_folder(settings, &mut found);
    match reading::memory(&settings.paths.state)? {
        Some(memory) => in_journal(&memory, &mut found.runs),
        None => found.unknown.push(
            "there is no journal yet, so which runs failed or collapsed is known only as far as the \
             log says it"
                .to_owned(),
        ),
    }
    named_by_folders(&settings.paths.run_logs, settings, &mut found.runs);
    let wandb = settings.paths.root.join("wandb");
    named_by_folders(&wandb, settings, &mut found.runs);
    for (run, fact) in &mut found.runs {
        fact.recorded = recorded(settings, &wandb, run);
    }
    Ok(found)
}

fn in_training_folder(settings: &Settings, found: &mut Runs) {
    let mut scanner = Scanner::new(WatchConfig::from(settings).scan_settings());
    let runs = match scanner.list_training_folder() {
        TrainingFolder::Listed { runs, .. } => runs,
        TrainingFolder::Missing => {
            let shown = relative(&settings.paths.root, &settings.paths.training);
            let note =
                format!("there is no training folder `{shown}`, so its runs are not audited");
            found.unknown.push(note);
            return;
        }
        TrainingFolder::Unreadable(problem) => {
            found.unknown.push(format!("the runs are not audited: {problem}"));
            return;
        }
    };
    for (run, _) in runs {
        let folder = settings.paths.training.join(run.as_str());
        let fact = RunFact {
            is_finished: folder.join(run.as_str()).join("config.json").exists(),
            folder: Some(relative(&settings.paths.root, &folder)),
            ..RunFact::default()
        };
        found.runs.insert(run, fact);
    }
}

fn in_journal(memory: &Memory, runs: &mut BTreeMap<RunId, RunFact>) {
    for known in &memory.runs {
        let fact = runs.entry(known.run.clone()).or_default();
        fact.is_recorded = true;
        fact.page.clone_from(&known.facts.wandb_url);
    }
    for observation in &memory.observations {
        let has_failed = observation.judgment().is_some_and(|one| one.verdict == Verdict::Fail);
        if let Some(fact) = runs.get_mut(&observation.checkpoint.run).filter(|_| has_failed) {
            let what = format!("failed a gate at {}", observation.checkpoint.name);
            fact.trouble.get_or_insert(what);
        }
    }
    for (run, known) in &memory.run_states {
        let Some(fact) = runs.get_mut(run) else { continue };
        match known.state {
            TrainingState::Training | TrainingState::Stalled => fact.is_finished = false,
            TrainingState::Complete => fact.is_finished = true,
            TrainingState::Failed => {
                fact.is_finished = true;
                fact.trouble.get_or_insert_with(|| "failed in training".to_owned());
            }
            TrainingState::Unknown => {}
        }
    }
}

/// A run of which only a log or a W&B folder is left was seen, too.
fn named_by_folders(folder: &Path, settings: &Settings, runs: &mut BTreeMap<RunId, RunFact>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    for name in names {
        let bare = name.strip_prefix("offline-").unwrap_or(&name);
        let of_wandb = bare.strip_prefix("run-").and_then(|rest| Some(rest.split_once('-')?.1));
        let run = of_wandb.unwrap_or(&name);
        if settings.run_pattern.is_match(run) {
            runs.entry(RunId::new(run)).or_default();
        }
    }
}

/// What the run's W&B files hold; nothing where they hold no configuration.
fn recorded(settings: &Settings, folder: &Path, run: &RunId) -> Option<Recorded> {
    let local = wandb::local_run(folder, run)?;
    if local.config.is_empty() {
        return None;
    }
    let git = local.git();
    let required = &settings.wandb.required_keys;
    let place = wandb::newest_folder(folder, run)?;
    Some(Recorded {
        place: relative(&settings.paths.root, &place),
        lacking: local.lacking(required).into_iter().map(str::to_owned).collect(),
        commit: git.commit,
        dirty: git.dirty,
    })
}
