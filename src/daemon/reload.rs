//! HUP: a new configuration, or the old one with a complaint.

use std::sync::Arc;

use crate::engine::Event;
use crate::settings::Settings;
use crate::watch::tail::TailConfig;
use crate::watch::{Control, WatchConfig};

use super::Options;
use super::event_loop::Loop;
use super::load_settings;

/// Reads the configuration again. An invalid one is reported and the old one stays in force;
/// `[project]` and `[status]` need a restart and it says so.
pub(super) fn reload(own: &mut Loop, options: &Options) {
    let loaded = match load_settings::load(&options.sources) {
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
    let merged = Settings {
        paths: old.paths.clone(),
        run_pattern: old.run_pattern.clone(),
        machine: old.machine.clone(),
        status: old.status.clone(),
        ..new
    };
    (merged, needs_restart)
}
