//! `explain` of a shell log.

use std::path::Path;
use std::sync::Arc;

use crate::engine::{self, World};
use crate::model::status::DaemonStatus;
use crate::settings::Settings;

use super::{now, reading};

/// Says what is known of a shell log; nothing if the path is none that was followed.
///
/// # Errors
/// The journal cannot be read.
pub(super) fn explain(settings: &Settings, path: &Path) -> anyhow::Result<Option<Vec<String>>> {
    let absolute = std::path::absolute(path)?;
    // The folder around it is resolved and the log itself is not: it may be gone.
    let folder = absolute.parent().and_then(|folder| folder.canonicalize().ok());
    let resolved = folder.zip(absolute.file_name()).map(|(folder, name)| folder.join(name));
    let root = &settings.paths.root;
    let root = root.canonicalize().unwrap_or_else(|_| root.clone());
    let named =
        |path: &Path| path.strip_prefix(&root).unwrap_or(path).to_string_lossy().into_owned();
    let Some(memory) = reading::memory(&settings.paths.state)? else { return Ok(None) };
    if memory.shell_logs.is_empty() {
        return Ok(None);
    }
    let world = World::new(Arc::new(settings.clone()), memory, DaemonStatus::default(), now());
    let known = |path: &Path| engine::explain_log(&world, &named(path));
    Ok(known(&resolved.unwrap_or_else(|| absolute.clone())).or_else(|| known(&absolute)))
}
