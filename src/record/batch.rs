//! Several entries of the experiment log as one new text.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::editing::{Editor, Setting};
use super::outbox::{Cells, Entry};
use crate::model::ids::RunId;
use crate::model::observation::{CellFill, DocumentEdit, HeaderNames, RunColumn};

/// What a batch of entries makes of a text.
#[derive(Debug, Default)]
pub(super) struct Composed {
    /// The new text; empty unless `changed`.
    pub(super) text: Vec<u8>,
    /// Whether it differs from the old one.
    pub(super) changed: bool,
    /// The entries and whether each of them changed anything.
    pub(super) entries: Vec<(i64, bool)>,
    /// Cells that get a value by this batch, in order.
    pub(super) fills: Vec<(RunId, RunColumn, String)>,
    /// Cells whose remembered value is another one once the text stands in the document.
    pub(super) remembered: Vec<(RunId, RunColumn, Option<String>)>,
}

/// Applies entries in order to a text, `None` if there is no document.
///
/// The error says why the document must not be edited now.
pub(super) fn compose(
    editor: &Editor,
    text: Option<&[u8]>,
    entries: &[Entry],
    mut cells: Cells,
    setting: &Setting,
) -> Result<Composed, String> {
    let mut touched = settle_intents(editor, (text, entries), &mut cells, setting)?;
    let mut composed = Composed::default();
    let mut current = text.map(Cow::Borrowed);
    for entry in entries {
        let run = RunId::new(entry.edit.run());
        let written = |column| cells.get(&(run.clone(), column))?.value.clone();
        let applied = (editor.apply)(current.as_deref(), &entry.edit, &written, setting)?;
        composed.entries.push((entry.id, applied.changed));
        if applied.changed {
            composed.changed = true;
            current = Some(Cow::Owned(applied.bytes));
        }
        for (column, value) in applied.cells {
            let key = (run.clone(), column);
            cells.entry(key.clone()).or_default().value = Some(value.clone());
            composed.fills.push((run.clone(), column, value));
            touched.insert(key);
        }
    }
    if let Some(Cow::Owned(text)) = current {
        composed.text = text;
    }
    composed.remembered = touched
        .into_iter()
        .map(|key| {
            let value = cells.get(&key).and_then(|cell| cell.value.clone());
            (key.0, key.1, value)
        })
        .collect();
    Ok(composed)
}

/// Finds out which writes of an earlier life came to their end, and returns their cells.
///
/// A crash after the document was replaced and before that was recorded would leave our own value
/// in a cell as if a person had written it, never to be updated again.
fn settle_intents(
    editor: &Editor,
    (text, entries): (Option<&[u8]>, &[Entry]),
    cells: &mut Cells,
    setting: &Setting,
) -> Result<BTreeSet<(RunId, RunColumn)>, String> {
    let mut touched = BTreeSet::new();
    for ((run, column), cell) in cells.iter_mut() {
        let Some(intended) = cell.intended.take() else { continue };
        let fill = CellFill { column: *column, value: intended.clone() };
        let probe = probe(run, &fill, headers_of(entries, run));
        if cell.value.as_ref() != Some(&intended)
            && holds(editor, text, (&probe, *column, &intended), setting)?
        {
            cell.value = Some(intended);
        }
        touched.insert((run.clone(), *column));
    }
    Ok(touched)
}

/// Returns an edit that would replace a cell's value by another one.
pub(super) fn probe(run: &RunId, fill: &CellFill, headers: HeaderNames) -> DocumentEdit {
    let fill = CellFill { column: fill.column, value: format!("{} probe", fill.value) };
    DocumentEdit::RunRow { run: run.clone(), fills: vec![fill], add_missing: false, headers }
}

/// Returns whether a cell holds a value, or nothing: an edit that may only replace this very value
/// would change the text then.
pub(super) fn holds(
    editor: &Editor,
    text: Option<&[u8]>,
    (probe, column, value): (&DocumentEdit, RunColumn, &str),
    setting: &Setting,
) -> Result<bool, String> {
    let Some(text) = text else { return Ok(false) };
    let written = |asked| (asked == column).then(|| value.to_owned());
    Ok((editor.apply)(Some(text), probe, &written, setting)?.changed)
}

/// Returns by which header texts the entries of a run find its columns.
fn headers_of(entries: &[Entry], run: &RunId) -> HeaderNames {
    let of_run = |entry: &Entry| match &entry.edit {
        DocumentEdit::RunRow { run: other, headers, .. }
        | DocumentEdit::TieRow { run: other, headers, .. }
            if other == run =>
        {
            Some(headers.clone())
        }
        _ => None,
    };
    entries.iter().rev().find_map(of_run).unwrap_or_default()
}
