//! Small files of runscribe's own that appear whole or not at all. (A user's document is written by
//! the recorder's replacement only, which keeps what it finds.)

use std::fs::{File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes a file beside its place, has it on disk, and puts it there.
///
/// # Errors
/// It cannot be written; what was there before stands.
pub(super) fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    // The ending keeps it from those who list a folder; others may read it as the umask has it.
    let permissions = Permissions::from_mode(0o666);
    let mut file =
        tempfile::Builder::new().suffix(".new").permissions(permissions).tempfile_in(folder)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_takes_the_place_of_another_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.json");
        let usual = folder.path().join("usual");
        std::fs::write(&usual, "").unwrap();
        for text in ["first", "second"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&usual), "as a file that anybody makes");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(write(&folder.path().join("none/one.json"), b"").is_err());
    }
}
