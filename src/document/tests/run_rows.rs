//! The run's row: which one it is, which cells are filled, which are a person's.

use expect_test::{Expect, expect};

use super::support::{PROJECT_LOG, difference, edited, fill, first_apply, links, run_row};
use crate::document::{apply, contains, machine_spelling, row_text};
use crate::model::ids::RunId;
use crate::model::observation::{DocumentEdit, HeaderMeaning, HeaderNames, RunColumn};

const ALL: [(RunColumn, &str); 9] = [
    (RunColumn::Date, "2026-02-25"),
    (RunColumn::Architecture, "H512 L6 C128"),
    (RunColumn::Machine, "polonez"),
    (RunColumn::TaskLoss, "2.718"),
    (RunColumn::EffectiveRank, "**10.1 / 128** (7.9%)"),
    (RunColumn::Speed, "2.41"),
    (RunColumn::WandbLink, "[run](https://wandb.ai/e/p/runs/r)"),
    (RunColumn::GitTag, "`train/perceiver_20260219`"),
    (RunColumn::Conclusion, "**FAILED: x.** [Note](run_reports/x.md)"),
];

fn check(log: &str, run: &str, expected: &Expect) {
    let edit = run_row(run, &ALL, true);
    let after = edited(log, &edit);
    expected.assert_eq(&difference(log, &after));
    assert_eq!(contains(log.as_bytes(), &edit), after == log);
}

