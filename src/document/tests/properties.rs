//! What holds for every log and every edit: nothing is lost, only the target changes, twice is
//! once. Logs come from a grammar of what people write, and from arbitrary bytes.

use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::sample::select;
use proptest::test_runner::TestCaseError;

use super::support::{failure_line, links, observed, row, run_row};
use crate::document::markdown::{Blocks, Lines};
use crate::document::{apply, contains, escape, splice, table};
use crate::model::ids::RunId;
use crate::model::observation::{DocumentEdit, EvaluationCells, EvaluationRow, RunColumn};

const RUNS: [&str; 5] = [
    "diffusion_H512L2C128D2_20260223_203349",
    "diffusion_H512L2C128D2_20260223_2033490",
    "weighted_mlm_H128L2C32_20260220_080910",
    "odd name|with `marks` <b>_20260101_000000",
    "r_1",
];

fn run() -> impl Strategy<Value = String> {
    prop_oneof![8 => select(RUNS.as_slice()).prop_map(str::to_owned), 1 => ".{0,12}"]
}

fn cell() -> impl Strategy<Value = String> {
    const FIXED: &[&str] =
        &["--", "—", "", "  ", "**TBD**", "PENDING: LR 3e-4", "a \\| b", "`x", "10.1", "Odra", "é"];
    prop_oneof![
        4 => select(FIXED).prop_map(str::to_owned),
        2 => run().prop_map(|run| escape::code(&run)),
        1 => run().prop_map(|run| format!("{} <br> perceiver", escape::code(&run))),
    ]
}

fn table_row() -> impl Strategy<Value = String> {
    (vec(cell(), 1..7), any::<bool>(), any::<bool>()).prop_map(|(cells, opened, closed)| {
        let (open, close) = (if opened { "|" } else { "" }, if closed { "|" } else { "" });
        format!("{open} {} {close}", cells.join(" | "))
    })
}

fn run_table() -> impl Strategy<Value = Vec<String>> {
    const HEADERS: &[&str] = &[
        "| Date | Run ID / Model Type | Eff. Rank | Machine | Conclusion / Takeaway |",
        "| Run ID | Task Loss | Effective Rank | Note |",
        "| Run ID | MRPC |",
        "Eff. Rank | Run ID | Mine",
        "| Time | Run ID | Checkpoint | Verdict | Note |",
        "| Date | Eval Type | Source Checkpoint | Tasks | Key Scores | Conclusion |",
        "| Source | Scores |",
    ];
    (select(HEADERS), vec(table_row(), 0..5)).prop_map(|(header, rows)| {
        let columns = header.trim_matches('|').split('|').count();
        let mut lines = vec![header.to_owned(), format!("|{}", "---|".repeat(columns))];
        lines.extend(rows);
        lines
    })
}

fn segment() -> impl Strategy<Value = Vec<String>> {
    const HEADINGS: &[&str] = &[
        "# Log",
        "## Training Runs",
        "## Checkpoint Observations",
        "### Failure Notes",
        "## Evaluation Experiments (Zero Training Cost)",
        "Title\n=====",
    ];
    const OPENED: &[&str] = &["```", "~~~~ text", "<!-- hidden", "- ```", "<div>", "   ~~~"];
    const CLOSED: &[&str] = &["```", "~~~~~", "-->", "  ```", "", "not closed"];
    const PROSE: &[&str] = &[
        "plain",
        "a | b in prose",
        "---",
        "- item",
        "  continued",
        "> quote",
        "    code",
        "`",
        "\\",
        "<<<<<<< x",
        "|",
    ];
    prop_oneof![
        3 => select(HEADINGS).prop_map(|line| vec![line.to_owned()]),
        4 => run_table(),
        2 => vec(select(PROSE).prop_map(str::to_owned), 1..3),
        1 => run().prop_map(|run| vec![format!("- [{run}](run_reports/n.md) and {run} | too")]),
        2 => (select(OPENED), run_table(), select(CLOSED)).prop_map(
            |(open, table, close)| {
                let mut lines = vec![open.to_owned()];
                lines.extend(table);
                lines.push(close.to_owned());
                lines
            }
        ),
        4 => Just(vec![String::new()]),
    ]
}

pub(super) fn written_log() -> impl Strategy<Value = Vec<u8>> {
    let ends = select(["\n", "\r\n", "\r"].as_slice());
    (vec(segment(), 0..12), ends, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(segments, end, has_mark, is_ended, has_latin_1)| {
            let text = segments.concat().join("\n").replace('\n', end);
            let mut log = if has_mark { b"\xEF\xBB\xBF".to_vec() } else { Vec::new() };
            if has_latin_1 {
                log.extend_from_slice(b"caf\xe9");
                log.extend_from_slice(end.as_bytes());
            }
            log.extend_from_slice(text.as_bytes());
            if is_ended {
                log.extend_from_slice(end.as_bytes());
            }
            log
        },
    )
}

