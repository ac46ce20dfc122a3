//! Reports, measurements, gates and verdicts.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Name of the measurement that the experiment log speaks of: the nuclear norm divided by the
/// spectral norm of the uncentered mean concept matrix [C, H].
pub const GLOBAL_EFFECTIVE_RANK: &str = "global_effective_rank";
/// Name of the embedded probe's rank, measured on the concept embedding *weights*.
pub const EMBEDDING_WEIGHT_RANK: &str = "embedding_weight_rank";
/// Mean absolute cosine similarity over all pairs of concepts.
pub const MEAN_CONCEPT_SIMILARITY: &str = "mean_concept_similarity";
/// The largest absolute cosine similarity of any pair of concepts.
pub const MAX_CONCEPT_SIMILARITY: &str = "max_concept_similarity";

/// What defines each rank that runscribe stores; `None` for other measurements.
pub fn definition(measurement: &str) -> Option<&'static str> {
    match measurement {
        GLOBAL_EFFECTIVE_RANK => {
            Some("nuclear norm / spectral norm of the uncentered mean concept matrix")
        }
        EMBEDDING_WEIGHT_RANK => Some(
            "nuclear norm / spectral norm of the concept embedding weights, not of representations",
        ),
        "effective_rank" => Some("mean of the per-batch nuclear norm / spectral norm"),
        "rankme" => Some("exp(entropy) of the singular values divided by their sum"),
        _ => None,
    }
}

/// Which form of a report was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportSource {
    /// The file that `--output_json` names.
    Json,
    /// The text on standard output.
    Text,
}

/// One analysis' report, as facts. A number that is not finite is `None` with a problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Which form the numbers were read from.
    pub source: ReportSource,
    /// The checkpoint that the program says it measured.
    pub model_path: Option<String>,
    /// The model type that the program says it used.
    pub model_type: Option<String>,
    /// Number of concepts C.
    pub concepts: Option<u64>,
    /// Hidden size H.
    pub hidden: Option<u64>,
    /// Batches that were analyzed.
    pub batches: Option<u64>,
    /// Named numbers; `None` stands for NaN or an infinity.
    pub measurements: BTreeMap<String, Option<f64>>,
    /// What is wrong with the report, each a sentence fragment.
    pub problems: Vec<String>,
}

impl Report {
    /// Returns a measurement's finite value.
    pub fn value(&self, measurement: &str) -> Option<f64> {
        self.measurements.get(measurement).copied().flatten()
    }
}

/// How bad a violated gate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The run deserves a look.
    Warn,
    /// The run has failed.
    Fail,
}

/// A rule on one measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// Its name, unique among the gates.
    pub name: String,
    /// The measurement it judges.
    pub measurement: String,
    /// The smallest value that passes; equality passes.
    pub min: Option<f64>,
    /// The largest value that passes; equality passes.
    pub max: Option<f64>,
    /// When set, `min` is meant for this many dimensions and scaled by min(C, H) / reference.
    pub reference: Option<u64>,
    /// What a violation means.
    pub severity: Severity,
}

/// What the gates say of one checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every gate passed.
    Pass,
    /// A gate of severity `warn` is violated.
    Warn,
    /// A gate of severity `fail` is violated.
    Fail,
    /// It cannot be said; never healthy.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        })
    }
}

/// NaN and Inf counted in a checkpoint's own weights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scan", rename_all = "snake_case")]
pub enum FiniteWeights {
    /// All floating-point tensors were read.
    Counted {
        /// Tensors that were read.
        tensors: u64,
        /// Elements that were read.
        elements: u64,
        /// Elements that are NaN or infinite.
        not_finite: u64,
        /// The first tensors that hold such elements, at most five.
        first_tensors: Vec<String>,
    },
    /// The weights are in a form that is not scanned (pickled files are never loaded).
    NotScanned {
        /// Why not.
        reason: String,
    },
}

/// A measured rank beside the gate that judges it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankReading {
    /// The measurement's name.
    pub measurement: String,
    /// The rank; at least 1 for any matrix that is not zero.
    pub value: f64,
    /// Number of concepts C.
    pub concepts: Option<u64>,
    /// Hidden size H.
    pub hidden: Option<u64>,
    /// The gate on this measurement, if there is one.
    pub gate: Option<RankGate>,
}

/// The rank gate as it applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankGate {
    /// The gate's name.
    pub name: String,
    /// The minimum after scaling.
    pub threshold: f64,
    /// The configured minimum.
    pub min: f64,
    /// The configured reference, if the gate scales.
    pub reference: Option<u64>,
}

/// The verdict on one checkpoint with everything that led to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgment {
    /// What the gates say.
    pub verdict: Verdict,
    /// Why, one sentence fragment each; empty only for `pass`.
    pub reasons: Vec<String>,
    /// Remarks that do not change the verdict, such as `duplicate concepts`.
    pub remarks: Vec<String>,
    /// The rank beside its gate.
    pub rank: Option<RankReading>,
    /// The kind of failure note this verdict asks for: the failed gate's kind, such as
    /// `effective-rank` or `non-finite`.
    pub failure_kind: Option<String>,
}
