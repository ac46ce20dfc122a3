//! Secrets in text from outside: found by their form or by the name they are given, and blanked.
//!
//! Whatever is stored or shown of captured output goes through [`redact`]. It errs on the side of
//! blanking, but leaves alone what people need to read a failure: run ids, git hashes, tensor
//! names, paths, and the many *tokens* of language models (`pad_token`, `max_tokens=512`).

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::ansi;
use crate::model::secrets::Secrets;

/// What stands in the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// A shorter value of a variable is no secret worth the name, and stands in ordinary text.
const MIN_SECRET_CHARS: usize = 6;

/// Each pass that changes something removes at least one character of a secret, so this many
/// passes are only needed by text that was made to need them.
const MAX_PASSES: usize = 32;

/// Replaces tokens, keys, passwords and signatures by `[redacted]`.
///
/// Passes are repeated until nothing changes, so the function is idempotent.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for _ in 0..MAX_PASSES {
        match pass(&text) {
            Some(changed) => text = Cow::Owned(changed),
            None => break,
        }
    }
    text
}

/// Replaces known secret values, then everything that [`redact`] knows by its form.
pub fn redact_with(text: &str, secrets: &Secrets) -> String {
    let known: Vec<&str> = secrets.values().filter(|value| text.contains(*value)).collect();
    let blanked = known
        .into_iter()
        .fold(Cow::Borrowed(text), |text, value| Cow::Owned(text.replace(value, REDACTED)));
    redact(&blanked).into_owned()
}

/// Collects the values of variables whose names say that they are secret. What is as short as a
/// word, a number, or the path of a file with a secret in it, would blank ordinary text.
pub fn secrets_among<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Secrets {
    let is_secret = |(name, value): &(&str, &str)| {
        let names_a_file = value.starts_with(['/', '~', '.'])
            && ["PATH", "FILE", "DIR", "HOME", "CREDENTIALS"].iter().any(|end| name.ends_with(end));
        let is_word = value.chars().count() < MIN_SECRET_CHARS || is_plain_value(value);
        !names_a_file && !is_word && (names_a_secret(name) || names_an_access_token(name))
    };
    let secret = variables.into_iter().filter(is_secret);
    Secrets::new(secret.map(|(_, value)| value.to_owned()))
}

/// Returns text that may be stored and shown: readable, redacted, at most `max_chars` characters,
/// with the middle left out of a longer one.
pub fn presentable(bytes: &[u8], max_chars: usize) -> String {
    let text = ansi::readable(bytes);
    shorten(redact(text.trim()).as_ref(), max_chars)
}

/// Leaves out the middle of a text of more than `max_chars` characters. The end of a Python
/// exception's line often says what the beginning does not.
fn shorten(text: &str, max_chars: usize) -> String {
    const GAP: &str = " [...] ";
    let length = text.chars().count();
    if length <= max_chars {
        return text.to_owned();
    }
    let room = max_chars.saturating_sub(GAP.len());
    let tail = room / 3;
    let head: String = text.chars().take(room - tail).collect();
    let end: String = text.chars().skip(length - tail).collect();
    format!("{head}{GAP}{end}")
}

/// A form of secret. Its groups `before` and `after`, where it has them, are kept.
#[derive(Debug)]
struct Form {
    pattern: Regex,
    is_secret: Decide,
}

/// Decides on what a pattern found.
type Decide = fn(&Captures<'_>) -> bool;

/// Applies every form once; `None` if nothing changed.
fn pass(text: &str) -> Option<String> {
    let mut current = Cow::Borrowed(text);
    for form in FORMS.iter() {
        let replaced = form.pattern.replace_all(&current, |captures: &Captures<'_>| {
            if (form.is_secret)(captures) {
                let kept = |name| captures.name(name).map_or("", |group| group.as_str());
                format!("{}{REDACTED}{}", kept("before"), kept("after"))
            } else {
                captures.get(0).map_or_else(String::new, |whole| whole.as_str().to_owned())
            }
        });
        if let Cow::Owned(changed) = replaced {
            current = Cow::Owned(changed);
        }
    }
    match current {
        Cow::Owned(changed) if changed != text => Some(changed),
        _ => None,
    }
}

