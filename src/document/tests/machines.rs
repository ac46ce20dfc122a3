//! Observations where each machine has a table of its own, and what one side of a divided log
//! changed.

use expect_test::expect;

use super::support::{PROJECT_LOG, difference, links, observed};
use crate::document::{Machine, OwnChanges, apply_as};
use crate::model::ids::RunId;
use crate::model::observation::{CellFill, DocumentEdit, HeaderNames, RunColumn};

const TIME: &str = "2026-02-25 14:03:07 +01:00";
const RUN: &str = "diffusion_H512L2C128D2_20260223_203349";

fn written(log: &str, name: &str, checkpoint: &str) -> String {
    let machine = Machine { name: name.into(), others: vec!["wanda".into(), "odra".into()] };
    let edit = observed(TIME, RUN, checkpoint);
    let applied =
        apply_as(Some(log.as_bytes()), &edit, &|_| None, &links(), Some(&machine)).unwrap();
    String::from_utf8(applied.bytes).unwrap()
}

#[test]
fn the_headings_of_all_machines_are_made_once() {
    let first = written(PROJECT_LOG, "polonez.lan", "checkpoint-1");
    expect![[r"
        +
        +## Checkpoint Observations: Odra
        +
        +| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
        +|---|---|---|---|---|---|---|---|---|
        +
        +## Checkpoint Observations: Polonez
        +
        +| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
        +|---|---|---|---|---|---|---|---|---|
        +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-1` | 10.1 / 128 (7.9%) | 0.187 | 1.000 | 1.433 | pass | duplicate concepts |
        +
        +## Checkpoint Observations: wanda
        +
        +| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
        +|---|---|---|---|---|---|---|---|---|
    "]]
    .assert_eq(&difference(PROJECT_LOG, &first));
    // Another machine finds its own there, and adds nothing but its row.
    let second = written(&first, "odra", "checkpoint-2");
    let added = difference(&first, &second);
    assert_eq!(added.lines().count(), 1, "{added}");
    let place = second.find("`checkpoint-2`").unwrap();
    assert!(place < second.find("Observations: Polonez").unwrap(), "{second}");
    assert_eq!(written(&second, "odra", "checkpoint-2"), second, "twice equals once");
}

#[test]
fn a_row_that_stands_under_the_common_heading_is_not_repeated() {
    let edit = observed(TIME, RUN, "final");
    let common = apply_as(Some(PROJECT_LOG.as_bytes()), &edit, &|_| None, &links(), None).unwrap();
    let common = String::from_utf8(common.bytes).unwrap();
    assert_eq!(written(&common, "polonez", "final"), common);
}

#[test]
fn a_machine_is_not_taken_for_one_whose_name_begins_with_its_own() {
    let first = written("# Log\n", "gpu1", "checkpoint-1");
    let second = written(&first, "gpu10", "checkpoint-2");
    assert!(second.contains("## Checkpoint Observations: gpu10\n"), "{second}");
}

#[test]
fn what_one_side_changed_is_known_by_its_edits() {
    let ours = written(PROJECT_LOG, "polonez", "checkpoint-1");
    let row = |run: &str| DocumentEdit::RunRow {
        run: RunId::new(run),
        fills: vec![CellFill { column: RunColumn::TaskLoss, value: "1.2".into() }],
        add_missing: false,
        headers: HeaderNames::new(),
    };
    let other = "perceiver_mlm_H512L6C128_20260219_105435";
    let filled = apply_as(Some(ours.as_bytes()), &row(other), &|_| None, &links(), None).unwrap();
    assert!(filled.changed);
    let mut changes = OwnChanges::new(PROJECT_LOG.as_bytes(), &filled.bytes);
    for (edit, is_ours) in [
        (observed(TIME, RUN, "checkpoint-1"), true),
        (observed(TIME, RUN, "checkpoint-2"), false),
        (row(other), true),
        (row(RUN), false),
        (row("unknown_20260219_105435"), false),
    ] {
        assert_eq!(changes.has(&edit), is_ours, "{edit:?}");
    }
}
