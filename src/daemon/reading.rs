//! What commands read without a daemon: files, the journal, one checkpoint.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::analyze::child::Stop;
use crate::analyze::reports::report_folder;
use crate::analyze::{self, Workshop, concepts, program};
use crate::model::analysis::{AnalysisOrder, AnalysisOutcome};
use crate::model::checkpoint::{CheckpointSighting, Condition, ModelConfig};
use crate::model::ids::{CheckpointId, RunId};
use crate::model::journal::Memory;
use crate::model::observation::Observation;
use crate::model::status::Readiness;
use crate::parse::redact::redact_with;
use crate::probe::ConceptMatrix;
use crate::recognize;
use crate::record::history::Reader;
use crate::schedule::command::{self, Rejected};
use crate::settings::{Settings, Sources};
use crate::watch::{self, PathSighting, Place, WatchConfig};

use super::devices::Devices;
use super::setup::surroundings;
use super::{Fatal, instant, load_settings, whole_file};

/// The largest file that a command reads whole, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// Bytes handed to a parser at a time.
const CHUNK: usize = 1 << 20;

fn open(path: &Path) -> anyhow::Result<Box<dyn io::Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    Ok(Box::new(file))
}

/// Reads a small file, or standard input for `-`.
pub fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reading = || format!("cannot read `{}`", path.display());
    open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).with_context(reading)?;
    anyhow::ensure!(
        bytes.len() as u64 <= MAX_FILE_BYTES,
        "`{}` is larger than {} MiB",
        path.display(),
        MAX_FILE_BYTES >> 20
    );
    Ok(bytes)
}

/// Hands a file of any size to `take`, piece by piece.
pub fn chunks(path: &Path, mut take: impl FnMut(&[u8])) -> anyhow::Result<()> {
    let mut stream = open(path)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = stream
            .read(&mut buffer)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        if length == 0 {
            return Ok(());
        }
        take(buffer.get(..length).unwrap_or_default());
    }
}

/// Reads the concept embedding matrix of a checkpoint.
pub fn concept_matrix(folder: &Path) -> anyhow::Result<ConceptMatrix> {
    let raw =
        concepts::read(folder).with_context(|| format!("cannot probe `{}`", folder.display()))?;
    Ok(ConceptMatrix::decode(&raw.dtype, &raw.shape, &raw.bytes)?)
}

/// Writes a report that a person asked for; the file appears whole or not at all.
pub fn write_report(path: &Path, text: &str) -> anyhow::Result<()> {
    whole_file::write(path, text.as_bytes())
        .with_context(|| format!("cannot write `{}`", path.display()))
}

/// Finds the daemon's socket: the setting, else what the running daemon wrote down.
pub fn socket_path(sources: &Sources) -> Result<PathBuf, Fatal> {
    let settings = load_settings::load(sources)?.settings;
    if sources.socket.is_some() {
        return Ok(settings.status.socket);
    }
    let written = std::fs::read(settings.paths.state.join("daemon.json")).ok();
    let value = written.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let path = value.as_ref().and_then(|value| value.get("socket")?.as_str());
    Ok(path.map_or(settings.status.socket, PathBuf::from))
}

/// Returns a run's newest observation, from the journal.
pub fn newest_observation(state: &Path, run: &RunId) -> anyhow::Result<Option<Observation>> {
    let Some(memory) = memory(state)? else { return Ok(None) };
    let of_run = memory.observations.into_iter().filter(|one| one.checkpoint.run == *run);
    Ok(of_run.max_by_key(|one| one.time))
}

/// Returns what the journal remembers, or `None` where there is no journal yet.
pub(super) fn memory(state: &Path) -> anyhow::Result<Option<Memory>> {
    if !state.join("journal.db").exists() {
        return Ok(None);
    }
    let reader = Reader::open(state).context("cannot read the journal")?;
    Ok(Some(reader.memory().context("cannot read the journal")?))
}

/// Returns what the journal remembers.
///
/// # Errors
/// There is no journal yet, or it cannot be read.
pub(super) fn existing_memory(state: &Path) -> anyhow::Result<Memory> {
    memory(state)?.with_context(|| {
        let state = state.display();
        format!("there is no journal in `{state}`: runscribe has not watched this project")
    })
}

/// Looks at a path once.
pub(super) fn sight(settings: &Settings, path: &Path) -> anyhow::Result<PathSighting> {
    watch::sight(path, &WatchConfig::from(settings), instant())
        .with_context(|| format!("cannot look at `{}`", path.display()))
}

/// One analysis, ready to run outside the daemon.
#[derive(Debug)]
pub struct Prepared {
    order: AnalysisOrder,
}

/// Returns the checkpoint that a path in the training folder names.
///
/// # Errors
/// It is none, or lies elsewhere.
pub(super) fn watched_checkpoint(settings: &Settings, path: &Path) -> anyhow::Result<CheckpointId> {
    let found = sight(settings, path)?;
    let training = settings.paths.training.display();
    let shown = path.display();
    anyhow::ensure!(
        found.is_in_training_folder,
        "`{shown}` does not lie in the training folder `{training}`"
    );
    let (run, seen) = checkpoint_of(found, path)?;
    Ok(CheckpointId { run, name: seen.name })
}

