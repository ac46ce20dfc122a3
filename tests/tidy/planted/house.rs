//! A small clean house to plant violations in.

use std::collections::BTreeMap;

use expect_test::Expect;

use crate::tidy::inspection::inspect;
use crate::tidy::table;

/// Returns a house in which every room exists and nothing is wrong.
fn clean() -> BTreeMap<String, Vec<u8>> {
    let mut library = vec!["//! The map.\n".to_owned()];
    let mut files = BTreeMap::new();
    for room in table::ROOMS {
        library.push(format!("\npub mod {};\n", room.name));
        let root = format!("//! {} A room.\n", room.kind.words());
        files.insert(format!("src/{}.rs", room.name), root.into_bytes());
    }
    files.insert("src/lib.rs".to_owned(), library.concat().into_bytes());
    let program = "//! The program.\n\nfn main() {}\n";
    files.insert("src/main.rs".to_owned(), program.as_bytes().to_vec());
    files
}

/// Compares the findings in the clean house after the given files were put into it.
pub(super) fn check(planted: &[(&str, &str)], expected: &Expect) {
    let mut files = clean();
    for (path, text) in planted {
        files.insert((*path).to_owned(), text.as_bytes().to_vec());
    }
    let findings: Vec<String> =
        inspect(&files).iter().map(|finding| format!("{finding}\n")).collect();
    expected.assert_eq(&findings.concat());
}

/// Checks that nothing is found after the given files were put into the clean house.
pub(super) fn check_clean(planted: &[(&str, &str)]) {
    check(planted, &expect_test::expect![""]);
}

#[test]
fn the_clean_house_is_clean() {
    check_clean(&[]);
}
