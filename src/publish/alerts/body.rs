//! An alert in the form that its receiver understands.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::alert::{Alert, AlertFormat, AlertKind, AlertState};
use crate::model::ids::RunId;

/// Discord refuses longer messages, counted in characters.
const DISCORD_CHARACTERS: usize = 2000;
/// Slack cuts longer ones.
const SLACK_CHARACTERS: usize = 3900;
/// ntfy makes a file of longer ones, counted in bytes.
const NTFY_BYTES: usize = 4000;
/// Longer headers are refused by some servers.
const TITLE_CHARACTERS: usize = 200;

/// Where alerts come from.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The host's name.
    pub host: String,
    /// The watched root.
    pub root: String,
}

/// What is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its media type.
    pub content_type: &'static str,
    /// Headers beside that; their values are ASCII.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// The wire form of `format = "json"`.
#[derive(Debug, Serialize)]
struct Json<'alert> {
    id: &'alert str,
    kind: &'static str,
    state: &'static str,
    cause: &'alert str,
    run: Option<&'alert str>,
    checkpoint: Option<String>,
    time: String,
    host: &'alert str,
    root: &'alert str,
    title: &'alert str,
    text: &'alert str,
    facts: Map<String, Value>,
    more: &'alert [String],
    more_count: u64,
}

/// Writes an alert in a receiver's form.
pub fn message(format: AlertFormat, envelope: &Envelope, alert: &Alert) -> Message {
    match format {
        AlertFormat::Json => of_json(&json(envelope, alert)),
        AlertFormat::Slack => {
            let text = escaped_for_slack(&lines(envelope, alert, "*"));
            of_json(&json!({ "text": shortened(&text, SLACK_CHARACTERS) }))
        }
        AlertFormat::Discord => {
            let content = shortened(&lines(envelope, alert, "**"), DISCORD_CHARACTERS);
            of_json(&json!({ "content": content, "allowed_mentions": { "parse": [] } }))
        }
        AlertFormat::Ntfy => ntfy(envelope, alert),
    }
}

fn of_json(value: &impl Serialize) -> Message {
    let body = serde_json::to_string(value).unwrap_or_default();
    Message { content_type: "application/json", headers: Vec::new(), body }
}

fn json<'alert>(envelope: &'alert Envelope, alert: &'alert Alert) -> Json<'alert> {
    let facts = alert.facts.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Json {
        id: &alert.id,
        kind: alert.kind.as_str(),
        state: match alert.state {
            AlertState::Raised => "raised",
            AlertState::Recovered => "recovered",
        },
        cause: &alert.cause,
        run: alert.run.as_ref().map(RunId::as_str),
        checkpoint: alert.checkpoint.map(|name| name.to_string()),
        time: alert.time.to_string(),
        host: &envelope.host,
        root: &envelope.root,
        title: &alert.title,
        text: &alert.text,
        facts,
        more: &alert.more,
        more_count: alert.more_count,
    }
}

/// Ntfy takes the text as the body and all else as headers.
fn ntfy(envelope: &Envelope, alert: &Alert) -> Message {
    let (priority, tags) = match (alert.state, alert.kind) {
        (AlertState::Recovered, _) => ("default", "white_check_mark"),
        (AlertState::Raised, AlertKind::Degraded) => ("default", "warning"),
        (AlertState::Raised, _) => ("high", "rotating_light"),
    };
    let is_plain = |character: char| character.is_ascii_graphic() || character == ' ';
    let title: String = alert
        .title
        .chars()
        .take(TITLE_CHARACTERS)
        .map(|character| if is_plain(character) { character } else { '?' })
        .collect();
    let mut body = rest(envelope, alert).join("\n");
    if body.len() > NTFY_BYTES {
        let end = body.floor_char_boundary(NTFY_BYTES);
        body.truncate(end);
        body.push('…');
    }
    let headers =
        vec![("Title", title), ("Priority", priority.to_owned()), ("Tags", tags.to_owned())];
    Message { content_type: "text/plain; charset=utf-8", headers, body }
}

fn lines(envelope: &Envelope, alert: &Alert, bold: &str) -> String {
    // A line break or a mark in the title would end the bold text.
    let title: String = alert
        .title
        .chars()
        .filter(|character| !character.is_control() && *character != '*')
        .collect();
    let mut lines = vec![format!("{bold}{title}{bold}")];
    lines.extend(rest(envelope, alert));
    lines.join("\n")
}

