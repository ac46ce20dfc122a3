#![expect(clippy::disallowed_methods, reason = "IO shell: reads the clock and the environment")]
//! IO shell. The composition root: the only place that sees two IO stages. It wires the stages
//! together, turns the event loop, carries out effects and supervises the workers.

mod alerts;
mod analyses;
pub mod auditing;
pub mod begin;
mod commands;
mod devices;
pub mod discipline;
pub mod doctor;
pub mod dry_run;
pub mod evaluating;
mod event_loop;
pub mod explaining;
mod explaining_log;
mod helpers;
mod host_evidence;
pub mod http;
pub mod load_settings;
pub mod log_branch;
mod log_store;
#[cfg(test)]
mod model_test;
mod once;
pub mod publishing;
pub mod reading;
mod reload;
pub mod report;
pub mod row;
mod run_facts;
mod setup;
mod signals;
mod summary;
pub mod sync;
mod twins;
mod wandb_runs;
mod whole_file;
mod workers;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::analyze::supervisor;
use crate::model::Timestamp;
use crate::model::time::Moment;
use crate::settings::{ConfigProblems, Sources};

pub use crate::analyze::child::Stop;
pub use crate::publish::{Client, ClientError};

/// Why the daemon could not start, or ended otherwise than by being asked.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The configuration is wrong.
    #[error("{0}")]
    Configuration(ConfigProblems),
    /// Something must be changed before it can start; starting again does not help.
    #[error("{0}")]
    Unusable(String),
    /// Another daemon watches this project.
    #[error("{0}")]
    AlreadyRunning(String),
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the settings come from; asked again on HUP.
    pub sources: Sources,
    /// Whether to end after one full pass.
    pub once: bool,
}

/// Runs the daemon until it is asked to stop, or for one pass.
///
/// # Errors
/// See [`Fatal`]; a worker that ends early or panics is an error of the daemon.
pub async fn run(options: Options) -> Result<(), Fatal> {
    let house = setup::open(&options).await?;
    event_loop::turn(house, &options).await
}

/// Runs as an analysis' supervisor if that is what the program was started for. Asked before
/// anything else is set up, because every analysis begins with it.
pub fn supervise(arguments: &[OsString]) -> Option<ExitCode> {
    let (command, arguments) = arguments.get(1..)?.split_first()?;
    (command == supervisor::order::COMMAND).then(|| supervisor::run(arguments))
}

/// Returns the current time with the local offset.
pub fn now() -> Moment {
    Moment::from(&jiff::Zoned::now())
}

/// Returns the current instant.
pub fn instant() -> Timestamp {
    Timestamp::now()
}

/// Returns the path of the running program.
pub fn executable() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("runscribe"))
}

/// Returns the process' environment; variables that are not UTF-8 are of no use here.
pub fn environment() -> Vec<(String, String)> {
    let text = |(key, value): (OsString, OsString)| {
        Some((key.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}
