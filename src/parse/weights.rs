//! What weights files say of themselves: safetensors headers, shard indexes, and the end of the zip
//! archive that a `pytorch_model.bin` is. No tensor is read here and nothing is ever unpickled.
//!
//! The safetensors format is eight bytes with the length of the header (little endian), the header
//! (a JSON object, padded with spaces), and the tensors without gaps
//! (<https://github.com/huggingface/safetensors#format>).

mod archive;

use super::json::{self, Json};

pub use archive::{ARCHIVE_TAIL_BYTES, ends_in_zip_directory};

/// Length of the number at the start of a safetensors file that holds the header's length.
pub const HEADER_LENGTH_BYTES: usize = 8;

/// The longest header that the reference reader accepts, in bytes.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A tail of zeros shorter than this is not taken for a crash, in bytes.
pub const SUSPICIOUS_ZERO_BYTES: u64 = 64 * 1024;

/// A file that was never written out reads as zeros in units of this many bytes.
const PAGE_BYTES: u64 = 4096;

/// One tensor of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, such as `encoder.concept_embeddings.weight`.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions; empty for a single number.
    pub shape: Vec<u64>,
    /// Offset of its first byte from the start of the file.
    pub begin: u64,
    /// Offset of the byte after its last one from the start of the file.
    pub end: u64,
}

/// The type of a tensor's elements, all of safetensors 0.8.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the format")]
#[expect(non_camel_case_types, reason = "the names are those of the format")]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    F8_E4M3,
    F8_E5M2,
    F8_E8M0,
    F8_E4M3FNUZ,
    F8_E5M2FNUZ,
    F6_E2M3,
    F6_E3M2,
    F4,
    C64,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    BOOL,
    /// A type that this version does not know; its size is not checked.
    Other(String),
}

impl Dtype {
    /// Returns the type of this name.
    pub fn from_name(name: &str) -> Self {
        let all = KNOWN.iter().find(|(known, ..)| *known == name);
        all.map_or_else(|| Self::Other(name.to_owned()), |(_, dtype, _)| dtype.clone())
    }

    /// Returns the format's name of the type.
    pub fn name(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => KNOWN.iter().find(|(_, dtype, _)| dtype == known).map_or("", |found| found.0),
        }
    }

    /// Returns the size of one element in bits; `None` if the type is not known.
    pub fn size_bits(&self) -> Option<u64> {
        KNOWN.iter().find(|(_, dtype, _)| dtype == self).map(|(_, _, bits)| *bits)
    }

    /// Returns whether elements are real floating-point numbers, which can be NaN or too large.
    pub fn is_floating(&self) -> bool {
        let name = self.name();
        self.size_bits().is_some() && (name.starts_with('F') || name == "BF16")
    }
}

/// Name, type and size in bits.
const KNOWN: [(&str, Dtype, u64); 22] = [
    ("F64", Dtype::F64, 64),
    ("F32", Dtype::F32, 32),
    ("F16", Dtype::F16, 16),
    ("BF16", Dtype::BF16, 16),
    ("F8_E4M3", Dtype::F8_E4M3, 8),
    ("F8_E5M2", Dtype::F8_E5M2, 8),
    ("F8_E8M0", Dtype::F8_E8M0, 8),
    ("F8_E4M3FNUZ", Dtype::F8_E4M3FNUZ, 8),
    ("F8_E5M2FNUZ", Dtype::F8_E5M2FNUZ, 8),
    ("F6_E2M3", Dtype::F6_E2M3, 6),
    ("F6_E3M2", Dtype::F6_E3M2, 6),
    ("F4", Dtype::F4, 4),
    ("C64", Dtype::C64, 64),
    ("I64", Dtype::I64, 64),
    ("I32", Dtype::I32, 32),
    ("I16", Dtype::I16, 16),
    ("I8", Dtype::I8, 8),
    ("U64", Dtype::U64, 64),
    ("U32", Dtype::U32, 32),
    ("U16", Dtype::U16, 16),
    ("U8", Dtype::U8, 8),
    ("BOOL", Dtype::BOOL, 8),
];

/// A header that was found consistent: the tensors cover the file from the header's end without a
/// hole or an overlap, and each has the size that its type and shape ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafetensorsHeader {
    /// The tensors in the order of the file.
    pub tensors: Vec<Tensor>,
    /// Offset of the first tensor: the header's length and the eight bytes before it.
    pub data_begin: u64,
}

impl SafetensorsHeader {
    /// Returns the exact length of the whole file in bytes.
    pub fn implied_length(&self) -> u64 {
        self.tensors.last().map_or(self.data_begin, |tensor| tensor.end)
    }
}

/// Returns the header's length in bytes from the first eight bytes of a safetensors file.
pub fn header_length(first_eight: &[u8]) -> Result<u64, String> {
    let Some((bytes, _)) = first_eight.split_first_chunk::<HEADER_LENGTH_BYTES>() else {
        return Err("is shorter than the 8 bytes that hold the header's length".to_owned());
    };
    match u64::from_le_bytes(*bytes) {
        0 => Err("begins with zeros in place of the header's length".to_owned()),
        length if length > MAX_HEADER_BYTES => {
            Err(format!("claims a header of {length} bytes, more than {MAX_HEADER_BYTES}"))
        }
        length => Ok(length),
    }
}

