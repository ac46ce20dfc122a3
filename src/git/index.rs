//! Git's index, read without running git and without its lock: which files it tracks, and what
//! they looked like when git last saw them.
//!
//! Source: git's `Documentation/gitformat-index.txt`, versions 2 to 4 with SHA-1 and SHA-256.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Larger indexes are not read: half a million files have 60 MB.
const LONGEST: u64 = 256 << 20;
/// Seconds, nanoseconds, device, inode, mode, owner, group and size before the object's name.
const STAT_BYTES: usize = 40;
const MODE_AT: usize = 24;
const SIZE_AT: usize = 36;
const CHANGED_AT: usize = 8;
/// Mode of a folder that a sparse index holds in place of its files.
const FOLDER: u32 = 0o40_000;

/// What the index says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracked {
    /// Git does not track it.
    No,
    /// It does, and the file had this modification time (seconds, nanoseconds) and the low 32
    /// bits of this size when git last compared it.
    Yes { modified: (u32, u32), size: u32 },
}

/// Returns whether git tracks a file; `path` is relative to the checkout, with `/`.
///
/// # Errors
/// The index cannot be read, or is of a form that is not known; the text says which.
pub(super) fn tracks(index: &Path, path: &[u8]) -> Result<Tracked, String> {
    let refused = |error: std::io::Error| format!("git's index cannot be read: {error}");
    let file = match File::open(index) {
        Ok(file) => file,
        // A repository without a first commit or `git add` has none.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Tracked::No),
        Err(error) => return Err(refused(error)),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes).map_err(refused)?;
    // The length of an object's name stands in the repository's configuration; a wrong one does
    // not lead through all entries to a known end.
    let found = [20, 32].into_iter().find_map(|name| search(&bytes, path, name));
    found.ok_or_else(|| "git's index has a form that runscribe does not know".to_owned())
}

/// Goes through all entries; `None` when they do not make sense.
fn search(bytes: &[u8], path: &[u8], object_name: usize) -> Option<Tracked> {
    let mut rest = bytes.strip_prefix(b"DIRC")?;
    let version = number(rest, 0)?;
    let entries = number(rest, 4)?;
    rest = rest.get(8..)?;
    if !(2..=4).contains(&version) {
        return None;
    }
    let mut name = Vec::new();
    let mut found = Tracked::No;
    for _ in 0..entries {
        let entry = rest;
        let flags_at = STAT_BYTES + object_name;
        let flags = u16::from_be_bytes(*entry.get(flags_at..)?.first_chunk()?);
        let is_extended = flags & 0x4000 != 0;
        let name_at = flags_at + if is_extended { 4 } else { 2 };
        let behind = entry.get(name_at..)?;
        let taken = if version == 4 {
            shared_name(behind, &mut name)?
        } else {
            let length = memchr::memchr(0, behind)?;
            name = behind.get(..length)?.to_vec();
            // One to eight zeros fill the entry up to a multiple of eight bytes.
            (name_at + length + 8) / 8 * 8 - name_at
        };
        rest = entry.get(name_at + taken..)?;
        if name == path || number(entry, MODE_AT)? == FOLDER && path.starts_with(&name) {
            let modified = (number(entry, CHANGED_AT)?, number(entry, CHANGED_AT + 4)?);
            found = Tracked::Yes { modified, size: number(entry, SIZE_AT)? };
        }
    }
    has_known_end(rest, object_name).then_some(found)
}

/// Reads a name of version 4, which tells how many bytes of the name before are not its own;
/// returns how many bytes that took.
fn shared_name(bytes: &[u8], name: &mut Vec<u8>) -> Option<usize> {
    let mut dropped = 0_usize;
    let mut at = 0;
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        dropped = dropped.checked_mul(128)?.checked_add(usize::from(byte & 0x7F))?;
        if byte & 0x80 == 0 {
            break;
        }
        dropped = dropped.checked_add(1)?;
    }
    let length = memchr::memchr(0, bytes.get(at..)?)?;
    name.truncate(name.len().checked_sub(dropped)?);
    name.extend_from_slice(bytes.get(at..at + length)?);
    Some(at + length + 1)
}

/// Goes through the extensions to the checksum. A split index, whose other half is in another
/// file, is not known.
fn has_known_end(mut rest: &[u8], checksum: usize) -> bool {
    while rest.len() > checksum {
        let Some(size) = number(rest, 4).and_then(|size| usize::try_from(size).ok()) else {
            return false;
        };
        if rest.starts_with(b"link") {
            return false;
        }
        let Some(behind) = size.checked_add(8).and_then(|next| rest.get(next..)) else {
            return false;
        };
        rest = behind;
    }
    rest.len() == checksum
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(folder);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
    }

    fn repository(init: &[&str], version: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &[&["init", "-q"], init].concat());
        git(folder.path(), &["config", "index.version", version]);
        let name = |length: usize| format!("docs/{}.md", "x".repeat(length));
        std::fs::create_dir(folder.path().join("docs")).unwrap();
        for length in 1..20 {
            std::fs::write(folder.path().join(name(length)), "text").unwrap();
        }
        std::fs::write(folder.path().join("docs/log.md"), "text").unwrap();
        git(folder.path(), &["add", "."]);
        git(folder.path(), &["update-index", "--skip-worktree", "docs/xxx.md"]);
        std::fs::write(folder.path().join("docs/new.md"), "text").unwrap();
        folder
    }

    #[test]
    fn what_git_tracks_is_found_in_every_version_of_its_index() {
        for init in [&[][..], &["--object-format=sha256"]] {
            for version in ["2", "3", "4"] {
                let folder = repository(init, version);
                let index = folder.path().join(".git/index");
                for length in 1..20 {
                    let path = format!("docs/{}.md", "x".repeat(length));
                    let found = tracks(&index, path.as_bytes()).unwrap();
                    assert!(matches!(found, Tracked::Yes { size: 4, .. }), "{version} {path}");
                }
                for path in ["docs/new.md", "docs/x", "docs", "", "docs/log.md.old"] {
                    let found = tracks(&index, path.as_bytes());
                    assert_eq!(found, Ok(Tracked::No), "{version} {path}");
                }
            }
        }
    }

    #[test]
    fn an_index_that_is_not_understood_is_an_error_and_a_missing_one_is_empty() {
        let folder = repository(&[], "2");
        let index = folder.path().join(".git/index");
        assert_eq!(tracks(&folder.path().join("none"), b"a"), Ok(Tracked::No));
        let whole = std::fs::read(&index).unwrap();
        for cut in [0, 3, 11, 40, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&index, whole.get(..cut).unwrap()).unwrap();
            assert!(tracks(&index, b"docs/log.md").is_err(), "{cut}");
        }
        std::fs::write(&index, &whole).unwrap();
        git(folder.path(), &["update-index", "--split-index"]);
        assert!(tracks(&index, b"docs/log.md").is_err());
    }
}
