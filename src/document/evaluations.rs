//! The table under `## Evaluation Experiments (Zero Training Cost)`: one row for each sweep over
//! tasks of one model, brought up to date while the sweep goes on.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::ids::CheckpointName;
use crate::model::observation::{EvaluationCells, EvaluationRow};

use super::Held;
use super::columns::{self, EMPTY};
use super::escape;
use super::markdown::{self, Line};
use super::run_row::{self, EVALUATIONS_LOWER};
use super::splice::{self, Splice};
use super::table::{self, Table};

const TITLE: &str = "Evaluation Experiments (Zero Training Cost)";

/// The project's columns in its order.
const COLUMNS: [&str; 8] = [
    "Date",
    "Eval Type",
    "Source Checkpoint",
    "Machine",
    "Tasks",
    "Key Scores",
    "WandB",
    "Conclusion",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Date,
    Kind,
    Source,
    Tasks,
    Scores,
    Wandb,
    Conclusion,
}

impl Field {
    /// What changes while a sweep goes on.
    const CELLS: [Self; 4] = [Self::Tasks, Self::Scores, Self::Wandb, Self::Conclusion];
}

/// Adds the sweep's row, or fills its cells that are empty or still hold what we wrote before.
///
/// # Errors
/// The section is missing and cannot be appended.
pub(super) fn write(file: &[u8], row: &EvaluationRow) -> Result<Vec<Splice>, Held> {
    let mut tables = tables(file).peekable();
    let home = tables.peek().cloned();
    if let Some(found) = tables.find_map(|table| find(file, &table, row)) {
        return Ok(found.fill(file, row));
    }
    if let Some(Evaluations { table, .. }) = home {
        let cells = table.columns(file).map(|header| new_cell(&header, row));
        let line = table.row(file, cells);
        return Ok(vec![splice::below(file, table.last_row, &[line])]);
    }
    let lines = [
        table::row(COLUMNS.map(str::to_owned)),
        format!("|{}", "---|".repeat(COLUMNS.len())),
        table::row(COLUMNS.map(|header| new_cell(header, row))),
    ];
    Ok(vec![splice::section(file, TITLE, &lines)?])
}

/// Returns whether the sweep's row is there and nothing of it is left to write. What a person wrote
/// counts as present.
pub(super) fn contains(file: &[u8], row: &EvaluationRow) -> bool {
    let found = tables(file).find_map(|table| find(file, &table, row));
    found.is_some_and(|found| found.fill(file, row).is_empty())
}

/// A table of evaluations and what its columns are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Evaluations {
    table: Table,
    fields: Vec<Option<Field>>,
}

/// Walks the tables of evaluations: those under the heading that say which model was evaluated.
fn tables(file: &[u8]) -> impl Iterator<Item = Evaluations> + '_ {
    markdown::tables(file).filter_map(|table| {
        let is_home = table.is_under(file, |title| title.starts_with(EVALUATIONS_LOWER));
        let mut fields: Vec<Option<Field>> = Vec::new();
        for header in table.columns(file) {
            fields.push(field(&header).filter(|field| !fields.contains(&Some(*field))));
        }
        let knows_source = fields.contains(&Some(Field::Source));
        (is_home && knows_source).then_some(Evaluations { table, fields })
    })
}

fn field(header: &str) -> Option<Field> {
    let is =
        |known: &[&str]| columns::names(header).iter().any(|name| known.contains(&name.as_str()));
    if is(&["source checkpoint", "source", "run id", "run", "checkpoint", "model"]) {
        Some(Field::Source)
    } else if is(&["date"]) {
        Some(Field::Date)
    } else if is(&["eval type", "eval", "evaluation", "type"]) {
        Some(Field::Kind)
    } else if is(&["tasks", "task"]) {
        Some(Field::Tasks)
    } else if is(&["key scores", "scores", "results"]) {
        Some(Field::Scores)
    } else if is(&["wandb", "wandb link", "w&b", "w&b link"]) {
        Some(Field::Wandb)
    } else if is(&["conclusion", "takeaway"]) {
        Some(Field::Conclusion)
    } else {
        None
    }
}

