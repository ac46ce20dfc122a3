//! Tests of replacing: whatever a person does at whichever moment, no text of theirs is lost.

use std::os::unix::fs::symlink;

use rustix::fs::XattrFlags;
use tempfile::TempDir;

use super::*;

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Reads the document that is going to be replaced.
fn read(path: &Path) -> Document {
    reading::read(path).unwrap().unwrap()
}

/// What somebody would hold who read this text in the moment of the file's last change.
fn mistaken(path: &Path, text: &[u8]) -> Document {
    Document { text: text.to_vec(), stamp: reading::stamp(path).unwrap().unwrap() }
}

#[test]
fn replaces_a_file_and_leaves_nothing_beside_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.md");
    fs::write(&path, b"old").unwrap();
    let replaced = replace(&path, Some(&read(&path)), b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["log.md"]);
    assert_eq!(replaced.displaced.unwrap().saved_since().unwrap(), None);
}

#[test]
fn keeps_mode_owner_and_attributes() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.md");
    fs::write(&path, b"old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o2664)).unwrap();
    let file = File::open(&path).unwrap();
    let attribute = rustix::fs::fsetxattr(&file, "user.note", b"kept", XattrFlags::empty());
    // Only root may give files away; the group and mode are checked for everybody.
    let given = std::os::unix::fs::chown(&path, Some(12345), Some(12345));
    if given.is_ok() {
        fs::set_permissions(&path, Permissions::from_mode(0o2664)).unwrap();
    }
    let before = fs::metadata(&path).unwrap();
    replace(&path, Some(&read(&path)), b"new").unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (after.mode(), after.uid(), after.gid()),
        (before.mode(), before.uid(), before.gid())
    );
    assert_ne!(after.ino(), before.ino());
    if attribute.is_ok() {
        let mut value = [0; 8];
        let file = File::open(&path).unwrap();
        let length = rustix::fs::fgetxattr(&file, "user.note", value.as_mut_slice()).unwrap();
        assert_eq!(value.get(..length), Some(b"kept".as_slice()));
    }
}

#[test]
fn a_read_only_file_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.md");
    fs::write(&path, b"old").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    let error = replace(&path, Some(&read(&path)), b"new").unwrap_err();
    let held = matches!(&error, ReplaceError::Held(reason) if reason.contains("is read-only"));
    assert!(held, "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(names(folder.path()), ["log.md"]);
}

#[test]
fn a_link_stays_and_its_target_is_replaced() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    let target = folder.path().join("real/log.md");
    let link = folder.path().join("log.md");
    fs::write(&target, b"old").unwrap();
    symlink("real/log.md", &link).unwrap();
    replace(&link, Some(&read(&link)), b"new").unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(folder.path()), ["log.md", "real"]);
}

#[test]
fn what_cannot_be_replaced_is_held_with_a_reason() {
    let folder = TempDir::new().unwrap();
    let dangling = folder.path().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    let directory = folder.path().join("directory");
    fs::create_dir(&directory).unwrap();
    let document = mistaken(&directory, b"x");
    for (path, expected, reason) in [
        (&dangling, None, "leads to nothing"),
        (&dangling, Some(&document), "leads to nothing"),
        (&directory, Some(&document), "not a regular file"),
    ] {
        let error = replace(path, expected, b"new").unwrap_err();
        assert!(matches!(&error, ReplaceError::Held(text) if text.contains(reason)), "{error}");
    }
    assert_eq!(names(folder.path()), ["dangling", "directory"]);
}

#[test]
fn refusals_of_the_system_come_with_advice() {
    let place = Place { target: "/p/log.md".into(), folder: "/p".into() };
    for (errno, phrase) in [
        (Errno::NOSPC, "free some"),
        (Errno::DQUOT, "free some"),
        (Errno::ROFS, "read-only"),
        (Errno::ACCESS, "let the user that runs runscribe write"),
        (Errno::PERM, "let the user that runs runscribe write"),
    ] {
        let error = place.refused(errno.into());
        assert!(matches!(&error, ReplaceError::Held(text) if text.contains(phrase)), "{error}");
    }
    assert!(matches!(place.refused(Errno::NOENT.into()), ReplaceError::Changed));
    assert!(matches!(place.refused(Errno::IO.into()), ReplaceError::Io { .. }));
}

