//! Pure. What to analyze next, with which command line and environment, on which device, and when
//! to try again; and which files a synchronization transfers.
//!
//! Order of the queue: final models first, then the newest checkpoint of each run, then the rest
//! oldest first. Nothing here knows whether a file exists: what the host offers arrives as
//! [`crate::model::analysis::ProgramFacts`].

pub mod command;
pub mod device;
pub mod environment;
pub mod evaluation;
pub mod queue;
pub mod retry;
pub mod sync;