fn any_log() -> impl Strategy<Value = Vec<u8>> {
    let telling = b"|||--`~<>!#=\n\n\n\r \t\\:ab1.*_\xef\xbb\xbf\xff\0".as_slice();
    prop_oneof![
        6 => written_log(),
        2 => vec(select(telling), 0..120),
        1 => vec(any::<u8>(), 0..60),
    ]
}

pub(super) fn any_edit() -> impl Strategy<Value = DocumentEdit> {
    const COLUMNS: &[RunColumn] =
        &[RunColumn::EffectiveRank, RunColumn::Machine, RunColumn::Conclusion, RunColumn::Date];
    let value = prop_oneof![Just("10.1".to_owned()), Just("--".to_owned()), ".{0,8}"];
    prop_oneof![
        3 => (run(), ".{0,8}").prop_map(|(run, note)| {
            let mut row = row("2026-02-25 14:03:07 +01:00", &run, "checkpoint-20");
            row.note = note;
            DocumentEdit::ObservationRow(row)
        }),
        1 => (".{0,8}", ".{0,8}", ".{0,8}").prop_map(|(time, run, name)| observed(&time, &run, &name)),
        4 => (run(), vec((select(COLUMNS), value), 0..4), any::<bool>()).prop_map(
            |(run, fills, add)| {
                let fills: Vec<(RunColumn, &str)> =
                    fills.iter().map(|(column, value)| (*column, value.as_str())).collect();
                run_row(&run, &fills, add)
            }
        ),
        2 => (run(), "n{0,1}.{0,4}md", ".{0,8}").prop_map(|(run, file, text)| failure_line(&run, &file, &text)),
        3 => evaluation_row(),
    ]
}

fn evaluation_row() -> impl Strategy<Value = DocumentEdit> {
    let steps = select(["final", "checkpoint-20"].as_slice());
    let cells = (".{0,8}", ".{0,8}", ".{0,8}").prop_map(|(tasks, scores, conclusion)| {
        EvaluationCells { tasks, scores, wandb: String::new(), conclusion }
    });
    let before = prop_oneof![Just(None), cells.clone().prop_map(Some)];
    (run(), steps, "[-0-9]{0,10}", ".{0,8}", cells, before).prop_map(
        |(run, checkpoint, date, kind, cells, before)| {
            let checkpoint = checkpoint.to_owned();
            DocumentEdit::EvaluationRow(EvaluationRow {
                run,
                checkpoint,
                date,
                kind,
                cells,
                before,
            })
        },
    )
}

/// Returns the number of bytes that two texts share at their start and, beyond it, at their end.
fn shared(before: &[u8], after: &[u8]) -> (usize, usize) {
    let start = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let rest = before.len().min(after.len()) - start;
    let ends = before.iter().rev().zip(after.iter().rev()).take(rest);
    (start, ends.take_while(|(a, b)| a == b).count())
}

