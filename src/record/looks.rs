//! The second look: an entry is done only when it is found in its document some time after it was
//! written, since an editor's save may have overtaken it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Now;
use super::delivery::Delivery;
use super::journal::{CommitError, Journal, Recorded};
use super::late::Displaced;
use super::outbox::DocumentKey;
use super::waiting::QUIET;
use super::{reading, replace};
use crate::model::observation::DocumentEdit;

/// A written entry is looked at again after this time.
const LOOK_AFTER: Duration = Duration::from_secs(2);
/// How often a second look waits for a save that goes into the old file.
const POSTPONED_AT_MOST: u32 = 50;

/// Entries that were written and are to be looked at again.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) document: DocumentKey,
    pub(super) ids: Vec<i64>,
    /// `None` until the first turn after the write: only then is it known to be over.
    pub(super) due: Option<Instant>,
    /// The old file of the write before.
    displaced: Option<Displaced>,
    /// How often it waited for a late save to end.
    postponed: u32,
}

impl Look {
    pub(super) fn of(document: &DocumentKey, ids: Vec<i64>, displaced: Option<Displaced>) -> Self {
        Self { document: document.clone(), ids, due: None, displaced, postponed: 0 }
    }

    /// Sets the due time of a look that has none: the write before it is known to be over.
    pub(super) fn arm(&mut self, now: Now) {
        self.due.get_or_insert(now.instant + LOOK_AFTER);
    }
}

impl Delivery {
    /// Looks again at written entries. Those that an editor's save has overtaken are written anew.
    pub(super) fn look_again(
        &mut self,
        journal: &mut Journal,
        position: usize,
        now: Now,
    ) -> Result<Vec<Recorded>, CommitError> {
        if self.is_in_other_hands(position, now) || self.is_late_save_unfinished(position, now) {
            return Ok(Vec::new());
        }
        let Some(look) = self.looks.get_mut(position) else { return Ok(Vec::new()) };
        let document = look.document.clone();
        let path = self.places.path(&document);
        if let Some(displaced) = look.displaced.take()
            && let Err(error) = return_late_save(&displaced, &path)
        {
            tracing::error!(%error, "a save that crossed an edit of this document may be lost");
        }
        let entries = journal.written(Some(&look.ids))?;
        let (found, missing) = self.sort_by_presence(&path, entries);
        let again = journal.looked(&document, &found, &missing)?;
        self.looks.remove(position);
        if !again.is_empty() {
            for look in self.looks.iter_mut().filter(|look| look.document == document) {
                look.ids.retain(|id| !again.contains(id));
            }
            self.wake(document, now);
        }
        Ok(Vec::new())
    }

    /// Returns whether what was written is not kept yet, and looks again later then.
    fn is_in_other_hands(&mut self, position: usize, now: Now) -> bool {
        let waits = !self.places.keeper.is_at_rest();
        if let Some(look) = self.looks.get_mut(position).filter(|_| waits) {
            look.due = Some(now.instant + QUIET);
        }
        waits
    }

    /// Returns whether the old file is being written right now, and looks again later then.
    fn is_late_save_unfinished(&mut self, position: usize, now: Now) -> bool {
        let Some(look) = self.looks.get_mut(position) else { return false };
        let unfinished = look.displaced.as_ref().is_some_and(|displaced| {
            let fresh = |written| now.moment.since(written) < QUIET;
            displaced.last_write().is_some_and(fresh) || displaced.is_emptied()
        });
        // A program that never closes the old file is not waited for.
        let waits = unfinished && look.postponed < POSTPONED_AT_MOST;
        if waits {
            look.postponed += 1;
            look.due = Some(now.instant + QUIET);
        }
        waits
    }

    /// Sorts written entries into those that stand in their document and those that do not.
    fn sort_by_presence(
        &self,
        path: &Path,
        entries: Vec<(DocumentKey, i64, DocumentEdit)>,
    ) -> (Vec<i64>, Vec<i64>) {
        // A document that cannot be read is delivered to again, which states the reason.
        let document = reading::read(path).ok().flatten();
        let stands = |edit: &DocumentEdit| match (edit, &document) {
            (_, None) => false,
            (DocumentEdit::FailureNote { .. }, Some(_)) => true,
            (edit, Some(read)) => (self.editor.contains)(&read.text, edit),
        };
        let (found, missing): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, _, edit)| stands(edit));
        let ids = |entries: Vec<(DocumentKey, i64, DocumentEdit)>| {
            entries.into_iter().map(|(_, id, _)| id).collect()
        };
        (ids(found), ids(missing))
    }
}

/// Gives a save that went into the displaced file its place, if nothing newer is there. The
/// entries that it lacks are found missing right after.
fn return_late_save(displaced: &Displaced, path: &Path) -> Result<(), String> {
    let saved = displaced.saved_since().map_err(|error| error.to_string())?;
    let Some(saved) = saved.filter(|text| !text.is_empty()) else { return Ok(()) };
    if let Some(current) = reading::read(path)?
        && replace::fingerprint(&current.text) == displaced.successor()
        && replace::replace(path, Some(&current), &saved).is_ok()
    {
        return Ok(());
    }
    replace::keep_beside(path, &saved).map_err(|error| error.to_string())
}
