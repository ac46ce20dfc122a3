//! Alerts over HTTP: one message to one receiver, and what became of it.
//!
//! Addresses are secrets. Nothing here logs one, and no error carries one.

mod body;

use std::error::Error as _;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};

use crate::model::alert::{Alert, AlertOutcome};
use crate::settings::AlertSettings;

pub use body::{Envelope, Message, message};

/// The header that tells doubles apart in every format.
const ID_HEADER: HeaderName = HeaderName::from_static("runscribe-alert-id");
/// How much of an answer is read, in bytes.
const ANSWER_BYTES: usize = 2048;
/// How much of it is quoted, in characters.
const QUOTED: usize = 160;

/// Sends one alert. The client's own limit bounds how long that takes; dropping the future ends it.
pub async fn send(
    client: &Client,
    receiver: &AlertSettings,
    envelope: &Envelope,
    alert: &Alert,
) -> AlertOutcome {
    let Message { content_type, headers, body } = message(receiver.format, envelope, alert);
    let mut request = client
        .post(receiver.address.url().clone())
        .header(CONTENT_TYPE, content_type)
        .header(ID_HEADER, header_value(&alert.id));
    for (name, value) in headers {
        request = request.header(name, header_value(&value));
    }
    match request.body(body).send().await {
        Ok(response) => judge(response).await,
        Err(error) if error.is_builder() => AlertOutcome::Refused { problem: explained(error) },
        Err(error) => AlertOutcome::Later { problem: explained(error), wait: None },
    }
}

/// What a header cannot hold is left out of it.
fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

async fn judge(response: Response) -> AlertOutcome {
    let status = response.status();
    if status.is_success() {
        return AlertOutcome::Delivered;
    }
    if status.is_redirection() {
        let problem = format!(
            "answered {}: redirects are not followed; write the new address",
            status.as_u16()
        );
        return AlertOutcome::Refused { problem };
    }
    let wait = wait_of(response.headers(), Timestamp::now());
    let problem = format!("answered {}{}", status.as_u16(), quoted(response).await);
    let passes = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
        );
    if passes { AlertOutcome::Later { problem, wait } } else { AlertOutcome::Refused { problem } }
}

/// Reads how long a receiver wants to be left alone: seconds, or a date.
fn wait_of(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTimeParser::new().parse_timestamp(text).ok()?;
    Duration::try_from(date.duration_since(now)).ok()
}

/// Quotes the first line of an answer. An answer is anybody's text: bounded, without control
/// characters, and never with an address in it, because some receivers echo the request.
async fn quoted(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES
        && let Ok(Some(piece)) = response.chunk().await
    {
        bytes.extend(piece.iter().take(ANSWER_BYTES - bytes.len()));
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let secret_parts: Vec<&str> = response
        .url()
        .path_segments()
        .into_iter()
        .flatten()
        .chain(response.url().query())
        .collect();
    let echoes = secret_parts.iter().any(|part| part.len() > 3 && line.contains(part));
    let is_page = line.starts_with('<');
    if line.is_empty() || echoes || is_page {
        return String::new();
    }
    let plain = line.chars().filter(|character| !character.is_control()).take(QUOTED);
    format!(": {}", plain.collect::<String>())
}

/// Says why a request failed, without its address.
fn explained(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receivers_wish_is_seconds_or_a_date() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        for (text, seconds) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", None),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(wait_of(&headers, now), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(wait_of(&HeaderMap::new(), now), None);
    }
}
