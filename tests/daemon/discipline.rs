//! The commands that write the CHANGELOG, the list of tasks, tags and git's hook, in a real
//! repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Project, code, command, err, out};

const TODOS: &str = "docs/1_Strategy_and_Plans/active_todos.md";

/// Runs git without anybody's configuration.
fn try_git(folder: &Path, arguments: &[&str]) -> Output {
    let mut git = Command::new("git");
    git.args(["-c", "user.name=A Person", "-c", "user.email=person@example.org"]);
    git.args(["-c", "init.defaultBranch=main"]).args(arguments).current_dir(folder).env_clear();
    git.env("PATH", "/usr/bin:/bin").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap()
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = try_git(folder, arguments);
    assert!(output.status.success(), "git {arguments:?}: {}", err(&output));
    out(&output).trim().to_owned()
}

/// A project whose root is a repository with one commit.
fn repository() -> Project {
    let project = Project::new();
    let root = project.root();
    git(&root, &["init", "--quiet"]);
    git(&root, &["config", "user.name", "A Person"]);
    git(&root, &["config", "user.email", "person@example.org"]);
    fs::write(root.join("model.py"), "x = 1\n").unwrap();
    git(&root, &["add", "model.py"]);
    git(&root, &["commit", "--quiet", "-m", "arch: the model"]);
    project
}

