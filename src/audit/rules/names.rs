//! T8: prefixes of commits, and tags outside of the conventions.

use super::{SETTINGS, edit, quoted};
use crate::audit::conventions::check_subject;
use crate::audit::facts::Facts;
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::Reading;

const KIND: (Code, Severity) = (Code::T8, Severity::Warning);
/// Digits of a hash that a person needs.
const SHORT: usize = 10;

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let Some(history) = &facts.history else { return };
    for (age, commit) in history.commits.iter().enumerate().filter(|(_, one)| !one.is_merge) {
        let Err(problem) = check_subject(&facts.prefixes, &commit.subject) else { continue };
        let short = commit.hash.get(..SHORT).unwrap_or(&commit.hash);
        let place = Place::Commit(short.to_owned());
        // To reword an older one would give new names to all that runs and documents name.
        let (then, command) = if age == 0 {
            ("", "git commit --amend --only".to_owned())
        } else {
            ("; it is old, so let `discipline.since` begin with it", edit(&Place::whole(SETTINGS)))
        };
        let sentence = format!("`{}`: {problem}{then}", commit.subject);
        audit.add(KIND, place, &commit.hash, sentence, command);
    }
    for name in history.audited_tags.iter().filter(|name| reading.tag(name).is_none()) {
        let sentence = format!("the tag `{name}` has none of the agreed forms");
        let (old, commit) = (quoted(name), quoted(&format!("{name}^{{}}")));
        let command = format!("git tag -a NAME -m NAME {commit} && git tag -d {old}");
        audit.add(KIND, Place::Tag(name.clone()), name, sentence, command);
    }
}
