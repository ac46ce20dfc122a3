//! A Rust file, read once.

use std::ops::RangeInclusive;

use proc_macro2::TokenStream;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, Meta};

use super::finding::Finding;
use super::tokens::{self, Token};

/// A Rust file.
pub(crate) struct Source {
    /// Its path, relative to the checkout.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
    /// Its tokens.
    pub(crate) tokens: Vec<Token>,
    /// Its syntax.
    pub(crate) syntax: syn::File,
    /// Whether all of it is test code.
    pub(crate) is_test: bool,
    /// The lines of its `#[cfg(test)]` modules.
    test_modules: Vec<RangeInclusive<usize>>,
}

impl Source {
    /// Reads a file; one that does not parse is a finding.
    pub(crate) fn parse(path: &str, text: &str) -> Result<Self, Finding> {
        let broken = |line, error: String| {
            Finding::new(path, line, format!("does not parse: {error}"), "make it compile")
        };
        let syntax = syn::parse_file(text)
            .map_err(|error| broken(error.span().start().line, error.to_string()))?;
        let stream = text
            .parse::<TokenStream>()
            .map_err(|error| broken(error.span().start().line, error.to_string()))?;
        let mut modules = TestModules(Vec::new());
        modules.visit_file(&syntax);
        Ok(Self {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: tokens::flatten(stream),
            syntax,
            is_test: !path.starts_with("src/"),
            test_modules: modules.0,
        })
    }

    /// Returns whether a line is test code.
    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.test_modules.iter().any(|lines| lines.contains(&line))
    }

    /// Returns the lines that hold code, in order: neither blank nor comment.
    pub(crate) fn code_lines(&self) -> Vec<usize> {
        let mut lines: Vec<usize> =
            self.tokens.iter().flat_map(|token| token.line..=token.last_line).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    }

    /// Returns the path of its module below the crate's root; empty for a root.
    pub(crate) fn module(&self) -> Vec<String> {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let stem = below.strip_suffix(".rs").unwrap_or(below);
        if matches!(stem, "lib" | "main") {
            return Vec::new();
        }
        stem.split('/').map(str::to_owned).collect()
    }
}

struct TestModules(Vec<RangeInclusive<usize>>);

impl<'ast> Visit<'ast> for TestModules {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if is_for_tests(&module.attrs) {
            let span = module.span();
            self.0.push(span.start().line..=span.end().line);
        } else {
            visit::visit_item_mod(self, module);
        }
    }
}

/// Returns whether an item exists in tests only: `#[cfg(test)]`, also `#[cfg(all(test, …))]`.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        let condition = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all(test"))
    })
}
