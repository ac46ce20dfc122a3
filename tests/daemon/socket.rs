//! The status socket, as `nc -U` and `socat` see it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::support::{Daemon, Project, wait};

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

/// Connects and asks for everything that happens from now on.
fn connect(project: &Project) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(project.path("Cache/runscribe/status.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // A server that turns us away has closed already.
    drop(stream.write_all(b"{}\n"));
    BufReader::new(stream)
}

fn line(client: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

#[test]
fn clients_leave_files_for_the_work() {
    let project = Project::new();
    // Half of them are for clients.
    let daemon = project.start_with_open_files("-n", 200);
    wait("the first client's place to be free", || {
        let mut clients: Vec<_> = (0..100).map(|_| connect(&project)).collect();
        clients.iter_mut().all(|client| line(client).contains("\"hello\""))
    });
    let mut clients: Vec<_> = (0..300).map(|_| connect(&project)).collect();
    let greetings: Vec<String> = clients.iter_mut().map(line).collect();
    let greeted = greetings.iter().filter(|line| line.contains("\"hello\"")).count();
    let refused = greetings.iter().filter(|line| line.contains("too many clients")).count();
    assert_eq!(greeted + refused, 300, "{greetings:?}");
    assert!((50..=100).contains(&greeted), "{greeted}");
    project.save(RUN, 20);
    wait("an observation beside the clients", || project.observations().len() == 1);
    let said = daemon.log_text();
    assert_eq!(said.matches("turned clients away").count(), 1, "{said}");
    drop(clients);
    wait("room for others", || line(&mut connect(&project)).contains("\"hello\""));
    assert_eq!(daemon.stop(), Some(0));
}

/// Returns the processor time of a process, in hundredths of a second; see `proc_pid_stat(5)`.
fn cpu_ticks(daemon: &Daemon) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn no_file_left_for_a_client_neither_stops_the_daemon_nor_keeps_it_busy() {
    let project = Project::new();
    let daemon = project.start();
    // A start that finds no file ends, and systemd tries again.
    daemon.wait_until("the end of the start", |status| {
        !status["watch"]["last_reconcile"].is_null() && status["analysis"]["state"] == "ready"
    });
    let pid = Pid::from_raw(daemon.pid().cast_signed());
    let limit = |current| {
        let limits = Rlimit { current: Some(current), maximum: None };
        let own = rustix::process::getrlimit(Resource::Nofile);
        prlimit(pid, Resource::Nofile, Rlimit { maximum: own.maximum, ..limits }).unwrap();
    };
    // Not one further file, whatever is open for a moment.
    limit(3);
    // The system's queue takes them; the daemon cannot.
    let clients: Vec<_> = (0..20).map(|_| connect(&project)).collect();
    wait("a complaint", || daemon.log_text().contains("cannot accept clients"));
    let (before, since) = (cpu_ticks(&daemon), Instant::now());
    wait("a while of trying", || since.elapsed() > Duration::from_secs(1));
    assert!(cpu_ticks(&daemon) - before < 30, "it spins");
    assert_eq!(daemon.log_text().matches("cannot accept clients").count(), 1);
    drop(clients);
    limit(1000);
    wait("clients to be served again", || {
        let mut greeting = String::new();
        connect(&project).read_line(&mut greeting).is_ok() && greeting.contains("\"hello\"")
    });
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_group_that_does_not_exist_and_a_folder_that_is_not_there_are_said() {
    for (setting, said) in [
        ("socket_group = \"no-such-group\"", "there is no group `no-such-group`"),
        ("socket = \"/no/such/folder/status.sock\"", "`/no/such/folder`"),
        ("socket_mode = \"0999\"", "status.socket_mode"),
    ] {
        let project = Project::new();
        project.append_configuration(&format!("[status]\n{setting}\n"));
        let output = project.run(&["watch"]);
        assert!(!output.status.success());
        let error = crate::support::err(&output);
        assert!(error.contains(said), "{setting}: {error}");
    }
}

#[test]
fn a_long_path_and_a_socket_elsewhere_are_found_by_the_commands() {
    let project = Project::new();
    let folder = project.path(&"long".repeat(40));
    std::fs::create_dir(&folder).unwrap();
    let setting = format!("[status]\nsocket = \"{}/status.sock\"\n", folder.display());
    project.append_configuration(&setting);
    let runtime = tempfile::tempdir().unwrap();
    for socket in [folder.join("status.sock"), runtime.path().join("status.sock")] {
        if socket.starts_with(runtime.path()) {
            // As systemd names it; the commands of a person have no such variable.
            let text = std::fs::read_to_string(project.path("runscribe.toml")).unwrap();
            project.configure(&text.replace(&setting, ""));
        }
        // A link makes a long path short for those who have no client code.
        let link = project.path("s");
        drop(std::fs::remove_file(&link));
        std::os::unix::fs::symlink(&socket, &link).unwrap();
        let daemon = project.start_serving(&link, &[("RUNTIME_DIRECTORY", runtime.path())]);
        assert!(socket.exists());
        let output = project.run(&["status", "--json"]);
        let snapshot: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(snapshot["daemon"]["pid"], daemon.pid());
        assert_eq!(daemon.stop(), Some(0));
    }
}
