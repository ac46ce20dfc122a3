//! Logs as another parser reads them: the offsets of pulldown-cmark are the oracle.
//!
//! Compared are headings, tables and their rows, by line number.

use proptest::prelude::{ProptestConfig, prop_assert_eq, prop_assume, proptest};
use pulldown_cmark::{Event, Options, Parser, Tag};

use super::properties::{any_edit, written_log};
use super::support::links;
use crate::document::apply;
use crate::document::markdown::{Blocks, Kind, Lines, is_delimiter_row, tables};
use crate::document::syntax::{list_marker, unindented};
use crate::document::table;
use crate::model::observation::DocumentEdit;

/// What a log consists of, by line number.
#[derive(Debug, Default, PartialEq, Eq)]
struct Structure {
    /// Last lines: an underlined heading may have several.
    headings: Vec<usize>,
    /// Header line and rows with a pipe.
    tables: Vec<(usize, Vec<usize>)>,
}

/// Line numbers of a text's offsets.
struct Numbers<'a> {
    file: &'a [u8],
    starts: Vec<usize>,
}

impl Structure {
    fn rows(&self) -> usize {
        self.tables.iter().map(|(_, rows)| rows.len()).sum()
    }
}

impl<'a> Numbers<'a> {
    fn of(file: &'a [u8]) -> Self {
        let starts = Lines::within(file, &(0..file.len())).map(|line| line.next).collect();
        Self { file, starts }
    }

    fn at(&self, offset: usize) -> usize {
        self.starts.partition_point(|next| *next <= offset)
    }

    fn text(&self, number: usize) -> &'a [u8] {
        let line = Lines::within(self.file, &(0..self.file.len())).nth(number);
        line.map_or(&[][..], |line| line.text(self.file))
    }
}

fn ours(file: &[u8]) -> Structure {
    let numbers = Numbers::of(file);
    let mut structure = Structure::default();
    for block in Blocks::new(file) {
        match block.kind {
            Kind::Heading(_) => structure.headings.push(numbers.at(block.line.start)),
            Kind::Table(table) => {
                let rows = table.rows(file).map(|row| numbers.at(row.start)).collect();
                structure.tables.push((numbers.at(table.header.start), rows));
            }
            _ => {}
        }
    }
    structure
}

fn theirs(text: &str) -> Structure {
    let text = &with_known_ends(text);
    let numbers = Numbers::of(text.as_bytes());
    let mut structure = Structure::default();
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        let number = numbers.at(range.start);
        match event {
            Event::Start(_) if is_left_alone(numbers.text(number)) => {}
            Event::Start(Tag::Heading { .. }) => {
                structure.headings.push(numbers.at(range.end.saturating_sub(1)));
            }
            Event::Start(Tag::Table(_)) => structure.tables.push((number, Vec::new())),
            Event::Start(Tag::TableRow) if table::has_pipe(numbers.text(number)) => {
                if let Some((_, rows)) = structure.tables.last_mut() {
                    rows.push(number);
                }
            }
            _ => {}
        }
    }
    structure
}

/// Returns a text whose lines all end in `\n` or `\r\n`: in code and HTML the oracle does not know the
/// carriage return alone as a line's end.
fn with_known_ends(text: &str) -> String {
    let mut known = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(one) = rest.next() {
        let is_end = one == '\r' && rest.peek() != Some(&'\n');
        known.push(if is_end { '\n' } else { one });
    }
    known
}

/// Returns whether the oracle sees a table with this header line in a text.
pub(super) fn shows_table(text: &str, header: &str) -> bool {
    let numbers = Numbers::of(text.as_bytes());
    theirs(text).tables.iter().any(|(number, _)| numbers.text(*number) == header.as_bytes())
}

/// Returns whether a table's delimiter row has another number of cells than its header: a table
/// for us, because it is meant to be one, and none for the oracle.
fn has_lenient_table(file: &[u8]) -> bool {
    let cells = |number| {
        let line = Lines::within(file, &(0..file.len())).nth(number);
        line.map(|line| table::cells(file, line).count())
    };
    let numbers = Numbers::of(file);
    let mut headers = tables(file).map(|table| numbers.at(table.header.start));
    headers.any(|header| cells(header) != cells(header + 1))
}

/// Leaves out of a log where the oracle is known to be another Markdown than GitHub's.
fn for_the_oracle(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    // It does not know the byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    // It takes an indented line below a table for a row, where GitHub sees code, and text and a
    // header that does not begin with a pipe for one paragraph, where GitHub sees a table.
    let file = text.as_bytes();
    let mut lines = Lines::within(file, &(0..file.len())).peekable();
    let (mut apart, mut end) = (Vec::new(), &[][..]);
    while let Some(line) = lines.next() {
        let bare = !line.text(file).trim_ascii_start().starts_with(b"|");
        let is_header = bare && lines.peek().is_some_and(|below| is_delimiter_row(file, *below));
        if is_header || line.text(file).starts_with(b"    ") {
            apart.extend_from_slice(end);
        }
        end = line.terminator(file);
        apart.extend_from_slice(&file[line.start..line.next]);
    }
    String::from_utf8_lossy(&apart).into_owned()
}

/// What begins on the line of a list marker or quote, or is indented like code, is left alone.
fn is_left_alone(line: &[u8]) -> bool {
    let (columns, content) = unindented(line);
    columns > 3 || content.starts_with(b">") || list_marker(content).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn headings_and_tables_are_where_the_oracle_sees_them(log in written_log()) {
        let text = for_the_oracle(&log);
        prop_assume!(!has_lenient_table(text.as_bytes()));
        prop_assert_eq!(ours(text.as_bytes()), theirs(&text), "{:?}", text);
    }

    #[test]
    fn what_an_edit_adds_is_a_row_for_the_oracle_too(log in written_log(), edit in any_edit()) {
        let text = for_the_oracle(&log);
        prop_assume!(!has_lenient_table(text.as_bytes()));
        let is_row = !matches!(edit, DocumentEdit::FailureLine { .. });
        let Ok(applied) = apply(Some(text.as_bytes()), &edit, &|_| None, &links()) else {
            return Ok(());
        };
        let after = String::from_utf8_lossy(&applied.bytes);
        let lines = |text: &str| Lines::within(text.as_bytes(), &(0..text.len())).count();
        let added = usize::from(is_row && lines(&after) > lines(&text));
        prop_assert_eq!(theirs(&after).rows(), theirs(&text).rows() + added, "{:?}", after);
    }
}
