//! The durable fact that a checkpoint was analyzed, and what the documents get of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analysis::FailureClass;
use super::checkpoint::{ModelConfig, TrainingPoint};
use super::ids::{CheckpointId, CheckpointName, Digest, RunId};
use super::measurement::{FiniteWeights, Judgment};
use super::time::Moment;

/// The durable fact "checkpoint X of run R was analyzed, these measurements, this verdict".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// When it was decided, local time with offset, whole seconds; unique per checkpoint.
    pub time: Moment,
    /// What was observed.
    pub checkpoint: CheckpointId,
    /// Identity of the content.
    pub digest: Digest,
    /// SHA-256 of the weights files in name order.
    pub weights_sha256: Option<Digest>,
    /// Sampled digest of the weights, see [`super::checkpoint::CompleteCheckpoint`].
    pub weights_digest: Digest,
    /// What `config.json` said.
    pub config: ModelConfig,
    /// The report's named numbers; `None` stands for NaN or an infinity.
    pub measurements: BTreeMap<String, Option<f64>>,
    /// Number of concepts C.
    pub concepts: Option<u64>,
    /// Hidden size H.
    pub hidden: Option<u64>,
    /// NaN and Inf in the weights.
    pub finite: Option<FiniteWeights>,
    /// What came of it.
    pub outcome: ObservationOutcome,
    /// Where training stood.
    pub training: Option<TrainingPoint>,
    /// Digest of how it was measured; trends are not drawn across different ones.
    pub protocol: String,
    /// The checkpoint whose measurements these are, if it was not analyzed itself.
    pub same_as: Option<CheckpointName>,
    /// Where and how it ran: device and reason, pinned or in place.
    pub conditions: Vec<String>,
    /// The Note cell, as a person reads it (not yet escaped).
    pub note: String,
}

/// A verdict, or the class of a final failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum ObservationOutcome {
    /// The gates were asked.
    Judged(Judgment),
    /// The analysis failed for good.
    AnalysisFailed {
        /// Why.
        class: FailureClass,
        /// Exit code and last lines of stderr, redacted and bounded.
        evidence: String,
    },
}

impl Observation {
    /// Returns the judgment, if there is one.
    pub fn judgment(&self) -> Option<&Judgment> {
        match &self.outcome {
            ObservationOutcome::Judged(judgment) => Some(judgment),
            ObservationOutcome::AnalysisFailed { .. } => None,
        }
    }
}

/// One row of the observations table, cell by cell, before escaping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservationRow {
    /// `2026-02-25 14:03:07 +01:00`.
    pub time: String,
    /// The run id, without backticks.
    pub run: String,
    /// `checkpoint-5000` or `final`, without backticks.
    pub checkpoint: String,
    /// `10.1 / 128 (7.9%)`, or `--`.
    pub rank: String,
    /// Mean similarity, or `--`.
    pub mean_similarity: String,
    /// Max similarity, or `--`.
    pub max_similarity: String,
    /// The last evaluation loss before the checkpoint, or `--`.
    pub eval_loss: String,
    /// `pass`, `warn`, `**fail**`, `unknown` or `analysis failed`.
    pub verdict: String,
    /// The reason of anything but `pass`.
    pub note: String,
}

/// The columns of the project's table that runscribe may fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunColumn {
    /// `Date`.
    Date,
    /// `Architecture`.
    Architecture,
    /// `Machine`.
    Machine,
    /// `Task Loss`.
    TaskLoss,
    /// `Eff. Rank`.
    EffectiveRank,
    /// `Key GLUE Scores`.
    GlueScores,
    /// `Speed (Steps/s)`.
    Speed,
    /// `WandB Link`.
    WandbLink,
    /// `Git Tag`.
    GitTag,
    /// `Conclusion / Takeaway`.
    Conclusion,
}

impl RunColumn {
    /// Every column, in the order of the project's table.
    pub const ALL: [Self; 10] = [
        Self::Date,
        Self::Architecture,
        Self::Machine,
        Self::TaskLoss,
        Self::EffectiveRank,
        Self::GlueScores,
        Self::Speed,
        Self::WandbLink,
        Self::GitTag,
        Self::Conclusion,
    ];

