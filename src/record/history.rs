//! Reading the journal beside the daemon, or without one: for `gate`, `explain` and the replay of
//! events.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::opening::{self, OpenError, Standing};
use super::{log_rows, rows, schema};
use crate::model::event::StoredEvent;
use crate::model::ids::{CheckpointId, RunId};
use crate::model::journal::{KnownLog, Memory};
use crate::model::observation::Observation;
use crate::model::shell_log::LogKey;
use crate::model::time::Moment;

/// The journal, open for reading. It takes no lock and delays no writer.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the journal of a state folder, whether a daemon runs or not.
    ///
    /// The file, its folder and the whole file system may belong to another user or be read-only.
    pub fn open(state_dir: &Path) -> Result<Self, OpenError> {
        let path = opening::journal_path(state_dir);
        if let Err(error) = std::fs::metadata(&path) {
            return Err(match error.kind() {
                std::io::ErrorKind::NotFound => OpenError::Missing { path },
                _ => OpenError::io(&path, error),
            });
        }
        let shared = connect(&path, false).and_then(|connection| {
            check(&connection, &path)?;
            Ok(connection)
        });
        let connection = match shared {
            Err(OpenError::Io { source, .. }) if needs_shared_memory(&*source, &path) => {
                let connection = connect(&path, true)?;
                check(&connection, &path)?;
                connection
            }
            other => other?,
        };
        Ok(Self { connection, path })
    }

    /// Returns the events after a sequence number in order, of one run or of all.
    pub fn events(
        &self,
        after: u64,
        limit: usize,
        run: Option<&RunId>,
    ) -> Result<Vec<StoredEvent>, OpenError> {
        let sql = match run {
            Some(_) => {
                "SELECT seq, body FROM events WHERE seq > ?1 AND run = ?3 ORDER BY seq LIMIT ?2"
            }
            None => {
                "SELECT seq, body FROM events WHERE seq > ?1 AND ?3 IS NULL ORDER BY seq LIMIT ?2"
            }
        };
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = || {
            let mut query = self.connection.prepare(sql)?;
            let found = query.query_map(params![after, limit, run.map(RunId::as_str)], |row| {
                let seq = u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default();
                Ok(StoredEvent { seq, event: rows::body(row, 1)? })
            })?;
            found.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(|error| OpenError::sqlite(&self.path, error))
    }

    /// Returns the first sequence number that is still kept; `None` if no event is.
    pub fn first_seq(&self) -> Result<Option<u64>, OpenError> {
        let seq: Option<i64> = self
            .connection
            .query_row("SELECT min(seq) FROM events", [], |row| row.get(0))
            .map_err(|error| OpenError::sqlite(&self.path, error))?;
        Ok(seq.and_then(|seq| u64::try_from(seq).ok()))
    }

    /// Returns the last sequence number that was given; 0 if none was.
    pub fn last_seq(&self) -> Result<u64, OpenError> {
        rows::last_seq(&self.connection).map_err(|error| OpenError::sqlite(&self.path, error))
    }

    /// Returns what is known of one shell log, with the state of its parser.
    pub fn shell_log(&self, key: &LogKey) -> Result<Option<KnownLog>, OpenError> {
        let known = log_rows::one(&self.connection, key);
        known.map_err(|error| OpenError::sqlite(&self.path, error))
    }

    /// Returns the observation of a checkpoint that was made at this time.
    pub fn observation(
        &self,
        checkpoint: &CheckpointId,
        time: Moment,
    ) -> Result<Option<Observation>, OpenError> {
        let found = rows::observation(&self.connection, checkpoint, time);
        found.map_err(|error| OpenError::sqlite(&self.path, error))
    }

    /// Returns what was written last into each cell of the runs' rows: run and value.
    pub fn cells(&self) -> Result<Vec<(String, String)>, OpenError> {
        let sql = "SELECT run, value FROM cells WHERE value IS NOT NULL";
        let cells = self.connection.prepare(sql).and_then(|mut query| {
            query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        });
        cells.map_err(|error| OpenError::sqlite(&self.path, error))
    }

    /// Returns all that the journal remembers.
    pub fn memory(&self) -> Result<Memory, OpenError> {
        rows::memory(&self.connection).map_err(|error| OpenError::sqlite(&self.path, error))
    }
}

