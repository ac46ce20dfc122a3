//! The `commit-msg` hook: put into the checkout's own place for hooks, and taken away again; never
//! another one.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tokio::task::block_in_place;

use super::{Edited, edit};
use crate::audit::conventions;
use crate::daemon::report;
use crate::git::making::{self, Layout};
use crate::record::replace;
use crate::settings::Settings;

/// How a hook of ours is told from others.
const MARK: &str = "# runscribe: checks the prefix of a commit's subject.";
/// A longer message is no message.
const LONGEST_MESSAGE: u64 = 1 << 20;

/// Puts the hook into its place.
///
/// # Errors
/// Another hook is there, hooks lie outside of the repository, or it cannot be written; the text
/// says what to do.
pub async fn install(
    settings: &Settings,
    executable: &Path,
    dry_run: bool,
) -> anyhow::Result<Edited> {
    let layout = layout(settings).await?;
    let path = layout.hooks.join("commit-msg");
    let hook = script(&layout, &settings.paths.root, executable)?;
    let call = call(&layout, &settings.paths.root, "runscribe")?;
    if !(layout.hooks.starts_with(&layout.common) || layout.hooks.starts_with(&layout.top)) {
        bail!(
            "`core.hooksPath` leads to `{}`, outside of this repository, so other ones would be \
             checked too: add the line `{call} || exit` to a `commit-msg` hook there yourself",
            layout.hooks.display()
        );
    }
    let edited = edit(&path, dry_run, |text| {
        if text.is_some_and(|text| !is_ours(text)) {
            return Err(format!(
                "another hook is there: add the line `{call} || exit` to it, where it may end the \
                 commit"
            ));
        }
        Ok(hook.clone().into_bytes())
    })
    .await?;
    if !dry_run {
        block_in_place(|| fs::set_permissions(&path, Permissions::from_mode(0o755)))
            .with_context(|| format!("`{}` cannot be made executable", path.display()))?;
    }
    Ok(edited)
}

/// Takes the hook away.
///
/// # Errors
/// The hook that is there is another one, or it cannot be removed.
pub async fn remove(settings: &Settings, dry_run: bool) -> anyhow::Result<Edited> {
    let path = layout(settings).await?.hooks.join("commit-msg");
    block_in_place(|| {
        let Some(hook) = replace::read(&path)? else {
            return Ok(Edited { path, difference: String::new() });
        };
        if !is_ours(&hook.text) {
            bail!("`{}` is another hook, and is left as it is", path.display());
        }
        let difference = report::difference(&path, Some(&hook.text), &[]);
        if !dry_run {
            fs::remove_file(&path)
                .with_context(|| format!("`{}` cannot be removed", path.display()))?;
        }
        Ok(Edited { path, difference })
    })
}

/// Checks the message in a file that git hands to its hook.
///
/// # Errors
/// What is wrong with it, in the inner result; or the file cannot be read.
pub fn check_message(settings: &Settings, file: &Path) -> anyhow::Result<Result<(), String>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = io::Read::take(fs::File::open(file)?, LONGEST_MESSAGE);
        io::Read::read_to_end(&mut { file }, &mut bytes)?;
        Ok(bytes)
    };
    let bytes =
        block_in_place(read).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let checked = conventions::check_message(&settings.discipline.commit_prefixes, &text);
    Ok(checked.map_err(|problem| problem.to_string()))
}

async fn layout(settings: &Settings) -> anyhow::Result<Layout> {
    let root = &settings.paths.root;
    let layout = making::layout(root).await;
    layout.map_err(|error| super::no_checkout(root, error))
}

fn is_ours(hook: &[u8]) -> bool {
    hook.split(|byte| *byte == b'\n').any(|line| line == MARK.as_bytes())
}

/// A missing program or project must not keep anybody from committing.
fn script(layout: &Layout, root: &Path, executable: &Path) -> anyhow::Result<String> {
    let call = call(layout, root, "\"$runscribe\"")?;
    let executable = quoted(executable)?;
    Ok(format!(
        "#!/bin/sh\n{MARK}\n# `runscribe hook remove` takes it away.\nrunscribe={executable}\n\
         [ -x \"$runscribe\" ] || runscribe=$(command -v runscribe) || {{\n    \
         echo 'runscribe is not found: the subject of this commit is not checked' >&2\n    \
         exit 0\n}}\nexec {call}\n"
    ))
}

/// The command that checks a message; git starts hooks in the top folder.
fn call(layout: &Layout, root: &Path, program: &str) -> anyhow::Result<String> {
    let top = block_in_place(|| fs::canonicalize(&layout.top)).unwrap_or(layout.top.clone());
    let inside = root.strip_prefix(&top).map(Path::to_owned).unwrap_or_default();
    let inside = if inside == PathBuf::new() { PathBuf::from(".") } else { inside };
    Ok(format!("{program} hook --root {} commit-msg \"$1\"", quoted(&inside)?))
}

fn quoted(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| {
        format!("`{}` is not UTF-8 and cannot be written into a hook", path.display())
    })?;
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}
