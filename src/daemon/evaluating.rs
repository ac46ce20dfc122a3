//! `evaluate`: the gate on the final model, the project's evaluation programs as supervised children,
//! and success judged by the reports that they write.

mod overriding;
mod writing;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::analyze::child::{self, Limits, Plan};
use crate::analyze::program;
use crate::judge;
use crate::model::Timestamp;
use crate::model::analysis::{Ending, fill_placeholders};
use crate::model::checkpoint::{CheckpointSighting, CompleteCheckpoint, Condition};
use crate::model::evaluation::EvaluationReport;
use crate::model::ids::{CheckpointName, RunId};
use crate::model::measurement::Verdict;
use crate::model::observation::{Observation, ObservationOutcome};
use crate::parse::evaluation::{clean_name, model_of};
use crate::parse::redact;
use crate::schedule::command;
use crate::schedule::evaluation::{
    self, Asked, BENCHMARK_ENTRY, GLUE_ENTRY, Offered, PATH_OVERRIDE, Script, Step,
};
use crate::settings::{Device, Platform, Settings};
use crate::watch::{self, Place};

use super::devices::Devices;
use super::setup::surroundings;
use super::{Stop, environment, instant, now, reading};

pub use crate::schedule::evaluation::Suite;
pub use overriding::record as record_override;
pub use writing::{Written, experiment_log, write_down};

/// No task takes longer; MNLI takes some hours on one GPU.
const LIMIT: Duration = Duration::from_hours(24);
/// Time from TERM to KILL: a trainer that is asked to end writes a checkpoint first.
const GRACE: Duration = Duration::from_secs(30);
/// The clock of files may be so much behind the one that is read here.
const CLOCKS: Duration = Duration::from_millis(100);
/// Bytes of a program's output in which its last words are looked for.
const LAST_WORDS: u64 = 16 << 10;

/// What the verdict of a run's final model says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The verdict; `None` where there is none.
    pub verdict: Option<Verdict>,
    /// The verdict and why, in one line.
    pub text: String,
}

impl Gate {
    /// Returns whether the model may be evaluated: `None` where that is not decided.
    pub fn is_open(&self) -> Option<bool> {
        match self.verdict? {
            Verdict::Pass | Verdict::Warn => Some(true),
            Verdict::Fail => Some(false),
            Verdict::Unknown => None,
        }
    }
}

/// What a person asks for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Whose final model.
    pub run: RunId,
    /// On what.
    pub suite: Suite,
    /// Which tasks; empty: the usual ones.
    pub tasks: Vec<String>,
    /// Where it computes.
    pub device: Device,
}

/// An evaluation, ready to run.
#[derive(Debug)]
pub struct Evaluation {
    wish: Wish,
    steps: Vec<Step>,
    environment: BTreeMap<String, String>,
    /// Its shell log, absolute.
    pub log: PathBuf,
}

/// What came of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskResult {
    /// The task, as its program calls it.
    pub task: String,
    /// Its report, or why there is none.
    pub report: Result<EvaluationReport, String>,
}

/// Returns what the gates say of a run's final model, from the journal.
///
/// # Errors
/// The journal cannot be read.
pub fn final_gate(settings: &Settings, run: &RunId) -> anyhow::Result<Gate> {
    let undecided = |text: String| Gate { verdict: None, text };
    let content = match final_model(settings, run) {
        Ok((_, content)) => content,
        Err(problem) => return Ok(undecided(format!("none: {problem}"))),
    };
    let memory = reading::memory(&settings.paths.state)?.unwrap_or_default();
    let is_its = |one: &&Observation| {
        one.checkpoint.run == *run && one.checkpoint.name == CheckpointName::Final
    };
    let newest = memory.observations.iter().filter(is_its).max_by_key(|one| one.time);
    let Some(observation) = newest else {
        return Ok(undecided(format!("none: the final model of `{run}` has not been analyzed")));
    };
    if observation.digest != content.digest {
        let text = format!("none: the final model of `{run}` is another one than was analyzed");
        return Ok(undecided(text));
    }
    Ok(match &observation.outcome {
        ObservationOutcome::Judged(judgment) => {
            let note = judge::note(judgment);
            let why = if note.is_empty() { "all gates passed".to_owned() } else { note };
            let verdict = judgment.verdict;
            Gate { verdict: Some(verdict), text: format!("{verdict}: {why}") }
        }
        ObservationOutcome::AnalysisFailed { class, .. } => {
            undecided(format!("unknown: the analysis failed: {}", class.as_str()))
        }
    })
}

