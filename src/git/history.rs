//! The history of a repository as plain facts: commits, tags, which hashes exist, what changed since
//! a tag. Reads only, and takes no lock.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::command::{Call, GitError, output};

/// A remote that does not say its tags by then is away.
const ANSWER: Duration = Duration::from_secs(30);

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its whole name.
    pub hash: String,
    /// How many parents it has; a merge has more than one.
    pub parents: usize,
    /// The first line of its message.
    pub subject: String,
}

/// A tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// Its name without `refs/tags/`.
    pub name: String,
    /// The commit that it stands at.
    pub commit: String,
    /// Whether it is an object of its own, with a date and a message.
    pub annotated: bool,
    /// When it was made, else when its commit was made, in seconds since 1970.
    pub created: i64,
}

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// Everything.
    Beginning,
    /// What is not part of this revision.
    Revision(String),
    /// What was committed, or tagged, at this time or later, in seconds since 1970.
    Time(i64),
}

/// Returns whether a folder lies in a checkout with at least one commit.
///
/// # Errors
/// Git itself gives no answer, or refuses to look at what is there: a checkout of another user is
/// none without history.
pub async fn has_history(folder: &Path) -> Result<bool, GitError> {
    match output(folder, Call::local(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])).await
    {
        Ok(_) => return Ok(true),
        Err(GitError::Failed { .. }) => {}
        Err(error) => return Err(error),
    }
    match output(folder, Call::local(&["rev-parse", "--git-dir"])).await {
        Err(error) if !error.is_no_repository() => Err(error),
        _ => Ok(false),
    }
}

/// Returns whether old commits were left out when the repository was cloned.
pub async fn is_shallow(folder: &Path) -> Result<bool, GitError> {
    let printed = output(folder, Call::local(&["rev-parse", "--is-shallow-repository"])).await?;
    Ok(printed.trim_ascii() == b"true")
}

/// Returns the commits that HEAD is made of, newest first.
pub async fn commits(folder: &Path, since: &Since) -> Result<Vec<Commit>, GitError> {
    let mut arguments = vec!["log", "-z", "--format=%H%x01%P%x01%s"];
    let (range, time);
    match since {
        Since::Beginning => arguments.push("HEAD"),
        Since::Revision(revision) => {
            range = format!("{revision}..HEAD");
            arguments.push(&range);
        }
        Since::Time(seconds) => {
            time = format!("--since=@{seconds}");
            arguments.extend([time.as_str(), "HEAD"]);
        }
    }
    arguments.push("--");
    let printed = output(folder, Call::local(&arguments)).await?;
    Ok(records(&printed, 0).filter_map(|record| commit(&record)).collect())
}

/// Returns all tags of commits, in the order of their names.
pub async fn tags(folder: &Path, since: &Since) -> Result<Vec<Tag>, GitError> {
    let format = "--format=%(refname:strip=2)%01%(objecttype)%01%(objectname)%01%(*objecttype)%01\
                  %(*objectname)%01%(creatordate:unix)";
    let mut arguments = vec!["for-each-ref", format];
    if let Since::Revision(revision) = since {
        arguments.extend(["--no-merged", revision]);
    }
    arguments.push("refs/tags");
    let printed = output(folder, Call::local(&arguments)).await?;
    let tags = records(&printed, b'\n').filter_map(|record| tag(&record));
    Ok(tags.filter(|tag| !matches!(since, Since::Time(time) if tag.created < *time)).collect())
}

/// Returns which of these revisions name a commit, and which one: the whole name for each that does.
pub async fn existing(
    folder: &Path,
    revisions: &[String],
) -> Result<BTreeMap<String, String>, GitError> {
    if revisions.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut input = String::new();
    for revision in revisions {
        // A line break in a name would shift all answers behind it.
        let name: String = revision.chars().filter(|one| !one.is_control()).collect();
        input.push_str(&name);
        input.push_str("^{commit}\n");
    }
    let arguments = ["cat-file", "--batch-check=%(objecttype) %(objectname)"];
    let printed = output(folder, Call::local(&arguments).reads(input.as_bytes())).await?;
    let answers = String::from_utf8_lossy(&printed);
    let found = revisions.iter().zip(answers.lines()).filter_map(|(revision, answer)| {
        Some((revision.clone(), answer.strip_prefix("commit ")?.to_owned()))
    });
    Ok(found.collect())
}

