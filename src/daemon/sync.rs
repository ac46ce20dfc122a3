//! Evaluation reports between this checkout and another host: what would be done, and doing it.

mod carrying;
mod memory;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::host;
use crate::model::sync::{Direction, Step, SyncMemory, SyncPlan};
use crate::remote::folder::Folder;
use crate::remote::{Place, RemoteError, local, rsync};
use crate::schedule::sync::{self as planning, Sides};
use crate::settings::Settings;
use carrying::blocking;
use memory::Shelf;

pub use carrying::{Done, Progress};

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// `[user@]host[:path]`.
    pub place: &'a str,
    /// Which way.
    pub direction: Direction,
    /// Nothing is to be written, not even the lock.
    pub dry_run: bool,
}

/// A synchronization that was planned and can be carried out.
#[derive(Debug)]
pub struct Prepared {
    /// What it does.
    pub plan: SyncPlan,
    here: PathBuf,
    folder: Folder,
    place: String,
    memory: SyncMemory,
    shelf: Shelf,
    staging: PathBuf,
    without_rsync: Option<&'static str>,
    _lock: Option<File>,
}

/// Connects, lists both sides and decides what is to be done. Writes nothing but the lock.
///
/// # Errors
/// The place is none, cannot be reached or has no such folder, or another synchronization is at
/// work.
pub async fn prepare(settings: &Settings, wanted: Wanted<'_>) -> anyhow::Result<Prepared> {
    let place = Place::parse(wanted.place).map_err(|problem| anyhow!(problem))?;
    let (root, here) = (&settings.paths.root, settings.paths.evaluation.clone());
    let inside = here.strip_prefix(root).unwrap_or(&here);
    let goes_there = wanted.direction != Direction::Download;
    let mut folder =
        Folder::open(&place, root, inside, goes_there).await.map_err(|error| match error {
            RemoteError::NotFound(path) => anyhow!(
                "`{}` has no folder `{path}`: name the project's root there, as in `{}:/path`",
                place.login,
                place.login
            ),
            other => other.into(),
        })?;
    let name = format!("{}:{}", place.login, folder.path().display());
    let shelf = Shelf::new(&settings.paths.state, &name, &here);
    let (kept, is_locked) = (shelf.clone(), !wanted.dry_run);
    let (lock, memory) = blocking(move || {
        let lock = if is_locked { Some(kept.lock()?) } else { None };
        Ok((lock, kept.read()?))
    })
    .await?;
    let there = folder.list().await?;
    let listed = here.clone();
    let ours = blocking(move || Ok(local::list(&listed)?)).await?;
    let own_host = host::host_name();
    let sides = Sides {
        here: &ours,
        there: &there,
        memory: &memory,
        name_here: &own_host,
        name_there: place.host(),
    };
    let same = same_contents(&mut folder, &here, planning::to_compare(sides)).await?;
    let plan = planning::plan(sides, &same, wanted.direction);
    let is_needed = plan.steps.iter().any(|step| !matches!(step, Step::KeepBoth(_)));
    let without_rsync = if is_needed { rsync::missing(&place.login).await } else { None };
    let staging = shelf.staging(&own_host);
    let place = name;
    Ok(Prepared { plan, here, folder, place, memory, shelf, staging, without_rsync, _lock: lock })
}

impl Prepared {
    /// Returns the folder on this host.
    pub fn here(&self) -> &Path {
        &self.here
    }

    /// Returns the place on the other host, such as `k@odin:/home/k/reports`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Returns what moves the files, and why it is not rsync if it is not.
    pub fn transport(&self) -> String {
        match self.without_rsync {
            None => "rsync".to_owned(),
            Some(why) => format!("sftp ({why})"),
        }
    }

    /// Ends the connection without doing anything.
    pub async fn close(self) {
        self.folder.close_connection().await;
    }
}

/// Reads the files of both sides, and returns those with the same contents.
async fn same_contents(
    folder: &mut Folder,
    here: &Path,
    names: Vec<PathBuf>,
) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut same = BTreeSet::new();
    for name in names {
        let path = here.join(&name);
        let ours = blocking(move || Ok(local::digest(&path)?)).await?;
        if folder.digest(&name).await? == ours {
            same.insert(name);
        }
    }
    Ok(same)
}
