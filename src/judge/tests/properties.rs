//! What holds for any report.

use proptest::prelude::*;

use super::*;

proptest! {
    /// Whatever a report holds: no panic, a reason for anything but a pass, and no pass with a rank
    /// that is not a number of at least the threshold.
    #[test]
    fn any_report_has_a_verdict_with_reasons(
        rank in proptest::option::of(any::<f64>()),
        similarity in proptest::option::of(any::<f64>()),
        sizes in proptest::array::uniform4(proptest::option::of(0_u64..600)),
        batches in proptest::option::of(0_u64..3),
        not_finite in 0_u64..2,
    ) {
        let [concepts, hidden, config_concepts, config_hidden] = sizes;
        let named = with(report(), GLOBAL_EFFECTIVE_RANK, rank);
        let named = with(named, MEAN_CONCEPT_SIMILARITY, similarity);
        let mut case = Case::new(Report { concepts, hidden, batches, ..named });
        case.config.concepts = config_concepts;
        case.config.hidden = config_hidden;
        case.finite = Some(sound_weights(not_finite));
        let judgment = case.judge();
        prop_assert_eq!(judgment.reasons.is_empty(), judgment.verdict == Verdict::Pass);
        prop_assert!(note(&judgment).chars().count() <= 200);
        if not_finite > 0 {
            prop_assert_eq!(judgment.verdict, Verdict::Fail);
        }
        if judgment.verdict == Verdict::Pass {
            let read = judgment.rank.unwrap();
            prop_assert!(read.value >= read.gate.unwrap().threshold);
        }
    }

    /// The printed numbers stand in the order that the reason claims, and near their true values.
    #[test]
    fn printed_numbers_keep_their_order(threshold in 1.0_f64..200.0, below in 1e-15_f64..0.5) {
        let value = threshold * (1.0 - below);
        prop_assume!(value < threshold);
        let text = wording::comparison(
            GLOBAL_EFFECTIVE_RANK, value, threshold, std::cmp::Ordering::Less,
        );
        let numbers: Vec<f64> =
            text.split(' ').filter_map(|word| word.parse().ok()).collect();
        prop_assert_eq!(numbers.len(), 2);
        prop_assert!(numbers[0] < numbers[1], "{}", text);
        prop_assert!((numbers[0] - value).abs() <= 0.05 + 1e-9, "{}", text);
        prop_assert!((numbers[1] - threshold).abs() <= 1e-6, "{}", text);
    }
}
