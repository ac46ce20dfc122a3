//! Tests of what crosses a delivery: crashes, and saves of people at any moment.

use super::*;

#[test]
fn a_crash_after_any_turn_changes_nothing_in_the_end() {
    let edits = || {
        let mut edits = failure(DIFFUSION);
        edits.extend([row(PERCEIVER, 20), fill(PERCEIVER, "9.0"), fill(PERCEIVER, "9.5")]);
        edits
    };
    let whole = {
        let mut project = Project::new();
        let mut recorder = project.recorder();
        recorder.accept(request(1, edits()));
        let outputs = project.settle(&mut recorder);
        assert_eq!(last_state(&outputs), DocumentsState::default());
        project.log_text()
    };
    for crash in 1..10 {
        let mut project = Project::new();
        let mut recorder = project.recorder();
        recorder.accept(request(1, edits()));
        project.turns(&mut recorder, crash);
        drop(recorder);
        let mut recorder = project.recorder();
        let outputs = project.settle(&mut recorder);
        assert_eq!(project.log_text(), whole, "crash after turn {crash}");
        assert_eq!(last_state(&outputs).pending, 0, "crash after turn {crash}");
        assert!(project.note(DIFFUSION).exists());
        // Each entry is announced once, whichever life wrote it.
        let mut kinds: Vec<_> = project
            .reader()
            .events(0, 100, None)
            .unwrap()
            .iter()
            .map(|stored| stored.event.what.kind())
            .collect();
        kinds.sort_unstable();
        assert_eq!(kinds, ["failure_noted", "observation_written", "observation_written"]);
    }
}

/// Lets every mark of the outbox fail, as a full disk does in the worst moment, or ends that.
fn fail_marks(project: &Project, fail: bool) {
    let sql = if fail {
        "CREATE TRIGGER fail BEFORE UPDATE OF state ON outbox
         BEGIN SELECT RAISE(ABORT, 'no mark'); END"
    } else {
        "DROP TRIGGER fail"
    };
    let path: PathBuf = project.state().join("journal.db");
    rusqlite::Connection::open(path).and_then(|connection| connection.execute_batch(sql)).unwrap();
}

#[test]
fn a_crash_between_document_and_mark_doubles_nothing_and_keeps_cells_ours() {
    let mut project = Project::new();
    fs::write(project.log(), format!("RUN {PERCEIVER}=--\n")).unwrap();
    let mut recorder = project.recorder();
    recorder.accept(request(1, vec![row(DIFFUSION, 20), fill(DIFFUSION, "9.0")]));
    recorder.accept(request(2, vec![fill(PERCEIVER, "4.0")]));
    project.turns(&mut recorder, 2);
    fail_marks(&project, true);
    let outputs = project.turns(&mut recorder, 6);
    assert!(outputs.iter().any(|output| matches!(output, Output::CommitTrouble(Some(_)))));
    // The document is written, and the journal does not know.
    assert_eq!(count(&project.log_text(), DIFFUSION), 2);
    drop(recorder);
    fail_marks(&project, false);

    let mut recorder = project.recorder();
    project.settle(&mut recorder);
    assert_eq!(count(&project.log_text(), DIFFUSION), 2);
    // A later value still replaces what the lost life wrote: the cells are known to be ours.
    recorder.accept(request(3, vec![fill(DIFFUSION, "9.5"), fill(PERCEIVER, "4.5")]));
    project.settle(&mut recorder);
    assert!(project.log_text().contains(&format!("RUN {DIFFUSION}=9.5\n")));
    assert!(project.log_text().contains(&format!("RUN {PERCEIVER}=4.5\n")));
}

#[test]
fn a_crash_before_the_document_leaves_a_persons_cell_a_persons() {
    let mut project = Project::new();
    fs::write(project.log(), format!("RUN {DIFFUSION}=--\n")).unwrap();
    let mut journal = project.journal();
    let intended = (RunId::new(DIFFUSION), RunColumn::EffectiveRank, "9.0".to_owned());
    journal.intend(&[intended]).unwrap();
    drop(journal);
    fs::write(project.log(), format!("RUN {DIFFUSION}=by hand\n")).unwrap();
    let mut recorder = project.recorder();
    recorder.accept(request(1, vec![fill(DIFFUSION, "9.0"), fill(DIFFUSION, "9.5")]));
    let outputs = project.settle(&mut recorder);
    assert_eq!(project.log_text(), format!("RUN {DIFFUSION}=by hand\n"));
    assert_eq!(last_state(&outputs).pending, 0);
}

