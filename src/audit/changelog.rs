//! What a CHANGELOG says: its entries with their places, what each links to, and what is wrong with
//! the form of each.
//!
//! Two forms count: `**What changed:**` with `**Why:**`, and `**Motivation:**` with headings such as
//! `### Changed — file`; a mixture of both says everything too.

use jiff::civil::Date;

use super::{Reference, words};
use crate::document::outline::{LineKind, OutlineLine, outline};

/// A CHANGELOG.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changelog {
    /// The line of the heading `[Unreleased]`.
    pub unreleased: Option<usize>,
    /// Its entries, in the order of the file.
    pub entries: Vec<Entry>,
    /// All that stands in backticks anywhere, tags among it.
    pub code: Vec<Reference>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line of its heading.
    pub line: usize,
    /// Its last line that shows something, a rule at its end not counted.
    pub last_line: usize,
    /// The day in its heading.
    pub date: Option<Date>,
    /// Its title.
    pub title: String,
    /// The line of the field *Git tag*.
    pub tag_line: Option<usize>,
    /// The tags that the field names; none when it says that there is none.
    pub tags: Vec<Reference>,
    /// The tasks that the field *Related TODO* names.
    pub todos: Vec<Reference>,
    /// What it tells.
    pub told: Told,
    /// What is wrong with its form.
    pub problems: Vec<Problem>,
    /// Whether an entry above it is older.
    pub is_out_of_order: bool,
}

/// Which parts an entry has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four parts, each there or not")]
pub struct Told {
    /// `**Motivation:**`
    pub motivation: bool,
    /// `**Why:**`
    pub why: bool,
    /// `**What changed:**`
    pub what: bool,
    /// `### Changed — file` and its kin.
    pub headings: bool,
}

/// Something wrong with the form of an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The heading has no day.
    #[error("the heading is not of the form `## [YYYY-MM-DD] — Title`")]
    NoDate,
    /// The heading has no title.
    #[error("the heading has no title after its date")]
    NoTitle,
    /// It does not say what changed.
    #[error("neither `**What changed:**` nor a heading such as `### Changed — file` stands in it")]
    NoChange,
    /// It does not say why.
    #[error("neither `**Why:**` nor `**Motivation:**` stands in it")]
    NoReason,
}

/// Words that a heading of changes begins with.
const CHANGES: [&str; 7] =
    ["changed", "added", "fixed", "removed", "deprecated", "security", "what changed"];

/// Reads a CHANGELOG. Any bytes are read; what is no entry is left out.
pub fn read(file: &[u8]) -> Changelog {
    let lines = outline(file);
    let mut changelog = Changelog::default();
    let mut reader: Option<Reader> = None;
    for line in &lines {
        let text = line.text();
        if line.kind != LineKind::Hidden {
            let spans = words::code_spans(&text).map(|name| reference(line.number, name));
            changelog.code.extend(spans);
        }
        if let LineKind::Heading(1 | 2) = line.kind {
            changelog.entries.extend(reader.take().map(Reader::finish));
            let title = line.title();
            if is_unreleased(&title) {
                changelog.unreleased.get_or_insert(line.number);
            } else if line.kind == LineKind::Heading(2) {
                reader = heading(&title).map(|heading| Reader::new(line.number, heading));
            }
        } else if let Some(reader) = &mut reader {
            reader.take_line(line, &text);
        }
    }
    changelog.entries.extend(reader.take().map(Reader::finish));
    note_order(&mut changelog.entries);
    changelog
}

fn note_order(entries: &mut [Entry]) {
    let mut oldest: Option<Date> = None;
    for entry in entries {
        entry.is_out_of_order = entry.date > oldest && oldest.is_some();
        oldest = match (oldest, entry.date) {
            (Some(oldest), Some(date)) => Some(oldest.min(date)),
            (oldest, date) => oldest.or(date),
        };
    }
}

fn is_unreleased(title: &str) -> bool {
    title.trim_matches(['[', ']']).eq_ignore_ascii_case("unreleased")
}

/// Reads `[YYYY-MM-DD] — Title`; nothing when the heading is none of an entry at all.
fn heading(title: &str) -> Option<(Option<Date>, String)> {
    let (day, rest) = match title.strip_prefix('[') {
        Some(inner) => inner.split_once(']').unwrap_or((inner, "")),
        None => title.split_at_checked(10).unwrap_or((title, "")),
    };
    let date = words::iso_date(day.trim());
    let rest = rest.trim_start_matches(|character: char| {
        character.is_whitespace() || "—–-:".contains(character)
    });
    (date.is_some() || title.starts_with('[')).then(|| (date, rest.trim().to_owned()))
}

