//! Everything but the rank gate: belief, precedence, other gates, the probe, notes.

use expect_test::expect;

use super::*;

#[test]
fn sizes_that_contradict_the_config_are_not_believed() {
    let mut case = Case::new(report());
    case.config.concepts = Some(64);
    check(&case, &expect!["unknown: C is 128 in the report and 64 in config.json"]);
    case.config.hidden = Some(64);
    check(
        &case,
        &expect![
            "unknown: C is 128 in the report and 64 in config.json; H is 512 in the report and 64 in config.json"
        ],
    );
    assert_eq!(case.judge().rank, None);
}

#[test]
fn what_is_not_known_is_never_a_pass() {
    let rank = GLOBAL_EFFECTIVE_RANK;
    let cases = [
        (with(report(), rank, None), expect!["unknown: no effective rank (NaN)"]),
        (with(report(), rank, Some(f64::NAN)), expect!["unknown: no effective rank (NaN)"]),
        (without(report(), rank), expect!["unknown: no effective rank"]),
        (Report { batches: Some(0), ..report() }, expect!["unknown: report of zero batches"]),
        (
            with(report(), rank, Some(0.0)),
            expect!["unknown: effective rank is 0, as of zeroed weights"],
        ),
        (
            with(report(), MEAN_CONCEPT_SIMILARITY, None),
            expect!["unknown: no mean similarity (NaN)"],
        ),
        (without(report(), MEAN_CONCEPT_SIMILARITY), expect!["unknown: no mean similarity"]),
    ];
    for (report, expected) in cases {
        check(&Case::new(report), &expected);
    }
}

#[test]
fn values_that_no_matrix_has_are_not_believed() {
    let rank = GLOBAL_EFFECTIVE_RANK;
    let cases = [
        (rank, 0.4, expect!["unknown: impossible effective rank 0.4 < 1"]),
        (rank, -3.0, expect!["unknown: impossible effective rank -3 < 1"]),
        (rank, 128.5, expect!["unknown: impossible effective rank 128.5 > min(C, H) = 128"]),
        (rank, 1e300, expect!["unknown: impossible effective rank 1e300 > min(C, H) = 128"]),
        ("effective_rank", 0.2, expect!["unknown: impossible effective_rank 0.2 < 1"]),
        (
            "global_effective_rank_normalized",
            1.5,
            expect!["unknown: impossible global_effective_rank_normalized 1.5 > 1"],
        ),
        (MEAN_CONCEPT_SIMILARITY, -0.2, expect!["unknown: impossible mean similarity -0.2 < 0"]),
        (MAX_CONCEPT_SIMILARITY, 1.2, expect!["unknown: impossible max similarity 1.2 > 1"]),
        // Rounding of f32 is no impossibility.
        (rank, 128.000_02, expect!["pass: "]),
        (MAX_CONCEPT_SIMILARITY, 1.000_000_2, expect!["pass: duplicate concepts"]),
        (MEAN_CONCEPT_SIMILARITY, -1e-9, expect!["pass: "]),
    ];
    for (name, value, expected) in cases {
        check(&Case::new(with(report(), name, Some(value))), &expected);
    }
}

#[test]
fn a_report_that_is_not_believed_is_unknown_even_when_it_looks_failed() {
    let mut case = Case::new(ranked(128, 512, 1.0));
    case.disbelief = vec!["text and JSON disagree: rank 1.0 and 12.0".to_owned()];
    check(&case, &expect!["unknown: text and JSON disagree: rank 1.0 and 12.0"]);
    assert_eq!(case.judge().rank, None);
}

