#![expect(
    clippy::disallowed_methods,
    reason = "IO shell: starts programs and reads what they leave"
)]
//! IO shell. Carries out orders: pins the checkpoint, reads its weights, runs the program under a
//! deadline, and turns what it left behind into facts. Decides nothing.

pub mod child;
pub mod concepts;
mod launcher;
pub mod pin;
pub mod program;
pub mod reports;
mod result;
pub mod supervisor;
pub mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::model::analysis::{AnalysisOrder, AnalysisOutcome, AnalysisResult, FailureClass};
use crate::model::device::DeviceChoice;
use crate::model::measurement::FiniteWeights;
use crate::settings::Launcher;
use child::{ChildRun, Limits, Stop as StopRequest};
use pin::Pin;
use reports::{ProgramOutput, ReportFiles};
use weights::WeightsReading;

/// How long one piece of work on files may take; the longest is reading the weights once, some
/// gigabytes from a slow disk.
const DISK_LIMIT: Duration = Duration::from_mins(10);

/// Returns a folder's signature as the scan computes it, to see that nothing changed.
pub type SignatureOf = Arc<dyn Fn(&Path) -> std::io::Result<u64> + Send + Sync>;

/// A device that was chosen for one analysis.
pub struct DeviceHold {
    /// Which one, and why.
    pub choice: DeviceChoice,
    /// Gives it back when it is dropped.
    pub lease: Box<dyn Send>,
}

impl std::fmt::Debug for DeviceHold {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DeviceHold").field("choice", &self.choice).finish_non_exhaustive()
    }
}

/// The device that comes to be chosen, within a limit of time of its own.
pub type FutureDevice = std::pin::Pin<Box<dyn Future<Output = DeviceHold> + Send>>;

/// Chooses a device for an order that starts now.
pub type ChooseDevice = Arc<dyn Fn(&AnalysisOrder) -> FutureDevice + Send + Sync>;

/// Where analyses work, and with what.
#[derive(Clone)]
pub struct Workshop {
    /// Holds `pins/` and `reports/`.
    pub state: PathBuf,
    /// How the device is chosen.
    pub choose_device: ChooseDevice,
    /// Where programs run.
    pub launcher: Launcher,
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
    let not_scanned = report.not_scanned.map(|reason| FiniteWeights::NotScanned { reason });
    let (weights_sha256, finite) =
        report.weights.map_or((None, not_scanned), |read| (Some(read.sha256), Some(read.finite)));
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
    /// Why they were not read though the program could.
    not_scanned: Option<String>,
    conditions: Vec<String>,
}

/// Why an order ends before its report is read.
enum Stop {
    Changed,
    Disk(String),
    Weights(String),
}

impl Stop {
    fn reason(self) -> String {
        match self {
            Self::Changed => "the weights are not there any more".to_owned(),
            Self::Disk(evidence) | Self::Weights(evidence) => evidence,
        }
    }

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
    if let Some(observed) = order.twin.as_ref().and_then(|twin| twin.observation.as_ref()) {
        let reading = read_weights(order, &pin, workshop.nice, stop).await?;
        let same = observed.weights_sha256.as_ref() == Some(&reading.sha256);
        draft.weights = Some(reading);
        if same {
            unchanged(order, workshop, &pin).await?;
            return Ok(AnalysisResult::SameWeights(observed.clone()));
        }
    }
    let files = blocking({
        let (order, state) = (order.clone(), workshop.state.clone());
        move || ReportFiles::prepare(&order, &state)
    })
    .await
    .map_err(|error| Stop::Disk(format!("cannot make the report folder: {error}")))?;
    // Asked last: memory that is free now may be the trainer's in a minute.
    let device = tokio::select! {
        device = (workshop.choose_device)(order) => device,
        // A driver that hangs must not hold up the stop; the result is *interrupted* anyway.
        () = stop.asked() => return Err(Stop::Changed),
    };
    draft.conditions.push(device.choice.reason.clone());
    let plan = plan(order, workshop, &pin, &files, &device.choice);
    // The weights are read beside the program, which needs seconds before it reads them itself.
    let weights = async {
        if draft.weights.is_some() {
            return Ok(None);
        }
        read_weights(order, &pin, workshop.nice, stop).await.map(Some)
    };
    let (ran, weights) = tokio::join!(launcher::launch(workshop.launcher, plan, stop), weights);
    drop(device);
    unchanged(order, workshop, &pin).await?;
    match weights {
        Ok(reading) => draft.weights = reading.or(draft.weights.take()),
        Err(stop) if ran.is_err() => return Err(stop),
        Err(stop) => draft.not_scanned = Some(stop.reason()),
    }
    take_in(order, pin, files, ran).await
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
    nice: u8,
    stop: &StopRequest,
) -> Result<WeightsReading, Stop> {
    let folder = pin.checkpoint.clone();
    let files = order.content.weights_files.clone();
    let stop = stop.clone();
    nicely(nice, move || weights::read(&folder, &files, &|| stop.is_asked()))
        .await
        .map_err(|error| unreadable_weights(&error))
}

