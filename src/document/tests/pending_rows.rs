//! Rows of trainings that were begun, until their runs have them.

use proptest::prelude::*;

use super::oracle::shows_table;
use crate::document::pending::{PendingRow, PlanColumn, begin, waits};
use crate::document::{Links, apply, contains};
use crate::model::ids::RunId;
use crate::model::observation::{CellFill, DocumentEdit, HeaderNames, RunColumn};

const BASE: &str = "diffusion_H512L6C128D2";
const TAG: &str = "train/diffusion_H512L6C128D2_20260223";
const RUN: &str = "diffusion_H512L6C128D2_20260223_203349";
const LOG: &str = "# Log\r\n\r\n## Training Runs\r\n\r\n| Date | Run ID / Model Type | Pretraining Data \
                   | Epochs | Concept Losses | Eff. Rank | Git Tag | Conclusion / Takeaway |\r\n\
                   |---|---|---|---|---|---|---|---|\r\n| 2026-02-01 | \
                   `diffusion_H512L6C128D2_20260201_000000` | x | 1 | none | -- | — | done |\r\n\r\nProse.";

const RUNS_HEADER: &str = "| Date | Run ID / Model Type | Architecture | Pretraining Data | Machine \
                           | Epochs | Concept Losses | Task Loss | Eff. Rank | Key GLUE Scores \
                           | Speed (Steps/s) | WandB Link | Git Tag | Conclusion / Takeaway |";

fn row() -> PendingRow {
    let fill = |column, value: &str| CellFill { column, value: value.to_owned() };
    PendingRow {
        run: BASE.to_owned(),
        tag: TAG.to_owned(),
        cells: vec![
            fill(RunColumn::Date, "2026-02-23"),
            fill(RunColumn::GitTag, &format!("`{TAG}`")),
            fill(RunColumn::Conclusion, "PENDING: LR 3e-4 cosine, batch 512"),
        ],
        plan: vec![
            (PlanColumn::Data, "a|b".to_owned()),
            (PlanColumn::Epochs, "20".to_owned()),
            (PlanColumn::Losses, "vicreg".to_owned()),
        ],
    }
}

fn tie() -> DocumentEdit {
    DocumentEdit::TieRow {
        run: RunId::new(RUN),
        base: BASE.to_owned(),
        tag: TAG.to_owned(),
        cells: row().cells,
        headers: HeaderNames::new(),
    }
}

fn applied(log: &str, edit: &DocumentEdit, written: Option<&str>) -> (String, Vec<RunColumn>) {
    let links = Links { reports: "run_reports".to_owned() };
    let written = |_| written.map(str::to_owned);
    let applied = apply(Some(log.as_bytes()), edit, &written, &links).unwrap();
    assert!(contains(&applied.bytes, edit));
    let columns = applied.cells.iter().map(|(column, _)| *column).collect();
    (String::from_utf8(applied.bytes).unwrap(), columns)
}

fn begun(log: Option<&str>) -> String {
    let begun = begin(log.map(str::as_bytes), &row(), &HeaderNames::new()).unwrap();
    assert!(begun.changed);
    String::from_utf8(begun.bytes).unwrap()
}

#[test]
fn a_training_that_is_begun_gets_a_row_once() {
    let log = begun(Some(LOG));
    let line = "| 2026-02-23 | `diffusion_H512L6C128D2` | a\\|b | 20 | vicreg | -- | \
                `train/diffusion_H512L6C128D2_20260223` | PENDING: LR 3e-4 cosine, batch 512 |\r\n";
    assert_eq!(log, LOG.replace("\r\n\r\nProse.", &format!("\r\n{line}\r\nProse.")));
    assert!(waits(log.as_bytes(), BASE, TAG, &HeaderNames::new()));
    let again = begin(Some(log.as_bytes()), &row(), &HeaderNames::new()).unwrap();
    assert!(!again.changed && again.bytes == log.as_bytes());
    assert_eq!(again.cells.len(), 3);
    // A second start has a tag, and so a row, of its own.
    let second = PendingRow { tag: format!("{TAG}-2"), ..row() };
    let cells = vec![CellFill { column: RunColumn::GitTag, value: format!("`{TAG}-2`") }];
    let second = PendingRow { cells, ..second };
    let both = begin(Some(log.as_bytes()), &second, &HeaderNames::new()).unwrap();
    assert!(both.changed);
    let fresh = begun(None);
    assert!(
        fresh.contains("| `diffusion_H512L6C128D2` | -- | a\\|b | -- | 20 | vicreg |"),
        "{fresh}"
    );
}

