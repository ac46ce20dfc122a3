//! How something was measured, as one short digest: trends are not drawn across different ones.

use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::dataset;
use crate::model::analysis::ProgramKind;
use crate::model::ids::Digest;
use crate::settings::Settings;

/// Folders whose content decides what an analysis measures, besides the script.
const CODE_FOLDERS: [&str; 2] = ["analysis", "nn"];
/// A file of code that is larger than this is data; its size stands for it in the digest.
const MAX_CODE_BYTES: u64 = 4 << 20;
/// Returns the digest that says how something was measured: argv template, data set, script and
/// the code folders. Eight hexadecimal digits of SHA-256.
pub(super) fn digest(settings: &Settings, kind: ProgramKind, argv: &[String]) -> String {
    let mut hash = Sha256::new();
    let program = if kind == ProgramKind::Probe { argv.get(1..) } else { argv.get(..) };
    for part in program.unwrap_or_default().iter().chain(&settings.analysis.args) {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(dataset(settings).unwrap_or_default().as_bytes());
    match kind {
        ProgramKind::Probe => hash.update(env!("CARGO_PKG_VERSION").as_bytes()),
        ProgramKind::Configured | ProgramKind::Script => {
            for folder in CODE_FOLDERS {
                hash_code(&settings.paths.root, folder, &mut hash);
            }
        }
    }
    let digest = Digest::from_bytes(&hash.finalize());
    digest.as_str().chars().take(8).collect()
}

fn hash_code(root: &Path, folder: &str, hash: &mut Sha256) {
    let walk = walkdir::WalkDir::new(root.join(folder)).sort_by_file_name().follow_links(false);
    for entry in walk {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let missing =
                    error.io_error().map(io::Error::kind) == Some(io::ErrorKind::NotFound);
                if !missing {
                    tracing::warn!(%error, "cannot read the analysis' code");
                }
                continue;
            }
        };
        let is_code = entry.path().extension().is_some_and(|extension| extension == "py");
        if !entry.file_type().is_file() || !is_code {
            continue;
        }
        let name = entry.path().strip_prefix(root).unwrap_or(entry.path());
        hash.update(name.to_string_lossy().as_bytes());
        let size = entry.metadata().map_or(0, |metadata| metadata.len());
        hash.update(size.to_le_bytes());
        if size <= MAX_CODE_BYTES
            && let Ok(bytes) = std::fs::read(entry.path())
        {
            hash.update(&bytes);
        }
    }
}
