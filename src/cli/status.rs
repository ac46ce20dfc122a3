//! `status`: the daemon's snapshot.

use crate::daemon::{Client, ClientError, reading};
use crate::publish::wire::{Message, Subscription};

use super::output::{Ended, Outcome, Output};
use super::{Common, exit, status_text};

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runscribe status
  runscribe status --json | jq '.runs[] | {run, verdict, rank}'")]
pub(super) struct Arguments {
    /// Print the snapshot as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let socket = reading::socket_path(&common.sources())?;
    let once = Subscription { once: true, ..Subscription::default() };
    let (mut client, _) = Client::connect(&socket, &once).await.map_err(unreachable)?;
    while let Some(line) = client.next_line().await.map_err(unreachable)? {
        match serde_json::from_str::<Message>(&line) {
            Ok(Message::Status(_)) if arguments.json => return Ok(output.line(&line)?),
            Ok(Message::Status(status)) => {
                let now = Some(crate::daemon::now());
                let text = status_text::status_text(&status, output.colored, output.width, now);
                return Ok(output.text(&text)?);
            }
            Ok(_) => {}
            Err(error) => return Err(anyhow::Error::from(error).into()),
        }
    }
    Err(Ended::Failed(exit::UNREACHABLE, "the daemon closed the connection".to_owned()))
}

pub(super) fn unreachable(error: ClientError) -> Ended {
    let code = if error.is_unreachable() { exit::UNREACHABLE } else { exit::FAILED };
    Ended::Failed(code, format!("{:#}", anyhow::Error::from(error)))
}
