//! The lines and blocks of a Markdown file, found without changing a byte.
//!
//! The grammar is the part of GitHub Flavored Markdown (specification 0.29) that decides whether
//! something is a heading, a table or a list item: code fences with either mark and any length,
//! HTML blocks (kinds 1 to 6, comments among them), indentation, and what ends a table. Block
//! quotes and tables inside list items are left alone. One leniency: a delimiter row may have
//! another number of cells than its header, because such a table is still meant to be one.
//!
//! Nothing is collected: a file is walked block by block, so memory does not grow with it.

use std::ops::Range;

use memchr::memchr2;

use super::escape;
use super::syntax::{self, HtmlEnd, unindented};
use super::table::{self, Table};

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// One line: where its text starts and ends, and where the next line starts.
///
/// The text has neither a byte order mark nor a line end. A line ends in `\n`, `\r\n` or `\r`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// First byte of the text.
    pub(super) start: usize,
    /// One past the last byte of the text.
    pub(super) end: usize,
    /// First byte of the next line.
    pub(super) next: usize,
}

impl Line {
    /// Returns the line's text.
    pub(super) fn text(self, file: &[u8]) -> &[u8] {
        file.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns the line's end, which is empty for a last line without one.
    pub(super) fn terminator(self, file: &[u8]) -> &[u8] {
        file.get(self.end..self.next).unwrap_or_default()
    }

    /// Returns whether the line shows nothing.
    pub(super) fn is_blank(self, file: &[u8]) -> bool {
        self.text(file).trim_ascii().is_empty()
    }
}

/// The lines of a file, or of a part of it.
#[derive(Debug, Clone)]
pub(super) struct Lines<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// Walks the lines of `range`, which must start where a line starts.
    pub(super) fn within(file: &'a [u8], range: &Range<usize>) -> Self {
        Self { file: file.get(..range.end).unwrap_or(file), at: range.start }
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let rest = self.file.get(self.at..).filter(|rest| !rest.is_empty())?;
        let has_mark = self.at == 0 && rest.starts_with(BYTE_ORDER_MARK);
        let start = if has_mark { BYTE_ORDER_MARK.len() } else { self.at };
        let (end, next) = match memchr2(b'\n', b'\r', rest) {
            None => (self.file.len(), self.file.len()),
            Some(found) => {
                let end = self.at + found;
                let is_pair = self.file.get(end..end + 2) == Some(b"\r\n");
                (end, end + if is_pair { 2 } else { 1 })
            }
        };
        self.at = next;
        Some(Line { start, end, next })
    }
}

/// The innermost heading of each level above a place, as title texts.
pub(super) type Headings = [Option<Line>; 6];

/// A piece of the file. The spans of all blocks tile it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// Every byte of it, line ends included.
    pub(super) span: Range<usize>,
    /// Its last line.
    pub(super) line: Line,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a block is. All kinds but tables and underlined headings are one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A line that shows nothing.
    Blank,
    /// A heading; the line holds the bounds of its title.
    Heading(Line),
    /// A pipe table.
    Table(Box<Table>),
    /// The first line of a list item.
    Item,
    /// A line of a code fence or of an HTML block, where nothing is Markdown.
    Hidden,
    /// Anything else.
    Text,
}

/// A block that hides what looks like Markdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    /// A code fence; `container` is the indentation of the list item that it belongs to.
    Fence {
        mark: u8,
        length: usize,
        container: usize,
    },
    Html(HtmlEnd),
}

/// What a whole file looks like to someone who wants to edit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Survey {
    /// The line number of the first merge conflict marker outside code fences.
    pub(super) conflict: Option<usize>,
    /// The line number where a fence or comment begins that goes on to the end of the file.
    pub(super) unclosed: Option<usize>,
}

/// Walks the whole file and returns what stands in the way of an edit.
pub(super) fn survey(file: &[u8]) -> Survey {
    let mut blocks = Blocks::new(file);
    while blocks.next().is_some() {}
    let hides_the_end = match blocks.inside {
        // A heading without indentation ends a list item and with it the item's fence.
        Some(Inside::Fence { container, .. }) => container == 0,
        Some(Inside::Html(end)) => end != HtmlEnd::BlankLine,
        None => false,
    };
    Survey { conflict: blocks.conflict, unclosed: hides_the_end.then_some(blocks.opened) }
}

