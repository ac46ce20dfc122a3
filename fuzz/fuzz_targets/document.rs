//! Any edit of any log: nothing panics, what was there stays, the edit is found again, and making
//! it twice is making it once.
//!
//! The input is a byte that chooses the edit, three texts that end in NUL, and the log.
#![no_main]

use libfuzzer_sys::fuzz_target;
use runscribe::document::{Links, apply, contains};
use runscribe::model::ids::RunId;
use runscribe::model::observation::{
    CellFill, DocumentEdit, HeaderNames, ObservationRow, RunColumn,
};

fn edit(kind: u8, [one, two, three]: [&str; 3]) -> DocumentEdit {
    match kind % 3 {
        0 => DocumentEdit::ObservationRow(ObservationRow {
            time: one.to_owned(),
            run: two.to_owned(),
            checkpoint: "checkpoint-20".to_owned(),
            rank: "10.1 / 128 (7.9%)".to_owned(),
            mean_similarity: "0.187".to_owned(),
            max_similarity: "--".to_owned(),
            eval_loss: "1.433".to_owned(),
            verdict: "**fail**".to_owned(),
            note: three.to_owned(),
        }),
        1 => DocumentEdit::RunRow {
            run: RunId::new(one),
            fills: vec![
                CellFill { column: RunColumn::EffectiveRank, value: two.to_owned() },
                CellFill { column: RunColumn::Machine, value: three.to_owned() },
            ],
            add_missing: kind & 4 == 0,
            headers: HeaderNames::new(),
        },
        _ => DocumentEdit::FailureLine {
            run: RunId::new(one),
            file: two.to_owned(),
            summary: three.to_owned(),
        },
    }
}

/// Returns the bytes that two texts share at their start and, beyond it, at their end.
fn shared(before: &[u8], after: &[u8]) -> usize {
    let start = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let rest = before.len().min(after.len()) - start;
    let ends = before.iter().rev().zip(after.iter().rev()).take(rest);
    start + ends.take_while(|(a, b)| a == b).count()
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let mut parts = rest.splitn(4, |byte| *byte == 0);
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let texts = [text(), text(), text()];
    let log = parts.next().unwrap_or_default();
    let edit = edit(*kind, [&texts[0], &texts[1], &texts[2]]);
    let links = Links { reports: "run_reports".to_owned() };
    let Ok(once) = apply(Some(log), &edit, &|_| None, &links) else { return };
    assert_eq!(once.changed, once.bytes != log);
    assert!(contains(&once.bytes, &edit), "the edit is not found again");
    if !matches!(edit, DocumentEdit::RunRow { .. }) {
        assert_eq!(shared(log, &once.bytes), log.len(), "something that was there is gone");
    }
    let twice = apply(Some(&once.bytes), &edit, &|_| None, &links);
    assert!(!twice.expect("an edited log can be edited").changed, "the edit was made twice");
});
