//! Marks a task done, with day and commit, in the form that the file itself uses.

use jiff::civil::Date;

use super::todos::{self, Task, TaskForm, Todos};
use super::words;
use crate::document::escape;
use crate::document::outline::{self, Edit, LineKind, OutlineLine, outline};

/// When and by what a task was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Today.
    pub today: Date,
    /// The commit that did it.
    pub commit: String,
    /// The day of that commit.
    pub committed: Date,
    /// Whether somebody named the commit; it is where the checkout stands otherwise.
    pub is_named: bool,
    /// A remark.
    pub note: Option<String>,
}

/// What comes of marking a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    /// The task in this line is done already, with day and commit.
    Already(usize),
    /// The text with the marks of the task in this line.
    Made(usize, Vec<u8>),
}

/// Marks the one task that somebody means.
///
/// # Errors
/// No task or several are meant, what is missing cannot be known, or the file cannot be edited now;
/// the text says what to do.
pub fn mark(file: &[u8], wanted: &str, done: &Done) -> Result<Marked, String> {
    outline::check_editable(file).map_err(|held| held.to_string())?;
    if done.note.as_ref().is_some_and(|note| note.contains(['\n', '\r'])) {
        return Err("give a note of one line".to_owned());
    }
    let todos = todos::read(file);
    let task = the_one(&todos, wanted)?;
    let missing = Missing {
        date: !task.is_done || task.date.is_none(),
        commit: !task.is_done || task.commits.is_empty(),
    };
    if !missing.date && !missing.commit {
        return Ok(Marked::Already(task.line));
    }
    if task.is_done && !done.is_named {
        return Err(format!(
            "line {} is marked done, but not {}: name the commit that did it with `--commit`",
            task.line,
            if missing.date && missing.commit {
                "when and by which commit"
            } else if missing.date {
                "when"
            } else {
                "by which commit"
            }
        ));
    }
    let lines = outline(file);
    let edits = match task.form {
        TaskForm::Item => item(&lines, task, &Stamp::new(task, done, missing)),
        TaskForm::Row => row(file, task, &Stamp::new(task, done, missing)),
        TaskForm::Heading => {
            Section { file, lines: &lines, todos: &todos, task }.marks(done, missing)
        }
    };
    let made = outline::edited(file, edits);
    let after = todos::read(&made);
    let is_whole = |task: &Task| task.is_done && task.date.is_some() && !task.commits.is_empty();
    if after.tasks.len() == todos.tasks.len()
        && after.tasks.iter().any(|after| after.line == task.line && is_whole(after))
    {
        Ok(Marked::Made(task.line, made))
    } else {
        Err(format!("the marks of line {} would not be read: edit it by hand", task.line))
    }
}

/// Returns the task that is meant.
///
/// # Errors
/// None or several are.
pub fn the_one<'a>(todos: &'a Todos, wanted: &str) -> Result<&'a Task, String> {
    match todos.find(wanted)[..] {
        [task] => Ok(task),
        [] => Err(format!(
            "no task is `{wanted}`: give its number (`6`), words of its title, or its line \
             (`line:12`)"
        )),
        ref several => {
            let shown = several.iter().take(9).map(|task| {
                let number = task.number.as_ref().map(|number| format!("TODO {number}: "));
                format!("\n  line:{}  {}{}", task.line, number.unwrap_or_default(), task.title)
            });
            let shown: String = shown.collect();
            Err(format!(
                "{} tasks are `{wanted}`: give the line of the one that is meant{shown}",
                several.len()
            ))
        }
    }
}

/// What a task does not say yet.
#[derive(Debug, Clone, Copy)]
struct Missing {
    date: bool,
    commit: bool,
}

/// What is added to a task.
struct Stamp {
    date: Option<Date>,
    commit: Option<String>,
    note: Option<String>,
}

impl Stamp {
    fn new(task: &Task, done: &Done, missing: Missing) -> Self {
        // A task that was done long ago was not done today.
        let day = if task.is_done { done.committed } else { done.today };
        Self {
            date: missing.date.then_some(day),
            commit: missing.commit.then(|| format!("commit `{}`", done.commit)),
            note: done.note.as_ref().map(|note| note.trim().to_owned()).filter(|n| !n.is_empty()),
        }
    }