/// Finds the final model of a run as it lies on disk.
fn final_model(
    settings: &Settings,
    run: &RunId,
) -> Result<(PathBuf, Arc<CompleteCheckpoint>), String> {
    let folder = settings.paths.training.join(run.as_str());
    let seen = reading::sight(settings, &folder).map_err(|error| format!("{error:#}"))?;
    let Place::Run(sighting) = seen.place else {
        return Err(format!("`{}` is not the folder of a run", folder.display()));
    };
    let is_final = |one: &CheckpointSighting| one.name == CheckpointName::Final;
    match sighting.checkpoints.into_iter().find(is_final) {
        Some(CheckpointSighting { folder, condition: Condition::Complete(content), .. }) => {
            Ok((folder, content))
        }
        Some(CheckpointSighting { condition, .. }) => {
            let why = crate::recognize::describe(&condition, instant());
            Err(format!("the final model of `{run}` cannot be used: {why}"))
        }
        None => Err(format!("`{run}` has no final model in `{}`", folder.display())),
    }
}

/// Makes an evaluation ready: which programs are to be run on which model, and as which type.
///
/// # Errors
/// There is no final model, its type is not known, or nothing here evaluates it.
pub async fn prepare(settings: &Settings, wish: Wish) -> anyhow::Result<Evaluation> {
    let (own, run) = (settings.clone(), wish.run.clone());
    let found = tokio::task::spawn_blocking(move || {
        let (folder, content) = final_model(&own, &run)?;
        Ok::<_, String>((folder, content, offered(&own)))
    });
    let (folder, content, offered) = found.await?.map_err(anyhow::Error::msg)?;
    let trained_as =
        command::model_type(&settings.analysis, &content.config).map_err(anyhow::Error::msg)?;
    let model = relative(settings, &folder).display().to_string();
    let (suite, tasks) = (wish.suite, wish.tasks.clone());
    let asked = Asked { suite, tasks, model, trained_as: trained_as.to_owned() };
    let mut steps = evaluation::steps(&asked, &offered).map_err(anyhow::Error::msg)?;
    if steps.iter().any(|step| step.argv.iter().any(|part| part == "{python}")) {
        let memory = reading::memory(&settings.paths.state)?.unwrap_or_default();
        let python = program::interpreter(settings, &surroundings(&memory)).await;
        let python = python.map_err(anyhow::Error::msg)?;
        for part in steps.iter_mut().flat_map(|step| &mut step.argv) {
            *part = fill_placeholders(part, &[("{python}", &python)]);
        }
    }
    let log = new_log(settings, &format!("evaluate_{}_{}", wish.suite.as_str(), wish.run));
    Ok(Evaluation { wish, steps, environment: own_environment(settings), log })
}

/// Returns a name that no log has yet; several of a kind may begin in one second.
pub(super) fn new_log(settings: &Settings, of: &str) -> PathBuf {
    let stem = format!("{of}_{}", now().local().strftime("%Y%m%d_%H%M%S"));
    let named = |end: String| settings.paths.run_logs.join(format!("{stem}{end}.log"));
    let mut path = named(String::new());
    let mut number = 2;
    while path.exists() {
        path = named(format!("-{number}"));
        number += 1;
    }
    path
}

/// Looks at the scripts that are registered for this platform, and at the programs under them.
fn offered(settings: &Settings) -> Offered {
    use std::os::unix::fs::PermissionsExt as _;

    let root = &settings.paths.root;
    let here = if cfg!(target_os = "macos") { Platform::Macos } else { Platform::Linux };
    let of_platform = settings.evaluation_scripts.iter().filter(|script| script.platform == here);
    let scripts = of_platform.filter_map(|script| {
        let path = root.join(&script.path);
        let text = reading::bytes(&path).ok()?;
        let mode = path.metadata().ok()?.permissions().mode();
        Some(Script {
            path: script.path.clone(),
            benchmarks: script.benchmarks.clone(),
            takes_a_model: memchr::memmem::find(&text, PATH_OVERRIDE.as_bytes()).is_some(),
            is_executable: mode & 0o111 != 0,
        })
    });
    let entries = [GLUE_ENTRY, BENCHMARK_ENTRY].map(str::to_owned);
    let entries = entries.into_iter().filter(|entry| root.join(entry).is_file());
    Offered { scripts: scripts.collect(), entries: entries.collect() }
}

