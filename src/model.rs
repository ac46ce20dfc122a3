//! Pure. The nouns that every stage shares: ids, files, checkpoints, measurements, verdicts,
//! observations, events, transactions and the status snapshot. Plain data, no behavior beyond
//! parsing and printing names, and no knowledge of any other module.

pub mod alert;
pub mod analysis;
pub mod begun;
pub mod checkpoint;
pub mod command;
pub mod device;
pub mod divided;
pub mod evaluation;
pub mod event;
pub mod host_evidence;
pub mod ids;
pub mod journal;
pub mod measurement;
pub mod numbers;
pub mod observation;
pub mod secrets;
pub mod shell_log;
pub mod status;
pub mod sync;
pub mod time;
pub mod training;

pub use jiff::Timestamp;
