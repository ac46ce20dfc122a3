//! Whether a report can be true: sizes that agree, batches, and values that a matrix can have.

use super::wording::{label, number};
use super::{Evidence, gates};
use crate::model::checkpoint::ModelConfig;
use crate::model::measurement::{
    EMBEDDING_WEIGHT_RANK, GLOBAL_EFFECTIVE_RANK, MAX_CONCEPT_SIMILARITY, MEAN_CONCEPT_SIMILARITY,
    Report,
};

/// Relative room for rounding: the analysis computes in `f32`, and its text has four decimals.
const SLACK: f64 = 1e-3;

/// Ranks by any definition lie between 1 and min(C, H).
const RANKS: [&str; 4] = [GLOBAL_EFFECTIVE_RANK, EMBEDDING_WEIGHT_RANK, "effective_rank", "rankme"];

/// Shares lie between 0 and 1.
const SHARES: [&str; 5] = [
    MEAN_CONCEPT_SIMILARITY,
    MAX_CONCEPT_SIMILARITY,
    "global_effective_rank_normalized",
    "embedding_weight_rank_normalized",
    "effective_rank_normalized",
];

/// C and H of a checkpoint, as far as they are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dimensions {
    pub(super) concepts: Option<u64>,
    pub(super) hidden: Option<u64>,
}

impl Dimensions {
    /// Takes each from the report, else from `config.json`.
    pub(super) fn of(report: &Report, config: &ModelConfig) -> Self {
        Self {
            concepts: report.concepts.or(config.concepts),
            hidden: report.hidden.or(config.hidden),
        }
    }

    /// Returns min(C, H), the largest rank there can be.
    pub(super) fn smaller(self) -> Option<u64> {
        Some(self.concepts?.min(self.hidden?))
    }
}

/// Returns whether a measurement is a rank, by whatever definition.
pub(super) fn is_rank(measurement: &str) -> bool {
    RANKS.contains(&measurement)
}

/// Returns every reason not to believe the report; none when there is no report to doubt.
pub(super) fn doubts(evidence: &Evidence<'_>) -> Vec<String> {
    let mut doubts = evidence.disbelief.to_vec();
    if let Some(report) = evidence.report {
        if report.batches == Some(0) {
            doubts.push("report of zero batches".to_owned());
        }
        doubts.extend(contradiction("C", report.concepts, evidence.config.concepts));
        doubts.extend(contradiction("H", report.hidden, evidence.config.hidden));
        let limit = Dimensions::of(report, evidence.config).smaller();
        doubts.extend(RANKS.iter().filter_map(|name| impossible_rank(report, name, limit)));
        doubts.extend(SHARES.iter().filter_map(|name| impossible_share(report, name)));
    }
    doubts
}

fn contradiction(letter: &str, reported: Option<u64>, configured: Option<u64>) -> Option<String> {
    let (reported, configured) = (reported?, configured?);
    (reported != configured)
        .then(|| format!("{letter} is {reported} in the report and {configured} in config.json"))
}

fn impossible_rank(report: &Report, name: &str, limit: Option<u64>) -> Option<String> {
    let value = gates::finite_value(report, name)?;
    let label = label(name);
    if value == 0.0 {
        return Some(format!("{label} is 0, as of zeroed weights"));
    }
    if value < 1.0 - SLACK {
        return Some(format!("impossible {label} {} < 1", number(value)));
    }
    let limit = limit?;
    (value > gates::exact(limit) * (1.0 + SLACK))
        .then(|| format!("impossible {label} {} > min(C, H) = {limit}", number(value)))
}

fn impossible_share(report: &Report, name: &str) -> Option<String> {
    let value = gates::finite_value(report, name)?;
    let label = label(name);
    if value < -SLACK {
        Some(format!("impossible {label} {} < 0", number(value)))
    } else if value > 1.0 + SLACK {
        Some(format!("impossible {label} {} > 1", number(value)))
    } else {
        None
    }
}
