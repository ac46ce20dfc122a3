//! How fast a console full of progress frames is read, beside `grep`, `rg` and `tr` on the same file.
//!
//! `cargo bench --bench shell_log [MEGABYTES]` writes one log (1,070 MB by default: ten million
//! frames, a metric dictionary every thousand, as tqdm's `write` prints it), reads it once so that it
//! is in memory, and then measures in turn, each several times in this one run: the log as the daemon
//! reads it, `grep -c`, `rg -c` where it is installed, and `tr` with `grep -c` behind it. The table
//! has the best and the median of each, in GB for each second of CPU time, and how much memory reading
//! took beyond what the program had.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench reads clocks and files and prints what it measured"
)]

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use runscribe::parse::shell_log::{LogReader, Thresholds};
use usage::{peak_memory, print_row, timed};

#[path = "support/usage.rs"]
mod usage;

/// Bytes that the daemon reads at once.
const CHUNK: usize = 256 << 10;
const FRAMES_PER_METRIC: u64 = 1_000;
const ROUNDS: usize = 5;
const NEEDLE: &str = "'loss'";

fn main() -> anyhow::Result<()> {
    let megabytes: u64 =
        std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_070);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shell_bench.log");
    let (frames, bytes) = write(&path, megabytes * 1_000_000)?;
    io::copy(&mut File::open(&path)?, &mut io::sink())?;
    println!("{bytes} bytes, {frames} frames, {ROUNDS} rounds, warm\n");
    let before = peak_memory()?;
    let mut rows: Vec<(&str, Vec<Duration>)> = vec![("runscribe", Vec::new())];
    let tools: Vec<_> = [("grep -c", "grep"), ("rg -c", "rg"), ("tr | grep -c", "tr")]
        .into_iter()
        .filter(|(what, program)| is_there(program) || says_absent(what))
        .collect();
    rows.extend(tools.iter().map(|(what, _)| (*what, Vec::new())));
    for _ in 0..ROUNDS {
        for (what, times) in &mut rows {
            times.push(timed(|| match *what {
                "runscribe" => read(&path, frames),
                "tr | grep -c" => translate_and_count(&path, frames),
                other => count(other.split(' ').next().unwrap_or(other), &path, frames),
            })?);
        }
    }
    let grown = peak_memory()?.saturating_sub(before);
    println!("{:<34} {:>10} {:>10}", "figure: a shell log read", "best", "median");
    for (what, times) in rows {
        print_row(&format!("figure: {what}"), times, bytes);
    }
    println!("figure: peak memory grew by {} kB", grown >> 10);
    Ok(())
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn says_absent(what: &str) -> bool {
    println!("not measured, because it is not installed: {what}");
    false
}

/// Writes whole groups of frames, each with a metric behind it; gives how many frames and bytes.
fn write(path: &Path, wanted: u64) -> anyhow::Result<(u64, u64)> {
    let total = wanted / 107 / FRAMES_PER_METRIC * FRAMES_PER_METRIC;
    let mut file = BufWriter::new(File::create(path)?);
    for step in 1..=total {
        frame(&mut file, step, total)?;
        if step % FRAMES_PER_METRIC == 0 {
            write!(
                file,
                "\r{:70}\r{{'loss': {}.5, 'grad_norm': 2.29, 'epoch': 0.02}}\n\r",
                "",
                step % 9
            )?;
            frame(&mut file, step, total)?;
        }
    }
    let file = file.into_inner()?;
    file.sync_all()?;
    Ok((total, file.metadata()?.len()))
}

/// Prints a bar as tqdm does on a wide terminal.
fn frame(file: &mut impl Write, step: u64, total: u64) -> io::Result<()> {
    const WIDTH: usize = 30;
    let percent = step * 100 / total.max(1);
    let full = usize::try_from(percent).unwrap_or(WIDTH) * WIDTH / 100;
    let (seconds, left) = (step / 10, (total - step) / 10);
    let (bar, empty) = ("█".repeat(full), WIDTH - full);
    write!(
        file,
        "\r{percent:3}%|{bar}{:empty$}| {step}/{total} [{:02}:{:02}<{:02}:{:02},  9.55it/s]",
        "",
        seconds / 60,
        seconds % 60,
        left / 60,
        left % 60
    )
}

/// Reads the log as the daemon does, and holds it against what was written.
fn read(path: &Path, frames: u64) -> anyhow::Result<()> {
    let mut reader = LogReader::new(Thresholds { loss_factor: 1e9, grad_norm_factor: 1e9 });
    let mut file = File::open(path)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        reader.push(buffer.get(..length).unwrap_or_default());
    }
    let training = reader.reading().trainings.last().context("no training was read")?;
    let newest = training.metrics.last().context("no metric was read")?;
    let step = training.step;
    anyhow::ensure!(step.is_some_and(|step| step + 1 >= frames), "step {step:?} of {frames}");
    anyhow::ensure!(newest.line == frames / FRAMES_PER_METRIC, "line {} is the last", newest.line);
    Ok(())
}

fn count(program: &str, path: &Path, frames: u64) -> anyhow::Result<()> {
    let output = Command::new(program).args(["-c", NEEDLE]).arg(path).output()?;
    check_count(program, &output.stdout, frames)
}

fn translate_and_count(path: &Path, frames: u64) -> anyhow::Result<()> {
    let mut tr = Command::new("tr")
        .args(["\r", "\n"])
        .stdin(File::open(path)?)
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = tr.stdout.take().context("no output of tr")?;
    let output = Command::new("grep").args(["-c", NEEDLE]).stdin(lines).output()?;
    tr.wait()?;
    check_count("tr | grep", &output.stdout, frames)
}

fn check_count(program: &str, printed: &[u8], frames: u64) -> anyhow::Result<()> {
    let found: u64 = String::from_utf8_lossy(printed).trim().parse()?;
    let expected = frames / FRAMES_PER_METRIC;
    anyhow::ensure!(found == expected, "{program} counted {found} instead of {expected}");
    Ok(())
}
