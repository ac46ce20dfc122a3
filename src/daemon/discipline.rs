//! The commands that write the documents of the discipline and make its tags: what they need to
//! know is read here, decided in the audit's room, and written through the one way to write a
//! person's file.

pub mod hook;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Zoned;
use jiff::civil::Date;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::report;
use crate::audit::conventions::{self, TagKind};
use crate::audit::new_entry::{self, Added, Change, NewEntry};
use crate::audit::todo_done::{self, Done, Marked};
use crate::audit::todos;
use crate::git::making::{self, NamedCommit};
use crate::git::{self, GitError, history};
use crate::model::ids::RunId;
use crate::record::replace::{self, ReplaceError};
use crate::record::sweep;
use crate::settings::Settings;

/// How often somebody may save in between before the edit is given up.
const CROSSINGS: u32 = 10;
/// How long a document is left alone after somebody saved in between.
const QUIET: Duration = Duration::from_millis(200);

/// What became of a document.
#[derive(Debug)]
pub struct Edited {
    /// Where it is.
    pub path: PathBuf,
    /// What changed in it, or would, in the form of `diff -u`; empty if nothing does.
    pub difference: String,
}

/// What an entry of the CHANGELOG is to say.
#[derive(Debug, Clone)]
pub struct EntryRequest {
    /// Its title.
    pub title: String,
    /// What changed.
    pub changes: Vec<Change>,
    /// Why.
    pub why: String,
    /// The tag that holds it, which must exist.
    pub tag: Option<String>,
    /// The task that it belongs to, which must exist.
    pub todo: Option<String>,
}

/// A tag that was made, or would be.
#[derive(Debug)]
pub struct Tagged {
    /// Its name.
    pub tag: String,
    /// The commit that it names.
    pub commit: NamedCommit,
    /// Its message.
    pub message: String,
    /// The tracked files that are not as the commit has them.
    pub changed: Vec<String>,
    /// The remote that has it now, or would.
    pub pushed: Option<String>,
}

/// Adds an entry to the CHANGELOG.
///
/// # Errors
/// The tag or the task does not exist, or the file cannot be edited; the text says what to do.
pub async fn add_entry(
    settings: &Settings,
    request: &EntryRequest,
    dry_run: bool,
) -> anyhow::Result<Edited> {
    let root = &settings.paths.root;
    if let Some(tag) = &request.tag
        && making::tagged(root, tag).await?.is_none()
    {
        bail!("there is no tag `{tag}`: make it first, with `runscribe tag`");
    }
    let todo = request.todo.as_ref().map(|wanted| task_name(settings, wanted)).transpose()?;
    let entry = NewEntry {
        day: today(),
        title: request.title.clone(),
        changes: request.changes.clone(),
        why: request.why.clone(),
        tag: request.tag.clone(),
        todo,
    };
    edit(&settings.discipline.changelog, dry_run, |text| match new_entry::add(text, &entry)? {
        Added::There(_) => Ok(text.unwrap_or_default().to_vec()),
        Added::Made(bytes) => Ok(bytes),
    })
    .await
}

/// Returns a task as an entry names it.
fn task_name(settings: &Settings, wanted: &str) -> anyhow::Result<String> {
    let path = &settings.discipline.todos;
    let Some(file) = block_in_place(|| replace::read(path))? else { bail!(no_tasks(path)) };
    let todos = todos::read(&file.text);
    // A number that stands in several places is still the number of a task.
    let found = todos.find(wanted);
    let number = found.first().and_then(|task| task.number.as_ref());
    if let Some(number) = number.filter(|_| found.iter().all(|task| task.number.as_ref() == number))
    {
        return Ok(format!("TODO {number}"));
    }
    let task = todo_done::the_one(&todos, wanted).map_err(anyhow::Error::msg);
    let task = task.with_context(|| format!("`{}`", path.display()))?;
    Ok(task.title.clone())
}

