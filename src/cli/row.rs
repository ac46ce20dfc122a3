//! `row`: a run's row as Markdown, for logs that are edited by hand.

use crate::daemon::{load_settings, row};

use super::Common;
use super::gate::named_run;
use super::output::{Outcome, Output};
use super::terminal::clean;

/// Arguments of `row`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The columns are those of the table in your experiment log. What stands in the run's row there is
kept, and what is known fills its empty cells. Nothing is written, and no daemon is needed.

Examples:
  runscribe row RUN
  runscribe row RUN --header         with the header of the table above it")]
pub(super) struct Arguments {
    /// The run id; the path of its folder will do
    run: String,
    /// Print the table's header as well
    #[arg(long)]
    header: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let run = named_run(&arguments.run)?;
    let text = row::row(&settings, &run)?;
    let header = text.header.iter().filter(|_| arguments.header);
    for line in header.chain([&text.row]) {
        output.line(&clean(line))?;
    }
    Ok(())
}
