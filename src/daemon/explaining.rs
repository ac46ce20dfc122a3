//! `explain`: what runscribe makes of a path and why, in plain sentences.

use std::path::{Component, Path};

use anyhow::Context as _;

use crate::model::checkpoint::{CheckpointSighting, Condition, RunSighting, TrainingFolder};
use crate::model::event::Happening;
use crate::model::ids::{CheckpointId, CheckpointName, Digest, RunId};
use crate::model::journal::{KnownCheckpoint, Memory, Standing};
use crate::model::observation::{Observation, ObservationOutcome};
use crate::recognize::{self, RunEntry, TrainingEntry};
use crate::record::history::Reader;
use crate::settings::Settings;
use crate::watch::{Place, Scanner, WatchConfig};

use super::{explaining_log, instant, reading};

/// Checkpoints of a run that are named one by one.
const SHOWN_UNFINISHED: usize = 5;
/// Events that are read from the journal at a time.
const EVENTS: usize = 1000;
const NO_JOURNAL: &str = "There is no journal yet: runscribe has not watched this project.";
const OLD: &str = "The run was old at the first start: it is listed, and not analyzed until one of \
                   its files changes or `runscribe adopt` names it.";

/// Says in plain sentences what runscribe makes of a path.
///
/// # Errors
/// The path does not exist and nothing is known of it, or the journal cannot be read.
pub fn explain(settings: &Settings, path: &Path) -> anyhow::Result<Vec<String>> {
    if let Some(lines) = explaining_log::explain(settings, path)? {
        return Ok(lines);
    }
    if let Err(error) = std::fs::symlink_metadata(path)
        && error.kind() == std::io::ErrorKind::NotFound
    {
        return vanished(settings, path);
    }
    if let Some(line) = leads_out(settings, path) {
        return Ok(vec![line]);
    }
    let seen = reading::sight(settings, path)?;
    let mut lines = Vec::new();
    if !seen.is_in_training_folder {
        if matches!(seen.place, Place::Ignored { .. }) {
            lines.extend(explaining_log::not_followed(settings, path)?);
        }
        let training = settings.paths.training.display();
        lines.push(format!("It does not lie in the training folder `{training}`."));
    }
    let memory = || reading::memory(&settings.paths.state);
    match seen.place {
        Place::Ignored { reason } => lines.push(format!("{reason}.")),
        Place::TrainingFolder(folder) => lines.push(training_folder(&folder)),
        Place::RunUnreadable { run, problem } => {
            lines.push(format!("Run `{run}`: {problem}. Until then nothing of it counts as gone."));
        }
        Place::Run(run) => lines.extend(explain_run(settings, &run, memory()?.as_ref())?),
        Place::Checkpoint { run, sighting } => {
            lines.push(format!("It is {} of run `{run}`.", name_of(sighting.name)));
            lines.push(recognize::describe(&sighting.condition, instant()));
            let id = CheckpointId { run, name: sighting.name };
            lines.extend(match memory()? {
                Some(memory) => standing(&memory, &id, &sighting),
                None => vec![NO_JOURNAL.to_owned()],
            });
        }
    }
    Ok(lines)
}

/// Says of a link inside the training folder that it leads out, or nowhere, if it does.
fn leads_out(settings: &Settings, path: &Path) -> Option<String> {
    let training = settings.paths.training.canonicalize().ok()?;
    // The folder around it is resolved and the link itself is not.
    let place = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let place = place.canonicalize().ok()?;
    if !place.starts_with(&training) || !path.is_symlink() {
        return None;
    }
    match path.canonicalize() {
        Ok(target) if target.starts_with(&training) => None,
        Ok(target) => Some(format!(
            "It is a link to `{}`, which lies outside of the training folder; such links are not \
             followed.",
            target.display()
        )),
        Err(_) => Some("It is a link that leads nowhere.".to_owned()),
    }
}

