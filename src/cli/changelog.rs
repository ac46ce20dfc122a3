//! `changelog`: entries of the CHANGELOG.

use crate::audit::new_entry::Change;
use crate::daemon::discipline::{self, EntryRequest};
use crate::daemon::load_settings;

use super::Common;
use super::output::{Outcome, Output};
use super::todo::print_edit;

/// Arguments of `changelog`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Writes in the form that the newest entries have, newest first, and touches nothing else. A file that
is missing is created.

Example:
  runscribe changelog add --title 'Cross-attention only' --why 'the decoder saw its input twice' \\
    --what 'nn/diffusion.py: no self-attention' --tag arch/xattn-only --todo 6")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Add an entry of today
    Add(Add),
}

#[derive(Debug, clap::Args)]
struct Add {
    /// The title
    #[arg(long, value_name = "TEXT")]
    title: String,
    /// What changed, as 'path: text'; may be given several times
    #[arg(long, value_name = "CHANGE", required = true, value_parser = change)]
    what: Vec<Change>,
    /// Why it changed
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// The tag that holds it; it must exist
    #[arg(long)]
    tag: Option<String>,
    /// The task that it belongs to: its number or words of its title; it must exist
    #[arg(long)]
    todo: Option<String>,
    /// Print what would change, and write nothing
    #[arg(long)]
    dry_run: bool,
}

fn change(argument: &str) -> Result<Change, String> {
    Change::read(argument).ok_or_else(|| "write it as 'path: text'".to_owned())
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let Command::Add(add) = &arguments.command;
    let settings = load_settings::load(&common.sources())?.settings;
    let request = EntryRequest {
        title: add.title.clone(),
        changes: add.what.clone(),
        why: add.why.clone(),
        tag: add.tag.clone(),
        todo: add.todo.clone(),
    };
    let edited = discipline::add_entry(&settings, &request, add.dry_run).await?;
    print_edit(&edited, add.dry_run, output)
}
