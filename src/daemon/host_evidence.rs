//! The workers that ask the host about training: who writes the shell logs, and what the kernel
//! says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::engine::Event;
use crate::host::kernel_log::{KERNEL_LOG, KernelLog, uptime};
use crate::host::writers::{PROCESSES, writers};
use crate::model::host_evidence::{KernelFinding, KernelReading, LogWriters};
use crate::model::shell_log::LogKey;
use crate::parse::kernel_log::kernel_lines;

/// How often the kernel's log is read.
const LISTEN: Duration = Duration::from_secs(10);
/// So many findings are told at a time.
const MOST_FINDINGS: usize = 64;

/// Asks who writes logs, each time that it is asked to; paths are relative to the root.
pub(super) fn find_writers(
    root: &Path,
    mut asked: mpsc::Receiver<Vec<(LogKey, String)>>,
    news: &mpsc::Sender<Event>,
) {
    let user = rustix::process::geteuid().as_raw();
    while let Some(logs) = asked.blocking_recv() {
        let files: Vec<PathBuf> = logs.iter().map(|(_, path)| root.join(path)).collect();
        let found = writers(&files, Path::new(PROCESSES), user);
        let of_log = |((log, _), pids)| LogWriters { log, pids };
        let found = logs.into_iter().zip(found).map(of_log).collect();
        if news.blocking_send(Event::LogWriters(found)).is_err() {
            break;
        }
    }
}

/// Reads the kernel's log again and again, and tells what bears on training, and once whether it
/// can be read.
pub(super) async fn listen_to_kernel(
    news: mpsc::Sender<Event>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut every = interval(LISTEN);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut log = Some(KernelLog::new(Path::new(KERNEL_LOG)));
    let mut told = None;
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let Some(mut own) = log.take() else { return Ok(()) };
        let read = tokio::task::spawn_blocking(move || (read(&mut own), own));
        let (reading, own) = tokio::select! {
            read = read => read?,
            () = stop.cancelled() => return Ok(()),
        };
        log = Some(own);
        if reading.findings.is_empty() && told.as_ref() == Some(&reading.note) {
            continue;
        }
        told = Some(reading.note.clone());
        if news.send(Event::KernelLog(reading)).await.is_err() {
            return Ok(());
        }
    }
}

fn read(log: &mut KernelLog) -> KernelReading {
    let records = match log.read() {
        Ok(records) => records,
        Err(note) => return KernelReading { findings: Vec::new(), note: Some(note) },
    };
    let lines = kernel_lines(&records);
    let booted = uptime().and_then(|uptime| Timestamp::now().checked_sub(uptime).ok());
    let when = |since_boot| booted?.checked_add(since_boot).ok();
    let skipped = lines.len().saturating_sub(MOST_FINDINGS);
    let newest = lines.into_iter().skip(skipped);
    let findings = newest.filter_map(|line| {
        Some(KernelFinding { time: when(line.since_boot)?, what: line.what, text: line.text })
    });
    KernelReading { findings: findings.collect(), note: None }
}
