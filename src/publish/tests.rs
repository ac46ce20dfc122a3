//! The server from outside, over real sockets.

mod hostile;
pub(super) mod support;

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use self::support::{House, Talk, event, event_of, limits};
use super::{Client, ClientError, Limits, RingLimits, wire};
use crate::model::status::Status;

fn short_ring() -> RingLimits {
    RingLimits { events: 64, bytes: 1 << 20 }
}

async fn open(known: u64) -> anyhow::Result<House> {
    House::open(known, limits(), RingLimits::default()).await
}

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Opens a house that knows three events, sends the request, and returns what comes until the
/// connection ends or goes live.
async fn answers(request: &str) -> anyhow::Result<Vec<String>> {
    let limits = match request {
        "" => Limits { request_wait: Duration::from_millis(50), ..limits() },
        whole if whole.ends_with('\n') => limits(),
        _ => Limits { request_wait: Duration::from_secs(1), ..limits() },
    };
    let house = House::open(3, limits, RingLimits::default()).await?;
    let mut talk = house.talk(request).await?;
    let mut seen = Vec::new();
    while let Some(last) = talk.until("").await?.pop() {
        let over = last == "end" || last.starts_with("live");
        seen.push(last);
        if over {
            break;
        }
    }
    house.close().await?;
    Ok(seen)
}