#[test]
fn non_finite_weights_fail_whatever_the_report_says() {
    let bad = Some(sound_weights(3));
    let missing = Case { report: None, finite: bad.clone(), ..Case::new(report()) };
    check(
        &missing,
        &expect![
            "fail [non-finite]: 3 of 5000 weights are NaN or Inf, first in `encoder.a`; no report"
        ],
    );
    let mut disbelieved = Case { finite: bad.clone(), ..Case::new(report()) };
    disbelieved.disbelief = vec!["encoder weights were newly initialized".to_owned()];
    check(
        &disbelieved,
        &expect![
            "fail [non-finite]: 3 of 5000 weights are NaN or Inf, first in `encoder.a`; encoder weights were newly initialized"
        ],
    );
    let collapsed = Case { finite: bad.clone(), ..Case::new(ranked(128, 512, 1.0)) };
    check(
        &collapsed,
        &expect![
            "fail [non-finite]: 3 of 5000 weights are NaN or Inf, first in `encoder.a`; effective rank 1.0 < 10.0 (10/128)"
        ],
    );
    let probe = Case { finite: bad, ..Case::new(probe_report(Some(35.0))) };
    check(
        &probe,
        &expect![
            "fail [non-finite]: 3 of 5000 weights are NaN or Inf, first in `encoder.a`; weights only"
        ],
    );
}

#[test]
fn weights_that_were_not_scanned_do_not_decide() {
    let mut case = Case::new(report());
    case.finite = Some(FiniteWeights::NotScanned { reason: "pickled".to_owned() });
    check(&case, &expect!["pass: weights not scanned for NaN"]);
    case.finite = None;
    check(&case, &expect!["pass: "]);
    case.report = None;
    check(&case, &expect!["unknown: no report"]);
}

#[test]
fn severities_take_precedence_in_their_order() {
    let similar = |rank| with(ranked(128, 512, rank), MEAN_CONCEPT_SIMILARITY, Some(0.612));
    check(&Case::new(similar(20.0)), &expect!["warn: mean similarity 0.612 > 0.5"]);
    check(
        &Case::new(similar(7.3)),
        &expect![
            "fail [effective-rank]: effective rank 7.3 < 10.0 (10/128); mean similarity 0.612 > 0.5"
        ],
    );
    check(
        &Case::new(with(similar(20.0), GLOBAL_EFFECTIVE_RANK, None)),
        &expect!["unknown: no effective rank (NaN); mean similarity 0.612 > 0.5"],
    );
    // A violated gate outweighs another one that lacks its measurement.
    let mut gates = default_gates();
    gates.insert(0, gate("Isotropy!", "isotropy", Some(0.1), None));
    check(
        &Case::new(similar(7.3)).gates(gates),
        &expect![
            "fail [effective-rank]: effective rank 7.3 < 10.0 (10/128); no isotropy; mean similarity 0.612 > 0.5"
        ],
    );
}

#[test]
fn gates_on_other_measurements_have_minimum_and_maximum() {
    let on = |min, max| vec![gate("My Gate: isotropy", "isotropy", min, max)];
    let case = |value, gates| Case::new(with(report(), "isotropy", Some(value))).gates(gates);
    check(&case(0.3, on(Some(0.1), Some(0.9))), &expect!["pass: "]);
    check(
        &case(0.05, on(Some(0.1), Some(0.9))),
        &expect!["fail [my-gate-isotropy]: isotropy 0.050 < 0.1"],
    );
    check(
        &case(0.900_01, on(Some(0.1), Some(0.9))),
        &expect!["fail [my-gate-isotropy]: isotropy 0.90001 > 0.9; borderline isotropy"],
    );
    check(&case(0.9, on(None, Some(0.9))), &expect!["pass: borderline isotropy"]);
    check(&case(0.3, on(None, None)), &expect!["pass: "]);
    check(
        &case(0.3, on(Some(f64::NAN), None)),
        &expect!["unknown: gate My Gate: isotropy has the minimum NaN"],
    );
    check(
        &case(0.3, on(None, Some(f64::INFINITY))),
        &expect!["unknown: gate My Gate: isotropy has the maximum inf"],
    );
    let scaled_by_nothing = Gate { reference: Some(0), ..gate("r", "isotropy", Some(0.1), None) };
    check(&case(0.3, vec![scaled_by_nothing]), &expect!["unknown: gate r has the reference 0"]);
}

