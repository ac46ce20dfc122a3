//! What a Markdown document names: its links, code spans, headings, and the rows of its tables of
//! runs. For readers that hold documents against other facts; nothing is edited here.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ids::RunId;
use crate::model::observation::{HeaderNames, RunColumn};

use super::columns;
use super::escape;
use super::markdown::{self, Blocks, Kind, Line, Lines};
use super::observations;
use super::run_row;
use super::table;

/// A link, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its line, counted from 1.
    pub line: usize,
    /// Its target as it is written, without a title.
    pub target: String,
}

/// A code span, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its line, counted from 1.
    pub line: usize,
    /// What stands between the backticks.
    pub text: String,
}

/// What a document names, outside code fences, HTML blocks and comments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Links, pictures and link definitions in their order.
    pub links: Vec<Link>,
    /// Code spans in their order.
    pub spans: Vec<Span>,
    /// What `#…` may name in it: its headings in GitHub's form, and HTML ids.
    pub anchors: BTreeSet<String>,
}

/// A row of a table of runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRow {
    /// Its line, counted from 1.
    pub line: usize,
    /// The run id in its Run ID cell, if one with a time stamp stands there.
    pub run: Option<RunId>,
    /// The Run ID cell as a person reads it.
    pub name: String,
    /// Its cells, as far as the header has columns; missing ones are empty.
    pub cells: Vec<SeenCell>,
}

/// A cell of such a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenCell {
    /// The column's header as a person reads it.
    pub header: String,
    /// What runscribe knows the column as.
    pub column: Option<RunColumn>,
    /// The cell as a person reads it.
    pub text: String,
    /// Whether it says nothing.
    pub is_empty: bool,
    /// The targets of its links.
    pub links: Vec<String>,
}

impl SeenRow {
    /// Returns the cell of a column.
    pub fn cell(&self, column: RunColumn) -> Option<&SeenCell> {
        self.cells.iter().find(|cell| cell.column == Some(column))
    }
}

/// Reads what a document names.
pub fn inventory(file: &[u8]) -> Inventory {
    let mut found = Inventory::default();
    let mut slugs = BTreeMap::new();
    let mut number = 0;
    for block in Blocks::new(file) {
        for line in Lines::within(file, &block.span) {
            number += 1;
            let text = String::from_utf8_lossy(line.text(file));
            if block.kind == Kind::Hidden {
                html_ids(&text, &mut found.anchors);
            } else {
                read_line(&text, number, &mut found);
            }
        }
        if let Kind::Heading(title) = block.kind {
            let slug = slug(file, title);
            found.anchors.insert(unique(slug, &mut slugs));
        }
    }
    found
}

/// Reads the rows of the document's tables of runs.
pub fn run_rows(file: &[u8], headers: &HeaderNames) -> Vec<SeenRow> {
    let starts: Vec<usize> = Lines::within(file, &(0..file.len())).map(|line| line.start).collect();
    let mut rows = Vec::new();
    for (table, run_column) in run_row::run_tables(file, headers) {
        let columns: Vec<String> = table.columns(file).collect();
        for line in table.rows(file) {
            let number = starts.partition_point(|start| *start <= line.start);
            rows.push(seen_row(file, line, (number, run_column), &columns, headers));
        }
    }
    rows.sort_by_key(|row| row.line);
    rows
}

/// Reads which checkpoints failed, from the tables of observations: the run and the checkpoint's
/// name, in their order.
pub fn failed_observations(file: &[u8]) -> Vec<(RunId, String)> {
    let mut failed = Vec::new();
    for table in markdown::tables(file).filter(|table| observations::is_ours(file, table)) {
        let columns: Vec<String> = table.columns(file).collect();
        let place = |name: &str| columns.iter().position(|column| column == name);
        let (Some(run), Some(checkpoint), Some(verdict)) =
            (place("Run ID"), place("Checkpoint"), place("Verdict"))
        else {
            continue;
        };
        for line in table.rows(file) {
            let cells = table::cells(file, line).map(|cell| table::trimmed(file, &cell));
            let cells: Vec<String> = cells.map(escape::reading).collect();
            let cell = |at: usize| cells.get(at).map_or("", String::as_str);
            if cell(verdict) == "fail"
                && let Some(run) = run_row::run_ids(cell(run)).next()
            {
                failed.push((run, cell(checkpoint).to_owned()));
            }
        }
    }
    failed
}

