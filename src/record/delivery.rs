//! Delivery: from outbox entries to documents, one file at a time, without ever sleeping.
//!
//! Waiting for quiet, for a second look and for a held document are states with a due time. A
//! `Delivery::step` does what is due for one document and returns, so that a commit waits for
//! one replaced file at most.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use super::batch::{self, Composed};
use super::editing::{Editor, Setting};
use super::journal::{CommitError, Journal, Recorded};
use super::keeping::Leave;
use super::looks::Look;
use super::outbox::{Delivered, DocumentKey, Entry};
use super::places::{self, Places};
use super::reading::{self, Document, Stamp};
use super::replace::{self, ReplaceError, Replaced};
use super::waiting::Line;
use super::{Now, sweep};
use crate::model::event::{Happening, NewEvent};
use crate::model::ids::RunId;
use crate::model::journal::{DocumentsState, HeldDocument};
use crate::model::observation::DocumentEdit;

/// How many entries are joined in one new text at most.
const BATCH: usize = 500;
/// How many bytes of text are gone through for one batch, so that a commit never waits long for
/// a document: a long log takes fewer entries at a time.
const BATCH_BYTES: usize = 128 * 1024 * 1024;
/// With more runs than this in one batch, they are not delivered one by one.
const RUNS_APART: usize = 16;

/// Carries outbox entries into documents.
#[derive(Debug)]
pub struct Delivery {
    pub(super) places: Places,
    pub(super) editor: Editor,
    lines: BTreeMap<DocumentKey, Line>,
    pub(super) looks: Vec<Look>,
    /// The log's stamp after our last write.
    own: Option<Stamp>,
    swept: bool,
}

impl Delivery {
    /// Takes up what earlier lives left in the outbox. No document is touched yet.
    pub fn new(
        journal: &Journal,
        places: Places,
        editor: Editor,
        now: Now,
    ) -> Result<Self, CommitError> {
        let mut delivery = Self {
            places,
            editor,
            lines: BTreeMap::new(),
            looks: Vec::new(),
            own: None,
            swept: false,
        };
        for key in journal.pending_documents()? {
            delivery.wake(key, now);
        }
        let mut runs = BTreeSet::new();
        for (document, id, edit) in journal.written(None)? {
            runs.insert(RunId::new(edit.run()));
            match delivery.looks.iter_mut().find(|look| look.document == document) {
                Some(look) => look.ids.push(id),
                None => delivery.looks.push(Look::of(&document, vec![id], None)),
            }
        }
        // What was written last in an earlier life may not have come further than that.
        delivery.places.keeper.wrote(&runs);
        Ok(delivery)
    }

    /// Notices that an edit was committed.
    pub(super) fn notice(&mut self, edit: &DocumentEdit, now: Now) {
        self.wake(DocumentKey::of(edit), now);
    }

    /// Returns when the next step is due, `None` if nothing is to be done.
    pub(super) fn due(&self, now: Now) -> Option<Instant> {
        let lines = self.lines.values().map(Line::due);
        let looks = self.looks.iter().map(|look| look.due.unwrap_or(now.instant));
        let sweep = (!self.swept).then_some(now.instant);
        let anew = self.places.keeper.divided().map(|_| now.instant);
        lines.chain(looks).chain(sweep).chain(anew).min()
    }

