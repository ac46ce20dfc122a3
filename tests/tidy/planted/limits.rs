//! Planted lengths and widths.

use expect_test::expect;

use super::house::{check, check_clean};

/// Returns a function whose closing brace stands so many lines below its `fn`.
fn function(name: &str, lines: usize) -> String {
    format!("fn {name}() {{\n{}}}\n", "    work();\n".repeat(lines.saturating_sub(1)))
}

#[test]
fn functions_of_61_lines_are_found_wherever_they_stand() {
    let (long, right) = (function("long", 61), function("right", 60));
    let plain = format!("//! Pure. Gates.\n\n{right}\n{long}");
    let method = format!("//! Pure. Order.\nimpl X {{\n{long}\n{right}}}\n");
    let in_macro = format!("//! IO shell. Host.\nproptest! {{\n#[test]\n{long}}}\n");
    let nested = format!("//! Pure. Text.\nfn outer() {{\n{right}}}\n");
    let test = format!("//! Tests.\n#[test]\n{long}");
    check(
        &[
            ("src/judge.rs", &plain),
            ("src/schedule.rs", &method),
            ("src/host.rs", &in_macro),
            ("src/document.rs", &nested),
            ("tests/daemon.rs", &test),
        ],
        &expect![[r"
            src/document.rs:2: `outer` has 62 lines, 60 are allowed; split it by meaning
            src/host.rs:4: `long` has 61 lines, 60 are allowed; split it by meaning
            src/judge.rs:65: `long` has 61 lines, 60 are allowed; split it by meaning
            src/schedule.rs:3: `long` has 61 lines, 60 are allowed; split it by meaning
            tests/daemon.rs:3: `long` has 61 lines, 60 are allowed; split it by meaning
        "]],
    );
}

#[test]
fn what_has_no_body_has_no_length() {
    let gap = "\n".repeat(70);
    check_clean(&[(
        "src/judge.rs",
        &format!("//! Pure. Gates.\ntrait T {{ fn f(&self);{gap}}}\ntype F = fn(u8);\n{gap}"),
    )]);
}

#[test]
fn six_parameters_are_found_and_self_does_not_count() {
    let five = "a: u8, b: u8, c: u8, d: u8, e: u8";
    let six = format!("{five}, f: Box<dyn Fn(u8, u8)>");
    let functions = format!("//! Pure. Gates.\nfn g({five}) {{}}\nfn h({six}) {{}}\n");
    let methods = format!("//! Pure. Order.\nimpl X {{ fn g(&mut self, {five}) {{}} }}\n");
    let traits = format!("//! Pure. Text.\ntrait T {{\n    fn h(&self, {six});\n}}\n");
    check(
        &[
            ("src/judge.rs", &functions),
            ("src/schedule.rs", &methods),
            ("src/document.rs", &traits),
        ],
        &expect![[r"
            src/document.rs:3: `h` takes 6 parameters, 5 are allowed; give those that belong together a type
            src/judge.rs:3: `h` takes 6 parameters, 5 are allowed; give those that belong together a type
        "]],
    );
}

#[test]
fn the_401st_line_of_code_is_found() {
    let head = "//! Pure. Gates.\n\n// A comment.\n/// Documented.\n#[cfg(test)]\nmod tests;\n\n";
    let constants = |count| "/// One.\n\nconst A: u8 = 1;\n".repeat(count);
    let inline = format!("#[cfg(test)]\nmod more {{\n{}}}\n", constants(500));
    check(
        &[
            ("src/judge.rs", &format!("{head}{}{inline}", constants(399))),
            ("src/judge/tests.rs", &format!("//! Tests.\nmod deep;\n{}", constants(500))),
            ("src/judge/tests/deep.rs", &format!("//! Tests.\n{}", constants(500))),
            ("src/probe.rs", &format!("//! Pure. Numbers.\n{}", constants(400))),
            ("src/engine.rs", &format!("//! Pure. Decides.\n{}", constants(401))),
            ("tests/daemon.rs", &format!("//! Tests.\n{}", constants(500))),
        ],
        &expect![[r"
            src/engine.rs:1204: has 401 lines of code, 400 are allowed; split it by meaning
        "]],
    );
}

#[test]
fn the_lines_of_a_string_are_code() {
    let text = format!("//! Pure. Gates.\nconst A: &str = \"{}\";\n", "line\n".repeat(401));
    check(
        &[("src/judge.rs", &text)],
        &expect![[r"
        src/judge.rs:402: has 402 lines of code, 400 are allowed; split it by meaning
    "]],
    );
}
