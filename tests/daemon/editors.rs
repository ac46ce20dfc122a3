//! People and git save the log in the very moments in which runscribe does: not one line of
//! theirs or ours is lost, and none of ours is doubled.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::support::{Project, pause, wait};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";
const STEPS: [u64; 3] = [20, 40, 60];
/// Saves of a person, one each 10 ms: longer than runscribe waits for quiet at most.
const SAVES: u32 = 350;
const MERGES: u32 = 30;
const LOG: &str =
    "# Log\n\n## Diary\n\n## Training Runs\n\n| Date | Run ID | Eff. Rank |\n|---|---|---|\n";

fn entry(round: u32) -> String {
    format!("- a person's entry {round};")
}

/// Adds one line to the diary.
fn with_entry(text: &str, round: u32) -> String {
    text.replacen("## Diary\n\n", &format!("## Diary\n\n{}\n", entry(round)), 1)
}

/// Saves checkpoints while `disturb` goes on, and waits until all is written.
fn disturbed(project: &Project, disturb: impl FnOnce() + Send) {
    let daemon = project.start();
    thread::scope(|scope| {
        let disturbing = scope.spawn(disturb);
        for step in STEPS {
            project.save(RUN, step);
            wait("the analysis", || project.starts().len() as u64 >= step / 20);
        }
        disturbing.join().unwrap();
    });
    daemon.wait_for_observations(STEPS.len() as u64);
    assert_eq!(daemon.stop(), Some(0));
}

/// Texts of unclear standing that were kept beside the log.
fn kept_beside(project: &Project) -> Vec<String> {
    let folder = project.log_path().parent().unwrap().to_owned();
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let kept = names.filter(|path| path.to_string_lossy().contains(".saved-by-runscribe-"));
    kept.map(|path| fs::read_to_string(path).unwrap()).collect()
}

/// Checks that every entry below `rounds` and every row of ours is there.
#[expect(clippy::print_stdout, reason = "the counts are part of what this test tells")]
fn nothing_is_lost(project: &Project, rounds: u32, what: &str) {
    let (log, beside) = (project.log(), kept_beside(project));
    let in_log = (0..rounds).filter(|&round| log.contains(&entry(round))).count();
    let kept = (0..rounds)
        .filter(|&round| !log.contains(&entry(round)))
        .filter(|&round| beside.iter().any(|text| text.contains(&entry(round))))
        .count();
    println!("figure: {what}: {rounds} lines of a person, {in_log} in the log, {kept} beside it");
    assert_eq!(in_log + kept, rounds as usize, "{log}");
    for step in STEPS {
        assert_eq!(log.matches(&format!("| `checkpoint-{step}` |")).count(), 1, "{log}");
    }
    assert_eq!(log.matches(&format!("| `{RUN}` | **20.0 / 128**")).count(), 1, "{log}");
}

#[test]
fn a_person_who_saves_by_renaming_every_10_ms_loses_nothing() {
    let project = Project::new();
    fs::write(project.log_path(), LOG).unwrap();
    let (path, new) = (project.log_path(), project.log_path().with_extension("new"));
    disturbed(&project, || {
        for round in 0..SAVES {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&new, with_entry(&text, round)).unwrap();
            fs::rename(&new, &path).unwrap();
            pause();
        }
    });
    nothing_is_lost(&project, SAVES, "write and rename");
}

#[test]
fn a_person_who_saves_by_truncating_every_10_ms_loses_nothing() {
    let project = Project::new();
    fs::write(project.log_path(), LOG).unwrap();
    let path = project.log_path();
    disturbed(&project, || {
        for round in 0..SAVES {
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, with_entry(&text, round)).unwrap();
            pause();
        }
    });
    nothing_is_lost(&project, SAVES, "truncate and write");
}

#[test]
fn an_editor_that_never_reads_again_gets_our_rows_in_the_end() {
    let project = Project::new();
    fs::write(project.log_path(), LOG).unwrap();
    let path = project.log_path();
    disturbed(&project, || {
        let mut text = LOG.to_owned();
        for round in 0..SAVES {
            text = with_entry(&text, round);
            fs::write(&path, &text).unwrap();
            pause();
        }
    });
    nothing_is_lost(&project, SAVES, "an editor's own buffer");
}

/// Runs git in the project's folder; returns whether it succeeded.
fn git(root: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=A Person", "-c", "user.email=person@example.org"]);
    command.args(["-c", "init.defaultBranch=main", "-c", "core.hooksPath=/dev/null"]);
    command.args(arguments).current_dir(root);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    command.output().unwrap().status.success()
}

/// Runs git; what runscribe wrote meanwhile, and git refuses to overwrite, is committed first.
fn git_after_commit(root: &Path, arguments: &[&str]) {
    for _ in 0..20 {
        if git(root, arguments) {
            return;
        }
        // It fails where nothing is to be committed, because the row came and went.
        git(root, &["commit", "-qam", "docs: what runscribe wrote"]);
    }
    panic!("git {arguments:?} fails again and again");
}

#[test]
fn checkouts_and_merges_beside_the_daemon_lose_nothing() {
    let project = Project::new();
    let (root, path) = (project.root(), project.log_path());
    fs::write(&path, LOG).unwrap();
    fs::write(project.path(".gitignore"), "Cache/\nfake/\ndaemon.log\n").unwrap();
    assert!(git(&root, &["init", "-q"]), "these tests need git");
    assert!(git(&root, &["add", "."]) && git(&root, &["commit", "-qm", "docs: begin the log"]));
    disturbed(&project, || {
        for round in 0..MERGES {
            assert!(git(&root, &["branch", "-qf", "side"]));
            git_after_commit(&root, &["checkout", "-q", "side"]);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, with_entry(&text, round)).unwrap();
            git_after_commit(&root, &["commit", "-qam", "docs: an entry"]);
            git_after_commit(&root, &["checkout", "-q", "main"]);
            git_after_commit(&root, &["merge", "-q", "--no-ff", "--no-edit", "side"]);
        }
    });
    nothing_is_lost(&project, MERGES, "checkouts and merges");
}