    /// Does what is due for one document, if anything is.
    ///
    /// An error is the journal's; what was done to the document then is done again later, to the
    /// same end.
    pub(super) fn step(
        &mut self,
        journal: &mut Journal,
        now: Now,
    ) -> Result<Vec<Recorded>, CommitError> {
        if !self.swept {
            self.swept = true;
            sweep_folders(&self.places);
        }
        if let Some(divided) = self.places.keeper.divided() {
            return self.write_anew(journal, &divided, now);
        }
        for look in &mut self.looks {
            look.arm(now);
        }
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now.instant);
        if let Some(position) = self.looks.iter().position(|look| is_due(look.due)) {
            return self.look_again(journal, position, now);
        }
        let line = self.lines.iter().find(|(_, line)| line.due() <= now.instant);
        match line.map(|(key, _)| key.clone()) {
            None => Ok(Vec::new()),
            Some(DocumentKey::Note(file)) => self.deliver_note(journal, &file, now),
            Some(DocumentKey::Log) => self.deliver_log(journal, now),
        }
    }

    /// Returns the state of the documents for the snapshot.
    pub(super) fn state(&self, journal: &Journal) -> Result<DocumentsState, CommitError> {
        let (pending, held) = journal.open_documents()?;
        // What an earlier life could not write may be writable now: that is known once it is tried.
        let is_tried = |key: &DocumentKey| self.lines.get(key).is_some_and(Line::is_held);
        let held = held
            .into_iter()
            .filter(|held| is_tried(&held.document))
            .map(|held| HeldDocument {
                document: self.places.shown(&held.document),
                reason: held.reason,
                since: held.since,
                entries: held.entries,
            })
            .collect();
        Ok(DocumentsState { pending, held })
    }

    pub(super) fn wake(&mut self, key: DocumentKey, now: Now) {
        self.lines.entry(key).or_insert_with(|| Line::new(now));
    }

    /// Writes a failure note unless its file exists. A file with another text is a person's.
    fn deliver_note(
        &mut self,
        journal: &mut Journal,
        file: &str,
        now: Now,
    ) -> Result<Vec<Recorded>, CommitError> {
        let key = DocumentKey::Note(file.to_owned());
        let entries = journal.pending(&key, BATCH)?;
        let Some(DocumentEdit::FailureNote { text, .. }) = entries.first().map(|entry| &entry.edit)
        else {
            self.lines.remove(&key);
            return Ok(Vec::new());
        };
        if !places::is_plain_name(file) {
            let reason = format!("`{file}` is not a file name: the note is not written");
            return self.hold(journal, &key, &reason, now);
        }
        match self.places.keeper.ask(None) {
            Leave::Now => {}
            refused => return self.wait_or_hold(journal, &key, refused, now),
        }
        match self.create_note(&self.places.path(&key), text.as_bytes()) {
            Ok(()) | Err(ReplaceError::Changed) => {}
            Err(error) => return self.postpone(journal, &key, &error, now),
        }
        let delivered = Delivered {
            written: entries.iter().map(|entry| entry.id).collect(),
            events: self.announcements(journal, &entries, now)?,
            ..Delivered::default()
        };
        let recorded = journal.delivered(&key, &delivered, now.moment)?;
        self.finish(&key, delivered.written);
        let runs = entries.iter().map(|entry| RunId::new(entry.edit.run())).collect();
        self.places.keeper.wrote(&runs);
        // Lines of the log that link to the note have waited for it.
        self.wake(DocumentKey::Log, now);
        Ok(vec![recorded])
    }

    fn create_note(&self, path: &Path, text: &[u8]) -> Result<(), ReplaceError> {
        create_folder(&self.places.reports)?;
        replace::replace(path, None, text).map(drop)
    }

    /// Writes the log's pending entries as one new text.
    fn deliver_log(
        &mut self,
        journal: &mut Journal,
        now: Now,
    ) -> Result<Vec<Recorded>, CommitError> {
        let key = DocumentKey::Log;
        let mut entries = journal.pending(&key, BATCH)?;
        if entries.is_empty() {
            // Nothing is left, or all that is left waits for a note, which wakes this line.
            self.lines.remove(&key);
            return Ok(Vec::new());
        }
        match self.places.keeper.ask(Some(&self.places.log)) {
            Leave::Now => {}
            refused => return self.wait_or_hold(journal, &key, refused, now),
        }
        let read = match self.read_quiet_log(now) {
            Ok(Some(read)) => read,
            Ok(None) => return Ok(Vec::new()),
            Err(reason) => return self.hold(journal, &key, &reason, now),
        };
        let text = read.as_ref().map(|read| read.text.as_slice());
        let setting = self.setting();
        entries.truncate(batch_limit(text.map_or(0, <[u8]>::len)));
        let runs = one_delivery(&mut entries, setting.machine.is_some());
        let cells = journal.cells(&runs)?;
        let composed = match batch::compose(&self.editor, text, &entries, cells, &setting) {
            Ok(composed) => composed,
            Err(reason) => return self.hold(journal, &key, &reason, now),
        };
        journal.intend(&composed.fills)?;
        match self.write_log(read.as_ref(), &composed) {
            // Whatever the journal says next, the old file must be watched from now on.
            Ok(Some(Replaced { displaced: Some(displaced) })) => {
                self.looks.push(Look::of(&key, Vec::new(), Some(displaced)));
            }
            Ok(_) => {}
            Err(error) => return self.postpone(journal, &key, &error, now),
        }
        self.own = reading::stamp(&self.places.log).ok().flatten();
        let delivered = self.delivered(journal, &entries, composed, now)?;
        let recorded = journal.delivered(&key, &delivered, now.moment)?;
        self.finish(&key, delivered.written);
        self.places.keeper.wrote(&runs);
        // There may be more than one batch of them.
        self.wake(key, now);
        Ok(vec![recorded])
    }

    /// Reads the log if it is quiet; else the line is due when it may be.
    #[expect(
        clippy::option_option,
        reason = "the outer one says whether it is time, the inner one whether there is a log"
    )]
    fn read_quiet_log(&mut self, now: Now) -> Result<Option<Option<Document>>, String> {
        let stamp = reading::stamp(&self.places.log)?;
        let Some(line) = self.lines.get_mut(&DocumentKey::Log) else { return Ok(None) };
        // What we wrote last and nobody touched since needs no waiting for anybody.
        let is_own = stamp.is_some() && stamp == self.own;
        if is_own || line.is_quiet(stamp, now) {
            reading::read(&self.places.log).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn setting(&self) -> Setting {
        Setting { reports: self.places.reports_link(), machine: self.places.keeper.machine() }
    }

    fn write_log(
        &self,
        read: Option<&Document>,
        composed: &Composed,
    ) -> Result<Option<Replaced>, ReplaceError> {
        if !composed.changed {
            return Ok(None);
        }
        if read.is_none()
            && let Some(folder) = self.places.log.parent()
        {
            create_folder(folder)?;
        }
        replace::replace(&self.places.log, read, &composed.text).map(Some)
    }

    fn delivered(
        &self,
        journal: &Journal,
        entries: &[Entry],
        composed: Composed,
        now: Now,
    ) -> Result<Delivered, CommitError> {
        let mut delivered = Delivered {
            cells: composed.remembered,
            events: self.announcements(journal, entries, now)?,
            ..Delivered::default()
        };
        for (entry, (id, changed)) in entries.iter().zip(composed.entries) {
            // What a second look missed and a second edit cannot add stands there as well as it
            // ever will.
            let ended = entry.missed && !changed;
            if ended { delivered.done.push(id) } else { delivered.written.push(id) }
        }
        Ok(delivered)
    }

    /// Returns the events of entries that were never announced before.
    fn announcements(
        &self,
        journal: &Journal,
        entries: &[Entry],
        now: Now,
    ) -> Result<Vec<NewEvent>, CommitError> {
        let mut events = Vec::new();
        for entry in entries.iter().filter(|entry| !entry.announced) {
            let document = self.places.shown(&DocumentKey::of(&entry.edit));
            let (checkpoint, what) = match &entry.edit {
                DocumentEdit::ObservationRow(row) => {
                    (row.checkpoint.parse().ok(), Happening::ObservationWritten { document })
                }
                DocumentEdit::FailureNote { file, .. } => {
                    let failure =
                        journal.note_kind(file)?.unwrap_or_else(|| places::kind_in_name(file));
                    (None, Happening::FailureNoted { note: document, failure })
                }
                DocumentEdit::EvaluationRow(_)
                | DocumentEdit::RunRow { .. }
                | DocumentEdit::TieRow { .. }
                | DocumentEdit::FailureLine { .. } => continue,
            };
            let run = Some(RunId::new(entry.edit.run()));
            events.push(NewEvent { time: now.moment, run, checkpoint, what });
        }
        Ok(events)
    }

    /// Ends a delivery: the line is gone, the entries await their second look.
    fn finish(&mut self, key: &DocumentKey, ids: Vec<i64>) {
        self.lines.remove(key);
        match self.looks.last_mut() {
            // The look at the old file that this very step displaced: a save that comes back from
            // there takes these entries away again, so they are judged after it.
            Some(look) if look.document == *key && look.due.is_none() => look.ids.extend(ids),
            _ if ids.is_empty() => {}
            _ => self.looks.push(Look::of(key, ids, None)),
        }
    }

    /// Tries a document again: soon if somebody was faster, later if it is held.
    fn postpone(
        &mut self,
        journal: &mut Journal,
        key: &DocumentKey,
        error: &ReplaceError,
        now: Now,
    ) -> Result<Vec<Recorded>, CommitError> {
        let crossed = matches!(error, ReplaceError::Changed | ReplaceError::Busy);
        if crossed && self.lines.get_mut(key).is_some_and(|line| line.cross(now)) {
            return Ok(Vec::new());
        }
        let reason = match error {
            ReplaceError::Changed => format!(
                "`{}` is saved again and again while it is edited: it is tried again later",
                self.places.shown(key)
            ),
            other => other.to_string(),
        };
        self.hold(journal, key, &reason, now)
    }

    /// Does as the keeper of the documents says.
    fn wait_or_hold(
        &mut self,
        journal: &mut Journal,
        key: &DocumentKey,
        refused: Leave,
        now: Now,
    ) -> Result<Vec<Recorded>, CommitError> {
        if let Leave::Held(reason) = refused {
            return self.hold(journal, key, &reason, now);
        }
        if let Some(line) = self.lines.get_mut(key) {
            line.wait(now);
        }
        Ok(Vec::new())
    }

    fn hold(
        &mut self,
        journal: &mut Journal,
        key: &DocumentKey,
        reason: &str,
        now: Now,
    ) -> Result<Vec<Recorded>, CommitError> {
        self.places.keeper.wrote(&BTreeSet::new());
        if let Some(line) = self.lines.get_mut(key) {
            line.hold(now);
        }
        let what =
            Happening::DocumentHeld { document: self.places.shown(key), reason: reason.to_owned() };
        let event = NewEvent { time: now.moment, run: None, checkpoint: None, what };
        Ok(journal.hold(key, reason, event)?.into_iter().collect())
    }
}

/// Returns the runs of a delivery. Where each delivery is a commit, it is about one run, as long as
/// there are few of them.
fn one_delivery(entries: &mut Vec<Entry>, apart: bool) -> BTreeSet<RunId> {
    let run_of = |entry: &Entry| RunId::new(entry.edit.run());
    let runs: BTreeSet<RunId> = entries.iter().map(run_of).collect();
    let Some(first) = entries.first().map(run_of) else { return runs };
    if !apart || runs.len() > RUNS_APART {
        return runs;
    }
    entries.retain(|entry| run_of(entry) == first);
    BTreeSet::from([first])
}

/// Returns how many entries are joined for a text of this length.
fn batch_limit(length: usize) -> usize {
    BATCH_BYTES.checked_div(length).unwrap_or(BATCH).clamp(1, BATCH)
}

fn create_folder(folder: &Path) -> Result<(), ReplaceError> {
    fs::create_dir_all(folder).map_err(|error| {
        ReplaceError::Held(format!("cannot create the folder `{}`: {error}", folder.display()))
    })
}

fn sweep_folders(places: &Places) {
    sweep::beside(&places.log);
    if places.reports.is_dir() {
        sweep::within(&places.reports);
    }
}

#[cfg(test)]
mod tests;
