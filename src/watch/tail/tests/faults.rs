//! What happens to log files: rotation, truncation, copies, pipes, and files that nobody may read.

use super::*;
use std::os::unix::fs::FileExt as _;

#[test]
fn a_log_is_read_as_it_grows_and_an_empty_one_waits() {
    let mut project = ByHand::new();
    project.append("a.log", b"");
    assert_eq!(project.turn(), []);
    project.append("a.log", &lines(0..3));
    project.turn();
    project.assert_read("a.log");
    project.append("a.log", b"{'loss': 3.25, 'grad_");
    project.turn();
    let key = project.log("a.log").key;
    project.restart();
    project.append("a.log", b"norm': 1.5, 'learning_rate': 0.1, 'epoch': 1.0}\n");
    project.turn();
    project.assert_read("a.log");
    assert_eq!(project.log("a.log").key, key);
    assert_eq!(project.turn(), [], "nothing is told twice");
}

#[test]
fn rotation_by_rename_ends_one_log_and_begins_another() {
    let mut project = ByHand::new();
    project.append("a.log", &lines(0..3));
    project.turn();
    let key = project.log("a.log").key;
    // More comes between the last look and the rotation, and behind it into the renamed file.
    project.append("a.log", &lines(3..5));
    fs::rename(project.path("a.log"), project.path("a.log.1")).unwrap();
    project.append("a.log.1", &lines(5..6));
    project.append("a.log", &lines(6..8));
    let told = project.turn();
    assert_eq!(gone(&told), 0);
    project.assert_read("a.log");
    project.assert_read("a.log.1");
    assert_eq!(project.log("a.log.1").key, key);
    assert_ne!(project.log("a.log").key, key);
}

#[test]
fn what_is_truncated_and_written_anew_is_another_log() {
    let mut project = ByHand::new();
    for (name, new) in [("shorter.log", lines(20..22)), ("longer.log", lines(30..60))] {
        project.append(name, &lines(0..10));
        project.turn();
        let key = project.log(name).key;
        fs::write(project.path(name), new).unwrap();
        let told = project.turn();
        assert_eq!(gone(&told), 1, "{told:?}");
        project.assert_read(name);
        assert_ne!(project.log(name).key, key);
    }
    // Also while nobody looks, with the same beginning, and longer than before.
    let header = vec![b'#'; 8000];
    project.append("same.log", &[&header[..], b"\n", &lines(0..10)].concat());
    project.turn();
    let key = project.log("same.log").key;
    fs::write(project.path("same.log"), [&header[..], b"\n", &lines(70..99)].concat()).unwrap();
    project.restart();
    project.turn();
    project.assert_read("same.log");
    assert_ne!(project.log("same.log").key, key);
}

#[test]
fn a_copy_is_no_second_log_and_takes_over_when_the_original_is_truncated() {
    let mut project = ByHand::new();
    project.append("a.log", &lines(0..4));
    project.turn();
    let key = project.log("a.log").key;
    project.append("a.log", &lines(4..6));
    fs::copy(project.path("a.log"), project.path("a.log.1")).unwrap();
    project.turn();
    assert_eq!(project.names(), ["a.log"], "a copy says nothing new");
    let file = OpenOptions::new().write(true).open(project.path("a.log")).unwrap();
    file.set_len(0).unwrap();
    let told = project.turn();
    assert_eq!(gone(&told), 0, "{told:?}");
    project.assert_read("a.log.1");
    assert_eq!(project.log("a.log.1").key, key);
    project.append("a.log", &lines(6..9));
    project.turn();
    project.assert_read("a.log");

    // All at once, and with a rest that was never looked at.
    project.append("a.log", &lines(9..12));
    let key = project.log("a.log").key;
    fs::rename(project.path("a.log.1"), project.path("a.log.2")).unwrap();
    fs::copy(project.path("a.log"), project.path("a.log.1")).unwrap();
    file.set_len(0).unwrap();
    project.append("a.log", &lines(12..13));
    project.turn();
    assert_eq!(project.names(), ["a.log", "a.log.1", "a.log.2"]);
    project.assert_read("a.log.1");
    assert_eq!(project.log("a.log.1").key, key);
    project.assert_read("a.log");
}

