//! `publish`: the upload of a model, behind its conditions.

use std::io::{BufRead as _, IsTerminal as _, stdin};

use crate::daemon::publishing::{self, Publication};
use crate::daemon::{Stop, load_settings};
use crate::settings::Settings;

use super::gate::named_run;
use super::interruption::interrupted;
use super::output::{Ended, Outcome, Output};
use super::terminal::clean;
use super::{Common, exit};

/// Arguments of `publish`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Runs `publish.command` only when the final model's verdict is pass, it has evaluation scores, there is
a run report, and the training's git tag is known to the remote. Otherwise it lists what is missing,
each with the command that makes it.

Examples:
  runscribe publish RUN --dry-run    say what is there, what is missing, and what would be run
  runscribe publish RUN              asks before it uploads
  runscribe publish RUN --yes --override 'for the review only'

Exit codes: 0 published, 1 the upload failed, 3 something is missing.")]
pub(super) struct Arguments {
    /// The run id; the path of its folder will do
    run: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Publish although something is missing; the reason is recorded
    #[arg(long = "override", value_name = "WHY")]
    reason: Option<String>,
    /// Only say what is there and what would be run
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let run = named_run(&arguments.run)?;
    let reason = arguments.reason.as_deref().map(str::trim);
    if reason == Some("") {
        let usage = "say why it is published all the same: `--override 'for the review only'`";
        return Err(Ended::Failed(exit::USAGE, usage.to_owned()));
    }
    let publication = publishing::prepare(&settings, &run).await?;
    for condition in &publication.conditions {
        let mark = if condition.is_met { "ok" } else { "missing" };
        let command = condition.command.as_ref();
        let command = command.map_or_else(String::new, |command| format!(": `{command}`"));
        output.line(&clean(&format!("{mark}: {}{command}", condition.text)))?;
    }
    match &publication.argv {
        Ok(argv) => output.line(&clean(&format!("command: {}", argv.join(" "))))?,
        Err(why) => {
            output.line(&clean(&format!("missing: the program of `publish.command`: {why}")))?;
            return Err(Ended::Code(exit::FINDINGS));
        }
    }
    let lacks = publication.missing().next().is_some();
    if lacks && reason.is_none() {
        return Err(Ended::Code(exit::FINDINGS));
    }
    if arguments.dry_run {
        return Ok(());
    }
    if !arguments.yes && !is_confirmed(output)? {
        return Err(Ended::Failed(exit::FAILED, "not published".to_owned()));
    }
    if let Some(reason) = reason.filter(|_| lacks) {
        publication.record_override(&settings, reason)?;
    }
    upload(&publication, &settings, output).await
}

/// Asks the person at the terminal.
fn is_confirmed(output: &mut Output) -> Result<bool, Ended> {
    if !stdin().is_terminal() {
        let usage = "nobody is there to be asked: `--yes` publishes without asking".to_owned();
        return Err(Ended::Failed(exit::USAGE, usage));
    }
    output.text("publish it? [y/N] ")?;
    let mut answer = String::new();
    stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

async fn upload(publication: &Publication, settings: &Settings, output: &mut Output) -> Outcome {
    let log = publication.log(settings).display().to_string();
    output.line(&clean(&format!("uploading; its output goes to {log}")))?;
    let stop = Stop::default();
    let uploading = publication.upload(settings, &stop);
    tokio::pin!(uploading);
    loop {
        // The upload is polled in place; signals are cancel-safe.
        tokio::select! {
            biased;
            ended = &mut uploading => {
                ended?;
                return Ok(output.line("published")?);
            }
            _ = interrupted() => {
                if stop.is_asked() {
                    stop.at_once.cancel();
                }
                stop.gently.cancel();
            }
        }
    }
}
