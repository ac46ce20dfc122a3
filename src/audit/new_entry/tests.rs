//! Entries in their place, and nothing else touched.

use expect_test::{Expect, expect};
use jiff::civil::date;
use proptest::prelude::*;

use super::*;

fn entry() -> NewEntry {
    let change = |argument: &str| Change::read(argument).unwrap();
    NewEntry {
        day: date(2026, 2, 25),
        title: "Drop the self-attention".to_owned(),
        changes: vec![change("nn/diffusion.py: no self-attention"), change("`nn/`: less code")],
        why: "The decoder saw its input twice.".to_owned(),
        tag: Some("arch/x".to_owned()),
        todo: Some("TODO 6".to_owned()),
    }
}

fn made(file: Option<&str>, entry: &NewEntry) -> String {
    match add(file.map(str::as_bytes), entry) {
        Ok(Added::Made(bytes)) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?} of {file:?}"),
    }
}

fn check(file: Option<&str>, expected: &Expect) {
    expected.assert_eq(&made(file, &entry()));
}

#[test]
fn a_file_that_is_missing_is_made() {
    check(
        None,
        &expect![[r"
            # Changelog

            ## [Unreleased]

            ---

            ## [2026-02-25] — Drop the self-attention

            **What changed:**
            - `nn/diffusion.py`: no self-attention
            - `nn/`: less code

            **Why:** The decoder saw its input twice.

            **Git tag:** `arch/x`
            **Related TODO:** TODO 6
        "]],
    );
}

#[test]
fn the_form_of_the_file_is_used_and_a_newer_entry_stays_above() {
    check(
        Some(
            "# C\n\n## [2026-03-01] — Newer\n\n**Motivation:** x\n\n### Added — y\n\n---\n\n\
             ## [2026-02-25] — Same day\n\n**Why:** x\n",
        ),
        &expect![[r"
            # C

            ## [2026-03-01] — Newer

            **Motivation:** x

            ### Added — y

            ---

            ## [2026-02-25] — Drop the self-attention

            **Motivation:** The decoder saw its input twice.

            ### Changed — `nn/diffusion.py`

            - no self-attention

            ### Changed — `nn/`

            - less code

            **Git tag:** `arch/x`
            **Related TODO:** TODO 6

            ---

            ## [2026-02-25] — Same day

            **Why:** x
        "]],
    );
}

#[test]
fn a_file_that_shows_nothing_keeps_what_it_has() {
    for (file, head, tail) in [("", "", ""), ("\u{feff}", "\u{feff}", ""), ("\n\n", "", "\n\n")] {
        let made = made(Some(file), &entry());
        assert!(made.starts_with(&format!("{head}## [2026-02-25]")), "{made:?}");
        assert!(made.ends_with(&format!("TODO 6\n{tail}")), "{made:?}");
        assert!(matches!(add(Some(made.as_bytes()), &entry()), Ok(Added::There(1))));
    }
    let unended = made(Some("# C"), &entry());
    assert!(
        unended.starts_with("# C\n\n---\n\n## [") && unended.ends_with("TODO 6"),
        "{unended:?}"
    );
}

#[test]
fn another_entry_of_that_title_is_not_written_over() {
    let text = made(None, &entry());
    let line = text.lines().position(|line| line.starts_with("## [2026")).unwrap() + 1;
    assert_eq!(add(Some(text.as_bytes()), &entry()), Ok(Added::There(line)));
    let other = NewEntry { why: "Another reason.".to_owned(), ..entry() };
    let refused = add(Some(text.as_bytes()), &other).unwrap_err();
    assert!(refused.contains(&format!("line {line}")), "{refused}");
}

#[test]
fn what_would_not_be_read_as_an_entry_is_refused() {
    for (file, entry) in [
        (None, NewEntry { title: " ".to_owned(), ..entry() }),
        (None, NewEntry { title: "two\nlines".to_owned(), ..entry() }),
        (None, NewEntry { why: "x\n## [2026-01-01] — y".to_owned(), ..entry() }),
        (None, NewEntry { why: "x\n```\ny".to_owned(), ..entry() }),
        (None, NewEntry { why: " \n".to_owned(), ..entry() }),
        (Some("# C\n\n```\nopen"), entry()),
        (Some("<<<<<<< HEAD\n"), entry()),
        (Some("\u{feff}# C\n\n<!-- open"), entry()),
    ] {
        let refused = add(file.map(str::as_bytes), &entry);
        assert!(refused.is_err(), "{refused:?} of {file:?}");
    }
}

fn changelogs() -> impl Strategy<Value = String> {
    let entry = (1_i8..28, "[a-zé ]{1,9}", any::<bool>()).prop_map(|(day, title, ruled)| {
        let rule = if ruled { "\n---\n" } else { "" };
        format!("## [2026-02-{day:02}] — {title}\n\n**Why:** x \n**What changed:** y\n{rule}\n")
    });
    let entries = prop::collection::vec(entry, 0..5);
    (entries, any::<bool>(), any::<bool>(), 0_usize..3).prop_map(|(entries, mark, crlf, cut)| {
        let mark = if mark { "\u{feff}" } else { "" };
        let text =
            format!("{mark}# Changelog\n\nText.\t \n\n## [Unreleased]\n\n{}", entries.concat());
        let kept = text.trim_end_matches('\n').len() + 2;
        let text = text.get(..kept.min(text.len()) - cut.min(1)).unwrap_or(&text).to_owned();
        if crlf { text.replace('\n', "\r\n") } else { text }
    })
}

proptest! {
    #[test]
    fn only_the_entry_is_added_and_only_once(file in changelogs()) {
        let made = made(Some(&file), &entry());
        let added = made.len() - file.len();
        let same = file.bytes().zip(made.bytes()).take_while(|(old, new)| old == new).count();
        let is_inserted = (0..=same).rev().any(|at| {
            made.as_bytes()[..at] == file.as_bytes()[..at]
                && made.as_bytes()[at + added..] == file.as_bytes()[at..]
        });
        prop_assert!(is_inserted, "{file:?} became {made:?}");
        let again = add(Some(made.as_bytes()), &entry());
        prop_assert!(matches!(again, Ok(Added::There(_))), "{again:?}");
        let before = changelog::read(file.as_bytes());
        let after = changelog::read(made.as_bytes());
        let disorder = |of: &Changelog| of.entries.iter().filter(|e| e.is_out_of_order).count();
        prop_assert!(disorder(&after) <= disorder(&before) + 1);
        if disorder(&before) == 0 {
            prop_assert_eq!(disorder(&after), 0);
        }
    }
}
