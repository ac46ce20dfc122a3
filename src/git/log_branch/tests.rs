//! Tests over real repositories: a bare one as the remote, and clones of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{LogBranch, Prepared, Project, Pushed, reference_name, written};

const LOG: &str = "docs/log.md";
const MESSAGE: &str = "docs: runscribe run_1 (m)";

struct Clone {
    folder: tempfile::TempDir,
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Ann").env(format!("GIT_{role}_EMAIL"), "ann@lab");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

impl Clone {
    /// A remote with one commit of a log, and a clone of it.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "remote.git"]);
        git(folder.path(), &["clone", "-q", "remote.git", "clone"]);
        let clone = Self { folder };
        clone.commit(".gitignore", "Cache/\n");
        fs::create_dir_all(clone.root().join("Cache/state")).unwrap();
        clone.commit(LOG, "# Log\n\none\ntwo\nthree\n");
        clone.commit("src/model.py", "print()\n");
        clone.git(&["push", "-q", "origin", "HEAD:main"]);
        clone.git(&["fetch", "-q"]);
        clone.git(&["remote", "set-head", "origin", "main"]);
        clone
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("clone")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.root(), arguments)
    }

    fn commit(&self, name: &str, text: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.git(&["add", name]);
        self.git(&["commit", "-q", "-m", name]);
    }

    fn branch(&self, may_fetch: bool) -> LogBranch {
        let root = self.root();
        let (state, log) = (root.join("Cache/state"), root.join(LOG));
        let reports = root.join("docs/run_reports");
        let project = Project { root: &root, state: &state, log: &log, reports: &reports };
        LogBranch::new(project, "m", may_fetch)
    }

    fn worktree(&self) -> PathBuf {
        self.root().join("Cache/state/log")
    }

    fn write(&self, text: &str) {
        fs::write(self.worktree().join(LOG), text).unwrap();
    }

    fn written(&self) -> String {
        fs::read_to_string(self.worktree().join(LOG)).unwrap()
    }

    /// What must never change by what runscribe does.
    fn checkout(&self) -> (String, Vec<u8>, String, String, Vec<u8>) {
        (
            self.git(&["rev-parse", "HEAD"]) + &self.git(&["symbolic-ref", "HEAD"]),
            fs::read(self.root().join(".git/index")).unwrap(),
            self.git(&["--no-optional-locks", "status", "--porcelain"]),
            self.git(&[
                "for-each-ref",
                "refs/heads/main",
                "refs/remotes",
                "refs/tags",
                "refs/stash",
            ]),
            fs::read(self.root().join(".git/config")).unwrap(),
        )
    }
}

