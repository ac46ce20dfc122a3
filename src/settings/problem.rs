//! What is wrong with a configuration, all of it at once.

use std::fmt;

/// Longest piece of outside text that a message quotes, in characters.
const QUOTED_CHARACTERS: usize = 60;

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where it stands: `<file>:<line>`, `<file>:<line>:<column>` for text that is no TOML,
    /// `environment <variable>`, `--root`, or the file alone.
    pub origin: String,
    /// The full dotted key, such as `gates[effective-rank].min`; empty where no key is concerned.
    pub key: String,
    /// What is wrong, a sentence fragment.
    pub problem: String,
    /// What may have been meant, as it would be written in that place.
    pub suggestion: Option<String>,
}

impl fmt::Display for ConfigProblem {
    /// Prints one line; control characters of outside text are escaped.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", one_line(&self.origin))?;
        if !self.key.is_empty() {
            write!(formatter, "`{}`: ", one_line(&self.key))?;
        }
        formatter.write_str(&one_line(&self.problem))?;
        match &self.suggestion {
            Some(suggestion) => {
                write!(formatter, "; did you mean `{}`?", one_line(suggestion))
            }
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with the configuration, over all layers; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems(pub Vec<ConfigProblem>);

impl fmt::Display for ConfigProblems {
    /// Prints a heading, one line for each problem, and what to do; no newline at the end.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(formatter, "1 problem in the configuration:")?,
            count => writeln!(formatter, "{count} problems in the configuration:")?,
        }
        for problem in &self.0 {
            writeln!(formatter, "  {problem}")?;
        }
        formatter.write_str(
            "correct them, then try `runscribe config --check`; the default file \
             `config/runscribe.toml` explains every key",
        )
    }
}

impl std::error::Error for ConfigProblems {}

/// Why one value cannot be used, before it is known where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, a sentence fragment.
    pub problem: String,
    /// What may have been meant, as it would be written in the file.
    pub suggestion: Option<String>,
}

impl Fault {
    /// States what is wrong.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), suggestion: None }
    }

    /// States what is wrong and what may have been meant.
    pub fn with_suggestion(problem: impl Into<String>, suggestion: impl Into<String>) -> Self {
        Self { problem: problem.into(), suggestion: Some(suggestion.into()) }
    }

    /// Adds where it stands.
    pub fn at(self, origin: impl Into<String>, key: impl Into<String>) -> ConfigProblem {
        ConfigProblem {
            origin: origin.into(),
            key: key.into(),
            problem: self.problem,
            suggestion: self.suggestion,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problem)
    }
}

/// Returns the start of a text for a message, with `…` where it was cut.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Escapes control characters, so that outside text can neither break a line nor color it.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            line.extend(character.escape_debug());
        } else {
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn all_problems_are_printed_one_per_line() {
        let problems = ConfigProblems(vec![
            Fault::with_suggestion("unknown key", "settle").at("/etc/a.toml:3", "watch.setle"),
            Fault::new("a text with a\nnewline and \u{1b}[31mcolor").at("--root", ""),
        ]);
        expect![[r"
            2 problems in the configuration:
              /etc/a.toml:3: `watch.setle`: unknown key; did you mean `settle`?
              --root: a text with a\nnewline and \u{1b}[31mcolor
            correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"]]
        .assert_eq(&problems.to_string());
    }

    #[test]
    fn quoted_text_is_bounded() {
        assert_eq!(shortened("äöü"), "äöü");
        let long = "ä".repeat(1_000);
        assert_eq!(shortened(&long).chars().count(), QUOTED_CHARACTERS + 1);
    }
}