/// Returns the files below a folder that commits after a tag changed, each with the newest of these
/// commits. One that neither the tag nor HEAD has came and went in between, and is none of them.
pub async fn changed_since(
    folder: &Path,
    tag: &str,
    below: &str,
) -> Result<BTreeMap<String, String>, GitError> {
    let range = format!("refs/tags/{tag}..HEAD");
    let arguments = [
        "log",
        "-z",
        "--format=%x01%H",
        "--name-only",
        "--relative",
        "--no-renames",
        &range,
        "--",
        below,
    ];
    let log = output(folder, Call::local(&arguments)).await?;
    let tag = format!("refs/tags/{tag}");
    let mut present = Vec::new();
    for revision in [tag.as_str(), "HEAD"] {
        let files = ["ls-tree", "-r", "-z", "--name-only", revision, "--", below];
        present.extend(output(folder, Call::local(&files)).await?);
    }
    let mut newest: BTreeMap<String, String> = BTreeMap::new();
    let mut commit = String::new();
    for part in records(&log, 0) {
        let part = part.trim_matches('\n');
        match part.strip_prefix('\u{1}') {
            Some(hash) => hash.trim().clone_into(&mut commit),
            None if part.is_empty() => {}
            None => drop(newest.entry(part.to_owned()).or_insert_with(|| commit.clone())),
        }
    }
    Ok(records(&present, 0).filter_map(|path| newest.remove_entry(&path)).collect())
}

/// Returns the tracked files below a folder whose names fit a pattern, relative to it.
pub async fn tracked(folder: &Path, pattern: &str) -> Result<Vec<String>, GitError> {
    let printed = output(folder, Call::local(&["ls-files", "-z", "--", pattern])).await?;
    Ok(records(&printed, 0).filter(|path| !path.is_empty()).collect())
}

/// Returns the day on which a revision was committed, `YYYY-MM-DD`.
///
/// # Errors
/// Git knows no such revision, or gives no answer.
pub async fn day_of(folder: &Path, revision: &str) -> Result<String, GitError> {
    let revision = format!("{revision}^{{commit}}");
    let arguments = ["show", "-s", "--format=%cs", "--end-of-options", &revision];
    let printed = output(folder, Call::local(&arguments)).await?;
    Ok(String::from_utf8_lossy(&printed).trim().to_owned())
}

/// Returns the remote that tags are pushed to: that of the current branch, else `origin`, else the
/// only one.
pub async fn remote(folder: &Path) -> Result<Option<String>, GitError> {
    let printed = output(folder, Call::local(&["remote"])).await?;
    let text = String::from_utf8_lossy(&printed);
    let names: Vec<&str> = text.lines().collect();
    let upstream = ["for-each-ref", "--format=%(HEAD)%(upstream:remotename)", "refs/heads"];
    let upstream = output(folder, Call::local(&upstream)).await?;
    let upstream = String::from_utf8_lossy(&upstream);
    let of_branch = upstream.lines().find_map(|line| line.strip_prefix('*'));
    let known = |name: &&str| names.contains(name);
    let chosen = of_branch.filter(known).or(Some("origin").filter(known));
    let only = names.first().copied().filter(|_| names.len() == 1);
    Ok(chosen.or(only).map(str::to_owned))
}

/// Returns the names of a remote's tags.
pub async fn remote_tags(folder: &Path, remote: &str) -> Result<Vec<String>, GitError> {
    let arguments = ["ls-remote", "--tags", "--refs", "--quiet", "--", remote];
    let printed = output(folder, Call::remote(&arguments).within(ANSWER)).await?;
    let text = String::from_utf8_lossy(&printed);
    let names = text.lines().filter_map(|line| line.split_once("\trefs/tags/"));
    Ok(names.map(|(_, name)| name.to_owned()).collect())
}

/// Returns how git merges a file, `unspecified` where no attribute says so.
pub async fn merge_attribute(folder: &Path, path: &str) -> Result<String, GitError> {
    let arguments = ["check-attr", "-z", "merge", "--", path];
    let printed = output(folder, Call::local(&arguments)).await?;
    Ok(records(&printed, 0).nth(2).unwrap_or_default())
}

/// Splits what git printed; a last separator ends a record and begins none.
fn records(printed: &[u8], separator: u8) -> impl Iterator<Item = String> + '_ {
    let whole = printed.strip_suffix(&[separator]).unwrap_or(printed);
    let records = whole.split(move |byte| *byte == separator);
    records.map(|record| String::from_utf8_lossy(record).into_owned()).filter(|one| !one.is_empty())
}

fn commit(record: &str) -> Option<Commit> {
    let mut fields = record.splitn(3, '\u{1}');
    let hash = fields.next()?.trim().to_owned();
    let parents = fields.next()?.split_whitespace().count();
    Some(Commit { hash, parents, subject: fields.next()?.to_owned() })
}

/// A tag of something else than a commit is none of ours.
fn tag(record: &str) -> Option<Tag> {
    let fields: Vec<&str> = record.split('\u{1}').collect();
    let [name, kind, object, inner_kind, inner, created] = fields.as_slice() else { return None };
    let annotated = *kind == "tag";
    let (commit, is_commit) =
        if annotated { (*inner, *inner_kind == "commit") } else { (*object, *kind == "commit") };
    let created = created.parse().unwrap_or_default();
    let (name, commit) = ((*name).to_owned(), commit.to_owned());
    is_commit.then_some(Tag { name, commit, annotated, created })
}

#[cfg(test)]
mod tests;
