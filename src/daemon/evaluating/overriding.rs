//! Going past a gate: what a person said is on disk before anything is run. The daemon takes it into
//! the journal, at once or when it runs again.

use anyhow::Context as _;

use crate::model::evaluation::GateOverride;
use crate::model::ids::RunId;
use crate::settings::Settings;
use crate::watch::evaluations::OVERRIDES;

use super::super::whole_file;
use super::{Gate, now};

/// Writes down that a person did something although the gate is closed, and why.
///
/// # Errors
/// It cannot be written; then nothing may be done.
pub fn record(
    settings: &Settings,
    (action, run): (&str, &RunId),
    gate: &Gate,
    reason: &str,
) -> anyhow::Result<GateOverride> {
    let time = now();
    let stamp = time.local().strftime("%Y%m%d_%H%M%S_%f");
    let one = GateOverride {
        name: format!("{action}_{run}_{stamp}.json"),
        action: action.to_owned(),
        run: run.clone(),
        verdict: gate.text.clone(),
        reason: reason.to_owned(),
        time,
    };
    let folder = settings.paths.state.join(OVERRIDES);
    let writing = || format!("cannot write down the reason in `{}`", folder.display());
    std::fs::create_dir_all(&folder).with_context(writing)?;
    let text = serde_json::to_vec_pretty(&one).with_context(writing)?;
    whole_file::write(&folder.join(&one.name), &text).with_context(writing)?;
    Ok(one)
}
