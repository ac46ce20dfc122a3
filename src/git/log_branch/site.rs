//! Where the repository is, and where in it the documents are.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::run::{Git, text};
use super::{Base, FOLDER, LogBranch, Project};
use crate::git::Checkout;

/// Names of the texts that are written beside a document before they take its place.
const BESIDE: [&str; 2] = [".runscribe-part", ".runscribe-swap"];

/// Where the documents are written that are kept on a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The project's root in the branch's working tree.
    pub root: PathBuf,
    /// The experiment log in it.
    pub log: PathBuf,
    /// The run reports folder in it.
    pub reports: PathBuf,
}

/// Returns where the documents are written, whether or not anything is there yet.
pub fn written(project: Project<'_>) -> Written {
    let checkout = Checkout::of(&project.root.join("any"));
    let top = checkout.map_or_else(|| project.root.to_owned(), |checkout| checkout.top);
    let worktree = project.state.join(FOLDER);
    // What lies outside of the repository is refused before it is written.
    let there = |path: &Path| match path.strip_prefix(&top) {
        Ok(inside) => worktree.join(inside),
        Err(_) => worktree.join(path.file_name().unwrap_or_default()),
    };
    let root = project.root.strip_prefix(&top).unwrap_or(Path::new(""));
    Written { root: worktree.join(root), log: there(project.log), reports: there(project.reports) }
}

/// Returns the times of files that change when somebody commits, pulls or fetches. To look at them
/// costs nothing; what they mean is looked at when they change.
pub(super) fn signs(root: &Path) -> Vec<SystemTime> {
    let Some(checkout) = Checkout::of(&root.join("any")) else { return Vec::new() };
    let common = checkout.common_directory();
    let names = ["packed-refs", "FETCH_HEAD", "refs/heads", "refs/remotes/origin", "refs/remotes"];
    let changed = |name| std::fs::metadata(common.join(name)).and_then(|found| found.modified());
    names.into_iter().filter_map(|name| changed(name).ok()).collect()
}

/// The repository as it is now.
#[derive(Debug)]
pub(super) struct Site {
    /// Git in the person's checkout; nothing that changes it is run there.
    pub(super) top: Git,
    /// Git in the branch's working tree.
    pub(super) worktree: Git,
    /// The whole name of the branch, `refs/heads/runscribe/<machine>`.
    pub(super) branch: String,
    /// Where runscribe remembers commits, `refs/runscribe/<machine>`.
    own: String,
    /// The log and the run reports folder, relative to the top.
    pub(super) log: String,
    pub(super) reports: String,
}

/// Finds the repository.
pub(super) async fn locate(own: &LogBranch) -> Result<Site, String> {
    let root = own.git(own.root.clone());
    let bare = root.ends(&["rev-parse", "--is-bare-repository"]).await?;
    if bare.code != Some(0) {
        return Err(format!(
            "`{}` is in no git repository ({}): make one, or set `log.write = \"in-place\"`",
            own.root.display(),
            bare.complaint()
        ));
    }
    if bare.printed.starts_with(b"true") {
        return Err("the repository is bare: let runscribe watch a checkout of it".to_owned());
    }
    let top = PathBuf::from(root.line(&["rev-parse", "--show-toplevel"]).await?);
    let inside = |path: &Path, what: &str| inside(&top, path, what);
    let (log, reports) =
        (inside(&own.log, "experiment_log")?, inside(&own.reports, "run_reports_dir")?);
    let state = std::fs::canonicalize(&own.state)
        .map_err(|error| format!("`{}` cannot be reached: {error}", own.state.display()))?;
    Ok(Site {
        top: own.git(top),
        worktree: own.git(state.join(FOLDER)),
        branch: format!("refs/heads/{}", own.branch()),
        own: format!("refs/runscribe/{}", own.name),
        log,
        reports,
    })
}

fn inside(top: &Path, path: &Path, what: &str) -> Result<String, String> {
    // The last folders may not exist in the checkout.
    let there = path.ancestors().find_map(|folder| {
        let rest = path.strip_prefix(folder).ok()?;
        Some(std::fs::canonicalize(folder).ok()?.join(rest))
    });
    let there = there.unwrap_or_else(|| path.to_owned());
    match there.strip_prefix(top) {
        Ok(inside) => text(inside).map(|inside| inside.trim_end_matches('/').to_owned()),
        Err(_) => Err(format!(
            "`{}` is outside of the repository `{}`: change `project.{what}`, or set `log.write = \
             \"in-place\"`",
            path.display(),
            top.display()
        )),
    }
}

impl Site {
    /// Returns the branch's commit, if there is the branch.
    pub(super) async fn tip(&self) -> Result<Option<String>, String> {
        self.commit(&self.branch).await
    }