/// The row of a sweep.
struct Found {
    line: Line,
    /// Its cells, as far as the header has columns.
    cells: Vec<Range<usize>>,
    fields: Vec<Option<Field>>,
}

fn find(file: &[u8], evaluations: &Evaluations, row: &EvaluationRow) -> Option<Found> {
    let Evaluations { table, fields } = evaluations;
    let is_row = |cells: &[Range<usize>]| {
        fields.iter().enumerate().all(|(index, field)| {
            let text = cells.get(index).map(|cell| escape::reading(table::trimmed(file, cell)));
            let text = text.unwrap_or_default();
            match field {
                Some(Field::Source) => is_source(&text, row),
                Some(Field::Date) => text == reading(&row.date),
                Some(Field::Kind) => text == reading(&row.kind),
                _ => true,
            }
        })
    };
    table.rows(file).find_map(|line| {
        let cells: Vec<_> = table::cells(file, line).take(fields.len()).collect();
        is_row(&cells).then(|| Found { line, cells, fields: fields.clone() })
    })
}

/// Returns whether a cell names this model: its run, and the same checkpoint.
fn is_source(text: &str, row: &EvaluationRow) -> bool {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '-';
    let steps = text.split(|character| !is_part(character));
    let step = steps
        .filter_map(|word| word.parse::<CheckpointName>().ok())
        .find(|name| name.step().is_some());
    let step = step.map_or_else(|| "final".to_owned(), |step| step.to_string());
    step == row.checkpoint && run_row::names_run(text, &escape::readable_name(&row.run))
}

impl Found {
    /// Returns what is to be changed in the row.
    fn fill(&self, file: &[u8], row: &EvaluationRow) -> Vec<Splice> {
        let mut splices = Vec::new();
        let mut missing = BTreeMap::new();
        for (index, field) in self.fields.iter().enumerate() {
            let Some(field) = field.filter(|field| Field::CELLS.contains(field)) else { continue };
            let wanted = value(&row.cells, field);
            if columns::is_empty(wanted.as_bytes()) {
                continue;
            }
            let Some(cell) = self.cells.get(index) else {
                missing.insert(index, wanted);
                continue;
            };
            let old = table::trimmed(file, cell);
            let before = row.before.as_ref().map(|before| value(before, field));
            let is_ours = before.is_some_and(|before| before.as_bytes() == old);
            if old != wanted.as_bytes() && (columns::is_empty(old) || is_ours) {
                splices.push(run_row::replace_cell(file, cell, &wanted));
            }
        }
        splices.extend(run_row::extend_row(file, self.line, self.cells.len(), &missing));
        splices
    }
}

fn value(cells: &EvaluationCells, field: Field) -> String {
    let text = match field {
        Field::Tasks => &cells.tasks,
        Field::Scores => &cells.scores,
        Field::Wandb => &cells.wandb,
        Field::Conclusion => &cells.conclusion,
        Field::Date | Field::Kind | Field::Source => return String::new(),
    };
    escape::one_cell(text)
}

fn new_cell(header: &str, row: &EvaluationRow) -> String {
    let text = match field(header) {
        Some(Field::Date) => return key_cell(&row.date),
        Some(Field::Kind) => return key_cell(&row.kind),
        Some(Field::Source) if row.checkpoint == "final" => escape::code(&row.run),
        Some(Field::Source) => {
            format!("{} {}", escape::code(&row.run), escape::code(&row.checkpoint))
        }
        Some(field) => value(&row.cells, field),
        None => String::new(),
    };
    if text.is_empty() { EMPTY.into() } else { text }
}

/// Makes a cell by which the row is found again.
fn key_cell(markdown: &str) -> String {
    let cell = escape::one_cell(markdown);
    if cell.is_empty() { EMPTY.into() } else { cell }
}

fn reading(markdown: &str) -> String {
    escape::reading(key_cell(markdown).as_bytes())
}
