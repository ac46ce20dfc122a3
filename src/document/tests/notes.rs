//! Failure notes as text.

use std::collections::BTreeSet;

use expect_test::expect_file;

use super::support::{DIFFUSION, PERCEIVER, moment, observation, with};
use crate::document::note::{NoteFacts, RunFiles, failure_note, note_file};
use crate::model::analysis::FailureClass;
use crate::model::ids::{CheckpointName, RunId};
use crate::model::measurement::FiniteWeights;
use crate::model::observation::{Observation, ObservationOutcome};

fn perceiver() -> Observation {
    observation(PERCEIVER, (512, 128), 15_000)
}

fn bare<'a>(observation: &'a Observation, trajectory: &'a [Observation]) -> NoteFacts<'a> {
    NoteFacts { observation, trajectory, files: RunFiles::default(), evidence: vec![] }
}

#[test]
fn a_whole_note() {
    let failing = with(perceiver(), |observation| {
        observation.finite = Some(FiniteWeights::Counted {
            tensors: 41,
            elements: 1_200_000,
            not_finite: 0,
            first_tensors: vec![],
        });
    });
    let trajectory = [
        with(perceiver(), |observation| {
            observation.checkpoint.name = CheckpointName::Final;
            observation.protocol = "77aa".into();
            observation.note = "= checkpoint-15000".into();
        }),
        failing.clone(),
        with(perceiver(), |observation| {
            observation.checkpoint.name = CheckpointName::Step(5_000);
            observation.outcome = ObservationOutcome::AnalysisFailed {
                class: FailureClass::OutOfMemory,
                evidence: "exit 137".into(),
            };
            observation.measurements.clear();
        }),
    ];
    let facts = NoteFacts {
        files: RunFiles {
            machine: Some("Polonez (4x RTX 3090)".into()),
            wandb: Some("https://wandb.ai/e/MrCogito/runs/r_1".into()),
            shell_log: Some("Cache/logs/shell_perceiver_20260219_105401.log".into()),
            git_commit: Some("54ee870".into()),
            git_tag: None,
        },
        evidence: vec!["exit 0 after 41 s".into(), "# not a heading".into(), "12. no list".into()],
        ..bare(&failing, &trajectory)
    };
    expect_file!["../../../tests/fixtures/document/failure_note.md"]
        .assert_eq(&failure_note(&facts));
}

#[test]
fn a_note_of_which_nothing_is_known() {
    let failing = with(observation(DIFFUSION, (64, 128), 40), |observation| {
        observation.training = None;
        observation.measurements.clear();
        observation.conditions.clear();
        observation.finite = Some(FiniteWeights::NotScanned { reason: "a pickled file".into() });
    });
    expect_file!["../../../tests/fixtures/document/failure_note_nothing_known.md"]
        .assert_eq(&failure_note(&bare(&failing, &[])));
}

#[test]
fn file_names_are_safe_and_different() {
    let name = |run: &str, kind: &str| {
        note_file(&RunId::new(run), moment("2026-02-25T23:59:59+01:00"), kind)
    };
    assert_eq!(
        name("diffusion_H512L2C128D2_20260223_203349", "effective-rank"),
        "diffusion_H512L2C128D2_20260223_203349_failure_20260225_effective-rank.md"
    );
    let hostile = [
        "../../etc/passwd",
        "..",
        "",
        "a/b",
        "a_b",
        "a\0b",
        "a\nb",
        &"x".repeat(400),
        &"x".repeat(401),
    ];
    let names: BTreeSet<String> = hostile.iter().map(|run| name(run, "a b")).collect();
    assert_eq!(names.len(), hostile.len());
    for name in names {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        assert!(name.len() < 255 && name.chars().all(is_safe) && !name.starts_with('.'), "{name}");
    }
}
