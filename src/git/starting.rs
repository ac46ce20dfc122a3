//! What the beginning of a training asks of git: what is changed, untracked files included, and which
//! tags there are.

use std::path::Path;

use super::command::{Call, GitError, output};

/// A tag, and the commit that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTag {
    /// Its name without `refs/tags/`.
    pub name: String,
    /// The commit, whole.
    pub commit: String,
}

/// Returns what is not as HEAD has it, relative to the top folder: whether it is tracked, and its
/// name. A folder of which nothing is tracked stands for all that it holds.
pub async fn changes(folder: &Path) -> Result<Vec<(bool, String)>, GitError> {
    let arguments = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=normal"];
    let printed = output(folder, Call::local(&arguments)).await?;
    let records = printed.split(|byte| *byte == 0).filter_map(|record| {
        let name = String::from_utf8_lossy(record.get(3..)?).into_owned();
        Some((!record.starts_with(b"??"), name))
    });
    Ok(records.collect())
}

/// Returns a file as HEAD has it; its path is relative to the top folder.
pub async fn committed(folder: &Path, path: &str) -> Result<Vec<u8>, GitError> {
    let object = format!("HEAD:{path}");
    output(folder, Call::local(&["cat-file", "blob", object.as_str()])).await
}

/// Returns all tags.
pub async fn tags(folder: &Path) -> Result<Vec<NamedTag>, GitError> {
    let format = "--format=%(refname:strip=2) %(objectname) %(*objectname)";
    let printed = output(folder, Call::local(&["for-each-ref", format, "refs/tags"])).await?;
    let text = String::from_utf8_lossy(&printed);
    let tags = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        // The commit of an annotated tag stands behind the tag's own hash.
        Some(NamedTag { name, commit: words.next_back()?.to_owned() })
    });
    Ok(tags.collect())
}
