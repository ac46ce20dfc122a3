//! The file of findings that are known, so that an old project can start clean.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::forms::Listed;
use crate::daemon::reading;

/// The form of the file that this program writes.
const VERSION: u32 = 1;

/// Fingerprints with what each was, for whoever reads the file or its diff.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Baseline {
    version: u32,
    known: BTreeMap<String, String>,
}

impl Baseline {
    pub(super) fn of(findings: &[Listed<'_>]) -> Self {
        let text = |(finding, fingerprint): &Listed<'_>| {
            let what = format!("{} {}: {}", finding.code, finding.place.group(), finding.sentence);
            (fingerprint.clone(), what)
        };
        Self { version: VERSION, known: findings.iter().map(text).collect() }
    }

    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = reading::bytes(path).with_context(|| {
            format!("no baseline `{}`; --write-baseline makes it", path.display())
        })?;
        let shown = path.display();
        let baseline: Self = serde_json::from_slice(&bytes)
            .with_context(|| format!("`{shown}` is no baseline of findings"))?;
        anyhow::ensure!(
            baseline.version == VERSION,
            "`{shown}` has version {}, {VERSION} is known; write it anew with --write-baseline",
            baseline.version
        );
        Ok(baseline)
    }

    /// Refuses a file that holds something else, such as a document that was named by mistake. A
    /// baseline of another version may be written anew.
    pub(super) fn check_replaceable(path: &Path) -> anyhow::Result<()> {
        if !path.exists() {
            return Ok(());
        }
        let bytes = reading::bytes(path)?;
        let is_ours = serde_json::from_slice(&bytes).is_ok_and(|value: serde_json::Value| {
            ["version", "known"].iter().all(|key| value.get(key).is_some())
        });
        anyhow::ensure!(
            is_ours || bytes.trim_ascii().is_empty(),
            "`{}` holds something else than a baseline and is left as it is: name another file, or \
             move it away",
            path.display()
        );
        Ok(())
    }

    pub(super) fn print(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(super) fn contains(&self, fingerprint: &str) -> bool {
        self.known.contains_key(fingerprint)
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
