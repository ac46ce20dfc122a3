//! runscribe watches the checkpoints of a research project's training runs, has each one analyzed
//! as soon as it is complete, judges the effective rank, and writes what it saw into the project's
//! Markdown experiment log.
//!
//! # The flow
//!
//! Data flows one way, and the modules below stand in that order. Deciding is pure and synchronous,
//! acting is asynchronous and dumb.
//!
//! ```text
//!  watch ──Event──▶ engine ──Effect──▶ analyze ──Event──▶ engine ──Effect──▶ record ──Recorded──▶ publish
//!  (scan, tail)     recognize,         (child             parse, judge       journal →            socket
//!                   schedule           processes)         (pure)             documents
//!                       ▲──────────────────────── Event::Recorded ──────────────┘
//! ```
//!
//! [`daemon`] is the only module that sees two of the stages that do IO; it turns the loop, carries
//! out effects and supervises workers. [`cli`] holds the commands.
//!
//! # Invariants
//!
//! - The scan is the truth about files; events of the file system are hints that say when to look.
//! - [`engine::step`] is the only decider. It is total and reads no clock, no file, no environment.
//! - What is announced is durable: publishing takes a [`record::Recorded`], and only the journal can
//!   make one.
//! - Every document is edited losslessly by [`document`] and replaced atomically by
//!   [`record::replace`], from an outbox whose entries can be applied twice.
//! - Documents are in one pair of hands at a time: a person's, the recorder's, or git's. Their
//!   [`record::keeping::Keeper`] is asked before each write.
//! - A verdict is `pass` only when the report is believed; what cannot be said is `unknown`.
//! - Whatever an analysis starts ends with it, and with the daemon, however that ends: the
//!   [`analyze::supervisor`] between them sees to it.
//! - Nothing that came from outside can panic the daemon, fill its memory or stop its loop.

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

pub mod publish;

pub mod host;

pub mod probe;

pub mod systemd;

pub mod audit;

pub mod git;

pub mod wandb;

pub mod remote;

pub mod daemon;

pub mod cli;
