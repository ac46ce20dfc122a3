//! Writing anew what stood on one side of a divided log.
//!
//! The journal holds every edit that was ever decided, and an edit can be made twice. So nothing
//! has to be merged: what our side had over the common origin is pending again, and the other side's
//! log gets it in the ordinary way. What stood in the origin already and is missing on the other side
//! was removed by a person, and stays removed.

use std::collections::{BTreeMap, BTreeSet};

use super::Now;
use super::batch;
use super::delivery::Delivery;
use super::journal::{CommitError, Journal, Recorded};
use super::outbox::DocumentKey;
use crate::document::OwnChanges;
use crate::model::divided::DividedLog;
use crate::model::ids::RunId;
use crate::model::observation::{DocumentEdit, RunColumn};

impl Delivery {
    /// Makes pending again what our side of the log has and the origin had not.
    pub(super) fn write_anew(
        &mut self,
        journal: &mut Journal,
        divided: &DividedLog,
        now: Now,
    ) -> Result<Vec<Recorded>, CommitError> {
        let mut changes = OwnChanges::new(&divided.origin, &divided.ours);
        let (mut again, mut cells) = (BTreeMap::new(), BTreeMap::new());
        journal.for_each_written(|id, edit| {
            let is_ours = match &edit {
                DocumentEdit::FailureNote { file, .. } => divided.notes.contains(file),
                edit => changes.has(edit),
            };
            if is_ours {
                self.remember_theirs(&divided.theirs, &edit, &mut cells);
                again.insert(id, DocumentKey::of(&edit));
            }
        })?;
        let ids: Vec<i64> = again.keys().copied().collect();
        journal.reopen(&ids, &cells)?;
        tracing::warn!(entries = ids.len(), "the log went two ways; writing its rows anew");
        for look in &mut self.looks {
            look.ids.retain(|id| !again.contains_key(id));
        }
        for key in again.into_values().collect::<BTreeSet<_>>() {
            self.wake(key, now);
        }
        self.places.keeper.is_pending_again();
        Ok(Vec::new())
    }

    /// Notes which of the values that we ever wrote into a cell the other side's log holds: that one
    /// is still ours to be updated.
    fn remember_theirs(
        &self,
        theirs: &[u8],
        edit: &DocumentEdit,
        cells: &mut BTreeMap<(RunId, RunColumn), Option<String>>,
    ) {
        let DocumentEdit::RunRow { run, fills, headers, .. } = edit else { return };
        for fill in fills {
            let known = cells.entry((run.clone(), fill.column)).or_default();
            let probe = batch::probe(run, fill, headers.clone());
            let asked = (&probe, fill.column, fill.value.as_str());
            // A log that cannot be edited now is held when it is edited, and says why.
            if batch::holds(&self.editor, Some(theirs), asked, &self.setting()).unwrap_or(false) {
                *known = Some(fill.value.clone());
            }
        }
    }
}
