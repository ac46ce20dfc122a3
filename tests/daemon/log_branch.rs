//! The log on a branch of its own: a bare repository as the remote, and clones of it on several
//! machines, with a daemon and a person at work in each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Daemon, FakeReport, Project, code, err, out, wait};

const LOG: &str = "docs/2_Experiments_Registry/master_experiment_log.md";
const ODRA: &str = "diffusion_H64L2C128D2_20261123_063802";
const POLONEZ: &str = "perceiver_mlm_H64L2C128_20261124_101112";

const TEXT: &str = "# Master Experiment Log\n\nWhat we try.\n\n## Training Runs\n\n\
    | Date | Run ID / Model Type | Architecture | Machine | Eff. Rank | Conclusion / Takeaway |\n\
    |---|---|---|---|---|---|\n\
    | 2026-02-08 | `weighted_mlm_H64L2C128_20260208_211633` | H64 L2 C128 | Odra | 5.1 | fine |\n\n\
    ---\n\nAn end.\n";

/// A remote repository, in a folder of its own.
struct Remote {
    folder: tempfile::TempDir,
}

impl Remote {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("runscribe-remote-").tempdir().unwrap();
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "remote.git"]);
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("remote.git")
    }

    fn away(&self) -> PathBuf {
        self.folder.path().join("away.git")
    }

    fn has(&self, branch: &str) -> bool {
        self.tip(branch).is_some()
    }

    fn tip(&self, branch: &str) -> Option<String> {
        let output = run(&self.path(), &["rev-parse", "-q", "--verify", branch]);
        output.status.success().then(|| out(&output))
    }
}

/// A clone of the project on one machine.
struct Lab {
    project: Project,
    branch: String,
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Ann").env(format!("GIT_{role}_EMAIL"), "ann@lab");
    }
    command.output().unwrap()
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}{}", out(&output), err(&output));
    out(&output).trim_end().to_owned()
}

impl Lab {
    fn new(remote: &Remote, machine: &str) -> Self {
        let lab = Self { project: Project::new(), branch: format!("runscribe/{machine}") };
        lab.project.append_configuration(&format!(
            "[project]\nmachine = \"{machine}\"\n[log]\nwrite = \"branch\"\npush = true\n"
        ));
        lab.git(&["init", "-q", "-b", "main"]);
        lab.git(&["remote", "add", "origin", remote.path().to_str().unwrap()]);
        if remote.has("main") {
            lab.git(&["fetch", "-q"]);
            lab.git(&["reset", "-q", "--hard", "origin/main"]);
        } else {
            fs::write(
                lab.project.path(".gitignore"),
                "Cache/\nfake/\ndaemon.log\nrunscribe.toml\n",
            )
            .unwrap();
            fs::write(lab.project.log_path(), TEXT).unwrap();
            lab.git(&["add", "."]);
            lab.git(&["commit", "-q", "-m", "first"]);
            lab.git(&["push", "-q", "origin", "main"]);
        }
        lab.git(&["remote", "set-head", "origin", "main"]);
        lab.git(&["branch", "-q", "--set-upstream-to=origin/main"]);
        lab
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.project.root(), arguments)
    }

    fn written(&self) -> String {
        fs::read_to_string(self.project.path("Cache/runscribe/log").join(LOG)).unwrap_or_default()
    }

    /// What is the person's: branch and commit, the index, the state of every file, the stash, the
    /// configuration.
    fn theirs(&self) -> (String, Vec<u8>, String, String, Vec<u8>) {
        (
            self.git(&["symbolic-ref", "HEAD"]) + &self.git(&["rev-parse", "HEAD"]),
            fs::read(self.project.path(".git/index")).unwrap(),
            self.git(&["--no-optional-locks", "status", "--porcelain"]),
            self.git(&[
                "for-each-ref",
                "refs/heads/main",
                "refs/remotes/origin/main",
                "refs/tags",
                "refs/stash",
            ]),
            fs::read(self.project.path(".git/config")).unwrap(),
        )
    }

    /// A person edits the log, commits and publishes it.
    fn person_edits(&self, from: &str, to: &str) {
        let text = self.project.log();
        assert!(text.contains(from), "no {from} in {text}");
        fs::write(self.project.log_path(), text.replacen(from, to, 1)).unwrap();
        self.git(&["commit", "-q", "-a", "-m", "by hand"]);
        self.git(&["pull", "-q", "--rebase"]);
        self.git(&["push", "-q"]);
    }

    /// A person merges the machine's branch, once it has followed what they pulled.
    fn person_merges(&self, remote: &Remote) {
        self.git(&["pull", "-q", "--no-rebase", "--no-edit"]);
        let root = self.project.root();
        let follows = ["merge-base", "--is-ancestor", "origin/main", &self.branch];
        wait("the branch to follow the default branch", || run(&root, &follows).status.success());
        wait("the remote to have it", || {
            remote.tip(&self.branch) == Some(out(&run(&root, &["rev-parse", &self.branch])))
        });
        self.git(&["fetch", "-q"]);
        self.git(&["merge", "-q", "--no-edit", &format!("origin/{}", self.branch)]);
        self.git(&["push", "-q"]);
    }

    /// Waits until everything is on the branch here and on the remote.
    fn wait_until_sent(&self, daemon: &Daemon, remote: &Remote, observations: u64) {
        daemon.wait_for_observations(observations);
        wait("the remote to have the branch", || {
            let own = run(&self.project.root(), &["rev-parse", &self.branch]);
            remote.tip(&self.branch) == Some(out(&own))
        });
    }
}

