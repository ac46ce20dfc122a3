//! Who keeps the documents: asked before they are written, and told after.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use crate::document::Machine;
use crate::model::divided::DividedLog;
use crate::model::ids::RunId;

/// Whether a document may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leave {
    /// It may, until it is said that it was.
    Now,
    /// It is being made ready: ask again in a moment.
    Soon,
    /// It must be left alone: why, and what to do.
    Held(String),
}

/// Keeps the documents. Nothing here waits.
pub trait Keeper: Debug + Send + Sync {
    /// Asks for leave to write: the log, or a note.
    fn ask(&self, log: Option<&Path>) -> Leave;

    /// Gives the documents back; they hold something new of these runs.
    fn wrote(&self, _runs: &BTreeSet<RunId>) {}

    /// Returns whether what was written is kept, so that it can be looked at a second time.
    fn is_at_rest(&self) -> bool {
        true
    }

    /// Returns the two logs whose differences are to be pending again, if there are such.
    fn divided(&self) -> Option<Arc<DividedLog>> {
        None
    }

    /// Hears that they are pending again, durably.
    fn is_pending_again(&self) {}

    /// Returns the machine that writes, if each machine has a table of its own.
    fn machine(&self) -> Option<Machine> {
        None
    }
}

/// The documents lie in a person's folders. Asked before the log is touched: why it must be left
/// alone now, such as a merge in progress, or `None`.
#[derive(Debug)]
pub struct InPlace(pub fn(&Path) -> Option<String>);

impl Keeper for InPlace {
    fn ask(&self, log: Option<&Path>) -> Leave {
        log.and_then(self.0).map_or(Leave::Now, Leave::Held)
    }
}
