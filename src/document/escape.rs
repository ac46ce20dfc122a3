//! Text from outside made harmless for Markdown, and Markdown read back as text.
//!
//! Three forms of one text: *readable* (one line without control characters, ANSI sequences and
//! invisible characters, bounded), *escaped* (the same as Markdown, in a table cell or elsewhere),
//! and *reading* (a cell's Markdown as a person reads it). Reading what was escaped gives the
//! readable form again; documents are searched by that.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Longest text from outside in a cell, in characters.
pub const CELL_LIMIT: usize = 200;

/// Longest name that is shown whole, in characters: no file system allows a longer one.
const NAME_LIMIT: usize = 255;

/// Longest finished cell, in characters.
const FINISHED_LIMIT: usize = 4_000;

/// Bytes of a cell that are read at most; bounds the time that a hostile cell takes.
const READING_LIMIT: usize = 4_096;

/// Makes one readable line of at most `limit` characters; an ellipsis stands for the rest.
pub fn readable(text: &str, limit: usize) -> String {
    let mut shown = String::new();
    let mut length = 0;
    let mut gap = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if matches!(character, '\u{1b}' | '\u{9b}') {
            characters = after_escape_sequence(character, characters.as_str()).chars();
        } else if character.is_whitespace() {
            gap = !shown.is_empty();
        } else if !is_invisible(character) {
            let needed = if gap { 2 } else { 1 };
            if length + needed > limit {
                if length == limit {
                    shown.pop();
                }
                shown.push('…');
                return shown;
            }
            if gap {
                shown.push(' ');
            }
            shown.push(character);
            length += needed;
            gap = false;
        }
    }
    shown
}

/// Makes Markdown that shows a text from outside as it is, as one line of at most `limit`
/// characters before escaping: nothing in it is markup, and it cannot leave its table cell.
pub fn escaped(text: &str, limit: usize) -> String {
    escape_markup(&readable(text, limit))
}

/// Makes a code span of a name (a run id, a checkpoint); of a name that a code span cannot show,
/// escaped text.
pub fn code(name: &str) -> String {
    let shown = readable_name(name);
    let breaks_a_code_span = |character| matches!(character, '`' | '|' | '\\' | '<');
    if shown == NO_NAME {
        shown
    } else if shown.contains(breaks_a_code_span) {
        escape_markup(&shown)
    } else {
        format!("`{shown}`")
    }
}

const NO_NAME: &str = "--";

/// Returns the form in which a name can be read in a document. Names that cannot be shown whole
/// get a digest, so that different names stay different.
pub fn readable_name(name: &str) -> String {
    if name.is_empty() {
        return NO_NAME.into();
    }
    let is_short = name.chars().nth(NAME_LIMIT).is_none();
    let shown = readable(name, if is_short { NAME_LIMIT } else { CELL_LIMIT });
    if shown == name {
        return shown;
    }
    format!("{}…{}", shown.trim_end_matches('…'), digest(name))
}

/// Returns the first four bytes of a text's SHA-256 as hexadecimal.
pub(super) fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(4).fold(String::new(), |mut hexadecimal, byte| {
        // Writing into a string cannot fail.
        if write!(hexadecimal, "{byte:02x}").is_err() {
            hexadecimal.clear();
        }
        hexadecimal
    })
}

/// Keeps finished Markdown inside its table cell: one line, no pipe without a backslash, bounded.
pub(super) fn one_cell(markdown: &str) -> String {
    let mut cell = String::new();
    let mut previous = ' ';
    for character in markdown.trim().chars().take(FINISHED_LIMIT) {
        let character = if character.is_whitespace() { ' ' } else { character };
        if is_invisible(character) {
            continue;
        }
        if character == '|' && previous != '\\' {
            cell.push('\\');
        }
        cell.push(character);
        previous = character;
    }
    // A backslash at the end would escape the pipe of a cell without white space around it.
    let kept = cell.trim().trim_end_matches('\\');
    if kept.len() == cell.trim().len() { kept.to_owned() } else { format!("{kept}&#92;") }
}

/// Encodes a relative path for a link's target: everything but unreserved characters and `/` is
/// percent-encoded (RFC 3986, section 2.3).
pub(super) fn link_target(path: &str) -> String {
    let mut target = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            target.push(char::from(byte));
        } else if write!(target, "%{byte:02X}").is_err() {
            break;
        }
    }
    target
}

/// Returns whether a text is a web address that can stand in a link as it is.
pub(super) fn is_web_address(text: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_graphic()
            && !matches!(byte, b'<' | b'>' | b'(' | b')' | b'`' | b'\\' | b'|' | b'"')
    };
    let is_web = text.starts_with("https://") || text.starts_with("http://");
    is_web && text.len() <= 500 && text.bytes().all(is_plain)
}

/// Reads a cell's or heading's Markdown as text: without emphasis, code marks and link targets,
/// `<br>` as a line break, white space collapsed. Of a very long cell only the start is read.
pub fn reading(markdown: &[u8]) -> String {
    let trimmed = markdown.trim_ascii();
    let start = trimmed.get(..READING_LIMIT).unwrap_or(trimmed);
    let text = String::from_utf8_lossy(start);
    let mut shown = String::new();
    let mut rest: &str = &text;
    while let Some(character) = rest.chars().next() {
        let after = rest.get(character.len_utf8()..).unwrap_or_default();
        rest = read_one(character, after, &mut shown);
    }
    let lines: Vec<String> = shown.split('\n').map(collapsed).collect();
    lines.join("\n").trim().to_owned()
}

