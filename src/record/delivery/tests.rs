//! Tests of delivery: what stands in the documents in the end is the same whatever happens on
//! the way, and nothing of a person's is lost.

mod crossings;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::model::event::Happening;
use crate::model::ids::RunId;
use crate::model::journal::{Change, DocumentsState, Transaction};
use crate::model::observation::{DocumentEdit, HeaderNames, RunColumn};
use crate::record::outbox::DocumentKey;
use crate::record::recorder::{Output, Recorder, Request};
use crate::record::samples::{
    DIFFUSION, PERCEIVER, Project, fill, kinds, moment, note, note_file, note_line, request, row,
};

/// The last state of the documents that was said.
fn last_state(outputs: &[Output]) -> DocumentsState {
    let state = outputs.iter().rev().find_map(|output| match output {
        Output::Documents(state) => Some(state.clone()),
        _ => None,
    });
    state.unwrap_or_default()
}

/// A failed run as the engine decides it: row, note, the lines that link to it.
fn failure(run: &str) -> Vec<DocumentEdit> {
    vec![row(run, 20), note(run), note_line(run), fill(run, "7.3")]
}

fn decided_note(run: &str) -> Request {
    let change = Change::NoteDecided {
        run: RunId::new(run),
        kind: "effective-rank".into(),
        file: note_file(run),
    };
    let transaction =
        Transaction { changes: vec![change], documents: failure(run), ..Transaction::default() };
    Request::Commit { ticket: 1, transaction }
}

/// How often each line stands in the log.
fn count(text: &str, line: &str) -> usize {
    text.lines().filter(|other| other.contains(line)).count()
}

#[test]
fn a_failure_reaches_note_and_log_with_its_events() {
    let mut project = Project::new();
    let mut recorder = project.recorder();
    recorder.accept(decided_note(DIFFUSION));
    let outputs = project.settle(&mut recorder);

    assert_eq!(kinds(&outputs), ["failure_noted", "observation_written"]);
    assert_eq!(last_state(&outputs), DocumentsState::default());
    let link = format!("- [rank 7.3](run_reports/{})", note_file(DIFFUSION));
    assert_eq!(
        project.log_text(),
        format!(
            "# Log\n| 2026-02-25 14:03:20 +01:00 | {DIFFUSION} | checkpoint-20 |\n{link}\n\
             RUN {DIFFUSION}=7.3\n"
        )
    );
    let text = fs::read_to_string(project.note(DIFFUSION)).unwrap();
    assert_eq!(text, format!("# Failure of {DIFFUSION}\n"));

    let events = project.reader().events(0, 10, None).unwrap();
    let Happening::FailureNoted { note, failure } = &events[0].event.what else {
        panic!("{events:?}")
    };
    assert_eq!(note, &format!("docs/run_reports/{}", note_file(DIFFUSION)));
    assert_eq!(failure, "effective-rank");
    assert_eq!(
        events[1].event.what,
        Happening::ObservationWritten { document: "docs/log.md".into() }
    );
    assert_eq!(events[1].event.checkpoint.unwrap().step(), Some(20));
    // Every event that was said is durable, under the number it was said with.
    let said: Vec<_> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Recorded(done) => Some(done.events().to_vec()),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(said, events);
}

#[test]
fn an_entry_is_done_only_when_a_second_look_has_found_it() {
    let mut project = Project::new();
    fs::write(project.log(), "# Log\n").unwrap();
    let mut recorder = project.recorder();
    recorder.accept(request(1, vec![row(DIFFUSION, 20)]));
    let begun = project.now().instant;
    let mut pending = Vec::new();
    for _ in 0..20 {
        let turn = recorder.turn(project.now());
        for output in turn.outputs {
            if let Output::Documents(state) = output {
                pending.push((state.pending, project.now().instant.duration_since(begun)));
            }
        }
        let Some(due) = turn.wake else { break };
        project.pass_to(due);
    }
    let counts: Vec<_> = pending.iter().map(|(pending, _)| *pending).collect();
    assert_eq!(counts, [1, 0]);
    assert!(pending[1].1.as_millis() >= 2000, "{pending:?}");
}

