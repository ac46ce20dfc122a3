//! Which runs failed or collapsed, as the experiment log itself says: a clone elsewhere has no
//! journal, and neither has a project that is new to runscribe.

use std::collections::BTreeMap;

use crate::document::inventory::{self, SeenRow};
use crate::model::ids::RunId;
use crate::model::measurement::{Gate, Severity};
use crate::model::observation::RunColumn;

use super::reading::is_pending;

/// The measurement that stands in the log's cells of ranks.
const RANK: &str = "global_effective_rank";
/// Words with which a conclusion of trouble begins.
const WORDS: [&str; 4] = ["failed", "collapsed", "diverged", "crashed"];

/// Returns what became of the runs whose row or observations tell of trouble.
pub(super) fn read(log: &[u8], rows: &[SeenRow], gates: &[Gate]) -> BTreeMap<RunId, String> {
    let mut troubles = BTreeMap::new();
    for (run, checkpoint) in inventory::failed_observations(log) {
        troubles.entry(run).or_insert_with(|| format!("failed a gate at {checkpoint}"));
    }
    for row in rows.iter().filter(|row| !is_pending(row)) {
        let Some(run) = &row.run else { continue };
        if let Some(what) = concluded(row).or_else(|| collapsed(row, run, gates)) {
            troubles.entry(run.clone()).or_insert(what);
        }
    }
    troubles
}

fn concluded(row: &SeenRow) -> Option<String> {
    let text = &row.cell(RunColumn::Conclusion)?.text;
    let mut words = text.split(|character: char| !character.is_alphabetic());
    let first = words.find(|word| !word.is_empty())?.to_lowercase();
    WORDS.contains(&first.as_str()).then(|| format!("{first}, as its row says,"))
}

/// `4.1 / 128 (3.2%)`, `4.1 / 128 (6.4% of 64)`: the rank, and of how many dimensions. Where the
/// rank does not tell, its gate is not applied.
fn collapsed(row: &SeenRow, run: &RunId, gates: &[Gate]) -> Option<String> {
    let text = &row.cell(RunColumn::EffectiveRank)?.text;
    let (rank, rest) = text.split_once('/')?;
    let rank: f64 = rank.trim().parse().ok()?;
    let concepts = leading_number(rest.trim_start())?;
    let of = rest.split_once("% of ").and_then(|(_, rest)| leading_number(rest));
    let hidden = || dimension(run, 'H').map_or(concepts, |hidden| hidden.min(concepts));
    let dimensions = of.unwrap_or_else(hidden);
    let is_violated = |gate: &Gate| {
        let reference = gate.reference.map(u32::try_from);
        let least = match (gate.min, reference) {
            (Some(min), Some(Ok(reference))) => {
                Some(min * f64::from(dimensions) / f64::from(reference))
            }
            (min, None) => min,
            _ => None,
        };
        // A rank is never below 1, so a gate below 1 cannot decide.
        least.is_some_and(|least| least >= 1.0 && rank < least)
    };
    let ours = gates.iter().filter(|gate| gate.measurement == RANK);
    let mut deciding = ours.filter(|gate| gate.severity == Severity::Fail);
    deciding.any(is_violated).then(|| format!("collapsed to a rank of {rank}"))
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text.get(..end)?.parse().ok()
}

/// `diffusion_H512L2C128D2_…`: the number behind a letter in the part of the dimensions.
fn dimension(run: &RunId, letter: char) -> Option<u32> {
    let part = run.base().rsplit('_').next()?;
    leading_number(part.split_once(letter)?.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::observation::HeaderNames;

    #[test]
    fn trouble_is_told_from_what_passed_and_what_is_not_known() {
        let gates = crate::settings::defaults(std::path::Path::new("/x")).gates;
        for (run, rank, conclusion, expected) in [
            ("x_H512L2C128_20260101_000000", "**20.1 / 128** (15.7%)", "Good.", None),
            ("x_H512L2C128_20260101_000000", "10.0 / 128", "--", None),
            ("x_H512L2C128_20260101_000000", "**4.1 / 128** (3.2%)", "Odd.", Some("rank of 4.1")),
            ("x_H64L2C128_20260101_000000", "5.1 / 128", "", None),
            ("x_H64L2C128_20260101_000000", "4.9 / 128", "", Some("rank of 4.9")),
            ("other_20260101_000000", "4.9 / 128 (7.7% of 64)", "", Some("rank of 4.9")),
            ("other_20260101_000000", "5.1 / 128 (8.0% of 64)", "", None),
            ("x_H8L2C8_20260101_000000", "0.5 / 8", "", None),
            (
                "x_H512L2C128_20260101_000000",
                "--",
                "**FAILED: out of memory.** [Note](a.md)",
                Some("failed"),
            ),
            ("x_H512L2C128_20260101_000000", "4.1", "Collapsed after 3 epochs", Some("collapsed")),
            ("x_H512L2C128_20260101_000000", "4.1 of 128", "No run failed here", None),
            ("x_H512L2C128_20260101_000000", "4.1 / 128", "PENDING: failed before", None),
        ] {
            let text = format!(
                "## Training Runs\n\n| Run ID | Eff. Rank | Conclusion / Takeaway |\n|---|---|---|\n\
                 | `{run}` | {rank} | {conclusion} |\n"
            );
            let rows = inventory::run_rows(text.as_bytes(), &HeaderNames::new());
            let found = read(text.as_bytes(), &rows, &gates);
            let found = found.get(&RunId::new(run)).map(String::as_str);
            let is_as_expected = match (found, expected) {
                (Some(found), Some(expected)) => found.contains(expected),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_as_expected, "{rank} {conclusion}: {found:?}");
        }
    }
}
