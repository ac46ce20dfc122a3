//! Reading just enough of weights files to know whether they are whole.

use std::fs::File;
use std::io;

use super::digest::WeightsPart;
use super::facts::{Reading, read_fact};
use super::files::{self, FileKind, FileStat};
use crate::parse::weights::{
    ARCHIVE_TAIL_BYTES, HEADER_LENGTH_BYTES, SUSPICIOUS_ZERO_BYTES, SafetensorsHeader,
    ends_in_zip_directory, header_length, safetensors_header, shard_files, zero_tail,
};
use crate::recognize::{
    FileFact, WeightsFacts, WeightsFile, WeightsForm, WeightsState, choose_weights, is_key_file,
};

/// The longest shard index that is read, in bytes.
const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;
/// In how large steps a tail of zeros is measured, in bytes.
const ZERO_STEP_BYTES: u64 = 1024 * 1024;

/// Gathers the facts about the weights that a program would load from this folder.
pub(super) fn weights_facts(reading: &mut Reading<'_>) -> Option<WeightsFacts> {
    let form = choose_weights(|name| reading.stat(name).is_some())?;
    let (index, names) = if form.is_index() {
        match shards(reading, form) {
            FileFact::Valid(names) => (FileFact::Valid(()), names),
            FileFact::Missing => (FileFact::Missing, Vec::new()),
            FileFact::Invalid(problem) => (FileFact::Invalid(problem), Vec::new()),
            FileFact::Unreadable(problem) => (FileFact::Unreadable(problem), Vec::new()),
        }
    } else {
        (FileFact::Valid(()), vec![form.file().to_owned()])
    };
    let files = names.into_iter().map(|name| weights_file(reading, name, form)).collect();
    Some(WeightsFacts { form, index, files })
}

fn shards(reading: &mut Reading<'_>, form: WeightsForm) -> FileFact<Vec<String>> {
    let ending = if form.is_safetensors() { ".safetensors" } else { ".bin" };
    read_fact(reading, form.file(), MAX_INDEX_BYTES, |bytes| {
        let names = shard_files(bytes)?;
        match names.iter().find(|name| !name.ends_with(ending) || !is_key_file(name)) {
            Some(name) => Err(format!("names `{name}`, which is not a weights file")),
            None => Ok(names),
        }
    })
    .0
}

fn weights_file(reading: &mut Reading<'_>, name: String, form: WeightsForm) -> WeightsFile {
    let Some(stat) = reading.stat(&name).cloned() else {
        return WeightsFile { name, length: 0, state: WeightsState::Missing };
    };
    let state = match stat.kind {
        FileKind::Other => WeightsState::Invalid("is not a regular file".to_owned()),
        FileKind::LinkLeadsOut => WeightsState::Unreadable(leads_out(&name)),
        FileKind::Regular | FileKind::Link => {
            let read = files::open(&reading.folder.join(&name), stat.kind)
                .and_then(|file| weights_state(&file, &stat, form));
            read.unwrap_or_else(|error| {
                if error.kind() == io::ErrorKind::NotFound {
                    reading.changed = true;
                    return WeightsState::Missing;
                }
                WeightsState::Unreadable(files::problem_with(&name, &error))
            })
        }
    };
    WeightsFile { name, length: stat.length, state }
}

/// Says that a link is not followed.
pub(super) fn leads_out(name: &str) -> String {
    format!("`{name}` is a link that leads out of the training folder, which is not followed")
}

fn weights_state(file: &File, stat: &FileStat, form: WeightsForm) -> io::Result<WeightsState> {
    if form.is_safetensors() {
        safetensors_state(file, stat.length)
    } else {
        bin_state(file, stat.length)
    }
}

fn bin_state(file: &File, length: u64) -> io::Result<WeightsState> {
    let tail_bytes = usize::try_from(length).unwrap_or(usize::MAX).min(ARCHIVE_TAIL_BYTES);
    let tail = files::read_at(file, length - tail_bytes as u64, tail_bytes)?;
    Ok(if ends_in_zip_directory(&tail, length) {
        WeightsState::Whole
    } else {
        WeightsState::Invalid("does not end as a whole PyTorch archive does".to_owned())
    })
}

fn safetensors_state(file: &File, length: u64) -> io::Result<WeightsState> {
    let first = files::read_at(file, 0, HEADER_LENGTH_BYTES)?;
    let header_bytes = match header_length(&first) {
        Ok(bytes) => bytes,
        Err(problem) => return Ok(WeightsState::Invalid(problem)),
    };
    if length < header_bytes + HEADER_LENGTH_BYTES as u64 {
        return Ok(WeightsState::Invalid("ends inside its header".to_owned()));
    }
    let header_bytes = usize::try_from(header_bytes).unwrap_or(usize::MAX);
    let header = files::read_at(file, HEADER_LENGTH_BYTES as u64, header_bytes)?;
    let header = match safetensors_header(&header) {
        Ok(header) => header,
        Err(problem) => return Ok(WeightsState::Invalid(problem)),
    };
    if header.implied_length() != length {
        return Ok(WeightsState::WrongLength { expected: header.implied_length() });
    }
    let zeros = ends_in_suspicious_zeros(file, length, &header)?;
    Ok(if zeros { WeightsState::ZeroTail } else { WeightsState::Whole })
}

/// Reads backwards from the end for as long as there are only zeros and they could still be one
/// tensor that was initialized so.
fn ends_in_suspicious_zeros(
    file: &File,
    length: u64,
    header: &SafetensorsHeader,
) -> io::Result<bool> {
    let mut zeros = 0;
    let mut step = SUSPICIOUS_ZERO_BYTES;
    while zeros < length {
        let bytes = step.min(length - zeros);
        let block =
            files::read_at(file, length - zeros - bytes, usize::try_from(bytes).unwrap_or(0))?;
        let in_block = block.iter().rev().take_while(|byte| **byte == 0).count() as u64;
        zeros += in_block;
        if zero_tail(header, zeros) {
            return Ok(true);
        }
        if in_block < bytes {
            return Ok(false);
        }
        step = ZERO_STEP_BYTES;
    }
    Ok(false)
}

/// Returns what a folder's weights files are for the digest.
pub(super) fn parts<'name>(
    weights: &'name [(String, u64)],
    folder_files: &[FileStat],
) -> Vec<WeightsPart<'name>> {
    let kind = |name: &str| {
        let stat = folder_files.iter().find(|file| file.name == name);
        stat.map_or(FileKind::Regular, |stat| stat.kind)
    };
    weights
        .iter()
        .map(|(name, length)| WeightsPart { name, length: *length, kind: kind(name) })
        .collect()
}
