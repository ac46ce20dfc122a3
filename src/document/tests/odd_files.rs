//! Logs as they should not be: line ends, encodings, conflicts, unclosed blocks, size.

use super::support::{edited, failure_line, first_apply, links, observed, run_row};
use crate::document::{apply, contains};
use crate::model::observation::{DocumentEdit, RunColumn};

const TABLE: &str = "| Run ID | Eff. Rank |\n|-|-|\n| `r_1` | -- |\n";

/// Returns the table with every line indented.
fn indented(by: &str) -> String {
    format!("{by}{}\n", TABLE.trim_end().replace('\n', &format!("\n{by}")))
}

fn rank() -> DocumentEdit {
    run_row("r_1", &[(RunColumn::EffectiveRank, "10.1")], true)
}

#[test]
fn every_line_end_is_kept_and_continued() {
    for end in ["\n", "\r\n", "\r"] {
        for tail in ["", "x"] {
            let log = format!("\u{feff}# Log{end}{}{tail}", TABLE.replace('\n', end));
            for edit in [rank(), observed("t", "r", "final"), failure_line("r", "n.md", "s")] {
                let after = edited(&log, &edit);
                let ends = |text: &str| text.matches(end).count();
                let breaks = |text: &str| text.matches(['\n', '\r']).count();
                assert_eq!(breaks(&after), ends(&after) * end.len(), "{edit:?}: {after:?}");
                assert_eq!(after.ends_with(end), log.ends_with(end), "{edit:?}: {after:?}");
            }
        }
    }
}

