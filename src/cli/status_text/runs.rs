//! The runs of the snapshot: a table, and beneath each run what a person needs to know of it.

use std::cmp::Reverse;

use crate::cli::terminal::{
    Line, Tint, clean, clock_text, duration_text, rank_text, shorten, spark_line, state_tint,
    verdict_tint, wrapped,
};
use crate::model::measurement::{EMBEDDING_WEIGHT_RANK, Verdict};
use crate::model::time::Moment;
use crate::publish::wire::{Metrics, Run, Score};

/// How many runs have a row of their own.
const SHOWN_RUNS: usize = 10;
/// With at most this many runs every one is shown with its details.
const DETAILED_RUNS: usize = 3;
/// The narrowest column of run ids.
const RUN_COLUMNS: usize = 24;
/// How many points a trend has.
const TREND_POINTS: usize = 12;
/// States of runs that are listed only, and have no row.
const LISTED_ONLY: [&str; 3] = ["old", "gone", "rank shadow"];

/// One cell: how it looks, and its text.
type Cell = (Tint, String);

/// A column's heading, and how early it is left out when the screen is narrow; 0 is never.
const COLUMNS: [(&str, u8); 8] = [
    ("RUN", 0),
    ("STATE", 0),
    ("STEP", 0),
    ("DONE", 2),
    ("RANK", 0),
    ("TREND", 4),
    ("VERDICT", 0),
    ("ANALYZED", 3),
];

/// Returns the lines of the table and what stands beneath it.
pub(super) fn lines(runs: &[Run], width: usize, now: Option<Moment>) -> Vec<Line> {
    let (listed, mut shown): (Vec<&Run>, Vec<&Run>) =
        runs.iter().partition(|run| LISTED_ONLY.contains(&run.state.as_str()));
    // The order is that of the last change; a run that trains must not be folded away by others.
    shown.sort_by_key(|run| Reverse(matches!(run.state.as_str(), "training" | "stalled")));
    let folded = shown.split_off(shown.len().min(SHOWN_RUNS));
    if shown.is_empty() && listed.is_empty() {
        return vec![Line::default().with(Tint::Dim, "no runs yet")];
    }
    let mut lines = Vec::new();
    if !shown.is_empty() {
        lines = table(&shown, width, now);
    }
    lines.extend(summary("and", &folded));
    lines.extend(summary("listed only:", &listed));
    lines
}

/// `and 4 more: 1 failed, 3 complete`.
fn summary(introduction: &str, runs: &[&Run]) -> Option<Line> {
    if runs.is_empty() {
        return None;
    }
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for run in runs {
        match counts.iter_mut().find(|(state, _)| *state == run.state) {
            Some((_, count)) => *count += 1,
            None => counts.push((&run.state, 1)),
        }
    }
    let states: Vec<String> =
        counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let more = if introduction == "and" { format!("{} more: ", runs.len()) } else { String::new() };
    Some(Line::default().with(Tint::Dim, &format!("{introduction} {more}{}", states.join(", "))))
}

fn table(shown: &[&Run], width: usize, now: Option<Moment>) -> Vec<Line> {
    let rows: Vec<Vec<Cell>> = shown.iter().map(|run| cells(run, now)).collect();
    let columns = fit(&rows, width);
    let mut lines = Vec::new();
    if let Some(columns) = &columns {
        let headings: Vec<Cell> =
            COLUMNS.iter().map(|(name, _)| (Tint::Dim, (*name).to_owned())).collect();
        lines.push(row(&headings, columns));
    }
    for (run, cells) in shown.iter().zip(&rows) {
        match &columns {
            Some(columns) => lines.push(row(cells, columns)),
            None => lines.extend(stacked(cells, width)),
        }
        let details = details(run);
        if shown.len() <= DETAILED_RUNS {
            lines.extend(details.iter().flat_map(|(tint, text)| wrapped(*tint, text, 4, width)));
        } else if needs_attention(run) {
            let most_important = details.iter().take(2);
            lines.extend(most_important.map(|(tint, text)| Line::indented(4).with(*tint, text)));
        }
    }
    lines
}

