//! What is remembered of the last synchronization with a place: one JSON file for each.

use std::fs::{self, File, TryLockError};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::model::sync::{Remembered, Stamp, SyncMemory};

use super::super::whole_file;

/// The form of the file.
const VERSION: u32 = 1;

/// Where the memory of one place is kept, and the parts of files that come from it.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    /// `<state_dir>/sync`.
    folder: PathBuf,
    /// A short name of the place and of this checkout.
    key: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    place: String,
    files: Vec<StoredFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredFile {
    name: String,
    here: StoredStamp,
    there: StoredStamp,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    theirs_kept_here: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ours_kept_there: bool,
}

/// Size, seconds and nanoseconds.
type StoredStamp = (u64, i64, u32);

impl Shelf {
    /// Returns the shelf of a place, such as `k@odin:/home/k/reports`, and a checkout.
    pub(super) fn new(state: &Path, place: &str, checkout: &Path) -> Self {
        let mut hash = Sha256::new();
        for part in [place.as_bytes(), b"\0", checkout.as_os_str().as_bytes()] {
            hash.update(part);
        }
        let digest = hash.finalize().first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let host = place.split(':').next().unwrap_or_default();
        let host: String =
            host.chars().map(|c| if is_plain(c) { c } else { '_' }).take(64).collect();
        Self { folder: state.join("sync"), key: format!("{host}-{digest:08x}") }
    }

    /// Makes the folder for parts with one of this name in it.
    pub(super) fn make_parts(&self, inner: &str) -> anyhow::Result<()> {
        let parts = self.parts();
        fs::create_dir_all(parts.join(inner))
            .with_context(|| format!("cannot create `{}`", parts.display()))
    }

    /// Removes the folder for parts; what cannot be removed stays for the next time.
    pub(super) fn remove_parts(&self) {
        let parts = self.parts();
        if let Err(error) = fs::remove_dir_all(&parts)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(path = %parts.display(), %error, "parts stay");
        }
    }

    /// Returns the name of the folder on the other host in which files stand until they are whole.
    pub(super) fn staging(&self, own_host: &str) -> PathBuf {
        let digest = self.key.rsplit('-').next().unwrap_or_default();
        let host = own_host.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        PathBuf::from(format!(".runscribe-sync-{host}-{digest}"))
    }

    /// Returns the folder on this host for the same.
    pub(super) fn parts(&self) -> PathBuf {
        self.folder.join(format!("{}.parts", self.key))
    }

    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.key))
    }

    /// Keeps other synchronizations of this checkout away for as long as the file is held.
    pub(super) fn lock(&self) -> anyhow::Result<File> {
        let path = self.folder.join("lock");
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("cannot create `{}`", self.folder.display()))?;
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("cannot open `{}`", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                bail!("another `runscribe sync` is at work in this project; wait for its end")
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock `{}`", path.display()))
            }
        }
    }

    /// Reads what is remembered; nothing if this is the first time.
    pub(super) fn read(&self) -> anyhow::Result<SyncMemory> {
        let path = self.file();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(SyncMemory::new());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read `{}`", path.display()));
            }
        };
        let advice = || {
            let path = path.display();
            format!(
                "`{path}` is not understood: move it away, then the newer version of each file wins"
            )
        };
        let stored: Stored = serde_json::from_slice(&text).with_context(advice)?;
        if stored.version != VERSION {
            bail!("{} (version {})", advice(), stored.version);
        }
        Ok(stored.files.iter().map(remembered).collect())
    }

    /// Replaces what is remembered.
    pub(super) fn write(&self, place: &str, memory: &SyncMemory) -> anyhow::Result<()> {
        let files = memory.iter().map(|(name, known)| stored(name, *known)).collect();
        let stored = Stored { version: VERSION, place: place.to_owned(), files };
        let path = self.file();
        let mut text = serde_json::to_vec(&stored)?;
        text.push(b'\n');
        whole_file::write(&path, &text)
            .with_context(|| format!("cannot write `{}`", path.display()))
    }
}

fn stored(name: &Path, known: Remembered) -> StoredFile {
    let stamp = |stamp: Stamp| (stamp.size, stamp.seconds, stamp.nanoseconds);
    StoredFile {
        name: encode(name),
        here: stamp(known.here),
        there: stamp(known.there),
        theirs_kept_here: known.theirs_here,
        ours_kept_there: known.ours_there,
    }
}

fn remembered(stored: &StoredFile) -> (PathBuf, Remembered) {
    let stamp = |(size, seconds, nanoseconds)| Stamp { size, seconds, nanoseconds };
    let known = Remembered {
        here: stamp(stored.here),
        there: stamp(stored.there),
        theirs_here: stored.theirs_kept_here,
        ours_there: stored.ours_kept_there,
    };
    (decode(&stored.name), known)
}

/// Writes a name as text: `%` and bytes that are no UTF-8 as `%` and two digits.
fn encode(name: &Path) -> String {
    let mut text = String::new();
    for chunk in name.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        text.extend(chunk.invalid().iter().map(|byte| format!("%{byte:02X}")));
    }
    text
}

fn decode(text: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let escaped = byte.filter(|_| first == b'%');
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_whatever_the_names_are() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path(), "k@odin:/x y", Path::new("/p"));
        assert_eq!(shelf.read().unwrap(), SyncMemory::new());
        let _lock = shelf.lock().unwrap();
        assert!(shelf.lock().unwrap_err().to_string().contains("another `runscribe sync`"));
        let stamp = |size| Stamp { size, seconds: 1_764_173_700, nanoseconds: 5 };
        let known = Remembered { ours_there: true, ..Remembered::equal(stamp(1), stamp(2)) };
        let names: [&[u8]; 4] = [b"a b/x.csv", b"100%25.csv", b"\xff\n.csv", "żółw".as_bytes()];
        let memory: SyncMemory =
            names.iter().map(|name| (PathBuf::from(OsStr::from_bytes(name)), known)).collect();
        shelf.write("k@odin:/x y", &memory).unwrap();
        assert_eq!(shelf.read().unwrap(), memory);
        let file = shelf.file();
        assert!(file.file_name().unwrap().to_str().unwrap().starts_with("k_odin-"));
        fs::write(&file, "{").unwrap();
        assert!(shelf.read().unwrap_err().to_string().contains("move it away"));
        let other = Shelf::new(folder.path(), "k@odin:/x y", Path::new("/q"));
        assert_ne!(other.file(), file);
    }
}
