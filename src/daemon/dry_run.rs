//! `--dry-run`: what a first pass would do, decided by the decider itself on a scan of now.

use std::sync::Arc;

use crate::analyze::program;
use crate::engine::{self, Event, World};
use crate::model::checkpoint::TrainingFolder;
use crate::model::journal::Memory;
use crate::model::status::{DaemonStatus, Status};
use crate::settings::Settings;
use crate::watch::{ScanProblem, Scanner, WatchConfig};

use super::setup::surroundings;
use super::{Fatal, now, reading};

/// Scans once, writes nothing, and says for every checkpoint what the daemon would do with it.
///
/// # Errors
/// The journal exists but cannot be read.
pub async fn first_pass(settings: &Settings) -> Result<Vec<String>, Fatal> {
    let memory = reading::memory(&settings.paths.state)?;
    let memory = memory.unwrap_or_else(|| Memory { fresh: true, ..Memory::default() });
    let (facts, readiness) = program::discover(settings, &surroundings(&memory), None).await;
    let shared = Arc::new(settings.clone());
    let mut world = World::new(shared, memory, DaemonStatus::default(), now());
    let mut events = scan(settings);
    events.push(Event::FirstScanDone);
    events.push(Event::Program(Box::new(facts), readiness));
    for event in events {
        // Nothing is carried out: only the world that they leave behind is looked at.
        drop(engine::step(&mut world, event, now()));
    }
    Ok(describe(&engine::snapshot(&world, now())))
}

/// Looks at everything once.
fn scan(settings: &Settings) -> Vec<Event> {
    let mut scanner = Scanner::new(WatchConfig::from(settings).scan_settings());
    let folder = scanner.list_training_folder();
    let runs = match &folder {
        TrainingFolder::Listed { runs, .. } => runs.clone(),
        TrainingFolder::Missing | TrainingFolder::Unreadable(_) => Vec::new(),
    };
    let mut events = vec![Event::TrainingFolder(folder)];
    for (run, _) in runs {
        match scanner.scan_run(&run, super::instant()) {
            Ok(sighting) => events.push(Event::Run(sighting)),
            Err(ScanProblem::Unreadable(problem)) => {
                events.push(Event::RunUnreadable { run, problem });
            }
            Err(ScanProblem::Vanished) => {}
        }
    }
    events
}

fn describe(status: &Status) -> Vec<String> {
    let mut lines = vec![format!("training folder: {}", status.watch.training_folder)];
    for run in &status.runs {
        let counts = run.checkpoints;
        lines.push(format!(
            "run {}: {} ({} checkpoints seen, {} complete, {} analyzed)",
            run.run, run.state, counts.seen, counts.complete, counts.analyzed
        ));
        let incomplete = run.incomplete.iter();
        lines.extend(incomplete.map(|(name, why)| format!("  {name}: {why}")));
    }
    let first = status.running.iter().map(|one| (&one.run, &one.checkpoint, "first in the queue"));
    let rest = status.queue.iter().map(|one| (&one.run, &one.checkpoint, one.reason.as_str()));
    for (run, checkpoint, reason) in first.chain(rest) {
        lines.push(format!("would analyze {run}/{checkpoint}: {reason}"));
    }
    lines.extend(status.problems.iter().map(|problem| format!("problem: {problem}")));
    if status.running.is_empty() && status.queue.is_empty() {
        lines.push("nothing to analyze".to_owned());
    }
    lines
}