/// One run on a screen that is too narrow for a table: its id, and beneath it all that is known.
fn stacked(cells: &[Cell], width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some((tint, id)) = cells.first() {
        lines.push(Line::default().with(*tint, &shorten(id, width)));
    }
    let known = |(_, text): &&Cell| !text.is_empty() && text != "--";
    let mut columns = width;
    for (tint, text) in cells.iter().skip(1).filter(known) {
        let needed = text.chars().count() + 2;
        columns += needed;
        if columns > width {
            lines.push(Line::default());
            columns = needed;
        }
        if let Some(line) = lines.pop() {
            lines.push(line.with(Tint::Plain, "  ").with(*tint, text));
        }
    }
    lines
}

/// Returns each column's width, `None` for those that are left out; `None` if no table fits.
///
/// The columns that matter least go first; the run ids take what is left.
fn fit(rows: &[Vec<Cell>], width: usize) -> Option<Vec<Option<usize>>> {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|(_, text)| text.chars().count()).max().unwrap_or(0)
    };
    let mut columns: Vec<Option<usize>> = (0..)
        .zip(COLUMNS)
        .map(|(column, (name, _))| Some(widest(column).max(name.len())))
        .collect();
    let run = columns.first().copied().flatten().unwrap_or(0);
    let others = |columns: &[Option<usize>]| {
        2 + columns.iter().skip(1).flatten().map(|wide| wide + 2).sum::<usize>()
    };
    for urgency in (1..=4).rev() {
        if others(&columns) + run.min(RUN_COLUMNS) <= width {
            break;
        }
        for (column, _) in
            columns.iter_mut().zip(COLUMNS).filter(|(_, (_, order))| *order == urgency)
        {
            *column = None;
        }
    }
    let room = width.saturating_sub(others(&columns));
    if let Some(first) = columns.first_mut() {
        *first = Some(run.min(room));
    }
    (room >= run.min(RUN_COLUMNS)).then_some(columns)
}

fn row(cells: &[Cell], columns: &[Option<usize>]) -> Line {
    let mut line = Line::default();
    for ((tint, text), columns) in cells.iter().zip(columns) {
        if let Some(columns) = columns {
            line = line.padded(*tint, &shorten(text, *columns), *columns).with(Tint::Plain, "  ");
        }
    }
    line
}

fn cells(run: &Run, now: Option<Moment>) -> Vec<Cell> {
    let verdict = match run.verdict {
        Some(verdict) => (verdict_tint(verdict), verdict.to_string()),
        None => (Tint::Dim, "--".to_owned()),
    };
    vec![
        (Tint::Bold, clean(&run.run)),
        (state_tint(&run.state), clean(&run.state)),
        (Tint::Plain, step(run)),
        (Tint::Plain, done(run, now)),
        (verdict.0, rank(run)),
        (verdict.0, trend(run)),
        verdict,
        (Tint::Plain, checkpoints(run)),
    ]
}

/// `5000/20000 25%`.
fn step(run: &Run) -> String {
    match (run.step, run.total_steps) {
        (Some(step), Some(total)) if total > 0 => {
            // Rounded down: a run is at 100 % only when it is there.
            let percent = u128::from(step) * 100 / u128::from(total);
            format!("{step}/{total} {percent}%")
        }
        (Some(step), _) => step.to_string(),
        (None, Some(total)) => format!("?/{total}"),
        (None, None) => "--".to_owned(),
    }
}

fn done(run: &Run, now: Option<Moment>) -> String {
    let Some(eta) = &run.eta else {
        let over = matches!(run.state.as_str(), "complete" | "failed");
        return if over { "--" } else { "unknown" }.to_owned();
    };
    match (now, Moment::parse(eta)) {
        (Some(now), Some(end)) if end > now => {
            format!("in {}", duration_text(end.since(now.timestamp())))
        }
        (Some(_), Some(_)) => "overdue".to_owned(),
        _ => clock_text(eta),
    }
}

fn rank(run: &Run) -> String {
    let Some(rank) = run.rank else { return "--".to_owned() };
    let concepts = run.concepts.map_or_else(String::new, |concepts| format!("/{concepts}"));
    let weights = run.rank_measurement.as_deref() == Some(EMBEDDING_WEIGHT_RANK);
    format!("{}{concepts}{}", rank_text(rank, None), if weights { " weights" } else { "" })
}

