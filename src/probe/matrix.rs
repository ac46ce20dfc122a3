//! A concept embedding matrix, decoded from the bytes of a safetensors tensor.

use half::{bf16, f16};

/// The most elements that are decoded: 128 MiB of `f64`, 250 times a real embedding of 128 × 512.
pub const MAX_ELEMENTS: u64 = 16 * 1024 * 1024;

/// Why bytes are not a concept matrix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// Integers, or a format that the probe does not read.
    #[error("element type `{0}` is not one of F64, F32, F16, BF16")]
    ElementType(String),
    /// Not two-dimensional, or without elements.
    #[error("shape {0:?} is not [concepts, hidden]")]
    Shape(Vec<u64>),
    /// More than [`MAX_ELEMENTS`].
    #[error("shape {0:?} has more than {MAX_ELEMENTS} elements")]
    TooLarge(Vec<u64>),
    /// The bytes are too few or too many for the shape.
    #[error("{found} bytes where the shape needs {expected}")]
    Length {
        /// Bytes that the shape needs.
        expected: u64,
        /// Bytes that were given.
        found: u64,
    },
}

/// A matrix of C concepts (rows) in H hidden dimensions (columns), neither of them zero.
#[derive(Debug, Clone, PartialEq)]
pub struct ConceptMatrix {
    concepts: usize,
    hidden: usize,
    /// Row-major, C · H values.
    values: Vec<f64>,
}

impl ConceptMatrix {
    /// Decodes the little-endian bytes of a tensor with this safetensors type name and shape.
    ///
    /// # Errors
    /// Says which of type, shape, size and length does not fit. NaN and Inf are no error here.
    pub fn decode(type_name: &str, shape: &[u64], bytes: &[u8]) -> Result<Self, MatrixError> {
        let (element_size, decode_values) =
            decoder(type_name).ok_or_else(|| MatrixError::ElementType(type_name.to_owned()))?;
        let (concepts, hidden) = checked_shape(shape)?;
        let expected = (concepts * hidden * element_size) as u64;
        if bytes.len() as u64 != expected {
            return Err(MatrixError::Length { expected, found: bytes.len() as u64 });
        }
        Ok(Self { concepts, hidden, values: decode_values(bytes) })
    }

    /// Returns the number of rows, the concepts C; at least 1.
    pub fn concepts(&self) -> usize {
        self.concepts
    }

    /// Returns the number of columns, the hidden size H; at least 1.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Returns the values, row by row.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

/// Returns C and H of a shape that is two-dimensional, not empty and within [`MAX_ELEMENTS`].
fn checked_shape(shape: &[u64]) -> Result<(usize, usize), MatrixError> {
    let &[concepts, hidden] = shape else {
        return Err(MatrixError::Shape(shape.to_vec()));
    };
    if concepts == 0 || hidden == 0 {
        return Err(MatrixError::Shape(shape.to_vec()));
    }
    let too_large = || MatrixError::TooLarge(shape.to_vec());
    if concepts.checked_mul(hidden).is_none_or(|elements| elements > MAX_ELEMENTS) {
        return Err(too_large());
    }
    let narrow = |size: u64| usize::try_from(size).map_err(|_| too_large());
    Ok((narrow(concepts)?, narrow(hidden)?))
}

type Widen = fn(&[u8]) -> Vec<f64>;

/// Returns the size in bytes of an element of this type and how to widen its bytes; the 8-bit
/// types are not read, they come with scales of their own.
fn decoder(type_name: &str) -> Option<(usize, Widen)> {
    Some(match type_name {
        "F64" => (8, |bytes| each(bytes, f64::from_le_bytes)),
        "F32" => (4, |bytes| each(bytes, |element| f32::from_le_bytes(element).into())),
        "F16" => (2, |bytes| each(bytes, |element| f16::from_le_bytes(element).to_f64())),
        "BF16" => (2, |bytes| each(bytes, |element| bf16::from_le_bytes(element).to_f64())),
        _ => return None,
    })
}

fn each<const SIZE: usize>(bytes: &[u8], widen: impl Fn([u8; SIZE]) -> f64) -> Vec<f64> {
    bytes.as_chunks::<SIZE>().0.iter().map(|element| widen(*element)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_types_decode_row_by_row() {
        let numbers = [1.0_f32, -2.5, 0.0, 0.5, 1024.0, f32::NAN];
        let bytes_of = |type_name: &str| -> Vec<u8> {
            let bytes = numbers.iter().map(|number| match type_name {
                "F64" => f64::from(*number).to_le_bytes().to_vec(),
                "F32" => number.to_le_bytes().to_vec(),
                "F16" => f16::from_f32(*number).to_le_bytes().to_vec(),
                _ => bf16::from_f32(*number).to_le_bytes().to_vec(),
            });
            bytes.flatten().collect()
        };
        for type_name in ["F64", "F32", "F16", "BF16"] {
            let matrix = ConceptMatrix::decode(type_name, &[2, 3], &bytes_of(type_name)).unwrap();
            assert_eq!((matrix.concepts(), matrix.hidden()), (2, 3));
            assert_eq!(matrix.values()[..5], [1.0, -2.5, 0.0, 0.5, 1024.0], "{type_name}");
            assert!(matrix.values()[5].is_nan(), "{type_name}");
        }
    }

    #[test]
    fn what_is_no_matrix_says_why() {
        let check = |type_name: &str, shape: &[u64], length: usize, expected: &str| {
            let problem = ConceptMatrix::decode(type_name, shape, &vec![0; length]).unwrap_err();
            assert_eq!(problem.to_string(), expected);
        };
        let types = "is not one of F64, F32, F16, BF16";
        check("I64", &[1, 1], 8, &format!("element type `I64` {types}"));
        check("F8_E4M3", &[1, 1], 1, &format!("element type `F8_E4M3` {types}"));
        check("F32", &[4], 16, "shape [4] is not [concepts, hidden]");
        check("F32", &[], 4, "shape [] is not [concepts, hidden]");
        check("F32", &[1, 2, 2], 16, "shape [1, 2, 2] is not [concepts, hidden]");
        check("F32", &[0, 4], 0, "shape [0, 4] is not [concepts, hidden]");
        check("F32", &[4097, 4096], 0, "shape [4097, 4096] has more than 16777216 elements");
        let overflow = format!("shape [{0}, {0}] has more than 16777216 elements", u64::MAX);
        check("F32", &[u64::MAX, u64::MAX], 0, &overflow);
        check("F32", &[2, 2], 15, "15 bytes where the shape needs 16");
        check("BF16", &[2, 2], 16, "16 bytes where the shape needs 8");
    }
}
