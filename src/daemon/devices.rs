//! The devices that analyses may be given: the driver's reading, the choice, and who was given
//! which GPU.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::analyze::{ChooseDevice, DeviceHold};
use crate::engine::Event;
use crate::host::gpus::{self, Gpus};
use crate::model::device::DeviceChoice;
use crate::model::status::GpuReading;
use crate::schedule::device;
use crate::settings::{AnalysisSettings, Device};

use super::workers::Workers;

/// UUIDs of the GPUs that running analyses were given.
type Leased = Arc<Mutex<BTreeSet<String>>>;

/// What all choices share.
#[derive(Debug, Clone)]
pub(super) struct Devices {
    gpus: Gpus,
    leased: Leased,
    /// Where each choice is told.
    news: Option<mpsc::Sender<Event>>,
}

impl Devices {
    /// Has the GPUs read by a thread that the daemon owns.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(workers: &mut Workers, news: mpsc::Sender<Event>) -> anyhow::Result<Self> {
        let (gpus, asked) = Gpus::new();
        workers.spawn_looker("gpus", move || {
            gpus::serve(asked);
            Ok(())
        })?;
        Ok(Self { gpus, leased: Leased::default(), news: Some(news) })
    }

    /// Has the GPUs read by a thread that ends with this value, for a command.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn on_a_thread() -> std::io::Result<Self> {
        let (gpus, asked) = Gpus::new();
        std::thread::Builder::new().name("gpus".to_owned()).spawn(move || gpus::serve(asked))?;
        Ok(Self { gpus, leased: Leased::default(), news: None })
    }

    /// Returns what asks for readings.
    pub(super) fn gpus(&self) -> Gpus {
        self.gpus.clone()
    }

    /// Chooses the device for an analysis that would start now, and leases nothing for longer.
    pub(super) async fn choose(&self, settings: &AnalysisSettings, is_probe: bool) -> DeviceChoice {
        let (gpus, leased) = (self.gpus.clone(), Arc::clone(&self.leased));
        choose(settings.device, settings.min_free_gpu_memory, is_probe, gpus, leased).await.choice
    }

    /// Chooses the device for an evaluation that would start now.
    ///
    /// # Errors
    /// Says who uses the GPU, and what to do.
    pub(super) async fn choose_for_evaluation(
        &self,
        wish: Device,
        min_free: u64,
    ) -> Result<DeviceChoice, String> {
        let reading = match wish {
            Device::Cpu => GpuReading::default(),
            Device::Auto | Device::Cuda(_) => self.gpus.read().await,
        };
        device::for_evaluation(wish, min_free, &reading)
    }

    /// Returns how analyses under these settings choose.
    pub(super) fn chooser(&self, settings: &AnalysisSettings) -> ChooseDevice {
        let own = self.clone();
        let (wish, min_free) = (settings.device, settings.min_free_gpu_memory);
        Arc::new(move |order| {
            let own = own.clone();
            let (number, is_probe) = (order.number, order.program.is_probe);
            Box::pin(async move {
                let hold = choose(wish, min_free, is_probe, own.gpus, own.leased).await;
                let device = hold.choice.reason.clone();
                if let Some(news) = own.news
                    && news.try_send(Event::Placed { number, device }).is_err()
                {
                    // It stands in the event of the analysis' end as well.
                    tracing::debug!(number, "no room to say where an analysis computes");
                }
                hold
            })
        })
    }
}

async fn choose(
    wish: Device,
    min_free: u64,
    is_probe: bool,
    gpus: Gpus,
    leased: Leased,
) -> DeviceHold {
    if is_probe {
        return DeviceHold { choice: device::for_probe(), lease: Box::new(()) };
    }
    let reading = match wish {
        Device::Cpu => GpuReading::default(),
        Device::Auto | Device::Cuda(_) => gpus.read().await,
    };
    hold(wish, min_free, &reading, leased)
}

/// Chooses and leases in one step, so that two analyses that start together get two devices.
fn hold(wish: Device, min_free: u64, reading: &GpuReading, leased: Leased) -> DeviceHold {
    let mut taken = leased.lock().unwrap_or_else(PoisonError::into_inner);
    let choice = device::choose(wish, min_free, reading, &taken);
    // Whoever configures one GPU for analyses side by side means it; the lease is of the first.
    let gpu = choice.gpu.clone().filter(|gpu| taken.insert(gpu.clone()));
    drop(taken);
    DeviceHold { choice, lease: Box::new(Lease { gpu, leased }) }
}

/// Gives a GPU back when it is dropped.
struct Lease {
    gpu: Option<String>,
    leased: Leased,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(gpu) = &self.gpu {
            self.leased.lock().unwrap_or_else(PoisonError::into_inner).remove(gpu);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::GpuStatus;

    #[test]
    fn two_analyses_get_two_gpus_and_the_third_waits_for_none() {
        let gpu = |index| GpuStatus {
            index,
            uuid: format!("GPU-{index}"),
            memory_used: Some(0),
            memory_total: Some(8 << 30),
            processes: Some(Vec::new()),
            ..GpuStatus::default()
        };
        let reading = GpuReading { gpus: vec![gpu(0), gpu(1)], note: None };
        let leased = Leased::default();
        let choose = || hold(Device::Auto, 1 << 30, &reading, Arc::clone(&leased));
        let (first, second, third) = (choose(), choose(), choose());
        let gpu = |hold: &DeviceHold| hold.choice.gpu.clone();
        assert_eq!(gpu(&first).as_deref(), Some("GPU-1"));
        assert_eq!(gpu(&second).as_deref(), Some("GPU-0"));
        assert_eq!(gpu(&third), None);
        drop(first);
        assert_eq!(gpu(&choose()).as_deref(), Some("GPU-1"));
    }

    #[test]
    fn a_gpu_configured_for_two_stays_leased_until_the_first_ends() {
        let gpu = GpuStatus { uuid: "GPU-0".to_owned(), ..GpuStatus::default() };
        let reading = GpuReading { gpus: vec![gpu], note: None };
        let leased = Leased::default();
        let first = hold(Device::Cuda(0), 0, &reading, Arc::clone(&leased));
        let second = hold(Device::Cuda(0), 0, &reading, Arc::clone(&leased));
        assert_eq!(second.choice.gpu.as_deref(), Some("GPU-0"));
        drop(second);
        assert!(leased.lock().unwrap().contains("GPU-0"));
        drop(first);
        assert!(leased.lock().unwrap().is_empty());
    }
}
