//! Where commands print: stdout for people, stderr for logs and errors.

use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::daemon::Fatal;

use super::exit;

/// How a command ended, if not with exit code 0.
#[derive(Debug)]
pub(super) enum Ended {
    /// The answer itself is the code; everything was said.
    Code(u8),
    /// It failed; the text says what to do.
    Failed(u8, String),
    /// Whoever read the output is gone, which is no error.
    NobodyReads,
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::NobodyReads;
        }
        Self::Failed(exit::FAILED, error.to_string())
    }
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(exit::FAILED, format!("{error:#}"))
    }
}

impl From<Fatal> for Ended {
    fn from(fatal: Fatal) -> Self {
        let code = match &fatal {
            Fatal::Configuration(_) | Fatal::Unusable(_) => exit::CONFIGURATION,
            Fatal::AlreadyRunning(_) | Fatal::Failed(_) => exit::FAILED,
        };
        match fatal {
            Fatal::Failed(error) => Self::Failed(code, format!("{error:#}")),
            other => Self::Failed(code, other.to_string()),
        }
    }
}

/// What every command returns.
pub(super) type Outcome = Result<(), Ended>;

/// Standard output, and whether it may be colored.
pub(super) struct Output {
    stream: Box<dyn Write + Send>,
    /// Whether the command goes on when nobody reads any more.
    goes_on: bool,
    pub(super) colored: bool,
    pub(super) width: usize,
}

impl Output {
    pub(super) fn standard() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let width = if is_terminal { columns() } else { usize::MAX };
        let colored = is_terminal && colors_wanted();
        Self { stream: Box::new(io::stdout()), goes_on: false, colored, width }
    }

    /// Lets the command come to its end also when nobody reads any more: what it does, and its exit
    /// code, must not depend on a `head` behind it.
    pub(super) fn go_on_unread(&mut self) {
        self.goes_on = true;
    }

    pub(super) fn text(&mut self, text: &str) -> io::Result<()> {
        let written = self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.flush());
        self.or_unread(written)
    }

    fn or_unread(&self, written: io::Result<()>) -> io::Result<()> {
        written.or_else(|error| {
            let is_unread = error.kind() == io::ErrorKind::BrokenPipe;
            if is_unread && self.goes_on { Ok(()) } else { Err(error) }
        })
    }

    pub(super) fn line(&mut self, line: &str) -> io::Result<()> {
        self.text(&format!("{line}\n"))
    }

    /// Returns whether whoever read standard output is gone, which a write would tell only when
    /// there is something to print.
    ///
    /// Source: pipe(7) and poll(2): the writing end reports `POLLERR` once nobody reads.
    pub(super) fn is_abandoned() -> bool {
        let stdout = io::stdout();
        let mut reader = [PollFd::new(&stdout, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let polled = rustix::event::poll(&mut reader, Some(&at_once));
        polled.is_ok() && reader.iter().any(|one| one.revents().contains(PollFlags::ERR))
    }

    /// Prints a value as indented JSON, piece by piece: it may be large.
    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> io::Result<()> {
        let mut stream = io::BufWriter::new(&mut self.stream);
        let printed = serde_json::to_writer_pretty(&mut stream, value).map_err(io::Error::from);
        let written = printed.and_then(|()| stream.write_all(b"\n")).and_then(|()| stream.flush());
        // What is left of it would be written when it is dropped.
        drop(stream.into_parts());
        self.or_unread(written)
    }

    /// Paints text with an SGR code, where that is wanted.
    pub(super) fn paint(&self, code: &str, text: &str) -> String {
        if self.colored { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Source of the convention: <https://no-color.org>.
pub(super) fn colors_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns the terminal's width; a hundred columns where it does not say.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(100)
}

pub(super) fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) | Err(Ended::NobodyReads) => ExitCode::SUCCESS,
        Err(Ended::Code(code)) => ExitCode::from(code),
        Err(Ended::Failed(code, message)) => {
            complain(&message);
            ExitCode::from(code)
        }
    }
}

pub(super) fn failure(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(exit::FAILED)
}

fn complain(message: &str) {
    // Nobody is left to be told when stderr itself cannot be written.
    writeln!(io::stderr(), "runscribe: {message}").unwrap_or_default();
}

/// Prints clap's own message: help and version on stdout with code 0, errors with code 2.
pub(super) fn clap_message(error: &clap::Error) -> ExitCode {
    error.print().unwrap_or_default();
    ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 })
}
