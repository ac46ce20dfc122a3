#![expect(clippy::disallowed_methods, reason = "IO shell: reads the host and a run's own files")]
//! IO shell. Readings of the host: memory, CPU, disk, GPUs; and what a run's files outside its
//! checkpoints say of it.

pub mod gpus;
pub mod kernel_log;
pub mod run_files;
pub mod writers;

use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sysinfo::{MemoryRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, RefreshKind, System};

use crate::model::status::HostStatus;

/// Open files that are enough for every client, watch and journal that there can be.
const MAX_OPEN_FILES: u64 = 1 << 16;

/// Reads the host again and again; keeps what is needed to tell a share of CPU time.
#[derive(Debug)]
pub struct Sampler {
    /// `None` where the host does not say anything of itself (no `/proc`).
    system: Option<System>,
    training: PathBuf,
    own: Option<Pid>,
}

impl Sampler {
    /// Makes a sampler; `training` names the file system whose free space matters.
    pub fn new(training: &Path) -> Self {
        let memory = MemoryRefreshKind::nothing().with_ram();
        let system = System::new_with_specifics(RefreshKind::nothing().with_memory(memory)).ok();
        Self { system, training: training.to_owned(), own: sysinfo::get_current_pid().ok() }
    }

    /// Returns a reading of the host without its GPUs, and the daemon's own resident memory, in bytes. The CPU
    /// share is that since the last reading.
    pub fn read(&mut self) -> (HostStatus, Option<u64>) {
        let disk = disk_space(&self.training);
        let mut status = HostStatus {
            name: host_name(),
            disk_free: disk.map(|disk| disk.0),
            disk_total: disk.map(|disk| disk.1),
            ..HostStatus::default()
        };
        let Some(system) = &mut self.system else { return (status, None) };
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        system.refresh_cpu_usage();
        status.cpu = Some(f64::from(system.global_cpu_usage()) / 100.0);
        status.memory_used = Some(system.used_memory());
        status.memory_total = Some(system.total_memory());
        let own_memory = self.own.and_then(|pid| {
            let kind = ProcessRefreshKind::nothing().with_memory();
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
            system.process(pid).map(sysinfo::Process::memory)
        });
        (status, own_memory)
    }
}

/// Raises the process' soft limit on open files to what it may have, for a thousand clients of the
/// socket. Returns the limit before, for the programs that are started: some of them, told that
/// they may have a million files, try to close each one.
///
/// # Errors
/// The limit cannot be changed.
pub fn raise_open_files() -> std::io::Result<Option<u64>> {
    let before = getrlimit(Resource::Nofile);
    let wanted = before.maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
    match before.current {
        Some(current) if current < wanted => {
            let raised = Rlimit { current: Some(wanted), maximum: before.maximum };
            setrlimit(Resource::Nofile, raised)?;
            Ok(Some(current))
        }
        _ => Ok(None),
    }
}

/// Returns how many files the process may have open; `None` if that is not limited.
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Returns the host's name, or `unknown`.
pub fn host_name() -> String {
    System::host_name().unwrap_or_else(|_| "unknown".to_owned())
}

/// Returns free and total bytes of the file system that holds a path or its nearest parent.
pub fn disk_space(path: &Path) -> Option<(u64, u64)> {
    let there = path.ancestors().find(|path| path.exists())?;
    let facts = rustix::fs::statvfs(there).ok()?;
    Some((facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize))
}

/// Returns the user id that owns a path, if it can be read.
pub fn owner(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).ok().map(|metadata| metadata.uid())
}
