//! The experiment log on a branch of its own, in a linked working tree that only runscribe uses.
//!
//! Nothing of the checkout is touched: not its branch, its index or its files, nor the remote's
//! branches as a person last fetched them. What is remembered between two lives lies in references
//! of its own under `refs/runscribe/<machine>/`:
//!
//! | reference | what it holds |
//! |---|---|
//! | `tip` | the branch as runscribe left it, should somebody delete the branch |
//! | `base` | the commit of the default branch that it stands on |
//! | `default` | the default branch of the remote, as runscribe last fetched it |
//! | `pushed`, `pushing` | the branch as the remote took it, or was about to take it |
//! | `before` | the branch before its rows were last written anew |

mod base;
mod push;
mod rebase;
mod run;
mod site;
mod worktree;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::model::divided::DividedLog;

use base::Base;
use run::{Author, Git};
use site::Site;

pub use push::Pushed;
pub use site::{Written, written};

/// Where the branch's working tree lies, below the state folder.
const FOLDER: &str = "log";
/// Characters of a machine's name in the branch's.
const LONGEST_NAME: usize = 60;

/// The branch of one machine in one project.
#[derive(Debug, Clone)]
pub struct LogBranch {
    root: PathBuf,
    state: PathBuf,
    log: PathBuf,
    reports: PathBuf,
    name: String,
    may_fetch: bool,
}

/// Where the project keeps what is written.
#[derive(Debug, Clone, Copy)]
pub struct Project<'a> {
    /// Its root.
    pub root: &'a Path,
    /// The state folder, which holds the working tree.
    pub state: &'a Path,
    /// The experiment log in the checkout.
    pub log: &'a Path,
    /// The run reports folder in the checkout.
    pub reports: &'a Path,
}

/// Whether the documents can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// They stand on the newest default branch.
    Ready,
    /// They cannot be joined with it: their changes are to be written anew, see
    /// [`LogBranch::begin_anew`].
    Divided(Box<DividedLog>),
}

impl LogBranch {
    /// Names the branch of a machine. With `may_fetch` the remote is asked for its default branch.
    pub fn new(project: Project<'_>, machine: &str, may_fetch: bool) -> Self {
        Self {
            root: project.root.to_owned(),
            state: project.state.to_owned(),
            log: project.log.to_owned(),
            reports: project.reports.to_owned(),
            name: reference_name(machine),
            may_fetch,
        }
    }

    /// Returns the branch's name, `runscribe/<machine>`.
    pub fn branch(&self) -> String {
        format!("runscribe/{}", self.name)
    }

    /// Makes the working tree if it is missing, commits what an earlier life left in it under this
    /// message, and puts the branch on the newest default branch that is known here.
    ///
    /// # Errors
    /// The text says why the documents must not be written now, and what to do. Nothing of theirs
    /// is lost.
    pub async fn prepare(&self, message: &str) -> Result<Prepared, String> {
        let site = self.site().await?;
        let base = base::find(&site).await?;
        worktree::ensure(&site, &base).await?;
        site.check_places().await?;
        self.commit_in(&site, message).await?;
        worktree::refuse_foreign_changes(&site).await?;
        rebase::onto(&site, &base).await
    }

    /// Commits what stands in the documents under a message. Returns whether that was anything; of a
    /// working tree that somebody removed nothing is left, and what was lost with it is missed when it
    /// is looked at a second time.
    ///
    /// # Errors
    /// The text says why, and what to do; the documents stay as they are.
    pub async fn commit(&self, message: &str) -> Result<bool, String> {
        let site = self.site().await?;
        if !worktree::is_there(&site) {
            worktree::refuse_content(&site.worktree.folder)?;
            return Ok(false);
        }
        worktree::check(&site).await?;
        self.commit_in(&site, message).await
    }

    /// Puts the branch onto the default branch without its commits, whose rows are to be written
    /// anew from the journal. Returns the commit that it leaves, which stays reachable.
    ///
    /// # Errors
    /// The text says why not.
    pub async fn begin_anew(&self) -> Result<String, String> {
        let site = self.site().await?;
        let base = base::find(&site).await?;
        worktree::check(&site).await?;
        worktree::refuse_foreign_changes(&site).await?;
        rebase::begin_anew(&site, &base).await
    }

