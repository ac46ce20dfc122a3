//! What changes in a text, in the form that people know from `diff -u`.

use similar::TextDiff;

/// A change that spans more bytes than this is told by its length and not shown.
const LONGEST: usize = 1 << 20;

/// Returns what changes in a document, with so many lines around each change; empty if nothing does.
/// `before` is `None` for a document that is not there yet.
pub fn unified(name: &str, before: Option<&[u8]>, after: &[u8], context: usize) -> String {
    let old = if before.is_some() { name } else { "/dev/null" };
    let before = before.unwrap_or_default();
    if span(before, after) > LONGEST {
        return format!("{name}: {} bytes\n", after.len());
    }
    let (before, after) = (String::from_utf8_lossy(before), String::from_utf8_lossy(after));
    let difference = TextDiff::from_lines(&before, &after);
    difference.unified_diff().context_radius(context).header(old, name).to_string()
}

/// Returns how many bytes lie between the first and the last one that differ.
fn span(before: &[u8], after: &[u8]) -> usize {
    let (shorter, longer) = (before.len().min(after.len()), before.len().max(after.len()));
    let is_same = |(one, other): &(&u8, &u8)| one == other;
    let start = before.iter().zip(after).take_while(is_same).count();
    let ends = before.iter().rev().zip(after.iter().rev()).take(shorter - start);
    longer - start - ends.take_while(is_same).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_the_lines_around_them() {
        let before = "a\nb\nc\nd\ne\n";
        for (before, after, context, expected) in [
            (Some(before), "a\nb\nc\nd\nE\n", 1, "--- x\n+++ x\n@@ -4,2 +4,2 @@\n d\n-e\n+E\n"),
            (Some("a\n"), "a\n", 3, ""),
            (None, "a\n", 3, "--- /dev/null\n+++ x\n@@ -0,0 +1 @@\n+a\n"),
            (Some("a\n"), "", 3, "--- x\n+++ x\n@@ -1 +0,0 @@\n-a\n"),
            (None, "", 3, ""),
        ] {
            let before = before.map(str::as_bytes);
            assert_eq!(unified("x", before, after.as_bytes(), context), expected);
        }
    }

    /// A row in a log of more than a MiB was shown by one command and not by another.
    #[test]
    fn a_small_change_of_a_long_text_is_shown_and_a_long_one_is_told_by_its_length() {
        let long = "row\n".repeat(LONGEST / 3);
        let more = format!("{long}new\n");
        let shown = unified("x", Some(long.as_bytes()), more.as_bytes(), 1);
        assert!(shown.ends_with(" row\n+new\n"), "{shown}");
        let expected = format!("x: {} bytes\n", long.len());
        assert_eq!(unified("x", None, long.as_bytes(), 1), expected);
    }
}
