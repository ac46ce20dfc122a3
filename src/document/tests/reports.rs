//! Run reports and their plots.

use expect_test::expect_file;

use super::support::{DIFFUSION, PERCEIVER, observation, rejudge, with};
use crate::document::plot::{self, Line, Look, Panel, Plot, Point};
use crate::document::report::{ReportFacts, is_untouched, plot, report_file, run_report};
use crate::model::checkpoint::LossEntry;
use crate::model::ids::{CheckpointName, RunId};
use crate::model::journal::RunFacts;
use crate::model::observation::Observation;

/// Checkpoints of one run with these ranks, one each 5,000 steps.
fn observations(ranks: &[f64]) -> Vec<Observation> {
    (1..)
        .zip(ranks)
        .map(|(number, rank)| {
            with(observation(PERCEIVER, (512, 128), number * 5_000), |one| {
                rejudge(one, |judgment| {
                    if let Some(reading) = &mut judgment.rank {
                        reading.value = *rank;
                    }
                });
            })
        })
        .collect()
}

fn bare<'a>(
    run: &'a RunId,
    observations: &'a [Observation],
    files: &'a RunFacts,
) -> ReportFacts<'a> {
    let evaluations = (&[][..], &[][..]);
    let (losses, notes, evidence, plot) = (&[], &[], &[], "r.svg");
    ReportFacts { run, observations, files, losses, notes, evaluations, plot, evidence }
}

fn loss(step: u64, loss: Option<f64>, eval_loss: Option<f64>) -> LossEntry {
    LossEntry { step, loss, eval_loss }
}

#[test]
fn a_whole_report_with_its_plot() {
    let mut all = observations(&[31.0, 18.5, 7.25]);
    all.push(with(all[2].clone(), |last| {
        last.checkpoint.name = CheckpointName::Final;
        last.same_as = Some(CheckpointName::Step(15_000));
        last.note = "= checkpoint-15000".into();
    }));
    let run = all[0].checkpoint.run.clone();
    let files = RunFacts {
        machine: Some("Polonez (4x RTX 3090)".into()),
        shell_log: Some("Cache/logs/shell_perceiver_20260219_105401.log".into()),
        wandb_url: Some("https://wandb.ai/e/MrCogito/runs/r_1".into()),
        git_commit: Some("54ee870".into()),
        git_tag: Some("arch/tsdae-overhaul-20260221".into()),
        begun: None,
    };
    let losses = [
        loss(1_000, Some(8.5), None),
        loss(5_000, Some(4.25), None),
        loss(5_000, None, Some(4.5)),
        loss(9_000, Some(f64::NAN), None),
        loss(10_000, Some(3.0), Some(3.25)),
    ];
    let facts = ReportFacts {
        losses: &losses,
        notes: &[("effective-rank".into(), "r_failure_20260225_effective-rank.md".into())],
        plot: "perceiver report.svg",
        evidence: &["Observations: the journal in Cache/runscribe".into()],
        ..bare(&run, &all, &files)
    };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/document");
    expect_file![format!("{folder}/run_report.md")].assert_eq(&run_report(&facts));
    expect_file![format!("{folder}/run_report.svg")].assert_eq(&plot::svg(&plot(&facts)));
}

#[test]
fn a_report_knows_whether_somebody_wrote_in_it() {
    let (run, files) = (RunId::new("r_20260101_000000"), RunFacts::default());
    let text = run_report(&bare(&run, &[], &files));
    assert!(is_untouched(text.as_bytes()), "{text}");
    assert!(text.contains("No checkpoint of this run has been analyzed"), "{text}");
    let changed =
        text.replacen("## Interpretation\n\n—", "## Interpretation\n\nToo high a rate.", 1);
    assert_ne!(changed, text);
    for other in [changed, format!("{text}\nmore"), text.replace('\n', "\r\n"), String::new()] {
        assert!(!is_untouched(other.as_bytes()), "{other}");
    }
    assert!(!is_untouched(b"\xff"));
}

#[test]
fn ranks_of_other_definitions_and_protocols_are_not_joined() {
    let mut all = observations(&[30.0, 20.0, 15.0, 12.0]);
    rejudge(&mut all[0], |judgment| {
        if let Some(reading) = &mut judgment.rank {
            reading.measurement = "embedding_weight_rank".into();
        }
    });
    all[2].protocol = "77aa".into();
    let run = all[0].checkpoint.run.clone();
    let drawn = plot(&bare(&run, &all, &RunFacts::default()));
    let points: Vec<_> =
        drawn.panels[0].lines[0].points.iter().map(|p| (p.step, p.begins)).collect();
    assert_eq!(points, [(10_000, false), (15_000, true), (20_000, true)]);
    // Without the trainer's own history the losses at the checkpoints are what is known.
    assert_eq!(drawn.panels[1].lines[0].points.len(), 4);
}

#[test]
fn names_from_outside_are_harmless_in_both_files() {
    let run = RunId::new("x|`<script>alert(1)</script>&\n](y)_20260101_000000");
    let all = [with(observation(DIFFUSION, (64, 128), 20), |one| {
        one.checkpoint.run = run.clone();
    })];
    let files = RunFacts::default();
    let facts = bare(&run, &all, &files);
    let (text, drawn) = (run_report(&facts), plot::svg(&plot(&facts)));
    assert!(!text.contains("<script>"), "{text}");
    assert_eq!(text.matches("](y)").count(), text.matches("\\](y)").count(), "{text}");
    assert!(!drawn.contains("<script>") && drawn.contains("&lt;script&gt;"), "{drawn}");
    let file = report_file(&run);
    assert!(file.ends_with("_report.md") && !file.contains(['/', '|', '<', '\n']), "{file}");
    assert_ne!(
        file,
        report_file(&RunId::new("x__<script>alert_1_</script>&__](y)_20260101_000000"))
    );
}

#[test]
fn a_long_line_is_thinned_and_keeps_its_spikes() {
    let point = |step: u64| Point {
        step,
        value: if step == 54_321 { 99.0 } else { 2.0 },
        begins: false,
        failed: false,
    };
    let line =
        Line { name: "t".into(), look: Look::Loss, points: (0..100_000).map(point).collect() };
    let panel = Panel { label: "l".into(), lines: vec![line], limit: None, from_zero: true };
    let drawn = plot::svg(&Plot { title: "p".into(), panels: vec![panel] });
    assert!(drawn.len() < 30_000, "{} bytes", drawn.len());
    let path = drawn.split(" d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let heights = path.split_whitespace().skip(1).step_by(2).map(|y| y.parse::<f64>().unwrap());
    let (spikes, others): (Vec<f64>, Vec<f64>) = heights.partition(|y| *y < 60.0);
    assert_eq!(spikes.len(), 1, "{spikes:?}");
    assert!(others.len() > 500, "{} points", others.len());
}
