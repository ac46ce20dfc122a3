//! Whether the changes of a log are all runscribe's own.

use std::collections::{BTreeMap, BTreeSet};

use similar::{ChangeTag, TextDiff};

use crate::model::ids::RunId;

use super::columns;
use super::escape;
use super::markdown::{Line, Lines};
use super::table;

/// What runscribe has written into a log, as far as it remembers.
#[derive(Debug, Clone, Default)]
pub struct OwnWriting {
    /// Observations as (time, run, checkpoint), see [`super::observed`].
    pub observations: BTreeSet<(String, String, String)>,
    /// File names of failure notes.
    pub notes: BTreeSet<String>,
    /// The ids that stand in run rows, with or without a time stamp, and the cells that were written
    /// there last.
    pub rows: BTreeMap<String, BTreeSet<String>>,
}

/// Longer logs are not compared, in bytes.
const LONGEST: usize = 8 << 20;
/// Lines that stand above what runscribe writes.
const FRAME: [&str; 5] = [
    "# master experiment log",
    "## training runs",
    "## checkpoint observations",
    "## failure notes",
    "## evaluation experiments (zero training cost)",
];

/// Returns whether every line that differs is one that runscribe wrote: an observation or a failure
/// that it remembers, or a run's row in which it wrote every cell that differs.
pub fn are_all_ours(origin: &[u8], now: &[u8], own: &OwnWriting) -> bool {
    if origin.len().max(now.len()) > LONGEST {
        return false;
    }
    let (Ok(origin), Ok(now)) = (str::from_utf8(origin), str::from_utf8(now)) else {
        return false;
    };
    let diff = TextDiff::from_lines(origin, now);
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for change in diff.iter_all_changes() {
        match change.tag() {
            ChangeTag::Delete => removed.push(change.value().as_bytes()),
            ChangeTag::Insert => added.push(change.value().as_bytes()),
            ChangeTag::Equal => {}
        }
    }
    let mut before: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in removed {
        match row(line, own) {
            Some((id, cells)) => drop(before.insert(id, cells)),
            // The last line gets an end when something is written below it.
            None if line.trim_ascii().is_empty() || ends_now(line, &added) => {}
            None => return false,
        }
    }
    let all = added.iter().all(|line| is_ours(line, &mut before, own));
    all && before.is_empty()
}

fn ends_now(line: &[u8], added: &[&[u8]]) -> bool {
    !line.ends_with(b"\n")
        && added.iter().any(|other| other.trim_ascii_end() == line.trim_ascii_end())
}

fn is_ours(line: &[u8], before: &mut BTreeMap<String, Vec<String>>, own: &OwnWriting) -> bool {
    let text = String::from_utf8_lossy(line).trim().to_lowercase();
    if text.is_empty() || FRAME.iter().any(|frame| text.starts_with(frame)) {
        return true;
    }
    if text.starts_with("- ") {
        return own
            .notes
            .iter()
            .any(|file| text.contains(&escape::link_target(file).to_lowercase()));
    }
    let cells = cells(line);
    let key = |at: usize| cells.get(at).cloned().unwrap_or_default();
    if own.observations.contains(&(key(0), key(1), key(2))) || is_frame_of_table(&cells) {
        return true;
    }
    let Some((id, cells)) = row(line, own) else { return false };
    let allowed = own.rows.get(&id);
    let old = before.remove(&id).or_else(|| before.remove(RunId::new(id.as_str()).base()));
    cells.iter().enumerate().all(|(at, cell)| {
        let is_kept = old.as_ref().is_some_and(|old| old.get(at) == Some(cell));
        is_kept
            || *cell == id
            || columns::is_empty(cell.as_bytes())
            || allowed.is_some_and(|allowed| allowed.contains(cell))
    })
}

/// The header or the delimiter row of a table that runscribe makes.
fn is_frame_of_table(cells: &[String]) -> bool {
    let is_delimiter = |cell: &String| !cell.is_empty() && cell.chars().all(|c| "-:".contains(c));
    let begins = |header: &[&str]| {
        cells.len() >= header.len() && header.iter().zip(cells).all(|(one, cell)| one == cell)
    };
    cells.len() > 2 && cells.iter().all(is_delimiter)
        || begins(&["Time", "Run ID", "Checkpoint"])
        || begins(&columns::RUN_TABLE)
}

