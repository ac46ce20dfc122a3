//! Where files stand: the two roots, the order of the rooms, and files that nothing reaches.

use std::collections::BTreeMap;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, Macro};

use super::finding::Finding;
use super::modules::{Reached, path_attribute};
use super::source::Source;
use super::table;

/// Lines of `src/main.rs`.
pub(crate) const MAIN_LINES: usize = 20;

/// Returns a finding when a file is called `mod.rs`.
pub(crate) fn mod_file(source: &Source) -> Option<Finding> {
    let folder = source.path.strip_suffix("/mod.rs")?;
    let advice = format!("call it `{folder}.rs`");
    Some(Finding::new(&source.path, 1, "is called `mod.rs`", advice))
}

/// Returns a finding when the program's root does more than call the library.
pub(crate) fn long_main(source: &Source) -> Option<Finding> {
    let lines = source.text.lines().count();
    if source.path != "src/main.rs" || lines <= MAIN_LINES {
        return None;
    }
    let rule = format!("has {lines} lines, {MAIN_LINES} are allowed");
    Some(Finding::new(&source.path, MAIN_LINES + 1, rule, "move the work into `cli`"))
}

/// Returns what `src/lib.rs` holds besides modules, and the modules that stand against the flow.
pub(crate) fn library_root(source: &Source) -> Vec<Finding> {
    if source.path != "src/lib.rs" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut last = 0;
    for item in &source.syntax.items {
        let line = item.span().start().line;
        match item {
            Item::Mod(module) if module.content.is_none() => match position(module) {
                Some(position) if position < last => {
                    findings.push(against_the_flow(source, line, module));
                }
                Some(position) => last = position,
                // The module's own file is reported as no room of the house.
                None => {}
            },
            _ => findings.push(not_a_module(source, line)),
        }
    }
    findings
}

fn position(module: &ItemMod) -> Option<usize> {
    table::ROOMS.iter().position(|room| module.ident == room.name)
}

fn against_the_flow(source: &Source, line: usize, module: &ItemMod) -> Finding {
    let names: Vec<&str> = table::ROOMS.iter().map(|room| room.name).collect();
    let rule = format!("`{}` is declared out of the order of the flow", module.ident);
    let advice = format!(
        "the order is {}; with blank lines between them rustfmt leaves it alone",
        names.join(", ")
    );
    Finding::new(&source.path, line, rule, advice)
}

fn not_a_module(source: &Source, line: usize) -> Finding {
    let advice = "keep it to its map and the declarations of the rooms";
    Finding::new(&source.path, line, "holds something besides modules", advice)
}

/// Returns the places where a file of `src/` takes in another one past its place in the tree.
pub(crate) fn hidden_files(source: &Source) -> Vec<Finding> {
    let mut visitor = Hidden { path: &source.path, findings: Vec::new() };
    if source.path.starts_with("src/") {
        visitor.visit_file(&source.syntax);
    }
    visitor.findings
}

struct Hidden<'a> {
    path: &'a str,
    findings: Vec<Finding>,
}

impl Hidden<'_> {
    fn push(&mut self, line: usize, rule: &str) {
        let advice = "give the file its place in the tree of modules";
        self.findings.push(Finding::new(self.path, line, rule, advice));
    }
}

impl<'ast> Visit<'ast> for Hidden<'_> {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if path_attribute(&module.attrs).is_some() {
            self.push(module.span().start().line, "`#[path]` hides which room a file is in");
        }
        visit::visit_item_mod(self, module);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        if invocation.path.is_ident("include") {
            self.push(invocation.span().start().line, "`include!` hides code from these rules");
        }
        visit::visit_macro(self, invocation);
    }
}

/// Returns the files under `src/` and `tests/` that no target reaches; fixtures are data.
pub(crate) fn unreached(files: &BTreeMap<String, Vec<u8>>, reached: &Reached) -> Vec<Finding> {
    files
        .keys()
        .filter(|path| path.starts_with("src/") || path.starts_with("tests/"))
        .filter(|path| !path.starts_with("tests/fixtures/") && !reached.contains_key(*path))
        .map(|path| {
            let advice = if path.starts_with("tests/") {
                "declare it as a module of a test target, or put data under tests/fixtures/"
            } else {
                "declare it as a module, or remove it"
            };
            Finding::new(path, 1, "is reached by no target", advice)
        })
        .collect()
}
