//! `queue`: what waits to be analyzed, and what a person wants of it.

use std::path::{Path, PathBuf};

use crate::daemon::{Client, reading};
use crate::publish::wire::{Command, Message, Status, Subscription};

use super::gate::run_name;
use super::output::{Ended, Outcome, Output};
use super::status::unreachable;
use super::terminal::clean;
use super::{Common, exit};

/// Arguments of `queue`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runscribe queue list
  runscribe queue pause                                   also after a restart of the daemon
  runscribe queue analyze Cache/Training/RUN/checkpoint-5000
  runscribe queue retry RUN checkpoint-5000

Needs the daemon. Only the daemon's own user and root may change the queue.")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print what runs and what waits for what
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Start no further analysis, also after a restart; a running one comes to its end
    Pause,
    /// Start analyses again
    Resume,
    /// Analyze this checkpoint before all others
    Analyze {
        /// The checkpoint's folder, inside the training folder
        path: PathBuf,
    },
    /// Try a checkpoint again whose analysis failed, be it for good
    Retry {
        /// The run id; the path of its folder will do
        run: String,
        /// checkpoint-<step> or final
        checkpoint: String,
    },
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let command = match &arguments.action {
        Action::List { json } => return list(common, *json, output).await,
        Action::Pause => Command::Pause {},
        Action::Resume => Command::Resume {},
        Action::Analyze { path } => Command::Analyze { path: absolute(path)? },
        Action::Retry { run, checkpoint } => {
            Command::Retry { run: run_name(run).to_owned(), checkpoint: checkpoint.clone() }
        }
    };
    order(common, &command, output).await
}

/// Has the daemon carry out a command and prints what it says.
pub(super) async fn order(common: &Common, command: &Command, output: &mut Output) -> Outcome {
    let socket = reading::socket_path(&common.sources())?;
    let reply = Client::order(&socket, command).await.map_err(unreachable)?;
    if reply.ok {
        return Ok(output.line(&clean(&reply.message.unwrap_or_default()))?);
    }
    let why = reply.error.unwrap_or_else(|| "the daemon did not say why not".to_owned());
    Err(Ended::Failed(exit::FAILED, clean(&why)))
}

/// The daemon works in another folder than this command.
fn absolute(path: &Path) -> Result<String, Ended> {
    let path = std::path::absolute(path)?;
    path.into_os_string().into_string().map_err(|path| {
        let shown = path.to_string_lossy();
        Ended::Failed(exit::USAGE, format!("`{shown}` is not valid UTF-8 and cannot be sent"))
    })
}

async fn list(common: &Common, json: bool, output: &mut Output) -> Outcome {
    let socket = reading::socket_path(&common.sources())?;
    let once = Subscription { once: true, ..Subscription::default() };
    let (mut client, _) = Client::connect(&socket, &once).await.map_err(unreachable)?;
    while let Some(message) = client.next().await.map_err(unreachable)? {
        let Message::Status(status) = message else { continue };
        if json {
            let Status { paused, running, queue, .. } = *status;
            let shown = serde_json::json!({"paused": paused, "running": running, "queue": queue});
            return Ok(output.line(&shown.to_string())?);
        }
        for line in lines(&status) {
            output.line(&clean(&line))?;
        }
        return Ok(());
    }
    Err(Ended::Failed(exit::UNREACHABLE, "the daemon closed the connection".to_owned()))
}

fn lines(status: &Status) -> Vec<String> {
    let paused = status.paused.iter().map(|since| format!("paused since {since}"));
    let running = status.running.iter().map(|one| {
        let device = one.device.as_ref().map_or_else(String::new, |device| format!(", {device}"));
        format!("{}/{}: running since {}{device}", one.run, one.checkpoint, one.since)
    });
    let waiting =
        status.queue.iter().map(|one| format!("{}/{}: {}", one.run, one.checkpoint, one.reason));
    let pending: u64 = status.runs.iter().map(|run| run.checkpoints.pending).sum();
    let shown = (status.running.len() + status.queue.len()) as u64;
    let more = pending.checked_sub(shown).filter(|more| *more > 0);
    let mut lines: Vec<String> = paused.chain(running).chain(waiting).collect();
    lines.extend(more.map(|more| format!("and {more} more")));
    if pending == 0 && shown == 0 {
        lines.push("nothing waits".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::wire::{CheckpointCounts, Queued, Run, Running};

    #[test]
    fn the_list_says_what_runs_what_waits_for_what_and_how_many_more() {
        let text = str::to_owned;
        assert_eq!(lines(&Status::default()), ["nothing waits"]);
        let status = Status {
            paused: Some(text("2026-02-25T14:03:07+01:00")),
            runs: vec![Run {
                checkpoints: CheckpointCounts { pending: 4, ..CheckpointCounts::default() },
                ..Run::default()
            }],
            running: vec![Running {
                run: text("a"),
                checkpoint: text("final"),
                since: text("t"),
                attempt: 1,
                device: Some(text("cpu: why")),
            }],
            queue: vec![Queued { run: text("b"), checkpoint: text("c-1"), reason: text("paused") }],
            ..Status::default()
        };
        assert_eq!(
            lines(&status),
            [
                "paused since 2026-02-25T14:03:07+01:00",
                "a/final: running since t, cpu: why",
                "b/c-1: paused",
                "and 2 more"
            ]
        );
    }
}