    /// Returns the commit that a revision names.
    pub(super) async fn commit(&self, revision: &str) -> Result<Option<String>, String> {
        let commit = format!("{revision}^{{commit}}");
        self.top.found(&["rev-parse", "-q", "--verify", &commit]).await
    }

    /// Returns the name of a reference of runscribe's own.
    pub(super) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.own)
    }

    /// Returns what runscribe remembers under a name.
    pub(super) async fn remembered(&self, name: &str) -> Result<Option<String>, String> {
        self.commit(&self.reference(name)).await
    }

    /// Remembers a commit, named as in the branch's working tree.
    pub(super) async fn remember(&self, name: &str, commit: &str) -> Result<(), String> {
        let reference = self.reference(name);
        self.worktree.done(&["update-ref", &reference, commit]).await.map(drop)
    }

    /// Returns whether a commit is an ancestor of another, or the same.
    pub(super) async fn is_ancestor(&self, older: &str, newer: &str) -> Result<bool, String> {
        self.top.says(&["merge-base", "--is-ancestor", older, newer]).await
    }

    /// Returns the documents in the working tree that differ from its commit.
    pub(super) async fn changed_documents(&self) -> Result<Vec<String>, String> {
        let status = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--"];
        let status = [&status[..], &[self.log.as_str(), self.reports.as_str()]].concat();
        let printed = self.worktree.done(&status).await?;
        let entries = printed.split(|byte| *byte == 0);
        let path = |entry: &[u8]| String::from_utf8(entry.get(3..)?.to_vec()).ok();
        let is_whole = |path: &String| !BESIDE.iter().any(|ending| path.ends_with(ending));
        Ok(entries.filter_map(path).filter(is_whole).collect())
    }

    /// Refuses places from which what is written would not come to stand on the branch: links that
    /// lead out of the working tree, and files that git ignores.
    pub(super) async fn check_places(&self) -> Result<(), String> {
        let folder = &self.worktree.folder;
        for document in [&self.log, &self.reports] {
            let path = folder.join(document);
            let there = path.ancestors().find_map(|path| match std::fs::canonicalize(path) {
                Ok(there) => Some(Ok(there)),
                // A link that leads to nothing is one that leads out.
                Err(_) if std::fs::symlink_metadata(path).is_ok() => Some(Err(())),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(_) => Some(Err(())),
            });
            if !there.is_some_and(|there| there.is_ok_and(|there| there.starts_with(folder))) {
                return Err(format!(
                    "`{document}` is or lies behind a link that leads out of the working tree: \
                     name the file itself in the settings, or set `log.write = \"in-place\"`"
                ));
            }
        }
        let note = format!("{}/note.md", self.reports);
        let check = ["check-ignore", "--", &self.log, &note];
        match self.worktree.found(&check).await? {
            None => Ok(()),
            Some(ignored) => Err(format!(
                "git ignores `{}`: take it out of `.gitignore`, or set `log.write = \"in-place\"`",
                ignored.lines().next().unwrap_or_default()
            )),
        }
    }

    /// Returns a file of a commit, nothing if it has none of that name.
    pub(super) async fn file(&self, commit: &str, path: &str) -> Result<Vec<u8>, String> {
        let listed = self.top.done(&["ls-tree", "-z", "--full-tree", commit, "--", path]).await?;
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        self.top.done(&["cat-file", "blob", &format!("{commit}:{path}")]).await
    }

    /// Returns the names of the files in the run reports folder of a commit.
    pub(super) async fn notes(&self, commit: &str) -> Result<Vec<String>, String> {
        let folder = format!("{}/", self.reports);
        let list = ["ls-tree", "-z", "--name-only", "--full-tree", commit, "--", &folder];
        let printed = self.top.done(&list).await?;
        let paths = printed.split(|byte| *byte == 0);
        let name = |path: &[u8]| {
            let path = std::str::from_utf8(path).ok()?;
            path.strip_prefix(&folder).map(str::to_owned)
        };
        Ok(paths.filter_map(name).collect())
    }

    /// Returns the commit that the branch's own commits begin after.
    pub(super) async fn origin(&self, base: &Base, tip: &str) -> Result<String, String> {
        let shared = self.top.found(&["merge-base", &base.commit, tip]).await?;
        let remembered = self.remembered("base").await?;
        match (shared, remembered) {
            // The default branch was written anew: what it dropped must not come back with ours.
            (Some(shared), Some(remembered)) if self.is_ancestor(&shared, &remembered).await? => {
                let is_ours = self.is_ancestor(&remembered, tip).await?;
                Ok(if is_ours { remembered } else { shared })
            }
            (Some(shared), _) => Ok(shared),
            (None, Some(remembered)) if self.is_ancestor(&remembered, tip).await? => Ok(remembered),
            (None, _) => Err(format!(
                "`{}` and `{}` have no common history: delete the branch, or rebase it by hand",
                self.branch, base.name
            )),
        }
    }
}
