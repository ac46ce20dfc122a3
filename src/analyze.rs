#![expect(
    clippy::disallowed_methods,
    reason = "IO shell: starts programs and reads what they leave"
)]
//! IO shell. Carries out orders: pins the checkpoint, reads its weights, runs the program under a
//! deadline, and turns what it left behind into facts. Decides nothing.

pub mod child;
pub mod concepts;
pub mod pin;
pub mod program;
pub mod supervisor;
pub mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::analysis::{
    AnalysisOrder, AnalysisOutcome, AnalysisResult, Ending, FailureClass,
};
use crate::model::ids::CheckpointName;
use crate::parse::{redact, report, stderr};
use crate::settings::Device;
use child::{ChildRun, Limits, Stop as StopRequest};
use pin::Pin;
use weights::WeightsReading;

/// The largest JSON report that is read, in bytes; real ones have 2 kB.
const MAX_JSON_BYTES: u64 = 8 << 20;

/// How long one piece of work on files may take; the longest is reading the weights once, some
/// gigabytes from a slow disk.
const DISK_LIMIT: Duration = Duration::from_mins(10);

/// Returns a folder's signature as the scan computes it, to see that nothing changed.
pub type SignatureOf = Arc<dyn Fn(&Path) -> std::io::Result<u64> + Send + Sync>;

/// Where analyses work, and with what.
#[derive(Clone)]
pub struct Workshop {
    /// Holds `pins/` and `reports/`.
    pub state: PathBuf,
    /// Where the program may compute.
    pub device: Device,
    /// Niceness of the program.
    pub nice: u8,
    /// The executable that becomes the supervisor.
    pub supervisor: PathBuf,
    /// The soft limit on open files that the daemon began with, where it has changed its own.
    pub open_files: Option<u64>,
    /// How a folder's signature is computed.
    pub signature_of: SignatureOf,
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Workshop").field("state", &self.state).finish_non_exhaustive()
    }
}

/// Carries out one order. Always returns an outcome; a request to stop ends the program and all
/// that it started and gives `Interrupted`.
pub async fn run(order: AnalysisOrder, workshop: Workshop, stop: StopRequest) -> AnalysisOutcome {
    let mut report = OutcomeDraft::default();
    let result = match carry_out(&order, &workshop, &stop, &mut report).await {
        _ if stop.is_asked() => AnalysisResult::Interrupted,
        Ok(result) => result,
        Err(stop) => stop.into_result(),
    };
    let (weights_sha256, finite) =
        report.weights.map_or((None, None), |read| (Some(read.sha256), Some(read.finite)));
    AnalysisOutcome {
        number: order.number,
        checkpoint: order.checkpoint,
        digest: order.content.digest,
        weights_sha256,
        finite,
        conditions: report.conditions,
        result,
    }
}

/// What is learned on the way, whatever the end.
#[derive(Default)]
struct OutcomeDraft {
    weights: Option<WeightsReading>,
    conditions: Vec<String>,
}

/// Why an order ends before its report is read.
enum Stop {
    Changed,
    Disk(String),
    Weights(String),
}

impl Stop {
    fn into_result(self) -> AnalysisResult {
        let failed =
            |class, evidence| AnalysisResult::Failed { elapsed: Duration::ZERO, class, evidence };
        match self {
            Self::Changed => AnalysisResult::Changed,
            Self::Disk(evidence) => failed(FailureClass::Disk, evidence),
            Self::Weights(evidence) => failed(FailureClass::CorruptWeights, evidence),
        }
    }
}

async fn carry_out(
    order: &AnalysisOrder,
    workshop: &Workshop,
    stop: &StopRequest,
    draft: &mut OutcomeDraft,
) -> Result<AnalysisResult, Stop> {
    let pin = blocking({
        let (order, state) = (order.clone(), workshop.state.clone());
        move || pin::make(&order, &state)
    })
    .await
    .map_err(|error| Stop::Disk(format!("cannot pin the checkpoint: {error}")))?;
    draft.conditions.push(pin.description.clone());
    unchanged(order, workshop, &pin).await?;
    if let Some(twin) = &order.twin {
        let reading = read_weights(order, &pin, stop).await?;
        let same = reading.sha256 == twin.weights_sha256;
        draft.weights = Some(reading);
        if same {
            unchanged(order, workshop, &pin).await?;
            return Ok(AnalysisResult::SameWeights(twin.name));
        }
    }
    let (visible_gpus, device) = device(workshop);
    draft.conditions.push(device);
    let files = blocking({
        let (order, state) = (order.clone(), workshop.state.clone());
        move || ReportFiles::prepare(&order, &state)
    })
    .await
    .map_err(|error| Stop::Disk(format!("cannot make the report folder: {error}")))?;
    let plan = child::Plan {
        argv: order.program.argv(&pin.checkpoint.to_string_lossy(), &files.json.to_string_lossy()),
        env: environment(order, visible_gpus),
        working_directory: order.program.working_directory.clone(),
        limits: Limits {
            timeout: order.program.timeout,
            kill_grace: order.program.kill_grace,
            nice: workshop.nice,
            open_files: workshop.open_files,
        },
        supervisor: workshop.supervisor.clone(),
    };
    // The weights are read beside the program, which needs seconds before it reads them itself.
    let weights = async {
        if draft.weights.is_some() {
            return Ok(None);
        }
        read_weights(order, &pin, stop).await.map(Some)
    };
    let (ran, weights) = tokio::join!(child::run(plan, stop), weights);
    unchanged(order, workshop, &pin).await?;
    match weights {
        Ok(reading) => draft.weights = reading.or(draft.weights.take()),
        Err(stop) if ran.is_err() => return Err(stop),
        Err(_) => {}
    }
    Ok(result(order, &pin, &files, ran).await)
}

