//! T3: runs without rows, rows whose run was never seen. T5: W&B links that point at another run.

use std::collections::BTreeMap;

use super::{edit, quoted};
use crate::audit::facts::Facts;
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::{Page, Reading, is_pending};
use crate::document::inventory::SeenRow;
use crate::model::ids::RunId;
use crate::model::observation::RunColumn;

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let Some(log) = &reading.log else { return };
    for (run, fact) in &facts.runs {
        if let Some(folder) = fact.folder.as_ref().filter(|_| !reading.has_row(run)) {
            let sentence = format!("the run `{run}` has no row in `{}`", log.path);
            let command = format!("runscribe row {}", quoted(run.as_str()));
            let place = Place::whole(folder);
            audit.add((Code::T3, Severity::Warning), place, run.as_str(), sentence, command);
        }
    }
    for row in &reading.rows {
        never_seen(log, facts, row, audit);
    }
    wandb_links(log, reading, facts, audit);
}

fn never_seen(log: &Page, facts: &Facts, row: &SeenRow, audit: &mut Audit) {
    let Some(run) = &row.run else { return };
    let mut links = row.cells.iter().flat_map(|cell| &cell.links);
    let has_page = links.any(|link| page_id(link).is_some());
    if has_page || is_pending(row) || facts.runs.contains_key(run) {
        return;
    }
    let place = Place::line(&log.path, row.line);
    let command = edit(&place);
    let sentence = format!("the run `{run}` was never seen here, and its row has no W&B link");
    audit.add((Code::T3, Severity::Warning), place, run.as_str(), sentence, command);
}

/// A page is another run's when its id is another run's, when another run's files name it, or when
/// an earlier row has it.
fn wandb_links(log: &Page, reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let known = facts.runs.iter();
    let owners: BTreeMap<&str, &RunId> =
        known.filter_map(|(run, fact)| Some((page_id(fact.page.as_ref()?)?, run))).collect();
    let mut taken: BTreeMap<&str, &RunId> = BTreeMap::new();
    for row in &reading.rows {
        let (Some(run), Some(cell)) = (&row.run, row.cell(RunColumn::WandbLink)) else { continue };
        for id in cell.links.iter().filter_map(|link| page_id(link)) {
            let named = RunId::new(id);
            let by_name = named.stamp().is_some().then_some(&named);
            let owner = owners.get(id).copied().or(by_name).or(taken.get(id).copied());
            taken.entry(id).or_insert(run);
            let Some(owner) = owner.filter(|owner| *owner != run) else { continue };
            let place = Place::line(&log.path, row.line);
            let command = edit(&place);
            let sentence = format!("the W&B link of `{run}` points at `{owner}`");
            audit.add((Code::T5, Severity::Error), place, run.as_str(), sentence, command);
        }
    }
}

/// Returns W&B's id of the run in the address of its page: `…/runs/<id>`.
fn page_id(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("/runs/")?;
    let id = rest.split(['/', '?', '#']).next()?;
    (!id.is_empty()).then_some(id)
}
