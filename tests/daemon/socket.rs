//! The status socket, as `nc -U` and `socat` see it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use crate::support::Project;

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

#[test]
fn the_history_is_whole_and_in_order_and_live_events_follow_it() {
    let project = Project::new();
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    let messages = daemon.messages("{\"since\":0}", "live");
    let types: Vec<&str> =
        messages.iter().map(|message| message["type"].as_str().unwrap()).collect();
    assert_eq!(types[..2], ["hello", "status"]);
    assert!(types[2..types.len() - 1].iter().all(|kind| *kind == "event"), "{types:?}");
    let kinds: Vec<&str> = messages
        .iter()
        .filter(|message| message["type"] == "event")
        .map(|message| message["kind"].as_str().unwrap())
        .collect();
    let story = [
        "daemon_started",
        "run_seen",
        "checkpoint_complete",
        "analysis_started",
        "analysis_finished",
        "verdict",
        "observation_written",
    ];
    let mut position = 0;
    for kind in story {
        let found = kinds[position..].iter().position(|one| *one == kind);
        assert!(found.is_some(), "no {kind} after {position} in {kinds:?}");
        position += found.unwrap() + 1;
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_client_that_closes_its_sending_side_still_gets_everything() {
    let project = Project::new();
    let daemon = project.start();
    let mut stream = UnixStream::connect(project.path("Cache/runscribe/status.sock")).unwrap();
    stream.write_all(b"{\"since\":0,\"once\":true}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("\"type\":\"hello\"") && text.contains("\"type\":\"status\""), "{text}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_second_daemon_says_so_and_a_dead_ones_socket_is_replaced() {
    let project = Project::new();
    let daemon = project.start();
    for extra in [&["watch"][..], &["watch", "--once"]] {
        let second = project.run(extra);
        assert_eq!(second.status.code(), Some(1));
        let said = String::from_utf8(second.stderr).unwrap();
        let pid = daemon.pid().to_string();
        assert!(said.contains("already") && said.contains(&pid), "{said}");
    }
    daemon.kill();
    assert!(project.path("Cache/runscribe/status.sock").exists());
    let daemon = project.start();
    assert_eq!(daemon.stop(), Some(0));
    assert!(!project.path("Cache/runscribe/status.sock").exists());
    assert!(!project.path("Cache/runscribe/daemon.json").exists());
}
