#![expect(clippy::disallowed_methods, reason = "IO shell: looks at git's own files")]
//! IO shell. What git is doing with the files around the experiment log, and the tag of a run: read
//! from git's own files, without a lock and without a command. And what git itself is run for: the
//! history, which is read without a lock, and the log's own branch.

mod command;
pub mod history;
mod index;
pub mod log_branch;
pub mod making;
pub mod starting;
mod tags;

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub use command::GitError;
use index::Tracked;

/// Files in a git directory that stand there while an operation is unfinished, and what to do.
/// Source: git's own sources, `wt-status.c`.
const UNFINISHED: [(&str, &str); 7] = [
    ("MERGE_HEAD", "a merge is unfinished; conclude or abort it"),
    ("rebase-merge", "a rebase is unfinished; continue or abort it"),
    ("rebase-apply", "a rebase or `git am` is unfinished; continue or abort it"),
    ("CHERRY_PICK_HEAD", "a cherry-pick is unfinished; continue or abort it"),
    ("REVERT_HEAD", "a revert is unfinished; continue or abort it"),
    ("BISECT_LOG", "a bisect is under way; end it with `git bisect reset`"),
    ("index.lock", "a git command is running (or one that died left `index.lock`)"),
];

/// Returns why a file must be left alone now, because git is in the middle of something that may
/// change it; `None` outside of repositories.
pub fn busy_with(file: &Path) -> Option<String> {
    let checkout = Checkout::of(file)?;
    let unfinished = UNFINISHED.iter().find(|(name, _)| checkout.directory.join(name).exists());
    if let Some((_, what)) = unfinished {
        return Some(format!("git: {what}"));
    }
    // A file that is there needs no look into the index.
    if std::fs::symlink_metadata(file).is_ok() {
        return None;
    }
    let name = file.file_name().unwrap_or_default().display();
    match checkout.tracked(file) {
        Ok(Tracked::No) => None,
        Ok(Tracked::Yes { .. }) => Some(format!(
            "git tracks `{name}`, but it is missing: restore it (`git restore`), or remove it from \
             git (`git rm --cached`) to have a new one made"
        )),
        Err(problem) => Some(format!(
            "`{name}` is missing, and whether git tracks it is not known ({problem}): restore or \
             create it"
        )),
    }
}

/// Returns whether git tracks a file that is not as git last saw it, so that the checkout counts
/// as changed. What cannot be read is no such file.
pub fn is_changed(file: &Path) -> bool {
    let Some(checkout) = Checkout::of(file) else { return false };
    let (Ok(Tracked::Yes { modified, size }), Ok(now)) =
        (checkout.tracked(file), std::fs::metadata(file))
    else {
        return false;
    };
    let low = |value: u64| u32::try_from(value & 0xFFFF_FFFF).unwrap_or(0);
    let time = (low(now.mtime().cast_unsigned()), low(now.mtime_nsec().cast_unsigned()));
    // Some builds of git leave the nanoseconds out.
    low(now.size()) != size || time.0 != modified.0 || modified.1 != 0 && time.1 != modified.1
}

/// Returns the names of all tags of the repository that holds a folder, sorted; none outside of one.
pub fn tag_names(folder: &Path) -> Vec<String> {
    let checkout = Checkout::of(&folder.join("any"));
    checkout.map(|checkout| tags::names(&checkout.common_directory())).unwrap_or_default()
}

/// A checkout: its top folder and its git directory.
#[derive(Debug)]
struct Checkout {
    top: PathBuf,
    directory: PathBuf,
}

impl Checkout {
    /// Finds the checkout that holds a file.
    fn of(file: &Path) -> Option<Self> {
        let (top, directory) = git_directory(file)?;
        Some(Self { top, directory })
    }

    /// Returns the git directory that holds what linked worktrees share, references among it.
    /// Source: `gitrepository-layout(5)`.
    fn common_directory(&self) -> PathBuf {
        let shared = std::fs::read_to_string(self.directory.join("commondir")).ok();
        let common = shared.map(|path| self.directory.join(path.trim_end()));
        common.unwrap_or_else(|| self.directory.clone())
    }

    fn tracked(&self, file: &Path) -> Result<Tracked, String> {
        let inside = file.strip_prefix(&self.top).map_err(|error| error.to_string())?;
        index::tracks(&self.directory.join("index"), inside.as_os_str().as_bytes())
    }
}

/// Finds the top folder and the git directory of the checkout that holds a file; in a linked worktree or submodule
/// `.git` is a file that names it. Source: `gitrepository-layout(5)`.
fn git_directory(file: &Path) -> Option<(PathBuf, PathBuf)> {
    let top = file.ancestors().skip(1).find(|folder| folder.join(".git").exists())?;
    let marker = top.join(".git");
    if marker.is_dir() {
        return Some((top.to_owned(), marker));
    }
    let text = std::fs::read_to_string(&marker).ok()?;
    let named = text.strip_prefix("gitdir:")?.trim();
    Some((top.to_owned(), top.join(named)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_operations_hold_the_file_also_in_a_linked_worktree() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("docs/log.md");
        std::fs::create_dir_all(folder.path().join("docs")).unwrap();
        assert_eq!(busy_with(&log), None, "no repository");
        let real = folder.path().join("elsewhere/worktrees/x");
        std::fs::create_dir_all(&real).unwrap();
        std::fs::write(folder.path().join(".git"), "gitdir: elsewhere/worktrees/x\n").unwrap();
        assert_eq!(busy_with(&log), None, "nothing under way");
        std::fs::write(&log, "").unwrap();
        for (name, what) in UNFINISHED {
            std::fs::write(real.join(name), "").unwrap();
            assert_eq!(busy_with(&log), Some(format!("git: {what}")));
            std::fs::remove_file(real.join(name)).unwrap();
        }
    }
}
