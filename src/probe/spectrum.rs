//! The numbers of a concept matrix: singular values and what follows from them, pairwise
//! similarities and norms.

use nalgebra::DMatrix;

use super::matrix::ConceptMatrix;
use crate::model::measurement::{
    EMBEDDING_WEIGHT_RANK, MAX_CONCEPT_SIMILARITY, MEAN_CONCEPT_SIMILARITY,
};

/// What the probe measures on one matrix of C concepts in H dimensions.
///
/// A number that has no value is NaN: all of them when the matrix holds NaN or Inf or its singular
/// values do not converge, the similarities when there is only one concept.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeNumbers {
    /// Number of concepts C.
    pub concepts: usize,
    /// Hidden size H.
    pub hidden: usize,
    /// Σσ / max σ (nuclear norm / spectral norm) of the matrix as it is, not centered; between 1
    /// and min(C, H), and 0 for a matrix of zeros.
    pub rank: f64,
    /// `rank` / min(C, H).
    pub rank_normalized: f64,
    /// exp(−Σ p ln p) with p = σ / Σσ and 0 ln 0 = 0. Source: Roy & Vetterli, "The effective rank",
    /// EUSIPCO 2007; Garrido et al., `RankMe`, ICML 2023, which adds 1e-7 to every p (this does
    /// not). Never smaller than `rank`; 0 for a matrix of zeros.
    pub rankme: f64,
    /// (Σλ)² / Σλ² with λ = σ² of the matrix, not centered; between 1 and min(C, H), and 0 for a
    /// matrix of zeros. The analysis program uses the eigenvalues of a covariance instead.
    pub participation_ratio: f64,
    /// `participation_ratio` / min(C, H).
    pub participation_ratio_normalized: f64,
    /// Mean of |cosine| over all pairs of different concepts. A concept of length 0 has cosine 0
    /// with every other.
    pub mean_similarity: f64,
    /// The largest |cosine| of a pair.
    pub max_similarity: f64,
    /// Mean Euclidean length of a concept.
    pub mean_norm: f64,
    /// Standard deviation of the lengths, over all C of them (not C − 1).
    pub std_norm: f64,
    /// The shortest length.
    pub min_norm: f64,
    /// The greatest length.
    pub max_norm: f64,
    /// The five largest singular values, largest first; fewer when min(C, H) is smaller, none when
    /// they have no value.
    pub top_singular_values: Vec<f64>,
}

