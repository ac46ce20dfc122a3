//! Shell logs, followed by the real daemon through rotation and kill -9.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use runscribe::model::journal::KnownLog;
use runscribe::record::history::Reader;

use crate::support::{Project, wait};

const LOG: &str = "Cache/logs/shell_diffusion_20261123_063745.log";

fn append(project: &Project, log: &str, numbers: std::ops::Range<u32>) {
    let path = project.path(log);
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    for number in numbers {
        // As a trainer writes: a frame of the bar, then the line of metrics.
        write!(file, "\r {number:3}%|█         | {number}/100 [00:{number:02}<01:00,  1.00it/s]")
            .unwrap();
        writeln!(file, "\n{{'loss': {number}.25, 'grad_norm': 1.5, 'epoch': 0.02}}").unwrap();
    }
}

/// Returns what the journal knows of the log with this path.
fn known(project: &Project, path: &str) -> Option<KnownLog> {
    let reader = Reader::open(&project.path("Cache/runscribe")).ok()?;
    reader.memory().unwrap().shell_logs.into_iter().find(|log| log.path == path)
}

/// Returns the losses of the newest lines, and the number of the last one.
fn losses(log: &KnownLog) -> (Vec<f64>, u64) {
    let metrics = &log.reading.trainings.last().unwrap().metrics;
    let losses = metrics.iter().filter_map(|metric| metric.value("loss")).collect();
    (losses, metrics.last().map_or(0, |metric| metric.line))
}

fn wait_until_read(project: &Project, path: &str) -> KnownLog {
    let is_read = || {
        let length = fs::metadata(project.path(path)).unwrap().len();
        known(project, path).is_some_and(|log| log.position.offset == length)
    };
    wait(&format!("`{path}` to be read"), is_read);
    known(project, path).unwrap()
}

#[test]
fn no_line_is_lost_or_counted_twice_through_a_kill_and_a_rotation() {
    let project = Project::new();
    append(&project, LOG, 0..3);
    let daemon = project.start();
    let first = wait_until_read(&project, LOG);
    append(&project, LOG, 3..5);
    wait_until_read(&project, LOG);
    daemon.kill();

    // While nobody looks, more is written, the log is rotated, and a new one begins.
    append(&project, LOG, 5..7);
    let rotated = format!("{LOG}.1");
    fs::rename(project.path(LOG), project.path(&rotated)).unwrap();
    append(&project, LOG, 40..42);
    let daemon = project.start();
    let old = wait_until_read(&project, &rotated);
    let new = wait_until_read(&project, LOG);
    assert_eq!(old.key, first.key);
    assert_ne!(new.key, first.key);
    let expected: Vec<f64> = (0..7).map(|number| f64::from(number) + 0.25).collect();
    assert_eq!(losses(&old), (expected, 14));
    assert_eq!(losses(&new), (vec![40.25, 41.25], 4));
    assert_eq!(old.reading.trainings[0].step, Some(6));

    // Truncated in its place, it is another log again.
    fs::write(project.path(LOG), "").unwrap();
    append(&project, LOG, 50..51);
    wait("the new content", || known(&project, LOG).is_some_and(|log| losses(&log).0 == [50.25]));
    assert_eq!(known(&project, &rotated).map(|log| log.key), Some(first.key));
    assert_eq!(daemon.stop(), Some(0));
}
