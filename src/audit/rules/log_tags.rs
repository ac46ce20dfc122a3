//! T2: `train/` tags without a row, rows without a tag, `arch/` tags that the changelog does not
//! name.

use std::collections::{BTreeMap, BTreeSet};

use super::{edit, quoted};
use crate::audit::conventions::{TagKind, TagName};
use crate::audit::facts::{Facts, History};
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::{Page, Reading, day, is_pending, row_name, words_of_tag_cell};
use crate::document::inventory::SeenRow;
use crate::model::ids::RunId;
use crate::model::observation::RunColumn;

const KIND: (Code, Severity) = (Code::T2, Severity::Warning);

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let tags = facts.history.iter().flat_map(|history| &history.audited_tags);
    let rows = Rows::of(reading, facts);
    let in_changelog = reading.changelog.as_ref().map(|page| (page, reading.tags_of(page)));
    for name in tags {
        let Some(tag) = reading.tag(name) else { continue };
        match tag.kind {
            TagKind::Train => training(reading, &rows, (name, &tag), audit),
            TagKind::Arch => {
                let lacking = in_changelog.as_ref().filter(|(_, named)| !named.contains_key(name));
                if let Some((page, _)) = lacking {
                    architecture(page, name, audit);
                }
            }
            TagKind::Eval => {}
        }
    }
    let trainings = facts.history.as_ref().map(|history| Trainings::of(reading, history));
    for row in &reading.rows {
        without_tag(reading, facts, (row, trainings.as_ref()), audit);
    }
}

/// What rows say of tags, to be asked thousands of times.
struct Rows<'a> {
    words: BTreeSet<&'a str>,
    runs: BTreeMap<&'a str, Vec<&'a RunId>>,
}

impl<'a> Rows<'a> {
    fn of(reading: &'a Reading, facts: &Facts) -> Self {
        let mut runs: BTreeMap<&str, Vec<&RunId>> = BTreeMap::new();
        let open = reading.rows.iter().filter(|row| !names_training(reading, facts, row));
        for run in open.filter_map(|row| row.run.as_ref()) {
            runs.entry(run.base()).or_default().push(run);
            runs.entry(run.as_str()).or_default().push(run);
        }
        Self { words: reading.rows.iter().flat_map(words_of_tag_cell).collect(), runs }
    }
}

/// A row that names the tag of a training is no other tag's row, even of one that would fit its run:
/// a second start of the day, or a cell that was copied from another row.
fn names_training(reading: &Reading, facts: &Facts, row: &SeenRow) -> bool {
    let history = facts.history.as_ref();
    let exists = |tag: &str| history.is_some_and(|history| history.tags.contains(tag));
    words_of_tag_cell(row)
        .any(|word| exists(word) && reading.tag(word).is_some_and(|tag| tag.kind == TagKind::Train))
}

/// The tags of trainings by the name of what was trained.
struct Trainings<'a> {
    by_name: BTreeMap<String, Vec<(&'a str, TagName)>>,
}

impl<'a> Trainings<'a> {
    fn of(reading: &Reading, history: &'a History) -> Self {
        let mut by_name: BTreeMap<String, Vec<(&str, TagName)>> = BTreeMap::new();
        let read = |tag: &'a String| Some((tag.as_str(), reading.tag(tag)?));
        for (tag, name) in history.tags.iter().filter_map(read) {
            if name.kind == TagKind::Train {
                by_name.entry(name.name.clone()).or_default().push((tag, name));
            }
        }
        Self { by_name }
    }

    /// Returns the one tag that is of a run.
    fn of_run(&self, run: &RunId) -> Option<&'a str> {
        let named =
            [run.base(), run.as_str()].into_iter().filter_map(|name| self.by_name.get(name));
        let mut fitting = named.flatten().filter(|(_, tag)| is_tag_of(tag, run));
        let (first, _) = fitting.next()?;
        fitting.next().is_none().then_some(*first)
    }
}

fn training(reading: &Reading, rows: &Rows<'_>, (name, tag): (&str, &TagName), audit: &mut Audit) {
    let Some(log) = &reading.log else { return };
    let runs = rows.runs.get(tag.name.as_str()).into_iter().flatten();
    if rows.words.contains(name) || runs.into_iter().any(|run| is_tag_of(tag, run)) {
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

fn architecture(changelog: &Page, name: &str, audit: &mut Audit) {
    let sentence = format!("`{}` does not name the tag `{name}`", changelog.path);
    let tag = quoted(name);
    let command =
        format!("runscribe changelog add --title TITLE --what 'PATH: TEXT' --why WHY --tag {tag}");
    audit.add(KIND, Place::Tag(name.to_owned()), name, sentence, command);
}

/// What is no run of its own, such as a row that sums up others, needs no tag.
fn without_tag(
    reading: &Reading,
    facts: &Facts,
    (row, trainings): (&SeenRow, Option<&Trainings<'_>>),
    audit: &mut Audit,
) {
    let (Some(log), Some(cell)) = (&reading.log, row.cell(RunColumn::GitTag)) else { return };
    let is_run = row.run.as_ref().is_some_and(|run| facts.audits(run)) || is_pending(row);
    if !cell.is_empty || !is_run {
        return;
    }
    let name = row_name(row);
    let place = Place::line(&log.path, row.line);
    let fitting = trainings.zip(row.run.as_ref()).and_then(|(tags, run)| tags.of_run(run));
    let (sentence, command) = if let Some(tag) = fitting {
        let sentence = format!("the row of `{name}` names no tag; `{tag}` is its own");
        (sentence, edit(&place))
    } else {
        (format!("the row of `{name}` names no tag"), tag_command(facts, row, &place))
    };
    audit.add(KIND, place, name, sentence, command);
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
