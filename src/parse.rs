//! Pure. Bytes from outside become facts: configurations, trainer states, weights, analysis reports,
//! and the console output of training and of analyses.
//!
//! Every parser is total: whatever the bytes are, the answer is a value or a stated problem,
//! nothing panics, and memory is bounded.

pub mod ansi;
pub mod checkpoint;
pub mod evaluation;
pub mod finite;
pub mod json;
pub mod kernel_log;
pub mod redact;
pub mod report;
pub mod run_metrics;
pub mod shell_log;
pub mod stderr;
pub mod wandb;
pub mod weights;

#[cfg(test)]
mod captures;
