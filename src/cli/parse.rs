//! `parse`: what a parser makes of a file.

use std::path::PathBuf;

use crate::daemon::reading;
use crate::parse::{report, shell_log};

use super::output::{Ended, Outcome, Output};
use super::{Common, exit};

/// Arguments of `parse`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runscribe parse report out.json
  runscribe parse report stdout.txt
  runscribe parse shell-log Cache/logs/shell_diffusion_20260223_203320.log")]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The report of a concept analysis, as text or JSON
    Report {
        /// The file, or `-` for standard input
        file: PathBuf,
    },
    /// The console output of training
    ShellLog {
        /// The file, or `-` for standard input
        file: PathBuf,
    },
}

pub(super) fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    match &arguments.what {
        What::Report { file } => {
            let bytes = reading::bytes(file)?;
            let report = report::from_either(&bytes)
                .map_err(|problem| unreadable(&file.display().to_string(), &problem))?;
            Ok(output.json(&report::parsed_json(&report))?)
        }
        What::ShellLog { file } => {
            let training = crate::daemon::load_settings::load(&common.sources())?.settings.training;
            let thresholds = shell_log::Thresholds {
                loss_factor: training.loss_factor,
                grad_norm_factor: training.grad_norm_factor,
            };
            let mut parser = shell_log::ShellLogParser::new(thresholds);
            let mut summary = shell_log::LogSummary::default();
            reading::chunks(file, |chunk| {
                parser.push(chunk).into_iter().for_each(|item| summary.add(item));
            })?;
            let (rest, progress) = parser.finish();
            for item in rest {
                summary.add(item);
            }
            Ok(output.json(&summary.shown_with(&progress))?)
        }
    }
}

fn unreadable(file: &str, problem: &str) -> Ended {
    Ended::Failed(exit::FAILED, format!("`{file}` is not a readable report: {problem}"))
}
