//! Pure. The discipline of experiment tracking: what its documents and scripts say, how tags and
//! commits are named, and what an edit of the documents looks like.
//! Pure. The discipline of experiment tracking: what its documents say, how tags and commits are
//! named, and what an edit of the documents looks like.

mod words;

pub mod changelog;
pub mod conventions;
pub mod publication;
pub mod new_entry;
pub mod scripts;
pub mod todo_done;
pub mod todos;

/// A name that a document mentions, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The number of the line.
    pub line: usize,
    /// The name.
    pub name: String,
}
