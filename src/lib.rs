//! runscribe watches the checkpoints of training runs, has each one analyzed, judges the effective
//! rank and writes what it saw into the project's experiment log.

pub mod model;

pub mod settings;

pub mod watch;

pub mod recognize;

pub mod schedule;

pub mod analyze;

pub mod parse;

pub mod judge;

pub mod engine;

pub mod document;

pub mod record;

pub mod host;

pub mod probe;

pub mod systemd;

pub mod git;