#[tokio::test]
async fn every_request_gets_its_answer() -> anyhow::Result<()> {
    let cases: [(&str, &[&str]); 9] = [
        ("", &["hello", "status", "live 3"]),
        ("\r\n", &["hello", "status", "live 3"]),
        ("{}\n", &["hello", "status", "live 3"]),
        ("{\"since\":1}\n", &["hello", "status", "event 2", "event 3", "live 3"]),
        (
            "{\"since\":0}\n{\"since\":2}\n",
            &["hello", "status", "event 1", "event 2", "event 3", "live 3"],
        ),
        ("{\"since\":3}\n", &["hello", "status", "live 3"]),
        ("{\"since\":18446744073709551615}\n", &["hello", "status", "live 3"]),
        ("{\"once\":true,\"since\":0}\n", &["hello", "status", "end"]),
        ("{\"run\":\"a\",\"since\":0}\n", &["hello", "status", "live 3"]),
    ];
    for (request, expected) in cases {
        assert_eq!(answers(request).await?, words(expected), "{request:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_understood_is_said_and_ends_the_connection() -> anyhow::Result<()> {
    let long = "x".repeat(70_000);
    let cases = [
        ("GET / HTTP/1.1\r\n", "not JSON"),
        ("[1]\n", "must be a JSON object"),
        ("{\"sinse\":1}\n", "unknown field `sinse`"),
        ("{\"since\":-1}\n", "invalid value"),
        ("{\"since\":\"1\"}\n", "invalid type"),
        ("{\"command\":1}\n", "`command` must be a text"),
        ("{\"since\":1}", "did not end in time"),
        (&long, "longer than 65536 bytes"),
    ];
    for (request, expected) in cases {
        let seen = answers(request).await?;
        assert_eq!(seen.len(), 3, "{seen:?}");
        assert!(seen[0] == "hello" && seen[2] == "end", "{seen:?}");
        assert!(seen[1].starts_with("error") && seen[1].contains(expected), "{seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn commands_are_carried_out_and_answered_in_one_reply() -> anyhow::Result<()> {
    let cases = [
        ("{\"command\":\"pause\"}\n", "reply true \"Order(Pause)\""),
        ("{\"command\":\"resume\"}", "reply false \"not now\""),
        ("{\"command\":\"analyze\",\"path\":\"a/b\"}\n", "reply true \"AnalyzePath(\\\"a/b\\\")\""),
        ("{\"command\":\"adopt\",\"all\":true}\n", "reply true \"Order(Adopt(All))\""),
        (
            "{\"command\":\"adopt\",\"runs\":[\"a\"]}\n",
            "reply true \"Order(Adopt(Runs([RunId(\\\"a\\\")])))\"",
        ),
    ];
    for (request, reply) in cases {
        // Without a newline the end of the line is the end of the input.
        let house = open(3).await?;
        let mut talk = house.talk(request).await?;
        talk.stream.shutdown().await?;
        assert_eq!(talk.until("end").await?, words(&["hello", reply, "end"]), "{request}");
        house.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn wrong_commands_are_refused_with_what_is_wrong() -> anyhow::Result<()> {
    let cases = [
        ("{\"command\":\"dance\"}\n", "only pause, resume, analyze, retry, adopt"),
        ("{\"command\":\"pause\",\"for\":\"1h\"}\n", "unknown field `for`"),
        ("{\"command\":\"analyze\"}\n", "missing field `path`"),
        (
            "{\"command\":\"retry\",\"run\":\"r\",\"checkpoint\":\"7\"}\n",
            "is not a checkpoint name",
        ),
        ("{\"command\":\"adopt\"}\n", "either `runs` or `all`"),
        ("{\"command\":\"adopt\",\"runs\":[\"a\"],\"all\":true}\n", "either `runs` or `all`"),
    ];
    for (request, expected) in cases {
        let seen = answers(request).await?;
        assert_eq!((seen.len(), seen[0].as_str(), seen[2].as_str()), (3, "hello", "end"));
        assert!(seen[1].starts_with("reply false") && seen[1].contains(expected), "{seen:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_command_that_is_not_answered_in_time_is_said_to_be() -> anyhow::Result<()> {
    let limits = Limits { command: Duration::from_millis(50), ..limits() };
    let house = House::open(3, limits, RingLimits::default()).await?;
    let request = "{\"command\":\"retry\",\"run\":\"r\",\"checkpoint\":\"final\"}\n";
    let mut talk = house.talk(request).await?;
    let seen = talk.until("end").await?;
    assert!(seen[1].contains("may still take effect"), "{seen:?}");
    house.close().await
}

#[tokio::test]
async fn a_half_closed_client_gets_everything() -> anyhow::Result<()> {
    let house = open(2).await?;
    // As `printf '{"since":0}' | socat - UNIX-CONNECT:…` does it: no newline, then end of input.
    let mut talk = house.talk("{\"since\":0}").await?;
    talk.stream.shutdown().await?;
    let replay = words(&["hello", "status", "event 1", "event 2", "live 2"]);
    assert_eq!(talk.until("live").await?, replay);
    house.happen(&[event(3)]);
    assert_eq!(talk.until("event").await?, words(&["event 3"]));
    house.close().await
}

#[tokio::test]
async fn a_number_from_the_future_means_from_now_on() -> anyhow::Result<()> {
    // A client that remembers the numbers of a journal that was lost still gets what happens.
    let house = open(3).await?;
    let mut talk = house.talk("{\"since\":1000}\n").await?;
    assert_eq!(talk.until("live").await?, words(&["hello", "status", "live 3"]));
    house.happen(&[event(4)]);
    assert_eq!(talk.until("event").await?, words(&["event 4"]));
    house.close().await
}

#[tokio::test]
async fn a_client_that_asks_nothing_need_not_wait_when_its_input_ended() -> anyhow::Result<()> {
    let limits = Limits { request_wait: Duration::from_hours(1), ..limits() };
    let house = House::open(0, limits, RingLimits::default()).await?;
    let mut talk = house.talk("").await?;
    talk.stream.shutdown().await?;
    assert_eq!(talk.until("live").await?, words(&["hello", "status", "live 0"]));
    house.close().await
}

#[tokio::test]
async fn events_of_other_runs_are_left_out() -> anyhow::Result<()> {
    let house = open(0).await?;
    house.happen(&[event_of(1, "a"), event(2), event_of(3, "b"), event_of(4, "a")]);
    let mut talk = house.talk("{\"since\":0,\"run\":\"a\"}\n").await?;
    let replay = words(&["hello", "status", "event 1", "event 4", "live 4"]);
    assert_eq!(talk.until("live").await?, replay);
    house.happen(&[event_of(5, "b"), event_of(6, "a")]);
    assert_eq!(talk.until("event").await?, words(&["event 6"]));
    house.close().await
}

#[tokio::test]
async fn pruned_history_is_an_honest_gap() -> anyhow::Result<()> {
    let house = House::open(300, limits(), short_ring()).await?;
    house.journal.prune(290);
    let mut talk = house.talk("{\"since\":5}\n").await?;
    let seen = talk.until("live").await?;
    assert_eq!(seen[2..5], words(&["gap 6-290", "event 291", "event 292"]));
    assert_eq!(seen.last(), Some(&"live 300".to_owned()));

    // Nothing is left of what is older than the ring.
    house.happen(&(301..=310).map(event).collect::<Vec<_>>());
    house.journal.prune(305);
    let seen = house.talk("{\"since\":0}\n").await?.until("live").await?;
    assert_eq!(seen[2..4], words(&["gap 1-300", "event 301"]));
    assert_eq!(seen.len(), 2 + 1 + 10 + 1);

    // Nothing is left at all, and the ring was emptied by a restart.
    let bare = House::open(20, limits(), short_ring()).await?;
    bare.journal.prune(20);
    let seen = bare.talk("{\"since\":0}\n").await?.until("live").await?;
    assert_eq!(seen[2..], words(&["gap 1-20", "live 20"]));
    bare.close().await?;
    house.close().await
}

#[tokio::test]
async fn a_history_that_fails_is_said_and_ends_the_connection() -> anyhow::Result<()> {
    let limits = Limits { history: Duration::from_millis(50), ..limits() };
    let mut house = House::open(9, limits, RingLimits::default()).await?;
    // The journal's events are in an order that would lead a careless reader in circles.
    house.journal.prune(9);
    house.journal.append(&[event(4), event(2)]);
    let seen = house.talk("{\"since\":1}\n").await?.until("error").await?;
    assert!(seen.last().is_some_and(|seen| seen.contains("out of order")), "{seen:?}");
    // The journal's task ends, as it does when the daemon stops in another order.
    house.tasks.abort_all();
    while house.tasks.join_next().await.is_some() {}
    assert!(!house.socket.exists(), "an aborted server removes its file, too");
    Ok(())
}

/// Reads until the last event and returns what is wrong with what came, if anything.
async fn check_order(mut talk: Talk, since: u64, last: u64) -> anyhow::Result<()> {
    let mut expected = since + 1;
    let mut live = None;
    while expected <= last || live.is_none() {
        let message = talk.next().await?.ok_or_else(|| anyhow::anyhow!("ended at {expected}"))?;
        let seq = message["seq"].as_u64();
        match message["type"].as_str() {
            Some("event") => {
                anyhow::ensure!(seq == Some(expected), "{seq:?} in place of {expected}");
                expected += 1;
            }
            Some("live") => {
                anyhow::ensure!(live.is_none(), "live again at {expected}");
                anyhow::ensure!(seq == Some(expected - 1), "live {seq:?} at {expected}");
                live = seq;
            }
            Some("hello" | "status") => anyhow::ensure!(expected == since + 1),
            other => anyhow::bail!("{other:?} at {expected}"),
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_goes_over_into_live_without_gap_or_double() -> anyhow::Result<()> {
    const LAST: u64 = 5000;
    // The ring is far smaller than the history, so clients read on from the journal again and
    // again while events are published.
    let house = House::open(1000, limits(), short_ring()).await?;
    let mut clients = JoinSet::new();
    let mut next = 1001;
    let mut random = 12_345_u64;
    while next <= LAST {
        let batch = (random >> 33) % 40 + 1;
        let end = (next + batch).min(LAST + 1);
        house.happen(&(next..end).map(event).collect::<Vec<_>>());
        next = end;
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if clients.len() < 20 && random >> 61 == 0 {
            let since = (random >> 20) % next;
            let talk = house.talk(&format!("{{\"since\":{since}}}\n")).await?;
            clients.spawn(check_order(talk, since, LAST));
        }
        tokio::task::yield_now().await;
    }
    while clients.len() < 20 {
        let talk = house.talk("{\"since\":0}\n").await?;
        clients.spawn(check_order(talk, 0, LAST));
    }
    while let Some(checked) = clients.join_next().await {
        checked??;
    }
    house.close().await
}

#[tokio::test]
async fn a_stopped_reader_is_dropped_and_delays_nobody() -> anyhow::Result<()> {
    let limits = Limits { stall: Duration::from_secs(1), clients: 2, ..limits() };
    let house = House::open(0, limits, RingLimits::default()).await?;
    let mut stopped = house.talk("{}\n").await?;
    stopped.until("live").await?;
    let mut reader = house.talk("{}\n").await?;
    reader.until("live").await?;
    // Far more than a socket holds, so that the stopped reader's connection must block.
    house.happen(&(1..=4000).map(event).collect::<Vec<_>>());
    for seq in 1..=4000 {
        assert_eq!(reader.until("event").await?, [format!("event {seq}")]);
    }
    // The place of the stopped reader becomes free once it is dropped, and the other one gets
    // every event meanwhile.
    let mut refused = 0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while house.talk("{}\n").await?.until("").await? != ["hello"] {
        assert!(tokio::time::Instant::now() < deadline, "the stopped reader is kept");
        refused += 1;
        let seq = 4000 + refused;
        house.happen(&[event(seq)]);
        assert_eq!(reader.until("event").await?, [format!("event {seq}")]);
    }
    assert!(refused > 0, "the reader got its events only after the stopped one was dropped");
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), stopped.stream.read_to_end(&mut rest)).await??;
    let lines = rest.split(|&byte| byte == b'\n').count();
    assert!(lines > 1 && lines < 4000, "{lines}");
    house.close().await
}

#[tokio::test]
async fn a_slow_reader_misses_nothing() -> anyhow::Result<()> {
    let limits = Limits { stall: Duration::from_secs(10), ..limits() };
    let house = House::open(0, limits, short_ring()).await?;
    let mut slow = house.talk("{}\n").await?;
    slow.until("live").await?;
    house.happen(&(1..=6000).map(event).collect::<Vec<_>>());
    // A second client that took everything shows that the server had the time to go on.
    house.talk("{\"since\":5990}\n").await?.until("live").await?;
    for seq in 1..=6000 {
        assert_eq!(slow.until("event").await?, [format!("event {seq}")]);
    }
    house.close().await
}

#[tokio::test]
async fn silence_is_broken_by_alive() -> anyhow::Result<()> {
    let limits = Limits { silence: Duration::from_millis(30), ..limits() };
    let house = House::open(7, limits, RingLimits::default()).await?;
    let mut talk = house.talk("{}\n").await?;
    talk.until("live").await?;
    let first = talk.next().await?;
    assert_eq!(
        first,
        Some(json!({"type": "alive", "time": "2026-02-25T14:03:07+01:00", "seq": 7}))
    );
    talk.until("alive").await?;
    house.happen(&[event(8)]);
    talk.until("event").await?;
    assert_eq!(talk.until("alive").await?, words(&["alive 8"]));
    house.close().await
}

#[tokio::test]
async fn a_stop_delivers_the_last_events_and_ends_every_connection() -> anyhow::Result<()> {
    let house = open(0).await?;
    let mut live = house.talk("{}\n").await?;
    live.until("live").await?;
    let mut undecided = house.talk("").await?;
    undecided.until("hello").await?;
    house.happen(&[event(1), event(2)]);
    house.stop.cancel();
    assert_eq!(live.until("end").await?, words(&["event 1", "event 2", "end"]));
    house.close().await?;
    undecided.until("end").await?;
    Ok(())
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_stopped_reader() -> anyhow::Result<()> {
    let limits = Limits { flush: Duration::from_millis(50), ..limits() };
    let house = House::open(0, limits, RingLimits::default()).await?;
    let mut stopped = house.talk("{}\n").await?;
    stopped.until("live").await?;
    house.happen(&(1..=4000).map(event).collect::<Vec<_>>());
    let start = tokio::time::Instant::now();
    house.close().await?;
    assert!(start.elapsed() < Duration::from_secs(5));
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_is_forgotten_at_once() -> anyhow::Result<()> {
    let limits = Limits { clients: 1, ..limits() };
    let house = House::open(0, limits, RingLimits::default()).await?;
    let mut first = house.talk("{}\n").await?;
    first.until("live").await?;
    let refused = Client::connect(&house.socket, &wire::Subscription::default()).await;
    let Err(ClientError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("too many clients"), "{why}");
    drop(first);
    // Nothing is published, so only the closed connection itself can tell the server.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while house.talk("{}\n").await?.until("").await? != ["hello"] {
        assert!(tokio::time::Instant::now() < deadline, "still counted");
    }
    house.close().await
}

#[tokio::test]
async fn chatter_after_the_request_disturbs_nobody() -> anyhow::Result<()> {
    let house = open(0).await?;
    let mut talk = house.talk("{}\n").await?;
    talk.until("live").await?;
    for _ in 0..20 {
        talk.stream.write_all(&[b'x'; 1000]).await?;
    }
    house.happen(&[event(1)]);
    assert_eq!(talk.until("event").await?, words(&["event 1"]));
    house.close().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_get_every_event() -> anyhow::Result<()> {
    let house = open(0).await?;
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let mut talk = house.talk("{}\n").await?;
        clients.spawn(async move {
            talk.until("live 0").await?;
            anyhow::Ok(talk)
        });
    }
    let mut live = Vec::new();
    while let Some(talk) = clients.join_next().await {
        live.push(talk??);
    }
    for seq in 1..=10 {
        house.happen(&[event(seq)]);
    }
    for mut talk in live {
        for seq in 1..=10 {
            assert_eq!(talk.until("event").await?, [format!("event {seq}")]);
        }
    }
    house.close().await
}

#[tokio::test]
async fn the_snapshot_is_the_newest_one() -> anyhow::Result<()> {
    let house = open(0).await?;
    for time in ["first", "second"] {
        let status = Status { time: time.to_owned(), ..Status::default() };
        house.snapshots.send_replace(std::sync::Arc::new(status));
        for _ in 0..2 {
            let mut talk = house.talk("{\"once\":true}\n").await?;
            talk.until("hello").await?;
            let message = talk.next().await?.unwrap();
            assert_eq!((&message["type"], &message["time"]), (&json!("status"), &json!(time)));
        }
    }
    house.close().await
}

#[tokio::test]
async fn the_client_follows_the_server() -> anyhow::Result<()> {
    let house = open(2).await?;
    let since = wire::Subscription { since: Some(1), ..wire::Subscription::default() };
    let (mut client, hello) = Client::connect(&house.socket, &since).await?;
    assert_eq!((hello.seq, hello.pid, hello.journal.as_str()), (2, 42, "j1"));
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        kinds.push(match client.next().await?.unwrap() {
            wire::Message::Status(_) => "status".to_owned(),
            wire::Message::Event(event) => format!("event {}", event.seq),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(kinds, ["status", "event 2", "Live { seq: 2 }"]);
    house.close().await?;
    assert!(client.next().await?.is_none());
    Ok(())
}
