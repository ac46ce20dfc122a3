//! What launchers and the Python entries that they start say of themselves, read without running
//! anything.
//!
//! A launcher is a shell or PowerShell script. What cannot be decided by reading is a value with
//! its reason, never a guess: a variable from the environment, the output of a command, what is set
//! under a condition.

mod command;
mod cursor;
mod dictionary;
mod plan;
mod powershell;
mod python;
mod recording;
mod shell;
mod variables;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use plan::{Plan, plan};
pub use python::imports;
pub use recording::{Answer, Recording, recording};

/// A file of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source<'a> {
    /// Its path relative to the root, with `/`.
    pub path: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// What a launcher starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launcher {
    /// The Python programs, in the order of the file.
    pub starts: Vec<Start>,
    /// Commands that start something that reading does not tell.
    pub undecided: Vec<Undecided>,
}

/// One Python program that a launcher starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The line of the command, counted from 1.
    pub line: usize,
    /// The program's file, relative to the root where the launcher says so; a module stands as the
    /// path of its file.
    pub entry: String,
    /// The launching program's own options, such as `--num_processes`.
    pub launching: Vec<Parameter>,
    /// The parameters that the program is given.
    pub parameters: Vec<Parameter>,
}

/// An option on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name without dashes, `-` as `_`.
    pub name: String,
    /// Its value; empty for a flag, the reason where reading does not tell it.
    pub value: Result<String, String>,
}

/// What cannot be decided by reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecided {
    /// The line, counted from 1.
    pub line: usize,
    /// Why.
    pub reason: String,
}

impl Launcher {
    /// Returns the one Python program that is started, or why there is no one.
    pub fn entry(&self) -> Result<&Start, String> {
        let Some(first) = self.starts.first() else {
            return Err(match self.undecided.first() {
                Some(Undecided { line, reason }) => format!("line {line}: {reason}"),
                None => "it starts no Python program".to_owned(),
            });
        };
        let others = self.starts.iter().filter(|start| start.entry != first.entry);
        let mut names: Vec<&str> = others.map(|start| start.entry.as_str()).collect();
        names.dedup();
        if names.is_empty() {
            return Ok(first);
        }
        Err(format!("it starts several programs: {}, {}", first.entry, names.join(", ")))
    }
}

impl Start {
    /// Returns a parameter's value where reading tells it and it says something. The last one of
    /// several counts, as it does for `argparse`.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        known(&self.parameters, name)
    }

    /// Returns an option of the launching program.
    pub fn launching(&self, name: &str) -> Option<&str> {
        known(&self.launching, name)
    }
}

fn known<'a>(parameters: &'a [Parameter], name: &str) -> Option<&'a str> {
    let found = parameters.iter().rev().find(|parameter| parameter.name == name)?;
    found.value.as_deref().ok().filter(|value| !value.is_empty())
}

/// Returns a script's text without a byte order mark. PowerShell scripts are often written with one,
/// and as UTF-16.
pub fn decoded(bytes: &[u8]) -> String {
    let units = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let pairs = rest.chunks_exact(2).filter_map(|pair| pair.try_into().ok());
        String::from_utf16_lossy(&pairs.map(unit).collect::<Vec<u16>>())
    };
    match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [0xFF, 0xFE, rest @ ..] => units(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => units(rest, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Reads a launcher; by its name a PowerShell script or a shell script. `path` is relative to the
/// root.
pub fn launcher(source: Source<'_>) -> Launcher {
    let is_powershell =
        Path::new(source.path).extension().is_some_and(|end| end.eq_ignore_ascii_case("ps1"));
    let commands = if is_powershell { powershell::read(source) } else { shell::read(source) };
    command::starts(&commands)
}
