//! `todo`: the list of tasks.

use crate::daemon::discipline::{self, Edited};
use crate::daemon::load_settings;

use super::Common;
use super::output::{Outcome, Output};
use super::terminal::clean;

/// Arguments of `todo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A task is named by its number (`6`, `TODO 6`), by words of its title, or by its line (`line:12`). It
is marked in the form that the file itself uses, and nothing else is touched.

Examples:
  runscribe todo done 6                       by the commit that is checked out
  runscribe todo done 6 --commit 54ee870 --note 'rank 12.3'")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Mark a task done, with its day and its commit
    Done(Done),
}

#[derive(Debug, clap::Args)]
struct Done {
    /// Its number, words of its title, or `line:N`
    task: String,
    /// The commit that did it [default: HEAD]
    #[arg(long, value_name = "REV")]
    commit: Option<String>,
    /// A remark of one line
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    /// Print what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let Command::Done(done) = &arguments.command;
    let settings = load_settings::load(&common.sources())?.settings;
    let by = (done.commit.as_deref(), done.note.as_deref());
    let edited = discipline::mark_done(&settings, &done.task, by, done.dry_run).await?;
    print_edit(&edited, done.dry_run, output)
}

/// Prints what changed in a document, or would.
pub(super) fn print_edit(edited: &Edited, dry_run: bool, output: &mut Output) -> Outcome {
    for line in edited.difference.lines() {
        output.line(&clean(line))?;
    }
    let what = match (edited.difference.is_empty(), dry_run) {
        (true, _) => "unchanged",
        (false, true) => "would be written",
        (false, false) => "written",
    };
    output.line(&clean(&format!("{what}: {}", edited.path.display())))?;
    Ok(())
}
