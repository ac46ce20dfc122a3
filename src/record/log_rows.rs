//! Shell logs as rows of their table.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction as SqlTransaction, params};

use super::journal::CommitError;
use super::rows::{body, rows, to_body};
use crate::model::Timestamp;
use crate::model::ids::RunId;
use crate::model::journal::KnownLog;
use crate::model::shell_log::{LogKey, LogPosition};

/// So many of the most recently written logs are remembered with all that they say; older ones
/// rest.
const AWAKE: usize = 64;

const COLUMNS: &str = "key, path, position, length, modified, run, marks, reading, old_since";

/// Writes what is known of a log, in place of what was known before.
pub(super) fn write(sql: &SqlTransaction<'_>, known: &KnownLog) -> Result<(), CommitError> {
    let position = &known.position;
    sql.execute(
        "INSERT OR REPLACE INTO shell_logs
         (key, path, position, length, modified, run, marks, parser, reading, old_since)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            known.key.as_str(),
            known.path,
            i64::try_from(position.offset).unwrap_or(i64::MAX),
            i64::try_from(known.length).unwrap_or(i64::MAX),
            // All of one length, so that their order is that of the texts.
            format!("{:.9}", known.modified),
            known.run.as_ref().map(RunId::as_str),
            to_body(&position.marks)?,
            position.parser,
            to_body(&known.reading)?,
            known.old_since.map(|since| since.to_string()),
        ],
    )?;
    Ok(())
}

/// Forgets a log.
pub(super) fn forget(sql: &SqlTransaction<'_>, key: &LogKey) -> Result<(), CommitError> {
    sql.execute("DELETE FROM shell_logs WHERE key = ?1", [key.as_str()])?;
    Ok(())
}

/// Reads all logs without the state of their parsers, the most recently written first.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<KnownLog>> {
    let sql = format!("SELECT {COLUMNS} FROM shell_logs ORDER BY modified DESC, key");
    let mut read = 0;
    rows(connection, "shell_logs", &sql, |row| {
        let mut known = known_log(row)?;
        if read >= AWAKE {
            known.rest();
        }
        read += 1;
        Ok(known)
    })
}

/// Reads one log with the state of its parser.
pub(super) fn one(connection: &Connection, key: &LogKey) -> rusqlite::Result<Option<KnownLog>> {
    let sql = format!("SELECT {COLUMNS}, parser FROM shell_logs WHERE key = ?1");
    let read = |row: &Row<'_>| {
        let mut known = known_log(row)?;
        known.position.parser = row.get(9)?;
        Ok(known)
    };
    connection.query_row(&sql, [key.as_str()], read).optional()
}

fn known_log(row: &Row<'_>) -> rusqlite::Result<KnownLog> {
    let number = |column| row.get::<_, i64>(column).map(|value| u64::try_from(value).unwrap_or(0));
    let time = |column, text: &str| {
        text.parse::<Timestamp>().map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
        })
    };
    let modified = time(4, &row.get::<_, String>(4)?)?;
    let old_since = row.get::<_, Option<String>>(8)?;
    let old_since = old_since.map(|since| time(8, &since)).transpose()?;
    Ok(KnownLog {
        key: LogKey::new(row.get::<_, String>(0)?),
        path: row.get(1)?,
        position: LogPosition { offset: number(2)?, parser: String::new(), marks: body(row, 6)? },
        reading: body(row, 7)?,
        length: number(3)?,
        modified,
        run: row.get::<_, Option<String>>(5)?.map(RunId::new),
        old_since,
    })
}

#[cfg(test)]
mod tests {
    use crate::model::ids::RunId;
    use crate::model::journal::{Change, KnownLog, KnownRun, Transaction};
    use crate::model::shell_log::{
        LogFailure, LogKey, LogMarks, LogMetric, LogMetricKind, LogPosition, LogReading,
        LoggedTraining,
    };
    use crate::record::history::Reader;
    use crate::record::journal::Journal;
    use crate::record::samples::{DIFFUSION, PERCEIVER, Project, known_run, moment};

    const TIME: &str = "2026-02-25T14:03:07+01:00";

