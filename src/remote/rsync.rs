//! Moving many files at once with `rsync`, into a staging folder.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::RemoteError;
use super::ssh::{self, Complaints};

/// How long `rsync --version` may take there, connecting included.
const ASKING: Duration = Duration::from_secs(40);
/// Seconds without a byte after which rsync gives up by itself.
const SILENCE: &str = "--timeout=60";
/// How long one run may take at most.
const LIMIT: Duration = Duration::from_hours(6);

/// Which way files go.
#[derive(Debug, Clone, Copy)]
pub enum Way<'a> {
    /// From a folder there to one here.
    Here {
        /// The other host's folder.
        from: &'a Path,
        /// The local one, which is there.
        to: &'a Path,
    },
    /// From a folder here to one there.
    There {
        /// The local folder.
        from: &'a Path,
        /// The other host's, which is there.
        to: &'a Path,
    },
}

/// Returns why `rsync` cannot be used with this host; `None` if it can.
pub async fn missing(login: &str) -> Option<&'static str> {
    let mut here = Command::new("rsync");
    here.arg("--version");
    if !succeeds(here).await {
        return Some("no rsync on this host");
    }
    let mut there = ssh::ssh();
    there.args(["--", login, "rsync", "--version"]);
    (!succeeds(there).await).then_some("no rsync on the other host")
}

async fn succeeds(mut command: Command) -> bool {
    ssh::quiet(&mut command);
    let ended = timeout(ASKING, command.output()).await;
    matches!(ended, Ok(Ok(output)) if output.status.success())
}

/// Brings these files into the staging folder, with their times and under their own names. A file
/// that was half there is continued. `progress` is told how many bytes were moved in all.
///
/// # Errors
/// It cannot be started or did not end well. That single files could not be moved is no error:
/// they are not there, or not whole.
pub async fn copy(
    login: &str,
    way: Way<'_>,
    names: &[&Path],
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), RemoteError> {
    let mut command = Command::new("rsync");
    command.args(["--times", "--protect-args", "--inplace", "--partial", "--from0"]);
    command.args(["--files-from=-", "--info=progress2", SILENCE, "-e", &ssh::as_text(), "--"]);
    let there = |path: &Path| {
        let host = if login.contains(':') { bracketed(login) } else { login.to_owned() };
        let mut place = std::ffi::OsString::from(host);
        place.push(":");
        place.push(slashed(path));
        place
    };
    match way {
        Way::Here { from, to } => command.arg(there(from)).arg(slashed(to)),
        Way::There { from, to } => command.arg(slashed(from)).arg(there(to)),
    };
    ssh::quiet(&mut command);
    let failed = |error| RemoteError::Connection(format!("rsync cannot be run: {error}"));
    let mut child = command.spawn().map_err(failed)?;
    let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut input), Some(output), Some(errors)) = streams else {
        return Err(failed(std::io::Error::other("it has no streams")));
    };
    let mut complaints = Complaints::collect(errors);
    let list = names.iter().flat_map(|name| {
        // Names may begin with what means something else in such a list.
        [b"./", name.as_os_str().as_bytes(), b"\0"].concat()
    });
    let list: Vec<u8> = list.collect();
    let feed = async move {
        // It ends early when rsync does, which says why.
        input.write_all(&list).await.unwrap_or_default();
        drop(input);
    };
    let run = async {
        tokio::join!(feed, follow(output, progress));
        child.wait().await
    };
    let status = match timeout(LIMIT, run).await {
        Ok(status) => status.map_err(failed)?,
        Err(_) => {
            return Err(RemoteError::Connection("rsync takes longer than 6 hours".to_owned()));
        }
    };
    let said = complaints.when_ended().await;
    tracing::debug!(%status, said, "rsync has ended");
    match status.code() {
        // 23 and 24: some files were not moved, or are gone. Source: rsync(1).
        Some(0 | 23 | 24) => Ok(()),
        _ => Err(RemoteError::Connection(explain(login, status.code(), &said))),
    }
}

fn explain(login: &str, code: Option<i32>, said: &str) -> String {
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("nothing");
    if said.contains("No space left on device") {
        return format!("rsync: the disk is full: make room and run it again ({last})");
    }
    match code {
        Some(30) => format!("rsync: `{login}` was silent for a minute: run it again"),
        Some(255) => ssh::advice(login, said),
        Some(code) => format!("rsync ended with {code}: run it again (it says: {last})"),
        None => "rsync was killed: run it again".to_owned(),
    }
}

fn bracketed(login: &str) -> String {
    match login.rsplit_once('@') {
        Some((user, host)) => format!("{user}@[{host}]"),
        None => format!("[{login}]"),
    }
}

/// Returns a folder's path with a slash at its end, as rsync wants it for "what it holds".
fn slashed(path: &Path) -> PathBuf {
    path.join("")
}

/// Reads rsync's progress, `  1,234,567  12%  1.2MB/s  0:00:01`, line by line.
async fn follow(mut output: impl AsyncRead + Unpin, progress: &mut (dyn FnMut(u64) + Send)) {
    let mut buffer = [0; 1024];
    let mut line: Vec<u8> = Vec::new();
    while let Ok(count @ 1..) = output.read(&mut buffer).await {
        for byte in buffer.iter().take(count) {
            if !matches!(byte, b'\r' | b'\n') {
                line.push(*byte);
                continue;
            }
            if let Some(moved) = moved(&line) {
                progress(moved);
            }
            line.clear();
        }
        line.truncate(buffer.len());
    }
}

fn moved(line: &[u8]) -> Option<u64> {
    let text = str::from_utf8(line).ok()?;
    let mut words = text.split_whitespace();
    let (bytes, share) = (words.next()?, words.next()?);
    share.strip_suffix('%')?;
    bytes.replace([',', '.'], "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_and_ends_are_explained() {
        assert_eq!(moved(b"      1,234,567  12%    1.20MB/s    0:00:01"), Some(1_234_567));
        for line in ["", "sending incremental file list", "12 34 56", "x  12%"] {
            assert_eq!(moved(line.as_bytes()), None, "{line}");
        }
        let full = "rsync: [receiver] write failed: No space left on device (28)\nrsync error: x";
        for (code, said, expected) in [
            (Some(11), full, "make room"),
            (Some(30), "", "silent for a minute"),
            (Some(255), "ssh: connect to host x port 1: Connection refused", "is away"),
            (Some(12), "protocol error", "ended with 12"),
            (None, "", "killed"),
        ] {
            let text = explain("x", code, said);
            assert!(text.contains(expected), "{text}");
        }
        assert_eq!(bracketed("k@::1"), "k@[::1]");
        assert_eq!(slashed(Path::new("/a b")), Path::new("/a b/"));
    }
}
