//! The report on budgets, of a source whose numbers are known.

use std::collections::BTreeMap;

use expect_test::expect;

use crate::tidy::{budget, inspection};

#[test]
fn the_report_counts_code_comments_functions_and_arms() {
    let arm = "            work();\n".repeat(9);
    let text = format!(
        "//! Pure. Gates.\n\n// Why.\nfn short() {{}}\n\nfn long(x: u8) {{\n    match x {{\n        \
         0 => {{\n{arm}        }}\n        _ => {{}}\n    }}\n}}\n\n#[cfg(test)]\nmod tests {{\n    \
         // Not counted.\n    fn test() {{\n\n\n    }}\n}}\n"
    );
    let files = BTreeMap::from([("src/judge.rs".to_owned(), text.into_bytes())]);
    let (sources, broken) = inspection::sources(&files);
    assert!(broken.is_empty(), "{broken:?}");
    expect![[r"
        budgets of src/, tests not counted
        files: 1, 17 lines of code, 10 % comments
            17 lines of code  src/judge.rs
        functions: 2, median 15 lines
            15 lines  src/judge.rs:6 long
             0 lines  src/judge.rs:4 short
        match arms of more than 10 lines: 1
            11 lines  src/judge.rs:8
    "]]
    .assert_eq(&budget::report(&sources));
}
