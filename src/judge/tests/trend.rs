//! Ranks on their way to the gate, and healthy ones that are not.

use super::*;
use crate::model::measurement::RankGate;

/// Judges the last of these ranks, 500 steps apart, against a gate of 10.
fn judged(ranks: &[f64], verdict: Verdict) -> Judgment {
    let points: Vec<(u64, f64)> = (1..).map(|one| one * 500).zip(ranks.iter().copied()).collect();
    let (step, value) = *points.last().unwrap();
    let gate = RankGate {
        name: "effective-rank".to_owned(),
        threshold: 10.0,
        min: 10.0,
        reference: Some(128),
    };
    let rank = RankReading {
        measurement: GLOBAL_EFFECTIVE_RANK.to_owned(),
        value,
        concepts: Some(128),
        hidden: Some(512),
        gate: Some(gate),
    };
    let mut judgment = Judgment {
        verdict,
        reasons: Vec::new(),
        remarks: Vec::new(),
        rank: Some(rank),
        failure_kind: None,
    };
    warn_of_fall(&mut judgment, &points[..points.len() - 1], step);
    judgment
}

#[test]
fn a_rank_that_falls_toward_its_gate_is_warned_of_before_it_fails() {
    let collapse = [58.0, 41.0, 27.5, 18.2, 12.6, 7.4];
    let verdicts: Vec<String> = (1..=collapse.len())
        .map(|count| {
            let judgment = judged(&collapse[..count], Verdict::Pass);
            format!("{} {}", judgment.verdict, judgment.reasons.join("; "))
        })
        .collect();
    expect_test::expect![[r"
        pass 
        pass 
        pass 
        warn rank falls toward the gate: 41.0, 27.5, 18.2; 10.0 is reached at about checkpoint-3000
        warn rank falls toward the gate: 27.5, 18.2, 12.6; 10.0 is reached at about checkpoint-3000
        pass "]]
    .assert_eq(&verdicts.join("\n"));
}

/// Each family with what must be said of its last rank.
#[test]
fn only_a_fall_that_goes_on_is_warned_of() {
    let noise = |base: f64, amplitude: f64, count: u64| -> Vec<f64> {
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(seed >> 33).unwrap()) / f64::from(1_u32 << 31) * 2.0 - 1.0
        };
        (0..count).map(|_| base * (1.0 + amplitude * next())).collect()
    };
    let families: [(&str, Vec<f64>, bool); 12] = [
        ("too few ranks", vec![20.0, 11.0], false),
        ("first fall that comes to rest", vec![22.0, 15.0, 13.0], false),
        ("at rest above the gate", vec![22.0, 15.0, 13.0, 12.5, 12.4], false),
        ("one outlier", vec![20.0, 20.0, 12.0, 20.0], false),
        ("a dip in the newest", vec![20.0, 20.0, 20.0, 12.0], false),
        ("rising", vec![10.5, 11.0, 12.0, 13.0], false),
        ("near the gate, within the noise", vec![10.5, 10.4, 10.2, 10.1], false),
        ("slow and far", vec![60.0, 57.0, 54.0, 51.0], false),
        ("steady", vec![20.0, 17.0, 14.0, 11.5], true),
        ("faster and faster", vec![40.0, 36.0, 28.0, 16.0], true),
        ("three are enough", vec![18.0, 14.0, 11.0], true),
        ("failed already", vec![18.0, 14.0, 9.0], false),
    ];
    for (name, ranks, warned) in families {
        let judgment = judged(&ranks, Verdict::Pass);
        assert_eq!(judgment.verdict == Verdict::Warn, warned, "{name}: {judgment:?}");
    }
    // Healthy noise of the size that the order of the data makes, at several distances.
    let mut alarms = 0;
    for base in [10.6, 11.0, 12.0, 20.0] {
        let ranks = noise(base, 0.03, 400);
        alarms += (4..ranks.len())
            .filter(|count| judged(&ranks[..*count], Verdict::Pass).verdict == Verdict::Warn)
            .count();
    }
    eprintln!("false warnings in 1,600 noisy ranks: {alarms}");
    assert_eq!(alarms, 0);
}

#[test]
fn a_fall_is_said_beside_another_warning_and_changes_no_other_verdict() {
    let fall = [20.0, 17.0, 14.0, 11.5];
    for (before, after, reasons) in [
        (Verdict::Warn, Verdict::Warn, 1),
        (Verdict::Unknown, Verdict::Unknown, 0),
        (Verdict::Fail, Verdict::Fail, 0),
    ] {
        let judgment = judged(&fall, before);
        assert_eq!((judgment.verdict, judgment.reasons.len()), (after, reasons));
    }
}

#[test]
fn ranks_that_are_no_numbers_and_steps_that_repeat_say_nothing() {
    for ranks in
        [vec![f64::NAN, 14.0, 11.5], vec![0.0, 14.0, 11.5], vec![f64::INFINITY, 14.0, 11.5]]
    {
        assert_eq!(judged(&ranks, Verdict::Pass).verdict, Verdict::Pass, "{ranks:?}");
    }
    let mut judgment = judged(&[20.0], Verdict::Pass);
    warn_of_fall(&mut judgment, &[(500, 30.0), (500, 25.0), (500, 22.0)], 500);
    assert_eq!(judgment.verdict, Verdict::Pass);
}
