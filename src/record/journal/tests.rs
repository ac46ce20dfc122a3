//! Tests of the journal: what is committed is remembered, whole, once, and through anything.

mod refusals;
mod reopening;

use super::*;
use crate::model::analysis::FailureClass;
use crate::model::checkpoint::TrainingPoint;
use crate::model::ids::RunId;
use crate::model::journal::{Change, KnownRun, Standing as ContentStanding};
use crate::model::observation::ObservationOutcome;
use crate::record::history::Reader;
use crate::record::samples::{
    DIFFUSION, PERCEIVER, Project, checkpoint, complete, content, digest, event,
    failed_observation, judgment, known_run, moment, observation, observed, row, training,
};

const TIME: &str = "2026-02-25T14:03:07+01:00";

fn changes(changes: Vec<Change>) -> Transaction {
    Transaction { changes, ..Transaction::default() }
}

fn now() -> Moment {
    moment(TIME)
}

/// A transaction with one change of each kind.
fn all_changes() -> Vec<Change> {
    let waiting = ContentStanding::Waiting {
        attempt: 2,
        class: FailureClass::Hub,
        since: moment(TIME).timestamp(),
        retry_at: moment(TIME).timestamp(),
        evidence: "exit 1\nOSError".into(),
        interruptions: 1,
    };
    vec![
        Change::Run(known_run(DIFFUSION, 1)),
        Change::Run(known_run("renamed_20260101_000000", 2)),
        Change::StuckReported {
            checkpoint: checkpoint("renamed_20260101_000000", "checkpoint-60"),
            signature: u64::MAX,
        },
        Change::RunRenamed {
            from: RunId::new("renamed_20260101_000000"),
            to: RunId::new(PERCEIVER),
        },
        complete(DIFFUSION, "checkpoint-20", "a"),
        complete(DIFFUSION, "checkpoint-40", "b"),
        complete(PERCEIVER, "final", "c"),
        Change::Standing {
            checkpoint: checkpoint(DIFFUSION, "checkpoint-40"),
            digest: digest("b"),
            standing: waiting,
        },
        observed(DIFFUSION, "checkpoint-20", "a", TIME),
        Change::Observed(Box::new(failed_observation(PERCEIVER, "final", "c", TIME))),
        Change::NoteDecided {
            run: RunId::new(DIFFUSION),
            kind: "effective-rank".into(),
            file: "n.md".into(),
        },
        Change::ModelTypeRejected { model_type: "recursive_mlm".into(), protocol: "1a".into() },
        Change::FirstScanEnded,
    ]
}

#[test]
fn every_change_comes_back_after_reopening() {
    let project = Project::new();
    let (mut journal, memory) = Journal::open(&project.state(), 100).unwrap();
    assert!(memory.fresh);
    assert_eq!(memory.journal, journal.id());
    assert_eq!(memory.journal.len(), 16);
    journal.commit(&changes(all_changes()), now()).unwrap();
    let id = journal.id().to_owned();
    drop(journal);

    let (_journal, memory) = Journal::open(&project.state(), 100).unwrap();
    assert_eq!(memory.journal, id);
    assert!(!memory.fresh);
    assert_eq!(memory.runs, [known_run(DIFFUSION, 1), known_run(PERCEIVER, 2)]);
    let names: Vec<_> =
        memory.checkpoints.iter().map(|known| known.checkpoint.to_string()).collect();
    assert_eq!(
        names,
        [
            format!("{DIFFUSION}/checkpoint-20"),
            format!("{DIFFUSION}/checkpoint-40"),
            format!("{PERCEIVER}/final")
        ]
    );
    assert_eq!(*memory.checkpoints[0].content, content("a", 20));
    assert_eq!(memory.checkpoints[0].standing, ContentStanding::Observed);
    assert!(matches!(
        &memory.checkpoints[1].standing,
        ContentStanding::Waiting { attempt: 2, class: FailureClass::Hub, evidence, .. }
            if evidence == "exit 1\nOSError"
    ));
    assert_eq!(memory.checkpoints[2].first_complete.to_string(), "2026-02-25T14:02:00.5+01:00");
    assert_eq!(
        memory.observations,
        [
            observation(DIFFUSION, "checkpoint-20", "a", TIME),
            failed_observation(PERCEIVER, "final", "c", TIME)
        ]
    );
    assert_eq!(memory.stuck, [(checkpoint(PERCEIVER, "checkpoint-60"), u64::MAX)]);
    let note = (RunId::new(DIFFUSION), "effective-rank".to_owned(), "n.md".to_owned());
    assert_eq!(memory.notes, [note]);
    assert_eq!(memory.rejected_model_types, [("recursive_mlm".into(), "1a".into())]);
}

