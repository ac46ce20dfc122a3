//! What a crash left beside a document: removed if it is ours, given back if it is not.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::lock::FolderLock;
use super::reading;
use super::renaming::exchange_paths;
use super::replace::{PART_ENDING, SWAP_ENDING, fingerprint, resolve, set_aside_path};

/// Without a lock, a temporary file that is younger than this may still be in use.
const OLD_ENOUGH: Duration = Duration::from_hours(1);

/// What a sweep did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    /// How many leftovers were removed.
    pub(super) removed: u64,
    /// Documents that got a person's text back.
    pub(super) restored: Vec<PathBuf>,
    /// Texts of unclear standing that lie visibly beside their document now.
    pub(super) set_aside: Vec<PathBuf>,
}

/// Cleans the folder of a document of what a crash left there, and logs what there was. A daemon does
/// so at its start; whoever edits a document in another folder does it before.
pub fn beside(document: &Path) {
    let document = resolve(document).unwrap_or_else(|_| document.to_owned());
    if let Some(folder) = document.parent().filter(|folder| folder.is_dir()) {
        within(folder);
    }
}

/// Does the same for a folder that is there.
pub(super) fn within(folder: &Path) {
    match sweep(folder) {
        Ok(swept) if swept == Swept::default() => {}
        Ok(swept) => tracing::warn!(?swept, "cleaned up after a crash"),
        Err(error) => tracing::warn!(folder = %folder.display(), %error, "cannot clean up"),
    }
}

/// Cleans a folder of the temporary files of an earlier life. Only names of our own pattern are
/// touched, and nothing while another runscribe writes there.
///
/// A crash between the exchange and the comparison leaves the displaced text under a name that
/// holds the fingerprints of both texts. If it is neither of them, a person wrote it.
pub(super) fn sweep(folder: &Path) -> io::Result<Swept> {
    let mut swept = Swept::default();
    let locked = match FolderLock::try_acquire(folder)? {
        FolderLock::Busy => return Ok(swept),
        FolderLock::Unsupported => None,
        held @ FolderLock::Held { .. } => Some(held),
    };
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if locked.is_none() && !is_old(&entry) {
            continue;
        }
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(PART_ENDING.as_bytes()) {
            fs::remove_file(&path)?;
            swept.removed += 1;
        } else if let Some(swap) = Swap::parse(&name) {
            swap.settle(folder, &path, &mut swept)?;
        }
    }
    drop(locked);
    Ok(swept)
}

fn is_old(entry: &fs::DirEntry) -> bool {
    let changed = entry.metadata().and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > OLD_ENOUGH))
}

/// The name of a text that was about to be exchanged, or just was.
#[derive(Debug)]
struct Swap {
    document: OsString,
    expected: u64,
    new: u64,
}

impl Swap {
    /// Parses `.<document>.<expected>-<new>-<unique>.runscribe-swap`.
    fn parse(name: &OsStr) -> Option<Self> {
        let inner = name.as_bytes().strip_prefix(b".")?.strip_suffix(SWAP_ENDING.as_bytes())?;
        let dot = inner.iter().rposition(|&byte| byte == b'.')?;
        let (document, prints) = inner.split_at_checked(dot)?;
        let prints = std::str::from_utf8(prints.get(1..)?).ok()?;
        let mut prints = prints.splitn(3, '-');
        let (expected, new) = (prints.next()?, prints.next()?);
        let is_print = |text: &str| text.len() == 16;
        if !is_print(expected) || !is_print(new) || document.is_empty() {
            return None;
        }
        Some(Self {
            document: OsStr::from_bytes(document).to_owned(),
            expected: u64::from_str_radix(expected, 16).ok()?,
            new: u64::from_str_radix(new, 16).ok()?,
        })
    }

    fn settle(&self, folder: &Path, path: &Path, swept: &mut Swept) -> io::Result<()> {
        let document = folder.join(&self.document);
        let print =
            |path: &Path| reading::read(path).ok().flatten().map(|read| fingerprint(&read.text));
        let left = print(path);
        if left.is_some_and(|left| left == self.expected || left == self.new) {
            fs::remove_file(path)?;
            swept.removed += 1;
            return Ok(());
        }
        if print(&document) == Some(self.new) && exchange_paths(path, &document).is_ok() {
            if print(path) == Some(self.new) {
                fs::remove_file(path)?;
                swept.restored.push(document);
                return Ok(());
            }
            // Somebody saved in that moment: the text that came out is the newest one.
            exchange_paths(path, &document)?;
        }
        swept.set_aside.push(set_aside_path(path, &document)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// The name under which a crash leaves a text between exchange and comparison.
    fn swap_name(document: &str, expected: &str, new: &str) -> String {
        let (expected, new) = (fingerprint(expected.as_bytes()), fingerprint(new.as_bytes()));
        format!(".{document}.{expected:016x}-{new:016x}-1f-2-0{SWAP_ENDING}")
    }

    #[test]
    fn what_a_crash_left_is_removed_or_given_back() {
        // (left beside the log, in the log) → (in the log after, what else lies there)
        for (left, log, log_after, others) in [
            ("new", "old", "old", 0), // before the exchange
            ("old", "new", "new", 0), // after it, nobody saved
            ("person", "new", "person", 0),
            ("person", "newer save", "newer save", 1),
            ("old", "newer save", "newer save", 0),
        ] {
            let folder = TempDir::new().unwrap();
            let document = folder.path().join("master.log.md");
            fs::write(&document, log).unwrap();
            let name = swap_name("master.log.md", "old", "new");
            fs::write(folder.path().join(&name), left).unwrap();
            fs::write(folder.path().join(format!(".1-2-3{PART_ENDING}")), "half").unwrap();
            let swept = sweep(folder.path()).unwrap();
            assert_eq!(fs::read_to_string(&document).unwrap(), log_after, "{left} {log}");
            assert_eq!(swept.set_aside.len(), others);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1 + others);
            if let Some(kept) = swept.set_aside.first() {
                assert_eq!(fs::read_to_string(kept).unwrap(), left);
            }
        }
    }

    #[test]
    fn other_files_are_never_touched() {
        let folder = TempDir::new().unwrap();
        for name in
            [".log.md.swp", "x.runscribe-part", ".x.runscribe-swap", ".a.b-c.runscribe-swap"]
        {
            fs::write(folder.path().join(name), name).unwrap();
        }
        assert_eq!(sweep(folder.path()).unwrap(), Swept::default());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_folder_in_use_is_not_swept() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(format!(".1{PART_ENDING}")), "in use").unwrap();
        let lock = FolderLock::try_acquire(folder.path()).unwrap();
        assert_eq!(sweep(folder.path()).unwrap(), Swept::default());
        drop(lock);
        assert_eq!(sweep(folder.path()).unwrap().removed, 1);
    }
}
