#![expect(clippy::disallowed_methods, reason = "IO shell: reads a run's local W&B files")]
//! IO shell. What W&B knows of a run: from what it left on this host, and from its service.

pub mod api;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::model::ids::RunId;
use crate::parse::wandb::{self, GitFacts, WandbRun};

/// Bytes of a file that are read; the configuration stands at the beginning of all of them.
const HEAD_BYTES: u64 = 4 << 20;
/// Folders of one run that are looked at, newest first: resuming makes another one.
const FOLDERS: usize = 8;

/// Returns the commit and tag that the run recorded when it was trained.
///
/// `folder` is the project's `wandb` folder.
pub fn git_facts(folder: &Path, run: &RunId) -> GitFacts {
    local_run(folder, run).unwrap_or_default().git()
}

/// Returns what the local files say of a run; `None` if there are none of it.
///
/// `folder` is the project's `wandb` folder. The debug log is asked first: it exists offline as
/// well, and holds what the project itself recorded. A run that was resumed has several folders,
/// the newest of which counts where they differ.
pub fn local_run(folder: &Path, run: &RunId) -> Option<WandbRun> {
    let read = |own: &Path| {
        wandb::debug_log(&head(&own.join("logs/debug.log")))
            .or(wandb::config_yaml(&head(&own.join("files/config.yaml"))))
            .or(wandb::metadata(&head(&own.join("files/wandb-metadata.json"))))
            .or(wandb::summary(&head(&own.join("files/wandb-summary.json"))))
            .or(wandb::printed_page(&head(&own.join("files/output.log")), run.as_str()))
    };
    folders(folder, run).iter().map(|own| read(own)).reduce(WandbRun::or)
}

/// Returns the newest folder that W&B made for a run.
pub fn newest_folder(folder: &Path, run: &RunId) -> Option<PathBuf> {
    folders(folder, run).into_iter().next()
}

/// Finds `run-<stamp>-<run id>` and `offline-run-<stamp>-<run id>`, newest first.
fn folders(folder: &Path, run: &RunId) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<(String, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((stamp(entry.file_name().to_str()?, run)?, entry.path())))
        .collect();
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().take(FOLDERS).map(|(_, path)| path).collect()
}

/// Returns the stamp in the name of a folder of this run, such as `20260223_203352`.
fn stamp(name: &str, run: &RunId) -> Option<String> {
    let name = name.strip_prefix("offline-").unwrap_or(name);
    let (stamp, id) = name.strip_prefix("run-")?.split_once('-')?;
    (id == run.as_str()).then(|| stamp.to_owned())
}

fn head(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut bytes));
    if let Err(error) = read
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "a file of W&B is not readable");
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_run_s_own_folders_are_read_and_the_newest_first() {
        let project = tempfile::tempdir().unwrap();
        let run = RunId::new("diffusion_H512L2C128D2_20260223_203349");
        let write = |folder: &str, file: &str, text: &str| {
            let path = project.path().join(folder).join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(git_facts(project.path(), &run), GitFacts::default());
        let first = format!("offline-run-20260223_203352-{run}");
        write(&first, "logs/debug.log", "config: {'git_commit': '1111111', 'git_tag': 'arch/a'}");
        let resumed = format!("run-20260224_080000-{run}");
        write(&resumed, "files/config.yaml", "git_commit:\n    value: 2222222\n");
        write(&resumed, "files/wandb-metadata.json", r#"{"git": {"commit": "3333333"}}"#);
        // Another run whose id ends in the same way, and a link to the latest.
        let other = format!("run-20260225_000000-x-{run}");
        write(&other, "logs/debug.log", "config: {'git_commit': '4444444'}");
        let facts = git_facts(project.path(), &run);
        let expected = GitFacts {
            commit: Some("2222222".to_owned()),
            tag: Some("arch/a".to_owned()),
            ..GitFacts::default()
        };
        assert_eq!(facts, expected);
        write(&resumed, "files/wandb-summary.json", r#"{"train/loss": 1.5}"#);
        let page = format!("wandb: View run {run} at: https://wandb.ai/e/p/runs/{run}\n");
        write(&first, "files/output.log", &page);
        let known = local_run(project.path(), &run).unwrap();
        assert_eq!((known.final_loss, known.page.unwrap().entity), (Some(1.5), "e".to_owned()));
        assert_eq!(local_run(project.path(), &RunId::new("x_20260101_000000")), None);
    }
}