/// Reads one character with what belongs to it; returns what is left.
fn read_one<'a>(character: char, after: &'a str, shown: &mut String) -> &'a str {
    match character {
        '\\' => read_escape(after, shown),
        '`' => read_code(after, shown),
        '*' | '[' => after,
        '_' => {
            if is_inside_word(shown.chars().last(), after.chars().next()) {
                shown.push('_');
            }
            after
        }
        ']' => after_link_target(after),
        '<' | '&' => read_html(character, after, shown),
        _ => {
            shown.push(character);
            after
        }
    }
}

fn read_escape<'a>(after: &'a str, shown: &mut String) -> &'a str {
    if let Some(character) = after.chars().next().filter(char::is_ascii_punctuation) {
        shown.push(character);
        return after.get(1..).unwrap_or_default();
    }
    shown.push('\\');
    after
}

fn read_code<'a>(after: &'a str, shown: &mut String) -> &'a str {
    let marks = 1 + after.bytes().take_while(|byte| *byte == b'`').count();
    let inner = after.get(marks - 1..).unwrap_or_default();
    let Some(length) = closing_marks(inner, marks) else { return inner };
    let code = inner.get(..length).unwrap_or_default();
    shown.push_str(&code.replace("\\|", "|"));
    inner.get(length + marks..).unwrap_or_default()
}

/// Returns where the run of exactly this many backticks begins.
pub(super) fn closing_marks(text: &str, marks: usize) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let start = at + rest.find('`')?;
        let run = text.get(start..)?.bytes().take_while(|byte| *byte == b'`').count();
        if run == marks {
            return Some(start);
        }
        at = start + run;
    }
}

fn after_link_target(after: &str) -> &str {
    let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
    target.map_or(after, |(_, rest)| rest)
}

fn read_html<'a>(character: char, after: &'a str, shown: &mut String) -> &'a str {
    for (markup, text) in MARKUP {
        let inner = markup.strip_prefix(character);
        let found = inner.and_then(|inner| after.split_at_checked(inner.len()));
        if let Some((head, rest)) = found
            && inner.is_some_and(|inner| inner.eq_ignore_ascii_case(head))
        {
            shown.push_str(text);
            return rest;
        }
    }
    shown.push(character);
    after
}

/// The HTML that people write in tables, and what it shows.
const MARKUP: &[(&str, &str)] = &[
    ("<br>", "\n"),
    ("<br/>", "\n"),
    ("<br />", "\n"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&amp;", "&"),
    ("&quot;", "\""),
    ("&nbsp;", " "),
    ("&#124;", "|"),
    ("&#92;", "\\"),
];

fn collapsed(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ")
}

fn escape_markup(text: &str) -> String {
    let mut markdown = String::with_capacity(text.len());
    let mut previous = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied();
        match character {
            '|' | '\\' | '`' | '*' | '[' | ']' | '~' => markdown.push('\\'),
            '_' if !is_inside_word(previous, next) => markdown.push('\\'),
            _ => {}
        }
        match character {
            '<' if next.is_some_and(starts_a_tag) => markdown.push_str("&lt;"),
            '&' if next.is_some_and(starts_an_entity) => markdown.push_str("&amp;"),
            _ => markdown.push(character),
        }
        previous = Some(character);
    }
    markdown
}

/// An underscore between letters or digits is no emphasis in GFM, and file names stay legible.
fn is_inside_word(previous: Option<char>, next: Option<char>) -> bool {
    previous.is_some_and(char::is_alphanumeric) && next.is_some_and(char::is_alphanumeric)
}

/// `7.3 < 10.0` is no tag and stays legible.
fn starts_a_tag(next: char) -> bool {
    next.is_ascii_alphabetic() || matches!(next, '/' | '!' | '?')
}

fn starts_an_entity(next: char) -> bool {
    next.is_ascii_alphabetic() || next == '#'
}

/// Control characters, and those that change how other text is shown without being seen.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Skips the rest of a terminal escape sequence (ECMA-48): a control sequence up to its final
/// byte, an operating system command up to its terminator, or intermediates and one final byte.
fn after_escape_sequence(introducer: char, rest: &str) -> &str {
    if introducer == '\u{9b}' {
        return after_control_sequence(rest);
    }
    match rest.chars().next() {
        Some('[') => after_control_sequence(rest.get(1..).unwrap_or_default()),
        Some(']') => after_command(rest.get(1..).unwrap_or_default()),
        _ => after_final(rest.trim_start_matches(|c| matches!(c, ' '..='/')), '0'),
    }
}

fn after_control_sequence(rest: &str) -> &str {
    after_final(rest.trim_start_matches(|c| matches!(c, ' '..='?')), '@')
}

fn after_final(rest: &str, first: char) -> &str {
    rest.strip_prefix(|c| (first..='~').contains(&c)).unwrap_or(rest)
}

/// A command without a terminator nearby is taken for text, so that it can hide nothing.
fn after_command(rest: &str) -> &str {
    const LONGEST: usize = 1_000;
    let terminator = rest
        .char_indices()
        .take(LONGEST)
        .find(|(_, character)| matches!(character, '\u{7}' | '\u{1b}' | '\u{9c}'));
    let Some((at, character)) = terminator else { return rest };
    let after = rest.get(at + character.len_utf8()..).unwrap_or_default();
    if character == '\u{1b}' { after.strip_prefix('\\').unwrap_or(after) } else { after }
}
