//! Settings for commands and the daemon alike.

use std::path::PathBuf;

use crate::settings::{self, Loaded, Sources};

use super::{Fatal, environment};

/// Where the machine's own configuration lies.
const SYSTEM_FILE: &str = "/etc/runscribe/config.toml";

/// Returns the sources as this process sees them.
pub fn sources(
    root: Option<PathBuf>,
    config: Option<PathBuf>,
    socket: Option<PathBuf>,
    system_file: Option<PathBuf>,
) -> Sources {
    Sources {
        system_file: system_file.unwrap_or_else(|| PathBuf::from(SYSTEM_FILE)),
        root,
        config,
        socket,
        environment: environment(),
        current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    }
}

/// Loads and checks the settings.
///
/// # Errors
/// All problems of all layers at once.
pub fn load(sources: &Sources) -> Result<Loaded, Fatal> {
    settings::load(sources).map_err(Fatal::Configuration)
}
