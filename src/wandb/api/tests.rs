//! A service on the loopback that gives recorded forms of answers, and misbehaves as scripted.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::json;

use super::*;

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

/// What the service does with one question.
#[derive(Clone)]
enum Act {
    Answer(u16, &'static str, String),
    Close,
    Hang,
    /// Answers, but byte by byte.
    Slowly(String),
}

struct Fake {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut acts = VecDeque::from(acts);
            let mut hanging = Vec::new();
            for stream in listener.incoming().flatten() {
                kept.lock().unwrap().push(read(&stream));
                hanging.extend(play(stream, acts.pop_front().unwrap_or(Act::Close)));
            }
        });
        Self { address, asked }
    }

    async fn find(&self, limit: Duration) -> Result<Option<WandbRun>, ApiError> {
        rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
        let client = Client::builder().timeout(Duration::from_millis(400)).build().unwrap();
        let pause = Duration::from_millis(20);
        let patience = Patience { tries: 4, pause, longest_pause: Duration::from_secs(2), limit };
        let service = Service {
            base_url: format!("{}/", self.address),
            project: "MrCogito".to_owned(),
            entity: None,
            key: ApiKey("0123456789".to_owned()),
            patience,
        };
        find_run(&client, &service, &RunId::new(RUN)).await
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn read(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        text.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    text + &String::from_utf8(body).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a slow service")]
fn play(mut stream: TcpStream, act: Act) -> Option<TcpStream> {
    let head = |status: u16, headers: &str, length: usize| {
        format!(
            "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
        )
    };
    match act {
        Act::Close => None,
        Act::Hang => Some(stream),
        Act::Answer(status, headers, body) => {
            let text = head(status, headers, body.len()) + &body;
            stream.write_all(text.as_bytes()).unwrap_or_default();
            None
        }
        Act::Slowly(body) => {
            stream.write_all(head(200, "", body.len()).as_bytes()).unwrap_or_default();
            for byte in body.as_bytes().chunks(body.len() / 8) {
                std::thread::sleep(Duration::from_millis(20));
                stream.write_all(byte).unwrap_or_default();
            }
            None
        }
    }
}

fn page(ids: &[&str], next: Option<&str>) -> String {
    let edges: Vec<Value> = ids
        .iter()
        .map(|id| {
            json!({"node": {"name": id, "displayName": "some name", "state": "finished",
                "config": "{\"git_tag\": {\"value\": \"arch/x\"}}", "commit": null,
                "summaryMetrics": "{\"train/loss\": 1.433}"}})
        })
        .collect();
    json!({"data": {"project": {"name": "MrCogito", "entityName": "ksopyla", "runs": {
        "edges": edges, "pageInfo": {"endCursor": next, "hasNextPage": next.is_some()}}}}})
    .to_string()
}

fn answered(body: String) -> Act {
    Act::Answer(200, "", body)
}

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_run_is_found_behind_pages_failures_and_a_rate_limit() {
    let begun = Instant::now();
    let fake = Fake::start(vec![
        Act::Close,
        Act::Answer(502, "", "bad gateway".to_owned()),
        answered(page(&["a", "b"], Some("c1"))),
        Act::Answer(429, "Retry-After: 1\r\n", String::new()),
        Act::Hang,
        Act::Slowly(page(&["c", RUN], Some("c2"))),
        answered(page(&[], None)),
    ]);
    let run = fake.find(LIMIT).await.unwrap().unwrap();
    let expected = format!("{}/ksopyla/MrCogito/runs/{RUN}", fake.address);
    assert_eq!(run.page.unwrap().url, expected);
    assert_eq!((run.final_loss, run.config.len()), (Some(1.433), 1));
    assert!(begun.elapsed() >= Duration::from_secs(1), "the rate limit was not kept to");
    let asked = fake.asked();
    assert_eq!(asked.len(), 7);
    // `api:0123456789`
    assert!(asked.iter().all(|text| text.contains("Basic YXBpOjAxMjM0NTY3ODk=")), "{asked:?}");
    let cursors = asked.iter().map(|text| {
        let body = text.rsplit("\r\n").next().unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        body["variables"]["cursor"].as_str().map(str::to_owned)
    });
    let at = |cursor: &str| Some(cursor.to_owned());
    let expected = [None, None, None, at("c1"), at("c1"), at("c1"), at("c2")];
    assert_eq!(cursors.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn what_it_refuses_is_asked_once_and_what_is_away_a_few_times() {
    for (act, asked, expected) in [
        (Act::Answer(401, "", String::new()), 1, "refuses: it answers 401 Unauthorized: the key"),
        (Act::Answer(404, "", String::new()), 1, "is `wandb.base_url` right?"),
        (answered(r#"{"errors": [{"message": "no"}]}"#.to_owned()), 1, "refuses: no"),
        (answered("<html>".to_owned()), 1, "its answer is not JSON"),
        (Act::Close, 4, "away"),
        (Act::Hang, 4, "away: it takes too long"),
        (Act::Answer(500, "", String::new()), 4, "away: it answers 500"),
    ] {
        let fake = Fake::start(vec![act; 4]);
        let error = fake.find(LIMIT).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("0123456789"), "{error}");
        assert_eq!(fake.asked().len(), asked, "{error}");
    }
    // One page again and again ends, and so does everything at the limit.
    let fake = Fake::start(vec![answered(page(&["a"], Some("c1"))); 9]);
    assert_eq!(fake.find(LIMIT).await, Ok(None));
    assert_eq!(fake.asked().len(), 2);
    let fake = Fake::start(vec![Act::Hang; 9]);
    let error = fake.find(Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, ApiError::Away(_)), "{error}");
}

#[test]
fn the_key_comes_from_the_environment_or_from_netrc() {
    let folder = tempfile::tempdir().unwrap();
    let netrc = folder.path().join(".netrc");
    std::fs::write(&netrc, "machine api.wandb.ai\n login user\n password fromnetrc\n").unwrap();
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let home = variable("HOME", folder.path().to_str().unwrap());
    let find = |environment: &[(String, String)], url: &str| {
        ApiKey::find(environment, url).map(|key| key.0)
    };
    let both = [home.clone(), variable("WANDB_API_KEY", " fromenvironment ")];
    assert_eq!(find(&both, "https://api.wandb.ai").as_deref(), Some("fromenvironment"));
    let blank = [home, variable("WANDB_API_KEY", "")];
    assert_eq!(find(&blank, "https://api.wandb.ai").as_deref(), Some("fromnetrc"));
    assert_eq!(find(&blank, "https://wandb.local"), None);
    let named = [variable("NETRC", netrc.to_str().unwrap())];
    assert_eq!(find(&named, "https://api.wandb.ai").as_deref(), Some("fromnetrc"));
    assert_eq!(find(&[], "https://api.wandb.ai"), None);
    assert_eq!(format!("{:?}", ApiKey("secret".to_owned())), "ApiKey");
}
