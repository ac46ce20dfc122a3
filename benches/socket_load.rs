//! A thousand clients on the status socket of the real daemon, some of which take nothing: does every
//! other one get every event in order, how late, and what does it cost.
//!
//! `cargo bench --bench socket_load [-- CLIENTS EVENTS]`. Fails when a client misses an event, gets one
//! twice or is disconnected, or when the daemon needs more memory than the contract allows.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a bench"
)]

#[path = "support/daemon.rs"]
#[expect(dead_code, reason = "other benches need more of it")]
mod daemon;
#[path = "support/tree.rs"]
#[expect(dead_code, reason = "other benches need more of it")]
mod tree;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use runscribe::host;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{Barrier, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use daemon::Daemon;
use tree::{Tree, run_name, write_checkpoint};

/// One in this many clients takes nothing at all.
const STOPPED_SHARE: usize = 10;
/// Checkpoints that are saved one at a time, for the delay of single events.
const SINGLE: u64 = 100;
/// The pause between two of them.
const PAUSE: Duration = Duration::from_millis(60);
/// What the daemon may need with a thousand clients, in kB.
const MEMORY: u64 = 100_000;
/// Nothing takes this long where all is well.
const LIMIT: Duration = Duration::from_mins(5);

/// When a client got the event of which checkpoint.
type Receipt = (u64, Instant);

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|one| one.parse().ok()).collect();
    let clients = numbers.first().copied().unwrap_or(1000);
    let events = numbers.get(1).copied().unwrap_or(10_000) as u64;
    host::raise_open_files().unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Box::pin(load(clients, events)));
}

async fn load(clients: usize, events: u64) {
    let tree = Tree::new().unwrap();
    fs::write(tree.root().join("runscribe.toml"), "[analysis]\ncommand = [\"/bin/true\"]\n")
        .unwrap();
    let daemon = Daemon::start(&tree.root());
    let socket = tree.root().join("Cache/runscribe/status.sock");
    // Checkpoints are seen and not analyzed: one event each, as fast as they can be written.
    let mut asking = ask(&socket, "{\"command\":\"pause\"}").await;
    while !line(&mut asking).await.unwrap().contains("\"ok\":true") {}
    let before = daemon.kilobytes("VmRSS");

    let stopped_count = clients / STOPPED_SHARE;
    let mut stopped = Vec::new();
    for _ in 0..stopped_count {
        stopped.push(ask(&socket, "{}").await);
    }
    let (live, last) = (clients - stopped_count, SINGLE + events);
    let all_live = Arc::new(Barrier::new(live + 1));
    let (receipts, mut received) = mpsc::unbounded_channel();
    let mut readers = JoinSet::new();
    for _ in 0..live {
        let client = ask(&socket, "{}").await;
        readers.spawn(follow(client, last, Arc::clone(&all_live), receipts.clone()));
    }
    drop(receipts);
    timeout(LIMIT, all_live.wait()).await.unwrap();
    println!("{clients} clients, {stopped_count} of which take nothing");
    println!("  figure: memory {before} kB without, {} kB with them", daemon.kilobytes("VmRSS"));

    let training = tree.training();
    let saved = tokio::task::spawn_blocking(move || save(&training, events)).await.unwrap();
    timeout(LIMIT, async {
        while let Some(ended) = readers.join_next().await {
            ended.unwrap().unwrap();
        }
    })
    .await
    .unwrap();
    let took = saved.flood.elapsed();
    let mut got = Vec::new();
    while let Ok(receipt) = received.try_recv() {
        got.push(receipt);
    }
    print_delays(&saved.single, &got, live);
    println!(
        "  figure: {events} events to {live} clients in {:.1} s, each one whole and in order",
        took.as_secs_f64()
    );
    let memory = daemon.kilobytes("VmHWM");
    println!("  figure: peak memory of the daemon {memory} kB");
    assert!(memory <= MEMORY, "more than {MEMORY} kB");
    drop(stopped);
}

/// When checkpoints were saved.
struct Saved {
    /// The single ones, by step.
    single: Vec<Instant>,
    /// When the flood began.
    flood: Instant,
}

/// Saves checkpoints one at a time, then as many as fast as it goes.
fn save(training: &Path, flood: u64) -> Saved {
    let mut single = Vec::new();
    for step in 1..=SINGLE {
        std::thread::sleep(PAUSE);
        write_checkpoint(&training.join(run_name(0)), step, 0).unwrap();
        single.push(Instant::now());
    }
    std::thread::sleep(PAUSE * 10);
    let begun = Instant::now();
    for number in 0..flood {
        let run = run_name(1 + usize::try_from(number % 20).unwrap());
        write_checkpoint(&training.join(run), SINGLE + 1 + number, number % 20).unwrap();
    }
    Saved { single, flood: begun }
}

async fn ask(socket: &Path, request: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
    BufReader::new(stream)
}

async fn line(client: &mut BufReader<UnixStream>) -> Option<String> {
    let mut line = String::new();
    let count = timeout(LIMIT, client.read_line(&mut line)).await.unwrap().unwrap();
    (count > 0).then_some(line)
}

/// Reads until as many complete checkpoints were told as there are, and says what is wrong.
async fn follow(
    mut client: BufReader<UnixStream>,
    last: u64,
    all_live: Arc<Barrier>,
    receipts: mpsc::UnboundedSender<Receipt>,
) -> Result<(), String> {
    let (mut next, mut complete) = (0, 0);
    while complete < last {
        let Some(line) = line(&mut client).await else {
            return Err(format!("disconnected before event {next}"));
        };
        if line.starts_with("{\"type\":\"live\"") {
            next = number_after(&line, "\"seq\":") + 1;
            all_live.wait().await;
        } else if line.starts_with("{\"type\":\"event\"") {
            let seq = number_after(&line, "\"seq\":");
            if seq != next {
                return Err(format!("event {seq} in place of {next}"));
            }
            next += 1;
            if line.contains("\"kind\":\"checkpoint_complete\"") {
                complete += 1;
                let step = number_after(&line, "\"checkpoint\":\"checkpoint-");
                if step <= SINGLE {
                    receipts.send((step, Instant::now())).unwrap();
                }
            }
        } else if line.starts_with("{\"type\":\"gap\"") || line.starts_with("{\"type\":\"error\"") {
            return Err(line);
        }
    }
    Ok(())
}

fn number_after(line: &str, key: &str) -> u64 {
    let (_, rest) = line.split_once(key).unwrap();
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// Prints how long after a checkpoint's last file was closed its event was with the clients, and how
/// long after the first client the last one had it: the socket's own share.
fn print_delays(saved: &[Instant], got: &[Receipt], live: usize) {
    let (mut delays, mut spreads) = (Vec::new(), Vec::new());
    for (step, closed) in (1..).zip(saved) {
        let mut times: Vec<Instant> =
            got.iter().filter(|(other, _)| *other == step).map(|(_, time)| *time).collect();
        times.sort();
        assert_eq!(times.len(), live, "checkpoint {step}");
        let first = times.first().copied().unwrap();
        delays.extend(times.iter().map(|time| time.saturating_duration_since(*closed)));
        spreads.extend(times.iter().map(|time| time.saturating_duration_since(first)));
    }
    print_row("from the close of the last file to the event at a client", delays);
    print_row("from the first client that has an event to any other", spreads);
}

fn print_row(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |percent: usize| {
        let position = (times.len() * percent / 100).min(times.len() - 1);
        times.get(position).unwrap().as_secs_f64() * 1e3
    };
    println!("  figure: {what}: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", at(50), at(99), at(100));
}
