//! The demo keeps its word: observations, one failure note, nothing left running.

use std::time::{Duration, Instant};

use crate::support::command;

#[test]
fn the_demo_ends_below_the_gate_with_an_empty_path() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new/project");
    let began = Instant::now();
    let mut demo = command(&["demo", "--dir"]);
    let output = demo.arg(&root).env_clear().env("PATH", "").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(began.elapsed() < Duration::from_mins(1));
    let root = root.canonicalize().unwrap();
    let log = root.join("docs/2_Experiments_Registry/master_experiment_log.md");
    let log = std::fs::read_to_string(log).unwrap();
    let rows: Vec<&str> = log.lines().filter(|line| line.contains("| `checkpoint-")).collect();
    assert!(rows.len() >= 3, "{log}");
    assert!(rows[rows.len() - 1].contains("**fail**"), "{log}");
    let notes = root.join("docs/2_Experiments_Registry/run_reports").read_dir().unwrap().count();
    assert_eq!(notes, 1);
    assert!(
        said.contains("Failure note: ") && said.contains("+ ## Checkpoint Observations"),
        "{said}"
    );
    assert_eq!(processes_that_name(root.to_str().unwrap()), Vec::<String>::new());
    let again = command(&["demo", "--dir"]).arg(&root).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
}

fn processes_that_name(text: &str) -> Vec<String> {
    crate::support::command_lines().into_iter().filter(|line| line.contains(text)).collect()
}
