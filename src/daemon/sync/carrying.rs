//! Carrying a planned synchronization out: parts first, names last, and what was done remembered.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::Prepared;
use crate::host;
use crate::model::sync::{Conflict, Remembered, Stamp, Step, Transfer};
use crate::record::replace::{self, ReplaceError};
use crate::remote::folder::Upload;
use crate::remote::rsync::{self, Way};
use crate::remote::{RemoteError, local};

/// How often what was done is remembered while more is to come.
const REMEMBER: Duration = Duration::from_secs(2);
/// The folder of parts in which rsync works.
const TREE: &str = "tree";

/// How far the transfer is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Moved, or found to be moved by an earlier attempt.
    pub done: u64,
    /// To be moved in all.
    pub total: u64,
}

/// Who is told of progress.
type Listener<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that came.
    pub downloaded: u64,
    /// Files that went.
    pub uploaded: u64,
    /// Files of which both versions were kept.
    pub conflicts: u64,
    /// Why single files were not done.
    pub problems: Vec<String>,
}

impl Prepared {
    /// Does what was planned. What cannot be done with a single file does not keep the others.
    ///
    /// # Errors
    /// The connection broke, a disk is full, or the memory cannot be written. What was done until
    /// then is remembered, and a half moved file is continued by the next attempt.
    pub async fn carry_out(mut self, listener: Listener<'_>) -> anyhow::Result<Done> {
        self.memory.extend(self.plan.settled.iter().cloned());
        let mut done = Done::default();
        let ended = self.steps(&mut done, listener).await;
        let remembered = self.remember().await;
        ended?;
        remembered?;
        if done.problems.is_empty() {
            self.folder.clear(&self.staging).await?;
            let kept = self.shelf.clone();
            blocking(move || {
                kept.remove_parts();
                Ok(())
            })
            .await?;
        }
        self.folder.close_connection().await;
        Ok(done)
    }

    async fn steps(&mut self, done: &mut Done, listener: Listener<'_>) -> anyhow::Result<()> {
        let steps = std::mem::take(&mut self.plan.steps);
        if steps.is_empty() {
            return Ok(());
        }
        self.check_space(&steps).await?;
        let kept = self.shelf.clone();
        blocking(move || kept.make_parts(TREE)).await?;
        if steps.iter().any(|step| bytes(step).1.is_some()) {
            self.folder.make_staging(&self.staging.join(TREE)).await?;
        }
        let total = steps.iter().map(bytes).map(|(down, up)| down.unwrap_or(0) + up.unwrap_or(0));
        let mut progress = Progress { done: 0, total: total.sum() };
        listener(progress);
        if self.without_rsync.is_none() {
            self.move_in_bulk(&steps, &mut progress, listener).await?;
        }
        let mut last = Instant::now();
        for step in &steps {
            let mut count = |bytes: u64| {
                progress.done = progress.done.saturating_add(bytes).min(progress.total);
                listener(progress);
            };
            match self.step(step, &mut count).await {
                Ok((name, known)) => {
                    self.memory.insert(name, known);
                    match step {
                        Step::Download(_) => done.downloaded += 1,
                        Step::Upload(_) => done.uploaded += 1,
                        Step::KeepBoth(_) => done.conflicts += 1,
                    }
                }
                Err(error @ (RemoteError::Connection(_) | RemoteError::Local { .. })) => {
                    return Err(error.into());
                }
                Err(error) => done.problems.push(error.to_string()),
            }
            if last.elapsed() > REMEMBER {
                self.remember().await?;
                last = Instant::now();
            }
        }
        Ok(())
    }

    async fn remember(&self) -> anyhow::Result<()> {
        let (kept, place, memory) = (self.shelf.clone(), self.place.clone(), self.memory.clone());
        blocking(move || kept.write(&place, &memory)).await
    }

    async fn check_space(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        let coming: u64 = steps.iter().filter_map(|step| bytes(step).0).sum();
        let going: u64 = steps.iter().filter_map(|step| bytes(step).1).sum();
        // Each file is there twice while it gets its name.
        let free = host::disk_space(&self.here).map(|(free, _)| free);
        if free.is_some_and(|free| free < coming) {
            bail!("no space: {coming} bytes are to come to `{}`; make room", self.here.display());
        }
        if going > 0 && self.folder.free_space().await?.is_some_and(|free| free < going) {
            bail!("no space: {going} bytes are to go to `{}`; make room there", self.place);
        }
        Ok(())
    }

