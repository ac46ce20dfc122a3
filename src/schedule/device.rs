//! Where an analysis computes: on a GPU that nobody needs, else on the CPU.

use std::collections::BTreeSet;

use crate::model::device::DeviceChoice;
use crate::model::status::{GpuReading, GpuStatus};
use crate::settings::Device;

/// Memory in use on a GPU on which no process is visible, in bytes: beyond this somebody computes
/// there whom this user cannot see (another container's process has no id here). A driver keeps
/// some hundred megabytes for itself.
const UNSEEN_USE: u64 = 2 << 30;

/// Chooses the device for an analysis that starts now.
///
/// The GPU is the trainer's: `auto` takes one without any compute process, with `min_free` bytes
/// free, and not `leased` to another analysis, whose process may not be visible yet; among several
/// the one with the most free memory, then the highest number, because training begins at 0. A GPU
/// is handed on by UUID: CUDA numbers devices in another order than the driver.
pub fn choose(
    wish: Device,
    min_free: u64,
    reading: &GpuReading,
    leased: &BTreeSet<String>,
) -> DeviceChoice {
    match wish {
        Device::Cpu => cpu("as configured"),
        Device::Cuda(number) => configured(number, reading),
        Device::Auto => {
            let refusals: Vec<Result<&GpuStatus, String>> = reading
                .gpus
                .iter()
                .map(|gpu| match why_not(gpu, min_free, leased) {
                    None => Ok(gpu),
                    Some(why) => Err(format!("GPU {} {why}", gpu.index)),
                })
                .collect();
            let free = refusals.iter().filter_map(|one| one.as_ref().ok());
            match free.max_by_key(|gpu| (free_memory(gpu), gpu.index)) {
                Some(gpu) => this(gpu, &format!("nobody computes on it, {} free", free_text(gpu))),
                None => cpu(&no_gpu(reading, refusals)),
            }
        }
    }
}

/// Chooses the device for an evaluation that starts now: as for an analysis, but a GPU on which anybody
/// computes is refused also where it was asked for by its number, and where all GPUs are in use the
/// CPU is no way out. An evaluation trains for hours.
///
/// # Errors
/// Says who uses the GPU, and what to do.
pub fn for_evaluation(
    wish: Device,
    min_free: u64,
    reading: &GpuReading,
) -> Result<DeviceChoice, String> {
    let nobody = BTreeSet::new();
    let choice = choose(wish, min_free, reading, &nobody);
    let by_number = |number: u32| {
        let gpu = reading.gpus.iter().find(|gpu| gpu.index == number)?;
        Some(format!("GPU {number} {}", why_not(gpu, min_free, &nobody)?))
    };
    let refusal = match wish {
        Device::Cpu => None,
        Device::Cuda(number) if choice.gpu.is_some() => by_number(number),
        Device::Auto if choice.gpu.is_some() || reading.gpus.is_empty() => None,
        Device::Cuda(_) | Device::Auto => {
            Some(choice.reason.strip_prefix("cpu: ").unwrap_or(&choice.reason).to_owned())
        }
    };
    match refusal {
        None => Ok(choice),
        Some(why) => Err(format!("{why}; wait for it, or evaluate with `--device cpu`")),
    }
}

/// Returns the device of the embedded probe.
pub fn for_probe() -> DeviceChoice {
    cpu("the embedded probe needs no GPU")
}

fn no_gpu(reading: &GpuReading, refusals: Vec<Result<&GpuStatus, String>>) -> String {
    if reading.gpus.is_empty() {
        return reading.note.clone().unwrap_or_else(|| "there is no GPU".to_owned());
    }
    refusals.into_iter().filter_map(Result::err).collect::<Vec<_>>().join("; ")
}

/// Says why a GPU must be left alone.
fn why_not(gpu: &GpuStatus, min_free: u64, leased: &BTreeSet<String>) -> Option<String> {
    if let Some(problem) = &gpu.problem {
        return Some(format!("cannot be used ({problem})"));
    }
    if leased.contains(&gpu.uuid) {
        return Some("is taken by another analysis".to_owned());
    }
    match gpu.processes.as_deref() {
        None => return Some("does not say who uses it".to_owned()),
        Some([]) => {}
        Some([process]) => return Some(format!("is used by process {process}")),
        Some(processes) => return Some(format!("is used by {} processes", processes.len())),
    }
    let Some(free) = free_memory(gpu) else {
        return Some("does not say how much memory is free".to_owned());
    };
    if free < min_free {
        return Some(format!("has only {} of {} free", free_text(gpu), gibibytes(min_free)));
    }
    let used = gpu.memory_used.unwrap_or_default();
    let by_whom = "in use by processes that are not visible from here";
    (used > UNSEEN_USE).then(|| format!("has {} {by_whom}", gibibytes(used)))
}

