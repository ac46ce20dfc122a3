//! Which text needs a closer look: one search tells ordinary lines, and most frames need none.

use std::sync::LazyLock;

use memchr::{memchr, memchr2, memchr3};
use regex::bytes::Regex;

use super::{evidence, facts, launcher, traceback};

/// Texts of which a line must hold one to be looked at for facts.
static FACT_GATE: LazyLock<Option<Regex>> = LazyLock::new(|| any_of(&facts::LABELS));

/// Texts of which a line outside of tracebacks must hold one to be looked at for failures.
static FAILURE_GATE: LazyLock<Option<Regex>> = LazyLock::new(|| any_of(&failure_needles()));

fn failure_needles() -> Vec<&'static str> {
    let mut needles: Vec<&str> = evidence::ANYWHERE.iter().map(|(needle, _)| *needle).collect();
    needles.extend([traceback::HEADER, "what():"]);
    needles.extend(traceback::PRELUDES);
    needles.extend(launcher::NEEDLES);
    needles
}

/// Returns whether a line may state facts.
pub(super) fn may_state_facts(text: &[u8]) -> bool {
    passes(FACT_GATE.as_ref(), text)
}

/// Returns whether a line outside of tracebacks may tell of a failure.
pub(super) fn may_tell_of_failure(text: &[u8]) -> bool {
    passes(FAILURE_GATE.as_ref(), text)
}

/// Returns whether text may hold metric dictionaries.
pub(super) fn may_hold_metrics(text: &[u8]) -> bool {
    memchr(b'{', text).is_some()
}

/// Returns whether text says nothing, whatever it holds.
pub(super) fn says_nothing(text: &[u8]) -> bool {
    !may_hold_metrics(text) && !may_state_facts(text) && !may_tell_of_failure(text)
}

/// Returns the beginning of `bytes` that holds neither a line's end nor anything that says something:
/// every text that does has one of these four letters, and bars have none.
pub(super) fn quiet_beginning(bytes: &[u8]) -> &[u8] {
    let end = memchr3(b'\n', b'e', b'o', bytes).unwrap_or(bytes.len());
    let bytes = bytes.get(..end).unwrap_or_default();
    let end = memchr2(b'a', b'E', bytes).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

/// Does the same across the ends of lines.
pub(super) fn quiet_lines(bytes: &[u8]) -> &[u8] {
    let end = memchr3(b'e', b'o', b'a', bytes).unwrap_or(bytes.len());
    let bytes = bytes.get(..end).unwrap_or_default();
    let end = memchr(b'E', bytes).unwrap_or(bytes.len());
    bytes.get(..end).unwrap_or_default()
}

/// Returns whether nothing of a text passes a gate, as of numbers and rules.
pub(super) fn is_quiet(text: &[u8]) -> bool {
    quiet_beginning(text).len() == text.len()
}

/// One search for all needles: ordinary lines pass it at the speed of memory.
fn any_of(needles: &[&str]) -> Option<Regex> {
    let escaped: Vec<String> = needles.iter().map(|needle| regex::escape(needle)).collect();
    Regex::new(&escaped.join("|")).ok()
}

/// Lets everything pass if there is no gate.
fn passes(gate: Option<&Regex>, text: &[u8]) -> bool {
    gate.is_none_or(|gate| gate.is_match(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_passes_a_gate_is_quiet() {
        assert!(FACT_GATE.is_some() && FAILURE_GATE.is_some());
        // One of these is among the names of every dictionary that counts as metrics.
        let names = ["loss", "train_loss", "train_runtime", "eval_"];
        for needle in failure_needles().into_iter().chain(facts::LABELS).chain(names) {
            assert!(quiet_beginning(needle.as_bytes()).len() < needle.len(), "{needle}");
            assert!(quiet_lines(needle.as_bytes()).len() < needle.len(), "{needle}");
        }
    }

    #[test]
    fn bars_are_quiet_up_to_the_end_of_their_line() {
        let bars =
            "  4%|▍   | 17/400 [00:06<02:37,  2.43it/s]\r100%|█| 5/5 [1:00:00<?, ?s/it]\x1b[A";
        assert_eq!(quiet_beginning(bars.as_bytes()), bars.as_bytes());
        assert_eq!(quiet_beginning(b"1/2 [0]\r2/2\nxe"), b"1/2 [0]\r2/2");
        assert_eq!(quiet_lines(b"1/2 [0]\r2/2\nxe"), b"1/2 [0]\r2/2\nx");
    }
}
