//! The rules, one file each.

mod cells;
mod changelog;
mod links;
mod log_tags;
mod names;
mod recorded;
mod rows;
mod scripts;
mod tags;
mod tasks;

use super::facts::Facts;
use super::finding::{Audit, Place};
use super::reading::Reading;

/// A rule looks at everything and adds what it finds.
pub(super) type Rule = fn(&Reading, &Facts, &mut Audit);

/// All rules, T1 to T10.
pub(super) const ALL: &[Rule] = &[
    tags::examine,
    log_tags::examine,
    rows::examine,
    links::examine,
    recorded::examine,
    changelog::examine,
    tasks::examine,
    names::examine,
    scripts::examine,
    cells::examine,
];

/// Where scripts are registered, and where the audit begins.
const SETTINGS: &str = "runscribe.toml";

/// The command that opens a place where a person must write.
fn edit(place: &Place) -> String {
    match place {
        Place::File(path, Some(line)) => format!("${{EDITOR:-vi}} +{line} {}", quoted(path)),
        Place::File(path, None) => format!("${{EDITOR:-vi}} {}", quoted(path)),
        Place::Commit(hash) => format!("git show {hash}"),
        Place::Tag(name) => format!("git show {}", quoted(name)),
    }
}

/// Quotes a word for a POSIX shell where that is needed.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Writes a few names in backticks, and how many more there are.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 6;
    let all: Vec<&str> = names.collect();
    let shown: Vec<String> = all.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = all.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("docs/2_x.md"), "docs/2_x.md");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
        assert_eq!(quoted(""), "''");
        assert_eq!(listed(["a", "b"].into_iter()), "`a`, `b`");
    }
}
