//! The only function that writes a user's file: atomically, and never over a save that it has not
//! seen.
//!
//! The new text is written beside the file and exchanged with it in one step; what comes back is
//! compared with what was edited. A difference means that a person saved in between: the exchange
//! is taken back and the caller edits anew. At no moment does the path lead to nothing or to half
//! a text, and no text is unlinked that is not known to be superseded.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::attributes::copy_extended_attributes;
use super::late::Displaced;
use super::lock::FolderLock;
use super::reading;
use super::renaming::{exchange_paths, rename_if_free};

pub use super::reading::Document;

/// The end of the name of a text that is being written beside its file.
pub(super) const PART_ENDING: &str = ".runscribe-part";
/// The end of the name of a whole text that is about to be exchanged, or just was.
pub(super) const SWAP_ENDING: &str = ".runscribe-swap";

/// Returns whether a file is what a write that was cut off left beside its document.
pub fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b".")
        && [PART_ENDING, SWAP_ENDING].iter().any(|end| name.ends_with(end.as_bytes()))
}
/// How often an exchange is taken back before the other text is set aside for a person.
const GIVE_BACK_AT_MOST: u32 = 8;

/// A file that was replaced.
#[derive(Debug)]
pub struct Replaced {
    /// The old file, which another program may have had open; `None` if there was no file.
    pub displaced: Option<Displaced>,
}

/// Why a file was not replaced. It is as it was, or as a person saved it since.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// It is not what was edited any more: read it again and redo the edit.
    #[error("the file was changed meanwhile")]
    Changed,
    /// Another runscribe replaces a file of that folder right now.
    #[error("another runscribe writes in the same folder right now")]
    Busy,
    /// It must not or cannot be written until a person does something.
    #[error("{0}")]
    Held(String),
    /// The operating system refuses for another reason.
    #[error("cannot write `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
}

/// Replaces a file by a new text if it is still as it was read; `None` expects that there is no
/// file.
///
/// Mode, owner and extended attributes are kept, a symbolic link stays and its target is
/// replaced. The text is durable when this returns.
pub fn replace(
    path: &Path,
    expected: Option<&Document>,
    new: &[u8],
) -> Result<Replaced, ReplaceError> {
    let target = resolve(path)?;
    let folder = target.parent().unwrap_or(Path::new("/")).to_owned();
    let place = Place { target, folder };
    let _lock = match FolderLock::try_acquire(&place.folder) {
        Ok(FolderLock::Busy) => return Err(ReplaceError::Busy),
        Ok(lock) => lock,
        Err(error) => return Err(place.refused(error)),
    };
    match expected {
        None => place.create(new),
        Some(expected) => place.exchange(expected, &Text::of(new)),
    }
}

/// Reads a document that may be replaced, `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Document>, ReplaceError> {
    reading::read(path).map_err(ReplaceError::Held)
}

/// Returns the file that a path leads to. It need not exist, its folder has to.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, ReplaceError> {
    let io_error = |source| ReplaceError::Io { path: path.to_owned(), source };
    match fs::canonicalize(path) {
        Ok(target) => return Ok(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(error)),
    }
    if fs::symlink_metadata(path).is_ok() {
        let reason = format!("`{}` is a symbolic link that leads to nothing", path.display());
        return Err(ReplaceError::Held(reason));
    }
    let name = path.file_name().ok_or_else(|| io_error(io::ErrorKind::InvalidInput.into()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).map_err(io_error)?;
    Ok(folder.join(name))
}

/// A short fingerprint of a text, for names only: it tells after a crash which text it was.
///
/// The mixing is that of rustc's `FxHasher`, over words of eight bytes in four chains, because
/// each step of a chain waits for the one before: fast, the same in every version of this program,
/// and of no use against an adversary.
pub(super) fn fingerprint(text: &[u8]) -> u64 {
    let mix =
        |state: u64, word: u64| (state.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    let (blocks, rest) = text.as_chunks::<32>();
    let mut chains = [text.len() as u64, 0, 0, 0];
    for block in blocks {
        for (chain, word) in chains.iter_mut().zip(block.as_chunks::<8>().0) {
            *chain = mix(*chain, u64::from_le_bytes(*word));
        }
    }
    let state = chains.into_iter().fold(0, mix);
    rest.iter().fold(state, |state, &byte| mix(state, u64::from(byte)))
}

/// A text that is to be written, with its fingerprint.
#[derive(Debug)]
struct Text<'a> {
    bytes: &'a [u8],
    fingerprint: u64,
}

impl<'a> Text<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, fingerprint: fingerprint(bytes) }
    }
}

/// A text beside the file, removed when it is no longer needed.
#[derive(Debug)]
struct Beside {
    path: PathBuf,
    armed: bool,
}

impl Beside {
    /// Leaves the text where it is from now on.
    fn keep(mut self) {
        self.armed = false;
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // What cannot be removed now is swept at the next start.
        if self.armed
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "a temporary file stays");
        }
    }
}

