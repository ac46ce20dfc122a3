//! What a person may ask of a running daemon, and what it answers.

use std::path::PathBuf;

use super::ids::{CheckpointId, RunId};

/// A command as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A command that needs nothing but the decider.
    Order(Order),
    /// Analyze what lies at this path next; a relative one begins at the root.
    AnalyzePath(PathBuf),
}

/// A command whose words are all known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Start no further analysis.
    Pause,
    /// Start analyses again.
    Resume,
    /// Analyze this checkpoint before all others.
    Analyze(CheckpointId),
    /// Try this checkpoint again, whose analysis failed.
    Retry(CheckpointId),
    /// Watch runs that were old at the first start.
    Adopt(Whom),
}

/// Which old runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// All of them.
    All,
    /// These.
    Runs(Vec<RunId>),
}

/// What was done, or why nothing was; both for people.
pub type Answer = Result<String, String>;
