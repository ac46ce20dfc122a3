//! Orders to analyze and what came of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::checkpoint::CompleteCheckpoint;
use super::ids::{CheckpointId, CheckpointName, Digest};
use super::measurement::{FiniteWeights, Report};
use super::observation::Observation;
use super::secrets::Secrets;
use super::time::Moment;

/// What the host offers for analyses, found out by `analyze` and handed in as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Which program will run.
    pub kind: ProgramKind,
    /// argv template, before any placeholder is filled in.
    pub argv: Vec<String>,
    /// The interpreter behind `{python}`, or why there is none.
    pub python: Result<String, String>,
    /// The whole environment of a child, without what a device adds.
    pub environment: BTreeMap<String, String>,
    /// Secret values of the daemon's own environment, of `env_file` and of `[analysis.env]`: what
    /// is not passed on can still be read by the program from where it stands.
    pub secrets: Secrets,
    /// Digest of argv template, data set, script and the folders `analysis/` and `nn/`.
    pub protocol: String,
    /// The project's root, the child's working directory.
    pub root: PathBuf,
    /// Cores of the host, at least 1.
    pub cores: usize,
}

/// Where the variables of an analysis' environment may come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvironmentSources {
    /// The daemon's own environment.
    pub own: Vec<(String, String)>,
    /// The lines of `env_file`.
    pub file: Vec<(String, String)>,
    /// `[analysis.env]`.
    pub configured: BTreeMap<String, String>,
    /// The fallback for `HF_HOME`, if that folder exists.
    pub hf_home: Option<String>,
}

/// Where the analysis program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramKind {
    /// `[analysis] command`.
    Configured,
    /// The project's own `analysis/run_concept_analysis.py`.
    Script,
    /// The embedded probe, which measures weights only.
    Probe,
}

/// What to run on one checkpoint; made by `schedule`, carried out by `analyze`.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisOrder {
    /// Identifies this order among all of the daemon's life.
    pub number: u64,
    /// What to analyze.
    pub checkpoint: CheckpointId,
    /// Its folder.
    pub folder: PathBuf,
    /// The folder's signature when it was found complete; another one voids the result.
    pub signature: u64,
    /// What is known of its content.
    pub content: CompleteCheckpoint,
    /// The first attempt is 1.
    pub attempt: u32,
    /// The program, its arguments and environment before `{checkpoint}` and `{output_json}` are
    /// filled in.
    pub program: ProgramTemplate,
    /// A checkpoint of the same run whose weights may be byte-identical.
    pub twin: Option<Twin>,
}

/// A checkpoint that was observed already and may hold the same weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Twin {
    /// Which checkpoint of the run.
    pub name: CheckpointName,
    /// When it was observed.
    pub time: Moment,
    /// The observation itself, once the journal was asked for it.
    pub observation: Option<Box<Observation>>,
}

impl Twin {
    /// Whether an observation is of something whose weights and configuration may be the same as
    /// those of a content, and has what a comparison needs.
    pub fn may_be(observation: &Observation, content: &CompleteCheckpoint) -> bool {
        observation.judgment().is_some()
            && observation.weights_sha256.is_some()
            && observation.weights_digest == content.weights_digest
            && observation.config == content.config
    }
}

/// A command line with placeholders, and the limits under which it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramTemplate {
    /// The program and its arguments. Placeholders as in the design, section 5.
    pub argv: Vec<String>,
    /// The whole environment of the child, except what the device choice adds.
    pub env: BTreeMap<String, String>,
    /// What is to be blanked in its output.
    pub secrets: Secrets,
    /// The child's working directory.
    pub working_directory: PathBuf,
    /// The value of `{model_type}`; `None` if the program does not need one.
    pub model_type: Option<String>,
    /// Digest of argv template, data set, script and the code folders; stored with the result.
    pub protocol: String,
    /// Whether this is the embedded probe, which measures weights only.
    pub is_probe: bool,
    /// Time until TERM.
    pub timeout: Duration,
    /// Time from TERM to KILL.
    pub kill_grace: Duration,
    /// Whether to analyze a hard-linked copy.
    pub pin: bool,
}

impl ProgramTemplate {
    /// Fills in the two placeholders that only the pinned checkpoint decides.
    pub fn argv(&self, checkpoint: &str, output_json: &str) -> Vec<String> {
        let values = [("{checkpoint}", checkpoint), ("{output_json}", output_json)];
        self.argv.iter().map(|part| fill_placeholders(part, &values)).collect()
    }
}

