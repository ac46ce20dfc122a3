//! What the audit says: findings with their place, and what cannot be known.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Which rule is broken, as the contract numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Code {
    /// A tag that is named and does not exist, or is not pushed.
    T1,
    /// Tags without rows, rows without tags, tags that the changelog does not name.
    T2,
    /// Runs without rows, rows without runs.
    T3,
    /// Links that lead nowhere, reports that nothing links to, runs that need a report.
    T4,
    /// The changelog: code without an entry, entries out of form or order; wrong W&B links.
    T5,
    /// Tasks done without date or commit, commits that do not exist.
    T6,
    /// What a run recorded of its source.
    T7,
    /// Prefixes of commits, names of tags.
    T8,
    /// Training and evaluation scripts.
    T9,
    /// Empty result cells of a finished run.
    T10,
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A reader is led to something that is not there, or is told something wrong.
    Error,
    /// Something is missing that belongs there.
    Warning,
}

impl Severity {
    /// Returns the word that people and programs read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Where a finding is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file or folder relative to the root, and the line if there is one.
    File(String, Option<usize>),
    /// A commit.
    Commit(String),
    /// A tag.
    Tag(String),
}

impl Place {
    /// Returns a place in a document.
    pub fn line(path: &str, line: usize) -> Self {
        Self::File(path.to_owned(), Some(line))
    }

    /// Returns the place of a whole file or folder.
    pub fn whole(path: &str) -> Self {
        Self::File(path.to_owned(), None)
    }

    /// Returns under what findings are grouped for people.
    pub fn group(&self) -> &str {
        match self {
            Self::File(path, _) => path,
            Self::Commit(_) => "git commits",
            Self::Tag(_) => "git tags",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(formatter, "{path}:{line}"),
            Self::File(path, None) => formatter.write_str(path),
            Self::Commit(hash) => write!(formatter, "commit {hash}"),
            Self::Tag(name) => write!(formatter, "tag {name}"),
        }
    }
}

/// One thing that is not as the discipline wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// What it is about, in words that stay when lines move: the stable part of its fingerprint.
    pub subject: String,
    /// One sentence.
    pub sentence: String,
    /// The command that mends it, or opens the place where a person must.
    pub command: String,
}

/// What an audit came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// The findings, by document and line.
    pub findings: Vec<Finding>,
    /// What could not be looked at, and offers; each once.
    pub notes: Vec<String>,
}

impl Audit {
    pub(super) fn add(
        &mut self,
        (code, severity): (Code, Severity),
        place: Place,
        subject: impl Into<String>,
        sentence: impl Into<String>,
        command: impl Into<String>,
    ) {
        let (subject, sentence, command) = (subject.into(), sentence.into(), command.into());
        self.findings.push(Finding { code, severity, place, subject, sentence, command });
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

/// Returns the fingerprint of each finding. It stays when lines are added above, and when words of
/// the sentence change; of several alike each has its own.
pub fn fingerprints(findings: &[Finding]) -> Vec<String> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    findings
        .iter()
        .map(|finding| {
            let place = match &finding.place {
                Place::File(path, _) => path.as_str(),
                Place::Commit(_) => "commit",
                Place::Tag(_) => "tag",
            };
            let whole = format!("{}\n{place}\n{}", finding.code, finding.subject);
            let again = seen.entry(whole.clone()).or_insert(0);
            *again += 1;
            fingerprint(&format!("{whole}\n{again}"))
        })
        .collect()
}

/// Sixteen hexadecimal digits are enough to tell a project's findings apart.
fn fingerprint(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text).into();
    digest
        .first_chunk()
        .map_or_else(String::new, |start| format!("{:016x}", u64::from_be_bytes(*start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_stays_when_a_line_moves_and_alike_findings_have_their_own() {
        let finding = |line, subject: &str| Finding {
            code: Code::T4,
            severity: Severity::Error,
            place: Place::line("docs/log.md", line),
            subject: subject.to_owned(),
            sentence: format!("at {line}"),
            command: String::new(),
        };
        let before = fingerprints(&[finding(3, "a.md"), finding(5, "a.md"), finding(7, "b.md")]);
        let after = fingerprints(&[finding(13, "a.md"), finding(15, "a.md"), finding(2, "b.md")]);
        assert_eq!(before, after);
        assert_eq!(before.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert!(before.iter().all(|one| one.len() == 16));
    }
}
