//! What commands read without a daemon: files, the journal, one checkpoint.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::analyze::{self, Workshop, concepts, program};
use crate::model::analysis::{AnalysisOrder, AnalysisOutcome};
use crate::model::checkpoint::{
    CheckpointSighting, Condition, ModelConfig, RunSighting, TrainingFolder,
};
use crate::model::ids::{CheckpointId, CheckpointName, RunId};
use crate::model::journal::{Memory, Standing};
use crate::model::observation::{Observation, ObservationOutcome};
use crate::model::status::Readiness;
use crate::probe::ConceptMatrix;
use crate::recognize;
use crate::record::history::Reader;
use crate::schedule::command::{self, Rejected};
use crate::settings::{Settings, Sources};
use crate::watch::{self, PathSighting, Place, Scanner, WatchConfig};

use super::setup::surroundings;
use super::{Fatal, instant, load_settings};

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
    let folder = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let saving = || format!("cannot write `{}`", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(saving)?;
    file.write_all(text.as_bytes()).with_context(saving)?;
    file.persist(path).with_context(saving)?;
    Ok(())
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

/// Looks at a path once.
fn sight(settings: &Settings, path: &Path) -> anyhow::Result<PathSighting> {
    watch::sight(path, &WatchConfig::from(settings), instant())
        .with_context(|| format!("cannot look at `{}`", path.display()))
}

/// Says in plain sentences what runscribe makes of a path.
pub fn explain(settings: &Settings, path: &Path) -> anyhow::Result<Vec<String>> {
    let seen = sight(settings, path)?;
    let mut lines = Vec::new();
    if !seen.is_in_training_folder {
        let training = settings.paths.training.display();
        lines.push(format!("It does not lie in the training folder `{training}`."));
    }
    match seen.place {
        Place::Ignored { reason } => lines.push(format!("{reason}.")),
        Place::TrainingFolder(folder) => lines.push(training_folder(&folder)),
        Place::RunUnreadable { run, problem } => lines.push(format!("Run `{run}`: {problem}.")),
        Place::Run(run) => lines.extend(explain_run(settings, &run)?),
        Place::Checkpoint { run, sighting } => {
            lines.push(format!("It is {} of run `{run}`.", name_of(sighting.name)));
            lines.push(recognize::describe(&sighting.condition, instant()));
            let id = CheckpointId { run, name: sighting.name };
            lines.push(match memory(&settings.paths.state)? {
                Some(memory) => standing(&memory, &id, &sighting),
                None => NO_JOURNAL.to_owned(),
            });
        }
    }
    Ok(lines)
}

const NO_JOURNAL: &str = "There is no journal yet: runscribe has not watched this project.";

fn name_of(name: CheckpointName) -> String {
    match name {
        CheckpointName::Step(_) => format!("`{name}`"),
        CheckpointName::Final => "the final model".to_owned(),
    }
}

fn training_folder(folder: &TrainingFolder) -> String {
    match folder {
        TrainingFolder::Listed { runs, .. } => {
            format!("It is the training folder and holds {} runs.", runs.len())
        }
        TrainingFolder::Missing => "The training folder does not exist.".to_owned(),
        TrainingFolder::Unreadable(problem) => format!("The training folder: {problem}."),
    }
}

fn explain_run(settings: &Settings, run: &RunSighting) -> anyhow::Result<Vec<String>> {
    let complete = |seen: &&CheckpointSighting| matches!(seen.condition, Condition::Complete(_));
    let mut lines = vec![format!(
        "It is run `{}` with {} checkpoints, {} of them complete.",
        run.run,
        run.checkpoints.len(),
        run.checkpoints.iter().filter(complete).count()
    )];
    if let Some(sibling) = shadowed_sibling(settings, run) {
        lines.push(format!(
            "It is a rank shadow of `{sibling}`: the folder of another process of the same \
             training, without weights and configuration. It is ignored."
        ));
    } else if run.checkpoints.is_empty() {
        lines.push("It has no checkpoint yet and is ignored until it has one.".to_owned());
    }
    let Some(memory) = memory(&settings.paths.state)? else {
        lines.push(NO_JOURNAL.to_owned());
        return Ok(lines);
    };
    let known = memory.runs.iter().find(|known| known.run == run.run);
    if known.is_some_and(|known| known.old_since.is_some()) {
        lines.push(OLD.to_owned());
    }
    let newest = memory.observations.iter().rev().find(|one| one.checkpoint.run == run.run);
    lines.push(match newest {
        Some(observation) => {
            format!("Newest, {}: {}", observation.checkpoint.name, observed(observation))
        }
        None => "Nothing of it has been analyzed.".to_owned(),
    });
    Ok(lines)
}

const OLD: &str = "The run was old at the first start: it is listed, and not analyzed until one of \
                   its files changes.";

/// Returns the run that this one is a rank shadow of.
fn shadowed_sibling(settings: &Settings, run: &RunSighting) -> Option<RunId> {
    if recognize::holds_model(run) {
        return None;
    }
    let mut scanner = Scanner::new(WatchConfig::from(settings).scan_settings());
    let TrainingFolder::Listed { runs, .. } = scanner.list_training_folder() else {
        return None;
    };
    let mut siblings = Vec::new();
    for (id, _) in runs.into_iter().filter(|(id, _)| id.base() == run.run.base()) {
        let holds =
            scanner.scan_run(&id, instant()).is_ok_and(|seen| recognize::holds_model(&seen));
        siblings.push((id, holds));
    }
    let siblings = siblings.iter().map(|(id, holds)| (id, *holds));
    recognize::rank_shadow(&run.run, false, siblings)
}

/// Says where a checkpoint stands in the journal.
fn standing(memory: &Memory, id: &CheckpointId, seen: &CheckpointSighting) -> String {
    let known = memory.runs.iter().find(|known| known.run == id.run);
    if known.is_some_and(|known| known.old_since.is_some()) {
        return OLD.to_owned();
    }
    let digest = match &seen.condition {
        Condition::Complete(complete) => Some(&complete.digest),
        _ => None,
    };
    let is_it = |one: &&Observation| {
        one.checkpoint == *id && digest.is_none_or(|digest| one.digest == *digest)
    };
    if let Some(observation) = memory.observations.iter().rev().find(is_it) {
        return observed(observation);
    }
    let content = memory
        .checkpoints
        .iter()
        .rfind(|one| one.checkpoint == *id && Some(&one.content.digest) == digest);
    match content.map(|content| &content.standing) {
        None => "Not queued yet.".to_owned(),
        Some(Standing::Pending) => "Queued, not analyzed yet.".to_owned(),
        Some(Standing::Started { attempt, .. }) => format!("Attempt {attempt} was started."),
        Some(Standing::Waiting { attempt, class, retry_at, .. }) => {
            let class = class.as_str();
            format!("Attempt {attempt} failed ({class}); the next one is due at {retry_at}.")
        }
        Some(Standing::Observed) => "Its row stood in the log before the journal.".to_owned(),
        Some(Standing::Gone) => "Recorded as gone before its analysis began.".to_owned(),
    }
}

fn observed(observation: &Observation) -> String {
    let time = observation.time.table_form();
    match &observation.outcome {
        ObservationOutcome::Judged(judgment) => {
            let note = match observation.note.as_str() {
                "" => String::new(),
                note => format!(" ({note})"),
            };
            format!("Analyzed at {time}; verdict {}{note}.", judgment.verdict)
        }
        ObservationOutcome::AnalysisFailed { class, .. } => {
            format!("Its analysis failed for good at {time}: {}.", class.as_str())
        }
    }
}

/// One analysis, ready to run outside the daemon.
#[derive(Debug)]
pub struct Prepared {
    order: AnalysisOrder,
}

/// Prepares the analysis of one checkpoint, as the daemon would.
pub async fn prepare(settings: &Settings, path: &Path) -> anyhow::Result<Prepared> {
    let shown = path.display();
    let found = sight(settings, path)?;
    let (run, seen) = match found.place {
        Place::Checkpoint { run, sighting } => (run, *sighting),
        // A run folder that is itself a final model.
        Place::Run(run) => match run.checkpoints.into_iter().find(|one| one.folder == found.path) {
            Some(seen) => (run.run, seen),
            None => anyhow::bail!("`{shown}` is a run; give the folder of one of its checkpoints"),
        },
        Place::Ignored { reason } => anyhow::bail!("`{shown}` is not a checkpoint: {reason}"),
        _ => anyhow::bail!("`{shown}` is not a checkpoint; give the folder of one"),
    };
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
            content: *content,
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

    /// Says what would be run: the command line, then the environment.
    pub fn describe(&self) -> Vec<String> {
        let json = "<a temporary folder>/report.json";
        let argv = self.order.program.argv(&self.order.folder.to_string_lossy(), json);
        let environment = self.order.program.env.iter();
        let shown = environment.map(|(key, value)| format!("{key}={value}"));
        let redacted = shown.map(|line| crate::parse::redact::redact(&line).into_owned());
        let heading = ["argv:".to_owned()];
        let argv = argv.into_iter().map(|part| format!("  {part}"));
        let middle = ["environment:".to_owned()];
        let environment = redacted.map(|line| format!("  {line}"));
        heading.into_iter().chain(argv).chain(middle).chain(environment).collect()
    }

    /// Runs it and returns what came of it, with the text that the program printed.
    pub async fn run(self, settings: &Settings) -> anyhow::Result<(AnalysisOutcome, String)> {
        let state = tempfile::Builder::new().prefix("runscribe-analyze-").tempdir()?;
        let workshop = workshop(settings, state.path());
        let checkpoint = self.order.checkpoint.clone();
        let run = Box::pin(analyze::run(self.order, workshop, CancellationToken::new()));
        let outcome = run.await;
        let folder = analyze::report_folder(state.path(), checkpoint.run.as_str(), checkpoint.name);
        let printed = std::fs::read_to_string(folder.join("stdout.txt")).unwrap_or_default();
        Ok((outcome, printed))
    }
}

/// Returns where analyses work under these settings, with this state folder.
pub(super) fn workshop(settings: &Settings, state: &Path) -> Workshop {
    let training = &settings.paths.training;
    let training = training.canonicalize().unwrap_or_else(|_| training.clone());
    Workshop {
        state: state.to_owned(),
        device: settings.analysis.device,
        nice: settings.analysis.nice,
        signature_of: std::sync::Arc::new(move |folder| {
            // Links of a checkpoint in its place may lead anywhere inside the training folder;
            // a pin has none.
            let bounds = if folder.starts_with(&training) { training.as_path() } else { folder };
            watch::signature_of(folder, bounds)
        }),
    }
}
