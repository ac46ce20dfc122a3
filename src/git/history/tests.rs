//! History of repositories that the tests make.

use std::fmt::Write as _;
use std::process::Command;

use super::*;

struct Repository(tempfile::TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(tempfile::tempdir().unwrap());
        repository.git(&["init", "-q", "-b", "main"]);
        repository
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.path());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@b");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, path: &str, subject: &str) -> String {
        let file = self.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, subject).unwrap();
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }
}

#[tokio::test]
async fn commits_and_tags_are_read_from_a_base_on() {
    let repository = Repository::new();
    assert!(!has_history(repository.path()).await.unwrap());
    let first = repository.commit("nn/a b.py", "feat: the first");
    repository.git(&["tag", "old"]);
    let second = repository.commit("README.md", "no prefix | of any kind");
    repository.git(&["tag", "-a", "arch/x", "-m", "x"]);
    repository.git(&["tag", "blob", "HEAD:README.md"]);
    assert!(has_history(repository.path()).await.unwrap());
    assert!(!is_shallow(repository.path()).await.unwrap());
    let all = commits(repository.path(), &Since::Beginning).await.unwrap();
    let expected =
        [(second.as_str(), 1, "no prefix | of any kind"), (&first, 0, "feat: the first")];
    let found: Vec<_> =
        all.iter().map(|one| (one.hash.as_str(), one.parents, one.subject.as_str())).collect();
    assert_eq!(found, expected);
    let since = Since::Revision("old".to_owned());
    assert_eq!(commits(repository.path(), &since).await.unwrap(), all[..1]);
    let both = tags(repository.path(), &Since::Beginning).await.unwrap();
    let found: Vec<_> = both.iter().map(|tag| (tag.name.as_str(), tag.annotated)).collect();
    assert_eq!(found, [("arch/x", true), ("old", false)]);
    assert_eq!((&both[0].commit, &both[1].commit), (&second, &first));
    assert!(both.iter().all(|tag| tag.created > 1_700_000_000));
    let after: Vec<_> = tags(repository.path(), &since).await.unwrap();
    assert_eq!(after, both[..1]);
    let later = Since::Time(both[0].created + 1);
    assert_eq!(tags(repository.path(), &later).await.unwrap(), []);
    let much_later = Since::Time(both[0].created + 1_000);
    assert_eq!(commits(repository.path(), &much_later).await.unwrap(), []);
    assert_eq!(day_of(repository.path(), "old").await.unwrap().len(), "2026-01-01".len());
    assert!(day_of(repository.path(), "nothing").await.is_err());
    let wrong = commits(repository.path(), &Since::Revision("nothing".to_owned())).await;
    let complaint = wrong.unwrap_err().to_string();
    assert!(complaint.contains("`git log` failed") && complaint.contains("nothing"), "{complaint}");
}

