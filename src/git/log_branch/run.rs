//! Git as a process that changes something: with the author of its commits named, without hooks,
//! prompts, editors and signatures, in the C locale, with a time limit.
//!
//! The person's hooks are not run: they are made for what people commit in their checkout (they
//! format, test, or ask), and would act on a folder that holds the log and nothing else.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a command may take that works on this host only.
const LOCAL: Duration = Duration::from_mins(1);
/// How long one may take that asks another host.
const REMOTE: Duration = Duration::from_mins(1);
/// More than this is read of no command.
const LONGEST: u64 = 256 << 20;
/// Bytes of its complaint that are kept.
const COMPLAINT: u64 = 16 << 10;

/// What a person may have configured for their own work, and must not be in force here.
const SETTINGS: [&str; 17] = [
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.quotePath=false",
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
    "credential.interactive=false",
];

/// Variables that lead git to another repository, into a conversation, or to another author; and
/// those that are the daemon's own affair.
const REMOVED: [&str; 24] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG_PARAMETERS",
    "GIT_REFLOG_ACTION",
    "GIT_EXTERNAL_DIFF",
    "GIT_DEFAULT_HASH",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "GIT_AUTHOR_DATE",
    "GIT_COMMITTER_DATE",
    "EDITOR",
    "VISUAL",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "SSH_ASKPASS",
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

/// What an ended git left.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    pub(super) printed: Vec<u8>,
    pub(super) said: String,
}

impl Ended {
    /// Returns the line that tells the most of what went wrong.
    pub(super) fn complaint(&self) -> String {
        let lines = || self.said.lines().map(str::trim).filter(|line| !line.is_empty());
        let is_telling = |line: &&str| {
            ["fatal:", "error:", "ssh:", "ERROR"].iter().any(|mark| line.starts_with(mark))
        };
        let line = lines().find(is_telling).or_else(|| lines().next());
        let unsaid =
            || self.code.map_or("it was ended".into(), |code| format!("it ended with {code}"));
        line.map_or_else(unsaid, without_credentials)
    }
}

impl Git {
    /// Runs a command that must succeed, and returns what it printed.
    pub(super) async fn done(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let ended = self.run(arguments, LOCAL).await?;
        if ended.code == Some(0) { Ok(ended.printed) } else { Err(failed(arguments, &ended)) }
    }

    /// Runs a command that must succeed, and returns the line that it printed.
    pub(super) async fn line(&self, arguments: &[&str]) -> Result<String, String> {
        let printed = self.done(arguments).await?;
        Ok(String::from_utf8_lossy(&printed).trim_end_matches(['\n', '\r']).to_owned())
    }

    /// Runs a command that answers yes (0) or no (1).
    pub(super) async fn says(&self, arguments: &[&str]) -> Result<bool, String> {
        let ended = self.run(arguments, LOCAL).await?;
        match ended.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(failed(arguments, &ended)),
        }
    }

    /// Runs a command that finds a line, or says no by any other end than success.
    pub(super) async fn found(&self, arguments: &[&str]) -> Result<Option<String>, String> {
        let ended = self.run(arguments, LOCAL).await?;
        let line = String::from_utf8_lossy(&ended.printed).trim().to_owned();
        Ok((ended.code == Some(0) && !line.is_empty()).then_some(line))
    }

    /// Runs a command to whatever end.
    pub(super) async fn ends(&self, arguments: &[&str]) -> Result<Ended, String> {
        self.run(arguments, LOCAL).await
    }

    /// Runs a command that asks another host, to whatever end.
    pub(super) async fn asks(&self, arguments: &[&str]) -> Result<Ended, String> {
        self.run(arguments, REMOTE).await
    }

    async fn run(&self, arguments: &[&str], limit: Duration) -> Result<Ended, String> {
        let child = self.command(arguments).spawn().map_err(|error| {
            format!("git cannot be started ({error}): install it, or put it on the PATH")
        })?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        // Whatever it started (ssh, helpers) ends with it when it is too slow.
        let Ok(ended) = timeout(limit, collect(child)).await else {
            return Err(format!("{} did not end within {} s", shown(arguments), limit.as_secs()));
        };
        group.0 = None;
        ended.map_err(|error| format!("{} cannot be read: {error}", shown(arguments)))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        for variable in REMOVED {
            command.env_remove(variable);
        }
        command.arg("--no-pager").arg("--literal-pathspecs");
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), &self.author.name);
            command.env(format!("GIT_{role}_EMAIL"), &self.author.email);
        }
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GCM_INTERACTIVE", "never")
            .env("GIT_EDITOR", "true")
            .env("GIT_SEQUENCE_EDITOR", "true")
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// The processes of one command; killed together unless it ended by itself.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            kill_process_group(group, Signal::KILL).unwrap_or_default();
        }
    }
}

async fn collect(mut child: Child) -> io::Result<Ended> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut printed, mut said) = (Vec::new(), Vec::new());
    let read = async {
        let Some(stdout) = stdout else { return Ok(0) };
        stdout.take(LONGEST).read_to_end(&mut printed).await
    };
    let complain = async {
        let Some(mut stderr) = stderr else { return Ok(0) };
        (&mut stderr).take(COMPLAINT).read_to_end(&mut said).await?;
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await
    };
    let (read, complained) = tokio::join!(read, complain);
    read?;
    complained?;
    let code = child.wait().await?.code();
    Ok(Ended { code, printed, said: String::from_utf8_lossy(&said).into_owned() })
}

fn failed(arguments: &[&str], ended: &Ended) -> String {
    format!("{} failed: {}", shown(arguments), ended.complaint())
}

fn shown(arguments: &[&str]) -> String {
    let is_word = |argument: &&&str| !argument.starts_with('-');
    let name = arguments.iter().find(is_word).copied().unwrap_or_default();
    format!("`git {name}`")
}

/// Takes user and password out of addresses.
fn without_credentials(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        shown.push_str(before);
        shown.push_str("://");
        let end = after.find(['/', ' ', '\'', '"']).unwrap_or(after.len());
        let (authority, behind) = after.split_at_checked(end).unwrap_or((after, ""));
        shown.push_str(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

/// Returns a path as text for git's command line.
pub(super) fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("`{}` is not UTF-8: rename it", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_their_credentials() {
        for (text, expected) in [
            (
                "fatal: unable to access 'https://u:t0k@host/x/': no",
                "fatal: unable to access 'https://host/x/': no",
            ),
            ("ssh://git@host/x and http://a@b", "ssh://host/x and http://b"),
            ("no address @ all", "no address @ all"),
            ("https://", "https://"),
        ] {
            assert_eq!(without_credentials(text), expected);
        }
    }

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
