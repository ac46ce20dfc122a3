//! `analyze`: one analysis now; nothing is recorded.

use std::path::PathBuf;

use crate::daemon::{load_settings, reading};
use crate::judge::{self, Evidence};
use crate::model::analysis::AnalysisResult;
use crate::model::measurement::{Judgment, Verdict};

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
    /// Print the command line and the environment, and run nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let prepared = reading::prepare(&settings, &arguments.checkpoint).await?;
    if arguments.dry_run {
        for line in prepared.describe() {
            output.line(&line)?;
        }
        return Ok(());
    }
    let config = prepared.config().clone();
    let (outcome, printed) = prepared.run(&settings).await?;
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
