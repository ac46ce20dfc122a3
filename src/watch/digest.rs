//! The identity of a checkpoint's content: a digest of headers and sampled blocks, so that
//! gigabytes of weights cost a few dozen small reads.

use std::io;
use std::path::Path;

use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};

use super::files::{self, FileKind};
use crate::model::ids::Digest;
use crate::parse::weights::{HEADER_LENGTH_BYTES, header_length};

/// Changes with the method: digests made in different ways must never be equal by chance.
const VERSION_TAG: &[u8] = b"runscribe content digest 1\0";
/// How many bytes of SHA-256 are kept.
const DIGEST_BYTES: usize = 16;
/// How many blocks are sampled from each weights file.
const BLOCKS: u64 = 32;
/// Length of a sampled block.
const BLOCK_BYTES: u64 = 1024;
/// How much of the end of each weights file is read.
const END_BYTES: u64 = 16 * 1024;
/// How much of the beginning is read where no header says how long it is.
const BEGINNING_BYTES: u64 = 64 * 1024;

/// One weights file to digest.
#[derive(Debug, Clone, Copy)]
pub(super) struct WeightsPart<'part> {
    /// Its name.
    pub(super) name: &'part str,
    /// Its length in bytes when it was found whole.
    pub(super) length: u64,
    /// Whether it is a link.
    pub(super) kind: FileKind,
}

/// Digests the weights files: name, length, header and sampled blocks of each.
///
/// Training changes every weight at every step, so a few blocks tell contents apart; equal digests
/// still prove nothing, and who needs certainty compares all bytes.
pub(super) fn digest_weights(folder: &Path, parts: &[WeightsPart<'_>]) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    hash.update(VERSION_TAG);
    for part in parts {
        let file = files::open(&folder.join(part.name), part.kind)?;
        // Read-ahead around scattered blocks would read the whole file from a cold disk.
        if let Err(error) = fadvise(&file, 0, None, Advice::Random) {
            tracing::debug!(file = part.name, %error, "read-ahead stays on");
        }
        hash.update(part.name.as_bytes());
        hash.update([0]);
        hash.update(part.length.to_le_bytes());
        let beginning = beginning_bytes(&file, part)?;
        for (offset, length) in sampled_ranges(part.length, beginning) {
            hash.update(files::read_at(&file, offset, usize::try_from(length).unwrap_or(0))?);
        }
    }
    Ok(shortened(hash))
}

/// Digests the small files and joins the weights' digest. Paths and names of folders are no part
/// of it: a copied or restored project has the same digests.
pub(super) fn digest_content(config: &[u8], state: Option<&[u8]>, weights: &Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update(VERSION_TAG);
    for bytes in [config, state.unwrap_or_default()] {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.update([u8::from(state.is_some())]);
    hash.update(weights.as_str().as_bytes());
    shortened(hash)
}

fn shortened(hash: Sha256) -> Digest {
    let bytes = hash.finalize();
    Digest::from_bytes(bytes.get(..DIGEST_BYTES).unwrap_or_default())
}

/// Returns how many bytes at the beginning belong to the header.
fn beginning_bytes(file: &std::fs::File, part: &WeightsPart<'_>) -> io::Result<u64> {
    if !part.name.ends_with(".safetensors") {
        return Ok(BEGINNING_BYTES);
    }
    let first = files::read_at(file, 0, HEADER_LENGTH_BYTES)?;
    let header = header_length(&first).unwrap_or(BEGINNING_BYTES);
    Ok(header.saturating_add(HEADER_LENGTH_BYTES as u64))
}

/// Returns the ranges to read, as offset and length: the beginning, blocks that are evenly spread
/// over the rest, and the end. Short files are read as a whole.
fn sampled_ranges(length: u64, beginning: u64) -> Vec<(u64, u64)> {
    let rest = length.saturating_sub(beginning);
    if rest <= BLOCKS * BLOCK_BYTES + END_BYTES {
        return vec![(0, length)];
    }
    let last_block = rest - END_BYTES - BLOCK_BYTES;
    let block = |index: u64| {
        let offset = u128::from(last_block) * u128::from(index) / u128::from(BLOCKS);
        beginning.saturating_add(u64::try_from(offset).unwrap_or(last_block))
    };
    std::iter::once((0, beginning))
        .chain((0..BLOCKS).map(|index| (block(index), BLOCK_BYTES)))
        .chain([(length - END_BYTES, END_BYTES)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_inside_the_file_and_reach_both_ends() {
        for (length, beginning) in
            [(0, 0), (1, 8), (49_152, 0), (49_153, 0), (4_289_008, 4112), (u64::MAX, 4112), (9, 99)]
        {
            let ranges = sampled_ranges(length, beginning);
            let end = ranges.iter().map(|(offset, size)| offset + size).max();
            assert_eq!(end, Some(length), "{length} {beginning}");
            assert_eq!(ranges.first().map(|range| range.0), Some(0));
            let read: u64 = ranges.iter().map(|range| range.1).sum();
            assert!(read <= beginning.max(1) + BLOCKS * BLOCK_BYTES + END_BYTES, "{length}");
        }
    }

    #[test]
    fn a_missing_trainer_state_is_not_an_empty_one() {
        let weights = Digest::from_stored("00");
        assert_ne!(
            digest_content(b"{}", None, &weights),
            digest_content(b"{}", Some(b""), &weights)
        );
        assert_ne!(
            digest_content(b"ab", Some(b"c"), &weights),
            digest_content(b"a", Some(b"bc"), &weights)
        );
    }
}
