//! A folder of another host: what it holds, and its files' contents.

mod upload;

use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use super::packet::{Attributes, FileKind, kind};
use super::session::{self, Reply, Session, refused};
use super::{Place, RemoteError};
use crate::model::sync::{Listing, Stamp};

pub use upload::Upload;

/// Bytes that one request asks for or brings; every server takes as much.
const CHUNK: u32 = 32 << 10;
/// Requests that are under way at a time, so that a distant host is not waited for at each.
const WINDOW: usize = 32;
/// Folders below the listed one that are gone through.
const DEEPEST: usize = 8;
/// Files that are listed at most.
const MOST_FILES: usize = 200_000;

/// A folder of another host, over a connection of its own.
#[derive(Debug)]
pub struct Folder {
    session: Session,
    base: PathBuf,
    root: PathBuf,
}

impl Folder {
    /// Connects, and finds the folder `inside` of the project's root there; `root` is the root on
    /// this host. With `may_be_missing` the folder may not be there yet, the root must.
    ///
    /// # Errors
    /// The host cannot be reached, or has no such folder.
    pub async fn open(
        place: &Place,
        root: &Path,
        inside: &Path,
        may_be_missing: bool,
    ) -> Result<Self, RemoteError> {
        let session = Session::open(&place.login).await?;
        let mut folder = Self { session, base: PathBuf::new(), root: PathBuf::new() };
        let named = place.root.as_deref().unwrap_or(root);
        // A shell would do that; here nobody else does.
        let named = named.strip_prefix("~").unwrap_or(named);
        let named = if named.as_os_str().is_empty() { Path::new(".") } else { named };
        let root = folder.real_path(named).await?;
        folder.must_be_folder(&root).await?;
        folder.base = root.join(inside);
        folder.root = root;
        let is_there = folder.attributes(&folder.base.clone()).await?.is_some();
        if is_there || !may_be_missing {
            folder.base = folder.real_path(&folder.base.clone()).await?;
            folder.must_be_folder(&folder.base.clone()).await?;
        }
        Ok(folder)
    }

    /// Returns the folder's whole path on the other host.
    pub fn path(&self) -> &Path {
        &self.base
    }

    /// Returns what `ssh` was given.
    pub fn login(&self) -> &str {
        self.session.login()
    }

    /// Lists the regular files below the folder. Hidden ones, links, and names that are none are
    /// left out. A folder that is missing is empty.
    ///
    /// # Errors
    /// A folder cannot be read, or holds more than can be handled.
    pub async fn list(&mut self) -> Result<Listing, RemoteError> {
        let mut listing = Listing::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(inner) = folders.pop() {
            for (name, attributes) in self.entries(&self.base.join(&inner)).await? {
                let path = inner.join(&name);
                match attributes.kind {
                    _ if name.as_os_str().as_bytes().starts_with(b".") => {}
                    FileKind::File => {
                        listing.insert(path, attributes.stamp);
                    }
                    FileKind::Folder if inner.components().count() < DEEPEST => folders.push(path),
                    FileKind::Folder | FileKind::Other => {
                        tracing::debug!(path = %path.display(), "not a file; left out");
                    }
                }
            }
            if listing.len() > MOST_FILES {
                let what = format!("cannot list `{}` on the other host", self.base.display());
                let why = format!("more than {MOST_FILES} files");
                return Err(RemoteError::Refused { what, why });
            }
        }
        Ok(listing)
    }

