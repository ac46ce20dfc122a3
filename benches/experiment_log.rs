//! One observation into experiment logs of three lengths, beside what a shell script would do.
//!
//! Run with `cargo bench --bench experiment_log`. `record` is everything between a decided
//! observation and a durable row: the journal's transactions, the edit, the replaced file.
//! `second look` is what follows two seconds later. `copy and sync` is `cat log > copy && sync copy`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a bench works on its own temporary folder and ends at the first failure"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use runscribe::model::journal::Transaction;
use runscribe::model::observation::{DocumentEdit, ObservationRow};
use runscribe::record::Now;
use runscribe::record::delivery::Delivery;
use runscribe::record::editing::Editor;
use runscribe::record::journal::Journal;
use runscribe::record::places::Places;
use runscribe::record::recorder::{Output, Recorder, Request};
use tempfile::TempDir;

const LENGTHS: [(&str, usize); 3] = [("10 kB", 10_000), ("1 MB", 1_000_000), ("10 MB", 10_000_000)];
const HEAD: &str = "# Master Experiment Log\n\nWhat we train, and what came of it.\n\n\
    ## Training Runs\n\n| Date | Run ID | Eff. Rank | Conclusion |\n|---|---|---|---|\n\n\
    ## Checkpoint Observations\n\n| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | \
    Max sim. | Eval loss | Verdict | Note |\n|---|---|---|---|---|---|---|---|---|\n";

/// Returns the number-th observation; one checkpoint is saved each second.
fn row(number: u64) -> ObservationRow {
    let (hours, minutes, seconds) = (number / 3600 % 24, number / 60 % 60, number % 60);
    let day = 1 + number / 86_400 % 28;
    ObservationRow {
        time: format!("2026-02-{day:02} {hours:02}:{minutes:02}:{seconds:02} +01:00"),
        run: format!("diffusion_H512L2C128D2_20260223_{:06}", number / 100),
        checkpoint: format!("checkpoint-{}", number % 100 * 500),
        rank: "10.1 / 128 (7.9%)".to_owned(),
        mean_similarity: "0.187".to_owned(),
        max_similarity: "1.000".to_owned(),
        eval_loss: "1.433".to_owned(),
        verdict: "pass".to_owned(),
        note: "duplicate concepts".to_owned(),
    }
}

/// Returns the observation's line of the log.
fn line(row: &ObservationRow) -> String {
    let code = |name: &str| format!("`{name}`");
    let cells = [
        row.time.clone(),
        code(&row.run),
        code(&row.checkpoint),
        row.rank.clone(),
        row.mean_similarity.clone(),
        row.max_similarity.clone(),
        row.eval_loss.clone(),
        row.verdict.clone(),
        row.note.clone(),
    ];
    format!("| {} |\n", cells.join(" | "))
}

/// A log of a project, a recorder that writes it, and a clock that is always far enough.
struct Desk {
    folder: TempDir,
    recorder: Recorder,
    now: Now,
    next: u64,
}

impl Desk {
    fn new(length: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut text = HEAD.to_owned();
        let mut next = 0;
        while text.len() < length {
            text += &line(&row(next));
            next += 1;
        }
        fs::write(folder.path().join("log.md"), text).unwrap();
        let (journal, _) = Journal::open(&folder.path().join("state"), 1_000).unwrap();
        let places = Places {
            root: folder.path().to_owned(),
            log: folder.path().join("log.md"),
            reports: folder.path().join("reports"),
            keeper: std::sync::Arc::new(runscribe::record::keeping::InPlace(|_| None)),
        };
        let now = Now::read();
        let delivery = Delivery::new(&journal, places, Editor::of_experiment_log(), now).unwrap();
        let mut desk = Self { folder, recorder: Recorder::new(journal, delivery), now, next };
        desk.settle();
        desk
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log.md")
    }

    /// Lets as much time pass as any wait needs, so that only work is measured.
    fn settle(&mut self) {
        loop {
            self.now.instant += Duration::from_secs(3);
            self.now.moment = self.now.moment.after(Duration::from_secs(3));
            if self.recorder.turn(self.now).wake.is_none() {
                return;
            }
        }
    }

    /// Records one observation until its row is durable.
    fn record(&mut self) {
        let documents = vec![DocumentEdit::ObservationRow(row(self.next))];
        let transaction = Transaction { documents, ..Transaction::default() };
        self.recorder.accept(Request::Commit { ticket: self.next, transaction });
        self.next += 1;
        self.recorder.turn(self.now);
        let turn = self.recorder.turn(self.now);
        let is_written = turn.outputs.iter().any(|output| matches!(output, Output::Recorded(_)));
        assert!(is_written, "the row was not written: {turn:?}");
    }
}

/// Measures one part of a round of `record` and second look, each round on the log that the round
/// before left.
fn timed(desk: &mut Desk, rounds: u64, of_record: bool) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        let begun = Instant::now();
        desk.record();
        let recorded = begun.elapsed();
        let begun = Instant::now();
        desk.settle();
        spent += if of_record { recorded } else { begun.elapsed() };
    }
    spent
}

fn copy_and_sync(desk: &Desk) {
    let copy = desk.folder.path().join("copy.md");
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat \"$1\" > \"$2\" && sync \"$2\"", "sh"]).arg(desk.log()).arg(copy);
    assert!(shell.status().unwrap().success(), "sh, cat and sync are needed");
}

fn one_observation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("one observation");
    group.sample_size(20);
    for (name, length) in LENGTHS {
        let mut desk = Desk::new(length);
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new("record", name), |bencher| {
            bencher.iter_custom(|rounds| timed(&mut desk, rounds, true));
        });
        group.bench_function(BenchmarkId::new("second look", name), |bencher| {
            bencher.iter_custom(|rounds| timed(&mut desk, rounds, false));
        });
        group.bench_function(BenchmarkId::new("copy and sync", name), |bencher| {
            bencher.iter(|| copy_and_sync(&desk));
        });
    }
    group.finish();
}

criterion_group!(benches, one_observation);
criterion_main!(benches);