#[tokio::test]
async fn what_is_written_is_committed_and_the_checkout_stays() {
    let clone = Clone::new();
    // Hooks of a person's would stop everything, and so would a signature.
    for hook in ["pre-commit", "commit-msg", "post-checkout", "pre-rebase", "pre-push"] {
        let path = clone.root().join(".git/hooks").join(hook);
        fs::write(&path, "#!/bin/sh\ntouch \"$0.ran\"\nexit 1\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).unwrap();
    }
    clone.git(&["config", "commit.gpgSign", "true"]);
    clone.git(&["config", "core.editor", "false"]);
    fs::write(clone.root().join("src/model.py"), "changed and not committed\n").unwrap();
    let before = clone.checkout();
    let branch = clone.branch(true);
    branch.fetch().await.unwrap();
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert!(!clone.worktree().join("src").exists(), "the documents only");
    assert_eq!(branch.commit(MESSAGE).await, Ok(false), "nothing was written");
    clone.write("# Log\n\none\ntwo\nthree\nfour\n");
    let note = clone.worktree().join("docs/run_reports/note.md");
    fs::create_dir_all(note.parent().unwrap()).unwrap();
    fs::write(&note, "note\n").unwrap();
    fs::write(note.with_file_name(".note.1.runscribe-part"), "half").unwrap();
    assert_eq!(branch.commit(MESSAGE).await, Ok(true));
    assert_eq!(branch.commit(MESSAGE).await, Ok(false), "once");
    assert_eq!(branch.unmerged().await, Ok(1));
    assert_eq!(branch.push().await, Ok(Pushed::Done));
    assert_eq!(branch.push().await, Ok(Pushed::Needless));
    let shown = clone.git(&["show", "--format=%s|%an|%ae|%cn", "--name-only", "runscribe/m"]);
    assert_eq!(
        shown,
        format!("{MESSAGE}|runscribe|runscribe@m|runscribe\n\n{LOG}\ndocs/run_reports/note.md")
    );
    let mut after = clone.checkout();
    // The push made the remote's branch known, as any push does.
    after.3 =
        after.3.lines().filter(|line| !line.contains("runscribe")).collect::<Vec<_>>().join("\n");
    assert_eq!(after, before);
    let ran = fs::read_dir(clone.root().join(".git/hooks")).unwrap();
    assert!(
        !ran.into_iter().any(|hook| hook
            .unwrap()
            .path()
            .extension()
            .is_some_and(|end| end == "ran"))
    );
}

#[tokio::test]
async fn the_branch_follows_the_default_branch_of_the_remote_and_divides_from_it_honestly() {
    let clone = Clone::new();
    let branch = clone.branch(true);
    branch.prepare(MESSAGE).await.unwrap();
    clone.write("# Log\n\none\ntwo\nthree\nours\n");
    branch.commit(MESSAGE).await.unwrap();
    // A commit that was not pushed is no base: to push the log would publish it.
    clone.commit("src/secret.py", "print(1)\n");
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert_eq!(clone.git(&["log", "--format=%s", "main..runscribe/m"]), MESSAGE);
    assert_eq!(clone.git(&["rev-list", "--count", "runscribe/m", "--", "src/secret.py"]), "0");
    // Somebody else's push is known after a fetch, and what the person knows of it stays.
    clone.commit(LOG, "# Log\n\nzero\none\ntwo\nthree\n");
    let known = clone.git(&["rev-parse", "origin/main"]);
    clone.git(&[
        "push",
        "-q",
        clone.folder.path().join("remote.git").to_str().unwrap(),
        "HEAD:main",
    ]);
    clone.git(&["update-ref", "refs/remotes/origin/main", &known]);
    branch.fetch().await.unwrap();
    assert_eq!(clone.git(&["rev-parse", "origin/main"]), known);
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert_eq!(clone.written(), "# Log\n\nzero\none\ntwo\nthree\nours\n");
    // The same place, changed on both sides.
    clone.commit(LOG, "# Log\n\nzero\none\ntwo\nthree\ntheirs\n");
    clone.git(&["push", "-q", "origin", "HEAD:main"]);
    branch.fetch().await.unwrap();
    let Ok(Prepared::Divided(divided)) = branch.prepare(MESSAGE).await else { panic!("divided") };
    assert_eq!(divided.origin, b"# Log\n\nzero\none\ntwo\nthree\n");
    assert_eq!(divided.ours, b"# Log\n\nzero\none\ntwo\nthree\nours\n");
    assert_eq!(divided.theirs, b"# Log\n\nzero\none\ntwo\nthree\ntheirs\n");
    assert_eq!(clone.written(), "# Log\n\nzero\none\ntwo\nthree\nours\n", "as before");
    let left = branch.begin_anew().await.unwrap();
    assert_eq!(clone.written(), "# Log\n\nzero\none\ntwo\nthree\ntheirs\n");
    assert_eq!(clone.git(&["rev-parse", "refs/runscribe/m/before"]), left);
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
}

#[tokio::test]
async fn a_default_branch_that_was_written_anew_does_not_come_back() {
    let clone = Clone::new();
    let branch = clone.branch(true);
    clone.commit("src/dropped.py", "print(1)\n");
    clone.git(&["push", "-q", "origin", "HEAD:main"]);
    branch.prepare(MESSAGE).await.unwrap();
    clone.write("# Log\n\none\ntwo\nthree\nours\n");
    branch.commit(MESSAGE).await.unwrap();
    clone.git(&["reset", "-q", "--hard", "HEAD~1"]);
    clone.commit("src/kept.py", "print(2)\n");
    clone.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
    branch.fetch().await.unwrap();
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert_eq!(clone.git(&["log", "--format=%s", "origin/main..runscribe/m"]), MESSAGE);
}

#[tokio::test]
async fn a_push_never_goes_over_what_somebody_else_put_there() {
    let clone = Clone::new();
    let branch = clone.branch(true);
    branch.prepare(MESSAGE).await.unwrap();
    clone.write("# Log\n\none\ntwo\nthree\nours\n");
    branch.commit(MESSAGE).await.unwrap();
    let remote = clone.folder.path().join("remote.git");
    let away = clone.folder.path().join("away.git");
    fs::rename(&remote, &away).unwrap();
    let error = branch.push().await.unwrap_err();
    assert!(error.starts_with("`origin` cannot be reached: fatal: "), "{error}");
    fs::rename(&away, &remote).unwrap();
    assert_eq!(branch.push().await, Ok(Pushed::Done));
    // A rebase makes the branch another one; the remote's is our own, and is replaced.
    clone.commit("src/new.py", "print(1)\n");
    clone.git(&["push", "-q", "origin", "HEAD:main"]);
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert_eq!(branch.push().await, Ok(Pushed::Done));
    // A push of which a crash took the notice.
    clone.write("# Log\n\none\ntwo\nthree\nours\nagain\n");
    branch.commit(MESSAGE).await.unwrap();
    let before = clone.git(&["rev-parse", "refs/runscribe/m/pushed"]);
    branch.push().await.unwrap();
    clone.git(&["update-ref", "refs/runscribe/m/pushed", &before]);
    clone.commit("src/newer.py", "print(1)\n");
    clone.git(&["push", "-q", "origin", "HEAD:main"]);
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert_eq!(branch.push().await, Ok(Pushed::Done));
    // Another host of the same name.
    let other = clone.git(&["commit-tree", "-m", "theirs", "-p", "main", "main^{tree}"]);
    clone.git(&["push", "-q", "-f", "origin", &format!("{other}:refs/heads/runscribe/m")]);
    clone.write("# Log\n\none\ntwo\nthree\nours\nagain\nmore\n");
    branch.commit(MESSAGE).await.unwrap();
    let error = branch.push().await.unwrap_err();
    assert!(error.contains("which is not from here"), "{error}");
    assert!(git(&remote, &["rev-parse", "runscribe/m"]) == other, "theirs stays");
    // Merged and deleted there: nothing is sent until there is something new.
    clone.git(&["push", "-q", "origin", ":refs/heads/runscribe/m"]);
    clone.git(&["merge", "-q", "runscribe/m"]);
    clone.git(&["push", "-q", "origin", "HEAD:main"]);
    assert_eq!(branch.push().await, Ok(Pushed::Needless));
    assert_eq!(branch.unmerged().await, Ok(0));
}

#[tokio::test]
async fn what_a_person_or_a_crash_took_away_is_made_again() {
    let clone = Clone::new();
    let branch = clone.branch(false);
    branch.prepare(MESSAGE).await.unwrap();
    let text = "# Log\n\none\ntwo\nthree\nours\n";
    clone.write(text);
    branch.commit(MESSAGE).await.unwrap();
    fs::remove_dir_all(clone.worktree()).unwrap();
    assert_eq!(branch.commit(MESSAGE).await, Ok(false), "no obstacle to what comes next");
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert_eq!(clone.written(), text);
    // With its branch.
    clone.git(&["worktree", "remove", "--force", clone.worktree().to_str().unwrap()]);
    clone.git(&["branch", "-q", "-D", "runscribe/m"]);
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert_eq!(clone.written(), text);
    // A crash between the making of the working tree and its first content.
    fs::remove_dir_all(clone.worktree()).unwrap();
    clone.git(&["worktree", "prune"]);
    clone.git(&["worktree", "add", "-q", "--no-checkout", "Cache/state/log", "runscribe/m"]);
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert_eq!(clone.written(), text);
    // A crash after the write: what stands there is committed at the next occasion.
    clone.write("# Log\n\none\ntwo\nthree\nours\nlate\n");
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    assert_eq!(branch.unmerged().await, Ok(2));
    // The whole project was moved.
    fs::rename(clone.root(), clone.folder.path().join("moved")).unwrap();
    fs::rename(clone.folder.path().join("moved"), clone.root()).unwrap();
    let gitdir = clone.root().join(".git/worktrees/log/gitdir");
    fs::write(gitdir, "/elsewhere/Cache/state/log/.git\n").unwrap();
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
}

#[tokio::test]
async fn what_stands_in_the_way_is_said() {
    let clone = Clone::new();
    let branch = clone.branch(false);
    let says = async |branch: &LogBranch, expected: &str| {
        let error = branch.prepare(MESSAGE).await.unwrap_err();
        assert!(error.contains(expected), "{error}");
    };
    clone.git(&["branch", "-q", "runscribe/m"]);
    clone.git(&["worktree", "add", "-q", "../elsewhere", "runscribe/m"]);
    says(&branch, "is checked out in `").await;
    clone.git(&["worktree", "remove", "../elsewhere"]);
    fs::create_dir(clone.worktree()).unwrap();
    fs::write(clone.worktree().join("file"), "").unwrap();
    says(&branch, "holds other files: move it away").await;
    let error = branch.commit(MESSAGE).await.unwrap_err();
    assert!(error.contains("holds other files: move it away"), "{error}");
    fs::remove_dir_all(clone.worktree()).unwrap();
    branch.prepare(MESSAGE).await.unwrap();
    git(&clone.worktree(), &["switch", "-q", "-c", "mine"]);
    says(&branch, "switch it back to `refs/heads/runscribe/m`").await;
    git(&clone.worktree(), &["switch", "-q", "runscribe/m"]);
    fs::write(clone.worktree().join(".gitignore"), "Cache/\nmine\n").unwrap();
    says(&branch, "`.gitignore` in `").await;
    git(&clone.worktree(), &["checkout", "-q", ".gitignore"]);
    assert_eq!(branch.prepare(MESSAGE).await, Ok(Prepared::Ready));
    // A link that leads into the checkout would have the checkout's file written.
    fs::remove_file(clone.worktree().join(LOG)).unwrap();
    std::os::unix::fs::symlink(clone.root().join(LOG), clone.worktree().join(LOG)).unwrap();
    says(&branch, "leads out of the working tree").await;
    let root = clone.root();
    let project = |root| Project { root, state: root, log: root, reports: root };
    says(&LogBranch::new(project(Path::new("/")), "m", false), "is in no git repository").await;
    let bare = root.with_file_name("remote.git");
    says(&LogBranch::new(project(&bare), "m", false), "the repository is bare").await;
    git(&root, &["init", "-q", "empty"]);
    let (root, log) = (root.join("empty"), root.join("empty/log.md"));
    let empty = Project { root: &root, state: &root, log: &log, reports: &log };
    says(&LogBranch::new(empty, "m", false), "no commit yet: make the first one").await;
    let outside = Project { log: Path::new("/log.md"), ..empty };
    says(&LogBranch::new(outside, "m", false), "is outside of the repository").await;
}

#[tokio::test]
async fn commits_of_others_on_the_branch_are_kept_for_them_to_rebase() {
    let clone = Clone::new();
    let branch = clone.branch(true);
    branch.prepare(MESSAGE).await.unwrap();
    clone.write("# Log\n\none\ntwo\nthree\nby hand\n");
    git(&clone.worktree(), &["commit", "-q", "-a", "-m", "by hand"]);
    clone.commit(LOG, "# Log\n\none\ntwo\nthree\ntheirs\n");
    clone.git(&["push", "-q", "origin", "HEAD:main"]);
    let error = branch.prepare(MESSAGE).await.unwrap_err();
    assert!(
        error.contains("holds commits of `ann@lab` and conflicts with `origin/main`"),
        "{error}"
    );
    assert!(branch.begin_anew().await.is_err());
    assert_eq!(clone.written(), "# Log\n\none\ntwo\nthree\nby hand\n");
}

#[tokio::test]
async fn a_rebase_that_a_crash_interrupted_is_ended_and_a_persons_is_not() {
    let clone = Clone::new();
    let branch = clone.branch(true);
    branch.prepare(MESSAGE).await.unwrap();
    let ours = "# Log\n\none\ntwo\nthree\nours\n";
    clone.write(ours);
    branch.commit(MESSAGE).await.unwrap();
    clone.commit(LOG, "# Log\n\none\ntwo\nthree\ntheirs\n");
    clone.git(&["push", "-q", "origin", "HEAD:main"]);
    let mut rebase = Command::new("git");
    rebase.args(["rebase", "-q", "origin/main"]).current_dir(clone.worktree());
    for role in ["AUTHOR", "COMMITTER"] {
        rebase.env(format!("GIT_{role}_NAME"), "Ann").env(format!("GIT_{role}_EMAIL"), "ann@lab");
    }
    assert!(!rebase.output().unwrap().status.success(), "a conflict");
    let error = branch.prepare(MESSAGE).await.unwrap_err();
    assert!(error.starts_with("a rebase is under way in `"), "{error}");
    fs::write(clone.root().join(".git/worktrees/log/runscribe-rebase"), "").unwrap();
    assert!(matches!(branch.prepare(MESSAGE).await, Ok(Prepared::Divided(_))));
    assert_eq!(clone.written(), ours);
    assert!(!clone.root().join(".git/worktrees/log/runscribe-rebase").exists());
}

#[tokio::test]
async fn a_state_folder_that_nobody_ignores_is_not_added_to_the_project() {
    let clone = Clone::new();
    clone.commit(".gitignore", "\n");
    let branch = clone.branch(false);
    branch.prepare(MESSAGE).await.unwrap();
    assert_eq!(clone.git(&["status", "--porcelain", "--untracked-files=all"]), "");
    clone.git(&["add", "."]);
    assert_eq!(clone.git(&["diff", "--cached", "--name-only"]), "");
}

#[test]
fn machines_have_names_that_git_takes() {
    for (machine, name) in [
        ("polonez", "polonez"),
        ("Polonez (4x RTX 3090)", "Polonez-4x-RTX-3090"),
        ("a..b~^:?*[\\c", "a.b-c"),
        (".hidden.lock", "hidden"),
        ("@{", "unknown"),
        ("", "unknown"),
        ("łódź/1", "łódź-1"),
    ] {
        assert_eq!(reference_name(machine), name);
        let full = format!("refs/heads/runscribe/{name}");
        git(Path::new("/"), &["check-ref-format", &full]);
    }
}

#[test]
fn documents_lie_in_the_working_tree_as_in_the_checkout() {
    let clone = Clone::new();
    let root = clone.root().join("sub");
    fs::create_dir(&root).unwrap();
    let (state, log) = (root.join("state"), root.join("docs/log.md"));
    let project = Project { root: &root, state: &state, log: &log, reports: &root.join("docs/r") };
    let there = written(project);
    assert_eq!(there.root, root.join("state/log/sub"));
    assert_eq!(there.log, root.join("state/log/sub/docs/log.md"));
    assert_eq!(there.reports, root.join("state/log/sub/docs/r"));
}
