//! How soon the daemon sees a complete checkpoint and starts its analysis, how many it misses under
//! a flood, and what it costs while nothing happens: the real program, measured from outside.
//!
//! `cargo bench --bench detection [-- latency|flood|storm|idle|growth]`. In `latency`, `inotifywait` (if
//! it is installed) and a poller that looks once a second watch the same folder in the same run.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a bench"
)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/tree.rs"]
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use daemon::Daemon;
use tree::{Tree, run_name, write_checkpoint};

/// Checkpoints that are saved one after the other.
const SINGLE: u64 = 200;
/// Checkpoints of the flood.
const FLOOD: usize = 3000;
/// How long the idle daemon is watched.
const IDLE: Duration = Duration::from_mins(1);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, rest @ ..] = arguments.as_slice()
        && word == "--stamp"
    {
        return analyze(rest);
    }
    let asked = |name: &str| {
        let mut names = arguments.iter().filter(|one| !one.starts_with('-')).peekable();
        names.peek().is_none() || names.any(|one| one == name)
    };
    if asked("latency") {
        latency();
    }
    if asked("flood") {
        flood();
    }
    if asked("storm") {
        storm();
    }
    if asked("idle") {
        idle();
    }
    if asked("growth") {
        growth();
    }
}

/// The program that stands for the analysis: writes down when it began, and a healthy report.
fn analyze(arguments: &[String]) {
    let now = nanoseconds();
    let [stamps, run, step, checkpoint, output] = arguments else { panic!("{arguments:?}") };
    let mut stamps = fs::File::options().create(true).append(true).open(stamps).unwrap();
    // At once: others read along.
    stamps.write_all(format!("{run}/{step} {now}\n").as_bytes()).unwrap();
    let report = serde_json::json!({
        "model_path": checkpoint, "model_type": "diffusion_mlm", "n_batches": 20,
        "n_samples": 320, "max_concept_similarity": 0.7389, "mean_concept_similarity": 0.2286,
        "global_effective_rank": 20.0, "global_effective_rank_normalized": 0.3125,
    });
    fs::write(output, report.to_string()).unwrap();
}

/// Returns the time in nanoseconds since 1970, which all processes share.
fn nanoseconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

/// Times by checkpoint, as `<run id>/<step>`.
type Times = BTreeMap<String, u64>;

/// Makes a project whose analysis is this program as `--stamp`, and which has no experiment log to
/// write into.
fn project() -> Tree {
    let tree = Tree::new().unwrap();
    configure(&tree);
    tree
}

fn configure(tree: &Tree) {
    let own = std::env::current_exe().unwrap();
    let text = format!(
        "[analysis]\ncommand = [\"{}\", \"--stamp\", \"{{root}}/stamps\", \"{{run_id}}\", \
         \"{{step}}\", \"{{checkpoint}}\", \"{{output_json}}\"]\n[log]\nobservations = false\nfill_run_row = false\nadd_missing_rows = \
         false\nfailure_notes = false\n",
        own.display()
    );
    fs::write(tree.root().join("runscribe.toml"), text).unwrap();
}

fn stamps(tree: &Tree) -> Times {
    let text = fs::read_to_string(tree.root().join("stamps")).unwrap_or_default();
    let times = text.lines().filter_map(|line| line.split_once(' '));
    times.map(|(name, time)| (name.to_owned(), time.parse().unwrap())).collect()
}

/// Waits until a condition holds, for a minute at most.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(1));
    }
    panic!("waited in vain for {what}");
}

/// Prints quantiles of the time from each close to what followed it.
fn print_delays(what: &str, closed: &Times, seen: &Times) {
    let mut delays: Vec<f64> = closed
        .iter()
        .filter_map(|(name, closed)| Some(seen.get(name)?.saturating_sub(*closed) as f64 / 1e6))
        .collect();
    delays.sort_by(f64::total_cmp);
    let missed = closed.len() - delays.len();
    if delays.is_empty() {
        return println!("  {what:<44} none of {} seen", closed.len());
    }
    let quantile = |share: f64| delays[((delays.len() - 1) as f64 * share).round() as usize];
    println!(
        "  {what:<44} p50 {:>9.2} ms   p99 {:>9.2} ms   max {:>9.2} ms   missed {missed}",
        quantile(0.5),
        quantile(0.99),
        quantile(1.0),
    );
}