/// Reads a safetensors header, which is what follows the first eight bytes.
///
/// It accepts what the reference reader accepts, and unknown element types beyond that. The error
/// says what is wrong with the file, as the predicate of a sentence about it.
pub fn safetensors_header(header: &[u8]) -> Result<SafetensorsHeader, String> {
    let data_begin = HEADER_LENGTH_BYTES as u64 + header.len() as u64;
    if header.first() != Some(&b'{') {
        return Err("has a header that does not begin with `{`".to_owned());
    }
    let object = json::parse(header).map_err(|problem| format!("has a header that {problem}"))?;
    let Json::Object(members) = object else {
        return Err("has a header that is not a JSON object".to_owned());
    };
    let mut tensors = Vec::new();
    for (name, value) in members {
        if name == "__metadata__" {
            check_metadata(&value)?;
        } else {
            tensors.push(tensor(name, &value, data_begin)?);
        }
    }
    check_names(&tensors)?;
    tensors.sort_by_key(|tensor| (tensor.begin, tensor.end));
    check_coverage(&tensors, data_begin)?;
    Ok(SafetensorsHeader { tensors, data_begin })
}

fn check_metadata(metadata: &Json) -> Result<(), String> {
    let is_text = |value: &Json| matches!(value, Json::String(_));
    match metadata {
        Json::Null => Ok(()),
        Json::Object(members) if members.iter().all(|(_, value)| is_text(value)) => Ok(()),
        _ => Err("has a header whose `__metadata__` is not a map of texts".to_owned()),
    }
}

fn tensor(name: String, value: &Json, data_begin: u64) -> Result<Tensor, String> {
    let wrong = |what: &str| format!("has a header whose tensor `{name}` has {what}");
    let dtype = value.get("dtype").and_then(Json::as_str).ok_or_else(|| wrong("no `dtype`"))?;
    let dtype = Dtype::from_name(dtype);
    let shape = integers(value.get("shape")).ok_or_else(|| wrong("no usable `shape`"))?;
    let offsets = integers(value.get("data_offsets"));
    let Some(&[first, after]) = offsets.as_deref() else {
        return Err(wrong("no usable `data_offsets`"));
    };
    let length = after.checked_sub(first).ok_or_else(|| wrong("an end before its begin"))?;
    if let Some(bits) = dtype.size_bits() {
        let size = size_bytes(bits, &shape).ok_or_else(|| wrong("an impossible size"))?;
        if size != length {
            return Err(wrong(&format!("{length} bytes where its shape needs {size}")));
        }
    }
    let (begin, end) = (first.checked_add(data_begin), after.checked_add(data_begin));
    let (Some(begin), Some(end)) = (begin, end) else { return Err(wrong("an impossible size")) };
    Ok(Tensor { name, dtype, shape, begin, end })
}

fn integers(value: Option<&Json>) -> Option<Vec<u64>> {
    value?.as_array()?.iter().map(Json::as_u64).collect()
}

/// Multiplies out a shape; `None` if it overflows or does not end at a whole byte.
fn size_bytes(element_bits: u64, shape: &[u64]) -> Option<u64> {
    let elements = shape.iter().try_fold(1_u64, |product, size| product.checked_mul(*size))?;
    let bits = elements.checked_mul(element_bits)?;
    (bits % 8 == 0).then_some(bits / 8)
}

fn check_names(tensors: &[Tensor]) -> Result<(), String> {
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    for pair in names.windows(2) {
        if let [first, second] = pair
            && first == second
        {
            return Err(format!("has a header that names the tensor `{first}` twice"));
        }
    }
    Ok(())
}

/// Checks that sorted tensors follow each other without a hole or an overlap.
fn check_coverage(tensors: &[Tensor], data_begin: u64) -> Result<(), String> {
    let mut covered = data_begin;
    for tensor in tensors {
        if tensor.begin != covered {
            let what = if tensor.begin > covered { "a hole" } else { "an overlap" };
            return Err(format!("has a header with {what} before the tensor `{}`", tensor.name));
        }
        covered = tensor.end;
    }
    Ok(())
}

/// Returns the names of the shard files from `model.safetensors.index.json` or
/// `pytorch_model.bin.index.json`: the values of `weight_map`, sorted, each once.
///
/// A name that could lead out of the checkpoint's folder is an error.
pub fn shard_files(index: &[u8]) -> Result<Vec<String>, String> {
    let index = json::parse(index).map_err(|problem| problem.to_string())?;
    let Some(Json::Object(weights)) = index.get("weight_map") else {
        return Err("has no `weight_map`".to_owned());
    };
    let mut files = Vec::new();
    for (weight, file) in weights {
        let file = file.as_str().ok_or_else(|| format!("names no file for `{weight}`"))?;
        if file.is_empty() || file.contains(['/', '\\', '\0']) || file.contains("..") {
            return Err(format!("names `{file}`, which is not a plain file name"));
        }
        files.push(file.to_owned());
    }
    files.sort_unstable();
    files.dedup();
    if files.is_empty() { Err("names no files".to_owned()) } else { Ok(files) }
}

/// Returns whether the zeros at the end of a file look like a crash before the data reached the
/// disk: at least 64 KiB that reach into two tensors or more.
///
/// One zero-initialized tensor is legitimate. A crash leaves zeros from a page boundary on, so the
/// tensors are counted from the first whole page of zeros: the few zero bytes that an ordinary
/// tensor may happen to end in do not make it one of the two.
pub fn zero_tail(header: &SafetensorsHeader, zero_bytes_at_end: u64) -> bool {
    if zero_bytes_at_end < SUSPICIOUS_ZERO_BYTES {
        return false;
    }
    let zeros_begin = header.implied_length().saturating_sub(zero_bytes_at_end);
    let first_page = zeros_begin.next_multiple_of(PAGE_BYTES);
    let reached = header.tensors.iter().rev().take_while(|tensor| tensor.end > first_page);
    reached.filter(|tensor| tensor.begin < tensor.end).take(2).count() == 2
}

#[cfg(test)]
mod tests;
