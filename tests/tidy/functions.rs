//! The functions of a source, those inside macros included.

use proc_macro2::Delimiter;

use super::source::Source;
use super::tokens::{Cursor, Kind};

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of its `fn`.
    pub(crate) line: usize,
    /// Lines from its `fn` to its closing brace, the first not counted.
    pub(crate) length: usize,
}

/// Returns the functions of a file, nested ones too.
pub(crate) fn functions(source: &Source) -> Vec<Function> {
    let cursor = Cursor::new(&source.tokens);
    (0..source.tokens.len()).filter_map(|index| function_at(cursor, index)).collect()
}

fn function_at(cursor: Cursor<'_>, index: usize) -> Option<Function> {
    if cursor.word(index) != Some("fn") {
        return None;
    }
    let name = cursor.word(index + 1)?.to_owned();
    let line = cursor.line(index);
    let end = body_end(cursor, index + 2)?;
    Some(Function { name, line, length: cursor.line(end).saturating_sub(line) })
}

/// The body is the first group of braces; a semicolon or the end of the surroundings before it means
/// that there is none.
fn body_end(cursor: Cursor<'_>, from: usize) -> Option<usize> {
    let mut index = from;
    loop {
        match cursor.kind(index)? {
            Kind::Open(Delimiter::Brace, end) => return Some(*end),
            Kind::Open(_, end) => index = end + 1,
            Kind::Mark(';') | Kind::Close => return None,
            _ => index += 1,
        }
    }
}