    /// Has rsync move all that keeps its name, each way at once, into the parts.
    async fn move_in_bulk(
        &mut self,
        steps: &[Step],
        progress: &mut Progress,
        listener: Listener<'_>,
    ) -> anyhow::Result<()> {
        let coming: Vec<&Transfer> = steps.iter().filter_map(download).collect();
        let going: Vec<&Transfer> = steps.iter().filter_map(upload).collect();
        let (tree, staged) =
            (self.shelf.parts().join(TREE), self.folder.path().join(self.staging.join(TREE)));
        let here = Way::Here { from: self.folder.path(), to: &tree };
        let there = Way::There { from: &self.here, to: &staged };
        for (way, files) in [(here, coming), (there, going)] {
            if files.is_empty() {
                continue;
            }
            let names: Vec<&Path> = files.iter().map(|one| one.name.as_path()).collect();
            let before = progress.done;
            let mut follow = |moved: u64| {
                progress.done = before.saturating_add(moved).min(progress.total);
                listener(*progress);
            };
            rsync::copy(self.folder.login(), way, &names, &mut follow).await?;
            let all: u64 = files.iter().map(|one| one.stamp.size).sum();
            progress.done = before.saturating_add(all).min(progress.total);
            listener(*progress);
        }
        Ok(())
    }

