//! Terminal escape sequences and control characters: taking them out of captured output.
//!
//! Source of the forms: ECMA-48 (control functions for coded character sets), sections 5.3 to 5.6.

use std::borrow::Cow;

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// Removes escape sequences: CSI (`ESC [ … m`), OSC and other strings (`ESC ] … BEL`), charset
/// switches and two-byte escapes. Everything else stays, tabs and carriage returns included.
///
/// An unfinished control string loses only its introducer, so that it cannot hide the text behind
/// it. The result holds no `ESC`, so the function is idempotent.
pub fn strip_ansi(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(ESCAPE, text) else {
        return Cow::Borrowed(text);
    };
    let mut kept = Vec::with_capacity(text.len());
    let (before, mut rest) = text.split_at_checked(first).unwrap_or((text, &[]));
    kept.extend_from_slice(before);
    while let Some((&byte, after)) = rest.split_first() {
        if byte == ESCAPE {
            rest = after.get(escape_length(after)..).unwrap_or_default();
        } else {
            let end = memchr::memchr(ESCAPE, rest).unwrap_or(rest.len());
            let (plain, next) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            kept.extend_from_slice(plain);
            rest = next;
        }
    }
    Cow::Owned(kept)
}

/// Returns the text as one would read it: without escape sequences, control characters and
/// invalid UTF-8 (which becomes U+FFFD); tabs become spaces, line ends stay.
pub fn readable(bytes: &[u8]) -> String {
    let stripped = strip_ansi(bytes);
    let text = String::from_utf8_lossy(&stripped);
    text.chars()
        .map(|character| if character == '\t' { ' ' } else { character })
        .filter(|character| *character == '\n' || !character.is_control())
        .collect()
}

/// Returns how many bytes after an `ESC` belong to its sequence.
fn escape_length(after: &[u8]) -> usize {
    match after.first() {
        Some(b'[') => control_sequence_length(after),
        Some(b']' | b'P' | b'X' | b'^' | b'_') => control_string_length(after),
        Some(0x20..=0x2f) => {
            let intermediates = after.iter().take_while(|byte| matches!(byte, 0x20..=0x2f)).count();
            let has_final = matches!(after.get(intermediates), Some(0x30..=0x7e));
            intermediates + usize::from(has_final)
        }
        Some(0x30..=0x7e) => 1,
        _ => 0,
    }
}

fn control_sequence_length(after: &[u8]) -> usize {
    let parameters = after.iter().skip(1).take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
    let has_final = matches!(after.get(1 + parameters), Some(0x40..=0x7e));
    1 + parameters + usize::from(has_final)
}

fn control_string_length(after: &[u8]) -> usize {
    let end = memchr::memchr2(BELL, ESCAPE, after);
    match end.and_then(|end| Some((end, after.get(end)?, after.get(end + 1)))) {
        Some((end, &BELL, _)) => end + 1,
        Some((end, _, Some(b'\\'))) => end + 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn escapes_go_and_text_stays() {
        for (text, expected) in [
            ("plain\ttext\r\n", "plain\ttext\r\n"),
            ("\x1b[1;34mwandb\x1b[0m: hi", "wandb: hi"),
            ("\x1b[A{'loss': 1}", "{'loss': 1}"),
            ("a\x1b[?25lb\x1b[2Kc", "abc"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;https://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b(Bx\x1b=y\x1bMz", "xyz"),
            ("cut\x1b[12", "cut"),
            ("cut\x1b", "cut"),
            ("\x1b\x1b[mx", "x"),
        ] {
            assert_eq!(strip_ansi(text.as_bytes()).as_ref(), expected.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn unfinished_control_string_does_not_hide_what_follows() {
        let text = b"\x1b]0;RuntimeError: CUDA out of memory";
        assert_eq!(strip_ansi(text).as_ref(), b"0;RuntimeError: CUDA out of memory");
    }

    #[test]
    fn readable_text_has_no_control_characters() {
        assert_eq!(readable(b"a\tb\x00\x08c\xff\r\nd\x1b[0m"), "a bc\u{fffd}\nd");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn any_bytes_are_stripped_once_and_for_all(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let once = strip_ansi(&bytes).into_owned();
            prop_assert!(!once.contains(&ESCAPE));
            prop_assert_eq!(strip_ansi(&once).into_owned(), once);
        }
    }
}
