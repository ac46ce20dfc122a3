//! Files that two checkouts share: their stamps, and what a synchronization does with them.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Time of the last change, in seconds since 1970.
    pub seconds: i64,
    /// The part of a second; 0 where it is not known.
    pub nanoseconds: u32,
}

/// The regular files of a folder, by their names relative to it.
pub type Listing = BTreeMap<PathBuf, Stamp>;

/// How a file was on both sides when they were last brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remembered {
    /// On this host.
    pub here: Stamp,
    /// On the other one.
    pub there: Stamp,
    /// They differ, and the other side's version was put beside the one on this host.
    pub theirs_here: bool,
    /// They differ, and this side's version was put beside the one on the other host.
    pub ours_there: bool,
}

impl Remembered {
    /// Makes the memory of a file that is the same on both sides.
    pub fn equal(here: Stamp, there: Stamp) -> Self {
        Self { here, there, theirs_here: false, ours_there: false }
    }

    /// Returns whether the two versions differed, and both were kept.
    pub fn is_conflict(self) -> bool {
        self.theirs_here || self.ours_there
    }
}

/// What is remembered of each file.
pub type SyncMemory = BTreeMap<PathBuf, Remembered>;

/// Which way files may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the other host to this one.
    Download,
    /// From this host to the other one.
    Upload,
    /// Both ways.
    TwoWay,
}

/// Why a file is transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is missing on the side that it goes to.
    New,
    /// It differs, and its version is the newer one.
    Newer,
    /// It was changed since the last synchronization, and the other side's was not.
    Changed,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To this host.
    Download(Transfer),
    /// To the other host.
    Upload(Transfer),
    /// Two versions that cannot be put in order: none is replaced.
    KeepBoth(Conflict),
}

/// A file that goes to the other side under its own name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Its name.
    pub name: PathBuf,
    /// The version that is transferred.
    pub stamp: Stamp,
    /// The version that it replaces.
    pub replaces: Option<Stamp>,
    /// Why.
    pub why: Why,
}

/// A file of which both versions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Its name.
    pub name: PathBuf,
    /// The version on this host.
    pub here: Stamp,
    /// The version on the other one.
    pub there: Stamp,
    /// Where the other side's version is kept on this host.
    pub theirs_here: Option<Copy>,
    /// Where this side's version is kept on the other host.
    pub ours_there: Option<Copy>,
    /// Both were changed since the last synchronization; otherwise there was none.
    pub both_changed: bool,
}

/// A version that stands beside another one under a name of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Its name.
    pub name: PathBuf,
    /// An earlier synchronization put it there already.
    pub is_there: bool,
}

/// Why a file that differs is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Only on this host, or newer here, and nothing is to go to the other one.
    NewsHere,
    /// Only on the other host, or newer there, and nothing is to come from it.
    NewsThere,
    /// Both versions were kept before, and nobody has chosen since.
    Conflict,
}

/// What a synchronization does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncPlan {
    /// What is done, in this order.
    pub steps: Vec<Step>,
    /// What differs and is left.
    pub left: Vec<(PathBuf, Left)>,
    /// Files that were found to be the same, to be remembered.
    pub settled: Vec<(PathBuf, Remembered)>,
    /// How many files are the same.
    pub equal: u64,
}
