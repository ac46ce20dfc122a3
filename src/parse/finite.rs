//! Counts NaN and Inf in the raw bytes of a tensor, chunk by chunk, in constant memory.
//!
//! A floating-point number of IEEE 754 is NaN or infinite exactly when all bits of its exponent are
//! set, so one integer mask and one comparison decide, and LLVM turns the loops into SIMD. Formats:
//! little endian, as the safetensors specification says; `F8_E5M2` and `F8_E4M3` after the OCP
//! 8-bit floating point specification (E4M3 has no infinity and one NaN per sign).

/// Bytes per inner loop: a multiple of every element's size, and few enough elements that a `u16`
/// lane cannot overflow while it counts.
const BLOCK_BYTES: usize = 16 * 1024;

/// A floating-point element type whose values can be tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// OCP E5M2: a binary16 cut to 8 bits.
    F8E5M2,
    /// OCP E4M3 (`float8_e4m3fn`): no infinity.
    F8E4M3,
}

impl FloatType {
    /// Returns the type that a safetensors header names so, such as `BF16`; `None` for integers,
    /// booleans and types without a test.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "F64" => Some(Self::F64),
            "F32" => Some(Self::F32),
            "F16" => Some(Self::F16),
            "BF16" => Some(Self::Bf16),
            "F8_E5M2" => Some(Self::F8E5M2),
            "F8_E4M3" => Some(Self::F8E4M3),
            _ => None,
        }
    }

    /// Returns the size of one element, in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F8E5M2 | Self::F8E4M3 => 1,
        }
    }
}

/// Returns how many elements in `bytes` are NaN or infinite.
///
/// Chunks must begin and end at element boundaries; a partial element at the end is not counted.
/// Any such division of a tensor into chunks gives the same sum.
pub fn count_not_finite(float_type: FloatType, bytes: &[u8]) -> u64 {
    let count_block = match float_type {
        FloatType::F64 => count_f64,
        FloatType::F32 => count_f32,
        FloatType::F16 => count_16_bit::<0x7c00>,
        FloatType::Bf16 => count_16_bit::<0x7f80>,
        FloatType::F8E5M2 => count_8_bit::<0x7c>,
        FloatType::F8E4M3 => count_8_bit::<0x7f>,
    };
    bytes.chunks(BLOCK_BYTES).map(count_block).sum()
}

fn count_f64(block: &[u8]) -> u64 {
    const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
    let (elements, _) = block.as_chunks::<8>();
    elements
        .iter()
        .map(|element| u64::from(u64::from_le_bytes(*element) & EXPONENT == EXPONENT))
        .sum()
}

fn count_f32(block: &[u8]) -> u64 {
    const EXPONENT: u32 = 0x7f80_0000;
    let (elements, _) = block.as_chunks::<4>();
    let count: u32 = elements
        .iter()
        .map(|element| u32::from(u32::from_le_bytes(*element) & EXPONENT == EXPONENT))
        .sum();
    u64::from(count)
}

fn count_16_bit<const EXPONENT: u16>(block: &[u8]) -> u64 {
    let (elements, _) = block.as_chunks::<2>();
    let count: u16 = elements
        .iter()
        .map(|element| u16::from(u16::from_le_bytes(*element) & EXPONENT == EXPONENT))
        .sum();
    u64::from(count)
}

/// Counts bytes whose bits under `MASK` are all set: the exponent of E5M2, or exponent and mantissa
/// of E4M3, where only the largest magnitude is NaN.
fn count_8_bit<const MASK: u8>(block: &[u8]) -> u64 {
    let count: u16 = block.iter().map(|element| u16::from(element & MASK == MASK)).sum();
    u64::from(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_16_bit_pattern_counts_as_the_half_crate_says() {
        for bits in 0..=u16::MAX {
            let bytes = bits.to_le_bytes();
            let f16_bad = !half::f16::from_bits(bits).is_finite();
            let bf16_bad = !half::bf16::from_bits(bits).is_finite();
            assert_eq!(count_not_finite(FloatType::F16, &bytes), u64::from(f16_bad), "{bits:04x}");
            assert_eq!(count_not_finite(FloatType::Bf16, &bytes), u64::from(bf16_bad), "{bits:x}");
        }
    }

    #[test]
    fn all_16_bit_patterns_at_once_cross_block_borders() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        assert_eq!(count_not_finite(FloatType::F16, &bytes), 2 * 1024);
        assert_eq!(count_not_finite(FloatType::Bf16, &bytes), 2 * 128);
    }

    #[test]
    fn every_8_bit_pattern_counts_as_the_specification_says() {
        for bits in 0..=u8::MAX {
            let widened = half::f16::from_bits(u16::from(bits) << 8);
            let e5m2 = count_not_finite(FloatType::F8E5M2, &[bits]);
            assert_eq!(e5m2, u64::from(!widened.is_finite()), "{bits:02x}");
            let e4m3 = count_not_finite(FloatType::F8E4M3, &[bits]);
            assert_eq!(e4m3, u64::from(bits == 0x7f || bits == 0xff), "{bits:02x}");
        }
    }

    #[test]
    fn a_block_full_of_nan_does_not_overflow_its_counter() {
        let bytes = vec![0xff; 5 * BLOCK_BYTES + 8];
        for name in ["F64", "F32", "F16", "BF16", "F8_E5M2", "F8_E4M3"] {
            let float_type = FloatType::from_name(name).unwrap();
            let elements = bytes.len() / float_type.size();
            assert_eq!(count_not_finite(float_type, &bytes), elements as u64, "{name}");
        }
    }

    #[test]
    fn a_partial_element_at_the_end_is_not_counted() {
        assert_eq!(count_not_finite(FloatType::F32, &[0xff, 0xff, 0xff]), 0);
        assert_eq!(count_not_finite(FloatType::F32, &[]), 0);
    }

    #[test]
    fn names_without_a_test_have_no_float_type() {
        for name in ["I64", "BOOL", "f32", "F8_E8M0", ""] {
            assert_eq!(FloatType::from_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn f32_and_f64_count_as_is_finite_says(
            narrow in proptest::collection::vec(any::<u32>(), 0..300),
            wide in proptest::collection::vec(any::<u64>(), 0..300),
            split in any::<proptest::sample::Index>(),
        ) {
            // Random bits are rarely NaN, so every third pattern gets a full exponent.
            let spoil = |position: usize| position.is_multiple_of(3);
            let narrow: Vec<u32> = narrow.iter().enumerate()
                .map(|(at, bits)| if spoil(at) { bits | 0x7f80_0000 } else { *bits }).collect();
            let wide: Vec<u64> = wide.iter().enumerate()
                .map(|(at, bits)| if spoil(at) { bits | 0x7ff0 << 48 } else { *bits }).collect();
            let expected = narrow.iter().filter(|bits| !f32::from_bits(**bits).is_finite()).count();
            let bytes: Vec<u8> = narrow.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let border = split.index(narrow.len() + 1) * 4;
            let (first, second) = bytes.split_at(border);
            let counted = count_not_finite(FloatType::F32, first)
                + count_not_finite(FloatType::F32, second);
            prop_assert_eq!(counted, expected as u64);

            let expected = wide.iter().filter(|bits| !f64::from_bits(**bits).is_finite()).count();
            let bytes: Vec<u8> = wide.iter().flat_map(|bits| bits.to_le_bytes()).collect();
            prop_assert_eq!(count_not_finite(FloatType::F64, &bytes), expected as u64);
        }
    }
}