#[test]
fn a_copy_that_was_made_before_the_last_lines_is_still_the_same_log() {
    let mut project = ByHand::new();
    project.append("a.log", &lines(0..40));
    project.turn();
    fs::copy(project.path("a.log"), project.path("a.log.1")).unwrap();
    project.append("a.log", &lines(40..60));
    project.turn();
    let before = project.log("a.log");
    OpenOptions::new().write(true).open(project.path("a.log")).unwrap().set_len(0).unwrap();
    project.turn();
    let after = project.log("a.log.1");
    assert_eq!((&after.key, &after.reading), (&before.key, &before.reading));
    assert_eq!(project.names(), ["a.log.1"]);
    assert_eq!(project.turn(), []);
    project.restart();
    project.turn();
    assert_eq!(project.names(), ["a.log.1"]);
}

#[test]
fn logs_with_the_same_first_lines_are_two_logs() {
    let mut project = ByHand::new();
    project.append("a.log", b"Starting\n");
    project.turn();
    project.append("b.log", b"Starting\n");
    project.turn();
    project.append("b.log", &lines(0..3));
    project.turn();
    project.append("a.log", &lines(3..5));
    project.turn();
    project.assert_read("a.log");
    project.assert_read("b.log");
}

#[test]
fn the_rest_of_a_deleted_log_is_read_before_it_is_given_up() {
    let mut project = ByHand::new();
    project.append("a.log", &lines(0..4));
    project.turn();
    let mut open = OpenOptions::new().append(true).open(project.path("a.log")).unwrap();
    open.write_all(&lines(4..6)).unwrap();
    fs::remove_file(project.path("a.log")).unwrap();
    project.append("a.log", &lines(10..12));
    let told = project.turn();
    let whole = reading_of(&lines(0..6));
    let saw_all =
        told.iter().any(|event| matches!(event, LogEvent::Seen(seen) if seen.reading == whole));
    assert!(saw_all, "{told:#?}");
    // Its writer may still have it open.
    open.write_all(&lines(6..7)).unwrap();
    project.turn();
    let whole = reading_of(&lines(0..7));
    assert!(project.recorded.all().iter().any(|log| log.reading == whole));
    project.now += Duration::from_mins(2);
    assert_eq!(gone(&project.turn()), 1);
    project.assert_read("a.log");
}

#[test]
fn a_folder_that_vanished_says_nothing_about_its_logs() {
    let mut project = ByHand::new();
    project.append("a.log", &lines(0..4));
    project.turn();
    project.restart();
    let away = project.root.join("away");
    fs::rename(project.root.join("logs"), &away).unwrap();
    let told = project.turn();
    assert_eq!(gone(&told), 0, "{told:?}");
    fs::rename(&away, project.root.join("logs")).unwrap();
    project.append("a.log", &lines(4..6));
    project.turn();
    project.assert_read("a.log");
}

#[test]
fn a_log_renamed_among_the_logs_keeps_its_key() {
    let mut project = ByHand::new();
    project.append("a.log", &lines(0..4));
    project.turn();
    let key = project.log("a.log").key;
    project.restart();
    fs::rename(project.path("a.log"), project.path("b.log")).unwrap();
    project.turn();
    project.assert_read("b.log");
    assert_eq!(project.log("b.log").key, key);
    assert_eq!(project.names(), ["b.log"]);
}

#[test]
fn a_hole_in_front_is_passed_over() {
    let mut project = ByHand::new();
    let file = fs::File::create(project.path("a.log")).unwrap();
    // A writer that does not append keeps its place while others truncate.
    file.write_at(&lines(0..500), 0).unwrap();
    project.turn();
    let place = fs::metadata(project.path("a.log")).unwrap().len();
    file.set_len(0).unwrap();
    file.write_at(&lines(500..510), place).unwrap();
    project.turn();
    let log = project.log("a.log");
    assert_eq!(log.reading.trainings, reading_of(&lines(500..510)).trainings);
    assert_eq!(log.position.offset, fs::metadata(project.path("a.log")).unwrap().len());
}

