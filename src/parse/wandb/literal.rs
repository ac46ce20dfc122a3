//! Python literals as `repr` prints them, as far as a configuration needs them.

use std::iter::Peekable;

/// A longer key or text is no value that anybody compares.
const LONGEST: usize = 4096;

/// A value of a dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A text, its common escapes resolved.
    Text(String),
    /// A number, a word such as `True`, or the `repr` of something else.
    Word(String),
    /// A list, tuple or dictionary.
    Nested,
}

/// Reads the dictionary that begins here, key by key. What is cut off ends it: the entry in which
/// that happens is not returned.
pub(super) fn dictionary(bytes: &[u8]) -> Vec<(String, Value)> {
    let mut reader = Reader { bytes: bytes.iter().copied().peekable() };
    let mut entries = Vec::new();
    if reader.bytes.next() == Some(b'{') {
        while let Some(entry) = reader.entry() {
            entries.push(entry);
        }
    }
    entries
}

struct Reader<I: Iterator<Item = u8>> {
    bytes: Peekable<I>,
}

impl<I: Iterator<Item = u8>> Reader<I> {
    fn entry(&mut self) -> Option<(String, Value)> {
        self.skip_space();
        let key = match self.bytes.peek()? {
            b'\'' | b'"' => self.text()?,
            b'}' => return None,
            // A key that is a number or a tuple.
            _ => self.word(b":")?,
        };
        self.skip_space();
        if self.bytes.next() != Some(b':') {
            return None;
        }
        self.skip_space();
        let value = match self.bytes.peek()? {
            b'\'' | b'"' => Value::Text(self.text()?),
            b'{' | b'[' | b'(' => {
                self.word(b",}")?;
                Value::Nested
            }
            _ => Value::Word(self.word(b",}")?),
        };
        self.skip_space();
        // The end of the dictionary stays, to be found by the next call.
        match self.bytes.peek()? {
            b',' => {
                self.bytes.next();
            }
            b'}' => {}
            _ => return None,
        }
        Some((key, value))
    }

    fn skip_space(&mut self) {
        while self.bytes.next_if(u8::is_ascii_whitespace).is_some() {}
    }

    /// Reads a quoted text, and leaves nothing of it.
    fn text(&mut self) -> Option<String> {
        let quote = self.bytes.next()?;
        let mut text = Vec::new();
        loop {
            let byte = match self.bytes.next()? {
                byte if byte == quote => break,
                b'\\' => match self.bytes.next()? {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    plain @ (b'\\' | b'\'' | b'"') => plain,
                    // An escape of a character by its number stays as it is printed.
                    other => {
                        text.push(b'\\');
                        other
                    }
                },
                byte => byte,
            };
            if text.len() < LONGEST {
                text.push(byte);
            }
        }
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Reads up to one of these bytes outside of all brackets and quotes, which stays.
    fn word(&mut self, ends: &[u8]) -> Option<String> {
        let mut word = Vec::new();
        let mut depth = 0_u32;
        loop {
            let byte = *self.bytes.peek()?;
            if depth == 0 && ends.contains(&byte) {
                break;
            }
            if matches!(byte, b'\'' | b'"') {
                self.text()?;
                continue;
            }
            match byte {
                b'{' | b'[' | b'(' => depth += 1,
                b'}' | b']' | b')' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.bytes.next();
            if word.len() < LONGEST {
                word.push(byte);
            }
        }
        Some(String::from_utf8_lossy(&word).trim().to_owned())
    }
}
