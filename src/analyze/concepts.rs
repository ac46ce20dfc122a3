//! Reads the concept embedding matrix of a checkpoint, for the embedded probe.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::parse::weights::{self, SafetensorsHeader, Tensor};

/// The end of the tensor's name in every family of the watched project.
const TENSOR: &str = "concept_embeddings.weight";
/// A larger matrix than this is not one of concepts, in bytes.
const MAX_BYTES: u64 = 128 << 20;

/// A tensor's raw bytes with what they mean.
#[derive(Debug, Clone)]
pub struct RawMatrix {
    /// The safetensors name of the element type.
    pub dtype: String,
    /// [concepts C, hidden H].
    pub shape: Vec<u64>,
    /// Little-endian elements, row by row.
    pub bytes: Vec<u8>,
}

/// Reads `*concept_embeddings.weight` from `model.safetensors` or its shards.
///
/// # Errors
/// There are no safetensors, no such tensor, or the file is not whole.
pub fn read(folder: &Path) -> io::Result<RawMatrix> {
    for name in files(folder)? {
        let mut file = File::open(folder.join(&name))?;
        let (header, _) = header(&mut file)?;
        if let Some(tensor) = header.tensors.iter().find(|tensor| tensor.name.ends_with(TENSOR)) {
            return read_tensor(&mut file, tensor);
        }
    }
    Err(io::Error::other(format!("no tensor `*{TENSOR}` in `{}`", folder.display())))
}

fn files(folder: &Path) -> io::Result<Vec<String>> {
    let single = "model.safetensors";
    if folder.join(single).is_file() {
        return Ok(vec![single.to_owned()]);
    }
    let index = folder.join("model.safetensors.index.json");
    if index.is_file() {
        return weights::shard_files(&std::fs::read(index)?).map_err(io::Error::other);
    }
    let folder = folder.display();
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("no `{single}` in `{folder}`; the probe reads safetensors only"),
    ))
}

fn header(file: &mut File) -> io::Result<(SafetensorsHeader, u64)> {
    let mut first = [0; weights::HEADER_LENGTH_BYTES];
    file.read_exact(&mut first)?;
    let length = weights::header_length(&first).map_err(io::Error::other)?;
    let mut header = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact(&mut header)?;
    let header = weights::safetensors_header(&header).map_err(io::Error::other)?;
    Ok((header, length))
}

fn read_tensor(file: &mut File, tensor: &Tensor) -> io::Result<RawMatrix> {
    let length = tensor.end - tensor.begin;
    if length > MAX_BYTES {
        return Err(io::Error::other(format!("`{}` has {length} bytes", tensor.name)));
    }
    file.seek(SeekFrom::Start(tensor.begin))?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    let (dtype, shape) = (tensor.dtype.name().to_owned(), tensor.shape.clone());
    Ok(RawMatrix { dtype, shape, bytes })
}
