//! A log that went two ways.

/// The log of runscribe's branch and the one that it must come to stand on, where git cannot join
/// the two. What is not there is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DividedLog {
    /// The log that both came from.
    pub origin: Vec<u8>,
    /// The log as runscribe wrote it.
    pub ours: Vec<u8>,
    /// The log that people have now.
    pub theirs: Vec<u8>,
    /// File names of failure notes that runscribe's branch alone has.
    pub notes: Vec<String>,
}
