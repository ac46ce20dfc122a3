//! One client's connection, from the greeting to its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::ring::{Page, Reading};
use super::server::Service;
use super::wire::{Command, Event, Message, Reply, Request, Subscription};
use crate::model::command::Answer;
use crate::model::event::StoredEvent;
use crate::model::ids::RunId;

/// How long a request line may be, in bytes.
const REQUEST_BYTES: usize = 64 * 1024;
/// How many bytes a client may send after its request before nobody reads them any more.
const CHATTER_BYTES: usize = 1024 * 1024;
/// How many events one page of the history holds; small, because every client may hold one.
const HISTORY_PAGE: usize = 64;

/// Why a conversation ended before its time.
#[derive(Debug, thiserror::Error)]
enum Departure {
    #[error("the client is gone")]
    Gone(#[from] io::Error),
    #[error("the client took nothing for {0:?}")]
    Stalled(Duration),
    #[error("the history cannot be read: {0}")]
    History(String),
    #[error("the client did not take the last events in time")]
    CutOff,
}

/// Talks with one client until either side ends.
///
/// After the token is canceled the client still gets what was published, within the flush limit.
pub(super) async fn attend(stream: UnixStream, service: Arc<Service>, stop: CancellationToken) {
    let cut_off = async {
        stop.cancelled().await;
        tokio::time::sleep(service.server.limits.flush).await;
    };
    let ending = tokio::select! {
        ending = converse(stream, &service, &stop) => ending,
        () = cut_off => Err(Departure::CutOff),
    };
    match ending {
        Ok(()) => debug!("a client's connection ended"),
        Err(departure) => debug!(reason = %departure, "a client's connection ended early"),
    }
}

async fn converse(
    mut stream: UnixStream,
    service: &Service,
    stop: &CancellationToken,
) -> Result<(), Departure> {
    let limits = service.server.limits;
    let peer = stream.peer_cred().map(|peer| peer.uid());
    let (mut input, output) = stream.split();
    let mut outgoing = Outgoing { output, stall: limits.stall, last: Instant::now() };
    outgoing.send(&service.hello()).await?;
    let subscription = match read_request(&mut input, limits.request_wait).await? {
        Ok(Request::Subscribe(subscription)) => subscription,
        Ok(Request::Command(command)) => {
            let answer = answer(service, command, peer).await;
            outgoing.send(&Message::Reply(Reply::from(answer))).await?;
            return drain(&input);
        }
        Err(message) => {
            outgoing.send(&Message::Error { message }).await?;
            return drain(&input);
        }
    };
    let snapshot = service.snapshot();
    outgoing.write(snapshot.line.as_bytes()).await?;
    if subscription.once {
        return drain(&input);
    }
    // The snapshot may be older than the newest event, and none may fall between the two.
    let head = service.server.publisher.head();
    let start = subscription.since.map_or(snapshot.seq, |_| head).min(head);
    drop(snapshot);
    let mut follower = Follower::new(service, outgoing, subscription, start);
    follower.deliver(start).await?;
    follower.outgoing.send(&Message::Live { seq: start }).await?;
    follower.follow(input, stop).await
}

/// Reads at most one request line. The outer error ends the connection without a word, the inner
/// one is told to the client.
///
/// The end of the input stands for the end of the line, and no line at all for an empty one.
async fn read_request(
    input: &mut ReadHalf<'_>,
    wait: Duration,
) -> Result<Result<Request, String>, Departure> {
    let mut line = Vec::new();
    match timeout(wait, read_line(input, &mut line)).await {
        Ok(ended) => ended?,
        Err(_) if line.is_empty() => {}
        Err(_) => return Ok(Err("the request line did not end in time".to_owned())),
    }
    if line.len() > REQUEST_BYTES {
        return Ok(Err(format!("the request line is longer than {REQUEST_BYTES} bytes")));
    }
    Ok(Request::parse(&line))
}

/// Reads up to a newline, the end of the input or the limit; what follows the newline is dropped.
async fn read_line(input: &mut ReadHalf<'_>, line: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let known = line.len();
        let count = input.read_buf(line).await?;
        let newline = line.iter().skip(known).position(|&byte| byte == b'\n');
        if let Some(position) = newline {
            line.truncate(known + position);
            return Ok(());
        }
        if count == 0 || line.len() > REQUEST_BYTES {
            return Ok(());
        }
    }
}

