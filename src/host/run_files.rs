//! What a run's files outside its checkpoints say: its machine.

use std::path::Path;

use crate::model::ids::RunId;

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
}
