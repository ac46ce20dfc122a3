//! The nouns of `model::journal` as rows: one function for each change, one for each table read.
//!
//! Bodies are JSON. The id columns beside a body are the authority: a renamed run changes them
//! and leaves the bodies alone.

use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction as SqlTransaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::journal::CommitError;
use super::{alert_rows, evaluation_rows, log_rows, run_names};
use crate::model::event::{NewEvent, StoredEvent};
use crate::model::ids::{CheckpointId, CheckpointName, Digest, RunId};
use crate::model::journal::{Change, KnownCheckpoint, KnownRun, Memory, Standing};
use crate::model::observation::{Observation, ObservationOutcome};
use crate::model::time::Moment;
use crate::model::training::KnownState;

/// Writes one change into an open transaction.
pub(super) fn write_change(sql: &SqlTransaction<'_>, change: &Change) -> Result<(), CommitError> {
    match change {
        Change::Run(known) => write_run(sql, known),
        Change::RunRenamed { from, to } => run_names::change(sql, from, to),
        Change::CheckpointComplete { checkpoint, content, time } => {
            let body = to_body(&**content)?;
            let pending = to_body(&Standing::Pending)?;
            // Seen complete a second time, a content keeps its first time and its standing.
            sql.execute(
                "INSERT INTO checkpoints (run, checkpoint, digest, content, standing,
                 first_complete) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (run, checkpoint, digest) DO UPDATE SET content = excluded.content",
                params![
                    checkpoint.run.as_str(),
                    checkpoint.name.to_string(),
                    content.digest.as_str(),
                    body,
                    pending,
                    time.to_string()
                ],
            )?;
            Ok(())
        }
        Change::Standing { checkpoint, digest, standing } => {
            write_standing(sql, checkpoint, digest, standing)
        }
        Change::Observed(observation) => write_observation(sql, observation),
        Change::NoteDecided { run, kind, file } => write_note(sql, run, kind, file),
        // A process that is killed before its first scan ended leaves "which runs are old" to be
        // decided anew.
        Change::FirstScanEnded => write_fact(sql, "first_scan", Some("ended")),
        Change::StuckReported { checkpoint, signature } => write_stuck(sql, checkpoint, *signature),
        Change::Reopened { checkpoint, digest } => reopen(sql, checkpoint, digest),
        Change::Paused(since) => {
            write_fact(sql, "paused", since.map(|since| since.to_string()).as_deref())
        }
        Change::Asked(asked) => write_fact(sql, "asked", Some(&to_body(asked)?)),
        Change::ShellLog(known) => log_rows::write(sql, known),
        Change::ShellLogGone(key) => log_rows::forget(sql, key),
        Change::RunState(run, state) => write_state(sql, run, state),
        Change::Alert(queued) => alert_rows::write(sql, queued),
        Change::AlertEnded { receiver, id } => alert_rows::forget(sql, receiver, id),
        Change::TroubleBegan(trouble, checkpoint) => alert_rows::begin(sql, trouble, *checkpoint),
        Change::TroubleEnded(trouble) => alert_rows::end(sql, trouble),
        Change::Evaluated(known) => evaluation_rows::write(sql, known),
        Change::EvaluationsLooked => write_fact(sql, "evaluations", Some("looked")),
        Change::GateOverridden(one) => evaluation_rows::write_override(sql, one),
        Change::ModelTypeRejected { model_type, protocol } => {
            sql.execute(
                "INSERT INTO rejected_model_types (model_type, protocol) VALUES (?1, ?2)
                 ON CONFLICT (model_type) DO UPDATE SET protocol = excluded.protocol",
                params![model_type, protocol],
            )?;
            Ok(())
        }
    }
}

fn write_run(sql: &SqlTransaction<'_>, known: &KnownRun) -> Result<(), CommitError> {
    sql.execute(
        "INSERT INTO runs (run, body) VALUES (?1, ?2)
         ON CONFLICT (run) DO UPDATE SET body = excluded.body",
        params![known.run.as_str(), to_body(known)?],
    )?;
    Ok(())
}

fn write_state(
    sql: &SqlTransaction<'_>,
    run: &RunId,
    state: &KnownState,
) -> Result<(), CommitError> {
    sql.execute(
        "INSERT OR REPLACE INTO run_states (run, body) VALUES (?1, ?2)",
        params![run.as_str(), to_body(state)?],
    )?;
    Ok(())
}

fn write_note(
    sql: &SqlTransaction<'_>,
    run: &RunId,
    kind: &str,
    file: &str,
) -> Result<(), CommitError> {
    sql.execute(
        "INSERT INTO notes (run, kind, file) VALUES (?1, ?2, ?3)
         ON CONFLICT (run, kind) DO NOTHING",
        params![run.as_str(), kind, file],
    )?;
    Ok(())
}

