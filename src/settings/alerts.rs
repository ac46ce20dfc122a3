//! `[[alerts]]`: who is told of trouble, and in which form.
//!
//! An address often is the secret itself (whoever knows a webhook's URL can write into its
//! channel), so it is shown by its host only.

use std::fmt;

use sha2::{Digest as _, Sha256};
use url::Url;

use super::problem::Fault;
use super::words::one_of;
use crate::model::alert::{AlertFormat, AlertKind, ReceiverKey};
use crate::model::ids::Digest;

/// Bytes of the digest that stands for an address.
const KEY_BYTES: usize = 8;
/// Receivers beyond this are a mistake.
pub(super) const MOST_RECEIVERS: usize = 16;
/// Longer addresses are a mistake.
const LONGEST_ADDRESS: usize = 4096;

/// One receiver of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSettings {
    /// Where it is.
    pub address: AlertAddress,
    /// The form that it understands.
    pub format: AlertFormat,
    /// What it wants to hear of.
    pub on: Vec<AlertKind>,
}

/// The URL of a receiver. Printed as its scheme and host, also for debugging.
#[derive(Clone, PartialEq, Eq)]
pub struct AlertAddress(Url);

impl AlertAddress {
    /// Returns the whole URL, which may be a secret.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Returns what stands for it in the journal.
    pub fn key(&self) -> ReceiverKey {
        let digest = Sha256::digest(self.0.as_str().as_bytes());
        let short = digest.get(..KEY_BYTES).unwrap_or_default();
        ReceiverKey::new(Digest::from_bytes(short).as_str())
    }

    /// Parses an address.
    ///
    /// # Errors
    /// A fault that says nothing of the address itself.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.contains('…') {
            return Err(Fault::new("is shortened by `…`; write the whole address"));
        }
        if text.len() > LONGEST_ADDRESS {
            return Err(Fault::new(format!("is longer than {LONGEST_ADDRESS} bytes")));
        }
        if text.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return Err(Fault::new("must not hold spaces, line breaks or control characters"));
        }
        let url = Url::parse(text)
            .map_err(|error| Fault::new(format!("is no address such as `https://…`: {error}")))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Fault::new(
                "must begin with `https://` (or `http://`, in your own network)",
            ));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for AlertAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(formatter, "{}://{host}", self.0.scheme())?;
        if let Some(port) = self.0.port() {
            write!(formatter, ":{port}")?;
        }
        formatter.write_str("/…")
    }
}

impl fmt::Debug for AlertAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

/// Checks an address as it may stand in a configuration.
pub(super) fn check_address(text: &str) -> Result<(), Fault> {
    AlertAddress::parse(text).map(drop)
}

/// Parses `json`, `slack`, `discord` or `ntfy`.
pub(super) fn parse_format(text: &str) -> Result<AlertFormat, Fault> {
    use AlertFormat::{Discord, Json, Ntfy, Slack};
    one_of(text, &[Json, Slack, Discord, Ntfy].map(|format| (format.as_str(), format)))
}

/// Parses what a receiver wants to hear of.
pub(super) fn parse_kind(text: &str) -> Result<AlertKind, Fault> {
    one_of(text, &AlertKind::ALL.map(|kind| (kind.as_str(), kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_its_host_and_nothing_else() {
        for (text, shown) in [
            ("https://hooks.slack.com/services/T0/B0/secret", "https://hooks.slack.com/…"),
            ("https://user:secret@ntfy.sh/secret?auth=secret#secret", "https://ntfy.sh/…"),
            ("http://127.0.0.1:8080/secret", "http://127.0.0.1:8080/…"),
            ("http://[::1]:9/secret", "http://[::1]:9/…"),
        ] {
            let address = AlertAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), shown);
            assert_eq!(address.url().as_str(), text);
            assert_eq!(address.key().as_str().len(), 16);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_being_quoted() {
        for text in [
            "",
            "secret",
            "hooks.slack.com/secret",
            "ftp://secret",
            "https://",
            "https:///",
            "file:///etc/secret",
            "https://hooks.slack.com/…",
            "https://host/secret two",
            "https://host/secret\n",
            "https://ho st/secret",
            "https://host:99999/secret",
        ] {
            let fault = AlertAddress::parse(text).expect_err(text);
            assert!(!fault.problem.contains("secret"), "{fault:?}");
        }
        assert!(AlertAddress::parse(&format!("https://h/{}", "x".repeat(5000))).is_err());
    }
}
