//! All checks on all files.

use std::collections::BTreeMap;
use std::path::Path;

use super::finding::Finding;
use super::modules::{Reached, reached_from};
use super::source::Source;
use super::{headers, imports, knowledge, layout, limits, words};

/// Returns everything that is wrong with a checkout, given as contents by path; sorted.
pub(crate) fn inspect(files: &BTreeMap<String, Vec<u8>>) -> Vec<Finding> {
    let (sources, mut findings) = sources(files);
    for source in sources.values() {
        findings.extend(inspect_source(source));
    }
    findings.extend(layout::unreached(files, &reached(files, &sources)));
    for (path, bytes) in files {
        findings.extend(words::foreign_paths(path, bytes));
    }
    findings.sort();
    findings
}

fn inspect_source(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(knowledge::forbidden_references(source));
    findings.extend(headers::missing_header(source));
    findings.extend(headers::wrong_first_words(source));
    findings.extend(headers::purity_opt_outs(source));
    findings.extend(limits::long_functions(source));
    findings.extend(limits::wide_functions(source));
    findings.extend(limits::long_file(source));
    findings.extend(imports::forbidden_globs(source));
    findings.extend(layout::mod_file(source));
    findings.extend(layout::long_main(source));
    findings.extend(layout::library_root(source));
    findings.extend(layout::hidden_files(source));
    findings
}

/// Returns the Rust files by path, fixtures aside, and those that do not parse.
pub(crate) fn sources(
    files: &BTreeMap<String, Vec<u8>>,
) -> (BTreeMap<String, Source>, Vec<Finding>) {
    let mut sources = BTreeMap::new();
    let mut broken = Vec::new();
    for (path, bytes) in files.iter().filter(|(path, _)| is_source(path)) {
        match Source::parse(path, &String::from_utf8_lossy(bytes)) {
            Ok(source) => drop(sources.insert(path.clone(), source)),
            Err(finding) => broken.push(finding),
        }
    }
    for (path, test) in reached(files, &sources) {
        if let Some(source) = sources.get_mut(&path) {
            source.is_test |= test;
        }
    }
    (sources, broken)
}

fn is_source(path: &str) -> bool {
    let folders = ["src/", "tests/", "benches/"];
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
        && folders.iter().any(|folder| path.starts_with(folder))
        && !path.starts_with("tests/fixtures/")
}

fn reached(files: &BTreeMap<String, Vec<u8>>, sources: &BTreeMap<String, Source>) -> Reached {
    let mut roots = vec!["src/lib.rs".to_owned(), "src/main.rs".to_owned()];
    roots.extend(sources.keys().filter(|path| is_test_target(path)).cloned());
    roots.extend(files.get("Cargo.toml").map(|bytes| named_targets(bytes)).unwrap_or_default());
    reached_from(&roots, sources)
}

/// Cargo makes a target of `tests/name.rs` and of `tests/name/main.rs`.
fn is_test_target(path: &str) -> bool {
    let Some(below) = path.strip_prefix("tests/") else { return false };
    match below.split_once('/') {
        None => true,
        Some((_, file)) => file == "main.rs",
    }
}

/// Returns the paths of the `[[test]]` entries of a manifest.
fn named_targets(manifest: &[u8]) -> Vec<String> {
    let table: toml::Table = toml::from_str(&String::from_utf8_lossy(manifest)).unwrap_or_default();
    let targets = table.get("test").and_then(toml::Value::as_array);
    targets
        .into_iter()
        .flatten()
        .filter_map(|target| target.get("path")?.as_str().map(str::to_owned))
        .collect()
}
