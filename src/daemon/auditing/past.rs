//! Git's history for the audit, from its base on.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

use super::relative;
use crate::audit::conventions::TagKind;
use crate::audit::facts::{Changed, CommitFact, Facts, History, RemoteFact};
use crate::audit::reading::Reading;
use crate::git::history::{self, Since, Tag};
use crate::settings::Settings;

/// Where a day lasts longest. Whoever writes an entry after a tag was made, and wherever, dates it on the
/// day that it was here then, or later.
const WEST: Offset = Offset::constant(-12);
/// The model's code.
const MODEL: &str = "nn";

/// Where the audit begins.
pub(super) struct Base {
    has_history: bool,
    since: Since,
    /// The day of the base.
    pub(super) day: Option<Date>,
}

impl Base {
    /// Reads `discipline.since`: a day, else a revision.
    pub(super) async fn of(settings: &Settings) -> anyhow::Result<Self> {
        let root = &settings.paths.root;
        let has_history = history::has_history(root).await?;
        let Some(text) = settings.discipline.since.as_deref() else {
            return Ok(Self { has_history, since: Since::Beginning, day: None });
        };
        if let Ok(day) = text.parse::<Date>() {
            let start = day.to_zoned(TimeZone::system())?.timestamp().as_second();
            return Ok(Self { has_history, since: Since::Time(start), day: Some(day) });
        }
        let unknown = || {
            format!("`discipline.since` is `{text}`: neither a day nor a revision that git knows")
        };
        anyhow::ensure!(has_history, "{}", unknown());
        let day = history::day_of(root, text).await.with_context(unknown)?;
        Ok(Self { has_history, since: Since::Revision(text.to_owned()), day: day.parse().ok() })
    }

    /// Returns the Python files that git tracks, none where there is no git.
    pub(super) async fn python_files(&self, settings: &Settings) -> anyhow::Result<Vec<String>> {
        if !self.has_history {
            return Ok(Vec::new());
        }
        Ok(history::tracked(&settings.paths.root, "*.py").await?)
    }
}

/// Reads what the rules ask of git.
pub(super) async fn read(
    settings: &Settings,
    reading: &Reading,
    base: &Base,
    facts: &mut Facts,
) -> anyhow::Result<()> {
    let root = &settings.paths.root;
    if !base.has_history {
        let note = "there is no git history here, so tags, commits and what changed since a tag are \
                    not audited";
        facts.unknown.push(note.to_owned());
        return Ok(());
    }
    let (commits, tags, audited, is_shallow) = tokio::try_join!(
        history::commits(root, &base.since),
        history::tags(root, &Since::Beginning),
        history::tags(root, &base.since),
        history::is_shallow(root),
    )?;
    let revisions = revisions(reading, facts);
    let existing = history::existing(root, &revisions).await?;
    let commits = commits.into_iter().map(|commit| CommitFact {
        is_merge: commit.parents > 1,
        hash: commit.hash,
        subject: commit.subject,
    });
    let mut past = History {
        commits: commits.collect(),
        tags: tags.iter().map(|tag| tag.name.clone()).collect(),
        audited_tags: audited.into_iter().map(|tag| tag.name).collect(),
        existing,
        is_shallow,
        ..History::default()
    };
    changes(root, reading, &tags, &mut past, facts).await?;
    facts.history = Some(past);
    offer_union(settings, facts).await?;
    Ok(())
}

/// The hashes of documents and those that runs recorded.
fn revisions(reading: &Reading, facts: &Facts) -> Vec<String> {
    let mut revisions: BTreeSet<String> = reading.questions().revisions;
    let recorded = facts.runs.values().filter_map(|run| run.recorded.as_ref()?.commit.clone());
    revisions.extend(recorded);
    revisions.into_iter().collect()
}

/// What changed in the model's code since the newest tag of its state.
async fn changes(
    root: &Path,
    reading: &Reading,
    tags: &[Tag],
    past: &mut History,
    facts: &mut Facts,
) -> anyhow::Result<()> {
    let is_arch =
        |tag: &&Tag| reading.tag(&tag.name).is_some_and(|name| name.kind == TagKind::Arch);
    let Some(newest) = tags.iter().filter(is_arch).max_by_key(|tag| tag.created) else {
        if root.join(MODEL).exists() {
            let note = format!(
                "there is no tag of the form `arch/…`, so changes of `{MODEL}/` since one are not \
                 audited"
            );
            facts.unknown.push(note);
        }
        return Ok(());
    };
    let files = history::changed_since(root, &newest.name, MODEL).await?;
    let day = earliest_day(newest.created);
    past.changed = Some(Changed { tag: newest.name.clone(), day, files });
    Ok(())
}

/// Returns the earliest day that it was anywhere at a time in seconds since 1970.
fn earliest_day(seconds: i64) -> Option<Date> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.to_zoned(WEST.to_time_zone()).date())
}

/// Two hosts that append to one table conflict, unless git is told to keep both.
async fn offer_union(settings: &Settings, facts: &mut Facts) -> anyhow::Result<()> {
    let (root, log) = (&settings.paths.root, &settings.paths.experiment_log);
    let path = relative(root, log);
    if !log.exists() || history::merge_attribute(root, &path).await? != "unspecified" {
        return Ok(());
    }
    facts.unknown.push(format!(
        "two hosts that append to `{path}` make git stop at a conflict; to have it keep both: \
         echo '{path} merge=union' >> .gitattributes"
    ));
    Ok(())
}

/// Reads the tags of the remote. One that is away is said, and no finding.
pub(super) async fn ask_remote(settings: &Settings, facts: &mut Facts) {
    let Some(past) = &mut facts.history else { return };
    let root = &settings.paths.root;
    let asked = async {
        let Some(name) = history::remote(root).await? else { return Ok(None) };
        let tags = history::remote_tags(root, &name).await?;
        Ok::<_, crate::git::GitError>(Some(RemoteFact { name, tags: tags.into_iter().collect() }))
    };
    let unknown = match asked.await {
        Ok(Some(remote)) => {
            past.remote = Some(remote);
            return;
        }
        Ok(None) => "there is no remote, so whether tags are pushed is not known".to_owned(),
        Err(error) => format!("whether tags are pushed is not known: {error}"),
    };
    facts.unknown.push(unknown);
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn an_entry_written_after_a_tag_is_never_older_than_its_earliest_day() {
        // 2026-03-01 11:59:59 and 12:00:00 UTC: on Baker Island it becomes March then.
        assert_eq!(earliest_day(1_772_366_399), Some(date(2026, 2, 28)));
        assert_eq!(earliest_day(1_772_366_400), Some(date(2026, 3, 1)));
        assert_eq!(earliest_day(i64::MAX), None);
    }
}
