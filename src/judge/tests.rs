//! Tests of verdicts, reasons and notes, as data.

use expect_test::Expect;

use super::*;
use crate::model::measurement::{MEAN_CONCEPT_SIMILARITY, ReportSource, Severity};

mod properties;
mod rank;
mod rules;
mod stalls;
mod trend;

/// The gates of the default configuration.
fn default_gates() -> Vec<Gate> {
    vec![
        Gate {
            name: "effective-rank".to_owned(),
            measurement: GLOBAL_EFFECTIVE_RANK.to_owned(),
            min: Some(10.0),
            max: None,
            reference: Some(128),
            severity: Severity::Fail,
        },
        Gate {
            name: "pairwise-similarity".to_owned(),
            measurement: MEAN_CONCEPT_SIMILARITY.to_owned(),
            min: None,
            max: Some(0.5),
            reference: None,
            severity: Severity::Warn,
        },
    ]
}

fn gate(name: &str, measurement: &str, min: Option<f64>, max: Option<f64>) -> Gate {
    Gate {
        name: name.to_owned(),
        measurement: measurement.to_owned(),
        min,
        max,
        reference: None,
        severity: Severity::Fail,
    }
}

/// A gate on the embedded probe's rank, as the demo configures it.
fn embedding_gate() -> Gate {
    Gate { reference: Some(128), ..gate("effective-rank", EMBEDDING_WEIGHT_RANK, Some(10.0), None) }
}

/// A healthy report: C=128, H=512, rank 20.
fn report() -> Report {
    let measurements = [
        (GLOBAL_EFFECTIVE_RANK, 20.0),
        ("global_effective_rank_normalized", 20.0 / 128.0),
        ("effective_rank", 19.7),
        (MEAN_CONCEPT_SIMILARITY, 0.187),
        (MAX_CONCEPT_SIMILARITY, 0.74),
    ];
    Report {
        source: ReportSource::Json,
        model_path: Some("Cache/Training/r/checkpoint-5000".to_owned()),
        model_type: Some("diffusion_mlm".to_owned()),
        concepts: Some(128),
        hidden: Some(512),
        batches: Some(20),
        measurements: measurements.map(|(name, value)| (name.to_owned(), Some(value))).into(),
        problems: Vec::new(),
    }
}

/// The same with another rank and other sizes.
fn ranked(concepts: u64, hidden: u64, rank: f64) -> Report {
    let mut report = with(report(), GLOBAL_EFFECTIVE_RANK, Some(rank));
    for name in ["global_effective_rank_normalized", "effective_rank"] {
        report.measurements.remove(name);
    }
    Report { concepts: Some(concepts), hidden: Some(hidden), ..report }
}

fn with(mut report: Report, name: &str, value: Option<f64>) -> Report {
    report.measurements.insert(name.to_owned(), value);
    report
}

fn without(mut report: Report, name: &str) -> Report {
    report.measurements.remove(name);
    report
}

/// The embedded probe's report.
fn probe_report(rank: Option<f64>) -> Report {
    let report = without(report(), GLOBAL_EFFECTIVE_RANK);
    let report = without(report, "global_effective_rank_normalized");
    let report = without(report, "effective_rank");
    Report { batches: Some(1), ..with(report, EMBEDDING_WEIGHT_RANK, rank) }
}

fn sound_weights(not_finite: u64) -> FiniteWeights {
    FiniteWeights::Counted {
        tensors: 40,
        elements: 5000,
        not_finite,
        first_tensors: if not_finite > 0 { vec!["encoder.a".to_owned()] } else { Vec::new() },
    }
}

/// What a test varies; the rest is an ordinary checkpoint of C=128, H=512.
struct Case {
    report: Option<Report>,
    disbelief: Vec<String>,
    finite: Option<FiniteWeights>,
    config: ModelConfig,
    gates: Vec<Gate>,
}

impl Case {
    fn new(report: Report) -> Self {
        let config = ModelConfig {
            concepts: report.concepts,
            hidden: report.hidden,
            ..ModelConfig::default()
        };
        Self {
            report: Some(report),
            disbelief: Vec::new(),
            finite: Some(sound_weights(0)),
            config,
            gates: default_gates(),
        }
    }

    fn gates(self, gates: Vec<Gate>) -> Self {
        Self { gates, ..self }
    }

    fn judge(&self) -> Judgment {
        let evidence = Evidence {
            report: self.report.as_ref(),
            disbelief: &self.disbelief,
            finite: self.finite.as_ref(),
            config: &self.config,
        };
        judge(&evidence, &self.gates)
    }
}

/// Compares verdict, kind of failure note and note, as one line.
fn check(case: &Case, expected: &Expect) {
    let judgment = case.judge();
    let kind = judgment.failure_kind.as_ref().map_or(String::new(), |kind| format!(" [{kind}]"));
    expected.assert_eq(&format!("{}{kind}: {}", judgment.verdict, note(&judgment)));
    assert_eq!(judgment.reasons.is_empty(), judgment.verdict == Verdict::Pass, "{judgment:?}");
    assert_eq!(judgment.failure_kind.is_some(), judgment.verdict == Verdict::Fail);
}
