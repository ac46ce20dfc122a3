//! What single lines of GitHub Flavored Markdown are: fences, headings, list markers, HTML blocks.
//!
//! Content means a line without indentation and without white space at its end.

use memchr::{memchr_iter, memmem};

/// Where an HTML block ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HtmlEnd {
    Markers(&'static [&'static str]),
    BlankLine,
}

impl HtmlEnd {
    /// Returns whether this line ends the block.
    pub(super) fn is_in(self, text: &[u8]) -> bool {
        match self {
            Self::Markers(markers) => {
                let lower = text.to_ascii_lowercase();
                markers.iter().any(|marker| memmem::find(&lower, marker.as_bytes()).is_some())
            }
            Self::BlankLine => false,
        }
    }
}

/// Returns the columns of indentation, and the text without it and without trailing white space.
pub(super) fn unindented(text: &[u8]) -> (usize, &[u8]) {
    let mut columns = 0;
    for byte in text {
        match byte {
            b' ' => columns += 1,
            b'\t' => columns += 4 - columns % 4,
            _ => break,
        }
    }
    (columns, text.trim_ascii())
}

pub(super) fn run_length(text: &[u8], mark: u8) -> usize {
    text.iter().take_while(|byte| **byte == mark).count()
}

pub(super) fn fence(content: &[u8]) -> Option<(u8, usize)> {
    let mark = content.first().copied().filter(|mark| matches!(mark, b'`' | b'~'))?;
    let length = run_length(content, mark);
    let info = content.get(length..).unwrap_or_default();
    // Backticks after the fence make it a code span of an ordinary line.
    let is_fence = length >= 3 && !(mark == b'`' && info.contains(&b'`'));
    is_fence.then_some((mark, length))
}

pub(super) fn closes_fence(content: &[u8], mark: u8, length: usize) -> bool {
    let found = run_length(content, mark);
    found >= length && found == content.len()
}

/// Returns the columns of a list marker with the space after it.
pub(super) fn list_marker(content: &[u8]) -> Option<usize> {
    let digits = content.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let marker = match (digits, content.get(digits)?) {
        (0, b'-' | b'*' | b'+') => 1,
        (1..=9, b'.' | b')') => digits + 1,
        _ => return None,
    };
    let rest = content.get(marker..).unwrap_or_default();
    match rest.first() {
        None | Some(b'\t') => Some(marker + 1),
        Some(b' ') => Some(marker + Some(run_length(rest, b' ')).filter(|n| *n < 5).unwrap_or(1)),
        Some(_) => None,
    }
}

/// Skips list markers, so that a fence behind one is seen: its closing line stands alone. Deeper
/// nesting in one line is nobody's text, and following it would take quadratic time.
pub(super) fn after_list_markers(content: &[u8]) -> (usize, &[u8]) {
    let (mut width, mut rest) = (0, content);
    for _ in 0..4 {
        let Some(marker) = list_marker(rest).filter(|_| !is_rule(rest)) else { break };
        width += marker;
        rest = rest.get(marker..).unwrap_or_default();
    }
    (width, rest)
}

pub(super) fn heading_level(content: &[u8]) -> Option<usize> {
    let level = run_length(content, b'#');
    let after = content.get(level..).unwrap_or_default();
    let is_heading = (1..=6).contains(&level) && after.first().is_none_or(u8::is_ascii_whitespace);
    is_heading.then_some(level)
}

/// Returns the level of a heading that is made one by this line below it.
pub(super) fn underline(text: &[u8]) -> Option<usize> {
    let (columns, content) = unindented(text);
    let mark = content.first().copied().filter(|_| columns < 4)?;
    let is_run = run_length(content, mark) == content.len();
    match mark {
        b'=' if is_run => Some(1),
        b'-' if is_run => Some(2),
        _ => None,
    }
}

pub(super) fn is_rule(content: &[u8]) -> bool {
    let Some(mark) = content.first().filter(|mark| matches!(mark, b'-' | b'*' | b'_')) else {
        return false;
    };
    memchr_iter(*mark, content).count() >= 3
        && content.iter().all(|byte| byte == mark || matches!(byte, b' ' | b'\t'))
}

