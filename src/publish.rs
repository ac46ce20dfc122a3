//! IO shell. The status socket and alerts: what other programs and people see of the daemon.
//!
//! Every client is a cursor over the history of events, so nothing is queued per client: the
//! newest events are kept once, as finished lines, in a bounded ring that all clients read; older
//! ones are read from the journal page by page at the client's own pace. A slow client therefore
//! misses nothing that the journal still has, costs no memory, and delays nobody.

#![expect(
    clippy::disallowed_methods,
    reason = "IO shell: binds, replaces and removes the socket's file and reads the group file"
)]

pub mod alerts;
mod client;
mod connection;
mod ring;
mod server;
mod snapshots;
mod socket;
pub mod wire;

pub use client::{Client, ClientError};
pub use ring::{Publisher, RingLimits};
pub use server::{CommandRequest, HistoryRequest, Identity, Limits, Server};
pub use socket::{BindError, BoundSocket, bind};

#[cfg(test)]
mod tests;
