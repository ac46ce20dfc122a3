//! The journal: what was seen, analyzed, judged and written. SQLite with one writer.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{
    Connection, ErrorCode, OpenFlags, Transaction as SqlTransaction, TransactionBehavior, params,
};

use super::lock::StateLock;
use super::opening::{self, OpenError, Standing};
use super::{outbox, rows, schema};
use crate::model::event::{NewEvent, StoredEvent};
use crate::model::ids::{CheckpointId, Digest};
use crate::model::journal::{Memory, Transaction};
use crate::model::time::Moment;

/// How many events may come before those beyond `keep_events` are removed.
const PRUNE_EVERY: u64 = 1024;
/// How many events are removed at a time at most, so that no commit waits long for it.
const PRUNE_AT_MOST: u64 = 10_000;
/// How many finished outbox entries are kept, for a person who looks for them.
const KEEP_FINISHED: i64 = 1000;

/// The journal, open for writing. There is one for each state folder, held by a lock.
#[derive(Debug)]
pub struct Journal {
    pub(super) connection: Connection,
    _lock: StateLock,
    id: String,
    keep_events: u64,
    last_seq: u64,
    pruned_at: u64,
}

/// What a transaction made durable. Only the journal can make one, so what is announced is
/// durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    ticket: Option<u64>,
    events: Vec<StoredEvent>,
    last_seq: u64,
}

impl Recorded {
    /// Returns the ticket of the request, `None` for what delivery recorded by itself.
    pub fn ticket(&self) -> Option<u64> {
        self.ticket
    }

    /// Returns the events with their sequence numbers, in order.
    pub fn events(&self) -> &[StoredEvent] {
        &self.events
    }

    /// Returns the last sequence number of the journal.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(super) fn with_ticket(self, ticket: u64) -> Self {
        Self { ticket: Some(ticket), ..self }
    }
}

/// Why a transaction is not recorded. Nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// There is an observation of this content already.
    #[error("`{0}` with content {1} is observed already")]
    AlreadyObserved(CheckpointId, Digest),
    /// There is an observation of this checkpoint with the same time.
    #[error("`{0}` has an observation at {1} already")]
    TimeTaken(CheckpointId, Moment),
    /// It cannot be stored, whenever it is tried.
    #[error("the journal cannot hold this: {0}")]
    Refused(String),
    /// The journal cannot be written now; the same transaction may be tried again.
    #[error("the journal cannot be written: {reason}")]
    Unwritable {
        /// What is wrong and what to do.
        reason: String,
        /// SQLite's own error.
        source: rusqlite::Error,
    },
}

impl CommitError {
    /// Returns whether trying again is of no use.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Unwritable { .. })
    }
}

impl From<rusqlite::Error> for CommitError {
    fn from(source: rusqlite::Error) -> Self {
        let advice = match source.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                return Self::Refused(source.to_string());
            }
            Some(ErrorCode::DiskFull) => "no space is left where `state_dir` is; free some",
            Some(ErrorCode::ReadOnly) => "the file system of `state_dir` is read-only",
            Some(ErrorCode::SystemIoFailure) => "the disk of `state_dir` fails; see the kernel log",
            Some(ErrorCode::CannotOpen) => "`state_dir` is gone or not accessible",
            _ => "see the cause",
        };
        Self::Unwritable { reason: format!("{source} ({advice})"), source }
    }
}

/// Memory for pages of the journal, in KiB as SQLite's negative numbers say: all of it is read once,
/// at the start, and then a few rows at a time are written.
pub(super) const CACHE_KIB: i64 = -256;

impl Journal {
    /// Opens the journal of a state folder, makes folder and journal if there is none, brings an
    /// older one up to date, and returns it with all that it remembers.
    ///
    /// `keep_events` newest events are kept for replay, and a bounded number more.
    pub fn open(state_dir: &Path, keep_events: u64) -> Result<(Self, Memory), OpenError> {
        fs::create_dir_all(state_dir).map_err(|error| OpenError::io(state_dir, error))?;
        opening::check_file_system(state_dir)?;
        let lock = StateLock::acquire(state_dir)?;
        let path = opening::journal_path(state_dir);
        let standing = opening::inspect(&path)?;
        let sqlite = |error| OpenError::sqlite(&path, error);
        let mut connection = connect(&path).map_err(sqlite)?;
        schema::migrate(&mut connection, schema::MIGRATIONS).map_err(sqlite)?;
        if standing == Standing::Blank {
            sync_folder(state_dir)?;
        }
        let id = ensure_id(&connection, &path)?;
        let memory = rows::memory(&connection).map_err(sqlite)?;
        let journal = Self {
            connection,
            _lock: lock,
            id,
            keep_events: keep_events.max(1),
            last_seq: memory.last_seq,
            pruned_at: 0,
        };
        Ok((journal, memory))
    }

