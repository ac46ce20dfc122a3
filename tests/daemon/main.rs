//! The real program as real processes: what a user, a script or another program relies on.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "test support: these tests drive processes and files, and a failure is a panic"
)]

mod alerts;
mod analyses;
mod begin;
mod beliefs;
mod check;
mod children;
mod commands;
mod crashes;
mod demo;
mod discipline;
mod doctor;
mod documents;
mod editors;
mod evaluation;
mod gpus;
mod log_branch;
mod logs;
mod queue;
mod receiver;
mod service;
mod shell_logs;
mod socket;
mod state;
mod supervision;
mod support;
mod sync;
mod tail;
mod wandb;
mod whole_way;