    async fn step(
        &mut self,
        step: &Step,
        count: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(PathBuf, Remembered), RemoteError> {
        match step {
            Step::Download(one) => {
                let part = if self.without_rsync.is_some() {
                    self.fetch(&one.name, one.stamp, count).await?
                } else {
                    self.shelf.parts().join(TREE).join(&one.name)
                };
                let here = self.place_here(part, &one.name, (one.stamp, one.replaces)).await?;
                Ok((one.name.clone(), Remembered::equal(here, one.stamp)))
            }
            Step::Upload(one) => {
                let part = if self.without_rsync.is_some() {
                    self.staging.join(part_name(&one.name, one.stamp))
                } else {
                    self.staging.join(TREE).join(&one.name)
                };
                let names = (one.name.as_path(), one.name.as_path());
                let there = self.send(names, (one.stamp, one.replaces), &part, count).await?;
                Ok((one.name.clone(), Remembered::equal(one.stamp, there)))
            }
            Step::KeepBoth(conflict) => self.keep_both(conflict, count).await,
        }
    }

    async fn keep_both(
        &mut self,
        conflict: &Conflict,
        count: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(PathBuf, Remembered), RemoteError> {
        let Conflict { name, here, there, theirs_here, ours_there, .. } = conflict;
        if let Some(copy) = theirs_here.as_ref().filter(|copy| !copy.is_there) {
            let part = self.fetch(name, *there, count).await?;
            self.place_here(part, &copy.name, (*there, None)).await?;
        }
        if let Some(copy) = ours_there.as_ref().filter(|copy| !copy.is_there) {
            let part = self.staging.join(part_name(&copy.name, *here));
            self.send_part(name, (*here, &part), count).await?;
            self.put_in_place((name, &copy.name), (*here, None), &part).await?;
        }
        let known = Remembered {
            theirs_here: theirs_here.is_some(),
            ours_there: ours_there.is_some(),
            ..Remembered::equal(*here, *there)
        };
        Ok((name.clone(), known))
    }

    /// Brings a file into its part.
    async fn fetch(
        &mut self,
        name: &Path,
        stamp: Stamp,
        count: &mut (dyn FnMut(u64) + Send),
    ) -> Result<PathBuf, RemoteError> {
        let part = self.shelf.parts().join(part_name(name, stamp));
        self.folder.fetch(name, stamp, &part, count).await?;
        Ok(part)
    }

    async fn place_here(
        &self,
        part: PathBuf,
        name: &Path,
        (stamp, replaces): (Stamp, Option<Stamp>),
    ) -> Result<Stamp, RemoteError> {
        let target = self.here.join(name);
        let shown = name.display().to_string();
        let placed = spawn_blocking(move || place(&part, &target, (stamp, replaces))).await;
        placed.unwrap_or(Err(RemoteError::Changed(shown)))
    }

    async fn send(
        &mut self,
        names: (&Path, &Path),
        stamps: (Stamp, Option<Stamp>),
        part: &Path,
        count: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Stamp, RemoteError> {
        if self.without_rsync.is_some() {
            self.send_part(names.0, (stamps.0, part), count).await?;
        }
        self.put_in_place(names, stamps, part).await
    }

    async fn send_part(
        &mut self,
        source: &Path,
        (stamp, part): (Stamp, &Path),
        count: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), RemoteError> {
        let source = self.here.join(source);
        let upload = Upload { source: &source, stamp, name: part, replaces: None, part };
        self.folder.send(upload, count).await
    }

    async fn put_in_place(
        &mut self,
        (source, name): (&Path, &Path),
        (stamp, replaces): (Stamp, Option<Stamp>),
        part: &Path,
    ) -> Result<Stamp, RemoteError> {
        let source = self.here.join(source);
        if local::stamp(&source)? != Some(stamp) {
            return Err(RemoteError::Changed(name.display().to_string()));
        }
        let upload = Upload { source: &source, stamp, name, replaces, part };
        self.folder.put_in_place(upload).await
    }
}

/// Does what waits for a disk on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    spawn_blocking(work).await.context("work on a disk ended early")?
}

/// Gives a whole part its name on this host, if what it replaces is still the same.
fn place(
    part: &Path,
    target: &Path,
    (stamp, replaces): (Stamp, Option<Stamp>),
) -> Result<Stamp, RemoteError> {
    let shown = || target.display().to_string();
    let failed =
        |path: &Path, source| RemoteError::Local { path: path.display().to_string(), source };
    if local::stamp(part)?.is_none_or(|part| part.size != stamp.size) {
        return Err(RemoteError::Changed(shown()));
    }
    let text = fs::read(part).map_err(|error| failed(part, error))?;
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    }
    let refused = |error: ReplaceError| match error {
        ReplaceError::Io { path, source } => {
            RemoteError::Local { path: path.display().to_string(), source }
        }
        ReplaceError::Changed => RemoteError::Changed(shown()),
        other => RemoteError::Refused {
            what: format!("cannot write `{}`", shown()),
            why: other.to_string(),
        },
    };
    if target.is_dir() {
        let why = "a folder of this name is in the way".to_owned();
        return Err(RemoteError::Refused { what: format!("cannot write `{}`", shown()), why });
    }
    let before = replace::read(target).map_err(refused)?;
    // Looked at after it was read, so that what is replaced is what was planned.
    if local::stamp(target)? != replaces {
        return Err(RemoteError::Changed(shown()));
    }
    replace::replace(target, before.as_ref(), &text).map_err(refused)?;
    local::set_time(target, stamp)?;
    if let Err(error) = fs::remove_file(part) {
        tracing::debug!(path = %part.display(), %error, "a part stays");
    }
    local::stamp(target)?.ok_or_else(|| RemoteError::Changed(shown()))
}

/// Names the part of one version of a file: a part of another version is never continued.
fn part_name(name: &Path, stamp: Stamp) -> String {
    let hash = Sha256::digest(name.as_os_str().as_encoded_bytes());
    let hash = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    format!("{hash:016x}.{}-{}.part", stamp.size, stamp.seconds)
}

/// Returns how many bytes of a step come, and how many go.
fn bytes(step: &Step) -> (Option<u64>, Option<u64>) {
    match step {
        Step::Download(one) => (Some(one.stamp.size), None),
        Step::Upload(one) => (None, Some(one.stamp.size)),
        Step::KeepBoth(both) => {
            let size = |copy: &Option<crate::model::sync::Copy>, stamp: Stamp| {
                copy.as_ref().filter(|copy| !copy.is_there).map(|_| stamp.size)
            };
            (size(&both.theirs_here, both.there), size(&both.ours_there, both.here))
        }
    }
}

fn download(step: &Step) -> Option<&Transfer> {
    if let Step::Download(one) = step { Some(one) } else { None }
}

fn upload(step: &Step) -> Option<&Transfer> {
    if let Step::Upload(one) = step { Some(one) } else { None }
}
