//! The list of failure notes.

use expect_test::{Expect, expect};

use super::support::{PROJECT_LOG, difference, edited, failure_line};
use crate::document::{Links, contains};
use crate::model::observation::DocumentEdit;

const NOTE: &str = "r_1_failure_20260225_effective-rank.md";

fn edit() -> DocumentEdit {
    failure_line(
        "r_1",
        NOTE,
        "2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000",
    )
}

fn check(log: &str, expected: &Expect) {
    expected.assert_eq(&difference(log, &edited(log, &edit())));
}

#[test]
fn the_section_is_made_at_the_end() {
    check(
        PROJECT_LOG.trim_end(),
        &expect![[r#"
        -~~~~
        +~~~~
        +
        +## Failure Notes
        +
        +- [`r_1`](run_reports/r_1_failure_20260225_effective-rank.md) — 2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000
    "#]],
    );
    check(
        "# Log\r\n\r\n",
        &expect![[r#"
            +## Failure Notes␍
            +␍
            +- [`r_1`](run_reports/r_1_failure_20260225_effective-rank.md) — 2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000␍
        "#]],
    );
}

#[test]
fn items_follow_the_last_one_with_all_that_belongs_to_it() {
    check(
        "## Failure Notes\n\n- one\n- two\n  more\n\n  still two\n\n    deep\n---\n\n## Next\n\n- other\n",
        &expect![[r#"
            +- [`r_1`](run_reports/r_1_failure_20260225_effective-rank.md) — 2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000
        "#]],
    );
    check(
        "### Failure notes\n- one\n  ```\n\n  - no item\n  ```\n\nThe end.\n",
        &expect![[r#"
            +- [`r_1`](run_reports/r_1_failure_20260225_effective-rank.md) — 2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000
            +
        "#]],
    );
    check(
        "## Failure Notes\n\n1. one",
        &expect![[r#"
        -1. one
        +1. one
        +- [`r_1`](run_reports/r_1_failure_20260225_effective-rank.md) — 2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000
    "#]],
    );
}

#[test]
fn a_section_without_items_gets_its_first() {
    check(
        "## Failure Notes\n\nNone so far.\n\n## Next\n",
        &expect![[r#"
        +- [`r_1`](run_reports/r_1_failure_20260225_effective-rank.md) — 2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000
        +
    "#]],
    );
    check(
        "Failure Notes\n-------------\n## Next\n",
        &expect![[r#"
        +
        +- [`r_1`](run_reports/r_1_failure_20260225_effective-rank.md) — 2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000
        +
    "#]],
    );
}

#[test]
fn what_is_indented_below_the_first_item_does_not_become_a_part_of_it() {
    // The fence would end with the item, and its closing line would open another one.
    check(
        "## Failure Notes\n\n   ~~~\ncode\n~~~\n",
        &expect![[r#"
            +- [`r_1`](run_reports/r_1_failure_20260225_effective-rank.md) — 2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000
            +<!-- -->
            +
        "#]],
    );
}

#[test]
fn a_table_right_below_the_items_stays_a_table() {
    // Without a blank line it would go on with our item's paragraph.
    check(
        "## Failure Notes\n- one\n  ```\n  code\n  ```\n| a | b |\n|---|---|\n",
        &expect![[r#"
            +
            +- [`r_1`](run_reports/r_1_failure_20260225_effective-rank.md) — 2026-02-25: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000
            +
        "#]],
    );
    let log = "## Failure Notes\n- one\n```\ncode\n```\n| a | b |\n|---|---|\n";
    assert!(edited(log, &edit()).contains("- one\n- [`r_1`]"), "code ends the list");
}

#[test]
fn a_note_that_is_linked_is_not_linked_again() {
    for line in [
        format!("- [`r_1`](run_reports/{NOTE}) — anything"),
        format!("A person's sentence about [it](../elsewhere/{NOTE})."),
        format!("    - deep [it]({NOTE})"),
    ] {
        let log = format!("{line}\n");
        assert!(contains(log.as_bytes(), &edit()), "{line}");
        assert_eq!(edited(&log, &edit()), log, "{line}");
    }
    for line in [
        format!("- [other](run_reports/a{NOTE})"),
        format!("- run_reports/{NOTE}"),
        format!("<!-- [`r_1`](run_reports/{NOTE}) -->"),
        format!("| Run ID | Conclusion |\n|-|-|\n| r_1 | [Note](run_reports/{NOTE}) |"),
    ] {
        assert!(!contains(format!("{line}\n").as_bytes(), &edit()), "{line}");
    }
}

#[test]
fn names_from_outside_cannot_break_the_item() {
    let edit = failure_line("r](x) `<b>\n- forged", "a b)(\n.md", "one\n- two");
    let log = edited("", &edit);
    expect![[r#"
        ## Failure Notes

        - [r\](x) \`&lt;b> - forged…c091971d](run_reports/a%20b%29%28%0A.md) — one - two
    "#]]
    .assert_eq(&log);
    assert_eq!(edited(&log, &edit), log);
}

#[test]
fn links_are_relative_to_the_log() {
    let target = |reports: &str| Links { reports: reports.into() }.target("ü note.md");
    assert_eq!(target("run_reports"), "run_reports/%C3%BC%20note.md");
    assert_eq!(target("../a b/"), "../a%20b/%C3%BC%20note.md");
    assert_eq!(target(""), "%C3%BC%20note.md");
}