    /// `2026-02-25, commit `54ee870`, note`
    fn listed(&self) -> String {
        let date = self.date.map(|date| date.to_string());
        let parts = [date, self.commit.clone(), self.note.clone()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    /// `2026-02-25 (commit `54ee870`, note)`
    fn bracketed(&self) -> String {
        let date = self.date.map(|date| date.to_string());
        let rest = [self.commit.clone(), self.note.clone()];
        let rest = rest.into_iter().flatten().collect::<Vec<_>>().join(", ");
        match (date, rest.as_str()) {
            (Some(date), "") => date,
            (Some(date), rest) => format!("{date} ({rest})"),
            (None, rest) => rest.to_owned(),
        }
    }
}

fn line_of<'a, 'b>(lines: &'b [OutlineLine<'a>], number: usize) -> Option<&'b OutlineLine<'a>> {
    lines.get(number.checked_sub(1)?)
}

/// Where a line's text ends, white space not counted.
fn text_end(line: &OutlineLine<'_>) -> usize {
    line.range.start + line.bytes.trim_ascii_end().len()
}

/// Checks the first empty box after `from` in a line.
fn checked(bytes: &[u8], from: usize) -> Option<Edit> {
    let at = |empty: &[u8]| bytes.windows(empty.len()).position(|window| window == empty);
    let (at, length) = at(b"[ ]").map(|at| (at, 3)).or_else(|| at(b"[]").map(|at| (at, 2)))?;
    Some(Edit { range: from + at..from + at + length, text: "[x]".to_owned() })
}

fn item(lines: &[OutlineLine<'_>], task: &Task, stamp: &Stamp) -> Vec<Edit> {
    let mut edits = Vec::new();
    if let Some(line) = line_of(lines, task.line).filter(|_| !task.is_done) {
        edits.extend(checked(line.bytes, line.range.start));
    }
    if let Some(line) = line_of(lines, task.marks.last) {
        let end = text_end(line);
        let word = if task.is_done { "" } else { "done " };
        edits.push(Edit { range: end..end, text: format!(" — {word}{}", stamp.listed()) });
    }
    edits
}

fn row(file: &[u8], task: &Task, stamp: &Stamp) -> Vec<Edit> {
    let Some(cell) = task.marks.cell.clone() else { return Vec::new() };
    let mut stamp = Stamp { note: stamp.note.clone(), commit: stamp.commit.clone(), ..*stamp };
    stamp.note = stamp.note.map(|note| escape::escaped(&note, escape::CELL_LIMIT));
    let text = String::from_utf8_lossy(file.get(cell.clone()).unwrap_or_default());
    if task.is_done {
        let text = format!(" — {}", stamp.listed());
        return vec![Edit { range: cell.end..cell.end, text }];
    }
    let rest = todos::after_box(&text).map_or("", |(_, rest)| rest);
    let text = format!("[x] Done — {}{}", stamp.listed(), kept(rest));
    vec![Edit { range: cell, text }]
}

/// What stood behind an empty box: plain words for "not yet" go, anything else stays.
fn kept(rest: &str) -> String {
    let bare = rest.trim_matches(|edge: char| !edge.is_alphanumeric()).to_lowercase();
    let says_open =
        ["", "not started", "open", "pending", "todo", "to do", "in progress", "not done", "tbd"];
    if says_open.contains(&bare.as_str()) { String::new() } else { format!(" (was: {rest})") }
}

/// A task that is a heading with its text.
struct Section<'a> {
    file: &'a [u8],
    lines: &'a [OutlineLine<'a>],
    todos: &'a Todos,
    task: &'a Task,
}