#[test]
fn a_save_that_came_before_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.md");
    for (there, was_read) in [
        (Some("a person's".as_bytes()), true),
        (Some(b"a person's".as_slice()), false),
        (Some(b"".as_slice()), true),
        (None, true),
    ] {
        fs::write(&path, b"what was edited").unwrap();
        let expected = was_read.then(|| read(&path));
        match there {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let error = replace(&path, expected.as_ref(), b"new").unwrap_err();
        assert!(matches!(error, ReplaceError::Changed), "{there:?}: {error}");
        assert_eq!(fs::read(&path).ok().as_deref(), there);
        assert!(names(folder.path()).iter().all(|name| name == "log.md"));
    }
}

#[test]
fn a_save_that_left_the_stamp_as_it_was_is_given_back() {
    // Two saves of one length within one tick of the file system's clock cannot be told apart by
    // looking at the file; only the text that the exchange brings out tells.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.md");
    fs::write(&path, b"2nd save").unwrap();
    let error = replace(&path, Some(&mistaken(&path, b"1st save")), b"new").unwrap_err();
    assert!(matches!(error, ReplaceError::Changed), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"2nd save");
    assert_eq!(names(folder.path()), ["log.md"]);
}

#[test]
fn a_missing_file_is_created_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("note.md");
    replace(&path, None, b"text").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"text");
    assert_eq!(names(folder.path()), ["note.md"]);
    assert!(replace(&folder.path().join("absent/note.md"), None, b"text").is_err());
}

#[test]
fn another_writer_in_the_folder_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.md");
    fs::write(&path, b"old").unwrap();
    let lock = FolderLock::try_acquire(folder.path()).unwrap();
    assert!(matches!(replace(&path, Some(&read(&path)), b"new"), Err(ReplaceError::Busy)));
    drop(lock);
    replace(&path, Some(&read(&path)), b"new").unwrap();
}

/// The moment after an exchange brought out a person's text `A`.
fn exchanged(folder: &Path, in_place: Option<&str>) -> (Place, Beside) {
    let place = Place { target: folder.join("log.md"), folder: folder.to_owned() };
    if let Some(text) = in_place {
        fs::write(&place.target, text).unwrap_or_default();
    }
    let swap = Beside { path: folder.join(".swap"), armed: true };
    fs::write(&swap.path, "A").unwrap_or_default();
    (place, swap)
}

#[test]
fn the_newest_save_wins_while_an_exchange_is_taken_back() {
    let kept = "log.md.saved-by-runscribe-1";
    for (in_place, expected, left) in [
        // Nobody saved again: the person's text is back.
        (Some("new"), "A", vec!["log.md"]),
        // Somebody saved over our text, perhaps having read it: both of theirs are kept.
        (Some("B"), "B", vec!["log.md", kept]),
        // Their editor has moved the file away and is about to write it.
        (None, "A", vec!["log.md"]),
    ] {
        let folder = TempDir::new().unwrap();
        let (place, swap) = exchanged(folder.path(), in_place);
        let error = place.give_back(swap, Some(b"A".to_vec()), b"new");
        let held = matches!(&error, ReplaceError::Held(reason) if reason.contains(kept));
        assert_eq!(held, left.len() == 2, "{in_place:?}: {error}");
        assert_eq!(fs::read_to_string(&place.target).unwrap(), expected, "{in_place:?}");
        assert_eq!(names(folder.path()), left, "{in_place:?}");
        if held {
            assert_eq!(fs::read_to_string(folder.path().join(kept)).unwrap(), "A");
        }
    }
}

#[test]
fn a_text_of_unclear_standing_becomes_visible() {
    let folder = TempDir::new().unwrap();
    let (place, swap) = exchanged(folder.path(), Some("B"));
    fs::write(folder.path().join("log.md.saved-by-runscribe-1"), "earlier").unwrap();
    let error = set_aside(swap, &place.target);
    assert!(matches!(&error, ReplaceError::Held(text) if text.contains("saved-by-runscribe-2")));
    let kept = fs::read_to_string(folder.path().join("log.md.saved-by-runscribe-2")).unwrap();
    assert_eq!(kept, "A");
    assert_eq!(names(folder.path()).len(), 3);
}

