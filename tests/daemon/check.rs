//! The audit over a generated history of a project: it finds what is planted, where it is planted,
//! and nothing else.

mod history;
mod mending;
mod planting;

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::{code, err, out};
use history::{History, LOG, RUNS, day_tag, report, run};
use planting::{break_changelog_and_tasks, break_tags_and_rows};

/// A finding as code and place.
type Found = (String, String);

#[track_caller]
fn check(history: &History, arguments: &[&str]) -> (i32, Value) {
    let output = history.project.run(&[&["check", "--format", "json"], arguments].concat());
    let value = serde_json::from_str(&out(&output));
    (code(&output), value.unwrap_or_else(|error| panic!("{error}: {}", err(&output))))
}

fn findings(value: &Value) -> Vec<Found> {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let place = |one: &Value| match (one["file"].as_str(), one["line"].as_u64()) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.to_owned(),
        _ => text(one, "commit") + &text(one, "tag"),
    };
    let all = value["findings"].as_array().unwrap();
    all.iter().map(|one| (text(one, "code"), place(one))).collect()
}

#[track_caller]
fn expect(value: &Value, expected: &[(&str, String)]) {
    let expected: BTreeSet<Found> =
        expected.iter().map(|(code, place)| ((*code).to_owned(), place.clone())).collect();
    let found = findings(value);
    let unique: BTreeSet<Found> = found.iter().cloned().collect();
    assert_eq!(unique, expected, "{value:#}");
    assert_eq!(found.len(), expected.len(), "one finding for each break: {value:#}");
}

#[test]
fn a_history_in_order_has_no_findings() {
    let history = History::new();
    let (exit, value) = check(&history, &[]);
    expect(&value, &[]);
    assert_eq!((exit, value["version"].as_u64()), (0, Some(1)));
    let text = history.project.run(&["check"]);
    assert_eq!(code(&text), 0);
    assert!(out(&text).ends_with("nothing found\n"), "{}", out(&text));
    assert!(out(&text).contains("merge=union"), "{}", out(&text));
}

#[test]
fn every_planted_break_of_tags_and_rows_is_found_in_its_place() {
    let history = History::new();
    let mut planted = break_tags_and_rows(&history);
    // T1 and T2: a tag in the changelog that does not exist, and one that it does not name.
    history.replace("CHANGELOG.md", "Reason 2.", "Reason 2, after `arch/gone`.");
    planted.push(("T1", history.place("CHANGELOG.md", "arch/gone")));
    history.tag("arch/unnamed");
    planted.push(("T2", "arch/unnamed".to_owned()));
    // T3: a run without a row.
    let new = "diffusion_H9L9C9D9_20260302_120000";
    history.save_run(new, &history.config(new));
    planted.push(("T3", format!("Cache/Training/{new}")));
    // T10: empty result cells.
    history.replace(LOG, "| 1.09 | **20.1 / 128** | **MRPC:** 80.9%", "| -- | — | TBD");
    planted.push(("T10", history.row(9)));
    let (exit, value) = check(&history, &[]);
    expect(&value, &planted);
    assert_eq!(exit, 3);
}

#[test]
fn every_planted_break_of_links_and_reports_is_found_in_its_place() {
    let history = History::new();
    let mut planted = Vec::new();
    // T4: links that lead nowhere, in the log, in a report, to a heading that is not there.
    history.append("docs/1_Strategy_and_Plans/active_todos.md", "\nSee [plan](../plan.md).\n");
    let todos = "docs/1_Strategy_and_Plans/active_todos.md";
    planted.push(("T4", history.place(todos, "plan.md")));
    let path = report(4);
    history.append(&path, "\n[back](../master_experiment_log.md#no-such-part)\n");
    planted.push(("T4", history.place(&path, "no-such-part")));
    // A report that nothing links to.
    let unlinked = "docs/2_Experiments_Registry/run_reports/notes_of_march.md";
    history.write(unlinked, "# Notes\n");
    planted.push(("T4", unlinked.to_owned()));
    // A run that was evaluated and has no report.
    fs::remove_file(history.project.path(&report(6))).unwrap();
    history.replace(LOG, &format!("[Report](run_reports/{}_report.md)", run(6)), "good");
    planted.push(("T4", history.row(6)));
    // T5: a W&B link that points at another run.
    let link = |number| format!("https://wandb.ai/e/MrCogito/runs/{}", run(number));
    history.replace(LOG, &link(8), &link(11));
    planted.push(("T5", history.row(8)));
    let (exit, value) = check(&history, &[]);
    expect(&value, &planted);
    assert_eq!(exit, 3);
}