/// Checks that a filled row differs in nothing but cells of its own line.
fn check_filled_row(before: &[u8], after: &[u8], fills: usize) -> Result<(), TestCaseError> {
    let lines = |file| Lines::within(file, &(0..file.len())).collect::<Vec<_>>();
    let (old, new) = (lines(before), lines(after));
    prop_assert_eq!(old.len(), new.len());
    let differing: Vec<_> =
        old.iter().zip(&new).filter(|(o, n)| o.text(before) != n.text(after)).collect();
    prop_assert_eq!(differing.len(), 1);
    for (o, n) in &old.iter().zip(&new).collect::<Vec<_>>() {
        prop_assert_eq!(o.terminator(before), n.terminator(after));
    }
    for (old, new) in differing {
        let old_cells: Vec<_> = table::cells(before, *old).map(|cell| before.get(cell)).collect();
        let new_cells: Vec<_> = table::cells(after, *new).map(|cell| after.get(cell)).collect();
        let changed = old_cells.iter().zip(&new_cells).filter(|(o, n)| o != n).count();
        // An added cell is set off from an unclosed last one by a space.
        prop_assert!(changed <= fills + 1, "{:?} {:?}", old_cells, new_cells);
        prop_assert!(new_cells.len() >= old_cells.len());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blocks_and_lines_tile_every_file(log in any_log()) {
        let blocks: Vec<u8> =
            Blocks::new(&log).flat_map(|block| log.get(block.span).unwrap_or_default().to_vec()).collect();
        prop_assert_eq!(&blocks, &log);
        let mut at = 0;
        for line in Lines::within(&log, &(0..log.len())) {
            prop_assert!(line.start == at || at == 0 && line.start == 3);
            prop_assert!(line.start <= line.end && line.end <= line.next && line.next > at);
            at = line.next;
        }
        prop_assert_eq!(at, log.len());
        prop_assert_eq!(splice::print(&log, vec![]), log);
    }

    #[test]
    fn an_edit_changes_its_target_and_nothing_else(log in any_log(), edit in any_edit()) {
        let Ok(applied) = apply(Some(&log), &edit, &|_| None, &links()) else { return Ok(()) };
        prop_assert_eq!(applied.changed, applied.bytes != log);
        let (start, end) = shared(&log, &applied.bytes);
        let is_insertion = start + end == log.len();
        match &edit {
            DocumentEdit::RunRow { fills, .. } if applied.changed && !is_insertion => {
                check_filled_row(&log, &applied.bytes, fills.len())?;
            }
            DocumentEdit::EvaluationRow(_) if applied.changed && !is_insertion => {
                check_filled_row(&log, &applied.bytes, 4)?;
            }
            _ => prop_assert!(is_insertion, "{:?}", String::from_utf8_lossy(&applied.bytes)),
        }
    }

    #[test]
    fn an_edit_is_found_again_and_made_once(log in any_log(), edit in any_edit()) {
        let Ok(once) = apply(Some(&log), &edit, &|_| None, &links()) else { return Ok(()) };
        prop_assert!(contains(&once.bytes, &edit), "{}", String::from_utf8_lossy(&once.bytes));
        let twice = apply(Some(&once.bytes), &edit, &|_| None, &links());
        let twice = twice.map_err(|held| TestCaseError::fail(held.0))?;
        prop_assert!(!twice.changed);
        prop_assert_eq!(String::from_utf8_lossy(&twice.bytes), String::from_utf8_lossy(&once.bytes));
        prop_assert_eq!(contains(&log, &edit), !once.changed);
    }

    #[test]
    fn only_conflicts_encodings_and_open_ends_hold_an_edit(log in any_log(), edit in any_edit()) {
        if let Err(held) = apply(Some(&log), &edit, &|_| None, &links()) {
            let known = ["merge conflict marker", "UTF-16", "is never closed"];
            let is_known = known.iter().any(|reason| held.0.contains(reason));
            prop_assert!(is_known, "{} in {:?}", held, String::from_utf8_lossy(&log));
        }
    }

    #[test]
    fn edits_of_one_log_do_not_disturb_each_other(log in written_log(), edits in vec(any_edit(), 1..6)) {
        let mut text = log;
        let mut made = Vec::new();
        for edit in edits {
            if let Ok(applied) = apply(Some(&text), &edit, &|_| None, &links()) {
                text = applied.bytes;
                // An edit that had nothing to do may well have something to do later.
                if applied.changed {
                    made.push(edit);
                }
            }
        }
        for edit in made {
            prop_assert!(contains(&text, &edit), "{:?} in {}", edit, String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn escaped_text_reads_as_it_was(text in any::<String>(), limit in 1_usize..60) {
        let markdown = escape::escaped(&text, limit);
        let readable = escape::readable(&text, limit);
        prop_assert_eq!(escape::reading(markdown.as_bytes()), readable.clone());
        prop_assert!(readable.chars().count() <= limit);
        prop_assert_eq!(escape::readable(&readable, limit), readable);
        let line = format!("| {markdown} | x |");
        let whole = Lines::within(line.as_bytes(), &(0..line.len())).collect::<Vec<_>>();
        prop_assert_eq!(whole.len(), 1);
        prop_assert!(whole.iter().all(|row| table::cells(line.as_bytes(), *row).count() == 2));
    }

    #[test]
    fn markup_is_escaped_wherever_it_stands(text in "[ab|`<>!&#;\\\\*_~\\[\\]() \n\r\t\u{1b}-]{0,30}") {
        let markdown = escape::escaped(&text, 100);
        prop_assert_eq!(escape::reading(markdown.as_bytes()), escape::readable(&text, 100));
        let code = escape::code(&text);
        prop_assert_eq!(escape::reading(code.as_bytes()), escape::readable_name(&text));
    }

    #[test]
    fn different_names_stay_different(one in "[a\u{1b}\n\t `|…]{0,6}", other in "[a\u{1b}\n\t `|…]{0,6}") {
        prop_assert_eq!(one == other, escape::readable_name(&one) == escape::readable_name(&other));
        prop_assert_eq!(RunId::new(one.as_str()) == RunId::new(other.as_str()), escape::code(&one) == escape::code(&other));
    }
}
