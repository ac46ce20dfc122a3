//! The cells of observations, as text.

use expect_test::expect;

use super::support::{DIFFUSION, PERCEIVER, WEIGHTED, links, observation, rejudge, with};
use crate::document::cells::{
    architecture, conclusion_fill, effective_rank_fill, failure_summary, git_tag_fill,
    observation_row, rank, speed_fill, task_loss_fill, wandb_fill,
};
use crate::model::analysis::FailureClass;
use crate::model::checkpoint::ModelConfig;
use crate::model::ids::CheckpointName;
use crate::model::measurement::{EMBEDDING_WEIGHT_RANK, Verdict};
use crate::model::observation::{CellFill, Observation, ObservationOutcome};

fn perceiver() -> Observation {
    observation(PERCEIVER, (512, 128), 15_000)
}

fn of_rank(value: f64, shape: (u64, u64)) -> Observation {
    with(observation(PERCEIVER, shape, 10), |observation| {
        rejudge(observation, |judgment| {
            if let Some(rank) = &mut judgment.rank {
                rank.value = value;
            }
        });
    })
}

fn value(fill: Option<CellFill>) -> Option<String> {
    fill.map(|fill| fill.value)
}

#[test]
fn ranks_never_print_on_the_other_side_of_the_gate() {
    let check = |value: f64, shape, expected: &str| {
        assert_eq!(rank(&of_rank(value, shape)).as_deref(), Some(expected), "{value}");
    };
    check(10.12, (512, 128), "10.1 / 128 (7.9%)");
    check(9.97, (512, 128), "9.97 / 128 (7.8%)");
    check(9.999_96, (512, 128), "9.99996 / 128 (7.8%)");
    check(10.0, (512, 128), "10.0 / 128 (7.8%)");
    check(10.000_000_1, (512, 128), "10.0 / 128 (7.8%)");
    check(4.937, (64, 128), "4.9 / 128 (7.7% of 64)");
    check(4.98, (64, 128), "4.98 / 128 (7.8% of 64)");
    check(2.46, (128, 32), "2.46 / 32 (7.7%)");
    check(3.749, (48, 128), "3.7 / 128 (7.8% of 48)");
    check(3.752, (48, 128), "3.8 / 128 (7.8% of 48)");
    check(3.71, (47, 128), "3.7 / 128 (7.9% of 47)");
    assert_eq!(rank(&of_rank(f64::NAN, (512, 128))), None);
}

#[test]
fn ranks_of_unknown_dimensions_say_less() {
    let with_dimensions = |concepts, hidden| {
        rank(&with(of_rank(9.0, (512, 128)), |observation| {
            rejudge(observation, |judgment| {
                if let Some(rank) = &mut judgment.rank {
                    (rank.concepts, rank.hidden) = (concepts, hidden);
                }
            });
        }))
    };
    assert_eq!(with_dimensions(Some(128), None).as_deref(), Some("9.0 / 128"));
    assert_eq!(with_dimensions(None, Some(64)).as_deref(), Some("9.0"));
    assert_eq!(with_dimensions(Some(0), Some(0)).as_deref(), Some("9.0 / 0"));
}

