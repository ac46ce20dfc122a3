//! Where the documents are, and what they are called.

use std::collections::VecDeque;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::keeping::Keeper;
use super::outbox::DocumentKey;

/// Where the documents are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The project's root; events and the snapshot name documents relative to it.
    pub root: PathBuf,
    /// The experiment log.
    pub log: PathBuf,
    /// The run reports folder.
    pub reports: PathBuf,
    /// Asked before they are touched.
    pub keeper: Arc<dyn Keeper>,
}

impl Places {
    pub(super) fn path(&self, key: &DocumentKey) -> PathBuf {
        match key {
            DocumentKey::Log => self.log.clone(),
            DocumentKey::Note(file) => self.reports.join(file),
        }
    }

    /// Returns a document's path as people read it.
    pub(super) fn shown(&self, key: &DocumentKey) -> String {
        let path = self.path(key);
        path.strip_prefix(&self.root).unwrap_or(&path).display().to_string()
    }

    /// Returns the path from the log's folder to the run reports folder.
    pub(super) fn reports_link(&self) -> String {
        let from = self.log.parent().unwrap_or(Path::new(""));
        let mut from: VecDeque<_> = from.components().collect();
        let mut to: VecDeque<_> = self.reports.components().collect();
        while !from.is_empty() && from.front() == to.front() {
            from.pop_front();
            to.pop_front();
        }
        let up = from.iter().map(|_| "..".to_owned());
        let down = to.iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
        up.chain(down).collect::<Vec<_>>().join("/")
    }
}

/// Returns whether a text is one ordinary name: nothing written leaves the folder.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(parts.next(), Some(Component::Normal(part)) if part == name) && parts.next().is_none()
}

/// Reads the kind from a note's name, `<run>_failure_<date>_<kind>.md`.
pub(super) fn kind_in_name(file: &str) -> String {
    let stem = file.strip_suffix(".md").unwrap_or(file);
    stem.rsplit_once('_').map_or(stem, |(_, kind)| kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(log: &str, reports: &str) -> Places {
        let keeper = Arc::new(crate::record::keeping::InPlace(|_| None));
        Places { root: "/p".into(), log: log.into(), reports: reports.into(), keeper }
    }

    #[test]
    fn links_lead_from_the_log_to_the_reports() {
        for (log, reports, link) in [
            ("/p/docs/2/log.md", "/p/docs/2/run_reports", "run_reports"),
            ("/p/docs/log.md", "/p/reports/runs", "../reports/runs"),
            ("/p/log.md", "/p", ""),
            ("/p/a/b/log.md", "/p", "../.."),
        ] {
            assert_eq!(places(log, reports).reports_link(), link, "{log} {reports}");
        }
    }

    #[test]
    fn documents_are_shown_relative_to_the_root() {
        let places = places("/p/docs/log.md", "/elsewhere/reports");
        assert_eq!(places.shown(&DocumentKey::Log), "docs/log.md");
        assert_eq!(places.shown(&DocumentKey::Note("n.md".into())), "/elsewhere/reports/n.md");
    }

    #[test]
    fn only_plain_names_are_file_names() {
        for (name, plain) in [
            ("run_failure_20260225_effective-rank.md", true),
            (".hidden", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a/b", false),
            ("a/", false),
            ("/a", false),
        ] {
            assert_eq!(is_plain_name(name), plain, "`{name}`");
        }
        assert_eq!(kind_in_name("r_H1_failure_20260225_out-of-memory.md"), "out-of-memory");
    }
}
