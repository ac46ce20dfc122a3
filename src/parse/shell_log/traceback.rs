//! Following one Python traceback through the lines of a log.
//!
//! Source of the form: Python's `traceback` module; torchrun indents the ones that it quotes.

use bstr::ByteSlice;
use serde::{Deserialize, Serialize};

use super::evidence::Context;

/// Begins every traceback; Python puts a colon behind it, and rich draws a box around it.
pub(super) const HEADER: &str = "Traceback (most recent call last)";
/// Texts before a traceback that does not end the process.
pub(super) const PRELUDES: [&str; 3] =
    ["Exception ignored in", "--- Logging error ---", "Exception in thread"];
/// Texts that join two tracebacks of one failure.
const CHAINS: [&str; 2] =
    ["During handling of the above exception", "was the direct cause of the following exception"];

/// Lines after which a traceback without exception is given up.
const MAX_FRAMES: u64 = 400;
/// Lines behind an exception that may belong to its message or lead to the next of its chain.
const MAX_TAIL: u64 = 24;

/// What stands before a traceback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Prelude {
    /// Nothing that matters.
    #[default]
    None,
    /// Python ignores the exception.
    Ignored,
    /// It ends a thread, which ends training only if something was exhausted.
    Thread,
}

impl Prelude {
    /// Reads a line that may stand before a traceback.
    pub(super) fn of(text: &[u8]) -> Self {
        if text.contains_str("Exception in thread") {
            Self::Thread
        } else if PRELUDES.iter().any(|prelude| text.contains_str(prelude)) {
            Self::Ignored
        } else {
            Self::None
        }
    }
}

/// What a line is to a traceback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A frame, a blank line or the like.
    Inside,
    /// The line of the exception, with its name.
    Exception(String),
    /// A further line of the exception's message.
    Message,
    /// It is not part of the traceback.
    Other,
    /// The traceback is over; the line is not part of it.
    Over,
}

/// One traceback while it is read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Traceback {
    pub(super) context: Context,
    pub(super) prelude: Prelude,
    /// The failure that this traceback belongs to, once known.
    pub(super) failure: Option<usize>,
    begun: u64,
    /// Spaces before its exception's line.
    indent: usize,
    phase: Phase,
    /// Tracebacks that began while this one had no exception yet: ranks write at the same time.
    others: u32,
    after_frame: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Frames,
    /// Behind the exception's line.
    Tail {
        since: u64,
        contiguous: bool,
        chained: bool,
    },
}

impl Traceback {
    /// Begins at a line that holds [`HEADER`].
    pub(super) fn begin(line: u64, text: &[u8], prelude: Prelude) -> Self {
        let before = text.split_once_str(HEADER).map_or(text, |(before, _)| before);
        let is_quoted = before.trim_ascii_start().starts_with(b"traceback");
        let spaces = before.iter().take_while(|byte| **byte == b' ').count();
        Self {
            context: Context::default(),
            prelude,
            failure: None,
            begun: line,
            indent: if is_quoted { spaces } else { 0 },
            phase: Phase::Frames,
            others: 0,
            after_frame: false,
        }
    }

    /// Takes note of another header in the same stream; gives the traceback to go on with.
    pub(super) fn header(mut self, line: u64, text: &[u8], prelude: Prelude) -> Self {
        match self.phase {
            Phase::Frames => {
                self.others = self.others.saturating_add(1).min(16);
                self
            }
            Phase::Tail { chained, .. } => {
                let mut next = Self::begin(line, text, self.prelude);
                if chained {
                    next.context = self.context;
                    next.failure = self.failure;
                } else {
                    next.prelude = prelude;
                }
                next.others = self.others;
                next
            }
        }
    }