#[test]
fn changes_replace_what_was_known_and_notes_are_decided_once() {
    let project = Project::new();
    let mut journal = project.journal();
    journal.commit(&changes(all_changes()), now()).unwrap();
    let gone = KnownRun { gone: true, ..known_run(DIFFUSION, 1) };
    let second = |kind: &str, file: &str| Change::NoteDecided {
        run: RunId::new(DIFFUSION),
        kind: kind.into(),
        file: file.into(),
    };
    journal
        .commit(
            &changes(vec![
                Change::Run(gone.clone()),
                complete(DIFFUSION, "checkpoint-20", "a"),
                second("effective-rank", "other.md"),
                second("non-finite", "f.md"),
                Change::ModelTypeRejected {
                    model_type: "recursive_mlm".into(),
                    protocol: "2b".into(),
                },
            ]),
            now(),
        )
        .unwrap();
    let memory = project.reader().memory().unwrap();
    assert_eq!(memory.runs[0], gone);
    // Seen complete again, an observed content stays observed.
    assert_eq!(memory.checkpoints[0].standing, ContentStanding::Observed);
    let files: Vec<_> = memory.notes.iter().map(|(_, _, file)| file.as_str()).collect();
    assert_eq!(files, ["n.md", "f.md"]);
    assert_eq!(memory.rejected_model_types, [("recursive_mlm".into(), "2b".into())]);
}

#[test]
fn a_second_observation_is_refused_with_all_that_came_with_it() {
    let project = Project::new();
    let mut journal = project.journal();
    journal.commit(&changes(vec![observed(DIFFUSION, "checkpoint-20", "a", TIME)]), now()).unwrap();
    let later = "2026-02-25T15:00:00+01:00";
    for (change, same_content) in [
        (observed(DIFFUSION, "checkpoint-20", "a", later), true),
        (observed(DIFFUSION, "checkpoint-20", "other content", TIME), false),
    ] {
        let transaction = Transaction {
            changes: vec![Change::Run(known_run(DIFFUSION, 7)), change],
            events: vec![event(DIFFUSION)],
            documents: vec![row(DIFFUSION, 20)],
        };
        let error = journal.commit(&transaction, now()).unwrap_err();
        assert!(error.is_final());
        assert_eq!(matches!(error, CommitError::AlreadyObserved(..)), same_content, "{error}");
        assert_eq!(matches!(error, CommitError::TimeTaken(..)), !same_content, "{error}");
    }
    let memory = project.reader().memory().unwrap();
    assert_eq!(memory.observations.len(), 1);
    assert_eq!(memory.last_seq, 0);
    assert_eq!(memory.runs, []);
    assert_eq!(journal.open_documents().unwrap().0, 0);
    // Other content of the same checkpoint at another time is an observation of its own.
    let other = observed(DIFFUSION, "checkpoint-20", "other content", later);
    journal.commit(&changes(vec![other]), now()).unwrap();
}

#[test]
fn a_renamed_run_takes_everything_along_and_doubles_nothing() {
    let project = Project::new();
    let mut journal = project.journal();
    let old = "weighted_mlm_H512L6C128_20260101_000000";
    let copy = "weighted_mlm_H512L6C128_20260102_000000";
    journal
        .commit(
            &changes(vec![
                Change::Run(known_run(old, 1)),
                complete(old, "checkpoint-20", "same"),
                complete(old, "checkpoint-40", "x"),
                observed(old, "checkpoint-20", "same", TIME),
                observed(old, "checkpoint-40", "x", TIME),
                Change::Run(known_run(copy, 2)),
                complete(copy, "checkpoint-20", "same"),
                complete(copy, "checkpoint-40", "y"),
                observed(copy, "checkpoint-40", "y", TIME),
            ]),
            now(),
        )
        .unwrap();
    let transaction = Transaction {
        changes: vec![Change::RunRenamed { from: RunId::new(old), to: RunId::new(copy) }],
        events: vec![event(old)],
        documents: vec![row(old, 20)],
    };
    journal.commit(&transaction, now()).unwrap();
    let memory = project.reader().memory().unwrap();
    assert_eq!(memory.runs.len(), 1);
    assert_eq!(memory.runs[0].run.as_str(), copy);
    assert_eq!(memory.runs[0].identity.inode, 1);
    assert!(memory.checkpoints.iter().all(|known| known.checkpoint.run.as_str() == copy));
    assert_eq!(memory.checkpoints.len(), 3);
    let same = memory.checkpoints.iter().find(|known| known.content.digest == digest("same"));
    assert_eq!(same.unwrap().standing, ContentStanding::Observed);
    // Two observations of `checkpoint-40` had the same time; both stay, one a second later.
    let mut shown: Vec<_> = memory
        .observations
        .iter()
        .map(|made| format!("{} {} {}", made.checkpoint.name, made.digest, made.time))
        .collect();
    shown.sort();
    let line = |name: &str, seed: &str, time: &str| format!("{name} {} {time}", digest(seed));
    assert_eq!(
        shown,
        [
            line("checkpoint-20", "same", TIME),
            line("checkpoint-40", "x", "2026-02-25T14:03:08+01:00"),
            line("checkpoint-40", "y", TIME),
        ]
    );
    // What was decided under the old name keeps it.
    let events = project.reader().events(0, 10, Some(&RunId::new(old))).unwrap();
    assert_eq!(events.len(), 1);
}

