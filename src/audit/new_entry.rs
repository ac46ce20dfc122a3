//! Adds an entry to the CHANGELOG: in the form that the file uses, in its place, and nothing else.

use jiff::civil::Date;

use super::changelog::{self, Changelog, Entry};
use crate::document::outline::{self, Edit, LineKind, OutlineLine, outline};

/// What an entry is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// Its day.
    pub day: Date,
    /// Its title.
    pub title: String,
    /// What changed.
    pub changes: Vec<Change>,
    /// Why.
    pub why: String,
    /// The tag that holds it.
    pub tag: Option<String>,
    /// The task that it belongs to, as the entry names it.
    pub todo: Option<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The file or folder.
    pub path: String,
    /// What changed there.
    pub text: String,
}

/// What comes of adding an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// The same entry stands in this line.
    There(usize),
    /// The text with the entry.
    Made(Vec<u8>),
}

/// The forms of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `**What changed:**` and `**Why:**`
    Fields,
    /// `**Motivation:**` and `### Changed — file`
    Headings,
}

/// What a new CHANGELOG begins with.
const BEGINNING: &str = "# Changelog\n\n## [Unreleased]\n";

impl Change {
    /// Reads `path: text`.
    pub fn read(argument: &str) -> Option<Self> {
        let (path, text) = argument.split_once(": ")?;
        let (path, text) = (path.trim().trim_matches('`'), text.trim());
        let is_whole = !path.is_empty() && !text.is_empty() && !path.contains(['`', '\n']);
        is_whole.then(|| Self { path: path.to_owned(), text: text.to_owned() })
    }
}

/// Adds an entry; `None` stands for a CHANGELOG that does not exist and is made.
///
/// # Errors
/// Another entry of this title and day is there, the file cannot be edited now, or the entry would
/// not be read as one; the text says what to do.
pub fn add(file: Option<&[u8]>, entry: &NewEntry) -> Result<Added, String> {
    if entry.title.trim().is_empty() || entry.title.contains(['\n', '\r']) {
        return Err("give a title of one line".to_owned());
    }
    if entry.why.trim().is_empty() {
        return Err("say why: the reason is empty".to_owned());
    }
    let file = file.unwrap_or(BEGINNING.as_bytes());
    outline::check_editable(file).map_err(|held| held.to_string())?;
    let before = changelog::read(file);
    let lines = outline(file);
    let written = entry.written(form(&before));
    if let Some(old) = before.entries.iter().find(|old| entry.is_named_as(old)) {
        let shown = lines.iter().filter(|line| (old.line..=old.last_line).contains(&line.number));
        let same = shown.map(OutlineLine::text).eq(written.iter().map(String::as_str));
        return if same {
            Ok(Added::There(old.line))
        } else {
            Err(format!(
                "an entry of this title and day stands in line {}, with other words: edit that \
                 one, or give another title",
                old.line
            ))
        };
    }
    let edit = place(file, &lines, &before, entry.day).edit(file, &written);
    let made = outline::edited(file, vec![edit]);
    let after = changelog::read(&made);
    let shown = after.entries.iter().find(|new| entry.is_named_as(new));
    let is_whole = shown.is_some_and(|new| entry.is_wholly_read(new, written.len()));
    if is_whole && after.entries.len() == before.entries.len() + 1 {
        Ok(Added::Made(made))
    } else {
        Err("the entry would not be read as one: look for an open code fence or comment, and for \
             headings and rules in what was given"
            .to_owned())
    }
}

/// The form of the newest entry that has one.
fn form(changelog: &Changelog) -> Form {
    let forms = changelog.entries.iter().filter_map(|entry| {
        let told = entry.told;
        match (told.headings && told.motivation, told.what || told.why) {
            (true, _) => Some(Form::Headings),
            (false, true) => Some(Form::Fields),
            (false, false) => None,
        }
    });
    forms.into_iter().next().unwrap_or(Form::Fields)
}

impl NewEntry {
    fn is_named_as(&self, entry: &Entry) -> bool {
        entry.date == Some(self.day) && entry.title == self.title.trim()
    }