#[test]
fn a_gate_without_letters_still_has_a_kind() {
    let failing = |name: &str| {
        let gates = vec![gate(name, GLOBAL_EFFECTIVE_RANK, Some(50.0), None)];
        Case::new(report()).gates(gates).judge().failure_kind
    };
    assert_eq!(failing("ранг"), Some("gate".to_owned()));
    assert_eq!(failing("../../Etc / passwd"), Some("etc-passwd".to_owned()));
    assert_eq!(failing(&"long name ".repeat(50)).map(|kind| kind.len() <= 60), Some(true));
}

#[test]
fn a_probe_report_is_unknown_unless_its_rank_is_gated() {
    let healthy = probe_report(Some(35.0));
    check(&Case::new(healthy.clone()), &expect!["unknown: weights only"]);
    assert_eq!(Case::new(healthy.clone()).judge().rank, None);
    let mut both = default_gates();
    both.push(embedding_gate());
    check(&Case::new(healthy).gates(both.clone()), &expect!["pass: weights only"]);
    let collapsed = probe_report(Some(7.31));
    check(
        &Case::new(collapsed).gates(both.clone()),
        &expect!["fail [effective-rank]: embedding weight rank 7.3 < 10.0 (10/128); weights only"],
    );
    let nan = probe_report(None);
    check(
        &Case::new(nan).gates(both.clone()),
        &expect!["unknown: no embedding weight rank (NaN); weights only"],
    );
    // The gate on the probe's rank is not met by an analysis that does not report it.
    check(&Case::new(report()).gates(both), &expect!["unknown: no embedding weight rank"]);
}

#[test]
fn a_similar_probe_report_without_a_gate_neither_warns_nor_fails() {
    let similar = with(probe_report(Some(35.0)), MEAN_CONCEPT_SIMILARITY, Some(0.9));
    check(&Case::new(similar), &expect!["unknown: weights only"]);
}

#[test]
fn duplicate_concepts_are_remarked_from_099_on() {
    let case = |value| Case::new(with(report(), MAX_CONCEPT_SIMILARITY, Some(value)));
    check(&case(0.99), &expect!["pass: duplicate concepts"]);
    check(&case(0.989_999), &expect!["pass: "]);
    let example = with(ranked(128, 512, 10.1), MAX_CONCEPT_SIMILARITY, Some(1.0));
    check(&Case::new(example), &expect!["pass: borderline; duplicate concepts"]);
}

#[test]
fn a_note_is_bounded_and_says_nothing_twice() {
    let mut judgment = Case::new(report()).judge();
    judgment.reasons = vec!["a".to_owned(), "b".to_owned()];
    judgment.remarks = vec!["b".to_owned(), "c".to_owned()];
    assert_eq!(note(&judgment), "a; b; c");
    judgment.reasons = vec!["ü".repeat(300)];
    assert_eq!(note(&judgment).chars().count(), 200);
    assert!(note(&judgment).ends_with('…'));
    judgment.reasons = vec!["ü".repeat(194)];
    assert_eq!(note(&judgment).chars().count(), 200);
    assert!(note(&judgment).ends_with("; b; c"));
}

/// A report of NaN everywhere has two gates and the rule on ranks complain of the same numbers.
#[test]
fn a_reason_is_given_once() {
    let nan = with(report(), GLOBAL_EFFECTIVE_RANK, None);
    let mut case = Case::new(with(nan, MEAN_CONCEPT_SIMILARITY, None));
    case.gates.push(gate("strict", GLOBAL_EFFECTIVE_RANK, Some(12.0), None));
    let expected = ["no effective rank (NaN)", "no mean similarity (NaN)"];
    assert_eq!(case.judge().reasons, expected);
}
