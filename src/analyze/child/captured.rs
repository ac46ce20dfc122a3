//! Output within a bound, however much is printed.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of output kept from the beginning and from the end of each stream. A report has 3 kB and
/// comes last; a traceback comes last as well.
const KEPT_HEAD: usize = 64 << 10;
const KEPT_TAIL: usize = 192 << 10;

/// The longest piece of a line that is left out where the middle was cut away.
const CUT_LINE: usize = 4 << 10;

/// Output kept within a bound: head and tail, the middle only counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    total: u64,
}

impl Captured {
    /// Reads a stream to its end.
    pub(super) async fn fill(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut buffer = vec![0; 16 << 10];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => self.push(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let (head, rest) = bytes.split_at(bytes.len().min(KEPT_HEAD - self.head.len()));
        self.head.extend_from_slice(head);
        // What would be pushed out again at once is not taken in.
        let rest = rest.get(rest.len().saturating_sub(KEPT_TAIL)..).unwrap_or_default();
        let excess = (self.tail.len() + rest.len()).saturating_sub(KEPT_TAIL);
        self.tail.drain(..excess);
        self.tail.extend(rest);
    }

    /// How many bytes were printed, kept or not.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Joins head and tail. Where the middle was dropped, a line says how many bytes that were; the
    /// pieces of lines beside it go as well, since half a secret looks like none.
    pub fn to_bytes(&self) -> Vec<u8> {
        let kept = self.head.len() + self.tail.len();
        if self.total == kept as u64 {
            return self.head.iter().chain(&self.tail).copied().collect();
        }
        let ends_line = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let cut_from_head =
            self.head.iter().rev().take(CUT_LINE).take_while(|byte| !ends_line(byte));
        let cut_from_tail = self.tail.iter().take(CUT_LINE).take_while(|byte| !ends_line(byte));
        let head = self.head.len() - cut_from_head.count();
        let tail = cut_from_tail.count();
        let left_out = self.total - (head + self.tail.len() - tail) as u64;
        let mut bytes = self.head.get(..head).unwrap_or_default().to_vec();
        bytes.extend_from_slice(format!("\n[{left_out} bytes left out]\n").as_bytes());
        bytes.extend(self.tail.iter().skip(tail));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_keeps_head_and_tail_and_counts_the_rest() {
        let mut captured = Captured::default();
        for number in 0..100_000_u32 {
            captured.push(format!("{number:09}\n").as_bytes());
        }
        let bytes = captured.to_bytes();
        assert!(bytes.len() < KEPT_HEAD + KEPT_TAIL + 100);
        assert!(bytes.starts_with(b"000000000\n") && bytes.ends_with(b"000099999\n"));
        assert_eq!(captured.total(), 1_000_000);
        // Whole lines only: 6,553 of the head and 19,660 of the tail.
        let text = String::from_utf8(bytes).unwrap();
        let (head, rest) = text.split_once("\n[").unwrap();
        let (count, tail) = rest.split_once(" bytes left out]\n").unwrap();
        assert!(head.lines().chain(tail.lines().skip(1)).all(|line| line.len() == 9));
        let left_out = 1_000_000 - head.len() - tail.len();
        assert_eq!(count, left_out.to_string());
    }

    #[test]
    fn the_pieces_of_a_line_that_was_cut_are_left_out() {
        let mut captured = Captured::default();
        captured.push(b"begin\n");
        captured.push(&vec![b's'; KEPT_HEAD + KEPT_TAIL - 3]);
        captured.push(b"\nend");
        let text = String::from_utf8(captured.to_bytes()).unwrap();
        let total = captured.total();
        assert!(text.starts_with("begin\n") && text.ends_with("s\nend"), "{total}");
        let secret = text.matches('s').count() - 1;
        assert_eq!(secret, KEPT_HEAD + KEPT_TAIL - "begin\n\nend".len() - 2 * CUT_LINE);
    }

    #[test]
    fn any_division_into_pieces_keeps_the_same() {
        let all: Vec<u8> = (0..600_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let mut at_once = Captured::default();
        at_once.push(&all);
        for size in [1, 4096, 100_001] {
            let mut in_pieces = Captured::default();
            all.chunks(size).for_each(|piece| in_pieces.push(piece));
            assert_eq!(in_pieces, at_once, "pieces of {size}");
        }
    }
}