    /// Returns the SHA-256 of a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn digest(&mut self, name: &Path) -> Result<[u8; 32], RemoteError> {
        let mut hash = Sha256::new();
        let (handle, attributes) = self.open_file(name).await?;
        let mut reading = Reading::new(0, attributes.stamp.size);
        while let Some(bytes) = reading.next(&mut self.session, (&handle, name)).await? {
            hash.update(bytes);
        }
        self.close(&handle).await?;
        Ok(hash.finalize().into())
    }

    /// Brings the version of a file with this stamp into a local file, after what that holds
    /// already, and gives it the version's time. `progress` is told how many bytes came.
    ///
    /// # Errors
    /// It cannot be read, is another version by now, or the local file cannot be written.
    pub async fn fetch(
        &mut self,
        name: &Path,
        stamp: Stamp,
        part: &Path,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), RemoteError> {
        let local = |error| RemoteError::local(part, error);
        let (handle, attributes) = self.open_file(name).await?;
        if attributes.stamp != stamp {
            self.close(&handle).await?;
            return Err(RemoteError::Changed(name.display().to_string()));
        }
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(part).await.map_err(local)?;
        let mut there = file.metadata().await.map_err(local)?.len();
        if there > stamp.size {
            file.set_len(0).await.map_err(local)?;
            there = 0;
        }
        progress(there);
        let mut reading = Reading::new(there, stamp.size);
        while let Some(bytes) = reading.next(&mut self.session, (&handle, name)).await? {
            file.write_all(&bytes).await.map_err(local)?;
            progress(bytes.len() as u64);
        }
        file.flush().await.map_err(local)?;
        let now = self.session.ask(kind::FSTAT, |packet| packet.text(&handle)).await?;
        self.close(&handle).await?;
        let (now, length) =
            (self.stat_of(name, &now).await?, file.metadata().await.map_err(local)?);
        if now.is_none_or(|now| now.stamp != stamp) || length.len() != stamp.size {
            return Err(RemoteError::Changed(name.display().to_string()));
        }
        Ok(())
    }

    /// Closes the connection.
    pub async fn close_connection(self) {
        self.session.close().await;
    }

    /// Returns what a path is, links not followed; `None` if there is nothing.
    async fn attributes(&mut self, path: &Path) -> Result<Option<Attributes>, RemoteError> {
        let bytes = path.as_os_str().as_bytes().to_owned();
        let reply = self.session.ask(kind::LSTAT, |packet| packet.text(&bytes)).await?;
        self.stat_of(path, &reply).await
    }

    async fn stat_of(
        &mut self,
        path: &Path,
        reply: &Reply,
    ) -> Result<Option<Attributes>, RemoteError> {
        match reply.status() {
            Some((session::NO_SUCH_FILE, _)) => Ok(None),
            Some(status) => Err(refused("look at", &path.display().to_string(), status)),
            None if reply.kind == kind::ATTRIBUTES => match reply.fields().attributes() {
                Some(attributes) => Ok(Some(attributes)),
                None => Err(self.session.nonsense().await),
            },
            None => Err(self.session.nonsense().await),
        }
    }

    async fn must_be_folder(&mut self, path: &Path) -> Result<(), RemoteError> {
        match self.attributes(path).await? {
            Some(attributes) if attributes.kind == FileKind::Folder => Ok(()),
            Some(_) => {
                let what = format!("cannot list `{}` on the other host", path.display());
                Err(RemoteError::Refused { what, why: "it is no folder".to_owned() })
            }
            None => Err(RemoteError::NotFound(path.display().to_string())),
        }
    }

    /// Resolves a path and its links on the other host; relative ones begin in the user's home.
    async fn real_path(&mut self, path: &Path) -> Result<PathBuf, RemoteError> {
        let bytes = path.as_os_str().as_bytes().to_owned();
        let reply = self.session.ask(kind::REALPATH, |packet| packet.text(&bytes)).await?;
        if let Some(status) = reply.status() {
            return Err(refused("find", &path.display().to_string(), status));
        }
        let mut fields = reply.fields();
        match (reply.kind, fields.number(), fields.text()) {
            (kind::NAME, Some(1..), Some(name)) => Ok(path_of(name)),
            _ => Err(self.session.nonsense().await),
        }
    }

    /// Returns the entries of one folder with names that can be those of files; none if it is
    /// missing.
    async fn entries(&mut self, path: &Path) -> Result<Vec<(PathBuf, Attributes)>, RemoteError> {
        let bytes = path.as_os_str().as_bytes().to_owned();
        let shown = path.display().to_string();
        let opened = self.session.ask(kind::OPENDIR, |packet| packet.text(&bytes)).await?;
        let handle = match opened.status() {
            Some((session::NO_SUCH_FILE, _)) => return Ok(Vec::new()),
            Some(status) => return Err(refused("list", &shown, status)),
            None => self.handle_of(&opened).await?,
        };
        let mut found = Vec::new();
        loop {
            let reply = self.session.ask(kind::READDIR, |packet| packet.text(&handle)).await?;
            match reply.status() {
                Some((session::END_OF_FILE, _)) => break,
                Some(status) => return Err(refused("list", &shown, status)),
                None if found.len() > MOST_FILES => break,
                None => {}
            }
            let Some(entries) = names(&reply) else { return Err(self.session.nonsense().await) };
            found.extend(entries);
        }
        self.close(&handle).await?;
        Ok(found)
    }

    async fn handle_of(&mut self, reply: &Reply) -> Result<Vec<u8>, RemoteError> {
        match reply.fields().text() {
            Some(handle) if reply.kind == kind::HANDLE => Ok(handle.to_owned()),
            _ => Err(self.session.nonsense().await),
        }
    }

    /// Opens a file for reading.
    async fn open_file(&mut self, name: &Path) -> Result<(Vec<u8>, Attributes), RemoteError> {
        const READ: u32 = 1;
        let path = self.base.join(name).into_os_string().into_vec();
        let fill = |packet: super::packet::Packet| packet.text(&path).number(READ).no_attributes();
        let opened = self.session.ask(kind::OPEN, fill).await?;
        if let Some(status) = opened.status() {
            return Err(refused("read", &name.display().to_string(), status));
        }
        let handle = self.handle_of(&opened).await?;
        let reply = self.session.ask(kind::FSTAT, |packet| packet.text(&handle)).await?;
        match self.stat_of(name, &reply).await? {
            Some(attributes) => Ok((handle, attributes)),
            None => Err(RemoteError::NotFound(name.display().to_string())),
        }
    }

    async fn close(&mut self, handle: &[u8]) -> Result<(), RemoteError> {
        self.session.ask(kind::CLOSE, |packet| packet.text(handle)).await.map(drop)
    }
}