/// One checkpoint at a time on an idle host.
fn latency() {
    println!("{SINGLE} checkpoints, one at a time, last file closed →");
    let tree = project();
    let run = tree.training().join(run_name(0));
    write_checkpoint(&run, 1_000_000, 1).unwrap();
    let daemon = Daemon::start(&tree.root());
    wait_until("the first analysis", || stamps(&tree).len() == 1);
    let others = Others::start(&tree);
    let mut closed = Times::new();
    for step in 1..=SINGLE {
        write_checkpoint(&run, step, 1).unwrap();
        closed.insert(format!("{}/{step}", run_name(0)), nanoseconds());
        wait_until("an analysis", || stamps(&tree).len() as u64 == step + 1);
        // Spread over the poller's second.
        sleep(Duration::from_millis(step * 37 % 100));
    }
    sleep(Duration::from_secs(2));
    print_delays("analysis process runs (runscribe)", &closed, &stamps(&tree));
    drop(daemon);
    let (lines, polled) = others.stop();
    match lines {
        Some(lines) => print_delays("line from `inotifywait -m -r`", &closed, &lines),
        None => println!("  inotifywait is not installed"),
    }
    print_delays("seen by a poller once a second", &closed, &polled);
}

/// What a user would use instead.
struct Others {
    inotifywait: Option<Child>,
    lines: Arc<Mutex<Times>>,
    polled: Arc<Mutex<Times>>,
    stop: Arc<AtomicBool>,
}

impl Others {
    fn start(tree: &Tree) -> Self {
        let (lines, polled) = (Arc::default(), Arc::default());
        let stop = Arc::new(AtomicBool::new(false));
        let inotifywait = inotifywait(&tree.training(), &lines);
        let (folder, times, end) = (tree.training(), Arc::clone(&polled), Arc::clone(&stop));
        std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                poll(&folder, &times);
                sleep(Duration::from_secs(1));
            }
        });
        Self { inotifywait, lines, polled, stop }
    }

    fn stop(mut self) -> (Option<Times>, Times) {
        self.stop.store(true, Ordering::Relaxed);
        let lines = self.inotifywait.take().map(|mut child| {
            drop(child.kill());
            drop(child.wait());
            self.lines.lock().unwrap().clone()
        });
        let polled = self.polled.lock().unwrap().clone();
        (lines, polled)
    }
}

fn inotifywait(folder: &Path, lines: &Arc<Mutex<Times>>) -> Option<Child> {
    let mut command = Command::new("inotifywait");
    command.args(["-m", "-r", "-q", "-e", "close_write", "--format", "%w%f"]).arg(folder);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let (output, lines) = (child.stdout.take()?, Arc::clone(lines));
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let now = nanoseconds();
            note(&lines, Path::new(&line), now);
        }
    });
    sleep(Duration::from_millis(500));
    Some(child)
}

/// Takes the time at which a trainer state was seen, the first one only.
fn note(times: &Mutex<Times>, path: &Path, now: u64) {
    let names: Vec<&str> = path.iter().rev().filter_map(|name| name.to_str()).take(3).collect();
    if let ["trainer_state.json", checkpoint, run] = names.as_slice()
        && let Some(step) = checkpoint.strip_prefix("checkpoint-")
    {
        times.lock().unwrap().entry(format!("{run}/{step}")).or_insert(now);
    }
}

fn poll(training: &Path, times: &Mutex<Times>) {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        let listed = fs::read_dir(folder).into_iter().flatten();
        listed.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    for checkpoint in entries(training).iter().flat_map(|run| entries(run)) {
        let state = checkpoint.join("trainer_state.json");
        if state.exists() {
            note(times, &state, nanoseconds());
        }
    }
}

/// Writes the flood with two writers and returns when each checkpoint was closed.
fn write_flood(tree: &Tree) -> Times {
    let closed = Mutex::new(Times::new());
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let closed = &closed;
            scope.spawn(move || {
                for number in (writer..FLOOD).step_by(2) {
                    let run = run_name(number % 20);
                    let step = number as u64 + 1;
                    write_checkpoint(&tree.training().join(&run), step, 1).unwrap();
                    let now = nanoseconds();
                    closed.lock().unwrap().insert(format!("{run}/{step}"), now);
                }
            });
        }
    });
    closed.into_inner().unwrap()
}

/// Writes into a file without a pause until told to stop.
fn write_without_pause(path: PathBuf, stop: &AtomicBool) {
    let mut log = fs::File::options().create(true).append(true).open(path).unwrap();
    let line = b"{'loss': 8.6391, 'grad_norm': 2.29, 'learning_rate': 0.0002, 'epoch': 0.02}\n";
    while !stop.load(Ordering::Relaxed) {
        log.write_all(line).unwrap();
    }
}

