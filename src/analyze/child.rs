//! One program under supervision, seen from the daemon: started, listened to, told to stop.
//!
//! Between daemon and program stands [`supervisor`](super::supervisor), the same executable as a
//! process of its own, connected by a socket. Closing the socket, by the daemon's death at the
//! latest, ends the program and everything it started.

mod captured;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Socket;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::supervisor::word::{self, Word};
use super::supervisor::{GIVE_UP, tree};
use crate::model::analysis::Ending;

pub use super::supervisor::order::Limits;
pub use captured::Captured;

/// The running executable itself, also when its file was replaced meanwhile: daemon and supervisor
/// must speak the same language.
pub const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// How long output is still awaited when the supervisor has ended but something holds its pipes.
const PIPE_GRACE: Duration = Duration::from_secs(2);
/// How much longer than agreed a supervisor may take before it is taken for lost.
const MARGIN: Duration = Duration::from_secs(5);

/// What to run, and under which limits.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The executable that becomes the supervisor.
    pub supervisor: PathBuf,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The working directory.
    pub working_directory: PathBuf,
    /// Time, priority and files.
    pub limits: Limits,
    /// Where both streams go as they come; `None`: they are captured within a bound.
    pub output: Option<std::sync::Arc<std::fs::File>>,
}

impl Plan {
    fn stream(&self) -> io::Result<Stdio> {
        let Some(file) = &self.output else { return Ok(Stdio::piped()) };
        Ok(Stdio::from(file.try_clone()?))
    }
}

/// Two ways of being told to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// TERM, the grace time, KILL.
    pub gently: CancellationToken,
    /// KILL.
    pub at_once: CancellationToken,
}

impl Stop {
    /// Waits until either is asked for. Cancel-safe.
    pub async fn asked(&self) {
        tokio::select! {
            () = self.gently.cancelled() => {}
            () = self.at_once.cancelled() => {}
        }
    }

    /// Whether either was asked for.
    pub fn is_asked(&self) -> bool {
        self.gently.is_cancelled() || self.at_once.is_cancelled()
    }
}

/// What a child left behind; bounded in size whatever it printed.
#[derive(Debug, Clone)]
pub struct ChildRun {
    /// Exit code, signal or deadline.
    pub ending: Ending,
    /// Wall time until the program's own end; its tree may have taken longer.
    pub elapsed: Duration,
    /// Whether the kernel killed a process for memory while it ran. It takes an analysis first.
    pub kernel_was_out_of_memory: bool,
    /// Standard output.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
}

/// Runs a program to the end of everything it started. Past the deadline, or when told to stop,
/// the whole tree gets TERM, and KILL after the grace time. Dropping the future kills the tree.
///
/// # Errors
/// Says why it could not be started.
pub async fn run(plan: Plan, stop: &Stop) -> io::Result<ChildRun> {
    let killed_before = killed_for_memory();
    let (mut leash, mut supervisor) = Leash::spawn(&plan)?;
    let streams = (supervisor.stdout.take(), supervisor.stderr.take());
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let (ending, elapsed) = {
        let reader = async { tokio::join!(stdout.fill(streams.0), stderr.fill(streams.1)) };
        tokio::pin!(reader);
        let ended = leash.until_all_ended(&mut supervisor, &plan.limits, stop);
        tokio::pin!(ended);
        // Both arms are polled in place, so nothing is lost when the other one is ready first.
        tokio::select! {
            ended = &mut ended => {
                if timeout(PIPE_GRACE, &mut reader).await.is_err() {
                    tracing::warn!("something outlived the analysis and holds its output");
                }
                ended?
            }
            _ = &mut reader => ended.await?,
        }
    };
    let kernel_was_out_of_memory = killed_for_memory() > killed_before;
    Ok(ChildRun { ending, elapsed, kernel_was_out_of_memory, stdout, stderr })
}

/// Returns how many processes the kernel has killed for memory since the host started, those of a
/// control group's own limit included; 0 where it does not count them.
fn killed_for_memory() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let counter = counters.lines().find_map(|line| line.strip_prefix("oom_kill "));
    counter.and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// The daemon's end of the socket to a supervisor. Dropped early, it has the tree killed.
struct Leash {
    lines: Lines<BufReader<UnixStream>>,
    /// The same socket for writing, without waiting.
    ask: Socket,
    supervisor: Option<Pid>,
    program: Option<Pid>,
    all_ended: bool,
    started: Instant,
}

impl Drop for Leash {
    fn drop(&mut self) {
        if !self.all_ended {
            self.ask(word::KILL);
        }
    }
}

impl Leash {
    fn spawn(plan: &Plan) -> io::Result<(Self, Child)> {
        if plan.argv.is_empty() {
            return Err(io::Error::other("the command line is empty"));
        }
        let started = Instant::now();
        let (ours, theirs) = Socket::pair()?;
        ours.set_nonblocking(true)?;
        // The command holds their end of the socket, which must not stay open here.
        let child = Command::new(&plan.supervisor)
            .arg0("runscribe")
            .args(plan.limits.arguments())
            .args(&plan.argv)
            .env_clear()
            .envs(&plan.env)
            .current_dir(&plan.working_directory)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(plan.stream()?)
            .stderr(plan.stream()?)
            .spawn()?;
        let ask = ours.try_clone()?;
        let lines = BufReader::new(UnixStream::from_std(ours)?).lines();
        let supervisor = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let own = Self { lines, ask, supervisor, program: None, all_ended: false, started };
        Ok((own, child))
    }

