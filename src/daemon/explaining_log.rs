//! `explain` of a shell log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::{self, World};
use crate::model::status::DaemonStatus;
use crate::settings::{Paths, Settings};
use crate::watch::tail;

use super::{now, reading};

/// Says what is known of a shell log; nothing if the path is none that was followed.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn explain(settings: &Settings, path: &Path) -> anyhow::Result<Option<Vec<String>>> {
    let ways = names_of(path)?;
    let root = &settings.paths.root;
    let root = root.canonicalize().unwrap_or_else(|_| root.clone());
    let named =
        |path: &Path| path.strip_prefix(&root).unwrap_or(path).to_string_lossy().into_owned();
    let Some(memory) = reading::memory(&settings.paths.state)? else { return Ok(None) };
    if memory.shell_logs.is_empty() {
        return Ok(None);
    }
    let world = World::new(Arc::new(settings.clone()), memory, DaemonStatus::default(), now());
    Ok(ways.iter().find_map(|path| engine::explain_log(&world, &named(path))))
}

/// Returns the ways to name a path: what is around it resolved, and as it was given.
fn names_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let absolute = std::path::absolute(path)?;
    // The folder around it is resolved and the log itself is not: it may be gone.
    let folder = absolute.parent().and_then(|folder| folder.canonicalize().ok());
    let resolved = folder.zip(absolute.file_name()).map(|(folder, name)| folder.join(name));
    Ok(resolved.into_iter().chain([absolute]).collect())
}

/// Says why a file that is no checkpoint's was not followed as a shell log.
///
/// # Errors
/// The path cannot be made absolute.
pub(super) fn not_followed(settings: &Settings, path: &Path) -> anyhow::Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let Paths { root, shell_logs, .. } = &settings.paths;
    if names_of(path)?.iter().any(|name| tail::is_named(shell_logs, name)) {
        let line = "`project.shell_logs` names it, but it is not among the shell logs that were \
                    read so far; a running daemon reads it with its next look.";
        return Ok(Some(line.to_owned()));
    }
    let shown = |log: &PathBuf| format!("`{}`", log.strip_prefix(root).unwrap_or(log).display());
    let named = match shell_logs.as_slice() {
        [] => "nothing".to_owned(),
        logs => logs.iter().map(shown).collect::<Vec<_>>().join(", "),
    };
    Ok(Some(format!("It is not among the watched shell logs: `project.shell_logs` names {named}.")))
}
