//! The limits on functions and files.

use syn::visit::{self, Visit};
use syn::{FnArg, Signature};

use super::finding::Finding;
use super::functions::functions;
use super::source::Source;

/// Lines of a function from its `fn` to its closing brace, the first not counted.
pub(crate) const FUNCTION_LINES: usize = 60;
/// Lines of code of a file, tests not counted.
pub(crate) const FILE_LINES: usize = 400;
/// Parameters of a function, `self` not counted.
pub(crate) const PARAMETERS: usize = 5;

/// Returns the functions that are too long.
pub(crate) fn long_functions(source: &Source) -> Vec<Finding> {
    functions(source)
        .into_iter()
        .filter(|function| function.length > FUNCTION_LINES)
        .map(|function| {
            let rule = format!(
                "`{}` has {} lines, {FUNCTION_LINES} are allowed",
                function.name, function.length
            );
            let advice = "split it by meaning";
            Finding::new(&source.path, function.line, rule, advice)
        })
        .collect()
}

/// Returns the functions that take too much, traits' and their implementations' included.
pub(crate) fn wide_functions(source: &Source) -> Vec<Finding> {
    let mut visitor = Signatures { path: &source.path, findings: Vec::new() };
    visitor.visit_file(&source.syntax);
    visitor.findings
}

struct Signatures<'a> {
    path: &'a str,
    findings: Vec<Finding>,
}

impl<'ast> Visit<'ast> for Signatures<'_> {
    fn visit_signature(&mut self, signature: &'ast Signature) {
        let is_parameter = |input: &&FnArg| matches!(input, FnArg::Typed(_));
        let count = signature.inputs.iter().filter(is_parameter).count();
        if count > PARAMETERS {
            let rule =
                format!("`{}` takes {count} parameters, {PARAMETERS} are allowed", signature.ident);
            let line = signature.fn_token.span.start().line;
            let advice = "give those that belong together a type";
            self.findings.push(Finding::new(self.path, line, rule, advice));
        }
        visit::visit_signature(self, signature);
    }
}

/// Returns a finding when a file that is no test holds too much code.
pub(crate) fn long_file(source: &Source) -> Option<Finding> {
    let code = source.code_lines();
    let counted: Vec<usize> = code.into_iter().filter(|line| !source.is_test_line(*line)).collect();
    let first_too_many = counted.get(FILE_LINES)?;
    let rule = format!("has {} lines of code, {FILE_LINES} are allowed", counted.len());
    Some(Finding::new(&source.path, *first_too_many, rule, "split it by meaning"))
}
