//! One look at any path in or under the training folder, for commands that explain or analyze it.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::WatchConfig;
use super::scan::{ScanProblem, Scanner};
use crate::model::checkpoint::{CheckpointSighting, RunSighting, TrainingFolder};
use crate::model::ids::{CheckpointName, RunId};
use crate::recognize::{RunEntry, TrainingEntry, entry_of_run_folder, entry_of_training_folder};

/// What a path is.
#[derive(Debug, Clone, PartialEq)]
pub struct PathSighting {
    /// The path, with links resolved.
    pub path: PathBuf,
    /// Whether it lies in the configured training folder. A run that was copied elsewhere is
    /// recognized by the same names.
    pub is_in_training_folder: bool,
    /// What it is.
    pub place: Place,
}

/// What a path can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// The training folder itself.
    TrainingFolder(TrainingFolder),
    /// A run's folder, or something in it that belongs to the run as a whole.
    Run(RunSighting),
    /// A run's folder that cannot be listed.
    RunUnreadable {
        /// Which run.
        run: RunId,
        /// Why, and what to do.
        problem: String,
    },
    /// A checkpoint's folder, or something in it.
    Checkpoint {
        /// Its run.
        run: RunId,
        /// What was seen of it.
        sighting: Box<CheckpointSighting>,
    },
    /// Something that runscribe does not look at.
    Ignored {
        /// Why, as a whole sentence without its full stop.
        reason: String,
    },
}

/// Looks at a path once. The error is that of finding the path itself.
pub fn sight(path: &Path, config: &WatchConfig, now: Timestamp) -> io::Result<PathSighting> {
    let path = path.canonicalize()?;
    let is_folder = std::fs::metadata(&path)?.is_dir();
    let training = config.training.canonicalize().ok();
    let is_in_training_folder = training.as_ref().is_some_and(|folder| path.starts_with(folder));
    let look = Look { path: &path, is_folder, config, now };
    let place = match training.filter(|_| is_in_training_folder) {
        Some(training) => look.inside(&training),
        None => look.elsewhere(),
    };
    Ok(PathSighting { path, is_in_training_folder, place })
}

/// A look at one canonical path.
#[derive(Debug)]
struct Look<'path> {
    path: &'path Path,
    is_folder: bool,
    config: &'path WatchConfig,
    now: Timestamp,
}

impl Look<'_> {
    fn inside(&self, training: &Path) -> Place {
        let names = names_below(training, self.path);
        let Some(name) = names.first() else {
            let mut scanner = Scanner::new(self.config.scan_settings());
            return Place::TrainingFolder(scanner.list_training_folder());
        };
        let is_folder = names.len() > 1 || self.is_folder;
        match entry_of_training_folder(name, is_folder, &self.config.run_pattern) {
            TrainingEntry::Run(run) => self.in_run(training, &run, &names),
            TrainingEntry::Ignored { reason } => ignored(name, &reason),
        }
    }

    /// Looks at a path outside of the training folder: a copied run, or any folder with a model.
    fn elsewhere(&self) -> Place {
        let Some(run_folder) = self.run_folder_elsewhere() else { return self.not_ours() };
        let (Some(parent), Some(run)) = (run_folder.parent(), folder_name(run_folder)) else {
            return self.not_ours();
        };
        match self.in_run(parent, &RunId::new(run), &names_below(parent, self.path)) {
            Place::Run(sighting) if sighting.checkpoints.is_empty() => self.not_ours(),
            place => place,
        }
    }

    /// Finds the folder that plays the part of the run: the outermost one that is named like a run,
    /// else the one around a checkpoint, else the folder itself.
    fn run_folder_elsewhere(&self) -> Option<&Path> {
        let folder = if self.is_folder { self.path } else { self.path.parent()? };
        let is_run = |folder: &&Path| {
            folder_name(folder).is_some_and(|name| self.config.run_pattern.is_match(name))
        };
        if let Some(run) = folder.ancestors().filter(is_run).last() {
            return Some(run);
        }
        let (name, parent) = (folder_name(folder)?, folder.parent()?);
        let is_checkpoint = matches!(name.parse(), Ok(CheckpointName::Step(_)));
        let is_final = folder_name(parent) == Some(name);
        Some(if is_checkpoint || is_final { parent } else { folder })
    }

    fn not_ours(&self) -> Place {
        let training = self.config.training.display();
        let path = self.path.display();
        Place::Ignored {
            reason: format!(
                "`{path}` is no checkpoint and does not lie in the training folder `{training}`"
            ),
        }
    }

    /// Looks at a run and picks from it what the path is about. `names` are the names on the way
    /// from `root` to the path, the run's first.
    fn in_run(&self, root: &Path, run: &RunId, names: &[String]) -> Place {
        let mut scanner = Scanner::at(root.to_owned(), self.config.scan_settings());
        let sighting = match scanner.scan_run(run, self.now) {
            Ok(sighting) => sighting,
            Err(ScanProblem::Unreadable(problem)) => {
                return Place::RunUnreadable { run: run.clone(), problem };
            }
            Err(ScanProblem::Vanished) => return ignored(run.as_str(), "vanished just now"),
        };
        let Some(name) = names.get(1) else { return Place::Run(sighting) };
        let is_folder = names.len() > 2 || self.is_folder;
        let wanted = match entry_of_run_folder(run, name, is_folder) {
            RunEntry::Checkpoint(step) => step,
            RunEntry::FinalFolder | RunEntry::ModelFile => CheckpointName::Final,
            RunEntry::Ignored { reason } => return ignored(name, &reason),
        };
        let found = sighting.checkpoints.iter().find(|seen| {
            // A model file in the run's folder is none of the final model in `<run>/<run>`.
            seen.name == wanted && self.path.starts_with(&seen.folder)
        });
        match found.cloned() {
            Some(found) => Place::Checkpoint { run: run.clone(), sighting: Box::new(found) },
            None => Place::Run(sighting),
        }
    }
}

