//! Beginning a training: the checks before it, its tag, its pending row, and the note by which the
//! daemon knows the run when it appears.
//!
//! The note comes first, then the tag, then the row, which cannot be taken back by a rerun but is
//! found again: whatever fails, running the command again goes on with the same tag.

mod checks;
mod memory;

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::audit::begin::{self, Beginning};
use crate::audit::conventions::{self, TagKind};
use crate::audit::scripts::Plan;
use crate::document::difference;
use crate::document::pending::{self, PendingRow};
use crate::git::starting::{self, NamedTag};
use crate::git::{self, making};
use crate::model::begun::BegunTraining;
use crate::model::observation::{CellFill, RunColumn};
use crate::model::time::Moment;
use crate::record::replace::{self, ReplaceError};
use crate::settings::{LogWrite, Settings};

use super::{discipline, log_branch, now};

pub use checks::Checked;

/// How often the log is read again when somebody saves it while it is edited.
const ATTEMPTS: usize = 5;

/// Lines around the row that are shown; those of a table are long.
const CONTEXT: usize = 1;

/// What a person wants to begin.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The run id without its time stamp.
    pub run: String,
    /// The script that starts the training, as it was given.
    pub script: PathBuf,
    /// What the person says of the plan.
    pub plan: Plan,
    /// Whether the tag is to be pushed.
    pub push: bool,
    /// Whether a changed checkout is no reason to refuse.
    pub allow_dirty: bool,
}

/// A training that can begin.
#[derive(Debug)]
pub struct Prepared {
    /// What was looked at.
    pub checked: Checked,
    has_tag: bool,
    training: BegunTraining,
    row: PendingRow,
    log: PathBuf,
    remote: Option<String>,
}

/// Looks at everything, and writes nothing.
///
/// # Errors
/// What refuses the start, with what to do.
pub async fn prepare(settings: &Settings, wanted: &Wanted) -> anyhow::Result<Prepared> {
    begin::check_run(&wanted.run).map_err(anyhow::Error::msg)?;
    let root = &settings.paths.root;
    let checked = checks::check(settings, wanted).await?;
    let log = log_to_write(settings)?;
    if let Some(reason) = git::busy_with(&log) {
        bail!("the experiment log cannot be written now: {reason}");
    }
    let head = making::commit(root, "HEAD").await?;
    let commit = head.context("there is no commit to begin from")?.hash;
    let tags = starting::tags(root).await?;
    let plan = begin::planned(wanted.plan.clone(), checked.plan.clone());
    let start =
        Start { settings, run: &wanted.run, script: &checked.script, plan: &plan, time: now() };
    let text = replace::read(&log)?.map(|log| log.text);
    let tag = match start.to_go_on_with(&commit, &tags, text.as_deref())? {
        Some(tag) => tag,
        None => start.free_tag(&tags),
    };
    let has_tag = tags.iter().any(|known| known.name == tag && known.commit == commit);
    if !has_tag && tags.iter().any(|known| known.name == tag) {
        bail!("the tag `{tag}` is of another commit: delete it, or begin from there");
    }
    let row = start.row(&tag);
    let training = start.training(tag, commit, &row, text.as_deref())?;
    let remote = if wanted.push { Some(discipline::remote(root).await?) } else { None };
    Ok(Prepared { checked, has_tag, training, row, log, remote })
}

/// A start, before its tag is chosen.
struct Start<'a> {
    settings: &'a Settings,
    run: &'a str,
    script: &'a str,
    plan: &'a Plan,
    time: Moment,
}

impl Start<'_> {
    fn row(&self, tag: &str) -> PendingRow {
        let machine = log_branch::machine(self.settings);
        begin::pending_row(Beginning {
            run: self.run,
            tag,
            now: self.time,
            machine: &machine,
            script: self.script,
            plan: self.plan,
        })
    }

    /// Returns the tag of a start of this commit that never came to its end, or that was made in the
    /// same way and still waits for its run.
    fn to_go_on_with(
        &self,
        commit: &str,
        tags: &[NamedTag],
        log: Option<&[u8]>,
    ) -> anyhow::Result<Option<String>> {
        let headers = &self.settings.log.headers;
        let conclusion = |cells: &[CellFill]| {
            let cell = cells.iter().find(|cell| cell.column == RunColumn::Conclusion);
            cell.map(|cell| cell.value.clone())
        };
        let goes_on = |begun: &&BegunTraining| {
            let lacks_tag = !tags.iter().any(|tag| tag.name == begun.tag);
            let log = log.unwrap_or_default();
            let waits = pending::waits(log, &begun.run, &begun.tag, headers);
            let is_alike = conclusion(&begun.cells) == conclusion(&self.row(&begun.tag).cells);
            let never_ended = lacks_tag || !memory::has_row(self.settings, begun);
            begun.run == self.run && begun.commit == commit && (never_ended || waits && is_alike)
        };
        let begun = memory::read(self.settings)?;
        Ok(begun.iter().rev().find(goes_on).map(|begun| begun.tag.clone()))
    }

    fn free_tag(&self, tags: &[NamedTag]) -> String {
        let (forms, day) = (&self.settings.discipline.tags, self.time.local().date());
        let usual = conventions::tag_name(forms, TagKind::Train, self.run, day);
        conventions::free_name(&usual, |name| tags.iter().any(|tag| tag.name == name))
    }

    /// Returns what is to be remembered: the cells as they will stand in the log.
    fn training(
        &self,
        tag: String,
        commit: String,
        row: &PendingRow,
        log: Option<&[u8]>,
    ) -> anyhow::Result<BegunTraining> {
        let composed = pending::begin(log, row, &self.settings.log.headers)?;
        let cells = composed.cells.into_iter();
        Ok(BegunTraining {
            run: self.run.to_owned(),
            tag,
            time: self.time,
            commit,
            script: self.script.to_owned(),
            cells: cells.map(|(column, value)| CellFill { column, value }).collect(),
            plan: row.plan.iter().map(|(_, value)| value.clone()).collect(),
        })
    }
}