/// A file that is read with several requests under way.
struct Reading {
    asked: u64,
    got: u64,
    size: u64,
}

impl Reading {
    fn new(from: u64, size: u64) -> Self {
        Self { asked: from, got: from, size }
    }

    /// Returns the next bytes; `None` after the last ones, or where the file has become shorter.
    async fn next(
        &mut self,
        session: &mut Session,
        (handle, name): (&[u8], &Path),
    ) -> Result<Option<Vec<u8>>, RemoteError> {
        while self.asked < self.size && session.waiting() < WINDOW {
            let length = u64::from(CHUNK).min(self.size - self.asked);
            let (offset, count) = (self.asked, u32::try_from(length).unwrap_or(CHUNK));
            session
                .send(kind::READ, |packet| packet.text(handle).long(offset).number(count))
                .await?;
            self.asked += length;
        }
        if session.waiting() == 0 {
            return Ok(None);
        }
        let expected = u64::from(CHUNK).min(self.size - self.got);
        let reply = session.answer().await?;
        let bytes = match reply.status() {
            Some((session::END_OF_FILE, _)) => Vec::new(),
            Some(status) => {
                drain(session).await?;
                return Err(refused("read", &name.display().to_string(), status));
            }
            None => match reply.fields().text() {
                Some(bytes) if reply.kind == kind::DATA => bytes.to_owned(),
                _ => return Err(session.nonsense().await),
            },
        };
        let count = bytes.len() as u64;
        self.got += count.min(expected);
        if count != expected {
            // What was asked for behind a gap is of no use.
            drain(session).await?;
            self.asked = if count == 0 { self.size } else { self.got };
        }
        Ok((count > 0).then_some(bytes))
    }
}

/// Takes the answers that are still under way.
async fn drain(session: &mut Session) -> Result<(), RemoteError> {
    while session.waiting() > 0 {
        session.answer().await?;
    }
    Ok(())
}

/// Reads the entries of a folder. A name with a slash in it would lead out of the folder.
fn names(reply: &Reply) -> Option<Vec<(PathBuf, Attributes)>> {
    if reply.kind != kind::NAME {
        return None;
    }
    let mut fields = reply.fields();
    let mut found = Vec::new();
    for _ in 0..fields.number()? {
        let (name, _, attributes) = (fields.text()?, fields.text()?, fields.attributes()?);
        let is_name = !name.is_empty() && !name.contains(&b'/') && !name.contains(&0);
        if is_name && name != b"." && name != b".." {
            found.push((path_of(name), attributes));
        }
    }
    Some(found)
}

fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}
