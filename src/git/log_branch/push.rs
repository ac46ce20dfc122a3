//! Sending the branch to the remote. It is the only branch that is ever sent, and only over what
//! runscribe itself put there.

use super::base;
use super::site::Site;

/// What came of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// The remote has the branch now.
    Done,
    /// It had it already, or there is nothing to send.
    Needless,
    /// There is no remote.
    NoRemote,
}

/// Sends the branch unless the remote has it.
pub(super) async fn push(site: &Site) -> Result<Pushed, String> {
    let Some(remote) = base::remote(&site.top).await? else { return Ok(Pushed::NoRemote) };
    let Some(tip) = site.tip().await? else { return Ok(Pushed::Needless) };
    let base = base::find(site).await?;
    // All of it is in the default branch. The remote may have deleted the branch when it was merged.
    let is_merged = site.is_ancestor(&tip, &base.commit).await?;
    if is_merged || site.remembered("pushed").await?.as_ref() == Some(&tip) {
        return Ok(Pushed::Needless);
    }
    let there = on_remote(site, &remote).await?;
    if let Some(there) = &there
        && !is_own(site, there, &tip).await?
    {
        return Err(format!(
            "`{}` on `{remote}` holds {there}, which is not from here: if another host has the same \
             name, set `project.machine`; else delete that branch there",
            site.branch
        ));
    }
    // Known after a crash as what the remote may have taken.
    site.remember("pushing", &tip).await?;
    let lease = format!("--force-with-lease={}:{}", site.branch, there.unwrap_or_default());
    let what = format!("{tip}:{}", site.branch);
    let options = ["--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"];
    let push =
        [&["push"], &options[..], &[lease.as_str(), remote.as_str(), what.as_str()]].concat();
    let ended = site.top.asks(&push).await?;
    if ended.code != Some(0) {
        let printed = String::from_utf8_lossy(&ended.printed).into_owned();
        let refused = printed.lines().find_map(|line| line.strip_prefix('!'));
        let why = refused.map_or_else(|| ended.complaint(), |line| line.trim().replace('\t', " "));
        return Err(format!("`{remote}` does not take the log's branch: {why}"));
    }
    site.remember("pushed", &tip).await?;
    Ok(Pushed::Done)
}

/// Asks the remote for the branch's commit.
async fn on_remote(site: &Site, remote: &str) -> Result<Option<String>, String> {
    let ended = site.top.asks(&["ls-remote", remote, &site.branch]).await?;
    if ended.code != Some(0) {
        return Err(format!("`{remote}` cannot be reached: {}", ended.complaint()));
    }
    let printed = String::from_utf8_lossy(&ended.printed);
    let mut lines = printed.lines().filter_map(|line| line.split_once('\t'));
    Ok(lines.find(|(_, name)| *name == site.branch).map(|(commit, _)| commit.to_owned()))
}

/// Returns whether the remote's commit is one that runscribe put there from here.
async fn is_own(site: &Site, there: &str, tip: &str) -> Result<bool, String> {
    for name in ["pushed", "pushing"] {
        if site.remembered(name).await?.as_deref() == Some(there) {
            return Ok(true);
        }
    }
    Ok(site.commit(there).await?.is_some() && site.is_ancestor(there, tip).await?)
}
