//! What a run's local W&B files say of it: its configuration with the git facts that training
//! recorded, its page, and its final loss.
//!
//! The forms are those of W&B 0.19 to 0.22: `logs/debug.log` prints the configuration as Python
//! literals, `files/config.yaml`, `files/wandb-metadata.json` and `files/wandb-summary.json` stand
//! beside it in online runs, `files/output.log` holds what the program printed.

pub mod graphql;
mod literal;
pub mod netrc;

use std::collections::BTreeMap;

use memchr::memmem;
use url::Url;

use super::json::{self, Json};
use literal::Value;

/// Longest name of a commit, tag or branch that is believed.
const LONGEST: usize = 255;
/// Keys of a configuration that are kept.
const MOST_KEYS: usize = 10_000;
/// Stands in a configuration for a value that is a list or a dictionary.
pub const NESTED: &str = "…";

/// What a run recorded of its source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitFacts {
    /// The commit, abbreviated or whole.
    pub commit: Option<String>,
    /// The tag.
    pub tag: Option<String>,
    /// The branch.
    pub branch: Option<String>,
    /// Whether the checkout had changes that were not committed.
    pub dirty: Option<bool>,
}

impl GitFacts {
    /// Fills what is not known from another source.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            commit: self.commit.or(other.commit),
            tag: self.tag.or(other.tag),
            branch: self.branch.or(other.branch),
            dirty: self.dirty.or(other.dirty),
        }
    }
}

/// A run's configuration: its keys with their values as text, texts without quotes, `true` and
/// `false` in small letters, [`NESTED`] for lists and dictionaries. `None` is Python's `None`.
pub type Configuration = BTreeMap<String, Option<String>>;

/// What W&B knows of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct WandbRun {
    /// Its page.
    pub page: Option<RunPage>,
    /// Its configuration; empty where nothing recorded one.
    pub config: Configuration,
    /// The commit that W&B found by itself, which stands outside of the configuration.
    pub found_commit: Option<String>,
    /// The last training loss.
    pub final_loss: Option<f64>,
}

impl WandbRun {
    /// Fills what is not known from another source.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let mut config = other.config;
        config.extend(self.config);
        Self {
            page: self.page.or(other.page),
            config,
            found_commit: self.found_commit.or(other.found_commit),
            final_loss: self.final_loss.or(other.final_loss),
        }
    }

    /// Returns what the run recorded of its source: the project's own keys first, then the commit
    /// that W&B found by itself.
    pub fn git(&self) -> GitFacts {
        let found = GitFacts { commit: self.found_commit.clone(), ..GitFacts::default() };
        git_facts(&self.config).or(found)
    }

    /// Returns those of the wanted keys that the configuration lacks, or holds no value for.
    pub fn lacking<'a>(&self, wanted: &'a [String]) -> Vec<&'a str> {
        let is_there = |key: &str| {
            self.config.get(key).and_then(Option::as_ref).is_some_and(|value| !value.is_empty())
        };
        wanted.iter().map(String::as_str).filter(|key| !is_there(key)).collect()
    }
}

/// The page of a run: `https://wandb.ai/<entity>/<project>/runs/<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPage {
    /// Its address, without a query: that may hold a key.
    pub url: String,
    /// The user or team.
    pub entity: String,
    /// The project.
    pub project: String,
    /// W&B's own id of the run.
    pub id: String,
}

/// Reads the address of a run's page; `None` for any other address.
pub fn page(address: &str) -> Option<RunPage> {
    let mut url = Url::parse(address.trim()).ok()?;
    let is_web = matches!(url.scheme(), "https" | "http") && url.host_str().is_some();
    url.set_query(None);
    url.set_fragment(None);
    let segments: Vec<&str> = url.path_segments()?.filter(|part| !part.is_empty()).collect();
    let [.., entity, project, "runs", id] = segments.as_slice() else { return None };
    let named = [*entity, *project, *id].map(str::to_owned);
    let has_password = url.password().is_some() || !url.username().is_empty();
    let [entity, project, id] = named;
    (is_web && !has_password).then(|| RunPage { url: url.to_string(), entity, project, id })
}

/// Reads `logs/debug.log`: `config: {…, 'git_commit': '54ee870', 'git_tag': 'arch/x', …}`, and what
/// `config_cb` added to it later.
pub fn debug_log(bytes: &[u8]) -> WandbRun {
    let mut config = Configuration::new();
    let starts = memmem::find_iter(bytes, "config: {").map(|at| at + "config: ".len());
    let later = memmem::find_iter(bytes, "config_cb ").filter_map(|at| {
        let line = bytes.get(at..)?;
        let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
        Some(at + memchr::memchr(b'{', line.get(..end)?)?)
    });
    let mut places: Vec<usize> = starts.chain(later).collect();
    places.sort_unstable();
    for place in places {
        // The configuration is printed again when it changes; the last one is what was run.
        for (key, value) in literal::dictionary(bytes.get(place..).unwrap_or_default()) {
            keep(&mut config, key, value);
        }
    }
    WandbRun { config, ..WandbRun::default() }
}

