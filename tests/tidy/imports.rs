//! Imports that hide where names come from.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{ItemUse, UseTree, Visibility};

use super::finding::Finding;
use super::source::Source;

/// Returns the glob re-exports of a file, and its `use super::*` outside tests.
pub(crate) fn forbidden_globs(source: &Source) -> Vec<Finding> {
    let mut visitor = Uses { source, findings: Vec::new() };
    visitor.visit_file(&source.syntax);
    visitor.findings
}

struct Uses<'a> {
    source: &'a Source,
    findings: Vec<Finding>,
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let line = item.span().start().line;
        let finding =
            |rule: &str, advice: &str| Finding::new(&self.source.path, line, rule, advice);
        if !matches!(item.vis, Visibility::Inherited) && has_glob(&item.tree) {
            self.findings.push(finding("re-exports a glob", "name what is exported"));
        } else if has_super_glob(&item.tree) && !self.source.is_test_line(line) {
            let advice = "name what is used; only test modules take all of their parent";
            self.findings.push(finding("`use super::*` outside a test module", advice));
        }
        visit::visit_item_use(self, item);
    }
}

fn has_glob(tree: &UseTree) -> bool {
    match tree {
        UseTree::Glob(_) => true,
        UseTree::Path(path) => has_glob(&path.tree),
        UseTree::Group(group) => group.items.iter().any(has_glob),
        UseTree::Name(_) | UseTree::Rename(_) => false,
    }
}

/// A glob right behind a chain of `super`; a glob of a module further down is clippy's to judge.
fn has_super_glob(tree: &UseTree) -> bool {
    match tree {
        UseTree::Path(path) if path.ident == "super" => takes_all(&path.tree),
        UseTree::Group(group) => group.items.iter().any(has_super_glob),
        _ => false,
    }
}

fn takes_all(tree: &UseTree) -> bool {
    match tree {
        UseTree::Glob(_) => true,
        UseTree::Path(path) if path.ident == "super" => takes_all(&path.tree),
        UseTree::Group(group) => group.items.iter().any(takes_all),
        _ => false,
    }
}