/// As many checkpoints as two writers can make, and a storm in the given files beside.
fn flood_beside(title: &str, storm: impl Fn(&Tree) -> Vec<PathBuf>) {
    println!("{title}, last file closed →");
    let tree = project();
    let daemon = Daemon::start(&tree.root());
    let calm = AtomicBool::new(false);
    let (mut closed, mut seen) = (Times::new(), Times::new());
    std::thread::scope(|scope| {
        for path in storm(&tree) {
            let calm = &calm;
            scope.spawn(move || write_without_pause(path, calm));
        }
        let writing = scope.spawn(|| write_flood(&tree));
        daemon.follow(|event| {
            if event["kind"] == "checkpoint_complete" {
                let (run, name) = (event["run"].as_str().unwrap(), event["checkpoint"].as_str());
                let step = name.unwrap().trim_start_matches("checkpoint-");
                seen.entry(format!("{run}/{step}")).or_insert_with(nanoseconds);
            }
            seen.len() == FLOOD
        });
        calm.store(true, Ordering::Relaxed);
        closed = writing.join().unwrap();
    });
    print_delays("`checkpoint_complete` on the socket", &closed, &seen);
    let took = (seen.values().max().unwrap() - closed.values().min().unwrap()) as f64 / 1e9;
    println!(
        "  all {} detected after {took:.2} s; peak memory {} kB",
        seen.len(),
        daemon.kilobytes("VmHWM")
    );
    wait_until("all analyses", || stamps(&tree).len() == FLOOD);
    print_delays("analysis runs (one at a time, in the queue)", &closed, &stamps(&tree));
}

fn flood() {
    let title = format!("{FLOOD} checkpoints by two writers, and a log storm in `Cache/logs`");
    flood_beside(&title, |tree| vec![tree.root().join("Cache/logs/shell/shell_x.log")]);
}

/// The worst place for a log: two of them in watched folders.
fn storm() {
    let title =
        format!("{FLOOD} checkpoints by two writers, and two storms in the training folder");
    flood_beside(&title, |tree| {
        ["one.log", "other.log"].map(|name| tree.training().join(name)).to_vec()
    });
}

/// A thousand runs, and nothing happens.
fn idle() {
    let tree = Tree::with_runs(1000, 1).unwrap();
    configure(&tree);
    let daemon = Daemon::start(&tree.root());
    println!("1,000 runs of one checkpoint, idle:");
    println!("  first start to READY=1: {:.0} ms", daemon.ready_after.as_secs_f64() * 1e3);
    wait_until("all analyses", || stamps(&tree).len() == 1000);
    drop(daemon);
    let daemon = Daemon::start(&tree.root());
    println!("  start to READY=1, all known: {:.0} ms", daemon.ready_after.as_secs_f64() * 1e3);
    sleep(Duration::from_secs(5));
    print_use(&daemon, || sleep(IDLE));
}

/// A thousand old shell logs at rest, and one that grows by 1 MB in a second.
fn growth() {
    let tree = project();
    let logs = tree.root().join("Cache/logs");
    fs::create_dir_all(&logs).unwrap();
    let long_ago = SystemTime::now() - Duration::from_hours(240);
    for number in 0..1000 {
        let log = fs::File::create(logs.join(format!("shell_old_{number}.log"))).unwrap();
        (&log).write_all(format!("{{'loss': {number}.5, 'epoch': 1.0}}\n").as_bytes()).unwrap();
        log.set_modified(long_ago).unwrap();
    }
    let daemon = Daemon::start(&tree.root());
    sleep(Duration::from_secs(10));
    println!("1,000 shell logs at rest:");
    print_use(&daemon, || sleep(IDLE));
    println!("one of them grows by 1 MB in a second, in writes of about 100 bytes:");
    let mut log = fs::File::create(logs.join("shell_new.log")).unwrap();
    print_use(&daemon, || {
        let (begun, mut step) = (Instant::now(), 0_u64);
        while begun.elapsed() < IDLE {
            // A hundredth of a second's worth; now and then the line of metrics.
            for _ in 0..100 {
                step += 1;
                let bar = "█".repeat(20);
                write!(log, "\r 50%|{bar}| {step}/9999999 [00:02<00:02, 9.55it/s]").unwrap();
                if step.is_multiple_of(1000) {
                    writeln!(log, "\n{{'loss': 2.5, 'grad_norm': 1.5, 'epoch': 0.5}}").unwrap();
                }
            }
            let due = Duration::from_millis(step / 10);
            sleep(due.saturating_sub(begun.elapsed()));
        }
    });
    let written = log.metadata().unwrap().len() as f64 / 1e6;
    println!("  {written:.0} MB written; peak memory {} kB", daemon.kilobytes("VmHWM"));
}

/// Prints what a daemon uses while something goes on.
fn print_use(daemon: &Daemon, meanwhile: impl FnOnce()) {
    let (before, begun) = (daemon.cpu_time(), Instant::now());
    meanwhile();
    let (used, took) = (daemon.cpu_time().saturating_sub(before), begun.elapsed());
    println!(
        "  {:.2} % of a core over {took:.0?} ({used:?}); resident {} kB, of which {} kB are its own",
        used.as_secs_f64() / took.as_secs_f64() * 100.0,
        daemon.kilobytes("VmRSS"),
        daemon.kilobytes("RssAnon"),
    );
}
