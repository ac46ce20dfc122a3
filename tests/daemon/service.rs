//! What systemd hears of the daemon, with a socket in its place.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Daemon, LIMIT, Project, pause};

/// The service manager's end of the notification socket.
struct Manager {
    socket: UnixDatagram,
    heard: std::cell::RefCell<Vec<String>>,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: std::cell::RefCell::default() }
    }

    fn has_heard(&self, what: impl Fn(&[String]) -> bool) -> bool {
        let mut buffer = [0; 8192];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            self.heard.borrow_mut().push(message);
        }
        what(&self.heard.borrow())
    }

    fn wait(&self, what: &str, holds: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !self.has_heard(&holds) {
            let heard = self.heard.borrow();
            assert!(Instant::now() < deadline, "waited in vain for {what}; heard {heard:?}");
            pause();
        }
    }

    fn count(&self, text: &str) -> usize {
        self.has_heard(|_| true);
        self.heard.borrow().iter().filter(|message| *message == text).count()
    }
}

/// Starts the daemon as systemd would, with a patience of a second.
fn start(project: &Project, folder: &tempfile::TempDir) -> (Manager, Daemon) {
    let path = folder.path().join("notify");
    let manager = Manager::new(&path);
    let variables = [("NOTIFY_SOCKET", path.as_path()), ("WATCHDOG_USEC", Path::new("1000000"))];
    let daemon = project.start_with(&variables);
    (manager, daemon)
}

fn is_status(message: &str, text: &str) -> bool {
    message.strip_prefix("STATUS=").is_some_and(|status| status.contains(text))
}

#[test]
fn systemd_hears_of_the_start_of_the_work_of_the_loop_and_of_the_stop() {
    let (project, folder) = (Project::new(), tempfile::tempdir().unwrap());
    let (manager, daemon) = start(&project, &folder);
    manager.wait("READY", |heard| heard.iter().any(|message| message == "READY=1"));
    manager.wait("a status", |heard| {
        heard.iter().any(|message| is_status(message, "watching 0 runs"))
    });
    let (begun, before) = (Instant::now(), manager.count("WATCHDOG=1"));
    manager.wait("five more signs of life", |_| manager.count("WATCHDOG=1") >= before + 5);
    // Five intervals of a third of the patience, each late by at most one tick of the loop.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(daemon.stop(), Some(0));
    manager.wait("STOPPING", |heard| {
        heard.last().is_some_and(|message| message.starts_with("STOPPING=1\n"))
    });
    assert_eq!(manager.count("READY=1"), 1);
}

// A unit whose start waits for a folder that nobody has made yet would hold up a boot.
#[test]
fn a_missing_training_folder_holds_up_no_start_and_is_told() {
    let (project, folder) = (Project::new(), tempfile::tempdir().unwrap());
    std::fs::remove_dir_all(project.path("Cache/Training")).unwrap();
    let (manager, _daemon) = start(&project, &folder);
    manager.wait("READY", |heard| heard.iter().any(|message| message == "READY=1"));
    manager.wait("a status about the folder", |heard| {
        heard.iter().any(|message| is_status(message, "the training folder does not exist"))
    });
}
