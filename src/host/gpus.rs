//! The NVIDIA GPUs, as the driver's own library sees them.
//!
//! The library is loaded for each reading and let go after it: nothing is kept open that would
//! block a reset or an update of the driver, and what was read is never older than asked for. A
//! driver in trouble can hang a call for minutes, so one thread of its own does all of it
//! ([`serve`]), and whoever asks waits only for so long ([`Gpus::read`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::model::status::{GpuReading, GpuStatus};

/// How long a reading may take; a driver that first has to wake its GPUs needs some seconds.
const LIMIT: Duration = Duration::from_secs(10);
/// Readings that may wait for the thread; while it hangs, more are refused at once.
const WAITING: usize = 4;
/// A host has at most sixteen; a driver that claims more than this is not believed.
const MAX_GPUS: u32 = 256;

/// Asks for readings; clones ask the same thread.
#[derive(Debug, Clone)]
pub struct Gpus {
    requests: mpsc::Sender<Request>,
}

/// Where one reading goes.
pub type Request = oneshot::Sender<GpuReading>;

impl Gpus {
    /// Makes the two ends: what asks, and what [`serve`] takes.
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, asked) = mpsc::channel(WAITING);
        (Self { requests }, asked)
    }

    /// Returns a reading of this moment, or within ten seconds the reason why there is none.
    pub async fn read(&self) -> GpuReading {
        self.read_within(LIMIT).await
    }

    async fn read_within(&self, limit: Duration) -> GpuReading {
        let (reply, answer) = oneshot::channel();
        match self.requests.try_send(reply) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return none("the NVIDIA driver hangs"),
            Err(TrySendError::Closed(_)) => return none("the GPUs are no longer read"),
        }
        match timeout(limit, answer).await {
            Ok(Ok(reading)) => reading,
            Ok(Err(_)) => none("the GPUs are no longer read"),
            Err(_) => {
                none(&format!("the NVIDIA driver did not answer within {} s", limit.as_secs()))
            }
        }
    }
}

/// Answers until nobody can ask any more. Blocks, and may hang in the driver: it needs a thread of
/// its own that nobody waits for.
pub fn serve(mut asked: mpsc::Receiver<Request>) {
    while let Some(reply) = asked.blocking_recv() {
        // Whoever has waited for too long is gone, and needs no reading.
        if reply.is_closed() {
            continue;
        }
        let reading = catch_unwind(AssertUnwindSafe(read))
            .unwrap_or_else(|_| none("the NVIDIA driver's library is not whole"));
        drop(reply.send(reading));
    }
}

fn none(why: &str) -> GpuReading {
    GpuReading { gpus: Vec::new(), note: Some(why.to_owned()) }
}

/// Reads all GPUs. A missing or broken driver is a reading without GPUs, and its reason.
fn read() -> GpuReading {
    let nvml = match Nvml::init() {
        Ok(nvml) => nvml,
        Err(error) => return none(&why_no_driver(&error)),
    };
    let count = match nvml.device_count() {
        Ok(count) => count.min(MAX_GPUS),
        Err(error) => return none(&format!("the NVIDIA driver does not list its GPUs: {error}")),
    };
    let gpus: Vec<GpuStatus> = (0..count).map(|index| read_gpu(&nvml, index)).collect();
    let note = gpus.is_empty().then(|| "the NVIDIA driver knows no GPU".to_owned());
    GpuReading { gpus, note }
}

fn why_no_driver(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(error) => {
            let text = error.to_string();
            if text.contains("No such file") {
                return "no NVIDIA driver".to_owned();
            }
            format!("the NVIDIA driver's library cannot be loaded: {text}")
        }
        NvmlError::DriverNotLoaded => "the NVIDIA driver is not loaded".to_owned(),
        error => format!("the NVIDIA driver does not start: {error}"),
    }
}

/// One GPU that fails must not hide the others.
fn read_gpu(nvml: &Nvml, index: u32) -> GpuStatus {
    let lost = |error: NvmlError| GpuStatus {
        index,
        problem: Some(why_not(&error)),
        ..GpuStatus::default()
    };
    match nvml.device_by_index(index) {
        Ok(device) => read_device(&device, index).unwrap_or_else(lost),
        Err(error) => lost(error),
    }
}

/// What happens most is said in the words of the driver's own tools.
fn why_not(error: &NvmlError) -> String {
    match error {
        NvmlError::GpuLost => "it has fallen off the bus; reset it or restart the host".to_owned(),
        error => error.to_string(),
    }
}

fn read_device(device: &Device<'_>, index: u32) -> Result<GpuStatus, NvmlError> {
    let memory = device.memory_info();
    let utilization = device.utilization_rates().ok();
    let problem = match &memory {
        Err(error) => Some(why_not(error)),
        Ok(_) if is_divided(device) => Some("it is divided into MIG instances".to_owned()),
        Ok(_) => None,
    };
    let memory = memory.ok();
    Ok(GpuStatus {
        index,
        uuid: device.uuid()?,
        name: device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned()),
        memory_used: memory.as_ref().map(|memory| memory.total.saturating_sub(memory.free)),
        memory_total: memory.as_ref().map(|memory| memory.total),
        utilization: utilization.map(|busy| f64::from(busy.gpu) / 100.0),
        processes: processes(device).ok(),
        problem,
    })
}

/// The UUID of a GPU that is divided names nothing that CUDA could compute on.
fn is_divided(device: &Device<'_>) -> bool {
    device.mig_mode().is_ok_and(|mode| mode.current != 0)
}

fn processes(device: &Device<'_>) -> Result<Vec<u32>, NvmlError> {
    let processes = match device.running_compute_processes() {
        // Drivers before 510 have an older form of the question only.
        Err(NvmlError::FailedToLoadSymbol(_)) => device.running_compute_processes_v2()?,
        other => other?,
    };
    Ok(processes.into_iter().map(|process| process.pid).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_driver_that_hangs_costs_a_limited_wait_and_then_none() {
        // Nobody serves, as if the thread hung in the driver.
        let (gpus, asked) = Gpus::new();
        for _ in 0..WAITING {
            let note = gpus.read_within(Duration::from_millis(1)).await.note;
            assert_eq!(note.as_deref(), Some("the NVIDIA driver did not answer within 0 s"));
        }
        assert_eq!(gpus.read().await.note.as_deref(), Some("the NVIDIA driver hangs"));
        drop(asked);
        assert_eq!(gpus.read().await.note.as_deref(), Some("the GPUs are no longer read"));
    }

    #[tokio::test]
    async fn a_late_reader_is_not_read_for_and_the_next_one_is() {
        let (gpus, asked) = Gpus::new();
        let (gone, answer) = oneshot::channel();
        drop(answer);
        gpus.requests.try_send(gone).unwrap();
        let thread = std::thread::Builder::new().spawn(move || serve(asked)).unwrap();
        // Whatever this host has: there are GPUs, or a reason why there are none.
        let reading = gpus.read().await;
        assert_eq!(reading.gpus.is_empty(), reading.note.is_some(), "{reading:?}");
        drop(gpus);
        thread.join().unwrap();
    }
}
