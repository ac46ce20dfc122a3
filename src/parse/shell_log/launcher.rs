//! What launchers print when a child of theirs failed: accelerate, torchrun, the shell.
//!
//! Sources: `subprocess.CalledProcessError.__str__`, torchrun's `ChildFailedError.format_msg` and
//! its agent's log line, bash's job messages.

use bstr::ByteSlice;
use serde::{Deserialize, Serialize};

use super::evidence::{TrainingFailureClass, class_of_exit};

/// Texts without which no launcher speaks.
pub(super) const NEEDLES: [&str; 10] = [
    ROOT_CAUSE,
    AGENT_LINE,
    "Killed",
    "Terminated",
    "Segmentation fault",
    "Bus error",
    "Aborted",
    ZSH_KILLED,
    STEP_ENDED,
    FATAL,
];

const ROOT_CAUSE: &str = "Root Cause (first observed failure)";
const AGENT_LINE: &str = "failed (exitcode: ";
/// zsh's message begins so, in lower case.
const ZSH_KILLED: &str = "zsh: killed ";
/// Slurm's launcher begins its lines so.
const STEP_ENDED: &str = "srun: error: ";
const FATAL: &str = "Fatal Python error:";

/// How a launcher says that its child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChildEnd {
    pub(super) class: TrainingFailureClass,
    /// Whether it tells the cause by itself, as SIGKILL does and exit code 1 does not.
    pub(super) informative: bool,
}

impl ChildEnd {
    fn of_code(code: i32) -> Self {
        let (class, informative) = class_of_exit(code);
        Self { class, informative }
    }
}

/// Reads the last line of a launcher's own exception.
pub(super) fn exception_end(name: &str, text: &[u8], is_launcher: bool) -> Option<ChildEnd> {
    match name.rsplit('.').next().unwrap_or(name) {
        "ChildFailedError" | "ProcessRaisedException" => Some(ChildEnd::of_code(1)),
        "CalledProcessError" if is_launcher || text.contains_str("python") => {
            Some(called_process_end(text))
        }
        "ProcessExitedException" => Some(called_process_end(text)),
        _ => None,
    }
}

fn called_process_end(text: &[u8]) -> ChildEnd {
    let code = [("<Signals.SIGKILL", -9), ("<Signals.SIGTERM", -15), ("<Signals.SIGINT", -2)]
        .into_iter()
        .chain([("signal SIGKILL", -9), ("signal SIGTERM", -15), ("<Signals.SIGHUP", -1)])
        .find(|(needle, _)| text.contains_str(needle))
        .map(|(_, code)| code);
    let status = || number_after(text, "non-zero exit status ");
    ChildEnd::of_code(code.or_else(status).unwrap_or(1))
}

/// Returns whether a scheduler speaks, which is never part of what Python prints.
pub(super) fn is_scheduler_line(text: &[u8]) -> bool {
    text.starts_with_str(STEP_ENDED) || text.starts_with_str("slurmstepd: error: ")
}

/// Reads a line of the shell, of Slurm's launcher or of the interpreter's crash handler.
pub(super) fn shell_end(text: &[u8]) -> Option<ChildEnd> {
    let text = text.trim_ascii();
    let is_step_line = text.starts_with_str(STEP_ENDED);
    let is_job_line = text.contains_str(": line ") || is_step_line;
    let alone = text.strip_suffix(b" (core dumped)").unwrap_or(text);
    let says = |word: &str| alone == word.as_bytes() || (is_job_line && text.contains_str(word));
    if says("Killed") || text.starts_with_str(ZSH_KILLED) {
        Some(ChildEnd::of_code(-9))
    } else if says("Terminated") {
        Some(ChildEnd::of_code(-15))
    } else if ["Segmentation fault", "Bus error", "Aborted"].into_iter().any(says)
        || text.starts_with_str(FATAL)
    {
        Some(ChildEnd::of_code(1))
    } else if is_step_line {
        number_after(text, "Exited with exit code ").map(ChildEnd::of_code)
    } else {
        None
    }
}

/// Reads torchrun's line about the first child that failed.
pub(super) fn agent_end(text: &[u8]) -> Option<ChildEnd> {
    number_after(text, AGENT_LINE).map(ChildEnd::of_code)
}

/// Reads torchrun's block about the failure that it saw first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct RootCauseReader {
    inside: bool,
    end: Option<ChildEnd>,
}

impl RootCauseReader {
    /// Returns whether the next line may be part of the block.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    /// Reads a line; gives the end of the child when the line states it.
    pub(super) fn read(&mut self, text: &[u8]) -> Option<ChildEnd> {
        if text.contains_str(ROOT_CAUSE) {
            *self = Self { inside: true, end: None };
            return None;
        }
        if !self.inside {
            return None;
        }
        let (label, value) = text.split_once_str(":")?;
        match label.trim_ascii() {
            b"exitcode" => {
                self.end = number_after(value, "").map(ChildEnd::of_code);
                self.end
            }
            b"traceback" => {
                self.inside = false;
                self.end.filter(|_| value.trim_ascii_start().starts_with(b"Signal"))
            }
            _ => None,
        }
    }
}

/// Returns the whole number that follows a text.
fn number_after(text: &[u8], before: &str) -> Option<i32> {
    let at = text.find(before)? + before.len();
    let rest = text.get(at..)?.trim_ascii_start();
    let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'-';
    let length = rest.iter().take_while(|byte| is_number(byte)).count();
    rest.get(..length)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use TrainingFailureClass::{Interrupted, Killed, PythonException};

    fn called(text: &str) -> Option<(TrainingFailureClass, bool)> {
        let name = text.split(':').next().unwrap_or_default();
        exception_end(name, text.as_bytes(), false).map(|end| (end.class, end.informative))
    }

    #[test]
    fn exceptions_of_launchers_tell_how_the_child_ended() {
        for (text, expected) in [
            (
                "subprocess.CalledProcessError: Command '['python']' died with <Signals.SIGKILL: 9>.",
                Some((Killed, true)),
            ),
            (
                "subprocess.CalledProcessError: Command '['python']' died with <Signals.SIGTERM: 15>.",
                Some((Interrupted, true)),
            ),
            (
                "subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 1.",
                Some((PythonException, false)),
            ),
            (
                "subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 137.",
                Some((Killed, true)),
            ),
            (
                "subprocess.CalledProcessError: Command '['python']' died with <Signals.SIGSEGV: 11>.",
                Some((PythonException, false)),
            ),
            (
                "subprocess.CalledProcessError: Command '['git']' returned non-zero exit status 128.",
                None,
            ),
            ("a.b.ChildFailedError: ", Some((PythonException, false))),
            (
                "x.ProcessExitedException: process 0 terminated with signal SIGKILL",
                Some((Killed, true)),
            ),
            ("ValueError: x", None),
        ] {
            assert_eq!(called(text), expected, "{text}");
        }
    }

    #[test]
    fn shells_tell_of_killed_jobs() {
        for (text, expected) in [
            ("Killed", Some(Killed)),
            (
                "scripts/train.sh: line 40:  1234 Killed                  python train.py",
                Some(Killed),
            ),
            ("Terminated", Some(Interrupted)),
            ("Fatal Python error: Aborted", Some(PythonException)),
            ("Killed by whom?", None),
        ] {
            assert_eq!(shell_end(text.as_bytes()).map(|end| end.class), expected, "{text}");
        }
    }
}
