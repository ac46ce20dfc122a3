//! `evaluate`: the project's benchmarks on a run's final model, behind the gate.

use crate::daemon::evaluating::{self, Evaluation, Gate, Suite, TaskResult, Wish};
use crate::daemon::{Stop, discipline, load_settings, reading};
use crate::model::ids::RunId;
use crate::settings::{Device, Settings};

use super::gate::named_run;
use super::interruption::interrupted;
use super::output::{Ended, Outcome, Output};
use super::terminal::clean;
use super::{Common, exit};

/// Results that wait to be printed, at most; a suite has a dozen tasks.
const MOST_TASKS: usize = 64;

/// Arguments of `evaluate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Refuses a run whose final model has no verdict, `fail` or `unknown`, and a GPU on which anybody
computes. Runs the registered script, or the Python program under it where the script has the model
written in; one task that fails stops no other one. What counts are the reports that are written. They
go into the journal and the experiment log, by the daemon where one runs.

Examples:
  runscribe evaluate RUN                               MRPC, STS-B, QQP and MNLI
  runscribe evaluate RUN --task mrpc --task stsb
  runscribe evaluate RUN --suite sick --dry-run        only say what would be run
  runscribe evaluate RUN --override-gate 'a baseline'  although the gate is closed
  runscribe evaluate RUN --tag                         and tags the commit when all went well

Exit codes: 0 every task has a report, 1 some have none, 3 the verdict is fail, 4 it is unknown or there
is none.")]
pub(super) struct Arguments {
    /// The run id; the path of its folder will do
    run: String,
    /// The family of benchmarks
    #[arg(long, value_name = "SUITE", default_value = "glue")]
    suite: SuiteName,
    /// A task of the suite; may be repeated [default: those that the script is registered for]
    #[arg(long = "task", value_name = "TASK")]
    tasks: Vec<String>,
    /// Where it computes: auto (a GPU on which nobody computes), cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: Device,
    /// Evaluate although the gate is closed; the reason is recorded
    #[arg(long, value_name = "WHY")]
    override_gate: Option<String>,
    /// Tag the commit when every task has a report, as `eval/<suite>_<day>`
    #[arg(long)]
    tag: bool,
    /// Only say what would be run
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum SuiteName {
    Glue,
    Sick,
    Paws,
}

fn device(text: &str) -> Result<Device, String> {
    match (text, text.strip_prefix("cuda:").and_then(|number| number.parse().ok())) {
        ("auto", _) => Ok(Device::Auto),
        ("cpu", _) => Ok(Device::Cpu),
        (_, Some(number)) => Ok(Device::Cuda(number)),
        _ => Err("give auto, cpu or cuda:N".to_owned()),
    }
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let run = named_run(&arguments.run)?;
    let reason = arguments.override_gate.as_deref().map(str::trim);
    if reason == Some("") {
        let usage = "say why the gate is overridden: `--override-gate 'a baseline'`".to_owned();
        return Err(Ended::Failed(exit::USAGE, usage));
    }
    let gate = evaluating::final_gate(&settings, &run)?;
    output.line(&clean(&format!("gate: {}", gate.text)))?;
    pass(&gate, reason)?;
    let suite = match arguments.suite {
        SuiteName::Glue => Suite::Glue,
        SuiteName::Sick => Suite::Sick,
        SuiteName::Paws => Suite::Paws,
    };
    let (tasks, device) = (arguments.tasks.clone(), arguments.device);
    let wish = Wish { run: run.clone(), suite, tasks, device };
    let evaluation = evaluating::prepare(&settings, wish).await?;
    for line in evaluation.describe(&settings).await? {
        output.line(&clean(&line))?;
    }
    if arguments.dry_run {
        return Ok(());
    }
    evaluation.check_device(&settings).await?;
    if gate.is_open() != Some(true)
        && let Some(reason) = reason
    {
        evaluating::record_override(&settings, ("evaluate", &run), &gate, reason)?;
    }
    let before = evaluating::experiment_log(&settings)?;
    let results = evaluate(&evaluation, &settings, output).await?;
    write_down(common, &settings, &run, (&results, before), output).await?;
    ended(&results, output)?;
    if arguments.tag {
        let tagged = discipline::tag_evaluation(&settings, suite.as_str(), &run).await?;
        super::tag::warn_of_changes(&tagged);
        output.line(&clean(&format!("tag made: {} on {}", tagged.tag, tagged.commit.short)))?;
    }
    Ok(())
}

/// Refuses where the gate is closed and nobody says why it should not be.
fn pass(gate: &Gate, reason: Option<&str>) -> Result<(), Ended> {
    let code = match gate.is_open() {
        Some(true) => return Ok(()),
        Some(false) => exit::FINDINGS,
        None => exit::UNDECIDED,
    };
    if reason.is_some() {
        return Ok(());
    }
    let refusal = "not evaluated: only a final model with the verdict pass or warn is; \
                   `--override-gate WHY` does it all the same, and records why";
    Err(Ended::Failed(code, refusal.to_owned()))
}

/// Runs the programs to their end. Asked to stop, it ends the one that runs and begins no other one;
/// asked twice, at once.
async fn evaluate(
    evaluation: &Evaluation,
    settings: &Settings,
    output: &mut Output,
) -> Result<Vec<TaskResult>, Ended> {
    let stop = Stop::default();
    let (told, mut results) = tokio::sync::mpsc::channel(MOST_TASKS);
    // There is room for all of them.
    let mut tell = move |result: &TaskResult| told.try_send(result.clone()).unwrap_or_default();
    let running = evaluation.run(settings, &stop, &mut tell);
    tokio::pin!(running);
    let ended = loop {
        // The evaluation is polled in place; signals and the channel are cancel-safe.
        tokio::select! {
            biased;
            Some(result) = results.recv() => say(&result, output)?,
            ended = &mut running => break ended?,
            _ = interrupted() => {
                if stop.is_asked() {
                    stop.at_once.cancel();
                }
                stop.gently.cancel();
            }
        }
    };
    while let Ok(result) = results.try_recv() {
        say(&result, output)?;
    }
    Ok(ended)
}

fn say(result: &TaskResult, output: &mut Output) -> Result<(), Ended> {
    let text = match &result.report {
        Ok(report) => report.headline().map_or_else(
            || "no score".to_owned(),
            |(metric, score)| format!("{metric} {score:.4}"),
        ),
        Err(why) => format!("failed: {why}"),
    };
    Ok(output.line(&clean(&format!("{}: {text}", result.task)))?)
}

async fn write_down(
    common: &Common,
    settings: &Settings,
    run: &RunId,
    (results, before): (&[TaskResult], Option<Vec<u8>>),
    output: &mut Output,
) -> Outcome {
    let reports = results.iter().filter_map(|result| result.report.as_ref().ok());
    let reports: Vec<String> = reports.map(|report| report.name.clone()).collect();
    let socket = reading::socket_path(&common.sources())?;
    let written = evaluating::write_down(settings, &socket, run, (&reports, before)).await?;
    match written.remark {
        Some(remark) => output.line(&clean(&format!("recorded, and to be written: {remark}")))?,
        None if written.by_daemon => output.line("written down by the daemon")?,
        None => {}
    }
    for line in written.difference.lines() {
        output.line(&clean(line))?;
    }
    Ok(())
}

fn ended(results: &[TaskResult], output: &mut Output) -> Outcome {
    let good = results.iter().filter(|result| result.report.is_ok()).count();
    output.line(&format!("{good} of {} tasks have a report", results.len()))?;
    if good == results.len() { Ok(()) } else { Err(Ended::Code(exit::FAILED)) }
}
