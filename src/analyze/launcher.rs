//! Where the program of an analysis runs. One order in, one ending with output out: whatever runs it
//! gets the same [`Plan`] (argv, environment, working directory, limits), so that a cluster's
//! scheduler can stand here beside this host, and nothing else has to know.
//!
//! What any launcher owes: both streams within a bound, the program's own ending, the deadline, both
//! ways of stopping, and nothing left running when the future is done or dropped.

use std::io;

use super::child::{self, ChildRun, Plan, Stop};
use crate::settings::Launcher;

/// Runs a program to the end of everything it started, where the settings say.
///
/// # Errors
/// Says why it could not be started.
pub(super) async fn launch(launcher: Launcher, plan: Plan, stop: &Stop) -> io::Result<ChildRun> {
    match launcher {
        Launcher::Local => child::run(plan, stop).await,
    }
}
