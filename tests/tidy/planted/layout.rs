//! Planted files in wrong places, globs, and roots that do too much.

use expect_test::expect;

use super::house::{check, check_clean};
use crate::tidy::table;

#[test]
fn mod_rs_is_found() {
    check(
        &[
            ("src/judge.rs", "//! Pure. Gates.\n#[path = \"judge/gates/mod.rs\"]\nmod gates;\n"),
            ("src/judge/gates/mod.rs", "//! Gates.\n"),
        ],
        &expect![[r"
            src/judge.rs:2: `#[path]` hides which room a file is in; give the file its place in the tree of modules
            src/judge/gates/mod.rs:1: is called `mod.rs`; call it `src/judge/gates.rs`
        "]],
    );
}

#[test]
fn included_code_is_found() {
    check(
        &[("src/judge.rs", "//! Pure. Gates.\ninclude!(\"gates.txt\");\n")],
        &expect![[r"
        src/judge.rs:2: `include!` hides code from these rules; give the file its place in the tree of modules
    "]],
    );
}

#[test]
fn files_that_nothing_reaches_are_found() {
    check(
        &[
            ("src/judge/forgotten.rs", "//! Gates.\n"),
            ("tests/daemon/main.rs", "//! Tests.\nmod support;\n"),
            ("tests/daemon/support.rs", "//! Support.\n"),
            ("tests/daemon/forgotten.rs", "//! Support.\n"),
            ("tests/tidy.rs", "//! Tests.\nmod tidy { mod table; }\n"),
            ("tests/tidy/table.rs", "//! Table.\nmod rows;\n"),
            ("tests/tidy/table/rows.rs", "//! Rows.\n"),
            ("tests/tidy/rows.rs", "//! Rows at the wrong place.\n"),
            ("tests/data.json", "{}"),
            ("tests/fixtures/any/data.json", "{}"),
            ("tests/fixtures/any/program.rs", "fn main() {}"),
        ],
        &expect![[r"
            src/judge/forgotten.rs:1: is reached by no target; declare it as a module, or remove it
            tests/daemon/forgotten.rs:1: is reached by no target; declare it as a module of a test target, or put data under tests/fixtures/
            tests/data.json:1: is reached by no target; declare it as a module of a test target, or put data under tests/fixtures/
            tests/tidy/rows.rs:1: is reached by no target; declare it as a module of a test target, or put data under tests/fixtures/
        "]],
    );
}

#[test]
fn named_targets_and_paths_reach_files() {
    check_clean(&[
        ("Cargo.toml", "[[test]]\nname = \"big\"\npath = \"tests/big/start.rs\"\n"),
        ("tests/big/start.rs", "//! Tests.\n#[path = \"../shared/support.rs\"]\nmod support;\n"),
        ("tests/shared/support.rs", "//! Support.\nmod more;\n"),
        ("tests/shared/more.rs", "//! More.\n"),
    ]);
}

#[test]
fn globs_are_found() {
    check(
        &[
            ("src/judge.rs", "//! Pure. Gates.\npub use self::gates::*;\nmod gates;\n"),
            ("src/judge/gates.rs", "//! Gates.\nuse super::{super::judge::A, *};\n"),
            ("src/probe.rs", "//! Pure. Numbers.\nmod a;\npub(crate) use a::{b, c::*};\n"),
            ("src/probe/a.rs", "//! A.\nmod b { use super::super::*; }\n"),
        ],
        &expect![[r"
            src/judge.rs:2: re-exports a glob; name what is exported
            src/judge/gates.rs:2: `use super::*` outside a test module; name what is used; only test modules take all of their parent
            src/probe.rs:3: re-exports a glob; name what is exported
            src/probe/a.rs:2: `use super::*` outside a test module; name what is used; only test modules take all of their parent
        "]],
    );
}

#[test]
fn globs_of_tests_and_preludes_are_not_found() {
    check_clean(&[
        (
            "src/judge.rs",
            "//! Pure. Gates.\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n\
             #[cfg(all(test, unix))]\nmod more;\n",
        ),
        ("src/judge/more.rs", "//! Tests.\nuse super::*;\nuse proptest::prelude::*;\n"),
        ("tests/daemon.rs", "//! Tests.\nmod inner { use super::*; }\n"),
    ]);
}

#[test]
fn a_library_root_against_the_flow_is_found() {
    let mut names: Vec<&str> = table::ROOMS.iter().map(|room| room.name).collect();
    let settings = names.remove(1);
    names.insert(6, settings);
    let declared: Vec<String> = names.iter().map(|name| format!("pub mod {name};\n")).collect();
    let map = format!("//! The map.\n{}pub use model::ids;\n", declared.concat());
    check(
        &[("src/lib.rs", &map)],
        &expect![[r"
        src/lib.rs:8: `settings` is declared out of the order of the flow; the order is model, settings, watch, recognize, schedule, analyze, parse, judge, engine, document, record, publish, host, probe, systemd, audit, git, wandb, remote, daemon, cli; with blank lines between them rustfmt leaves it alone
        src/lib.rs:23: holds something besides modules; keep it to its map and the declarations of the rooms
    "]],
    );
}

#[test]
fn a_long_program_root_is_found() {
    let lines = |count: usize| format!("//! Main.\n{}", "// More.\n".repeat(count - 1));
    check(
        &[("src/main.rs", &lines(21))],
        &expect![[r"
        src/main.rs:21: has 21 lines, 20 are allowed; move the work into `cli`
    "]],
    );
    check_clean(&[("src/main.rs", &lines(20))]);
}

#[test]
fn a_file_that_does_not_parse_is_found() {
    check(
        &[("src/judge.rs", "//! Pure. Gates.\n\nfn f( {}\n")],
        &expect![[r"
            src/judge.rs:3: does not parse: cannot parse string into token stream; make it compile
        "]],
    );
}
