//! `begin`: a training's tag and its pending row, before it starts.

use std::path::PathBuf;

use crate::audit::scripts::Plan;
use crate::daemon::begin::{self, Wanted};
use crate::daemon::load_settings;

use super::Common;
use super::output::{Outcome, Output};
use super::terminal::clean;

/// Arguments of `begin`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Run it before you start the training. It looks at the checkout, the script, the Python program that
the script starts (which is read and never run), GPUs and disk; makes the annotated tag; and appends
a row to the experiment log whose conclusion says PENDING. The daemon gives the row the id of the
run when that appears. Whatever fails, the same command goes on where it stopped.

Examples:
  runscribe begin diffusion_H512L6C128D2 --script scripts/train_diffusion_multigpu.sh --dry-run
  runscribe begin diffusion_H512L6C128D2 --script scripts/train_diffusion_multigpu.sh --push")]
pub(super) struct Arguments {
    /// The run id without its time stamp: family and dimensions
    run: String,
    /// The script that starts the training
    #[arg(long, value_name = "PATH")]
    script: PathBuf,
    /// The data [default: as the script says]
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,
    /// Number of epochs [default: as the script says]
    #[arg(long, value_name = "N")]
    epochs: Option<String>,
    /// The losses on concepts [default: as the script says]
    #[arg(long, value_name = "TEXT")]
    losses: Option<String>,
    /// What the row says is pending [default: learning rate, batch and more from the script]
    #[arg(long, value_name = "TEXT")]
    params: Option<String>,
    /// Push the tag
    #[arg(long)]
    push: bool,
    /// Begin although files of the checkout are changed
    #[arg(long)]
    allow_dirty: bool,
    /// Look at everything and print what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let wanted = Wanted {
        run: arguments.run.clone(),
        script: arguments.script.clone(),
        plan: Plan {
            data: arguments.data.clone(),
            epochs: arguments.epochs.clone(),
            losses: arguments.losses.clone(),
            parameters: arguments.params.clone(),
        },
        push: arguments.push,
        allow_dirty: arguments.allow_dirty,
    };
    let prepared = begin::prepare(&settings, &wanted).await?;
    for line in &prepared.checked.fine {
        output.line(&clean(line))?;
    }
    for line in &prepared.checked.warnings {
        output.line(&clean(&format!("warning: {line}")))?;
    }
    let tag = prepared.tag();
    let difference = prepared.difference(&settings)?;
    let what = match (prepared.makes_tag(), arguments.dry_run) {
        (false, _) => "stands",
        (true, true) => "would be made",
        (true, false) => "made",
    };
    if !arguments.dry_run {
        prepared.carry_out(&settings).await?;
    }
    output.line(&clean(&format!("tag {what}: {tag}")))?;
    for line in difference.lines() {
        output.line(&clean(line))?;
    }
    if difference.is_empty() {
        output.line("row: stands in the log and waits for its run")?;
    }
    if arguments.dry_run {
        return Ok(());
    }
    if let Some(remote) = prepared.push(&settings).await? {
        output.line(&clean(&format!("pushed to {remote}: {tag}")))?;
    }
    output.line(&clean(&format!("now start the training: {}", prepared.checked.script)))?;
    Ok(())
}