/// A person's own environment passes, W&B's key included: an evaluation has a page of its own.
pub(super) fn own_environment(settings: &Settings) -> BTreeMap<String, String> {
    let is_ours = |key: &str| {
        key == "NOTIFY_SOCKET" || key.starts_with("WATCHDOG_") || key.starts_with("RUNSCRIBE__")
    };
    let mut passed: BTreeMap<String, String> =
        environment().into_iter().filter(|(key, _)| !is_ours(key)).collect();
    passed.insert("PYTHONUNBUFFERED".to_owned(), "1".to_owned());
    let neighbor = settings.paths.root.parent().map(|parent| parent.join("hf_home"));
    if let Some(neighbor) = neighbor.filter(|path| path.is_dir()) {
        let neighbor = neighbor.to_string_lossy().into_owned();
        passed.entry("HF_HOME".to_owned()).or_insert(neighbor);
    }
    passed
}

pub(super) fn relative<'a>(settings: &Settings, path: &'a Path) -> &'a Path {
    let root = &settings.paths.root;
    let real = root.canonicalize().unwrap_or_else(|_| root.clone());
    path.strip_prefix(root).or_else(|_| path.strip_prefix(real)).unwrap_or(path)
}

impl Evaluation {
    /// Says what would be run now: the device, then each program with its variables.
    pub async fn describe(&self, settings: &Settings) -> anyhow::Result<Vec<String>> {
        let devices = Devices::on_a_thread()?;
        let device = devices
            .choose_for_evaluation(self.wish.device, settings.analysis.min_free_gpu_memory)
            .await;
        let mut lines = vec![match device {
            Ok(choice) => format!("device: {}", choice.reason),
            Err(refusal) => format!("device: refused: {refusal}"),
        }];
        lines.push(format!("log: {}", relative(settings, &self.log).display()));
        for step in &self.steps {
            let variables = step.environment.iter().map(|(key, value)| format!("{key}={value}"));
            let words: Vec<String> = variables.chain(step.argv.iter().cloned()).collect();
            lines.push(format!("{}: {}", step.name, words.join(" ")));
        }
        Ok(lines)
    }

    /// Refuses where nothing may be run now.
    ///
    /// # Errors
    /// Says who uses the GPU, and what to do.
    pub async fn check_device(&self, settings: &Settings) -> anyhow::Result<()> {
        let devices = Devices::on_a_thread()?;
        let min_free = settings.analysis.min_free_gpu_memory;
        let chosen = devices.choose_for_evaluation(self.wish.device, min_free).await;
        chosen.map(drop).map_err(anyhow::Error::msg)
    }

    /// Runs one program after the other, whatever became of those before; `tell` hears of each task.
    ///
    /// # Errors
    /// Its log cannot be written.
    pub async fn run(
        &self,
        settings: &Settings,
        stop: &Stop,
        tell: &mut (dyn FnMut(&TaskResult) + Send),
    ) -> anyhow::Result<Vec<TaskResult>> {
        let devices = Devices::on_a_thread()?;
        let log = Arc::new(open_log(&self.log)?);
        let mut results = Vec::new();
        for step in &self.steps {
            let ended = self.run_one(settings, step, (&devices, &log), stop).await;
            for result in ended {
                let report = result.report.as_ref().map(|report| report.name.as_str());
                let line = report.map_or_else(|why| format!("failed: {why}"), str::to_owned);
                writeln!(&*log, "=== {}: {line} ===", result.task)?;
                tell(&result);
                results.push(result);
            }
        }
        Ok(results)
    }

