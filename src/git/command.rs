//! Git as a process: without prompts, pagers, optional locks and colors, in the C locale, with a
//! time limit and a bound on what it prints.
//!
//! There is one way to run it. What reads and what a person asks for is run with [`git`]; the log's
//! own branch, which runscribe writes, adds an author and more settings.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a command may take that works on this host only: ten thousand commits take a tenth of a
/// second, a cold disk takes longer, and signing may ask a person.
const LOCAL: Duration = Duration::from_mins(1);
/// How long one may take that brings something to another host, or from it.
const REMOTE: Duration = Duration::from_mins(1);
/// More than this is read of no command: a hundred thousand commits print 20 MB.
const LONGEST: u64 = 256 << 20;
/// Bytes of its complaint that are kept.
const COMPLAINT: u64 = 16 << 10;

/// Variables that lead git to another repository, to other files of it, or into a conversation; and
/// those that are the daemon's own affair.
const REMOVED: [&str; 18] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_EXTERNAL_DIFF",
    "GIT_DEFAULT_HASH",
    "GIT_LITERAL_PATHSPECS",
    "GIT_GLOB_PATHSPECS",
    "GIT_NOGLOB_PATHSPECS",
    "GIT_ICASE_PATHSPECS",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "SSH_ASKPASS",
];

/// What a person may have configured for their own work, and must not be in force here.
const SETTINGS: [&str; 4] = [
    "core.fsmonitor=false",
    "core.quotePath=false",
    "credential.interactive=false",
    "log.showSignature=false",
];

/// An `ssh` that asks nobody, and does not wait for a host that is away.
const SSH: &str = "ssh -o BatchMode=yes -o ConnectTimeout=10";

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
    /// What it says does not arrive.
    #[error("`git {command}` cannot be read: {problem}")]
    Unreadable {
        /// Its subcommand.
        command: String,
        /// Why not.
        problem: String,
    },
}

impl GitError {
    /// Returns whether git says that the folder lies in no repository, rather than that it will not
    /// or cannot look at one.
    pub fn is_no_repository(&self) -> bool {
        matches!(self, Self::Failed { complaint, .. } if complaint.contains("not a git repository"))
    }
}

/// A command of git and how it is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    arguments: &'a [&'a str],
    input: &'a [u8],
    limit: Duration,
    is_remote: bool,
    is_in_front: bool,
}

impl<'a> Call<'a> {
    /// A command that works on this host only.
    pub(super) fn local(arguments: &'a [&'a str]) -> Self {
        Self { arguments, input: &[], limit: LOCAL, is_remote: false, is_in_front: false }
    }

    /// A command that asks another host.
    pub(super) fn remote(arguments: &'a [&'a str]) -> Self {
        Self { limit: REMOTE, is_remote: true, ..Self::local(arguments) }
    }

    /// Gives it something to read.
    pub(super) fn reads(self, input: &'a [u8]) -> Self {
        Self { input, ..self }
    }

    /// Sets another time limit.
    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Leaves it in the process group of the command that a person gave: Ctrl-C ends it as well, and
    /// what signs may ask for a passphrase on the terminal. At its limit git alone is killed.
    pub(super) fn in_front(self) -> Self {
        Self { is_in_front: true, ..self }
    }

    fn name(&self) -> String {
        let is_word = |argument: &&&str| !argument.starts_with('-');
        self.arguments.iter().find(is_word).copied().unwrap_or_default().to_owned()
    }

    /// Returns what it printed, if it ended well.
    fn printed(&self, ended: Ended) -> Result<Vec<u8>, GitError> {
        if ended.code == Some(0) { Ok(ended.printed) } else { Err(self.failed(&ended)) }
    }

    /// Returns the error that this end is.
    pub(super) fn failed(&self, ended: &Ended) -> GitError {
        GitError::Failed { command: self.name(), complaint: ended.complaint() }
    }
}

/// What an ended git left.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code, unless a signal ended it.
    pub(super) code: Option<i32>,
    /// What it printed.
    pub(super) printed: Vec<u8>,
    said: String,
}

impl Ended {
    /// Returns the part of what git said that tells why it failed: from its first error on, since the
    /// mend stands behind that (`safe.directory`) and the last line may be beside the point (`The tag
    /// message has been left in …`); the last line where it names no error.
    pub(super) fn complaint(&self) -> String {
        const LINES: usize = 5;
        let lines = self.said.lines().map(str::trim);
        let lines: Vec<&str> =
            lines.filter(|line| !line.is_empty() && !line.starts_with("hint:")).collect();
        let is_error = |line: &&str| {
            ["fatal:", "error:", "ssh:", "ERROR"].iter().any(|mark| line.starts_with(mark))
        };
        let first = lines.iter().position(is_error).unwrap_or(lines.len().saturating_sub(1));
        let told: Vec<&str> = lines.into_iter().skip(first).take(LINES).collect();
        match self.code {
            _ if !told.is_empty() => without_credentials(&told.join(" ")),
            Some(code) => format!("it ended with {code}"),
            None => "it was ended".to_owned(),
        }
    }
}

/// Runs a command that must succeed in a folder, and returns what it printed.
///
/// # Errors
/// See [`GitError`]. Dropping the future ends git.
pub(super) async fn output(folder: &Path, call: Call<'_>) -> Result<Vec<u8>, GitError> {
    let mut git = git(folder);
    // A partial clone is read as it is.
    git.env("GIT_NO_LAZY_FETCH", "1");
    call.printed(run(git, call).await?)
}

