//! `tail`: the events as they happen, also over restarts of the daemon.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::daemon::{Client, ClientError, reading};
use crate::publish::wire::{Hello, Message, Subscription};
use crate::settings::Sources;

use super::interruption::interrupted;
use super::output::{Ended, Outcome, Output};
use super::status::unreachable;
use super::{Common, tail_text};

/// The pause before the first attempt to find the daemon again; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A connection that lasted this long was a good one: the next pause is short again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);

/// Arguments of `tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  runscribe tail                       from now on
  runscribe tail --since 0             the whole history first
  runscribe tail --run RUN --json      one run, one JSON object a line

When the daemon goes away, it waits until it is back, and goes on where it was. Ctrl-C ends it.")]
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
    let sources = common.sources();
    let socket = reading::socket_path(&sources)?;
    let (json, run) = (arguments.json, arguments.run.clone());
    let mut tail = Tail { sources, socket, run, json, output };
    // Whole lines are printed at once, so none is cut when the following ends.
    tokio::select! {
        ended = Box::pin(tail.follow(arguments.since)) => ended,
        _ = interrupted() => Ok(()),
    }
}

/// One `tail` at work.
struct Tail<'a> {
    sources: Sources,
    socket: PathBuf,
    run: Option<String>,
    json: bool,
    output: &'a mut Output,
}

/// How far which journal was read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    journal: String,
    /// The last sequence number that was printed or passed over.
    seq: u64,
}

impl Place {
    fn new(hello: &Hello, since: Option<u64>) -> Self {
        let seq = since.map_or(hello.seq, |since| since.min(hello.seq));
        Self { journal: hello.journal.clone(), seq }
    }

    /// Moves on with a message, and returns whether it is new.
    fn pass(&mut self, message: &Message) -> bool {
        let seq = match message {
            Message::Event(event) => event.seq,
            Message::Gap { to, .. } => *to,
            // The server has nothing for us up to there.
            Message::Live { seq } | Message::Alive { seq, .. } => {
                self.seq = self.seq.max(*seq);
                return true;
            }
            _ => return true,
        };
        let is_new = seq > self.seq;
        self.seq = self.seq.max(seq);
        is_new
    }
}

