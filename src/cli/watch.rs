//! `watch`: the daemon, in the foreground.

use crate::daemon::{self, Options, dry_run, load_settings};

use super::Common;
use super::output::{Outcome, Output};

/// Arguments of `watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runscribe watch --root ~/project              until Ctrl-C
  runscribe watch --root ~/project --dry-run    what a first pass would do
  runscribe watch --root ~/project --once       one full pass, for a cron job

Signals: TERM and INT stop cleanly (a second one at once), HUP reloads the configuration,
USR1 logs a summary.")]
pub(super) struct Arguments {
    /// Do one full pass (scan, analyze all that is queued, record, deliver) and exit
    #[arg(long, conflicts_with = "dry_run")]
    once: bool,
    /// Say what a first pass would do, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let sources = common.sources();
    if arguments.dry_run {
        let settings = load_settings::load(&sources)?.settings;
        let lines = dry_run::first_pass(&settings).await?;
        for line in lines {
            output.line(&line)?;
        }
        return Ok(());
    }
    // One large future for the daemon's whole life belongs on the heap.
    Ok(Box::pin(daemon::run(Options { sources, once: arguments.once })).await?)
}
