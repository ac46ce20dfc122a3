//! Tests of journals that cannot be opened or written, and of what is kept then.

use super::*;

#[test]
fn two_daemons_are_kept_apart() {
    let project = Project::new();
    let journal = project.journal();
    let error = Journal::open(&project.state(), 100).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(&error, OpenError::Locked { pid: Some(found), .. } if *found == pid));
    assert!(error.to_string().contains(&format!("process id {pid} already watches")));
    // Readers take no lock, and a leftover lock file means nothing.
    assert_eq!(project.reader().last_seq().unwrap(), 0);
    drop(journal);
    drop(project.journal());
}

#[test]
fn a_full_disk_leaves_nothing_half_done_and_is_survived() {
    let project = Project::new();
    let mut journal = project.journal();
    journal.commit(&changes(all_changes()), now()).unwrap();
    let before = project.reader().memory().unwrap();
    let pages: i64 =
        journal.connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    journal.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    let large = Transaction {
        changes: vec![Change::Run(known_run(PERCEIVER, 9))],
        events: vec![event(DIFFUSION); 500],
        documents: vec![row(DIFFUSION, 20)],
    };
    for _ in 0..2 {
        let error = journal.commit(&large, now()).unwrap_err();
        assert!(!error.is_final());
        assert!(error.to_string().contains("free some"), "{error}");
        assert_eq!(project.reader().memory().unwrap(), before);
    }
    journal
        .connection
        .pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(()))
        .unwrap();
    let recorded = journal.commit(&large, now()).unwrap();
    assert_eq!(recorded.events()[0].seq, 1);
    assert_eq!(recorded.last_seq(), 500);
}

#[test]
fn a_making_that_a_crash_interrupted_is_taken_back() {
    // A journal begins without a write-ahead log. Killed at a write or fsync of its first
    // transaction, runscribe refused its own journal as read-only ever after.
    let project = Project::new();
    let elsewhere = project.state().join("elsewhere.db");
    fs::create_dir_all(project.state()).unwrap();
    let making = Connection::open(&elsewhere).unwrap();
    making.execute_batch("PRAGMA cache_size=1; BEGIN; CREATE TABLE big (text TEXT);").unwrap();
    for _ in 0..50 {
        making.execute("INSERT INTO big VALUES (?1)", ["x".repeat(5000)]).unwrap();
    }
    fs::copy(&elsewhere, project.state().join("journal.db")).unwrap();
    let old_pages = project.state().join("elsewhere.db-journal");
    fs::copy(old_pages, project.state().join("journal.db-journal")).unwrap();
    assert!(fs::metadata(project.state().join("journal.db")).unwrap().len() > 100_000);
    let mut journal = project.journal();
    journal.commit(&changes(all_changes()), now()).unwrap();
    assert!(!project.reader().memory().unwrap().runs.is_empty());
}

/// Opens for writing and for reading, expects a refusal, and that no byte changed.
fn refused(state: &Path) -> Vec<OpenError> {
    let path = state.join("journal.db");
    let before = fs::read(&path).unwrap_or_default();
    let errors = [Journal::open(state, 100).err(), Reader::open(state).err()];
    assert_eq!(fs::read(&path).unwrap_or_default(), before);
    errors.into_iter().flatten().collect()
}

#[test]
fn a_newer_journal_is_refused_and_kept() {
    let project = Project::new();
    project.journal().close().unwrap();
    let path = project.state().join("journal.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let errors = refused(&project.state());
    assert_eq!(errors.len(), 2);
    for error in errors {
        assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    }
}

#[test]
fn what_is_not_a_sound_journal_is_refused_and_kept() {
    let sound = Project::new();
    let mut journal = sound.journal();
    let events = Transaction { events: vec![event(DIFFUSION); 500], ..Transaction::default() };
    journal.commit(&events, now()).unwrap();
    journal.close().unwrap();
    let whole = fs::read(sound.state().join("journal.db")).unwrap();
    let mut scribbled = whole.clone();
    for byte in scribbled.iter_mut().skip(4096).step_by(7) {
        *byte = 0xA5;
    }
    let other = Project::new();
    let foreign = other.root().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    for (name, bytes) in [
        ("text", b"this is no database, whatever its name says".repeat(40)),
        ("first half", whole[..whole.len() / 2].to_vec()),
        ("scribbled", scribbled),
        ("another program's", fs::read(foreign).unwrap()),
    ] {
        let project = Project::new();
        fs::create_dir(project.state()).unwrap();
        fs::write(project.state().join("journal.db"), bytes).unwrap();
        let errors = refused(&project.state());
        assert!(matches!(errors[0], OpenError::Corrupt { .. }), "{name}: {errors:?}");
        assert!(errors[0].needs_a_person());
    }
}

#[test]
fn a_journal_that_a_crash_left_empty_is_begun_anew() {
    let project = Project::new();
    fs::create_dir(project.state()).unwrap();
    fs::write(project.state().join("journal.db"), b"").unwrap();
    assert!(matches!(Reader::open(&project.state()), Err(OpenError::Missing { .. })));
    let (_journal, memory) = Journal::open(&project.state(), 100).unwrap();
    assert!(memory.fresh);
}

#[test]
fn a_row_that_cannot_be_read_is_a_corrupt_journal() {
    let project = Project::new();
    let mut journal = project.journal();
    journal.commit(&changes(all_changes()), now()).unwrap();
    journal.connection.execute("UPDATE observations SET body = '{\"half\":'", []).unwrap();
    drop(journal);
    let error = Journal::open(&project.state(), 100).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[test]
fn a_killed_writer_leaves_a_journal_that_opens() {
    // The copy of the files under a living writer is what a power cut leaves: the last commits
    // are in the write-ahead log only.
    let project = Project::new();
    let mut journal = project.journal();
    journal.commit(&changes(all_changes()), now()).unwrap();
    let copy = Project::new();
    fs::create_dir(copy.state()).unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        fs::copy(project.state().join(name), copy.state().join(name)).unwrap();
    }
    assert!(fs::metadata(copy.state().join("journal.db-wal")).unwrap().len() > 0);
    let (_copied, memory) = Journal::open(&copy.state(), 100).unwrap();
    assert_eq!(memory.observations.len(), 2);
}

#[test]
fn a_state_folder_that_cannot_be_made_is_a_stated_problem() {
    let project = Project::new();
    let file = project.root().join("file");
    fs::write(&file, b"").unwrap();
    let error = Journal::open(&file.join("state"), 100).unwrap_err();
    assert!(matches!(&error, OpenError::Io { .. }), "{error}");
    assert!(error.to_string().contains("file/state"), "{error}");
}
