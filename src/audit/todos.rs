//! What a list of tasks says: each task with its place, whether it is done, when and by which
//! commit.
//!
//! A task is a heading `## TODO 6: Title` with what stands below it, a list item with a box, or a
//! table's row with a box in one of its cells. Boxes below a TODO heading are steps of that task.

use std::ops::Range;

use jiff::civil::Date;

use super::{Reference, words};
use crate::document::outline::{LineKind, OutlineLine, outline};

/// A list of tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Todos {
    /// Its tasks, in the order of the file.
    pub tasks: Vec<Task>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its (first) line.
    pub line: usize,
    /// How it is written.
    pub form: TaskForm,
    /// What stands after *TODO*, such as `6` or `0b`.
    pub number: Option<String>,
    /// Its title.
    pub title: String,
    /// Whether it is marked done.
    pub is_done: bool,
    /// When it was done.
    pub date: Option<Date>,
    /// The commits that it names beside its mark.
    pub commits: Vec<Reference>,
    /// The line of the TODO heading that it is a step of.
    pub parent: Option<usize>,
    /// Where its marks stand.
    pub(super) marks: Marks,
}

/// How a task is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskForm {
    /// `## TODO 6: Title`
    Heading,
    /// `- [ ] Title`
    Item,
    /// `| Title | [ ] |`
    Row,
}

/// Where the marks of a task stand, as numbers of lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Whether the heading says that it is done.
    pub(super) in_heading: bool,
    /// `**Status:** …`
    pub(super) status: Option<usize>,
    /// `**Done date: …**`
    pub(super) done_date: Option<usize>,
    /// The last line of its text.
    pub(super) last: usize,
    /// The cell with the box.
    pub(super) cell: Option<Range<usize>>,
}

/// Reads a list of tasks. Any bytes are read; what is no task is left out.
pub fn read(file: &[u8]) -> Todos {
    let mut reader = Reader { file, todos: Todos::default(), heading: None, item: None };
    let lines = outline(file);
    for line in &lines {
        reader.take(line);
    }
    Todos { tasks: reader.todos.tasks }
}

impl Todos {
    /// Returns the tasks that somebody may mean: those with this number (`6`, `TODO 6`, `#6`), in
    /// this line (`line:12`), of this title, or with these words in it.
    pub fn find(&self, wanted: &str) -> Vec<&Task> {
        let wanted = wanted.trim();
        if let Some(line) = wanted.strip_prefix("line:").and_then(|line| line.parse::<usize>().ok())
        {
            return self.those(|task| task.line == line);
        }
        let bare = wanted.strip_prefix(['T', 't']).and_then(|rest| {
            let is_todo = rest.get(..3)?.eq_ignore_ascii_case("odo");
            is_todo.then(|| rest.get(3..).unwrap_or_default())
        });
        let number = bare.unwrap_or(wanted).trim().trim_start_matches('#').trim_end_matches(':');
        if is_number(number) {
            let same = |own: &String| own.eq_ignore_ascii_case(number);
            return self.those(|task| task.number.as_ref().is_some_and(same));
        }
        let words = wanted.to_lowercase();
        if words.is_empty() {
            return Vec::new();
        }
        let same = self.those(|task| task.title.to_lowercase() == words);
        if same.is_empty() {
            self.those(|task| task.title.to_lowercase().contains(&words))
        } else {
            same
        }
    }

    fn those(&self, test: impl Fn(&Task) -> bool) -> Vec<&Task> {
        self.tasks.iter().filter(|task| test(task)).collect()
    }
}

/// Returns whether a word is the number of a task: a digit first, such as `6`, `0b` or `3.1`.
pub(super) fn is_number(word: &str) -> bool {
    word.len() <= 8
        && word.starts_with(|first: char| first.is_ascii_digit())
        && word.chars().all(|character| character.is_ascii_alphanumeric() || character == '.')
}

/// A box: whether it is checked, and what follows it.
pub(super) fn after_box(text: &str) -> Option<(bool, &str)> {
    let rest = text.strip_prefix('[')?;
    let (mark, rest) = rest.split_once(']')?;
    match mark {
        " " | "" => Some((false, rest.trim())),
        "x" | "X" | "✓" | "✅" => Some((true, rest.trim())),
        _ => None,
    }
}

