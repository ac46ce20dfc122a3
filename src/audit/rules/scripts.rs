//! T9: registered scripts, and training entries that none of them launches.

use super::{SETTINGS, edit, quoted};
use crate::audit::facts::{Facts, Records, ScriptFact};
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::Reading;

const KIND: (Code, Severity) = (Code::T9, Severity::Warning);

pub(super) fn examine(_: &Reading, facts: &Facts, audit: &mut Audit) {
    for script in &facts.registered {
        one(script, audit);
    }
    for entry in &facts.unlaunched {
        let sentence = format!("`{entry}` trains, and no registered script launches it");
        let command = edit(&Place::whole(SETTINGS));
        audit.add(KIND, Place::whole(entry), "unlaunched", sentence, command);
    }
}

fn one(script: &ScriptFact, audit: &mut Audit) {
    let path = &script.path;
    if !script.is_there {
        let sentence = format!("the registered script `{path}` is missing");
        let registered = edit(&Place::whole(SETTINGS));
        let command = format!("git restore -- {} || {registered}", quoted(path));
        let place = Place::whole(path);
        audit.add((Code::T9, Severity::Error), place, "missing", sentence, command);
        return;
    }
    let entry = match &script.entry {
        None => return,
        Some(Ok(entry)) => entry,
        Some(Err(why)) => {
            audit.note(format!("what `{path}` launches cannot be told by reading it: {why}"));
            return;
        }
    };
    match &script.records {
        Records::Yes => {}
        Records::No(line, what) => {
            let place = Place::File(entry.clone(), *line);
            let sentence = format!("`{path}` launches `{entry}`, which {what}");
            let command = edit(&place);
            audit.add(KIND, place, format!("{path} launches"), sentence, command);
        }
        Records::Undecided(why) => audit.note(format!(
            "what `{entry}`, launched by `{path}`, records of git cannot be told by reading it: {why}"
        )),
    }
}
