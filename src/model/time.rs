//! Moments: an instant together with the local offset that people read it in.

use std::fmt;
use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Timestamp, Zoned};
use serde::{Deserialize, Serialize};

/// An instant and the offset of local time then.
///
/// Moments compare by instant first. Printed and stored as RFC 3339 with numeric offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    timestamp: Timestamp,
    offset: Offset,
}

impl Moment {
    /// Joins an instant and an offset.
    pub const fn new(timestamp: Timestamp, offset: Offset) -> Self {
        Self { timestamp, offset }
    }

    /// Returns the instant.
    pub fn timestamp(self) -> Timestamp {
        self.timestamp
    }

    /// Returns the offset of local time.
    pub fn offset(self) -> Offset {
        self.offset
    }

    /// Returns the local date and time.
    pub fn local(self) -> DateTime {
        self.offset.to_datetime(self.timestamp)
    }

    /// Drops the fraction of the second.
    #[must_use]
    pub fn whole_seconds(self) -> Self {
        let second = Timestamp::from_second(self.timestamp.as_second());
        Self { timestamp: second.unwrap_or(self.timestamp), offset: self.offset }
    }

    /// Returns the moment this much later, saturating at the end of time.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let later = self.timestamp.checked_add(duration).unwrap_or(Timestamp::MAX);
        Self { timestamp: later, offset: self.offset }
    }

    /// Returns how much time passed since `earlier`, zero if it is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::try_from(self.timestamp.duration_since(earlier)).unwrap_or(Duration::ZERO)
    }

    /// Prints the form of the experiment log: `2026-02-25 14:03:07 +01:00`.
    pub fn table_form(self) -> String {
        let local = self.local();
        format!("{} {}", local.strftime("%Y-%m-%d %H:%M:%S"), offset_form(self.offset))
    }

    /// Prints the local date: `2026-02-25`.
    pub fn date_form(self) -> String {
        self.local().strftime("%Y-%m-%d").to_string()
    }

    /// Prints the local date for file names: `20260225`.
    pub fn compact_date(self) -> String {
        self.local().strftime("%Y%m%d").to_string()
    }

    /// Parses RFC 3339 and keeps its offset.
    pub fn parse(text: &str) -> Option<Self> {
        let pieces = jiff::fmt::temporal::DateTimeParser::new();
        let timestamp = pieces.parse_timestamp(text).ok()?;
        let offset = if text.ends_with(['Z', 'z']) {
            Offset::UTC
        } else {
            parse_offset(text.get(text.len().checked_sub(6)?..)?)?
        };
        Some(Self { timestamp, offset })
    }
}

fn offset_form(offset: Offset) -> String {
    let seconds = offset.seconds();
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
}

fn parse_offset(text: &str) -> Option<Offset> {
    let (sign, digits) = text.split_at_checked(1)?;
    let (hours, minutes) = digits.split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    match sign {
        "+" => Offset::from_seconds(seconds).ok(),
        "-" => Offset::from_seconds(-seconds).ok(),
        _ => None,
    }
}

impl From<&Zoned> for Moment {
    fn from(zoned: &Zoned) -> Self {
        Self { timestamp: zoned.timestamp(), offset: zoned.offset() }
    }
}

impl fmt::Display for Moment {
    /// Prints RFC 3339 with the local offset: `2026-02-25T14:03:07.25+01:00`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.local().strftime("%Y-%m-%dT%H:%M:%S%.f"))?;
        formatter.write_str(&offset_form(self.offset))
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not an RFC 3339 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Moment {
        Moment::parse(text).unwrap_or(Moment::new(Timestamp::MIN, Offset::UTC))
    }

    #[test]
    fn prints_and_parses_rfc_3339_with_its_offset() {
        for text in [
            "2026-02-25T14:03:07+01:00",
            "2026-02-25T14:03:07.25-03:30",
            "2026-02-25T14:03:07.000000001+00:00",
        ] {
            assert_eq!(moment(text).to_string(), text);
        }
        assert_eq!(moment("2026-02-25T14:03:07Z").to_string(), "2026-02-25T14:03:07+00:00");
        for text in ["", "2026", "2026-02-25T14:03:07", "ä+01:00"] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn table_form_is_local_with_offset() {
        assert_eq!(
            moment("2026-02-25T14:03:07.9+01:00").table_form(),
            "2026-02-25 14:03:07 +01:00"
        );
    }

    #[test]
    fn arithmetic_saturates() {
        let now = moment("2026-02-25T14:03:07.9+01:00");
        assert_eq!(now.since(now.after(Duration::from_secs(5)).timestamp()), Duration::ZERO);
        assert_eq!(now.after(Duration::MAX).timestamp(), Timestamp::MAX);
        assert_eq!(now.whole_seconds().to_string(), "2026-02-25T14:03:07+01:00");
    }
}
