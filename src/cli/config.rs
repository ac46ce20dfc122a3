//! `config`: the effective settings.

use crate::settings::{load, render_effective};

use super::output::{Ended, Outcome, Output};
use super::{Common, exit};

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runscribe config                 every key, its value and where it comes from
  runscribe config --check         nothing but problems; exit 78 if there are any")]
pub(super) struct Arguments {
    /// Only check; print the problems
    #[arg(long)]
    check: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let loaded = load(&common.sources())
        .map_err(|problems| Ended::Failed(exit::CONFIGURATION, problems.to_string()))?;
    if arguments.check {
        return Ok(output.line("the configuration is valid")?);
    }
    Ok(output.text(&render_effective(&loaded))?)
}
