//! What the audit is told: documents, history, runs, scripts. Gathered by the daemon's functions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use crate::model::ids::RunId;

/// A text file of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFile {
    /// Its path relative to the root, with `/`.
    pub path: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The documents that are to be linked. One that is not there is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Documents {
    /// The experiment log.
    pub log: Option<TextFile>,
    /// The changelog.
    pub changelog: Option<TextFile>,
    /// The list of tasks.
    pub todos: Option<TextFile>,
    /// The run reports.
    pub reports: Vec<TextFile>,
}

/// What git says. `None` in [`Facts`] where there is no history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// The commits since the base, newest first.
    pub commits: Vec<CommitFact>,
    /// All tags.
    pub tags: BTreeSet<String>,
    /// The tags since the base, which are held against the rules.
    pub audited_tags: Vec<String>,
    /// Revisions that were asked for and name a commit, with its whole name.
    pub existing: BTreeMap<String, String>,
    /// Whether old commits were left out when the repository was cloned: then a hash that is not
    /// there proves nothing.
    pub is_shallow: bool,
    /// What is on the remote, where that was asked for.
    pub remote: Option<RemoteFact>,
    /// What changed in the model's code since its newest tag.
    pub changed: Option<Changed>,
}

/// What changed in the model's code since its newest tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The newest `arch/` tag.
    pub tag: String,
    /// The earliest day that it was anywhere when it was made.
    pub day: Option<Date>,
    /// The files that later commits changed, with the newest of these commits.
    pub files: BTreeMap<String, String>,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFact {
    /// Its whole name.
    pub hash: String,
    /// Whether it merges others.
    pub is_merge: bool,
    /// The first line of its message.
    pub subject: String,
}

/// The tags of a remote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFact {
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: BTreeSet<String>,
}

/// A run, of which the training folder, the journal or another folder knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFact {
    /// Its folder relative to the root, if it lies in the training folder now.
    pub folder: Option<String>,
    /// Whether the journal knows it.
    pub is_recorded: bool,
    /// Whether its training has ended: its final model is there, or its shell log says so.
    pub is_finished: bool,
    /// Why a reader will want a report: it failed, or collapsed.
    pub trouble: Option<String>,
    /// Its page at W&B, where that is known from its own files.
    pub page: Option<String>,
    /// What it recorded when it was trained, if its W&B files are here.
    pub recorded: Option<Recorded>,
}

/// What a run's W&B files hold of its source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The file or folder that says so, relative to the root.
    pub place: String,
    /// Required keys that it lacks.
    pub lacking: Vec<String>,
    /// The commit.
    pub commit: Option<String>,
    /// Whether the checkout was changed.
    pub dirty: Option<bool>,
}

/// A registered script, as far as reading tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptFact {
    /// Its path relative to the root.
    pub path: String,
    /// Whether it is there.
    pub is_there: bool,
    /// The Python entry that it launches, or why that cannot be told; `None` where nobody asks,
    /// because evaluations record nothing of the source.
    pub entry: Option<Result<String, String>>,
    /// Whether that entry is there, and records what it must.
    pub records: Records,
}

/// Whether an entry records the facts of git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// It does.
    Yes,
    /// It does not; the text says what is missing, with the line if there is one.
    No(Option<usize>, String),
    /// Reading does not tell; the text says why.
    Undecided(String),
}

/// Everything that the rules look at.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Git's history, if there is one to look at.
    pub history: Option<History>,
    /// All known runs.
    pub runs: BTreeMap<RunId, RunFact>,
    /// Paths that documents link to and that are there.
    pub present: BTreeSet<String>,
    /// The registered scripts.
    pub registered: Vec<ScriptFact>,
    /// Python files that train and that no registered script launches.
    pub unlaunched: Vec<String>,
    /// The run reports folder, relative to the root.
    pub reports_folder: String,
    /// Prefixes that commits may have.
    pub prefixes: Vec<String>,
    /// The form of `train/` tags.
    pub train_form: String,
    /// Runs that began before this day are not held against what was agreed later.
    pub since: Option<Date>,
    /// What could not be looked at.
    pub unknown: Vec<String>,
}

impl Facts {
    /// Returns whether a run is held against the rules: it did not begin before the base.
    pub fn audits(&self, run: &RunId) -> bool {
        let Some(since) = self.since else { return true };
        run.stamp().is_none_or(|stamp| stamp.date() >= since)
    }
}
