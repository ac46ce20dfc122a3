//! T2: `train/` tags without a row, rows without a tag, `arch/` tags that the changelog does not
//! name.

use super::{edit, quoted};
use crate::audit::conventions::{TagKind, TagName};
use crate::audit::facts::{Facts, History};
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::{Reading, day, is_pending, row_name, words_of_tag_cell};
use crate::document::inventory::SeenRow;
use crate::model::ids::RunId;
use crate::model::observation::RunColumn;

const KIND: (Code, Severity) = (Code::T2, Severity::Warning);

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let tags = facts.history.iter().flat_map(|history| &history.audited_tags);
    for name in tags {
        let Some(tag) = reading.tag(name) else { continue };
        match tag.kind {
            TagKind::Train => training(reading, name, &tag, audit),
            TagKind::Arch => architecture(reading, name, audit),
            TagKind::Eval => {}
        }
    }
    for row in &reading.rows {
        without_tag(reading, facts, row, audit);
    }
}

fn training(reading: &Reading, name: &str, tag: &TagName, audit: &mut Audit) {
    let Some(log) = &reading.log else { return };
    let is_named = |row: &SeenRow| words_of_tag_cell(row).any(|word| word == name);
    let is_of = |row: &SeenRow| row.run.as_ref().is_some_and(|run| is_tag_of(tag, run));
    if reading.rows.iter().any(|row| is_named(row) || is_of(row)) {
        return;
    }
    let sentence = format!("the tag `{name}` has no row in `{}`", log.path);
    let command = edit(&Place::whole(&log.path));
    audit.add(KIND, Place::Tag(name.to_owned()), name, sentence, command);
}

/// A tag without a date is of all trainings of its name; one with a date also of a training that
/// began after midnight.
fn is_tag_of(tag: &TagName, run: &RunId) -> bool {
    let same_name = tag.name == run.base() || tag.name == run.as_str();
    let Some(date) = tag.date else { return same_name };
    let day = run.stamp().map(jiff::civil::DateTime::date);
    let is_day_before = day.and_then(|day| day.yesterday().ok()) == Some(date);
    same_name && (day == Some(date) || is_day_before)
}

fn architecture(reading: &Reading, name: &str, audit: &mut Audit) {
    let Some(changelog) = &reading.changelog else { return };
    if reading.tags_of(changelog).contains_key(name) {
        return;
    }
    let sentence = format!("`{}` does not name the tag `{name}`", changelog.path);
    let tag = quoted(name);
    let command =
        format!("runscribe changelog add --title TITLE --what 'PATH: TEXT' --why WHY --tag {tag}");
    audit.add(KIND, Place::Tag(name.to_owned()), name, sentence, command);
}

/// What is no run of its own, such as a row that sums up others, needs no tag.
fn without_tag(reading: &Reading, facts: &Facts, row: &SeenRow, audit: &mut Audit) {
    let (Some(log), Some(cell)) = (&reading.log, row.cell(RunColumn::GitTag)) else { return };
    let is_run = row.run.as_ref().is_some_and(|run| facts.audits(run)) || is_pending(row);
    if !cell.is_empty || !is_run {
        return;
    }
    let name = row_name(row);
    let place = Place::line(&log.path, row.line);
    let fitting = facts.history.as_ref().and_then(|history| fitting(reading, history, row));
    let (sentence, command) = if let Some(tag) = fitting {
        let sentence = format!("the row of `{name}` names no tag; `{tag}` is its own");
        (sentence, edit(&place))
    } else {
        (format!("the row of `{name}` names no tag"), tag_command(facts, row, &place))
    };
    audit.add(KIND, place, name, sentence, command);
}

fn fitting<'a>(reading: &Reading, history: &'a History, row: &SeenRow) -> Option<&'a str> {
    let run = row.run.as_ref()?;
    let is_its = |name: &&String| {
        let read = reading.tag(name);
        read.is_some_and(|tag| tag.kind == TagKind::Train && is_tag_of(&tag, run))
    };
    let mut tags = history.tags.iter().filter(is_its);
    let first = tags.next()?;
    tags.next().is_none().then_some(first.as_str())
}

/// A run that recorded its commit can still be tagged.
fn tag_command(facts: &Facts, row: &SeenRow, place: &Place) -> String {
    let tag_at_commit = || {
        let run = row.run.as_ref()?;
        let commit = facts.runs.get(run)?.recorded.as_ref()?.commit.as_ref()?;
        let tag = facts.train_form.replace("{run}", run.base()).replace("{date}", &day(run)?);
        Some(format!("git tag -a {0} -m {0} {commit}", quoted(&tag)))
    };
    tag_at_commit().unwrap_or_else(|| edit(place))
}
