//! A full scan of many checkpoint folders that are known already, beside `find` on the same tree in
//! the same run; and its cost against the number of runs.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a bench"
)]

#[path = "support/tree.rs"]
mod tree;

use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use regex::Regex;
use runscribe::model::checkpoint::TrainingFolder;
use runscribe::watch::{ScanSettings, Scanner};

use tree::Tree;

/// Checkpoints of each run.
const PER_RUN: u64 = 20;

/// Scans everything, as the daemon does twice a minute, and returns how many checkpoints there are.
fn scan(scanner: &mut Scanner) -> usize {
    let TrainingFolder::Listed { runs, .. } = scanner.list_training_folder() else {
        panic!("the training folder cannot be listed");
    };
    let now = Timestamp::now();
    runs.iter().map(|(run, _)| scanner.scan_run(run, now).unwrap().checkpoints.len()).sum()
}

fn find(tree: &Tree) -> bool {
    let mut find = Command::new("find");
    find.arg(tree.training()).args(["-type", "d"]).stdout(Stdio::null());
    find.status().is_ok_and(|status| status.success())
}

fn reconcile(criterion: &mut Criterion) {
    for checkpoints in [20_000_u64, 100_000] {
        let runs = usize::try_from(checkpoints / PER_RUN).unwrap();
        eprintln!("making {checkpoints} checkpoints …");
        let tree = Tree::with_runs(runs, PER_RUN).unwrap();
        // Files that changed just now are read again until their times can be believed.
        std::thread::sleep(Duration::from_secs(3));
        let mut scanner = scanner(&tree);
        assert_eq!(scan(&mut scanner) as u64, checkpoints);
        let mut group = criterion.benchmark_group("reconcile");
        group.sample_size(10).throughput(Throughput::Elements(checkpoints));
        scanner.list_anew(false);
        group.bench_function(BenchmarkId::new("runscribe", checkpoints), |bencher| {
            bencher.iter(|| scan(&mut scanner));
        });
        scanner.list_anew(true);
        group.bench_function(BenchmarkId::new("runscribe, network", checkpoints), |bencher| {
            bencher.iter(|| scan(&mut scanner));
        });
        group.bench_function(BenchmarkId::new("find -type d", checkpoints), |bencher| {
            bencher.iter(|| assert!(find(&tree), "`find` is needed to compare with"));
        });
        group.finish();
    }
}

/// The same number of checkpoints per run, more and more runs: the time per checkpoint stays.
fn against_the_number_of_runs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reconcile by runs");
    for runs in [125, 250, 500, 1000, 2000] {
        let tree = Tree::with_runs(runs, PER_RUN).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        let mut scanner = scanner(&tree);
        scan(&mut scanner);
        scanner.list_anew(false);
        group.sample_size(10).throughput(Throughput::Elements(runs as u64 * PER_RUN));
        group.bench_function(BenchmarkId::from_parameter(runs), |bencher| {
            bencher.iter(|| scan(&mut scanner));
        });
    }
    group.finish();
}

fn scanner(tree: &Tree) -> Scanner {
    Scanner::new(ScanSettings {
        training: tree.training(),
        run_pattern: Regex::new(r"_\d{8}_\d{6}$").unwrap(),
        settle: Duration::from_secs(2),
    })
}

criterion_group!(benches, reconcile, against_the_number_of_runs);
criterion_main!(benches);
