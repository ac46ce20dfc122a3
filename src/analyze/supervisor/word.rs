//! What supervisor and daemon tell each other over the socket between them.

use crate::model::analysis::Ending;

/// One byte from the daemon. Its end of the socket closing means the same as [`STOP`].
pub(crate) const STOP: u8 = b't';
/// One byte from the daemon: no grace.
pub(crate) const KILL: u8 = b'k';

/// One line from the supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// The program runs; its process id, which is that of its group as well.
    Started(i32),
    /// The program could not be started: the operating system's error number.
    Refused(i32),
    /// The program itself ended, or ran past its deadline. Its tree may still be there.
    Ended(Ending),
    /// So many processes did not end though they were killed: the kernel holds them.
    Left(usize),
    /// Something that could not be set up; the analysis goes on without.
    Note(String),
}

impl Word {
    /// Returns the line without its end.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Started(pid) => format!("started {pid}"),
            Self::Refused(errno) => format!("refused {errno}"),
            Self::Ended(Ending::Exit(code)) => format!("exit {code}"),
            Self::Ended(Ending::Signal(signal)) => format!("signal {signal}"),
            Self::Ended(Ending::Deadline) => "deadline".to_owned(),
            Self::Left(count) => format!("left {count}"),
            Self::Note(text) => format!("note {}", text.replace('\n', " ")),
        }
    }

    /// Reads a line; `None` if it is none of ours.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "started" => rest.parse().ok().map(Self::Started),
            "refused" => rest.parse().ok().map(Self::Refused),
            "exit" => rest.parse().ok().map(|code| Self::Ended(Ending::Exit(code))),
            "signal" => rest.parse().ok().map(|signal| Self::Ended(Ending::Signal(signal))),
            "deadline" => Some(Self::Ended(Ending::Deadline)),
            "left" => rest.parse().ok().map(Self::Left),
            "note" => Some(Self::Note(rest.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_comes_back_as_it_was_said() {
        for word in [
            Word::Started(4711),
            Word::Refused(13),
            Word::Ended(Ending::Exit(-1)),
            Word::Ended(Ending::Exit(255)),
            Word::Ended(Ending::Signal(9)),
            Word::Ended(Ending::Deadline),
            Word::Left(2),
            Word::Note("cannot be idle: EPERM".to_owned()),
        ] {
            assert_eq!(Word::parse(&word.line()), Some(word.clone()), "{word:?}");
        }
        for other in ["", "exit", "exit x", "started", "hello 3"] {
            assert_eq!(Word::parse(other), None, "{other}");
        }
    }
}
