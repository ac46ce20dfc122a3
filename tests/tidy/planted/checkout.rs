//! Reading a checkout that git does not know, such as an unpacked archive.

use crate::tidy::checkout;

#[test]
#[expect(clippy::disallowed_methods, reason = "the test needs real files")]
fn a_checkout_without_git_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let kept = [".ci/run", "Cargo.toml", "src/judge/gates.rs"];
    for path in kept.iter().chain(&["target/debug/build.rs", ".cache/notes.rs"]) {
        let full = folder.path().join(path);
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(full, "text").unwrap();
    }
    let files = checkout::walked(folder.path()).unwrap();
    let mut paths: Vec<&str> = files.iter().map(String::as_str).collect();
    paths.sort_unstable();
    assert_eq!(paths, kept);
}