impl ProbeNumbers {
    /// Returns every single number under its name in reports.
    pub fn named(&self) -> [(&'static str, f64); 11] {
        [
            (EMBEDDING_WEIGHT_RANK, self.rank),
            ("embedding_weight_rank_normalized", self.rank_normalized),
            ("rankme", self.rankme),
            ("participation_ratio", self.participation_ratio),
            ("participation_ratio_normalized", self.participation_ratio_normalized),
            (MEAN_CONCEPT_SIMILARITY, self.mean_similarity),
            (MAX_CONCEPT_SIMILARITY, self.max_similarity),
            ("mean_concept_norm", self.mean_norm),
            ("std_concept_norm", self.std_norm),
            ("min_concept_norm", self.min_norm),
            ("max_concept_norm", self.max_norm),
        ]
    }
}

/// Returns the numbers of a matrix.
pub fn measure(matrix: &ConceptMatrix) -> ProbeNumbers {
    if !matrix.values().iter().all(|value| value.is_finite()) {
        return without_values(matrix);
    }
    let scaled = Scaled::new(matrix);
    let lengths = Lengths::of(&scaled);
    let (mean_similarity, max_similarity) = similarities(&scaled, &lengths);
    let limit = exact(matrix.concepts().min(matrix.hidden()));
    let singular = singular_values(&scaled);
    let rank = singular.as_deref().map_or(f64::NAN, nuclear_over_spectral);
    let participation = singular.as_deref().map_or(f64::NAN, participation_ratio);
    let unscale = |value: f64| value * scaled.unit;
    ProbeNumbers {
        rank,
        rank_normalized: rank / limit,
        rankme: singular.as_deref().map_or(f64::NAN, entropy_rank),
        participation_ratio: participation,
        participation_ratio_normalized: participation / limit,
        mean_similarity,
        max_similarity,
        mean_norm: unscale(lengths.mean),
        std_norm: unscale(lengths.deviation),
        min_norm: unscale(lengths.min),
        max_norm: unscale(lengths.max),
        top_singular_values: singular
            .iter()
            .flatten()
            .take(5)
            .map(|value| unscale(*value))
            .collect(),
        ..without_values(matrix)
    }
}

/// Returns the numbers of a matrix that has none.
fn without_values(matrix: &ConceptMatrix) -> ProbeNumbers {
    ProbeNumbers {
        concepts: matrix.concepts(),
        hidden: matrix.hidden(),
        rank: f64::NAN,
        rank_normalized: f64::NAN,
        rankme: f64::NAN,
        participation_ratio: f64::NAN,
        participation_ratio_normalized: f64::NAN,
        mean_similarity: f64::NAN,
        max_similarity: f64::NAN,
        mean_norm: f64::NAN,
        std_norm: f64::NAN,
        min_norm: f64::NAN,
        max_norm: f64::NAN,
        top_singular_values: Vec::new(),
    }
}

/// A matrix divided by a power of two near its largest value, so that no square overflows or
/// vanishes; the division itself is exact.
struct Scaled {
    rows: Vec<Vec<f64>>,
    unit: f64,
}

impl Scaled {
    fn new(matrix: &ConceptMatrix) -> Self {
        let largest = matrix.values().iter().fold(0.0_f64, |found, value| found.max(value.abs()));
        // Powers beyond these are subnormal or, after rounding, infinite; what is left over at the
        // ends does no harm.
        let exponent = largest.log2().floor().clamp(-1000.0, 1000.0);
        let unit = if largest > 0.0 { exponent.exp2() } else { 1.0 };
        let scale_row = |row: &[f64]| row.iter().map(|value| value / unit).collect();
        let rows = matrix.values().chunks_exact(matrix.hidden()).map(scale_row).collect();
        Self { rows, unit }
    }
}

/// Euclidean lengths of the concepts, in units of the scaled matrix.
struct Lengths {
    all: Vec<f64>,
    mean: f64,
    deviation: f64,
    min: f64,
    max: f64,
}

impl Lengths {
    fn of(scaled: &Scaled) -> Self {
        let all: Vec<f64> = scaled.rows.iter().map(|row| dot(row, row).sqrt()).collect();
        let count = exact(all.len());
        let mean = all.iter().sum::<f64>() / count;
        let variance = all.iter().map(|length| (length - mean).powi(2)).sum::<f64>() / count;
        let min = all.iter().copied().fold(f64::INFINITY, f64::min);
        let max = all.iter().copied().fold(0.0, f64::max);
        Self { all, mean, deviation: variance.sqrt(), min, max }
    }
}

/// Returns mean and maximum of |cosine| over all pairs; NaN when there is no pair.
fn similarities(scaled: &Scaled, lengths: &Lengths) -> (f64, f64) {
    let unit_row = |(row, length): (&Vec<f64>, &f64)| -> Vec<f64> {
        let divisor = if *length > 0.0 { *length } else { 1.0 };
        row.iter().map(|value| value / divisor).collect()
    };
    let units: Vec<Vec<f64>> = scaled.rows.iter().zip(&lengths.all).map(unit_row).collect();
    let (mut sum, mut largest, mut pairs) = (0.0, 0.0_f64, 0_usize);
    let mut rest = units.as_slice();
    while let Some((first, others)) = rest.split_first() {
        for other in others {
            // Rounding must not make two equal concepts more than equal.
            let similarity = dot(first, other).abs().min(1.0);
            sum += similarity;
            largest = largest.max(similarity);
        }
        pairs += others.len();
        rest = others;
    }
    if pairs == 0 { (f64::NAN, f64::NAN) } else { (sum / exact(pairs), largest) }
}

/// Sums products in four independent lanes, which the compiler can vectorize.
fn dot(left: &[f64], right: &[f64]) -> f64 {
    let (left_blocks, left_rest) = left.as_chunks::<4>();
    let (right_blocks, right_rest) = right.as_chunks::<4>();
    let mut lanes = [0.0; 4];
    for (left_block, right_block) in left_blocks.iter().zip(right_blocks) {
        for ((lane, one), other) in lanes.iter_mut().zip(left_block).zip(right_block) {
            *lane += one * other;
        }
    }
    let rest: f64 = left_rest.iter().zip(right_rest).map(|(one, other)| one * other).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Returns all singular values, largest first, or `None` when the iteration does not converge.
fn singular_values(scaled: &Scaled) -> Option<Vec<f64>> {
    const MAX_ITERATIONS: usize = 100_000;
    let columns = scaled.rows.first().map_or(0, Vec::len);
    let row_major = scaled.rows.iter().flatten().copied();
    let matrix = DMatrix::from_row_iterator(scaled.rows.len(), columns, row_major);
    let decomposition = matrix.try_svd(false, false, f64::EPSILON, MAX_ITERATIONS)?;
    let mut values: Vec<f64> = decomposition.singular_values.iter().copied().collect();
    values.sort_by(|left, right| right.total_cmp(left));
    values.iter().all(|value| value.is_finite()).then_some(values)
}

fn nuclear_over_spectral(singular: &[f64]) -> f64 {
    match singular.first() {
        Some(largest) if *largest > 0.0 => singular.iter().sum::<f64>() / largest,
        _ => 0.0,
    }
}

fn entropy_rank(singular: &[f64]) -> f64 {
    let total: f64 = singular.iter().sum();
    if total <= 0.0 {
        return 0.0;
    }
    let shares = singular.iter().map(|value| value / total).filter(|share| *share > 0.0);
    (-shares.map(|share| share * share.ln()).sum::<f64>()).exp()
}

fn participation_ratio(singular: &[f64]) -> f64 {
    let total: f64 = singular.iter().map(|value| value.powi(2)).sum();
    let squares: f64 = singular.iter().map(|value| value.powi(4)).sum();
    if squares > 0.0 { total.powi(2) / squares } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
fn exact(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Relative to the expected number. numpy (LAPACK) and nalgebra both compute in `f64`, whose
    /// rounding errors in matrices of this size stay below 1e-12.
    const TOLERANCE: f64 = 1e-10;

    const EXPECTED: &str = include_str!("../../tests/fixtures/probe/expected.json");

    fn matrix_of(concepts: usize, hidden: usize, values: &[f64]) -> ConceptMatrix {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        ConceptMatrix::decode("F64", &[concepts as u64, hidden as u64], &bytes).unwrap_or_else(
            |problem| panic!("{concepts} x {hidden} from {} values: {problem}", values.len()),
        )
    }

    fn cases() -> Vec<Value> {
        let expected: Value = serde_json::from_str(EXPECTED).unwrap_or_default();
        expected["cases"].as_array().cloned().unwrap_or_default()
    }

    fn fixture_bytes(name: &str) -> Option<&'static [u8]> {
        macro_rules! fixtures {
            ($($name:literal),*) => {
                match name {
                    $($name => Some(include_bytes!(
                        concat!("../../tests/fixtures/probe/", $name, ".bin")
                    )),)*
                    _ => None,
                }
            };
        }
        fixtures!(
            "tall_f64",
            "wide_f32",
            "decaying_f32",
            "steep_f64",
            "half_f16",
            "brain_bf16",
            "rank_one_f64",
            "twins_f32",
            "zero_f32",
            "single_f32",
            "column_f32",
            "huge_f64",
            "tiny_f64"
        )
    }

    /// Decodes, measures, and compares every number with the expected one.
    fn check(case: &Value, bytes: &[u8]) {
        let name = case["name"].as_str().unwrap_or_default();
        let shape: Vec<u64> =
            case["shape"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let type_name = case["dtype"].as_str().unwrap_or_default();
        let numbers = match ConceptMatrix::decode(type_name, &shape, bytes) {
            Ok(matrix) => measure(&matrix),
            Err(problem) => panic!("{name}: {problem}"),
        };
        for (key, found) in numbers.named() {
            let Some(expected) = case["numbers"][key].as_f64() else {
                assert!(case["numbers"][key].is_null() && found.is_nan(), "{name} {key}: {found}");
                continue;
            };
            let difference = (found - expected).abs();
            let allowed = TOLERANCE * expected.abs().max(f64::MIN_POSITIVE);
            // The deviation of equal lengths is rounding noise and compared on their scale.
            let noise = if key == "std_concept_norm" { TOLERANCE * numbers.mean_norm } else { 0.0 };
            assert!(difference <= allowed.max(noise), "{name} {key}: {found} for {expected}");
        }
        let expected = case["numbers"]["top5_singular_values"].as_array();
        let expected: Vec<f64> = expected.into_iter().flatten().filter_map(Value::as_f64).collect();
        assert_eq!(numbers.top_singular_values.len(), expected.len(), "{name}");
        for (found, expected_value) in numbers.top_singular_values.iter().zip(&expected) {
            let difference = (found - expected_value).abs();
            assert!(difference <= TOLERANCE * expected[0], "{name}: {found} for {expected_value}");
        }
    }

    #[test]
    fn numbers_equal_those_of_numpy() {
        let mut compared = 0;
        for case in cases() {
            let name = case["name"].as_str().unwrap().to_owned();
            if let Some(bytes) = fixture_bytes(&name) {
                check(&case, bytes);
                compared += 1;
            }
        }
        assert_eq!(compared, 13);
    }

    /// The captured embedding had representations of rank 13.2; its weights have 35.0.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test reads a captured checkpoint")]
    fn numbers_of_a_captured_checkpoint_equal_those_of_numpy() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../shared/data/checkpoints/diffusion_H64L2C128D2_20261123_063802/checkpoint-20/",
            "model.safetensors"
        );
        let Ok(file) = std::fs::read(path) else {
            println!("skipped: `{path}` is not there");
            return;
        };
        let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
        let header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
        let tensor = &header["encoder.concept_embeddings.weight"];
        let offset = |at: usize| usize::try_from(tensor["data_offsets"][at].as_u64().unwrap());
        let data = &file[8 + length..];
        let case = cases().into_iter().find(|case| case["name"] == "captured").unwrap();
        check(&case, &data[offset(0).unwrap()..offset(1).unwrap()]);
    }

    #[test]
    fn a_value_that_is_not_finite_leaves_no_number() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let numbers = measure(&matrix_of(2, 2, &[1.0, bad, 0.0, 1.0]));
            assert!(numbers.named().into_iter().all(|(_, value)| value.is_nan()), "{numbers:?}");
            assert_eq!(numbers.top_singular_values, Vec::<f64>::new());
            assert_eq!((numbers.concepts, numbers.hidden), (2, 2));
        }
    }

    #[test]
    fn the_largest_and_the_smallest_doubles_have_numbers() {
        for value in [f64::MAX, f64::MIN_POSITIVE, 5e-324] {
            let numbers = measure(&matrix_of(2, 2, &[value, 0.0, 0.0, value]));
            assert!((numbers.rank - 2.0).abs() < 1e-12, "{value:e}: {numbers:?}");
            assert!((numbers.max_norm / value - 1.0).abs() < 1e-12, "{value:e}: {numbers:?}");
            assert!(numbers.max_similarity.abs() < 1e-12, "{value:e}: {numbers:?}");
        }
    }

    #[test]
    fn equal_concepts_have_rank_one_and_similarity_one() {
        let numbers = measure(&matrix_of(4, 3, &[0.1, 0.2, 0.3].repeat(4)));
        assert!((numbers.rank - 1.0).abs() < 1e-12, "{numbers:?}");
        assert!((numbers.rankme - 1.0).abs() < 1e-12, "{numbers:?}");
        assert!((numbers.mean_similarity - 1.0).abs() < 1e-12, "{numbers:?}");
        assert!(numbers.max_similarity <= 1.0, "{numbers:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn ranks_stay_within_their_bounds(
            concepts in 1_usize..12,
            hidden in 1_usize..12,
            values in proptest::collection::vec(
                prop_oneof![Just(0.0), -1.0..1.0, Just(1.0), -1e150..1e150], 144
            ),
        ) {
            let numbers = measure(&matrix_of(concepts, hidden, &values[..concepts * hidden]));
            let slack = 1e-9;
            let limit = exact(concepts.min(hidden)) + slack;
            if numbers.max_norm == 0.0 {
                prop_assert!(numbers.rank.abs() + numbers.rankme.abs() == 0.0);
            } else {
                prop_assert!(numbers.rank >= 1.0 && numbers.rank <= limit);
                prop_assert!(numbers.rankme >= numbers.rank - slack && numbers.rankme <= limit);
                prop_assert!(numbers.participation_ratio >= 1.0 - slack);
                prop_assert!(numbers.participation_ratio <= limit);
            }
            prop_assert!(concepts == 1 || (0.0..=1.0).contains(&numbers.mean_similarity));
            prop_assert!(concepts == 1 || numbers.mean_similarity <= numbers.max_similarity + slack);
        }

        /// A matrix and its transpose have the same singular values.
        #[test]
        fn rank_does_not_depend_on_orientation(
            values in proptest::collection::vec(-1.0_f64..1.0, 5 * 9),
        ) {
            let turned: Vec<f64> =
                (0..9).flat_map(|column| (0..5).map(move |row| (row, column)))
                    .map(|(row, column)| values[row * 9 + column]).collect();
            let (upright, lying) =
                (measure(&matrix_of(5, 9, &values)), measure(&matrix_of(9, 5, &turned)));
            prop_assert!((upright.rank - lying.rank).abs() < 1e-9);
            prop_assert!((upright.rankme - lying.rankme).abs() < 1e-9);
        }
    }
}
