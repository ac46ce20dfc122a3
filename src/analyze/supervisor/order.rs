//! The supervisor's command line: limits, then the program's own arguments.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

/// The hidden command's name.
pub(crate) const COMMAND: &str = "supervise";

/// Under which limits a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time until TERM.
    pub timeout: Duration,
    /// Time from TERM to KILL.
    pub kill_grace: Duration,
    /// Niceness, 0 to 19. Above 0 the program also gets idle scheduling and idle disk access.
    pub nice: u8,
    /// The soft limit on open files, where it differs from the daemon's own.
    pub open_files: Option<u64>,
}

impl Limits {
    /// Returns the arguments that stand before the program.
    pub(crate) fn arguments(&self) -> [String; 5] {
        [
            COMMAND.to_owned(),
            milliseconds(self.timeout).to_string(),
            milliseconds(self.kill_grace).to_string(),
            self.nice.to_string(),
            self.open_files.map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
        ]
    }
}

/// A supervisor's whole command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) limits: Limits,
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
}

impl Order {
    /// Reads the arguments after the hidden command's name.
    pub(super) fn parse(arguments: &[OsString]) -> Option<Self> {
        let [timeout, kill_grace, nice, open_files, program, rest @ ..] = arguments else {
            return None;
        };
        let limits = Limits {
            timeout: Duration::from_millis(number(timeout)?),
            kill_grace: Duration::from_millis(number(kill_grace)?),
            nice: u8::try_from(number(nice)?).ok()?,
            open_files: if open_files == "-" { None } else { Some(number(open_files)?) },
        };
        Some(Self { limits, program: program.clone(), arguments: rest.to_vec() })
    }
}

/// A duration that does not fit is longer than the host will stand.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn number(text: &OsStr) -> Option<u64> {
    text.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[String]) -> Vec<OsString> {
        list.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_comes_back_as_it_was_made() {
        for open_files in [None, Some(1024)] {
            let limits = Limits {
                timeout: Duration::from_mins(15),
                kill_grace: Duration::from_millis(300),
                nice: 10,
                open_files,
            };
            let mut list = words(&limits.arguments());
            list.extend(words(&["python".to_owned(), "--flag".to_owned(), "a b".to_owned()]));
            let order = Order::parse(&list[1..]);
            let (program, arguments) = (list[5].clone(), list[6..].to_vec());
            assert_eq!(order, Some(Order { limits, program, arguments }));
            assert_eq!(Order::parse(&list[1..5]), None);
        }
        let forever = Limits {
            timeout: Duration::MAX,
            kill_grace: Duration::ZERO,
            nice: 0,
            open_files: None,
        };
        let mut list = words(&forever.arguments());
        list.push(OsString::from("x"));
        assert!(Order::parse(&list[1..]).is_some());
    }
}
