//! Planted references across rooms.

use expect_test::expect;

use super::house::{check, check_clean};
use crate::tidy::references::references;
use crate::tidy::tokens;

/// Returns the paths that a source names, those of other rooms shortened to what the tests compare.
fn named(module: &[&str], text: &str) -> Vec<String> {
    let module: Vec<String> = module.iter().map(|name| (*name).to_owned()).collect();
    let stream = text.parse().unwrap_or_default();
    let found = references(&tokens::flatten(stream), &module);
    found.into_iter().map(|reference| reference.path.join("::")).collect()
}

#[test]
fn every_form_of_a_path_is_read() {
    let cases = [
        ("use crate::record::Recorded;", &["record::Recorded"] as &[&str]),
        (
            "use crate::{model::ids, record::{self, journal::Journal as J}, publish::*};",
            &["model::ids", "record", "record::journal::Journal", "publish::*"],
        ),
        ("pub use crate::record as hidden;", &["record"]),
        ("use {crate::a, crate::b::c};", &["a", "b::c"]),
        (
            "fn f() -> crate::record::Row { crate::host::now::<crate::git::Rev>() }",
            &["record::Row", "host::now", "git::Rev"],
        ),
        ("fn f(x: &dyn crate::a::T) { if let crate::b::E::V { .. } = x {} }", &["a::T", "b::E::V"]),
        ("impl crate::a::T for X where Y: crate::b::U {}", &["a::T", "b::U"]),
        ("fn f() { println!(\"{}\", crate::record::NAME); }", &["record::NAME"]),
        ("macro_rules! m { () => { $crate::record::go() }; }", &["record::go"]),
        ("#[derive(crate::record::Derived)] struct S;", &["record::Derived"]),
        ("#[serde(with = \"crate::record::codec\")] struct S;", &["record::codec"]),
        ("#[serde(default = r#\"super::record::one\"#)] struct S;", &["record::one"]),
        ("use super::record::Row;", &["record::Row"]),
        ("use super::{super::oops, record};", &["oops", "record"]),
        (
            "mod tests { use super::inner; use super::super::record::Row; }",
            &["judge::inner", "record::Row"],
        ),
        (
            "mod a { mod b { use super::super::super::record; } } use super::host;",
            &["record", "host"],
        ),
        ("use self::inner::Thing;", &["judge::inner::Thing"]),
        ("use crate as root;", &[""]),
        ("use super as root;", &[""]),
        ("use super::*;", &["*"]),
        ("use ::runscribe::record;", &["record"]),
        ("let text = \"crate::record::Row\";", &[]),
        ("/// See [`crate::record`].\n//! And crate::host::x.\nfn f() {}", &[]),
        ("pub(crate) fn f() {} pub(super) fn g() {} pub(in crate::judge) fn h(self) {}", &[]),
        ("self.value.get(); Self::new(); other::crate_name::x();", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(named(&["judge"], text), expected, "{text}");
    }
}

#[test]
fn a_pure_room_that_acts_is_found_in_every_form() {
    check(
        &[
            ("src/judge.rs", "//! Pure. Gates.\nfn f() { crate::record::write() }\n"),
            ("src/schedule.rs", "//! Pure. Order.\nuse crate::{model, analyze::{Child, self}};\n"),
            ("src/probe.rs", "//! Pure. Numbers.\n\nfn f() { vec![crate::host::cores()]; }\n"),
            ("src/document.rs", "//! Pure. Text.\nmod tests { use super::super::git::Rev; }\n"),
            ("src/engine.rs", "//! Pure. Decides.\nuse crate::record as notes;\n"),
            ("src/model.rs", "//! Pure. Nouns.\nuse crate::parse::json;\n"),
        ],
        &expect![[r"
            src/document.rs:2: `document` must not use `crate::git::Rev`; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
            src/engine.rs:2: `engine` must not use `crate::record`; it may use model, settings, recognize, schedule, parse, judge, document, probe, audit: take what is needed as an argument, or let the daemon connect the two
            src/judge.rs:2: `judge` must not use `crate::record::write`; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
            src/model.rs:2: `model` must not use `crate::parse::json`; it may use nothing: take what is needed as an argument, or let the daemon connect the two
            src/probe.rs:3: `probe` must not use `crate::host::cores`; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
            src/schedule.rs:2: `schedule` must not use `crate::analyze::Child`; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
            src/schedule.rs:2: `schedule` must not use `crate::analyze`; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
        "]],
    );
}

#[test]
fn rooms_that_act_do_not_know_each_other() {
    check(
        &[
            ("src/publish.rs", "//! IO shell. Socket.\nuse crate::record::{Journal, Recorded};\n"),
            ("src/host.rs", "//! IO shell. Host.\nuse super::systemd;\n"),
            ("src/daemon.rs", "//! IO shell. Root.\nuse crate::{cli, engine, record, publish};\n"),
            ("src/cli.rs", "//! IO shell. Commands.\nuse crate::publish::{wire, Server};\n"),
            ("src/main.rs", "//! Main.\nfn main() { runscribe::record::go() }\n"),
        ],
        &expect![[r"
            src/cli.rs:2: `cli` must not use `crate::publish::Server`; it may use model, settings, daemon, publish::wire, recognize, schedule, parse, judge, document, probe, audit: take what is needed as an argument, or let the daemon connect the two
            src/daemon.rs:2: `daemon` must not use `crate::cli`; it may use model, settings, watch, recognize, schedule, analyze, parse, judge, engine, document, record, publish, host, probe, systemd, audit, git, wandb, remote: take what is needed as an argument, or let the daemon connect the two
            src/host.rs:2: `host` must not use `crate::systemd`; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
            src/main.rs:2: `main` must not use `crate::record::go`; it may use cli: take what is needed as an argument, or let the daemon connect the two
            src/publish.rs:2: `publish` must not use `crate::record::Journal`; it may use model, settings, record::Recorded: take what is needed as an argument, or let the daemon connect the two
        "]],
    );
}

#[test]
fn tests_and_deep_files_are_held_to_the_table_too() {
    check(
        &[
            ("src/parse.rs", "//! Pure. Facts.\nmod log;\n#[cfg(test)]\nmod tests;\n"),
            ("src/parse/log.rs", "//! Lines.\nuse super::super::watch::Tail;\n"),
            ("src/parse/tests.rs", "//! Tests.\nuse super::*;\nuse crate::analyze;\n"),
        ],
        &expect![[r"
            src/parse/log.rs:2: `parse` must not use `crate::watch::Tail`; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
            src/parse/tests.rs:3: `parse` must not use `crate::analyze`; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
        "]],
    );
}

#[test]
fn the_root_of_the_crate_is_no_way_around() {
    check(
        &[
            ("src/judge.rs", "//! Pure. Gates.\nuse crate as all;\n"),
            ("src/probe.rs", "//! Pure. Numbers.\nuse crate::*;\n"),
        ],
        &expect![[r"
            src/judge.rs:2: `judge` names the crate's root, behind which every room stands; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
            src/probe.rs:2: `probe` names the crate's root, behind which every room stands; it may use model, settings: take what is needed as an argument, or let the daemon connect the two
        "]],
    );
}

#[test]
fn a_room_without_a_row_in_the_table_is_found() {
    check(
        &[("src/utils.rs", "//! Pure. Odds and ends.\n")],
        &expect![[r"
        src/utils.rs:1: `utils` is no room of the house; move it into a room, or give it a row in the table of tests/tidy/table.rs
        src/utils.rs:1: is reached by no target; declare it as a module, or remove it
    "]],
    );
}

#[test]
fn what_the_table_allows_is_not_found() {
    check_clean(&[
        (
            "src/watch.rs",
            "//! IO shell. Scan.\nuse crate::{model, parse::log, recognize, settings};\n",
        ),
        ("src/analyze.rs", "//! IO shell. Children.\nuse crate::parse::report::Report;\n"),
        ("src/record.rs", "//! IO shell. Journal.\nuse crate::document::contains;\n"),
        ("src/publish.rs", "//! IO shell. Socket.\nuse crate::record::Recorded as Fact;\n"),
        ("src/engine.rs", "//! Pure. Decides.\nuse super::{judge, schedule::next, audit};\n"),
        ("src/audit.rs", "//! Pure. Finds.\nuse crate::document::Table;\n"),
        (
            "src/cli.rs",
            "//! IO shell. Commands.\nuse crate::{cli::x, daemon, publish::wire::Event};\n",
        ),
        ("src/daemon.rs", "//! IO shell. Root.\nuse crate::{engine, host, record, watch};\n"),
        ("src/settings.rs", "//! Pure. Settings.\nuse crate::model::measurement::Gate;\n"),
        ("src/main.rs", "//! Main.\nfn main() { runscribe::cli::run() }\n"),
    ]);
}
