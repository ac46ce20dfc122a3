//! The table under `## Checkpoint Observations`: one row per observation, never rewritten.

use memchr::memmem::Finder;

use crate::model::observation::ObservationRow;

use super::columns::{self, EMPTY};
use super::escape::{self, CELL_LIMIT};
use super::headings;
use super::markdown::{self, Line};
use super::splice::{self, Splice};
use super::table::{self, Table};
use super::{Held, Machine, Seen};

pub(super) const TITLE: &str = "Checkpoint Observations";
pub(super) const TITLE_LOWER: &str = "checkpoint observations";

/// The columns of our table in our order.
const COLUMNS: [(&str, Field); 9] = [
    ("Time", Field::Time),
    ("Run ID", Field::Run),
    ("Checkpoint", Field::Checkpoint),
    ("Eff. Rank", Field::Rank),
    ("Mean sim.", Field::MeanSimilarity),
    ("Max sim.", Field::MaxSimilarity),
    ("Eval loss", Field::EvalLoss),
    ("Verdict", Field::Verdict),
    ("Note", Field::Note),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Time,
    Run,
    Checkpoint,
    Rank,
    MeanSimilarity,
    MaxSimilarity,
    EvalLoss,
    Verdict,
    Note,
}

/// Where Time, Run ID and Checkpoint stand in a table of observations.
#[derive(Debug, Clone, Copy)]
struct KeyColumns {
    time: usize,
    run: usize,
    checkpoint: usize,
}

/// Appends a row to the table, which is made when missing; nothing if the row is there already.
///
/// A long log is gone through once for both. The table that gets the row is the first one under our
/// own heading, else the first one at all. With a machine it is the one under that machine's heading.
pub(super) fn append(
    file: &[u8],
    row: &ObservationRow,
    machine: Option<&Machine>,
) -> Result<Option<Splice>, Held> {
    let wanted = Wanted::of(row);
    let mut target = None;
    let mut is_at_home = false;
    for (table, columns) in ours(file) {
        if wanted.is_in(file, &table, columns) {
            return Ok(None);
        }
        let is_home = table.is_under(file, |title| match machine {
            None => title == TITLE_LOWER,
            Some(machine) => headings::is_of(title, &machine.name),
        });
        if target.is_none() && machine.is_none() || is_home && !is_at_home {
            target = Some(table);
            is_at_home = is_home;
        }
    }
    if let Some(table) = target {
        let cells = table.columns(file).map(|header| match field(&header) {
            Some(field) => cell(row, field),
            None => EMPTY.into(),
        });
        let line = table.row(file, cells);
        return Ok(Some(splice::below(file, table.last_row, &[line])));
    }
    let head = [
        table::row(COLUMNS.map(|(header, _)| header.to_owned())),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let line = table::row(COLUMNS.map(|(_, field)| cell(row, field)));
    if let Some(machine) = machine {
        return headings::append(file, machine, &head, line).map(Some);
    }
    let [header, delimiter] = head;
    splice::section(file, TITLE, &[header, delimiter, line]).map(Some)
}

/// Returns whether any table of observations has a row with this time, run and checkpoint.
pub(super) fn contains(file: &[u8], row: &ObservationRow) -> bool {
    let wanted = Wanted::of(row);
    ours(file).any(|(table, columns)| wanted.is_in(file, &table, columns))
}

/// The key that is looked for.
#[derive(Debug)]
struct Wanted {
    key: Seen,
    /// Letters, digits and colons stand in a file as they are, so most rows need no parsing.
    telling: Finder<'static>,
}

impl Wanted {
    fn of(row: &ObservationRow) -> Self {
        let key = key(row);
        let telling = Finder::new(longest_plain_part(&key.time).as_bytes()).into_owned();
        Self { key, telling }
    }

    fn is_in(&self, file: &[u8], table: &Table, columns: KeyColumns) -> bool {
        table
            .rows(file)
            .filter(|line| self.telling.find(line.text(file)).is_some())
            .any(|line| seen(file, line, columns) == self.key)
    }
}

/// Returns the key of an observation as a log shows it.
pub(super) fn key(row: &ObservationRow) -> Seen {
    Seen {
        time: readable_time(row),
        run: escape::readable_name(&row.run),
        checkpoint: escape::readable_name(&row.checkpoint),
    }
}

/// Walks the rows of all tables of observations.
pub(super) fn observed(file: &[u8]) -> impl Iterator<Item = Seen> + '_ {
    ours(file).flat_map(move |(table, columns)| {
        table.rows(file).map(move |line| seen(file, line, columns))
    })
}