#[test]
fn a_log_that_somebody_writes_is_waited_for() {
    let mut project = Project::new();
    project.stands_still = true;
    fs::write(project.log(), "# Log\n").unwrap();
    let mut recorder = project.recorder();
    recorder.accept(request(1, vec![row(DIFFUSION, 20)]));
    recorder.turn(project.now());
    // It was written just now, so the first turns leave it alone; the person goes on for a while.
    for save in 0..8 {
        recorder.turn(project.now());
        assert!(!project.log_text().contains(DIFFUSION), "save {save}");
        project.pass(150);
        fs::write(project.log(), format!("# Log\n{}\n", "line\n".repeat(save))).unwrap();
    }
    project.settle(&mut recorder);
    assert_eq!(count(&project.log_text(), DIFFUSION), 1);
    assert_eq!(count(&project.log_text(), "line"), 7);
}

#[test]
fn a_commit_is_never_delayed_by_a_document() {
    let mut project = Project::new();
    fs::write(project.log(), "# Log\n").unwrap();
    let mut recorder = project.recorder();
    for ticket in 0..5 {
        recorder.accept(request(ticket, vec![row(DIFFUSION, ticket)]));
    }
    for ticket in 0..5 {
        let turn = recorder.turn(project.now());
        // What waits for the documents is known before the answer: `--once` ended with the
        // answer in hand and a row unwritten.
        let [Output::Documents(documents), Output::Recorded(done)] = turn.outputs.as_slice() else {
            panic!("{:?}", turn.outputs)
        };
        assert_eq!((documents.pending, done.ticket()), (ticket + 1, Some(ticket)));
        assert!(turn.wake.is_some());
    }
    let outputs = project.settle(&mut recorder);
    // All five went into the log as one new text.
    let written = outputs.iter().filter(|output| matches!(output, Output::Recorded(_))).count();
    assert_eq!(written, 1);
    assert_eq!(kinds(&outputs), ["observation_written"; 5]);
}

#[test]
fn an_entry_that_never_fits_comes_to_an_end() {
    // Without a row to fill and without leave to add one there is nothing to write.
    let mut project = Project::new();
    fs::write(project.log(), "# Log\n").unwrap();
    let mut recorder = project.recorder();
    let edit = match fill(DIFFUSION, "9.0") {
        DocumentEdit::RunRow { run, fills, .. } => {
            let headers = HeaderNames::new();
            DocumentEdit::RunRow { run, fills, add_missing: false, headers }
        }
        other => other,
    };
    recorder.accept(request(1, vec![edit]));
    let outputs = project.settle(&mut recorder);
    assert_eq!(last_state(&outputs).pending, 0);
    assert_eq!(project.log_text(), "# Log\n");
}

#[test]
fn a_held_log_says_why_once_and_is_written_later() {
    let mut project = Project::new();
    fs::write(project.log(), "<<<<<<< ours\n").unwrap();
    let mut recorder = project.recorder();
    recorder.accept(request(1, failure(DIFFUSION)));
    let outputs = project.turns(&mut recorder, 30);
    assert_eq!(kinds(&outputs), ["failure_noted", "document_held"]);
    let state = last_state(&outputs);
    assert_eq!((state.pending, state.held.len()), (3, 1));
    assert_eq!(state.held[0].document, "docs/log.md");
    assert_eq!(state.held[0].reason, "it has conflict markers: resolve them");
    assert_eq!(state.held[0].entries, 3);
    assert!(moment(&state.held[0].since).timestamp() <= project.now().moment.timestamp());
    // A restart does not say it again, another reason does.
    drop(recorder);
    let mut recorder = project.recorder();
    assert_eq!(kinds(&project.turns(&mut recorder, 10)), Vec::<&str>::new());
    fs::remove_file(project.log()).unwrap();
    symlink("nowhere", project.log()).unwrap();
    let outputs = project.turns(&mut recorder, 10);
    assert_eq!(kinds(&outputs), ["document_held"]);
    assert_eq!(last_state(&outputs).held[0].since, state.held[0].since);
    fs::remove_file(project.log()).unwrap();
    let outputs = project.settle(&mut recorder);
    assert_eq!(kinds(&outputs), ["observation_written"]);
    assert_eq!(last_state(&outputs), DocumentsState::default());
    assert_eq!(count(&project.log_text(), DIFFUSION), 3);
}

#[test]
fn git_can_hold_the_log() {
    let mut project = Project::new();
    project.hold = |log| Some(format!("git is in a merge: finish it, then {}", log.display()));
    let mut recorder = project.recorder();
    recorder.accept(request(1, vec![row(DIFFUSION, 20)]));
    let outputs = project.turns(&mut recorder, 10);
    assert!(last_state(&outputs).held[0].reason.starts_with("git is in a merge"));
    assert!(!project.log().exists());
    drop(recorder);
    project.hold = |_| None;
    let mut recorder = project.recorder();
    project.settle(&mut recorder);
    assert_eq!(count(&project.log_text(), DIFFUSION), 1);
}