/// Says what it means that weights cannot be read: gone with a rotation, a disk in trouble, which
/// may pass, or not what they claim to be, which does not.
fn unreadable_weights(error: &std::io::Error) -> Stop {
    let evidence = format!("cannot read the weights: {error}");
    let is_of_the_disk =
        error.raw_os_error().is_some() || error.kind() == std::io::ErrorKind::TimedOut;
    match error.kind() {
        std::io::ErrorKind::NotFound => Stop::Changed,
        _ if is_of_the_disk => Stop::Disk(evidence),
        _ => Stop::Weights(evidence),
    }
}

/// Runs work on a thread of its own that is as nice as an analysis, within a limit: reading
/// gigabytes of weights costs a core seconds that training has a better use for. Niceness cannot be
/// taken back, so the thread ends with the work.
async fn nicely<T: Send + 'static>(
    nice: u8,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("weights".to_owned()).spawn(move || {
        if let Err(error) = rustix::process::setpriority_process(None, i32::from(nice)) {
            tracing::debug!(%error, "cannot lower the priority of reading weights");
        }
        // Nobody waits any more for an answer that came after the limit.
        drop(answer.send(work()));
    })?;
    match tokio::time::timeout(DISK_LIMIT, answered).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(std::io::Error::other("the thread that read them panicked")),
        Err(_) => Err(disk_hangs()),
    }
}

fn disk_hangs() -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("the disk did not answer within {} s", DISK_LIMIT.as_secs()),
    )
}

/// Runs blocking work off the async threads, within a limit: a folder that hangs must not hold the
/// queue. A panic in it becomes an error.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::time::timeout(DISK_LIMIT, tokio::task::spawn_blocking(work)).await {
        Ok(done) => done.unwrap_or_else(|error| Err(std::io::Error::other(error))),
        Err(_) => Err(disk_hangs()),
    }
}

fn plan(
    order: &AnalysisOrder,
    workshop: &Workshop,
    pin: &Pin,
    files: &ReportFiles,
    device: &DeviceChoice,
) -> child::Plan {
    let (checkpoint, json) = (pin.checkpoint.to_string_lossy(), files.json.to_string_lossy());
    child::Plan {
        argv: order.program.argv(&checkpoint, &json),
        env: environment(order, device),
        working_directory: order.program.working_directory.clone(),
        limits: Limits {
            timeout: order.program.timeout,
            kill_grace: order.program.kill_grace,
            nice: workshop.nice,
            open_files: workshop.open_files,
        },
        supervisor: workshop.supervisor.clone(),
        output: None,
    }
}

/// Returns the child's whole environment; the device's variables win.
fn environment(order: &AnalysisOrder, device: &DeviceChoice) -> BTreeMap<String, String> {
    order.program.env.clone().into_iter().chain(device.environment.iter().cloned()).collect()
}

/// Reads what a program left, keeps it, and makes a result of it.
async fn take_in(
    order: &AnalysisOrder,
    pin: Pin,
    files: ReportFiles,
    ran: std::io::Result<ChildRun>,
) -> Result<AnalysisResult, Stop> {
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => {
            let program = order.program.argv.first().map(String::as_str).unwrap_or_default();
            return Ok(AnalysisResult::Failed {
                elapsed: Duration::ZERO,
                class: FailureClass::NotStarted,
                evidence: format!("cannot start `{program}`: {error}"),
            });
        }
    };
    let order = order.clone();
    let read = blocking(move || {
        let (stdout, stderr) = (ran.stdout.to_bytes(), ran.stderr.to_bytes());
        let output = ProgramOutput { json: files.read_json(), stdout, stderr };
        if let Err(error) = files.keep(&output, &order.program.secrets) {
            tracing::warn!(%error, "cannot keep the output of an analysis");
        }
        Ok(result::read(&order, &pin.checkpoint, &ran, &output))
    });
    read.await.map_err(|error| Stop::Disk(format!("cannot read what the analysis left: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn weights_are_read_nicely_and_nothing_else_is() {
        let niceness = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat")?;
            let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
            Ok(fields.split_ascii_whitespace().nth(16).unwrap_or_default().to_owned())
        };
        let own = niceness().unwrap();
        assert_eq!(nicely(19, niceness).await.unwrap(), "19");
        assert_eq!(blocking(niceness).await.unwrap(), own);
        assert_eq!(niceness().unwrap(), own);
        let panicking = nicely(19, || -> std::io::Result<()> { panic!("on purpose") }).await;
        assert!(panicking.unwrap_err().to_string().contains("panicked"));
    }

    /// A disk that hung for ten minutes was once taken for corrupt weights, and never asked again.
    #[test]
    fn weights_that_cannot_be_read_are_corrupt_only_when_they_themselves_say_so() {
        use std::io::{Error, ErrorKind};
        let class = |error: Error| match unreadable_weights(&error).into_result() {
            AnalysisResult::Failed { class, .. } => Some(class),
            _ => None,
        };
        let eio = rustix::io::Errno::IO.raw_os_error();
        assert_eq!(class(Error::from_raw_os_error(eio)), Some(FailureClass::Disk));
        assert_eq!(class(Error::new(ErrorKind::TimedOut, "10 min")), Some(FailureClass::Disk));
        let short = Error::new(ErrorKind::UnexpectedEof, "short");
        assert_eq!(class(short), Some(FailureClass::CorruptWeights));
        assert_eq!(class(Error::other("a bad header")), Some(FailureClass::CorruptWeights));
        assert_eq!(class(Error::from(ErrorKind::NotFound)), None);
    }
}
