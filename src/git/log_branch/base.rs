//! The default branch, which the log's branch stands on.

use super::run::Git;
use super::site::Site;

/// What the branch is to stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    /// How people call it.
    pub(super) name: String,
    /// Its commit.
    pub(super) commit: String,
}

/// Returns the remote that the branch belongs to: `origin`, else the only one.
pub(super) async fn remote(git: &Git) -> Result<Option<String>, String> {
    let remotes = git.line(&["remote"]).await?;
    let names: Vec<&str> = remotes.lines().collect();
    let only = || (names.len() == 1).then(|| names.first().copied()).flatten();
    Ok(names.iter().find(|name| **name == "origin").copied().or_else(only).map(str::to_owned))
}

/// Finds the default branch: what the remote's `HEAD` names, else `init.defaultBranch`, `main` or
/// `master` of the remote, else those of this repository, else the branch that is checked out.
///
/// Where there is a remote, commits that exist only here are no base: to push the log's branch would
/// publish them.
pub(super) async fn find(site: &Site) -> Result<Base, String> {
    let git = &site.top;
    if let Some(remote) = remote(git).await?
        && let Some(name) = remote_default(git, &remote).await?
    {
        let theirs = site.commit(&format!("refs/remotes/{remote}/{name}")).await?;
        let fetched = site.remembered("default").await?;
        let commit = match (theirs, fetched) {
            (Some(theirs), Some(fetched)) if site.is_ancestor(&fetched, &theirs).await? => theirs,
            (theirs, fetched) => match fetched.or(theirs) {
                Some(commit) => commit,
                None => return Err(format!("`{remote}/{name}` is not here: fetch it")),
            },
        };
        return Ok(Base { name: format!("{remote}/{name}"), commit });
    }
    for name in usual_names(git).await? {
        if let Some(commit) = site.commit(&format!("refs/heads/{name}")).await? {
            return Ok(Base { name, commit });
        }
    }
    let name = git.found(&["symbolic-ref", "-q", "--short", "HEAD"]).await?;
    match site.commit("HEAD").await? {
        Some(commit) => Ok(Base { name: name.unwrap_or_else(|| "HEAD".to_owned()), commit }),
        None => Err("the repository has no commit yet: make the first one".to_owned()),
    }
}

async fn remote_default(git: &Git, remote: &str) -> Result<Option<String>, String> {
    let head = format!("refs/remotes/{remote}/HEAD");
    let prefix = format!("refs/remotes/{remote}/");
    if let Some(named) = git.found(&["symbolic-ref", "-q", &head]).await?
        && let Some(name) = named.strip_prefix(&prefix)
    {
        return Ok(Some(name.to_owned()));
    }
    for name in usual_names(git).await? {
        let reference = format!("{prefix}{name}");
        if git.found(&["rev-parse", "-q", "--verify", &reference]).await?.is_some() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

async fn usual_names(git: &Git) -> Result<Vec<String>, String> {
    let configured = git.found(&["config", "--get", "init.defaultBranch"]).await?;
    Ok(configured.into_iter().chain(["main", "master"].map(str::to_owned)).collect())
}

/// Fetches the remote's default branch into a reference of runscribe's own. The branches of the
/// remote as the person last saw them stay: their next push may rely on them.
pub(super) async fn fetch(site: &Site) -> Result<(), String> {
    let git = &site.top;
    let Some(remote) = remote(git).await? else { return Ok(()) };
    let Some(name) = remote_default(git, &remote).await? else { return Ok(()) };
    let wanted = format!("+refs/heads/{name}:{}", site.reference("default"));
    let options = ["--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--refmap="];
    let fetch = [&["fetch", "-q"], &options[..], &[remote.as_str(), wanted.as_str()]].concat();
    let ended = git.asks(&fetch).await?;
    if ended.code == Some(0) {
        return Ok(());
    }
    Err(format!("`{remote}` cannot be fetched from: {}", ended.complaint()))
}