fn free_memory(gpu: &GpuStatus) -> Option<u64> {
    Some(gpu.memory_total?.saturating_sub(gpu.memory_used?))
}

fn free_text(gpu: &GpuStatus) -> String {
    free_memory(gpu).map_or_else(|| "an unknown amount".to_owned(), gibibytes)
}

/// Prints bytes with one decimal, rounded down, so that less never looks like enough.
fn gibibytes(bytes: u64) -> String {
    let tenths = u128::from(bytes) * 10 / (1 << 30);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// A configured number is the driver's, as `nvidia-smi` shows it. Who configures a number knows
/// who else computes there, so nothing but its existence is asked.
fn configured(number: u32, reading: &GpuReading) -> DeviceChoice {
    let hit = reading.gpus.iter().find(|gpu| gpu.index == number);
    match hit {
        Some(gpu) if !gpu.uuid.is_empty() => this(gpu, "as configured"),
        Some(gpu) => {
            let problem = gpu.problem.as_deref().unwrap_or("it has no UUID");
            cpu(&format!("cuda:{number} is configured and cannot be used ({problem})"))
        }
        None if reading.gpus.is_empty() => {
            let note = reading.note.as_deref().unwrap_or("there is no GPU");
            cpu(&format!("cuda:{number} is configured: {note}"))
        }
        None => cpu(&format!(
            "cuda:{number} is configured and there are only {} GPUs",
            reading.gpus.len()
        )),
    }
}

fn this(gpu: &GpuStatus, why: &str) -> DeviceChoice {
    DeviceChoice {
        environment: vec![visible(&gpu.uuid)],
        reason: format!("cuda:{} ({}, {}): {why}", gpu.index, gpu.name, gpu.uuid),
        gpu: Some(gpu.uuid.clone()),
    }
}

fn cpu(why: &str) -> DeviceChoice {
    let reason = format!("cpu: {why}");
    DeviceChoice { environment: vec![visible("")], reason, gpu: None }
}

fn visible(devices: &str) -> (String, String) {
    ("CUDA_VISIBLE_DEVICES".to_owned(), devices.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn gpu(index: u32, free: u64, processes: &[u32]) -> GpuStatus {
        GpuStatus {
            index,
            uuid: format!("GPU-{index}"),
            name: "NVIDIA A100".to_owned(),
            memory_used: Some(40 * GIB - free),
            memory_total: Some(40 * GIB),
            utilization: Some(0.0),
            processes: Some(processes.to_vec()),
            problem: None,
        }
    }

    fn reading(gpus: Vec<GpuStatus>) -> GpuReading {
        GpuReading { gpus, note: None }
    }

    #[track_caller]
    fn check(wish: Device, gpus: Vec<GpuStatus>, visible: &str, reason: &str) {
        let choice = choose(wish, 4 * GIB, &reading(gpus), &BTreeSet::new());
        assert_eq!(choice.reason, reason);
        let expected = ("CUDA_VISIBLE_DEVICES".to_owned(), visible.to_owned());
        assert_eq!(choice.environment, [expected]);
        assert_eq!(choice.gpu.as_deref().unwrap_or_default(), visible);
    }

    #[test]
    fn auto_takes_a_gpu_that_nobody_computes_on() {
        let why = "nobody computes on it, 39.5 GiB free";
        check(
            Device::Auto,
            vec![gpu(0, 30 * GIB, &[4711]), gpu(1, 39 * GIB + GIB / 2, &[])],
            "GPU-1",
            &format!("cuda:1 (NVIDIA A100, GPU-1): {why}"),
        );
    }

    #[test]
    fn among_free_gpus_the_most_memory_wins_and_then_the_highest_number() {
        let choose = |gpus| choose(Device::Auto, GIB, &reading(gpus), &BTreeSet::new()).gpu;
        let free = |index, gib| gpu(index, gib * GIB, &[]);
        assert_eq!(choose(vec![free(0, 40), free(1, 39)]).as_deref(), Some("GPU-0"));
        assert_eq!(choose(vec![free(0, 40), free(1, 40), free(2, 39)]).as_deref(), Some("GPU-1"));
    }

    #[test]
    fn auto_leaves_used_full_failing_and_silent_gpus_alone_and_says_why() {
        let failing = GpuStatus {
            index: 3,
            problem: Some("device fell off the bus".to_owned()),
            ..GpuStatus::default()
        };
        let silent = GpuStatus { processes: None, ..gpu(4, 40 * GIB, &[]) };
        let gpus = vec![
            gpu(0, 40 * GIB, &[1, 2]),
            gpu(1, 39 * GIB, &[7]),
            gpu(2, 4 * GIB - 1, &[]),
            failing,
            silent,
            gpu(5, 20 * GIB, &[]),
        ];
        check(
            Device::Auto,
            gpus,
            "",
            "cpu: GPU 0 is used by 2 processes; GPU 1 is used by process 7; GPU 2 has only 3.9 GiB \
             of 4.0 GiB free; GPU 3 cannot be used (device fell off the bus); GPU 4 does not say \
             who uses it; GPU 5 has 20.0 GiB in use by processes that are not visible from here",
        );
    }

    #[test]
    fn exactly_the_wanted_memory_is_enough() {
        let small =
            GpuStatus { memory_total: Some(4 * GIB), memory_used: Some(0), ..gpu(0, 0, &[]) };
        let choice = choose(Device::Auto, 4 * GIB, &reading(vec![small]), &BTreeSet::new());
        assert_eq!(choice.gpu.as_deref(), Some("GPU-0"));
    }

    #[test]
    fn a_gpu_that_another_analysis_was_given_is_not_given_twice() {
        let leased = BTreeSet::from(["GPU-0".to_owned()]);
        let choice = choose(Device::Auto, 4 * GIB, &reading(vec![gpu(0, 40 * GIB, &[])]), &leased);
        assert_eq!(choice.reason, "cpu: GPU 0 is taken by another analysis");
    }

    #[test]
    fn without_a_driver_it_is_the_cpu_with_the_drivers_reason() {
        let none = GpuReading { gpus: Vec::new(), note: Some("no NVIDIA driver".to_owned()) };
        for (wish, reason) in [
            (Device::Auto, "cpu: no NVIDIA driver"),
            (Device::Cuda(1), "cpu: cuda:1 is configured: no NVIDIA driver"),
            (Device::Cpu, "cpu: as configured"),
        ] {
            assert_eq!(choose(wish, 0, &none, &BTreeSet::new()).reason, reason);
        }
        assert_eq!(
            choose(Device::Auto, 0, &reading(Vec::new()), &BTreeSet::new()).reason,
            "cpu: there is no GPU"
        );
    }

    #[test]
    fn a_configured_number_is_the_drivers_and_is_taken_whoever_uses_it() {
        let busy = || vec![gpu(0, 40 * GIB, &[]), gpu(1, GIB, &[9])];
        check(Device::Cuda(1), busy(), "GPU-1", "cuda:1 (NVIDIA A100, GPU-1): as configured");
        check(Device::Cpu, busy(), "", "cpu: as configured");
        check(Device::Cuda(2), busy(), "", "cpu: cuda:2 is configured and there are only 2 GPUs");
        let lost = GpuStatus { index: 0, problem: Some("lost".to_owned()), ..GpuStatus::default() };
        check(
            Device::Cuda(0),
            vec![lost],
            "",
            "cpu: cuda:0 is configured and cannot be used (lost)",
        );
    }

    #[test]
    fn an_evaluation_never_takes_a_gpu_that_somebody_uses() {
        let choose = |wish, gpus| {
            let chosen = for_evaluation(wish, 4 * GIB, &reading(gpus));
            chosen.map(|choice| choice.gpu.unwrap_or_else(|| choice.reason.clone()))
        };
        let used = || gpu(0, 30 * GIB, &[4711]);
        assert_eq!(choose(Device::Auto, vec![used(), gpu(1, 39 * GIB, &[])]), Ok("GPU-1".into()));
        let refused = choose(Device::Auto, vec![used()]).unwrap_err();
        assert!(refused.starts_with("GPU 0 is used by process 4711; wait"), "{refused}");
        assert_eq!(choose(Device::Cuda(0), vec![used()]), Err(refused));
        let missing = choose(Device::Cuda(3), vec![used()]).unwrap_err();
        assert!(missing.starts_with("cuda:3 is configured and there are only 1 GPUs"), "{missing}");
        assert_eq!(choose(Device::Cpu, vec![used()]), Ok("cpu: as configured".into()));
        assert_eq!(choose(Device::Auto, vec![]), Ok("cpu: there is no GPU".into()));
    }
}