/// The forms, the most specific first. All are plain ASCII, as the tokens are. In verbose patterns
/// a space is `\x20`, even inside a class.
static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    let always: Decide = |_| true;
    let forms: [(&str, Decide); 11] = [
        (r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?", always),
        (KNOWN_TOKENS, always),
        (HUGGING_FACE_TOKEN, looks_random),
        (r"(?-u:\b)(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?-u:\b)", always),
        (r"(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?", always),
        (WANDB_KEY, always),
        (AUTHORIZATION, always),
        (r"(?P<before>(?-u:\b)(?i-u:bearer) +)[A-Za-z0-9._~+/=-]{8,}", always),
        (USER_INFO, always),
        (QUERY_PARAMETER, always),
        (NAMED_VALUE, named_value_is_secret),
    ];
    let compile =
        |(pattern, is_secret)| Some(Form { pattern: Regex::new(pattern).ok()?, is_secret });
    forms.into_iter().filter_map(compile).collect()
});

/// Tokens that their issuers made recognizable: W&B, GitHub, GitLab, Slack, `OpenAI`, Hugging Face
/// organizations.
const KNOWN_TOKENS: &str = r"(?x)(?-u:\b)(?:
    wandb_v1_[A-Za-z0-9_-]{8,}
    | gh[pousr]_[A-Za-z0-9]{16,}
    | github_pat_[A-Za-z0-9_]{16,}
    | glpat-[A-Za-z0-9_-]{16,}
    | xox[abeprs]-[A-Za-z0-9-]{10,}
    | sk-[A-Za-z0-9_-]{20,}
    | api_org_[A-Za-z0-9]{16,})";

/// `hf_` and letters also begin names of functions and folders, so the rest decides.
const HUGGING_FACE_TOKEN: &str = r"(?-u:\b)hf_(?P<random>[A-Za-z0-9]{10,})";