/// A file to be replaced, links resolved.
#[derive(Debug)]
struct Place {
    target: PathBuf,
    folder: PathBuf,
}

impl Place {
    /// Creates the file with this text unless there is one.
    fn create(&self, new: &[u8]) -> Result<Replaced, ReplaceError> {
        let part = self.write_part(new, None)?;
        match rename_if_free(&part.path, &self.target) {
            Ok(()) => part.keep(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(ReplaceError::Changed);
            }
            Err(error) => return Err(self.refused(error)),
        }
        self.sync_folder()?;
        Ok(Replaced { displaced: None })
    }

    /// Exchanges the file's text for a new one if it is the expected one.
    fn exchange(&self, expected: &Document, new: &Text<'_>) -> Result<Replaced, ReplaceError> {
        let old = File::open(&self.target).map_err(|error| self.refused(error))?;
        let metadata = old.metadata().map_err(|error| self.refused(error))?;
        if !metadata.is_file() {
            let reason = format!("`{}` is not a regular file", self.target.display());
            return Err(ReplaceError::Held(reason));
        }
        if metadata.mode() & 0o222 == 0 {
            // Exchanging needs no right to write the file itself, but its owner has said no.
            return Err(ReplaceError::Held(format!(
                "`{}` is read-only: make it writable (`chmod u+w`) to have it edited",
                self.target.display()
            )));
        }
        self.check_unchanged(expected)?;
        let part = self.write_part(new.bytes, Some((&old, &metadata)))?;
        let swap = self.swap_name(fingerprint(&expected.text), new.fingerprint);
        fs::rename(&part.path, &swap).map_err(|error| self.refused(error))?;
        part.keep();
        let swap = Beside { path: swap, armed: true };
        // Writing took its time. What was saved meanwhile is better not exchanged at all: for a
        // moment a program that reads the file would get our text and not its own.
        self.check_unchanged(expected)?;
        match exchange_paths(&swap.path, &self.target) {
            Ok(()) => self.settle(swap, &expected.text, new),
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                self.rename_over(swap, (&expected.text, old), new)
            }
            Err(errno) => Err(self.refused(errno.into())),
        }
    }

    /// Checks that nobody has saved since the document was read.
    ///
    /// Two saves within one tick of the file system's clock look the same. They cost nothing here:
    /// the exchange brings out the text itself, and that is compared.
    fn check_unchanged(&self, expected: &Document) -> Result<(), ReplaceError> {
        let now = reading::stamp(&self.target).map_err(ReplaceError::Held)?;
        if now == Some(expected.stamp) { Ok(()) } else { Err(ReplaceError::Changed) }
    }

    /// Looks at the text that the exchange brought out.
    fn settle(
        &self,
        swap: Beside,
        expected: &[u8],
        new: &Text<'_>,
    ) -> Result<Replaced, ReplaceError> {
        let displaced = File::open(&swap.path)
            .and_then(|file| Displaced::compare(file, expected, new.fingerprint));
        match displaced {
            Ok((displaced, None)) => {
                drop(swap);
                self.sync_folder()?;
                Ok(Replaced { displaced: Some(displaced) })
            }
            Ok((_, other)) => Err(self.give_back(swap, other, new.bytes)),
            Err(_) => Err(self.give_back(swap, None, new.bytes)),
        }
    }

    /// Puts a person's text, which the exchange brought out, back into its place.
    ///
    /// Somebody may save once more in that moment. Then this exchange brings out the newer text,
    /// and goes on until the newest is in place. Whether that one builds on the older or on ours
    /// cannot be known, so the older one is kept where a person sees it.
    fn give_back(&self, swap: Beside, text: Option<Vec<u8>>, new: &[u8]) -> ReplaceError {
        let mut in_place = Some(new.to_vec());
        let mut outside = text;
        for _ in 0..GIVE_BACK_AT_MOST {
            match exchange_paths(&swap.path, &self.target) {
                Ok(()) => {}
                // The file was moved away, as some editors do before they write the new one.
                Err(Errno::NOENT) => match rename_if_free(&swap.path, &self.target) {
                    Ok(()) => {
                        swap.keep();
                        return ReplaceError::Changed;
                    }
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                    Err(_) => break,
                },
                Err(_) => break,
            }
            let brought_out = reading::read(&swap.path).ok().flatten().map(|read| read.text);
            if brought_out.as_deref() == Some(new) {
                return self.sync_folder().err().unwrap_or(ReplaceError::Changed);
            }
            if brought_out.is_some() && brought_out == in_place {
                break;
            }
            in_place = outside;
            outside = brought_out;
        }
        set_aside(swap, &self.target)
    }

    /// Replaces the file where the file system cannot exchange, after a last comparison.
    fn rename_over(
        &self,
        swap: Beside,
        (expected, old): (&[u8], File),
        new: &Text<'_>,
    ) -> Result<Replaced, ReplaceError> {
        let (displaced, other) = Displaced::compare(old, expected, new.fingerprint)
            .map_err(|error| self.refused(error))?;
        let now = reading::read(&self.target).map_err(ReplaceError::Held)?;
        if other.is_some() || now.is_none_or(|now| now.text != expected) {
            return Err(ReplaceError::Changed);
        }
        fs::rename(&swap.path, &self.target).map_err(|error| self.refused(error))?;
        swap.keep();
        self.sync_folder()?;
        Ok(Replaced { displaced: Some(displaced) })
    }

    /// Writes a text beside the file, with the attributes of the old one if there is one.
    fn write_part(
        &self,
        text: &[u8],
        old: Option<(&File, &Metadata)>,
    ) -> Result<Beside, ReplaceError> {
        let path = self.folder.join(format!(".{}{PART_ENDING}", unique()));
        // Until it has the old file's mode, nobody else may read it.
        let mode = if old.is_some() { 0o600 } else { 0o666 };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .map_err(|error| self.refused(error))?;
        let part = Beside { path, armed: true };
        file.write_all(text).map_err(|error| self.refused(error))?;
        if let Some((old, metadata)) = old {
            self.copy_attributes(&file, old, metadata)?;
        }
        file.sync_all().map_err(|error| self.refused(error))?;
        Ok(part)
    }

    fn copy_attributes(
        &self,
        file: &File,
        old: &File,
        metadata: &Metadata,
    ) -> Result<(), ReplaceError> {
        let part = file.metadata().map_err(|error| self.refused(error))?;
        let owner = (metadata.uid(), metadata.gid());
        if (part.uid(), part.gid()) != owner {
            std::os::unix::fs::fchown(file, Some(owner.0), Some(owner.1)).map_err(|_| {
                ReplaceError::Held(format!(
                    "`{}` belongs to user {} and group {}, which could not be kept: run runscribe \
                     as that user, or give the file to the user that runs it",
                    self.target.display(),
                    owner.0,
                    owner.1
                ))
            })?;
        }
        // The owner comes first: changing it clears bits of the mode.
        let mode = Permissions::from_mode(metadata.mode() & 0o7777);
        file.set_permissions(mode).map_err(|error| self.refused(error))?;
        copy_extended_attributes(file, old).map_err(|error| self.refused(error))
    }

    /// Returns a name beside the file that tells, after a crash, the file and the two texts.
    fn swap_name(&self, expected: u64, new: u64) -> PathBuf {
        let mut name = std::ffi::OsString::from(".");
        name.push(self.target.file_name().unwrap_or_default());
        name.push(format!(".{expected:016x}-{new:016x}-{}{SWAP_ENDING}", unique()));
        self.folder.join(name)
    }

    fn sync_folder(&self) -> Result<(), ReplaceError> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.refused(error))
    }

    /// Translates a refusal of the operating system, with advice where there is one.
    fn refused(&self, source: io::Error) -> ReplaceError {
        let (target, folder) = (self.target.display(), self.folder.display());
        match source.kind() {
            // The file or its name is gone since it was read.
            io::ErrorKind::NotFound => ReplaceError::Changed,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ReplaceError::Held(format!("no space is left to write `{target}`: free some"))
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                ReplaceError::Held(format!("`{target}` is on a read-only file system"))
            }
            io::ErrorKind::PermissionDenied => ReplaceError::Held(format!(
                "permission denied for `{target}`: let the user that runs runscribe write the \
                 file and its folder `{folder}`"
            )),
            _ => ReplaceError::Io { path: self.target.clone(), source },
        }
    }
}

