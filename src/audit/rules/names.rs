//! T8: prefixes of commits, and tags outside of the conventions.

use super::{edit, quoted};
use crate::audit::conventions::check_subject;
use crate::audit::facts::Facts;
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::Reading;

const KIND: (Code, Severity) = (Code::T8, Severity::Warning);
/// Digits of a hash that a person needs.
const SHORT: usize = 10;

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let Some(history) = &facts.history else { return };
    for commit in history.commits.iter().filter(|commit| !commit.is_merge) {
        let Err(problem) = check_subject(&facts.prefixes, &commit.subject) else { continue };
        let short = commit.hash.get(..SHORT).unwrap_or(&commit.hash);
        let sentence = format!("`{}`: {problem}", commit.subject);
        let place = Place::Commit(short.to_owned());
        let command = edit(&place);
        audit.add(KIND, place, &commit.hash, sentence, command);
    }
    for name in history.audited_tags.iter().filter(|name| reading.tag(name).is_none()) {
        let sentence = format!("the tag `{name}` has none of the agreed forms");
        let command = format!("git tag -n9 -l {}", quoted(name));
        audit.add(KIND, Place::Tag(name.clone()), name, sentence, command);
    }
}