#[test]
fn cells_that_a_person_changed_are_left_alone() {
    let mut project = Project::new();
    let mut recorder = project.recorder();
    recorder.accept(request(1, vec![fill(DIFFUSION, "9.0")]));
    project.settle(&mut recorder);
    recorder.accept(request(2, vec![fill(DIFFUSION, "9.5")]));
    project.settle(&mut recorder);
    assert_eq!(project.log_text(), format!("# Log\nRUN {DIFFUSION}=9.5\n"));
    fs::write(project.log(), format!("RUN {DIFFUSION}=9.9 (mine)\n")).unwrap();
    recorder.accept(request(3, vec![fill(DIFFUSION, "9.7")]));
    project.settle(&mut recorder);
    assert_eq!(project.log_text(), format!("RUN {DIFFUSION}=9.9 (mine)\n"));
}

/// Saves as editors do: a draft beside the file, renamed over it.
fn save_by_rename(project: &Project, text: &str) {
    let draft = project.root().join("draft");
    fs::write(&draft, text).and_then(|()| fs::rename(&draft, project.log())).unwrap();
}

#[test]
fn a_stale_save_at_any_moment_loses_neither_side() {
    for by_rename in [true, false] {
        for moment in 0..8 {
            let mut project = Project::new();
            fs::write(project.log(), "# Log\n").unwrap();
            let mut recorder = project.recorder();
            recorder.accept(request(1, vec![row(DIFFUSION, 20), fill(DIFFUSION, "9.0")]));
            // The person read the log before anything was written and saves it after some turns.
            project.turns(&mut recorder, moment);
            let looked = recorder.turn(project.now()).wake.is_none();
            let text = if looked { project.log_text() } else { "# Log\n".to_owned() };
            let text = format!("{text}a person's line\n");
            if by_rename {
                save_by_rename(&project, &text);
            } else {
                fs::write(project.log(), &text).unwrap();
            }
            let outputs = project.settle(&mut recorder);
            let log = project.log_text();
            let context = format!("{by_rename} {moment}: {log}");
            assert_eq!(count(&log, "a person's line"), 1, "{context}");
            assert_eq!(count(&log, "checkpoint-20"), 1, "{context}");
            assert_eq!(count(&log, "=9.0"), 1, "{context}");
            assert_eq!(project.names(), ["log.md"], "{context}");
            assert!(outputs.is_empty() || last_state(&outputs).pending == 0, "{context}");
        }
    }
}

#[test]
fn a_save_into_the_replaced_file_is_brought_back() {
    // The editor opened the log before it was replaced; it truncates and writes in steps after.
    for steps_before in 1..5 {
        let mut project = Project::new();
        fs::write(project.log(), "# Log\n").unwrap();
        let mut editor = OpenOptions::new().write(true).open(project.log()).unwrap();
        let mut recorder = project.recorder();
        recorder.accept(request(1, vec![row(DIFFUSION, 20)]));
        while count(&project.log_text(), DIFFUSION) == 0 {
            project.turns(&mut recorder, 1);
        }
        editor.set_len(0).unwrap();
        for _ in 0..steps_before {
            project.turns(&mut recorder, 1);
        }
        editor.write_all(b"# Log\na person's line\n").unwrap();
        drop(editor);
        // Their save is as old as the look needs it to be.
        project.pass(1000);
        project.settle(&mut recorder);
        let log = project.log_text();
        assert_eq!(count(&log, "a person's line"), 1, "{steps_before}: {log}");
        assert_eq!(count(&log, DIFFUSION), 1, "{steps_before}: {log}");
        assert_eq!(project.names(), ["log.md"]);
    }
}

#[test]
fn what_a_person_removes_after_the_second_look_stays_removed() {
    let mut project = Project::new();
    let mut recorder = project.recorder();
    recorder.accept(request(1, failure(DIFFUSION)));
    project.settle(&mut recorder);
    fs::write(project.log(), "# Log\n").unwrap();
    fs::remove_file(project.note(DIFFUSION)).unwrap();
    drop(recorder);
    let mut recorder = project.recorder();
    recorder.accept(request(2, vec![row(PERCEIVER, 40)]));
    project.settle(&mut recorder);
    assert_eq!(count(&project.log_text(), DIFFUSION), 0);
    assert_eq!(count(&project.log_text(), PERCEIVER), 1);
    assert!(!project.note(DIFFUSION).exists());
}

#[test]
fn an_older_value_never_lands_on_a_newer_one() {
    let mut project = Project::new();
    let mut recorder = project.recorder();
    recorder.accept(request(1, vec![fill(DIFFUSION, "9.0")]));
    while count(&project.log_text(), "=9.0") == 0 {
        project.turns(&mut recorder, 1);
    }
    recorder.accept(request(2, vec![fill(DIFFUSION, "9.5"), row(DIFFUSION, 40)]));
    while count(&project.log_text(), "=9.5") == 0 {
        project.turns(&mut recorder, 1);
    }
    // A stale save loses all of it between the two looks.
    save_by_rename(&project, "# Log\n");
    project.settle(&mut recorder);
    assert_eq!(count(&project.log_text(), "=9.5"), 1, "{}", project.log_text());
    assert_eq!(count(&project.log_text(), "checkpoint-40"), 1);
}
