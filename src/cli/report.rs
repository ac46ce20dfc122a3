//! `report`: the run report from recorded facts, with its plot.

use std::path::PathBuf;

use crate::daemon::{load_settings, report};

use super::Common;
use super::gate::named_run;
use super::output::{Outcome, Output};
use super::terminal::clean;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Reads the journal and the trainer's own losses; needs no daemon. The plot, an SVG file of the same
name, shows rank and loss over steps. A report in which somebody wrote is never replaced.

Examples:
  runscribe report RUN               into the run reports folder
  runscribe report RUN --dry-run     only print what would be written
  runscribe report RUN --out r.md    r.md and r.svg")]
pub(super) struct Arguments {
    /// The run id; the path of its folder will do
    run: String,
    /// The report's file [default: <run id>_report.md in the run reports folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let run = named_run(&arguments.run)?;
    let [plot, text] = report::drafts(&settings, &run, arguments.out.as_deref())?;
    for line in text.difference().lines() {
        output.line(&clean(line))?;
    }
    for draft in [plot, text] {
        let path = draft.path.display().to_string();
        let what = match (draft.is_news(), arguments.dry_run) {
            (false, _) => "unchanged",
            (true, true) => "would be written",
            (true, false) => {
                draft.write()?;
                "written"
            }
        };
        output.line(&clean(&format!("{what}: {path}")))?;
    }
    Ok(())
}
