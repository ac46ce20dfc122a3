//! T10: empty result cells of a finished run.

use super::{edit, links, listed, quoted};
use crate::audit::facts::Facts;
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::{Reading, is_pending};
use crate::document::inventory::{SeenCell, SeenRow};
use crate::model::observation::RunColumn;

/// What a finished run must say whatever became of it.
const RESULTS: [RunColumn; 3] = [RunColumn::TaskLoss, RunColumn::EffectiveRank, RunColumn::Machine];

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let Some(log) = &reading.log else { return };
    for row in &reading.rows {
        let Some(run) = row.run.as_ref().filter(|run| facts.audits(run)) else { continue };
        if !is_finished(facts, row) {
            continue;
        }
        let has_trouble = reading.trouble(facts, run).is_some();
        let empty = row.cells.iter().filter(|cell| cell.is_empty && is_wanted(cell, has_trouble));
        let headers: Vec<&str> = empty.map(|cell| cell.header.as_str()).collect();
        if headers.is_empty() {
            continue;
        }
        let only_scores = headers.iter().all(|header| links::is_score(header));
        let place = Place::line(&log.path, row.line);
        let command = if facts.runs.get(run).is_some_and(|fact| fact.is_recorded) {
            let run = quoted(run.as_str());
            // The row shows what is known; the rest is a person's to say.
            let by_row = || format!("runscribe row {run} && {}", edit(&place));
            if only_scores { format!("runscribe evaluate {run}") } else { by_row() }
        } else {
            edit(&place)
        };
        let names = listed(headers.into_iter());
        let sentence = format!("the finished run `{run}` has empty cells: {names}");
        audit.add((Code::T10, Severity::Warning), place, run.as_str(), sentence, command);
    }
}

/// What collapsed or failed is not evaluated.
fn is_wanted(cell: &SeenCell, has_trouble: bool) -> bool {
    let is_result = cell.column.is_some_and(|column| RESULTS.contains(&column));
    is_result || !has_trouble && links::is_score(&cell.header)
}

/// A run is finished when its files say so; of one whose files are elsewhere its conclusion does.
fn is_finished(facts: &Facts, row: &SeenRow) -> bool {
    let fact = row.run.as_ref().and_then(|run| facts.runs.get(run));
    let concluded = row.cell(RunColumn::Conclusion).is_some_and(|cell| !cell.is_empty);
    match fact.filter(|fact| fact.folder.is_some()) {
        Some(fact) => fact.is_finished,
        None => concluded && !is_pending(row),
    }
}