#[test]
fn every_planted_break_of_changelog_and_tasks_is_found_in_its_place() {
    let history = History::new();
    let planted = break_changelog_and_tasks(&history);
    let (exit, value) = check(&history, &[]);
    expect(&value, &planted);
    assert_eq!(exit, 3);
}

#[test]
fn what_runs_commits_and_scripts_lack_is_found() {
    let history = History::new();
    let mut planted = Vec::new();
    // T7: a key that is missing, a commit that does not exist, a checkout with changes.
    let config = history.config(&run(2)).replace(", 'git_branch': 'main'", "");
    planted.push(("T7", history.save_run(&run(2), &config)));
    let config = history.config(&run(12)).replace(&history.commit, "deadbee1");
    planted.push(("T7", history.save_run(&run(12), &config)));
    let config = history.config(&run(13)).replace("'git_dirty': False", "'git_dirty': True");
    planted.push(("T7", history.save_run(&run(13), &config)));
    // T8: a commit without a prefix, a tag of no form.
    let commit = history.commit_all("cleanup");
    planted.push(("T8", commit.chars().take(10).collect()));
    history.tag("v1.0");
    planted.push(("T8", "v1.0".to_owned()));
    // T9: a missing script, an entry that records nothing, one that nobody launches.
    fs::remove_file(history.project.path("scripts/evaluate.sh")).unwrap();
    planted.push(("T9", "scripts/evaluate.sh".to_owned()));
    history.write("training/train_other.py", history::ENTRY_WITHOUT_GIT);
    planted.push(("T9", "training/train_other.py".to_owned()));
    history.write("training/train.py", history::ENTRY_WITHOUT_GIT);
    planted.push(("T9", history.place("training/train.py", "wandb.init")));
    let (exit, value) = check(&history, &[]);
    expect(&value, &planted);
    assert_eq!(exit, 3);
}

/// Tells of a run what the log alone may say: there is no journal here, as in every clone.
fn conclude(history: &History, number: usize, rank: &str, conclusion: &str) -> String {
    fs::remove_file(history.project.path(&report(number))).unwrap();
    let cells = format!(
        "1.{number:02} | **20.1 / 128** | **MRPC:** 80.{number}% | 0.5 | [W&B](https://wandb.ai/e/MrCogito/runs/{})",
        run(number)
    );
    let told =
        cells.replace("**20.1 / 128**", rank).replace(&format!("**MRPC:** 80.{number}%"), "--");
    history.replace(LOG, &cells, &told);
    history.replace(
        LOG,
        &format!("Good. [Report](run_reports/{}_report.md)", run(number)),
        conclusion,
    );
    history.row(number)
}

/// Without a journal such runs had no report and were not missed, and scores were asked of models
/// that no evaluation takes.
#[test]
fn a_run_whose_row_tells_of_trouble_needs_a_report_and_no_scores() {
    let history = History::new();
    let planted = [
        ("T4", conclude(&history, 3, "**4.1 / 128** (3.2%)", "Worth a look.")),
        ("T4", conclude(&history, 5, "20.1 / 128", "**FAILED: out of memory at step 300.**")),
        ("T4", conclude(&history, 7, "20.1 / 128", "Odd.")),
    ];
    history.append(
        LOG,
        &format!(
            "\n## Checkpoint Observations\n\n| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max \
             sim. | Eval loss | Verdict | Note |\n|---|---|---|---|---|---|---|---|---|\n\
             | 2026-03-01 14:03:07 +01:00 | `{}` | `checkpoint-5000` | 4.1 / 128 (3.2%) | 0.187 | \
             1.000 | 1.433 | **fail** | effective-rank |\n",
            run(7)
        ),
    );
    let (exit, value) = check(&history, &[]);
    expect(&value, &planted);
    assert_eq!(exit, 3);
    assert!(
        value["findings"][0]["sentence"].as_str().unwrap().contains("rank of 4.1"),
        "{value:#}"
    );
}