/// Reads `files/config.yaml`, where each key has its `value` one level deeper.
pub fn config_yaml(bytes: &[u8]) -> WandbRun {
    let text = String::from_utf8_lossy(bytes);
    let mut config = Configuration::new();
    let mut key = None;
    for line in text.lines() {
        if !line.starts_with([' ', '#', '-']) {
            key = line.trim_end().strip_suffix(':').map(|key| key.trim_matches(['"', '\'']));
        } else if let Some(value) = line.trim_start().strip_prefix("value:")
            // What is nested in a value may have a key of this name as well.
            && let Some(key) = key.take()
        {
            keep(&mut config, key.to_owned(), yaml_value(value.trim()));
        }
    }
    WandbRun { config, ..WandbRun::default() }
}

/// Reads `files/wandb-metadata.json`, which holds the commit that W&B found by itself.
pub fn metadata(bytes: &[u8]) -> WandbRun {
    let parsed = json::parse(bytes).ok();
    let found = parsed.as_ref().and_then(|metadata| metadata.get("git")?.get("commit"));
    let found_commit = found.and_then(Json::as_str).and_then(commit);
    WandbRun { found_commit, ..WandbRun::default() }
}

/// Reads `files/wandb-summary.json`: the last value of each metric.
pub fn summary(bytes: &[u8]) -> WandbRun {
    let parsed = json::parse(bytes).ok();
    WandbRun { final_loss: parsed.as_ref().and_then(final_loss), ..WandbRun::default() }
}

/// Returns the last training loss of a summary, under the names that transformers gives it. The
/// mean over the training, `train_loss`, is another number.
pub fn final_loss(summary: &Json) -> Option<f64> {
    let named = ["train/loss", "loss"].into_iter().find_map(|key| summary.get(key));
    named.and_then(Json::as_f64).filter(|loss| loss.is_finite())
}

/// Reads `files/output.log` or another printed text: the page of the run with this id or name.
pub fn printed_page(bytes: &[u8], run: &str) -> WandbRun {
    let text = String::from_utf8_lossy(bytes);
    let mut pages = text.lines().filter(|line| line.contains("View run")).filter_map(|line| {
        let at = line.find("https://").or_else(|| line.find("http://"))?;
        let found = page(line.get(at..)?.split_whitespace().next()?)?;
        (found.id == run || line.contains(run)).then_some(found)
    });
    WandbRun { page: pages.next_back(), ..WandbRun::default() }
}

fn keep(config: &mut Configuration, key: String, value: Value) {
    if config.len() < MOST_KEYS || config.contains_key(&key) {
        let text = match value {
            Value::Text(text) => Some(text),
            Value::Word(word) if matches!(word.as_str(), "None" | "null" | "~") => None,
            Value::Word(word) if matches!(word.as_str(), "True" | "False") => {
                Some(word.to_lowercase())
            }
            Value::Word(word) => Some(word),
            Value::Nested => Some(NESTED.to_owned()),
        };
        config.insert(key, text);
    }
}

fn yaml_value(text: &str) -> Value {
    let quoted = |quote| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    match quoted('"').or_else(|| quoted('\'')) {
        Some(inner) => Value::Text(inner.to_owned()),
        None if text.is_empty() || text.starts_with(['[', '{']) => Value::Nested,
        None => Value::Word(text.to_owned()),
    }
}

fn git_facts(config: &Configuration) -> GitFacts {
    let value = |key: &str| config.get(key).and_then(Option::as_deref);
    GitFacts {
        commit: ["git_commit", "git_commit_long"].into_iter().find_map(|key| commit(value(key)?)),
        tag: value("git_tag").and_then(name),
        branch: value("git_branch").and_then(name),
        dirty: value("git_dirty").and_then(|dirty| dirty.parse().ok()),
    }
}

/// Believes 7 to 64 hexadecimal digits.
fn commit(text: &str) -> Option<String> {
    let is_hash = (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}

/// Believes what can be the name of a tag or branch; projects record words such as `unknown` where
/// none is.
fn name(text: &str) -> Option<String> {
    let is_word_for_none =
        ["none", "null", "unknown", "no-tag", "n/a", "-"].contains(&text.to_lowercase().as_str());
    let is_name = (1..=LONGEST).contains(&text.len())
        && !text.contains([' ', '~', '^', ':', '?', '*', '[', '\\', '"', '\''])
        && !text.contains(char::is_control);
    (is_name && !is_word_for_none).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
