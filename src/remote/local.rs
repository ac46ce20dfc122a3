//! The folder on this host.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::RemoteError;
use crate::model::sync::{Listing, Stamp};

/// Folders below the listed one that are gone through.
const DEEPEST: usize = 9;

/// Lists the regular files below a folder; hidden ones and links are left out. A folder that is
/// missing is empty.
///
/// # Errors
/// Something cannot be read.
pub fn list(base: &Path) -> Result<Listing, RemoteError> {
    let mut listing = Listing::new();
    if !base.exists() {
        return Ok(listing);
    }
    let is_shown = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
    };
    let walk = walkdir::WalkDir::new(base).max_depth(DEEPEST).into_iter();
    for entry in walk.filter_entry(is_shown) {
        let read = entry.and_then(|entry| entry.metadata().map(|metadata| (entry, metadata)));
        let (entry, metadata) = match read {
            Ok(read) => read,
            // Somebody removed it meanwhile.
            Err(error) if error.io_error().is_some_and(is_missing) => continue,
            Err(error) => {
                let path = error.path().unwrap_or(base).to_owned();
                return Err(RemoteError::local(&path, error.into()));
            }
        };
        if metadata.is_file()
            && let Ok(name) = entry.path().strip_prefix(base)
        {
            listing.insert(name.to_owned(), stamp_of(&metadata));
        }
    }
    Ok(listing)
}

/// Returns a file's stamp; `None` if there is no such file.
///
/// # Errors
/// It cannot be looked at.
pub fn stamp(path: &Path) -> Result<Option<Stamp>, RemoteError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(stamp_of(&metadata))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(RemoteError::local(path, error)),
    }
}

/// Returns the SHA-256 of a file.
///
/// # Errors
/// It cannot be read.
pub fn digest(path: &Path) -> Result<[u8; 32], RemoteError> {
    let mut hash = Sha256::new();
    let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash));
    copied.map_err(|error| RemoteError::local(path, error))?;
    Ok(hash.finalize().into())
}

/// Gives a file the time of its version on the other host.
///
/// # Errors
/// It cannot be changed.
pub fn set_time(path: &Path, stamp: Stamp) -> Result<(), RemoteError> {
    let since = Duration::new(u64::try_from(stamp.seconds).unwrap_or(0), stamp.nanoseconds);
    let time = SystemTime::UNIX_EPOCH + since;
    let times = FileTimes::new().set_modified(time).set_accessed(time);
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_times(times)).map_err(|error| RemoteError::local(path, error))
}

fn stamp_of(metadata: &fs::Metadata) -> Stamp {
    let nanoseconds = u32::try_from(metadata.mtime_nsec()).unwrap_or(0);
    Stamp { size: metadata.size(), seconds: metadata.mtime(), nanoseconds }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn regular_files_are_listed_with_times_that_can_be_set() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("a b/.hidden")).unwrap();
        for name in ["a b/x.csv", "a b/.hidden/y.csv", ".z.csv"] {
            fs::write(path(name), "12").unwrap();
        }
        std::os::unix::fs::symlink("x.csv", path("a b/link.csv")).unwrap();
        let wanted = Stamp { size: 2, seconds: 1_764_173_700, nanoseconds: 0 };
        set_time(&path("a b/x.csv"), wanted).unwrap();
        let expected = Listing::from([(PathBuf::from("a b/x.csv"), wanted)]);
        assert_eq!(list(folder.path()).unwrap(), expected);
        assert_eq!(list(&path("none")).unwrap(), Listing::new());
        assert_eq!(stamp(&path("none")).unwrap(), None);
        assert_eq!(digest(&path(".z.csv")).unwrap(), digest(&path("a b/x.csv")).unwrap());
    }
}
