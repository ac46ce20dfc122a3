//! Real captured reports, where they are at hand, give well-formed rows and notes.

use super::support::{edited, observation};
use crate::document::cells::observation_row;
use crate::document::contains;
use crate::document::note::{NoteFacts, RunFiles, failure_note};
use crate::model::observation::DocumentEdit;

const CAPTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data/analysis");

#[test]
#[expect(clippy::disallowed_methods, reason = "the captures lie outside the repository")]
fn captured_reports_give_rows_and_notes() {
    let Ok(folder) = std::fs::read_dir(CAPTURES) else {
        println!("skipped: there are no captures at {CAPTURES}");
        return;
    };
    let mut seen = 0;
    for case in folder {
        let report = case.unwrap().path().join("out.json");
        let Ok(text) = std::fs::read_to_string(&report) else { continue };
        if serde_json::from_str::<serde_json::Value>(&text).is_err() {
            continue;
        }
        let observation = observation(&text, (64, 128), 20);
        let edit = DocumentEdit::ObservationRow(observation_row(&observation));
        let log = edited("", &edit);
        assert!(contains(log.as_bytes(), &edit), "{}", report.display());
        assert!(log.contains(" / 128 ("), "{log}");
        let facts = NoteFacts {
            observation: &observation,
            trajectory: std::slice::from_ref(&observation),
            files: RunFiles::default(),
            evidence: vec![],
        };
        assert!(failure_note(&facts).contains("`global_effective_rank`"), "{}", report.display());
        seen += 1;
    }
    assert!(seen >= 4, "{seen} captured reports");
}