/// Takes what the client sent already, before its connection is closed: a socket that is closed over
/// unread input gives its peer `ECONNRESET` in place of a clean end.
fn drain(input: &ReadHalf<'_>) -> Result<(), Departure> {
    let mut scrap = [0; 4096];
    let mut taken = 0;
    while taken < CHATTER_BYTES {
        match input.try_read(&mut scrap) {
            Ok(0) => break,
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Carries out a command, if this peer may give one.
async fn answer(
    service: &Service,
    command: Result<Command, String>,
    peer: io::Result<u32>,
) -> Answer {
    let own = rustix::process::geteuid().as_raw();
    if !peer.is_ok_and(|peer| may_command(peer, own)) {
        let who = "only the daemon's own user and root may give commands";
        return Err(format!("{who}; everybody who can connect may read"));
    }
    service.order(command?.try_into()?).await
}

/// Whether a user may give commands to a daemon of the user `own`.
fn may_command(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// The sending side: every write makes progress within the stall limit, or the client is dropped.
struct Outgoing<'a> {
    output: WriteHalf<'a>,
    stall: Duration,
    last: Instant,
}

impl Outgoing<'_> {
    async fn send(&mut self, message: &Message) -> Result<(), Departure> {
        self.write(message.line().as_bytes()).await
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Departure> {
        while !bytes.is_empty() {
            let written = timeout(self.stall, self.output.write(bytes)).await;
            let count = written.map_err(|_| Departure::Stalled(self.stall))??;
            bytes = bytes.get(count..).unwrap_or_default();
            self.last = Instant::now();
        }
        Ok(())
    }
}

/// A client that follows the events: a cursor over history.
struct Follower<'a> {
    service: &'a Service,
    outgoing: Outgoing<'a>,
    run: Option<RunId>,
    /// The last sequence number that was sent, filtered out or reported as missing.
    cursor: u64,
}

impl<'a> Follower<'a> {
    fn new(
        service: &'a Service,
        outgoing: Outgoing<'a>,
        subscription: Subscription,
        start: u64,
    ) -> Self {
        let cursor = subscription.since.map_or(start, |since| since.min(start));
        Self { service, outgoing, run: subscription.run.map(RunId::new), cursor }
    }

    /// Sends all events up to and including `until`.
    async fn deliver(&mut self, until: u64) -> Result<(), Departure> {
        loop {
            let reading = self.service.server.publisher.read(self.cursor, until, self.run.as_ref());
            let page = match reading {
                Reading::UpToDate => return Ok(()),
                Reading::Page(page) => page,
                Reading::Older { until } => self.older_page(until).await?,
            };
            self.outgoing.write(&page.bytes).await?;
            self.cursor = page.last;
        }
    }

    async fn older_page(&mut self, until: u64) -> Result<Page, Departure> {
        let answer = self.service.older(self.cursor, HISTORY_PAGE).await;
        let page = answer.and_then(|events| {
            let page = history_page(&events, self.cursor, until, self.run.as_ref());
            page.ok_or_else(|| "the journal gave events out of order".to_owned())
        });
        match page {
            Ok(page) => Ok(page),
            Err(problem) => {
                // Closing is honest: the client can come back with `since` and misses nothing.
                let message = format!("the history cannot be read: {problem}; connect again");
                self.outgoing.send(&Message::Error { message }).await?;
                Err(Departure::History(problem))
            }
        }
    }

    /// Sends events as they happen until the daemon stops or the client goes away.
    async fn follow(
        &mut self,
        mut input: ReadHalf<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Departure> {
        let mut heads = self.service.server.publisher.heads();
        let mut chatter = CHATTER_BYTES;
        let mut scrap = [0; 512];
        loop {
            let head = *heads.borrow_and_update();
            self.deliver(head).await?;
            // All branches are cancel-safe: no byte is read or written before one is chosen.
            tokio::select! {
                changed = heads.changed() => if changed.is_err() { return Ok(()) },
                () = sleep_until(self.outgoing.last + self.service.server.limits.silence) => {
                    let time = (self.service.server.clock)().to_string();
                    self.outgoing.send(&Message::Alive { time, seq: self.cursor }).await?;
                }
                count = input.read(&mut scrap), if chatter > 0 => match count? {
                    // The end of the client's sending side is not the end: it may still listen.
                    0 if is_closed(&input) => return Ok(()),
                    0 => chatter = 0,
                    count => chatter = chatter.saturating_sub(count),
                },
                () = stop.cancelled() => return self.deliver(self.service.server.publisher.head()).await,
            }
        }
    }
}

/// Returns whether the peer closed both directions; a half-closed peer still reads.
///
/// Source: `unix_poll` of Linux raises `POLLHUP` exactly when both directions are shut down.
fn is_closed(input: &ReadHalf<'_>) -> bool {
    let stream: &UnixStream = input.as_ref();
    let mut peer = [PollFd::new(stream, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let polled = rustix::event::poll(&mut peer, Some(&at_once));
    polled.is_ok() && peer.iter().any(|peer| peer.revents().contains(PollFlags::HUP))
}

/// Turns a page of the history into lines, with a gap wherever numbers are missing; `None` if it
/// is out of order, which would lead in circles.
///
/// Events after `until` are left alone: the ring has them, and they may not be announced yet.
fn history_page(
    events: &[StoredEvent],
    after: u64,
    until: u64,
    run: Option<&RunId>,
) -> Option<Page> {
    let mut page = Page { bytes: Vec::new(), last: after };
    for stored in events {
        if stored.seq <= page.last {
            return None;
        }
        let next = stored.seq.min(until + 1);
        if next > page.last + 1 {
            page.push(&Message::Gap { from: page.last + 1, to: next - 1 });
            page.last = next - 1;
        }
        if stored.seq > until {
            return Some(page);
        }
        if run.is_none_or(|run| stored.event.run.as_ref() == Some(run)) {
            page.push(&Message::Event(Box::new(Event::from(stored))));
        }
        page.last = stored.seq;
    }
    if events.is_empty() {
        page.push(&Message::Gap { from: after + 1, to: until });
        page.last = until;
    }
    Some(page)
}

impl Page {
    fn push(&mut self, message: &Message) {
        self.bytes.extend_from_slice(message.line().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::may_command;

    #[test]
    fn the_own_user_and_root_may_command_and_nobody_else() {
        for (peer, own, may) in
            [(1000, 1000, true), (0, 1000, true), (1001, 1000, false), (1000, 0, false)]
        {
            assert_eq!(may_command(peer, own), may, "{peer} to {own}");
        }
    }
}
