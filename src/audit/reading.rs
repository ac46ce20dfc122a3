//! The documents, read once: what they name, and what must be looked up for them.

use std::collections::{BTreeMap, BTreeSet};

use crate::document::inventory::{self, Inventory, SeenRow};
use crate::model::ids::RunId;
use crate::model::measurement::Gate;
use crate::model::observation::{HeaderNames, RunColumn};

use super::changelog::{self, Changelog};
use super::conventions::{TagName, read_tag};
use super::facts::{Documents, Facts, TextFile};
use super::paths::{self, Target};
use super::todos::{self, Todos};
use super::troubles;
use crate::settings::TagForms;

/// A document with what it names.
#[derive(Debug, Clone)]
pub struct Page {
    /// Its path relative to the root.
    pub path: String,
    /// What it names.
    pub inventory: Inventory,
}

/// All documents.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The experiment log.
    pub log: Option<Page>,
    /// The rows of its tables of runs.
    pub rows: Vec<SeenRow>,
    /// The changelog.
    pub changelog: Option<Page>,
    /// The entries of the changelog.
    pub(super) entries: Changelog,
    /// The lines of the changelog, as lower-case text.
    pub(super) changelog_lines: Vec<String>,
    /// The list of tasks.
    pub todos: Option<Page>,
    /// Its tasks.
    pub(super) tasks: Todos,
    /// The run reports.
    pub reports: Vec<Page>,
    /// Runs of which the log says that they failed or collapsed, and what it says.
    troubles: BTreeMap<RunId, String>,
    /// The forms of tags.
    forms: TagForms,
}

/// What must be looked up before the rules can be applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Paths relative to the root: which of them are there?
    pub paths: BTreeSet<String>,
    /// Hashes: which of them are commits?
    pub revisions: BTreeSet<String>,
}

/// A name in a document, and the line where it stands first.
pub(super) type Named = BTreeMap<String, usize>;

/// Reads the documents; the gates tell from a row's rank whether its run collapsed.
pub fn read(
    documents: &Documents,
    headers: &HeaderNames,
    forms: &TagForms,
    gates: &[Gate],
) -> Reading {
    let page = |file: &TextFile| Page {
        path: file.path.clone(),
        inventory: inventory::inventory(&file.bytes),
    };
    let (log, changelog) = (documents.log.as_ref(), documents.changelog.as_ref());
    let lines = |file: &TextFile| {
        let text = String::from_utf8_lossy(&file.bytes).to_lowercase();
        text.lines().map(str::to_owned).collect()
    };
    let tasks = documents.todos.as_ref().map(|file| todos::read(&file.bytes));
    let rows = log.map(|log| inventory::run_rows(&log.bytes, headers)).unwrap_or_default();
    Reading {
        log: log.map(page),
        troubles: log.map(|log| troubles::read(&log.bytes, &rows, gates)).unwrap_or_default(),
        rows,
        changelog: changelog.map(page),
        entries: changelog.map(|file| changelog::read(&file.bytes)).unwrap_or_default(),
        changelog_lines: changelog.map(lines).unwrap_or_default(),
        todos: documents.todos.as_ref().map(page),
        tasks: tasks.unwrap_or_default(),
        reports: documents.reports.iter().map(page).collect(),
        forms: forms.clone(),
    }
}

impl Reading {
    /// Walks all documents.
    pub(super) fn pages(&self) -> impl Iterator<Item = &Page> {
        let single = [&self.log, &self.changelog, &self.todos];
        single.into_iter().flatten().chain(&self.reports)
    }

    /// Returns why a reader will want a report of a run: it failed, or collapsed, as the journal
    /// knows or the log says.
    pub(super) fn trouble<'a>(&'a self, facts: &'a Facts, run: &RunId) -> Option<&'a str> {
        let known = facts.runs.get(run).and_then(|fact| fact.trouble.as_deref());
        known.or_else(|| self.troubles.get(run).map(String::as_str))
    }

    /// Returns whether a run has a row.
    pub(super) fn has_row(&self, run: &RunId) -> bool {
        self.rows.iter().any(|row| row.run.as_ref() == Some(run))
    }

    /// Returns what must be looked up.
    pub fn questions(&self) -> Questions {
        let mut questions = Questions::default();
        for page in self.pages() {
            for link in &page.inventory.links {
                if let Target::Inside(path, _) = paths::resolve(&page.path, &link.target) {
                    questions.paths.insert(path);
                }
            }
        }
        let pages = [&self.log, &self.changelog, &self.todos].into_iter().flatten();
        questions.revisions = pages.flat_map(|page| self.hashes_of(page).into_keys()).collect();
        questions
    }

    /// Reads the name of a tag; `None` for one of no agreed form.
    pub fn tag(&self, name: &str) -> Option<TagName> {
        read_tag(&self.forms, name)
    }

