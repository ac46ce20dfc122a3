//! Words of other machines: paths that exist on one computer only.

use super::finding::Finding;

/// Top-level folders that are somebody's home or mount, and nothing that a user has.
const FOLDERS: [&str; 2] = ["root", "work"];

/// Returns the lines of a file that hold an absolute path of such a folder.
pub(crate) fn foreign_paths(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter_map(|(index, line)| {
            let folder = FOLDERS.iter().find(|folder| names_folder(line, folder))?;
            let rule =
                format!("names an absolute path under `{folder}`, which is one machine's own");
            let advice = "write a neutral path, such as `/srv/project`";
            Some(Finding::new(path, index + 1, rule, advice))
        })
        .collect()
}

fn names_folder(line: &[u8], folder: &str) -> bool {
    let needle = format!("/{folder}/");
    let windows = line.windows(needle.len()).enumerate();
    windows.filter(|(_, window)| *window == needle.as_bytes()).any(|(at, _)| {
        let before = at.checked_sub(1).and_then(|before| line.get(before));
        before.is_none_or(|byte| begins_a_path_after(*byte))
    })
}

/// Behind a name, a dot, a variable or a placeholder the path is relative to something.
fn begins_a_path_after(byte: u8) -> bool {
    !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b'-' | b'.' | b'~' | b'}' | b')' | b'>')
}