#[test]
fn empty_cells_are_filled_and_a_person_s_stay() {
    check(
        PROJECT_LOG,
        "perceiver_mlm_H512L6C128_20260219_105435",
        &expect![[r#"
        -| 2026-02-19 | `perceiver_mlm_H512L6C128_20260219_105435` | H512 L6 C128 | Minipile | Odra | 20 | kendall_gal | -- | **TBD** | -- | ? | -- | 54ee870 | **TBD** |
        +| 2026-02-19 | `perceiver_mlm_H512L6C128_20260219_105435` | H512 L6 C128 | Minipile | Odra | 20 | kendall_gal | 2.718 | **10.1 / 128** (7.9%) | -- | 2.41 | [run](https://wandb.ai/e/p/runs/r) | 54ee870 | **FAILED: x.** [Note](run_reports/x.md) |
    "#]],
    );
    check(
        PROJECT_LOG,
        "diffusion_H512L2C128D2_20260221_195554",
        &expect![[r#"
        -| 2026-02-21 | `diffusion_H512L2C128D2_20260221_195554` <br> diffusion_mlm, continued from `perceiver_mlm_H512L6C128_20260219_105435` | H512 L2 C128 | Minipile | *pending* | 20 | none | -- | — | -- | -- | -- | `arch/diffusion-xattn-only-20260223` | PENDING: LR 3e-4 cosine, batch 512 |
        +| 2026-02-21 | `diffusion_H512L2C128D2_20260221_195554` <br> diffusion_mlm, continued from `perceiver_mlm_H512L6C128_20260219_105435` | H512 L2 C128 | Minipile | Polonez (4x RTX 3090) | 20 | none | 2.718 | **10.1 / 128** (7.9%) | -- | 2.41 | [run](https://wandb.ai/e/p/runs/r) | `arch/diffusion-xattn-only-20260223` | PENDING: LR 3e-4 cosine, batch 512 |
    "#]],
    );
    check(
        PROJECT_LOG,
        "perceiver_mlm_H512L6C128_20260208_211633",
        &expect![[r#"
        -| 2026-02-08 | `perceiver_mlm_H512L6C128_20260208_211633` <br> perceiver_mlm | H512 L6 C128 | Minipile | **Polonez** (4x RTX 3090) | 40 | none | 2.54 | **5.1 / 128** (4.0%) | **MRPC:** 81.3% <br> **QQP:** 72.5% | 2.1 | [link](https://wandb.ai/x/y/runs/1) | — | Concepts collapse. A `a \| b` note.   |
        +| 2026-02-08 | `perceiver_mlm_H512L6C128_20260208_211633` <br> perceiver_mlm | H512 L6 C128 | Minipile | **Polonez** (4x RTX 3090) | 40 | none | 2.54 | **5.1 / 128** (4.0%) | **MRPC:** 81.3% <br> **QQP:** 72.5% | 2.1 | [link](https://wandb.ai/x/y/runs/1) | `train/perceiver_20260219` | Concepts collapse. A `a \| b` note.   |
    "#]],
    );
}

#[test]
fn a_row_with_too_few_cells_gets_those_that_are_needed() {
    check(
        PROJECT_LOG,
        "diffusion_H512L2C128D2_20260223_203349",
        &expect![[r#"
        -| 2026-02-23 | `diffusion_H512L2C128D2_20260223_203349` | H512 L2 C128 | Minipile |
        +| 2026-02-23 | `diffusion_H512L2C128D2_20260223_203349` | H512 L2 C128 | Minipile | Polonez (4x RTX 3090) | -- | -- | 2.718 | **10.1 / 128** (7.9%) | -- | 2.41 | [run](https://wandb.ai/e/p/runs/r) | `train/perceiver_20260219` | **FAILED: x.** [Note](run_reports/x.md) |
    "#]],
    );
    check(
        "Note | Run ID | Other | Eff. Rank | More\n-|-|-|-|-\n\\\\| | some `r_1` \\  \n",
        "r_1",
        &expect![[r#"
            -\\| | some `r_1` \  
            +\\| | some `r_1` \ | -- | **10.1 / 128** (7.9%)  
        "#]],
    );
}

#[test]
fn blank_cells_without_white_space_get_some() {
    check(
        "Run ID|Eff. Rank|Task Loss|Speed\n-|-|-|-\nr_1||   |--  \n",
        "r_1",
        &expect![[r#"
        -r_1||   |--  
        +r_1| **10.1 / 128** (7.9%) | 2.718 |2.41  
    "#]],
    );
}

#[test]
fn a_run_without_a_row_gets_one() {
    check(
        PROJECT_LOG,
        "weighted_mlm_H128L2C32_20260220_080910",
        &expect![[r#"
        +| 2026-02-25 | `weighted_mlm_H128L2C32_20260220_080910` | H512 L6 C128 | -- | Polonez (4x RTX 3090) | -- | -- | 2.718 | **10.1 / 128** (7.9%) | -- | 2.41 | [run](https://wandb.ai/e/p/runs/r) | `train/perceiver_20260219` | **FAILED: x.** [Note](run_reports/x.md) |
    "#]],
    );
    check(
        "# Log\n\nweighted_mlm_H128L2C32_20260220_080910 is running | really.\n",
        "weighted_mlm_H128L2C32_20260220_080910",
        &expect![[r#"
            +
            +## Training Runs
            +
            +| Date | Run ID / Model Type | Architecture | Pretraining Data | Machine | Epochs | Concept Losses | Task Loss | Eff. Rank | Key GLUE Scores | Speed (Steps/s) | WandB Link | Git Tag | Conclusion / Takeaway |
            +|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
            +| 2026-02-25 | `weighted_mlm_H128L2C32_20260220_080910` | H512 L6 C128 | -- | polonez | -- | -- | 2.718 | **10.1 / 128** (7.9%) | -- | 2.41 | [run](https://wandb.ai/e/p/runs/r) | `train/perceiver_20260219` | **FAILED: x.** [Note](run_reports/x.md) |
        "#]],
    );
    check(
        "| Eff. Rank | Mine | Run ID | Task Loss |\r\n|-|-|-|-|\r\n| 1 | 2 | other | 4 |",
        "r_1",
        &expect![[r#"
            -| 1 | 2 | other | 4 |
            +| 1 | 2 | other | 4 |␍
            +| **10.1 / 128** (7.9%) | -- | `r_1` | 2.718 |
        "#]],
    );
}

#[test]
fn a_run_is_not_added_unless_asked() {
    let edit = run_row("nobody_20260101_000000", &ALL, false);
    assert_eq!(edited(PROJECT_LOG, &edit), PROJECT_LOG);
    assert!(contains(PROJECT_LOG.as_bytes(), &edit));
    let nothing = first_apply(None, &edit).unwrap();
    assert_eq!((nothing.bytes.len(), nothing.changed), (0, false));
}

#[test]
fn of_two_rows_of_a_run_the_first_is_filled() {
    check(
        "| Run ID | Eff. Rank |\n|-|-|\n| `r_1` | -- |\n| `r_1` | -- |\n",
        "r_1",
        &expect![[r#"
            -| `r_1` | -- |
            +| `r_1` | **10.1 / 128** (7.9%) |
        "#]],
    );
}

#[test]
fn a_table_under_training_runs_is_preferred() {
    let table = "| Run ID | Eff. Rank |\n|-|-|\n| `r_1` | -- |\n";
    let log =
        format!("## Best of\n\n{table}\n## 2. Training Runs (all)\n\n### February\n\n{table}");
    check(
        &log,
        "r_1",
        &expect![[r#"
        -| `r_1` | -- |
        +| `r_1` | **10.1 / 128** (7.9%) |
    "#]],
    );
    let scores = "| Run ID | MRPC |\n|-|-|\n| `r_1` | 82 |\n";
    check(
        &format!("{scores}\n{table}"),
        "r_1",
        &expect![[r#"
        -| `r_1` | -- |
        +| `r_1` | **10.1 / 128** (7.9%) |
    "#]],
    );
}

#[test]
fn the_run_id_must_stand_as_a_whole_word_and_first() {
    const RUN: &str = "X_20260101_000000";
    let is_row = |cell: &str| {
        let log = format!("| Run ID | Eff. Rank |\n|-|-|\n| {cell} | -- |\n");
        edited(&log, &run_row(RUN, &ALL, false)) != log
    };
    for cell in [
        "`X_20260101_000000`",
        "X_20260101_000000",
        "**X_20260101_000000** <br> perceiver_mlm",
        "perceiver (X_20260101_000000).",
        "[`X_20260101_000000`](run_reports/a.md)",
        "X\\_20260101\\_000000",
        "`X_20260101_000000`<br>from `Y_20260101_000000`",
        "`X_20260101_000000_b` no, `X_20260101_000000`",
    ] {
        assert!(is_row(cell), "{cell}");
    }
    for cell in [
        "`X_20260101_0000001`",
        "`aX_20260101_000000`",
        "`X_20260101_000000-2`",
        "`X_20260101_000000.old`",
        "`b.X_20260101_000000`",
        "`Y_20260101_000000`, from `X_20260101_000000`",
        "[note](X_20260101_000000)",
        "",
    ] {
        assert!(!is_row(cell), "{cell}");
    }
}

#[test]
fn our_own_cell_is_updated_until_a_person_changes_it() {
    let log = "| Run ID | Eff. Rank |\n|-|-|\n| `r_1` | **9.0 / 128** (7.0%) |\n";
    let edit = run_row("r_1", &[(RunColumn::EffectiveRank, "**10.1 / 128** (7.9%)")], true);
    let with = |written: Option<&str>| {
        let written = written.map(str::to_owned);
        apply(Some(log.as_bytes()), &edit, &move |_| written.clone(), &links()).unwrap()
    };
    assert!(with(Some("**9.0 / 128** (7.0%)")).changed);
    assert!(!with(None).changed);
    assert!(!with(Some("**8.9 / 128** (7.0%)")).changed);
    assert_eq!(with(None).cells, []);
}

#[test]
fn cells_that_hold_our_text_are_told() {
    let log = "| Run ID | Eff. Rank | Machine | Git Tag |\n|-|-|-|-|\n| r_1 | 10.1 | -- | mine |\n";
    let fills = [
        (RunColumn::EffectiveRank, "10.1"),
        (RunColumn::Machine, "a|b"),
        (RunColumn::GitTag, "theirs"),
        (RunColumn::Speed, "2.0"),
    ];
    let applied = first_apply(Some(log), &run_row("r_1", &fills, true)).unwrap();
    assert_eq!(
        applied.cells,
        [(RunColumn::EffectiveRank, "10.1".into()), (RunColumn::Machine, "a\\|b".into())]
    );
    let added = first_apply(Some(log), &run_row("r_2", &fills, true)).unwrap();
    let columns: Vec<RunColumn> = added.cells.iter().map(|(column, _)| *column).collect();
    assert_eq!(columns, [RunColumn::Machine, RunColumn::EffectiveRank, RunColumn::GitTag]);
}

#[test]
fn fills_that_say_nothing_are_no_fills() {
    let log = "| Run ID | Eff. Rank |\n|-|-|\n| `r_1` | **TBD** |\n";
    let edit = run_row("r_1", &[(RunColumn::EffectiveRank, "--")], true);
    assert_eq!(edited(log, &edit), log);
    assert!(contains(log.as_bytes(), &edit));
}

#[test]
fn a_fill_cannot_break_its_row() {
    let log = "|Run ID|Conclusion|Eff. Rank|\n|-|-|-|\n|r_1|--|--|\n";
    let after = edited(log, &run_row("r_1", &[(RunColumn::Conclusion, "a | b\n| c \\")], true));
    assert_eq!(after, "|Run ID|Conclusion|Eff. Rank|\n|-|-|-|\n|r_1|a \\| b \\| c &#92;|--|\n");
}

fn spelling(log: Option<&[u8]>, host: &str) -> String {
    machine_spelling(log, host, &HeaderNames::new())
}

#[test]
fn a_run_that_is_named_in_prose_only_has_no_row() {
    let table = "| Run ID | Eff. Rank |\n|---|---|\n| `a_1` | 9.0 |\n";
    let log = format!(
        "## Training Runs\n\nAfter `r_1` diverged we | `r_1` | again.\n\n{table}\n- `r_1`: --\n"
    );
    let edit = run_row("r_1", &[(RunColumn::EffectiveRank, "10.1")], true);
    let expected = log.replace("| 9.0 |\n", "| 9.0 |\n| `r_1` | 10.1 |\n");
    assert_eq!(edited(&log, &edit), expected);
}

#[test]
fn the_project_s_own_header_texts_lead_to_their_columns() {
    let log = "## Runs\n\n| Experiment | Dev loss | Hardware |\n|---|---|---|\n| `a_1` | 1 | Odra |\n| `r_1` | -- | -- |\n";
    let headers = HeaderNames::from([
        ("experiment".to_owned(), HeaderMeaning::RunId),
        ("DEV LOSS".to_owned(), HeaderMeaning::Column(RunColumn::TaskLoss)),
        ("Hardware".to_owned(), HeaderMeaning::Column(RunColumn::Machine)),
    ]);
    let fills = vec![fill(RunColumn::TaskLoss, "2.5"), fill(RunColumn::Machine, "odra")];
    let edit = |headers| DocumentEdit::RunRow {
        run: RunId::new("r_1"),
        fills: fills.clone(),
        add_missing: false,
        headers,
    };
    assert_eq!(edited(log, &edit(HeaderNames::new())), log, "nothing is known of these headers");
    let filled = edited(log, &edit(headers.clone()));
    assert_eq!(filled, log.replace("| `r_1` | -- | -- |", "| `r_1` | 2.5 | Odra |"));
    assert!(contains(filled.as_bytes(), &edit(headers)));
}

#[test]
fn machines_are_spelled_as_the_column_does() {
    let check = |host: &str, expected: &str| {
        assert_eq!(spelling(Some(PROJECT_LOG.as_bytes()), host), expected, "{host}");
    };
    check("polonez", "Polonez (4x RTX 3090)");
    check("POLONEZ.example.org", "Polonez (4x RTX 3090)");
    check("odra", "Odra");
    check("o-dra", "Odra");
    check("rtx", "Polonez (4x RTX 3090)");
    check("dra", "dra");
    check("", "");
    check("--", "--");
    assert_eq!(spelling(None, "odra"), "odra");
    let list =
        "| Run ID | Machine |\n|-|-|\n| a | Odra + Polonez |\n| b | odra 2 |\n| c | **ODRA** |\n";
    assert_eq!(spelling(Some(list.as_bytes()), "odra"), "ODRA");
    assert_eq!(spelling(Some(list.as_bytes()), "polonez"), "polonez");
}

#[test]
fn a_row_to_be_pasted_keeps_what_a_person_wrote_and_fills_the_rest() {
    let run = RunId::new("diffusion_H512L2C128D2_20260223_203349");
    let fills = vec![
        fill(RunColumn::Machine, "gpu|1"),
        fill(RunColumn::TaskLoss, "1.234"),
        fill(RunColumn::GitTag, "`train/x`"),
    ];
    let own = HeaderNames::new();
    let log = "## Training Runs\r\n\r\n| Run ID | Task Loss | Remark | Machine |\r\n|:--|--|--|--|\r\n\
               | `diffusion_H512L2C128D2_20260223_203349` | 1.3 | mine | -- |\r\n";
    let text = row_text(Some(log.as_bytes()), &run, fills.clone(), &own).unwrap();
    let header = ["| Run ID | Task Loss | Remark | Machine |", "|---|---|---|---|"];
    assert_eq!(text.header, header);
    let kept = "| `diffusion_H512L2C128D2_20260223_203349` | 1.3 | mine | gpu\\|1 |";
    assert_eq!(text.row, kept);
    let new = row_text(None, &run, fills, &own).unwrap();
    let row = "| -- | `diffusion_H512L2C128D2_20260223_203349` | -- | -- | gpu\\|1 | -- | -- | 1.234 | \
               -- | -- | -- | -- | `train/x` | -- |";
    assert_eq!(new.row, row);
    assert!(row_text(Some(b"<<<<<<< ours\n"), &run, Vec::new(), &own).is_err());
}