fn write_stuck(
    sql: &SqlTransaction<'_>,
    checkpoint: &CheckpointId,
    signature: u64,
) -> Result<(), CommitError> {
    let (run, name) = (checkpoint.run.as_str(), checkpoint.name.to_string());
    sql.execute(
        "INSERT INTO stuck (run, checkpoint, signature) VALUES (?1, ?2, ?3)
         ON CONFLICT (run, checkpoint) DO UPDATE SET signature = excluded.signature",
        params![run, name, signature.to_string()],
    )?;
    Ok(())
}

fn write_standing(
    sql: &SqlTransaction<'_>,
    checkpoint: &CheckpointId,
    digest: &Digest,
    standing: &Standing,
) -> Result<(), CommitError> {
    let changed = sql.execute(
        "UPDATE checkpoints SET standing = ?4
         WHERE run = ?1 AND checkpoint = ?2 AND digest = ?3",
        params![
            checkpoint.run.as_str(),
            checkpoint.name.to_string(),
            digest.as_str(),
            to_body(standing)?
        ],
    )?;
    if changed == 0 {
        tracing::warn!(%checkpoint, %digest, "standing of a content that is not known");
    }
    Ok(())
}

fn reopen(
    sql: &SqlTransaction<'_>,
    checkpoint: &CheckpointId,
    digest: &Digest,
) -> Result<(), CommitError> {
    sql.execute(
        "UPDATE observations SET superseded = 1
         WHERE run = ?1 AND checkpoint = ?2 AND digest = ?3",
        params![checkpoint.run.as_str(), checkpoint.name.to_string(), digest.as_str()],
    )?;
    write_standing(sql, checkpoint, digest, &Standing::Pending)
}

/// Writes a fact about the journal itself, or takes it away.
fn write_fact(
    sql: &SqlTransaction<'_>,
    name: &str,
    value: Option<&str>,
) -> Result<(), CommitError> {
    sql.execute("DELETE FROM facts WHERE name = ?1", [name])?;
    if let Some(value) = value {
        sql.execute("INSERT INTO facts (name, value) VALUES (?1, ?2)", [name, value])?;
    }
    Ok(())
}

fn write_observation(sql: &SqlTransaction<'_>, made: &Observation) -> Result<(), CommitError> {
    let id = &made.checkpoint;
    let (run, name, digest) = (id.run.as_str(), id.name.to_string(), made.digest.as_str());
    let exists = |condition: &str, value: &str| {
        sql.query_row(
            &format!(
                "SELECT count(*) FROM observations
                 WHERE run = ?1 AND checkpoint = ?2 AND {condition} = ?3"
            ),
            params![run, name, value],
            |row| row.get::<_, i64>(0),
        )
        .map(|count| count > 0)
    };
    if exists("superseded = 0 AND digest", digest)? {
        return Err(CommitError::AlreadyObserved(id.clone(), made.digest.clone()));
    }
    let time = made.time.to_string();
    if exists("time", &time)? {
        return Err(CommitError::TimeTaken(id.clone(), made.time));
    }
    sql.execute(
        "INSERT INTO observations (run, checkpoint, digest, time, verdict, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![run, name, digest, time, verdict_word(made), to_body(made)?],
    )?;
    sql.execute(
        "UPDATE checkpoints SET standing = ?4
         WHERE run = ?1 AND checkpoint = ?2 AND digest = ?3",
        params![run, name, digest, to_body(&Standing::Observed)?],
    )?;
    Ok(())
}

fn verdict_word(observation: &Observation) -> String {
    match &observation.outcome {
        ObservationOutcome::Judged(judgment) => judgment.verdict.to_string(),
        ObservationOutcome::AnalysisFailed { .. } => "analysis failed".to_owned(),
    }
}

/// Gives each event its sequence number and writes it into an open transaction.
pub(super) fn write_events(
    sql: &SqlTransaction<'_>,
    events: &[NewEvent],
) -> Result<Vec<StoredEvent>, CommitError> {
    let mut insert = sql.prepare("INSERT INTO events (run, body) VALUES (?1, ?2)")?;
    let mut stored = Vec::with_capacity(events.len());
    for event in events {
        insert.execute(params![event.run.as_ref().map(RunId::as_str), to_body(event)?])?;
        let seq = u64::try_from(sql.last_insert_rowid()).unwrap_or_default();
        stored.push(StoredEvent { seq, event: event.clone() });
    }
    Ok(stored)
}

/// Returns the last sequence number that was given; 0 if none was.
pub(super) fn last_seq(connection: &Connection) -> rusqlite::Result<u64> {
    let seq: Option<i64> = connection
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'events'", [], |row| row.get(0))
        .optional()?;
    Ok(seq.and_then(|seq| u64::try_from(seq).ok()).unwrap_or_default())
}

/// Returns a fact about the journal itself.
pub(super) fn fact(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| row.get(0))
        .optional()
}