fn ignored(name: &str, reason: &str) -> Place {
    Place::Ignored { reason: format!("`{name}` {reason}") }
}

fn folder_name(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str()
}

fn names_below(root: &Path, path: &Path) -> Vec<String> {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::checkpoint::Condition;
    use crate::settings::Backend;
    use crate::watch::testing::{
        Project, RUN, final_files, now_plus, one_file, save_checkpoint, write_all,
    };

    /// Says in a few words what a path is.
    fn short(project: &Project, path: &Path) -> String {
        let config = project.config(Backend::Poll);
        let sighting = match sight(path, &config, now_plus(60)) {
            Ok(sighting) => sighting,
            Err(error) => return error.kind().to_string(),
        };
        let place = match sighting.place {
            Place::TrainingFolder(_) => "training folder".to_owned(),
            Place::Run(run) => format!("run {} with {}", run.run, run.checkpoints.len()),
            Place::RunUnreadable { problem, .. } => problem,
            Place::Checkpoint { run, sighting } => {
                let complete = matches!(sighting.condition, Condition::Complete(_));
                format!("{run}/{} complete={complete}", sighting.name)
            }
            Place::Ignored { reason } => reason,
        };
        if sighting.is_in_training_folder { place } else { format!("elsewhere: {place}") }
    }

    #[test]
    fn every_path_in_the_training_folder_is_something() {
        let project = Project::new();
        let folder = save_checkpoint(&project.run(RUN), 20, 1);
        write_all(&project.run(RUN).join(RUN), &final_files(one_file(1)));
        fs::create_dir_all(project.run(RUN).join("tmp-checkpoint-30/deep")).unwrap();
        fs::create_dir_all(project.run("mrpc/checkpoint-3")).unwrap();
        let check = |path: &str, expected: &str| {
            assert_eq!(short(&project, &project.training().join(path)), expected, "{path}");
        };
        let name = |last: &str| format!("{RUN}/{last}");
        check("", "training folder");
        check(RUN, &format!("run {RUN} with 2"));
        check(&name("checkpoint-20"), &format!("{RUN}/checkpoint-20 complete=true"));
        check(&name("checkpoint-20/config.json"), &format!("{RUN}/checkpoint-20 complete=true"));
        check(&name(RUN), &format!("{RUN}/final complete=true"));
        check(&name("tmp-checkpoint-30/deep"), "`tmp-checkpoint-30` is a temporary folder");
        check(
            "mrpc/checkpoint-3",
            r"`mrpc` does not have the name of a run (`run_pattern` is `_\d{8}_\d{6}$`)",
        );
        check("nothing", "entity not found");
        fs::remove_file(folder.join("trainer_state.json")).unwrap();
        check(&name("checkpoint-20"), &format!("{RUN}/checkpoint-20 complete=false"));
    }

    #[test]
    fn copies_elsewhere_are_recognized_by_their_names() {
        let project = Project::new();
        let root = project.root();
        save_checkpoint(&root.join("copy").join(RUN), 20, 1);
        save_checkpoint(&root.join("odd name"), 40, 1);
        write_all(&root.join("model"), &final_files(one_file(1)));
        fs::create_dir(root.join("empty")).unwrap();
        let check = |path: String, expected: &str| {
            assert_eq!(short(&project, &root.join(&path)), format!("elsewhere: {expected}"));
        };
        check(format!("copy/{RUN}"), &format!("run {RUN} with 1"));
        check(format!("copy/{RUN}/checkpoint-20"), &format!("{RUN}/checkpoint-20 complete=true"));
        check("odd name/checkpoint-40".into(), "odd name/checkpoint-40 complete=true");
        check("model".into(), "run model with 1");
        check("model/model.safetensors".into(), "model/final complete=true");
        let training = project.training();
        let reason = format!(
            "`{}` is no checkpoint and does not lie in the training folder `{}`",
            root.join("empty").display(),
            training.display()
        );
        check("empty".into(), &reason);
    }
}
