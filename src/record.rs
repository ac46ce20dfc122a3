//! IO shell. The journal (SQLite, one writer), the outbox that carries its facts into documents,
//! and the only function that writes a user's file.
//!
//! The order is fixed: a transaction with observation, events and outbox entries becomes durable
//! first; then the documents are edited; then the entries are marked. A crash between any two of
//! these repeats the later ones, and every one of them can be repeated. One blocking thread,
//! which the caller spawns for [`recorder::run`], owns both the journal and the documents.

#![expect(
    clippy::disallowed_methods,
    reason = "IO shell: it owns the journal and the documents, and reads the clock for them"
)]

mod alert_rows;
mod anew;
mod attributes;
mod batch;
pub mod delivery;
pub mod editing;
mod evaluation_rows;
pub mod history;
pub mod journal;
pub mod keeping;
mod late;
mod lock;
mod log_rows;
mod looks;
pub mod opening;
mod outbox;
pub mod places;
mod reading;
pub mod recorder;
mod renaming;
pub mod replace;
mod rows;
mod run_names;
#[cfg(test)]
mod samples;
mod schema;
pub mod sweep;
mod waiting;

use std::time::Instant;

use jiff::Zoned;

pub use journal::Recorded;

use crate::model::time::Moment;

/// The present, on both clocks: the steady one decides when something is due, the other one is
/// what people read.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// The steady clock.
    pub instant: Instant,
    /// Local time with its offset.
    pub moment: Moment,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        Self { instant: Instant::now(), moment: Moment::from(&Zoned::now()) }
    }
}