    /// Returns the tags that a document names.
    pub(super) fn tags_of(&self, page: &Page) -> Named {
        let mut named = self.names_of(page, |text| self.is_tag(text));
        if is_page(self.changelog.as_ref(), page) {
            for tag in self.entries.entries.iter().flat_map(|entry| &entry.tags) {
                add_first(&mut named, &tag.name, tag.line);
            }
        }
        named
    }

    /// Returns the commits that a document names.
    pub(super) fn hashes_of(&self, page: &Page) -> Named {
        let mut named = self.names_of(page, is_hash);
        if is_page(self.todos.as_ref(), page) {
            for commit in self.tasks.tasks.iter().flat_map(|task| &task.commits) {
                add_first(&mut named, &commit.name, commit.line);
            }
        }
        named
    }

    /// A name stands in a code span, or as a word in a row's *Git Tag* cell.
    fn names_of(&self, page: &Page, is_name: impl Fn(&str) -> bool) -> Named {
        let mut named = Named::new();
        for span in page.inventory.spans.iter().filter(|span| is_name(&span.text)) {
            add_first(&mut named, &span.text, span.line);
        }
        if is_page(self.log.as_ref(), page) {
            for row in &self.rows {
                for word in words_of_tag_cell(row).filter(|word| is_name(word)) {
                    add_first(&mut named, word, row.line);
                }
            }
        }
        named
    }

    /// Returns whether a text in a document names a tag: it has a form, and is no path of a file.
    fn is_tag(&self, text: &str) -> bool {
        // Two dots stand for what was left out, or between two revisions; no tag has them.
        let is_plain = !text.contains(['<', '>', '{', '}', '*', '…', '\\', '(', ')', '$', ' '])
            && !text.contains("..");
        let last = text.rsplit('/').next().unwrap_or_default();
        let is_file = last.rsplit_once('.').is_some_and(|(_, end)| {
            (1..=5).contains(&end.len()) && end.starts_with(|c: char| c.is_ascii_alphabetic())
        });
        is_plain && !is_file && !text.ends_with('/') && self.tag(text).is_some()
    }
}

fn is_page(known: Option<&Page>, page: &Page) -> bool {
    known.is_some_and(|known| known.path == page.path)
}

fn add_first(named: &mut Named, name: &str, line: usize) {
    let first = named.entry(name.to_owned()).or_insert(line);
    *first = line.min(*first);
}

/// Walks the words of a row's *Git Tag* cell.
pub(super) fn words_of_tag_cell(row: &SeenRow) -> impl Iterator<Item = &str> {
    let text = row.cell(RunColumn::GitTag).map_or("", |cell| cell.text.as_str());
    let between = |character: char| character.is_whitespace() || "(),;+·→|".contains(character);
    text.split(between).filter(|word| !word.is_empty())
}

/// Returns whether a row belongs to a run that is planned or pending: its conclusion says so.
pub(super) fn is_pending(row: &SeenRow) -> bool {
    let conclusion = row.cell(RunColumn::Conclusion).map_or("", |cell| cell.text.as_str());
    conclusion.to_uppercase().starts_with("PENDING")
}

/// Returns the run that a row is of, its own id first, else what its cell calls it.
pub(super) fn row_name(row: &SeenRow) -> String {
    row.run.as_ref().map_or_else(
        || row.name.lines().next().unwrap_or_default().to_owned(),
        |run| run.as_str().to_owned(),
    )
}

/// Returns a run's day as its id states it, `YYYYMMDD`.
pub(super) fn day(run: &RunId) -> Option<String> {
    run.stamp().map(|stamp| stamp.strftime("%Y%m%d").to_string())
}

/// A number of seven digits alone is no hash, and neither is a word such as `defaced`.
pub(super) fn is_hash(text: &str) -> bool {
    let is_hexadecimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let has_digit = text.bytes().any(|byte| byte.is_ascii_digit());
    let has_letter = text.bytes().any(|byte| byte.is_ascii_alphabetic());
    (7..=40).contains(&text.len()) && is_hexadecimal && has_digit && has_letter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tags_are_told_from_paths_and_hashes_from_words() {
        let settings = crate::settings::defaults(std::path::Path::new("/x"));
        let documents = Documents::default();
        let reading = read(&documents, &HeaderNames::new(), &settings.discipline.tags, &[]);
        for (text, expected) in [
            ("arch/v1.2", true),
            ("arch/encoder.py", false),
            ("train/<run>_20260223", false),
            ("arch/{feature}", false),
            ("arch/*", false),
            ("arch/...", false),
            ("arch/a..arch/b", false),
            ("arch/", false),
            ("train/a_20260223", true),
            ("train/a", false),
            ("v1.0", false),
        ] {
            assert_eq!(reading.is_tag(text), expected, "{text}");
        }
        for (text, expected) in [
            ("54ee870", true),
            ("1234567", false),
            ("defaced", false),
            ("54ee87", false),
            ("54EE870", false),
            ("0123456789abcdef0123456789abcdef01234567", true),
        ] {
            assert_eq!(is_hash(text), expected, "{text}");
        }
    }
}
