//! Sending files: into a staging folder first, and under their names when they are whole.

use std::io::SeekFrom;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{CHUNK, FileKind, Folder, WINDOW, drain};
use crate::model::sync::Stamp;
use crate::remote::RemoteError;
use crate::remote::packet::{Packet, kind};
use crate::remote::session::{self, refused};

/// What is sent, and where it comes to be.
#[derive(Debug, Clone, Copy)]
pub struct Upload<'a> {
    /// The file on this host.
    pub source: &'a Path,
    /// The version of it that is sent.
    pub stamp: Stamp,
    /// Its name in the folder.
    pub name: &'a Path,
    /// The version that it replaces there.
    pub replaces: Option<Stamp>,
    /// Where it stands until it is whole, relative to the folder.
    pub part: &'a Path,
}

impl Folder {
    /// Sends a file into its staging place, after what that holds already. `progress` is told how
    /// many bytes went.
    ///
    /// # Errors
    /// It cannot be read, is another version by now, or cannot be written there.
    pub async fn send(
        &mut self,
        upload: Upload<'_>,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), RemoteError> {
        const WRITE: u32 = 2;
        const CREATE: u32 = 8;
        const TRUNCATE: u32 = 16;
        let local = |error| RemoteError::local(upload.source, error);
        let part = self.base.join(upload.part);
        let there = self.attributes(&part).await?.map_or(0, |found| found.stamp.size);
        let (from, flags) = if there <= upload.stamp.size { (there, 0) } else { (0, TRUNCATE) };
        let bytes = part.as_os_str().as_bytes();
        let fill =
            |packet: Packet| packet.text(bytes).number(WRITE | CREATE | flags).permissions(0o644);
        let opened = self.session.ask(kind::OPEN, fill).await?;
        if let Some(status) = opened.status() {
            return Err(refused("write", &part.display().to_string(), status));
        }
        let handle = self.handle_of(&opened).await?;
        let mut source = tokio::fs::File::open(upload.source).await.map_err(local)?;
        source.seek(SeekFrom::Start(from)).await.map_err(local)?;
        progress(from);
        let mut offset = from;
        while offset < upload.stamp.size {
            let length = u64::from(CHUNK).min(upload.stamp.size - offset);
            let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
            source.read_exact(&mut chunk).await.map_err(local)?;
            self.session
                .send(kind::WRITE, |packet| packet.text(&handle).long(offset).text(&chunk))
                .await?;
            offset += length;
            progress(length);
            while self.session.waiting() >= WINDOW {
                self.written(&part).await?;
            }
        }
        while self.session.waiting() > 0 {
            self.written(&part).await?;
        }
        self.make_durable(&handle).await?;
        self.close(&handle).await
    }

    /// Gives what was sent its time and then its name, if what it replaces is still the same.
    /// Returns the stamp that it has there.
    ///
    /// # Errors
    /// It did not arrive whole, or another version has this name by now.
    pub async fn put_in_place(&mut self, upload: Upload<'_>) -> Result<Stamp, RemoteError> {
        let (part, target) = (self.base.join(upload.part), self.base.join(upload.name));
        let arrived = self.attributes(&part).await?;
        let shown = upload.name.display().to_string();
        if arrived.is_none_or(|arrived| arrived.stamp.size != upload.stamp.size) {
            return Err(RemoteError::Changed(shown));
        }
        let seconds = u32::try_from(upload.stamp.seconds).unwrap_or(0);
        let bytes = part.as_os_str().as_bytes().to_owned();
        self.must(kind::SETSTAT, "date", &part, |packet| packet.text(&bytes).times(seconds))
            .await?;
        if let Some(parent) = upload.name.parent().filter(|parent| *parent != Path::new("")) {
            self.make_folders(parent, &self.base.clone()).await?;
        }
        let now = self.attributes(&target).await?;
        if now.map(|now| now.stamp) != upload.replaces {
            return Err(RemoteError::Changed(shown));
        }
        self.rename(&part, &target, upload.replaces.is_some()).await?;
        let placed = self.attributes(&target).await?;
        placed.map(|placed| placed.stamp).ok_or(RemoteError::Changed(shown))
    }

    /// Makes a folder that parts of files are sent to, and what is missing above it below the
    /// project's root.
    ///
    /// # Errors
    /// One cannot be made.
    pub async fn make_staging(&mut self, staging: &Path) -> Result<(), RemoteError> {
        let whole = self.base.join(staging);
        let (root, base) = (self.root.clone(), self.base.clone());
        match whole.strip_prefix(&root) {
            Ok(inside) => self.make_folders(inside, &root).await,
            // The folder is a link that leads out of the root, so that it is there.
            Err(_) => self.make_folders(staging, &base).await,
        }
    }

