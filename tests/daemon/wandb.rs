//! The daemon and W&B's service: what it fills into a run's row, and what it does without.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::support::Project;

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

/// Starts a service that knows the run, is too busy for the first question, and keeps what it was
/// asked.
fn start_service() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let edge = json!({"node": {"name": "a1b2", "displayName": RUN, "state": "finished",
        "config": "{}", "commit": null, "summaryMetrics": "{\"train/loss\": 1.433}"}});
    let body = json!({"data": {"project": {"name": "MrCogito", "entityName": "ksopyla", "runs": {
        "edges": [edge], "pageInfo": {"endCursor": null, "hasNextPage": false}}}}});
    std::thread::spawn(move || {
        for (number, mut stream) in listener.incoming().flatten().enumerate() {
            kept.lock().unwrap().push(question(&stream));
            let (status, body) = if number == 0 {
                ("429 Busy\r\nRetry-After: 1", String::new())
            } else {
                ("200 OK", body.to_string())
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    (address, asked)
}

fn question(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        text.push_str(&line);
    }
    let mut body = vec![0; length];
    drop(reader.read_exact(&mut body));
    text + &String::from_utf8_lossy(&body)
}

const LOG: &str = "## Training Runs\n\n| Run ID | WandB Link | Note |\n|---|---|---|\n\
                   | `diffusion_H64L2C128D2_20261123_063802` | -- | mine |\n";

#[test]
fn the_link_comes_from_the_service_where_no_file_has_it_and_the_key_is_told_to_nobody() {
    let project = Project::new();
    let (address, asked) = start_service();
    project.append_configuration(&format!("[wandb]\nbase_url = \"{address}\"\n"));
    std::fs::write(project.log_path(), LOG).unwrap();
    let daemon = project.start_with(&[("WANDB_API_KEY", Path::new("0123456789abcdef"))]);
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    let cell = format!("| [link]({address}/ksopyla/MrCogito/runs/a1b2) | mine |");
    daemon.wait_until("the link", |_| project.log().contains(&cell));
    project.save(RUN, 40);
    daemon.wait_for_observations(2);
    assert_eq!(daemon.stop(), Some(0));
    // A rate limit, an answer, and no further question for an hour.
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[0].contains(RUN) && asked[0].contains("POST /graphql"), "{asked:?}");
    let said = std::fs::read_to_string(project.path("daemon.log")).unwrap();
    assert!(!said.contains("0123456789abcdef"), "{said}");
}

#[test]
fn without_a_key_nobody_is_asked_and_local_files_are_read() {
    let project = Project::new();
    let (address, asked) = start_service();
    project.append_configuration(&format!("[wandb]\nbase_url = \"{address}\"\n"));
    std::fs::write(project.log_path(), LOG).unwrap();
    let files = project.path("wandb").join(format!("run-20261123_063805-{RUN}/files"));
    std::fs::create_dir_all(&files).unwrap();
    let page = format!("https://wandb.ai/ksopyla/MrCogito/runs/{RUN}");
    std::fs::write(files.join("output.log"), format!("wandb: View run {RUN} at: {page}\n"))
        .unwrap();
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    daemon
        .wait_until("the link", |_| project.log().contains(&format!("| [link]({page}) | mine |")));
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(*asked.lock().unwrap(), Vec::<String>::new());
}
