//! Reads the documents, and writes the file of known findings.

use std::path::Path;

use anyhow::Context as _;

use super::relative;
use crate::audit::facts::{Documents, TextFile};
use crate::audit::reading::{self, Reading};
use crate::daemon::log_branch;
use crate::daemon::reading as files;
use crate::record::replace::{self, ReplaceError};
use crate::settings::Settings;

/// Folders below the run reports folder that are gone through.
const DEEPEST: usize = 3;
/// How often a file that somebody else saves at the same moment is read again.
const TRIES: usize = 5;

pub(super) fn read(settings: &Settings) -> anyhow::Result<Reading> {
    let (paths, discipline) = (&settings.paths, &settings.discipline);
    let text = |path: &Path| text_file(&paths.root, path);
    // On a branch of its own the log is newer than the one of the checkout.
    let written = log_branch::documents(settings);
    let log = text_file(&written.root, &written.log)?;
    let mut found = reports(&written.root, &written.reports)?;
    if written.reports != paths.run_reports {
        found.extend(reports(&paths.root, &paths.run_reports)?);
        found.sort_by(|left, right| left.path.cmp(&right.path));
        found.dedup_by(|left, right| left.path == right.path);
    }
    let documents = Documents {
        log: if log.is_some() { log } else { text(&paths.experiment_log)? },
        changelog: text(&discipline.changelog)?,
        todos: text(&discipline.todos)?,
        reports: found,
    };
    let headers = &settings.log.headers;
    Ok(reading::read(&documents, headers, &discipline.tags, &settings.gates))
}

/// Says which documents are not there.
pub(super) fn missing(settings: &Settings, reading: &Reading) -> Vec<String> {
    let (paths, discipline) = (&settings.paths, &settings.discipline);
    let all = [
        (reading.log.is_none(), &paths.experiment_log, "project.experiment_log"),
        (reading.changelog.is_none(), &discipline.changelog, "discipline.changelog"),
        (reading.todos.is_none(), &discipline.todos, "discipline.todos"),
    ];
    let missing = all.into_iter().filter(|(is_missing, ..)| *is_missing);
    let said = missing.map(|(_, path, key)| {
        let shown = relative(&paths.root, path);
        format!("there is no `{shown}` (`{key}`), so what it should say is not audited")
    });
    said.collect()
}

fn text_file(root: &Path, path: &Path) -> anyhow::Result<Option<TextFile>> {
    if !path.exists() {
        return Ok(None);
    }
    let file = TextFile { path: relative(root, path), bytes: files::bytes(path)? };
    // Every other line of it would be a finding.
    let is_utf_16 = file.bytes.starts_with(b"\xFF\xFE") || file.bytes.starts_with(b"\xFE\xFF");
    anyhow::ensure!(!is_utf_16, "`{}` is UTF-16: save it as UTF-8", file.path);
    Ok(Some(file))
}

fn reports(root: &Path, folder: &Path) -> anyhow::Result<Vec<TextFile>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in walkdir::WalkDir::new(folder).max_depth(DEEPEST).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot list `{}`", folder.display()))?;
        let is_report = entry.path().extension().is_some_and(|end| end == "md");
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if is_report && !is_hidden && entry.file_type().is_file() {
            found.extend(text_file(root, entry.path())?);
        }
    }
    Ok(found)
}

/// Writes a file that a person asked for and may have changed meanwhile.
///
/// # Errors
/// It cannot be written; the text says why.
pub fn save(path: &Path, text: &str) -> anyhow::Result<()> {
    for _ in 0..TRIES {
        let old = replace::read(path)?;
        match replace::replace(path, old.as_ref(), text.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(ReplaceError::Changed | ReplaceError::Busy) => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::bail!("`{}` is being written by others all the time", path.display())
}
