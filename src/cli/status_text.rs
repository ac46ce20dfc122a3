//! The snapshot as one screen: is my run healthy, how far is it, when is it done, what was the
//! last rank, is anything wrong.

mod runs;

use std::time::Duration;

use crate::cli::terminal::{Line, Tint, bytes_text, clock_text, duration_text, wrapped};
use crate::model::numbers::counted;
use crate::model::time::Moment;
use crate::publish::wire::{Analysis, Documents, Gpu, Held, Host, Log, Status, UnlinkedLog, Watch};

/// How wide the names of the blocks are.
const NAME_COLUMNS: usize = 11;
/// How many waiting checkpoints are listed.
const LISTED_WAITING: usize = 3;
/// How many shell logs without a run are listed.
const LISTED_LOGS: usize = 3;
/// How old a snapshot may be before its age is shown.
const FRESH: Duration = Duration::from_mins(2);

/// Prints the snapshot, at most `width` columns wide, each line with its newline.
///
/// With `now` times are relative (`in 3 h 12 min`), without it they are local clock times.
/// Problems stand on top, then the runs, then the machinery.
pub fn status_text(status: &Status, colored: bool, width: usize, now: Option<Moment>) -> String {
    let mut lines = vec![heading(status, now)];
    for problem in problems(status, now) {
        // What to do stands at the end of a problem, so it is never clipped.
        let rows = wrapped(Tint::Plain, &problem, 0, width.saturating_sub(4));
        let marks = std::iter::once("! ").chain(std::iter::repeat("  "));
        lines.extend(
            rows.into_iter()
                .zip(marks)
                .map(|(row, mark)| Line::indented(2).with(Tint::Red, mark).followed_by(row)),
        );
    }
    lines.push(Line::default());
    lines.extend(runs::lines(&status.runs, width, now));
    lines.push(Line::default());
    lines.extend(machinery(status, now));
    lines.iter().map(|line| line.print(width, colored) + "\n").collect()
}

fn heading(status: &Status, now: Option<Moment>) -> Line {
    let daemon = &status.daemon;
    let host = match status.host.name.as_str() {
        "" => String::new(),
        name => format!(" on {name}"),
    };
    let up = duration_text(Duration::from_secs(daemon.uptime_seconds));
    let mut facts = vec![format!("  up {up}"), format!("pid {}", daemon.pid)];
    facts.push(format!("event {}", daemon.seq));
    if let Some(age) = age(&status.time, now).filter(|age| *age > FRESH) {
        facts.push(format!("as of {} ago", duration_text(age)));
    }
    Line::default()
        .with(Tint::Bold, &format!("runscribe {}", daemon.version))
        .with(Tint::Plain, &format!("  {}{host}", daemon.root))
        .with(Tint::Dim, &facts.join(", "))
}

fn held_sentence(held: &Held, now: Option<Moment>) -> String {
    let entries = match held.entries {
        1 => "1 entry waits".to_owned(),
        entries => format!("{entries} entries wait"),
    };
    let since = lasting(&held.since, now);
    format!("`{}` is held {since}, {entries}: {}", held.document, held.reason)
}

/// Returns the daemon's own sentences first, then what the fields say and no sentence repeats.
fn problems(status: &Status, now: Option<Moment>) -> Vec<String> {
    let mut problems = status.problems.clone();
    for held in status.documents.held.iter().filter(|held| !held.reason.is_empty()) {
        // The daemon's own sentence knows neither since when it waits nor for how much.
        if let Some(said) = problems.iter_mut().find(|said| said.contains(&held.reason)) {
            *said = held_sentence(held, now);
        }
    }
    let mut add = |fact: &str, sentence: String| {
        if !fact.is_empty() && !problems.iter().any(|problem| problem.contains(fact)) {
            problems.push(sentence);
        }
    };
    if let Some(problem) = &status.daemon.journal_problem {
        add(problem, format!("the journal cannot be written: {problem}"));
    }
    if let Analysis::NotReady { problem } = &status.analysis {
        add(problem, format!("no analysis can run: {problem}"));
    }
    for held in &status.documents.held {
        add(&held.reason, held_sentence(held, now));
    }
    if let Some(degraded) = &status.watch.degraded {
        add(degraded, format!("watching is degraded: {degraded}"));
    }
    let folder = &status.watch.training_folder;
    if folder != "listed" {
        add(folder, format!("the training folder: {folder}"));
    }
    problems
}

fn machinery(status: &Status, now: Option<Moment>) -> Vec<Line> {
    let mut lines = vec![analysis(&status.analysis)];
    for running in &status.running {
        let attempt = match running.attempt {
            0 | 1 => String::new(),
            attempt => format!(", attempt {attempt}"),
        };
        let since = lasting(&running.since, now);
        let device = running.device.as_ref().map_or_else(String::new, |on| format!(", {on}"));
        let what = format!("{}/{} {since}{attempt}{device}", running.run, running.checkpoint);
        lines.push(named("running").with(Tint::Plain, &what));
    }
    if let Some(since) = &status.paused {
        let what = format!("{}; `runscribe queue resume` goes on", lasting(since, now));
        lines.push(named("paused").with(Tint::Yellow, &what));
    }
    for (position, waiting) in status.queue.iter().take(LISTED_WAITING).enumerate() {
        let name = if position == 0 { "waiting" } else { "" };
        let what = format!("{}/{}: {}", waiting.run, waiting.checkpoint, waiting.reason);
        lines.push(named(name).with(Tint::Plain, &what));
    }
    if let Some(more) = status.queue.len().checked_sub(LISTED_WAITING).filter(|&more| more > 0) {
        lines.push(named("").with(Tint::Dim, &format!("and {more} more")));
    }
    lines.extend(unlinked_logs(&status.unlinked_logs));
    lines.push(documents(&status.documents));
    lines.extend(log_branch(&status.log));
    lines.push(watch(&status.watch, now));
    lines.push(named("host").with(Tint::Plain, &host(&status.host)));
    for gpu in &status.host.gpus {
        let tint = if gpu.problem.is_some() { Tint::Yellow } else { Tint::Plain };
        lines.push(named("").with(tint, &gpu_text(gpu)));
    }
    if let Some(memory) = status.daemon.memory {
        lines.push(named("daemon").with(Tint::Plain, &format!("{} resident", bytes_text(memory))));
    }
    lines
}

