//! Which processes hold files open for writing.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where the kernel tells of processes.
pub const PROCESSES: &str = "/proc";
/// So many open files of one process are looked at.
const MOST_FILES: usize = 4096;

/// Returns for each of these files which processes hold it open for writing, ascending; `None`
/// where that cannot be told: the file is not there, or its writers may belong to another user,
/// whose open files are hidden.
///
/// `processes` is the folder of processes ([`PROCESSES`]) and `user` who looks.
pub fn writers(files: &[PathBuf], processes: &Path, user: u32) -> Vec<Option<Vec<u32>>> {
    let id = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    let asked: Vec<Option<(u64, u64)>> = files
        .iter()
        .map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            (user == 0 || metadata.uid() == user).then(|| id(&metadata))
        })
        .collect();
    let mut found: BTreeMap<(u64, u64), Vec<u32>> =
        asked.iter().flatten().map(|id| (*id, Vec::new())).collect();
    if found.is_empty() || look_at_processes(processes, user, &mut found).is_err() {
        return files.iter().map(|_| None).collect();
    }
    asked.into_iter().map(|id| found.get(&id?).cloned()).collect()
}

fn look_at_processes(
    processes: &Path,
    user: u32,
    found: &mut BTreeMap<(u64, u64), Vec<u32>>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(processes)? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // It may be gone by now, and what it held with it.
        let is_own = |metadata: Metadata| user == 0 || metadata.uid() == user;
        if entry.metadata().is_ok_and(is_own) {
            look_at_files(&entry.path(), pid, found);
        }
    }
    for pids in found.values_mut() {
        pids.sort_unstable();
    }
    Ok(())
}

fn look_at_files(process: &Path, pid: u32, found: &mut BTreeMap<(u64, u64), Vec<u32>>) {
    let Ok(entries) = std::fs::read_dir(process.join("fd")) else { return };
    for entry in entries.take(MOST_FILES).filter_map(Result::ok) {
        // Most open files are sockets and the like, whose names tell; only the others are asked for.
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        if !target.is_absolute() || target.starts_with("/dev") || target.starts_with("/memfd:") {
            continue;
        }
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        let Some(pids) = found.get_mut(&(metadata.dev(), metadata.ino())) else { continue };
        if pids.last() != Some(&pid) && is_for_writing(process, &entry.file_name()) {
            pids.push(pid);
        }
    }
}

/// Reads the octal `flags:` of an open file; its last two bits are 1 or 2 for writing (`O_WRONLY`,
/// `O_RDWR`). Source: `proc_pid_fdinfo(5)`.
fn is_for_writing(process: &Path, file: &std::ffi::OsStr) -> bool {
    let Ok(text) = std::fs::read_to_string(process.join("fdinfo").join(file)) else { return false };
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| matches!(flags & 3, 1 | 2))
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::time::{Duration, Instant};

    use super::*;

    fn ask(files: &[PathBuf]) -> Vec<Option<Vec<u32>>> {
        let user = rustix::process::geteuid().as_raw();
        writers(files, Path::new(PROCESSES), user)
    }

    /// Returns the answer, asked for again while it is not the expected one, at most for 10 s: a
    /// program that another test starts shares this process's files until it has begun.
    fn ask_until(files: &[PathBuf], expected: &[Option<Vec<u32>>]) -> Vec<Option<Vec<u32>>> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let answer = ask(files);
            if answer == expected || Instant::now() > deadline {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn who_writes_a_file_is_found_and_who_reads_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let files = [path("written.log"), path("read.log"), path("absent.log")];
        let writer = File::create(&files[0]).unwrap();
        std::fs::write(&files[1], "x").unwrap();
        let reader = File::open(&files[1]).unwrap();
        let own = std::process::id();
        let with_writer = [Some(vec![own]), Some(vec![]), None];
        assert_eq!(ask_until(&files, &with_writer), with_writer);
        drop((writer, reader));
        let without = [Some(vec![]), Some(vec![]), None];
        assert_eq!(ask_until(&files, &without), without);
        // A launcher that pipes through a program of its own: that one is the writer.
        let appended = OpenOptions::new().append(true).open(&files[0]).unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("600")
            .stdout(appended)
            .stdin(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let with_child = [Some(vec![child.id()]), Some(vec![]), None];
        let found = ask_until(&files, &with_child);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, with_child);
        assert_eq!(ask_until(&files, &without), without);
    }

    #[test]
    fn files_of_another_user_cannot_be_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.log");
        std::fs::write(&file, "x").unwrap();
        let stranger = rustix::process::geteuid().as_raw() + 1;
        assert_eq!(writers(std::slice::from_ref(&file), Path::new(PROCESSES), stranger), [None]);
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(writers(&[file], folder.path().join("absent").as_path(), own), [None]);
    }
}