fn count(text: &str, part: &str) -> usize {
    text.matches(part).count()
}

#[test]
fn two_machines_and_their_people_write_one_log_and_nothing_is_lost_or_touched() {
    let remote = Remote::new();
    let (odra, polonez) = (Lab::new(&remote, "odra"), Lab::new(&remote, "polonez"));
    odra.project.script("checkpoint-40", FakeReport::with_rank(4.0));
    let before = [odra.theirs(), polonez.theirs()];
    let (on_odra, on_polonez) = (odra.project.start(), polonez.project.start());
    odra.project.save(ODRA, 20);
    odra.project.save(ODRA, 40);
    polonez.project.save(POLONEZ, 20);
    odra.wait_until_sent(&on_odra, &remote, 2);
    polonez.wait_until_sent(&on_polonez, &remote, 1);
    assert_eq!([odra.theirs(), polonez.theirs()], before, "nothing of theirs is touched");
    assert_eq!(odra.project.log(), TEXT);
    let subjects = odra.git(&["log", "--format=%s|%an", "main..runscribe/odra"]);
    for subject in subjects.lines() {
        assert_eq!(subject, format!("docs: runscribe {ODRA} (odra)|runscribe"));
    }
    let headings = "## Checkpoint Observations: ";
    assert_eq!(count(&odra.written(), headings), 1, "{}", odra.written());

    // People work meanwhile, each at the end of the table to which both machines have added a row.
    odra.person_edits("What we try.", "What we try, and why.");
    polonez.git(&["pull", "-q", "--rebase"]);
    polonez.person_edits(
        "| 5.1 | fine |\n",
        "| 5.1 | fine |\n| 2026-02-09 | by hand | -- | -- | -- | -- |\n",
    );
    odra.person_merges(&remote);
    // The next row finds all that on the default branch.
    polonez.project.save(POLONEZ, 40);
    polonez.wait_until_sent(&on_polonez, &remote, 2);
    polonez.person_merges(&remote);
    odra.project.save(ODRA, 60);
    odra.wait_until_sent(&on_odra, &remote, 3);
    odra.person_merges(&remote);
    polonez.git(&["pull", "-q", "--ff-only"]);

    let log = polonez.project.log();
    assert_eq!(log, odra.project.log());
    assert_everything_is_there_once(&log);
    // The rows of that machine had to be written anew, and its cells are still its own to update.
    assert!(on_odra.log_text().contains("the log went two ways"), "{}", on_odra.log_text());
    let row = log.lines().find(|line| line.contains(&format!("| `{ODRA}` | H64"))).unwrap();
    assert!(row.contains("**20.0 / 128**") && row.contains("**FAILED: "), "{row}");
    let notes = polonez.project.notes();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(count(&log, &format!("](run_reports/{})", notes[0])), 2, "{log}");
    assert_eq!((on_odra.stop(), on_polonez.stop()), (Some(0), Some(0)));
}

/// Every row of both machines and every word of both people.
fn assert_everything_is_there_once(log: &str) {
    for (run, step) in [(ODRA, 20), (ODRA, 40), (ODRA, 60), (POLONEZ, 20), (POLONEZ, 40)] {
        let row = format!("| `{run}` | `checkpoint-{step}` |");
        assert_eq!(count(log, &row), 1, "{row} in {log}");
    }
    for once in [
        "What we try, and why.",
        "| by hand |",
        "## Checkpoint Observations: Odra\n",
        "## Checkpoint Observations: polonez\n",
        "## Failure Notes",
        "| fine |",
    ] {
        assert_eq!(count(log, once), 1, "{once} in {log}");
    }
    for run in [ODRA, POLONEZ] {
        assert_eq!(count(log, &format!("| `{run}` | H64 L2 C128 |")), 1, "{log}");
    }
}

