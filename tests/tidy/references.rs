//! The paths of the crate that a source names, in whatever form: imports with braces and new names,
//! inline paths, the insides of macros, paths in the strings of attributes.

use proc_macro2::{Delimiter, TokenStream};
use syn::LitStr;

use super::tokens::{self, Cursor, Kind, Token};

/// A path that begins in this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Where it is named.
    pub(crate) line: usize,
    /// Its segments below the crate's root; `*` for a glob.
    pub(crate) path: Vec<String>,
}

/// The name of the library, which its own binary says in place of `crate`.
const LIBRARY: &str = "runscribe";

/// Returns the references of a file whose module has the given path.
pub(crate) fn references(tokens: &[Token], module: &[String]) -> Vec<Reference> {
    let mut walk = Walk { cursor: Cursor::new(tokens), module: module.to_vec(), found: Vec::new() };
    walk.run(tokens.len());
    walk.found
}

struct Walk<'a> {
    cursor: Cursor<'a>,
    module: Vec<String>,
    found: Vec<Reference>,
}

impl Walk<'_> {
    fn run(&mut self, end: usize) {
        let mut inline_modules: Vec<usize> = Vec::new();
        let mut attribute_end = 0;
        let mut index = 0;
        while index < end {
            while inline_modules.pop_if(|close| *close <= index).is_some() {
                self.module.pop();
            }
            attribute_end = self.cursor.attribute_end(index).unwrap_or(attribute_end);
            if index < attribute_end {
                self.look_into_string(index);
            }
            index = if let Some((name, close)) = self.inline_module(index) {
                self.module.push(name);
                inline_modules.push(close);
                index + 3
            } else if let Some(close) = self.visibility(index) {
                close + 1
            } else if self.begins_path(index) {
                self.follow(index, self.module.clone())
            } else {
                index + 1
            };
        }
    }

    /// Returns name and end of the `mod name { … }` at an index.
    fn inline_module(&self, index: usize) -> Option<(String, usize)> {
        if self.cursor.word(index) != Some("mod") {
            return None;
        }
        let name = self.cursor.word(index + 1)?;
        let close = self.cursor.group_end(index + 2, Delimiter::Brace)?;
        Some((name.to_owned(), close))
    }

    /// Returns the end of the `(in path)` at an index: a limit of visibility uses nothing.
    fn visibility(&self, index: usize) -> Option<usize> {
        let close = self.cursor.group_end(index, Delimiter::Parenthesis)?;
        let of_pub = index.checked_sub(1).and_then(|before| self.cursor.word(before));
        let limited = of_pub == Some("pub") && self.cursor.word(index + 1) == Some("in");
        limited.then_some(close)
    }

    fn begins_path(&self, index: usize) -> bool {
        let Some(word) = self.cursor.word(index) else { return false };
        let continues = index.checked_sub(2).is_some_and(|at| self.cursor.is_path_separator(at));
        let goes_on = self.cursor.is_path_separator(index + 1);
        let renamed = self.cursor.word(index + 1) == Some("as");
        match word {
            LIBRARY => goes_on || renamed,
            "crate" | "super" => !continues && (goes_on || renamed),
            "self" => !continues && goes_on,
            _ => false,
        }
    }

    /// Follows the path, or the tree of paths, from an index on; returns the index after it.
    fn follow(&mut self, index: usize, mut path: Vec<String>) -> usize {
        if let Some(close) = self.cursor.group_end(index, Delimiter::Brace) {
            self.follow_branches(index + 1, close, &path);
            return close + 1;
        }
        match self.cursor.word(index) {
            Some("crate" | LIBRARY) => path.clear(),
            Some("super") => drop(path.pop()),
            Some("self") => {}
            Some(name) => path.push(name.to_owned()),
            None => path.push("*".to_owned()),
        }
        if self.cursor.is_path_separator(index + 1) && self.is_segment(index + 3) {
            return self.follow(index + 3, path);
        }
        self.found.push(Reference { line: self.cursor.line(index), path });
        index + 1
    }

    fn follow_branches(&mut self, first: usize, close: usize, path: &[String]) {
        let mut index = first;
        while index < close {
            index = self.follow(index, path.to_vec());
            while index < close && !self.cursor.is_mark(index, ',') {
                index += 1;
            }
            index += 1;
        }
    }

    fn is_segment(&self, index: usize) -> bool {
        self.cursor.word(index).is_some()
            || self.cursor.is_mark(index, '*')
            || self.cursor.group_end(index, Delimiter::Brace).is_some()
    }

    /// Attributes such as serde's name functions in strings.
    fn look_into_string(&mut self, index: usize) {
        let Some(Kind::Literal(literal)) = self.cursor.kind(index) else { return };
        let Ok(text) = syn::parse_str::<LitStr>(literal) else { return };
        let value = text.value();
        if !["crate::", "super::", "self::"].iter().any(|start| value.starts_with(start)) {
            return;
        }
        let Ok(stream) = value.parse::<TokenStream>() else { return };
        let line = self.cursor.line(index);
        let inner = references(&tokens::flatten(stream), &self.module);
        self.found.extend(inner.into_iter().map(|found| Reference { line, ..found }));
    }
}
