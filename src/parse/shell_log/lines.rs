//! Splitting console output into frames, with bounded memory and at any chunking.
//!
//! A frame is what stands between two of `\r` and `\n`: progress bars overwrite their line by `\r`.
//! A frame keeps at most [`HEAD_BYTES`] of its head and [`TAIL_BYTES`] of its tail, so a line of
//! 100 MB is ordinary input.

use bstr::ByteSlice;
use serde::{Deserialize, Serialize};

use super::bytes_as_text;

/// Bytes that are kept of a frame's beginning.
pub(super) const HEAD_BYTES: usize = 64 * 1024;
/// Bytes that are kept of a longer frame's end.
const TAIL_BYTES: usize = 16 * 1024;
/// Stands for what was left out; it is no Python, so nothing can be parsed across the gap.
const GAP: &[u8] = b" [...] ";

/// What ended a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameEnd {
    /// `\r`: the line goes on.
    Return,
    /// `\n`: the line is complete.
    Newline,
    /// The input ended; nothing more will come.
    EndOfInput,
}

/// What becomes of frames.
pub(super) trait TakeFrames {
    /// Takes a frame, without its end.
    fn frame(&mut self, frame: &[u8], end: FrameEnd);

    /// Passes over frames at the beginning of `bytes`, which follow the end of a frame, and returns
    /// how many bytes they have, their ends included.
    fn skim(&mut self, bytes: &[u8]) -> usize;
}

/// Splits `[rank0]: ` or `[default0]:` off a line.
pub(super) fn split_rank(text: &[u8]) -> (Option<u32>, &[u8]) {
    let split = || {
        let (label, rest) = text.strip_prefix(b"[")?.split_once_str("]:")?;
        let digits = label.strip_prefix(b"rank").or_else(|| label.strip_prefix(b"default"))?;
        let rank = digits.to_str().ok()?.parse().ok()?;
        Some((Some(rank), rest.strip_prefix(b" ").unwrap_or(rest)))
    };
    split().unwrap_or((None, text))
}

/// Returns whether a frame holds nothing but spaces.
pub(super) fn is_blank(frame: &[u8]) -> bool {
    frame.iter().all(|byte| *byte == b' ')
}

/// Collects bytes until a frame is complete.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FrameSplitter {
    #[serde(with = "bytes_as_text")]
    head: Vec<u8>,
    #[serde(with = "bytes_as_text")]
    tail: Vec<u8>,
    /// Bytes that came after the head was full; more than `tail` holds if some were dropped.
    beyond_head: usize,
}

impl FrameSplitter {
    /// Gives every frame that `bytes` completes to `taker`, in order.
    pub(super) fn feed(&mut self, bytes: &[u8], taker: &mut impl TakeFrames) {
        let mut rest = bytes;
        loop {
            if self.head.is_empty() {
                let skimmed = taker.skim(rest);
                rest = rest.get(skimmed..).unwrap_or_default();
            }
            let Some(position) = memchr::memchr2(b'\r', b'\n', rest) else { break };
            let piece = rest.get(..position).unwrap_or_default();
            let end = match rest.get(position) {
                Some(b'\n') => FrameEnd::Newline,
                _ => FrameEnd::Return,
            };
            rest = rest.get(position + 1..).unwrap_or_default();
            if self.head.is_empty() && piece.len() <= HEAD_BYTES {
                taker.frame(piece, end);
            } else {
                self.keep(piece);
                taker.frame(self.join(), end);
                self.clear();
            }
        }
        self.keep(rest);
    }

    /// Gives the frame that nothing completed, if there is one.
    pub(super) fn finish(mut self, take: impl FnOnce(&[u8], FrameEnd)) {
        if !self.head.is_empty() {
            take(self.join(), FrameEnd::EndOfInput);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = HEAD_BYTES.saturating_sub(self.head.len()).min(piece.len());
        let (for_head, rest) = piece.split_at_checked(room).unwrap_or((piece, &[]));
        self.head.extend_from_slice(for_head);
        self.beyond_head = self.beyond_head.saturating_add(rest.len());
        let useful = rest.len().saturating_sub(TAIL_BYTES);
        self.tail.extend_from_slice(rest.get(useful..).unwrap_or_default());
        // Trimming only at twice the size keeps many small pieces from moving the tail each time.
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    fn join(&mut self) -> &[u8] {
        if self.beyond_head > TAIL_BYTES {
            self.head.extend_from_slice(GAP);
        }
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.head.extend_from_slice(self.tail.get(surplus..).unwrap_or_default());
        &self.head
    }

    fn clear(&mut self) {
        self.head.clear();
        self.tail.clear();
        self.beyond_head = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes frames as they are.
    struct All<F: FnMut(&[u8], FrameEnd)>(F);

    impl<F: FnMut(&[u8], FrameEnd)> TakeFrames for All<F> {
        fn frame(&mut self, frame: &[u8], end: FrameEnd) {
            (self.0)(frame, end);
        }

        fn skim(&mut self, _bytes: &[u8]) -> usize {
            0
        }
    }

    fn frames(input: &[u8], chunk: usize) -> Vec<(Vec<u8>, FrameEnd)> {
        let mut frames = Vec::new();
        let mut splitter = FrameSplitter::default();
        for piece in input.chunks(chunk) {
            splitter.feed(piece, &mut All(|frame: &[u8], end| frames.push((frame.to_vec(), end))));
        }
        splitter.finish(|frame, end| frames.push((frame.to_vec(), end)));
        frames
    }

    #[test]
    fn frames_end_in_returns_and_newlines() {
        let expected = [
            (b"a".to_vec(), FrameEnd::Return),
            (b"b".to_vec(), FrameEnd::Newline),
            (Vec::new(), FrameEnd::Newline),
            (b"c".to_vec(), FrameEnd::EndOfInput),
        ];
        for chunk in 1..8 {
            assert_eq!(frames(b"a\rb\n\nc", chunk), expected);
        }
    }

    #[test]
    fn memory_is_bounded_while_a_line_grows() {
        let mut splitter = FrameSplitter::default();
        for _ in 0..200 {
            splitter.feed(&[b'x'; 9_000], &mut All(|_: &[u8], _| {}));
        }
        assert!(splitter.head.capacity() + splitter.tail.capacity() <= 4 * HEAD_BYTES);
    }

    /// A line of any length costs bounded memory, and where the chunks end does not show.
    #[test]
    fn long_frames_keep_head_and_tail_at_any_chunking() {
        for length in [HEAD_BYTES, HEAD_BYTES + 1, HEAD_BYTES + TAIL_BYTES, 400_000] {
            let mut input: Vec<u8> =
                (0_u32..).map(|n| b'a' + (n % 23) as u8).take(length).collect();
            input.push(b'\n');
            let whole = frames(&input, input.len());
            assert_eq!(whole.len(), 1);
            assert!(whole[0].0.len() <= HEAD_BYTES + TAIL_BYTES + GAP.len());
            assert_eq!(whole[0].0.len() == length, length <= HEAD_BYTES + TAIL_BYTES);
            assert!(
                input[..length]
                    .ends_with(&whole[0].0[HEAD_BYTES + GAP.len().min(length - HEAD_BYTES)..])
            );
            for chunk in [7, 4096, 70_000] {
                assert_eq!(frames(&input, chunk), whole, "{length} by {chunk}");
            }
        }
    }
}
