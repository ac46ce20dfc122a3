//! The working tree of the branch: made when it is missing, and never taken from anybody.
//!
//! It holds the log and the run reports only (a sparse checkout), since a project may be large. The
//! patterns of that lie in the working tree's own git folder, and the switch for it is given with
//! each command: the repository's configuration stays as it is.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::base::Base;
use super::run::text;
use super::site::Site;

/// An `index.lock` of our own working tree that is older than this was left by a git that died.
const DEAD_LOCK: Duration = Duration::from_mins(10);

/// Makes the working tree if it is missing, and mends what a crash left of it.
///
/// # Errors
/// The branch or the folder is in somebody else's use.
pub(super) async fn ensure(site: &Site, base: &Base) -> Result<(), String> {
    let folder = &site.worktree.folder;
    let is_there = is_there(site);
    let mut is_known = is_listed(site).await?;
    if is_there && !is_known {
        // The project may have been moved: both sides name each other by their old places.
        site.top.done(&["worktree", "repair", text(folder)?]).await?;
        is_known = is_listed(site).await?;
    }
    if is_there && !is_known {
        return Err(format!(
            "`{}` is a working tree of another repository: move it away",
            folder.display()
        ));
    }
    if !is_there {
        refuse_content(folder)?;
        hide(site).await?;
        add(site, base).await?;
    }
    mend(site).await?;
    check(site).await
}

/// Returns whether there is a working tree.
pub(super) fn is_there(site: &Site) -> bool {
    std::fs::symlink_metadata(site.worktree.folder.join(".git")).is_ok()
}

/// Checks that the working tree is on the branch.
///
/// # Errors
/// It is on another one, or missing.
pub(super) async fn check(site: &Site) -> Result<(), String> {
    let folder = site.worktree.folder.display();
    if !is_there(site) {
        return Err(format!("the working tree `{folder}` was removed: it is made again"));
    }
    let head = site.worktree.found(&["symbolic-ref", "-q", "HEAD"]).await?;
    if head.as_ref() == Some(&site.branch) {
        return Ok(());
    }
    let head = head.unwrap_or_else(|| "a commit without a branch".to_owned());
    Err(format!("`{folder}` is on {head}: switch it back to `{}`", site.branch))
}

/// Refuses to rebase over what somebody else changed in the working tree.
///
/// # Errors
/// There is such a change.
pub(super) async fn refuse_foreign_changes(site: &Site) -> Result<(), String> {
    let status = ["status", "--porcelain", "--no-renames", "--untracked-files=no"];
    match site.worktree.found(&status).await? {
        None => Ok(()),
        Some(changes) => Err(format!(
            "`{}` in `{}` was changed by somebody else: commit or restore it there",
            changes
                .lines()
                .next()
                .and_then(|line| line.split_once(' '))
                .map_or("", |line| line.1)
                .trim(),
            site.worktree.folder.display()
        )),
    }
}

/// Returns whether git knows the folder as a working tree of this repository.
async fn is_listed(site: &Site) -> Result<bool, String> {
    let printed = site.top.done(&["worktree", "list", "--porcelain"]).await?;
    let printed = String::from_utf8_lossy(&printed);
    let own = text(&site.worktree.folder)?;
    let mut is_known = false;
    for entry in printed.split("\n\n") {
        let Some(path) = entry.lines().find_map(|line| line.strip_prefix("worktree ")) else {
            continue;
        };
        let holds_branch = entry
            .lines()
            .any(|line| line.strip_prefix("branch ").is_some_and(|branch| branch == site.branch));
        is_known |= path == own;
        if path != own && holds_branch && !entry.contains("\nprunable") {
            return Err(format!(
                "`{}` is checked out in `{path}`: switch to another branch there",
                site.branch
            ));
        }
    }
    Ok(is_known)
}

/// Refuses a folder that is no working tree and holds something.
pub(super) fn refuse_content(folder: &Path) -> Result<(), String> {
    let content = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => Err(format!("{error}")),
        Ok(mut entries) => Ok(entries.next().is_some()),
    };
    match content {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!("`{}` holds other files: move it away", folder.display())),
        Err(error) => Err(format!("`{}` cannot be read: {error}", folder.display())),
    }
}

/// Has git ignore the state folder where nobody did: to `git add .` the working tree in it would be
/// another repository, and to be added.
async fn hide(site: &Site) -> Result<(), String> {
    let folder = &site.worktree.folder;
    let Some(state) = folder.parent().filter(|state| state.starts_with(&site.top.folder)) else {
        return Ok(());
    };
    if site.top.found(&["check-ignore", "--", text(folder)?]).await?.is_some() {
        return Ok(());
    }
    let list = state.join(".gitignore");
    let made = std::fs::File::create_new(&list).and_then(|mut file| file.write_all(b"*\n"));
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(format!("`{}` cannot be written: {error}", list.display()))
        }
        _ => Ok(()),
    }
}