fn no_tasks(path: &Path) -> String {
    format!(
        "there is no list of tasks `{}`: create it, or name another file with `todos` under \
         `[discipline]` in runscribe.toml",
        path.display()
    )
}

/// Marks a task done, by a commit or by where the checkout stands.
///
/// # Errors
/// There is no such task, several are meant, there is no such commit, or the file cannot be edited;
/// the text says what to do.
pub async fn mark_done(
    settings: &Settings,
    task: &str,
    (commit, note): (Option<&str>, Option<&str>),
    dry_run: bool,
) -> anyhow::Result<Edited> {
    let named = commit_of(&settings.paths.root, commit.unwrap_or("HEAD")).await?;
    let done = Done {
        today: today(),
        commit: named.short,
        committed: named.day,
        is_named: commit.is_some(),
        note: note.map(str::to_owned),
    };
    let path = &settings.discipline.todos;
    edit(path, dry_run, |text| {
        let text = text.ok_or_else(|| no_tasks(path))?;
        match todo_done::mark(text, task, &done)? {
            Marked::Already(_) => Ok(text.to_vec()),
            Marked::Made(_, bytes) => Ok(bytes),
        }
    })
    .await
}

/// A checkout that git will not look at, such as another user's, is not one that is missing.
pub(super) fn no_checkout(root: &Path, error: GitError) -> anyhow::Error {
    let root = root.display();
    let why = if error.is_no_repository() {
        format!("`{root}` is in no git checkout: make one with `git init`")
    } else {
        format!("git does not look at `{root}`")
    };
    anyhow::Error::new(error).context(why)
}

async fn commit_of(root: &Path, revision: &str) -> anyhow::Result<NamedCommit> {
    if !history::has_history(root).await? {
        bail!("`{}` is no git checkout with a commit", root.display());
    }
    let found = making::commit(root, revision).await?;
    found.with_context(|| format!("no commit is named `{revision}` in `{}`", root.display()))
}

/// Makes an annotated tag in its kind's form on HEAD.
///
/// # Errors
/// The name has not that form or is taken, or git refuses; the text says what to do.
pub async fn tag(
    settings: &Settings,
    (kind, name): (TagKind, &str),
    push: bool,
    dry_run: bool,
) -> anyhow::Result<Tagged> {
    let (root, forms) = (&settings.paths.root, &settings.discipline.tags);
    let day = today();
    let wanted = conventions::wanted_tag(forms, kind, name, day)?;
    let tag = wanted.tag(forms, day);
    let commit = commit_of(root, "HEAD").await?;
    if let Some(there) = making::tagged(root, &tag).await? {
        bail!(taken(root, forms, &tag, &there, &commit).await?);
    }
    let pushed = if push { Some(remote(root).await?) } else { None };
    let changed = making::changed(root).await?;
    let message = message(kind, &wanted.name);
    if !dry_run {
        making::make_tag(root, &tag, &commit.hash, &message).await?;
        if let Some(remote) = &pushed {
            making::push_tag(root, remote, &tag).await.with_context(|| {
                format!(
                    "the tag `{tag}` is made, but not pushed: push it with `git push {remote} \
                     refs/tags/{tag}`"
                )
            })?;
        }
    }
    Ok(Tagged { tag, commit, message, changed, pushed })
}

/// Tags an evaluation of a run on HEAD; a further one of that day gets a number.
///
/// # Errors
/// There is no commit, or git refuses.
pub async fn tag_evaluation(
    settings: &Settings,
    benchmark: &str,
    run: &RunId,
) -> anyhow::Result<Tagged> {
    let (root, forms) = (&settings.paths.root, &settings.discipline.tags);
    let day = today();
    let wanted = conventions::wanted_tag(forms, TagKind::Eval, benchmark, day)?;
    let commit = commit_of(root, "HEAD").await?;
    let tags = history::tags(root, &history::Since::Beginning).await?;
    let is_taken = |name: &str| tags.iter().any(|tag| tag.name == name);
    let tag = conventions::free_name(&wanted.tag(forms, day), is_taken);
    let changed = making::changed(root).await?;
    let message = message(TagKind::Eval, &format!("{benchmark} of {run}"));
    making::make_tag(root, &tag, &commit.hash, &message).await?;
    Ok(Tagged { tag, commit, message, changed, pushed: None })
}

