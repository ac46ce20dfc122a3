//! `gate`: may this run be evaluated?

use crate::daemon::{load_settings, reading};
use crate::model::ids::RunId;
use crate::model::measurement::Verdict;
use crate::model::observation::ObservationOutcome;

use super::output::{Ended, Outcome, Output};
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
    let name = arguments.run.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let newest = reading::newest_observation(&settings.paths.state, &RunId::new(name))?;
    let Some(observation) = newest else {
        output.line(&format!("none: no checkpoint of `{name}` has been analyzed"))?;
        return Err(Ended::Code(exit::UNDECIDED));
    };
    let checkpoint = &observation.checkpoint.name;
    let (word, why, code) = match &observation.outcome {
        ObservationOutcome::Judged(judgment) => {
            let why = judgment.reasons.iter().chain(&judgment.remarks).cloned();
            (judgment.verdict.to_string(), why.collect::<Vec<_>>(), code(judgment.verdict))
        }
        ObservationOutcome::AnalysisFailed { class, .. } => {
            let why = vec![format!("the analysis failed: {}", class.as_str())];
            ("unknown".to_owned(), why, exit::UNDECIDED)
        }
    };
    let why = if why.is_empty() { "all gates passed".to_owned() } else { why.join("; ") };
    output.line(&format!("{word}: {checkpoint} of `{name}`: {why}"))?;
    if code == 0 { Ok(()) } else { Err(Ended::Code(code)) }
}

fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass | Verdict::Warn => 0,
        Verdict::Fail => exit::FINDINGS,
        Verdict::Unknown => exit::UNDECIDED,
    }
}
