//! The files of analyses, `reports/<run>/<checkpoint>/` in the state folder: what each program
//! printed and reported last, with secrets blanked, for as long as the settings say.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::analysis::AnalysisOrder;
use crate::model::ids::CheckpointName;
use crate::model::secrets::Secrets;
use crate::parse::redact::redact_with;

/// The largest JSON report that is read, in bytes; real ones have 2 kB.
const MAX_JSON_BYTES: u64 = 8 << 20;
/// Where programs write their reports, until those were read.
const OUTPUTS: &str = "outputs";

/// What a program left, within a bound.
#[derive(Debug)]
pub(super) struct ProgramOutput {
    pub(super) json: Option<Vec<u8>>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// The files of one analysis. What the program wrote itself is removed when this is dropped: it may
/// hold secrets, and no later analysis may take it for its own.
#[derive(Debug)]
pub(super) struct ReportFiles {
    folder: PathBuf,
    /// Where the program is told to write, known to this order alone: a program of an earlier life
    /// that still runs must not be able to write this one's report.
    pub(super) json: PathBuf,
}

impl Drop for ReportFiles {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.json) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %self.json.display(), "cannot remove a raw report");
            }
            _ => {}
        }
    }
}

impl ReportFiles {
    /// Makes the folder and removes what an earlier analysis left there, so that an old report can
    /// never pass for a new one.
    pub(super) fn prepare(order: &AnalysisOrder, state: &Path) -> io::Result<Self> {
        let folder = report_folder(state, order.checkpoint.run.as_str(), order.checkpoint.name);
        std::fs::create_dir_all(&folder)?;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                std::fs::remove_file(entry.path())?;
            }
        }
        // Also marks the folder as in use: the sweep goes by its time.
        std::fs::write(folder.join("stdout.txt"), "")?;
        let outputs = state.join(OUTPUTS);
        std::fs::create_dir_all(&outputs)?;
        let name = format!("{}-{}.json", std::process::id(), order.number);
        Ok(Self { json: outputs.join(name), folder })
    }

    /// Reads the JSON report, if there is one.
    pub(super) fn read_json(&self) -> Option<Vec<u8>> {
        read_bounded(&self.json)
            .inspect_err(|error| {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "cannot read the report of an analysis");
                }
            })
            .ok()
    }

    /// Keeps what the program left, readable and without secrets.
    pub(super) fn keep(&self, output: &ProgramOutput, secrets: &Secrets) -> io::Result<()> {
        let json = output.json.as_ref().map(|json| ("report.json", json));
        let streams = [("stdout.txt", &output.stdout), ("stderr.txt", &output.stderr)];
        for (name, bytes) in streams.into_iter().chain(json) {
            let text = redact_with(&String::from_utf8_lossy(bytes), secrets);
            std::fs::write(self.folder.join(name), text)?;
        }
        Ok(())
    }
}

/// Returns where the reports of a checkpoint are kept.
pub fn report_folder(state: &Path, run: &str, name: CheckpointName) -> PathBuf {
    state.join("reports").join(run).join(name.to_string())
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe in its place would never end.
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other(format!("`{}` is not a plain file", path.display())));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_JSON_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes what programs of an earlier life wrote and nobody read; at the start of the daemon none
/// of them is waited for. Returns how many files there were.
///
/// # Errors
/// The folder cannot be listed or a file not be removed.
pub fn sweep_outputs(state: &Path) -> io::Result<u64> {
    remove_all(&state.join(OUTPUTS), |output| std::fs::remove_file(output))
}

/// Removes everything in a folder of the state, and returns how much there was; a folder that does
/// not exist holds nothing.
pub(super) fn remove_all(
    folder: &Path,
    remove: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<u64> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut removed = 0;
    for entry in entries {
        remove(&entry?.path())?;
        removed += 1;
    }
    Ok(removed)
}

/// Removes reports that are older than `keep`, and the folders of runs that are empty then. Returns
/// how many reports went.
///
/// # Errors
/// Something cannot be listed or removed; the rest is swept all the same.
pub fn sweep(state: &Path, keep: Duration) -> io::Result<u64> {
    let (mut removed, mut trouble) = (0, None);
    for run in folders(&state.join("reports"))? {
        for report in folders(&run)? {
            match remove_if_old(&report, keep) {
                Ok(true) => removed += 1,
                Ok(false) => {}
                Err(error) => trouble = Some(error),
            }
        }
        match std::fs::remove_dir(&run) {
            Err(error)
                if ![io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::NotFound]
                    .contains(&error.kind()) =>
            {
                trouble = Some(error);
            }
            _ => {}
        }
    }
    trouble.map_or(Ok(removed), Err)
}

fn remove_if_old(report: &Path, keep: Duration) -> io::Result<bool> {
    let age = std::fs::symlink_metadata(report)?.modified()?.elapsed().unwrap_or_default();
    if age <= keep {
        return Ok(false);
    }
    std::fs::remove_dir_all(report)?;
    Ok(true)
}

/// Returns the folders in a folder; none where that does not exist. Links are not followed.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(state: &Path, run: &str, step: u64, age: Duration) -> PathBuf {
        let folder = report_folder(state, run, CheckpointName::Step(step));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("stdout.txt"), "x").unwrap();
        let then = std::time::SystemTime::now() - age;
        std::fs::File::open(&folder).unwrap().set_modified(then).unwrap();
        folder
    }

    #[test]
    fn what_is_too_old_goes_and_empty_runs_with_it() {
        let state = tempfile::tempdir().unwrap();
        let day = Duration::from_hours(24);
        assert_eq!(sweep(state.path(), day).unwrap(), 0);
        let young = make(state.path(), "run_a", 20, day / 2);
        let old = make(state.path(), "run_a", 40, day * 2);
        let all_old = make(state.path(), "run_b", 20, day * 2);
        assert_eq!(sweep(state.path(), day).unwrap(), 2);
        assert!(young.exists() && !old.exists());
        assert!(!all_old.parent().unwrap().exists());
        assert_eq!(sweep(state.path(), day).unwrap(), 0);
    }

    #[test]
    fn only_plain_files_are_read_as_reports() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        assert_eq!(read_bounded(&file).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::create_dir(&file).unwrap();
        assert!(read_bounded(&file).unwrap_err().to_string().contains("is not a plain file"));
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "{}").unwrap();
        let link = folder.path().join("link.json");
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        assert!(read_bounded(&link).is_err());
        assert_eq!(read_bounded(&secret).unwrap(), b"{}");
    }
}