#[test]
fn what_is_appended_leaves_the_whole_log_as_a_prefix() {
    for log in ["", "\u{feff}", "x", "x\n", "x\n\n", "x\n  ", "x\r\n", "\n", " ", "- item", "> q"] {
        let after = edited(log, &observed("t", "r", "final"));
        let added = after.strip_prefix(log).unwrap_or_default();
        assert!(added.trim_start().starts_with("## Checkpoint Observations"), "{log:?}: {after:?}");
        let lines: Vec<&str> = after.trim_start_matches('\u{feff}').lines().collect();
        let heading = lines.iter().position(|line| line.starts_with("##")).unwrap_or_default();
        assert!(heading == 0 || lines[heading - 1].trim().is_empty(), "{log:?}: {after:?}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_stay() {
    let mut log = b"caf\xe9 \xff\xfe\0\n".to_vec();
    log.extend_from_slice(TABLE.as_bytes());
    log.extend_from_slice(b"| \xe9 | -- |  \t\n\x80");
    let applied = apply(Some(&log), &rank(), &|_| None, &links()).unwrap();
    let expected = String::from_utf8_lossy(&log).replacen("-- |", "10.1 |", 1);
    assert_eq!(String::from_utf8_lossy(&applied.bytes), expected);
    assert_eq!(applied.bytes.len(), log.len() + 2);
}

#[test]
fn a_log_with_conflict_markers_is_held() {
    let held = |log: &str| first_apply(Some(log), &rank()).err().map(|held| held.0);
    let conflict = format!("{TABLE}<<<<<<< HEAD\n| a | b |\n=======\n| c | d |\n>>>>>>> main\n");
    assert_eq!(
        held(&conflict).as_deref(),
        Some("line 4 is a merge conflict marker: resolve the conflict")
    );
    assert!(held("<!--\n>>>>>>> main\n-->\n").is_some());
    for harmless in [
        format!("Title\n=======\n\n{TABLE}"),
        format!("```\n<<<<<<< HEAD\n=======\n>>>>>>> main\n```\n{TABLE}"),
        format!("- ~~~~\n  ~~~\n  <<<<<<< HEAD\n  ~~~~\n{TABLE}"),
        format!("<<<<<<<< eight\n <<<<<<< indented\n<<<<<<<none\n\n{TABLE}"),
    ] {
        assert_eq!(held(&harmless), None, "{harmless}");
    }
}

#[test]
fn nothing_is_appended_where_it_would_not_be_seen() {
    for open in ["```\n", "text\n~~~ info\n```\n", "<!-- ", "<pre>\n\n"] {
        let log = format!("{TABLE}\n{open}");
        assert!(edited(&log, &rank()).contains("10.1"), "{open}");
        let held = edited(&log, &observed("t", "r", "final"));
        assert!(held.starts_with("HELD: the code fence or comment that begins in line"), "{held}");
    }
    for closed in ["- ```\n  code\n", "<div>\n<p>\n", "<!-- a -->\n", "> ```\n", "    ```\n"] {
        let after = edited(closed, &observed("t", "r", "final"));
        assert!(after.starts_with(closed), "{after}");
    }
}

#[test]
fn utf_16_is_held() {
    for mark in [b"\xFF\xFE#\0", b"\xFE\xFF\0#"] {
        let held = apply(Some(mark), &rank(), &|_| None, &links()).unwrap_err();
        assert_eq!(held.to_string(), "the log is UTF-16: save it as UTF-8");
    }
}

#[test]
fn hidden_tables_are_not_the_table() {
    let edit = run_row("r_1", &[(RunColumn::EffectiveRank, "1")], false);
    for log in [
        format!("```\n{TABLE}```\n"),
        format!("````md\n```\n{TABLE}```\n"),
        format!("~~~\n```\n~~\n{TABLE}"),
        format!("- ```\n{}", indented("  ")),
        format!("1. - ~~~\n{}", indented("     ")),
        format!("<!--\n\n{TABLE}\n-->\n"),
        format!("<details>\n{TABLE}"),
        format!("<PRE>\n\n{TABLE}"),
        indented("    "),
        indented("\t"),
        indented("> "),
        // Without a blank line all of it goes on with the item's or the quote's paragraph.
        format!("- item\n{TABLE}"),
        format!("> quote\n{TABLE}"),
        format!("- item\n\n  more of it\n{TABLE}"),
        format!("- item\n\n  {TABLE}"),
        TABLE.replace("|-|-|", "|-|x|"),
        TABLE.replace("|-|-|\n", "\n|-|-|\n"),
        TABLE.replace("| `r_1`", "\n| `r_1`"),
    ] {
        assert_eq!(edited(&log, &edit), log, "{log}");
    }
}

#[test]
fn tables_that_look_hidden_are_found() {
    let edit = run_row("r_1", &[(RunColumn::EffectiveRank, "10.1")], false);
    for log in [
        format!("```\n~~~\n````\n{TABLE}"),
        format!("- ```\n  code\nback to text\n{TABLE}"),
        format!("- item\n  ```\n  code\n{TABLE}"),
        format!("- item\n\n{TABLE}"),
        format!("> # Quoted heading\n{TABLE}"),
        format!("``` not a `fence`\n{TABLE}"),
        format!("a <!-- b -->\n{TABLE}"),
        format!("<!-- a\nb --> c\n{TABLE}"),
        format!("<details>\n\n{TABLE}"),
        format!("<detailsx>\n{TABLE}"),
        format!("text right above\n{TABLE}"),
        indented("   "),
        TABLE.replace("|-|-|", "| :-: |"),
    ] {
        assert_eq!(edited(&log, &edit), log.replace("-- |", "10.1 |"), "{log}");
    }
}

#[test]
fn a_failure_note_is_no_edit_of_the_log() {
    let edit = DocumentEdit::FailureNote {
        run: crate::model::ids::RunId::new("r"),
        file: "n.md".into(),
        text: "# Failure".into(),
    };
    let applied = first_apply(Some("<<<<<<< x\n"), &edit).unwrap();
    assert_eq!((applied.bytes.as_slice(), applied.changed), (b"<<<<<<< x\n".as_slice(), false));
    assert!(contains(b"", &edit));
    assert!(!first_apply(None, &edit).unwrap().changed);
}

#[test]
fn a_log_of_10_mb_and_10_000_rows_takes_every_edit() {
    let mut log =
        String::from("## Training Runs\n\n| Run ID | Eff. Rank | Conclusion |\n|-|-|-|\n");
    let remark = "x ".repeat(470);
    let rows = (0..10_000).map(|number| format!("| `r_{number}` | -- | {remark}{number} |\n"));
    log.extend(rows);
    assert!(log.len() > 9_000_000);
    let edit = run_row("r_9999", &[(RunColumn::EffectiveRank, "10.1")], true);
    let filled = edited(&log, &edit);
    assert!(filled == log.replace("`r_9999` | --", "`r_9999` | 10.1"));
    let observed = edited(&filled, &observed("t", "r_1", "final"));
    assert!(observed.starts_with(&filled));
    let added = edited(&observed, &run_row("new", &[], true));
    assert_eq!(added.len(), observed.len() + "| `new` | -- | -- |\n".len());
}