/// Returns the remote that tags are pushed to.
pub(super) async fn remote(root: &Path) -> anyhow::Result<String> {
    history::remote(root).await?.context(
        "there is no remote to push the tag to, neither `origin` nor the branch's own nor a single \
         one: add it with `git remote add`",
    )
}

/// Says why a tag that exists is not made, and what may be meant.
async fn taken(
    root: &Path,
    forms: &crate::settings::TagForms,
    tag: &str,
    there: &NamedCommit,
    head: &NamedCommit,
) -> anyhow::Result<String> {
    let on = if there.hash == head.hash { "on HEAD" } else { "on another commit" };
    let exists = format!("the tag `{tag}` exists, {on} ({}, {})", there.short, there.day);
    let has_day = conventions::read_tag(forms, tag).is_some_and(|read| read.date.is_some());
    if has_day {
        let tags = history::tags(root, &history::Since::Beginning).await?;
        let is_taken = |name: &str| tags.iter().any(|tag| tag.name == name);
        let first = tag.rsplit_once('-').map_or(tag, |(first, number)| {
            let is_number = number.len() < 8 && number.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { first } else { tag }
        });
        let free = conventions::free_name(first, is_taken);
        Ok(format!("{exists}: a further one of that day is `{free}`"))
    } else {
        Ok(format!("{exists}: give another name"))
    }
}

fn message(kind: TagKind, name: &str) -> String {
    match kind {
        TagKind::Arch => format!("Architecture: {name}\n"),
        TagKind::Train => format!("Start of a training: {name}\n"),
        TagKind::Eval => format!("Evaluation: {name}\n"),
    }
}

fn today() -> Date {
    Zoned::now().date()
}

/// Edits a document, `None` if there is none; done again on the new text when somebody saved in
/// between.
///
/// # Errors
/// The edit itself fails, git is in the middle of something, or the file cannot be written.
pub(super) async fn edit(
    path: &Path,
    dry_run: bool,
    change: impl Fn(Option<&[u8]>) -> Result<Vec<u8>, String>,
) -> anyhow::Result<Edited> {
    if !dry_run {
        block_in_place(|| sweep::beside(path));
    }
    for _ in 0..CROSSINGS {
        let tried = block_in_place(|| try_edit(path, dry_run, &change))?;
        match tried {
            Some(edited) => return Ok(edited),
            None => sleep(QUIET).await,
        }
    }
    bail!("`{}` is being written all the time: run it again later", path.display())
}

/// Returns nothing when somebody else wrote in between.
fn try_edit(
    path: &Path,
    dry_run: bool,
    change: &impl Fn(Option<&[u8]>) -> Result<Vec<u8>, String>,
) -> anyhow::Result<Option<Edited>> {
    let before = replace::read(path)?;
    let old = before.as_ref().map(|before| before.text.as_slice());
    let new = change(old).map_err(anyhow::Error::msg);
    let new = new.with_context(|| format!("`{}` is left as it is", path.display()))?;
    let difference = match old {
        Some(old) if old == new => String::new(),
        _ => report::difference(path, old, &new),
    };
    let edited = Edited { path: path.to_owned(), difference };
    if edited.difference.is_empty() {
        return Ok(Some(edited));
    }
    if let Some(reason) = git::busy_with(path) {
        bail!("`{}` is not written now: {reason}", path.display());
    }
    if dry_run {
        return Ok(Some(edited));
    }
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    match replace::replace(path, before.as_ref(), &new) {
        Ok(_) => Ok(Some(edited)),
        Err(ReplaceError::Changed | ReplaceError::Busy) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