/// Says what the journal knows of a path that does not exist.
fn vanished(settings: &Settings, path: &Path) -> anyhow::Result<Vec<String>> {
    let missing = || format!("`{}` does not exist", path.display());
    let (run, name) = names_of(settings, path).with_context(missing)?;
    let memory = reading::memory(&settings.paths.state)?.with_context(missing)?;
    let mut lines = vec![match name {
        Some(name) => format!("{} of run `{run}` is not there.", capitalized(&name_of(name))),
        None => format!("Run `{run}` is not there."),
    }];
    if let Some(known) = memory.runs.iter().find(|known| known.run == run) {
        if known.gone {
            lines.push("The run's folder was deleted.".to_owned());
        }
        lines.extend(match name {
            Some(name) => newest_standing(&memory, &CheckpointId { run, name }),
            None => vec![newest_of_run(&memory, &run)],
        });
    } else if let Some(now) = renamed(settings, |from, _| *from == run)? {
        lines.push(format!("The run's folder is named `{}` now.", now.1));
    } else {
        lines.push("runscribe never saw anything complete there.".to_owned());
    }
    Ok(lines)
}

/// Returns the run and the checkpoint that a path in the training folder names, whether or not it
/// exists.
fn names_of(settings: &Settings, path: &Path) -> Option<(RunId, Option<CheckpointName>)> {
    let absolute = std::path::absolute(path).ok()?;
    let training = &settings.paths.training;
    let canonical = training.canonicalize().unwrap_or_else(|_| training.clone());
    let below =
        [training, &canonical].into_iter().find_map(|root| absolute.strip_prefix(root).ok());
    let names: Vec<&str> = below?
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let entry = recognize::entry_of_training_folder(names.first()?, true, &settings.run_pattern);
    let TrainingEntry::Run(run) = entry else { return None };
    let checkpoint =
        names.get(1).and_then(|name| match recognize::entry_of_run_folder(&run, name, true) {
            RunEntry::Checkpoint(step) => Some(step),
            RunEntry::FinalFolder => Some(CheckpointName::Final),
            RunEntry::ModelFile | RunEntry::Ignored { .. } => None,
        });
    Some((run, checkpoint))
}

/// Returns the newest renaming that fits: the name before and the name after.
fn renamed(
    settings: &Settings,
    fits: impl Fn(&RunId, &RunId) -> bool,
) -> anyhow::Result<Option<(RunId, RunId)>> {
    let reader = Reader::open(&settings.paths.state).context("cannot read the journal")?;
    let (mut after, mut found) = (0, None);
    loop {
        let events = reader.events(after, EVENTS, None).context("cannot read the journal")?;
        let Some(last) = events.last() else { return Ok(found) };
        after = last.seq;
        for stored in events {
            let Happening::RunSeen { renamed_from: Some(from), .. } = stored.event.what else {
                continue;
            };
            if let Some(to) = stored.event.run.filter(|to| fits(&from, to)) {
                found = Some((from, to));
            }
        }
    }
}

