//! Planted first lines, and rooms that opt out of purity.

use expect_test::expect;

use super::house::{check, check_clean};

#[test]
fn a_file_without_a_purpose_is_found() {
    check(
        &[
            ("src/judge.rs", "//! Pure. Gates.\nmod a;\nmod b;\nmod c;\n"),
            ("src/judge/a.rs", "fn f() {}\n"),
            ("src/judge/b.rs", "// A plain comment.\n//! Late.\n"),
            ("src/judge/c.rs", "#![expect(dead_code, reason = \"none\")]\n\nfn f() {}\n"),
            ("tests/daemon/main.rs", "/// Of the function only.\nfn f() {}\n"),
            ("benches/tail.rs", "//!\nfn main() {}\n"),
        ],
        &expect![[r"
            benches/tail.rs:1: has no `//!` at its beginning; begin it with a `//!` line that says what the file is for
            src/judge/a.rs:1: has no `//!` at its beginning; begin it with a `//!` line that says what the file is for
            src/judge/b.rs:1: has no `//!` at its beginning; begin it with a `//!` line that says what the file is for
            src/judge/c.rs:1: has no `//!` at its beginning; begin it with a `//!` line that says what the file is for
            tests/daemon/main.rs:1: has no `//!` at its beginning; begin it with a `//!` line that says what the file is for
        "]],
    );
}

#[test]
fn a_root_that_does_not_say_its_kind_is_found() {
    check(
        &[
            ("src/judge.rs", "//! Gates and verdicts.\n"),
            ("src/probe.rs", "//! IO shell. Numbers.\n"),
            ("src/host.rs", "//! Pure. Numbers of the host.\n"),
            ("src/watch.rs", "//! IO shells. Scan.\n"),
        ],
        &expect![[r"
            src/host.rs:1: `Pure.` in a room that is not; begin its `//!` with `IO shell.`
            src/judge.rs:1: a room's root does not say whether it is pure; begin its `//!` with `Pure.`
            src/probe.rs:1: `IO shell.` in a room that is not; begin its `//!` with `Pure.`
            src/watch.rs:1: a room's root does not say whether it is pure; begin its `//!` with `IO shell.`
        "]],
    );
}

#[test]
fn a_pure_file_under_an_io_root_is_found_and_the_reverse() {
    check(
        &[
            ("src/cli.rs", "//! IO shell. Commands.\nmod text;\nmod plain;\n"),
            ("src/cli/text.rs", "//! Pure. What a command prints.\n"),
            ("src/cli/plain.rs", "//! Purely about arguments.\n"),
            ("src/parse.rs", "//! Pure. Facts.\nmod disk;\n"),
            ("src/parse/disk.rs", "//! IO shell. Reads.\n"),
        ],
        &expect![[r"
            src/cli/text.rs:1: `Pure.` in a room that is not; move it into a room of its kind, or drop the words
            src/parse/disk.rs:1: `IO shell.` in a room that is not; move it into a room of its kind, or drop the words
        "]],
    );
}

#[test]
fn opting_out_of_purity_is_found_outside_tests() {
    let out = "#[expect(clippy::disallowed_methods, reason = \"once\")]\n";
    let function = format!("//! Pure. Gates.\n\n{out}fn now() {{}}\n");
    let inner = "//! Pure. Order.\n#![allow(clippy::disallowed_types, reason = \"x\")]\n";
    let tests = format!("//! Pure. Text.\n\n#[cfg(test)]\nmod tests {{\n{out}fn f() {{}}\n}}\n");
    check(
        &[
            ("src/judge.rs", &function),
            ("src/engine.rs", inner),
            ("src/document.rs", &tests),
            ("src/probe.rs", "//! Pure. Numbers.\n#[cfg(test)]\nmod captures;\n"),
            ("src/probe/captures.rs", &format!("//! Captures.\n\n{out}fn read() {{}}\n")),
        ],
        &expect![[r"
            src/engine.rs:2: a pure room opts out of purity; let an IO shell do it and pass the result in
            src/judge.rs:3: a pure room opts out of purity; let an IO shell do it and pass the result in
        "]],
    );
}

#[test]
fn right_first_lines_are_not_found() {
    let opt_in = "#![expect(clippy::disallowed_methods, reason = \"IO shell: reads\")]\n";
    check_clean(&[
        ("src/watch.rs", &format!("//! IO shell. Scan.\n\n{opt_in}\nmod scan;\n")),
        ("src/watch/scan.rs", "//! The truth.\n"),
        ("src/record.rs", &format!("{opt_in}\n//! IO shell. Journal.\n")),
        ("src/settings.rs", "//! Pure. Checked settings.\nmod load;\n"),
        ("src/settings/load.rs", &format!("//! IO shell. Reads files.\n{opt_in}")),
    ]);
}
