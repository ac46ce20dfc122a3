//! What a run's files outside its checkpoints say: its machine and its shell log.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::model::ids::RunId;

/// A run names itself within the first kilobytes of its log.
const HEAD_BYTES: u64 = 1 << 20;
/// Logs that are looked at, newest first; a host keeps hundreds.
const MAX_LOGS: usize = 200;
/// A shell log begins shortly before its run; older logs cannot be its own.
const LOG_BEGINS_BEFORE: Duration = Duration::from_hours(24);

/// Returns the host in the name of the run's `events.out.tfevents.<time>.<host>.<pid>…`, which
/// the trainer writes when training starts. Source of the form: the event writer of `TensorBoard`.
pub fn machine(run_logs: &Path, run: &RunId) -> Option<String> {
    let entries = std::fs::read_dir(run_logs.join(run.as_str())).ok()?;
    let mut hosts: Vec<(String, String)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| Some((name.clone(), host_of_event_file(&name)?)))
        .collect();
    hosts.sort();
    hosts.into_iter().next().map(|(_, host)| host)
}

/// A host's name may hold dots, so it is what stands between the time and the number behind it.
fn host_of_event_file(name: &str) -> Option<String> {
    let rest = name.strip_prefix("events.out.tfevents.")?;
    let parts: Vec<&str> = rest.split('.').collect();
    let is_number =
        |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (time, behind) = parts.split_first()?;
    if !is_number(time) {
        return None;
    }
    let numbers = behind.iter().rev().take_while(|part| is_number(part)).count();
    let host = behind.get(..behind.len().checked_sub(numbers)?)?.join(".");
    (!host.is_empty() && numbers > 0).then_some(host)
}

/// Returns the shell log that names the run near its beginning, newest first. `sources` are
/// folders or globs with `*` in their last component.
pub fn shell_log(sources: &[PathBuf], run: &RunId, not_before: SystemTime) -> Option<PathBuf> {
    let earliest = not_before.checked_sub(LOG_BEGINS_BEFORE)?;
    let mut logs: Vec<(SystemTime, PathBuf)> = sources
        .iter()
        .flat_map(|source| candidates(source))
        .filter_map(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path)))
        .filter(|(modified, _)| *modified >= earliest)
        .collect();
    logs.sort_by(|left, right| right.cmp(left));
    logs.into_iter().take(MAX_LOGS).map(|(_, path)| path).find(|path| names(path, run))
}

fn candidates(source: &Path) -> Vec<PathBuf> {
    let pattern = source.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (folder, pattern) = if pattern.contains('*') {
        (source.parent().unwrap_or(source), pattern)
    } else {
        (source, "*")
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| matches(pattern, name)))
        .map(|entry| entry.path())
        .collect()
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let Some((_, behind)) = rest.split_once(piece) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

fn names(path: &Path, run: &RunId) -> bool {
    let mut head = Vec::new();
    let Ok(file) = std::fs::File::open(path) else { return false };
    if file.take(HEAD_BYTES).read_to_end(&mut head).is_err() {
        return false;
    }
    memchr::memmem::find(&head, run.as_str().as_bytes()).is_some()
}

/// Returns the page at W&B that a shell log's beginning names.
pub fn wandb_url(log: &Path) -> Option<String> {
    let mut head = Vec::new();
    std::fs::File::open(log).ok()?.take(HEAD_BYTES).read_to_end(&mut head).ok()?;
    let text = String::from_utf8_lossy(&head);
    let line = text.lines().find(|line| line.contains("View run") && line.contains("https://"))?;
    let url = line.get(line.find("https://")?..)?;
    let end = url.find(|mark: char| mark.is_whitespace() || mark.is_control());
    let url = url.get(..end.unwrap_or(url.len()))?;
    url.contains("/runs/").then(|| url.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_stands_in_the_event_files_name() {
        for (name, host) in [
            ("events.out.tfevents.1764000000.odin.12345.0", Some("odin")),
            ("events.out.tfevents.1764000000.gpu-1.lab.example.12345.0", Some("gpu-1.lab.example")),
            ("events.out.tfevents.1764000000.odin.12345", Some("odin")),
            ("events.out.tfevents.1764000000.12345.0", None),
            ("events.out.tfevents.now.odin.1.0", None),
            ("training.log", None),
        ] {
            assert_eq!(host_of_event_file(name).as_deref(), host, "{name}");
        }
    }

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, fits) in [
            ("shell_*.log", "shell_diffusion_20261123_063752.log", true),
            ("shell_*.log", "shell_.log", true),
            ("shell_*.log", "xshell_a.log", false),
            ("shell_*.log", "shell_a.log.1", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("plain", "plain", true),
            ("plain", "plainer", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
