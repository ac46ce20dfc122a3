//! `adopt`: watches runs that were old at the first start.

use crate::publish::wire::Command;

use super::Common;
use super::gate::run_name;
use super::output::{Outcome, Output};
use super::queue::order;

/// Arguments of `adopt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
At the very first start, runs without a file younger than `analysis.adopt` are listed and not
analyzed. This has all of their checkpoints analyzed and recorded.

Examples:
  runscribe adopt RUN
  runscribe adopt --all

Needs the daemon.")]
pub(super) struct Arguments {
    /// Run ids; the paths of their folders will do
    #[arg(value_name = "RUN", required_unless_present = "all")]
    runs: Vec<String>,
    /// All old runs
    #[arg(long, conflicts_with = "runs")]
    all: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let runs = arguments.runs.iter().map(|run| run_name(run).to_owned()).collect();
    order(common, &Command::Adopt { runs, all: arguments.all }, output).await
}