/// Walks the tables of a file.
pub(super) fn tables(file: &[u8]) -> impl Iterator<Item = Table> + '_ {
    Blocks::new(file).filter_map(|block| match block.kind {
        Kind::Table(table) => Some(*table),
        _ => None,
    })
}

/// The blocks of a file in order.
#[derive(Debug, Clone)]
pub(super) struct Blocks<'a> {
    file: &'a [u8],
    lines: Lines<'a>,
    number: usize,
    latest: Line,
    inside: Option<Inside>,
    opened: usize,
    /// Whether a paragraph of a list item or quote is open: plain lines below it continue it,
    /// whatever they look like.
    is_lazy: bool,
    /// The indentation of what belongs to the latest list item; 0 when none is open.
    item: usize,
    conflict: Option<usize>,
    headings: Headings,
}

impl<'a> Blocks<'a> {
    /// Starts at the first byte.
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self {
            file,
            lines: Lines { file, at: 0 },
            number: 0,
            latest: Line { start: 0, end: 0, next: 0 },
            inside: None,
            opened: 0,
            is_lazy: false,
            item: 0,
            conflict: None,
            headings: [None; 6],
        }
    }

    fn peek(&self) -> Option<(Line, Lines<'a>)> {
        let mut ahead = self.lines.clone();
        ahead.next().map(|line| (line, ahead))
    }

    fn advance(&mut self, line: Line, ahead: Lines<'a>) {
        self.lines = ahead;
        self.number += 1;
        self.latest = line;
    }

    fn kind(&mut self, line: Line) -> Kind {
        let text = line.text(self.file);
        if let Some(kind) = self.still_inside(text) {
            return kind;
        }
        self.note_conflict(text);
        let (columns, content) = unindented(text);
        if content.is_empty() {
            self.is_lazy = false;
            return Kind::Blank;
        }
        let is_plain = syntax::continues_paragraph(content);
        if self.is_lazy && (is_plain || columns > 3) {
            return Kind::Text;
        }
        if columns < self.item {
            self.item = 0;
        }
        let is_inside_item = self.item > 0 && columns < self.item + 4;
        self.is_lazy = is_inside_item && is_plain || syntax::opens_lazily(content);
        if columns > 3 {
            return Kind::Text;
        }
        if let (width @ 1.., _) = syntax::after_list_markers(content) {
            self.item = columns + width;
        }
        if self.opens(content) {
            return Kind::Hidden;
        }
        self.visible(line, content)
    }

    /// Answers for a line inside a fence or an HTML block, and notices the block's end.
    fn still_inside(&mut self, text: &[u8]) -> Option<Kind> {
        let inside = self.inside?;
        let (columns, content) = unindented(text);
        let (goes_on, kind) = match inside {
            Inside::Fence { container, .. } if !content.is_empty() && columns < container => {
                self.inside = None;
                return None;
            }
            Inside::Fence { mark, length, container } => {
                let closes = columns < container + 4 && syntax::closes_fence(content, mark, length);
                (!closes, Kind::Hidden)
            }
            Inside::Html(HtmlEnd::BlankLine) if content.is_empty() => (false, Kind::Blank),
            Inside::Html(end) => (!end.is_in(text), Kind::Hidden),
        };
        if !goes_on {
            self.inside = None;
        }
        if matches!(inside, Inside::Html(_)) {
            self.note_conflict(text);
        }
        Some(kind)
    }

    /// Notices the start of a fence or an HTML block.
    fn opens(&mut self, content: &[u8]) -> bool {
        let (_, after_markers) = syntax::after_list_markers(content);
        if let Some((mark, length)) = syntax::fence(after_markers) {
            self.inside = Some(Inside::Fence { mark, length, container: self.item });
            self.opened = self.number;
            return true;
        }
        let Some(end) = syntax::html_block(content) else { return false };
        if !end.is_in(content) {
            self.inside = Some(Inside::Html(end));
            self.opened = self.number;
        }
        true
    }

    fn visible(&mut self, line: Line, content: &[u8]) -> Kind {
        if let Some(level) = syntax::heading_level(content) {
            return self.enter(level, line);
        }
        if syntax::is_rule(content) || content.starts_with(b">") {
            return Kind::Text;
        }
        if syntax::list_marker(content).is_some() {
            return Kind::Item;
        }
        let Some((next, ahead)) = self.peek() else { return Kind::Text };
        let below = next.text(self.file);
        if unindented(below).0 < self.item {
            // The list item ends there, and with it what this line begins.
            return Kind::Text;
        }
        if is_header_row(self.file, line) && is_delimiter_row(self.file, next) {
            self.advance(next, ahead);
            return self.table(line, next);
        }
        if let Some(level) = syntax::underline(below) {
            self.advance(next, ahead);
            return self.enter(level, line);
        }
        Kind::Text
    }

    fn enter(&mut self, level: usize, title: Line) -> Kind {
        self.is_lazy = false;
        for (index, heading) in self.headings.iter_mut().enumerate() {
            if index + 1 == level {
                *heading = Some(title);
            } else if index + 1 > level {
                *heading = None;
            }
        }
        Kind::Heading(title)
    }

    fn table(&mut self, header: Line, delimiter: Line) -> Kind {
        self.is_lazy = false;
        let start = self.lines.at;
        let mut last_row = delimiter;
        while let Some((line, ahead)) = self.peek() {
            let text = line.text(self.file);
            if !syntax::continues_table(text) {
                break;
            }
            self.advance(line, ahead);
            self.note_conflict(text);
            if table::has_pipe(text) {
                last_row = line;
            }
        }
        let body = start..self.lines.at;
        Kind::Table(Box::new(Table { header, last_row, body, headings: self.headings }))
    }

    fn note_conflict(&mut self, text: &[u8]) {
        if syntax::is_conflict_marker(text) {
            self.conflict.get_or_insert(self.number);
        }
    }
}