    /// Whether all of it is seen: an open fence in what was given would hide the rest.
    fn is_wholly_read(&self, read: &Entry, lines: usize) -> bool {
        let tags: Vec<&String> = read.tags.iter().map(|tag| &tag.name).collect();
        read.problems.is_empty()
            && read.last_line + 1 == read.line + lines
            && read.tag_line.is_some()
            && self.tag.iter().all(|tag| tags.contains(&tag))
            && self.todo.is_some() != read.todos.is_empty()
    }

    fn written(&self, form: Form) -> Vec<String> {
        let mut lines = vec![format!("## [{}] — {}", self.day, self.title.trim()), String::new()];
        match form {
            Form::Fields => {
                lines.push("**What changed:**".to_owned());
                let change =
                    |change: &Change| indented(&format!("`{}`: {}", change.path, change.text));
                lines.extend(self.changes.iter().flat_map(change));
                lines.push(String::new());
                lines.extend(paragraph("Why", &self.why));
            }
            Form::Headings => {
                lines.extend(paragraph("Motivation", &self.why));
                for change in &self.changes {
                    lines.extend([String::new(), format!("### Changed — `{}`", change.path)]);
                    lines.push(String::new());
                    lines.extend(indented(&change.text));
                }
            }
        }
        let tag = self.tag.as_ref().map_or("—".to_owned(), |tag| format!("`{tag}`"));
        lines.extend([String::new(), format!("**Git tag:** {tag}")]);
        lines.extend(self.todo.iter().map(|todo| format!("**Related TODO:** {todo}")));
        lines
    }
}

fn paragraph(name: &str, text: &str) -> Vec<String> {
    format!("**{name}:** {}", text.trim()).lines().map(|line| line.trim_end().to_owned()).collect()
}

/// A list item, whose further lines stand below its text.
fn indented(text: &str) -> Vec<String> {
    let mut lines = text.trim().lines().map(str::trim);
    let first = format!("- {}", lines.next().unwrap_or_default());
    let rest = lines.map(|line| if line.is_empty() { String::new() } else { format!("  {line}") });
    std::iter::once(first).chain(rest).collect()
}

/// Where an entry comes.
#[derive(Debug)]
enum Place {
    /// Before the heading that starts here.
    Before { at: usize, separated: bool },
    /// Below all that is there.
    End { at: usize, separated: bool },
    /// In a file that shows nothing, behind a byte order mark.
    Only { at: usize },
}

/// The newest entry stands first, and of one day the latest.
fn place(file: &[u8], lines: &[OutlineLine<'_>], changelog: &Changelog, day: Date) -> Place {
    let start = |number: usize| {
        let line = lines.iter().find(|line| line.number == number);
        line.map_or(file.len(), |line| line.range.start)
    };
    let shown_before = |number: usize| {
        let above = lines.iter().rev().filter(|line| line.number < number);
        above.map(|line| line.kind).find(|kind| *kind != LineKind::Blank)
    };
    let first = changelog.entries.first();
    let ruled = |entry: &&Entry| shown_before(entry.line) == Some(LineKind::Rule);
    let separated = first.is_none() || changelog.entries.iter().any(|entry| ruled(&entry));
    let older = changelog.entries.iter().find(|entry| entry.date.is_some_and(|date| date <= day));
    if let Some(older) = older {
        return Place::Before { at: start(older.line), separated };
    }
    let last = lines.iter().rev().find(|line| line.kind != LineKind::Blank);
    let is_ruled = last.is_none_or(|line| line.kind == LineKind::Rule);
    let Some(last) = last else {
        return Place::Only { at: lines.first().map_or(0, |line| line.range.start) };
    };
    // White space at the end of the file stays below.
    Place::End { at: last.range.end, separated: separated && !is_ruled }
}

impl Place {
    fn edit(&self, file: &[u8], written: &[String]) -> Edit {
        let end = outline::line_end(file);
        let text = written.join(end);
        let rule =
            |separated: bool| if separated { format!("---{end}{end}") } else { String::new() };
        match *self {
            Self::Before { at, separated } => {
                Edit { range: at..at, text: format!("{text}{end}{end}{}", rule(separated)) }
            }
            Self::End { at, separated } => {
                // A file without a line end at its end stays without one.
                let text = format!("{end}{end}{}{text}", rule(separated));
                Edit { range: at..at, text }
            }
            Self::Only { at } => Edit { range: at..at, text: format!("{text}{end}") },
        }
    }
}

#[cfg(test)]
mod tests;
