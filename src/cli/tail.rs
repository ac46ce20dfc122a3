//! `tail`: the events as they happen.

use crate::daemon::{Client, reading};
use crate::publish::wire::{Message, Subscription};

use super::output::{Outcome, Output};
use super::status::unreachable;
use super::{Common, tail_text};

/// Arguments of `tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runscribe tail                       from now on
  runscribe tail --since 0             the whole history first
  runscribe tail --run RUN --json      one run, one JSON object a line")]
pub(super) struct Arguments {
    /// Print each message as it came
    #[arg(long)]
    json: bool,
    /// Begin after this sequence number
    #[arg(long, value_name = "SEQ")]
    since: Option<u64>,
    /// Only events of this run
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let socket = reading::socket_path(&common.sources())?;
    let run = arguments.run.clone();
    let subscription = Subscription { since: arguments.since, run, ..Subscription::default() };
    let (mut client, _) = Client::connect(&socket, &subscription).await.map_err(unreachable)?;
    while let Some(line) = client.next_line().await.map_err(unreachable)? {
        if arguments.json {
            output.line(&line)?;
            continue;
        }
        if let Ok(message) = serde_json::from_str::<Message>(&line)
            && let Some(text) = tail_text::tail_message(&message, output.colored)
        {
            output.line(&text)?;
        }
    }
    Ok(())
}
