//! Rows of the observations table: where they go, and when they are there already.

use expect_test::{Expect, expect};

use super::support::{PROJECT_LOG, difference, edited, first_apply, observed, row};
use crate::document::{contains, observed as observed_in};
use crate::model::observation::DocumentEdit;

const TIME: &str = "2026-02-25 14:03:07 +01:00";
const RUN: &str = "diffusion_H512L2C128D2_20260223_203349";

fn check(log: &str, expected: &Expect) {
    let edit = observed(TIME, RUN, "checkpoint-5000");
    expected.assert_eq(&difference(log, &edited(log, &edit)));
}

#[test]
fn a_log_without_the_section_gets_it_at_its_end() {
    check(
        PROJECT_LOG,
        &expect![[r#"
        +
        +## Checkpoint Observations
        +
        +| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
        +|---|---|---|---|---|---|---|---|---|
        +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-5000` | 10.1 / 128 (7.9%) | 0.187 | 1.000 | 1.433 | pass | duplicate concepts |
    "#]],
    );
}

#[test]
fn an_empty_log_gets_the_section_alone() {
    check(
        "",
        &expect![[r#"
        +## Checkpoint Observations
        +
        +| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
        +|---|---|---|---|---|---|---|---|---|
        +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-5000` | 10.1 / 128 (7.9%) | 0.187 | 1.000 | 1.433 | pass | duplicate concepts |
    "#]],
    );
}

#[test]
fn a_missing_log_is_created_with_the_project_s_table() {
    let applied = first_apply(None, &observed(TIME, RUN, "final")).unwrap();
    assert!(applied.changed);
    expect![[r#"
        # Master Experiment Log

        ## Training Runs

        | Date | Run ID / Model Type | Architecture | Pretraining Data | Machine | Epochs | Concept Losses | Task Loss | Eff. Rank | Key GLUE Scores | Speed (Steps/s) | WandB Link | Git Tag | Conclusion / Takeaway |
        |---|---|---|---|---|---|---|---|---|---|---|---|---|---|

        ## Checkpoint Observations

        | Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
        |---|---|---|---|---|---|---|---|---|
        | 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `final` | 10.1 / 128 (7.9%) | 0.187 | 1.000 | 1.433 | pass | duplicate concepts |
    "#]].assert_eq(&String::from_utf8_lossy(&applied.bytes));
}

#[test]
fn rows_follow_the_table_s_last_row_wherever_the_section_stands() {
    check(
        "# Log\n\n## Checkpoint Observations\n\n| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |\n|---|---|---|---|---|---|---|---|---|\n| t | `r` | `c` | | | | | | |\nA remark right below.\n\n## Training Runs\n",
        &expect![[r#"
            +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-5000` | 10.1 / 128 (7.9%) | 0.187 | 1.000 | 1.433 | pass | duplicate concepts |
        "#]],
    );
}

#[test]
fn a_lone_pipe_ends_the_table_because_nothing_below_it_is_shown_as_a_row() {
    // A person began a row and left it. Our row once went below it, where GitHub's parser (and
    // with it everybody who reads the log) took both lines for a paragraph.
    for begun in ["|", "  | ", "|\n| not | a | row |"] {
        check(
            &format!(
                "## Checkpoint Observations\n\n| Time | Run ID | Checkpoint |\n|---|---|---|\n| t | `r` | `c` |\n{begun}\n"
            ),
            &expect![[r#"
                +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-5000` |
            "#]],
        );
    }
    let log = "## Checkpoint Observations\n\n|\n|---|---|---|\n| t | `r` | `c` |\n";
    assert_eq!(observed_in(log.as_bytes()), [], "a lone pipe is no header");
}

#[test]
fn columns_that_a_person_moved_added_or_removed_are_followed() {
    check(
        "## Checkpoint observations\n\n  Checkpoint | Seen by | Run ID | Verdict | Time\n  :--|--|--|--|--:\n",
        &expect![[r#"
            +  | `checkpoint-5000` | -- | `diffusion_H512L2C128D2_20260223_203349` | pass | 2026-02-25 14:03:07 +01:00 |
        "#]],
    );
}

#[test]
fn a_heading_whose_table_is_gone_gets_a_new_one() {
    check(
        "## Checkpoint Observations\n\nAll moved to the archive.\n\n## Next\n",
        &expect![[r#"
            +| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
            +|---|---|---|---|---|---|---|---|---|
            +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-5000` | 10.1 / 128 (7.9%) | 0.187 | 1.000 | 1.433 | pass | duplicate concepts |
            +
        "#]],
    );
    check(
        "## Checkpoint Observations\ntext",
        &expect![[r#"
        +
        +| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
        +|---|---|---|---|---|---|---|---|---|
        +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-5000` | 10.1 / 128 (7.9%) | 0.187 | 1.000 | 1.433 | pass | duplicate concepts |
        +
    "#]],
    );
    check(
        "# Log\n## Checkpoint Observations",
        &expect![[r#"
        -## Checkpoint Observations
        +## Checkpoint Observations
        +
        +| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
        +|---|---|---|---|---|---|---|---|---|
        +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-5000` | 10.1 / 128 (7.9%) | 0.187 | 1.000 | 1.433 | pass | duplicate concepts |
    "#]],
    );
}

#[test]
fn our_own_table_is_preferred_to_others_with_the_same_header() {
    let header = "| Time | Run ID | Checkpoint | Verdict |\n|---|---|---|---|\n";
    let log = format!(
        "## Archive\n\n{header}| a | b | c | pass |\n\n## Checkpoint Observations: Odra\n\n{header}\n\
         ## Checkpoint Observations\n\n### 2026\n\n{header}\n## End\n"
    );
    check(
        &log,
        &expect![[r#"
        +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-5000` | pass |
    "#]],
    );
}

#[test]
fn a_person_s_table_of_times_and_checkpoints_is_not_ours() {
    check(
        "| Time | Run ID | Checkpoint | Remark |\n|---|---|---|---|\n",
        &expect![[r#"
        +
        +## Checkpoint Observations
        +
        +| Time | Run ID | Checkpoint | Eff. Rank | Mean sim. | Max sim. | Eval loss | Verdict | Note |
        +|---|---|---|---|---|---|---|---|---|
        +| 2026-02-25 14:03:07 +01:00 | `diffusion_H512L2C128D2_20260223_203349` | `checkpoint-5000` | 10.1 / 128 (7.9%) | 0.187 | 1.000 | 1.433 | pass | duplicate concepts |
    "#]],
    );
}

#[test]
fn a_row_is_found_again_however_a_person_formats_it() {
    let edit = observed(TIME, RUN, "checkpoint-5000");
    let header = "## Checkpoint Observations\n\n| Time | Run ID | Checkpoint |\n|--|--|--|\n";
    for line in [
        format!("| {TIME} | `{RUN}` | `checkpoint-5000` |"),
        format!("|{TIME}|{RUN}|checkpoint-5000|"),
        format!("| **{TIME}** |  [`{RUN}`](run_reports/x.md)   | *checkpoint-5000*"),
        format!("{TIME} | {} | checkpoint-5000", RUN.replace('_', "\\_")),
    ] {
        let log = format!("{header}{line}\n");
        assert!(contains(log.as_bytes(), &edit), "{line}");
        assert_eq!(edited(&log, &edit), log, "{line}");
    }
    for line in [
        format!("| {TIME} | `{RUN}` | `checkpoint-50000` |"),
        format!("| {TIME} | `{RUN}` | `checkpoint-5000`, again |"),
        format!("| 2026-02-25 14:03:08 +01:00 | `{RUN}` | `checkpoint-5000` |"),
        format!("| {TIME} | `x{RUN}` | `checkpoint-5000` |"),
        format!("| {TIME} | `{RUN}` |"),
        format!("<!-- {TIME} | `{RUN}` | `checkpoint-5000` -->"),
    ] {
        let log = format!("{header}{line}\n");
        assert!(!contains(log.as_bytes(), &edit), "{line}");
    }
}

#[test]
fn observations_of_a_lost_journal_are_read_from_every_table() {
    let mut log = edited("", &observed(TIME, RUN, "checkpoint-5000"));
    log = edited(&log, &observed(TIME, RUN, "final"));
    log.push_str("\n## Archive\n\n| Run ID | Time | Verdict | Checkpoint |\n|-|-|-|-|\n| r | t | pass | `checkpoint-1` |\n");
    let found = observed_in(log.as_bytes());
    let expected =
        [(TIME, RUN, "checkpoint-5000"), (TIME, RUN, "final"), ("t", "r", "checkpoint-1")];
    assert_eq!(found, expected.map(|(time, run, name)| (time.into(), run.into(), name.into())));
}

#[test]
fn hostile_texts_stay_in_their_cells() {
    for hostile in [
        "a|b",
        "`|`",
        "\\|",
        "\\\\|",
        "x\n| forged | row |",
        "\u{1b}[31mred\u{1b}[0m",
        "nul\0nul",
        "<script>alert(1)</script>",
        "<!-- gone",
        "```",
        "[click](http://evil)",
        "ends\\",
        "\r\n## Heading",
        "\u{202e}desrever",
        "&#124;&lt;b&gt;",
        "**bold** _x_ ~~y~~",
        "   ",
        "",
        &"|`".repeat(50_000),
    ] {
        let mut hostile_row = row(hostile, hostile, hostile);
        hostile_row.rank = hostile.into();
        hostile_row.verdict = hostile.into();
        hostile_row.note = hostile.into();
        let edit = DocumentEdit::ObservationRow(hostile_row);
        let plain = edited("", &observed(TIME, RUN, "final"));
        let log = edited(&plain, &edit);
        let added = log.strip_prefix(plain.as_str()).unwrap_or_default();
        assert_eq!(added.lines().count(), 1, "{hostile:?}: {added}");
        assert!(added.len() < 5_000, "{hostile:?}");
        assert!(!added.contains(['\0', '\u{1b}', '\u{202e}', '\r']), "{hostile:?}: {added}");
        assert!(!added.contains("<script") && !added.contains("<!--"), "{added}");
        let mut unescaped = added.replace("\\\\", "").replace("\\|", "");
        unescaped.retain(|character| character == '|');
        assert_eq!(unescaped.len(), 10, "{hostile:?}: {added}");
        assert_eq!(edited(&log, &edit), log, "{hostile:?}");
        assert_eq!(observed_in(log.as_bytes()).len(), 2, "{hostile:?}");
    }
}