/// Splits a list item's marker from its text.
pub(super) fn item_text(line: &str) -> Option<&str> {
    let line = line.trim();
    let digits = line.len() - line.trim_start_matches(|first: char| first.is_ascii_digit()).len();
    let marker = if digits > 0 { digits } else { 0 };
    let rest = line.get(marker..)?.strip_prefix(if digits > 0 {
        &['.', ')'][..]
    } else {
        &['-', '*', '+'][..]
    })?;
    rest.strip_prefix([' ', '\t']).map(str::trim)
}

/// A heading's task: its number and the rest.
fn todo_heading(title: &str) -> Option<(Option<String>, &str)> {
    let bare = title.trim_start_matches(|first: char| !first.is_alphanumeric());
    let bare = bare.strip_prefix("x] ").unwrap_or(bare);
    let rest = bare.strip_prefix("TODO")?;
    if let Some(rest) = rest.strip_prefix(':') {
        return Some((None, rest.trim()));
    }
    let rest = rest.strip_prefix(|first: char| first.is_whitespace() || first == '#')?.trim_start();
    let end = rest.find(|character: char| character.is_whitespace() || ":—–)".contains(character));
    let (number, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
    let number = number.trim_end_matches('.');
    let title =
        after.trim_start_matches(|first: char| first.is_whitespace() || ":—–-).".contains(first));
    is_number(number).then(|| (Some(number.to_owned()), title.trim()))
}

/// A heading's title without its marks and without its priority.
fn bare_title(title: &str) -> &str {
    let is_mark = |last: char| last.is_whitespace() || "✅✓☑~*—–-#".contains(last);
    let mut bare = title.trim_end_matches(is_mark);
    bare = bare.strip_suffix("DONE").unwrap_or(bare).trim_end_matches(is_mark);
    let priority = bare.rfind("(Priority").filter(|_| bare.ends_with(')'));
    let bare = priority.and_then(|at| bare.get(..at)).unwrap_or(bare);
    bare.trim_matches(|edge: char| edge.is_whitespace() || "~*".contains(edge))
}

fn says_done(title: &str) -> bool {
    let has_word = title.split(|character: char| !character.is_alphanumeric()).any(|w| w == "DONE");
    has_word || title.contains('✅') || title.starts_with("[x]") || title.starts_with("[X]")
}

/// Reads line by line.
struct Reader<'a> {
    file: &'a [u8],
    todos: Todos,
    /// The open TODO heading: its level and its index.
    heading: Option<(usize, usize)>,
    /// The index of the open list item.
    item: Option<usize>,
}

