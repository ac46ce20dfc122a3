//! Pipe tables: cells found by their bytes, rows written.
//!
//! Only a backslash right before a pipe keeps it from ending a cell, as in GitHub's own parser;
//! backticks do not, and neither does a second backslash before the first.

use std::ops::Range;

use memchr::memchr;

use super::escape;
use super::markdown::{self, Headings, Line, Lines};

/// Where a table's parts stand in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// The header row.
    pub(super) header: Line,
    /// The last line with a pipe: a row, or the delimiter row of a table without rows.
    pub(super) last_row: Line,
    /// Everything below the delimiter row.
    pub(super) body: Range<usize>,
    /// The headings that it stands under.
    pub(super) headings: Headings,
}

impl Table {
    /// Walks the rows. A line without a pipe, which GFM takes for a row of one cell, is a person's
    /// remark and left out.
    pub(super) fn rows<'a>(&self, file: &'a [u8]) -> impl Iterator<Item = Line> + use<'a> {
        Lines::within(file, &self.body).filter(|line| has_pipe(line.text(file)))
    }

    /// Walks the header's texts.
    pub(super) fn columns<'a>(&self, file: &'a [u8]) -> impl Iterator<Item = String> + use<'a> {
        cells(file, self.header).map(|cell| escape::reading(trimmed(file, &cell)))
    }

    /// Returns whether a heading above the table satisfies the test, see [`markdown::title`].
    pub(super) fn is_under(&self, file: &[u8], test: impl Fn(&str) -> bool) -> bool {
        self.headings.iter().flatten().any(|line| test(&markdown::title(file, *line)))
    }

    /// Writes a row in the table's indentation.
    pub(super) fn row(&self, file: &[u8], cells: impl Iterator<Item = String>) -> String {
        let text = self.header.text(file);
        let indentation = text.iter().take_while(|byte| **byte == b' ').count();
        format!("{}{}", " ".repeat(indentation), row(cells))
    }
}

/// Writes a row from finished cells.
pub(super) fn row(cells: impl IntoIterator<Item = String>) -> String {
    let mut row = String::from("|");
    for cell in cells {
        row.push(' ');
        row.push_str(&cell);
        row.push_str(" |");
    }
    row
}

/// Returns whether a line has a pipe that separates cells.
pub(super) fn has_pipe(text: &[u8]) -> bool {
    separator(text, 0).is_some()
}

/// Returns whether a row ends in a pipe.
pub(super) fn is_closed(file: &[u8], row: Line) -> bool {
    let text = row.text(file).trim_ascii();
    separator(text, text.len().saturating_sub(1)).is_some()
}

/// Returns a cell's bytes without the white space around them.
pub(super) fn trimmed<'a>(file: &'a [u8], cell: &Range<usize>) -> &'a [u8] {
    file.get(cell.clone()).unwrap_or_default().trim_ascii()
}

/// Returns where a cell's bytes stand without the white space around them.
pub(super) fn trimmed_range(file: &[u8], cell: &Range<usize>) -> Range<usize> {
    let bytes = file.get(cell.clone()).unwrap_or_default();
    let start = cell.start + bytes.len() - bytes.trim_ascii_start().len();
    start..start + bytes.trim_ascii().len()
}

/// Walks the cells of a row: the bytes between its pipes, the white space around them included.
pub(super) fn cells(file: &[u8], row: Line) -> Cells<'_> {
    let whole = trimmed_range(file, &(row.start..row.end));
    let text = file.get(whole.clone()).unwrap_or_default();
    Cells { text, offset: whole.start, at: usize::from(text.first() == Some(&b'|')) }
}

/// The cells of one row.
#[derive(Debug, Clone)]
pub(super) struct Cells<'a> {
    text: &'a [u8],
    offset: usize,
    at: usize,
}

impl Iterator for Cells<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        if start >= self.text.len() {
            return None;
        }
        let end = separator(self.text, start).unwrap_or(self.text.len());
        self.at = end + 1;
        Some(self.offset + start..self.offset + end)
    }
}

/// Returns the position of the first pipe from `from` on that no backslash stands before.
fn separator(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let found = at + memchr(b'|', text.get(at..)?)?;
        let before = found.checked_sub(1).and_then(|before| text.get(before));
        if before != Some(&b'\\') {
            return Some(found);
        }
        at = found + 1;
    }
}
