//! Pure. The experiment log and failure notes as text: lossless edits, and what is written.
//!
//! An edit is a splice of the original bytes, so everything that is not touched stays as it is by
//! construction: line ends, trailing white space, a missing final newline, a byte order mark, odd
//! tables, bytes that are not UTF-8. Structure is decided as GitHub Flavored Markdown does; a pipe
//! inside backticks ends a table cell there, only `\|` does not.
//!
//! Every edit can be found again in the text that it made ([`contains`]), and applying it once
//! more changes nothing.

mod columns;
mod evaluations;
mod failures;
mod headings;
mod machine;
mod markdown;
mod observations;
mod own_changes;
mod run_row;
mod splice;
mod syntax;
mod table;

pub mod cells;
pub mod compare;
pub mod difference;
pub mod escape;
pub mod inventory;
pub mod note;
pub mod outline;
pub mod ownership;
pub mod pending;
pub mod plot;
pub mod report;
pub mod scores;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::model::ids::RunId;
use crate::model::observation::{CellFill, DocumentEdit, HeaderNames, RunColumn};

use failures::FailureLine;
use pending::Tie;
use run_row::{Filled, Request};

pub use own_changes::OwnChanges;

/// The text after an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The whole log.
    pub bytes: Vec<u8>,
    /// Whether it differs from the log before.
    pub changed: bool,
    /// The cells of the run's row that hold runscribe's text now, so that it can be remembered.
    pub cells: Vec<(RunColumn, String)>,
}

/// Why a log must not be edited now, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Held(pub String);

/// The machine that writes, where each has a table of observations of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Its name; the log's Machine column may spell it in another way.
    pub name: String,
    /// Other machines that are known to write this log.
    pub others: Vec<String>,
}

/// Where a log's links lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// The run reports folder, relative to the log's folder, such as `run_reports`.
    pub reports: String,
}

impl Links {
    /// Returns the link target of a file in the run reports folder, percent-encoded.
    pub fn target(&self, file: &str) -> String {
        let folder = self.reports.trim_end_matches('/');
        let file = escape::link_target(file);
        if folder.is_empty() { file } else { format!("{}/{file}", escape::link_target(folder)) }
    }
}

/// The key of an observation as a log shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Seen {
    time: String,
    run: String,
    checkpoint: String,
}

/// Applies an edit to the log; `None` stands for a log that does not exist and is made.
///
/// `written` tells what runscribe last wrote into a cell of the edit's run: such a cell may be
/// updated while it still holds exactly that. A [`DocumentEdit::FailureNote`] is a file of its
/// own and changes nothing here. A row that is not to be added makes no new log.
///
/// # Errors
/// [`Held`] when the log has merge conflict markers, is UTF-16, or ends inside a code fence or
/// comment while something must be appended.
pub fn apply(
    log: Option<&[u8]>,
    edit: &DocumentEdit,
    written: &dyn Fn(RunColumn) -> Option<String>,
    links: &Links,
) -> Result<Applied, Held> {
    apply_as(log, edit, written, links, None)
}

/// Applies an edit as [`apply`] does; with a machine, new observations go into its own table.
///
/// # Errors
/// See [`apply`].
pub fn apply_as(
    log: Option<&[u8]>,
    edit: &DocumentEdit,
    written: &dyn Fn(RunColumn) -> Option<String>,
    links: &Links,
    machine: Option<&Machine>,
) -> Result<Applied, Held> {
    let unchanged = |bytes: &[u8], cells| Applied { bytes: bytes.to_vec(), changed: false, cells };
    let Some(file) = editable(log, edit)? else {
        return Ok(unchanged(log.unwrap_or_default(), Vec::new()));
    };
    let Filled { splices, cells } = match edit {
        DocumentEdit::ObservationRow(row) => one(observations::append(&file, row, machine)?),
        DocumentEdit::EvaluationRow(row) => {
            Filled { splices: evaluations::write(&file, row)?, cells: Vec::new() }
        }
        DocumentEdit::RunRow { run, fills, add_missing, headers } => {
            let request = Request { run, fills, add_missing: *add_missing, headers };
            run_row::fill(&file, request, written)?
        }
        DocumentEdit::TieRow { run, base, tag, cells, headers } => {
            pending::tie(&file, Tie { run, base, tag, cells, headers })
        }
        DocumentEdit::FailureLine { run, file: note, summary } => {
            one(failures::append(&file, &FailureLine { run, note, summary }, links)?)
        }
        DocumentEdit::FailureNote { .. } => Filled::default(),
    };
    if splices.is_empty() {
        return Ok(unchanged(&file, cells));
    }
    let bytes = splice::print(&file, splices);
    // An edit that cannot be found again would be made again and again; rather hold it.
    if !contains(&bytes, edit) {
        return Err(Held("the edited log would not show the edit, look at its Markdown".into()));
    }
    Ok(Applied { bytes, changed: true, cells })
}

