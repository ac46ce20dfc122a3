//! The GraphQL service: what it knows of a run, asked with patience. Offline is ordinary.

use std::fmt;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::model::ids::RunId;
use crate::parse::wandb::WandbRun;
use crate::parse::wandb::{graphql, netrc};

/// Bytes of one answer that are read.
const LONGEST_ANSWER: usize = 16 << 20;
/// Pages of an answer that are asked for.
const MOST_PAGES: usize = 20;

/// A key of the service. Never printed, not even for debugging.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey")
    }
}

impl ApiKey {
    /// Finds the key for a service: `WANDB_API_KEY` of the environment, else the password of the
    /// service's host in the file that `NETRC` names, or in `~/.netrc`.
    pub fn find(environment: &[(String, String)], base_url: &str) -> Option<Self> {
        let variable = |name: &str| {
            let found = environment.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
        };
        if let Some(key) = variable("WANDB_API_KEY") {
            return Some(Self(key.to_owned()));
        }
        let home = variable("HOME").map(|home| format!("{home}/.netrc"));
        let path = variable("NETRC").map(str::to_owned).or(home)?;
        let host = Url::parse(base_url).ok()?.host_str()?.to_owned();
        let text = String::from_utf8_lossy(&super::head(path.as_ref())).into_owned();
        netrc::password(&text, &host).map(Self)
    }
}

/// The service and how it is asked.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its address, such as `https://api.wandb.ai`.
    pub base_url: String,
    /// The project.
    pub project: String,
    /// The project's owner; `None`: the key's own.
    pub entity: Option<String>,
    /// The key.
    pub key: ApiKey,
    /// How long it is tried.
    pub patience: Patience,
}

/// How long something is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Tries of one question.
    pub tries: u32,
    /// The pause after the first try; it doubles.
    pub pause: Duration,
    /// The longest pause that the service may ask for.
    pub longest_pause: Duration,
    /// How long everything may take.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { tries: 5, pause: seconds(1), longest_pause: seconds(60), limit: seconds(300) }
    }
}

/// Why the service did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// It cannot be reached, is too busy, or takes too long; later it may.
    #[error("W&B is away: {0}")]
    Away(String),
    /// It refuses the key or the question; trying again does not help.
    #[error("W&B refuses: {0}")]
    Refused(String),
}

/// Returns what the service knows of a run; `None` if it knows none of this id or name, or several
/// of this name.
///
/// # Errors
/// It is away, or refuses.
pub async fn find_run(
    client: &Client,
    service: &Service,
    run: &RunId,
) -> Result<Option<WandbRun>, ApiError> {
    let limit = service.patience.limit;
    let found = timeout(limit, all_pages(client, service, run)).await;
    let found =
        found.map_err(|_| ApiError::Away(format!("no answer in {} s", limit.as_secs())))??;
    Ok(graphql::the_one(found, run.as_str()))
}

async fn all_pages(
    client: &Client,
    service: &Service,
    run: &RunId,
) -> Result<Vec<graphql::FoundRun>, ApiError> {
    let site = graphql::site(&service.base_url);
    let (project, entity) = (service.project.as_str(), service.entity.as_deref());
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..MOST_PAGES {
        let question = graphql::question(project, entity, run.as_str(), cursor.as_deref());
        let bytes = ask(client, service, &question).await?;
        let answer = graphql::answer(&bytes, &site).map_err(ApiError::Refused)?;
        found.extend(answer.runs);
        // A service that gives one page again and again would be asked for ever.
        if answer.next.is_none() || answer.next == cursor {
            break;
        }
        cursor = answer.next;
    }
    Ok(found)
}

/// What one try ended in.
enum Try {
    Answered(Vec<u8>),
    Refused(String),
    /// To be tried again, after the pause that the service asks for, if it does.
    Later(String, Option<Duration>),
}

async fn ask(client: &Client, service: &Service, question: &Value) -> Result<Vec<u8>, ApiError> {
    let patience = service.patience;
    let mut pause = patience.pause;
    let mut last = String::new();
    for number in 1..=patience.tries.max(1) {
        match once(client, service, question).await {
            Try::Answered(bytes) => return Ok(bytes),
            Try::Refused(why) => return Err(ApiError::Refused(why)),
            Try::Later(why, wanted) => {
                tracing::debug!(number, why, "W&B does not answer");
                if number < patience.tries {
                    sleep(wanted.unwrap_or(pause).min(patience.longest_pause)).await;
                }
                pause = pause.saturating_mul(2);
                last = why;
            }
        }
    }
    Err(ApiError::Away(last))
}

async fn once(client: &Client, service: &Service, question: &Value) -> Try {
    let address = format!("{}/graphql", service.base_url.trim_end_matches('/'));
    let request = client.post(address).basic_auth("api", Some(&service.key.0)).json(question);
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) if error.is_builder() => return Try::Refused(error.without_url().to_string()),
        Err(error) => return Try::Later(told(error), None),
    };
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Try::Later(format!("it answers {status}"), wanted_pause(response.headers()));
    }
    if !status.is_success() {
        let why = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "the key is not taken",
            _ => "is `wandb.base_url` right?",
        };
        return Try::Refused(format!("it answers {status}: {why}"));
    }
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Try::Answered(bytes),
            Err(error) => return Try::Later(told(error), None),
        }
        if bytes.len() > LONGEST_ANSWER {
            return Try::Refused("its answer is too long".to_owned());
        }
    }
}

/// Says what went wrong, without the address.
fn told(error: reqwest::Error) -> String {
    let what = if error.is_timeout() {
        "it takes too long"
    } else if error.is_connect() {
        "there is no connection"
    } else {
        "the connection broke"
    };
    format!("{what} ({})", error.without_url())
}

/// Reads `Retry-After` in seconds.
fn wanted_pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests;