impl Reader<'_> {
    fn take(&mut self, line: &OutlineLine<'_>) {
        let text = line.text();
        match line.kind {
            LineKind::Heading(level) => {
                self.item = None;
                self.take_heading(level, line);
                return;
            }
            LineKind::Item | LineKind::Text => {
                if !self.take_item(line, &text) {
                    self.go_on(line, &text);
                }
                self.take_field(line, &text);
            }
            LineKind::Row => {
                self.item = None;
                self.take_row(line);
            }
            _ => self.item = None,
        }
        let shows = !matches!(line.kind, LineKind::Blank | LineKind::Rule);
        if let Some(task) = self.open_heading().filter(|_| shows) {
            task.marks.last = line.number;
        }
    }

    fn open_heading(&mut self) -> Option<&mut Task> {
        let (_, index) = self.heading?;
        self.todos.tasks.get_mut(index)
    }

    fn take_heading(&mut self, level: usize, line: &OutlineLine<'_>) {
        let title = line.title();
        let found = todo_heading(&title);
        if found.is_some() || self.heading.is_some_and(|(open, _)| level <= open) {
            self.heading = None;
        }
        let Some((number, rest)) = found else {
            if let Some(task) = self.open_heading() {
                task.marks.last = line.number;
            }
            return;
        };
        let in_heading = says_done(&title);
        let mut task = self.task(line.number, TaskForm::Heading, bare_title(rest), in_heading);
        task.number = number;
        task.marks.in_heading = in_heading;
        task.note(&title, line.number);
        self.heading = Some((level, self.todos.tasks.len()));
        self.todos.tasks.push(task);
    }

    fn task(&self, line: usize, form: TaskForm, title: &str, is_done: bool) -> Task {
        let parent = self.heading.and_then(|(_, index)| Some(self.todos.tasks.get(index)?.line));
        Task {
            line,
            form,
            number: None,
            title: title.to_owned(),
            is_done,
            date: None,
            commits: Vec::new(),
            parent,
            marks: Marks { last: line, ..Marks::default() },
        }
    }

    /// `**Status:** …` and `**Done date: …**` below a TODO heading.
    fn take_field(&mut self, line: &OutlineLine<'_>, text: &str) {
        let Some((name, value)) = words::field(text) else { return };
        let Some(task) = self.open_heading() else { return };
        match name.as_str() {
            "status" => {
                let Some((is_done, rest)) = after_box(value) else { return };
                task.marks.status.get_or_insert(line.number);
                task.is_done |= is_done;
                if is_done {
                    task.note(rest, line.number);
                }
            }
            "done date" | "done" | "completed" => {
                task.marks.done_date.get_or_insert(line.number);
                task.is_done |= words::date(value).is_some();
                task.note(value, line.number);
            }
            "commit" | "commits" | "done commit" => task.note(value, line.number),
            _ => {}
        }
    }

    fn take_item(&mut self, line: &OutlineLine<'_>, text: &str) -> bool {
        let found = item_text(text).and_then(after_box);
        let Some((is_done, rest)) = found else {
            if line.kind == LineKind::Item || item_text(text).is_some() {
                self.item = None;
            }
            return false;
        };
        let (number, title) =
            todo_heading(rest).map_or((None, rest), |(number, title)| (number, title));
        let mut task = self.task(line.number, TaskForm::Item, bare_title(title), is_done);
        task.number = number;
        if is_done {
            task.note(rest, line.number);
        }
        self.item = Some(self.todos.tasks.len());
        self.todos.tasks.push(task);
        true
    }

    /// A further line of an open list item.
    fn go_on(&mut self, line: &OutlineLine<'_>, text: &str) {
        let item = self.item.and_then(|index| self.todos.tasks.get_mut(index));
        let Some(task) = item else { return };
        task.marks.last = line.number;
        if task.is_done {
            task.note(text, line.number);
        }
    }

    fn take_row(&mut self, line: &OutlineLine<'_>) {
        let shown = |cell: &Range<usize>| {
            String::from_utf8_lossy(self.file.get(cell.clone()).unwrap_or_default()).into_owned()
        };
        let places = line.cells(self.file);
        let cells: Vec<String> = places.iter().map(shown).collect();
        let boxed = cells.iter().position(|cell| after_box(cell).is_some());
        let Some(boxed) = boxed else { return };
        let is_done = cells.get(boxed).and_then(|cell| after_box(cell)).is_some_and(|(is, _)| is);
        let (mut number, mut title) = (None, String::new());
        for (_, cell) in cells.iter().enumerate().filter(|(index, _)| *index != boxed) {
            let bare = cell.trim_matches(['`', '*', '#', ' ']);
            let word = bare.strip_prefix("TODO ").unwrap_or(bare);
            if number.is_none() && title.is_empty() && is_number(word) {
                number = Some(word.to_owned());
            } else if title.is_empty() {
                bare.clone_into(&mut title);
            }
        }
        let mut task = self.task(line.number, TaskForm::Row, &title, is_done);
        task.number = number;
        task.marks.cell = places.get(boxed).cloned();
        if is_done {
            for cell in cells.iter().filter(|cell| cell.trim_matches(['`', '*', ' ']) != title) {
                task.note(cell, line.number);
            }
        }
        self.todos.tasks.push(task);
    }
}

impl Task {
    /// Takes date and commits out of the text beside a mark.
    fn note(&mut self, text: &str, line: usize) {
        self.date = self.date.or_else(|| words::date(text));
        let commits = words::commits(text).into_iter();
        self.commits.extend(commits.map(|name| Reference { line, name: name.to_owned() }));
    }
}

#[cfg(test)]
mod tests;
