//! What a file says of itself, and whether it may: its first line, and opting out of purity.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

use super::finding::Finding;
use super::source::Source;
use super::table::{self, Kind};
use super::tokens::Cursor;

/// Returns a finding when a file does not begin with `//!`; inner attributes may stand before it.
pub(crate) fn missing_header(source: &Source) -> Option<Finding> {
    let begins = source.text.trim_start();
    let right = begins.starts_with("//!") || begins.starts_with("#!");
    if right && first_doc_line(source).is_some_and(|line| !line.is_empty()) {
        return None;
    }
    let advice = "begin it with a `//!` line that says what the file is for";
    Some(Finding::new(&source.path, 1, "has no `//!` at its beginning", advice))
}

/// Returns a finding when the first words of a file do not fit its room: a room's root says whether
/// it is pure, and no file says the opposite of its room.
pub(crate) fn wrong_first_words(source: &Source) -> Option<Finding> {
    let name = table::room_of(&source.path)?;
    let room = table::room(name)?;
    let first = first_doc_line(source).unwrap_or_default();
    let says = [Kind::Pure, Kind::IoShell].into_iter().find(|kind| begins_with(&first, *kind));
    let is_root = source.path == format!("src/{name}.rs");
    let expected = expected_kind(&source.path, room.kind);
    if says == Some(expected) || (says.is_none() && !is_root) {
        return None;
    }
    let rule = match says {
        Some(kind) => format!("`{}` in a room that is not", kind.words()),
        None => "a room's root does not say whether it is pure".to_owned(),
    };
    let advice = match (says, is_root) {
        (Some(_), false) => "move it into a room of its kind, or drop the words".to_owned(),
        _ => format!("begin its `//!` with `{}`", expected.words()),
    };
    Some(Finding::new(&source.path, 1, rule, advice))
}

/// Returns the attributes outside tests by which a file of a pure room opts out of purity.
pub(crate) fn purity_opt_outs(source: &Source) -> Vec<Finding> {
    let room = table::room_of(&source.path).and_then(table::room);
    let is_pure = room.is_some_and(|room| expected_kind(&source.path, room.kind) == Kind::Pure);
    if !is_pure {
        return Vec::new();
    }
    let cursor = Cursor::new(&source.tokens);
    (0..source.tokens.len())
        .filter_map(|index| cursor.attribute_end(index).map(|end| (index, end)))
        .filter(|(index, end)| {
            let mut words = (*index..*end).filter_map(|at| cursor.word(at));
            words.any(|word| matches!(word, "disallowed_methods" | "disallowed_types"))
        })
        .map(|(index, _)| cursor.line(index))
        .filter(|line| !source.is_test_line(*line))
        .map(|line| {
            let advice = "let an IO shell do it and pass the result in";
            Finding::new(&source.path, line, "a pure room opts out of purity", advice)
        })
        .collect()
}

fn expected_kind(path: &str, of_room: Kind) -> Kind {
    if table::IO_FILES_OF_PURE_ROOMS.contains(&path) { Kind::IoShell } else { of_room }
}

fn begins_with(line: &str, kind: Kind) -> bool {
    line.strip_prefix(kind.words()).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

fn first_doc_line(source: &Source) -> Option<String> {
    source.syntax.attrs.iter().find_map(doc_text).map(|text| text.trim().to_owned())
}

fn doc_text(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    match &pair.value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if pair.path.is_ident("doc") => {
            Some(text.value())
        }
        _ => None,
    }
}