#[tokio::test]
async fn many_hashes_are_asked_at_once_and_each_gets_its_own_answer() {
    let repository = Repository::new();
    let hash = repository.commit("a", "feat: a");
    repository.git(&["tag", "-a", "arch/x", "-m", "x"]);
    let asked: Vec<String> =
        ["0000000", hash.get(..7).unwrap(), "with space", "a\nb", "arch/x", &hash, "", "HEAD:a"]
            .map(str::to_owned)
            .to_vec();
    let found = existing(repository.path(), &asked).await.unwrap();
    let expected = std::collections::BTreeSet::from([hash.get(..7).unwrap(), &hash, "arch/x"]);
    assert_eq!(
        found.keys().map(String::as_str).collect::<std::collections::BTreeSet<_>>(),
        expected
    );
    assert!(found.values().all(|name| *name == hash));
    assert!(existing(repository.path(), &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_changed_since_a_tag_names_the_newest_commit_of_each_file() {
    let repository = Repository::new();
    repository.commit("nn/a b.py", "feat: 1");
    repository.commit("nn/old.py", "feat: 1b");
    repository.git(&["tag", "-a", "arch/x", "-m", "x"]);
    repository.commit("nn/ü.py", "feat: 2");
    repository.commit("nn/gone.py", "feat: 3");
    let changed = repository.commit("nn/a b.py", "feat: 4");
    repository.git(&["rm", "-q", "nn/gone.py"]);
    repository.commit("docs/x.md", "docs: 5");
    let newest = repository.commit("nn/ü.py", "feat: 6");
    repository.git(&["rm", "-q", "nn/old.py"]);
    let removed = repository.commit("docs/y.md", "feat: 7");
    let found = changed_since(repository.path(), "arch/x", "nn").await.unwrap();
    let expected = [("nn/a b.py", changed), ("nn/old.py", removed), ("nn/ü.py", newest)]
        .map(|(path, hash)| (path.to_owned(), hash));
    assert_eq!(found, BTreeMap::from(expected));
}

#[tokio::test]
async fn remote_tags_come_from_the_remote_of_the_branch() {
    let upstream = Repository::new();
    upstream.commit("a", "feat: a");
    upstream.git(&["tag", "-a", "train/x_20260101", "-m", "x"]);
    let own = Repository::new();
    own.commit("b", "feat: b");
    assert_eq!(remote(own.path()).await.unwrap(), None);
    let url = upstream.path().to_str().unwrap();
    own.git(&["remote", "add", "lab", url]);
    assert_eq!(remote(own.path()).await.unwrap().as_deref(), Some("lab"));
    own.git(&["remote", "add", "origin", url]);
    assert_eq!(remote(own.path()).await.unwrap().as_deref(), Some("origin"));
    own.git(&["fetch", "-q", "lab"]);
    own.git(&["branch", "-q", "--set-upstream-to=lab/main"]);
    assert_eq!(remote(own.path()).await.unwrap().as_deref(), Some("lab"));
    let names = remote_tags(own.path(), "lab").await.unwrap();
    assert_eq!(names, ["train/x_20260101"]);
    own.git(&["remote", "set-url", "lab", "/nonexistent/repository"]);
    assert!(remote_tags(own.path(), "lab").await.is_err());
    assert_eq!(merge_attribute(own.path(), "b").await.unwrap(), "unspecified");
    std::fs::write(own.path().join(".gitattributes"), "b merge=union\n").unwrap();
    assert_eq!(merge_attribute(own.path(), "b").await.unwrap(), "union");
}

/// Ten thousand commits and two thousand tags, which a person waits for: prints how long it took.
/// Run it with `--ignored --nocapture`.
#[tokio::test]
#[ignore = "a measurement, not a test"]
async fn ten_thousand_commits() {
    let repository = Repository::new();
    let mut stream = String::new();
    for number in 1..=10_000 {
        let subject = format!("feat: number {number}");
        let length = subject.len();
        write!(
            stream,
            "commit refs/heads/main\nmark :{number}\ncommitter A <a@b> {} +0000\ndata {length}\n\
             {subject}\nM 100644 inline nn/{}.py\ndata 1\nx\n",
            1_700_000_000 + number,
            number % 100,
        )
        .unwrap();
        if number % 5 == 0 {
            write!(
                stream,
                "tag train/r{number}_20260101\nfrom :{number}\ntagger A <a@b> {} +0000\ndata 1\nx\n",
                1_700_000_000 + number,
            )
            .unwrap();
        }
    }
    let import = Call::local(&["fast-import", "--quiet"]).reads(stream.as_bytes());
    output(repository.path(), import).await.unwrap();
    let start = std::time::Instant::now();
    let all = commits(repository.path(), &Since::Beginning).await.unwrap();
    let commits_took = start.elapsed();
    let tags = tags(repository.path(), &Since::Beginning).await.unwrap();
    let hashes: Vec<String> = all.iter().map(|one| one.hash.get(..8).unwrap().to_owned()).collect();
    let found = existing(repository.path(), &hashes).await.unwrap();
    assert_eq!((all.len(), tags.len(), found.len()), (10_000, 2_000, 10_000));
    println!("commits {commits_took:?}, with tags and all hashes {:?}", start.elapsed());
}