/// A W&B key is 40 hexadecimal digits, as a git hash is: only the word before tells them apart.
const WANDB_KEY: &str = r#"(?x)
    (?P<before>(?i-u:key|login|wandb(?:_[a-z_]*)?)["']?\x20*[:=,]?\x20*["']?(?:local-)?)
    (?-u:\b)[0-9a-f]{40}(?-u:\b)"#;

const AUTHORIZATION: &str = r#"(?x)
    (?P<before>(?-u:\b)(?i-u:authorization)["']?\x20*[:=]\x20*["']?
      (?:(?i-u:basic|bearer|token|digest|negotiate)\x20+)?)
    [^\x20\t\r\n"',;]+"#;

/// `scheme://user:password@host`, or a long token in place of the user.
const USER_INFO: &str = r#"(?x)
    (?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\x20\t\r\n/@:"'<>]*:)[^\x20\t\r\n/"'<>]+(?P<after>@)"#;

const QUERY_PARAMETER: &str = r#"(?x)
    (?P<before>[?&;](?i-u:x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature
      |x-goog-credential|awsaccesskeyid|signature|sig|token|access_token|auth|key|api_?key|password
      |secret)=)
    [^&\x20\t\r\n"'<>\#]+"#;

/// `KEY=value`, `"key": "value"`, `--key value` and `'--key', 'value'`.
const NAMED_VALUE: &str = r#"(?x)
    (?P<before>
      (?P<name>[A-Za-z0-9_.-]*(?i-u:token|secret|password|passwd|api[_-]?key|credential
        |private[_-]?key|access[_-]?key)[A-Za-z0-9_.-]*)
      (?P<separator>["']?[\x20\t]*[=:][\x20\t]*|["'],[\x20\t]*|[\x20\t]+)
      (?P<quote>["']?))
    (?P<value>[^\x20\t\r\n"',;(){}\[\]<>&|]+)"#;

/// Returns whether the group `random` is no word: it has a digit or an upper-case letter.
fn looks_random(captures: &Captures<'_>) -> bool {
    captures
        .name("random")
        .is_some_and(|found| found.as_str().bytes().any(|byte| !byte.is_ascii_lowercase()))
}

fn named_value_is_secret(captures: &Captures<'_>) -> bool {
    let group = |name| captures.name(name).map_or("", |found| found.as_str());
    let (name, separator, value) = (group("name"), group("separator"), group("value"));
    if is_plain_value(value) {
        return false;
    }
    let is_assigned = separator.contains(['=', ':', ',']);
    // Without a separator only a command line option is followed by its value; prose is not.
    if !is_assigned && !name.starts_with("--") {
        return false;
    }
    names_a_secret(name)
        || (names_an_access_token(name) && (value.len() >= 4 || separator.contains('=')))
}

/// Returns whether a name means a secret of any kind but an access token.
fn names_a_secret(name: &str) -> bool {
    let without_tokens = name.to_ascii_lowercase().replace("token", "");
    let in_one_word = without_tokens.replace(['_', '-'], "");
    ["secret", "password", "passwd", "credential"].iter().any(|word| without_tokens.contains(word))
        || ["apikey", "privatekey", "accesskey"].iter().any(|word| in_one_word.contains(word))
}

/// Returns whether a value is a number, a truth value or nothing: no secret.
fn is_plain_value(value: &str) -> bool {
    matches!(value, "None" | "none" | "null" | "True" | "False" | "true" | "false")
        || value.bytes().all(|byte| byte.is_ascii_digit() || b".,+-eE_*".contains(&byte))
}

/// Returns whether a name with `token` in it means an access token. Language models are full of
/// other ones, and of tokenizers.
fn names_an_access_token(name: &str) -> bool {
    let has_lower = name.bytes().any(|byte| byte.is_ascii_lowercase());
    let lower = name.to_ascii_lowercase();
    let mut words = lower.split(['_', '-', '.']).filter(|word| !word.is_empty());
    if !has_lower {
        return words.any(|word| word == "token" || (word.ends_with("token") && word.len() > 5));
    }
    let all: Vec<&str> = words.collect();
    match all.as_slice() {
        [] => false,
        [only] => *only == "token" || *only == "accesstoken" || *only == "authtoken",
        [.., before, last] => {
            (*last == "token" && !is_kind_of_model_token(before)) || last.ends_with("accesstoken")
        }
    }
}

fn is_kind_of_model_token(word: &str) -> bool {
    [
        "bos", "eos", "pad", "unk", "sep", "cls", "mask", "special", "tokens", "image", "video",
        "audio", "begin", "end", "start", "stop", "next", "prev", "first", "last", "per", "new",
        "added", "prompt", "each", "decoder", "encoder", "concept", "input", "output", "target",
        "model", "extra",
    ]
    .contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{
        Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest,
    };

    const HEX: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn every_form_compiles() {
        assert_eq!(FORMS.len(), 11);
    }

    #[test]
    fn secrets_are_blanked() {
        for (text, secret) in [
            (format!("WANDB_API_KEY={HEX}"), HEX),
            (format!("wandb login {HEX}"), HEX),
            (format!("wandb: Appending key {HEX} to netrc"), HEX),
            (format!("'wandb_api_key': '{HEX}'"), HEX),
            (format!("api key: local-{HEX}"), HEX),
            ("using wandb_v1_Abc123_def-456xyz now".into(), "Abc123"),
            ("token hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789 rejected".into(), "hf_AbCd"),
            ("AKIAIOSFODNN7EXAMPLE".into(), "AKIA"),
            ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(), "wJalr"),
            ("remote: ghp_0123456789abcdefABCDEF0123456789abcd".into(), "ghp_"),
            ("github_pat_11ABCDEFG0123456789_abcdefghij".into(), "github_pat"),
            ("Authorization: Bearer abc.def-ghi".into(), "abc.def"),
            ("{'Authorization': 'Basic dXNlcjpwYXNz'}".into(), "dXNl"),
            ("authorization=secretvalue".into(), "secretvalue"),
            ("sent Bearer eyabc123456789".into(), "eyabc"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc_DEF".into(), "eyJ"),
            ("https://b.s3.amazonaws.com/k?X-Amz-Signature=0f3a&X-Amz-Date=1".into(), "0f3a"),
            ("https://x.blob.core.windows.net/c?sv=1&sig=abc%3D&se=2".into(), "abc%3D"),
            ("GET https://x/y?token=abcd1234".into(), "abcd1234"),
            ("https://user:hunter2@host/path".into(), "hunter2"),
            ("postgres://user:p@ss:w@host/db".into(), "p@ss"),
            ("HF_TOKEN=abcdef".into(), "abcdef"),
            ("export MY_TOKEN_X=abc123".into(), "abc123"),
            ("\"access_token\": \"abc123\"".into(), "abc123"),
            ("hub_token='s3cr3t'".into(), "s3cr3t"),
            ("'--hub_token', 's3cr3t',".into(), "s3cr3t"),
            ("--hub-token s3cr3t --epochs 3".into(), "s3cr3t"),
            ("DB_PASSWORD: hunter2".into(), "hunter2"),
            ("client-secret = 'abc'".into(), "abc"),
            ("GOOGLE_CREDENTIALS=abc".into(), "abc"),
            ("OPENAI_APIKEY=zzz".into(), "zzz"),
            ("SSH_PRIVATE_KEY=zzz".into(), "zzz"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----".into(), "MIIE"),
        ] {
            let redacted = redact(&text).into_owned();
            assert!(!redacted.contains(secret), "{text} became {redacted}");
            assert!(redacted.contains(REDACTED), "{text} became {redacted}");
            assert_eq!(redact(&redacted), redacted);
        }
    }

    #[test]
    fn values_of_secret_variables_are_blanked_wherever_they_stand() {
        let secrets = secrets_among([
            ("MY_SERVICE_TOKEN", "plain-looking words"),
            ("DB_PASSWORD", "hunter2"),
            ("AWS_SECRET_ACCESS_KEY", "hunter2+longer"),
            ("HOME", "/home/user"),
            ("HF_TOKEN_PATH", "/home/user/.cache/token"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/key.json"),
            ("API_KEY", "abc"),
            ("ACCESS_TOKEN", "1234567890"),
        ]);
        let text = "said plain-looking words to hunter2+longer, hunter2 and abc in /home/user";
        assert_eq!(
            redact_with(text, &secrets),
            "said [redacted] to [redacted], [redacted] and abc in /home/user"
        );
        assert_eq!(secrets.values().count(), 3);
        // What is known by its form goes as well.
        assert_eq!(redact_with("HF_TOKEN=abcdef", &secrets), "HF_TOKEN=[redacted]");
    }

    #[test]
    fn what_people_need_to_read_stays() {
        for text in [
            "diffusion_H512L2C128D2_20260223_203349",
            "Saving model checkpoint to /home/user/project/Cache/Training/r_20261123_063901/checkpoint-20",
            "git commit 0123456789abcdef0123456789abcdef01234567 is dirty",
            "'git_commit_long': '0123456789abcdef0123456789abcdef01234567'",
            "encoder.token_embeddings.weight encoder.layers.0.concept_token_attn.in_proj_weight",
            "Tokenizer: /home/user/tokenizer",
            "'--tokenizer_name', '/home/user/tokenizer', '--token_embedding_dim', '0'",
            "Updated tokens: {'bos_token_id': 2, 'pad_token': '<pad>', 'eos_token': 'word'}",
            "max_new_tokens=512 num_input_tokens_seen: 12345",
            "TOKENIZERS_PARALLELISM=false MAX_TOKENS=512",
            "token=None use_auth_token: False token: True",
            "ValueError: Unexpected token here",
            "OSError: Can't load tokenizer for '/home/user/project/checkpoint-20'",
            "loading file tokenizer_config.json tokenizer_config: tokenizer.json",
            "hf_home/datasets hf_hub_download hf_tokenizerconfig",
            "wandb: Run data is saved locally in /p/wandb/offline-run-20261123_063802-x_20261123_063802",
            "https://wandb.ai/entity/project/runs/diffusion_H64L2C128D2_20261123_063802",
            "http://host:8080/path and time 12:30@home",
            "KeyError: 'loss'",
            "The token bearer is gone",
            "RuntimeError: [enforce fail at inline_container.cc:668] . unexpected pos 5350080 vs 5349972",
        ] {
            assert_eq!(redact(text), text);
            assert!(matches!(redact(text), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn presentable_text_is_bounded_at_both_ends() {
        let text = format!("begin {} died with SIGKILL", "x".repeat(900));
        let shown = presentable(text.as_bytes(), 100);
        assert_eq!(shown.chars().count(), 100);
        assert!(shown.starts_with("begin ") && shown.ends_with(" died with SIGKILL"), "{shown}");
        assert_eq!(presentable("  ä\x1b[0m\u{7}b ".as_bytes(), 100), "äb");
    }

    fn fragment() -> impl Strategy<Value = String> {
        let fixed = [
            "token",
            "SECRET",
            "_KEY",
            "=",
            ": ",
            "\"",
            "'",
            ", ",
            "hf_",
            "Bearer ",
            "://",
            "@",
            ":",
            "Authorization",
            "[redacted]",
            "[",
            "]",
            "?sig=",
            "&",
            " ",
            "abc123XYZ",
            "--",
            HEX,
        ];
        prop_oneof![
            4 => proptest::sample::select(fixed.to_vec()).prop_map(str::to_owned),
            1 => any::<char>().prop_map(String::from),
            1 => Just("x".repeat(20)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn redacting_twice_equals_once(parts in proptest::collection::vec(fragment(), 0..14)) {
            let text = parts.concat();
            let once = redact(&text).into_owned();
            prop_assert_eq!(redact(&once).into_owned(), once);
        }
    }
}
