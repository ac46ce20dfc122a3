//! Evaluation reports and overridden gates as rows.

use rusqlite::{Connection, Transaction as SqlTransaction, params};

use super::journal::CommitError;
use super::rows::{body, fact, rows, to_body};
use crate::model::evaluation::{EvaluatedModel, GateOverride, KnownEvaluation};
use crate::model::ids::RunId;
use crate::model::journal::EvaluationMemory;

/// Writes a report, in the place of what was known of it.
pub(super) fn write(sql: &SqlTransaction<'_>, known: &KnownEvaluation) -> Result<(), CommitError> {
    let run = known.model.as_ref().ok().map(|model| model.run.as_str());
    sql.execute(
        "INSERT OR REPLACE INTO evaluations (name, task, run, body) VALUES (?1, ?2, ?3, ?4)",
        params![known.report.name, known.report.task, run, to_body(known)?],
    )?;
    Ok(())
}

/// Writes down that a person went past a gate; once.
pub(super) fn write_override(
    sql: &SqlTransaction<'_>,
    one: &GateOverride,
) -> Result<(), CommitError> {
    sql.execute(
        "INSERT OR IGNORE INTO overrides (name, run, body) VALUES (?1, ?2, ?3)",
        params![one.name, one.run.as_str(), to_body(one)?],
    )?;
    Ok(())
}

/// Gives a renamed run's reports and overrides to its new id.
pub(super) fn rename(sql: &SqlTransaction<'_>, from: &RunId, to: &RunId) -> rusqlite::Result<()> {
    let ids = params![from.as_str(), to.as_str()];
    sql.execute("UPDATE evaluations SET run = ?2 WHERE run = ?1", ids)?;
    sql.execute("UPDATE overrides SET run = ?2 WHERE run = ?1", ids)?;
    Ok(())
}

/// Reads all that is known.
pub(super) fn memory(connection: &Connection) -> rusqlite::Result<EvaluationMemory> {
    Ok(EvaluationMemory {
        reports: evaluations(connection)?,
        overrides: overrides(connection)?,
        looked: fact(connection, "evaluations")?.is_some(),
    })
}

fn evaluations(connection: &Connection) -> rusqlite::Result<Vec<KnownEvaluation>> {
    let sql = "SELECT run, body FROM evaluations ORDER BY name, task";
    rows(connection, "evaluations", sql, |row| {
        let known: KnownEvaluation = body(row, 1)?;
        let run: Option<String> = row.get(0)?;
        let model = match (known.model, run) {
            (Ok(model), Some(run)) => Ok(EvaluatedModel { run: RunId::new(run), ..model }),
            (model, _) => model,
        };
        Ok(KnownEvaluation { model, ..known })
    })
}

fn overrides(connection: &Connection) -> rusqlite::Result<Vec<GateOverride>> {
    rows(connection, "overrides", "SELECT run, body FROM overrides ORDER BY id", |row| {
        Ok(GateOverride { run: RunId::new(row.get::<_, String>(0)?), ..body(row, 1)? })
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::super::rows::write_change;
    use super::super::schema::{MIGRATIONS, migrate};
    use super::*;
    use crate::model::evaluation::{EvaluationReport, Suite};
    use crate::model::ids::{CheckpointName, Digest};
    use crate::model::journal::Change;
    use crate::model::time::Moment;

    fn known(task: &str, model: Result<EvaluatedModel, String>) -> KnownEvaluation {
        let report = EvaluationReport {
            name: "glue-x".to_owned(),
            suite: Suite::Glue,
            task: task.to_owned(),
            stamp: date(2026, 2, 26).at(10, 12, 0, 0),
            scores: [("f1".to_owned(), 0.82)].into(),
            main_metric: Some("accuracy".to_owned()),
            model: None,
            model_type: None,
            claimed_run: None,
            name_of_model: "x".to_owned(),
            wandb_url: None,
            problems: vec!["odd".to_owned()],
        };
        let digest = Digest::from_bytes(&[1, 2]);
        KnownEvaluation { report, digest, model, row: Some(date(2026, 2, 26)), old: false }
    }

    #[test]
    fn reports_and_overrides_come_back_and_follow_a_renamed_run() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, MIGRATIONS).unwrap();
        let model = |run: &str| EvaluatedModel {
            run: RunId::new(run),
            checkpoint: CheckpointName::Step(20),
        };
        let mrpc = known("mrpc", Ok(model("old")));
        let stsb = known("stsb", Err("no run".to_owned()));
        let one = GateOverride {
            name: "a.json".to_owned(),
            action: "evaluate".to_owned(),
            run: RunId::new("old"),
            verdict: "fail".to_owned(),
            reason: "a baseline".to_owned(),
            time: Moment::parse("2026-02-25T14:03:07+01:00").unwrap(),
        };
        let sql = connection.transaction().unwrap();
        let first = KnownEvaluation { old: true, ..mrpc.clone() };
        for change in [
            Change::Evaluated(Box::new(first)),
            Change::Evaluated(Box::new(mrpc.clone())),
            Change::Evaluated(Box::new(stsb.clone())),
            Change::GateOverridden(Box::new(one.clone())),
            Change::GateOverridden(Box::new(GateOverride {
                reason: "again".into(),
                ..one.clone()
            })),
            Change::EvaluationsLooked,
            Change::RunRenamed { from: RunId::new("old"), to: RunId::new("new") },
        ] {
            write_change(&sql, &change).unwrap();
        }
        sql.commit().unwrap();
        let memory = memory(&connection).unwrap();
        assert_eq!(memory.reports, [known("mrpc", Ok(model("new"))), stsb]);
        assert_eq!(memory.overrides, [GateOverride { run: RunId::new("new"), ..one }]);
        assert!(memory.looked);
    }
}
