//! Git as a process: without prompts, pagers, locks and colors, in the C locale, with a time limit
//! and a bound on what it prints.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

/// More than this is read of no command: a hundred thousand commits print 20 MB.
const LONGEST: u64 = 256 << 20;
/// Bytes of its complaint that are kept.
const COMPLAINT: u64 = 16 << 10;

/// Why git gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// There is no such program, or it cannot be started.
    #[error("git cannot be started ({0}): install it, or put it on the PATH")]
    NotStarted(String),
    /// It ended with an error of its own.
    #[error("`git {command}` failed: {complaint}")]
    Failed {
        /// Its subcommand.
        command: String,
        /// What it wrote to stderr about it.
        complaint: String,
    },
    /// It did not end in time, and was ended.
    #[error("`git {command}` did not end within {seconds} s")]
    TooSlow {
        /// Its subcommand.
        command: String,
        /// The limit.
        seconds: u64,
    },
    /// It printed more than is believed.
    #[error("`git {command}` printed more than {} MiB", LONGEST >> 20)]
    TooLong {
        /// Its subcommand.
        command: String,
    },
}

impl GitError {
    /// Returns whether git says that the folder lies in no repository, rather than that it will not
    /// or cannot look at one.
    pub fn is_no_repository(&self) -> bool {
        matches!(self, Self::Failed { complaint, .. } if complaint.contains("not a git repository"))
    }
}

/// Runs git in a folder and returns what it printed.
///
/// # Errors
/// See [`GitError`]. Dropping the future ends git.
pub(super) async fn output(
    folder: &Path,
    arguments: &[&str],
    input: &[u8],
    limit: Duration,
) -> Result<Vec<u8>, GitError> {
    let name = arguments.first().copied().unwrap_or_default().to_owned();
    match timeout(limit, run(folder, arguments, input)).await {
        Ok(Ok(Some(ended))) if ended.success => Ok(ended.printed),
        Ok(Ok(Some(ended))) => Err(GitError::Failed { command: name, complaint: ended.complaint }),
        Ok(Ok(None)) => Err(GitError::TooLong { command: name }),
        Ok(Err(error)) => Err(GitError::NotStarted(error.to_string())),
        Err(_) => Err(GitError::TooSlow { command: name, seconds: limit.as_secs() }),
    }
}

/// What an ended git left.
struct Ended {
    success: bool,
    printed: Vec<u8>,
    complaint: String,
}

/// Returns nothing when it printed too much.
async fn run(folder: &Path, arguments: &[&str], input: &[u8]) -> io::Result<Option<Ended>> {
    let mut child = command(folder, arguments).spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut printed, mut said) = (Vec::new(), Vec::new());
    let write = async {
        if let Some(mut stdin) = stdin {
            // Git that ends without reading everything says why itself.
            stdin.write_all(input).await.unwrap_or_default();
        }
    };
    let read = async {
        let Some(stdout) = stdout else { return Ok(0) };
        stdout.take(LONGEST + 1).read_to_end(&mut printed).await
    };
    let complain = async {
        let Some(mut stderr) = stderr else { return Ok(0) };
        (&mut stderr).take(COMPLAINT).read_to_end(&mut said).await?;
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await
    };
    let ((), read, complained) = tokio::join!(write, read, complain);
    read?;
    complained?;
    if printed.len() as u64 > LONGEST {
        return Ok(None);
    }
    let status = child.wait().await?;
    let complaint = complaint(&String::from_utf8_lossy(&said));
    let complaint = complaint.unwrap_or_else(|| status.to_string());
    Ok(Some(Ended { success: status.success(), printed, complaint }))
}

/// Returns the part of what git said that tells why it failed: from its first error on, since the
/// mend stands behind that (`safe.directory`) and the last line may be beside the point (`The tag
/// message has been left in …`); the last line where it names no error.
fn complaint(said: &str) -> Option<String> {
    const LINES: usize = 5;
    let lines = said.lines().map(str::trim);
    let lines: Vec<&str> =
        lines.filter(|line| !line.is_empty() && !line.starts_with("hint:")).collect();
    let is_error = |line: &&str| line.starts_with("fatal:") || line.starts_with("error:");
    match lines.iter().position(is_error).and_then(|first| lines.get(first..)) {
        Some(rest) => {
            let shown: Vec<&str> = rest.iter().take(LINES).copied().collect();
            Some(shown.join(" "))
        }
        None => lines.last().map(|line| (*line).to_owned()),
    }
}

/// Variables that would lead git to another repository than the one of the folder.
const ELSEWHERE: [&str; 5] =
    ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_NAMESPACE"];

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    for variable in ELSEWHERE {
        command.env_remove(variable);
    }
    command
        .args(["--no-pager", "-c", "log.showSignature=false", "-c", "core.fsmonitor=false"])
        .args(["-c", "core.quotePath=false"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS", "")
        .env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=10")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn a_complaint_is_the_error_with_what_mends_it() {
        for (said, expected) in [
            ("", None),
            ("\n \n", None),
            ("warning: a\nfatal: no such ref\n", Some("fatal: no such ref")),
            ("something\nhappened\n", Some("happened")),
            (
                "fatal: detected dubious ownership in repository at '/x'\n\
                 To add an exception for this directory, call:\n\n\
                 \tgit config --global --add safe.directory /x\n",
                Some(
                    "fatal: detected dubious ownership in repository at '/x' To add an exception \
                     for this directory, call: git config --global --add safe.directory /x",
                ),
            ),
            (
                "error: gpg failed to sign the data:\ngpg: skipped \"A\": No secret key\n\n\
                 error: unable to sign the tag\nThe tag message has been left in .git/TAG_EDITMSG\n",
                Some(
                    "error: gpg failed to sign the data: gpg: skipped \"A\": No secret key error: \
                     unable to sign the tag The tag message has been left in .git/TAG_EDITMSG",
                ),
            ),
            (
                "fatal: not a git repository (or any parent up to mount point /)\n\
                 Stopping at filesystem boundary (GIT_DISCOVERY_ACROSS_FILESYSTEM not set).\n",
                Some(
                    "fatal: not a git repository (or any parent up to mount point /) Stopping at \
                     filesystem boundary (GIT_DISCOVERY_ACROSS_FILESYSTEM not set).",
                ),
            ),
        ] {
            assert_eq!(complaint(said).as_deref(), expected, "{said}");
        }
    }
}