fn write(project: &Project, name: &str, text: &str) -> PathBuf {
    let path = project.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn refused(project: &Project, arguments: &[&str], words: &[&str]) {
    let output = project.run(arguments);
    assert_eq!(code(&output), 1, "{arguments:?}: {}{}", out(&output), err(&output));
    for word in words {
        assert!(err(&output).contains(word), "no `{word}` in {}", err(&output));
    }
}

fn done(project: &Project, arguments: &[&str]) -> String {
    let output = project.run(arguments);
    assert_eq!(code(&output), 0, "{arguments:?}: {}", err(&output));
    out(&output)
}

const ADD: [&str; 8] = [
    "changelog",
    "add",
    "--title",
    "Né € attention",
    "--what",
    "nn/a b.py: less",
    "--why",
    "twice",
];

#[test]
fn an_entry_is_added_once_and_only_for_what_exists() {
    let project = repository();
    let changelog = write(
        &project,
        "CHANGELOG.md",
        "# Changelog\r\n\r\n---\r\n\r\n## [2026-01-02] - Older \r\n\r\n**Why:** x\r\n**What changed:** y",
    );
    write(&project, TODOS, "## TODO 6: Masked diffusion\n\n- [ ] a step\n- [ ] another step\n");
    let before = fs::read_to_string(&changelog).unwrap();
    let with = |more: &[&'static str]| [&ADD[..], more].concat();
    refused(&project, &with(&["--tag", "arch/x"]), &["no tag `arch/x`", "runscribe tag"]);
    refused(&project, &with(&["--todo", "7"]), &["no task is `7`", "active_todos.md"]);
    refused(&project, &with(&["--todo", "step"]), &["2 tasks", "line:3", "line:4"]);
    git(&project.root(), &["tag", "arch/x"]);
    let all = with(&["--tag", "arch/x", "--todo", "diffusion"]);
    let shown = done(&project, &[&all[..], &["--dry-run"]].concat());
    assert!(shown.contains("+## [20") && shown.contains("would be written"), "{shown}");
    assert_eq!(fs::read_to_string(&changelog).unwrap(), before);

    let shown = done(&project, &all);
    assert!(shown.contains("+**Git tag:** `arch/x`") && shown.contains("\nwritten: "), "{shown}");
    let after = fs::read_to_string(&changelog).unwrap();
    let (head, old) = before.split_at(before.find("## [2026-01-02]").unwrap());
    assert!(after.starts_with(head) && after.ends_with(old), "{after:?}");
    let added = after.strip_prefix(head).and_then(|rest| rest.strip_suffix(old)).unwrap();
    let words =
        ["] — Né € attention\r\n", "- `nn/a b.py`: less\r\n", "**Related TODO:** TODO 6\r\n"];
    assert!(words.iter().all(|words| added.contains(words)), "{added:?}");
    assert!(added.ends_with("\r\n\r\n---\r\n\r\n") && !added.replace("\r\n", "").contains('\n'));
    let shown = done(&project, &all);
    assert!(shown.starts_with("unchanged: "), "{shown}");
    assert_eq!(fs::read_to_string(&changelog).unwrap(), after);
    let other = [&ADD[..7], &["another reason"]].concat();
    refused(&project, &other, &["line 5", "another title"]);
}

#[test]
fn a_changelog_is_made_where_none_ever_was_and_held_while_git_is_busy() {
    let project = repository();
    let shown = done(&project, &ADD);
    assert!(shown.contains("--- /dev/null"), "{shown}");
    let text = fs::read_to_string(project.path("CHANGELOG.md")).unwrap();
    assert!(text.starts_with("# Changelog\n\n## [Unreleased]\n\n---\n\n## [20"), "{text}");
    git(&project.root(), &["add", "CHANGELOG.md"]);
    fs::remove_file(project.path("CHANGELOG.md")).unwrap();
    refused(&project, &ADD, &["git tracks `CHANGELOG.md`", "git restore"]);
    git(&project.root(), &["checkout", "--", "CHANGELOG.md"]);
    fs::write(project.path(".git/MERGE_HEAD"), "").unwrap();
    let other = [&ADD[..3], &["Other"], &ADD[4..]].concat();
    refused(&project, &other, &["merge is unfinished"]);
    let usage = project.run(&["changelog", "add", "--title", "x", "--what", "y", "--why", "z"]);
    assert_eq!(code(&usage), 2, "{}", err(&usage));
    assert!(err(&usage).contains("'path: text'"), "{}", err(&usage));
}

#[test]
fn a_task_is_marked_done_by_a_commit_and_only_once() {
    let project = repository();
    refused(&project, &["todo", "done", "6"], &["no list of tasks", "[discipline]"]);
    let text = "\u{feff}## TODO 6: Masked diffusion é\n\n**Status:** [ ] Not started \n\n- [ ] a step\n\
                - [ ] a stair\n\n## TODO 5: Old DONE ✅\n\n**Status:** [x] Done — fixed";
    let todos = write(&project, TODOS, text);
    let root = project.root();
    let short = git(&root, &["rev-parse", "--short", "HEAD"]);
    git(&root, &["checkout", "--quiet", "--detach"]);
    refused(&project, &["todo", "done", "a st"], &["2 tasks", "line:5  a step", "line:6  a stair"]);
    refused(&project, &["todo", "done", "9"], &["no task is `9`"]);
    refused(&project, &["todo", "done", "6", "--commit", "nothing"], &["no commit", "`nothing`"]);
    refused(&project, &["todo", "done", "5"], &["line 8", "--commit"]);
    let shown = done(&project, &["todo", "done", "6", "--dry-run"]);
    assert!(shown.contains("+**Status:** [x] Done — ") && shown.contains(&short), "{shown}");
    assert_eq!(fs::read_to_string(&todos).unwrap(), text);

    done(&project, &["todo", "done", "6", "--note", "rank 12.3"]);
    let after = fs::read_to_string(&todos).unwrap();
    let stamp = format!(", commit `{short}`, rank 12.3 \n\n- [ ] a step\n");
    assert!(after.contains(&stamp) && after.contains("diffusion é DONE ✅\n"), "{after}");
    assert!(done(&project, &["todo", "done", "TODO 6"]).starts_with("unchanged: "));
    assert_eq!(fs::read_to_string(&todos).unwrap(), after);
    done(&project, &["todo", "done", "5", "--commit", "HEAD"]);
    let after = fs::read_to_string(&todos).unwrap();
    assert!(after.ends_with(&format!(", commit `{short}`")), "{after}");
}

#[test]
fn a_tag_is_made_in_its_form_or_refused_with_what_would_do() {
    let project = repository();
    let root = project.root();
    let tags = || git(&root, &["tag", "--list"]);
    let shown = done(&project, &["tag", "arch", "xattn-only", "--dry-run"]);
    assert!(shown.starts_with("would be made: arch/xattn-only on "), "{shown}");
    assert_eq!(tags(), "");
    done(&project, &["tag", "arch", "xattn-only"]);
    assert_eq!(git(&root, &["cat-file", "-t", "arch/xattn-only"]), "tag");
    assert_eq!(
        git(&root, &["rev-parse", "arch/xattn-only^{commit}"]),
        git(&root, &["rev-parse", "HEAD"])
    );
    let contents = git(&root, &["tag", "--list", "--format=%(contents:subject)"]);
    assert_eq!(contents, "Architecture: xattn-only");
    refused(&project, &["tag", "arch", "arch/xattn-only"], &["exists, on HEAD", "another name"]);
    refused(&project, &["tag", "arch", "cross attention"], &["`cross-attention` would do"]);
    refused(&project, &["tag", "train", "x_20260223_203349"], &["without its date"]);
    refused(&project, &["tag", "eval", "eval/glue"], &["eval/{benchmark}_{date}"]);

    fs::write(root.join("model.py"), "x = 2\n").unwrap();
    let output = project.run(&["tag", "train", "diffusion_H512L6"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(err(&output).contains("not committed") && err(&output).contains("model.py"));
    let made = tags().lines().find(|tag| tag.starts_with("train/")).unwrap().to_owned();
    let day = made.strip_prefix("train/diffusion_H512L6_20").unwrap();
    assert!(day.len() == 6 && day.bytes().all(|byte| byte.is_ascii_digit()), "{made}");
    let second = format!("{made}-2");
    refused(&project, &["tag", "train", "diffusion_H512L6"], &[&format!("`{second}`")]);
    done(&project, &["tag", "train", &second]);
    refused(&project, &["tag", "train", &second], &[&format!("`{made}-3`")]);
}

#[test]
fn a_tag_is_pushed_alone_and_what_is_missing_is_said() {
    let project = repository();
    let root = project.root();
    refused(&project, &["tag", "arch", "x", "--push"], &["no remote", "git remote add"]);
    assert_eq!(git(&root, &["tag", "--list"]), "", "nothing is made that cannot be pushed");
    let remote = tempfile::tempdir().unwrap();
    git(remote.path(), &["init", "--quiet", "--bare"]);
    git(&root, &["remote", "add", "origin", remote.path().to_str().unwrap()]);
    git(&root, &["tag", "private"]);
    let shown = done(&project, &["tag", "arch", "x", "--push"]);
    assert!(shown.contains("pushed: to origin"), "{shown}");
    assert_eq!(git(remote.path(), &["for-each-ref", "--format=%(refname)"]), "refs/tags/arch/x");
    git(&root, &["remote", "set-url", "origin", "/nonexistent/remote"]);
    let pushed = ["tag", "arch", "y", "--push"];
    refused(&project, &pushed, &["is made, but not pushed", "git push origin refs/tags/arch/y"]);

    let plain = Project::new();
    refused(&plain, &["tag", "arch", "x"], &["no git checkout"]);
    refused(&plain, &["hook", "install"], &["no git checkout"]);
    write(&plain, TODOS, "- [ ] x\n");
    refused(&plain, &["todo", "done", "x"], &["no git checkout"]);
    git(&plain.root(), &["init", "--quiet"]);
    refused(&plain, &["tag", "arch", "x"], &["no git checkout with a commit"]);
}

fn commit(folder: &Path, message: &str) -> Output {
    try_git(folder, &["commit", "--quiet", "--allow-empty", "-m", message])
}

#[test]
fn the_hook_checks_commits_also_in_a_linked_working_tree() {
    let project = repository();
    let root = project.root();
    let hook = root.join(".git/hooks/commit-msg");
    let shown = done(&project, &["hook", "install", "--dry-run"]);
    assert!(shown.contains("+exec \"$runscribe\" hook") && !hook.exists(), "{shown}");
    done(&project, &["hook", "install"]);
    assert!(done(&project, &["hook", "install"]).starts_with("unchanged: "));
    let tree = tempfile::tempdir().unwrap();
    let linked = tree.path().join("a linked tree");
    git(&root, &["worktree", "add", "--quiet", "--detach", linked.to_str().unwrap()]);
    for folder in [&root, &linked] {
        let output = commit(folder, "cleanup");
        assert!(!output.status.success());
        assert!(err(&output).contains("no prefix") && err(&output).contains("`arch:`"));
        assert!(!commit(folder, "chore: x").status.success());
        assert!(commit(folder, "fix(upload): x").status.success());
    }
    let message = write(&project, "message", "wip\n");
    let output = project.run(&["hook", "commit-msg", message.to_str().unwrap()]);
    assert_eq!(code(&output), 3, "{}", err(&output));
    refused(&project, &["hook", "commit-msg", "missing"], &["cannot be read"]);
    let shown = done(&project, &["hook", "remove", "--dry-run"]);
    assert!(shown.contains("\nwould be removed: ") && hook.exists(), "{shown}");
    let shown = done(&project, &["hook", "remove"]);
    assert!(shown.contains("-exec ") && shown.contains("\nremoved: "), "{shown}");
    assert!(!hook.exists());
    assert!(done(&project, &["hook", "remove"]).starts_with("unchanged: "));
    assert!(commit(&root, "cleanup").status.success());
}

#[test]
fn another_hook_is_never_touched_and_hooks_path_is_respected() {
    let project = repository();
    let root = project.root();
    let other = write(&project, ".git/hooks/commit-msg", "#!/bin/sh\nexit 0\n");
    refused(&project, &["hook", "install"], &["another hook", "hook --root '.' commit-msg"]);
    refused(&project, &["hook", "remove"], &["another hook"]);
    assert_eq!(fs::read_to_string(&other).unwrap(), "#!/bin/sh\nexit 0\n");
    git(&root, &["config", "core.hooksPath", "tools/git hooks"]);
    done(&project, &["hook", "install"]);
    assert!(root.join("tools/git hooks/commit-msg").exists());
    assert!(!commit(&root, "cleanup").status.success());
    let outside = tempfile::tempdir().unwrap();
    git(&root, &["config", "core.hooksPath", outside.path().to_str().unwrap()]);
    refused(&project, &["hook", "install"], &["core.hooksPath", "outside"]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn the_hook_of_a_project_in_a_subfolder_reads_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().canonicalize().unwrap();
    git(&top, &["init", "--quiet"]);
    let root = top.join("it's here");
    fs::create_dir(&root).unwrap();
    let settings = "[discipline]\ncommit_prefixes = [\"only\"]\n";
    fs::write(root.join("runscribe.toml"), settings).unwrap();
    let output = command(&["hook", "install", "--root"]).arg(&root).output().unwrap();
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(!commit(&top, "fix: x").status.success());
    assert!(commit(&top, "only: x").status.success());
}

/// Opening one waits for a writer, and so did the command.
#[test]
fn a_document_that_is_a_named_pipe_is_refused() {
    let project = repository();
    let made = Command::new("mkfifo").arg(project.path("CHANGELOG.md")).status().unwrap();
    assert!(made.success());
    refused(&project, &ADD, &["CHANGELOG.md` is not a regular file"]);
}

/// A killed `changelog add` left its temporary file for good: only a daemon cleaned up, and only
/// beside the log. Such a file also makes the checkout of the next training dirty.
#[test]
fn what_a_killed_command_left_beside_a_document_is_cleaned_up_by_the_next_one() {
    let project = repository();
    let left = write(&project, ".1a2b-18ebb42b0a5b488d-0.runscribe-part", "half of a chan");
    let other = write(&project, ".somebody-else.part", "theirs");
    let dry = [&ADD[..], &["--dry-run"]].concat();
    done(&project, &dry);
    assert!(left.exists(), "a dry run writes nothing");
    done(&project, &ADD);
    assert!(!left.exists() && other.exists());
}