fn seen_row(
    file: &[u8],
    line: Line,
    (number, run_column): (usize, usize),
    columns: &[String],
    headers: &HeaderNames,
) -> SeenRow {
    let mut bytes = table::cells(file, line).map(|cell| table::trimmed(file, &cell));
    let cells: Vec<SeenCell> = columns
        .iter()
        .map(|header| {
            let cell = bytes.next().unwrap_or_default();
            let mut named = Inventory::default();
            read_line(&String::from_utf8_lossy(cell), number, &mut named);
            SeenCell {
                header: header.clone(),
                column: columns::run_column(header, headers),
                text: escape::reading(cell),
                is_empty: columns::is_empty(cell),
                links: named.links.into_iter().map(|link| link.target).collect(),
            }
        })
        .collect();
    let name = cells.get(run_column).map(|cell| cell.text.clone()).unwrap_or_default();
    let run = run_row::run_ids(&name).next();
    SeenRow { line: number, run, name, cells }
}

fn read_line(text: &str, line: usize, found: &mut Inventory) {
    let outside = spans(text, line, &mut found.spans);
    html_ids(&outside, &mut found.anchors);
    let mut add = |target: String| {
        if !target.is_empty() {
            found.links.push(Link { line, target });
        }
    };
    if let Some(target) = definition(&outside) {
        add(target);
        return;
    }
    for (at, _) in outside.match_indices("](") {
        let (before, after) = outside.split_at(at);
        if ends_link_text(before) {
            inline_target(after.get(2..).unwrap_or_default()).into_iter().for_each(&mut add);
        }
    }
    for (at, _) in outside.match_indices("<http") {
        let inner = outside.get(at + 1..).and_then(|inner| inner.split_once('>'));
        if let Some((address, _)) = inner.filter(|(address, _)| !address.contains(' ')) {
            add(address.to_owned());
        }
    }
}

/// Takes the code spans out; what is left has the same words around them.
fn spans(text: &str, line: usize, found: &mut Vec<Span>) -> String {
    let mut outside = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let (before, marked) = rest.split_at(at);
        outside.push_str(before);
        let marks = marked.bytes().take_while(|byte| *byte == b'`').count();
        let inner = marked.get(marks..).unwrap_or_default();
        let is_escaped = before.ends_with('\\');
        let end = if is_escaped { None } else { escape::closing_marks(inner, marks) };
        let Some(length) = end else {
            outside.push_str(marked.get(..marks).unwrap_or_default());
            rest = inner;
            continue;
        };
        let code = inner.get(..length).unwrap_or_default().trim().replace("\\|", "|");
        found.push(Span { line, text: code });
        // Something must stand in its place, so that a link of a code span keeps its text.
        outside.push('x');
        rest = inner.get(length + marks..).unwrap_or_default();
    }
    outside.push_str(rest);
    outside
}

/// Reads the target of `[label]: target`.
fn definition(text: &str) -> Option<String> {
    let inner = text.trim_start().strip_prefix('[')?;
    let (label, target) = inner.split_once("]:")?;
    let is_label = !label.is_empty() && !label.contains([']', '[']) && !label.starts_with('^');
    let target = target.trim();
    let pointed = target.strip_prefix('<').and_then(|inner| inner.split_once('>'));
    let plain = target.split_whitespace().next().unwrap_or_default();
    is_label.then(|| pointed.map_or(plain, |(pointed, _)| pointed).to_owned())
}

/// Returns whether a bracket is open behind this part of a line. One that is not here at all was
/// opened on a line above.
fn ends_link_text(before: &str) -> bool {
    let mut open = 0_usize;
    let mut previous = ' ';
    for character in before.chars() {
        match character {
            '[' if previous != '\\' => open += 1,
            ']' if previous != '\\' => open = open.saturating_sub(1),
            _ => {}
        }
        previous = character;
    }
    previous != '\\' && (open > 0 || !before.contains('['))
}

/// Reads a target up to its closing parenthesis.
fn inline_target(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('<') {
        return inner.split_once('>').map(|(target, _)| target.to_owned());
    }
    let mut depth = 0_usize;
    let mut previous = ' ';
    for (at, character) in text.char_indices() {
        match character {
            '(' if previous != '\\' => depth += 1,
            ')' if previous != '\\' && depth == 0 => {
                let whole = text.get(..at).unwrap_or_default();
                let target = whole.split_whitespace().next().unwrap_or_default();
                return Some(target.replace('\\', ""));
            }
            ')' if previous != '\\' => depth -= 1,
            _ => {}
        }
        previous = character;
    }
    None
}

/// Notices `id="…"` and `name="…"`.
fn html_ids(text: &str, anchors: &mut BTreeSet<String>) {
    for attribute in ["id=\"", "name=\""] {
        for (at, _) in text.match_indices(attribute) {
            let value = text.get(at + attribute.len()..).and_then(|value| value.split_once('"'));
            anchors.extend(value.map(|(value, _)| value.to_owned()));
        }
    }
}

/// GitHub's form: lower case, punctuation left out, spaces as dashes.
fn slug(file: &[u8], heading: Line) -> String {
    let text = escape::reading(markdown::unmarked_title(file, heading)).to_lowercase();
    text.chars()
        .filter_map(|character| match character {
            ' ' | '-' => Some('-'),
            '_' => Some('_'),
            _ => character.is_alphanumeric().then_some(character),
        })
        .collect()
}

