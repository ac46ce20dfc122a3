//! `doctor`: what would stop the work, and what to do about it.

use crate::daemon::doctor::{Check, State, examine};
use crate::daemon::load_settings;
use crate::model::numbers::counted;

use super::output::{Ended, Outcome, Output};
use super::terminal::clean;
use super::{Common, exit};

/// How wide the names are.
const NAME_COLUMNS: usize = 10;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at permissions, journal, analysis program (its imports are really tried, which takes some
seconds), data set, GPUs, experiment log and git, inotify limits and socket. Changes nothing.

Examples:
  runscribe doctor --root ~/project
  runscribe doctor --json | jq '.checks[] | select(.state != \"fine\")'

Exit codes: 0 nothing stops work (there may be warnings), 1 something does, 78 the configuration is
wrong.")]
pub(super) struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let checks = Box::pin(examine(&settings)).await;
    let problems = checks.iter().filter(|check| check.state == State::Problem).count();
    if arguments.json {
        let shown = serde_json::json!({"problems": problems, "checks": checks});
        output.line(&shown.to_string())?;
    } else {
        for check in &checks {
            print(check, output)?;
        }
        output.line(&summary(&checks, problems))?;
    }
    if problems > 0 { Err(Ended::Code(exit::FAILED)) } else { Ok(()) }
}

fn print(check: &Check, output: &mut Output) -> std::io::Result<()> {
    let (color, word) = match check.state {
        State::Fine => ("32", "fine"),
        State::Warning => ("33", "warning"),
        State::Problem => ("1;31", "problem"),
    };
    let word = output.paint(color, &format!("{word:<7}"));
    output.line(&format!("{word}  {:<NAME_COLUMNS$}  {}", check.name, clean(&check.found)))?;
    if let Some(advice) = &check.advice {
        output.line(&format!("{:7}  {:<NAME_COLUMNS$}  -> {}", "", "", clean(advice)))?;
    }
    Ok(())
}

fn summary(checks: &[Check], problems: usize) -> String {
    let warnings = checks.iter().filter(|check| check.state == State::Warning).count() as u64;
    match (problems, warnings) {
        (0, 0) => "all is fine".to_owned(),
        (0, warnings) => format!("nothing stops work; {}", counted(warnings, "warning")),
        (1, warnings) => format!("1 problem stops work; {}", counted(warnings, "warning")),
        (problems, warnings) => {
            format!("{problems} problems stop work; {}", counted(warnings, "warning"))
        }
    }
}