fn connect(path: &Path, unchanging: bool) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = if unchanging {
        Connection::open_with_flags(unchanging_uri(path), flags | OpenFlags::SQLITE_OPEN_URI)
    } else {
        Connection::open_with_flags(path, flags)
    };
    let connection = opened.map_err(|error| OpenError::sqlite(path, error))?;
    connection
        .busy_timeout(Duration::from_secs(5))
        .and_then(|()| connection.pragma_update(None, "cache_size", super::journal::CACHE_KIB))
        .map_err(|error| OpenError::sqlite(path, error))?;
    Ok(connection)
}

/// Checks that the journal can be read as what this program knows.
fn check(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    match opening::version_of(connection, path)? {
        Standing::Version(found) if found < schema::version() => {
            Err(OpenError::Older { path: path.to_owned(), found, known: schema::version() })
        }
        Standing::Version(_) => Ok(()),
        Standing::Blank => Err(OpenError::Missing { path: path.to_owned() }),
    }
}

/// Returns whether the journal could not be opened only because a reader that may not write
/// beside it cannot make the memory that readers and writers share. Without a write-ahead log
/// nobody has written since the last clean stop, and the file can be read as one that does not
/// change: a daemon that starts during the few milliseconds of a `gate` is the accepted risk.
fn needs_shared_memory(error: &(dyn std::error::Error + 'static), path: &Path) -> bool {
    let refused = error
        .downcast_ref::<rusqlite::Error>()
        .and_then(rusqlite::Error::sqlite_error_code)
        .is_some_and(|code| {
            matches!(
                code,
                ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied
            )
        });
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log_is_empty = std::fs::metadata(log).map_or(true, |metadata| metadata.len() == 0);
    refused && log_is_empty
}

/// Returns the URI under which SQLite takes a file for one that nobody changes.
fn unchanging_uri(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            uri.push(char::from(byte));
        } else if write!(uri, "%{byte:02X}").is_err() {
            return uri;
        }
    }
    uri.push_str("?immutable=1");
    uri
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::journal::{Change, Transaction};
    use crate::record::samples::{
        DIFFUSION, PERCEIVER, Project, checkpoint, event, known_run, moment, observation, observed,
    };

    #[test]
    fn one_observation_is_found_by_checkpoint_and_time() {
        let project = Project::new();
        let mut journal = project.journal();
        let times = ["2026-02-25T14:03:07+01:00", "2026-02-25T14:03:08+01:00"];
        let changes = vec![
            observed(DIFFUSION, "checkpoint-20", "a", times[0]),
            observed(DIFFUSION, "checkpoint-20", "b", times[1]),
        ];
        let transaction = Transaction { changes, ..Transaction::default() };
        journal.commit(&transaction, project.now().moment).unwrap();
        let reader = project.reader();
        let found = |run: &str, name: &str, time: &str| {
            reader.observation(&checkpoint(run, name), moment(time)).unwrap()
        };
        for (seed, time) in [("a", times[0]), ("b", times[1])] {
            let expected = observation(DIFFUSION, "checkpoint-20", seed, time);
            assert_eq!(found(DIFFUSION, "checkpoint-20", time), Some(expected));
        }
        assert_eq!(found(DIFFUSION, "checkpoint-40", times[0]), None);
        assert_eq!(found(PERCEIVER, "checkpoint-20", times[0]), None);
        assert_eq!(found(DIFFUSION, "checkpoint-20", "2026-02-25T14:03:09+01:00"), None);
    }

    #[test]
    fn events_come_in_order_by_run_and_within_the_limit() {
        let project = Project::new();
        let mut journal = project.journal();
        let runs = [DIFFUSION, PERCEIVER, DIFFUSION, PERCEIVER];
        let events = runs.map(event).to_vec();
        let transaction = Transaction { events, ..Transaction::default() };
        journal.commit(&transaction, project.now().moment).unwrap();
        // The daemon holds the journal all the while.
        let reader = project.reader();
        let perceiver = RunId::new(PERCEIVER);
        for (after, limit, run, expected) in [
            (0, 10, None, vec![1, 2, 3, 4]),
            (1, 2, None, vec![2, 3]),
            (0, 10, Some(&perceiver), vec![2, 4]),
            (2, 10, Some(&perceiver), vec![4]),
            (4, 10, None, vec![]),
            (u64::MAX, usize::MAX, None, vec![]),
        ] {
            let found = reader.events(after, limit, run).unwrap();
            let seqs: Vec<_> = found.iter().map(|stored| stored.seq).collect();
            assert_eq!(seqs, expected, "after {after}, at most {limit}, {run:?}");
        }
        assert_eq!(reader.events(0, 1, None).unwrap()[0].event, event(DIFFUSION));
        // What is committed later is seen by the same reader.
        journal.commit(&transaction, project.now().moment).unwrap();
        assert_eq!(reader.last_seq().unwrap(), 8);
        journal.close().unwrap();
        assert_eq!(project.reader().last_seq().unwrap(), 8);
    }

    #[test]
    fn a_missing_journal_is_a_clear_error_and_stays_missing() {
        let project = Project::new();
        let error = Reader::open(&project.state()).unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }));
        assert!(error.to_string().contains("`runscribe watch` has not run"), "{error}");
        assert!(!project.state().exists());
    }

    #[test]
    fn an_older_journal_waits_for_the_daemon() {
        let project = Project::new();
        project.journal().close().unwrap();
        let path = project.state().join("journal.db");
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "user_version", 0).unwrap();
        drop(connection);
        let error = Reader::open(&project.state()).unwrap_err();
        assert!(matches!(error, OpenError::Older { found: 0, .. }), "{error}");
    }

    #[test]
    fn a_stopped_journal_is_read_without_writing_beside_it() {
        // This is the way taken where the folder belongs to another user or the file system is
        // read-only; neither can be had in a test that may run as root.
        let project = Project::new();
        let mut journal = project.journal();
        let changes = vec![Change::Run(known_run(DIFFUSION, 1))];
        let transaction = Transaction { changes, ..Transaction::default() };
        journal.commit(&transaction, project.now().moment).unwrap();
        journal.close().unwrap();
        let odd = project.root().join("odd %41?#ä name");
        fs::rename(project.state(), &odd).unwrap();
        let path = odd.join("journal.db");
        let connection = connect(&path, true).unwrap();
        check(&connection, &path).unwrap();
        assert_eq!(rows::memory(&connection).unwrap().runs.len(), 1);
        let mut names: Vec<_> =
            fs::read_dir(&odd).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["journal.db", "lock"]);
    }

    #[test]
    fn a_refused_shared_memory_is_told_from_other_errors() {
        let project = Project::new();
        project.journal().close().unwrap();
        let path = project.state().join("journal.db");
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        let refused = failure(rusqlite::ffi::SQLITE_CANTOPEN);
        assert!(needs_shared_memory(&refused, &path));
        assert!(!needs_shared_memory(&failure(rusqlite::ffi::SQLITE_FULL), &path));
        assert!(!needs_shared_memory(&std::fmt::Error, &path));
        // With a write-ahead log the file alone is not the whole journal.
        fs::write(project.state().join("journal.db-wal"), b"frames").unwrap();
        assert!(!needs_shared_memory(&refused, &path));
    }
}