#[test]
fn a_row_that_waits_gets_the_id_of_its_run_and_nothing_else() {
    let log = begun(Some(LOG));
    let (tied, ours) = applied(&log, &tie(), None);
    assert_eq!(tied, log.replace("`diffusion_H512L6C128D2`", &format!("`{RUN}`")));
    assert_eq!(ours, [RunColumn::Date, RunColumn::GitTag, RunColumn::Conclusion]);
    let again = applied(&tied, &tie(), None);
    assert_eq!(again, (tied.clone(), ours));
    assert!(!waits(tied.as_bytes(), BASE, TAG, &HeaderNames::new()));
    // No second row, and the conclusion is runscribe's own to replace.
    let fill = |value: &str| DocumentEdit::RunRow {
        run: RunId::new(RUN),
        fills: vec![CellFill { column: RunColumn::Conclusion, value: value.to_owned() }],
        add_missing: true,
        headers: HeaderNames::new(),
    };
    let pending = "PENDING: LR 3e-4 cosine, batch 512";
    let (failed, _) = applied(&tied, &fill("**FAILED**"), Some(pending));
    assert_eq!(failed, tied.replace(pending, "**FAILED**"));
    let (left, _) = applied(&tied, &fill("**FAILED**"), None);
    assert_eq!(left, tied);
}

#[test]
fn what_a_person_wrote_into_the_row_stays_and_is_theirs() {
    let log = begun(Some(LOG))
        .replace("PENDING: LR 3e-4 cosine, batch 512", "PENDING: mine")
        .replace("| `diffusion_H512L6C128D2` |", "|  `diffusion_H512L6C128D2` on _two_ hosts |");
    let (tied, ours) = applied(&log, &tie(), None);
    let expected = format!("|  `{RUN}` on _two_ hosts |");
    assert_eq!(tied, log.replace("|  `diffusion_H512L6C128D2` on _two_ hosts |", &expected));
    assert_eq!(ours, [RunColumn::Date, RunColumn::GitTag]);
}

#[test]
fn a_row_of_another_start_or_none_is_left_alone() {
    for log in [
        LOG.to_owned(),
        begun(Some(LOG)).replace("_20260223`", "_20260222`"),
        begun(Some(LOG)).replace("`diffusion_H512L6C128D2`", "`diffusion_H512L6C128`"),
    ] {
        assert_eq!(applied(&log, &tie(), None), (log.clone(), Vec::new()));
    }
    // A table without tags shows by its conclusion what waits.
    let plain = "## Training Runs\n\n| Run ID | Conclusion |\n|---|---|\n| `diffusion_H512L6C128D2` | \
                 good |\n| `diffusion_H512L6C128D2` | PENDING: x |\n";
    let (tied, _) = applied(plain, &tie(), None);
    assert_eq!(tied, plain.replace("D2` | PENDING", "D2_20260223_203349` | PENDING"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // What precedes may hide the table: a fence, a comment or a declaration that is left open.
    #[test]
    fn beginning_and_tying_touch_only_their_row(
        head in "(```|~~~|<!--|<!A|<\\?|[ -~\\n|`#]{0,80})",
        cells in proptest::collection::vec("[ -{}~]{0,12}", 2),
        tail in "(\\n[ -~]{0,20}){0,6}",
    ) {
        let header = "| Run ID | Git Tag | Conclusion |";
        let above = format!("{head}\n\n## Training Runs\n\n{header}\n|---|---|---|\n\
             | `a_H1L1C1_20260101_000000` | {} | {} |\n", cells[0], cells[1]);
        let log = format!("{above}\n{tail}");
        let Ok(begun) = begin(Some(log.as_bytes()), &row(), &HeaderNames::new()) else {
            return Ok(());
        };
        let text = String::from_utf8(begun.bytes).unwrap();
        let added: Vec<&str> = text.lines().filter(|line| line.contains(TAG)).collect();
        prop_assert_eq!(added.len(), 1);
        if shows_table(&log, header) {
            prop_assert_eq!(&text, &format!("{above}{}\n\n{tail}", added[0]));
        } else {
            prop_assert!(text.starts_with(&log) && shows_table(&text, RUNS_HEADER), "{:?}", text);
        }
        let (tied, _) = applied(&text, &tie(), None);
        prop_assert_eq!(tied.replacen(RUN, BASE, 1), text);
    }
}
