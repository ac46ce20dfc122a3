//! Bytes as text in stored states, each byte as the character of its number: nothing is lost, and
//! what is ASCII stays readable.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Text(bytes))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = text.chars().map(|mark| u8::try_from(u32::from(mark)));
    bytes.collect::<Result<_, _>>().map_err(D::Error::custom)
}

struct Text<'bytes>(&'bytes [u8]);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| std::fmt::Write::write_char(formatter, char::from(*byte)))
    }
}
