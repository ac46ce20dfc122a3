//! What one side of a divided log changed, so that it can be written anew on the other side's.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ids::RunId;
use crate::model::observation::{DocumentEdit, HeaderNames};

use super::{Seen, evaluations, failures, observations, run_row};

/// The changes that a log has over the one that it came from.
#[derive(Debug)]
pub struct OwnChanges<'a> {
    origin: &'a [u8],
    ours: &'a [u8],
    observations: BTreeSet<Seen>,
    rows: BTreeMap<RunId, bool>,
}

impl<'a> OwnChanges<'a> {
    /// Compares our log with the one that it came from; nothing stands for no log.
    pub fn new(origin: &'a [u8], ours: &'a [u8]) -> Self {
        let before: BTreeSet<Seen> = observations::observed(origin).collect();
        let new = observations::observed(ours).filter(|seen| !before.contains(seen));
        Self { origin, ours, observations: new.collect(), rows: BTreeMap::new() }
    }

    /// Returns whether an edit is among the changes. All edits of a run's row are when the row is
    /// another one than it was: what a cell held last is the sum of them.
    pub fn has(&mut self, edit: &DocumentEdit) -> bool {
        match edit {
            DocumentEdit::ObservationRow(row) => {
                self.observations.contains(&observations::key(row))
            }
            DocumentEdit::RunRow { run, headers, .. }
            | DocumentEdit::TieRow { run, headers, .. } => self.has_row(run, headers),
            DocumentEdit::FailureLine { file, .. } => {
                failures::contains(self.ours, file) && !failures::contains(self.origin, file)
            }
            DocumentEdit::EvaluationRow(row) => {
                evaluations::contains(self.ours, row) && !evaluations::contains(self.origin, row)
            }
            // A file of its own.
            DocumentEdit::FailureNote { .. } => false,
        }
    }

    fn has_row(&mut self, run: &RunId, headers: &HeaderNames) -> bool {
        if let Some(known) = self.rows.get(run) {
            return *known;
        }
        let ours = run_row::text(self.ours, run, headers);
        let differs = ours.is_some() && ours != run_row::text(self.origin, run, headers);
        self.rows.insert(run.clone(), differs);
        differs
    }
}