/// Returns the log that the daemon writes as well.
fn log_to_write(settings: &Settings) -> anyhow::Result<PathBuf> {
    let log = log_branch::documents(settings).log;
    if settings.log.write == LogWrite::Branch && !log.exists() {
        bail!("the log's own branch is not there yet: start `runscribe watch`, which makes it");
    }
    Ok(log)
}

impl Prepared {
    /// Returns the tag.
    pub fn tag(&self) -> &str {
        &self.training.tag
    }

    /// Returns the row's change of the log in the form of `diff -u`; empty if it stands there.
    ///
    /// # Errors
    /// The log cannot be read, or must not be edited now.
    pub fn difference(&self, settings: &Settings) -> anyhow::Result<String> {
        let before = replace::read(&self.log)?.map(|log| log.text);
        let applied = pending::begin(before.as_deref(), &self.row, &settings.log.headers)?;
        let name = self.log.display().to_string();
        Ok(difference::unified(&name, before.as_deref(), &applied.bytes, CONTEXT))
    }

    /// Returns whether the tag is still to be made.
    pub fn makes_tag(&self) -> bool {
        !self.has_tag
    }

    /// Makes the tag and writes the row.
    ///
    /// # Errors
    /// What could not be done; what was done stands, and running the command again goes on.
    pub async fn carry_out(&self, settings: &Settings) -> anyhow::Result<()> {
        memory::write(settings, &self.training)?;
        let root = &settings.paths.root;
        if !self.has_tag {
            let message = format!(
                "Begin training {}\n\nScript: {}\n",
                self.training.run, self.training.script
            );
            making::make_tag(root, self.tag(), &self.training.commit, &message)
                .await
                .with_context(|| format!("the tag `{}` is not made, nor is the row", self.tag()))?;
        }
        self.write_row(settings).with_context(|| {
            format!(
                "the tag `{}` stands, and its row is not written; run the same command again, which \
                 goes on with this tag",
                self.tag()
            )
        })
    }

    /// Pushes the tag where that is wanted. Returns the remote.
    ///
    /// # Errors
    /// It is not pushed; tag and row stand.
    pub async fn push(&self, settings: &Settings) -> anyhow::Result<Option<&str>> {
        let Some(remote) = self.remote.as_deref() else { return Ok(None) };
        making::push_tag(&settings.paths.root, remote, self.tag()).await.with_context(|| {
            format!(
                "the tag `{}` and its row stand, and it is not pushed; run the same command again, \
                 or `git push {remote} {}`",
                self.tag(),
                self.tag()
            )
        })?;
        Ok(Some(remote))
    }

    fn write_row(&self, settings: &Settings) -> anyhow::Result<()> {
        if let Some(folder) = self.log.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot create `{}`", folder.display()))?;
        }
        for _ in 0..ATTEMPTS {
            if let Some(reason) = git::busy_with(&self.log) {
                bail!("the experiment log cannot be written now: {reason}");
            }
            let before = replace::read(&self.log)?;
            let text = before.as_ref().map(|log| log.text.as_slice());
            let applied = pending::begin(text, &self.row, &settings.log.headers)?;
            if !applied.changed {
                return memory::note_row(settings, &self.training);
            }
            match replace::replace(&self.log, before.as_ref(), &applied.bytes) {
                Ok(_) => return memory::note_row(settings, &self.training),
                Err(ReplaceError::Changed | ReplaceError::Busy) => {}
                Err(error) => return Err(error.into()),
            }
        }
        bail!("`{}` is saved again and again while it is edited", self.log.display())
    }
}
