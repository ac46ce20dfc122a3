//! Records of `/dev/kmsg`: processes that were killed because memory ran out, and errors of GPUs.
//!
//! The form of a record is `priority,sequence,microseconds,flags;text`, followed by lines that begin
//! with a space and add nothing here. Source: `Documentation/ABI/testing/dev-kmsg` of the kernel.
//! The lines are those of `mm/oom_kill.c` and of the NVIDIA driver.

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::redact::presentable;
use crate::model::host_evidence::KernelHappening;

/// Characters of a line that are kept.
const LONGEST: usize = 400;

/// A line of the kernel that bears on training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelLine {
    /// When, since the host was started.
    pub since_boot: Duration,
    /// What happened.
    pub what: KernelHappening,
    /// The line, bounded.
    pub text: String,
}

/// Reads records, one after the other, and returns those that bear on training.
///
/// A kill is told by two lines of the kernel; the second one, which names no more, is left out where
/// the first one is there.
pub fn kernel_lines(records: &[u8]) -> Vec<KernelLine> {
    let records = String::from_utf8_lossy(records);
    let mut found: Vec<KernelLine> = Vec::new();
    for line in records.lines().filter_map(kernel_line) {
        let is_repeated = found.iter().any(|one| {
            one.what == line.what
                && matches!(one.what, KernelHappening::OutOfMemory { .. })
                && line.since_boot.abs_diff(one.since_boot) < Duration::from_secs(1)
        });
        if !is_repeated {
            found.push(line);
        }
    }
    found
}

/// Reads one line of a record.
fn kernel_line(line: &str) -> Option<KernelLine> {
    let (prefix, text) = line.split_once(';')?;
    if line.starts_with(' ') {
        return None;
    }
    let microseconds = prefix.split(',').nth(2)?.parse().ok()?;
    let what = out_of_memory(text).or_else(|| xid(text))?;
    let since_boot = Duration::from_micros(microseconds);
    Some(KernelLine { since_boot, what, text: presentable(text.as_bytes(), LONGEST) })
}

/// `oom-kill:constraint=CONSTRAINT_NONE,…,task=python,pid=123,uid=1000`, and
/// `Out of memory: Killed process 123 (python) total-vm:…`, also `Memory cgroup out of memory: …`.
fn out_of_memory(text: &str) -> Option<KernelHappening> {
    static SUMMARY: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"^oom-kill:.*,task=(.*),pid=(\d+),uid=\d+").ok());
    static KILLED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)out of memory.*: Kill(?:ed)? process (?<pid>\d+) \((?<task>.*?)\)").ok()
    });
    let (task, pid) = if let Some(found) = SUMMARY.as_ref()?.captures(text) {
        (found.get(1)?, found.get(2)?)
    } else {
        let found = KILLED.as_ref()?.captures(text)?;
        (found.name("task")?, found.name("pid")?)
    };
    let pid = pid.as_str().parse().ok()?;
    Some(KernelHappening::OutOfMemory { pid, task: task.as_str().to_owned() })
}

/// `NVRM: Xid (PCI:0000:65:00): 79, pid=1234, name=python, GPU has fallen off the bus.`
fn xid(text: &str) -> Option<KernelHappening> {
    static XID: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let regex = r#"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)(?:, pid=['"<]?(\d+))?"#;
        Regex::new(regex).ok()
    });
    let found = XID.as_ref()?.captures(text)?;
    Some(KernelHappening::Xid {
        gpu: found.get(1)?.as_str().to_owned(),
        number: found.get(2)?.as_str().parse().ok()?,
        pid: found.get(3).and_then(|pid| pid.as_str().parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happenings(records: &str) -> Vec<KernelHappening> {
        kernel_lines(records.as_bytes()).into_iter().map(|line| line.what).collect()
    }

    fn killed(pid: u32, task: &str) -> KernelHappening {
        KernelHappening::OutOfMemory { pid, task: task.to_owned() }
    }

    #[test]
    fn a_kill_is_found_once_and_with_its_time() {
        let records = "4,1021,86400123456,-;python invoked oom-killer: gfp_mask=0x140dca\n\
            6,1022,86400123999,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),\
            cpuset=user.slice,mems_allowed=0,global_oom,task_memcg=/user.slice,task=python,\
            pid=4242,uid=1000\n SUBSYSTEM=memory\n\
            3,1023,86400124100,-;Out of memory: Killed process 4242 (python) total-vm:99kB\n";
        let lines = kernel_lines(records.as_bytes());
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0].what, killed(4242, "python"));
        assert_eq!(lines[0].since_boot, Duration::from_micros(86_400_123_999));
        assert!(lines[0].text.starts_with("oom-kill:constraint"));
    }

    #[test]
    fn kills_of_groups_and_of_older_kernels_count_too() {
        for (text, expected) in [
            (
                "3,1,5,-;Memory cgroup out of memory: Killed process 77 (pt_main_thread) total-vm:1kB",
                killed(77, "pt_main_thread"),
            ),
            ("3,1,5,-;Out of memory: Kill process 78 (a (b)) score 9", killed(78, "a (b")),
            (
                "6,1,5,-;oom-kill:constraint=CONSTRAINT_MEMCG,task=odd,pid=1,pid=79,uid=0",
                killed(79, "odd,pid=1"),
            ),
        ] {
            assert_eq!(happenings(text), [expected], "{text}");
        }
    }

    #[test]
    fn errors_of_gpus_are_found_with_their_process_if_one_is_named() {
        let xid = |number, pid| KernelHappening::Xid { gpu: "0000:65:00".into(), number, pid };
        for (text, expected) in [
            (
                "NVRM: Xid (PCI:0000:65:00): 79, pid=1234, name=python, GPU has fallen",
                xid(79, Some(1234)),
            ),
            ("NVRM: Xid (PCI:0000:65:00): 79, pid='<unknown>', name=<unknown>, GPU", xid(79, None)),
            ("NVRM: Xid (PCI:0000:65:00): 31, pid=77, Ch 00000008, intr", xid(31, Some(77))),
            ("NVRM: Xid (PCI:0000:65:00): 48", xid(48, None)),
        ] {
            assert_eq!(happenings(&format!("4,1,5,-;{text}")), [expected], "{text}");
        }
    }

    #[test]
    fn anything_else_says_nothing() {
        for text in [
            "",
            ";",
            "x",
            "4,1,5;usb 1-1: new device",
            "4,1,99999999999999999999999,-;Out of memory: Killed process 1 (a)",
            "4,1,5,-;Out of memory: Killed process 99999999999 (a)",
            " 4,1,5,-;Out of memory: Killed process 1 (a)",
            "Out of memory: Killed process 1 (a)",
            "\u{fffd},\u{0},5,-;NVRM: Xid (PCI:): x",
        ] {
            assert_eq!(happenings(text), [], "{text}");
        }
    }
}
