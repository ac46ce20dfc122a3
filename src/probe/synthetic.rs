//! Synthetic checkpoints for the demo and for tests: a safetensors file written from scratch, and a
//! concept matrix of a chosen rank.
//!
//! The same seed and rank always give the same bytes. Source of the file format: the safetensors
//! specification (eight bytes of little-endian header length, a JSON header padded with spaces, the
//! tensors' data without gaps).

use serde_json::{Map, Value, json};

/// An `F32` tensor to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticTensor {
    /// Its name, unique in the file, such as `encoder.concept_embeddings.weight`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Its values, last dimension fastest; as many as the dimensions' product.
    pub values: Vec<f32>,
}

/// A tensor that no reader would accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The number of values is not the product of the dimensions.
    #[error("tensor `{name}` has {values} values for the shape {shape:?}")]
    Length {
        /// The tensor's name.
        name: String,
        /// Its dimensions.
        shape: Vec<u64>,
        /// How many values it has.
        values: usize,
    },
    /// Two tensors of one name, or one named `__metadata__`.
    #[error("tensor name `{0}` is taken")]
    Name(String),
}

/// Returns the bytes of a safetensors file with these tensors, in their order.
///
/// # Errors
/// A tensor whose values do not fill its shape, and a name that is taken.
pub fn safetensors_bytes(tensors: &[SyntheticTensor]) -> Result<Vec<u8>, TensorError> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut data = Vec::new();
    for tensor in tensors {
        check_length(tensor)?;
        let begin = data.len();
        data.extend(tensor.values.iter().flat_map(|value| value.to_le_bytes()));
        let entry =
            json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, data.len()]});
        if header.insert(tensor.name.clone(), entry).is_some() {
            return Err(TensorError::Name(tensor.name.clone()));
        }
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    // The data then begins at a multiple of eight, as the reference writer has it.
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes.append(&mut data);
    Ok(bytes)
}

fn check_length(tensor: &SyntheticTensor) -> Result<(), TensorError> {
    let elements = tensor.shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size));
    if elements == Some(tensor.values.len() as u64) {
        return Ok(());
    }
    Err(TensorError::Length {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        values: tensor.values.len(),
    })
}

/// Returns a `concepts` × `hidden` matrix, row by row, with Σσ / max σ within 1 % of `target_rank`.
///
/// Its singular directions are random and depend on shape and seed only, its singular values fall
/// geometrically: a run that uses one seed and ever lower ranks collapses as a real one does, toward
/// directions that it had from the start. The root mean square of the values is always 0.1, the
/// usual `initializer_range`. Ranks that no such matrix has are moved to the nearest that exists:
/// 1, or min(C, H). The cost is that of min(C, H)² vectors of length C + H.
pub fn collapsing_matrix(concepts: usize, hidden: usize, target_rank: f64, seed: u64) -> Vec<f32> {
    let size = concepts.min(hidden);
    let mut random = SplitMix64(seed);
    let concept_directions = orthonormal(size, concepts, &mut random);
    let hidden_directions = orthonormal(size, hidden, &mut random);
    let spectrum = scaled_spectrum(size, target_rank, concepts * hidden);
    let mut matrix = vec![0.0_f64; concepts * hidden];
    let directions = concept_directions.iter().zip(&hidden_directions);
    for (singular_value, (concept_direction, hidden_direction)) in spectrum.iter().zip(directions) {
        for (row, weight) in matrix.chunks_mut(hidden.max(1)).zip(concept_direction) {
            add_scaled(row, singular_value * weight, hidden_direction);
        }
    }
    matrix.into_iter().map(narrow).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "checkpoints hold f32; values are near 0.1")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Returns `size` singular values 1, r, r², … whose sum over their largest is `target_rank`, scaled
/// to a root mean square of 0.1 over `elements` values.
fn scaled_spectrum(size: usize, target_rank: f64, elements: usize) -> Vec<f64> {
    let spectrum = |ratio: f64| -> Vec<f64> {
        std::iter::successors(Some(1.0), |value| Some(value * ratio)).take(size).collect()
    };
    // The sum grows with the ratio, from 1 at 0 to the size at 1. NaN keeps the lower end.
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let below = spectrum(middle).iter().sum::<f64>() < target_rank;
        (low, high) = if below { (middle, high) } else { (low, middle) };
    }
    let values = spectrum(low);
    let square_sum: f64 = values.iter().map(|value| value * value).sum();
    let scale = (0.01 * count_as_f64(elements) / square_sum).sqrt();
    values.into_iter().map(|value| value * scale).collect()
}

/// Returns `count` orthonormal vectors of this length; `count` must not exceed it.
///
/// Gram-Schmidt, twice over, which keeps them orthogonal to rounding (Giraud et al. 2005).
fn orthonormal(count: usize, length: usize, random: &mut SplitMix64) -> Vec<Vec<f64>> {
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    for _ in 0..count {
        let mut vector: Vec<f64> = (0..length).map(|_| random.normal()).collect();
        for _ in 0..2 {
            for earlier in &vectors {
                let overlap: f64 = vector.iter().zip(earlier).map(|(one, two)| one * two).sum();
                add_scaled(&mut vector, -overlap, earlier);
            }
        }
        let norm = vector.iter().map(|value| value * value).sum::<f64>().sqrt();
        vectors.push(vector.iter().map(|value| value / norm).collect());
    }
    vectors
}

