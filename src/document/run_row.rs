//! The run's row in the project's own table: found by header text and run id, its empty cells
//! filled, what a person wrote left alone.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::ids::RunId;
use crate::model::observation::{CellFill, HeaderNames, RunColumn};

use super::columns::{self, EMPTY, RUN_TABLE};
use super::escape::{self, CELL_LIMIT};
use super::markdown::{self, Line};
use super::splice::{self, Splice};
use super::table::{self, Table};
use super::{Held, RowText, machine, observations};

const TITLE: &str = "Training Runs";
const TITLE_LOWER: &str = "training runs";
pub(super) const EVALUATIONS_LOWER: &str = "evaluation experiments";

/// What is to be filled into whose row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// Whose row.
    pub(super) run: &'a RunId,
    /// Finished cells.
    pub(super) fills: &'a [CellFill],
    /// Whether a run without a row gets one.
    pub(super) add_missing: bool,
    /// The project's own header texts.
    pub(super) headers: &'a HeaderNames,
}

/// The splices that fill a row, and the cells that hold our text afterwards.
#[derive(Debug, Clone, Default)]
pub(super) struct Filled {
    pub(super) splices: Vec<Splice>,
    pub(super) cells: Vec<(RunColumn, String)>,
}

/// Fills the run's row: empty cells, and cells that still hold what `written` says we wrote there.
///
/// A cell that holds exactly the wanted text counts as ours: after a crash between the document
/// and the journal it is.
pub(super) fn fill(
    file: &[u8],
    request: Request<'_>,
    written: &dyn Fn(RunColumn) -> Option<String>,
) -> Result<Filled, Held> {
    let fills = finished(file, request);
    if let Some(found) = find(file, request) {
        return Ok(fill_row(file, &found, &fills, written));
    }
    if !request.add_missing {
        return Ok(Filled::default());
    }
    add_row(file, request, &fills, &|_| None)
}

/// Adds a row, whether or not the run has one; `more` gives the finished cells of columns that are
/// not filled otherwise, by their headers.
pub(super) fn append(
    file: &[u8],
    request: Request<'_>,
    more: &dyn Fn(&str) -> Option<String>,
) -> Result<Filled, Held> {
    add_row(file, request, &finished(file, request), more)
}

/// Returns whether nothing is left to fill: the row is there and no cell for which there is a
/// fill is empty. What a person wrote counts as present.
pub(super) fn contains(file: &[u8], request: Request<'_>) -> bool {
    let Some(found) = find(file, request) else { return !request.add_missing };
    let fills = finished(file, request);
    found.columns.iter().all(|(index, column)| {
        let cell = found.cells.get(*index).map(|cell| table::trimmed(file, cell));
        !fills.contains_key(column) || cell.is_some_and(|cell| !columns::is_empty(cell))
    })
}

/// Returns the run's row as it stands in the log, with the header above it.
pub(super) fn row_text(file: &[u8], run: &RunId, headers: &HeaderNames) -> Option<RowText> {
    let request = Request { run, fills: &[], add_missing: false, headers };
    let (table, found) = find_in_table(file, request)?;
    let line = |line: Line| String::from_utf8_lossy(line.text(file)).trim().to_owned();
    let columns = table.columns(file).count();
    let delimiters = format!("|{}", "---|".repeat(columns));
    Some(RowText { header: vec![line(table.header), delimiters], row: line(found.line) })
}

/// Walks the project's tables of runs: those under `Training Runs`, then all others that have a
/// run id and something to fill. Tables of observations and evaluations are none.
pub(super) fn run_tables<'a>(
    file: &'a [u8],
    headers: &'a HeaderNames,
) -> impl Iterator<Item = (Table, usize)> + 'a {
    let candidates = move |at_home: bool| {
        markdown::tables(file).filter_map(move |table| {
            let run_column = run_id_column(file, &table, headers)?;
            let is_home = table.is_under(file, |title| title.starts_with(TITLE_LOWER));
            let is_wanted = is_home == at_home && !is_foreign(file, &table);
            is_wanted.then_some((table, run_column))
        })
    };
    let has_columns = move |table: &Table| positions(file, table, headers).next().is_some();
    let others = candidates(false).filter(move |(table, _)| has_columns(table));
    candidates(true).chain(others)
}

fn is_foreign(file: &[u8], table: &Table) -> bool {
    table.is_under(file, |title| title.starts_with(EVALUATIONS_LOWER))
        || observations::is_under_our_heading(file, table)
        || observations::is_ours(file, table)
}

