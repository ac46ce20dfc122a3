//! Git as it writes the log's branch: with the author of its commits named, without hooks, editors
//! and signatures.
//!
//! The person's hooks are not run: they are made for what people commit in their checkout (they
//! format, test, or ask), and would act on a folder that holds the log and nothing else.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::git::command::{self, Call, Ended};

/// What a person may have configured for their own work, and must not be in force here.
const SETTINGS: [&str; 14] = [
    "core.hooksPath=/dev/null",
    "core.untrackedCache=false",
    "core.sparseCheckout=true",
    "core.sparseCheckoutCone=false",
    "core.editor=true",
    "sequence.editor=true",
    "commit.gpgSign=false",
    "push.gpgSign=false",
    "rebase.autoStash=false",
    "rebase.updateRefs=false",
    "rerere.enabled=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
];

/// Variables of a person's that lead to an editor, or into what is committed.
const REMOVED: [&str; 6] = [
    "GIT_CONFIG_PARAMETERS",
    "GIT_REFLOG_ACTION",
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_DATE",
    "EDITOR",
    "VISUAL",
];

/// A folder in which git is run, and who its commits are by.
#[derive(Debug, Clone)]
pub(super) struct Git {
    pub(super) folder: PathBuf,
    pub(super) author: Author,
}

/// The author and committer of what runscribe commits: never a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Author {
    pub(super) name: String,
    pub(super) email: String,
}

impl Git {
    /// Runs a command that must succeed, and returns what it printed.
    pub(super) async fn done(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let ended = self.ends(arguments).await?;
        if ended.code == Some(0) { Ok(ended.printed) } else { Err(failed(arguments, &ended)) }
    }

    /// Runs a command that must succeed, and returns the line that it printed.
    pub(super) async fn line(&self, arguments: &[&str]) -> Result<String, String> {
        let printed = self.done(arguments).await?;
        Ok(String::from_utf8_lossy(&printed).trim_end_matches(['\n', '\r']).to_owned())
    }

    /// Runs a command that answers yes (0) or no (1).
    pub(super) async fn says(&self, arguments: &[&str]) -> Result<bool, String> {
        let ended = self.ends(arguments).await?;
        match ended.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failed(arguments, &ended)),
        }
    }

    /// Runs a command that finds a line, or says no by any other end than success.
    pub(super) async fn found(&self, arguments: &[&str]) -> Result<Option<String>, String> {
        let ended = self.ends(arguments).await?;
        let line = String::from_utf8_lossy(&ended.printed).trim().to_owned();
        Ok((ended.code == Some(0) && !line.is_empty()).then_some(line))
    }

    /// Runs a command to whatever end.
    pub(super) async fn ends(&self, arguments: &[&str]) -> Result<Ended, String> {
        self.run(Call::local(arguments)).await
    }

    /// Runs a command that asks another host, to whatever end.
    pub(super) async fn asks(&self, arguments: &[&str]) -> Result<Ended, String> {
        self.run(Call::remote(arguments)).await
    }

    async fn run(&self, call: Call<'_>) -> Result<Ended, String> {
        command::run(self.command(), call).await.map_err(|error| error.to_string())
    }

    fn command(&self) -> Command {
        let mut git = command::git(&self.folder);
        for variable in REMOVED {
            git.env_remove(variable);
        }
        git.arg("--literal-pathspecs");
        for setting in SETTINGS {
            git.args(["-c", setting]);
        }
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), &self.author.name);
            git.env(format!("GIT_{role}_EMAIL"), &self.author.email);
        }
        git.env("GIT_EDITOR", "true")
            .env("GIT_SEQUENCE_EDITOR", "true")
            .env("GIT_LFS_SKIP_SMUDGE", "1");
        git
    }
}

fn failed(arguments: &[&str], ended: &Ended) -> String {
    Call::local(arguments).failed(ended).to_string()
}

/// Returns a path as text for git's command line.
pub(super) fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("`{}` is not UTF-8: rename it", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_git_says_no_to_is_told_in_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let author = Author { name: "a".into(), email: "b".into() };
        let git = Git { folder: folder.path().to_owned(), author };
        let error = git.line(&["rev-parse", "--show-toplevel"]).await.unwrap_err();
        assert!(
            error.starts_with("`git rev-parse` failed: fatal: not a git repository"),
            "{error}"
        );
        assert_eq!(git.found(&["rev-parse", "HEAD"]).await, Ok(None));
        git.done(&["init", "-q"]).await.unwrap();
        assert_eq!(git.says(&["config", "--get", "core.sshCommand"]).await, Ok(false));
    }
}