#[test]
fn lines_that_link_to_a_note_wait_for_it() {
    let mut project = Project::new();
    // The reports folder cannot be made while a file stands in its place.
    let reports = project.root().join("docs/run_reports");
    fs::write(&reports, "in the way").unwrap();
    let mut recorder = project.recorder();
    recorder.accept(request(1, failure(DIFFUSION)));
    recorder.accept(request(2, vec![row(PERCEIVER, 20), fill(PERCEIVER, "9.0")]));
    let outputs = project.turns(&mut recorder, 30);
    // The rows and the other run's cells do not wait, the links do.
    assert_eq!(count(&project.log_text(), "checkpoint-20"), 2);
    assert_eq!(count(&project.log_text(), "=9.0"), 1);
    assert_eq!(count(&project.log_text(), "run_reports"), 0);
    assert_eq!(count(&project.log_text(), "=7.3"), 0);
    let state = last_state(&outputs);
    assert_eq!((state.pending, state.held.len(), state.held[0].entries), (3, 1, 3));
    fs::remove_file(reports).unwrap();
    let outputs = project.settle(&mut recorder);
    assert_eq!(last_state(&outputs), DocumentsState::default());
    assert_eq!(count(&project.log_text(), "run_reports"), 1);
    assert!(project.note(DIFFUSION).exists());
}

#[test]
fn a_note_that_exists_is_left_as_it_is() {
    let mut project = Project::new();
    fs::create_dir(project.root().join("docs/run_reports")).unwrap();
    fs::write(project.note(DIFFUSION), "a person's words").unwrap();
    let mut recorder = project.recorder();
    recorder.accept(request(1, vec![note(DIFFUSION)]));
    let outputs = project.settle(&mut recorder);
    assert_eq!(kinds(&outputs), ["failure_noted"]);
    assert_eq!(last_state(&outputs).pending, 0);
    assert_eq!(fs::read_to_string(project.note(DIFFUSION)).unwrap(), "a person's words");
}

#[test]
fn a_note_never_leaves_its_folder() {
    let mut project = Project::new();
    let mut recorder = project.recorder();
    let file = "../escaped.md".to_owned();
    let edit = DocumentEdit::FailureNote { run: RunId::new("x"), file, text: "text".into() };
    recorder.accept(request(1, vec![edit]));
    let outputs = project.turns(&mut recorder, 5);
    assert!(last_state(&outputs).held[0].reason.contains("not a file name"));
    assert_eq!(project.names(), Vec::<String>::new());
}

#[test]
fn leftovers_of_a_crash_are_swept_at_the_start() {
    let mut project = Project::new();
    fs::write(project.log(), "# Log\n").unwrap();
    fs::write(project.root().join("docs/.1-2-3.runscribe-part"), "half").unwrap();
    let mut recorder: Recorder = project.recorder();
    project.settle(&mut recorder);
    assert_eq!(project.names(), ["log.md"]);
}

#[test]
fn a_long_log_takes_fewer_entries_at_a_time() {
    for (length, limit) in
        [(0, 500), (180_000, 500), (10 << 20, 12), (100 << 20, 1), (256 << 20, 1)]
    {
        assert_eq!(super::batch_limit(length), limit, "{length}");
    }
}

#[test]
fn document_keys_survive_storing() {
    for key in [DocumentKey::Log, DocumentKey::Note("log".into()), DocumentKey::Note(String::new())]
    {
        assert_eq!(DocumentKey::from_stored(&key.stored()), key);
    }
    assert!(DocumentKey::Note("~".into()) < DocumentKey::Log);
}

#[test]
fn more_entries_than_a_batch_holds_are_all_written() {
    let mut project = Project::new();
    let mut recorder = project.recorder();
    let edits: Vec<_> = (0..1100)
        .map(|step| match row(DIFFUSION, step) {
            DocumentEdit::ObservationRow(mut row) => {
                row.checkpoint = format!("checkpoint-{step}.");
                DocumentEdit::ObservationRow(row)
            }
            other => other,
        })
        .collect();
    recorder.accept(request(1, edits));
    let outputs = project.settle(&mut recorder);
    assert_eq!(last_state(&outputs).pending, 0);
    assert_eq!(count(&project.log_text(), DIFFUSION), 1100);
}