/// Makes a text of unclear standing visible beside the file; never unlinks it.
pub(super) fn set_aside_path(hidden: &Path, target: &Path) -> io::Result<PathBuf> {
    for number in 1..1000_u32 {
        let mut name = target.as_os_str().to_owned();
        name.push(format!(".saved-by-runscribe-{number}"));
        let visible = PathBuf::from(name);
        match rename_if_free(hidden, &visible) {
            Ok(()) => {
                tracing::error!(
                    path = %visible.display(),
                    "a save crossed an edit of this document and is kept beside it"
                );
                return Ok(visible);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Writes a text visibly beside a document whose place is taken by another one.
pub(super) fn keep_beside(path: &Path, text: &[u8]) -> Result<(), ReplaceError> {
    let target = resolve(path)?;
    let folder = target.parent().unwrap_or(Path::new("/")).to_owned();
    let place = Place { target, folder };
    let part = place.write_part(text, None)?;
    set_aside_path(&part.path, &place.target).map_err(|error| place.refused(error))?;
    part.keep();
    place.sync_folder()
}

fn set_aside(swap: Beside, target: &Path) -> ReplaceError {
    let kept = set_aside_path(&swap.path, target).unwrap_or_else(|_| swap.path.clone());
    swap.keep();
    ReplaceError::Held(format!(
        "`{}` was saved twice in the moment in which it was edited; one of the texts is kept as \
         `{}`: compare the two and remove it",
        target.display(),
        kept.display()
    ))
}

/// Returns a text that no other temporary file's name holds.
fn unique() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{:x}-{count:x}", std::process::id(), since.as_nanos())
}

#[cfg(test)]
mod tests;