#[test]
fn numbers_that_are_not_finite_are_absent_afterwards_or_refused() {
    let project = Project::new();
    let mut journal = project.journal();
    let mut made = observation(DIFFUSION, "checkpoint-20", "a", TIME);
    made.training = Some(TrainingPoint {
        loss: Some(f64::NAN),
        grad_norm: Some(f64::INFINITY),
        ..training(20)
    });
    journal.commit(&changes(vec![Change::Observed(Box::new(made.clone()))]), now()).unwrap();
    let memory = project.reader().memory().unwrap();
    let point = memory.observations[0].training.clone().unwrap();
    assert_eq!((point.loss, point.grad_norm, point.eval_loss), (None, None, Some(1.4375)));

    // A rank has no room for an absent number: stored, it would make the journal unreadable.
    made.digest = digest("b");
    made.time = moment("2026-02-25T15:00:00+01:00");
    made.outcome = ObservationOutcome::Judged(judgment(f64::NAN, 512));
    let error = journal.commit(&changes(vec![Change::Observed(Box::new(made))]), now());
    assert!(matches!(error, Err(CommitError::Refused(_))), "{error:?}");
    assert_eq!(project.reader().memory().unwrap().observations.len(), 1);
}

#[test]
fn sequence_numbers_are_without_gap_and_never_given_twice() {
    let project = Project::new();
    let mut journal = project.journal();
    let events = |count| Transaction { events: vec![event(DIFFUSION); count], ..changes(vec![]) };
    let recorded = journal.commit(&events(3), now()).unwrap();
    let seqs: Vec<_> = recorded.events().iter().map(|stored| stored.seq).collect();
    assert_eq!((seqs, recorded.last_seq(), recorded.ticket()), (vec![1, 2, 3], 3, None));
    // A refused transaction uses up no number.
    journal.commit(&changes(vec![observed(DIFFUSION, "final", "a", TIME)]), now()).unwrap();
    let mut refused = events(2);
    refused.changes = vec![observed(DIFFUSION, "final", "a", TIME)];
    journal.commit(&refused, now()).unwrap_err();
    assert_eq!(journal.commit(&events(0), now()).unwrap().last_seq(), 3);
    // Nor does a restart, also when every event is gone.
    journal.connection.execute("DELETE FROM events", []).unwrap();
    drop(journal);
    let (mut journal, memory) = Journal::open(&project.state(), 100).unwrap();
    assert_eq!(memory.last_seq, 3);
    assert_eq!(journal.commit(&events(1), now()).unwrap().events()[0].seq, 4);
}

#[test]
fn old_events_are_removed_now_and_then() {
    let project = Project::new();
    let mut journal = Journal::open(&project.state(), 10).unwrap().0;
    let events = Transaction { events: vec![event(DIFFUSION); 400], ..Transaction::default() };
    for _ in 0..3 {
        journal.commit(&events, now()).unwrap();
    }
    let reader = project.reader();
    assert_eq!(reader.first_seq().unwrap(), Some(1191));
    assert_eq!(reader.last_seq().unwrap(), 1200);
    assert_eq!(reader.events(0, 3, None).unwrap()[0].seq, 1191);
}

#[test]
fn a_journal_is_fresh_until_the_first_scan_ended() {
    let project = Project::new();
    let seen = changes(vec![Change::Run(known_run(DIFFUSION, 1))]);
    project.journal().commit(&seen, now()).unwrap();
    // Killed before the first scan ended: which runs are old is still to be decided.
    let (mut journal, memory) = Journal::open(&project.state(), 100).unwrap();
    assert!(memory.fresh);
    journal.commit(&changes(vec![Change::FirstScanEnded]), now()).unwrap();
    drop(journal);
    assert!(!Journal::open(&project.state(), 100).unwrap().1.fresh);
}

#[test]
fn a_journal_of_version_1_is_read_for_ever() {
    // Written by the first version; the stored forms must stay readable.
    let project = Project::new();
    fs::create_dir(project.state()).unwrap();
    let first = Connection::open(project.state().join("journal.db")).unwrap();
    first
        .execute_batch(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/record/journal_version_1.sql"
        )))
        .unwrap();
    drop(first);
    let (journal, memory) = Journal::open(&project.state(), 100).unwrap();
    assert_eq!(memory.journal, "00f1e2d3c4b5a697");
    assert_eq!(memory.last_seq, 2);
    assert_eq!(memory.runs, [known_run(DIFFUSION, 1), known_run(PERCEIVER, 2)]);
    assert_eq!(memory.checkpoints.len(), 3);
    assert_eq!(
        memory.observations,
        [
            observation(DIFFUSION, "checkpoint-20", "a", TIME),
            failed_observation(PERCEIVER, "final", "c", TIME)
        ]
    );
    assert_eq!(journal.open_documents().unwrap().0, 3);
    assert_eq!(project.reader().events(0, 10, None).unwrap().len(), 2);
    assert_eq!(journal.written(None).unwrap().len(), 1);
}