    fn log(key: &str, second: i64) -> KnownLog {
        let metric = |line| LogMetric {
            line,
            kind: LogMetricKind::Train,
            step: None,
            values: vec![("loss".into(), "nan".into())],
        };
        let failure = LogFailure {
            class: "out_of_memory".into(),
            is_cascade: false,
            ends_training: true,
            line: 9,
            text: "CUDA out of memory".into(),
            excerpt: vec!["CUDA out of memory".into()],
        };
        let training = |run: &str| LoggedTraining {
            first_line: 1,
            run: Some(RunId::new(run)),
            steps_per_second: Some(f64::NAN),
            metrics: vec![metric(3), metric(4)],
            failures: vec![failure.clone()],
            metric_intervals: vec![1, 2],
            ..LoggedTraining::default()
        };
        let marks = LogMarks {
            device: u64::MAX,
            inode: u64::MAX - 1,
            head_length: 4096,
            head: u64::MAX,
            end: 1,
        };
        KnownLog {
            key: LogKey::new(key),
            path: format!("Cache/logs/{key}.log"),
            position: LogPosition { offset: 1 << 40, parser: "{\"state\":1}".into(), marks },
            reading: LogReading { trainings: vec![training(DIFFUSION); 2], skipped: 7 },
            length: (1 << 40) + 5,
            modified: jiff::Timestamp::from_second(1_700_000_000 + second).unwrap(),
            run: Some(RunId::new(DIFFUSION)),
            old_since: jiff::Timestamp::from_second(1_600_000_000 + second).ok(),
        }
    }

    /// NaN comes back as absent, as everywhere in the journal.
    fn stored(mut log: KnownLog) -> KnownLog {
        log.reading.trainings.iter_mut().for_each(|one| one.steps_per_second = None);
        log
    }

    fn without_parser(mut log: KnownLog) -> KnownLog {
        log.position.parser.clear();
        log
    }

    fn commit(journal: &mut Journal, changes: Vec<Change>) {
        let transaction = Transaction { changes, ..Transaction::default() };
        journal.commit(&transaction, moment(TIME)).unwrap();
    }

    fn written(log: KnownLog) -> Change {
        Change::ShellLog(Box::new(log))
    }

    #[test]
    fn a_log_comes_back_and_is_replaced_as_a_whole() {
        let project = Project::new();
        let mut journal = project.journal();
        let other = KnownLog { run: None, ..log("other", 1) };
        commit(&mut journal, vec![written(log("one", 0)), written(other.clone())]);
        let further = KnownLog {
            path: "moved.log".into(),
            position: LogPosition { offset: 3, parser: "{}".into(), marks: LogMarks::default() },
            reading: LogReading::default(),
            old_since: None,
            ..log("one", 2)
        };
        let reader = Reader::open(&project.state()).unwrap();
        let one = |key: &str| reader.shell_log(&LogKey::new(key)).unwrap();
        assert_eq!(one("one"), Some(stored(log("one", 0))));
        commit(&mut journal, vec![written(further.clone())]);
        assert_eq!(one("one"), Some(further.clone()));
        let memory = reader.memory().unwrap();
        assert_eq!(memory.shell_logs, [without_parser(further), without_parser(stored(other))]);
        commit(&mut journal, vec![Change::ShellLogGone(LogKey::new("one"))]);
        assert_eq!(one("one"), None);
        assert_eq!(reader.memory().unwrap().shell_logs.len(), 1);
    }

    #[test]
    fn a_renamed_run_takes_its_logs_along() {
        let project = Project::new();
        let mut journal = project.journal();
        let known: KnownRun = known_run(DIFFUSION, 1);
        commit(&mut journal, vec![Change::Run(known), written(log("one", 0))]);
        let (from, to) = (RunId::new(DIFFUSION), RunId::new(PERCEIVER));
        commit(&mut journal, vec![Change::RunRenamed { from, to }]);
        let memory = Reader::open(&project.state()).unwrap().memory().unwrap();
        assert_eq!(memory.shell_logs[0].run, Some(RunId::new(PERCEIVER)));
    }

    #[test]
    fn old_logs_rest_in_memory_and_are_whole_in_the_journal() {
        let project = Project::new();
        let mut journal = project.journal();
        let logs = (0..super::AWAKE + 2)
            .map(|number| written(log(&format!("log-{number}"), i64::try_from(number).unwrap())));
        commit(&mut journal, logs.collect());
        let reader = Reader::open(&project.state()).unwrap();
        let memory = reader.memory().unwrap();
        assert_eq!(memory.shell_logs[0], without_parser(stored(log("log-65", 65))));
        let resting = &memory.shell_logs[super::AWAKE];
        assert_eq!(resting.key, LogKey::new("log-1"));
        let counts = |training: &LoggedTraining| training.metrics.len();
        assert_eq!(resting.reading.trainings.iter().map(counts).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(resting.reading.trainings[1].metrics[0].line, 4, "the newest one");
        assert_eq!(resting.reading.trainings[1].failures[0].line, 9);
        let whole = reader.shell_log(&LogKey::new("log-1")).unwrap();
        assert_eq!(whole, Some(stored(log("log-1", 1))));
    }
}
