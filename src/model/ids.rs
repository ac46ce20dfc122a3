//! Names of things: runs, checkpoints, digests and folder identities.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

/// The name of a run's folder, such as `diffusion_H512L2C128D2_20260223_203349`.
///
/// Source of the form: `<family>_H<hidden>L<layers>C<concepts>[D<decoder>]_<YYYYMMDD>_<HHMMSS>`,
/// written by the watched project's trainers. It stands in every event and beside every checkpoint,
/// so all copies share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "String")]
pub struct RunId(Arc<str>);

impl RunId {
    /// Wraps a folder name; any text is accepted, what is a run is decided by `recognize`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into().into())
    }

    /// Returns the folder name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Splits the id into its base and the local time stamp at its end, if it has one.
    pub fn split_stamp(&self) -> Option<(&str, DateTime)> {
        let (rest, time) = self.0.rsplit_once('_')?;
        let (base, date) = rest.rsplit_once('_')?;
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if date.len() != 8 || time.len() != 6 || !all_digits(date) || !all_digits(time) {
            return None;
        }
        let stamp = DateTime::strptime("%Y%m%d %H%M%S", format!("{date} {time}")).ok()?;
        Some((base, stamp))
    }

    /// Returns the id without its time stamp: `diffusion_H512L2C128D2`.
    pub fn base(&self) -> &str {
        self.split_stamp().map_or(self.as_str(), |(base, _)| base)
    }

    /// Returns the run's start in local time, as its id states it.
    pub fn stamp(&self) -> Option<DateTime> {
        self.split_stamp().map(|(_, stamp)| stamp)
    }
}

impl From<String> for RunId {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Which checkpoint of a run: `checkpoint-<step>` or the final model.
///
/// Final models order after every step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckpointName {
    /// An intermediate checkpoint, saved at this optimizer step.
    Step(u64),
    /// The model saved when training ended.
    Final,
}

impl CheckpointName {
    /// Returns the step of an intermediate checkpoint.
    pub fn step(self) -> Option<u64> {
        match self {
            Self::Step(step) => Some(step),
            Self::Final => None,
        }
    }
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => write!(formatter, "checkpoint-{step}"),
            Self::Final => formatter.write_str("final"),
        }
    }
}

/// A text that is neither `checkpoint-<step>` nor `final`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a checkpoint name, expected `checkpoint-<step>` or `final`")]
pub struct NotACheckpointName(pub String);

impl FromStr for CheckpointName {
    type Err = NotACheckpointName;

    /// Parses the canonical form only: `checkpoint-007` and `checkpoint-+7` are other names.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "final" {
            return Ok(Self::Final);
        }
        let step = text.strip_prefix("checkpoint-").and_then(|digits| digits.parse::<u64>().ok());
        match step {
            Some(step) if format!("checkpoint-{step}") == text => Ok(Self::Step(step)),
            _ => Err(NotACheckpointName(text.to_owned())),
        }
    }
}

impl Serialize for CheckpointName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CheckpointName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A checkpoint by name; its content is told apart by a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CheckpointId {
    /// The run that saved it.
    pub run: RunId,
    /// Which one of the run.
    pub name: CheckpointName,
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.run, self.name)
    }
}

/// Letters of a content digest.
const CONTENT_DIGEST: usize = 32;

/// A content digest in lower-case hexadecimal.
///
/// Thousands are remembered, so one of the usual length needs no room elsewhere.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct Digest(DigestText);

#[derive(Clone)]
enum DigestText {
    /// ASCII letters only.
    Content([u8; CONTENT_DIGEST]),
    Other(Box<str>),
}

impl Digest {
    /// Prints bytes as lower-case hexadecimal.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        let text: String =
            bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
        Self::from(text)
    }

    /// Wraps a digest that was stored as text.
    pub fn from_stored(text: impl Into<String>) -> Self {
        Self::from(text.into())
    }

    /// Returns the hexadecimal text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // They are ASCII, so this is never the default.
            DigestText::Content(letters) => str::from_utf8(letters).unwrap_or_default(),
            DigestText::Other(text) => text,
        }
    }
}

impl From<String> for Digest {
    fn from(text: String) -> Self {
        let letters = <[u8; CONTENT_DIGEST]>::try_from(text.as_bytes());
        Self(match letters {
            Ok(letters) if letters.is_ascii() => DigestText::Content(letters),
            _ => DigestText::Other(text.into()),
        })
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Digest {}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Digest").field(&self.as_str()).finish()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What tells one folder from another that later bears its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FolderIdentity {
    /// Device number of the file system (`st_dev`).
    pub device: u64,
    /// Inode number (`st_ino`).
    pub inode: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_id_gives_base_and_stamp() {
        let run = RunId::new("perceiver_mlm_H512L6C128_20260223_203349");
        assert_eq!(run.base(), "perceiver_mlm_H512L6C128");
        assert_eq!(run.stamp().map(|stamp| stamp.to_string()), Some("2026-02-23T20:33:49".into()));
    }

    #[test]
    fn run_id_without_a_real_stamp_has_none() {
        for name in ["mrpc", "x_20261399_000000", "x_2026_000000", "_", "", "ü_20260101_25ü000"] {
            assert_eq!(RunId::new(name).stamp(), None, "{name}");
            assert_eq!(RunId::new(name).base(), name);
        }
    }

    #[test]
    fn digests_of_any_length_keep_their_text_and_order_by_it() {
        let stored = [
            "",
            "0",
            "00000000000000000000000000000000",
            "0000000000000000000000000000000é",
            "00ff",
            "a",
            "ffffffffffffffffffffffffffffffff",
            "ffffffffffffffffffffffffffffffff0",
        ];
        let digests = stored.map(Digest::from_stored);
        assert!(digests.is_sorted(), "{digests:?}");
        for (text, digest) in stored.into_iter().zip(&digests) {
            assert_eq!(digest.as_str(), text);
            let json = serde_json::to_string(digest).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), *digest);
        }
        assert_eq!(Digest::from_bytes(&[0xab; 16]).as_str(), "ab".repeat(16));
        assert_eq!(Digest::from_bytes(&[0x0f]).as_str(), "0f");
    }

    #[test]
    fn copies_of_a_run_id_share_their_text() {
        let run = RunId::new("x");
        assert!(Arc::ptr_eq(&run.0, &run.clone().0));
        assert_eq!(serde_json::to_string(&run).unwrap(), "\"x\"");
        assert_eq!(serde_json::from_str::<RunId>("\"x\"").unwrap(), run);
    }

    #[test]
    fn checkpoint_names_parse_only_in_canonical_form() {
        assert_eq!("checkpoint-20".parse(), Ok(CheckpointName::Step(20)));
        assert_eq!("final".parse(), Ok(CheckpointName::Final));
        for text in ["checkpoint-", "checkpoint-020", "checkpoint-+2", "tmp-checkpoint-20", "20"] {
            assert!(text.parse::<CheckpointName>().is_err(), "{text}");
        }
    }

    #[test]
    fn final_models_order_after_every_step() {
        assert!(CheckpointName::Final > CheckpointName::Step(u64::MAX));
    }
}