/// Returns whether a Run ID cell, read as text, is about this run: its whole id stands there, and
/// no other run's id before it (`Y`, started from `X`, is a row of `Y`).
pub(super) fn names_run(cell: &str, id: &str) -> bool {
    let mut at = 0;
    while let Some(found) = cell.get(at..).and_then(|rest| rest.find(id)) {
        let start = at + found;
        let before = cell.get(..start).unwrap_or_default();
        let after = cell.get(start + id.len()..).unwrap_or_default();
        if !continues_before(before) && !continues_after(after) {
            return !has_run_id(before);
        }
        at = start + id.chars().next().map_or(1, char::len_utf8);
    }
    false
}

fn is_name_character(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '-')
}

/// A dot belongs to a name only between two of its characters; elsewhere it ends a sentence.
fn continues_before(before: &str) -> bool {
    let mut characters = before.chars().rev();
    match characters.next() {
        Some('.') => characters.next().is_some_and(is_name_character),
        other => other.is_some_and(is_name_character),
    }
}

fn continues_after(after: &str) -> bool {
    let mut characters = after.chars();
    match characters.next() {
        Some('.') => characters.next().is_some_and(is_name_character),
        other => other.is_some_and(is_name_character),
    }
}

fn has_run_id(text: &str) -> bool {
    run_ids(text).next().is_some()
}

/// Walks the run ids with a time stamp that stand in a text.
pub(super) fn run_ids(text: &str) -> impl Iterator<Item = RunId> + '_ {
    let words = text.split(|character| !is_name_character(character));
    words.map(RunId::new).filter(|run| run.stamp().is_some())
}

/// A run's row.
#[derive(Debug)]
pub(super) struct Found {
    line: Line,
    /// Its cells, as far as the header has columns.
    pub(super) cells: Vec<Range<usize>>,
    /// The fillable columns with their positions.
    pub(super) columns: Vec<(usize, RunColumn)>,
}

/// Looks closer at a row of a table.
pub(super) fn found(file: &[u8], table: &Table, line: Line, headers: &HeaderNames) -> Found {
    let columns = positions(file, table, headers).collect();
    Found { line, cells: cells_of(file, table, line), columns }
}

pub(super) fn find(file: &[u8], request: Request<'_>) -> Option<Found> {
    find_in_table(file, request).map(|(_, found)| found)
}

fn find_in_table(file: &[u8], request: Request<'_>) -> Option<(Table, Found)> {
    let id = escape::readable_name(request.run.as_str());
    run_tables(file, request.headers).find_map(|(table, run_column)| {
        let line = table.rows(file).find(|row| {
            let cell = table::cells(file, *row).nth(run_column);
            cell.is_some_and(|cell| names_run(&escape::reading(table::trimmed(file, &cell)), &id))
        })?;
        let found = found(file, &table, line, request.headers);
        Some((table, found))
    })
}

/// Returns the line of a run's row as it stands.
pub(super) fn text<'a>(file: &'a [u8], run: &RunId, headers: &HeaderNames) -> Option<&'a [u8]> {
    let request = Request { run, fills: &[], add_missing: false, headers };
    find(file, request).map(|found| found.line.text(file))
}

fn run_id_column(file: &[u8], table: &Table, headers: &HeaderNames) -> Option<usize> {
    table.columns(file).position(|header| columns::is_run_id(&header, headers))
}

/// Walks the fillable columns of a table with their positions, each column once.
fn positions<'a>(
    file: &'a [u8],
    table: &Table,
    headers: &'a HeaderNames,
) -> impl Iterator<Item = (usize, RunColumn)> + use<'a> {
    let mut seen: Vec<RunColumn> = Vec::new();
    table.columns(file).enumerate().filter_map(move |(index, header)| {
        let column =
            columns::run_column(&header, headers).filter(|column| !seen.contains(column))?;
        seen.push(column);
        Some((index, column))
    })
}

/// Returns the row's cells as far as the header has columns.
fn cells_of(file: &[u8], table: &Table, row: Line) -> Vec<Range<usize>> {
    let columns = table::cells(file, table.header).count();
    table::cells(file, row).take(columns).collect()
}

/// Makes the values safe for a cell, spells the machine as its column does, and leaves out values
/// that say nothing.
fn finished(file: &[u8], request: Request<'_>) -> BTreeMap<RunColumn, String> {
    let value = |fill: &CellFill| match fill.column {
        RunColumn::Machine => {
            let spelling = machine::spelling(file, &fill.value, request.headers);
            escape::one_cell(&escape::escaped(&spelling, CELL_LIMIT))
        }
        _ => escape::one_cell(&fill.value),
    };
    let finished = request.fills.iter().map(|fill| (fill.column, value(fill)));
    finished.filter(|(_, value)| !columns::is_empty(value.as_bytes())).collect()
}

