//! The row of a run and the comparison of two, from the journal and the experiment log; nothing is
//! written.

use std::sync::Arc;

use anyhow::bail;

use crate::document::compare::{self, Compared};
use crate::document::{self, RowText};
use crate::engine::{self, World};
use crate::model::ids::RunId;
use crate::model::status::DaemonStatus;
use crate::record::replace;
use crate::settings::Settings;

use super::log_branch::written_log;
use super::{now, reading, report, run_facts};

/// Returns the row of a run for the log's own table.
///
/// # Errors
/// Nothing is recorded of the run, or the log cannot be read or is in no state to be edited.
pub fn row(settings: &Settings, run: &RunId) -> anyhow::Result<RowText> {
    let memory = run_facts::memory(settings, run)?;
    let observations = report::observations(&memory, run);
    let shared = Arc::new(settings.clone());
    let world = World::new(shared, memory, DaemonStatus::default(), now());
    let Some(fills) = engine::row_fills(&world, run, &observations) else {
        bail!("nothing is recorded of a run `{run}`");
    };
    let log = replace::read(&written_log(settings))?;
    let log = log.as_ref().map(|log| log.text.as_slice());
    Ok(document::row_text(log, run, fills, &settings.log.headers)?)
}

/// Returns what was observed of two runs at equal steps, as a Markdown table.
///
/// # Errors
/// Nothing is recorded of one of them, or they have no step in common.
pub fn comparison(settings: &Settings, left: &RunId, right: &RunId) -> anyhow::Result<String> {
    let memory = reading::existing_memory(&settings.paths.state)?;
    let of_left = report::observations(&memory, left);
    let of_right = report::observations(&memory, right);
    for (run, observations) in [(left, &of_left), (right, &of_right)] {
        if observations.is_empty() {
            bail!("no checkpoint of `{run}` has been analyzed");
        }
    }
    let left = Compared { run: left, observations: &of_left };
    let right = Compared { run: right, observations: &of_right };
    compare::comparison(left, right).map_err(anyhow::Error::msg)
}