fn checkpoint_of(found: PathSighting, path: &Path) -> anyhow::Result<(RunId, CheckpointSighting)> {
    let shown = path.display();
    Ok(match found.place {
        Place::Checkpoint { run, sighting } => (run, *sighting),
        // A run folder that is itself a final model.
        Place::Run(run) => match run.checkpoints.into_iter().find(|one| one.folder == found.path) {
            Some(seen) => (run.run, seen),
            None => anyhow::bail!("`{shown}` is a run; give the folder of one of its checkpoints"),
        },
        Place::Ignored { reason } => anyhow::bail!("`{shown}` is not a checkpoint: {reason}"),
        _ => anyhow::bail!("`{shown}` is not a checkpoint; give the folder of one"),
    })
}

/// Prepares the analysis of one checkpoint, as the daemon would.
pub async fn prepare(settings: &Settings, path: &Path) -> anyhow::Result<Prepared> {
    let shown = path.display();
    let (run, seen) = checkpoint_of(sight(settings, path)?, path)?;
    let Condition::Complete(content) = seen.condition else {
        let why = recognize::describe(&seen.condition, instant());
        anyhow::bail!("`{shown}` cannot be analyzed. {why}");
    };
    let memory = memory(&settings.paths.state)?.unwrap_or_default();
    let (facts, readiness) = program::discover(settings, &surroundings(&memory), None).await;
    if let Readiness::NotReady { problem } = readiness {
        anyhow::bail!("analyses cannot run: {problem}");
    }
    let checkpoint = CheckpointId { run, name: seen.name };
    let none = Rejected::new();
    let program =
        command::template(&facts, &settings.analysis, &checkpoint, &content.config, &none)
            .map_err(anyhow::Error::msg)?;
    Ok(Prepared {
        order: AnalysisOrder {
            number: 0,
            checkpoint,
            folder: seen.folder,
            signature: seen.signature,
            content: (*content).clone(),
            attempt: 1,
            // Nothing may be written beside the daemon's own state, so it is analyzed in place.
            program: crate::model::analysis::ProgramTemplate { pin: false, ..program },
            twin: None,
        },
    })
}

impl Prepared {
    /// Returns what the checkpoint's `config.json` says.
    pub fn config(&self) -> &ModelConfig {
        &self.order.content.config
    }

    /// Says what would be run now: the command line, the device, then the environment.
    pub async fn describe(&self, settings: &Settings) -> anyhow::Result<Vec<String>> {
        let is_probe = self.order.program.is_probe;
        let device = Devices::on_a_thread()?.choose(&settings.analysis, is_probe).await;
        let json = "<a temporary folder>/report.json";
        let program = &self.order.program;
        let redacted = |line: String| redact_with(&line, &program.secrets);
        let argv = program.argv(&self.order.folder.to_string_lossy(), json);
        let mut environment = program.env.clone();
        environment.extend(device.environment);
        let environment = environment.iter().map(|(key, value)| format!("{key}={value}"));
        let heading = ["argv:".to_owned()];
        let argv = argv.into_iter().map(|part| format!("  {}", redacted(part)));
        let middle = ["device:".to_owned(), format!("  {}", device.reason)];
        let middle = middle.into_iter().chain(["environment:".to_owned()]);
        let environment = environment.map(|line| format!("  {}", redacted(line)));
        Ok(heading.into_iter().chain(argv).chain(middle).chain(environment).collect())
    }

    /// Runs it and returns what came of it, with the text that the program printed.
    pub async fn run(
        self,
        settings: &Settings,
        stop: &Stop,
    ) -> anyhow::Result<(AnalysisOutcome, String)> {
        let state = tempfile::Builder::new().prefix("runscribe-analyze-").tempdir()?;
        let workshop = workshop(settings, state.path(), &Devices::on_a_thread()?);
        let checkpoint = self.order.checkpoint.clone();
        let run = Box::pin(analyze::run(self.order, workshop, stop.clone()));
        let outcome = run.await;
        let folder = report_folder(state.path(), checkpoint.run.as_str(), checkpoint.name);
        let printed = std::fs::read_to_string(folder.join("stdout.txt")).unwrap_or_default();
        Ok((outcome, printed))
    }
}

/// Returns where analyses work under these settings, with this state folder.
pub(super) fn workshop(settings: &Settings, state: &Path, devices: &Devices) -> Workshop {
    let training = &settings.paths.training;
    let training = training.canonicalize().unwrap_or_else(|_| training.clone());
    Workshop {
        state: state.to_owned(),
        choose_device: devices.chooser(&settings.analysis),
        launcher: settings.launcher,
        nice: settings.analysis.nice,
        supervisor: PathBuf::from(analyze::child::OWN_EXECUTABLE),
        open_files: None,
        signature_of: std::sync::Arc::new(move |folder| {
            // Links of a checkpoint in its place may lead anywhere inside the training folder;
            // a pin has none.
            let bounds = if folder.starts_with(&training) { training.as_path() } else { folder };
            watch::signature_of(folder, bounds)
        }),
    }
}
