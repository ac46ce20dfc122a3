//! The seam to the editor of the experiment log, which knows its Markdown.

use crate::document::{self, Machine};
use crate::model::observation::{DocumentEdit, RunColumn};

/// What an edit made of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedEdit {
    /// The new text.
    pub bytes: Vec<u8>,
    /// Whether it differs from the old one.
    pub changed: bool,
    /// The cells of the run's row that were written, with what stands there now.
    pub cells: Vec<(RunColumn, String)>,
}

/// Where a log stands, and whose it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Setting {
    /// The path from the log's folder to the run reports.
    pub reports: String,
    /// The machine that writes, if each has a table of its own.
    pub machine: Option<Machine>,
}

/// Applies an edit to a log, `None` if there is none. Given what we last wrote into each cell of
/// the run's row, and where the log stands. The error says why the log must not be edited now.
pub type Apply = fn(
    Option<&[u8]>,
    &DocumentEdit,
    &dyn Fn(RunColumn) -> Option<String>,
    &Setting,
) -> Result<AppliedEdit, String>;

/// How the experiment log is edited.
#[derive(Debug, Clone, Copy)]
pub struct Editor {
    /// Applies an edit; twice equals once.
    pub apply: Apply,
    /// Returns whether an edit stands in the log.
    pub contains: fn(&[u8], &DocumentEdit) -> bool,
}

impl Editor {
    /// Returns the editor of the experiment log; tests use simpler ones.
    pub fn of_experiment_log() -> Self {
        Self {
            apply: |log, edit, written, setting| {
                let links = document::Links { reports: setting.reports.clone() };
                let machine = setting.machine.as_ref();
                let applied = document::apply_as(log, edit, written, &links, machine);
                let document::Applied { bytes, changed, cells } =
                    applied.map_err(|held| held.to_string())?;
                Ok(AppliedEdit { bytes, changed, cells })
            },
            contains: document::contains,
        }
    }
}
