//! The notes on trainings that were begun, one file each in the state folder.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::model::begun::{BEGUN_FOLDER, BegunTraining};
use crate::settings::Settings;
use crate::watch;

use super::super::whole_file;

/// Returns all trainings that were begun, oldest first.
pub(super) fn read(settings: &Settings) -> anyhow::Result<Vec<BegunTraining>> {
    let folder = folder(settings);
    match fs::read_dir(&folder) {
        Ok(_) => Ok(watch::begun_trainings(&folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read `{}`", folder.display())),
    }
}

/// Writes a note, whole or not at all: the daemon reads it when it likes.
pub(super) fn write(settings: &Settings, begun: &BegunTraining) -> anyhow::Result<()> {
    let folder = folder(settings);
    let path = path(settings, begun, "json");
    let text = serde_json::to_vec_pretty(begun)?;
    let written = fs::create_dir_all(&folder).and_then(|()| whole_file::write(&path, &text));
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

/// Notes that the row of a training stands in the log: if it is gone later, a person removed it.
pub(super) fn note_row(settings: &Settings, begun: &BegunTraining) -> anyhow::Result<()> {
    let path = path(settings, begun, "row");
    File::create(&path).map(drop).with_context(|| format!("cannot write `{}`", path.display()))
}

/// Returns whether the row of a training was written once.
pub(super) fn has_row(settings: &Settings, begun: &BegunTraining) -> bool {
    path(settings, begun, "row").exists()
}

fn folder(settings: &Settings) -> PathBuf {
    settings.paths.state.join(BEGUN_FOLDER)
}

fn path(settings: &Settings, begun: &BegunTraining, ending: &str) -> PathBuf {
    folder(settings).join(format!("{}.{ending}", begun.tag.replace('/', "+")))
}