#[test]
fn rows_of_several_families() {
    let rows = [
        observation_row(&perceiver()),
        observation_row(&observation(DIFFUSION, (64, 128), 40)),
        observation_row(&observation(WEIGHTED, (128, 32), 2_000)),
    ];
    expect![[r#"
        [
            ObservationRow {
                time: "2026-02-25 14:03:07 +01:00",
                run: "perceiver_mlm_H512L6C128_20260219_105435",
                checkpoint: "checkpoint-15000",
                rank: "7.3 / 128 (5.7%)",
                mean_similarity: "0.187",
                max_similarity: "1.000",
                eval_loss: "1.433",
                verdict: "**fail**",
                note: "effective rank 7.3 < 10.0",
            },
            ObservationRow {
                time: "2026-02-25 14:03:07 +01:00",
                run: "diffusion_H64L2C128D2_20260222_121314",
                checkpoint: "checkpoint-40",
                rank: "4.9 / 128 (7.7% of 64)",
                mean_similarity: "0.412",
                max_similarity: "0.873",
                eval_loss: "1.433",
                verdict: "**fail**",
                note: "effective rank 4.9 < 5.0",
            },
            ObservationRow {
                time: "2026-02-25 14:03:07 +01:00",
                run: "weighted_mlm_H128L2C32_20260220_080910",
                checkpoint: "checkpoint-2000",
                rank: "12.1 / 32 (37.7%)",
                mean_similarity: "0.103",
                max_similarity: "0.441",
                eval_loss: "1.433",
                verdict: "pass",
                note: "",
            },
        ]
    "#]]
    .assert_debug_eq(&rows);
}

#[test]
fn rows_of_what_could_not_be_judged() {
    let failed = with(perceiver(), |observation| {
        observation.outcome = ObservationOutcome::AnalysisFailed {
            class: FailureClass::CorruptWeights,
            evidence: "exit 1".into(),
        };
        observation.measurements.clear();
        observation.training = None;
        observation.checkpoint.name = CheckpointName::Final;
    });
    let diverged = with(perceiver(), |observation| {
        observation.note = "x".repeat(1_000);
        if let Some(training) = &mut observation.training {
            training.eval_loss = None;
            training.not_finite = vec!["eval_loss".into()];
        }
    });
    let row = observation_row(&failed);
    assert_eq!(
        (row.checkpoint.as_str(), row.rank.as_str(), row.verdict.as_str(), row.note.as_str()),
        ("final", "--", "analysis failed", "corrupt_weights")
    );
    assert_eq!((row.mean_similarity.as_str(), row.eval_loss.as_str()), ("--", "--"));
    let row = observation_row(&diverged);
    assert_eq!((row.eval_loss.as_str(), row.note.chars().count()), ("nan", 200));
}

#[test]
fn architecture_says_only_what_is_configured() {
    let config = |hidden, layers, concepts| ModelConfig {
        concepts,
        hidden,
        layers,
        ..ModelConfig::default()
    };
    assert_eq!(
        architecture(&config(Some(512), Some(2), Some(128))).as_deref(),
        Some("H512 L2 C128")
    );
    assert_eq!(architecture(&config(Some(512), None, Some(128))).as_deref(), Some("H512 C128"));
    assert_eq!(architecture(&config(None, None, None)), None);
}

#[test]
fn the_effective_rank_is_never_another_number() {
    let changed =
        |change: fn(&mut Observation)| value(effective_rank_fill(&with(perceiver(), change)));
    assert_eq!(changed(|_| ()).as_deref(), Some("**7.3 / 128** (5.7%)"));
    assert_eq!(changed(|o| rejudge(o, |j| j.verdict = Verdict::Unknown)), None);
    assert_eq!(changed(|o| rejudge(o, |j| j.rank = None)), None);
    assert_eq!(changed(|o| rejudge(o, |j| j.failure_kind = Some("non-finite".into()))), None);
    let of_weights = |observation: &mut Observation| {
        rejudge(observation, |judgment| {
            if let Some(rank) = &mut judgment.rank {
                rank.measurement = EMBEDDING_WEIGHT_RANK.into();
            }
        });
    };
    assert_eq!(changed(of_weights), None);
    let weights = with(perceiver(), of_weights);
    assert_eq!(rank(&weights).as_deref(), Some("7.3 / 128 (5.7%)"));
    assert_eq!(
        failure_summary(&weights).as_deref(),
        Some("2026-02-25: embedding weight rank 7.3 / 128 (gate 10/128) at checkpoint-15000")
    );
}

#[test]
fn a_task_loss_that_was_not_finite_stays_unfilled() {
    let with_loss = |loss, not_finite: &[&str]| {
        let names = not_finite.iter().map(|name| (*name).to_owned()).collect();
        value(task_loss_fill(&with(perceiver(), |observation| {
            if let Some(training) = &mut observation.training {
                (training.loss, training.not_finite) = (loss, names);
            }
        })))
    };
    assert_eq!(with_loss(Some(2.717_9), &[]).as_deref(), Some("2.718"));
    assert_eq!(with_loss(Some(f64::NAN), &[]), None);
    assert_eq!(with_loss(None, &["loss"]), None);
    // Trainers print 0.0 for a loss that was NaN; only the gradient norm beside it tells.
    assert_eq!(with_loss(Some(0.0), &["grad_norm"]), None);
}

#[test]
fn cells_of_facts_from_elsewhere_are_finished_markdown() {
    assert_eq!(value(speed_fill(2.412)).as_deref(), Some("2.41"));
    assert_eq!(value(speed_fill(f64::NAN)), None);
    assert_eq!(value(speed_fill(0.0)), None);
    let url = "https://wandb.ai/e/p/runs/r_1?x=a_b&y=1";
    assert_eq!(value(wandb_fill(url)), Some(format!("[link]({url})")));
    for other in ["", "offline", "javascript:alert(1)", "https://a b", "https://a)b", "http://a|b"]
    {
        assert_eq!(value(wandb_fill(other)), None, "{other}");
    }
    assert_eq!(value(git_tag_fill("train/x_20260219")).as_deref(), Some("`train/x_20260219`"));
    assert_eq!(value(git_tag_fill(" ")), None);
}

#[test]
fn conclusions_name_the_gate_that_failed() {
    let check = |observation: &Observation, expected: Option<&str>| {
        assert_eq!(value(conclusion_fill(observation, "n.md", &links())).as_deref(), expected);
    };
    check(
        &perceiver(),
        Some(
            "**FAILED: effective rank 7.3 / 128 (gate 10/128) at checkpoint-15000.** [Note](run_reports/n.md)",
        ),
    );
    check(
        &observation(DIFFUSION, (64, 128), 40),
        Some(
            "**FAILED: effective rank 4.9 / 128 (gate 5.0 = 10/128 of 64) at checkpoint-40.** [Note](run_reports/n.md)",
        ),
    );
    check(&observation(WEIGHTED, (128, 32), 2_000), None);
    let non_finite = with(perceiver(), |observation| {
        observation.checkpoint.name = CheckpointName::Final;
        rejudge(observation, |judgment| judgment.failure_kind = Some("non-finite".into()));
    });
    check(
        &non_finite,
        Some("**FAILED: non-finite weights at the final model.** [Note](run_reports/n.md)"),
    );
    let other = with(perceiver(), |observation| {
        rejudge(observation, |judgment| {
            judgment.failure_kind = Some("max-norm".into());
            judgment.reasons = vec!["a|b > 3".into()];
        });
    });
    check(&other, Some("**FAILED: a\\|b > 3 at checkpoint-15000.** [Note](run_reports/n.md)"));
}