#[test]
fn without_exchange_the_last_comparison_decides() {
    for (there, expected) in [("old", "new"), ("a person's", "a person's")] {
        let folder = TempDir::new().unwrap();
        let (place, swap) = exchanged(folder.path(), Some(there));
        fs::write(&swap.path, "new").unwrap();
        let old = File::open(&place.target).unwrap();
        let done = place.rename_over(swap, (b"old", old), &Text::of(b"new"));
        assert_eq!(done.is_ok(), there == "old");
        assert_eq!(fs::read_to_string(&place.target).unwrap(), expected);
        assert_eq!(names(folder.path()), ["log.md"]);
    }
}

#[test]
fn a_write_into_the_displaced_file_is_noticed() {
    // A program opened the log before it was replaced, truncates and writes it after.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.md");
    fs::write(&path, b"old").unwrap();
    let mut late = OpenOptions::new().write(true).open(&path).unwrap();
    let replaced = replace(&path, Some(&read(&path)), b"new").unwrap();
    late.set_len(0).unwrap();
    late.write_all(b"saved late").unwrap();
    let displaced = replaced.displaced.unwrap();
    assert_eq!(displaced.saved_since().unwrap().as_deref(), Some(b"saved late".as_slice()));
    assert!(displaced.last_write().is_some());
}

#[test]
fn a_save_is_never_overwritten_by_an_older_text() {
    // A person saves by renaming, as fast as possible, what they hold and a line more. Whatever
    // crosses what, the last save stands in the end, with or without a line of ours.
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.md");
    fs::write(&path, b"").unwrap();
    let saves: u32 = 500;
    let person = {
        let (path, draft) = (path.clone(), folder.path().join("draft"));
        move || {
            let mut text = Vec::new();
            for line in 0..saves {
                writeln!(&mut text, "person {line}").unwrap();
                fs::write(&draft, &text).unwrap();
                fs::rename(&draft, &path).unwrap();
            }
            text
        }
    };
    let last = std::thread::scope(|scope| {
        let person = scope.spawn(person);
        while !person.is_finished() {
            let document = read(&path);
            let new = [document.text.as_slice(), b"ours\n"].concat();
            match replace(&path, Some(&document), &new) {
                Ok(_) | Err(ReplaceError::Changed) => {}
                Err(ReplaceError::Held(reason)) => assert!(reason.contains("is kept as")),
                Err(error) => panic!("{error}"),
            }
        }
        person.join().unwrap()
    });
    let text = fs::read(&path).unwrap();
    assert!(text.starts_with(&last), "the last save is lost");
    assert!(names(folder.path()).iter().all(|name| name.starts_with("log.md")));
}

#[test]
fn fingerprints_stay_the_same_and_tell_texts_apart() {
    // They stand in names that another version of the program may find after a crash.
    assert_eq!(fingerprint(b""), 0);
    assert_eq!(fingerprint(b"a"), 0x5da7_9c9b_c915_205b);
    assert_eq!(fingerprint(&[b'a'; 100]), 0x0548_3f57_7bfd_9438);
    // Among them the same words in another order, within a chain and across chains.
    let (one, two) = ([b'1'; 8], [b'2'; 8]);
    let in_order = |words: [[u8; 8]; 5]| words.concat();
    let texts = [
        b"".to_vec(),
        b"\0".to_vec(),
        b"\0\0".to_vec(),
        b"12345678".to_vec(),
        b"123456789".to_vec(),
        b"12345679".to_vec(),
        vec![0; 32],
        vec![0; 64],
        in_order([one, two, one, one, one]),
        in_order([two, one, one, one, one]),
        in_order([one, one, one, one, two]),
    ];
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let prints: std::collections::BTreeSet<_> =
        texts.iter().map(|text| fingerprint(text)).collect();
    assert_eq!(prints.len(), texts.len());
}

#[test]
fn an_exchange_that_comes_too_late_is_taken_back() {
    // The comparison after the exchange is the one that counts; here it sees a save that came
    // after all that is looked at before.
    let folder = TempDir::new().unwrap();
    let (place, swap) = exchanged(folder.path(), Some("new"));
    let error = place.settle(swap, b"what was edited", &Text::of(b"new")).unwrap_err();
    assert!(matches!(error, ReplaceError::Changed), "{error}");
    assert_eq!(fs::read_to_string(&place.target).unwrap(), "A");
    assert_eq!(names(folder.path()), ["log.md"]);
}
