//! How reasons name measurements and print numbers: short, and never on the wrong side of a
//! threshold.

use std::cmp::Ordering;

use super::belief::is_rank;
use crate::model::measurement::{
    EMBEDDING_WEIGHT_RANK, GLOBAL_EFFECTIVE_RANK, MAX_CONCEPT_SIMILARITY, MEAN_CONCEPT_SIMILARITY,
    Report,
};

/// More decimals than these tell no two doubles of ordinary size apart.
const MAX_DECIMALS: usize = 17;
/// Numbers of more digits than this are printed with an exponent.
const LARGEST_PLAIN: f64 = 1e9;
/// The longest kind, in characters; it becomes a part of a file name.
const MAX_KIND_CHARS: usize = 60;

/// Returns a measurement's name for people; unusual ones keep the name they have in reports, so that
/// the batch mean `effective_rank` cannot pass for the effective rank.
pub(super) fn label(measurement: &str) -> &str {
    match measurement {
        GLOBAL_EFFECTIVE_RANK => "effective rank",
        EMBEDDING_WEIGHT_RANK => "embedding weight rank",
        MEAN_CONCEPT_SIMILARITY => "mean similarity",
        MAX_CONCEPT_SIMILARITY => "max similarity",
        other => other,
    }
}

/// Says that a measurement has no value: `no effective rank`, or `… (NaN)` when the report names it.
///
/// A report stores NaN and both infinities as one absence. They are all called NaN here: a ratio of
/// finite norms is never infinite.
pub(super) fn missing(report: &Report, measurement: &str) -> String {
    let not_finite = if report.measurements.contains_key(measurement) { " (NaN)" } else { "" };
    format!("no {}{not_finite}", label(measurement))
}

/// Prints a number shortest: `10`, `0.5`, `7.3125`.
pub(super) fn number(value: f64) -> String {
    if value != 0.0 && !(1e-6..LARGEST_PLAIN).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        // Six decimals are enough for a reader; zeros at the end say nothing.
        let text = format!("{value:.6}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Prints `<label> <value> < <threshold>` (or `>`) with as few decimals of the value as keep it on its
/// side of the threshold, at least one for ranks and three for others.
pub(super) fn comparison(measurement: &str, value: f64, threshold: f64, order: Ordering) -> String {
    let rank = is_rank(measurement);
    let shown_threshold = if rank { self::threshold(threshold) } else { number(threshold) };
    let (shown_value, shown_threshold) = (if rank { 1 } else { 3 }..=MAX_DECIMALS)
        .map(|decimals| plain(value, decimals))
        .find(|shown| ordered(shown, &threshold.to_string(), order))
        .filter(|shown| ordered(shown, &shown_threshold, order))
        .map_or_else(|| in_full(value, threshold), |shown| (shown, shown_threshold));
    let sign = if order == Ordering::Less { "<" } else { ">" };
    format!("{} {shown_value} {sign} {shown_threshold}", label(measurement))
}

/// Prints a rank's threshold: `10.0`, `2.5`.
pub(super) fn threshold(threshold: f64) -> String {
    let text = number(threshold);
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text + ".0" } else { text }
}

/// Prints a rank that passes with as few decimals as keep it on its side of the threshold.
pub(super) fn rank_beside(rank: f64, threshold: f64) -> String {
    let stands = |shown: &String| {
        shown.parse::<f64>().is_ok_and(|shown| (shown >= threshold) == (rank >= threshold))
    };
    let mut forms = (1..=MAX_DECIMALS).map(|decimals| plain(rank, decimals));
    forms.find(stands).unwrap_or_else(|| format!("{rank:e}"))
}

/// Returns the kind of failure note that a gate asks for: its name in lower case, everything but
/// ASCII letters and digits as single hyphens.
pub(super) fn kind(gate_name: &str) -> String {
    let lower = gate_name.to_ascii_lowercase();
    let words: Vec<&str> = lower
        .split(|char: char| !char.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let slug: String = words.join("-").chars().take(MAX_KIND_CHARS).collect();
    if slug.is_empty() { "gate".to_owned() } else { slug.trim_end_matches('-').to_owned() }
}

/// Prints both numbers so that they read back as they are, for those that differ in the last digits.
fn in_full(value: f64, threshold: f64) -> (String, String) {
    (format!("{value:e}"), format!("{threshold:e}"))
}

fn plain(number: f64, decimals: usize) -> String {
    if number.abs() < LARGEST_PLAIN {
        format!("{number:.decimals$}")
    } else {
        format!("{number:.decimals$e}")
    }
}

/// Returns whether two printed numbers stand in this order.
fn ordered(left: &str, right: &str, order: Ordering) -> bool {
    match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left.partial_cmp(&right) == Some(order),
        _ => false,
    }
}