#[test]
fn of_old_and_endless_logs_only_the_end_is_read() {
    let mut project = ByHand::new();
    let long_ago = std::time::SystemTime::now() - Duration::from_hours(24 * 30);
    for number in 0..100 {
        let name = format!("old-{number}.log");
        let file = fs::File::create(project.path(&name)).unwrap();
        // A thousand gigabytes, nearly all of them holes.
        file.write_at(&lines(0..100), 0).unwrap();
        file.set_len(10 << 30).unwrap();
        file.write_at(&lines(100..150), 10 << 30).unwrap();
        file.set_modified(long_ago).unwrap();
    }
    let told = project.turn();
    let read: u64 = told
        .iter()
        .filter_map(|event| match event {
            LogEvent::Seen(seen) => Some(seen.position.offset - seen.reading.skipped),
            _ => None,
        })
        .sum();
    assert!(read <= 100 << 20, "{read} bytes");
    let log = project.log("old-7.log");
    assert!(log.reading.skipped > 9 << 30);
    let last = log.reading.trainings.last().unwrap().metrics.last().unwrap();
    assert_eq!(last.value("loss"), Some(149.25));
    // What comes from now on is read as with any other log.
    project.append("old-7.log", &lines(150..151));
    project.now += Duration::from_mins(1);
    project.turn();
    let log = project.log("old-7.log");
    let last = log.reading.trainings.last().unwrap().metrics.last().unwrap();
    assert_eq!(last.value("loss"), Some(150.25));
}

#[test]
fn an_old_log_begins_with_a_whole_line_and_its_number() {
    let mut project = ByHand::new();
    let file = fs::File::create(project.path("old.log")).unwrap();
    file.write_at(&lines(0..40_000), 0).unwrap();
    file.set_modified(std::time::SystemTime::now() - Duration::from_hours(48)).unwrap();
    project.turn();
    let log = project.log("old.log");
    let whole = reading_of(&lines(0..40_000));
    assert!(log.reading.skipped > 1 << 20);
    assert_eq!(log.reading.trainings[0].metrics, whole.trainings[0].metrics);
}

#[test]
fn what_is_no_file_is_never_opened_and_what_is_unreadable_is_stated() {
    let mut project = ByHand::new();
    let (no_mode, mode) = (rustix::fs::Mode::empty(), rustix::fs::Mode::RUSR);
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, project.path("pipe.log"), fifo, mode, 0).unwrap();
    fs::create_dir(project.path("folder.log")).unwrap();
    project.append("a.log", &lines(0..4));
    std::os::unix::fs::symlink("a.log", project.path("latest.log")).unwrap();
    std::os::unix::fs::symlink("nowhere", project.path("broken.log")).unwrap();
    let told = project.turn();
    assert_eq!(project.names(), ["a.log"], "{told:?}");
    if rustix::process::geteuid().is_root() {
        println!("not tried: a user to whom nothing is denied cannot meet an unreadable log");
        return;
    }
    project.append("secret.log", b"x\n");
    rustix::fs::chmod(project.path("secret.log"), no_mode).unwrap();
    let told = project.turn();
    let problems: Vec<&LogEvent> =
        told.iter().filter(|event| matches!(event, LogEvent::Problems(_))).collect();
    assert_eq!(problems.len(), 1, "said once: {told:?}");
    rustix::fs::chmod(project.path("secret.log"), mode).unwrap();
    project.now += Duration::from_mins(1);
    assert!(project.turn().contains(&LogEvent::Problems(Vec::new())));
    project.assert_read("secret.log");
}

#[test]
fn what_was_told_and_lost_is_told_again() {
    let mut project = ByHand::new();
    project.append("a.log", &lines(0..4));
    project.turn();
    project.append("a.log", &lines(4..6));
    project.append("b.log", &lines(10..12));
    assert!(!project.turn_unrecorded().is_empty());
    assert_eq!(project.log("a.log").reading, reading_of(&lines(0..4)));
    project.tail.start_over_soon();
    project.turn();
    project.assert_read("a.log");
    project.assert_read("b.log");
}

#[test]
fn a_rested_log_that_grows_again_is_read_on() {
    let mut project = ByHand::new();
    project.append("a.log", &lines(0..4));
    project.turn();
    project.now += Duration::from_hours(1);
    project.turn();
    assert!(project.tail.followers.is_empty(), "nothing is held open");
    project.append("a.log", &lines(4..6));
    project.turn();
    project.assert_read("a.log");
}

#[test]
fn a_thousand_logs_are_followed_with_few_of_them_open() {
    let mut project = ByHand::new();
    for number in 0..1000 {
        project.append(&format!("{number}.log"), &lines(number * 10..number * 10 + 3));
    }
    project.turn();
    assert_eq!(project.recorded.all().len(), 1000);
    assert!(project.tail.followers.len() <= 65, "{}", project.tail.followers.len());
    for number in [3, 500, 999] {
        project.append(&format!("{number}.log"), &lines(20_000 + number..20_001 + number));
        project.now += Duration::from_mins(1);
        project.turn();
        project.assert_read(&format!("{number}.log"));
    }
}