/// What the lines of a field belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Tag,
    Todo,
    /// *Related*, which may name a task among other things.
    Related,
    Other,
}

/// Reads the lines of one entry.
struct Reader {
    entry: Entry,
    field: Field,
}

impl Reader {
    fn new(line: usize, (date, title): (Option<Date>, String)) -> Self {
        let mut problems = Vec::new();
        if date.is_none() {
            problems.push(Problem::NoDate);
        } else if title.is_empty() {
            problems.push(Problem::NoTitle);
        }
        let entry = Entry {
            line,
            last_line: line,
            date,
            title,
            tag_line: None,
            tags: Vec::new(),
            todos: Vec::new(),
            told: Told::default(),
            problems,
            is_out_of_order: false,
        };
        Self { entry, field: Field::Other }
    }

    fn take_line(&mut self, line: &OutlineLine<'_>, text: &str) {
        if !matches!(line.kind, LineKind::Blank | LineKind::Rule) {
            self.entry.last_line = line.number;
        }
        match line.kind {
            LineKind::Heading(_) => {
                self.field = Field::Other;
                let title = line.title().to_lowercase();
                self.entry.told.headings |= CHANGES.iter().any(|word| title.starts_with(word));
            }
            LineKind::Text | LineKind::Item => match words::field(text) {
                Some((name, value)) => self.begin_field(&name, value, line.number),
                None => self.go_on(text, line.number),
            },
            _ => self.field = Field::Other,
        }
    }

    fn begin_field(&mut self, name: &str, value: &str, line: usize) {
        let told = &mut self.entry.told;
        self.field = Field::Other;
        match name {
            "motivation" => told.motivation = true,
            "why" => told.why = true,
            "what changed" | "changed" | "changes" => told.what = true,
            "git tag" | "git tags" | "tag" | "tags" => {
                self.entry.tag_line.get_or_insert(line);
                self.field = Field::Tag;
            }
            "related todo" | "related todos" | "todo" => self.field = Field::Todo,
            "related" => self.field = Field::Related,
            _ => {}
        }
        self.go_on(value, line);
    }

    /// Takes a further line of the field that is open.
    fn go_on(&mut self, text: &str, line: usize) {
        let names = match self.field {
            Field::Tag => tags(text),
            Field::Todo => tasks(text, true),
            Field::Related => tasks(text, false),
            Field::Other => return,
        };
        let references = names.iter().map(|name| reference(line, name));
        match self.field {
            Field::Tag => self.entry.tags.extend(references),
            _ => self.entry.todos.extend(references),
        }
    }

    fn finish(mut self) -> Entry {
        let Told { motivation, why, what, headings } = self.entry.told;
        if !(what || headings) {
            self.entry.problems.push(Problem::NoChange);
        }
        if !(why || motivation) {
            self.entry.problems.push(Problem::NoReason);
        }
        self.entry
    }
}

/// Names in backticks, else the first word if it looks like a tag.
fn tags(value: &str) -> Vec<String> {
    let spans: Vec<String> =
        words::code_spans(value).filter(|span| !words::is_none(span)).map(str::to_owned).collect();
    let first = value.split_whitespace().next().filter(|_| !value.contains('`'));
    let bare = first.filter(|word| word.contains('/') && !word.contains("](")).map(str::to_owned);
    if spans.is_empty() { bare.into_iter().collect() } else { spans }
}

/// The numbers after *TODO*, a whole list of them, else the title that stands there, where a title
/// may.
fn tasks(value: &str, titles_too: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_number_next = false;
    let boundary = |character: char| {
        character.is_whitespace() || ",;:()[]`*#&+".contains(character) || character == '→'
    };
    for word in value.split(boundary).filter(|word| !word.is_empty()) {
        let number = word.trim_end_matches('.');
        if word.eq_ignore_ascii_case("todo") || word.eq_ignore_ascii_case("todos") {
            is_number_next = true;
        } else if is_number_next && super::todos::is_number(number) {
            found.push(number.to_owned());
        } else if !matches!(word, "and" | "/" | "-" | "–") {
            is_number_next = false;
        }
    }
    if found.is_empty() && titles_too && !words::is_none(value) {
        let title = value.trim_matches(|character: char| "`*_ .".contains(character));
        found.push(title.to_owned());
    }
    found
}

fn reference(line: usize, name: &str) -> Reference {
    Reference { line, name: name.to_owned() }
}

#[cfg(test)]
mod tests;