/// Replaces each placeholder in one pass, so that a value that looks like a placeholder is not
/// replaced again; other text in braces stays as it is.
pub fn fill_placeholders(part: &str, values: &[(&str, &str)]) -> String {
    let mut result = String::with_capacity(part.len());
    let mut rest = part;
    while let Some(position) = rest.find('{') {
        let (before, from_brace) = rest.split_at(position);
        result.push_str(before);
        let hit = values.iter().find_map(|(name, value)| {
            from_brace.strip_prefix(name).map(|remainder| (value, remainder))
        });
        if let Some((value, remainder)) = hit {
            result.push_str(value);
            rest = remainder;
        } else {
            result.push('{');
            rest = from_brace.get(1..).unwrap_or_default();
        }
    }
    result.push_str(rest);
    result
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It exited with this code.
    Exit(i32),
    /// A signal ended it.
    Signal(i32),
    /// It ran past its deadline and was ended by us.
    Deadline,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisOutcome {
    /// The order's number.
    pub number: u64,
    /// What was analyzed.
    pub checkpoint: CheckpointId,
    /// The content that it was ordered for.
    pub digest: Digest,
    /// SHA-256 of the weights files in name order, if they were read.
    pub weights_sha256: Option<Digest>,
    /// NaN and Inf in the weights, if they were read.
    pub finite: Option<FiniteWeights>,
    /// Where and how it ran, for people: device and reason, pinned or in place.
    pub conditions: Vec<String>,
    /// The result proper.
    pub result: AnalysisResult,
}

/// The result of one order.
#[derive(Debug, Clone, PartialEq)]
pub enum AnalysisResult {
    /// The program exited 0 and left one readable, complete report.
    Reported {
        /// Wall time of the program.
        elapsed: Duration,
        /// The report.
        report: Box<Report>,
        /// Why the report must not be believed; empty when it may be.
        disbelief: Vec<String>,
    },
    /// The weights are byte-identical to those that this observation is of; nothing was run.
    SameWeights(Box<Observation>),
    /// There is no report.
    Failed {
        /// Wall time of the program; zero if it never ran.
        elapsed: Duration,
        /// The class of the failure.
        class: FailureClass,
        /// Exit code and last lines of stderr, redacted and bounded.
        evidence: String,
    },
    /// The files changed or vanished while they were read; look again.
    Changed,
    /// The daemon stopped it.
    Interrupted,
}

/// Why an analysis failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The command line was refused.
    Usage,
    /// The program does not know this model type.
    ModelType,
    /// Weights are missing.
    MissingWeights,
    /// Weights cannot be read as what they claim to be.
    CorruptWeights,
    /// The tokenizer is missing.
    Tokenizer,
    /// A hub could not be reached.
    Hub,
    /// The data set is missing or unreadable.
    Dataset,
    /// Memory of the host or the GPU ran out.
    OutOfMemory,
    /// A signal that we did not send ended it.
    Killed,
    /// It ran past its time limit.
    Deadline,
    /// Shapes do not fit.
    Shape,
    /// Python could not import something.
    Import,
    /// The disk is full or failing.
    Disk,
    /// It exited 0 without one readable, complete report.
    NoReport,
    /// The program could not be started.
    NotStarted,
    /// None of the above.
    Unknown,
}

impl FailureClass {
    /// Returns whether time can cure it, so that a retry makes sense.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Hub
                | Self::OutOfMemory
                | Self::Killed
                | Self::Deadline
                | Self::Disk
                | Self::NotStarted
                | Self::Dataset
        )
    }

    /// Returns the name used in documents, events and SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::ModelType => "model_type",
            Self::MissingWeights => "missing_weights",
            Self::CorruptWeights => "corrupt_weights",
            Self::Tokenizer => "tokenizer",
            Self::Hub => "hub",
            Self::Dataset => "dataset",
            Self::OutOfMemory => "out_of_memory",
            Self::Killed => "killed",
            Self::Deadline => "deadline",
            Self::Shape => "shape",
            Self::Import => "import",
            Self::Disk => "disk",
            Self::NoReport => "no_report",
            Self::NotStarted => "not_started",
            Self::Unknown => "unknown",
        }
    }
}
