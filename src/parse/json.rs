//! A JSON reader that takes what Python's `json` module writes.
//!
//! It follows RFC 8259 and adds what occurs in practice: the bare tokens `NaN`, `Infinity` and
//! `-Infinity`, a leading byte order mark, and numbers beyond the range of `f64` (infinite).
//! Escaped surrogates without a partner, which Python writes for file names that are not UTF-8,
//! become U+FFFD. Depth and number of values are limited, so that no input overflows the stack or
//! fills the memory.

use thiserror::Error;

/// Arrays and objects may nest this deep.
pub const MAX_DEPTH: usize = 128;

/// A document may hold this many values, which bounds the memory of the result.
pub const MAX_VALUES: usize = 4_000_000;

/// The first integer whose successor `f64` cannot hold: 2⁵³.
const FIRST_INEXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number; `NaN` and the infinities included.
    Number(f64),
    /// A string, its escapes resolved.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object in the order of the document, duplicate keys included.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Returns the value of a key of an object; of duplicate keys the last one counts.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Returns a number, which may be NaN or infinite.
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// Returns a number that is a non-negative integer below 2⁵³, so that no digit was lost.
    pub fn as_u64(&self) -> Option<u64> {
        let number = self.as_f64()?;
        let exact =
            (0.0..FIRST_INEXACT_INTEGER).contains(&number) && number.trunc() - number == 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an integer between 0 and 2^53 was just checked"
        )]
        exact.then_some(number as u64)
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// Returns the elements of an array.
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(elements) = self { Some(elements) } else { None }
    }

    /// Returns whether this is an object.
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }
}

/// Why bytes are not a JSON document. Printed as the predicate of a sentence about the file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonProblem {
    /// All is well so far, but more has to follow: the file is still being written or was cut off.
    #[error("ends in the middle at byte {offset}")]
    EndsInTheMiddle {
        /// The length of the input.
        offset: usize,
    },
    /// Something else had to stand here.
    #[error("is not JSON: {expected} expected at byte {offset}")]
    Unexpected {
        /// Where, in bytes from the start.
        offset: usize,
        /// What had to stand there.
        expected: &'static str,
    },
    /// The bytes are not UTF-8.
    #[error("is not UTF-8 at byte {offset}")]
    NotUtf8 {
        /// Where, in bytes from the start.
        offset: usize,
    },
    /// It nests deeper than [`MAX_DEPTH`].
    #[error("nests deeper than {MAX_DEPTH} levels at byte {offset}")]
    TooDeep {
        /// Where, in bytes from the start.
        offset: usize,
    },
    /// It holds more values than [`MAX_VALUES`].
    #[error("holds too many values, counted up to byte {offset}")]
    TooManyValues {
        /// Where, in bytes from the start.
        offset: usize,
    },
}

impl JsonProblem {
    /// Returns where the problem is, in bytes from the start of the input.
    pub fn offset(&self) -> usize {
        match self {
            Self::EndsInTheMiddle { offset }
            | Self::Unexpected { offset, .. }
            | Self::NotUtf8 { offset }
            | Self::TooDeep { offset }
            | Self::TooManyValues { offset } => *offset,
        }
    }

    /// Returns whether the input is the beginning of something, cut off.
    pub fn is_truncation(&self) -> bool {
        matches!(self, Self::EndsInTheMiddle { .. })
    }
}

/// Reads one JSON document; nothing but white space may follow it.
pub fn parse(bytes: &[u8]) -> Result<Json, JsonProblem> {
    parse_bounded(bytes, MAX_VALUES)
}

fn parse_bounded(bytes: &[u8], max_values: usize) -> Result<Json, JsonProblem> {
    let text = utf8(bytes)?;
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut reader = Reader { text, at: start, depth: 0, values_left: max_values };
    let value = reader.value()?;
    reader.skip_white_space();
    if reader.at < text.len() {
        return Err(reader.expected("the end"));
    }
    Ok(value)
}

fn utf8(bytes: &[u8]) -> Result<&str, JsonProblem> {
    str::from_utf8(bytes).map_err(|error| match error.error_len() {
        Some(_) => JsonProblem::NotUtf8 { offset: error.valid_up_to() },
        None => JsonProblem::EndsInTheMiddle { offset: bytes.len() },
    })
}