/// Adds the working tree: on the branch where there is one, else on what runscribe or the remote
/// knows of it, else on the default branch.
async fn add(site: &Site, base: &Base) -> Result<(), String> {
    let folder = text(&site.worktree.folder)?;
    // Forced, since git still knows a working tree whose folder a person deleted. That nobody else
    // uses the branch was looked at before.
    let add = ["worktree", "add", "-f", "--no-checkout"];
    if site.tip().await?.is_some() {
        let name = site.branch.trim_start_matches("refs/heads/");
        return site.top.done(&[&add[..], &[folder, name]].concat()).await.map(drop);
    }
    let name = site.branch.trim_start_matches("refs/heads/");
    let remote = super::base::remote(&site.top).await?.unwrap_or_default();
    let on_remote = site.commit(&format!("refs/remotes/{remote}/{name}")).await?;
    let known = site.remembered("tip").await?.or(on_remote.clone());
    let start = known.unwrap_or_else(|| base.commit.clone());
    site.top.done(&[&add[..], &["-b", name, folder, &start]].concat()).await?;
    if let Some(on_remote) = on_remote {
        site.remember("pushed", &on_remote).await?;
    }
    Ok(())
}

/// Checks out what is not there yet, and ends what a crash interrupted.
async fn mend(site: &Site) -> Result<(), String> {
    remove_dead_lock(site).await?;
    if Marker::is_set(site).await? {
        abort_rebase(site).await?;
        Marker::at(site).await?.clear()?;
    }
    if own_file(site, "rebase-merge").await?.exists()
        || own_file(site, "rebase-apply").await?.exists()
    {
        return Err(format!(
            "a rebase is under way in `{}`: continue or abort it",
            site.worktree.folder.display()
        ));
    }
    write_patterns(site).await?;
    if own_file(site, "index").await?.exists() {
        return Ok(());
    }
    site.worktree.done(&["read-tree", "-m", "-u", "HEAD"]).await.map(drop)
}

async fn remove_dead_lock(site: &Site) -> Result<(), String> {
    let lock = own_file(site, "index.lock").await?;
    let changed = std::fs::metadata(&lock).and_then(|metadata| metadata.modified());
    let is_dead = changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > DEAD_LOCK));
    if is_dead {
        tracing::warn!(lock = %lock.display(), "a git that died left its lock; removing it");
        std::fs::remove_file(&lock)
            .map_err(|error| format!("`{}` stays: {error}", lock.display()))?;
    }
    Ok(())
}

/// Says what the working tree holds. Source of the form: `gitignore(5)`.
async fn write_patterns(site: &Site) -> Result<(), String> {
    let escaped = |path: &str| {
        path.chars().fold(String::new(), |mut escaped, character| {
            if matches!(character, '\\' | '*' | '?' | '[' | ']' | ' ') {
                escaped.push('\\');
            }
            escaped.push(character);
            escaped
        })
    };
    let (log, reports) = (escaped(&site.log), escaped(&site.reports));
    let patterns = format!(".gitattributes\n.gitignore\n/{log}\n/{reports}/\n");
    let path = own_file(site, "info/sparse-checkout").await?;
    let written = match std::fs::read_to_string(&path) {
        Ok(there) if there == patterns => return Ok(()),
        _ => path.parent().map_or(Ok(()), std::fs::create_dir_all),
    };
    let written = written.and_then(|()| std::fs::write(&path, patterns));
    written.map_err(|error| format!("`{}` cannot be written: {error}", path.display()))?;
    if own_file(site, "index").await?.exists() {
        // Other documents than before: the settings changed.
        site.worktree.done(&["read-tree", "-m", "-u", "HEAD"]).await?;
    }
    Ok(())
}

/// Ends a rebase; the branch is as it was before it.
pub(super) async fn abort_rebase(site: &Site) -> Result<(), String> {
    if own_file(site, "rebase-merge").await?.exists()
        || own_file(site, "rebase-apply").await?.exists()
    {
        site.worktree.done(&["rebase", "--abort"]).await?;
    }
    Ok(())
}

/// Returns a file of the working tree's own git folder.
async fn own_file(site: &Site, name: &str) -> Result<PathBuf, String> {
    let path = site.worktree.line(&["rev-parse", "--git-path", name]).await?;
    Ok(site.worktree.folder.join(path))
}

/// Says that a rebase is ours, so that after a crash it may be aborted.
#[derive(Debug)]
pub(super) struct Marker(PathBuf);

impl Marker {
    async fn at(site: &Site) -> Result<Self, String> {
        own_file(site, "runscribe-rebase").await.map(Self)
    }

    async fn is_set(site: &Site) -> Result<bool, String> {
        Ok(Self::at(site).await?.0.exists())
    }

    /// Sets it before the rebase begins.
    pub(super) async fn set(site: &Site) -> Result<Self, String> {
        let marker = Self::at(site).await?;
        let shown = marker.0.display();
        std::fs::write(&marker.0, "")
            .map_err(|error| format!("`{shown}` cannot be written: {error}"))?;
        Ok(marker)
    }

    /// Takes it back.
    pub(super) fn clear(&self) -> Result<(), String> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(format!("`{}` stays: {error}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}
