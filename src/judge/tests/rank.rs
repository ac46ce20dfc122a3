//! The rank gate: scaling, equality, borderline, and what stands beside the rank.

use expect_test::expect;

use super::*;

fn check_ranks<const COUNT: usize>(cases: [(u64, u64, f64, Expect); COUNT]) {
    for (concepts, hidden, rank, expected) in cases {
        check(&Case::new(ranked(concepts, hidden, rank)), &expected);
    }
}

#[test]
fn equality_passes_and_no_failing_value_is_printed_as_equal() {
    let cases = [
        // C=128, H≥128: the gate is 10.
        (128, 512, 20.0, expect!["pass: "]),
        (128, 512, 10.0, expect!["pass: borderline"]),
        (128, 128, 7.3, expect!["fail [effective-rank]: effective rank 7.3 < 10.0 (10/128)"]),
        (
            128,
            512,
            9.97,
            expect!["fail [effective-rank]: effective rank 9.97 < 10.0 (10/128); borderline"],
        ),
        (
            128,
            512,
            9.999_999_9,
            expect!["fail [effective-rank]: effective rank 9.9999999 < 10.0 (10/128); borderline"],
        ),
        (
            128,
            512,
            10.0_f64.next_down(),
            expect![
                "fail [effective-rank]: effective rank 9.999999999999998 < 10.0 (10/128); borderline"
            ],
        ),
    ];
    check_ranks(cases);
}

#[test]
fn smaller_and_larger_models_have_smaller_and_larger_gates() {
    let cases = [
        // C=128, H=64: the gate is 5.
        (128, 64, 5.0, expect!["pass: borderline"]),
        (128, 64, 9.9, expect!["pass: "]),
        (128, 64, 4.5, expect!["fail [effective-rank]: effective rank 4.5 < 5.0 (10/128 of 64)"]),
        (
            128,
            64,
            4.9,
            expect!["fail [effective-rank]: effective rank 4.9 < 5.0 (10/128 of 64); borderline"],
        ),
        // C=32: the gate is 2.5.
        (32, 64, 2.5, expect!["pass: borderline"]),
        (32, 64, 9.6, expect!["pass: "]),
        (32, 64, 1.0, expect!["fail [effective-rank]: effective rank 1.0 < 2.5 (10/128 of 32)"]),
        // More concepts than the reference: the gate grows.
        (
            256,
            512,
            15.0,
            expect!["fail [effective-rank]: effective rank 15.0 < 20.0 (10/128 of 256)"],
        ),
        (
            100,
            512,
            7.0,
            expect!["fail [effective-rank]: effective rank 7.0 < 7.8125 (10/128 of 100)"],
        ),
        // C=8: the gate is 0.625, and no rank is below 1.
        (
            8,
            64,
            6.0,
            expect!["unknown: gate effective-rank cannot decide, 10/128 of 8 is 0.625 < 1"],
        ),
        (
            8,
            64,
            1.0,
            expect!["unknown: gate effective-rank cannot decide, 10/128 of 8 is 0.625 < 1"],
        ),
    ];
    check_ranks(cases);
}

#[test]
fn borderline_is_five_percent_on_either_side() {
    for (rank, borderline) in [(9.49, false), (9.5, true), (10.5, true), (10.51, false)] {
        let judgment = Case::new(ranked(128, 512, rank)).judge();
        assert_eq!(judgment.remarks.contains(&BORDERLINE.to_owned()), borderline, "{rank}");
    }
}

#[test]
fn sizes_come_from_the_report_else_from_the_config() {
    let no_sizes = Report { concepts: None, hidden: None, ..ranked(128, 64, 4.9) };
    let mut case = Case::new(no_sizes);
    check(&case, &expect!["unknown: gate effective-rank cannot be scaled, C or H is unknown"]);
    case.config.concepts = Some(128);
    check(&case, &expect!["unknown: gate effective-rank cannot be scaled, C or H is unknown"]);
    case.config.hidden = Some(64);
    check(
        &case,
        &expect!["fail [effective-rank]: effective rank 4.9 < 5.0 (10/128 of 64); borderline"],
    );
}

#[test]
fn a_rank_below_one_by_rounding_is_a_collapse() {
    let case = Case::new(ranked(128, 512, 0.999_99));
    check(&case, &expect!["fail [effective-rank]: effective rank 1.0 < 10.0 (10/128)"]);
}

#[test]
fn a_rank_must_be_there_unless_another_one_is_gated() {
    check(&Case::new(report()).gates(Vec::new()), &expect!["pass: "]);
    let nan = with(report(), GLOBAL_EFFECTIVE_RANK, None);
    check(&Case::new(nan).gates(Vec::new()), &expect!["unknown: no effective rank (NaN)"]);
    let rankme = vec![gate("rankme", "rankme", Some(30.0), None)];
    let report = with(without(report(), GLOBAL_EFFECTIVE_RANK), "rankme", Some(60.0));
    check(&Case::new(report.clone()).gates(rankme), &expect!["pass: "]);
    check(&Case::new(report).gates(Vec::new()), &expect!["unknown: no effective rank"]);
}

#[test]
fn the_rank_stands_beside_the_gate_that_judged_it() {
    let rank = Case::new(ranked(128, 64, 4.9)).judge().rank.unwrap();
    assert_eq!(rank.measurement, GLOBAL_EFFECTIVE_RANK);
    assert_eq!((rank.concepts, rank.hidden), (Some(128), Some(64)));
    let shown = rank.gate.unwrap();
    assert_eq!((shown.name.as_str(), shown.reference), ("effective-rank", Some(128)));
    assert!((shown.threshold - 5.0).abs() + (shown.min - 10.0).abs() == 0.0, "{shown:?}");
    // A milder gate that comes first does not hide the one that failed.
    let mut gates = default_gates();
    let early = gate("early", GLOBAL_EFFECTIVE_RANK, Some(4.0), None);
    gates.insert(0, Gate { severity: Severity::Warn, ..early });
    let judgment = Case::new(ranked(128, 64, 4.9)).gates(gates).judge();
    assert_eq!(judgment.rank.unwrap().gate.unwrap().name, "effective-rank");
    // A gate that cannot decide is not shown as if it had.
    assert_eq!(Case::new(ranked(8, 64, 6.0)).judge().rank.unwrap().gate, None);
}
