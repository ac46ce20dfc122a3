//! What the host tells about training beside its logs: who writes them, and what the kernel says.

use serde::{Deserialize, Serialize};

use super::Timestamp;
use super::shell_log::LogKey;

/// Which processes hold a shell log open for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogWriters {
    /// Which log.
    pub log: LogKey,
    /// Their process ids, ascending; `None`: it cannot be told, because they may belong to another
    /// user or run on another host. A launcher that pipes through `tee` has the `tee` here.
    pub pids: Option<Vec<u32>>,
}

/// What the kernel's log says that bears on training, and whether it can be read at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelReading {
    /// What is new since the last reading, oldest first; of very many the newest.
    pub findings: Vec<KernelFinding>,
    /// Why the kernel's log cannot be read, if it cannot.
    pub note: Option<String>,
}

/// Something that the kernel did or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelFinding {
    /// When.
    pub time: Timestamp,
    /// What.
    pub what: KernelHappening,
    /// The kernel's own line, bounded.
    pub text: String,
}

/// What the kernel did or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum KernelHappening {
    /// It killed a process because memory ran out, on the host or in the process' group.
    OutOfMemory {
        /// Which process.
        pid: u32,
        /// The name of its program.
        task: String,
    },
    /// The NVIDIA driver reports an error of a GPU.
    Xid {
        /// The GPU by its place on the bus, such as `0000:65:00`.
        gpu: String,
        /// The number of the error, such as 79 for a GPU that fell off the bus.
        number: u32,
        /// The process that it hit, if the driver names one.
        pid: Option<u32>,
    },
}