/// A position in a document; `at` is always at a character boundary.
struct Reader<'text> {
    text: &'text str,
    at: usize,
    depth: usize,
    values_left: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Json, JsonProblem> {
        self.skip_white_space();
        let Some(left) = self.values_left.checked_sub(1) else {
            return Err(JsonProblem::TooManyValues { offset: self.at });
        };
        self.values_left = left;
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'N') => self.word("NaN", Json::Number(f64::NAN)),
            Some(b'I') => self.word("Infinity", Json::Number(f64::INFINITY)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.expected("a value")),
        }
    }

    fn object(&mut self) -> Result<Json, JsonProblem> {
        self.enter()?;
        let mut members = Vec::new();
        self.skip_white_space();
        if !self.take(b'}') {
            loop {
                self.skip_white_space();
                if self.peek() != Some(b'"') {
                    return Err(self.expected("a key in quotes"));
                }
                let key = self.string()?;
                self.skip_white_space();
                if !self.take(b':') {
                    return Err(self.expected("`:`"));
                }
                members.push((key, self.value()?));
                self.skip_white_space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.expected("`,` or `}`"));
                }
            }
        }
        self.depth -= 1;
        Ok(Json::Object(members))
    }

    fn array(&mut self) -> Result<Json, JsonProblem> {
        self.enter()?;
        let mut elements = Vec::new();
        self.skip_white_space();
        if !self.take(b']') {
            loop {
                elements.push(self.value()?);
                self.skip_white_space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(self.expected("`,` or `]`"));
                }
            }
        }
        self.depth -= 1;
        Ok(Json::Array(elements))
    }

    /// Steps over an opening bracket, one level down.
    fn enter(&mut self) -> Result<(), JsonProblem> {
        if self.depth == MAX_DEPTH {
            return Err(JsonProblem::TooDeep { offset: self.at });
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &'static str, value: Json) -> Result<Json, JsonProblem> {
        for byte in word.bytes() {
            if !self.take(byte) {
                return Err(self.expected(word));
            }
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<Json, JsonProblem> {
        let start = self.at;
        if self.take(b'-') && self.peek() == Some(b'I') {
            return self.word("Infinity", Json::Number(f64::NEG_INFINITY));
        }
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let number = self.text.get(start..self.at).and_then(|digits| digits.parse().ok());
        number.map(Json::Number).ok_or_else(|| self.expected("a number"))
    }

    /// Steps over at least one digit.
    fn digits(&mut self) -> Result<(), JsonProblem> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.expected("a digit"));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<String, JsonProblem> {
        self.at += 1;
        let mut content = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
                self.at += 1;
            }
            content.push_str(self.text.get(start..self.at).unwrap_or_default());
            if self.take(b'"') {
                return Ok(content);
            }
            if !self.take(b'\\') {
                return Err(self.expected("a character that needs no escape"));
            }
            content.push(self.escaped()?);
        }
    }

    /// Reads what follows a backslash.
    fn escaped(&mut self) -> Result<char, JsonProblem> {
        let character = match self.peek() {
            Some(b'u') => {
                self.at += 1;
                return self.escaped_code();
            }
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => return Err(self.expected("an escape")),
        };
        self.at += 1;
        Ok(character)
    }

    /// Reads what follows `\u`, the second half of a surrogate pair included.
    fn escaped_code(&mut self) -> Result<char, JsonProblem> {
        let first = self.four_hex_digits()?;
        let after_first = self.at;
        if (0xD800..0xDC00).contains(&first) && self.take(b'\\') && self.take(b'u') {
            let second = self.four_hex_digits()?;
            if (0xDC00..0xE000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
        self.at = after_first;
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_hex_digits(&mut self) -> Result<u32, JsonProblem> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.expected("a hexadecimal digit"))?;
            self.at += 1;
        }
        Ok(code)
    }

    fn skip_white_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over this byte if it is next.
    fn take(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expected(&self, expected: &'static str) -> JsonProblem {
        if self.at >= self.text.len() {
            return JsonProblem::EndsInTheMiddle { offset: self.at };
        }
        JsonProblem::Unexpected { offset: self.at, expected }
    }
}

#[cfg(test)]
mod tests;