async fn unchanged(order: &AnalysisOrder, workshop: &Workshop, pin: &Pin) -> Result<(), Stop> {
    let (signature_of, folder) = (Arc::clone(&workshop.signature_of), pin.checkpoint.clone());
    match blocking(move || signature_of(&folder)).await {
        Ok(signature) if signature == order.signature => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            Err(Stop::Disk(error.to_string()))
        }
        Ok(_) | Err(_) => Err(Stop::Changed),
    }
}

async fn read_weights(
    order: &AnalysisOrder,
    pin: &Pin,
    stop: &StopRequest,
) -> Result<WeightsReading, Stop> {
    let folder = pin.checkpoint.clone();
    let files = order.content.weights_files.clone();
    let stop = stop.clone();
    blocking(move || weights::read(&folder, &files, &|| stop.is_asked()))
        .await
        .map_err(|error| Stop::Weights(format!("cannot read the weights: {error}")))
}

/// Runs blocking work off the async threads, within a limit: a folder that hangs must not hold the
/// queue. A panic in it becomes an error.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::time::timeout(DISK_LIMIT, tokio::task::spawn_blocking(work)).await {
        Ok(done) => done.unwrap_or_else(|error| Err(std::io::Error::other(error))),
        Err(_) => Err(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("the disk did not answer within {} s", DISK_LIMIT.as_secs()),
        )),
    }
}

/// Chooses the device: the value of `CUDA_VISIBLE_DEVICES` and why. Without a reading of the GPUs
/// `auto` is the CPU: the GPU is the trainer's.
fn device(workshop: &Workshop) -> (String, String) {
    match workshop.device {
        Device::Cuda(index) => (index.to_string(), format!("cuda:{index}, as configured")),
        Device::Cpu => (String::new(), "cpu, as configured".to_owned()),
        Device::Auto => (String::new(), "cpu: this version does not read the GPUs".to_owned()),
    }
}

fn environment(order: &AnalysisOrder, visible_gpus: String) -> BTreeMap<String, String> {
    let device = ("CUDA_VISIBLE_DEVICES".to_owned(), visible_gpus);
    order.program.env.clone().into_iter().chain([device]).collect()
}

/// The files of one analysis under `reports/<run>/<checkpoint>/`.
struct ReportFiles {
    folder: PathBuf,
    json: PathBuf,
}

