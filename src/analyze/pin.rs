//! Pins: hard-linked copies that rotation cannot pull away from a running analysis.

use std::io;
use std::path::{Path, PathBuf};

use super::reports;
use crate::model::analysis::AnalysisOrder;

/// Not linked: nobody analyzes it, and it is two thirds of a checkpoint's size.
const LEFT_OUT: &str = "optimizer.pt";

/// A folder to analyze: a pinned copy, removed when this is dropped, or the original.
#[derive(Debug)]
pub struct Pin {
    /// What the program gets as `{checkpoint}`.
    pub checkpoint: PathBuf,
    /// How it was made, for people.
    pub description: String,
    to_remove: Option<PathBuf>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let Some(folder) = &self.to_remove else { return };
        if let Err(error) = std::fs::remove_dir_all(folder) {
            tracing::warn!(%error, folder = %folder.display(), "cannot remove a pin");
        }
    }
}

/// Pins an order's checkpoint under `<state>/pins/<order>/<run id>/<folder name>`.
///
/// Where the file system refuses hard links (`EXDEV`, `EPERM`, `EMLINK`, …) it is analyzed in
/// place, and the description says why.
///
/// # Errors
/// The pins folder cannot be made, or the checkpoint cannot be listed.
pub fn make(order: &AnalysisOrder, state: &Path) -> io::Result<Pin> {
    let in_place = |why: &str| Pin {
        checkpoint: order.folder.clone(),
        description: format!("in place: {why}"),
        to_remove: None,
    };
    if !order.program.pin {
        return Ok(in_place("pinning is switched off"));
    }
    let own = state.join("pins").join(format!("{}-{}", std::process::id(), order.number));
    // A final model's folder bears the run's name, also where the run folder itself is the model.
    let name = order.folder.file_name().unwrap_or_default();
    let folder = own.join(order.checkpoint.run.as_str()).join(name);
    let pin = Pin { checkpoint: folder, description: "pinned".to_owned(), to_remove: Some(own) };
    std::fs::create_dir_all(&pin.checkpoint)?;
    match link_files(&order.folder, &pin.checkpoint)? {
        None => Ok(pin),
        Some(error) => Ok(in_place(&format!("cannot hard-link: {error}"))),
    }
}

/// Links the plain files of a folder. Returns the error of the link that the file system refused.
fn link_files(from: &Path, to: &Path) -> io::Result<Option<io::Error>> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() || entry.file_name() == LEFT_OUT {
            continue;
        }
        if kind.is_symlink() {
            return Ok(Some(io::Error::other(format!(
                "`{}` is a symbolic link",
                entry.file_name().to_string_lossy()
            ))));
        }
        match std::fs::hard_link(entry.path(), to.join(entry.file_name())) {
            Ok(()) => {}
            // Rotation took it meanwhile; the signature will tell whether it mattered.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}

/// Removes all pins: at the start of the daemon nobody uses one. Returns how many there were.
pub fn sweep(state: &Path) -> io::Result<u64> {
    reports::remove_all(&state.join("pins"), |pin| std::fs::remove_dir_all(pin))
}
