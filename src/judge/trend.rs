//! Whether a rank that still passes is on its way below the gate.
//!
//! Ranks fall by shares and not by amounts: a collapse loses about the same fraction from one
//! checkpoint to the next. So the rule works on logarithms, and it wants to be sure:
//! 1. The last three ranks at least fall, one after the other, and by a tenth in all: the order of
//!    the data alone moves a rank by up to 3 %.
//! 2. The pace is the slower one of the last fall and of the median of the last three.
//! 3. Each further fall is the pace times how much the last fall slowed down against the one before,
//!    so that the first drop of a healthy training, which comes to rest, is none.
//! 4. What would be below the gate within two checkpoints is a warning.

use crate::model::measurement::{Judgment, Verdict};

use super::wording;

/// Falls that the pace is taken of.
const FALLS: usize = 3;
/// Falls in a row without which nothing is said.
const FALLS_AT_LEAST: usize = 2;
/// Checkpoints that are looked ahead.
const AHEAD: u64 = 2;
/// The share of the rank that must have been lost in the ranks that are looked at.
const LOST_AT_LEAST: f64 = 0.1;
/// Ranks that the reason shows.
const SHOWN: usize = 3;

/// Makes a verdict of `pass` a `warn` when the rank falls toward its gate, and adds the reason to one
/// that is `warn` already. `earlier` are ranks of the same measurement and protocol with their
/// steps, in the order of steps; `step` is that of this judgment.
pub fn warn_of_fall(judgment: &mut Judgment, earlier: &[(u64, f64)], step: u64) {
    if !matches!(judgment.verdict, Verdict::Pass | Verdict::Warn) {
        return;
    }
    let Some(rank) = &judgment.rank else { return };
    let Some(gate) = &rank.gate else { return };
    let mut ranks: Vec<(u64, f64)> =
        earlier.iter().copied().filter(|(known, _)| *known < step).collect();
    ranks.push((step, rank.value));
    if let Some(reason) = fall(&ranks, gate.threshold) {
        judgment.verdict = Verdict::Warn;
        judgment.reasons.push(reason);
    }
}

/// Says where a falling rank reaches the threshold, if it does so soon.
fn fall(ranks: &[(u64, f64)], threshold: f64) -> Option<String> {
    let first = ranks.len().saturating_sub(FALLS + 1);
    let window = ranks.get(first..)?;
    let &(step, newest) = window.last()?;
    let is_sound = window.iter().all(|(_, rank)| rank.is_finite() && *rank > 0.0);
    if !is_sound || threshold <= 0.0 || newest < threshold {
        return None;
    }
    let rates: Vec<f64> = window.windows(2).filter_map(rate).collect();
    let last = *rates.last()?;
    let before = *rates.get(rates.len().checked_sub(FALLS_AT_LEAST)?)?;
    let falling = rates.iter().rev().take_while(|rate| **rate < 0.0).count();
    let highest = window.iter().rev().take(falling + 1).map(|(_, rank)| *rank).reduce(f64::max)?;
    if falling < FALLS_AT_LEAST || newest > highest * (1.0 - LOST_AT_LEAST) {
        return None;
    }
    // Both are negative: the larger one is the slower fall.
    let pace = last.max(median(&rates)?);
    let slowing = (last / before).min(1.0);
    let interval = interval(window)?;
    let mut expected = newest.ln();
    let mut step_of_fall = pace * exact(interval);
    for ahead in 1..=AHEAD {
        step_of_fall *= slowing;
        expected += step_of_fall;
        if expected < threshold.ln() {
            let reached = step.saturating_add(interval.saturating_mul(ahead));
            return Some(reason(window, threshold, reached));
        }
    }
    None
}

fn reason(window: &[(u64, f64)], threshold: f64, reached: u64) -> String {
    let first = window.len().saturating_sub(SHOWN);
    let shown: Vec<String> =
        window.iter().skip(first).map(|(_, rank)| wording::rank_beside(*rank, threshold)).collect();
    let gate = wording::threshold(threshold);
    let shown = shown.join(", ");
    format!("rank falls toward the gate: {shown}; {gate} is reached at about checkpoint-{reached}")
}

/// Returns the change of the rank's logarithm per step.
fn rate(pair: &[(u64, f64)]) -> Option<f64> {
    let [(from, before), (to, after)] = pair else { return None };
    let steps = to.checked_sub(*from).filter(|steps| *steps > 0)?;
    Some((after / before).ln() / exact(steps))
}

/// Returns the middle of the distances between the checkpoints, in steps.
fn interval(window: &[(u64, f64)]) -> Option<u64> {
    let mut distances: Vec<u64> = window
        .windows(2)
        .filter_map(|pair| match pair {
            [(from, _), (to, _)] => to.checked_sub(*from),
            _ => None,
        })
        .collect();
    distances.sort_unstable();
    distances.get(distances.len() / 2).copied()
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
fn exact(count: u64) -> f64 {
    count as f64
}