fn unlinked_logs(logs: &[UnlinkedLog]) -> Vec<Line> {
    let what = |log: &UnlinkedLog| format!("{} belongs to no run: {}", log.path, log.reason);
    let names = std::iter::once("logs").chain(std::iter::repeat(""));
    let shown = logs.iter().take(LISTED_LOGS).zip(names);
    let mut lines: Vec<Line> =
        shown.map(|(log, name)| named(name).with(Tint::Plain, &what(log))).collect();
    if let Some(more) = logs.len().checked_sub(LISTED_LOGS).filter(|more| *more > 0) {
        lines.push(named("").with(Tint::Dim, &format!("and {more} more")));
    }
    lines
}

fn named(name: &str) -> Line {
    Line::default().padded(Tint::Bold, name, NAME_COLUMNS)
}

fn analysis(analysis: &Analysis) -> Line {
    let line = named("analysis");
    match analysis {
        Analysis::Checking => line.with(Tint::Yellow, "is being checked"),
        Analysis::Ready { program } => {
            line.with(Tint::Green, "ready").with(Tint::Plain, &format!(": {program}"))
        }
        Analysis::NotReady { .. } => line.with(Tint::Red, "not ready"),
    }
}

fn documents(documents: &Documents) -> Line {
    let line = named("documents");
    let held = documents.held.len() as u64;
    match (documents.pending, held) {
        (0, 0) => line.with(Tint::Plain, "all written"),
        (pending, 0) => line.with(Tint::Plain, &format!("{pending} to write or look at again")),
        (pending, held) => line
            .with(Tint::Plain, &format!("{pending} to write or look at again, "))
            .with(Tint::Red, &format!("{} held", counted(held, "document"))),
    }
}

/// Says on which branch the log is written; in the checkout is the usual way, and not said.
fn log_branch(log: &Log) -> Option<Line> {
    let branch = log.branch.as_ref()?;
    let unmerged = match log.unmerged {
        0 => "all of it is in the default branch".to_owned(),
        unmerged => format!("{} to merge", plural(unmerged, "commit", "commits")),
    };
    let line = named("log").with(Tint::Plain, &format!("on `{branch}`, {unmerged}"));
    let problem = log.problem.as_ref();
    Some(problem.map_or(line.clone(), |_| line.with(Tint::Red, ", in trouble")))
}

fn watch(watch: &Watch, now: Option<Moment>) -> Line {
    let scan = watch.last_reconcile.as_ref().map_or_else(
        || "no full scan yet".to_owned(),
        |time| format!("last full scan {}", past(time, now)),
    );
    let took = watch.reconcile_ms.map_or_else(String::new, |took| format!(" in {took:.1} ms"));
    let watches = plural(watch.watches, "watch", "watches");
    let line =
        named("watch").with(Tint::Plain, &format!("{}, {watches}, {scan}{took}", watch.backend));
    if watch.overflows == 0 {
        return line;
    }
    line.with(Tint::Yellow, &format!(", {}", counted(watch.overflows, "overflow")))
}

fn host(host: &Host) -> String {
    let share = |part: Option<u64>, whole: Option<u64>| {
        Some(format!("{} of {}", bytes_text(part?), bytes_text(whole?)))
    };
    let facts = [
        host.cpu.map(|busy| format!("CPU {:.0}%", busy * 100.0)),
        share(host.memory_used, host.memory_total).map(|memory| format!("memory {memory}")),
        share(host.disk_free, host.disk_total).map(|disk| format!("disk {disk} free")),
        host.gpu_note.as_ref().map(|note| format!("GPU: {note}")),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if facts.is_empty() { "no reading".to_owned() } else { facts.join(", ") }
}

fn gpu_text(gpu: &Gpu) -> String {
    let name = format!("GPU {} {}", gpu.index, gpu.name);
    let name = name.trim_end();
    let memory = gpu.memory_used.zip(gpu.memory_total);
    let facts = [
        memory.map(|(used, total)| format!("{} of {}", bytes_text(used), bytes_text(total))),
        gpu.utilization.map(|busy| format!("{:.0}%", busy * 100.0)),
        gpu.processes.as_ref().map(|all| plural(all.len() as u64, "process", "processes")),
        gpu.problem.clone(),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    format!("{name}: {}", facts.join(", "))
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Returns how long ago a time was; `None` if it cannot be said.
fn age(time: &str, now: Option<Moment>) -> Option<Duration> {
    Some(now?.since(Moment::parse(time)?.timestamp()))
}

/// Prints how long something has lasted: `for 12 s`, or `since` the clock time.
fn lasting(time: &str, now: Option<Moment>) -> String {
    age(time, now).map_or_else(
        || format!("since {}", clock_text(time)),
        |age| format!("for {}", duration_text(age)),
    )
}

/// Prints a past time: `12 s ago`, or `at` the clock time.
fn past(time: &str, now: Option<Moment>) -> String {
    age(time, now).map_or_else(
        || format!("at {}", clock_text(time)),
        |age| format!("{} ago", duration_text(age)),
    )
}

#[cfg(test)]
mod tests;
