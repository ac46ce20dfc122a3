//! One child process: its own process group, a deadline, output within a bound.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, setpriority_pgrp};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::model::analysis::Ending;

/// Bytes of output kept from the beginning and from the end of each stream. A report has 3 kB and
/// comes last; a traceback comes last as well.
const KEPT_HEAD: usize = 64 << 10;
const KEPT_TAIL: usize = 192 << 10;
/// How long output is still awaited when the child has ended but something holds its pipes.
const PIPE_GRACE: Duration = Duration::from_secs(2);

/// What to run, and how long it may take.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub working_directory: PathBuf,
    /// Time until TERM.
    pub timeout: Duration,
    /// Time from TERM to KILL.
    pub kill_grace: Duration,
    /// Niceness, 0 to 19.
    pub nice: u8,
}

/// What a child left behind; bounded in size whatever it printed.
#[derive(Debug, Clone)]
pub struct ChildRun {
    /// Exit code, signal or deadline.
    pub ending: Ending,
    /// Wall time.
    pub elapsed: Duration,
    /// Standard output.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
}

/// Output kept within a bound: head and tail, the middle only counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    total: u64,
}

impl Captured {
    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (head, rest) = bytes.split_at(bytes.len().min(KEPT_HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(KEPT_TAIL);
        self.tail.drain(..excess);
    }

    /// Joins head and tail; where bytes were dropped, a line says how many.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kept = (self.head.len() + self.tail.len()) as u64;
        let mut bytes = self.head.clone();
        if self.total > kept {
            let left_out = self.total - kept;
            bytes.extend_from_slice(format!("\n[{left_out} bytes left out]\n").as_bytes());
        }
        bytes.extend(&self.tail);
        bytes
    }
}

/// Runs a child to its end. Past the deadline, or when cancelled, its process group gets TERM,
/// and KILL after the grace time.
///
/// # Errors
/// Says why it could not be started or waited for.
pub async fn run(plan: Plan, cancel: &CancellationToken) -> io::Result<ChildRun> {
    let started = Instant::now();
    let mut child = spawn(&plan)?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // Dropped with this future as well: a stop that cannot wait leaves nothing behind either.
    let guard = GroupGuard(group);
    let output = (child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let ending = {
        let reader =
            async { tokio::join!(capture(output.0, &mut stdout), capture(output.1, &mut stderr)) };
        tokio::pin!(reader);
        let ended = supervise(&mut child, &plan, group, cancel);
        tokio::pin!(ended);
        // Both arms are polled in place, so nothing is lost when the other one is ready first.
        tokio::select! {
            ending = &mut ended => {
                // Whatever the program left running in its group ends with it; what left the
                // group may still hold the pipes, and is not waited for.
                drop(guard);
                if timeout(PIPE_GRACE, &mut reader).await.is_err() {
                    tracing::debug!("something outlived the analysis and holds its output");
                }
                ending?
            }
            _ = &mut reader => {
                let ending = ended.await?;
                drop(guard);
                ending
            }
        }
    };
    Ok(ChildRun { ending, elapsed: started.elapsed(), stdout, stderr })
}

/// Kills what is left of a process group when it is dropped.
struct GroupGuard(Option<Pid>);

impl Drop for GroupGuard {
    fn drop(&mut self) {
        signal_group(self.0, Signal::KILL);
    }
}

fn spawn(plan: &Plan) -> io::Result<Child> {
    let (program, arguments) =
        plan.argv.split_first().ok_or_else(|| io::Error::other("the command line is empty"))?;
    let child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&plan.env)
        .current_dir(&plan.working_directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    if let Some(id) = child.id() {
        // The kernel takes the analysis and not the training when memory runs out.
        if let Err(error) = std::fs::write(format!("/proc/{id}/oom_score_adj"), "1000") {
            tracing::debug!(%error, "cannot raise the analysis' OOM score");
        }
        let group = i32::try_from(id).ok().and_then(Pid::from_raw);
        if let Err(error) = setpriority_pgrp(group, i32::from(plan.nice)) {
            tracing::debug!(%error, "cannot lower the analysis' priority");
        }
    }
    Ok(child)
}

async fn supervise(
    child: &mut Child,
    plan: &Plan,
    group: Option<Pid>,
    cancel: &CancellationToken,
) -> io::Result<Ending> {
    // `Child::wait` and the timers are cancel-safe.
    let in_time = tokio::select! {
        status = child.wait() => return status.map(ending),
        () = tokio::time::sleep(plan.timeout) => false,
        () = cancel.cancelled() => true,
    };
    signal_group(group, Signal::TERM);
    let status = if let Ok(status) = timeout(plan.kill_grace, child.wait()).await {
        status?
    } else {
        signal_group(group, Signal::KILL);
        child.wait().await?
    };
    Ok(if in_time { ending(status) } else { Ending::Deadline })
}

fn signal_group(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group
        && let Err(error) = kill_process_group(group, signal)
        && error != rustix::io::Errno::SRCH
    {
        tracing::warn!(%error, "cannot signal an analysis");
    }
}

fn ending(status: ExitStatus) -> Ending {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exit(code),
        (None, Some(signal)) => Ending::Signal(signal),
        (None, None) => Ending::Exit(-1),
    }
}

