//! The list under `## Failure Notes`: one item per note, linking to it.

use memchr::memmem;

use crate::model::ids::RunId;

use super::escape;
use super::markdown::{Block, Blocks, Kind, Line, Lines};
use super::splice::{self, Splice};
use super::syntax;
use super::{Held, Links};

const TITLE: &str = "Failure Notes";

/// A comment, which shows nothing, is how Markdown ends a list before something indented.
const END_OF_LIST: &str = "<!-- -->";

/// Adds the list item of a note after the section's last item; the section is made when missing.
///
/// # Errors
/// The section is missing and cannot be appended.
pub(super) fn append(
    file: &[u8],
    line: &FailureLine<'_>,
    links: &Links,
) -> Result<Option<Splice>, Held> {
    if contains(file, line.note) {
        return Ok(None);
    }
    let item = item(line, links);
    let Some((last, is_hidden)) = last_item(file) else {
        let mut added = vec![item];
        if is_indented_below_title(file) {
            added.push(END_OF_LIST.to_owned());
        }
        return splice::section(file, TITLE, &added).map(Some);
    };
    splice::check_visible_below(file, last)?;
    // HTML in an item goes on until a blank line.
    let mut added = if is_hidden { vec![String::new(), item] } else { vec![item] };
    if is_swallowed(file, last) {
        added.push(String::new());
    }
    Ok(Some(splice::below(file, last, &added)))
}

/// Returns whether the line below this one, a table's header for instance, would go on with the
/// paragraph of an item put between them.
fn is_swallowed(file: &[u8], last: Line) -> bool {
    let below = Lines::within(file, &(last.next..file.len())).next();
    below.is_some_and(|line| {
        !line.is_blank(file) && syntax::continues_paragraph(line.text(file).trim_ascii())
    })
}

/// Returns whether what stands under the title would become a part of an item put above it.
fn is_indented_below_title(file: &[u8]) -> bool {
    let Some(title) = splice::heading(file, TITLE) else { return false };
    let below = Lines::within(file, &(title.next..file.len())).find(|line| !line.is_blank(file));
    below.is_some_and(|line| syntax::unindented(line.text(file)).0 > 1)
}

/// One item of the list.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailureLine<'a> {
    pub(super) run: &'a RunId,
    pub(super) note: &'a str,
    pub(super) summary: &'a str,
}

/// Returns whether any text outside tables and code links to the note.
pub(super) fn contains(file: &[u8], note: &str) -> bool {
    let end = format!("{})", escape::link_target(note));
    let links = |line: Line| {
        memmem::find_iter(line.text(file), end.as_bytes()).any(|found| {
            let before = found.checked_sub(1).and_then(|before| line.text(file).get(before));
            matches!(before, Some(b'/' | b'('))
        })
    };
    Blocks::new(file).any(|block| match block.kind {
        Kind::Item | Kind::Text => links(block.line),
        _ => false,
    })
}

fn item(line: &FailureLine<'_>, links: &Links) -> String {
    let run = escape::code(line.run.as_str());
    let target = links.target(line.note);
    let summary = escape::one_cell(line.summary);
    format!("- [{run}]({target}) — {summary}")
}

/// Finds the last line of the last item in the first section of our title: its first line, and
/// what follows without a blank line or with indentation. Also returns whether that line is hidden
/// in code or HTML.
fn last_item(file: &[u8]) -> Option<(Line, bool)> {
    let is_title = |block: &Block| match block.kind {
        Kind::Heading(line) => splice::has_title(file, line, TITLE),
        _ => false,
    };
    let section = Blocks::new(file)
        .skip_while(|block| !is_title(block))
        .skip(1)
        .take_while(|block| !matches!(block.kind, Kind::Heading(_)));
    let mut last = None;
    let mut is_open = false;
    let mut after_blank = false;
    let mut is_hidden = false;
    for block in section {
        let text = block.line.text(file);
        let is_indented = text.first().is_some_and(u8::is_ascii_whitespace);
        let was_hidden = std::mem::replace(&mut is_hidden, block.kind == Kind::Hidden);
        match block.kind {
            Kind::Blank => {
                after_blank = true;
                continue;
            }
            Kind::Item => is_open = true,
            Kind::Text if is_rule_like(text) => is_open = false,
            Kind::Text => is_open &= !after_blank || is_indented,
            Kind::Hidden => is_open &= is_indented || was_hidden,
            Kind::Table(_) | Kind::Heading(_) => is_open = false,
        }
        after_blank = false;
        if is_open {
            last = Some((block.line, is_hidden));
        }
    }
    last
}

/// The project separates sections by a rule, also right under a list.
fn is_rule_like(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'-' | b'*' | b'_' | b' ' | b'\t'))
}