    /// Makes the folders of a relative path below a folder that is there.
    async fn make_folders(&mut self, inside: &Path, below: &Path) -> Result<(), RemoteError> {
        let mut path = below.to_owned();
        for component in inside.components() {
            path.push(component);
            let bytes = path.as_os_str().as_bytes().to_owned();
            let made = self.session.ask(kind::MKDIR, |packet| packet.text(&bytes).no_attributes());
            let Some(status) = made.await?.status().filter(|(code, _)| *code != session::OK) else {
                continue;
            };
            // Version 3 does not say that it is there already; a link to a folder will do.
            let real = self.real_path(&path).await?;
            let there = self.attributes(&real).await?;
            if there.is_none_or(|there| there.kind != FileKind::Folder) {
                return Err(refused("create", &path.display().to_string(), status));
            }
        }
        Ok(())
    }

    /// Removes a staging folder with all that it holds. One that is missing is no error.
    ///
    /// # Errors
    /// The connection broke. What cannot be removed stays.
    pub async fn clear(&mut self, staging: &Path) -> Result<(), RemoteError> {
        let mut folders = vec![self.base.join(staging)];
        let mut emptied: Vec<PathBuf> = Vec::new();
        while let Some(folder) = folders.pop() {
            for (name, attributes) in self.entries(&folder).await? {
                let path = folder.join(name);
                if attributes.kind == FileKind::Folder {
                    folders.push(path);
                } else {
                    self.try_to_remove(kind::REMOVE, &path).await?;
                }
            }
            emptied.push(folder);
        }
        for folder in emptied.iter().rev() {
            self.try_to_remove(kind::RMDIR, folder).await?;
        }
        Ok(())
    }

    /// Returns the bytes that are free where the folder is, if the server says so.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn free_space(&mut self) -> Result<Option<u64>, RemoteError> {
        const EXTENSION: &str = "statvfs@openssh.com";
        if !self.session.has(EXTENSION) {
            return Ok(None);
        }
        let path = self.base.as_os_str().as_bytes().to_owned();
        let fill = |packet: Packet| packet.text(EXTENSION.as_bytes()).text(&path);
        let reply = self.session.ask(kind::EXTENDED, fill).await?;
        if reply.kind != kind::EXTENDED_REPLY {
            return Ok(None);
        }
        let mut fields = reply.fields();
        let [_, unit, _, _, available] = [(); 5].map(|()| fields.long());
        Ok(unit.zip(available).map(|(unit, available)| unit.saturating_mul(available)))
    }

    async fn written(&mut self, part: &Path) -> Result<(), RemoteError> {
        match self.session.answer().await?.status() {
            Some((session::OK, _)) => Ok(()),
            Some(status) => {
                drain(&mut self.session).await?;
                Err(refused("write", &part.display().to_string(), status))
            }
            None => Err(self.session.nonsense().await),
        }
    }

    async fn make_durable(&mut self, handle: &[u8]) -> Result<(), RemoteError> {
        const EXTENSION: &str = "fsync@openssh.com";
        if self.session.has(EXTENSION) {
            let fill = |packet: Packet| packet.text(EXTENSION.as_bytes()).text(handle);
            self.session.ask(kind::EXTENDED, fill).await?;
        }
        Ok(())
    }

    async fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> Result<(), RemoteError> {
        const EXTENSION: &str = "posix-rename@openssh.com";
        let old = from.as_os_str().as_bytes().to_owned();
        let new = to.as_os_str().as_bytes().to_owned();
        // The protocol's own renaming never replaces, which is right for a new file.
        if replace {
            let fill = |packet: Packet| packet.text(EXTENSION.as_bytes()).text(&old).text(&new);
            return self.must(kind::EXTENDED, "replace", to, fill).await;
        }
        self.must(kind::RENAME, "name", to, |packet| packet.text(&old).text(&new)).await
    }

    async fn must(
        &mut self,
        kind: u8,
        what: &str,
        path: &Path,
        fill: impl FnOnce(Packet) -> Packet,
    ) -> Result<(), RemoteError> {
        match self.session.ask(kind, fill).await?.status() {
            Some((session::OK, _)) => Ok(()),
            Some((session::UNSUPPORTED, _)) => Err(RemoteError::Refused {
                what: format!("cannot {what} `{}`", path.display()),
                why: "its sftp server is not OpenSSH's; install rsync or OpenSSH there".to_owned(),
            }),
            Some(status) => Err(refused(what, &path.display().to_string(), status)),
            None => Err(self.session.nonsense().await),
        }
    }

    async fn try_to_remove(&mut self, kind: u8, path: &Path) -> Result<(), RemoteError> {
        let bytes = path.as_os_str().as_bytes().to_owned();
        let reply = self.session.ask(kind, |packet| packet.text(&bytes)).await?;
        match reply.status() {
            None | Some((session::OK | session::NO_SUCH_FILE, _)) => {}
            Some((_, why)) => tracing::debug!(path = %path.display(), why, "it stays there"),
        }
        Ok(())
    }
}
