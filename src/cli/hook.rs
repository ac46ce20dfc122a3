//! `hook`: git's `commit-msg` hook, which checks the prefixes of commits.

use std::path::PathBuf;

use crate::daemon::discipline::hook;
use crate::daemon::{executable, load_settings};

use super::output::{Ended, Outcome, Output};
use super::terminal::clean;
use super::todo::print_edit;
use super::{Common, exit};

/// Arguments of `hook`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prefixes are those of `commit_prefixes` under `[discipline]`; scopes like `fix(upload):`, merges and
reverts are fine. Another hook is never overwritten. `core.hooksPath` and linked working trees are
respected.

Examples:
  runscribe hook install --dry-run
  runscribe hook install
  runscribe hook remove

Exit codes: 0 done, 1 failed, 3 the message of the commit is not as agreed.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Put the hook into its place
    Install(Change),
    /// Take the hook away
    Remove(Change),
    /// Check the message in a file, as the hook does
    CommitMsg {
        /// The file that holds the message
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Change {
    /// Print what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    match &arguments.command {
        Command::Install(Change { dry_run }) => {
            let edited = hook::install(&settings, &executable(), *dry_run).await?;
            print_edit(&edited, *dry_run, output)
        }
        Command::Remove(Change { dry_run }) => {
            let edited = hook::remove(&settings, *dry_run).await?;
            if edited.difference.is_empty() {
                return print_edit(&edited, *dry_run, output);
            }
            let verb = if *dry_run { "would be removed" } else { "removed" };
            for line in edited.difference.lines() {
                output.line(&clean(line))?;
            }
            output.line(&clean(&format!("{verb}: {}", edited.path.display())))?;
            Ok(())
        }
        Command::CommitMsg { file } => hook::check_message(&settings, file)?
            .map_err(|problem| Ended::Failed(exit::FINDINGS, clean(&problem))),
    }
}
