//! How the program is started: last in line for the cores and the disk, first in line when memory
//! runs out.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};

use super::order::{Limits, Order};
use super::word::Word;

/// The score with which the kernel takes a process before all others.
const TAKE_FIRST: &str = "1000";
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// The lowest weight of a session where the kernel groups processes by session.
const LAST_SESSION: &str = "19";

/// Starts the program and returns its process id. What could not be set up is told as notes.
///
/// # Errors
/// The program cannot be executed.
pub(super) fn start(order: &Order, tell: &mut dyn FnMut(&Word)) -> io::Result<i32> {
    let mut notes = Vec::new();
    let before = raise_oom_score(&mut notes);
    notes.extend(limit_files(order.limits));
    let (spawned, of_niceness) = spawn(order);
    notes.extend(of_niceness);
    if let Ok(pid) = &spawned {
        tell(&Word::Started(*pid));
        if order.limits.nice > 0 {
            notes.extend(make_idle(*pid));
            notes.extend(lower_session());
        }
    }
    // The supervisor itself must outlive the program to end what that leaves behind.
    if let Some(before) = before
        && let Err(error) = std::fs::write(OOM_SCORE, before)
    {
        notes.push(format!("cannot take the own OOM score back: {error}"));
    }
    for note in notes {
        tell(&Word::Note(note));
    }
    spawned
}

/// Starts the program from a thread of its own. Niceness belongs to threads and is inherited from
/// the one that forks, so the supervisor keeps its own: it must be able to end a program on a host
/// without an idle core.
fn spawn(order: &Order) -> (io::Result<i32>, Option<String>) {
    std::thread::scope(|scope| {
        let starter = scope.spawn(|| {
            let niceness = setpriority_process(None, i32::from(order.limits.nice));
            let note = niceness.err().map(|error| format!("cannot set the niceness: {error}"));
            let spawned = Command::new(&order.program)
                .args(&order.arguments)
                .stdin(Stdio::null())
                .process_group(0)
                .spawn();
            (spawned.map(|child| child.id().cast_signed()), note)
        });
        let panicked = |_| (Err(io::Error::other("the starting thread panicked")), None);
        starter.join().unwrap_or_else(panicked)
    })
}

/// Has the program run only on a core that nothing else wants. Disk access follows: the kernel
/// gives such a process the idle I/O class unless it chose another one (`task_nice_ioclass`).
///
/// Done from outside and as soon as it runs: an idle thread that forks on a busy host would take
/// seconds to begin, and what a program starts in its first instants is at least nice.
fn make_idle(program: i32) -> Option<String> {
    if scheduler::set_policy(program, scheduler::Policy::Idle, 0).is_ok() {
        return None;
    }
    let error = io::Error::last_os_error();
    Some(format!("cannot set idle scheduling: {error}"))
}

/// Where the kernel shares cores among sessions first (`sched_autogroup_enabled`), priorities count
/// within a session only, and the session's own decides.
fn lower_session() -> Option<String> {
    match std::fs::write("/proc/self/autogroup", LAST_SESSION) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Some(format!("cannot lower the session's priority: {error}"))
        }
        _ => None,
    }
}

/// Raises the score that the program inherits and returns what it was.
fn raise_oom_score(notes: &mut Vec<String>) -> Option<String> {
    let before = std::fs::read_to_string(OOM_SCORE).ok();
    match std::fs::write(OOM_SCORE, TAKE_FIRST) {
        Ok(()) => before,
        Err(error) => {
            notes.push(format!("cannot raise the OOM score: {error}"));
            None
        }
    }
}

/// Gives the program the file limit that the daemon began with.
fn limit_files(limits: Limits) -> Option<String> {
    let current = limits.open_files?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let set = setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum });
    set.err().map(|error| format!("cannot restore the file limit: {error}"))
}