/// Returns git in a folder, ready for further settings.
pub(super) fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    for variable in REMOVED {
        git.env_remove(variable);
    }
    git.arg("--no-pager").current_dir(folder);
    for setting in SETTINGS {
        git.args(["-c", setting]);
    }
    git.env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "")
        .env("SSH_ASKPASS_REQUIRE", "never")
        .env("GCM_INTERACTIVE", "never")
        .env("LC_ALL", "C");
    git
}

/// Runs a command to whatever end. Whatever it started (`ssh`, helpers) ends with it when it is too
/// slow, and when the future is dropped.
///
/// # Errors
/// It did not come to an end of its own.
pub(super) async fn run(mut git: Command, call: Call<'_>) -> Result<Ended, GitError> {
    if call.is_remote && !names_its_ssh(&git).await? {
        git.env("GIT_SSH_COMMAND", SSH);
    }
    to_end(git, call).await
}

/// Returns whether the person says how `ssh` is to be run; it may take a key, or another program.
async fn names_its_ssh(command: &Command) -> Result<bool, GitError> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if ["GIT_SSH_COMMAND", "GIT_SSH"].into_iter().any(is_set) {
        return Ok(true);
    }
    let folder = command.as_std().get_current_dir().unwrap_or(Path::new("."));
    let call = Call::local(&["config", "--get", "core.sshCommand"]);
    let ended = to_end(git(folder), call).await?;
    Ok(ended.code == Some(0) && !ended.printed.trim_ascii().is_empty())
}

async fn to_end(mut git: Command, call: Call<'_>) -> Result<Ended, GitError> {
    let stdin = if call.input.is_empty() { Stdio::null() } else { Stdio::piped() };
    git.args(call.arguments)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if !call.is_in_front {
        git.process_group(0);
    }
    let child = git.spawn().map_err(|error| GitError::NotStarted(error.to_string()))?;
    let own_group = child.id().filter(|_| !call.is_in_front);
    let mut group = Group(own_group.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let Ok(ended) = timeout(call.limit, collect(child, call.input)).await else {
        let seconds = call.limit.as_secs();
        return Err(GitError::TooSlow { command: call.name(), seconds });
    };
    let ended = ended.map_err(|error| {
        let problem = error.to_string();
        GitError::Unreadable { command: call.name(), problem }
    })?;
    group.0 = None;
    if ended.printed.len() as u64 > LONGEST {
        return Err(GitError::TooLong { command: call.name() });
    }
    Ok(ended)
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

async fn collect(mut child: Child, input: &[u8]) -> io::Result<Ended> {
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
        // One that prints more finds the pipe closed, and ends.
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
    let code = child.wait().await?.code();
    Ok(Ended { code, printed, said: String::from_utf8_lossy(&said).into_owned() })
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

    #[test]
    fn a_complaint_is_the_error_with_what_mends_it() {
        for (said, expected) in [
            ("", "it ended with 3"),
            ("\n \n", "it ended with 3"),
            ("warning: a\nfatal: no such ref\n", "fatal: no such ref"),
            ("something\nhappened\n", "happened"),
            ("To x\n ! [rejected] a\nerror: failed to push\nhint: pull\n", "error: failed to push"),
            (
                "ssh: connect to host x: refused\nfatal: Could not read from https://u:t@x/y\n",
                "ssh: connect to host x: refused fatal: Could not read from https://x/y",
            ),
            (
                "fatal: detected dubious ownership in repository at '/x'\n\
                 To add an exception for this directory, call:\n\n\
                 \tgit config --global --add safe.directory /x\n",
                "fatal: detected dubious ownership in repository at '/x' To add an exception \
                     for this directory, call: git config --global --add safe.directory /x",
            ),
            (
                "error: gpg failed to sign the data:\ngpg: skipped \"A\": No secret key\n\n\
                 error: unable to sign the tag\nThe tag message has been left in .git/TAG_EDITMSG\n",
                "error: gpg failed to sign the data: gpg: skipped \"A\": No secret key error: \
                     unable to sign the tag The tag message has been left in .git/TAG_EDITMSG",
            ),
            (
                "fatal: not a git repository (or any parent up to mount point /)\n\
                 Stopping at filesystem boundary (GIT_DISCOVERY_ACROSS_FILESYSTEM not set).\n",
                "fatal: not a git repository (or any parent up to mount point /) Stopping at \
                     filesystem boundary (GIT_DISCOVERY_ACROSS_FILESYSTEM not set).",
            ),
        ] {
            let ended = Ended { code: Some(3), printed: Vec::new(), said: said.to_owned() };
            assert_eq!(ended.complaint(), expected, "{said}");
        }
    }

    /// `ssh` that hangs kept its processes once git was killed.
    #[tokio::test]
    async fn what_a_slow_command_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        output(path, Call::local(&["init", "-q"])).await.unwrap();
        let sign = path.join("sign");
        let alias = format!(
            "alias.slow=!echo $$ > '{0}.new'; mv '{0}.new' '{0}'; sleep 600; :",
            sign.display()
        );
        let arguments = ["-c", &alias, "slow"];
        // On a busy host the shell may not have begun within the first limit.
        for seconds in [3, 30] {
            let call = Call::local(&arguments).within(Duration::from_secs(seconds));
            let error = output(path, call).await.unwrap_err();
            let expected = GitError::TooSlow { command: call.name(), seconds };
            assert_eq!(error, expected);
            if sign.exists() {
                break;
            }
        }
        let shell = std::fs::read_to_string(&sign).unwrap();
        let stat = std::path::PathBuf::from(format!("/proc/{}/stat", shell.trim()));
        let is_alive = || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while is_alive() {
            assert!(std::time::Instant::now() < deadline, "the shell of the alias lives on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
