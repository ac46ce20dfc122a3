//! What a run's own files outside of its shell log say of it: machine, commit and tag, and the newest
//! entries of its trainer's log history.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::audit::conventions;
use crate::host::run_files;
use crate::model::ids::{CheckpointName, FolderIdentity, RunId};
use crate::model::journal::{FoundFacts, KnownRun, Memory, RunFacts, WandbFacts};
use crate::model::training::TrainerMetric;
use crate::parse::checkpoint::metric_history;
use crate::recognize::TRAINER_STATE_FILE;
use crate::settings::Settings;
use crate::{git, wandb};

use super::reading;

/// Longer states are not read, in bytes: a training of a million steps has one of 20 MB.
const MAX_STATE_BYTES: u64 = 64 << 20;
/// Entries of the log history that are kept: as many as are shown.
const KEPT: usize = 20;

/// Looks for everything that a run's files outside of its shell log say of it.
pub(super) fn read(settings: &Settings, run: &RunId) -> FoundFacts {
    let paths = &settings.paths;
    let local = wandb::local_run(&paths.root.join("wandb"), run).unwrap_or_default();
    let recorded = local.git();
    let facts = RunFacts {
        git_commit: recorded.commit,
        git_tag: recorded.tag.or_else(|| train_tag(settings, run)),
        machine: run_files::machine(&paths.run_logs, run),
        ..RunFacts::default()
    };
    let folder = paths.training.join(run.as_str());
    let history = history(&folder).unwrap_or_else(|error| {
        tracing::debug!(%run, %error, "the trainer's log history cannot be read");
        Vec::new()
    });
    let wandb = WandbFacts { url: local.page.map(|page| page.url), final_loss: local.final_loss };
    FoundFacts { facts, history, wandb }
}

/// Returns what the journal remembers; a run that no daemon has seen yet is told by its own files.
///
/// # Errors
/// The journal cannot be read, or there is none and no folder of the run either.
pub(super) fn memory(settings: &Settings, run: &RunId) -> anyhow::Result<Memory> {
    let paths = &settings.paths;
    let known = reading::memory(&paths.state)?;
    let is_known = |memory: &Memory| memory.runs.iter().any(|known| known.run == *run);
    let folders = identity(&paths.training.join(run.as_str()))
        .and_then(|folder| Ok((folder, identity(&paths.training)?)));
    let folders = folders.ok().filter(|_| !known.as_ref().is_some_and(is_known));
    let Some((folder, training)) = folders else {
        return known.map_or_else(|| reading::existing_memory(&paths.state), Ok);
    };
    let found = read(settings, run);
    let mut memory = known.unwrap_or_default();
    memory.runs.push(KnownRun {
        run: run.clone(),
        identity: folder,
        training_folder: training,
        first_seen: super::now(),
        old_since: None,
        gone: false,
        facts: RunFacts { wandb_url: found.wandb.url, ..found.facts },
    });
    Ok(memory)
}

fn identity(folder: &Path) -> io::Result<FolderIdentity> {
    let metadata = std::fs::metadata(folder)?;
    Ok(FolderIdentity { device: metadata.dev(), inode: metadata.ino() })
}

/// Returns the tag that was made for a run, if there is exactly one.
pub(super) fn train_tag(settings: &Settings, run: &RunId) -> Option<String> {
    let tags = git::tag_names(&settings.paths.root);
    let tag = conventions::tag_of_run(&settings.discipline.tags, &tags, run);
    tag.map(str::to_owned)
}

/// Reads the log history of the newest checkpoint that has one. A checkpoint may be rotated away
/// meanwhile, and the newest may be half written.
fn history(folder: &Path) -> io::Result<Vec<TrainerMetric>> {
    let mut steps: Vec<CheckpointName> = std::fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|name: &CheckpointName| name.step().is_some())
        .collect();
    steps.sort_unstable();
    let mut problem = None;
    for name in steps.into_iter().rev().take(2) {
        match read_history(&folder.join(name.to_string()).join(TRAINER_STATE_FILE)) {
            Ok(history) => return Ok(history),
            Err(error) => problem = Some(error),
        }
    }
    problem.map_or(Ok(Vec::new()), Err)
}

fn read_history(path: &Path) -> io::Result<Vec<TrainerMetric>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_STATE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_STATE_BYTES {
        return Err(io::Error::other("it is too long"));
    }
    metric_history(&bytes, KEPT).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_is_that_of_the_newest_checkpoint_that_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let save = |name: &str, text: &str| {
            let place = folder.path().join(name);
            std::fs::create_dir_all(&place).unwrap();
            std::fs::write(place.join(TRAINER_STATE_FILE), text).unwrap();
        };
        assert!(history(folder.path()).unwrap().is_empty());
        let entry = |step: u64| format!("{{\"step\": {step}, \"loss\": NaN, \"epoch\": 0.5}}");
        let entries: Vec<String> = (1..=30).map(entry).collect();
        let state = format!("{{\"log_history\": [{}]}}", entries.join(","));
        save("checkpoint-9", "{\"log_history\": []}");
        save("checkpoint-20", &state);
        save("checkpoint-100", "{\"log_his");
        let read = history(folder.path()).unwrap();
        assert_eq!(read.len(), KEPT);
        assert_eq!((read[0].step, read[KEPT - 1].step), (11, 30));
        assert!(read[0].values[0].1.is_nan());
        save("checkpoint-101", "[");
        assert!(history(folder.path()).is_err());
        assert!(history(Path::new("/nonexistent")).is_err());
    }
}
