#![expect(clippy::disallowed_methods, reason = "IO shell: looks at git's own files")]
//! IO shell. What git is doing with the files around the experiment log; reads only, takes no lock
//! and runs no command.

use std::path::{Path, PathBuf};

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
    let directory = git_directory(file)?;
    let (_, what) = UNFINISHED.iter().find(|(name, _)| directory.join(name).exists())?;
    Some(format!("git: {what}"))
}

/// Finds the git directory of the checkout that holds a file; in a linked worktree or submodule
/// `.git` is a file that names it. Source: `gitrepository-layout(5)`.
fn git_directory(file: &Path) -> Option<PathBuf> {
    let marker =
        file.ancestors().skip(1).map(|folder| folder.join(".git")).find(|at| at.exists())?;
    if marker.is_dir() {
        return Some(marker);
    }
    let text = std::fs::read_to_string(&marker).ok()?;
    let named = text.strip_prefix("gitdir:")?.trim();
    Some(marker.parent()?.join(named))
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
        for (name, what) in UNFINISHED {
            std::fs::write(real.join(name), "").unwrap();
            assert_eq!(busy_with(&log), Some(format!("git: {what}")));
            std::fs::remove_file(real.join(name)).unwrap();
        }
    }
}
