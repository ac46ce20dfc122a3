//! Starting `ssh`, and what its words mean for people.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::task::JoinHandle;

/// Options that keep `ssh` from asking and from waiting for ever; all else is the user's own
/// configuration. A connection that is dead for a minute ends.
const OPTIONS: [&str; 5] = [
    "BatchMode=yes",
    "ConnectTimeout=15",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
    "ClearAllForwardings=yes",
];
/// Bytes of what a program complains of that are kept: the end.
const KEPT: usize = 4096;
/// How long the complaints of an ended program may take to arrive.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Returns `ssh` with its options, ready for further arguments. It ends when it is dropped.
pub(super) fn ssh() -> Command {
    let mut command = Command::new("ssh");
    command.args(OPTIONS.iter().flat_map(|option| ["-o", option]));
    quiet(&mut command);
    command
}

/// Returns the same as one text for `rsync -e`.
pub(super) fn as_text() -> String {
    OPTIONS.iter().fold("ssh".to_owned(), |text, option| format!("{text} -o {option}"))
}

/// Prepares a program that asks nobody and says what is wrong in English.
pub(super) fn quiet(command: &mut Command) {
    command.env("LC_ALL", "C").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
}

/// Collects the end of what a program complains of.
#[derive(Debug)]
pub(super) struct Complaints {
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Complaints {
    #[expect(clippy::disallowed_methods, reason = "it ends with the program whose words it reads")]
    pub(super) fn collect(mut stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&text);
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(buffer.iter().take(count));
                let excess = kept.len().saturating_sub(KEPT);
                kept.drain(..excess);
            }
        });
        Self { text, reader }
    }

    /// Returns them when the program has ended.
    pub(super) async fn when_ended(&mut self) -> String {
        // Something that the program left behind may hold the stream open.
        if tokio::time::timeout(LAST_WORDS, &mut self.reader).await.is_err() {
            self.reader.abort();
        }
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).trim().to_owned()
    }
}

impl Drop for Complaints {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Says what the end of a connection means, from what `ssh` complained of.
pub(super) fn advice(login: &str, complaints: &str) -> String {
    let says = |words: &[&str]| words.iter().any(|word| complaints.contains(word));
    let last = complaints.lines().map(str::trim).rfind(|line| !line.is_empty());
    let (what, todo) = if says(&["REMOTE HOST IDENTIFICATION HAS CHANGED"]) {
        ("has another host key than before", "find out why, then `ssh-keygen -R` the old one")
    } else if says(&["Host key verification failed"]) {
        ("is not among the known hosts", "connect once by hand with `ssh` and compare its key")
    } else if says(&["Permission denied", "Too many authentication failures"]) {
        ("refuses the key", "see that `ssh` works without a password (`ssh-add`, `ssh-copy-id`)")
    } else if says(&["Could not resolve hostname"]) {
        ("is not known", "check the name, or add it to `~/.ssh/config`")
    } else if says(&[
        "Connection refused",
        "Connection timed out",
        "No route to host",
        "unreachable",
    ]) {
        ("is away", "check that it is up and reachable, and try again")
    } else if says(&["subsystem request failed", "Subsystem request failed"]) {
        ("offers no sftp", "enable the `sftp` subsystem in its `sshd_config`")
    } else if says(&["Bad configuration option", "Bad owner or permissions", "no such identity"]) {
        ("cannot be connected to", "mend `~/.ssh/config`")
    } else {
        ("ended the connection", "run it again: what has arrived is kept")
    };
    match last {
        Some(last) => format!("`{login}` {what}: {todo} (ssh says: {last})"),
        None => format!("`{login}` {what}: {todo}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_becomes_advice() {
        for (complaint, expected) in [
            ("ssh: connect to host x port 22: Connection refused", "is away"),
            ("ssh: connect to host x port 22: No route to host\r\n", "is away"),
            ("ssh: Could not resolve hostname x: Name or service not known", "is not known"),
            ("k@x: Permission denied (publickey).", "refuses the key"),
            ("No ED25519 host key is known\nHost key verification failed.", "known hosts"),
            ("subsystem request failed on channel 0\nConnection closed", "no sftp"),
            ("client_loop: send disconnect: Broken pipe", "run it again"),
            ("", "run it again"),
        ] {
            let text = advice("k@x", complaint);
            assert!(text.contains(expected) && text.starts_with("`k@x` "), "{text}");
        }
    }
}
