//! The environment of an analysis: built from a list of what is allowed, never inherited.

use std::collections::BTreeMap;

use crate::model::analysis::EnvironmentSources;

/// Variables that are passed on from the daemon's own environment.
const INHERITED: [&str; 29] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CUDA_HOME",
    "CUDA_PATH",
    "CUDA_DEVICE_ORDER",
    "XDG_CACHE_HOME",
    "TORCH_HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
];

/// Prefixes of variables that are passed on: the settings of the model libraries.
const INHERITED_PREFIXES: [&str; 5] =
    ["HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TOKENIZERS_", "DATASETS_"];

/// Builds the environment. Later sources win; W&B's variables never pass, because an analysis
/// must not open a run of its own, let alone with the user's key.
pub fn build(sources: &EnvironmentSources) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
        // The analysis must not leave compiled files in the watched project.
        ("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned()),
        ("TOKENIZERS_PARALLELISM".to_owned(), "false".to_owned()),
    ]);
    let inherited = sources.own.iter().filter(|(key, _)| is_inherited(key));
    let own_hf_home = sources.own.iter().any(|(key, _)| key == "HF_HOME");
    environment.extend(inherited.cloned());
    for (key, value) in &sources.file {
        // The environment's HF_HOME goes before the file's, see the contract.
        if is_passed_on(key) && !(key == "HF_HOME" && own_hf_home) {
            environment.insert(key.clone(), value.clone());
        }
    }
    if let Some(hf_home) = &sources.hf_home {
        environment.entry("HF_HOME".to_owned()).or_insert_with(|| hf_home.clone());
    }
    let configured = sources.configured.iter().filter(|(key, _)| is_passed_on(key));
    environment.extend(configured.map(|(key, value)| (key.clone(), value.clone())));
    environment.insert("WANDB_MODE".to_owned(), "disabled".to_owned());
    environment
}

fn is_inherited(key: &str) -> bool {
    INHERITED.contains(&key) || INHERITED_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

fn is_passed_on(key: &str) -> bool {
    let for_the_daemon_alone = ["WANDB_", "RUNSCRIBE__", "WATCHDOG_"];
    key != "NOTIFY_SOCKET" && !for_the_daemon_alone.iter().any(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn nothing_of_the_daemon_and_no_wandb_key_passes() {
        let own = pairs(&[
            ("NOTIFY_SOCKET", "/run/x"),
            ("WATCHDOG_USEC", "1"),
            ("RUNSCRIBE__WATCH__SETTLE", "1s"),
            ("WANDB_API_KEY", "secret"),
            ("SOME_SERVICE_TOKEN", "secret"),
            ("HOME", "/home/user"),
        ]);
        let file =
            pairs(&[("WANDB_API_KEY", "secret"), ("NOTIFY_SOCKET", "/x"), ("HF_TOKEN", "t")]);
        let configured = BTreeMap::from([("WANDB_API_KEY".to_owned(), "secret".to_owned())]);
        let environment = build(&EnvironmentSources { own, file, configured, hf_home: None });
        assert!(!environment.values().any(|value| value == "secret"), "{environment:?}");
        assert!(!environment.contains_key("NOTIFY_SOCKET"));
        assert!(!environment.keys().any(|key| key.starts_with("WATCHDOG")));
        assert_eq!(environment.get("HOME").map(String::as_str), Some("/home/user"));
        assert_eq!(environment.get("HF_TOKEN").map(String::as_str), Some("t"));
    }

    #[test]
    fn hf_home_is_the_environments_else_the_files_else_the_neighbors() {
        let own = pairs(&[("HF_HOME", "/own")]);
        let file = pairs(&[("HF_HOME", "/file")]);
        for (own, file, expected) in [
            (own, file.clone(), "/own"),
            (Vec::new(), file, "/file"),
            (Vec::new(), Vec::new(), "/neighbor"),
        ] {
            let hf_home = Some("/neighbor".to_owned());
            let sources =
                EnvironmentSources { own, file, hf_home, ..EnvironmentSources::default() };
            assert_eq!(build(&sources).get("HF_HOME").map(String::as_str), Some(expected));
        }
    }
}