/// Returns whether a table holds observations.
pub(super) fn is_ours(file: &[u8], table: &Table) -> bool {
    key_columns(file, table).is_some()
}

/// Returns whether a table stands under our heading, or under one of another machine.
pub(super) fn is_under_our_heading(file: &[u8], table: &Table) -> bool {
    table.is_under(file, |title| title.starts_with(TITLE_LOWER))
}

fn ours(file: &[u8]) -> impl Iterator<Item = (Table, KeyColumns)> + '_ {
    markdown::tables(file).filter_map(|table| {
        let columns = key_columns(file, &table)?;
        Some((table, columns))
    })
}

/// A table is ours by its columns. Away from our heading it must have a verdict as well, so that
/// a person's table of times and checkpoints stays theirs.
fn key_columns(file: &[u8], table: &Table) -> Option<KeyColumns> {
    let fields: Vec<Option<Field>> = table.columns(file).map(|header| field(&header)).collect();
    let position = |wanted| fields.iter().position(|field| *field == Some(wanted));
    let columns = KeyColumns {
        time: position(Field::Time)?,
        run: position(Field::Run)?,
        checkpoint: position(Field::Checkpoint)?,
    };
    let is_certain = position(Field::Verdict).is_some() || is_under_our_heading(file, table);
    is_certain.then_some(columns)
}

fn seen(file: &[u8], line: Line, columns: KeyColumns) -> Seen {
    let mut seen = Seen::default();
    let last = columns.time.max(columns.run).max(columns.checkpoint);
    for (index, cell) in table::cells(file, line).enumerate().take(last + 1) {
        let field = match index {
            _ if index == columns.time => &mut seen.time,
            _ if index == columns.run => &mut seen.run,
            _ if index == columns.checkpoint => &mut seen.checkpoint,
            _ => continue,
        };
        *field = escape::reading(table::trimmed(file, &cell));
    }
    seen
}

fn field(header: &str) -> Option<Field> {
    let names = columns::names(header);
    match names.first()?.as_str() {
        "time" => Some(Field::Time),
        "run id" | "run" => Some(Field::Run),
        "checkpoint" => Some(Field::Checkpoint),
        "eff rank" | "effective rank" => Some(Field::Rank),
        "mean sim" | "mean similarity" => Some(Field::MeanSimilarity),
        "max sim" | "max similarity" => Some(Field::MaxSimilarity),
        "eval loss" => Some(Field::EvalLoss),
        "verdict" => Some(Field::Verdict),
        "note" | "notes" => Some(Field::Note),
        _ => None,
    }
}

fn cell(row: &ObservationRow, field: Field) -> String {
    match field {
        Field::Time => escape::escaped(&readable_time(row), CELL_LIMIT),
        Field::Run => escape::code(&row.run),
        Field::Checkpoint => escape::code(&row.checkpoint),
        Field::Rank => number(&row.rank),
        Field::MeanSimilarity => number(&row.mean_similarity),
        Field::MaxSimilarity => number(&row.max_similarity),
        Field::EvalLoss => number(&row.eval_loss),
        Field::Verdict if row.verdict == "**fail**" => row.verdict.clone(),
        Field::Verdict => number(&row.verdict),
        Field::Note => escape::escaped(&row.note, CELL_LIMIT),
    }
}

fn number(text: &str) -> String {
    let shown = escape::escaped(text, 60);
    if shown.is_empty() { EMPTY.into() } else { shown }
}

fn readable_time(row: &ObservationRow) -> String {
    let time = escape::readable(&row.time, 60);
    if time.is_empty() { EMPTY.into() } else { time }
}

fn longest_plain_part(text: &str) -> &str {
    text.split(|character: char| !character.is_ascii_alphanumeric() && character != ':')
        .max_by_key(|part| part.len())
        .unwrap_or_default()
}