    /// Returns the journal's id; another one means that the old journal was lost.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Makes a transaction durable, all of it or nothing.
    ///
    /// After an error the journal can be used as before.
    pub fn commit(
        &mut self,
        transaction: &Transaction,
        now: Moment,
    ) -> Result<Recorded, CommitError> {
        self.record(&transaction.events, |sql| {
            for change in &transaction.changes {
                rows::write_change(sql, change)?;
            }
            for edit in &transaction.documents {
                outbox::add(sql, edit, now)?;
            }
            Ok(())
        })
    }

    /// Writes changes and their events in one transaction.
    pub(super) fn record(
        &mut self,
        events: &[NewEvent],
        changes: impl FnOnce(&SqlTransaction<'_>) -> Result<(), CommitError>,
    ) -> Result<Recorded, CommitError> {
        let sql = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        changes(&sql)?;
        let events = rows::write_events(&sql, events)?;
        sql.commit()?;
        if let Some(last) = events.last() {
            self.last_seq = last.seq;
        }
        if self.last_seq >= self.pruned_at.saturating_add(PRUNE_EVERY) {
            self.prune();
        }
        Ok(Recorded { ticket: None, events, last_seq: self.last_seq })
    }

    /// Closes the journal in order: what it holds lies in one file afterwards.
    pub fn close(self) -> Result<(), CommitError> {
        self.connection.close().map_err(|(_, error)| error.into())
    }

    /// Removes events beyond `keep_events` and old finished entries. Its failure costs only space.
    fn prune(&mut self) {
        self.pruned_at = self.last_seq;
        if let Err(error) = self.try_prune() {
            tracing::debug!(%error, "old events are not removed");
        }
    }

    fn try_prune(&self) -> rusqlite::Result<()> {
        let before = i64::try_from(self.last_seq.saturating_sub(self.keep_events)).unwrap_or(0);
        let at_most = i64::try_from(PRUNE_AT_MOST).unwrap_or(i64::MAX);
        let sql = self.connection.unchecked_transaction()?;
        sql.execute(
            "DELETE FROM events
             WHERE seq <= min(?1, (SELECT min(seq) FROM events) + ?2)",
            params![before, at_most],
        )?;
        sql.execute(
            "DELETE FROM outbox
             WHERE state = 'done' AND id <= (SELECT max(id) FROM outbox) - ?1",
            [KEEP_FINISHED],
        )?;
        sql.commit()
    }
}

/// Opens the one writing connection.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |row| {
        // A file system without shared memory leaves another mode in force, and says so only here.
        let mode: String = row.get(0)?;
        if mode.eq_ignore_ascii_case("wal") { Ok(()) } else { Err(wal_refused(&mode)) }
    })?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    Ok(connection)
}

fn wal_refused(mode: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
    let text = format!("a write-ahead log is not possible here, the mode stays `{mode}`");
    rusqlite::Error::SqliteFailure(code, Some(text))
}

/// Returns the journal's id and makes one if it has none.
fn ensure_id(connection: &Connection, path: &Path) -> Result<String, OpenError> {
    let sqlite = |error| OpenError::sqlite(path, error);
    if let Some(id) = rows::fact(connection, "journal").map_err(sqlite)? {
        return Ok(id);
    }
    let source = PathBuf::from("/dev/urandom");
    let mut bytes = [0; 8];
    fs::File::open(&source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| OpenError::io(&source, error))?;
    let id = Digest::from_bytes(&bytes).as_str().to_owned();
    connection
        .execute("INSERT INTO facts (name, value) VALUES ('journal', ?1)", [&id])
        .map_err(sqlite)?;
    Ok(id)
}

fn sync_folder(folder: &Path) -> Result<(), OpenError> {
    fs::File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|error| OpenError::io(folder, error))
}

#[cfg(test)]
mod tests;
