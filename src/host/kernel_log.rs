//! The kernel's log, read as it is written: pieces of it, never as a whole, and without waiting.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Where the kernel gives its records out, one for each read.
pub const KERNEL_LOG: &str = "/dev/kmsg";
/// The longest record; the kernel refuses to give out one that does not fit.
const LONGEST_RECORD: usize = 8192;
/// So many bytes are taken at a time; the rest of a flood is read the next time.
const MOST: usize = 1 << 20;

/// The kernel's log, open at the place up to which it was read.
#[derive(Debug)]
pub struct KernelLog {
    path: PathBuf,
    file: Option<File>,
}

impl KernelLog {
    /// Makes a reader that begins with the oldest record that the kernel still has.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None }
    }

    /// Returns the records that are new, one after the other.
    ///
    /// # Errors
    /// The log cannot be read; the text says why and what to do.
    pub fn read(&mut self) -> Result<Vec<u8>, String> {
        let problem = |error: &io::Error| unreadable(&self.path, error);
        let file = match &mut self.file {
            Some(file) => file,
            closed => {
                let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
                let opened = OpenOptions::new().read(true).custom_flags(flags).open(&self.path);
                closed.insert(opened.map_err(|error| problem(&error))?)
            }
        };
        let (mut records, mut record) = (Vec::new(), [0; LONGEST_RECORD]);
        while records.len() < MOST {
            match file.read(&mut record) {
                Ok(0) => break,
                Ok(length) => {
                    records.extend_from_slice(record.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What was next to be read was overwritten; the next read goes on behind it.
                Err(error) if error.raw_os_error() == Some(Errno::PIPE.raw_os_error()) => {}
                Err(error) => {
                    let problem = problem(&error);
                    self.file = None;
                    return Err(problem);
                }
            }
        }
        Ok(records)
    }
}

/// Returns how long the host has been up, which is what records of the kernel are stamped with.
pub fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "the kernel log is not readable, so killed processes and errors of GPUs are seen in \
             shell logs only: `{path}` needs `CAP_SYSLOG` or `kernel.dmesg_restrict = 0`"
        ),
        _ => format!("the kernel log is not readable: `{path}`: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn records_are_read_once_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("kmsg");
        let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).unwrap();
        let mut log = KernelLog::new(&pipe);
        assert_eq!(log.read(), Ok(Vec::new()), "nobody has written");
        let mut kernel = OpenOptions::new().write(true).open(&pipe).unwrap();
        assert_eq!(log.read(), Ok(Vec::new()), "nothing is there yet");
        kernel.write_all(b"4,1,5,-;one\n").unwrap();
        assert_eq!(log.read().as_deref(), Ok(&b"4,1,5,-;one\n"[..]));
        assert_eq!(log.read(), Ok(Vec::new()));
    }

    #[test]
    fn a_log_that_cannot_be_read_is_said_to_be_so_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kmsg");
        let mut log = KernelLog::new(&path);
        let problem = log.read().unwrap_err();
        assert!(problem.contains("not readable") && problem.contains("kmsg"), "{problem}");
        std::fs::write(&path, "4,1,5,-;one\n").unwrap();
        assert_eq!(log.read().unwrap(), b"4,1,5,-;one\n");
    }

    #[test]
    fn the_host_is_up() {
        assert!(uptime().is_some_and(|uptime| uptime > Duration::ZERO));
    }
}
