//! The outbox: document edits that are decided but not yet known to stand in their document.
//!
//! An entry is `pending` until its document is written, `written` until a second look has found
//! it there, then `done`. What is remembered of a run's cells lies beside it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, Transaction as SqlTransaction, params};

use super::journal::{CommitError, Journal, Recorded};
use super::rows;
use crate::model::event::NewEvent;
use crate::model::ids::RunId;
use crate::model::observation::{DocumentEdit, RunColumn};
use crate::model::time::Moment;

/// Which document an entry is for. Notes order before the log, whose lines link to them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DocumentKey {
    /// A failure note, by its file name.
    Note(String),
    /// The experiment log.
    Log,
}

impl DocumentKey {
    /// Returns the document that an edit is for.
    pub(super) fn of(edit: &DocumentEdit) -> Self {
        match edit {
            DocumentEdit::FailureNote { file, .. } => Self::Note(file.clone()),
            DocumentEdit::ObservationRow(_)
            | DocumentEdit::EvaluationRow(_)
            | DocumentEdit::RunRow { .. }
            | DocumentEdit::TieRow { .. }
            | DocumentEdit::FailureLine { .. } => Self::Log,
        }
    }

    pub(super) fn stored(&self) -> String {
        match self {
            Self::Note(file) => format!("note:{file}"),
            Self::Log => "log".to_owned(),
        }
    }

    pub(super) fn from_stored(text: &str) -> Self {
        text.strip_prefix("note:").map_or(Self::Log, |file| Self::Note(file.to_owned()))
    }
}

/// One entry as it is delivered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Its number; entries of a document are applied in this order.
    pub(super) id: i64,
    /// What to do.
    pub(super) edit: DocumentEdit,
    /// Whether its event was recorded before.
    pub(super) announced: bool,
    /// Whether a second look has missed it once.
    pub(super) missed: bool,
}

/// What is remembered of one cell of a run's row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RememberedCell {
    /// What we last wrote there.
    pub(super) value: Option<String>,
    /// What we were about to write there when we last began to.
    pub(super) intended: Option<String>,
}

/// Remembered cells by run and column.
pub(super) type Cells = BTreeMap<(RunId, RunColumn), RememberedCell>;

/// What one delivery did, to be recorded in one transaction.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    /// Entries that stand in the document now and await the second look.
    pub(super) written: Vec<i64>,
    /// Entries that need no second look.
    pub(super) done: Vec<i64>,
    /// Cells that hold these values by our hand now.
    pub(super) cells: Vec<(RunId, RunColumn, Option<String>)>,
    /// What happened.
    pub(super) events: Vec<NewEvent>,
}

/// A document that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) document: DocumentKey,
    pub(super) reason: String,
    pub(super) since: String,
    /// Entries that wait for it, those of the log that wait for a note included.
    pub(super) entries: u64,
}

/// SQL that is true for an entry of the log that waits for an earlier note of its run. The whole
/// order within a run's row is kept by that, since all its later entries wait as well.
const BLOCKED: &str = "(outbox.linking AND EXISTS (
    SELECT 1 FROM outbox AS note WHERE note.state = 'pending' AND note.document LIKE 'note:%'
    AND note.run = outbox.run AND note.id < outbox.id))";

/// Writes one edit into an open transaction as a pending entry.
pub(super) fn add(
    sql: &SqlTransaction<'_>,
    edit: &DocumentEdit,
    now: Moment,
) -> Result<(), CommitError> {
    let linking = matches!(edit, DocumentEdit::RunRow { .. } | DocumentEdit::FailureLine { .. });
    sql.execute(
        "INSERT INTO outbox (document, run, linking, edit, state, created)
         VALUES (?1, ?2, ?3, ?4, 'pending', ?5)",
        params![
            DocumentKey::of(edit).stored(),
            edit.run(),
            linking,
            rows::to_body(edit)?,
            now.to_string()
        ],
    )?;
    Ok(())
}

impl Journal {
    /// Returns the documents that have pending entries.
    pub(super) fn pending_documents(&self) -> Result<BTreeSet<DocumentKey>, CommitError> {
        let mut query = self
            .connection
            .prepare("SELECT DISTINCT document FROM outbox WHERE state = 'pending'")?;
        let keys = query.query_map([], |row| row.get::<_, String>(0))?;
        Ok(keys
            .map(|key| key.map(|key| DocumentKey::from_stored(&key)))
            .collect::<Result<_, _>>()?)
    }

