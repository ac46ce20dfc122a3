//! T7: what a run recorded of its source when it was trained.

use super::{edit, listed, quoted};
use crate::audit::facts::{Facts, Recorded};
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::Reading;
use crate::model::ids::RunId;
use crate::model::numbers::counted;

const KIND: (Code, Severity) = (Code::T7, Severity::Warning);

pub(super) fn examine(_: &Reading, facts: &Facts, audit: &mut Audit) {
    let mut unknown = 0;
    for (run, fact) in facts.runs.iter().filter(|(run, _)| facts.audits(run)) {
        match &fact.recorded {
            Some(recorded) => one(run, recorded, facts, audit),
            None => unknown += u64::from(fact.folder.is_some()),
        }
    }
    if unknown > 0 {
        let runs = counted(unknown, "run");
        audit.note(format!(
            "{runs} of the training folder left no W&B configuration here, so what was recorded of \
             their source is not known"
        ));
    }
}

fn one(run: &RunId, recorded: &Recorded, facts: &Facts, audit: &mut Audit) {
    let place = Place::whole(&recorded.place);
    if !recorded.lacking.is_empty() {
        let keys = listed(recorded.lacking.iter().map(String::as_str));
        let sentence = format!("the W&B configuration of `{run}` lacks {keys}");
        let command = edit(&place);
        audit.add(KIND, place.clone(), format!("{run} lacks {keys}"), sentence, command);
    }
    if let (Some(commit), Some(history)) = (&recorded.commit, &facts.history) {
        if history.is_shallow {
            audit.note("the clone is shallow, so the commits of runs are not held against it");
        } else if !history.existing.contains_key(commit) {
            let sentence = format!("`{run}` recorded the commit `{commit}`, which does not exist");
            let command = format!("git fetch --all && git cat-file -t {}", quoted(commit));
            let subject = format!("{run} commit");
            audit.add((Code::T7, Severity::Error), place.clone(), subject, sentence, command);
        }
    }
    if recorded.dirty == Some(true) {
        let sentence = format!("`{run}` was trained from a checkout with uncommitted changes");
        let command = edit(&place);
        audit.add(KIND, place, format!("{run} dirty"), sentence, command);
    }
}
