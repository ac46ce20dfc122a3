//! Tests of the writing thread: commits come first, trouble is said once, and the end is orderly.

use std::sync::mpsc;

use super::*;
use crate::model::journal::Change;
use crate::record::samples::{DIFFUSION, Project, event, fill, known_run, observed, request, row};

fn commit(ticket: u64, changes: Vec<Change>) -> Request {
    let transaction =
        Transaction { changes, events: vec![event(DIFFUSION)], ..Transaction::default() };
    Request::Commit { ticket, transaction }
}

fn troubles(outputs: &[Output]) -> Vec<bool> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::CommitTrouble(reason) => Some(reason.is_some()),
            _ => None,
        })
        .collect()
}

fn tickets(outputs: &[Output]) -> Vec<u64> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Recorded(recorded) => recorded.ticket(),
            _ => None,
        })
        .collect()
}

/// Limits the journal to the pages that it has, as a full disk does.
fn fill_disk(recorder: &Recorder, full: bool) {
    let connection = &recorder.journal.connection;
    let pages = connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0));
    let limit = if full { pages.unwrap_or(1) } else { 1_000_000 };
    connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(())).unwrap_or(());
}

fn large(ticket: u64) -> Request {
    let events = vec![event(DIFFUSION); 400];
    Request::Commit { ticket, transaction: Transaction { events, ..Transaction::default() } }
}

#[test]
fn a_full_disk_is_said_once_and_the_transaction_waits() {
    let mut project = Project::new();
    let mut recorder = project.recorder();
    recorder.turn(project.now());
    fill_disk(&recorder, true);
    recorder.accept(large(1));
    recorder.accept(large(2));
    let mut outputs = Vec::new();
    for _ in 0..4 {
        let turn = recorder.turn(project.now());
        let wait = turn.wake.unwrap().duration_since(project.now().instant);
        assert_eq!(wait, RETRY);
        outputs.extend(turn.outputs);
        // Requests that arrive meanwhile do not make it try more often.
        assert_eq!(recorder.turn(project.now()).outputs, []);
        project.pass(1000);
    }
    assert_eq!(troubles(&outputs), [true]);
    assert!(matches!(
        &outputs[0],
        Output::CommitTrouble(Some(reason)) if reason.contains("free some")
    ));
    fill_disk(&recorder, false);
    let outputs = project.settle(&mut recorder);
    assert_eq!(troubles(&outputs), [false]);
    assert_eq!(tickets(&outputs), [1, 2]);
    assert_eq!(project.reader().last_seq().unwrap(), 800);
}

#[test]
fn what_can_never_be_recorded_is_refused_and_does_not_block() {
    let mut project = Project::new();
    let mut recorder = project.recorder();
    let time = "2026-02-25T14:03:07+01:00";
    let again = || vec![observed(DIFFUSION, "final", "a", time)];
    recorder.accept(commit(1, again()));
    recorder.accept(commit(2, again()));
    recorder.accept(commit(3, vec![Change::Run(known_run(DIFFUSION, 1))]));
    let outputs = project.settle(&mut recorder);
    assert_eq!(tickets(&outputs), [1, 3]);
    assert!(outputs.iter().any(|output| matches!(
        output,
        Output::Refused { ticket: 2, reason } if reason.contains("is observed already")
    )));
    assert_eq!(troubles(&outputs), Vec::<bool>::new());
}

#[test]
fn requests_are_answered_in_order_until_the_senders_are_gone() {
    let project = Project::new();
    std::fs::write(project.log(), "# Log\n").unwrap();
    let recorder = project.recorder();
    let (send, requests) = mpsc::channel();
    let (outputs, mut said) = tokio::sync::mpsc::channel(64);
    for ticket in 0..10 {
        send.send(request(ticket, vec![row(DIFFUSION, ticket)])).unwrap();
    }
    drop(send);
    run(recorder, &requests, &outputs).unwrap();
    drop(outputs);
    let mut all = Vec::new();
    while let Some(output) = said.blocking_recv() {
        all.push(output);
    }
    assert_eq!(tickets(&all), (0..10).collect::<Vec<_>>());
    // All of it is kept for the next life, and the journal is closed in order.
    assert!(!project.state().join("journal.db-wal").exists());
    assert_eq!(project.journal().open_documents().unwrap().0, 10);
}

#[test]
fn the_thread_wakes_for_requests_and_for_documents() {
    let project = Project::new();
    std::fs::write(project.log(), "# Log\n").unwrap();
    let recorder = project.recorder();
    let (send, requests) = mpsc::channel();
    let (outputs, mut said) = tokio::sync::mpsc::channel(64);
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || run(recorder, &requests, &outputs));
        send.send(request(7, vec![row(DIFFUSION, 20), fill(DIFFUSION, "9.0")])).unwrap();
        // The state without pending entries comes only after the second look.
        let mut seen = Vec::new();
        while let Some(output) = said.blocking_recv() {
            let seen_done = matches!(&output, Output::Documents(state) if state.pending == 0);
            seen.push(output);
            if seen_done && !tickets(&seen).is_empty() {
                break;
            }
        }
        assert_eq!(tickets(&seen), [7]);
        drop(send);
        thread.join().unwrap().unwrap();
    });
    assert!(project.log_text().contains("=9.0"));
}

#[test]
fn a_deaf_listener_does_not_stop_recording() {
    let project = Project::new();
    let recorder = project.recorder();
    let (send, requests) = mpsc::channel();
    let (outputs, said) = tokio::sync::mpsc::channel(1);
    drop(said);
    for ticket in 0..50 {
        send.send(large(ticket)).unwrap();
    }
    drop(send);
    run(recorder, &requests, &outputs).unwrap();
    assert_eq!(project.reader().last_seq().unwrap(), 50 * 400);
}

#[test]
fn the_end_says_what_could_not_be_recorded() {
    let project = Project::new();
    let mut recorder = project.recorder();
    recorder.turn(project.now());
    fill_disk(&recorder, true);
    recorder.accept(large(1));
    recorder.accept(large(2));
    let error = recorder.finish(project.now(), |_| {}).unwrap_err();
    assert_eq!(error.transactions, 2);
    assert!(error.to_string().contains("free some"), "{error}");
    let error = CommitError::Refused("x".into());
    assert!(error.is_final());
}
