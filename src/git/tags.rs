//! The names of tags, read from git's own files.

use std::path::Path;

/// Larger files of packed references are not read.
const LONGEST: u64 = 64 << 20;
/// Folders below `refs/tags` that are gone through, at most.
const DEEPEST: usize = 5;

/// Returns the names of all tags, sorted.
pub(super) fn names(common: &Path) -> Vec<String> {
    let mut names = packed(&common.join("packed-refs"));
    let loose = walkdir::WalkDir::new(common.join("refs/tags")).max_depth(DEEPEST);
    let files = loose.into_iter().filter_map(Result::ok).filter(|e| e.file_type().is_file());
    names.extend(files.filter_map(|entry| {
        let name = entry.path().strip_prefix(common.join("refs/tags")).ok()?.to_str()?;
        // Git writes a reference beside its place first.
        name.strip_suffix(".lock").is_none().then(|| name.to_owned())
    }));
    names.sort();
    names.dedup();
    names
}

/// Source of the form: git's `refs/packed-backend.c`.
fn packed(path: &Path) -> Vec<String> {
    let is_short = std::fs::metadata(path).is_ok_and(|metadata| metadata.len() <= LONGEST);
    let text = if is_short { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
    let text = String::from_utf8_lossy(&text);
    let names = text.lines().filter_map(|line| line.split_once(" refs/tags/"));
    names.map(|(_, name)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_and_packed_tags_are_read_once_each() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["train/b_20260223", "arch/x", "v1", "train/c_20260223.lock"] {
            let path = folder.path().join("refs/tags").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "54ee870\n").unwrap();
        }
        let text = "# pack-refs with: peeled\n54ee870 refs/tags/train/a-2\n^1234567\n\
                    54ee870 refs/tags/v1\n54ee870 refs/heads/main\n";
        std::fs::write(folder.path().join("packed-refs"), text).unwrap();
        assert_eq!(names(folder.path()), ["arch/x", "train/a-2", "train/b_20260223", "v1"]);
        assert!(names(&folder.path().join("none")).is_empty());
    }
}
