//! The small forms that the documents share: `**Field:** value`, dates, commit hashes, names in
//! backticks.

use jiff::civil::Date;

/// A field's name is never longer; a bold sentence with a colon in it is no field.
const LONGEST_NAME: usize = 40;

/// Splits `**Name:** value`, `**Name: value**` and `**Name**: value`, also in a list item, into the
/// name in lower case and the value.
pub(super) fn field(line: &str) -> Option<(String, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("- ").or_else(|| line.strip_prefix("* ")).unwrap_or(line);
    let inner = line.trim_start_matches('*');
    if inner.len() == line.len() {
        return None;
    }
    let (name, rest) = inner.split_once(':')?;
    let closed = name.trim_end_matches('*');
    let value = if closed.len() < name.len() {
        rest.trim()
    } else if let Some(value) = rest.strip_prefix("**").or_else(|| rest.strip_prefix('*')) {
        value.trim()
    } else {
        rest.trim().trim_end_matches('*').trim_end()
    };
    let is_name =
        !closed.is_empty() && closed.len() <= LONGEST_NAME && !closed.contains(['`', '*']);
    is_name.then(|| (closed.trim().to_lowercase(), value))
}

/// Returns the first date of the form YYYY-MM-DD that exists.
pub(super) fn date(text: &str) -> Option<Date> {
    let digits_and_dashes = |character: char| !(character.is_ascii_digit() || character == '-');
    text.split(digits_and_dashes).find_map(|word| iso_date(word.trim_matches('-')))
}

/// Reads YYYY-MM-DD and nothing else.
pub(super) fn iso_date(word: &str) -> Option<Date> {
    (word.len() == 10).then(|| word.parse().ok()).flatten()
}

/// Returns the commit hashes of a text: 7 to 40 digits in hexadecimal, among them a decimal one and
/// a letter, unless the word *commit* stands before it. A date without dashes is none.
pub(super) fn commits(text: &str) -> Vec<&str> {
    let is_word = |character: char| character.is_alphanumeric() || "_./-".contains(character);
    let mut found = Vec::new();
    let mut follows_commit = false;
    for word in text.split(|character| !is_word(character)).filter(|word| !word.is_empty()) {
        let word = word.trim_end_matches('.');
        let has_letter = word.bytes().any(|byte| byte.is_ascii_alphabetic());
        let has_digit = word.bytes().any(|byte| byte.is_ascii_digit());
        if is_hash(word) && (follows_commit || has_letter && has_digit) {
            found.push(word);
        }
        let is_label = word.eq_ignore_ascii_case("commit") || word.eq_ignore_ascii_case("commits");
        follows_commit = is_label || follows_commit && is_hash(word);
    }
    found
}

fn is_hash(word: &str) -> bool {
    (7..=40).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// Returns what stands in backticks.
pub(super) fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    // What follows the last backtick is no span when their number is odd.
    let count = text.matches('`').count() / 2;
    let inside = text.split('`').skip(1).step_by(2).take(count);
    inside.map(str::trim).filter(|span| !span.is_empty())
}

/// Returns whether a value says that there is nothing.
pub(super) fn is_none(value: &str) -> bool {
    let bare = value.trim_matches(|character: char| "`*_ .".contains(character));
    let word = bare.to_lowercase();
    matches!(word.as_str(), "" | "—" | "–" | "-" | "--" | "?" | "none" | "n/a" | "tbd" | "pending")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_all_their_forms() {
        for (line, expected) in [
            ("**Git tag:** `arch/x`", Some(("git tag", "`arch/x`"))),
            (
                "**Done date: 2026-02-25 (evaluated)**",
                Some(("done date", "2026-02-25 (evaluated)")),
            ),
            ("- **Status:** [x] Done", Some(("status", "[x] Done"))),
            ("**Status**: [ ] Not started  ", Some(("status", "[ ] Not started"))),
            ("*Related TODO:* TODO 6", Some(("related todo", "TODO 6"))),
            ("**Why:**", Some(("why", ""))),
            ("**bold** text: no field", None),
            ("plain: text", None),
            ("**`a.py`:** code", None),
        ] {
            let found = field(line);
            let found = found.as_ref().map(|(name, value)| (name.as_str(), *value));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn dates_and_hashes_are_told_from_what_looks_like_them() {
        assert_eq!(date("on 2026-02-25."), Some(jiff::civil::date(2026, 2, 25)));
        assert_eq!(date("2026-02-31, 12026-02-25 and needs to be checked"), None);
        for (text, expected) in [
            ("`54ee870`", &["54ee870"][..]),
            ("commit 1234567, 20260225", &["1234567", "20260225"]),
            ("tsdae-20260221 of 20260221", &[]),
            ("diffusion_54ee870", &[]),
            ("defaced, acceded", &[]),
            ("done in commit defaced.", &["defaced"]),
            ("54ee87", &[]),
        ] {
            assert_eq!(commits(text), expected, "{text}");
        }
        assert_eq!(code_spans("a `b` c `d` ` e").collect::<Vec<_>>(), ["b", "d"]);
    }
}
