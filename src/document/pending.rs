//! The row of a training that was begun: written before its run exists, and given the run's id when
//! it does.

use std::ops::Range;

use crate::model::ids::RunId;
use crate::model::observation::{CellFill, HeaderNames, RunColumn};

use super::columns;
use super::escape::{self, CELL_LIMIT};
use super::run_row::{self, Filled, Found, Request};
use super::splice::Splice;
use super::table;
use super::{Applied, Held};

/// What the conclusion of a training that was begun starts with.
pub const PENDING: &str = "PENDING";

/// What is known of a training before its run exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingRow {
    /// The run id without its time stamp.
    pub run: String,
    /// The tag of the start.
    pub tag: String,
    /// Finished cells; they may be filled anew while nobody changed them.
    pub cells: Vec<CellFill>,
    /// What was planned, as plain text.
    pub plan: Vec<(PlanColumn, String)>,
}

/// A column that says how it was planned to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanColumn {
    /// `Pretraining Data`.
    Data,
    /// `Epochs`.
    Epochs,
    /// `Concept Losses`.
    Losses,
}

impl PlanColumn {
    fn of(header: &str) -> Option<Self> {
        columns::names(header).iter().find_map(|name| match name.as_str() {
            "pretraining data" | "training data" | "data" | "dataset" => Some(Self::Data),
            "epochs" => Some(Self::Epochs),
            "concept losses" | "concept loss" => Some(Self::Losses),
            _ => None,
        })
    }
}

/// Which training's row becomes which run's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tie<'a> {
    pub(super) run: &'a RunId,
    pub(super) base: &'a str,
    pub(super) tag: &'a str,
    /// What was written into the row when the training was begun.
    pub(super) cells: &'a [CellFill],
    pub(super) headers: &'a HeaderNames,
}

/// Appends the pending row below the last row of the run table, which is made when missing; `None`
/// stands for a log that does not exist. A row that stands there already is not made again.
///
/// # Errors
/// [`Held`] when the log must not be edited now.
pub fn begin(log: Option<&[u8]>, row: &PendingRow, headers: &HeaderNames) -> Result<Applied, Held> {
    let file = super::text_to_edit(log)?;
    let run = RunId::new(row.run.as_str());
    let request = Request { run: &run, fills: &row.cells, add_missing: true, headers };
    if let Some((found, _)) = find(&file, &row.run, &row.tag, headers) {
        let cells = ours(&file, &found, &row.cells);
        return Ok(Applied { bytes: file.into_owned(), changed: false, cells });
    }
    let planned = |header: &str| {
        let column = PlanColumn::of(header)?;
        let (_, value) = row.plan.iter().find(|(planned, _)| *planned == column)?;
        Some(escape::one_cell(&escape::escaped(value, CELL_LIMIT)))
    };
    let Filled { splices, cells } = run_row::append(&file, request, &planned)?;
    let bytes = super::splice::print(&file, splices);
    if find(&bytes, &row.run, &row.tag, headers).is_none() {
        return Err(Held("the edited log would not show the row, look at its Markdown".into()));
    }
    Ok(Applied { bytes, changed: true, cells })
}

/// Returns whether the row of a training that was begun still waits for its run.
pub fn waits(log: &[u8], run: &str, tag: &str, headers: &HeaderNames) -> bool {
    find(log, run, tag, headers).is_some()
}

/// Gives the pending row its run's id. Nothing but the id is touched; the cells that still hold what
/// was written there are reported, also for a row that has the id already.
pub(super) fn tie(file: &[u8], tie: Tie<'_>) -> Filled {
    let Tie { run, base, tag, cells, headers } = tie;
    let request = Request { run, fills: &[], add_missing: false, headers };
    if let Some(found) = run_row::find(file, request) {
        return Filled { splices: Vec::new(), cells: ours(file, &found, cells) };
    }
    let Some((found, range)) = find(file, base, tag, headers) else { return Filled::default() };
    let text = escape::readable_name(run.as_str());
    Filled { splices: vec![Splice { range, text }], cells: ours(file, &found, cells) }
}

/// Returns whether nothing is left to do: the run has a row, or there is no row to give it.
pub(super) fn is_tied(file: &[u8], tie: Tie<'_>) -> bool {
    let Tie { run, base, tag, headers, .. } = tie;
    let request = Request { run, fills: &[], add_missing: false, headers };
    run_row::find(file, request).is_some() || find(file, base, tag, headers).is_none()
}

/// Finds the row of a training by its tag, or by its conclusion in a table that has no tags, and
/// where its id stands.
fn find(
    file: &[u8],
    base: &str,
    tag: &str,
    headers: &HeaderNames,
) -> Option<(Found, Range<usize>)> {
    let id = escape::readable_name(base);
    run_row::run_tables(file, headers).find_map(|(table, run_column)| {
        table.rows(file).find_map(|row| {
            let cell = table::cells(file, row).nth(run_column)?;
            let raw = file.get(cell.clone())?;
            if !run_row::names_run(&escape::reading(raw.trim_ascii()), &id) {
                return None;
            }
            let at = memchr::memmem::find(raw, id.as_bytes())?;
            let found = run_row::found(file, &table, row, headers);
            let reading = |wanted: RunColumn| {
                let (index, _) = found.columns.iter().find(|(_, column)| *column == wanted)?;
                let cell = found.cells.get(*index)?;
                Some(escape::reading(table::trimmed(file, cell)))
            };
            let has_tags = found.columns.iter().any(|(_, column)| *column == RunColumn::GitTag);
            let is_it = if has_tags {
                reading(RunColumn::GitTag).is_some_and(|text| text == tag)
            } else {
                reading(RunColumn::Conclusion).is_some_and(|text| text.starts_with(PENDING))
            };
            let start = cell.start + at;
            is_it.then(|| (found, start..start + id.len()))
        })
    })
}

/// Returns the cells of a row that hold exactly what was written there.
fn ours(file: &[u8], found: &Found, cells: &[CellFill]) -> Vec<(RunColumn, String)> {
    let stands = |fill: &&CellFill| {
        found.columns.iter().any(|(index, column)| {
            let cell = found.cells.get(*index).map(|cell| table::trimmed(file, cell));
            *column == fill.column && cell == Some(fill.value.as_bytes())
        })
    };
    cells.iter().filter(stands).map(|fill| (fill.column, fill.value.clone())).collect()
}
