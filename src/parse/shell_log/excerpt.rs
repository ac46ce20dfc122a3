//! The lines around a failure's first line of evidence, as a person would quote them.
//!
//! The newest lines are kept, as few as an excerpt needs; those that follow a failure are added
//! when they come. Bars and blank lines are no part of it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::super::redact::presentable;

/// Lines of an excerpt.
const MAX_LINES: usize = 10;
/// Lines of it that stand before the evidence.
const LINES_BEFORE: usize = 4;
/// Lines that are kept. Evidence may be some lines old when it is understood as such.
const KEPT_LINES: usize = 8;
/// Bytes that are looked at of a line, and characters that are shown of it. What is looked at but
/// not shown lets a secret that reaches over the edge be recognized.
const MAX_BYTES: usize = 1_024;
const MAX_CHARS: usize = 300;

/// The newest lines, and the excerpts that wait for more.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Excerpts {
    lines: VecDeque<Line>,
    waiting: Vec<Waiting>,
}

/// A line as it was printed, or as it may be stored once the log was put away.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "(u64, String)", into = "(u64, String)")]
struct Line {
    number: u64,
    text: Vec<u8>,
    is_shown: bool,
}

/// An excerpt that is not full yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    /// The failure's number, as the parser counts.
    failure: usize,
    /// Lines that it still takes.
    room: usize,
    /// Its last line.
    last: u64,
}

impl Excerpts {
    /// Takes note of a line's text, or of more text on the same line, which overwrites what stands
    /// there; gives the failures whose excerpts it belongs to, and what to add to them.
    pub(super) fn see(&mut self, number: u64, text: &[u8]) -> Option<(Vec<usize>, String)> {
        let is_same = self.lines.back().is_some_and(|last| last.number == number);
        let spare = if is_same {
            self.lines.pop_back()
        } else if self.lines.len() >= KEPT_LINES {
            self.lines.pop_front()
        } else {
            None
        };
        // The buffer of the line that goes is used again: a storm of lines allocates nothing.
        let mut buffer = spare.map(|line| line.text).unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(text.get(..MAX_BYTES).unwrap_or(text));
        let line = Line { number, text: buffer, is_shown: false };
        let mut belongs_to = Vec::new();
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.last < number) {
            waiting.last = number;
            waiting.room = waiting.room.saturating_sub(1);
            belongs_to.push(waiting.failure);
        }
        self.waiting.retain(|waiting| waiting.room > 0);
        let added = (!belongs_to.is_empty()).then(|| (belongs_to, line.shown()));
        self.lines.push_back(line);
        added
    }

    /// Returns the excerpt around a failure's line of evidence, as far as it was read.
    pub(super) fn around(&mut self, failure: usize, line: u64, evidence: &str) -> Vec<String> {
        let before = self.lines.iter().filter(|known| known.number < line);
        let surplus = before.clone().count().saturating_sub(LINES_BEFORE);
        let mut excerpt: Vec<String> = before.skip(surplus).map(Line::shown).collect();
        let own = self.lines.iter().find(|known| known.number == line).map(Line::shown);
        // The line may be gone, or hold less than the evidence does.
        excerpt.push(own.filter(|text| !text.is_empty()).unwrap_or_else(|| shorten(evidence)));
        let after = self.lines.iter().filter(|known| known.number > line);
        excerpt.extend(after.map(Line::shown));
        excerpt.truncate(MAX_LINES);
        self.waiting.retain(|waiting| waiting.failure != failure);
        let room = MAX_LINES.saturating_sub(excerpt.len());
        let last = self.lines.back().map_or(line, |newest| newest.number.max(line));
        if room > 0 {
            self.waiting.push(Waiting { failure, room, last });
        }
        excerpt
    }

    /// Ends the excerpts that wait: what comes next is about another training.
    pub(super) fn begin_training(&mut self) {
        self.waiting.clear();
    }
}

impl Line {
    fn shown(&self) -> String {
        if self.is_shown {
            return String::from_utf8_lossy(&self.text).into_owned();
        }
        shorten(&presentable(&self.text, MAX_BYTES))
    }
}

impl From<Line> for (u64, String) {
    fn from(line: Line) -> Self {
        (line.number, line.shown())
    }
}

impl From<(u64, String)> for Line {
    fn from((number, text): (u64, String)) -> Self {
        Self { number, text: text.into_bytes(), is_shown: true }
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{} [...]", text.get(..end).unwrap_or(text)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(excerpts: &mut Excerpts, lines: std::ops::Range<u64>) -> Vec<(Vec<usize>, String)> {
        lines
            .filter_map(|number| excerpts.see(number, format!("line {number}").as_bytes()))
            .collect()
    }

    #[test]
    fn ten_lines_around_the_evidence_are_quoted() {
        let mut excerpts = Excerpts::default();
        assert!(numbered(&mut excerpts, 1..21).is_empty());
        let before = excerpts.around(3, 20, "line 20");
        assert_eq!(before, ["line 16", "line 17", "line 18", "line 19", "line 20"]);
        let after = numbered(&mut excerpts, 21..40);
        assert_eq!(after.len(), 5);
        assert_eq!(after[0], (vec![3], "line 21".to_owned()));
    }

    #[test]
    fn evidence_may_be_older_than_what_is_kept() {
        let mut excerpts = Excerpts::default();
        numbered(&mut excerpts, 1..21);
        let excerpt = excerpts.around(0, 14, "line 14");
        assert_eq!(excerpt[..3], ["line 13", "line 14", "line 15"]);
        assert_eq!(excerpts.around(0, 2, "gone")[..2], ["gone", "line 13"]);
        assert_eq!(excerpts.waiting.len(), 1);
    }

    #[test]
    fn text_that_overwrites_a_line_takes_its_place() {
        let mut excerpts = Excerpts::default();
        for text in ["first", "second"] {
            excerpts.see(7, text.as_bytes());
        }
        assert_eq!(excerpts.around(0, 7, "x"), ["second"]);
        assert_eq!(excerpts.see(7, b"third"), None);
    }

    #[test]
    fn secrets_are_neither_shown_nor_put_away() {
        let secret = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";
        let mut excerpts = Excerpts::default();
        excerpts.see(1, format!("{} {secret} {}", "x".repeat(280), "y".repeat(2_000)).as_bytes());
        let stored = serde_json::to_string(&excerpts).unwrap();
        let again: Excerpts = serde_json::from_str(&stored).unwrap();
        assert!(!stored.contains("AbCdEf"), "{stored}");
        assert_eq!(again.clone().around(0, 1, ""), excerpts.around(0, 1, ""));
        assert!(excerpts.around(0, 1, "")[0].chars().count() <= MAX_CHARS + 6);
    }
}