#[test]
fn a_remote_that_is_away_is_tried_again_and_a_kill_between_commit_and_push_loses_nothing() {
    let remote = Remote::new();
    let lab = Lab::new(&remote, "odra");
    let daemon = lab.project.start();
    daemon.wait_until("the branch", |status| status["log"]["branch"] == "runscribe/odra");
    fs::rename(remote.path(), remote.away()).unwrap();
    lab.project.save(ODRA, 20);
    daemon.wait_for_observations(1);
    let status = daemon.wait_until("the remote to be missed", |status| {
        status["log"]["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("`origin` cannot be"))
    });
    assert!(status["log"]["unmerged"].as_u64().unwrap() > 0, "{status:#}");
    let problems = status["problems"].to_string();
    assert!(problems.contains("the log's branch `runscribe/odra`: "), "{problems}");
    daemon.kill();
    fs::rename(remote.away(), remote.path()).unwrap();
    let daemon = lab.project.start();
    lab.wait_until_sent(&daemon, &remote, 1);
    daemon.wait_until("no problem", |status| status["log"]["problem"].is_null());
    let sent = git(&remote.path(), &["show", &format!("runscribe/odra:{LOG}")]);
    assert_eq!(count(&sent, "| `checkpoint-20` |"), 1, "{sent}");
    // It is back while a daemon waits for it as well.
    fs::rename(remote.path(), remote.away()).unwrap();
    lab.project.save(ODRA, 40);
    daemon.wait_for_observations(2);
    daemon.wait_until("the remote to be missed", |status| status["log"]["problem"].is_string());
    fs::rename(remote.away(), remote.path()).unwrap();
    lab.wait_until_sent(&daemon, &remote, 2);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn without_a_repository_the_rows_wait_and_come_when_there_is_one() {
    let project = Project::new();
    project.append_configuration("[log]\nwrite = \"branch\"\n[project]\nmachine = \"odra\"\n");
    let daemon = project.start();
    project.save(ODRA, 20);
    let status = daemon.wait_until("a held log", |status| {
        status["documents"]["held"].as_array().is_some_and(|held| !held.is_empty())
    });
    let reason = status["documents"]["held"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("is in no git repository"), "{reason}");
    let doctor = project.run(&["doctor"]);
    assert!(out(&doctor).contains("is in no git repository"), "{}", out(&doctor));
    fs::write(project.path(".gitignore"), "Cache/\nfake/\ndaemon.log\nrunscribe.toml\n").unwrap();
    git(&project.root(), &["init", "-q", "-b", "main"]);
    git(&project.root(), &["add", ".gitignore"]);
    git(&project.root(), &["commit", "-q", "-m", "first"]);
    daemon.wait_for_observations(1);
    let log = git(&project.root(), &["show", &format!("runscribe/odra:{LOG}")]);
    assert_eq!(count(&log, "| `checkpoint-20` |"), 1, "{log}");
    assert!(log.contains("## Checkpoint Observations: odra\n"), "{log}");
    assert_eq!(project.log(), "", "none in the checkout");
    let doctor = project.run(&["doctor"]);
    assert!(
        out(&doctor).contains("the log is written on the branch `runscribe/odra`"),
        "{}",
        out(&doctor)
    );
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_working_tree_that_a_person_removed_is_made_again_with_every_row() {
    let remote = Remote::new();
    let lab = Lab::new(&remote, "odra");
    let daemon = lab.project.start();
    lab.project.save(ODRA, 20);
    // In the moment in which the row stands, committed or not.
    wait("a row", || lab.written().contains("| `checkpoint-20` |"));
    fs::remove_dir_all(lab.project.path("Cache/runscribe/log")).unwrap();
    daemon.wait_for_observations(1);
    assert_eq!(count(&lab.written(), "| `checkpoint-20` |"), 1, "{}", lab.written());
    lab.project.save(ODRA, 40);
    wait("a row", || lab.written().contains("| `checkpoint-40` |"));
    daemon.kill();
    fs::remove_dir_all(lab.project.path("Cache/runscribe/log")).unwrap();
    let daemon = lab.project.start();
    let sent = || git(&remote.path(), &["show", &format!("runscribe/odra:{LOG}")]);
    // All events are from the life before, so they do not tell when the rows stand again.
    wait("both rows at the remote", || {
        [20, 40].iter().all(|step| sent().contains(&format!("| `checkpoint-{step}` |")))
    });
    lab.wait_until_sent(&daemon, &remote, 2);
    let sent = sent();
    for step in [20, 40] {
        assert_eq!(count(&sent, &format!("| `checkpoint-{step}` |")), 1, "{sent}");
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn one_pass_ends_when_the_branch_is_committed_and_sent() {
    let remote = Remote::new();
    let lab = Lab::new(&remote, "odra");
    lab.project.save(ODRA, 20);
    let pass = lab.project.run(&["watch", "--once"]);
    assert_eq!(code(&pass), 0, "{}", err(&pass));
    let sent = git(&remote.path(), &["show", &format!("runscribe/odra:{LOG}")]);
    assert_eq!(count(&sent, "| `checkpoint-20` |"), 1, "{sent}");
    // The state folder is lost: what stands on the branch counts as made.
    fs::remove_dir_all(lab.project.path("Cache/runscribe")).unwrap();
    let pass = lab.project.run(&["watch", "--once"]);
    assert_eq!(code(&pass), 0, "{}", err(&pass));
    assert_eq!(count(&lab.written(), "| `checkpoint-20` |"), 1, "{}", lab.written());
}
