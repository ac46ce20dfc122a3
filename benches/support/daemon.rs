//! The real daemon under a bench: started, asked over its socket, measured through `/proc`.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A running daemon; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    root: PathBuf,
    /// From the start of the process to `READY=1`.
    pub(crate) ready_after: Duration,
}

impl Daemon {
    /// Starts it on a project and waits until it is ready.
    pub(crate) fn start(root: &Path) -> Self {
        let notify = root.join("notify.sock");
        drop(fs::remove_file(&notify));
        let socket = UnixDatagram::bind(&notify).unwrap();
        let log = fs::File::create(root.join("daemon.log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runscribe"));
        command.args(["watch", "-q", "--root"]).arg(root).env("NOTIFY_SOCKET", &notify);
        // As the systemd unit sets them.
        command.env("MALLOC_ARENA_MAX", "1");
        command.env("MALLOC_TRIM_THRESHOLD_", "65536").env("MALLOC_MMAP_THRESHOLD_", "65536");
        let started = Instant::now();
        let child = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let mut message = [0; 4096];
        loop {
            let length = socket.recv(&mut message).unwrap();
            if message.get(..length).is_some_and(|text| text.starts_with(b"READY=1")) {
                break;
            }
        }
        Self { child, root: root.to_owned(), ready_after: started.elapsed() }
    }

    /// Calls `take` for each event from the first one on, until it says that it has enough.
    pub(crate) fn follow(&self, mut take: impl FnMut(&Value) -> bool) {
        let socket = self.root.join("Cache/runscribe/status.sock");
        let mut stream = UnixStream::connect(socket).unwrap();
        writeln!(stream, "{{\"since\":0}}").unwrap();
        for line in BufReader::new(stream).lines() {
            let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if message["type"] == "event" && take(&message) {
                return;
            }
        }
        panic!("the daemon closed its socket");
    }

    /// Returns the processor time that it has used.
    pub(crate) fn cpu_time(&self) -> Duration {
        // The fields after the command's name in parentheses; user and system time in hundredths
        // of a second, see `proc_pid_stat(5)`.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 =
            [fields[11], fields[12]].map(|field| field.parse::<u64>().unwrap()).iter().sum();
        Duration::from_millis(ticks * 10)
    }

    /// Returns a size of `/proc/<pid>/status` in kilobytes, such as `VmRSS`.
    pub(crate) fn kilobytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if kill_process(Pid::from_child(&self.child), Signal::TERM).is_ok() {
            drop(self.child.wait());
        }
    }
}
