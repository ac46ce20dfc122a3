//! Edits as splices: bytes that take the place of a range, everything else copied as it is.

use std::ops::Range;

use super::Held;
use super::markdown::{self, Blocks, Kind, Line, Lines};

/// Text that takes the place of a range of the file; an empty range is an insertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Splice {
    /// What is replaced.
    pub(super) range: Range<usize>,
    /// What comes there.
    pub(super) text: String,
}

/// Returns the file with the splices made. They must not overlap.
pub(super) fn print(file: &[u8], mut splices: Vec<Splice>) -> Vec<u8> {
    splices.sort_by_key(|splice| (splice.range.start, splice.range.end));
    let added: usize = splices.iter().map(|splice| splice.text.len()).sum();
    let mut printed = Vec::with_capacity(file.len() + added);
    let mut copied = 0;
    for splice in &splices {
        printed.extend_from_slice(file.get(copied..splice.range.start).unwrap_or_default());
        printed.extend_from_slice(splice.text.as_bytes());
        copied = splice.range.end;
    }
    printed.extend_from_slice(file.get(copied..).unwrap_or_default());
    printed
}

/// Inserts lines below a line. A last line without an end stays without one, and so does the file.
pub(super) fn below(file: &[u8], line: Line, lines: &[String]) -> Splice {
    let end = line_end(file, line);
    let text = lines.join(end);
    let has_end = line.next > line.end;
    let text = if has_end { format!("{text}{end}") } else { format!("{end}{text}") };
    Splice { range: line.next..line.next, text }
}

/// Puts lines under the first heading of this title, or appends them with the heading at the end
/// of the file.
///
/// # Errors
/// The end of the file is inside an open code fence or comment, where nothing would be seen.
pub(super) fn section(file: &[u8], title: &str, lines: &[String]) -> Result<Splice, Held> {
    match heading(file, title) {
        Some(line) => Ok(under(file, line, lines)),
        None => append(file, title, lines),
    }
}

/// Finds the first heading of this title, in any level and letter case; returns its last line.
pub(super) fn heading(file: &[u8], title: &str) -> Option<Line> {
    Blocks::new(file).find_map(|block| match block.kind {
        Kind::Heading(line) => has_title(file, line, title).then_some(block.line),
        _ => None,
    })
}

/// Returns whether a heading has this title.
pub(super) fn has_title(file: &[u8], heading: Line, title: &str) -> bool {
    markdown::title(file, heading) == title.to_lowercase()
}

/// Puts lines right under a heading, with blank lines around them.
pub(super) fn under(file: &[u8], heading: Line, lines: &[String]) -> Splice {
    let mut following = Lines::within(file, &(heading.next..file.len()));
    let first = following.next();
    let blank = first.filter(|line| line.is_blank(file));
    let after = if blank.is_some() { following.next() } else { first };
    let mut all = lines.to_vec();
    if after.is_some_and(|line| !line.is_blank(file)) {
        all.push(String::new());
    }
    if let Some(blank) = blank.filter(|line| line.next > line.end) {
        return below(file, blank, &all);
    }
    all.insert(0, String::new());
    below(file, heading, &all)
}

/// Checks that what comes below this line can be seen.
///
/// # Errors
/// The line is the last one, inside a code fence or comment that is never closed.
pub(super) fn check_visible_below(file: &[u8], line: Line) -> Result<(), Held> {
    match markdown::survey(file).unclosed {
        Some(number) if line.next == file.len() => Err(Held(format!(
            "the code fence or comment that begins in line {number} is never closed, so nothing \
             can be appended: close it"
        ))),
        _ => Ok(()),
    }
}

/// Appends lines with their heading at the end of the file.
///
/// # Errors
/// See [`section`].
pub(super) fn append(file: &[u8], title: &str, lines: &[String]) -> Result<Splice, Held> {
    let last = last_line(file);
    if let Some(last) = last {
        check_visible_below(file, last)?;
    }
    let mut all = vec![format!("## {title}"), String::new()];
    all.extend_from_slice(lines);
    let Some(last) = last else {
        return Ok(Splice { range: file.len()..file.len(), text: all.join("\n") + "\n" });
    };
    if !last.is_blank(file) {
        all.insert(0, String::new());
    }
    Ok(below(file, last, &all))
}

/// Returns the last line, unless the file holds no line at all but a byte order mark.
fn last_line(file: &[u8]) -> Option<Line> {
    let last_start = file.iter().rev().skip(2).position(|byte| matches!(byte, b'\n' | b'\r'));
    let start = last_start.map_or(0, |position| file.len() - 2 - position);
    let last = Lines::within(file, &(start..file.len())).last()?;
    (last.start < file.len()).then_some(last)
}

/// Returns the line end to write beside a line: its own, else that of the line before it.
fn line_end(file: &[u8], line: Line) -> &'static str {
    let before = file.get(..line.start).unwrap_or_default();
    let own = line.terminator(file);
    let shown = if own.is_empty() { before } else { own };
    match shown {
        [.., b'\r', b'\n'] => "\r\n",
        [.., b'\r'] => "\r",
        _ => "\n",
    }
}
