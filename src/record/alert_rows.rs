//! Alerts that wait, and trouble that was alerted, as rows.

use rusqlite::types::Type;
use rusqlite::{Connection, Transaction as SqlTransaction, params};

use super::journal::CommitError;
use super::rows::{body, rows, to_body};
use crate::model::alert::{QueuedAlert, ReceiverKey, Trouble};
use crate::model::ids::{CheckpointName, RunId};

/// Writes an alert that waits, in the place of the one with its id, if there is one.
pub(super) fn write(sql: &SqlTransaction<'_>, queued: &QueuedAlert) -> Result<(), CommitError> {
    sql.execute(
        "INSERT INTO alerts (receiver, id, body) VALUES (?1, ?2, ?3)
         ON CONFLICT (receiver, id) DO UPDATE SET body = excluded.body",
        params![queued.receiver.as_str(), queued.alert.id, to_body(&queued.alert)?],
    )?;
    Ok(())
}

/// Forgets an alert that does not wait any more.
pub(super) fn forget(
    sql: &SqlTransaction<'_>,
    receiver: &ReceiverKey,
    id: &str,
) -> Result<(), CommitError> {
    sql.execute("DELETE FROM alerts WHERE receiver = ?1 AND id = ?2", [receiver.as_str(), id])?;
    Ok(())
}

/// Writes down that trouble was alerted.
pub(super) fn begin(
    sql: &SqlTransaction<'_>,
    trouble: &Trouble,
    checkpoint: Option<CheckpointName>,
) -> Result<(), CommitError> {
    let checkpoint = checkpoint.map(|name| name.to_string());
    sql.execute(
        "INSERT OR REPLACE INTO troubles (run, cause, checkpoint) VALUES (?1, ?2, ?3)",
        params![run_text(trouble), trouble.cause, checkpoint],
    )?;
    Ok(())
}

/// Writes down that trouble has ended.
pub(super) fn end(sql: &SqlTransaction<'_>, trouble: &Trouble) -> Result<(), CommitError> {
    sql.execute(
        "DELETE FROM troubles WHERE run = ?1 AND cause = ?2",
        params![run_text(trouble), trouble.cause],
    )?;
    Ok(())
}

/// Reads the alerts that wait, oldest first.
pub(super) fn alerts(connection: &Connection) -> rusqlite::Result<Vec<QueuedAlert>> {
    rows(connection, "alerts", "SELECT receiver, body FROM alerts ORDER BY seq", |row| {
        let receiver = ReceiverKey::new(row.get::<_, String>(0)?);
        Ok(QueuedAlert { receiver, alert: body(row, 1)? })
    })
}

/// Reads the trouble that was alerted and has not ended.
pub(super) fn troubles(
    connection: &Connection,
) -> rusqlite::Result<Vec<(Trouble, Option<CheckpointName>)>> {
    rows(connection, "troubles", "SELECT run, cause, checkpoint FROM troubles", |row| {
        let run = Some(row.get::<_, String>(0)?).filter(|run| !run.is_empty());
        let trouble = Trouble { run: run.map(RunId::new), cause: row.get(1)? };
        let checkpoint = row.get::<_, Option<String>>(2)?.map(|name| {
            name.parse().map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    2,
                    Type::Text,
                    Box::<_>::from(format!("{error}")),
                )
            })
        });
        let checkpoint: Option<CheckpointName> = checkpoint.transpose()?;
        Ok((trouble, checkpoint))
    })
}

fn run_text(trouble: &Trouble) -> &str {
    trouble.run.as_ref().map_or("", |run| run.as_str())
}
