//! T5: code of the model that changed without an entry, entries out of form or order, without *Git
//! tag*, or about a task that does not exist.

use jiff::civil::Date;

use super::{edit, quoted};
use crate::audit::changelog::Entry;
use crate::audit::facts::{Changed, Facts};
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::Reading;

const KIND: (Code, Severity) = (Code::T5, Severity::Warning);

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let Some(page) = &reading.changelog else { return };
    for entry in &reading.entries.entries {
        if is_audited(entry.date, facts.since) {
            one(&page.path, entry, reading, audit);
        }
    }
    if let Some(changed) = facts.history.as_ref().and_then(|history| history.changed.as_ref()) {
        code(&page.path, changed, reading, audit);
    }
}

fn is_audited(date: Option<Date>, since: Option<Date>) -> bool {
    since.is_none_or(|since| date.is_none_or(|date| date >= since))
}

fn one(path: &str, entry: &Entry, reading: &Reading, audit: &mut Audit) {
    let place = Place::line(path, entry.line);
    let title = &entry.title;
    let mut add = |place: Place, what: String| {
        let command = edit(&place);
        let sentence = format!("the entry `{title}` is out of form: {what}");
        audit.add(KIND, place, format!("{title}: {what}"), sentence, command);
    };
    for problem in &entry.problems {
        add(place.clone(), problem.to_string());
    }
    if entry.tag_line.is_none() {
        add(place.clone(), "`**Git tag:**` does not stand in it".to_owned());
    }
    if entry.is_out_of_order {
        add(place, "it is newer than an entry above it".to_owned());
    }
    if reading.todos.is_none() {
        return;
    }
    for task in entry.todos.iter().filter(|task| reading.tasks.find(&task.name).is_empty()) {
        let what = format!("the task `{}` that it names does not exist", task.name);
        add(Place::line(path, task.line), what);
    }
}

/// A file that changed after the tag must be named by an entry of that day or later which is not the
/// tag's own, or among what is not released.
fn code(path: &str, changed: &Changed, reading: &Reading, audit: &mut Audit) {
    let is_later = |entry: &&Entry| {
        let is_of_tag = entry.tags.iter().any(|tag| tag.name == changed.tag);
        !is_of_tag && changed.day.is_none_or(|day| entry.date.is_some_and(|date| date >= day))
    };
    let later: Vec<&Entry> = reading.entries.entries.iter().filter(is_later).collect();
    let first_entry = reading.entries.entries.first().map_or(usize::MAX, |entry| entry.line);
    let unreleased = reading.entries.unreleased.map(|line| (line, first_entry.saturating_sub(1)));
    let spans = later.iter().map(|entry| (entry.line, entry.last_line));
    let spans: Vec<(usize, usize)> = spans.chain(unreleased).collect();
    for (file, commit) in &changed.files {
        let lower = file.to_lowercase();
        let name = lower.rsplit('/').next().unwrap_or(&lower);
        let is_named = spans.iter().any(|(first, last)| {
            let lines = reading.changelog_lines.iter().take(*last).skip(first.saturating_sub(1));
            lines.into_iter().any(|line| line.contains(name))
        });
        if is_named {
            continue;
        }
        let short = commit.get(..10).unwrap_or(commit);
        let tag = &changed.tag;
        let sentence = format!(
            "`{file}` changed after `{tag}` (commit {short}), and `{path}` has no entry of it"
        );
        let what = quoted(&format!("{file}: TEXT"));
        let command = format!("runscribe changelog add --title TITLE --what {what} --why WHY");
        audit.add(KIND, Place::whole(file), format!("{file} after {tag}"), sentence, command);
    }
}