/// A row was every tag's that would have fit its run, whatever its cell named.
#[test]
fn a_row_that_names_another_tag_leaves_its_own_without_one() {
    let history = History::new();
    history.replace(LOG, &format!("`{}`", day_tag(3)), &format!("`{}`", day_tag(4)));
    history.tag(&format!("{}-2", day_tag(9)));
    let (_, value) = check(&history, &[]);
    expect(&value, &[("T2", day_tag(3)), ("T2", format!("{}-2", day_tag(9)))]);
}

#[test]
fn model_code_that_was_removed_needs_an_entry_too() {
    let history = History::new();
    history.git(&["rm", "-q", "nn/model.py"]);
    history.commit_all("feat(nn): without the model");
    let (_, value) = check(&history, &[]);
    expect(&value, &[("T5", "nn/model.py".to_owned())]);
}

/// Read as UTF-8 such a document has no rows, and everything would be a finding.
#[test]
fn a_document_in_another_encoding_is_refused() {
    let history = History::new();
    let text = fs::read_to_string(history.project.log_path()).unwrap();
    let bytes: Vec<u8> =
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    fs::write(history.project.log_path(), bytes).unwrap();
    let refused = history.project.run(&["check"]);
    assert_eq!((code(&refused), out(&refused).as_str()), (1, ""));
    assert!(err(&refused).contains("is UTF-16: save it as UTF-8"), "{}", err(&refused));
}

/// What a registered script starts through another one was said to be launched by none, and
/// programs in other folders were not looked for.
#[test]
fn programs_that_nobody_launches_are_found_in_every_folder_and_no_others() {
    let history = History::new();
    history.write("training/train_b.py", history::ENTRY_WITHOUT_GIT);
    history.write("scripts/inner.sh", "python -m training.train_b --lr 1\n");
    history.write("scripts/outer.sh", "exec bash \"$(dirname \"$0\")/inner.sh\" \"$@\"\n");
    history.project.append_configuration(
        "[[training_scripts]]\npath = \"scripts/outer.sh\"\nplatform = \"linux\"\nmodel = \"B\"\n",
    );
    history.write("tests/training/small.py", history::ENTRY_WITHOUT_GIT);
    history.write("evaluation/glue.py", history::ENTRY_WITHOUT_GIT);
    history.write("data/prepare.py", "if __name__ == \"__main__\":\n    tokenizer.train(x)\n");
    let mut planted = Vec::new();
    for path in ["experiments/train.py", "train_alone.py", "training/old/train_c.py"] {
        history.write(path, history::ENTRY_WITHOUT_GIT);
        planted.push(("T9", path.to_owned()));
    }
    history.commit_all("feat: programs");
    let (_, value) = check(&history, &[]);
    expect(&value, &planted);
}

