//! Reads the registered scripts and the Python files that they launch.

use std::collections::BTreeSet;
use std::path::Path;

use super::unlaunched::{self, Launched};
use crate::audit::facts::{Records, ScriptFact};
use crate::audit::scripts::{self, Answer, Source};
use crate::settings::Settings;

/// Larger files are no scripts.
const LONGEST: u64 = 4 << 20;
/// Files of the project that an entry imports, read at most.
const IMPORTS: usize = 500;

/// The registered scripts, and entries that none of them launches.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    pub(super) registered: Vec<ScriptFact>,
    pub(super) unlaunched: Vec<String>,
}

/// Reads them; `tracked` are the Python files that git tracks, where there is git.
pub(super) fn read(settings: &Settings, tracked: Vec<String>) -> Scripts {
    let root = &settings.paths.root;
    let mut found = Scripts::default();
    let mut launched = Launched::default();
    for script in &settings.training_scripts {
        let fact = training(settings, &script.path);
        if let Some(Ok(entry)) = &fact.entry {
            launched.entries.insert(entry.clone());
        }
        launched.add(root, &script.path);
        found.registered.push(fact);
    }
    for script in &settings.evaluation_scripts {
        let is_there = root.join(&script.path).is_file();
        let path = script.path.clone();
        launched.add(root, &path);
        let fact = ScriptFact { path, is_there, entry: None, records: Records::Yes };
        found.registered.push(fact);
    }
    found.unlaunched = unlaunched::unlaunched(root, &launched, tracked);
    found
}

fn training(settings: &Settings, path: &str) -> ScriptFact {
    let root = &settings.paths.root;
    let fact =
        |is_there, entry, records| ScriptFact { path: path.to_owned(), is_there, entry, records };
    if !root.join(path).is_file() {
        return fact(false, None, Records::Yes);
    }
    let text = match text(root, path) {
        Ok(text) => text,
        Err(why) => return fact(true, Some(Err(why)), Records::Yes),
    };
    let launcher = scripts::launcher(Source { path, text: &text });
    match launcher.entry() {
        Ok(start) => {
            let records = records(settings, &start.entry);
            fact(true, Some(Ok(start.entry.clone())), records)
        }
        Err(why) => fact(true, Some(Err(why)), Records::Yes),
    }
}

fn records(settings: &Settings, entry: &str) -> Records {
    let root = &settings.paths.root;
    if !root.join(entry).is_file() {
        return Records::No(None, "is missing".to_owned());
    }
    let program = match text(root, entry) {
        Ok(text) => text,
        Err(why) => return Records::Undecided(why),
    };
    let entry = Source { path: entry, text: &program };
    let imported = imported(root, entry);
    let sources: Vec<Source<'_>> =
        imported.iter().map(|(path, text)| Source { path, text }).collect();
    let read = scripts::recording(entry, &sources, &settings.wandb.required_keys);
    let keys = read.keys.into_iter().map(|(key, answer)| (format!("`{key}`"), answer));
    let all = [("`get_git_info()`".to_owned(), read.git_info)].into_iter().chain(keys);
    let (mut lacking, mut undecided) = (Vec::new(), None);
    for (what, answer) in all {
        match answer {
            Answer::Yes { .. } => {}
            Answer::No(_) => lacking.push(what),
            Answer::Undecided(why) => drop(undecided.get_or_insert(why)),
        }
    }
    match undecided {
        _ if !lacking.is_empty() => {
            let what = format!("does not record {} in W&B", lacking.join(", "));
            Records::No(line(&read.wandb_init), what)
        }
        Some(why) => Records::Undecided(why),
        None => Records::Yes,
    }
}

fn line(answer: &Answer) -> Option<usize> {
    match answer {
        Answer::Yes { line, .. } => Some(*line),
        _ => None,
    }
}

/// Reads the files of the project that an entry imports, and those that they import.
fn imported(root: &Path, entry: Source<'_>) -> Vec<(String, String)> {
    let mut seen = BTreeSet::from([entry.path.to_owned()]);
    let mut waiting = scripts::imports(entry);
    let mut found: Vec<(String, String)> = Vec::new();
    while let Some(path) = waiting.pop() {
        if found.len() >= IMPORTS || !seen.insert(path.clone()) {
            continue;
        }
        if let Ok(text) = text(root, &path) {
            waiting.extend(scripts::imports(Source { path: &path, text: &text }));
            found.push((path, text));
        }
    }
    found
}

pub(super) fn text(root: &Path, path: &str) -> Result<String, String> {
    let file = root.join(path);
    let refused = |error: std::io::Error| format!("`{path}` cannot be read: {error}");
    let length = std::fs::metadata(&file).map_err(refused)?.len();
    if length > LONGEST {
        return Err(format!("`{path}` is larger than {} MiB", LONGEST >> 20));
    }
    let bytes = std::fs::read(&file).map_err(refused)?;
    Ok(scripts::decoded(&bytes))
}