    /// Returns the name under which the journal remembers what was written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Architecture => "architecture",
            Self::Machine => "machine",
            Self::TaskLoss => "task_loss",
            Self::EffectiveRank => "effective_rank",
            Self::GlueScores => "glue_scores",
            Self::Speed => "speed",
            Self::WandbLink => "wandb_link",
            Self::GitTag => "git_tag",
            Self::Conclusion => "conclusion",
        }
    }
}

/// What a column of the run table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderMeaning {
    /// The run's id.
    RunId,
    /// Something that runscribe may fill.
    Column(RunColumn),
}

/// Header texts of the run table that a project uses beside the usual ones, and what they mean.
pub type HeaderNames = BTreeMap<String, HeaderMeaning>;

/// One cell of a run's row: what to write there if the cell is empty or still what we wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CellFill {
    /// Which column.
    pub column: RunColumn,
    /// The finished Markdown of the cell. Text from outside in it is escaped already.
    pub value: String,
}

/// One row of the evaluations table: one sweep over tasks of one model. Run, checkpoint, date and
/// kind are its key; the cells are finished Markdown, empty where nothing is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationRow {
    /// The run id, without backticks.
    pub run: String,
    /// `checkpoint-5000` or `final`, without backticks.
    pub checkpoint: String,
    /// `2026-02-22`, of the sweep's first report.
    pub date: String,
    /// What was evaluated and as what: ``GLUE `perceiver_decoder_cls` ``.
    pub kind: String,
    /// What its other cells hold.
    pub cells: EvaluationCells,
    /// What we wrote there for the same sweep before: such cells may be updated.
    pub before: Option<EvaluationCells>,
}

/// Cells of a row of the evaluations table that change while a sweep goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationCells {
    /// `mrpc, stsb`.
    pub tasks: String,
    /// `**MRPC F1:** 82.2% <br> **STS-B P:** 0.650`.
    pub scores: String,
    /// A link.
    pub wandb: String,
    /// Why the gate was overridden, if it was.
    pub conclusion: String,
}

/// One change of one document: the payload of an outbox entry. Applying it twice equals once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
pub enum DocumentEdit {
    /// Appends a row to the observations table, made when missing.
    ObservationRow(ObservationRow),
    /// Fills cells of the run's row in the project's own table.
    RunRow {
        /// Whose row.
        run: RunId,
        /// What to fill.
        fills: Vec<CellFill>,
        /// Whether a run without a row gets one.
        add_missing: bool,
        /// The project's own header texts.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: HeaderNames,
    },
    /// Appends a row to the evaluations table, made when missing, or brings it up to date.
    EvaluationRow(EvaluationRow),
    /// Gives the row of a training that was begun the id of the run that it became.
    TieRow {
        /// The run.
        run: RunId,
        /// The id that the row was begun with: the run's without its time stamp.
        base: String,
        /// The tag of the start, by which the row is found.
        tag: String,
        /// What was written into the row then.
        cells: Vec<CellFill>,
        /// The project's own header texts.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        headers: HeaderNames,
    },
    /// Writes a failure note beside the log, unless the file exists.
    FailureNote {
        /// Whose note.
        run: RunId,
        /// The file's name inside the run reports folder.
        file: String,
        /// The whole text.
        text: String,
    },
    /// Adds the list item under `## Failure Notes` that links to the note.
    FailureLine {
        /// Whose note.
        run: RunId,
        /// The note's file name inside the run reports folder.
        file: String,
        /// The list item's text after the link, already escaped.
        summary: String,
    },
}

impl DocumentEdit {
    /// Returns the run that the edit is about.
    pub fn run(&self) -> &str {
        match self {
            Self::ObservationRow(row) => &row.run,
            Self::EvaluationRow(row) => &row.run,
            Self::RunRow { run, .. }
            | Self::TieRow { run, .. }
            | Self::FailureNote { run, .. }
            | Self::FailureLine { run, .. } => run.as_str(),
        }
    }
}
