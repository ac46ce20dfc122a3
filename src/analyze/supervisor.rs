//! The hidden process between daemon and analysis: `runscribe supervise …`.
//!
//! It leads a session of its own and is the subreaper of everything the program starts, so it can
//! end the whole tree, and does so in each of these cases: the program ended and left something
//! behind, it ran past its deadline, the daemon asks for it, or the daemon is gone (its end of the
//! socket, our standard input, is closed). The death of the daemon is noticed even when it was
//! `kill -9`; a parent-death signal would fire when the spawning thread ends, and miss grandchildren.
//!
//! One thread, no runtime, no logging: it starts in a millisecond and needs a few megabytes.

pub(crate) mod order;
mod start;
pub(crate) mod tree;
pub(crate) mod word;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, getpid, set_child_subreaper, setsid};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use crate::model::analysis::Ending;
use order::Order;
use word::Word;

/// How long what the program left behind may take to end by itself: Python's resource tracker
/// cleans up shared memory when its parent has ended.
const LINGER: Duration = Duration::from_millis(200);
/// How long killed processes are waited for. One that the kernel holds (a dead network folder) ends
/// whenever that lets go; nothing can be done about it.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(3);
/// The first pause between two rounds of killing; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// The name in `ps` and `top`; the kernel shows 15 bytes.
const NAME: &str = "runscribe-super";

/// Runs as the supervisor. `arguments` are those after the hidden command's name.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let Some(order) = Order::parse(arguments) else {
        let usage = "runscribe: the daemon starts `supervise`; it is no command for people";
        // Nobody is left to be told when stderr itself cannot be written.
        writeln!(io::stderr(), "{usage}").unwrap_or_default();
        return ExitCode::from(2);
    };
    match supervise(&order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "runscribe: cannot supervise: {error}").unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

fn supervise(order: &Order) -> io::Result<()> {
    let mut line = Line::open()?;
    lead()?;
    // Before the start, so that no end is missed.
    let wakes = Wakes::register()?;
    let pid = match start::start(order, &mut |word| line.say(word)) {
        Ok(pid) => pid,
        Err(error) => {
            line.say(&Word::Refused(error.raw_os_error().unwrap_or_default()));
            return Ok(());
        }
    };
    let ended = Watch::new(order, pid).until_all_ended(&mut line, &wakes);
    if ended.is_err() {
        // Nothing is waited for any more, but nothing is left running either.
        tree::signal_all(Signal::KILL);
    }
    ended
}

/// Makes this process the root of its own tree.
fn lead() -> io::Result<()> {
    // Fails only for one that leads a group already, as when started by hand.
    setsid().map(drop).unwrap_or_default();
    set_child_subreaper(Some(getpid()))?;
    // Without it `ps` shows another name, and that is all.
    std::fs::write("/proc/self/comm", NAME).unwrap_or_default();
    Ok(())
}

/// The socket to the daemon.
struct Line {
    /// A file and not a socket's type: by hand, standard input may be anything.
    stream: File,
}

/// What the daemon wants.
enum Request {
    Nothing,
    Stop,
    Kill,
    /// It is gone, which wants a stop as well; nothing is to be heard any more.
    Gone,
}

impl Line {
    fn open() -> io::Result<Self> {
        Ok(Self { stream: File::from(io::stdin().as_fd().try_clone_to_owned()?) })
    }

    /// Tells the daemon; when it is gone there is nobody to tell.
    fn say(&mut self, word: &Word) {
        self.stream.write_all(format!("{}\n", word.line()).as_bytes()).unwrap_or_default();
    }

    fn hear(&mut self) -> Request {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(1) if byte == [word::KILL] => Request::Kill,
            Ok(1) => Request::Stop,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Request::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Request::Nothing,
            Ok(_) | Err(_) => Request::Gone,
        }
    }
}

/// Signals as readable sockets.
struct Wakes {
    child_ended: UnixStream,
    asked_to_end: UnixStream,
}

impl Wakes {
    fn register() -> io::Result<Self> {
        let (child_ended, wake) = UnixStream::pair()?;
        pipe::register(SIGCHLD, wake)?;
        let (asked_to_end, wake) = UnixStream::pair()?;
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            pipe::register(signal, wake.try_clone()?)?;
        }
        child_ended.set_nonblocking(true)?;
        asked_to_end.set_nonblocking(true)?;
        Ok(Self { child_ended, asked_to_end })
    }
}

/// Empties a socket that signals wake through; returns whether there was one.
fn drain(mut stream: &UnixStream) -> bool {
    let mut bytes = [0; 64];
    let mut woken = false;
    while matches!(stream.read(&mut bytes), Ok(1..)) {
        woken = true;
    }
    woken
}

