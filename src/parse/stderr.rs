//! What the analysis program printed besides its report: why it failed, and whether it measured a
//! random encoder.

mod failure_class;

use std::collections::BTreeSet;

use bstr::ByteSlice;

use crate::model::analysis::Ending;
use crate::model::secrets::Secrets;

use super::ansi::{readable, strip_ansi};
use super::redact::redact_with;

pub use failure_class::failure_class;

/// The longest evidence, in bytes.
const MAX_EVIDENCE_BYTES: usize = 2_000;
/// Lines of stderr that evidence holds.
const EVIDENCE_LINES: usize = 10;
/// What transformers says in a sentence and in a table's notes.
const NEWLY_INITIALIZED: &str = "newly initialized";

/// Returns what stderr says of *encoder* weights that were newly initialized, that is, random;
/// `None` if it says nothing of the kind. Other keys, such as a tied `lm_head.weight`, are harmless.
///
/// Sources: transformers 4 `PreTrainedModel.from_pretrained` ("… are newly initialized: ['key', …]"
/// and, for other shapes, one `- key: found shape …` line each), transformers 5 `LoadStateDictInfo`
/// (a table of `key | MISSING |` rows, keys shortened to `encoder.layers.{0, 1}.Wi.weight`, and
/// `MISMATCH` rows whose weights are initialized anew).
pub fn newly_initialized_encoder(stderr: &[u8]) -> Option<String> {
    let text = strip_ansi(stderr);
    let mut keys = BTreeSet::new();
    let mut rest: &[u8] = &text;
    while let Some((_, after)) = rest.split_once_str(NEWLY_INITIALIZED) {
        let length = listed_keys(after, &mut keys);
        rest = after.get(length..).unwrap_or_default();
    }
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        if ["MISSING", "MISMATCH"].iter().any(|status| line.contains_str(status)) {
            keys.extend(encoder_key_in(line));
        }
    }
    let first = keys.first()?;
    let others = keys.len() - 1;
    let more = if others == 0 { String::new() } else { format!(" and {others} more") };
    Some(format!("encoder weights were newly initialized: {first}{more}"))
}

