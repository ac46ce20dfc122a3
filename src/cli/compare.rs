//! `compare`: two runs at equal steps.

use crate::daemon::{load_settings, row};

use super::Common;
use super::gate::named_run;
use super::output::{Outcome, Output};

/// Arguments of `compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A Markdown table: rank, similarity, losses and verdict at each step at which a checkpoint of both was
analyzed. Reads the journal and needs no daemon.

Example:
  runscribe compare RUN OTHER_RUN")]
pub(super) struct Arguments {
    /// A run id; the path of its folder will do
    run: String,
    /// Another one
    other: String,
}

pub(super) fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let (run, other) = (named_run(&arguments.run)?, named_run(&arguments.other)?);
    output.text(&row::comparison(&settings, &run, &other)?)?;
    Ok(())
}
