//! Output within a bound, however much is printed.

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes of output kept from the beginning and from the end of each stream. A report has 3 kB and
/// comes last; a traceback comes last as well.
const KEPT_HEAD: usize = 64 << 10;
const KEPT_TAIL: usize = 192 << 10;

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

    /// How many bytes of the middle are not kept.
    pub fn left_out(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// Joins head and tail; where bytes were dropped, a line says how many.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        let left_out = self.left_out();
        if left_out > 0 {
            bytes.extend_from_slice(format!("\n[{left_out} bytes left out]\n").as_bytes());
        }
        bytes.extend(&self.tail);
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
        let left_out = 1_000_000 - KEPT_HEAD - KEPT_TAIL;
        assert_eq!((captured.total(), captured.left_out()), (1_000_000, left_out as u64));
        assert!(
            String::from_utf8(bytes).unwrap().contains(&format!("[{left_out} bytes left out]"))
        );
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
