//! What a check found.

use std::fmt;

/// A broken rule, where it is broken, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, relative to the checkout.
    pub(crate) path: String,
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) rule: String,
    /// What to do.
    pub(crate) advice: String,
}

impl Finding {
    /// Returns a finding in a line of a file.
    pub(crate) fn new(
        path: &str,
        line: usize,
        rule: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { path: path.to_owned(), line, rule: rule.into(), advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.path, self.line, self.rule, self.advice)
    }
}