/// An order that cannot be read is no reason to refuse the journal: all of it is analyzed anyway.
fn asked(connection: &Connection) -> rusqlite::Result<Vec<(CheckpointId, Digest)>> {
    let text = fact(connection, "asked")?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

/// Reads all that the journal remembers, from one consistent state.
pub(super) fn memory(connection: &Connection) -> rusqlite::Result<Memory> {
    let read = connection.unchecked_transaction()?;
    Ok(Memory {
        journal: fact(&read, "journal")?.unwrap_or_default(),
        fresh: fact(&read, "first_scan")?.is_none(),
        last_seq: last_seq(&read)?,
        // What is no time is no pause that could be shown, and no reason to refuse the journal.
        paused: fact(&read, "paused")?.as_deref().and_then(Moment::parse),
        asked: asked(&read)?,
        runs: rows(&read, "runs", "SELECT run, body FROM runs ORDER BY id", |row| {
            Ok(KnownRun { run: run_id(row, 0)?, ..body::<KnownRun>(row, 1)? })
        })?,
        checkpoints: rows(
            &read,
            "checkpoints",
            "SELECT run, checkpoint, content, standing, first_complete FROM checkpoints
             ORDER BY id",
            |row| {
                Ok(KnownCheckpoint {
                    checkpoint: checkpoint_id(row)?,
                    content: Arc::new(body(row, 2)?),
                    standing: body(row, 3)?,
                    first_complete: moment(row, 4)?,
                })
            },
        )?,
        observations: rows(
            &read,
            "observations",
            "SELECT run, checkpoint, body, time FROM observations ORDER BY id",
            observation_row,
        )?,
        stuck: rows(&read, "stuck", "SELECT run, checkpoint, signature FROM stuck", |row| {
            // A signature has 64 bits, and SQLite's numbers have a sign.
            Ok((checkpoint_id(row)?, row.get::<_, String>(2)?.parse().unwrap_or_default()))
        })?,
        notes: rows(&read, "notes", "SELECT run, kind, file FROM notes ORDER BY id", |row| {
            Ok((run_id(row, 0)?, row.get(1)?, row.get(2)?))
        })?,
        shell_logs: log_rows::all(&read)?,
        run_states: rows(&read, "run_states", "SELECT run, body FROM run_states", |row| {
            Ok((run_id(row, 0)?, body(row, 1)?))
        })?,
        alerts: alert_rows::alerts(&read)?,
        troubles: alert_rows::troubles(&read)?,
        evaluations: evaluation_rows::memory(&read)?,
        rejected_model_types: rows(
            &read,
            "rejected_model_types",
            "SELECT model_type, protocol FROM rejected_model_types ORDER BY model_type",
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?,
    })
}

/// Returns the observation of a checkpoint that was made at this time.
pub(super) fn observation(
    connection: &Connection,
    checkpoint: &CheckpointId,
    time: Moment,
) -> rusqlite::Result<Option<Observation>> {
    let CheckpointId { run, name } = checkpoint;
    connection
        .query_row(
            "SELECT run, checkpoint, body, time FROM observations
             WHERE run = ?1 AND checkpoint = ?2 AND time = ?3",
            params![run.as_str(), name.to_string(), time.to_string()],
            observation_row,
        )
        .optional()
}

fn observation_row(row: &Row<'_>) -> rusqlite::Result<Observation> {
    let made: Observation = body(row, 2)?;
    Ok(Observation { checkpoint: checkpoint_id(row)?, time: moment(row, 3)?, ..made })
}

/// Reads a whole table into room that is exactly large enough: what thousands of rows leave unused
/// would stay with the process for good.
pub(super) fn rows<T>(
    connection: &Connection,
    table: &str,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let count = connection
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))?;
    let mut found = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for row in connection.prepare(sql)?.query_map([], read)? {
        found.push(row?);
    }
    Ok(found)
}

fn run_id(row: &Row<'_>, column: usize) -> rusqlite::Result<RunId> {
    Ok(RunId::new(row.get::<_, String>(column)?))
}

fn checkpoint_id(row: &Row<'_>) -> rusqlite::Result<CheckpointId> {
    let name = row.get::<_, String>(1)?.parse::<CheckpointName>();
    let name = name.map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error))
    })?;
    Ok(CheckpointId { run: run_id(row, 0)?, name })
}

pub(super) fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Moment> {
    let text: String = row.get(column)?;
    Moment::parse(&text).ok_or_else(|| {
        let problem = format!("`{text}` is not a time");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, problem.into())
    })
}

/// Reads a JSON body.
pub(super) fn body<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

/// Writes a JSON body, and reads it back: a number that is NaN becomes `null`, and where the noun
/// has no room for an absent number, that has to be refused now rather than at the next start.
pub(super) fn to_body<T: Serialize + DeserializeOwned>(noun: &T) -> Result<String, CommitError> {
    let refused = |error: serde_json::Error| CommitError::Refused(error.to_string());
    let text = serde_json::to_string(noun).map_err(refused)?;
    serde_json::from_str::<T>(&text).map_err(refused)?;
    Ok(text)
}
