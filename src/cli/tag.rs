//! `tag`: annotated tags in the project's forms.

use crate::audit::conventions::TagKind;
use crate::daemon::discipline::{self, Tagged};
use crate::daemon::load_settings;

use super::Common;
use super::output::{Outcome, Output};
use super::terminal::clean;

/// Arguments of `tag`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The forms are those under `[discipline.tags]` of the configuration; the day comes by itself where a
form has one. A name that is wrong or taken is refused. A second tag of a day is given whole, with
`-2` at its end.

Examples:
  runscribe tag arch xattn-only --push          arch/xattn-only
  runscribe tag train diffusion_H512L6C128D2    train/diffusion_H512L6C128D2_20261126
  runscribe tag eval glue --dry-run")]
pub(super) struct Arguments {
    /// What it marks
    kind: Kind,
    /// What is tagged, or the whole name of the tag
    name: String,
    /// Push it to the remote, and nothing else
    #[arg(long)]
    push: bool,
    /// Print what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
}

/// What a tag marks.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// A state of the model's code
    Arch,
    /// The start of a training
    Train,
    /// An evaluation
    Eval,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let kind = match arguments.kind {
        Kind::Arch => TagKind::Arch,
        Kind::Train => TagKind::Train,
        Kind::Eval => TagKind::Eval,
    };
    let wanted = (kind, arguments.name.as_str());
    let tagged = discipline::tag(&settings, wanted, arguments.push, arguments.dry_run).await?;
    warn_of_changes(&tagged);
    let verb = if arguments.dry_run { "would be made" } else { "made" };
    let commit = &tagged.commit.short;
    let made = format!("{verb}: {} on {commit}, \"{}\"", tagged.tag, tagged.message.trim());
    output.line(&clean(&made))?;
    if let Some(remote) = &tagged.pushed {
        let verb = if arguments.dry_run { "would be pushed" } else { "pushed" };
        output.line(&clean(&format!("{verb}: to {remote}")))?;
    }
    Ok(())
}

/// Says which files a tag does not hold, because they are not committed.
pub(super) fn warn_of_changes(tagged: &Tagged) {
    if let Some(first) = tagged.changed.first() {
        let others = match tagged.changed.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        tracing::warn!("not part of the tag, because they are not committed: {first}{others}");
    }
}
