//! Settings of the discipline: the documents that are kept linked, how tags and commits are named,
//! the scripts that are registered, and the services around them.

use std::path::PathBuf;

use super::problem::{Fault, shortened};
use super::words::nearest;

/// The documents and conventions that the audit knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisciplineSettings {
    /// `changelog`, absolute.
    pub changelog: PathBuf,
    /// `todos`, absolute.
    pub todos: PathBuf,
    /// What the subject of a commit begins with, before `:` or a scope.
    pub commit_prefixes: Vec<String>,
    /// Commits and tags before this revision or date are not audited.
    pub since: Option<String>,
    /// The forms of tags.
    pub tags: TagForms,
}

/// The forms of tags, with placeholders in braces; `{date}` is YYYYMMDD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagForms {
    /// A state of the model's code: `{feature}`.
    pub arch: String,
    /// The start of a training: `{run}`, the run id without its time stamp.
    pub train: String,
    /// An evaluation: `{benchmark}`.
    pub eval: String,
}

/// Where a script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// `linux`
    Linux,
    /// `macos`
    Macos,
    /// `windows`
    Windows,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 3] = [Self::Linux, Self::Macos, Self::Windows];

    /// Returns its word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Macos => "macos",
            Self::Windows => "windows",
        }
    }
}

/// A script that starts a training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainingScript {
    /// Its path, relative to the root.
    pub path: String,
    /// Where it runs.
    pub platform: Platform,
    /// What it trains, for people.
    pub model: String,
}

/// A script that evaluates a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationScript {
    /// Its path, relative to the root.
    pub path: String,
    /// Where it runs.
    pub platform: Platform,
    /// The benchmarks that it knows.
    pub benchmarks: Vec<String>,
}

/// Weights & Biases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WandbSettings {
    /// The project there.
    pub project: String,
    /// The owner of the project; `None`: as the run's own files say.
    pub entity: Option<String>,
    /// The address of the service.
    pub base_url: String,
    /// Keys that the configuration of each run must have.
    pub required_keys: Vec<String>,
}

/// How a model is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishSettings {
    /// argv with the placeholders `{python}` and `{run_id}`.
    pub command: Vec<String>,
}

/// What stands in braces in the form of each kind of tag.
const PLACEHOLDERS: [(&str, &str); 3] =
    [("arch", "{feature}"), ("train", "{run}"), ("eval", "{benchmark}")];
/// What may stand in any form.
const DATE: &str = "{date}";

/// Checks the form of one kind of tag.
///
/// # Errors
/// A fault for an unknown kind, a form without its placeholder, an unknown placeholder, and what
/// git does not take as the name of a tag.
pub(super) fn check_tag_form(kind: &str, form: &str) -> Result<(), Fault> {
    let Some((_, placeholder)) = PLACEHOLDERS.iter().find(|(known, _)| *known == kind) else {
        let kinds = PLACEHOLDERS.iter().map(|(known, _)| *known);
        let suggestion = nearest(kind, kinds).map(str::to_owned);
        return Err(Fault { problem: "is no kind of tag".to_owned(), suggestion });
    };
    if form.matches(placeholder).count() != 1 {
        return Err(Fault::new(format!("must hold `{placeholder}` once")));
    }
    if form.matches(DATE).count() > 1 {
        return Err(Fault::new(format!("holds `{DATE}` twice")));
    }
    let plain = form.replace(placeholder, "x").replace(DATE, "x");
    if plain.contains(['{', '}']) {
        let problem = format!("knows `{placeholder}` and `{DATE}`, and no other placeholder");
        return Err(Fault::new(problem));
    }
    if is_reference(&plain) {
        Ok(())
    } else {
        Err(Fault::new("is no name that git takes for a tag"))
    }
}

/// Returns whether git takes a name for a reference. Source: git-check-ref-format(1).
pub fn is_reference(name: &str) -> bool {
    let forbidden = |character: char| {
        character.is_control() || character.is_whitespace() || "~^:?*[\\".contains(character)
    };
    let bad_part = |part: &str| {
        part.is_empty() || part.starts_with('.') || part.strip_suffix(".lock").is_some()
    };
    !(name.contains(forbidden)
        || name.contains("..")
        || name.contains("@{")
        || name.starts_with('-')
        || name.ends_with('.')
        || name.split('/').any(bad_part))
}

/// Checks a word that commits begin with.
pub(super) fn check_prefix(text: &str) -> Result<(), Fault> {
    let is_word = |character: char| character.is_alphanumeric() || "-_".contains(character);
    if !text.is_empty() && text.chars().all(is_word) {
        return Ok(());
    }
    let problem = format!("`{}` is no word; write it without `:`", shortened(text));
    Err(Fault::new(problem))
}

/// Checks a revision or a date; whether git knows it is seen when it is used.
pub(super) fn check_since(text: &str) -> Result<(), Fault> {
    if text.starts_with('-') || text.contains(char::is_control) {
        return Err(Fault::new(format!("`{}` is no revision and no date", shortened(text))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_tags_that_are_refused_say_why() {
        for (kind, form, problem) in [
            ("train", "train/{run}_{date}", None),
            ("arch", "{feature}", None),
            ("eval", "e/{date}-{benchmark}", None),
            ("trian", "train/{run}", Some("is no kind of tag")),
            ("train", "train/{feature}", Some("must hold `{run}` once")),
            ("train", "{run}{run}", Some("must hold `{run}` once")),
            ("arch", "{feature}{date}{date}", Some("holds `{date}` twice")),
            (
                "arch",
                "{feature}{day}",
                Some("knows `{feature}` and `{date}`, and no other placeholder"),
            ),
            ("arch", "arch/ {feature}", Some("is no name that git takes for a tag")),
            ("arch", "/{feature}", Some("is no name that git takes for a tag")),
            ("arch", "a..{feature}", Some("is no name that git takes for a tag")),
            ("arch", "{feature}.lock", Some("is no name that git takes for a tag")),
            ("arch", "-{feature}", Some("is no name that git takes for a tag")),
            ("arch", "a^{feature}", Some("is no name that git takes for a tag")),
        ] {
            let found = check_tag_form(kind, form).err().map(|fault| fault.problem);
            assert_eq!(found.as_deref(), problem, "{kind} {form}");
        }
    }

    #[test]
    fn prefixes_are_words_and_bases_are_no_options() {
        assert_eq!(check_prefix("bug-fix"), Ok(()));
        for text in ["", "fix:", "two words", "fix(x)"] {
            assert!(check_prefix(text).is_err(), "{text}");
        }
        assert_eq!(check_since("2026-02-01"), Ok(()));
        assert_eq!(check_since("v1.0~3"), Ok(()));
        assert!(check_since("--output=x").is_err());
    }
}
