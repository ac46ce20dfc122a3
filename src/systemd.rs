#![expect(clippy::disallowed_methods, reason = "IO shell: reads the environment that systemd sets")]
//! IO shell. Tells systemd what it wants to know; does nothing anywhere else.
//!
//! Source of the protocol: `sd_notify(3)` and `sd_watchdog_enabled(3)`. The messages are sent without
//! blocking, which no library offers: a service manager that is busy must not stop the daemon's loop.
//! What it did not take is sent again at a later turn, so that no start fails because of it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The status line is for people; systemd keeps only the last one.
const STATUS_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// systemd throws a message away whole that is longer than 4 KiB, and a line is read by people.
const STATUS_CHARACTERS: usize = 300;
/// How often systemd hears that the loop turns; more often where its patience is short.
const PACE: Duration = Duration::from_secs(5);
/// How often within systemd's patience, so that one late turn is no reason to be killed.
const TIMES_WITHIN_PATIENCE: u32 = 3;
/// What the start may take from now on, told at each pace while the loop turns: a slow disk is no
/// reason to kill a daemon that answers.
const START_MAY_TAKE: &str = "EXTEND_TIMEOUT_USEC=60000000";

/// The service manager's end of the notification socket, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    /// Whether systemd ends a process that does not say that it is alive.
    watched: bool,
    pace: Duration,
    paced_at: Option<Instant>,
    start: Start,
    status: String,
    status_told: String,
    status_told_at: Option<Instant>,
}

/// How far the start is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Start {
    #[default]
    GoesOn,
    /// The daemon is ready, and systemd has not taken that yet.
    Done,
    Told,
}

impl Notifier {
    /// Looks whether systemd started this process with a notification socket.
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name);
        let patience = patience(
            variable("WATCHDOG_USEC"),
            variable("WATCHDOG_PID"),
            &std::process::id().to_string(),
        );
        let manager = variable("NOTIFY_SOCKET").and_then(|name| {
            connect(&name)
                .inspect_err(|error| tracing::warn!(%error, "cannot use NOTIFY_SOCKET"))
                .ok()
        });
        Self::new(manager, patience)
    }

    fn new(manager: Option<(UnixDatagram, SocketAddr)>, patience: Option<Duration>) -> Self {
        let pace = patience.map_or(PACE, |patience| PACE.min(patience / TIMES_WITHIN_PATIENCE));
        Self { manager, watched: patience.is_some(), pace, ..Self::default() }
    }

    /// Says that the socket is bound and the first scan is done.
    pub fn ready(&mut self) {
        if self.start == Start::GoesOn {
            self.start = Start::Done;
        }
        self.tell_of_the_start();
    }

    /// Takes the line that says what the daemon is doing; it is told when systemd is to hear of it.
    pub fn status(&mut self, text: &str) {
        self.status = one_line(text);
    }

    /// Says what is to be said now; called at every turn of the event loop and nowhere else, so
    /// that a loop that hangs says nothing and is ended by systemd.
    pub fn turned(&mut self) {
        if self.manager.is_none() {
            return;
        }
        self.tell_of_the_start();
        if self.paced_at.is_none_or(|at| at.elapsed() >= self.pace) {
            self.paced_at = Some(Instant::now());
            if self.start == Start::GoesOn {
                self.send(START_MAY_TAKE);
            }
            if self.watched {
                self.send("WATCHDOG=1");
            }
        }
        let soon = self.status_told_at.is_some_and(|at| at.elapsed() < STATUS_AT_MOST_EVERY);
        if !soon && self.status != self.status_told && self.send(&format!("STATUS={}", self.status))
        {
            self.status_told.clone_from(&self.status);
            self.status_told_at = Some(Instant::now());
        }
    }

    /// Returns how soon the loop has to turn so that what is to be said is said in time.
    pub fn wants_turn_within(&self) -> Duration {
        if self.manager.is_none() {
            return Duration::MAX;
        }
        let left = |last: Option<Instant>, pause: Duration| {
            last.map_or(Duration::ZERO, |last| pause.saturating_sub(last.elapsed()))
        };
        let is_paced = self.watched || self.start == Start::GoesOn;
        let wanted = [
            is_paced.then(|| left(self.paced_at, self.pace)),
            (self.status != self.status_told)
                .then(|| left(self.status_told_at, STATUS_AT_MOST_EVERY)),
            (self.start == Start::Done).then_some(Duration::ZERO),
        ];
        wanted.into_iter().flatten().min().unwrap_or(Duration::MAX)
    }

    /// Says that the daemon is on its way out.
    pub fn stopping(&self) {
        self.send(
            "STOPPING=1\nSTATUS=stopping: running analyses are ended, the journal is written",
        );
    }

    fn tell_of_the_start(&mut self) {
        if self.start == Start::Done && self.send("READY=1") {
            self.start = Start::Told;
        }
    }

    /// Returns whether the message is on its way. Where there is no systemd, none ever is.
    fn send(&self, message: &str) -> bool {
        let Some((socket, address)) = &self.manager else { return false };
        socket
            .send_to_addr(message.as_bytes(), address)
            .inspect_err(|error| tracing::debug!(%error, message, "systemd did not take a message"))
            .is_ok()
    }
}

/// Returns how long systemd waits for a sign of life of this process, if it waits for any.
fn patience(microseconds: Option<OsString>, pid: Option<OsString>, own: &str) -> Option<Duration> {
    if pid.is_some_and(|pid| pid != own) {
        return None;
    }
    let microseconds: u64 = microseconds?.to_str()?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds))
}