fn fill_row(
    file: &[u8],
    found: &Found,
    fills: &BTreeMap<RunColumn, String>,
    written: &dyn Fn(RunColumn) -> Option<String>,
) -> Filled {
    let mut filled = Filled::default();
    let mut missing = BTreeMap::new();
    for (index, column) in found.columns.iter().copied() {
        let Some(value) = fills.get(&column) else { continue };
        let Some(cell) = found.cells.get(index) else {
            missing.insert(index, value.clone());
            filled.cells.push((column, value.clone()));
            continue;
        };
        let old = table::trimmed(file, cell);
        let is_free =
            || columns::is_empty(old) || written(column).is_some_and(|text| text.as_bytes() == old);
        if old == value.as_bytes() {
            filled.cells.push((column, value.clone()));
        } else if is_free() {
            filled.splices.push(replace_cell(file, cell, value));
            filled.cells.push((column, value.clone()));
        }
    }
    filled.splices.extend(extend_row(file, found.line, found.cells.len(), &missing));
    filled
}

/// Replaces a cell's text and keeps the white space around it; a blank cell gets one space each.
pub(super) fn replace_cell(file: &[u8], cell: &Range<usize>, value: &str) -> Splice {
    let range = table::trimmed_range(file, cell);
    if range.is_empty() {
        Splice { range: cell.clone(), text: format!(" {value} ") }
    } else {
        Splice { range, text: value.to_owned() }
    }
}

/// Adds cells at the end of a row that has fewer than its header, as far as they are needed.
pub(super) fn extend_row(
    file: &[u8],
    row: Line,
    present: usize,
    missing: &BTreeMap<usize, String>,
) -> Option<Splice> {
    let (last, _) = missing.last_key_value()?;
    let at = table::trimmed_range(file, &(row.start..row.end)).end;
    let is_closed = table::is_closed(file, row);
    let mut text = String::new();
    for index in present..=*last {
        let value = missing.get(&index).map_or(EMPTY, String::as_str);
        let cell = if is_closed { format!(" {value} |") } else { format!(" | {value}") };
        text.push_str(&cell);
    }
    Some(Splice { range: at..at, text })
}

fn add_row(
    file: &[u8],
    request: Request<'_>,
    fills: &BTreeMap<RunColumn, String>,
    more: &dyn Fn(&str) -> Option<String>,
) -> Result<Filled, Held> {
    let Request { run, headers: own, .. } = request;
    let Some((table, run_column)) = run_tables(file, own).next() else {
        let headers = RUN_TABLE.map(str::to_owned);
        let row = RUN_TABLE.map(|header| new_cell(header, run, fills, more));
        let lines = [table::row(headers), delimiter_row(), table::row(row)];
        let splices = vec![splice::section(file, TITLE, &lines)?];
        return Ok(Filled { splices, cells: owned(fills) });
    };
    let known: BTreeMap<usize, RunColumn> = positions(file, &table, own).collect();
    let cells = table.columns(file).enumerate().map(|(index, header)| {
        if index == run_column {
            return escape::code(run.as_str());
        }
        let value = known.get(&index).and_then(|column| fills.get(column));
        value.cloned().or_else(|| more(&header)).unwrap_or_else(|| EMPTY.into())
    });
    let line = table.row(file, cells);
    let cells = owned(fills).into_iter().filter(|(column, _)| known.values().any(|k| k == column));
    let splices = vec![splice::below(file, table.last_row, &[line])];
    Ok(Filled { splices, cells: cells.collect() })
}

fn new_cell(
    header: &str,
    run: &RunId,
    fills: &BTreeMap<RunColumn, String>,
    more: &dyn Fn(&str) -> Option<String>,
) -> String {
    let usual = HeaderNames::new();
    if columns::is_run_id(header, &usual) {
        return escape::code(run.as_str());
    }
    let value = columns::run_column(header, &usual).and_then(|column| fills.get(&column));
    value.cloned().or_else(|| more(header)).unwrap_or_else(|| EMPTY.into())
}

fn owned(fills: &BTreeMap<RunColumn, String>) -> Vec<(RunColumn, String)> {
    fills.iter().map(|(column, value)| (*column, value.clone())).collect()
}

/// Returns the delimiter row of the project's table.
fn delimiter_row() -> String {
    format!("|{}", "---|".repeat(RUN_TABLE.len()))
}

/// Returns the text of a log that does not exist yet: a title and the project's table.
pub(super) fn new_log() -> String {
    let header = table::row(RUN_TABLE.map(str::to_owned));
    format!("# Master Experiment Log\n\n## {TITLE}\n\n{header}\n{}\n", delimiter_row())
}
