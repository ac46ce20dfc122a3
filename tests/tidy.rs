//! The rules of the house as tests: who may know whom, where files stand, and how large they are.
//!
//! The checks are functions over paths and texts (`tidy/`), and each of them is proved on a planted
//! violation (`tidy/planted/`), so that a rule that has stopped looking does not go unnoticed.

mod tidy {
    pub(crate) mod budget;
    pub(crate) mod checkout;
    pub(crate) mod finding;
    pub(crate) mod functions;
    pub(crate) mod headers;
    pub(crate) mod imports;
    pub(crate) mod inspection;
    pub(crate) mod knowledge;
    pub(crate) mod layout;
    pub(crate) mod limits;
    pub(crate) mod modules;
    pub(crate) mod references;
    pub(crate) mod source;
    pub(crate) mod table;
    pub(crate) mod tokens;
    pub(crate) mod words;

    mod planted {
        mod budget;
        mod checkout;
        mod headers;
        mod house;
        mod knowledge;
        mod layout;
        mod limits;
        mod words;
    }
}

use std::path::Path;

use tidy::{budget, checkout, inspection};

#[test]
fn the_house_is_in_order() {
    let files = checkout::files(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    assert!(files.contains_key("src/lib.rs"), "the checkout was not found: {:?}", files.keys());
    let findings = inspection::inspect(&files);
    let listed: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(listed.is_empty(), "{} findings:\n{}", listed.len(), listed.join("\n"));
}

/// Prints the budgets that are a smell test and not a rule; see it with `--nocapture`.
#[test]
fn the_budgets_are_printed() {
    let files = checkout::files(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
    let (sources, _) = inspection::sources(&files);
    let report = budget::report(&sources);
    println!("{report}");
    assert!(!report.contains("functions: 0"), "no function was measured:\n{report}");
}