    /// Fetches the remote's default branch into a reference of runscribe's own.
    ///
    /// # Errors
    /// The remote did not answer, or not as expected.
    pub async fn fetch(&self) -> Result<(), String> {
        if !self.may_fetch {
            return Ok(());
        }
        let site = self.site().await?;
        base::fetch(&site).await
    }

    /// Returns whether the working tree is there. Runs nothing.
    pub fn is_there(&self) -> bool {
        self.state.join(FOLDER).join(".git").exists()
    }

    /// Returns signs that change when the default branch may have moved here. Runs nothing.
    pub fn signs(&self) -> Vec<SystemTime> {
        site::signs(&self.root)
    }

    /// Returns how many commits of the branch the default branch does not have.
    ///
    /// # Errors
    /// Git does not say.
    pub async fn unmerged(&self) -> Result<usize, String> {
        let site = self.site().await?;
        let base = base::find(&site).await?;
        let Some(tip) = site.tip().await? else { return Ok(0) };
        let range = format!("{}..{tip}", base.commit);
        let count = site.top.line(&["rev-list", "--count", &range]).await?;
        count.parse().map_err(|_| format!("git counts `{count}` commits"))
    }

    /// Returns the names of the machines that have a branch here or on the remote, the own one
    /// included.
    ///
    /// # Errors
    /// Git does not say.
    pub async fn machines(&self) -> Result<Vec<String>, String> {
        let site = self.site().await?;
        let patterns = ["refs/heads/runscribe/", "refs/remotes/*/runscribe/"];
        let format = "--format=%(refname)";
        let names = site.top.line(&["for-each-ref", format, patterns[0], patterns[1]]).await?;
        let machine = |name: &str| Some(name.rsplit_once("/runscribe/")?.1.to_owned());
        let mut machines: Vec<String> = names.lines().filter_map(machine).collect();
        machines.sort();
        machines.dedup();
        Ok(machines)
    }

    /// Sends the branch to the remote, which keeps what somebody else put there.
    ///
    /// # Errors
    /// The remote did not answer, or refused; the text says what to do.
    pub async fn push(&self) -> Result<Pushed, String> {
        push::push(&self.site().await?).await
    }

    async fn site(&self) -> Result<Site, String> {
        site::locate(self).await
    }

    async fn commit_in(&self, site: &Site, message: &str) -> Result<bool, String> {
        let changed = site.changed_documents().await?;
        if changed.is_empty() {
            return Ok(false);
        }
        let mut add = vec!["add", "-A", "--"];
        add.extend(changed.iter().map(String::as_str));
        site.worktree.done(&add).await?;
        if site.worktree.says(&["diff", "--cached", "--quiet"]).await? {
            return Ok(false);
        }
        let commit = ["commit", "-q", "--no-verify", "--no-gpg-sign", "-m", message];
        site.worktree.done(&commit).await?;
        site.remember("tip", "HEAD").await?;
        Ok(true)
    }

    fn git(&self, folder: PathBuf) -> Git {
        let email = format!("runscribe@{}", self.name);
        Git { folder, author: Author { name: "runscribe".to_owned(), email } }
    }
}

/// Returns a name that git takes as a part of a reference. Source: `git-check-ref-format(1)`.
fn reference_name(machine: &str) -> String {
    let mut name = String::new();
    for character in machine.chars() {
        let is_plain = character.is_alphanumeric() || matches!(character, '_' | '.' | '-');
        let character = if is_plain { character } else { '-' };
        let repeats = matches!(character, '-' | '.') && name.ends_with(character);
        if !repeats && name.chars().count() < LONGEST_NAME {
            name.push(character);
        }
    }
    let name = name.trim_matches(['.', '-']);
    let name = name.strip_suffix(".lock").unwrap_or(name);
    if name.is_empty() { "unknown".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests;
