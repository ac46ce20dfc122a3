//! The named workers: owned here, watched here. The early end, error or panic of any of them is
//! an error of the daemon; none is ever left deaf while the rest goes on.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long those that only look are waited for at the end: one that hangs in a system call (a dead
/// network folder) never ends, and leaves nothing undone.
const LOOKERS_LIMIT: Duration = Duration::from_secs(1);

/// All workers of the daemon.
#[derive(Debug, Default)]
pub(super) struct Workers {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
    /// Those that only look at folders and files of others, and so may hang.
    lookers: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Workers {
    /// Owns a future as a worker.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.set.spawn(async move { (name, work.await) });
    }

    /// Owns blocking work as a worker on a thread of its own.
    ///
    /// A panic of the thread drops its end of the channel, which is seen here. A thread that hangs
    /// in a system call (a dead network folder) does not keep the process from exiting.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn spawn_thread(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let ended = thread(name, work)?;
        self.set.spawn(async move { (name, ended.await) });
        Ok(())
    }

    /// Owns blocking work that only looks at folders and files of others: the end of the daemon
    /// does not wait for it if it hangs there.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn spawn_looker(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let ended = thread(name, work)?;
        self.lookers.spawn(async move { (name, ended.await) });
        Ok(())
    }

    /// Waits for the first worker that ends, which none should before the daemon stops. Pending
    /// forever while there are no workers. Cancel-safe.
    pub(super) async fn first_end(&mut self) -> anyhow::Error {
        let ended = tokio::select! {
            Some(ended) = self.set.join_next() => ended,
            Some(ended) = self.lookers.join_next() => ended,
            else => std::future::pending().await,
        };
        match ended {
            Ok((name, Ok(()))) => anyhow!("the {name} worker ended early"),
            Ok((name, Err(error))) => error.context(format!("the {name} worker failed")),
            Err(panic) => anyhow!(panic).context("a worker panicked"),
        }
    }

    /// Waits until all workers have ended, within a limit. Errors are logged: the daemon is on its
    /// way out already.
    pub(super) async fn finish(mut self, limit: Duration) {
        if timeout(limit, all_ended(&mut self.set)).await.is_err() {
            tracing::warn!("some workers did not end in time; leaving without them");
        }
        let limit = limit.min(LOOKERS_LIMIT);
        if timeout(limit, all_ended(&mut self.lookers)).await.is_err() {
            tracing::warn!("a folder does not answer; leaving without whoever looks at it");
        }
    }
}

/// Runs blocking work on a thread of its own; what is returned ends with it.
fn thread(
    name: &'static str,
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    let (ended, wait) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || drop(ended.send(work())))
        .with_context(|| format!("cannot start the {name} thread"))?;
    Ok(async move { wait.await.unwrap_or_else(|_| Err(anyhow!("the {name} thread panicked"))) })
}

async fn all_ended(set: &mut JoinSet<(&'static str, anyhow::Result<()>)>) {
    while let Some(ended) = set.join_next().await {
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((name, Err(error))) => {
                tracing::error!(worker = name, error = format!("{error:#}"), "worker failed");
            }
            Err(error) => tracing::error!(%error, "worker panicked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_early_end_an_error_and_a_panic_are_all_seen() {
        let mut workers = Workers::default();
        workers.spawn("early", async { Ok(()) });
        assert_eq!(workers.first_end().await.to_string(), "the early worker ended early");
        workers.spawn("failing", async { Err(anyhow!("no disk")) });
        assert_eq!(
            format!("{:#}", workers.first_end().await),
            "the failing worker failed: no disk"
        );
        workers.spawn_thread("panicking", || panic!("on purpose")).unwrap();
        assert_eq!(
            format!("{:#}", workers.first_end().await),
            "the panicking worker failed: the panicking thread panicked"
        );
        workers.spawn_looker("looking", || panic!("on purpose")).unwrap();
        assert_eq!(
            format!("{:#}", workers.first_end().await),
            "the looking worker failed: the looking thread panicked"
        );
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_a_look_that_hangs() {
        let mut workers = Workers::default();
        let (never, hangs) = std::sync::mpsc::channel::<()>();
        workers.spawn_looker("hanging", move || Ok(hangs.recv()?)).unwrap();
        let started = tokio::time::Instant::now();
        workers.finish(Duration::from_secs(20)).await;
        assert!(started.elapsed() >= LOOKERS_LIMIT);
        assert!(started.elapsed() < Duration::from_secs(10), "not as long as it could have");
        drop(never);
    }
}