    /// Writes one byte; a supervisor that has ended needs not be asked.
    fn ask(&mut self, request: u8) {
        if let Err(error) = self.ask.write_all(&[request]) {
            tracing::debug!(%error, "a supervisor cannot be asked");
        }
    }

    /// Listens until the supervisor has ended, and with it the tree.
    async fn until_all_ended(
        &mut self,
        supervisor: &mut Child,
        limits: &Limits,
        stop: &Stop,
    ) -> io::Result<(Ending, Duration)> {
        let patience = limits.kill_grace + GIVE_UP + MARGIN;
        let mut lost_at = far(self.started, limits.timeout.saturating_add(patience));
        let (mut asked_gently, mut asked_to_kill) = (false, false);
        let (mut ended, mut refused, mut is_lost) = (None, None, false);
        loop {
            // All arms are cancel-safe: lines are kept until whole, tokens and timers stay.
            tokio::select! {
                line = self.lines.next_line() => {
                    // An error means the same as the end: nothing will be heard any more.
                    let Some(line) = line.unwrap_or_default() else { break };
                    match self.hear(&line) {
                        Ok(Some(ending)) => {
                            ended.get_or_insert((ending, self.started.elapsed()));
                        }
                        Ok(None) => {}
                        Err(error) => refused = Some(error),
                    }
                }
                () = stop.at_once.cancelled(), if !asked_to_kill => {
                    asked_to_kill = true;
                    self.ask(word::KILL);
                    lost_at = lost_at.min(far(Instant::now(), GIVE_UP + MARGIN));
                }
                () = stop.gently.cancelled(), if !asked_gently => {
                    asked_gently = true;
                    self.ask(word::STOP);
                    lost_at = lost_at.min(far(Instant::now(), patience));
                }
                () = sleep_until(lost_at.into()) => {
                    tracing::error!("a supervisor does not answer; killing what is known of its tree");
                    is_lost = true;
                    break;
                }
            }
        }
        self.reap(supervisor, !is_lost && (ended.is_some() || refused.is_some())).await;
        self.all_ended = true;
        if let Some(error) = refused {
            return Err(error);
        }
        match (ended, self.program) {
            (Some(ended), _) => Ok(ended),
            (None, None) => Err(io::Error::other("its supervisor ended before it was started")),
            (None, Some(_)) => Ok((Ending::Signal(Signal::KILL.as_raw()), self.started.elapsed())),
        }
    }

    /// Takes in one line. Returns the program's end if that is what it says.
    fn hear(&mut self, line: &str) -> io::Result<Option<Ending>> {
        match Word::parse(line) {
            Some(Word::Started(pid)) => self.program = Pid::from_raw(pid),
            Some(Word::Ended(ending)) => return Ok(Some(ending)),
            Some(Word::Refused(errno)) => {
                return Err(match errno {
                    0 => io::Error::other("it cannot be executed"),
                    errno => io::Error::from_raw_os_error(errno),
                });
            }
            Some(Word::Left(count)) => {
                tracing::error!(count, "processes of an analysis cannot be killed; see `ps`");
            }
            Some(Word::Note(note)) => tracing::debug!(note, "an analysis runs without"),
            None => tracing::warn!(line, "a supervisor says what is not understood"),
        }
        Ok(None)
    }

    /// Waits for the supervisor. One that hangs, or was killed before the program ended, can end
    /// nothing: what is known of its tree is killed from here.
    async fn reap(&mut self, supervisor: &mut Child, is_well: bool) {
        if is_well {
            let ended = timeout(MARGIN, supervisor.wait()).await;
            // One that failed cannot be trusted to have ended anything.
            if matches!(ended, Ok(Ok(status)) if status.success()) {
                return;
            }
        }
        let (own, program) = (self.supervisor, self.program);
        // It walks through all of /proc.
        let killed = tokio::task::spawn_blocking(move || kill_tree(own, program));
        if timeout(MARGIN, killed).await.is_err() {
            tracing::error!("`/proc` does not answer; an analysis may still run");
        }
        if timeout(MARGIN, supervisor.wait()).await.is_err() {
            tracing::error!("a supervisor cannot be killed");
        }
    }
}

/// Kills what stands below a supervisor, and it last, so that nothing is lost sight of before. When
/// it is dead already, only the program's own group can still be told from other processes.
fn kill_tree(supervisor: Option<Pid>, program: Option<Pid>) {
    if let Some(supervisor) = supervisor {
        tree::signal_below(supervisor.as_raw_nonzero().get(), Signal::KILL);
    }
    if let Some(program) = program {
        kill_process_group(program, Signal::KILL).unwrap_or_default();
    }
    if let Some(supervisor) = supervisor {
        kill_process(supervisor, Signal::KILL).unwrap_or_default();
    }
}

/// Returns the instant after a duration; one too long to be reckoned with is a year.
fn far(from: Instant, duration: Duration) -> Instant {
    from.checked_add(duration).unwrap_or_else(|| from + Duration::from_hours(24 * 365))
}