#[test]
fn a_baseline_holds_back_what_is_known_and_says_what_is_mended() {
    let history = History::new();
    history.tag("v1.0");
    history.append(LOG, "\n[gone](gone.md)\n");
    let file = history.project.path("audit.json");
    let file = file.to_str().unwrap();
    let refused = history.project.run(&["check", "--write-baseline"]);
    assert_eq!(code(&refused), 2, "{}", err(&refused));
    let missing = history.project.run(&["check", "--baseline", file]);
    assert_eq!(code(&missing), 1);
    assert!(err(&missing).contains("--write-baseline"), "{}", err(&missing));
    let written = history.project.run(&["check", "--baseline", file, "--write-baseline"]);
    assert_eq!(code(&written), 0, "{}", err(&written));
    let first = fs::read_to_string(file).unwrap();
    // Lines move, and what is known stays known.
    history.replace(LOG, "## Training Runs", "One more line.\n\n## Training Runs");
    let (exit, value) = check(&history, &["--baseline", file]);
    expect(&value, &[]);
    assert_eq!((exit, value["known"].as_u64()), (0, Some(2)));
    history.git(&["tag", "-d", "v1.0"]);
    history.append(LOG, "\n[lost](lost.md)\n");
    let (exit, value) = check(&history, &["--baseline", file]);
    expect(&value, &[("T4", history.place(LOG, "lost.md"))]);
    assert_eq!((exit, value["mended"].as_u64()), (3, Some(1)));
    assert_eq!(fs::read_to_string(file).unwrap(), first, "only --write-baseline writes it");
    let github = history.project.run(&["check", "--baseline", file, "--format", "github"]);
    let line = history.place(LOG, "lost.md");
    let (path, number) = line.rsplit_once(':').unwrap();
    let start = format!("::error file={path},line={number},title=T4::the link `lost.md` leads");
    assert!(out(&github).starts_with(&start), "{}", out(&github));
}

/// It was written over whatever was there: `--baseline CHANGELOG.md` cost the CHANGELOG.
#[test]
fn a_baseline_is_written_over_no_other_file() {
    let history = History::new();
    let path = history.project.path("CHANGELOG.md");
    let before = fs::read(&path).unwrap();
    let write =
        |path: &str| history.project.run(&["check", "--baseline", path, "--write-baseline"]);
    let refused = write(path.to_str().unwrap());
    assert_eq!(code(&refused), 1, "{}", out(&refused));
    assert!(err(&refused).contains("something else than a baseline"), "{}", err(&refused));
    assert_eq!(fs::read(&path).unwrap(), before);
    let own = history.project.path("audit.json");
    for text in ["", "{\"version\": 7, \"known\": {}}"] {
        fs::write(&own, text).unwrap();
        assert_eq!(code(&write(own.to_str().unwrap())), 0, "{text}");
    }
}

#[test]
fn the_base_leaves_out_what_was_before_it() {
    let history = History::new();
    history.commit_all("cleanup before");
    history.tag("old");
    history.replace(LOG, &format!("`{}`", day_tag(5)), "--");
    let commit = history.commit_all("cleanup after");
    let mut planted = vec![("T8", commit.chars().take(10).collect())];
    history.project.append_configuration("[discipline]\nsince = \"old\"\n");
    let (_, value) = check(&history, &[]);
    // The runs began before the day of that revision.
    expect(&value, &planted);
    history.project.replace_configuration("since = \"old\"", "since = \"2026-03-01\"");
    planted.push(("T2", history.row(5)));
    let (_, value) = check(&history, &[]);
    let found = findings(&value);
    assert!(planted.iter().all(|(code, place)| {
        found.iter().any(|one| (one.0.as_str(), &one.1) == (*code, place))
    }));
    history.project.replace_configuration("since = \"2026-03-01\"", "since = \"nothing\"");
    let output = history.project.run(&["check"]);
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("discipline.since"), "{}", err(&output));
}

#[test]
fn the_remote_is_asked_only_when_it_should_be() {
    let history = History::new();
    let remote = tempfile::tempdir().unwrap();
    let url = remote.path().to_str().unwrap();
    history.git(&["init", "-q", "--bare", url]);
    history.git(&["remote", "add", "origin", url]);
    history.git(&["push", "-q", "origin", "--tags"]);
    let (exit, value) = check(&history, &["--remote"]);
    expect(&value, &[]);
    assert_eq!(exit, 0);
    history.git(&["push", "-q", "origin", &format!(":refs/tags/{}", day_tag(3))]);
    let (_, value) = check(&history, &["--remote"]);
    expect(&value, &[("T1", history.row(3))]);
    let command = value["findings"][0]["command"].as_str().unwrap();
    assert_eq!(command, format!("git push origin {}", day_tag(3)));
    assert_eq!(check(&history, &[]).0, 0);
    // A remote that is away is said, and nothing is found for it.
    history.git(&["remote", "set-url", "origin", "/nonexistent/repository"]);
    let (exit, value) = check(&history, &["--remote"]);
    assert_eq!(exit, 0);
    assert!(value["notes"].to_string().contains("whether tags are pushed"), "{value:#}");
}

