//! Which files a synchronization transfers, and which way.
//!
//! What is only on one side is new; of two versions the one that was changed since the last
//! synchronization wins, without a memory of one the newer. Where that decides nothing, both
//! versions are kept, each on its own side under its own name and on the other beside it. Nothing
//! is deleted: what was removed on one side comes back from the other.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use regex::Regex;

use crate::model::sync::{
    Conflict, Copy, Direction, Left, Listing, Remembered, Stamp, Step, SyncMemory, SyncPlan,
    Transfer, Why,
};

/// Stands in the name of a version that is kept beside another one.
const MARK: &str = ".conflict-";

/// What both sides hold, what is remembered of them, and how their hosts are called.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// The files of this host.
    pub here: &'a Listing,
    /// The files of the other host.
    pub there: &'a Listing,
    /// What is remembered.
    pub memory: &'a SyncMemory,
    /// This host's name, for copies.
    pub name_here: &'a str,
    /// The other host's name.
    pub name_there: &'a str,
}

/// Returns the files whose contents must be compared before anything can be decided: both versions
/// have one size, and that they are the same is not remembered.
pub fn to_compare(sides: Sides<'_>) -> Vec<PathBuf> {
    let both =
        sides.here.iter().filter_map(|(name, here)| Some((name, here, sides.there.get(name)?)));
    let open = both.filter(|(name, here, there)| {
        let known = sides.memory.get(*name);
        let is_known = known.is_some_and(|known| known.here == **here && known.there == **there);
        here.size == there.size && !is_known && !is_copy(name)
    });
    open.map(|(name, ..)| name.clone()).collect()
}

/// Decides what is done; `same` are those of [`to_compare`] whose contents are the same.
pub fn plan(sides: Sides<'_>, same: &BTreeSet<PathBuf>, direction: Direction) -> SyncPlan {
    let mut plan = SyncPlan::default();
    let names: BTreeSet<&PathBuf> = sides.here.keys().chain(sides.there.keys()).collect();
    for name in names.into_iter().filter(|name| !is_copy(name)) {
        let found = match (sides.here.get(name), sides.there.get(name)) {
            (Some(&here), Some(&there)) => {
                compare(sides.memory.get(name), here, there, same.contains(name))
            }
            (None, Some(&there)) => Found::Theirs(there, None, Why::New),
            (Some(&here), None) => Found::Ours(here, None, Why::New),
            (None, None) => continue,
        };
        add(&mut plan, sides, name, (found, direction));
    }
    plan
}

/// What is found of one file.
enum Found {
    Equal,
    Settled(Remembered),
    Theirs(Stamp, Option<Stamp>, Why),
    Ours(Stamp, Option<Stamp>, Why),
    OldConflict,
    Conflict { here: Stamp, there: Stamp, both_changed: bool },
}

fn compare(known: Option<&Remembered>, here: Stamp, there: Stamp, is_same: bool) -> Found {
    let ours = |why| Found::Ours(here, Some(there), why);
    let theirs = |why| Found::Theirs(there, Some(here), why);
    let changed = known.map(|known| (known.here != here, known.there != there));
    match (known, changed) {
        (Some(known), Some((false, false))) if known.is_conflict() => Found::OldConflict,
        (_, Some((false, false))) => Found::Equal,
        _ if is_same => Found::Settled(Remembered::equal(here, there)),
        // After a conflict a version may be replaced only where it stands on the other side too.
        (Some(known), Some((true, false))) if !known.is_conflict() || known.theirs_here => {
            ours(Why::Changed)
        }
        (Some(known), Some((false, true))) if !known.is_conflict() || known.ours_there => {
            theirs(Why::Changed)
        }
        (None, _) if here.seconds > there.seconds => ours(Why::Newer),
        (None, _) if here.seconds < there.seconds => theirs(Why::Newer),
        _ => Found::Conflict { here, there, both_changed: known.is_some() },
    }
}

fn add(plan: &mut SyncPlan, sides: Sides<'_>, name: &Path, (found, direction): (Found, Direction)) {
    let (may_come, may_go) = (direction != Direction::Upload, direction != Direction::Download);
    let name = name.to_owned();
    match found {
        Found::Equal => plan.equal += 1,
        Found::Settled(known) => {
            plan.equal += 1;
            plan.settled.push((name, known));
        }
        Found::OldConflict => plan.left.push((name, Left::Conflict)),
        Found::Theirs(stamp, replaces, why) if may_come => {
            plan.steps.push(Step::Download(Transfer { name, stamp, replaces, why }));
        }
        Found::Ours(stamp, replaces, why) if may_go => {
            plan.steps.push(Step::Upload(Transfer { name, stamp, replaces, why }));
        }
        Found::Theirs(..) => plan.left.push((name, Left::NewsThere)),
        Found::Ours(..) => plan.left.push((name, Left::NewsHere)),
        Found::Conflict { here, there, both_changed } => {
            let theirs_here = may_come.then(|| copy(&name, sides.name_there, there, sides.here));
            let ours_there = may_go.then(|| copy(&name, sides.name_here, here, sides.there));
            let conflict = Conflict { name, here, there, theirs_here, ours_there, both_changed };
            plan.steps.push(Step::KeepBoth(conflict));
        }
    }
}

/// Names a copy after the host that it comes from and the time of its change. One that has this
/// name and size already is this copy; a number makes other names free.
fn copy(name: &Path, host: &str, stamp: Stamp, taken: &Listing) -> Copy {
    let time = Timestamp::from_second(stamp.seconds).unwrap_or_default();
    let time = time.strftime("%Y%m%d_%H%M%S");
    let host: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    let mut number = 1_u32;
    loop {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let candidate = marked(name, &format!("{MARK}{host}-{time}{suffix}"));
        match taken.get(&candidate) {
            None => return Copy { name: candidate, is_there: false },
            Some(there) if there.size == stamp.size => {
                return Copy { name: candidate, is_there: true };
            }
            Some(_) => number += 1,
        }
    }
}

fn marked(name: &Path, mark: &str) -> PathBuf {
    let mut file: OsString = name.file_stem().unwrap_or_default().to_owned();
    file.push(mark);
    if let Some(extension) = name.extension() {
        file.push(".");
        file.push(extension);
    }
    name.with_file_name(file)
}

/// Returns whether a name is that of a version that was kept beside another one. They stay where
/// they are.
fn is_copy(name: &Path) -> bool {
    static PATTERN: std::sync::LazyLock<Option<Regex>> = std::sync::LazyLock::new(|| {
        Regex::new(r"\.conflict-[A-Za-z0-9-]*-\d{8}_\d{6}(-\d+)?(\.[^.]*)?$").ok()
    });
    let file = name.file_name().unwrap_or_default().to_string_lossy();
    PATTERN.as_ref().is_some_and(|pattern| pattern.is_match(&file))
}

#[cfg(test)]
mod tests;
