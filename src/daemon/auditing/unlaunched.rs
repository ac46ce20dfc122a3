//! Looks for Python programs that train and that no registered script launches.

use std::collections::BTreeSet;
use std::path::Path;

use super::scripts::text;
use crate::audit::scripts::{self, Source};

/// Scripts that registered ones run in their turn, read at most.
const SCRIPTS: usize = 200;
/// Python files that are looked at.
const FILES: usize = 20_000;

/// What registered scripts launch, or may: what reading does not decide is no finding.
#[derive(Debug, Default)]
pub(super) struct Launched {
    /// The entries of trainings, as far as reading tells them.
    pub(super) entries: BTreeSet<String>,
    /// All programs that reading tells.
    programs: BTreeSet<String>,
    /// Scripts of which reading does not tell all, and those that they name.
    scripts: BTreeSet<String>,
    /// What these say, without comments.
    words: BTreeSet<String>,
}

impl Launched {
    /// Adds what a script starts; where reading does not tell all of it, what it may start.
    pub(super) fn add(&mut self, root: &Path, script: &str) {
        let Ok(text) = text(root, script) else { return };
        let launcher = scripts::launcher(Source { path: script, text: &text });
        if launcher.starts.is_empty() || !launcher.undecided.is_empty() {
            self.add_words(root, script);
        }
        self.programs.extend(launcher.starts.into_iter().map(|start| start.entry));
    }

    /// Reads a script and those that it names, for the names that stand in them.
    fn add_words(&mut self, root: &Path, script: &str) {
        let mut waiting = vec![script.to_owned()];
        while let Some(path) = waiting.pop() {
            if self.scripts.len() >= SCRIPTS || !self.scripts.insert(path.clone()) {
                continue;
            }
            let Ok(text) = text(root, &path) else { continue };
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
            let is_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
            for word in lines.flat_map(|line| line.split(|c| !is_name(c))) {
                let is_script = [".sh", ".ps1"].iter().any(|end| word.ends_with(end));
                if is_script {
                    waiting.push(joined(folder, word));
                    waiting.push(word.to_owned());
                }
                self.words.insert(word.to_owned());
            }
        }
    }

    /// A program is named by its file, or as a module.
    fn may_launch(&self, path: &str) -> bool {
        let (_, name) = path.rsplit_once('/').unwrap_or(("", path));
        let module = path.strip_suffix(".py").unwrap_or(path).replace('/', ".");
        self.programs.contains(path) || self.words.contains(name) || self.words.contains(&module)
    }
}

/// Python files which are programs and train: those beside what is launched, and of the others that
/// git tracks those that speak to W&B as well.
pub(super) fn unlaunched(root: &Path, launched: &Launched, tracked: Vec<String>) -> Vec<String> {
    let folders: BTreeSet<&str> =
        launched.entries.iter().map(|entry| entry.rsplit_once('/').map_or("", |it| it.0)).collect();
    let mut candidates: BTreeSet<String> =
        folders.iter().flat_map(|folder| python_files(root, folder)).collect();
    candidates.extend(tracked);
    let found = candidates.into_iter().take(FILES).filter(|path| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let is_beside = folders.contains(folder);
        (is_beside || !is_of_others(path))
            && !launched.may_launch(path)
            && text(root, path).is_ok_and(|text| trains(&text, is_beside))
    });
    found.collect()
}

fn python_files(root: &Path, folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let python = names.filter(|name| name.strip_suffix(".py").is_some());
    python.map(|name| joined(folder, &name)).collect()
}

/// Tests and evaluations train small models, and are started by others.
fn is_of_others(path: &str) -> bool {
    path.split('/').any(|part| {
        let part = part.to_ascii_lowercase();
        part.starts_with('.') || part.starts_with("test") || part.contains("eval")
    })
}

fn trains(text: &str, is_beside: bool) -> bool {
    let code = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let (mut is_program, mut has_training, mut is_recorded) = (false, false, false);
    for line in code {
        is_program |= line.starts_with("if __name__");
        has_training |= line.contains(".train(");
        is_recorded |= line.contains("wandb.init(");
    }
    is_program && has_training && (is_beside || is_recorded)
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