#[test]
fn without_git_and_documents_it_says_what_it_cannot_know() {
    let project = crate::support::Project::new();
    project.append_configuration(
        "[[training_scripts]]\npath = \"a.sh\"\nplatform = \"linux\"\nmodel = \"A\"\n",
    );
    let output = project.run(&["check"]);
    let text = out(&output);
    assert_eq!(code(&output), 3, "{text}{}", err(&output));
    for part in ["no git history", "CHANGELOG.md", "active_todos.md", "a.sh` is missing"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert_eq!(text.matches("no git history").count(), 1);
}

/// Git looks at no checkout of another user, which is what a workflow in a container often has. The
/// audit said then that there is no history, found nothing, and ended with 0.
#[test]
fn a_checkout_that_git_refuses_is_not_one_without_history() {
    let history = History::new();
    history.tag("train/lost_20260301");
    let root = history.project.root();
    let root = root.to_str().unwrap();
    let commands: [&[&str]; 4] = [
        &["check", "--format", "json"],
        &["tag", "arch", "x"],
        &["hook", "install"],
        &["begin", "diffusion_H64L2C128D2", "--script", "scripts/train.sh"],
    ];
    for arguments in commands {
        let mut command = crate::support::command(arguments);
        command.args(["--root", root]).env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1");
        let refused = command.output().unwrap();
        assert_eq!(code(&refused), 1, "{arguments:?}: {}", out(&refused));
        let said = err(&refused);
        assert!(said.contains("git config --global --add safe.directory"), "{arguments:?}: {said}");
        assert!(!said.contains("git init"), "{arguments:?}: {said}");
    }
    assert_eq!(check(&history, &[]).0, 3);
}

/// `check | head` and `begin | head` ended with 0 at the first line that nobody read: findings were
/// none, and no training was begun.
#[test]
fn what_is_done_and_found_does_not_depend_on_who_reads_it() {
    let history = History::new();
    history.tag("v1.0");
    let root = history.project.root();
    let run = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = crate::support::command(arguments);
        command.arg("--root").arg(&root).stdout(writer).status().unwrap().code().unwrap()
    };
    assert_eq!(run(&["check"]), 3);
    assert_eq!(run(&["check", "--format", "json"]), 3);
    assert_eq!(run(&["gate", "diffusion_H64L2C128D2_20260301_120000"]), 4);
    for name in ["user.name", "user.email"] {
        history.git(&["config", name, "a@b"]);
    }
    let begin = ["begin", "diffusion_H64L2C128D2", "--script", "scripts/train.sh", "--allow-dirty"];
    assert_eq!(run(&begin), 0);
    assert!(history.git(&["tag"]).contains("train/diffusion_H64L2C128D2_"));
    assert!(fs::read_to_string(history.project.path(LOG)).unwrap().contains("PENDING"));
}

#[test]
fn it_takes_no_lock_and_changes_nothing() {
    let history = History::new();
    history.append(LOG, "\nchanged\n");
    let before = fs::read(history.project.path(".git/index")).unwrap();
    history.write(".git/index.lock", "");
    let output = history.project.run(&["check"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(fs::read(history.project.path(".git/index")).unwrap(), before);
    assert!(!history.project.path("Cache/runscribe").exists());
    assert_eq!(RUNS, 200);
}

/// What a person waits for in a project of many years: prints how long the audit took. Run it with
/// `--ignored --nocapture`, and `--release` for what a user sees.
#[test]
#[ignore = "a measurement, not a test"]
fn ten_thousand_commits_and_two_thousand_tags() {
    let history = History::new();
    history.grow(10_000, 1_800);
    let start = std::time::Instant::now();
    let (exit, value) = check(&history, &[]);
    println!("{} findings in {:?}", value["findings"].as_array().unwrap().len(), start.elapsed());
    assert_eq!(exit, 3);
}