/// Returns the lines after the title, the most telling first: long messages are cut at their end.
fn rest(envelope: &Envelope, alert: &Alert) -> Vec<String> {
    let is_shown = |character: &char| !character.is_control() || *character == '\n';
    let text: String = alert.text.chars().filter(is_shown).collect();
    let mut lines: Vec<String> = Some(text).filter(|text| !text.is_empty()).into_iter().collect();
    if alert.more_count > 0 {
        let titles = alert.more.join("; ");
        lines.push(format!("and {} more: {titles}", alert.more_count));
    }
    lines.push(format!("{}, {}, {}", envelope.host, envelope.root, alert.time.table_form()));
    lines
}

/// Source: Slack's "Formatting text for app surfaces", where these three characters are control
/// characters.
fn escaped_for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use expect_test::expect_file;

    use super::*;
    use crate::model::ids::CheckpointName;
    use crate::model::time::Moment;

    fn envelope() -> Envelope {
        Envelope { host: "polonez".to_owned(), root: "/home/me/project".to_owned() }
    }

    fn failed() -> Alert {
        let facts = [("rank", json!(4.87)), ("concepts", json!(128)), ("threshold", json!(10.0))];
        Alert {
            id: "0123456789abcdef".to_owned(),
            kind: AlertKind::Fail,
            state: AlertState::Raised,
            cause: "fail".to_owned(),
            run: Some(RunId::new("diffusion_H512L6C128D2_20260225_140307")),
            checkpoint: Some(CheckpointName::Step(80)),
            time: Moment::parse("2026-02-25T15:03:07+01:00").unwrap(),
            title: "diffusion_H512L6C128D2_20260225_140307: verdict fail at checkpoint-80"
                .to_owned(),
            text: "effective rank 4.87 < 10 & <!channel> @everyone".to_owned(),
            facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
            more: Vec::new(),
            more_count: 0,
        }
    }

    fn recovered() -> Alert {
        Alert {
            kind: AlertKind::Degraded,
            state: AlertState::Recovered,
            cause: "analysis".to_owned(),
            run: None,
            checkpoint: None,
            title: "runscribe: analyses can run again".to_owned(),
            text: String::new(),
            facts: BTreeMap::new(),
            more: vec!["a: training stalled".to_owned(), "b: verdict fail".to_owned()],
            more_count: 7,
            ..failed()
        }
    }

    fn shown(format: AlertFormat, alert: &Alert) -> String {
        let Message { content_type, headers, body } = message(format, &envelope(), alert);
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        let body = match serde_json::from_str::<Value>(&body) {
            Ok(value) => format!("{value:#}"),
            Err(_) => body,
        };
        format!("Content-Type: {content_type}\n{}\n{body}\n", headers.collect::<String>())
    }

    #[test]
    fn each_form_is_the_one_of_its_golden_file() {
        for (alert, name) in [(failed(), "fail"), (recovered(), "recovered")] {
            for format in
                [AlertFormat::Json, AlertFormat::Slack, AlertFormat::Discord, AlertFormat::Ntfy]
            {
                let file = format!(
                    "{}/tests/fixtures/wire/alerts/{name}_{}.txt",
                    env!("CARGO_MANIFEST_DIR"),
                    format.as_str()
                );
                expect_file![file].assert_eq(&shown(format, &alert));
            }
        }
    }

    #[test]
    fn no_text_breaks_a_form_or_its_bounds() {
        let alert = Alert {
            title: format!("{}\r\nX-Forged: 1 \u{1b}[31m*é", "t".repeat(500)),
            text: "ä<\u{7}@everyone\n".repeat(1000),
            ..failed()
        };
        let discord = message(AlertFormat::Discord, &envelope(), &alert).body;
        let discord: Value = serde_json::from_str(&discord).unwrap();
        assert_eq!(discord["content"].as_str().unwrap().chars().count(), DISCORD_CHARACTERS);
        assert_eq!(discord["allowed_mentions"]["parse"], json!([]));
        let slack = message(AlertFormat::Slack, &envelope(), &alert).body;
        let slack: Value = serde_json::from_str(&slack).unwrap();
        let text = slack["text"].as_str().unwrap();
        assert!(text.chars().count() <= SLACK_CHARACTERS && !text.contains(['<', '>', '\u{7}']));
        let ntfy = message(AlertFormat::Ntfy, &envelope(), &alert);
        assert!(ntfy.body.len() < 4096, "{}", ntfy.body.len());
        for (name, value) in &ntfy.headers {
            assert!(value.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{name}: {value}");
        }
        // JSON keeps all of it, as text.
        let json = message(AlertFormat::Json, &envelope(), &alert).body;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["title"].as_str(), Some(alert.title.as_str()));
    }
}