/// Draws the last ranks; see [`spark_line`].
fn trend(run: &Run) -> String {
    let first = run.trajectory.len().saturating_sub(TREND_POINTS);
    let ranks = run.trajectory.iter().skip(first).map(|point| point.rank);
    spark_line(&ranks.collect::<Vec<_>>())
}

/// `4 of 6, 1 waiting, 1 gone`.
fn checkpoints(run: &Run) -> String {
    let counts = &run.checkpoints;
    let unfinished = counts.seen.saturating_sub(counts.complete).saturating_sub(counts.gone);
    let rest = [(counts.pending, "waiting"), (unfinished, "incomplete"), (counts.gone, "gone")];
    let analyzed = format!("{} of {}", counts.analyzed, counts.complete);
    let rest = rest.iter().filter(|(count, _)| *count > 0);
    let texts: Vec<String> = std::iter::once(analyzed)
        .chain(rest.map(|(count, what)| format!("{count} {what}")))
        .collect();
    texts.join(", ")
}

fn needs_attention(run: &Run) -> bool {
    matches!(run.state.as_str(), "failed" | "stalled" | "unknown")
        || run.verdict.is_some_and(|verdict| verdict != Verdict::Pass)
        || !run.failure_notes.is_empty()
        || run.metrics.as_ref().is_some_and(|metrics| !metrics.not_finite.is_empty())
}

/// Returns what a person needs to know beyond the row, the most important first.
fn details(run: &Run) -> Vec<Cell> {
    let mut lines = Vec::new();
    if let Some(verdict) = run.verdict
        && !run.reasons.is_empty()
    {
        let reasons = format!("verdict {verdict}: {}", run.reasons.join("; "));
        lines.push((verdict_tint(verdict), reasons));
    }
    if !run.evidence.is_empty() {
        lines.push((state_tint(&run.state), format!("{}: {}", run.state, run.evidence)));
    }
    lines.extend(run.failure_notes.iter().map(|note| (Tint::Red, format!("note: {note}"))));
    if let Some(metrics) = run.metrics.as_ref().map(metrics_text).filter(|text| !text.is_empty()) {
        lines.push((Tint::Plain, metrics));
    }
    if !run.scores.is_empty() {
        lines.push((Tint::Plain, scores_text(run)));
    }
    if !run.eta_basis.is_empty() && !matches!(run.state.as_str(), "complete" | "failed") {
        lines.push((Tint::Dim, format!("end: {}", run.eta_basis)));
    }
    for unfinished in run.incomplete.iter().take(2) {
        let text = format!("{}: {}", unfinished.checkpoint, unfinished.missing);
        lines.push((Tint::Yellow, text));
    }
    lines
}

/// `scores: mrpc f1 0.822, stsb pearson 0.650`.
fn scores_text(run: &Run) -> String {
    let score = |one: &Score| {
        let score = one.score.map_or_else(|| "--".to_owned(), |score| format!("{score:.3}"));
        format!("{} {} {score}", one.task, one.metric)
    };
    format!("scores: {}", run.scores.iter().map(score).collect::<Vec<_>>().join(", "))
}

/// `loss 2.31, grad norm 1.2, learning rate 0.00027, eval loss 1.433`.
fn metrics_text(metrics: &Metrics) -> String {
    let values = [
        ("loss", metrics.loss),
        ("grad norm", metrics.grad_norm),
        ("learning rate", metrics.learning_rate),
        ("eval loss", metrics.eval_loss),
    ];
    let mut texts: Vec<String> = values
        .iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name} {}", short(value))))
        .collect();
    if !metrics.not_finite.is_empty() {
        texts.push(format!("not finite: {}", metrics.not_finite.join(", ")));
    }
    texts.join(", ")
}

/// Prints about four digits: `2.314`, `0.00027`, `2.7e-7`.
fn short(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        return format!("{value:.1e}");
    }
    let rounded = if size < 0.1 { format!("{value:.6}") } else { format!("{value:.3}") };
    rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
}
