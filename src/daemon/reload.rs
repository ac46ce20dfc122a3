//! HUP: a new configuration, or the old one with a complaint.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::engine::Event;
use crate::settings::{Loaded, Settings, Sources};
use crate::watch::tail::TailConfig;
use crate::watch::{Control, WatchConfig};

use super::Options;
use super::event_loop::Loop;
use super::load_settings;

/// How long the files may take: they may lie on a network folder that does not answer.
const LIMIT: Duration = Duration::from_secs(30);

/// The reading of the configuration, one at a time.
#[derive(Debug, Default)]
pub(super) struct Reading {
    set: JoinSet<Result<Loaded, String>>,
    /// Whether it was asked for again meanwhile: the files may have changed after they were read.
    is_asked_again: bool,
}

impl Reading {
    /// Begins to read the files, which is no work for the loop.
    pub(super) fn begin(&mut self, sources: &Sources) {
        if !self.set.is_empty() {
            self.is_asked_again = true;
            return;
        }
        let sources = sources.clone();
        self.set.spawn(async move {
            let work = tokio::task::spawn_blocking(move || load_settings::load(&sources));
            match timeout(LIMIT, work).await {
                Ok(Ok(loaded)) => loaded.map_err(|problem| problem.to_string()),
                Ok(Err(panic)) => Err(panic.to_string()),
                Err(_) => Err(format!("its files do not answer within {} s", LIMIT.as_secs())),
            }
        });
    }

    /// Waits for what was read. Pending forever while nothing is. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Loaded, String> {
        match self.set.join_next().await {
            Some(read) => read.unwrap_or_else(|panic| Err(panic.to_string())),
            None => std::future::pending().await,
        }
    }
}

/// Puts a configuration that was read into force. An invalid one is reported and the old one stays;
/// `[project]` and `[status]` need a restart and it says so.
pub(super) fn take(own: &mut Loop, read: Result<Loaded, String>, options: &Options) {
    if std::mem::take(&mut own.reading.is_asked_again) {
        own.reading.begin(&options.sources);
        return;
    }
    let loaded = match read {
        Ok(loaded) => loaded,
        Err(problem) => {
            tracing::error!("the old configuration stays in force: {problem}");
            return;
        }
    };
    let (settings, needs_restart) = merge(&own.house.world.settings, loaded.settings);
    if !needs_restart.is_empty() {
        tracing::warn!(keys = ?needs_restart, "changed, but in force only after a restart");
    }
    let settings = Arc::new(settings);
    let workshop = super::reading::workshop(&settings, &settings.paths.state, &own.house.devices);
    own.house.analyses.equip(workshop);
    own.house.watch.send(Control::Settings(Box::new(WatchConfig::from(&*settings))));
    own.house.tail.use_settings(TailConfig::from(&*settings));
    own.house.helpers.use_settings(Arc::clone(&settings));
    own.handle(Event::Reloaded(settings, needs_restart));
    tracing::info!("configuration reloaded");
}

/// Keeps what cannot change while the daemon runs, and says which of it would have.
fn merge(old: &Settings, new: Settings) -> (Settings, Vec<String>) {
    let mut needs_restart = Vec::new();
    if old.paths != new.paths
        || old.run_pattern.as_str() != new.run_pattern.as_str()
        || old.machine != new.machine
    {
        needs_restart.push("[project]".to_owned());
    }
    if old.status != new.status {
        needs_restart.push("[status]".to_owned());
    }
    let mut log = new.log.clone();
    if (old.log.write, old.log.push) != (log.write, log.push) {
        needs_restart.push("log.write".to_owned());
        (log.write, log.push) = (old.log.write, old.log.push);
    }
    let merged = Settings {
        log,
        paths: old.paths.clone(),
        run_pattern: old.run_pattern.clone(),
        machine: old.machine.clone(),
        status: old.status.clone(),
        ..new
    };
    (merged, needs_restart)
}