/// Returns how the program ended and the last lines of stderr: readable, redacted, at most 2,000
/// bytes.
pub fn evidence(ending: Ending, stderr: &[u8], secrets: &Secrets) -> String {
    let ended = match ending {
        Ending::Exit(code) => format!("exit code {code}"),
        Ending::Signal(signal) => format!("ended by signal {signal}{}", signal_name(signal)),
        Ending::Deadline => "ran past its time limit".to_owned(),
    };
    // Before the last lines are cleaned, a bound: a line may be of any length.
    let tail = stderr.get(stderr.len().saturating_sub(64 * 1024)..).unwrap_or_default();
    let text = readable(&tail.replace("\r", "\n"));
    let text = redact_with(&text, secrets);
    let mut lines: Vec<&str> =
        text.lines().rev().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines.truncate(EVIDENCE_LINES);
    lines.push(&ended);
    lines.reverse();
    let mut shown = lines.join("\n");
    if shown.len() > MAX_EVIDENCE_BYTES {
        // The end of stderr says most, so the beginning gives way.
        let surplus = shown.len() - MAX_EVIDENCE_BYTES + ended.len() + " ...\n".len();
        let cut = (surplus..=shown.len()).find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
        shown = format!("{ended} ...\n{}", shown.split_off(cut));
    }
    shown
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        2 => " (SIGINT)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// Reads the encoder keys behind the sentence and returns how many bytes they take. The list may be
/// wrapped anywhere, and its end is missing when the middle of the output was left out.
fn listed_keys(after: &[u8], keys: &mut BTreeSet<String>) -> usize {
    let list = after.trim_start_with(|character| character == ':' || character.is_whitespace());
    if let Some(list) = list.strip_prefix(b"[") {
        let length = list.find_byte(b']').unwrap_or(list.len());
        let entries = list.get(..length).unwrap_or_default().split(|byte| *byte == b',');
        let unwrap_line = |key: &[u8]| -> Vec<u8> {
            key.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect()
        };
        keys.extend(entries.map(unwrap_line).filter_map(|key| encoder_key(&key)));
        return after.len() - list.len() + length;
    }
    let mut lines = after.lines_with_terminator();
    let mut length = lines.next().map_or(0, <[u8]>::len);
    for row in lines.take_while(|line| line.trim_ascii_start().starts_with(b"- ")) {
        keys.extend(encoder_key_in(row));
        length += row.len();
    }
    length
}

/// Returns the encoder key of a line: the first cell of a table's row, else the first such word.
fn encoder_key_in(line: &[u8]) -> Option<String> {
    match line.split_once_str("|") {
        Some((cell, _)) => encoder_key(cell.trim_ascii()),
        None => line.split(u8::is_ascii_whitespace).find_map(encoder_key),
    }
}

/// Returns the word without its quotes if it is the name of an encoder's tensor.
fn encoder_key(word: &[u8]) -> Option<String> {
    let key = word.to_str().ok()?.trim_matches(['\'', '"', '`', ':', '[', ']']);
    let is_path = key.contains(['/', '\\']);
    let is_encoder = key.starts_with("encoder.") || key.contains(".encoder.");
    let has_name = key.len() > "encoder.".len();
    let found = !is_path && has_name && (is_encoder || key.contains("concept_embeddings"));
    found.then(|| key.chars().take(200).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

    const RECURSIVE: &[u8] =
        include_bytes!("../../tests/fixtures/parse/stderr/recursive_as_perceiver.txt");
    const LOAD_REPORT: &[u8] =
        include_bytes!("../../tests/fixtures/parse/stderr/load_report_transformers5.txt");

    fn shown(ending: Ending, stderr: &[u8]) -> String {
        evidence(ending, stderr, &Secrets::new(["swordfish".to_owned()]))
    }

    #[test]
    fn random_encoders_are_noticed() {
        for (name, text, expected) in [
            ("list", RECURSIVE, Some("encoder.layers.0.Wi.bias and 5 more")),
            ("table", LOAD_REPORT, Some("encoder.layers.{0, 1}.Wi.weight and 3 more")),
            ("wrapped", b"are newly initialized: ['lm_head.weight',\n 'encoder.lay\r\n  ers.0.Wi.weight']", Some("encoder.layers.0.Wi.weight")),
            ("cut", b"are newly initialized: ['decoder.x', 'model.encoder.y', 'enc", Some("model.encoder.y")),
            ("embedding", b"newly initialized: ['concept_embeddings.weight']", Some("concept_embeddings.weight")),
            ("shapes", b"and are newly initialized because the shapes did not match:\n- encoder.a.weight: found shape torch.Size([2])\nYou", Some("encoder.a.weight")),
            ("mismatch", b"encoder.a.weight | MISMATCH | Reinit due to size mismatch", Some("encoder.a.weight")),
            ("colored", b"encoder.a.weight | \x1b[31mMISSING\x1b[0m |", Some("encoder.a.weight")),
        ] {
            let expected =
                expected.map(|keys| format!("encoder weights were newly initialized: {keys}"));
            assert_eq!(newly_initialized_encoder(text), expected, "{name}");
        }
    }

    #[test]
    fn harmless_keys_are_harmless() {
        for text in [
            "",
            "Some weights of X were not initialized from /p/.encoder.d/c and are newly initialized: ['lm_head.weight']",
            "are newly initialized: ['decoder.layers.0.weight', 'lm_head.encoder']\nencoder.x.weight loaded",
            "lm_head.weight | MISSING |\nencoder.a.weight | UNEXPECTED |",
            "- MISSING: those params were newly initialized because missing from the checkpoint.",
            "Some weights of the checkpoint were not used: ['encoder.layers.0.weight']",
            "encoder.a.weight is fine",
        ] {
            assert_eq!(newly_initialized_encoder(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn evidence_is_how_it_ended_and_the_last_lines() {
        let stderr = "one swordfish\n\n  two \x1b[31mred\x1b[0m\r\nHF_TOKEN=hf_secret\n\n";
        assert_eq!(
            shown(Ending::Exit(1), stderr.as_bytes()),
            "exit code 1\none [redacted]\n  two red\nHF_TOKEN=[redacted]"
        );
        assert_eq!(shown(Ending::Signal(9), b""), "ended by signal 9 (SIGKILL)");
        assert_eq!(shown(Ending::Deadline, b"\n"), "ran past its time limit");
        let many = "line\n".repeat(50);
        assert_eq!(shown(Ending::Exit(2), many.as_bytes()).lines().count(), 11);
    }

    #[test]
    fn long_evidence_keeps_the_end() {
        let text = format!("{}\nValueError: ä", "ü".repeat(100_000));
        let text = shown(Ending::Exit(1), text.as_bytes());
        assert!(text.len() <= MAX_EVIDENCE_BYTES && text.len() > MAX_EVIDENCE_BYTES - 8);
        assert!(text.starts_with("exit code 1 ...\n") && text.ends_with("ValueError: ä"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..4_000)) {
            prop_assert!(shown(Ending::Exit(1), &bytes).len() <= MAX_EVIDENCE_BYTES);
            prop_assert!(newly_initialized_encoder(&bytes).is_none());
        }
    }
}
