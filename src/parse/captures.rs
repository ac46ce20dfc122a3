//! Real captures for the tests of this room, where the folder that holds them is present.

use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");

/// Returns the bytes of a capture, or says that the test skips it and returns `None`.
#[expect(clippy::disallowed_methods, reason = "captures are too large to be compiled in")]
pub(super) fn read(path: &str) -> Option<Vec<u8>> {
    let file = Path::new(FOLDER).join(path);
    let bytes = std::fs::read(&file).ok();
    if bytes.is_none() {
        eprintln!("skipped: no capture `{}`", file.display());
    }
    bytes
}
