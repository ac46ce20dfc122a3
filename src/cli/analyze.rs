//! `analyze`: one analysis now; nothing is recorded.

use std::path::PathBuf;

use crate::daemon::reading::Prepared;
use crate::daemon::{Stop, load_settings, reading};
use crate::judge::{self, Evidence};
use crate::model::analysis::{AnalysisOutcome, AnalysisResult};
use crate::model::measurement::{Judgment, Verdict};
use crate::settings::Settings;

use super::interruption::interrupted;
use super::output::{Ended, Outcome, Output};
use super::{Common, exit};

/// Arguments of `analyze`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runscribe analyze Cache/Training/RUN/checkpoint-5000
  runscribe analyze Cache/Training/RUN/checkpoint-5000 --dry-run

Exit codes: 0 it was analyzed (the verdict may be unknown), 3 the verdict is fail, 1 the analysis
failed.")]
pub(super) struct Arguments {
    /// The checkpoint's folder
    checkpoint: PathBuf,
    /// Print the command line, the device and the environment, and run nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let prepared = reading::prepare(&settings, &arguments.checkpoint).await?;
    if arguments.dry_run {
        for line in prepared.describe(&settings).await? {
            output.line(&line)?;
        }
        return Ok(());
    }
    let config = prepared.config().clone();
    let (outcome, printed) = until_interrupted(prepared, &settings).await?;
    output.text(&printed)?;
    let (report, disbelief) = match outcome.result {
        AnalysisResult::Reported { report, disbelief, .. } => (Some(report), disbelief),
        AnalysisResult::Failed { class, evidence, .. } => {
            let failure = format!("the analysis failed ({}): {evidence}", class.as_str());
            let weights_say_more = outcome.finite.is_some();
            if !weights_say_more {
                return Err(Ended::Failed(exit::FAILED, failure));
            }
            output.line(&failure)?;
            (None, Vec::new())
        }
        AnalysisResult::Interrupted => {
            return Err(Ended::Failed(exit::FAILED, "stopped before its end".to_owned()));
        }
        other => {
            return Err(Ended::Failed(exit::FAILED, format!("not analyzed: {other:?}")));
        }
    };
    let (report, finite) = (report.as_deref(), outcome.finite.as_ref());
    let evidence = Evidence { report, disbelief: &disbelief, finite, config: &config };
    let judgment = judge::judge(&evidence, &settings.gates);
    output.line(&format!("\n{}", verdict_line(&judgment, output)))?;
    output.line(&format!("({})", outcome.conditions.join("; ")))?;
    match judgment.verdict {
        Verdict::Fail => Err(Ended::Code(exit::FINDINGS)),
        _ if report.is_none() => Err(Ended::Code(exit::FAILED)),
        _ => Ok(()),
    }
}

/// Runs the analysis to its end. Asked to stop, it ends the program and all that it started first;
/// asked twice, at once.
async fn until_interrupted(
    prepared: Prepared,
    settings: &Settings,
) -> anyhow::Result<(AnalysisOutcome, String)> {
    let stop = Stop::default();
    let running = prepared.run(settings, &stop);
    tokio::pin!(running);
    loop {
        // The analysis is polled in place and signals are cancel-safe.
        tokio::select! {
            done = &mut running => return done,
            _ = interrupted() => {
                if stop.is_asked() {
                    stop.at_once.cancel();
                }
                stop.gently.cancel();
            }
        }
    }
}

fn verdict_line(judgment: &Judgment, output: &Output) -> String {
    let color = match judgment.verdict {
        Verdict::Pass => "32",
        Verdict::Warn => "33",
        Verdict::Fail => "1;31",
        Verdict::Unknown => "35",
    };
    let verdict = output.paint(color, &judgment.verdict.to_string());
    match judge::note(judgment).as_str() {
        "" => format!("Verdict: {verdict}"),
        note => format!("Verdict: {verdict} ({note})"),
    }
}
