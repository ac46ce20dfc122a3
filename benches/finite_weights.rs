//! How fast weights are searched for NaN and Inf, beside `sha256sum` on the same file.
//!
//! `cargo bench --bench finite_weights [MEBIBYTES]` writes one safetensors file (512 MiB of F32 and
//! BF16 tensors by default), reads it once so that it is in memory, and then measures in turn, each
//! several times in this one run: the pass over a checkpoint's weights as the daemon makes it
//! (search and identity), the search alone, and `sha256sum`. The table has the best and the median
//! of each, in GB for each second of CPU time, which is what a host that trains pays, and how much
//! memory the pass took beyond what the program had.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a bench reads clocks and files and prints what it measured"
)]

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use runscribe::analyze::weights;
use runscribe::parse::finite::{FloatType, count_not_finite};
use usage::{peak_memory, print_row, timed};

#[path = "support/usage.rs"]
mod usage;

const NAME: &str = "model.safetensors";
const MEBIBYTE: usize = 1 << 20;
const ROUNDS: usize = 7;

fn main() -> anyhow::Result<()> {
    let size = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(512);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join(NAME);
    write(&path, size)?;
    let bytes = std::fs::metadata(&path)?.len();
    io::copy(&mut File::open(&path)?, &mut io::sink())?;
    println!("{bytes} bytes, {ROUNDS} rounds, warm\n");
    let mut pass = Vec::new();
    let mut search = Vec::new();
    let mut sha256sum = Vec::new();
    let before = peak_memory()?;
    for _ in 0..ROUNDS {
        pass.push(timed(|| {
            weights::read(folder.path(), &[NAME.to_owned()], &|| false)?;
            Ok(())
        })?);
        search.push(timed(|| search_alone(&path))?);
        sha256sum.push(timed(|| run_sha256sum(&path))?);
    }
    let grown = peak_memory()?.saturating_sub(before);
    println!("{:<34} {:>8} {:>8}", "", "best", "median");
    for (what, times) in [
        ("weights::read (search, identity)", pass),
        ("search for NaN and Inf alone", search),
        ("sha256sum", sha256sum),
    ] {
        print_row(what, times, bytes);
    }
    println!("\npeak memory grew by {} kB", grown >> 10);
    Ok(())
}

/// Writes two tensors of half the size each, in values as weights have them.
fn write(path: &Path, mebibytes: usize) -> anyhow::Result<()> {
    let half = mebibytes.max(2) / 2 * MEBIBYTE;
    let header = format!(
        "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[0,{half}]}},\
         \"b\":{{\"dtype\":\"BF16\",\"shape\":[{}],\"data_offsets\":[{half},{}]}}}}",
        half / 4,
        half / 2,
        2 * half
    );
    let mut file = File::create(path)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    // A linear congruential generator (Knuth's MMIX) gives bits; the exponent is kept ordinary.
    let mut state = 1_u64;
    let mut chunk = Vec::with_capacity(MEBIBYTE);
    for number in 0..2 * half / MEBIBYTE {
        chunk.clear();
        while chunk.len() < MEBIBYTE {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let high = u32::try_from(state >> 32)?;
            let is_f32 = number < half / MEBIBYTE;
            let value = if is_f32 { high & 0xbfff_ffff } else { high & 0xbfff_bfff };
            chunk.extend_from_slice(&value.to_le_bytes());
        }
        file.write_all(&chunk)?;
    }
    file.sync_all()?;
    Ok(())
}

/// What the pass does without the hash: the same chunks, the same count.
fn search_alone(path: &Path) -> anyhow::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        let chunk = buffer.get(..length).unwrap_or_default();
        std::hint::black_box(count_not_finite(FloatType::F32, chunk));
    }
    Ok(())
}

fn run_sha256sum(path: &Path) -> anyhow::Result<()> {
    let output = Command::new("sha256sum").arg(path).output().context("no sha256sum here")?;
    anyhow::ensure!(output.status.success(), "sha256sum failed");
    Ok(())
}
