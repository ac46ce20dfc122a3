//! The named workers: owned here, watched here. The early end, error or panic of any of them is
//! an error of the daemon; none is ever left deaf while the rest goes on.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// All workers of the daemon.
#[derive(Debug, Default)]
pub(super) struct Workers {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
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
        let (ended, wait) = oneshot::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || drop(ended.send(work())))
            .with_context(|| format!("cannot start the {name} thread"))?;
        self.spawn(name, async move {
            wait.await.unwrap_or_else(|_| Err(anyhow!("the {name} thread panicked")))
        });
        Ok(())
    }

    /// Waits for the first worker that ends, which none should before the daemon stops. Pending
    /// forever while there are no workers. Cancel-safe.
    pub(super) async fn first_end(&mut self) -> anyhow::Error {
        match self.set.join_next().await {
            None => std::future::pending().await,
            Some(Ok((name, Ok(())))) => anyhow!("the {name} worker ended early"),
            Some(Ok((name, Err(error)))) => error.context(format!("the {name} worker failed")),
            Some(Err(panic)) => anyhow!(panic).context("a worker panicked"),
        }
    }

    /// Waits until all workers have ended, within a limit. Errors are logged: the daemon is on its
    /// way out already.
    pub(super) async fn finish(mut self, limit: Duration) {
        let all = async {
            while let Some(ended) = self.set.join_next().await {
                match ended {
                    Ok((_, Ok(()))) => {}
                    Ok((name, Err(error))) => {
                        tracing::error!(
                            worker = name,
                            error = format!("{error:#}"),
                            "worker failed"
                        );
                    }
                    Err(error) => tracing::error!(%error, "worker panicked"),
                }
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("some workers did not end in time; leaving without them");
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
    }
}
