//! T1: tags that the log or the changelog names and that do not exist, or are not pushed. T6: the
//! same of commits.

use super::{edit, quoted};
use crate::audit::facts::{Facts, History, RemoteFact};
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::{Page, Reading};

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let Some(history) = &facts.history else { return };
    for page in [&reading.log, &reading.changelog].into_iter().flatten() {
        tags(reading, page, history, audit);
    }
    for page in [&reading.log, &reading.changelog, &reading.todos].into_iter().flatten() {
        commits(reading, page, history, audit);
    }
}

fn tags(reading: &Reading, page: &Page, history: &History, audit: &mut Audit) {
    for (tag, line) in reading.tags_of(page) {
        let place = Place::line(&page.path, line);
        let remote = history.remote.as_ref();
        let is_there = |remote: &&RemoteFact| remote.tags.contains(&tag);
        let (sentence, command) = if history.tags.contains(&tag) {
            let Some(remote) = remote.filter(|remote| !is_there(remote)) else { continue };
            let sentence = format!("the tag `{tag}` is not on `{}`", remote.name);
            (sentence, format!("git push {} {}", quoted(&remote.name), quoted(&tag)))
        } else if let Some(remote) = remote.filter(is_there) {
            let sentence = format!("the tag `{tag}` is on `{}` only", remote.name);
            (sentence, format!("git fetch {} tag {}", quoted(&remote.name), quoted(&tag)))
        } else {
            let sentence = format!("the tag `{tag}` does not exist");
            (sentence, format!("git tag -a {0} -m {0} COMMIT", quoted(&tag)))
        };
        audit.add((Code::T1, Severity::Error), place, &tag, sentence, command);
    }
}

fn commits(reading: &Reading, page: &Page, history: &History, audit: &mut Audit) {
    for (hash, line) in reading.hashes_of(page) {
        if history.existing.contains_key(&hash) {
            continue;
        }
        if history.is_shallow {
            audit.note("the clone is shallow, so hashes of commits are not held against it");
            return;
        }
        let place = Place::line(&page.path, line);
        let command = edit(&place);
        let sentence = format!("the commit `{hash}` does not exist");
        audit.add((Code::T6, Severity::Error), place, &hash, sentence, command);
    }
}
