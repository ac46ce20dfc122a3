//! A run under another id: everything that is known of it belongs to that one.

use std::time::Duration;

use rusqlite::{Transaction as SqlTransaction, params};

use super::evaluation_rows;
use super::journal::CommitError;
use super::rows::{moment, to_body};
use crate::model::ids::RunId;
use crate::model::journal::Standing;

/// Moves everything of a run to another id, except events and outbox entries: those were decided
/// and perhaps shown under the old name. Where both ids know the same content, one of them stays.
pub(super) fn change(
    sql: &SqlTransaction<'_>,
    from: &RunId,
    to: &RunId,
) -> Result<(), CommitError> {
    if from == to {
        return Ok(());
    }
    let ids = params![from.as_str(), to.as_str()];
    let observed = to_body(&Standing::Observed)?;
    sql.execute("UPDATE OR REPLACE runs SET run = ?2 WHERE run = ?1", ids)?;
    sql.execute(
        "UPDATE checkpoints SET standing = ?3 WHERE run = ?2 AND EXISTS (
             SELECT 1 FROM checkpoints AS old WHERE old.run = ?1 AND old.standing = ?3
             AND old.checkpoint = checkpoints.checkpoint AND old.digest = checkpoints.digest)",
        params![from.as_str(), to.as_str(), observed],
    )?;
    sql.execute("UPDATE OR IGNORE checkpoints SET run = ?2 WHERE run = ?1", ids)?;
    sql.execute("DELETE FROM checkpoints WHERE run = ?1", [from.as_str()])?;
    sql.execute(
        "DELETE FROM observations WHERE run = ?1 AND EXISTS (
             SELECT 1 FROM observations AS kept WHERE kept.run = ?2
             AND kept.superseded = 0
             AND kept.checkpoint = observations.checkpoint AND kept.digest = observations.digest)",
        ids,
    )?;
    make_times_unique(sql, from, to)?;
    sql.execute("UPDATE observations SET run = ?2 WHERE run = ?1", ids)?;
    sql.execute("UPDATE OR IGNORE notes SET run = ?2 WHERE run = ?1", ids)?;
    sql.execute("DELETE FROM notes WHERE run = ?1", [from.as_str()])?;
    sql.execute("UPDATE OR REPLACE cells SET run = ?2 WHERE run = ?1", ids)?;
    sql.execute("UPDATE OR REPLACE stuck SET run = ?2 WHERE run = ?1", ids)?;
    sql.execute("UPDATE shell_logs SET run = ?2 WHERE run = ?1", ids)?;
    sql.execute("UPDATE OR REPLACE run_states SET run = ?2 WHERE run = ?1", ids)?;
    sql.execute("UPDATE OR REPLACE troubles SET run = ?2 WHERE run = ?1", ids)?;
    evaluation_rows::rename(sql, from, to)?;
    Ok(())
}

/// Moves the times of a run's observations by whole seconds where another run has them already.
fn make_times_unique(
    sql: &SqlTransaction<'_>,
    from: &RunId,
    to: &RunId,
) -> Result<(), CommitError> {
    let mut clashes = sql.prepare(
        "SELECT old.id, old.checkpoint, old.time FROM observations AS old
         JOIN observations AS kept USING (checkpoint, time)
         WHERE old.run = ?1 AND kept.run = ?2",
    )?;
    let rows = clashes
        .query_map(params![from.as_str(), to.as_str()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, moment(row, 2)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    for (id, checkpoint, mut time) in rows {
        loop {
            time = time.after(Duration::from_secs(1));
            let taken: i64 = sql.query_row(
                "SELECT count(*) FROM observations
                 WHERE run IN (?1, ?2) AND checkpoint = ?3 AND time = ?4",
                params![from.as_str(), to.as_str(), checkpoint, time.to_string()],
                |row| row.get(0),
            )?;
            if taken == 0 {
                break;
            }
        }
        sql.execute(
            "UPDATE observations SET time = ?2 WHERE id = ?1",
            params![id, time.to_string()],
        )?;
    }
    Ok(())
}
