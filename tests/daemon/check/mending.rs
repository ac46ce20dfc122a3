//! What the audit prints beside a finding is carried out as it stands there, and mends it: commands
//! are run, rows are pasted, and what an editor is opened for is edited.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::Value;

use super::history::{ENTRY, ENTRY_WITHOUT_GIT, History, LOG, day_tag, report, run};
use super::planting::{break_changelog_and_tasks, break_tags_and_rows, wandb_link};
use super::{Found, check, expect, findings};
use crate::support::{FakeReport, TIME_ZONE, err, out, wait};

const TODOS: &str = "docs/1_Strategy_and_Plans/active_todos.md";
/// A mended finding may show the next one, such as a tag that was made and is not pushed yet.
const ROUNDS: usize = 4;

/// The person at the editor: does to a file what lies under its name in `fake/edits`, which is its new
/// content or a script for sed.
const EDITOR: &str = r#"#!/bin/sh
for file; do :; done
edits=${0%/*}/edits name=${file##*/}
if [ -e "$edits/$name" ]; then exec cp "$edits/$name" "$file"; fi
if [ -d "$file" ]; then set -- "$file"/*/*; else set -- "$file"; fi
exec sed -i -f "$edits/$name.sed" "$@"
"#;

/// Says what a person makes of a file when the audit opens it; `name` is that of the file or folder.
fn will_edit(history: &History, name: &str, edit: &str) {
    history.write(&format!("fake/edits/{name}"), edit);
}

/// Runs the command of a finding as it is printed, its words in capitals filled in.
fn run_command(history: &History, number: usize, finding: &Value) -> (String, Output) {
    let printed = finding["command"].as_str().unwrap();
    let own = format!("{} ", env!("CARGO_BIN_EXE_runscribe"));
    let command = printed.replace("COMMIT", "HEAD").replace("NAME", "eval/renamed_20260301");
    let command = command.replace("runscribe ", &own).replace("PATH: TEXT", "nn/model.py: x");
    let command = command.replace("TITLE", &format!("Title{number}"));
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &command]).current_dir(history.project.root());
    shell.env("GIT_CONFIG_GLOBAL", "/dev/null").env("EDITOR", history.project.path("fake/editor"));
    shell.env_remove("VISUAL").env_remove("GIT_EDITOR").env("TERM", "xterm");
    shell.env("TZ", TIME_ZONE);
    shell.env("GIT_COMMITTER_NAME", "A").env("GIT_COMMITTER_EMAIL", "a@b");
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}: {}{}", out(&output), err(&output));
    (printed.to_owned(), output)
}

/// Pastes a row that was printed: over the run's own, else below all others.
fn paste(history: &History, run: &str, row: &str) {
    let text = fs::read_to_string(history.project.path(LOG)).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let cell = format!("| `{run}` |");
    if let Some(own) = lines.iter_mut().find(|line| line.contains(&cell)) {
        *own = row.trim_end();
    } else {
        let last = lines.iter().rposition(|line| line.starts_with("| 2026-03-01 |")).unwrap();
        lines.insert(last + 1, row.trim_end());
    }
    history.write(LOG, &(lines.join("\n") + "\n"));
}

/// Carries out what is printed for each finding.
pub(super) fn mend(history: &History, value: &Value) {
    history.write("fake/editor", EDITOR);
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(history.project.path("fake/editor"), executable).unwrap();
    for (number, finding) in value["findings"].as_array().unwrap().iter().enumerate() {
        let (command, output) = run_command(history, number, finding);
        if let Some(run) = command.strip_prefix("runscribe row ") {
            paste(history, run.split(' ').next().unwrap(), &out(&output));
        }
    }
}

/// Mends what is planted, and what shows then, until nothing is found.
#[track_caller]
fn mend_all(history: &History, planted: &[(&str, String)]) {
    let (exit, mut value) = check(history, &[]);
    expect(&value, planted);
    assert_eq!(exit, 3);
    for _ in 0..ROUNDS {
        mend(history, &value);
        let (exit, left) = check(history, &[]);
        if exit == 0 {
            return expect(&left, &[]);
        }
        let before: Vec<Found> = findings(&value);
        assert_ne!(findings(&left), before, "nothing was mended: {left:#}");
        value = left;
    }
    panic!("not mended after {ROUNDS} rounds: {value:#}");
}

#[test]
fn the_printed_commands_mend_tags_that_are_missing_or_not_pushed() {
    let history = History::new();
    let remote = tempfile::tempdir().unwrap();
    let url = remote.path().to_str().unwrap();
    history.git(&["init", "-q", "--bare", url]);
    history.git(&["remote", "add", "origin", url]);
    history.git(&["push", "-q", "origin", "main", "--tags"]);
    history.replace("CHANGELOG.md", "Reason 2.", "Reason 2, after `arch/gone`.");
    history.git(&["tag", "-d", &day_tag(3)]);
    history.git(&["push", "-q", "origin", &format!(":refs/tags/{}", day_tag(4))]);
    let gone = history.place("CHANGELOG.md", "arch/gone");
    let (_, value) = check(&history, &["--remote"]);
    expect(&value, &[("T1", gone.clone()), ("T1", history.row(3)), ("T1", history.row(4))]);
    mend(&history, &value);
    let (_, value) = check(&history, &["--remote"]);
    expect(&value, &[("T1", gone)]);
    mend(&history, &value);
    let (exit, value) = check(&history, &["--remote"]);
    expect(&value, &[]);
    assert_eq!(exit, 0);
}

#[test]
fn what_is_printed_mends_tags_and_rows() {
    let history = History::new();
    let mut planted = break_tags_and_rows(&history);
    // Of this one the run's own files say which commit is to be tagged.
    history.replace(LOG, &format!("`{}`", day_tag(6)), "--");
    history.git(&["tag", "-d", &day_tag(6)]);
    planted.push(("T2", history.row(6)));
    let new = "diffusion_H9L9C9D9_20260302_120000";
    history.write(&format!("Cache/Training/{new}/checkpoint-20/config.json"), "{}");
    history.save_wandb(new, &history.config(new));
    planted.push(("T3", format!("Cache/Training/{new}")));
    let page = wandb_link(&run(7));
    let lost = format!("s,`{0}` |,`{0}` `train/lost_20260301` |,\n", day_tag(20));
    let page = page.replace('&', "\\&");
    let rest = [5, 6]
        .map(|number| format!("/{}/s,| -- | Good,| `{}` | Good,\n", run(number), day_tag(number)));
    // Once it is tagged, the run's own tag is the one without a row.
    let nowhere = "`train/nowhere_20260301`";
    let own = format!("s,{nowhere} |,{nowhere} `{}` |,\n", day_tag(3));
    let edits = format!("{lost}{own}{}s,offline,{page},\n", rest.concat());
    will_edit(&history, "master_experiment_log.md.sed", &edits);
    mend_all(&history, &planted);
    let log = fs::read_to_string(history.project.path(LOG)).unwrap();
    let row = log.lines().find(|line| line.contains(new)).expect("the row was pasted");
    assert!(row.contains("| `train/x` |"), "what its own files say of it: {row}");
}

#[test]
fn what_is_printed_mends_links_and_reports() {
    let history = History::new();
    let mut planted = Vec::new();
    history.append(TODOS, "\nSee [plan](../plan.md).\n");
    planted.push(("T4", history.place(TODOS, "plan.md")));
    will_edit(&history, "active_todos.md.sed", "s,\\[plan\\](../plan.md),the plan,\n");
    let path = report(4);
    history.append(&path, "\n[back](../master_experiment_log.md#no-such-part)\n");
    planted.push(("T4", history.place(&path, "no-such-part")));
    will_edit(&history, &format!("{}_report.md.sed", run(4)), "s,#no-such-part,#training-runs,\n");
    let unlinked = "docs/2_Experiments_Registry/run_reports/notes_of_march.md";
    history.write(unlinked, "# Notes\n");
    planted.push(("T4", unlinked.to_owned()));
    // No daemon saw these runs, so that their reports are written by hand.
    let link = |number| format!("[Report](run_reports/{}_report.md)", run(number));
    for number in [6, 7] {
        fs::remove_file(history.project.path(&report(number))).unwrap();
        history.replace(LOG, &link(number), "good");
        planted.push(("T4", history.row(number)));
    }
    for number in [6, 7] {
        will_edit(&history, &format!("{}_report.md", run(number)), "# By hand\n");
    }
    let page = |number| format!("https://wandb.ai/e/MrCogito/runs/{}", run(number));
    history.replace(LOG, &page(8), &page(11));
    planted.push(("T5", history.row(8)));
    let reports =
        [6, 7].map(|number| format!("/{}/s,Good. good,Good. {},\n", run(number), link(number)));
    let notes = "s,^## Training Runs$,See [notes](run_reports/notes_of_march.md).\\n\\n&,\n";
    let page = format!("/| `{}` |/s,{},{},\n", run(8), page(11), page(8));
    let edits = format!("{notes}{}{page}", reports.concat());
    will_edit(&history, "master_experiment_log.md.sed", &edits);
    mend_all(&history, &planted);
}

#[test]
fn what_is_printed_mends_changelog_and_tasks() {
    let history = History::new();
    history.tag("arch/unnamed");
    let mut planted = break_changelog_and_tasks(&history);
    planted.push(("T2", "arch/unnamed".to_owned()));
    let edits = "s,^Reason 4.,**Why:** Reason 4.,\ns,2026-02-28,2026-02-08,\n\
                 s,^See `arch/feature-9`.,**Git tag:** `arch/feature-9`,\ns,TODO 77,TODO 11,\n";
    will_edit(&history, "CHANGELOG.md.sed", edits);
    will_edit(&history, "active_todos.md.sed", "s, after `badc0de1`,,\n");
    mend_all(&history, &planted);
}

#[test]
fn what_is_printed_mends_what_runs_commits_and_scripts_lack() {
    let history = History::new();
    let (remote, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (url, away) = (remote.path().to_str().unwrap(), other.path().to_str().unwrap());
    history.git(&["init", "-q", "--bare", "-b", "main", url]);
    history.git(&["remote", "add", "origin", url]);
    history.git(&["push", "-q", "origin", "main", "--tags"]);
    history.git(&["clone", "-q", url, away]);
    history.git(&["-C", away, "commit", "-q", "--allow-empty", "-m", "feat: elsewhere"]);
    history.git(&["-C", away, "push", "-q", "origin", "HEAD:elsewhere"]);
    let elsewhere = history.git(&["-C", away, "rev-parse", "HEAD"]);
    let mut planted = Vec::new();
    let save = |number: usize, from: &str, to: &str, edit: &str| {
        let config = history.config(&run(number)).replace(from, to);
        let place = history.save_run(&run(number), &config);
        will_edit(&history, &format!("{}.sed", place.rsplit('/').next().unwrap()), edit);
        ("T7", place)
    };
    planted.push(save(2, ", 'git_branch': 'main'", "", "s/, 'git_dirty'/, 'git_branch': 'main'&/"));
    planted.push(save(12, &history.commit, &elsewhere, ""));
    planted.push(save(13, "'git_dirty': False", "'git_dirty': True", "s/: True/: False/"));
    history.write("training/train_other.py", ENTRY);
    history.write("scripts/other.sh", "#!/bin/bash\npython training/train_other.py\n");
    planted.push(("T9", "training/train_other.py".to_owned()));
    let other =
        "[[training_scripts]]\\npath = \"scripts/other.sh\"\\nplatform = \"linux\"\\nmodel = \"O\"";
    will_edit(&history, "runscribe.toml.sed", &format!("$s,$,\\n{other},\n"));
    history.write("training/train.py", ENTRY_WITHOUT_GIT);
    planted.push(("T9", history.place("training/train.py", "wandb.init")));
    will_edit(&history, "train.py", ENTRY);
    let commit = history.commit_all("cleanup");
    planted.push(("T8", commit.chars().take(10).collect()));
    fs::remove_file(history.project.path("scripts/evaluate.sh")).unwrap();
    planted.push(("T9", "scripts/evaluate.sh".to_owned()));
    will_edit(&history, "COMMIT_EDITMSG.sed", "s/^cleanup$/fix: cleanup/\n");
    history.tag("v1.0");
    planted.push(("T8", "v1.0".to_owned()));
    mend_all(&history, &planted);
}

#[test]
fn a_commit_below_the_newest_and_a_script_that_never_was_are_mended_in_the_settings() {
    let history = History::new();
    history.project.append_configuration(
        "[[training_scripts]]\npath = \"scripts/never.sh\"\nplatform = \"linux\"\nmodel = \"N\"\n",
    );
    history.write("scripts/again.sh", "#!/bin/bash\npython training/train.py\n");
    let commit = history.commit_all("cleanup");
    history.commit_all("fix: after it");
    let planted =
        [("T8", commit.chars().take(10).collect()), ("T9", "scripts/never.sh".to_owned())];
    let since = format!("\\n[discipline]\\nsince = \"{commit}\"");
    let edits = format!("/never.sh/s,never,again,\n${{/since/!s,$,{since},}}\n");
    will_edit(&history, "runscribe.toml.sed", &edits);
    let (_, value) = check(&history, &[]);
    expect(&value, &planted);
    mend(&history, &value);
    let (exit, value) = check(&history, &[]);
    expect(&value, &[]);
    assert_eq!(exit, 0);
}

const COLLAPSED: &str = "diffusion_H64L2C128D2_20260303_120000";
const FAILED: &str = "diffusion_H65L2C128D2_20260303_120000";
const GOOD: &str = "diffusion_H66L2C128D2_20260303_120000";

/// Lets a daemon see a collapse, a failure and a good run, and takes away all that it wrote.
fn watched(history: &History) {
    history.project.script("default", FakeReport::with_rank(4.0));
    let before = fs::read_to_string(history.project.path(LOG)).unwrap();
    let log = history.project.path("Cache/logs/shell_diffusion_20260303_120000.log");
    let folder = history.project.path("Cache/Training").join(FAILED);
    let text = format!(
        "Output directory: {}\n{{'loss': 8.3, 'grad_norm': 1.8, 'epoch': 0.1}}\nTraceback (most \
         recent call last):\n  File \"train.py\", line 3, in <module>\ntorch.OutOfMemoryError: CUDA \
         out of memory. Tried to allocate 2.00 GiB.\n",
        folder.display()
    );
    fs::write(log, text).unwrap();
    history.project.script("checkpoint-30", FakeReport::with_rank(20.0));
    history.project.save(FAILED, 30);
    history.project.save(COLLAPSED, 20);
    let daemon = history.project.start();
    daemon.wait_until("the collapse and the failure", |status| {
        let runs = status["runs"].as_array().unwrap();
        let is =
            |name: &str| runs.iter().find(|one| one["run"] == name).cloned().unwrap_or_default();
        is(FAILED)["state"] == "failed" && status["documents"]["pending"] == 0
    });
    daemon.wait_for_observations(2);
    history.project.script("default", FakeReport::with_rank(20.0));
    history.write(&format!("Cache/logs/{GOOD}/events.out.tfevents.1772366400.odra.1"), "");
    history.project.save(GOOD, 20);
    daemon.wait_for_observations(3);
    wait("the notes", || {
        history.project.notes().iter().filter(|name| name.contains("_failure_")).count() == 2
    });
    daemon.wait_until("all documents", |status| status["documents"]["pending"] == 0);
    assert_eq!(daemon.stop(), Some(0));
    history.write(LOG, &before);
    for note in history.project.notes().iter().filter(|name| name.contains("_failure_")) {
        fs::remove_file(history.project.path("docs/2_Experiments_Registry/run_reports").join(note))
            .unwrap();
    }
}

#[test]
fn runs_that_failed_or_collapsed_are_asked_for_reports_and_finished_ones_for_results() {
    let history = History::new();
    watched(&history);
    let row = |run: &str, rest: &str| {
        format!(
            "| 2026-03-03 | `{run}` | H64 | minipile | {rest} | 0.5 | [W&B](https://wandb.ai/e/MrCogito/runs/{run}) | `train/x` | Said. |\n"
        )
    };
    history.append(LOG, &row(COLLAPSED, "Odra | 5 | -- | 8.3 | 4.0 | --"));
    // Its final model was copied from elsewhere, so that it is finished.
    history.write(&format!("Cache/Training/{GOOD}/{GOOD}/config.json"), "{}");
    history.append(LOG, &row(GOOD, "-- | 5 | -- | 8.3 | TBD | **MRPC:** 80.9%"));
    let path = format!("docs/2_Experiments_Registry/run_reports/{GOOD}_report.md");
    history.write(&path, "# Report\n\nBack to [the log](../master_experiment_log.md).\n");
    history.replace(
        LOG,
        &format!("{GOOD}) | `train/x` | Said."),
        &format!("{GOOD}) | `train/x` | [Report](run_reports/{GOOD}_report.md)."),
    );
    let planted = [
        ("T4", history.place(LOG, COLLAPSED)),
        ("T3", format!("Cache/Training/{FAILED}")),
        ("T4", format!("Cache/Training/{FAILED}")),
        ("T10", history.place(LOG, GOOD)),
    ];
    let reports = [COLLAPSED, FAILED].map(|run| {
        format!("/| `{run}` |/s,| [^|]* |$,| [Report](run_reports/{run}_report.md) |,\n")
    });
    let tag = format!("/| `{FAILED}` |/s,^\\(\\(|[^|]*\\)\\{{12\\}}\\)|[^|]*,\\1| `train/x` ,\n");
    // Nothing tells on which machine it was trained.
    let machine = format!("/| `{FAILED}` |/s,^\\(\\(|[^|]*\\)\\{{4\\}}\\)| -- ,\\1| Odra ,\n");
    let edits = reports.concat() + &tag + &machine;
    will_edit(&history, "master_experiment_log.md.sed", &edits);
    mend_all(&history, &planted);
    for run in [COLLAPSED, FAILED] {
        let path = format!("docs/2_Experiments_Registry/run_reports/{run}_report.md");
        let text = fs::read_to_string(history.project.path(&path)).unwrap();
        assert!(text.contains(run), "{text}");
    }
}