    async fn run_one(
        &self,
        settings: &Settings,
        program: &Step,
        (devices, log): (&Devices, &Arc<File>),
        stop: &Stop,
    ) -> Vec<TaskResult> {
        let none = |why: String| {
            let result =
                |task: &String| TaskResult { task: task.clone(), report: Err(why.clone()) };
            program.expects.iter().map(result).collect()
        };
        if stop.is_asked() {
            return none("stopped before it began".to_owned());
        }
        let min_free = settings.analysis.min_free_gpu_memory;
        // Asked before each program: training may have begun meanwhile.
        let device = match devices.choose_for_evaluation(self.wish.device, min_free).await {
            Ok(device) => device,
            Err(refusal) => return none(refusal),
        };
        let begun = instant() - CLOCKS;
        let from = log.metadata().map_or(0, |metadata| metadata.len());
        let heading = format!("=== {} on {} ===", program.argv.join(" "), device.reason);
        if let Err(error) = writeln!(&**log, "{heading}") {
            return none(format!("its log cannot be written: {error}"));
        }
        let added = program.environment.iter().cloned().chain(device.environment);
        let plan = Plan {
            supervisor: PathBuf::from(child::OWN_EXECUTABLE),
            argv: program.argv.clone(),
            env: self.environment.clone().into_iter().chain(added).collect(),
            working_directory: settings.paths.root.clone(),
            limits: Limits { timeout: LIMIT, kill_grace: GRACE, nice: 0, open_files: None },
            output: Some(Arc::clone(log)),
        };
        let ending = match child::run(plan, stop).await {
            Ok(ran) => ran.ending,
            Err(error) => return none(format!("it cannot be started: {error}")),
        };
        let how = if stop.is_asked() { "stopped".to_owned() } else { in_words(ending) };
        let why = format!("no report was written ({how}){}", last_words(&self.log, from));
        self.judge(settings, program, begun, &why).await
    }

    /// Looks for the reports that a program was to write: they, and not how it ended, say what came
    /// of it.
    async fn judge(
        &self,
        settings: &Settings,
        program: &Step,
        begun: Timestamp,
        why: &str,
    ) -> Vec<TaskResult> {
        let folder = settings.paths.evaluation.clone();
        let read =
            tokio::task::spawn_blocking(move || watch::evaluations::written_since(&folder, begun));
        let (written, problem) = match read.await {
            Ok(Ok(written)) => (written, None),
            Ok(Err(error)) => (Vec::new(), Some(format!("the reports cannot be read: {error}"))),
            Err(panic) => (Vec::new(), Some(panic.to_string())),
        };
        let of_task = |task: &String| {
            let mut its =
                written.iter().filter(|report| report.task == *task && self.is_of(report));
            let report = match (its.next_back(), &problem) {
                (Some(report), _) if report.headline().is_some() => Ok(report.clone()),
                (Some(report), _) => Err(report.problems.join("; ")),
                (None, Some(problem)) => Err(problem.clone()),
                (None, None) => Err(why.to_owned()),
            };
            TaskResult { task: task.clone(), report }
        };
        program.expects.iter().map(of_task).collect()
    }

    fn is_of(&self, report: &EvaluationReport) -> bool {
        let run = &self.wish.run;
        let by_name = |name: &str| (name == clean_name(run.as_str())).then(|| run.clone());
        model_of(report, &|known| known == run, &by_name).is_ok_and(|model| model.run == *run)
    }
}

/// Opens a new shell log, in which the programs' lines and ours follow one another.
pub(super) fn open_log(path: &Path) -> anyhow::Result<File> {
    let opening = || format!("cannot write `{}`", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(opening)?;
    }
    File::options().create_new(true).append(true).open(path).with_context(opening)
}

pub(super) fn in_words(ending: Ending) -> String {
    match ending {
        Ending::Exit(code) => format!("exit {code}"),
        Ending::Signal(signal) => format!("killed by signal {signal}"),
        Ending::Deadline => format!("not done after {} h", LIMIT.as_secs() / 3600),
    }
}

/// Returns the last line that a program printed, with a colon before it; nothing if it was silent.
pub(super) fn last_words(log: &Path, from: u64) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(LAST_WORDS))))?;
        let mut bytes = Vec::new();
        file.take(LAST_WORDS).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines().filter(|line| !line.starts_with("===") && !line.trim().is_empty());
    let last = lines.next_back().map(|line| redact::redact(line.trim()));
    last.map_or_else(String::new, |last| {
        format!(": {}", last.chars().take(200).collect::<String>())
    })
}