/// Returns the id and the cells of a run's row that is known.
fn row(line: &[u8], own: &OwnWriting) -> Option<(String, Vec<String>)> {
    let cells = cells(line);
    let id = cells.iter().find(|cell| own.rows.contains_key(*cell))?.clone();
    Some((id, cells))
}

fn cells(line: &[u8]) -> Vec<String> {
    let Some(first) = Lines::within(line, &(0..line.len())).next() else { return Vec::new() };
    let read = |line_of: Line| {
        table::cells(line, line_of)
            .map(|cell| escape::reading(table::trimmed(line, &cell)))
            .collect()
    };
    if table::has_pipe(first.text(line)) { read(first) } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "d_H1L1C1_20260223_203349";
    const HEAD: &str = "# Log\n\n## Training Runs\n\n| Run ID | Eff. Rank | Conclusion |\n|---|---|---|\n\
                        | `d_H1L1C1_20260223_203349` | -- | mine |\n\nProse.\n";

    fn own() -> OwnWriting {
        let key = ["2026-02-25 14:03:07 +01:00", RUN, "checkpoint-20"].map(str::to_owned);
        let [time, run, checkpoint] = key;
        let rows = [
            (RUN.to_owned(), BTreeSet::from(["10.1 / 128 (7.9%)".to_owned()])),
            ("d_H1L1C1".to_owned(), BTreeSet::from(["PENDING: x".to_owned()])),
        ];
        OwnWriting {
            observations: BTreeSet::from([(time, run, checkpoint)]),
            notes: BTreeSet::from(["a_failure.md".to_owned()]),
            rows: rows.into(),
        }
    }

    #[test]
    fn what_runscribe_wrote_is_told_from_what_a_person_did() {
        let observation = "\n## Checkpoint Observations\n\n| Time | Run ID | Checkpoint | Eff. Rank | \
                           Note |\n|---|---|---|---|---|\n| 2026-02-25 14:03:07 +01:00 | \
                           `d_H1L1C1_20260223_203349` | `checkpoint-20` | 1 | |\n";
        let note = "\n## Failure Notes\n\n- [`a`](run_reports/a_failure.md) 2026\n";
        let filled = HEAD.replace("| -- |", "| **10.1 / 128** (7.9%) |");
        let pending = HEAD.replace("\n\nProse", "\n| `d_H1L1C1` | -- | PENDING: x |\n\nProse");
        for (text, expected) in [
            (HEAD.to_owned(), true),
            (format!("{HEAD}{observation}{note}"), true),
            (filled.clone(), true),
            (pending.clone(), true),
            (format!("{filled}\n"), true),
            (filled.replace("mine", "theirs"), false),
            (HEAD.replace("| -- |", "| 7 |"), false),
            (pending.replace("PENDING: x", "PENDING: y"), false),
            (HEAD.replace("Prose", "Words"), false),
            (HEAD.replace("| `d_H1L1C1_20260223_203349` | -- | mine |\n", ""), false),
            (format!("{HEAD}{}", observation.replace("-20`", "-40`")), false),
            (format!("{HEAD}{}", note.replace("a_fail", "b_fail")), false),
            (format!("{HEAD}more\n"), false),
        ] {
            assert_eq!(are_all_ours(HEAD.as_bytes(), text.as_bytes(), &own()), expected, "{text}");
        }
        // A row that was committed while it waited, and has its run's id now.
        let tied = pending.replace("`d_H1L1C1`", "`d_H1L1C1_20260223_203349`");
        let committed = pending.replace("| `d_H1L1C1_20260223_203349` | -- | mine |\n", "");
        let now = tied.replacen("| `d_H1L1C1_20260223_203349` | -- | mine |\n", "", 1);
        assert!(are_all_ours(committed.as_bytes(), now.as_bytes(), &own()));
    }
}