fn add_scaled(target: &mut [f64], factor: f64, addend: &[f64]) {
    for (value, addition) in target.iter_mut().zip(addend) {
        *value += factor * addition;
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^53")]
fn count_as_f64(count: usize) -> f64 {
    count as f64
}

/// The generator of Steele, Lea & Flood, "Fast splittable pseudorandom number generators" (2014):
/// enough for directions, and one dependency less.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number in (0, 1].
    fn uniform(&mut self) -> f64 {
        let upper = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        (f64::from(upper) + 1.0) / (f64::from(u32::MAX) + 1.0)
    }

    /// Returns a normally distributed number (Box & Muller 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::super::matrix::ConceptMatrix;
    use super::super::spectrum::measure;
    use super::*;

    fn rank_of(concepts: usize, hidden: usize, values: &[f32]) -> Option<f64> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let shape = [concepts as u64, hidden as u64];
        Some(measure(&ConceptMatrix::decode("F32", &shape, &bytes).ok()?).rank)
    }

    fn tensor(name: &str, shape: &[u64], values: &[f32]) -> SyntheticTensor {
        SyntheticTensor { name: name.to_owned(), shape: shape.to_vec(), values: values.to_vec() }
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // The first numbers of the reference implementation for seed 1234567.
        let mut random = SplitMix64(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973];
        assert_eq!([random.next(), random.next()], expected);
    }

    #[test]
    fn the_rank_is_the_one_asked_for() {
        let check = |concepts: usize, hidden: usize, target: f64, expected: f64| {
            let matrix = collapsing_matrix(concepts, hidden, target, 7);
            let rank = rank_of(concepts, hidden, &matrix).unwrap();
            let error = (rank / expected - 1.0).abs();
            assert!(error < 0.01, "{concepts} x {hidden} for {target}: {rank}");
        };
        for target in [1.0, 1.2, 2.5, 4.9, 7.3, 10.0, 22.0, 63.0, 64.0] {
            check(128, 64, target, target);
            check(64, 96, target, target);
        }
        check(32, 64, 9.6, 9.6);
        check(8, 8, 100.0, 8.0);
        check(8, 8, 0.0, 1.0);
        check(8, 8, f64::NAN, 1.0);
        check(1, 5, 3.0, 1.0);
    }

    #[test]
    fn values_have_the_size_of_an_initialization_at_every_rank() {
        for target in [1.0, 12.0, 60.0] {
            let matrix = collapsing_matrix(128, 64, target, 3);
            let square_sum: f64 = matrix.iter().map(|value| f64::from(*value).powi(2)).sum();
            assert!(((square_sum / 8192.0).sqrt() - 0.1).abs() < 1e-3, "{target}: {square_sum}");
        }
    }

    #[test]
    fn a_seed_repeats_its_matrix_and_another_does_not() {
        assert_eq!(collapsing_matrix(8, 6, 3.0, 1), collapsing_matrix(8, 6, 3.0, 1));
        assert_ne!(collapsing_matrix(8, 6, 3.0, 1), collapsing_matrix(8, 6, 3.0, 2));
        assert!(collapsing_matrix(0, 6, 3.0, 1).is_empty());
    }

    #[test]
    fn the_file_has_an_aligned_header_and_exactly_the_data_it_announces() {
        let tensors =
            [tensor("a \"quoted\"", &[2, 2], &[1.0, 2.0, 3.0, 4.0]), tensor("b", &[], &[5.0])];
        let bytes = safetensors_bytes(&tensors).unwrap();
        let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
        assert_eq!(length % 8, 0);
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        assert_eq!(header["__metadata__"], json!({"format": "pt"}));
        assert_eq!(header["a \"quoted\""]["data_offsets"], json!([0, 16]));
        assert_eq!(header["b"], json!({"dtype": "F32", "shape": [], "data_offsets": [16, 20]}));
        assert_eq!(bytes.len(), 8 + length + 20);
        assert_eq!(bytes[8 + length + 16..], 5.0_f32.to_le_bytes());
    }

    #[test]
    fn tensors_that_no_reader_accepts_are_refused() {
        let check = |tensors: &[SyntheticTensor], expected: &str| {
            assert_eq!(safetensors_bytes(tensors).unwrap_err().to_string(), expected);
        };
        let good = tensor("a", &[1], &[1.0]);
        check(&[good.clone(), good], "tensor name `a` is taken");
        check(&[tensor("__metadata__", &[0], &[])], "tensor name `__metadata__` is taken");
        check(&[tensor("a", &[2], &[1.0])], "tensor `a` has 1 values for the shape [2]");
        let huge = tensor("a", &[u64::MAX, 2], &[]);
        check(&[huge], "tensor `a` has 0 values for the shape [18446744073709551615, 2]");
    }
}
