//! The processes below the supervisor. As their subreaper it inherits whatever one of them leaves
//! behind, so that everything the program started stands below it, session leaders and daemons
//! included.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::model::analysis::Ending;

/// Who ended since the last look, and whether anything is left.
#[derive(Debug, Default)]
pub(super) struct Reaped {
    pub(super) ended: Vec<(i32, Ending)>,
    pub(super) any_left: bool,
}

/// Takes in the children that ended. As long as any descendant lives there is a child: either the
/// descendant's own ancestor, or itself once that has ended.
pub(super) fn reap() -> Reaped {
    let mut reaped = Reaped::default();
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let ending = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => Ending::Exit(code),
                    (None, Some(signal)) => Ending::Signal(signal),
                    (None, None) => continue,
                };
                reaped.ended.push((pid.as_raw_nonzero().get(), ending));
            }
            Ok(None) => {
                reaped.any_left = true;
                return reaped;
            }
            Err(Errno::INTR) => {}
            Err(_) => return reaped,
        }
    }
}

/// Sends a signal to every descendant of this process. Returns how many there are, those included
/// that have ended and were not reaped yet.
pub(super) fn signal_all(signal: Signal) -> usize {
    signal_below(std::process::id().cast_signed(), signal)
}

/// Sends a signal to every descendant of a process and returns how many there are.
pub(crate) fn signal_below(pid: i32, signal: Signal) -> usize {
    let descendants = descendants(pid, &parents());
    for pid in descendants.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // One that has ended meanwhile is no trouble; one of another user is told of in the end,
        // as a process that is left.
        kill_process(pid, signal).unwrap_or_default();
    }
    descendants.len()
}

/// Returns every process with its parent.
fn parents() -> Vec<(i32, i32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        // One that ended since the folder was listed has no file any more.
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent_in(&stat)?))
    })
    .collect()
}

/// Reads the parent from a line of `/proc/<pid>/stat`: `pid (name) state parent …`, where the name
/// may hold anything, closing parentheses and spaces included.
fn parent_in(stat: &[u8]) -> Option<i32> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn descendants(of: i32, parents: &[(i32, i32)]) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, parent) in parents {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut found = BTreeSet::new();
    let mut to_visit = vec![of];
    while let Some(pid) = to_visit.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            // The list is no snapshot: a reused id must not lead in a circle.
            if found.insert(*child) {
                to_visit.push(*child);
            }
        }
    }
    found.remove(&of);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_whatever_the_name_is() {
        for (line, parent) in [
            (&b"12 (sh) S 7 12 12 0"[..], Some(7)),
            (b"12 (a) R 1 ) b) S 7 12 12 0", Some(7)),
            (b"12 (\xff\xfe) Z 7", Some(7)),
            (b"12 (sh) S", None),
            (b"12 sh S 7", None),
            (b"", None),
        ] {
            assert_eq!(parent_in(line), parent, "{line:?}");
        }
    }

    #[test]
    fn descendants_are_everything_below_and_nothing_else() {
        let list = [(1, 0), (10, 1), (11, 10), (12, 11), (13, 10), (20, 1), (21, 20)];
        assert_eq!(descendants(10, &list), BTreeSet::from([11, 12, 13]));
        assert_eq!(descendants(12, &list), BTreeSet::new());
        // Two processes that seem to be each other's parents.
        assert_eq!(descendants(5, &[(6, 5), (5, 6)]), BTreeSet::from([6]));
    }

    #[test]
    fn this_process_has_a_parent_in_the_list() {
        let own = std::process::id().cast_signed();
        let parent = std::os::unix::process::parent_id().cast_signed();
        assert!(parents().contains(&(own, parent)));
    }
}
