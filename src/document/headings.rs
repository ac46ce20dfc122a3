//! The headings of the observations where several machines write one log: a table for each, so
//! that rows of two machines never stand side by side.
//!
//! The headings of all machines that are known are made at once. Two machines that each made their
//! own at the end of the log would meet there in a conflict.

use crate::model::observation::HeaderNames;

use super::escape;
use super::machine;
use super::markdown::{Blocks, Kind, Line};
use super::observations::{TITLE, TITLE_LOWER};
use super::splice::{self, Splice};
use super::{Held, Machine};

/// So many headings are made at once at most.
const MOST: usize = 24;
/// Characters of a machine's name in a heading.
const LONGEST: usize = 60;

/// Returns whether a title, as [`super::markdown::title`] gives it, is that of a machine's table.
pub(super) fn is_of(title: &str, name: &str) -> bool {
    let after = title.strip_prefix(TITLE_LOWER).map(str::trim_start);
    after.and_then(|after| after.strip_prefix(':')).is_some_and(|there| machine::is(there, name))
}

/// Puts a table with one row under the machine's heading. Where that is missing, it is made, and
/// with it those of the other machines, each with an empty table.
///
/// # Errors
/// Something must be appended where nothing would be seen.
pub(super) fn append(
    file: &[u8],
    own: &Machine,
    head: &[String; 2],
    row: String,
) -> Result<Splice, Held> {
    let with_row = |row: String| head.iter().cloned().chain([row]);
    if let Some(heading) = heading(file, &own.name) {
        return Ok(splice::under(file, heading, &with_row(row).collect::<Vec<_>>()));
    }
    let titles = missing(file, own);
    let mut lines = Vec::new();
    for (number, (title, is_own)) in titles.iter().enumerate() {
        // The first one's heading is made by whoever appends the section.
        if number > 0 {
            lines.extend([String::new(), format!("## {title}"), String::new()]);
        }
        lines.extend(head.iter().cloned());
        lines.extend(is_own.then(|| row.clone()));
    }
    let first = titles.first().map_or_else(|| TITLE.to_owned(), |(title, _)| title.clone());
    splice::append(file, &first, &lines)
}

fn heading(file: &[u8], name: &str) -> Option<Line> {
    Blocks::new(file).find_map(|block| match block.kind {
        Kind::Heading(line) => {
            is_of(&super::markdown::title(file, line), name).then_some(block.line)
        }
        _ => None,
    })
}

/// Returns the titles that are to be made, in the order of the alphabet, and which is the own one.
fn missing(file: &[u8], own: &Machine) -> Vec<(String, bool)> {
    let headers = HeaderNames::new();
    let spelled = |name: &str| short(&machine::spelling(file, name, &headers));
    let mut names = vec![(spelled(&own.name), true)];
    let written = machine::single_machines(file, &headers);
    let others =
        own.others.iter().map(|name| spelled(name)).chain(written.map(|name| short(&name)));
    for other in others.filter(|name| !name.is_empty()) {
        let is_there =
            names.iter().any(|(known, _)| machine::is(known, &other) || machine::is(&other, known));
        if !is_there && names.len() < MOST && heading(file, &other).is_none() {
            names.push((other, false));
        }
    }
    names.sort_by_key(|(name, _)| name.to_lowercase());
    let title = |name: &str| format!("{TITLE}: {}", escape::escaped(name, LONGEST));
    names.into_iter().map(|(name, is_own)| (title(&name), is_own)).collect()
}

/// `Polonez (4x RTX 3090)` is the machine Polonez.
fn short(cell: &str) -> String {
    let before = cell.split('(').next().unwrap_or_default().trim();
    let name = if before.is_empty() { cell.trim() } else { before };
    name.chars().take(LONGEST).collect()
}