    /// Returns pending entries of a document that may be applied now, in order.
    pub(super) fn pending(
        &self,
        document: &DocumentKey,
        at_most: usize,
    ) -> Result<Vec<Entry>, CommitError> {
        let sql = format!(
            "SELECT id, edit, announced, missed FROM outbox
             WHERE document = ?1 AND state = 'pending' AND NOT {BLOCKED} ORDER BY id LIMIT ?2"
        );
        let mut query = self.connection.prepare(&sql)?;
        let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
        let entries = query.query_map(params![document.stored(), limit], |row| {
            Ok(Entry {
                id: row.get(0)?,
                edit: rows::body(row, 1)?,
                announced: row.get(2)?,
                missed: row.get::<_, i64>(3)? > 0,
            })
        })?;
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// Returns the entries that are written and not yet looked at again: all of them, or those of
    /// the list that still are.
    pub(super) fn written(
        &self,
        among: Option<&[i64]>,
    ) -> Result<Vec<(DocumentKey, i64, DocumentEdit)>, CommitError> {
        let mut query = self.connection.prepare(
            "SELECT document, id, edit FROM outbox WHERE state = 'written'
             AND (?1 IS NULL OR id IN (SELECT value FROM json_each(?1))) ORDER BY id",
        )?;
        let list = among.map(|ids| serde_json::json!(ids).to_string());
        let entries = query.query_map([list], |row| {
            let document = DocumentKey::from_stored(&row.get::<_, String>(0)?);
            Ok((document, row.get(1)?, rows::body(row, 2)?))
        })?;
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// Returns what is remembered of the cells of these runs.
    pub(super) fn cells(&self, runs: &BTreeSet<RunId>) -> Result<Cells, CommitError> {
        let mut query =
            self.connection.prepare("SELECT field, value, intended FROM cells WHERE run = ?1")?;
        let mut cells = Cells::new();
        for run in runs {
            let mut found = query.query([run.as_str()])?;
            while let Some(row) = found.next()? {
                let field: String = row.get(0)?;
                let Some(column) = RunColumn::ALL.into_iter().find(|known| known.as_str() == field)
                else {
                    continue;
                };
                let cell = RememberedCell { value: row.get(1)?, intended: row.get(2)? };
                cells.insert((run.clone(), column), cell);
            }
        }
        Ok(cells)
    }

    /// Records which values are about to be written into cells.
    pub(super) fn intend(
        &mut self,
        cells: &[(RunId, RunColumn, String)],
    ) -> Result<(), CommitError> {
        if cells.is_empty() {
            return Ok(());
        }
        self.record(&[], |sql| {
            let mut upsert = sql.prepare(
                "INSERT INTO cells (run, field, intended) VALUES (?1, ?2, ?3)
                 ON CONFLICT (run, field) DO UPDATE SET intended = excluded.intended",
            )?;
            for (run, column, value) in cells {
                upsert.execute(params![run.as_str(), column.as_str(), value])?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Records what one delivery did; the document is no longer held.
    pub(super) fn delivered(
        &mut self,
        document: &DocumentKey,
        delivered: &Delivered,
        now: Moment,
    ) -> Result<Recorded, CommitError> {
        self.record(&delivered.events, |sql| {
            let mut mark = sql.prepare(
                "UPDATE outbox SET state = ?2, written = ?3, announced = 1 WHERE id = ?1",
            )?;
            for (ids, state) in [(&delivered.written, "written"), (&delivered.done, "done")] {
                for id in ids {
                    mark.execute(params![id, state, now.to_string()])?;
                }
            }
            let mut upsert = sql.prepare(
                "INSERT INTO cells (run, field, value) VALUES (?1, ?2, ?3)
                 ON CONFLICT (run, field) DO UPDATE SET value = excluded.value, intended = NULL",
            )?;
            for (run, column, value) in &delivered.cells {
                upsert.execute(params![run.as_str(), column.as_str(), value])?;
            }
            sql.execute("DELETE FROM held WHERE document = ?1", [document.stored()])?;
            Ok(())
        })
    }

    /// Goes through all entries that were ever written, in order.
    pub(super) fn for_each_written(
        &self,
        mut with: impl FnMut(i64, DocumentEdit),
    ) -> Result<(), CommitError> {
        let mut query = self
            .connection
            .prepare("SELECT id, edit FROM outbox WHERE state <> 'pending' ORDER BY id")?;
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            with(row.get(0)?, rows::body(row, 1)?);
        }
        Ok(())
    }

    /// Makes entries pending again, with what is now remembered of the cells.
    pub(super) fn reopen(
        &mut self,
        ids: &[i64],
        cells: &BTreeMap<(RunId, RunColumn), Option<String>>,
    ) -> Result<(), CommitError> {
        self.record(&[], |sql| {
            let mut mark =
                sql.prepare("UPDATE outbox SET state = 'pending', missed = 0 WHERE id = ?1")?;
            for id in ids {
                mark.execute([id])?;
            }
            let mut remember = sql.prepare(
                "UPDATE cells SET value = ?3, intended = NULL WHERE run = ?1 AND field = ?2",
            )?;
            for ((run, column), value) in cells {
                remember.execute(params![run.as_str(), column.as_str(), value])?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Records a second look: `found` entries are done. From the first missing one on, everything
    /// written into the document is pending again, so that an older value never lands on a newer.
    ///
    /// Returns the entries that are pending again.
    pub(super) fn looked(
        &mut self,
        document: &DocumentKey,
        found: &[i64],
        missing: &[i64],
    ) -> Result<Vec<i64>, CommitError> {
        let mut again = Vec::new();
        if found.is_empty() && missing.is_empty() {
            return Ok(again);
        }
        self.record(&[], |sql| {
            for id in found {
                sql.execute("UPDATE outbox SET state = 'done' WHERE id = ?1", [id])?;
            }
            for id in missing {
                sql.execute("UPDATE outbox SET missed = missed + 1 WHERE id = ?1", [id])?;
            }
            let Some(first) = missing.iter().min() else { return Ok(()) };
            let mut repeat = sql.prepare(
                "UPDATE outbox SET state = 'pending'
                 WHERE document = ?1 AND state = 'written' AND id >= ?2 RETURNING id",
            )?;
            let ids = repeat.query_map(params![document.stored(), first], |row| row.get(0))?;
            again = ids.collect::<Result<_, _>>()?;
            Ok(())
        })?;
        Ok(again)
    }

    /// Records that a document cannot be written. The event is recorded only when the reason is
    /// another one than before, also before a restart.
    pub(super) fn hold(
        &mut self,
        document: &DocumentKey,
        reason: &str,
        event: NewEvent,
    ) -> Result<Option<Recorded>, CommitError> {
        let key = document.stored();
        let before: Option<String> = self
            .connection
            .query_row("SELECT reason FROM held WHERE document = ?1", [&key], |row| row.get(0))
            .optional()?;
        if before.as_deref() == Some(reason) {
            return Ok(None);
        }
        let since = event.time.to_string();
        let recorded = self.record(&[event], |sql| {
            sql.execute(
                "INSERT INTO held (document, reason, since) VALUES (?1, ?2, ?3)
                 ON CONFLICT (document) DO UPDATE SET reason = excluded.reason",
                params![key, reason, since],
            )?;
            Ok(())
        })?;
        Ok(Some(recorded))
    }

    /// Returns how many entries are not done, and the held documents. Each open entry is counted
    /// for one document at most: one that waits for a note is counted for the note.
    pub(super) fn open_documents(&self) -> Result<(u64, Vec<Held>), CommitError> {
        let count = |sql: &str, key: &str| {
            self.connection.query_row(sql, [key], |row| row.get::<_, i64>(0)).map(unsigned)
        };
        let pending = count("SELECT count(*) FROM outbox WHERE state <> 'done' AND ?1 = ''", "")?;
        let own = format!(
            "SELECT count(*) FROM outbox WHERE state <> 'done' AND document = ?1
             AND NOT (state = 'pending' AND {BLOCKED})"
        );
        let waiting = format!(
            "SELECT count(*) FROM outbox WHERE state = 'pending' AND {BLOCKED} AND ?1 = (
                 SELECT note.document FROM outbox AS note WHERE note.state = 'pending'
                 AND note.document LIKE 'note:%' AND note.run = outbox.run
                 AND note.id < outbox.id ORDER BY note.id LIMIT 1)"
        );
        let mut query = self
            .connection
            .prepare("SELECT document, reason, since FROM held ORDER BY document")?;
        let mut found = query.query([])?;
        let mut held = Vec::new();
        while let Some(row) = found.next()? {
            let key: String = row.get(0)?;
            held.push(Held {
                document: DocumentKey::from_stored(&key),
                reason: row.get(1)?,
                since: row.get(2)?,
                entries: count(&own, &key)? + count(&waiting, &key)?,
            });
        }
        Ok((pending, held))
    }

    /// Returns the kind under which a failure note was decided.
    pub(super) fn note_kind(&self, file: &str) -> Result<Option<String>, CommitError> {
        let kind = self
            .connection
            .query_row("SELECT kind FROM notes WHERE file = ?1", [file], |row| row.get(0))
            .optional()?;
        Ok(kind)
    }
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