/// How far the end is.
#[derive(Clone, Copy)]
enum Phase {
    Running { until: Instant },
    Lingering { until: Instant },
    Terminating { until: Instant },
    Killing { until: Instant, pause: Duration },
}

/// One program under supervision.
struct Watch<'a> {
    order: &'a Order,
    program: i32,
    phase: Phase,
    daemon_is_there: bool,
}

impl<'a> Watch<'a> {
    fn new(order: &'a Order, program: i32) -> Self {
        let phase = Phase::Running { until: after(order.limits.timeout) };
        Self { order, program, phase, daemon_is_there: true }
    }

    fn until_all_ended(mut self, line: &mut Line, wakes: &Wakes) -> io::Result<()> {
        loop {
            let reaped = tree::reap();
            for (_, ending) in reaped.ended.iter().filter(|(pid, _)| *pid == self.program) {
                line.say(&Word::Ended(*ending));
                if matches!(self.phase, Phase::Running { .. }) {
                    self.phase = Phase::Lingering { until: after(LINGER) };
                }
            }
            if !reaped.any_left {
                return Ok(());
            }
            if self.is_over(line) {
                return Ok(());
            }
            self.wait(line, wakes)?;
        }
    }

    /// Goes on to the next phase when this one's time is over. Returns whether to give up.
    fn is_over(&mut self, line: &mut Line) -> bool {
        let now = Instant::now();
        match self.phase {
            Phase::Running { until } if now >= until => {
                line.say(&Word::Ended(Ending::Deadline));
                self.terminate();
            }
            Phase::Lingering { until } if now >= until => self.terminate(),
            Phase::Terminating { until } if now >= until => self.kill(),
            Phase::Killing { until, .. } if now >= until => {
                let left = tree::signal_all(Signal::KILL);
                line.say(&Word::Left(left));
                return true;
            }
            _ => {}
        }
        if let Phase::Killing { until, pause } = self.phase {
            // Again and again: a process may have been forked behind the list's back.
            tree::signal_all(Signal::KILL);
            self.phase = Phase::Killing { until, pause: (pause * 2).min(LONGEST_PAUSE) };
        }
        false
    }

    fn terminate(&mut self) {
        if matches!(self.phase, Phase::Running { .. } | Phase::Lingering { .. }) {
            tree::signal_all(Signal::TERM);
            self.phase = Phase::Terminating { until: after(self.order.limits.kill_grace) };
        }
    }

    fn kill(&mut self) {
        if !matches!(self.phase, Phase::Killing { .. }) {
            self.phase = Phase::Killing { until: after(GIVE_UP), pause: FIRST_PAUSE };
        }
    }

    /// Waits until something happens or the phase's time is over.
    fn wait(&mut self, line: &mut Line, wakes: &Wakes) -> io::Result<()> {
        let limit = match self.phase {
            Phase::Running { until }
            | Phase::Lingering { until }
            | Phase::Terminating { until } => until.saturating_duration_since(Instant::now()),
            Phase::Killing { until, pause } => {
                pause.min(until.saturating_duration_since(Instant::now()))
            }
        };
        let daemon = self.daemon_is_there.then(|| line.stream.as_fd());
        let sockets = [wakes.child_ended.as_fd(), wakes.asked_to_end.as_fd()];
        let daemon_has_something = wait_readable(daemon, sockets, limit)?;
        drain(&wakes.child_ended);
        if drain(&wakes.asked_to_end) {
            self.terminate();
        }
        if daemon_has_something {
            match line.hear() {
                Request::Nothing => {}
                Request::Stop => self.terminate(),
                Request::Kill => self.kill(),
                Request::Gone => {
                    self.daemon_is_there = false;
                    self.terminate();
                }
            }
        }
        Ok(())
    }
}

/// Waits until one of the sockets is readable, at most for `limit`. Returns whether the first is.
fn wait_readable(
    daemon: Option<BorrowedFd<'_>>,
    others: [BorrowedFd<'_>; 2],
    limit: Duration,
) -> io::Result<bool> {
    let readable = |socket| PollFd::from_borrowed_fd(socket, PollFlags::IN);
    let mut sockets: Vec<PollFd<'_>> = others.into_iter().chain(daemon).map(readable).collect();
    // Rounded up: a wait that ends just before its time would turn in a circle.
    let limit = Timespec::try_from(limit + Duration::from_millis(1)).ok();
    match poll(&mut sockets, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(sockets.get(others.len()).is_some_and(|socket| !socket.revents().is_empty()))
}

/// Returns the instant after a duration; one too long to be reckoned with is a year.
fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or_else(|| now + Duration::from_hours(24 * 365))
}