impl Tail<'_> {
    /// Prints until somebody interrupts, nobody reads, or the daemon cannot be understood. Only a
    /// daemon that was never there ends it at once.
    async fn follow(&mut self, since: Option<u64>) -> Outcome {
        let (mut client, hello) = self.connect(since).await.map_err(unreachable)?;
        let mut place = Place::new(&hello, since);
        self.greet(&hello)?;
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let why = self.read(&mut client, &mut place).await?;
            if began.elapsed() >= GOOD_CONNECTION {
                pause = FIRST_PAUSE;
            }
            self.notice(&format!("{why}; waiting for the daemon to come back"))?;
            // Two connections at a time would count twice for the daemon.
            drop(client);
            client = self.come_back(&mut place, &mut pause).await?;
        }
    }

    async fn connect(&self, since: Option<u64>) -> Result<(Client, Hello), ClientError> {
        let subscription = Subscription { since, run: self.run.clone(), ..Subscription::default() };
        Client::connect(&self.socket, &subscription).await
    }

    /// Reads until the connection ends, and returns why it did.
    async fn read(&mut self, client: &mut Client, place: &mut Place) -> Result<String, Ended> {
        loop {
            match client.next_line().await {
                Ok(Some(line)) => self.take(&line, place)?,
                Ok(None) => return Ok("the daemon closed the connection".to_owned()),
                Err(error @ (ClientError::Broken(_) | ClientError::Silent { .. })) => {
                    return Ok(error.to_string());
                }
                Err(error) => return Err(unreachable(error)),
            }
        }
    }

    fn take(&mut self, line: &str, place: &mut Place) -> Outcome {
        let message = match serde_json::from_str::<Message>(line) {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(%error, "a message of the daemon is not understood");
                Message::Unrecognized
            }
        };
        if !place.pass(&message) {
            return Ok(());
        }
        if matches!(message, Message::Alive { .. }) && Output::is_abandoned() {
            return Err(Ended::NobodyReads);
        }
        if self.json {
            self.output.line(line)?;
        } else if let Some(text) = tail_text::tail_message(&message, self.output.colored) {
            self.output.line(&text)?;
        }
        Ok(())
    }

    /// Connects again and again until the daemon is there, and goes on behind what was printed.
    async fn come_back(
        &mut self,
        place: &mut Place,
        pause: &mut Duration,
    ) -> Result<Client, Ended> {
        let mut said = None;
        let (client, hello) = loop {
            sleep(*pause).await;
            *pause = (*pause * 2).min(LONGEST_PAUSE);
            // The daemon may come back with another socket.
            if let Ok(socket) = reading::socket_path(&self.sources) {
                self.socket = socket;
            }
            match self.connect(Some(place.seq)).await {
                Ok((_, hello)) if hello.journal != place.journal => {
                    let text = "another journal than before: its events from the first one on";
                    self.notice(text)?;
                    *place = Place { journal: hello.journal, seq: 0 };
                }
                Ok(found) => break found,
                Err(error @ (ClientError::OtherProtocol(_) | ClientError::NotUnderstood(_))) => {
                    return Err(unreachable(error));
                }
                // Nobody is there yet; everything else is said once.
                Err(ClientError::NotReachable { .. }) => {}
                Err(error) => {
                    let text = error.to_string();
                    if said.as_ref() != Some(&text) {
                        self.notice(&text)?;
                        said = Some(text);
                    }
                }
            }
            if Output::is_abandoned() {
                return Err(Ended::NobodyReads);
            }
        };
        self.notice(&format!("the daemon is back: version {}, pid {}", hello.version, hello.pid))?;
        self.greet(&hello)?;
        Ok(client)
    }

    /// Passes the greeting on to those who want every message.
    fn greet(&mut self, hello: &Hello) -> Outcome {
        if self.json {
            let line = Message::Hello(hello.clone()).line();
            self.output.text(&line)?;
        }
        Ok(())
    }

    /// Says something of our own: between the events for people, beside them for programs.
    fn notice(&mut self, text: &str) -> Outcome {
        if self.json {
            tracing::warn!("{text}");
        } else {
            self.output.line(&tail_text::notice(text, self.output.colored))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::wire::Event;

    fn hello(seq: u64) -> Hello {
        let text = |text: &str| text.to_owned();
        let (journal, root) = (text("j1"), text("/"));
        Hello { protocol: 1, version: text("1"), journal, pid: 1, host: text("h"), root, seq }
    }

    fn event(seq: u64) -> Message {
        let value = serde_json::json!({"seq": seq, "time": "t", "kind": "run_gone"});
        Message::Event(Box::new(serde_json::from_value::<Event>(value).unwrap()))
    }

    #[test]
    fn a_place_moves_with_what_is_printed_and_passes_nothing_twice() {
        let mut place = Place::new(&hello(5), None);
        let alive = |seq| Message::Alive { time: String::new(), seq };
        for (message, is_new, seq) in [
            (event(5), false, 5),
            (event(6), true, 6),
            (event(6), false, 6),
            (Message::Gap { from: 7, to: 9 }, true, 9),
            (event(8), false, 9),
            (Message::Live { seq: 12 }, true, 12),
            (alive(20), true, 20),
            (alive(3), true, 20),
            (Message::Unrecognized, true, 20),
        ] {
            assert_eq!((place.pass(&message), place.seq), (is_new, seq), "{message:?}");
        }
    }

    #[test]
    fn a_number_beyond_the_newest_event_is_a_number_of_another_journal() {
        for (since, seq) in [(None, 5), (Some(0), 0), (Some(5), 5), (Some(99), 5)] {
            assert_eq!(Place::new(&hello(5), since).seq, seq, "{since:?}");
        }
    }
}
