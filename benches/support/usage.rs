//! What work costs: time on a core, and memory.

use std::time::Duration;

use anyhow::Context as _;

/// Returns the CPU time that the work took, in this thread and in processes that it waited for.
pub(crate) fn timed(mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let before = cpu_time()?;
    work()?;
    Ok(cpu_time()?.saturating_sub(before))
}

/// Sources: `/proc/thread-self/schedstat` (nanoseconds on a core) and fields 16 and 17 of
/// `/proc/self/stat` (ended children, in ticks of 10 ms).
fn cpu_time() -> anyhow::Result<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let own = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let own = own.split_ascii_whitespace().next().context("an empty schedstat")?.parse()?;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').context("a stat without a name")?;
    let ticks: Result<Vec<u32>, _> =
        fields.split_ascii_whitespace().skip(13).take(2).map(str::parse).collect();
    Ok(Duration::from_nanos(own) + TICK * ticks?.iter().sum())
}

/// Prints the best and the median speed of several rounds.
pub(crate) fn print_row(what: &str, mut times: Vec<Duration>, bytes: u64) {
    times.sort();
    let speed = |time: Option<&Duration>| {
        #[expect(clippy::cast_precision_loss, reason = "a file has fewer than 2^52 bytes")]
        let bytes = bytes as f64;
        time.map_or(0.0, |time| bytes / time.as_secs_f64() / 1e9)
    };
    let (best, median) = (speed(times.first()), speed(times.get(times.len() / 2)));
    println!("{what:<34} {best:>5.2} GB/s {median:>5.2} GB/s");
}

/// Returns the most memory that this process ever had, in bytes.
pub(crate) fn peak_memory() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    Ok(kilobytes.context("no VmHWM in /proc/self/status")?.parse::<u64>()? << 10)
}
