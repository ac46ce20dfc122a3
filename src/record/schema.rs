//! The tables, version by version.

use rusqlite::{Connection, TransactionBehavior};

/// Stands in the header of every journal: `rscj` in ASCII.
pub(super) const APPLICATION_ID: i32 = 0x7273_636A;

/// The steps from each version to the next. Only ever appended to: a step that was released
/// stays as it is, so that every journal of any age takes the same way.
///
/// Runs, checkpoints and digests are text as in `model`; times are RFC 3339 with their offset;
/// `body` columns are JSON. NaN and infinities become `null` there and are read back as absent.
pub(super) const MIGRATIONS: &[&str] = &[
    r"
CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    checkpoint TEXT NOT NULL,
    digest TEXT NOT NULL,
    content TEXT NOT NULL,
    standing TEXT NOT NULL,
    first_complete TEXT NOT NULL,
    UNIQUE (run, checkpoint, digest)
) STRICT;

CREATE TABLE observations (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    checkpoint TEXT NOT NULL,
    digest TEXT NOT NULL,
    time TEXT NOT NULL,
    verdict TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (run, checkpoint, digest),
    UNIQUE (run, checkpoint, time)
) STRICT;

CREATE TABLE notes (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    kind TEXT NOT NULL,
    file TEXT NOT NULL,
    UNIQUE (run, kind)
) STRICT;
CREATE INDEX notes_by_file ON notes (file);

CREATE TABLE rejected_model_types (
    model_type TEXT PRIMARY KEY,
    protocol TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- AUTOINCREMENT: a number is never given twice, also after the newest events were pruned.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_run ON events (run, seq) WHERE run IS NOT NULL;

-- `document` is `log`, or `note:` and the file's name. `linking` marks entries of the log that
-- have to wait for the notes of their run. `missed` counts second looks that found nothing.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document TEXT NOT NULL,
    run TEXT NOT NULL,
    linking INTEGER NOT NULL,
    edit TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'written', 'done')),
    announced INTEGER NOT NULL DEFAULT 0,
    missed INTEGER NOT NULL DEFAULT 0,
    created TEXT NOT NULL,
    written TEXT
) STRICT;
CREATE INDEX outbox_open ON outbox (document, state, id) WHERE state <> 'done';

CREATE TABLE held (
    document TEXT PRIMARY KEY,
    reason TEXT NOT NULL,
    since TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `value` is what stands in the document by our hand, `intended` what is being written there:
-- after a crash between the two, the document tells which of them it is.
CREATE TABLE cells (
    run TEXT NOT NULL,
    field TEXT NOT NULL,
    value TEXT,
    intended TEXT,
    PRIMARY KEY (run, field)
) STRICT, WITHOUT ROWID;
",
    r"
-- Reported once: as long as the signature of its folder stays the same.
CREATE TABLE stuck (
    run TEXT NOT NULL,
    checkpoint TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (run, checkpoint)
) STRICT, WITHOUT ROWID;
",
    r"
-- A person may have an analysis repeated that failed for good. Then there are two observations of
-- one content, and the one that was superseded stays as what it is: history.
CREATE TABLE observations_2 (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    checkpoint TEXT NOT NULL,
    digest TEXT NOT NULL,
    time TEXT NOT NULL,
    verdict TEXT NOT NULL,
    body TEXT NOT NULL,
    superseded INTEGER NOT NULL DEFAULT 0,
    UNIQUE (run, checkpoint, time)
) STRICT;
INSERT INTO observations_2 (id, run, checkpoint, digest, time, verdict, body)
    SELECT id, run, checkpoint, digest, time, verdict, body FROM observations;
DROP TABLE observations;
ALTER TABLE observations_2 RENAME TO observations;
CREATE UNIQUE INDEX observations_that_count ON observations (run, checkpoint, digest)
    WHERE superseded = 0;
",
    r"
-- `position` is the offset up to which everything that a log says is recorded; `parser` is the
-- state of the parser behind it, as the parser itself prints it.
CREATE TABLE shell_logs (
    key TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    position INTEGER NOT NULL,
    length INTEGER NOT NULL,
    modified TEXT NOT NULL,
    run TEXT,
    marks TEXT NOT NULL,
    parser TEXT NOT NULL,
    reading TEXT NOT NULL
) STRICT;
CREATE INDEX shell_logs_by_age ON shell_logs (modified);
",
    r"
-- `old_since` is when a log was last written to that was old when it was first seen.
ALTER TABLE shell_logs ADD COLUMN old_since TEXT;

-- The state of a run's training as it was announced last. A run may be known only by its log.
CREATE TABLE run_states (
    run TEXT PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
",
    r"
-- Alerts that wait for their receivers, oldest first. `receiver` is a digest of the address, which
-- may be a secret and stands in the configuration only.
CREATE TABLE alerts (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver TEXT NOT NULL,
    id TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (receiver, id)
) STRICT;

-- Trouble that was alerted and has not ended; of the daemon itself where `run` is empty.
CREATE TABLE troubles (
    run TEXT NOT NULL,
    cause TEXT NOT NULL,
    checkpoint TEXT,
    PRIMARY KEY (run, cause)
) STRICT, WITHOUT ROWID;
",
    r"
-- One row for each task of each evaluation report; `run` is empty where it belongs to none.
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    task TEXT NOT NULL,
    run TEXT,
    body TEXT NOT NULL,
    UNIQUE (name, task)
) STRICT;

-- Where a person went past a gate; `name` is that of the file that told of it.
CREATE TABLE overrides (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    run TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
",
];

/// Returns the version that [`MIGRATIONS`] lead to.
pub(super) fn version() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Takes a journal through the steps that it has not taken, each of them whole or not at all.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> rusqlite::Result<()> {
    let from: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let taken = usize::try_from(from).unwrap_or(usize::MAX);
    for (position, step) in steps.iter().enumerate().skip(taken) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        let reached = i64::try_from(position + 1).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", reached)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_journal_takes_only_the_steps_that_it_lacks() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, MIGRATIONS).unwrap();
        connection.execute("INSERT INTO runs (run, body) VALUES ('r', '{}')", []).unwrap();

        let mut steps = MIGRATIONS.to_vec();
        steps.push("ALTER TABLE runs ADD COLUMN color TEXT NOT NULL DEFAULT 'blue';");
        migrate(&mut connection, &steps).unwrap();
        migrate(&mut connection, &steps).unwrap();

        let found: (String, String) = connection
            .query_row("SELECT run, color FROM runs", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(found, ("r".into(), "blue".into()));
        let version: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, version_of(&steps));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let mut connection = Connection::open_in_memory().unwrap();
        let mut steps = MIGRATIONS.to_vec();
        steps.push("CREATE TABLE half (id INTEGER); ALTER TABLE absent ADD COLUMN x;");
        assert!(migrate(&mut connection, &steps).is_err());
        let version: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, super::version());
        assert!(connection.prepare("SELECT * FROM half").is_err());
    }

    fn version_of(steps: &[&str]) -> i64 {
        i64::try_from(steps.len()).unwrap_or(-1)
    }
}