fn name_of(name: CheckpointName) -> String {
    match name {
        CheckpointName::Step(_) => format!("`{name}`"),
        CheckpointName::Final => "the final model".to_owned(),
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn training_folder(folder: &TrainingFolder) -> String {
    match folder {
        TrainingFolder::Listed { runs, .. } => {
            format!("It is the training folder and holds {} runs.", runs.len())
        }
        TrainingFolder::Missing => "The training folder does not exist.".to_owned(),
        TrainingFolder::Unreadable(problem) => format!("The training folder: {problem}."),
    }
}

fn explain_run(
    settings: &Settings,
    run: &RunSighting,
    memory: Option<&Memory>,
) -> anyhow::Result<Vec<String>> {
    let is_complete = |seen: &&CheckpointSighting| matches!(seen.condition, Condition::Complete(_));
    let complete = run.checkpoints.iter().filter(is_complete).count();
    let mut lines = vec![format!(
        "It is run `{}` with {} checkpoints, {complete} of them complete.",
        run.run,
        run.checkpoints.len(),
    )];
    if let Some(sibling) = shadowed_sibling(settings, run) {
        lines.push(format!(
            "It is a rank shadow of `{sibling}`: the folder of another process of the same \
             training, without weights and configuration. It is ignored."
        ));
    } else if run.checkpoints.is_empty() {
        lines.push("It has no checkpoint yet and is ignored until it has one.".to_owned());
    } else {
        let unfinished = run.checkpoints.iter().filter(|seen| !is_complete(seen));
        lines.extend(unfinished.take(SHOWN_UNFINISHED).map(|seen| {
            let condition = recognize::describe(&seen.condition, instant());
            format!("{}: {condition}", capitalized(&name_of(seen.name)))
        }));
    }
    let Some(memory) = memory else {
        lines.push(NO_JOURNAL.to_owned());
        return Ok(lines);
    };
    let known = memory.runs.iter().find(|known| known.run == run.run);
    if known.is_some()
        && let Some((from, _)) = renamed(settings, |_, to| *to == run.run)?
    {
        lines.push(format!("It was named `{from}` before."));
    }
    if let Some(tag) = known.and_then(|known| known.facts.begun.as_ref()) {
        lines.push(format!("It is the training that was begun as `{tag}`."));
    }
    if known.is_some_and(|known| known.old_since.is_some()) {
        lines.push(OLD.to_owned());
    }
    lines.push(newest_of_run(memory, &run.run));
    Ok(lines)
}

fn newest_of_run(memory: &Memory, run: &RunId) -> String {
    let newest = memory.observations.iter().rev().find(|one| one.checkpoint.run == *run);
    match newest {
        Some(observation) => {
            format!("Newest, {}: {}", observation.checkpoint.name, observed(observation))
        }
        None => "Nothing of it has been analyzed.".to_owned(),
    }
}

/// Returns the run that this one is a rank shadow of.
fn shadowed_sibling(settings: &Settings, run: &RunSighting) -> Option<RunId> {
    if recognize::holds_model(run) {
        return None;
    }
    let mut scanner = Scanner::new(WatchConfig::from(settings).scan_settings());
    let TrainingFolder::Listed { runs, .. } = scanner.list_training_folder() else {
        return None;
    };
    let mut siblings = Vec::new();
    for (id, _) in runs.into_iter().filter(|(id, _)| id.base() == run.run.base()) {
        let holds =
            scanner.scan_run(&id, instant()).is_ok_and(|seen| recognize::holds_model(&seen));
        siblings.push((id, holds));
    }
    let siblings = siblings.iter().map(|(id, holds)| (id, *holds));
    recognize::rank_shadow(&run.run, false, siblings)
}

/// Says where a checkpoint that lies there stands in the journal.
fn standing(memory: &Memory, id: &CheckpointId, seen: &CheckpointSighting) -> Vec<String> {
    if memory.stuck.contains(&(id.clone(), seen.signature)) {
        return vec!["It made no progress for so long that it was reported as stuck.".to_owned()];
    }
    let Condition::Complete(complete) = &seen.condition else { return newest_standing(memory, id) };
    let content = memory
        .checkpoints
        .iter()
        .find(|one| one.checkpoint == *id && one.content.digest == complete.digest);
    vec![
        content.map_or_else(
            || "Not queued yet.".to_owned(),
            |content| content_standing(memory, content),
        ),
    ]
}

/// Says where the content stands that was complete under this name last.
fn newest_standing(memory: &Memory, id: &CheckpointId) -> Vec<String> {
    let content = memory.checkpoints.iter().rfind(|one| one.checkpoint == *id);
    let says = |content| {
        let standing = content_standing(memory, content);
        format!("It was complete once. {standing}")
    };
    content.map(says).into_iter().collect()
}

fn content_standing(memory: &Memory, content: &KnownCheckpoint) -> String {
    match &content.standing {
        Standing::Pending => "Queued, not analyzed yet.".to_owned(),
        Standing::Listed => OLD.to_owned(),
        Standing::Started { attempt, .. } => format!("Attempt {attempt} was started."),
        Standing::Waiting { attempt, class, retry_at, .. } => {
            let class = class.as_str();
            format!("Attempt {attempt} failed ({class}); the next one is due at {retry_at}.")
        }
        Standing::Observed => observation_of(memory, &content.checkpoint, &content.content.digest)
            .map_or_else(|| "Its row stood in the log before the journal.".to_owned(), observed),
        Standing::Gone => {
            "Recorded as gone: its files vanished before its analysis began.".to_owned()
        }
    }
}

fn observation_of<'memory>(
    memory: &'memory Memory,
    id: &CheckpointId,
    digest: &Digest,
) -> Option<&'memory Observation> {
    let is_it = |one: &&Observation| one.checkpoint == *id && one.digest == *digest;
    memory.observations.iter().rev().find(is_it)
}

fn observed(observation: &Observation) -> String {
    let time = observation.time.table_form();
    match &observation.outcome {
        ObservationOutcome::Judged(judgment) => {
            let note = match observation.note.as_str() {
                "" => String::new(),
                note => format!(" ({note})"),
            };
            format!("Analyzed at {time}; verdict {}{note}.", judgment.verdict)
        }
        ObservationOutcome::AnalysisFailed { class, .. } => {
            format!("Its analysis failed for good at {time}: {}.", class.as_str())
        }
    }
}
