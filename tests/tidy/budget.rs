//! The budgets that are a smell test: printed, never failed.

use std::collections::BTreeMap;

use syn::Arm;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::functions::{Function, functions};
use super::source::Source;

/// Lines of a match arm.
const ARM_LINES: usize = 10;
/// How many of the longest are named.
const NAMED: usize = 10;

/// Returns the report on all files under `src/`, tests not counted.
pub(crate) fn report(sources: &BTreeMap<String, Source>) -> String {
    let judged: Vec<&Source> = sources
        .values()
        .filter(|source| source.path.starts_with("src/") && !source.is_test)
        .collect();
    let parts = [sizes(&judged), function_lengths(&judged), long_arms(&judged)];
    format!("budgets of src/, tests not counted\n{}", parts.concat())
}

fn sizes(sources: &[&Source]) -> String {
    let (mut code, mut comments) = (0, 0);
    let mut files = Vec::new();
    for source in sources {
        let outside_tests = |line: &usize| !source.is_test_line(*line);
        let lines = source.code_lines().into_iter().filter(outside_tests).count();
        let filled = source.text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
        let filled = filled.filter(|(_, number)| outside_tests(number)).count();
        code += lines;
        comments += filled.saturating_sub(lines);
        files.push((lines, source.path.clone()));
    }
    let share = 100 * comments / (code + comments).max(1);
    let head = format!("files: {}, {code} lines of code, {share} % comments\n", sources.len());
    head + &longest(files, "lines of code")
}

fn function_lengths(sources: &[&Source]) -> String {
    let mut lengths: Vec<(usize, String)> = sources
        .iter()
        .flat_map(|source| functions(source).into_iter().map(move |function| (source, function)))
        .filter(|(source, function)| !source.is_test_line(function.line))
        .map(|(source, Function { name, line, length })| {
            (length, format!("{}:{line} {name}", source.path))
        })
        .collect();
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).map_or(0, |(length, _)| *length);
    let head = format!("functions: {}, median {median} lines\n", lengths.len());
    head + &longest(lengths, "lines")
}

fn long_arms(sources: &[&Source]) -> String {
    let mut arms = Vec::new();
    for source in sources {
        let mut visitor = Arms { source, long: Vec::new() };
        visitor.visit_file(&source.syntax);
        arms.append(&mut visitor.long);
    }
    let head = format!("match arms of more than {ARM_LINES} lines: {}\n", arms.len());
    head + &longest(arms, "lines")
}

struct Arms<'a> {
    source: &'a Source,
    long: Vec<(usize, String)>,
}

impl<'ast> Visit<'ast> for Arms<'_> {
    fn visit_arm(&mut self, arm: &'ast Arm) {
        let span = arm.span();
        let first = span.start().line;
        let lines = span.end().line + 1 - first;
        if lines > ARM_LINES && !self.source.is_test_line(first) {
            self.long.push((lines, format!("{}:{first}", self.source.path)));
        }
        visit::visit_arm(self, arm);
    }
}

fn longest(mut measured: Vec<(usize, String)>, unit: &str) -> String {
    measured.sort_unstable_by(|a, b| b.cmp(a));
    let lines = measured.iter().take(NAMED);
    let lines: Vec<String> =
        lines.map(|(length, what)| format!("  {length:>4} {unit}  {what}\n")).collect();
    lines.concat()
}
