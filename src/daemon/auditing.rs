//! Gathers what the audit looks at: documents, git's history, runs, scripts. Changes nothing, and
//! takes no lock.

mod documents;
mod past;
mod runs;
mod scripts;
mod unlaunched;

use std::path::Path;

use anyhow::Context as _;
use tokio::task::spawn_blocking;

use crate::audit;
use crate::audit::facts::Facts;
use crate::audit::finding::Audit;
use crate::audit::reading::Reading;
use crate::settings::Settings;

pub use documents::save;

/// Holds the project's documents against its history, runs and scripts.
///
/// # Errors
/// A document cannot be read, git fails at something it should be able to do, or the base of the
/// audit is unknown to it.
pub async fn examine(settings: &Settings, ask_remote: bool) -> anyhow::Result<Audit> {
    let own = settings.clone();
    let reading = spawn_blocking(move || documents::read(&own)).await??;
    let base = past::Base::of(settings).await?;
    let own = settings.clone();
    let runs = spawn_blocking(move || runs::read(&own)).await??;
    let own = settings.clone();
    let tracked = base.python_files(settings).await?;
    let registered = spawn_blocking(move || scripts::read(&own, tracked)).await?;
    let mut facts = Facts {
        runs: runs.runs,
        registered: registered.registered,
        unlaunched: registered.unlaunched,
        reports_folder: relative(&settings.paths.root, &settings.paths.run_reports),
        prefixes: settings.discipline.commit_prefixes.clone(),
        train_form: settings.discipline.tags.train.clone(),
        since: base.day,
        unknown: [documents::missing(settings, &reading), runs.unknown].concat(),
        ..Facts::default()
    };
    look_up(settings, &reading, &mut facts).await?;
    past::read(settings, &reading, &base, &mut facts).await?;
    if ask_remote {
        past::ask_remote(settings, &mut facts).await;
    }
    let audited = spawn_blocking(move || audit::audit(&reading, &facts)).await?;
    Ok(audited)
}

/// Says which of the paths that documents link to are there.
async fn look_up(settings: &Settings, reading: &Reading, facts: &mut Facts) -> anyhow::Result<()> {
    let paths = reading.questions().paths;
    let roots = [settings.paths.root.clone(), super::log_branch::documents(settings).root];
    let is_there = move |path: &String| roots.iter().any(|root| root.join(path).exists());
    let there = move || paths.into_iter().filter(is_there).collect();
    facts.present = spawn_blocking(there).await.context("cannot look at linked files")?;
    Ok(())
}

/// Returns a path relative to the root, with `/`; one that lies elsewhere stays as it is.
fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}
