//! Putting the branch onto the newest default branch.

use crate::model::divided::DividedLog;

use super::Prepared;
use super::base::Base;
use super::site::Site;
use super::worktree;

/// Rebases the branch unless it stands there already. Where that is not possible, the branch stays
/// as it was and the two logs are returned.
pub(super) async fn onto(site: &Site, base: &Base) -> Result<Prepared, String> {
    let tip = site.worktree.line(&["rev-parse", "--verify", "HEAD^{commit}"]).await?;
    if site.is_ancestor(&base.commit, &tip).await? {
        remember(site, base).await?;
        return Ok(Prepared::Ready);
    }
    let origin = site.origin(base, &tip).await?;
    let marker = worktree::Marker::set(site).await?;
    let options = ["-q", "--no-verify", "--no-gpg-sign", "--no-autostash", "--no-stat"];
    let place = ["--empty=drop", "--onto", &base.commit, &origin];
    let ended = site.worktree.ends(&[&["rebase"], &options[..], &place[..]].concat()).await?;
    if ended.code == Some(0) {
        marker.clear()?;
        remember(site, base).await?;
        return Ok(Prepared::Ready);
    }
    let unmerged = ["diff", "--name-only", "--diff-filter=U"];
    let is_conflict = site.worktree.found(&unmerged).await?.is_some();
    worktree::abort_rebase(site).await?;
    marker.clear()?;
    if !is_conflict {
        return Err(format!(
            "the log's branch cannot be rebased on `{}`: {}",
            base.name,
            ended.complaint()
        ));
    }
    refuse_foreign_commits(site, base, (&origin, &tip)).await?;
    divided(site, base, (&origin, &tip)).await.map(|divided| Prepared::Divided(Box::new(divided)))
}

/// Puts the branch onto the base without its commits.
pub(super) async fn begin_anew(site: &Site, base: &Base) -> Result<String, String> {
    let tip = site.worktree.line(&["rev-parse", "--verify", "HEAD^{commit}"]).await?;
    let origin = site.origin(base, &tip).await?;
    refuse_foreign_commits(site, base, (&origin, &tip)).await?;
    site.remember("before", &tip).await?;
    site.worktree.done(&["reset", "-q", "--hard", &base.commit]).await?;
    remember(site, base).await?;
    Ok(tip)
}

async fn remember(site: &Site, base: &Base) -> Result<(), String> {
    site.remember("base", &base.commit).await?;
    site.remember("tip", "HEAD").await
}

/// Only what runscribe committed can be written anew from the journal.
async fn refuse_foreign_commits(
    site: &Site,
    base: &Base,
    (origin, tip): (&str, &str),
) -> Result<(), String> {
    let own = &site.worktree.author.email;
    let emails = site.top.line(&["log", "--format=%ae", &format!("{origin}..{tip}")]).await?;
    match emails.lines().find(|email| email != own) {
        None => Ok(()),
        Some(email) => Err(format!(
            "`{}` holds commits of `{email}` and conflicts with `{}`: rebase it by hand in `{}`",
            site.branch,
            base.name,
            site.worktree.folder.display()
        )),
    }
}

async fn divided(
    site: &Site,
    base: &Base,
    (origin, tip): (&str, &str),
) -> Result<DividedLog, String> {
    let before = site.notes(origin).await?;
    let mut notes = site.notes(tip).await?;
    notes.retain(|note| !before.contains(note));
    Ok(DividedLog {
        origin: site.file(origin, &site.log).await?,
        ours: site.file(tip, &site.log).await?,
        theirs: site.file(&base.commit, &site.log).await?,
        notes,
    })
}