impl ReportFiles {
    /// Makes the folder and removes what an earlier analysis left under the same name, so that an
    /// old report can never pass for a new one.
    fn prepare(order: &AnalysisOrder, state: &Path) -> std::io::Result<Self> {
        let folder = report_folder(state, order.checkpoint.run.as_str(), order.checkpoint.name);
        std::fs::create_dir_all(&folder)?;
        let json = folder.join("report.json");
        for name in ["report.json", "stdout.txt", "stderr.txt"] {
            match std::fs::remove_file(folder.join(name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(Self { folder, json })
    }
}

/// Returns where the reports of a checkpoint are kept.
pub fn report_folder(state: &Path, run: &str, name: CheckpointName) -> PathBuf {
    state.join("reports").join(run).join(name.to_string())
}

async fn result(
    order: &AnalysisOrder,
    pin: &Pin,
    files: &ReportFiles,
    ran: std::io::Result<ChildRun>,
) -> AnalysisResult {
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => {
            let program = order.program.argv.first().map(String::as_str).unwrap_or_default();
            return AnalysisResult::Failed {
                elapsed: Duration::ZERO,
                class: FailureClass::NotStarted,
                evidence: format!("cannot start `{program}`: {error}"),
            };
        }
    };
    let json_path = files.json.clone();
    let output = ProgramOutput {
        json: blocking(move || read_bounded(&json_path)).await.ok(),
        stdout: ran.stdout.to_bytes(),
        stderr: ran.stderr.to_bytes(),
    };
    let folder = files.folder.clone();
    let copies = [("stdout.txt", output.stdout.clone()), ("stderr.txt", output.stderr.clone())];
    if let Err(error) = blocking(move || keep(&folder, &copies)).await {
        tracing::warn!(%error, "cannot keep the output of an analysis");
    }
    read_result(order, pin, &ran, &output)
}

/// What a program wrote.
struct ProgramOutput {
    json: Option<Vec<u8>>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Turns output into a result. Exit 0 without one readable, complete report is `no_report`.
fn read_result(
    order: &AnalysisOrder,
    pin: &Pin,
    ran: &ChildRun,
    output: &ProgramOutput,
) -> AnalysisResult {
    let elapsed = ran.elapsed;
    let ProgramOutput { json, stdout, stderr } = output;
    if ran.ending != Ending::Exit(0) {
        let class = stderr::failure_class(ran.ending, stderr, stdout);
        let evidence = stderr::evidence(ran.ending, stderr);
        return AnalysisResult::Failed { elapsed, class, evidence };
    }
    let json = json.as_deref().map(report::from_json);
    let combined = report::combine(json, Some(report::text_report(stdout)));
    let Some(report) = combined.report else {
        let problems = combined.problems.join("; ");
        let evidence = format!("exit 0 without a complete report: {problems}");
        return AnalysisResult::Failed { elapsed, class: FailureClass::NoReport, evidence };
    };
    let mut disbelief = combined.disagreements;
    let random = stderr::newly_initialized_encoder(stderr);
    disbelief.extend(random.or_else(|| stderr::newly_initialized_encoder(stdout)));
    disbelief.extend(other_subject(order, pin, &report));
    AnalysisResult::Reported { elapsed, report: Box::new(report), disbelief }
}

/// Says so when the report is about another checkpoint or model type than was asked for.
fn other_subject(
    order: &AnalysisOrder,
    pin: &Pin,
    report: &crate::model::measurement::Report,
) -> Option<String> {
    let is_asked = |path: &str| names_same_checkpoint(Path::new(path), &pin.checkpoint);
    if let Some(path) = report.model_path.as_deref().filter(|path| !is_asked(path)) {
        return Some(format!("the report is about another checkpoint: {path}"));
    }
    let asked = order.program.model_type.as_deref()?;
    let used = report.model_type.as_deref().filter(|used| *used != asked)?;
    Some(format!("the report used model type {used}, not {asked}"))
}

/// Whether two paths end in the same `<run id>/<checkpoint name>`, which is what identifies a
/// checkpoint wherever it lies: a pin, its place, or a path that a program has resolved.
fn names_same_checkpoint(one: &Path, other: &Path) -> bool {
    let ending = |path: &Path| {
        let name = path.file_name()?.to_owned();
        Some((path.parent()?.file_name()?.to_owned(), name))
    };
    ending(one).is_some_and(|ending_of_one| Some(ending_of_one) == ending(other))
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_JSON_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn keep(folder: &Path, copies: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    for (name, bytes) in copies {
        let text = String::from_utf8_lossy(bytes);
        std::fs::write(folder.join(name), redact::redact(&text).as_bytes())?;
    }
    Ok(())
}

/// Removes reports that are older than `keep`, and folders that are empty then. Returns how many
/// folders went.
pub fn sweep_reports(state: &Path, keep: Duration) -> std::io::Result<u64> {
    let mut removed = 0;
    let reports = state.join("reports");
    let walk = walkdir::WalkDir::new(&reports).min_depth(2).max_depth(2).follow_links(false);
    for entry in walk {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if error.io_error().is_some_and(is_missing) => return Ok(removed),
            Err(error) => return Err(error.into()),
        };
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age > keep {
            std::fs::remove_dir_all(entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_known_by_run_and_name_wherever_it_lies() {
        let pinned = Path::new("/state/pins/7-1/run_a/checkpoint-20");
        for (path, same) in [
            ("/project/Cache/Training/run_a/checkpoint-20", true),
            ("/project/Cache/Training/run_a/checkpoint-20/", true),
            ("/project/Cache/Training/run_b/checkpoint-20", false),
            ("/project/Cache/Training/run_a/checkpoint-2", false),
            ("checkpoint-20", false),
            ("", false),
        ] {
            assert_eq!(names_same_checkpoint(Path::new(path), pinned), same, "{path}");
        }
    }
}