/// A heading that stands there a second time gets `-1`.
fn unique(slug: String, seen: &mut BTreeMap<String, usize>) -> String {
    let count = seen.entry(slug.clone()).or_insert(0);
    *count += 1;
    match *count - 1 {
        0 => slug,
        again => format!("{slug}-{again}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_code_spans_are_found_where_a_reader_sees_them() {
        let text = "# The *log* (2026)\r\n\
            A [note](run_reports/a%20b.md \"title\") and [![plot](x(1).png)](g.md), `arch/x`.\r\n\
            ```\r\n[hidden](gone.md) `hidden`\r\n```\r\n\
            `[no link](a.md)` and \\[no](b.md) and [yes](<c d.md>).\r\n\
            \r\n\
            [label]: docs/d.md 'title'\r\n\
            <!-- [hidden](e.md) -->\r\n\
            | Run ID | Git Tag |\r\n|---|---|\r\n| `x` | [`train/x`](../e.md#a) |\r\n\
            ## Part\r\n## Part\r\n\
            <https://wandb.ai/x> and <a id=\"own\"></a> [wrapped\r\ntext](f.md)\r\n";
        let found = inventory(text.as_bytes());
        let links: Vec<(usize, &str)> =
            found.links.iter().map(|link| (link.line, link.target.as_str())).collect();
        let expected = [
            (2, "run_reports/a%20b.md"),
            (2, "x(1).png"),
            (2, "g.md"),
            (6, "c d.md"),
            (8, "docs/d.md"),
            (12, "../e.md#a"),
            (15, "https://wandb.ai/x"),
            (16, "f.md"),
        ];
        assert_eq!(links, expected);
        let spans: Vec<(usize, &str)> =
            found.spans.iter().map(|span| (span.line, span.text.as_str())).collect();
        assert_eq!(spans, [(2, "arch/x"), (6, "[no link](a.md)"), (12, "x"), (12, "train/x")]);
        let anchors: Vec<&str> = found.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["own", "part", "part-1", "the-log-2026"]);
    }

    #[test]
    fn rows_of_runs_are_read_with_their_lines_and_columns() {
        let text = "\u{feff}## Training Runs\n\n\
            | Run ID / Model Type | Eff. Rank | WandB Link | Git Tag | Key GLUE Scores |\n\
            |---|---|---|---|---|\n\
            | `a_H1L1_20260101_000000` from `b_H1L1_20250101_000000` | **--** | \
            [W&B](https://wandb.ai/e/p/runs/x) | `train/a` | x\\|y |\n\
            | old model |\n\
            \n## Checkpoint Observations\n\n| Run ID | Eff. Rank |\n|---|---|\n| `c` | 1 |\n";
        let rows = run_rows(text.as_bytes(), &HeaderNames::new());
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [5, 6]);
        let first = &rows[0];
        assert_eq!(first.run, Some(RunId::new("a_H1L1_20260101_000000")));
        assert!(first.cell(RunColumn::EffectiveRank).unwrap().is_empty);
        assert_eq!(first.cell(RunColumn::GitTag).unwrap().text, "train/a");
        let link = &first.cell(RunColumn::WandbLink).unwrap().links;
        assert_eq!(*link, ["https://wandb.ai/e/p/runs/x"]);
        assert_eq!(first.cell(RunColumn::GlueScores).unwrap().text, "x|y");
        assert_eq!((rows[1].run.clone(), rows[1].name.as_str()), (None, "old model"));
        assert!(rows[1].cells.len() == 5 && rows[1].cells[4].is_empty);
    }

    #[test]
    fn failed_checkpoints_are_read_from_every_machine_s_table() {
        let table = |heading: &str, verdict: &str| {
            format!(
                "## Checkpoint Observations{heading}\n\n\
                 | Time | Run ID | Checkpoint | Eff. Rank | Verdict | Note |\n|---|---|---|---|---|---|\n\
                 | 2026-02-25 14:03:07 +01:00 | `a_20260101_000000` | `checkpoint-5` | 4.1 | {verdict} | |\n\n"
            )
        };
        let text = table("", "pass") + &table(": Odin", "**fail**") + &table(": Thor", "fail");
        let failed = failed_observations(text.as_bytes());
        let one = (RunId::new("a_20260101_000000"), "checkpoint-5".to_owned());
        assert_eq!(failed, [one.clone(), one]);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(
            proptest::sample::select(b"[](<>)`\\|-# \n\r:!ax\xff".to_vec()), 0..80)) {
            let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).count();
            let found = inventory(&bytes);
            proptest::prop_assert!(found.links.iter().all(|link| (1..=lines).contains(&link.line)));
            proptest::prop_assert!(run_rows(&bytes, &HeaderNames::new()).len() <= lines);
        }
    }
}
