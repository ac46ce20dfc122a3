//! A receiver of webhooks on the loopback, scripted to misbehave.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

/// How one request is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// With this status, and these further header lines.
    Status(u16, &'static str),
    /// Not at all, and the connection stays open.
    Hang,
    /// By closing the connection.
    Close,
    /// With what is no HTTP.
    Garbage,
}

pub(crate) const TAKEN: Answer = Answer::Status(200, "");

/// One request that was read whole.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Request line and headers, one a line.
    pub(crate) head: String,
    pub(crate) body: String,
    /// The status that it was answered with; 0: none.
    pub(crate) status: u16,
}

impl Request {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    requests: Vec<Request>,
    hanging: Vec<TcpStream>,
}

/// Listens until the tests end; its thread waits in `accept`.
pub(crate) struct Receiver {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    /// Answers its first requests in this way, and takes all later ones.
    pub(crate) fn start(answers: &[Answer]) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), answers)
    }

    pub(crate) fn listen(listener: TcpListener, answers: &[Answer]) -> Self {
        let port = listener.local_addr().unwrap().port();
        let answers = answers.iter().copied().collect();
        let state = Arc::new(Mutex::new(State { answers, ..State::default() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { port, state }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).requests.clone()
    }

    /// Returns those that were taken.
    pub(crate) fn taken(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.status == 200);
        requests
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let Some((head, body)) = read(&stream) else { return };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = state.answers.pop_front().unwrap_or(TAKEN);
    let status = if let Answer::Status(status, _) = answer { status } else { 0 };
    state.requests.push(Request { head, body, status });
    let text = match answer {
        Answer::Status(status, headers) => format!(
            "HTTP/1.1 {status} Answer\r\n{headers}Content-Length: 2\r\nConnection: close\r\n\r\nok"
        ),
        Answer::Garbage => "\u{1b}[31mSSH-2.0-what\r\n\r\n".to_owned(),
        Answer::Close => return,
        Answer::Hang => return state.hanging.push(stream),
    };
    drop(state);
    drop(stream.write_all(text.as_bytes()));
}

fn read(stream: &TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}
