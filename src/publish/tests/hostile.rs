//! Clients that mean no good, or do no good.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::support::{DEADLINE, House, event, limits};
use super::{open, short_ring, words};
use crate::publish::{Limits, RingLimits};

/// Sends these bytes and returns what was said, message by message.
async fn said_to(house: &House, bytes: &[u8]) -> anyhow::Result<Vec<String>> {
    let mut talk = house.talk("").await?;
    talk.stream.write_all(bytes).await?;
    talk.until("end").await
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused_like_any_other_nonsense() -> anyhow::Result<()> {
    let house = open(3).await?;
    let deep = "[".repeat(60_000) + "\n";
    let nonsense: [&[u8]; 7] = [
        b"\0\n",
        b"{\"since\":1}\0\n",
        b"\xff\xfe\x00\n",
        b"{\"run\":\"\xc3\x28\"}\n",
        b"{\"since\":1e400}\n",
        b"{\"since\":00}\n",
        deep.as_bytes(),
    ];
    for bytes in nonsense {
        let seen = said_to(&house, bytes).await?;
        assert_eq!((seen.len(), seen[0].as_str(), seen[2].as_str()), (3, "hello", "end"));
        assert!(seen[1].starts_with("error"), "{seen:?}");
    }
    // A run may be called anything; there is none of this name.
    let mut talk = house.talk("{\"run\":\"\\u0000\\ud83d\\ude00\",\"since\":0}\n").await?;
    assert_eq!(talk.until("live").await?, words(&["hello", "status", "live 3"]));
    house.close().await
}

#[tokio::test]
async fn a_request_line_of_a_gigabyte_is_not_taken_in() -> anyhow::Result<()> {
    let house = open(0).await?;
    let mut stream = UnixStream::connect(&house.socket).await?;
    let (mut input, mut output) = stream.split();
    let chunk = vec![b'x'; 1 << 20];
    let write = async {
        let mut written = 0;
        while written < 1024 {
            if output.write_all(&chunk).await.is_err() {
                break;
            }
            written += 1;
        }
        written
    };
    let mut answer = Vec::new();
    let (written, _) =
        timeout(DEADLINE, async { tokio::join!(write, input.read_to_end(&mut answer)) }).await?;
    assert!(written < 4, "{written} MiB were taken");
    let answer = String::from_utf8(answer)?;
    assert!(answer.contains("longer than 65536 bytes"), "{answer}");
    house.close().await
}

#[tokio::test]
async fn connections_that_close_at_once_disturb_nobody() -> anyhow::Result<()> {
    let house = open(0).await?;
    let mut reader = house.talk("{}\n").await?;
    reader.until("live").await?;
    for seq in 1..=50 {
        for request in ["", "{", "{}\n", "{\"since\":0}\n"].iter().cycle().take(40) {
            let talk = house.talk(request).await;
            // The queue of waiting clients may be full for a moment, as it is for everybody.
            drop(talk);
        }
        house.happen(&[event(seq)]);
        assert_eq!(reader.until("event").await?, [format!("event {seq}")]);
    }
    house.close().await
}

#[tokio::test]
async fn more_clients_than_there_is_room_for_are_told_and_the_others_served() -> anyhow::Result<()>
{
    let limits = Limits { clients: 5, ..limits() };
    let house = House::open(0, limits, RingLimits::default()).await?;
    let mut served = Vec::new();
    for _ in 0..5 {
        let mut talk = house.talk("{}\n").await?;
        talk.until("live").await?;
        served.push(talk);
    }
    for _ in 0..200 {
        let mut refused = house.talk("").await?;
        let seen = refused.until("end").await?;
        assert!(seen[0].contains("too many clients") && seen.len() == 2, "{seen:?}");
    }
    house.happen(&[event(1)]);
    for mut talk in served {
        assert_eq!(talk.until("event").await?, words(&["event 1"]));
    }
    house.close().await
}

#[tokio::test]
async fn what_the_snapshot_does_not_know_yet_follows_it() -> anyhow::Result<()> {
    // An event is announced as soon as it is durable, the snapshot that shows it comes a moment
    // later: a client that connects in between once lost it.
    let house = open(3).await?;
    house.happen(&[event(4)]);
    let mut talk = house.talk("{}\n").await?;
    let seen = talk.until("event").await?;
    assert_eq!(seen, words(&["hello", "status", "live 3", "event 4"]));
    // What was asked for by number is there before `live`.
    let seen = house.talk("{\"since\":2}\n").await?.until("live").await?;
    assert_eq!(seen, words(&["hello", "status", "event 3", "event 4", "live 4"]));
    house.close().await
}

#[tokio::test]
async fn events_that_are_pruned_while_a_client_replays_are_an_honest_gap() -> anyhow::Result<()> {
    const LAST: u64 = 20_000;
    let limits = Limits { stall: DEADLINE, ..limits() };
    let house = House::open(LAST, limits, short_ring()).await?;
    let mut slow = house.talk("{\"since\":0}\n").await?;
    slow.until("event 10").await?;
    // The socket holds a few thousand events; the server stands somewhere behind them.
    house.journal.prune(LAST - 100);
    let (mut next, mut gaps) = (11, 0);
    while let Some(message) = slow.next().await? {
        let number = |key: &str| message[key].as_u64().unwrap();
        match message["type"].as_str() {
            Some("event") => {
                assert_eq!(number("seq"), next);
                next += 1;
            }
            Some("gap") => {
                assert_eq!((number("from"), number("to")), (next, LAST - 100));
                (next, gaps) = (LAST - 99, gaps + 1);
            }
            Some("live") => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((next, gaps), (LAST + 1, 1));
    house.close().await
}

#[tokio::test]
async fn silence_is_broken_for_a_client_whose_run_is_silent_while_others_are_not()
-> anyhow::Result<()> {
    let limits = Limits { silence: Duration::from_millis(100), ..limits() };
    let house = House::open(0, limits, RingLimits::default()).await?;
    let mut talk = house.talk("{\"run\":\"silent\"}\n").await?;
    talk.until("live").await?;
    let mut seq = 0;
    let stirring = async {
        loop {
            seq += 1;
            house.happen(&[event(seq)]);
            tokio::task::yield_now().await;
        }
    };
    let alive = tokio::select! {
        alive = talk.next() => alive?,
        () = stirring => None,
    };
    assert_eq!(alive.unwrap()["type"], "alive");
    house.close().await
}
