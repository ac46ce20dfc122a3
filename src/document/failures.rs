//! The list under `## Failure Notes`: one item per note, linking to it.

use memchr::memmem;

use crate::model::ids::RunId;

use super::escape;
use super::markdown::{Block, Blocks, Kind, Line};
use super::splice::{self, Splice};
use super::{Held, Links};

const TITLE: &str = "Failure Notes";

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
        return splice::section(file, TITLE, &[item]).map(Some);
    };
    splice::check_visible_below(file, last)?;
    // HTML in an item goes on until a blank line.
    let added = if is_hidden { vec![String::new(), item] } else { vec![item] };
    Ok(Some(splice::below(file, last, &added)))
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
    for block in section {
        let text = block.line.text(file);
        let is_indented = text.first().is_some_and(u8::is_ascii_whitespace);
        match block.kind {
            Kind::Blank => {
                after_blank = true;
                continue;
            }
            Kind::Item => is_open = true,
            Kind::Text if is_rule_like(text) => is_open = false,
            Kind::Text | Kind::Hidden => is_open &= !after_blank || is_indented,
            Kind::Table(_) | Kind::Heading(_) => is_open = false,
        }
        after_blank = false;
        if is_open {
            last = Some((block.line, block.kind == Kind::Hidden));
        }
    }
    last
}

/// The project separates sections by a rule, also right under a list.
fn is_rule_like(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'-' | b'*' | b'_' | b' ' | b'\t'))
}
