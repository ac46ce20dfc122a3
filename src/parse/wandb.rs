//! What a run's local W&B files say of git: the commit and tag that training itself recorded.
//!
//! The forms are those of W&B 0.19 to 0.22: `logs/debug.log` prints the configuration as Python
//! literals, `files/config.yaml` and `files/wandb-metadata.json` stand beside it in online runs.

use memchr::memmem;

use super::json::{self, Json};

/// Longest name of a commit or tag that is believed.
const LONGEST: usize = 255;

/// What a run recorded of its source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitFacts {
    /// The commit, abbreviated or whole.
    pub commit: Option<String>,
    /// The tag.
    pub tag: Option<String>,
}

impl GitFacts {
    /// Fills what is not known from another source.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { commit: self.commit.or(other.commit), tag: self.tag.or(other.tag) }
    }
}

/// Reads `logs/debug.log`: `{…, 'git_commit': '54ee870', 'git_tag': 'arch/x', …}`.
pub fn debug_log(bytes: &[u8]) -> GitFacts {
    let value = |key: &str| {
        let key = format!("'{key}': ");
        // The configuration is printed again when it changes; the last one is what was run.
        memmem::rfind_iter(bytes, key.as_bytes())
            .find_map(|at| python_text(bytes.get(at + key.len()..)?))
    };
    GitFacts { commit: value("git_commit").and_then(commit), tag: value("git_tag").and_then(tag) }
}

/// Reads `files/config.yaml`, where each key has its `value` one level deeper.
pub fn config_yaml(bytes: &[u8]) -> GitFacts {
    let text = String::from_utf8_lossy(bytes);
    let value = |key: &str| {
        let mut lines = text.lines().skip_while(|line| line.trim_end() != format!("{key}:"));
        lines.next()?;
        let mut below = lines.take_while(|line| line.starts_with(' '));
        let value = below.find_map(|line| line.trim().strip_prefix("value:"))?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    };
    GitFacts { commit: value("git_commit").and_then(commit), tag: value("git_tag").and_then(tag) }
}

/// Reads `files/wandb-metadata.json`, which holds the commit that W&B found by itself.
pub fn metadata(bytes: &[u8]) -> GitFacts {
    let parsed = json::parse(bytes).ok();
    let found = parsed.as_ref().and_then(|metadata| metadata.get("git")?.get("commit"));
    GitFacts { commit: found.and_then(Json::as_str).map(str::to_owned).and_then(commit), tag: None }
}

/// Reads a Python text literal; `None` for anything else, `None` itself included.
fn python_text(bytes: &[u8]) -> Option<String> {
    let quote = bytes.first().copied().filter(|quote| matches!(quote, b'\'' | b'"'))?;
    let rest = bytes.get(1..=LONGEST + 1).or_else(|| bytes.get(1..))?;
    let end = memchr::memchr(quote, rest)?;
    let text = str::from_utf8(rest.get(..end)?).ok()?;
    (!text.contains('\\')).then(|| text.to_owned())
}

/// Believes 7 to 64 hexadecimal digits.
fn commit(text: String) -> Option<String> {
    let is_hash = (7..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then_some(text)
}

/// Believes what can be the name of a tag; projects record words such as `unknown` where none is.
fn tag(text: String) -> Option<String> {
    let is_word_for_none =
        ["none", "null", "unknown", "no-tag", "n/a", "-"].contains(&text.to_lowercase().as_str());
    let is_name = (1..=LONGEST).contains(&text.len())
        && !text.contains([' ', '~', '^', ':', '?', '*', '[', '\\', '"', '\''])
        && !text.contains(char::is_control);
    (is_name && !is_word_for_none).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(commit: Option<&str>, tag: Option<&str>) -> GitFacts {
        GitFacts { commit: commit.map(str::to_owned), tag: tag.map(str::to_owned) }
    }

    #[test]
    fn the_debug_log_holds_the_configuration_as_python_literals() {
        let start = "2026-02-23 20:33:52,114 INFO    MainThread:4711 [wandb_init.py:init():841] wandb.init called with sweep_config: {}\nconfig: ";
        for (config, expected) in [
            (
                "{'hidden_size': 512, 'git_commit': '54ee870', 'git_commit_long': '54ee8701', 'git_tag': 'arch/tsdae-overhaul-20260221', 'git_dirty': False}",
                facts(Some("54ee870"), Some("arch/tsdae-overhaul-20260221")),
            ),
            ("{'git_commit': '54ee870', 'git_tag': None}", facts(Some("54ee870"), None)),
            ("{'git_commit': 'unknown', 'git_tag': ''}", facts(None, None)),
            (r#"{"git_tag": "x", 'git_tag': "it's"}"#, facts(None, None)),
            ("{'git_commit': '54ee87", facts(None, None)),
            ("{'x': 1}", facts(None, None)),
            (
                "{'git_commit': '54ee870'}\nconfig: {'git_commit': '1234567'}",
                facts(Some("1234567"), None),
            ),
        ] {
            assert_eq!(debug_log(format!("{start}{config}\n").as_bytes()), expected, "{config}");
        }
        assert_eq!(debug_log(b"\xff'git_tag': '\xff'"), facts(None, None));
    }

    #[test]
    fn online_runs_have_two_files_more() {
        let yaml = "_wandb:\n    value:\n        cli_version: 0.22\ngit_commit:\n    desc: null\n    value: 54ee870\ngit_dirty:\n    value: true\ngit_tag:\n    value: \"train/x_20260223\"\n";
        let expected = facts(Some("54ee870"), Some("train/x_20260223"));
        assert_eq!(config_yaml(yaml.as_bytes()), expected);
        assert_eq!(
            config_yaml(b"git_tag:\n    value: null\ngit_commit: 54ee870\n"),
            facts(None, None)
        );
        let json = r#"{"os": "Linux", "git": {"remote": "git@x", "commit": "54ee8701aa"}}"#;
        assert_eq!(metadata(json.as_bytes()), facts(Some("54ee8701aa"), None));
        assert_eq!(metadata(b"{\"git\": 1}"), facts(None, None));
    }
}