    /// Reads the next line.
    pub(super) fn line(&mut self, line: u64, text: &[u8]) -> Part {
        match self.phase {
            Phase::Frames if line.saturating_sub(self.begun) > MAX_FRAMES => Part::Over,
            Phase::Frames => self.frame_line(line, text),
            Phase::Tail { since, .. } if line.saturating_sub(since) > MAX_TAIL => Part::Over,
            Phase::Tail { since, contiguous, chained } => {
                if self.others > 0 && exception_name(text, self.indent, false).is_some() {
                    self.others -= 1;
                    self.failure = None;
                    return self.exception(line, text);
                }
                let is_chain = CHAINS.iter().any(|chain| text.contains_str(chain));
                let is_blank = text.trim_ascii().is_empty();
                let contiguous = contiguous && !is_blank;
                self.phase = Phase::Tail { since, contiguous, chained: chained || is_chain };
                match (is_chain || is_blank, contiguous) {
                    (true, _) => Part::Inside,
                    (false, true) => Part::Message,
                    (false, false) => Part::Over,
                }
            }
        }
    }

    fn frame_line(&mut self, line: u64, text: &[u8]) -> Part {
        if exception_name(text, self.indent, self.after_frame).is_some() {
            return self.exception(line, text);
        }
        self.after_frame = text.first().is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        if self.after_frame {
            self.context.see(text);
        }
        if self.after_frame || text.is_empty() { Part::Inside } else { Part::Other }
    }

    fn exception(&mut self, line: u64, text: &[u8]) -> Part {
        self.phase = Phase::Tail { since: line, contiguous: true, chained: false };
        exception_name(text, self.indent, true).map_or(Part::Other, Part::Exception)
    }
}

/// Returns the name of the exception that a line is about: `torch.cuda.OutOfMemoryError: CUDA …`.
///
/// Directly behind a frame any capitalized name will do; elsewhere lines of others may come
/// between, so only names that look like exceptions count.
pub(super) fn exception_name(text: &[u8], indent: usize, after_frame: bool) -> Option<String> {
    let spaces = text.iter().take_while(|byte| **byte == b' ').count();
    let text = text.get(spaces..).filter(|_| spaces <= indent)?.trim_ascii_end().to_str().ok();
    let text = text?;
    let name = text.split_once(':').map_or(text, |(name, _)| name);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    let last = name.rsplit('.').next()?.trim_start_matches('_');
    let is_class = last.bytes().next().is_some_and(|byte| byte.is_ascii_uppercase())
        && last.bytes().any(|byte| byte.is_ascii_lowercase());
    if !is_class || !name.bytes().all(is_name) {
        return None;
    }
    let looks_like_one = last.len() < name.len()
        || ["Error", "Exception", "Interrupt", "Exit", "Iteration", "Warning"]
            .iter()
            .any(|suffix| last.ends_with(suffix));
    let is_label = matches!(last, "Note" | "Warning" | "Info" | "Debug" | "Hint");
    (looks_like_one && !is_label || after_frame && !is_label && name.len() < text.len())
        .then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exception_lines_are_told_from_others() {
        for (text, after_frame, expected) in [
            ("ValueError: x", false, Some("ValueError")),
            ("KeyboardInterrupt", false, Some("KeyboardInterrupt")),
            ("torch.cuda.OutOfMemoryError: CUDA", false, Some("torch.cuda.OutOfMemoryError")),
            ("queue.Empty", false, Some("queue.Empty")),
            ("Oops: x", true, Some("Oops")),
            ("Oops: x", false, None),
            ("Oops", true, None),
            ("Note: x", true, None),
            ("INFO: x", true, None),
            ("wandb: x", true, None),
            ("wandb.ai: x", true, None),
            ("Some text: x", true, None),
            ("  ValueError: x", true, None),
            ("12:00:00 - INFO", true, None),
            ("", true, None),
        ] {
            let name = exception_name(text.as_bytes(), 0, after_frame);
            assert_eq!(name.as_deref(), expected, "{text}");
        }
        assert!(exception_name(b"  ValueError: x", 2, false).is_some());
    }
}