impl Section<'_> {
    fn marks(&self, done: &Done, missing: Missing) -> Vec<Edit> {
        let task = self.task;
        let stamp = Stamp::new(task, done, missing);
        let mut edits = Vec::new();
        if let Some(line) = line_of(self.lines, task.line).filter(|_| self.is_heading_marked()) {
            edits.push(self.heading(line));
        }
        let day = task.marks.done_date.and_then(|number| line_of(self.lines, number));
        let status = task.marks.status.and_then(|number| line_of(self.lines, number));
        if let Some(line) = status {
            let stamp = if day.is_none() { stamp.listed() } else { String::new() };
            edits.extend(status_edit(line, &stamp));
        }
        match (day, status) {
            (Some(line), _) => edits.extend(day_edit(line, &stamp)),
            (None, None) => edits.push(self.new_field(&stamp)),
            (None, Some(_)) => {}
        }
        edits
    }

    /// Headings are marked where the headings of done tasks are, and where none is done yet.
    fn is_heading_marked(&self) -> bool {
        let others = self.todos.tasks.iter().filter(|task| task.form == TaskForm::Heading);
        let mut done = others.filter(|task| task.is_done && task.line != self.task.line).peekable();
        let is_usual = done.peek().is_none() || done.any(|task| task.marks.in_heading);
        !self.task.marks.in_heading && is_usual
    }

    fn heading(&self, line: &OutlineLine<'_>) -> Edit {
        let is_dashed = |line: &OutlineLine<'_>| line.text().contains("— DONE");
        let mut marked = self.todos.tasks.iter().filter(|task| task.marks.in_heading);
        let dashed = marked.any(|task| line_of(self.lines, task.line).is_some_and(is_dashed));
        let end = text_end(line);
        let text = if dashed { " — DONE ✅" } else { " DONE ✅" };
        Edit { range: end..end, text: text.to_owned() }
    }

    /// A new field: at the end of the text as a status where others have theirs, else below the
    /// heading.
    fn new_field(&self, stamp: &Stamp) -> Edit {
        let end = outline::line_end(self.file);
        let others = || self.todos.tasks.iter().filter(|task| task.form == TaskForm::Heading);
        let with_status = others().filter(|task| task.marks.status.is_some()).count();
        let with_day = others().filter(|task| task.marks.done_date.is_some()).count();
        if with_status > with_day {
            let at = line_of(self.lines, self.task.marks.last).map_or(self.file.len(), text_end);
            let text = format!("{end}{end}**Status:** [x] Done — {}", stamp.listed());
            return Edit { range: at..at, text };
        }
        let at = line_of(self.lines, self.task.line).map_or(self.file.len(), |line| line.range.end);
        let next = line_of(self.lines, self.task.line + 1);
        let gap = if next.is_some_and(|line| line.kind != LineKind::Blank) { end } else { "" };
        let text = format!("{end}{end}**Done date: {}**{gap}", stamp.bracketed());
        Edit { range: at..at, text }
    }
}

/// Checks the box of a status and puts a stamp behind it.
fn status_edit(line: &OutlineLine<'_>, stamp: &str) -> Option<Edit> {
    let text = line.text();
    let (_, value) = words::field(&text)?;
    let (is_done, rest) = todos::after_box(value)?;
    let end = text_end(line);
    let dashed = if stamp.is_empty() { String::new() } else { format!(" — {stamp}") };
    if is_done {
        return (!stamp.is_empty()).then_some(Edit { range: end..end, text: dashed });
    }
    let opened = line.bytes.iter().position(|byte| *byte == b'[')?;
    let text = format!("[x] Done{dashed}{}", kept(rest));
    Some(Edit { range: line.range.start + opened..end, text })
}

/// Puts what is missing into `**Done date: …**`.
fn day_edit(line: &OutlineLine<'_>, stamp: &Stamp) -> Option<Edit> {
    let text = line.text();
    let (_, value) = words::field(&text)?;
    let trimmed = line.bytes.trim_ascii_end();
    let stars = trimmed.iter().rev().take_while(|byte| **byte == b'*').count();
    let is_bold_value = !value.is_empty() && stars > 0;
    let end = text_end(line) - if is_bold_value { stars } else { 0 };
    if stamp.date.is_none() || words::is_none(value) && value.is_empty() {
        let gap = if value.is_empty() { " " } else { ", " };
        return Some(Edit { range: end..end, text: format!("{gap}{}", stamp.bracketed()) });
    }
    let from = text.find(value).map(|at| line.range.start + at)?;
    // What is not UTF-8 is longer as text than in the file.
    (text.len() == line.bytes.len()).then(|| Edit { range: from..end, text: stamp.bracketed() })
}

#[cfg(test)]
mod tests;
