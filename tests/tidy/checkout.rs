//! The files of the checkout.

#![expect(clippy::disallowed_methods, reason = "test support: reads the checkout and asks git")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use walkdir::WalkDir;

/// Returns the files of a checkout by their path relative to it: what git tracks or would track;
/// without git everything except hidden folders and `target/`.
///
/// # Errors
/// When a file or folder cannot be read.
pub(crate) fn files(root: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let paths = match listed_by_git(root) {
        Some(paths) => paths,
        None => walked(root)?,
    };
    let mut files = BTreeMap::new();
    for path in paths {
        let full = root.join(&path);
        // A file that was removed but is still in the index, or a link that leads nowhere.
        if full.is_file() {
            files.insert(path, std::fs::read(&full)?);
        }
    }
    Ok(files)
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        // A hook that runs the tests leaves these behind, and they may name another checkout.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .output()
        .ok()?;
    let paths: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

/// Returns the paths of all files below a folder, hidden folders and `target/` left out.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn walked(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    let entries = WalkDir::new(root).into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        let skipped = entry.file_type().is_dir() && (name.starts_with('.') || name == "target");
        entry.depth() == 0 || !skipped || name == ".ci"
    });
    for entry in entries {
        let entry = entry?;
        if entry.file_type().is_file() {
            let below = entry.path().strip_prefix(root)?;
            paths.push(below.to_string_lossy().into_owned());
        }
    }
    Ok(paths)
}
