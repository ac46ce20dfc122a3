//! What commands make in git: annotated tags, and their way to the remote. And what they must know
//! before: where the checkout stands, what is changed in it, and where its hooks lie.

use std::path::{Path, PathBuf};

use jiff::civil::Date;

use super::command::{Call, GitError, output};
use super::history;

/// A commit that somebody names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCommit {
    /// Its whole hash.
    pub hash: String,
    /// As many digits of it as tell it from others.
    pub short: String,
    /// The day on which it was committed.
    pub day: Date,
}

/// Where a checkout keeps what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The top folder.
    pub top: PathBuf,
    /// The git directory that all linked working trees share.
    pub common: PathBuf,
    /// The folder of its hooks, as `core.hooksPath` has it.
    pub hooks: PathBuf,
}

/// Returns the commit that a revision names, `None` when it names none.
///
/// # Errors
/// Git gives no answer.
pub async fn commit(folder: &Path, revision: &str) -> Result<Option<NamedCommit>, GitError> {
    let revisions = [revision.to_owned()];
    let found = history::existing(folder, &revisions).await?;
    let Some(hash) = found.get(revision) else { return Ok(None) };
    let arguments = ["log", "-1", "--format=%h %cs", hash.as_str(), "--"];
    let printed = output(folder, Call::local(&arguments)).await?;
    let text = String::from_utf8_lossy(&printed);
    let (short, day) = text.trim().split_once(' ').unwrap_or_default();
    let day = day.parse().map_err(|_| GitError::Failed {
        command: "log".to_owned(),
        complaint: format!("`{day}` is no day"),
    })?;
    Ok(Some(NamedCommit { hash: hash.clone(), short: short.to_owned(), day }))
}

/// Returns the commit that a tag leads to, `None` without such a tag.
pub async fn tagged(folder: &Path, tag: &str) -> Result<Option<NamedCommit>, GitError> {
    commit(folder, &format!("refs/tags/{tag}")).await
}

/// Returns the tracked files that are not as HEAD has them, relative to the top folder.
pub async fn changed(folder: &Path) -> Result<Vec<String>, GitError> {
    let arguments = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=no"];
    let printed = output(folder, Call::local(&arguments)).await?;
    let names = printed.split(|byte| *byte == 0).filter_map(|record| record.get(3..));
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Makes an annotated tag.
///
/// # Errors
/// There is one of that name, or git refuses for another reason.
pub async fn make_tag(
    folder: &Path,
    tag: &str,
    commit: &str,
    message: &str,
) -> Result<(), GitError> {
    let arguments = ["tag", "--annotate", "--file=-", "--", tag, commit];
    output(folder, Call::local(&arguments).reads(message.as_bytes()).in_front()).await.map(drop)
}

/// Pushes one tag to a remote, and nothing else.
pub async fn push_tag(folder: &Path, remote: &str, tag: &str) -> Result<(), GitError> {
    let reference = format!("refs/tags/{tag}");
    let arguments = ["push", "--no-follow-tags", "--", remote, reference.as_str()];
    output(folder, Call::remote(&arguments).in_front()).await.map(drop)
}

/// Returns where the checkout that holds a folder keeps what.
pub async fn layout(folder: &Path) -> Result<Layout, GitError> {
    let top = path(folder, &["--show-toplevel"]).await?;
    // A relative `core.hooksPath` counts from the top folder, where git starts hooks.
    let hooks = path(&top, &["--git-path", "hooks"]).await?;
    let common = path(&top, &["--git-common-dir"]).await?;
    Ok(Layout { common: top.join(common), hooks: top.join(hooks), top })
}

async fn path(folder: &Path, question: &[&str]) -> Result<PathBuf, GitError> {
    use std::os::unix::ffi::OsStrExt as _;
    let arguments = [&["rev-parse"], question].concat();
    let printed = output(folder, Call::local(&arguments)).await?;
    let printed = printed.strip_suffix(b"\n").unwrap_or(&printed);
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(printed)))
}
