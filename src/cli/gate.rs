//! `gate`: may this run be evaluated?

use crate::daemon::{load_settings, reading};
use crate::judge;
use crate::model::ids::{CheckpointName, RunId};
use crate::model::measurement::Verdict;
use crate::model::observation::ObservationOutcome;

use super::output::{Ended, Outcome, Output};
use super::terminal::clean;
use super::{Common, exit};

/// Arguments of `gate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Made to be the first line of an evaluation script; reads the journal and needs no daemon.

Example:
  runscribe gate \"$RUN\" || exit 1

Exit codes: 0 the newest verdict is pass or warn, 3 it is fail, 4 it is unknown or there is none.")]
pub(super) struct Arguments {
    /// The run id; the path of its folder will do
    run: String,
}

pub(super) fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let run = named_run(&arguments.run)?;
    let newest = reading::newest_observation(&settings.paths.state, &run)?;
    let Some(observation) = newest else {
        output.line(&clean(&format!("none: no checkpoint of `{run}` has been analyzed")))?;
        return Err(Ended::Code(exit::UNDECIDED));
    };
    let checkpoint = &observation.checkpoint.name;
    let (word, why, code) = match &observation.outcome {
        ObservationOutcome::Judged(judgment) => {
            (judgment.verdict.to_string(), judge::note(judgment), code(judgment.verdict))
        }
        ObservationOutcome::AnalysisFailed { class, .. } => {
            let why = format!("the analysis failed: {}", class.as_str());
            ("unknown".to_owned(), why, exit::UNDECIDED)
        }
    };
    let why = if why.is_empty() { "all gates passed".to_owned() } else { why };
    output.line(&clean(&format!("{word}: {checkpoint} of `{run}`: {why}")))?;
    if code == 0 { Ok(()) } else { Err(Ended::Code(code)) }
}

/// Returns the run that an argument names.
///
/// # Errors
/// It names none.
pub(super) fn named_run(argument: &str) -> Result<RunId, Ended> {
    let name = run_name(argument);
    if name.is_empty() {
        let usage = "give a run id, or the path of a run's folder".to_owned();
        return Err(Ended::Failed(exit::USAGE, usage));
    }
    Ok(RunId::new(name))
}

/// Takes the run id out of a path of the run's folder, or of one of its checkpoints.
pub(super) fn run_name(argument: &str) -> &str {
    let mut names = argument.trim_end_matches('/').rsplit('/');
    let last = names.next().unwrap_or_default();
    let is_checkpoint = last.parse::<CheckpointName>().is_ok();
    names.next().filter(|_| is_checkpoint).unwrap_or(last)
}

fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass | Verdict::Warn => 0,
        Verdict::Fail => exit::FINDINGS,
        Verdict::Unknown => exit::UNDECIDED,
    }
}
