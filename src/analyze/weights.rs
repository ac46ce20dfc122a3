//! One pass over a checkpoint's weights in bounded memory: their SHA-256, and NaN or Inf in them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::model::ids::Digest;
use crate::model::measurement::FiniteWeights;
use crate::parse::finite::{self, FloatType};
use crate::parse::weights::{self, Tensor};

/// Bytes read at a time. Large enough for a disk, and small enough to stay in a core's own cache
/// between the copy, the hash and the search.
const CHUNK: usize = 1 << 17;
/// Tensors that are named when they hold something that is not finite.
const NAMED_TENSORS: usize = 5;

/// What the pass found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightsReading {
    /// SHA-256 of the weights files, one after the other in name order.
    pub sha256: Digest,
    /// NaN and Inf, where the form allows to look.
    pub finite: FiniteWeights,
}

/// Reads the weights files of a folder once. `cancelled` is asked between chunks.
///
/// # Errors
/// A file cannot be read, ends too soon, or its header is not valid.
pub fn read(
    folder: &Path,
    files: &[String],
    cancelled: &dyn Fn() -> bool,
) -> io::Result<WeightsReading> {
    let mut pass = Pass { hash: Sha256::new(), count: Count::default(), cancelled };
    for name in files {
        let path = folder.join(name);
        let is_safetensors = path.extension().is_some_and(|extension| extension == "safetensors");
        let mut file = File::open(&path)?;
        if is_safetensors {
            pass.read_safetensors(&mut file)?;
        } else {
            pass.count.not_scanned = Some("pickled weights are never loaded".to_owned());
            pass.read_rest(&mut file)?;
        }
    }
    let sha256 = Digest::from_bytes(&pass.hash.finalize());
    Ok(WeightsReading { sha256, finite: pass.count.into_result() })
}

/// What one pass carries along.
struct Pass<'a> {
    hash: Sha256,
    count: Count,
    cancelled: &'a dyn Fn() -> bool,
}

#[derive(Default)]
struct Count {
    tensors: u64,
    elements: u64,
    not_finite: u64,
    first_tensors: Vec<String>,
    not_scanned: Option<String>,
}

impl Count {
    fn add(&mut self, tensor: &str, elements: u64, not_finite: u64) {
        self.tensors += 1;
        self.elements += elements;
        self.not_finite += not_finite;
        if not_finite > 0 && self.first_tensors.len() < NAMED_TENSORS {
            self.first_tensors.push(tensor.to_owned());
        }
    }

    fn into_result(self) -> FiniteWeights {
        match self.not_scanned {
            Some(reason) => FiniteWeights::NotScanned { reason },
            None => FiniteWeights::Counted {
                tensors: self.tensors,
                elements: self.elements,
                not_finite: self.not_finite,
                first_tensors: self.first_tensors,
            },
        }
    }
}

impl Pass<'_> {
    fn go_on(&self) -> io::Result<()> {
        if (self.cancelled)() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    fn read_safetensors(&mut self, file: &mut File) -> io::Result<()> {
        let mut first = [0; weights::HEADER_LENGTH_BYTES];
        file.read_exact(&mut first)?;
        self.hash.update(first);
        let length = weights::header_length(&first).map_err(io::Error::other)?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut header = vec![0; length];
        file.read_exact(&mut header)?;
        self.hash.update(&header);
        let header = weights::safetensors_header(&header).map_err(io::Error::other)?;
        let mut buffer = vec![0; CHUNK];
        for tensor in &header.tensors {
            self.read_tensor(file, tensor, &mut buffer)?;
        }
        self.read_rest(file)
    }

    /// Reads one tensor's bytes; tensors lie one after the other without holes.
    fn read_tensor(
        &mut self,
        file: &mut File,
        tensor: &Tensor,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let float = FloatType::from_name(tensor.dtype.name());
        let mut left = tensor.end - tensor.begin;
        let mut not_finite = 0;
        while left > 0 {
            self.go_on()?;
            // The chunk is a multiple of every element size, so no element is cut in two.
            let take = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let chunk = buffer.get_mut(..take).unwrap_or_default();
            file.read_exact(chunk)?;
            self.hash.update(&*chunk);
            not_finite += float.map_or(0, |float| finite::count_not_finite(float, chunk));
            left -= take as u64;
        }
        if let Some(float) = float {
            let elements = (tensor.end - tensor.begin) / float.size() as u64;
            self.count.add(&tensor.name, elements, not_finite);
        }
        Ok(())
    }

    fn read_rest(&mut self, file: &mut File) -> io::Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            self.go_on()?;
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                length => self.hash.update(buffer.get(..length).unwrap_or_default()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes two tensors, the second one of eight ones.
    fn write(folder: &Path, values: &[f32]) {
        let (length, end) = (values.len() * 4, values.len() * 4 + 32);
        let header = format!(
            "{{\"a\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[0,{length}]}},\
             \"b\":{{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[{length},{end}]}}}}",
            values.len()
        );
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend(values.iter().chain(&[1.0; 8]).flat_map(|value| value.to_le_bytes()));
        std::fs::write(folder.join("model.safetensors"), bytes).unwrap_or_default();
    }

    fn reading(folder: &Path, name: &str) -> io::Result<WeightsReading> {
        read(folder, &[name.to_owned()], &|| false)
    }

    #[test]
    fn values_that_are_not_finite_are_counted_and_their_tensors_named() {
        let folder = tempfile::tempdir().unwrap();
        // More than one chunk, with the odd values on both sides of its border.
        let mut values = vec![0.5; CHUNK / 4 + 10];
        values[CHUNK / 4 - 1] = f32::NAN;
        values[CHUNK / 4] = f32::NEG_INFINITY;
        write(folder.path(), &values);
        let counted = FiniteWeights::Counted {
            tensors: 2,
            elements: (CHUNK / 4 + 18) as u64,
            not_finite: 2,
            first_tensors: vec!["a".to_owned()],
        };
        assert_eq!(reading(folder.path(), "model.safetensors").unwrap().finite, counted);
    }

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[1.0, 2.0]);
        let bytes = std::fs::read(folder.path().join("model.safetensors")).unwrap();
        std::fs::write(folder.path().join("pytorch_model.bin"), &bytes).unwrap();
        let expected = Digest::from_bytes(&Sha256::digest(&bytes));
        assert_eq!(reading(folder.path(), "model.safetensors").unwrap().sha256, expected);
        let pickled = reading(folder.path(), "pytorch_model.bin").unwrap();
        assert_eq!(pickled.sha256, expected);
        assert!(matches!(pickled.finite, FiniteWeights::NotScanned { .. }));
    }

    #[test]
    fn a_file_that_ends_too_soon_is_an_error_and_so_is_a_cancelled_pass() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[1.0; 100]);
        let path = folder.path().join("model.safetensors");
        let files = ["model.safetensors".to_owned()];
        assert!(read(folder.path(), &files, &|| true).is_err());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read(folder.path(), &files, &|| false).is_err());
    }
}
