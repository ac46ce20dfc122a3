//! T4: links that lead nowhere, reports that nothing links to, runs that need a report.

use std::collections::{BTreeMap, BTreeSet};

use super::{edit, quoted};
use crate::audit::facts::Facts;
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::paths::{Target, resolve};
use crate::audit::reading::{Page, Reading, is_pending};
use crate::document::inventory::SeenRow;
use crate::document::report::report_file;
use crate::model::ids::RunId;

/// What `#…` may name, by document.
type Anchors<'a> = BTreeMap<&'a str, &'a BTreeSet<String>>;

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let linked = links(reading, facts, audit);
    for report in reading.reports.iter().filter(|report| !linked.contains(&report.path)) {
        let sentence = "no document links to this run report";
        let log = reading.log.as_ref().map_or(&report.path, |log| &log.path);
        let place = Place::whole(&report.path);
        let command = edit(&Place::whole(log));
        audit.add((Code::T4, Severity::Warning), place, "unlinked", sentence, command);
    }
    for row in &reading.rows {
        row_without_report(reading, facts, row, audit);
    }
    runs_without_report(reading, facts, audit);
}

/// Looks at all links; returns the files that a document links to.
fn links(reading: &Reading, facts: &Facts, audit: &mut Audit) -> BTreeSet<String> {
    let anchors: Anchors<'_> =
        reading.pages().map(|page| (page.path.as_str(), &page.inventory.anchors)).collect();
    let mut linked = BTreeSet::new();
    for page in reading.pages() {
        for link in &page.inventory.links {
            if let Some(why) = broken(page, &link.target, facts, &anchors) {
                let place = Place::line(&page.path, link.line);
                let command = edit(&place);
                let sentence = format!("the link `{}` leads nowhere: {why}", link.target);
                let kind = (Code::T4, Severity::Error);
                audit.add(kind, place, &link.target, sentence, command);
            } else if let Target::Inside(path, _) = resolve(&page.path, &link.target)
                && path != page.path
            {
                linked.insert(path);
            }
        }
    }
    linked
}

fn broken(page: &Page, target: &str, facts: &Facts, anchors: &Anchors<'_>) -> Option<String> {
    match resolve(&page.path, target) {
        Target::Outside => None,
        Target::AboveRoot => Some("it leaves the project".to_owned()),
        Target::Inside(path, _) if path != page.path && !facts.present.contains(&path) => {
            Some(format!("there is no `{path}`"))
        }
        Target::Inside(path, fragment) => {
            let fragment = fragment.filter(|fragment| !fragment.is_empty())?;
            let known = anchors.get(path.as_str())?;
            let is_there = known.contains(&fragment) || known.contains(&fragment.to_lowercase());
            (!is_there).then(|| format!("`{path}` has no heading `#{fragment}`"))
        }
    }
}

/// A run that failed, collapsed or was evaluated is worth a report.
fn row_without_report(reading: &Reading, facts: &Facts, row: &SeenRow, audit: &mut Audit) {
    let (Some(log), Some(run)) = (&reading.log, &row.run) else { return };
    let trouble = reading.trouble(facts, run).map(str::to_owned);
    let is_evaluated = || row.cells.iter().any(|cell| is_score(&cell.header) && !cell.is_empty);
    let why = trouble.or_else(|| is_evaluated().then(|| "was evaluated".to_owned()));
    let Some(why) = why.filter(|_| !is_pending(row) && facts.audits(run)) else { return };
    let folder = format!("{}/", facts.reports_folder);
    let mut links = row.cells.iter().flat_map(|cell| &cell.links);
    let leads_to_report = |target: &String| match resolve(&log.path, target) {
        Target::Inside(path, _) => path.starts_with(&folder),
        _ => false,
    };
    if !links.any(leads_to_report) && !has_report(reading, run) {
        let place = Place::line(&log.path, row.line);
        let link = edit(&place);
        add_missing_report(facts, (run, &why), (place, &link), audit);
    }
}

/// Runs without a row; the others were asked at their rows.
fn runs_without_report(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    for (run, fact) in facts.runs.iter().filter(|(run, _)| facts.audits(run)) {
        let (Some(folder), Some(why)) = (&fact.folder, reading.trouble(facts, run)) else {
            continue;
        };
        if !reading.has_row(run) && !has_report(reading, run) {
            let link = reading.log.as_ref().map_or(folder, |log| &log.path);
            let link = edit(&Place::whole(link));
            add_missing_report(facts, (run, why), (Place::whole(folder), &link), audit);
        }
    }
}

/// A report that nothing links to would be the next finding.
fn add_missing_report(
    facts: &Facts,
    (run, why): (&RunId, &str),
    (place, link): (Place, &str),
    audit: &mut Audit,
) {
    let sentence = format!("the run `{run}` {why} and has no run report");
    let command = if facts.runs.get(run).is_some_and(|fact| fact.is_recorded) {
        format!("runscribe report {}", quoted(run.as_str()))
    } else {
        edit(&Place::whole(&format!("{}/{}", facts.reports_folder, report_file(run))))
    };
    let command = format!("{command} && {link}");
    audit.add((Code::T4, Severity::Warning), place, format!("report {run}"), sentence, command);
}

/// A report is a run's when its file is named after it.
fn has_report(reading: &Reading, run: &RunId) -> bool {
    reading.reports.iter().any(|report| {
        let name = report.path.rsplit('/').next().unwrap_or_default();
        name.contains(run.as_str())
    })
}

/// Returns whether a column holds scores of evaluations.
pub(super) fn is_score(header: &str) -> bool {
    let header = header.to_lowercase();
    header.contains("score") || header.contains("glue")
}
