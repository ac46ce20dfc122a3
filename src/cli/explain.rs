//! `explain`: what runscribe makes of a path, and why.

use std::path::PathBuf;

use crate::daemon::{explaining, load_settings};

use super::Common;
use super::output::{Outcome, Output};

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runscribe explain Cache/Training/RUN/checkpoint-5000
  runscribe explain Cache/logs/shell_diffusion_20260223_203320.log")]
pub(super) struct Arguments {
    /// A file or folder in the project
    path: PathBuf,
}

pub(super) fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    for line in explaining::explain(&settings, &arguments.path)? {
        output.line(&line)?;
    }
    Ok(())
}
