//! kill -9 at any moment, then a new start: the same documents as if nothing had happened.

use crate::support::{FakeReport, Project, wait};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

/// The documents without what differs between any two lives: the times.
fn without_times(project: &Project) -> Vec<Vec<String>> {
    project.observations().into_iter().map(|row| row[1..].to_vec()).collect()
}

fn scripted() -> Project {
    let project = Project::new();
    for (step, rank) in [(20, 9.0), (40, 4.0), (60, 3.0)] {
        project.script(&format!("checkpoint-{step}"), FakeReport::with_rank(rank));
    }
    project
}

#[test]
fn killed_again_and_again_it_ends_in_the_documents_of_an_undisturbed_life() {
    let undisturbed = scripted();
    let daemon = undisturbed.start();
    for step in [20, 40, 60] {
        undisturbed.save(RUN, step);
        daemon.wait_for_observations(step / 20);
    }
    assert_eq!(daemon.stop(), Some(0));

    let project = scripted();
    for (life, step) in [20, 40, 60].into_iter().enumerate() {
        let daemon = project.start();
        project.save(RUN, step);
        match life {
            // While the analysis is young, …
            0 => wait("the analysis", || !project.starts().is_empty()),
            // … as soon as the row stands, before it was looked at again, …
            1 => wait("a row", || !project.observations().is_empty()),
            // … and as soon as the note stands.
            _ => wait("the note", || !project.notes().is_empty()),
        }
        daemon.kill();
    }
    let daemon = project.start();
    daemon.wait_for_observations(3);
    assert_eq!(daemon.stop(), Some(0));
    let mut rows = without_times(&project);
    let mut expected = without_times(&undisturbed);
    rows.sort();
    expected.sort();
    assert_eq!(rows, expected);
    assert_eq!(project.notes().len(), 1);
    assert_eq!(project.log().matches("](run_reports/").count(), 2, "{}", project.log());
    assert_eq!(project.log().matches(&format!("| `{RUN}` | H64 L2 C128 |")).count(), 1);
}

#[test]
fn sequence_numbers_go_on_across_lives_without_a_gap() {
    let project = Project::new();
    for step in [20, 40] {
        let daemon = project.start();
        project.save(RUN, step);
        daemon.wait_for_observations(step / 20);
        daemon.kill();
    }
    let daemon = project.start();
    daemon.wait_for_observations(2);
    let numbers: Vec<u64> =
        daemon.events().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
    let complete =
        daemon.events().iter().filter(|event| event["kind"] == "checkpoint_complete").count();
    assert_eq!(complete, 2);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_lost_journal_repeats_nothing_that_stands_in_the_log() {
    let project = Project::new();
    let daemon = project.start();
    project.save(RUN, 20);
    daemon.wait_for_observations(1);
    assert_eq!(daemon.stop(), Some(0));
    std::fs::remove_dir_all(project.path("Cache/runscribe")).unwrap();
    let daemon = project.start();
    project.save(RUN, 40);
    wait("the second row", || project.observations().len() == 2);
    assert_eq!(project.starts().get("checkpoint-20"), Some(&1));
    assert_eq!(daemon.stop(), Some(0));
}
