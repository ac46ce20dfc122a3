//! The lines of any Markdown document with what each is, and lossless edits of it, for those who
//! read or edit other documents than the experiment log.

use std::borrow::Cow;
use std::ops::Range;

use super::Held;
use super::markdown::{self, Blocks, Kind, Line, Lines};
use super::splice::{self, Splice};
use super::{syntax, table};

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    /// It shows nothing.
    Blank,
    /// A heading of this level with marks before it; an underlined one is text.
    Heading(usize),
    /// The header row of a table.
    Header,
    /// The row of dashes below a table's header.
    Delimiter,
    /// A row of a table.
    Row,
    /// The first line of a list item.
    Item,
    /// A thematic break, or the line below an underlined heading.
    Rule,
    /// A line of a code fence or an HTML block, where nothing is Markdown.
    Hidden,
    /// Anything else.
    Text,
}

/// A line of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineLine<'a> {
    /// Its number, from 1.
    pub number: usize,
    /// What it is.
    pub kind: LineKind,
    /// Where its text stands, without a byte order mark and without its line end.
    pub range: Range<usize>,
    /// Where the next line starts.
    pub next: usize,
    /// Its text.
    pub bytes: &'a [u8],
}

impl<'a> OutlineLine<'a> {
    /// Returns the text, with replacement characters for what is not UTF-8.
    pub fn text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes)
    }

    /// Returns a heading's text without its marks.
    pub fn title(&self) -> Cow<'a, str> {
        let trimmed = self.bytes.trim_ascii();
        let level = syntax::run_length(trimmed, b'#');
        String::from_utf8_lossy(trimmed.get(level..).unwrap_or_default().trim_ascii())
    }

    /// Returns where the texts of the cells of a row stand, without white space around them.
    pub fn cells(&self, file: &[u8]) -> Vec<Range<usize>> {
        let line = Line { start: self.range.start, end: self.range.end, next: self.next };
        table::cells(file, line).map(|cell| table::trimmed_range(file, &cell)).collect()
    }
}

/// Text that takes the place of a range of a document; an empty range is an insertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced.
    pub range: Range<usize>,
    /// What comes there.
    pub text: String,
}

/// Returns all lines of a document in order.
pub fn outline(file: &[u8]) -> Vec<OutlineLine<'_>> {
    let mut lines = Vec::new();
    for block in Blocks::new(file) {
        for (index, line) in Lines::within(file, &block.span).enumerate() {
            let bytes = line.text(file);
            let kind = kind(&block.kind, index, bytes);
            let range = line.start..line.end;
            lines.push(OutlineLine {
                number: lines.len() + 1,
                kind,
                range,
                next: line.next,
                bytes,
            });
        }
    }
    lines
}

/// Returns the document with the edits made. They must not overlap.
pub fn edited(file: &[u8], edits: Vec<Edit>) -> Vec<u8> {
    let splices = edits.into_iter().map(|Edit { range, text }| Splice { range, text });
    splice::print(file, splices.collect())
}

/// Returns the line end that a document uses, which is that of its first line.
pub fn line_end(file: &[u8]) -> &'static str {
    let first = Lines::within(file, &(0..file.len())).next();
    match first.map(|line| line.terminator(file)) {
        Some(b"\r\n") => "\r\n",
        Some(b"\r") => "\r",
        _ => "\n",
    }
}

/// Checks that a document may be edited.
///
/// # Errors
/// It is UTF-16 or holds merge conflict markers.
pub fn check_editable(file: &[u8]) -> Result<(), Held> {
    if file.starts_with(b"\xFF\xFE") || file.starts_with(b"\xFE\xFF") {
        return Err(Held("it is UTF-16: save it as UTF-8".into()));
    }
    match markdown::survey(file).conflict {
        Some(line) => {
            Err(Held(format!("line {line} is a merge conflict marker: resolve the conflict")))
        }
        None => Ok(()),
    }
}

/// Returns what a line of a block is, given its place in the block.
fn kind(block: &Kind, index: usize, text: &[u8]) -> LineKind {
    let (_, content) = syntax::unindented(text);
    match block {
        Kind::Blank => LineKind::Blank,
        Kind::Heading(_) => match (index, syntax::heading_level(content)) {
            (0, Some(level)) => LineKind::Heading(level),
            (0, None) => LineKind::Text,
            _ => LineKind::Rule,
        },
        Kind::Table(_) => match index {
            0 => LineKind::Header,
            1 => LineKind::Delimiter,
            _ => LineKind::Row,
        },
        Kind::Item => LineKind::Item,
        Kind::Hidden => LineKind::Hidden,
        Kind::Text if syntax::is_rule(content) => LineKind::Rule,
        Kind::Text => LineKind::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::LineKind::{Blank, Delimiter, Header, Heading, Hidden, Item, Row, Rule, Text};
    use super::*;

    #[test]
    fn each_line_has_its_kind_and_the_lines_tile_the_file() {
        let file = "\u{feff}# A\r\n\r\n- x\r\n\r\n| a | b |\r\n|---|---|\r\n| 1 | 2 |\r\n\r\n\
                    ```\r\n# no\r\n```\r\ntext\r\n---\r\n\r\n---\r\nend";
        let lines = outline(file.as_bytes());
        let kinds: Vec<LineKind> = lines.iter().map(|line| line.kind).collect();
        let expected = [
            Heading(1),
            Blank,
            Item,
            Blank,
            Header,
            Delimiter,
            Row,
            Blank,
            Hidden,
            Hidden,
            Hidden,
            Text,
            Rule,
            Blank,
            Rule,
            Text,
        ];
        assert_eq!(kinds, expected);
        assert_eq!(lines[0].title(), "A");
        assert_eq!(lines.last().unwrap().number, lines.len());
        assert_eq!(lines.last().unwrap().next, file.len());
        let cells = lines[6].cells(file.as_bytes());
        let cells: Vec<_> = cells.into_iter().map(|cell| file.get(cell).unwrap()).collect();
        assert_eq!(cells, ["1", "2"]);
        assert_eq!(line_end(file.as_bytes()), "\r\n");
    }

    proptest::proptest! {
        #[test]
        fn the_lines_of_any_bytes_cover_them(file in proptest::collection::vec(
            proptest::sample::select(b"#-| `\n\r\tax[]*".to_vec()), 0..200)
        ) {
            let lines = outline(&file);
            let mut at = 0;
            for line in &lines {
                proptest::prop_assert_eq!(line.range.start, at);
                at = line.next;
            }
            proptest::prop_assert_eq!(at, file.len());
            proptest::prop_assert_eq!(edited(&file, Vec::new()), file);
        }
    }
}