/// Returns whether an edit is in the log: the second look at a document, and the reason why an
/// edit can be repeated.
///
/// An observation is found by Time, Run ID and Checkpoint in any table of observations, an
/// evaluation by its model, date and kind; a run's row is complete when no cell that has a fill is
/// empty (what a person wrote counts), and tied when it has the run's id or nothing waits for it; a failure
/// line is found by its link's target. A failure note is a file of its own and never missing here.
pub fn contains(log: &[u8], edit: &DocumentEdit) -> bool {
    match edit {
        DocumentEdit::ObservationRow(row) => observations::contains(log, row),
        DocumentEdit::EvaluationRow(row) => evaluations::contains(log, row),
        DocumentEdit::RunRow { run, fills, add_missing, headers } => {
            run_row::contains(log, Request { run, fills, add_missing: *add_missing, headers })
        }
        DocumentEdit::TieRow { run, base, tag, cells, headers } => {
            pending::is_tied(log, Tie { run, base, tag, cells, headers })
        }
        DocumentEdit::FailureLine { file, .. } => failures::contains(log, file),
        DocumentEdit::FailureNote { .. } => true,
    }
}

/// Returns the observations that the log holds as (time, run, checkpoint), in the form of
/// [`crate::model::observation::ObservationRow`]. After a lost journal they count as made.
pub fn observed(log: &[u8]) -> Vec<(String, String, String)> {
    observations::observed(log).map(|seen| (seen.time, seen.run, seen.checkpoint)).collect()
}

/// Returns how many tables of the log have a row for each run: those with a `Run ID` column that are
/// not runscribe's own.
pub fn run_tables(log: &[u8], headers: &HeaderNames) -> usize {
    run_row::run_tables(log, headers).count()
}

/// The row of a run, to be pasted into the log's table of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowText {
    /// The header and the delimiter row of the table.
    pub header: Vec<String>,
    /// The row.
    pub row: String,
}

/// Returns the run's row as it would stand in the log's own table of runs: what is written there,
/// its empty cells filled.
///
/// # Errors
/// [`Held`] when the log must not be edited now; the row would not fit what it becomes.
pub fn row_text(
    log: Option<&[u8]>,
    run: &RunId,
    fills: Vec<CellFill>,
    headers: &HeaderNames,
) -> Result<RowText, Held> {
    let edit = DocumentEdit::RunRow {
        run: run.clone(),
        fills,
        add_missing: true,
        headers: headers.clone(),
    };
    let nowhere = Links { reports: String::new() };
    let filled = apply(log, &edit, &|_| None, &nowhere)?;
    let text = run_row::row_text(&filled.bytes, run, headers);
    text.ok_or_else(|| Held("the edited log would not show the row, look at its Markdown".into()))
}

/// Returns how the log's Machine column spells this host, or the host's name itself.
pub fn machine_spelling(log: Option<&[u8]>, host: &str, headers: &HeaderNames) -> String {
    machine::spelling(log.unwrap_or_default(), host, headers)
}

fn one(splice: Option<splice::Splice>) -> Filled {
    Filled { splices: splice.into_iter().collect(), cells: Vec::new() }
}

/// Returns the text to edit, or nothing when the edit needs no log.
fn editable<'a>(log: Option<&'a [u8]>, edit: &DocumentEdit) -> Result<Option<Cow<'a, [u8]>>, Held> {
    let needs_no_log = match edit {
        DocumentEdit::FailureNote { .. } => true,
        DocumentEdit::RunRow { add_missing, .. } => log.is_none() && !add_missing,
        DocumentEdit::TieRow { .. } => log.is_none(),
        _ => false,
    };
    if needs_no_log {
        return Ok(None);
    }
    text_to_edit(log).map(Some)
}

/// Returns the text to edit: a new one where there is no log.
fn text_to_edit(log: Option<&[u8]>) -> Result<Cow<'_, [u8]>, Held> {
    let Some(file) = log else {
        return Ok(Cow::Owned(run_row::new_log().into_bytes()));
    };
    if file.starts_with(b"\xFF\xFE") || file.starts_with(b"\xFE\xFF") {
        return Err(Held("the log is UTF-16: save it as UTF-8".into()));
    }
    match markdown::survey(file).conflict {
        Some(line) => {
            Err(Held(format!("line {line} is a merge conflict marker: resolve the conflict")))
        }
        None => Ok(Cow::Borrowed(file)),
    }
}