impl Iterator for Blocks<'_> {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        let start = self.lines.at;
        let (line, ahead) = self.peek()?;
        self.advance(line, ahead);
        let kind = self.kind(line);
        Some(Block { span: start..self.lines.at, line: self.latest, kind })
    }
}

/// Returns a heading's title as lower-case text, without numbers or pictures before its first
/// letter.
pub(super) fn title(file: &[u8], heading: Line) -> String {
    let text = escape::reading(unmarked_title(file, heading)).to_lowercase();
    text.trim_start_matches(|character: char| !character.is_alphabetic()).to_owned()
}

/// Drops a heading's marks, which may also stand at its end.
pub(super) fn unmarked_title(file: &[u8], heading: Line) -> &[u8] {
    let text = heading.text(file).trim_ascii();
    let opened = syntax::run_length(text, b'#');
    let inner = text.get(opened..).unwrap_or_default().trim_ascii();
    let kept = inner.len() - inner.iter().rev().take_while(|byte| **byte == b'#').count();
    let without_close = inner.get(..kept).unwrap_or_default();
    let is_close = without_close.last().is_none_or(u8::is_ascii_whitespace);
    if is_close { without_close.trim_ascii() } else { inner }
}

/// A header has a pipe and, with GitHub's parser, at least one cell.
fn is_header_row(file: &[u8], line: Line) -> bool {
    table::has_pipe(line.text(file)) && table::cells(file, line).next().is_some()
}

pub(super) fn is_delimiter_row(file: &[u8], line: Line) -> bool {
    let (columns, content) = unindented(line.text(file));
    let starts_like_one = matches!(content.first(), Some(b'|' | b':' | b'-'));
    if columns > 3 || !starts_like_one || !table::has_pipe(content) {
        return false;
    }
    let mut cells = table::cells(file, line).peekable();
    cells.peek().is_some() && cells.all(|cell| is_delimiter(table::trimmed(file, &cell)))
}

fn is_delimiter(cell: &[u8]) -> bool {
    let cell = cell.strip_prefix(b":").unwrap_or(cell);
    let dashes = cell.strip_suffix(b":").unwrap_or(cell);
    !dashes.is_empty() && syntax::run_length(dashes, b'-') == dashes.len()
}