/// Returns whether a line opens a paragraph inside of a quote or list item.
pub(super) fn opens_lazily(content: &[u8]) -> bool {
    let mut inner = content;
    // As for fences, deeper nesting in one line is nobody's text.
    for _ in 0..4 {
        let quoted = inner.strip_prefix(b">");
        let marker = list_marker(inner).filter(|_| !is_rule(inner));
        inner = match (quoted, marker) {
            (Some(quoted), _) => quoted.trim_ascii_start(),
            (None, Some(width)) => inner.get(width..).unwrap_or_default().trim_ascii_start(),
            (None, None) => break,
        };
    }
    inner.len() < content.len() && !inner.is_empty() && continues_paragraph(inner)
}

/// Returns whether a line that stands below an open paragraph is part of it.
pub(super) fn continues_paragraph(content: &[u8]) -> bool {
    let starts_a_block = content.starts_with(b">")
        || heading_level(content).is_some()
        || fence(content).is_some()
        || html_block(content).is_some()
        || is_rule(content)
        || list_marker(content).is_some();
    !starts_a_block
}

/// Returns whether a line below a table's delimiter row still belongs to the table: it does until
/// a blank line or the start of another block.
pub(super) fn continues_table(text: &[u8]) -> bool {
    let (columns, content) = unindented(text);
    let Some(first) = content.first() else { return false };
    // A leading pipe settles it for nearly every row; a lone one has no cell and is a paragraph, in
    // which all that follows would vanish.
    if columns < 4 && *first == b'|' {
        return content != b"|";
    }
    columns < 4 && continues_paragraph(content)
}

/// Seven angle brackets at the start of a line, as git writes them. The `=======` between them is
/// no sign of its own: it also underlines headings.
pub(super) fn is_conflict_marker(text: &[u8]) -> bool {
    let Some(mark) = text.first().copied().filter(|mark| matches!(mark, b'<' | b'>')) else {
        return false;
    };
    run_length(text, mark) == 7 && text.get(7).is_none_or(u8::is_ascii_whitespace)
}

const RAW_TEXT_END: &[&str] = &["</script>", "</pre>", "</style>", "</textarea>"];

/// Returns where the HTML block ends that this line starts (kinds 1 to 6 of the specification;
/// kind 7, a lone tag of any name, cannot interrupt anything and is not told apart from text).
pub(super) fn html_block(content: &[u8]) -> Option<HtmlEnd> {
    let after = content.strip_prefix(b"<")?;
    if after.starts_with(b"!--") {
        return Some(HtmlEnd::Markers(&["-->"]));
    }
    if after.starts_with(b"![CDATA[") {
        return Some(HtmlEnd::Markers(&["]]>"]));
    }
    match after {
        [b'?', ..] => return Some(HtmlEnd::Markers(&["?>"])),
        [b'!', letter, ..] if letter.is_ascii_alphabetic() => {
            return Some(HtmlEnd::Markers(&[">"]));
        }
        _ => {}
    }
    let (closing, tag) = after.strip_prefix(b"/").map_or((false, after), |tag| (true, tag));
    let length = tag.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let (name, rest) = tag.split_at_checked(length)?;
    let name = str::from_utf8(name).ok()?.to_ascii_lowercase();
    let ends_name = rest.first().is_none_or(|byte| byte.is_ascii_whitespace() || *byte == b'>');
    if !closing && ends_name && RAW_TEXT_END.contains(&format!("</{name}>").as_str()) {
        return Some(HtmlEnd::Markers(RAW_TEXT_END));
    }
    let ends_tag = ends_name || rest.starts_with(b"/>");
    (ends_tag && BLOCK_TAGS.contains(&format!(" {name} "))).then_some(HtmlEnd::BlankLine)
}

/// The tags of HTML blocks of kind 6, each between spaces.
const BLOCK_TAGS: &str = " address article aside base basefont blockquote body caption center col \
    colgroup dd details dialog dir div dl dt fieldset figcaption figure footer form frame frameset \
    h1 h2 h3 h4 h5 h6 head header hr html iframe legend li link main menu menuitem nav noframes \
    ol optgroup option p param section source summary table tbody td tfoot th thead title tr \
    track ul ";