/// Returns the text as one line of bounded length: a line break would begin another message, and
/// names in the status come from outside.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(STATUS_CHARACTERS)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if text.chars().nth(STATUS_CHARACTERS).is_some() {
        line.push('…');
    }
    line
}

/// A name that begins with `@` is an abstract one.
fn connect(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes().split_first() {
        Some((b'@', rest)) => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Option<Duration> = Some(Duration::from_micros(1));
    const AN_AGE: Option<Duration> = Some(Duration::from_hours(1));

    fn notifier(patience: Option<Duration>) -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let connected = connect(path.as_os_str()).unwrap();
        (folder, manager, Notifier::new(Some(connected), patience))
    }

    fn messages(manager: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 8192];
        let mut messages = Vec::new();
        while let Ok(length) = manager.recv(&mut buffer) {
            messages.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        }
        messages
    }

    #[test]
    fn a_start_is_extended_until_it_is_told_and_a_repeated_status_is_not_sent() {
        let (_folder, manager, mut notifier) = notifier(None);
        notifier.status("reading");
        notifier.turned();
        notifier.turned();
        notifier.ready();
        notifier.status("2 runs");
        notifier.turned();
        notifier.ready();
        notifier.stopping();
        let messages = messages(&manager);
        let (last, before) = messages.split_last().unwrap();
        assert_eq!(before, [START_MAY_TAKE, "STATUS=reading", "READY=1"]);
        assert!(last.starts_with("STOPPING=1\nSTATUS=stopping"), "{last}");
    }

    #[test]
    fn a_status_that_came_too_soon_is_told_later() {
        let (_folder, manager, mut notifier) = notifier(None);
        notifier.ready();
        notifier.status("2 runs");
        notifier.turned();
        notifier.status("3 runs");
        notifier.turned();
        notifier.status_told_at = Instant::now().checked_sub(STATUS_AT_MOST_EVERY);
        notifier.turned();
        notifier.turned();
        assert_eq!(messages(&manager), ["READY=1", "STATUS=2 runs", "STATUS=3 runs"]);
    }

    #[test]
    fn signs_of_life_follow_the_patience_of_systemd_and_come_only_when_it_asks_for_them() {
        for (patience, expected) in [(NO_TIME, 3), (AN_AGE, 1), (None, 0)] {
            let (_folder, manager, mut notifier) = notifier(patience);
            for _ in 0..3 {
                notifier.turned();
                std::thread::yield_now();
            }
            let signs = messages(&manager).iter().filter(|text| *text == "WATCHDOG=1").count();
            assert_eq!(signs, expected, "{patience:?}");
        }
        let (_folder, _manager, notifier) = notifier(Some(Duration::from_secs(3)));
        assert_eq!(notifier.pace, Duration::from_secs(1));
    }

    /// The loop turns by itself only as often as somebody waits for it.
    #[test]
    fn the_loop_is_told_how_soon_something_is_to_be_said() {
        assert_eq!(Notifier::new(None, AN_AGE).wants_turn_within(), Duration::MAX);
        let (_folder, manager, mut notifier) = notifier(Some(Duration::from_secs(9)));
        notifier.turned();
        let within = notifier.wants_turn_within();
        assert!(within <= Duration::from_secs(3) && within > Duration::from_secs(1), "{within:?}");
        notifier.status("2 runs");
        assert_eq!(notifier.wants_turn_within(), Duration::ZERO, "the first one is told at once");
        notifier.turned();
        notifier.status("3 runs");
        assert!(notifier.wants_turn_within() <= STATUS_AT_MOST_EVERY);
        while notifier.send("WATCHDOG=1") {}
        notifier.ready();
        assert_eq!(notifier.wants_turn_within(), Duration::ZERO, "nobody has taken it");
        messages(&manager);
        notifier.turned();
        assert!(notifier.wants_turn_within() > Duration::ZERO);
    }

    #[test]
    fn the_watchdog_is_another_processs_or_off_or_ours() {
        let check = |microseconds: Option<&str>, pid: Option<&str>| {
            patience(microseconds.map(OsString::from), pid.map(OsString::from), "7")
        };
        assert_eq!(check(Some("2000000"), Some("7")), Some(Duration::from_secs(2)));
        assert_eq!(check(Some("2000000"), None), Some(Duration::from_secs(2)));
        assert_eq!(check(Some("2000000"), Some("8")), None);
        for wrong in ["0", "", "-1", "soon", "99999999999999999999999"] {
            assert_eq!(check(Some(wrong), Some("7")), None, "{wrong}");
        }
        assert_eq!(check(None, Some("7")), None);
    }

    #[test]
    fn a_name_from_outside_begins_no_message_of_its_own() {
        let (_folder, manager, mut notifier) = notifier(None);
        notifier.status(&format!("a\nMAINPID=1\r\0{}", "ü".repeat(5000)));
        notifier.turned();
        let sent = messages(&manager).pop().unwrap();
        assert!(sent.starts_with("STATUS=a MAINPID=1  ü") && sent.ends_with("ü…"), "{sent}");
        assert!(sent.len() < 1024, "{}", sent.len());
    }

    #[test]
    fn a_manager_that_takes_nothing_does_not_block_and_hears_of_the_start_later() {
        let (_folder, manager, mut notifier) = notifier(NO_TIME);
        while notifier.send("WATCHDOG=1") {}
        notifier.ready();
        for _ in 0..1000 {
            notifier.turned();
        }
        messages(&manager);
        notifier.turned();
        assert_eq!(messages(&manager).first().map(String::as_str), Some("READY=1"));
    }
}