async fn capture(stream: Option<impl AsyncRead + Unpin>, captured: &mut Captured) {
    let Some(mut stream) = stream else { return };
    let mut buffer = vec![0; 16 << 10];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => captured.push(buffer.get(..count).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(script: &str, seconds: u64) -> Plan {
        Plan {
            argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            working_directory: PathBuf::from("/"),
            timeout: Duration::from_secs(seconds),
            kill_grace: Duration::from_millis(200),
            nice: 10,
        }
    }

    #[tokio::test]
    async fn exit_code_and_both_streams_are_kept() {
        let cancel = CancellationToken::new();
        let ran = run(plan("echo out; echo err >&2; exit 3", 10), &cancel).await.unwrap();
        assert_eq!(ran.ending, Ending::Exit(3));
        assert_eq!(ran.stdout.to_bytes(), b"out\n");
        assert_eq!(ran.stderr.to_bytes(), b"err\n");
    }

    #[tokio::test]
    async fn the_environment_is_what_was_planned() {
        let ran = run(plan("env", 10), &CancellationToken::new()).await.unwrap();
        let text = String::from_utf8(ran.stdout.to_bytes()).unwrap();
        let names: Vec<&str> = text.lines().filter_map(|line| line.split('=').next()).collect();
        // The shell itself adds PWD and what goes with it.
        assert!(names.iter().all(|name| ["PATH", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)));
    }

    #[tokio::test]
    async fn a_child_that_ignores_term_is_killed_after_the_grace_time() {
        let mut hanging = plan("trap '' TERM; while :; do sleep 1; done", 1);
        hanging.timeout = Duration::from_millis(100);
        let ran = run(hanging, &CancellationToken::new()).await.unwrap();
        assert_eq!(ran.ending, Ending::Deadline);
        assert!(ran.elapsed < Duration::from_secs(5), "{:?}", ran.elapsed);
    }

    #[tokio::test]
    async fn cancelling_ends_the_child_with_the_signal_it_got() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let ran = run(plan("sleep 60", 60), &cancel).await.unwrap();
        assert_eq!(ran.ending, Ending::Signal(15));
    }

    #[tokio::test]
    async fn dropping_the_run_kills_the_whole_group() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script =
            format!("trap '' TERM; (trap '' TERM; sleep 60) & echo $! > {}; wait", file.display());
        let cancel = CancellationToken::new();
        let child = tokio::spawn(async move { run(plan(&script, 60), &cancel).await });
        let deadline = Instant::now() + Duration::from_secs(10);
        let left = loop {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            if let Ok(pid) = text.trim().parse::<i32>() {
                break pid;
            }
            assert!(Instant::now() < deadline, "the child did not start");
            tokio::task::yield_now().await;
        };
        child.abort();
        assert!(child.await.is_err());
        wait_for_the_end_of(left).await;
    }

    /// A process that has ended may still be a zombie of whoever inherited it.
    async fn wait_for_the_end_of(process: i32) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let stat = || std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let has_ended =
            |stat: String| stat.is_empty() || stat.contains(") Z ") || stat.contains(") X ");
        while !has_ended(stat()) {
            assert!(Instant::now() < deadline, "process {process} is still there");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_the_child_left_in_its_group_is_ended() {
        let script = "sleep 60 & echo $!";
        let ran = run(plan(script, 10), &CancellationToken::new()).await.unwrap();
        let text = String::from_utf8(ran.stdout.to_bytes()).unwrap();
        let left: i32 = text.trim().parse().unwrap();
        wait_for_the_end_of(left).await;
        assert!(ran.elapsed < PIPE_GRACE, "{:?}", ran.elapsed);
    }

    #[test]
    fn output_keeps_head_and_tail_and_counts_the_rest() {
        let mut captured = Captured::default();
        for number in 0..100_000_u32 {
            captured.push(format!("{number:09}\n").as_bytes());
        }
        let bytes = captured.to_bytes();
        assert!(bytes.len() < KEPT_HEAD + KEPT_TAIL + 100);
        assert!(bytes.starts_with(b"000000000\n") && bytes.ends_with(b"000099999\n"));
        let left_out = 1_000_000 - KEPT_HEAD - KEPT_TAIL;
        assert!(
            String::from_utf8(bytes).unwrap().contains(&format!("[{left_out} bytes left out]"))
        );
    }
}
