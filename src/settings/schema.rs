//! Every key that exists, what it may be, and its built-in default.
//!
//! The one list of keys: the layers are checked against it, the defaults are made from it, and
//! tests hold `config/runscribe.toml` and the serde mirror in `raw.rs` against it.

use std::time::Duration;

use config::{Map, ValueKind};

use super::discipline::{check_prefix, check_since, check_tag_form};
use super::lists::{self, List};
use super::problem::Fault;
use super::rule::Rule;
use super::units::{parse_duration, print_duration};
use super::words::{
    check_base_url, check_glob, check_path, nearest, parse_adopt, parse_backend, parse_device,
    parse_header, parse_launcher, parse_log_write, parse_mode, parse_pattern, parse_severity,
};

/// One key of a section.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    pub(super) default: Literal,
}

/// A default, as it would stand in a file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Literal {
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(&'static str),
    Texts(&'static [&'static str]),
    EmptyTable,
    /// A table of texts, by their names.
    Entries(&'static [(&'static str, &'static str)]),
}

impl Literal {
    /// Returns the default as a value of the merged configuration.
    pub(super) fn value(self) -> ValueKind {
        match self {
            Self::Flag(flag) => flag.into(),
            Self::Whole(number) => number.into(),
            Self::Number(number) => number.into(),
            Self::Text(text) => text.into(),
            Self::Texts(texts) => texts.to_vec().into(),
            // Its entries are values of their own, each with its origin.
            Self::EmptyTable | Self::Entries(_) => ValueKind::Table(Map::new()),
        }
    }
}

/// One built-in gate: its name and its fields.
pub(super) type DefaultGate = (&'static str, &'static [(&'static str, Literal)]);

/// The name of the section that is a list of gates.
pub(super) const GATES: &str = "gates";
/// The gate on weights that are not finite; it is built in and judges a measurement of our own.
pub(super) const RESERVED_GATE: &str = "finite-weights";

const fn key(section: &'static str, name: &'static str, rule: Rule, default: Literal) -> Key {
    Key { section, name, rule, default }
}

const ANY_TEXT: Rule = Rule::Text(|_| Ok(()));
const ANY_TEXTS: Rule = Rule::Texts(|_| Ok(()));
const PATH: Rule = Rule::Text(check_path);
const OPTIONAL_PATH: Rule =
    Rule::Text(|text| if text.is_empty() { Ok(()) } else { check_path(text) });
const ANY_DURATION: Rule = Rule::Text(|text| parse_duration(text).map(drop));
const SOME_DURATION: Rule = Rule::Text(noticeable_duration);

/// Every key outside `[[gates]]` and the lists, in the order in which they are shown.
pub(super) const KEYS: &[Key] = &[
    key("project", "root", OPTIONAL_PATH, Literal::Text("")),
    key("project", "training_dir", PATH, Literal::Text("Cache/Training")),
    key(
        "project",
        "shell_logs",
        Rule::Texts(check_glob),
        Literal::Texts(&["Cache/logs/shell", "Cache/logs/shell_*.log"]),
    ),
    key("project", "run_logs_dir", PATH, Literal::Text("Cache/logs")),
    key("project", "evaluation_dir", PATH, Literal::Text("Cache/Evaluation_reports")),
    key("project", "state_dir", PATH, Literal::Text("Cache/runscribe")),
    key(
        "project",
        "experiment_log",
        PATH,
        Literal::Text("docs/2_Experiments_Registry/master_experiment_log.md"),
    ),
    key(
        "project",
        "run_reports_dir",
        PATH,
        Literal::Text("docs/2_Experiments_Registry/run_reports"),
    ),
    key(
        "project",
        "run_pattern",
        Rule::Text(|text| parse_pattern(text).map(drop)),
        Literal::Text(r"_\d{8}_\d{6}$"),
    ),
    key("project", "machine", ANY_TEXT, Literal::Text("")),
    key("watch", "reconcile", SOME_DURATION, Literal::Text("30s")),
    key(
        "watch",
        "backend",
        Rule::Text(|text| parse_backend(text).map(drop)),
        Literal::Text("auto"),
    ),
    key("watch", "settle", ANY_DURATION, Literal::Text("2s")),
    key("watch", "stuck_after", SOME_DURATION, Literal::Text("1h")),
    key("analysis", "command", ANY_TEXTS, Literal::Texts(&[])),
    key("analysis", "args", ANY_TEXTS, Literal::Texts(&[])),
    key("analysis", "python", OPTIONAL_PATH, Literal::Text("")),
    key("analysis", "dataset", OPTIONAL_PATH, Literal::Text("")),
    key("analysis", "model_type", ANY_TEXT, Literal::Text("")),
    key("analysis", "timeout", SOME_DURATION, Literal::Text("15m")),
    key("analysis", "kill_grace", ANY_DURATION, Literal::Text("10s")),
    key("analysis", "max_concurrent", Rule::Whole { least: 1, most: 256 }, Literal::Whole(1)),
    key("analysis", "retries", Rule::Whole { least: 0, most: 1000 }, Literal::Whole(2)),
    key("analysis", "retry_for", ANY_DURATION, Literal::Text("24h")),
    key("analysis", "adopt", Rule::Text(|text| parse_adopt(text).map(drop)), Literal::Text("24h")),
    key(
        "analysis",
        "device",
        Rule::Text(|text| parse_device(text).map(drop)),
        Literal::Text("auto"),
    ),
    key("analysis", "min_free_gpu_memory", Rule::Size, Literal::Text("4GiB")),
    key("analysis", "nice", Rule::Whole { least: 0, most: 19 }, Literal::Whole(10)),
    key("analysis", "pin", Rule::Flag, Literal::Flag(true)),
    key("analysis", "keep_reports", ANY_DURATION, Literal::Text("90d")),
    key("analysis", "env_file", PATH, Literal::Text(".env")),
    key("analysis", "env", Rule::Table(check_variable), Literal::EmptyTable),
    key("analysis", "model_types", Rule::Table(check_model_type), Literal::EmptyTable),
    key(
        "launcher",
        "kind",
        Rule::Text(|text| parse_launcher(text).map(drop)),
        Literal::Text("local"),
    ),
    key("training", "stall_factor", Rule::Number { above: 0.0 }, Literal::Number(5.0)),
    key("training", "stall_floor", ANY_DURATION, Literal::Text("10m")),
    key("training", "grad_norm_factor", Rule::Number { above: 1.0 }, Literal::Number(100.0)),
    key("training", "loss_factor", Rule::Number { above: 1.0 }, Literal::Number(3.0)),
    key("training", "read_at_start", Rule::Size, Literal::Text("1GiB")),
    key("training", "old_log_tail", Rule::Size, Literal::Text("1MiB")),
    key("log", "observations", Rule::Flag, Literal::Flag(true)),
    key("log", "fill_run_row", Rule::Flag, Literal::Flag(true)),
    key("log", "add_missing_rows", Rule::Flag, Literal::Flag(true)),
    key("log", "failure_notes", Rule::Flag, Literal::Flag(true)),
    key(
        "log",
        "write",
        Rule::Text(|text| parse_log_write(text).map(drop)),
        Literal::Text("in-place"),
    ),
    key("log", "push", Rule::Flag, Literal::Flag(false)),
    key("log", "headers", Rule::Table(check_header), Literal::EmptyTable),
    key("status", "socket", OPTIONAL_PATH, Literal::Text("")),
    key(
        "status",
        "socket_mode",
        Rule::Text(|text| parse_mode(text).map(drop)),
        Literal::Text("0660"),
    ),
    key("status", "socket_group", ANY_TEXT, Literal::Text("")),
    key("status", "keep_events", Rule::Whole { least: 1, most: i64::MAX }, Literal::Whole(100_000)),
    key("discipline", "changelog", PATH, Literal::Text("CHANGELOG.md")),
    key("discipline", "todos", PATH, Literal::Text("docs/1_Strategy_and_Plans/active_todos.md")),
    key(
        "discipline",
        "commit_prefixes",
        Rule::Texts(check_prefix),
        Literal::Texts(&["arch", "train", "eval", "fix", "docs", "feat", "test"]),
    ),
    key("discipline", "since", Rule::Text(check_since), Literal::Text("")),
    key(
        "discipline",
        "tags",
        Rule::Table(check_tag_form),
        Literal::Entries(&[
            ("arch", "arch/{feature}"),
            ("train", "train/{run}_{date}"),
            ("eval", "eval/{benchmark}_{date}"),
        ]),
    ),
    key("wandb", "project", ANY_TEXT, Literal::Text("MrCogito")),
    key("wandb", "entity", ANY_TEXT, Literal::Text("")),
    key("wandb", "base_url", Rule::Text(check_base_url), Literal::Text("https://api.wandb.ai")),
    key(
        "wandb",
        "required_keys",
        Rule::Texts(not_empty),
        Literal::Texts(&["git_commit", "git_tag", "git_branch"]),
    ),
    key(
        "publish",
        "command",
        ANY_TEXTS,
        Literal::Texts(&["{python}", "scripts/upload_model_to_hf.py", "--run-name", "{run_id}"]),
    ),
];

/// The fields of a gate beside its name, in the order in which they are shown.
pub(super) const GATE_FIELDS: &[(&str, Rule)] = &[
    ("measurement", Rule::Text(not_empty)),
    ("min", Rule::Number { above: f64::NEG_INFINITY }),
    ("max", Rule::Number { above: f64::NEG_INFINITY }),
    ("reference", Rule::Whole { least: 1, most: 1_000_000_000 }),
    ("severity", Rule::Text(|text| parse_severity(text).map(drop))),
];

/// The gates that exist without any configuration.
pub(super) const DEFAULT_GATES: &[DefaultGate] = &[
    (
        "effective-rank",
        &[
            ("measurement", Literal::Text("global_effective_rank")),
            ("min", Literal::Number(10.0)),
            ("reference", Literal::Whole(128)),
            ("severity", Literal::Text("fail")),
        ],
    ),
    (
        "pairwise-similarity",
        &[
            ("measurement", Literal::Text("mean_concept_similarity")),
            ("max", Literal::Number(0.5)),
            ("severity", Literal::Text("warn")),
        ],
    ),
];

/// Finds a key by its section and name.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// Finds the rule of a gate's field.
pub(super) fn gate_field(name: &str) -> Option<Rule> {
    field(GATE_FIELDS, name)
}

/// Finds the rule of a field.
pub(super) fn field(fields: &[(&str, Rule)], name: &str) -> Option<Rule> {
    fields.iter().find(|(field, _)| *field == name).map(|(_, rule)| *rule)
}

/// Says whether a section of `key = value` lines exists.
pub(super) fn has_section(section: &str) -> bool {
    KEYS.iter().any(|key| key.section == section)
}

/// States that a section does not exist.
pub(super) fn unknown_section(section: &str) -> Fault {
    let lists = lists::LISTS.iter().map(|list| list.name);
    let sections = KEYS.iter().map(|key| key.section).chain([GATES]).chain(lists);
    let suggestion =
        nearest(section, sections).map(str::to_owned).or_else(|| elsewhere("", section));
    Fault { problem: "unknown section".to_owned(), suggestion }
}

/// States that a key does not exist in its section.
pub(super) fn unknown_key(section: &str, name: &str) -> Fault {
    let names = KEYS.iter().filter(|key| key.section == section).map(|key| key.name);
    let suggestion = nearest(name, names).map(str::to_owned).or_else(|| elsewhere(section, name));
    Fault { problem: "unknown key".to_owned(), suggestion }
}

/// States that a gate has no such field.
pub(super) fn unknown_gate_field(name: &str) -> Fault {
    let fields = GATE_FIELDS.iter().map(|(field, _)| *field).chain(["name"]);
    Fault {
        problem: "unknown key".to_owned(),
        suggestion: nearest(name, fields).map(str::to_owned),
    }
}

/// States that the items of a list have no such field.
pub(super) fn unknown_list_field(list: &List, name: &str) -> Fault {
    let fields = list.fields.iter().map(|(field, _)| *field);
    Fault {
        problem: "unknown key".to_owned(),
        suggestion: nearest(name, fields).map(str::to_owned),
    }
}

/// Returns the whole path of a key that stands in another section under this very name.
fn elsewhere(section: &str, name: &str) -> Option<String> {
    let key = KEYS.iter().find(|key| key.section != section && key.name == name)?;
    Some(format!("{}.{}", key.section, key.name))
}

pub(super) fn not_empty(text: &str) -> Result<(), Fault> {
    if text.trim().is_empty() { Err(Fault::new("must not be empty")) } else { Ok(()) }
}

/// Accepts durations that can be a period or a deadline; shorter ones would only burn time.
fn noticeable_duration(text: &str) -> Result<(), Fault> {
    let least = Duration::from_millis(10);
    if parse_duration(text)? < least {
        return Err(Fault::new(format!("must be at least `{}`", print_duration(least))));
    }
    Ok(())
}

fn check_variable(name: &str, _value: &str) -> Result<(), Fault> {
    if name.is_empty() || name.contains('=') {
        return Err(Fault::new("is no name of an environment variable"));
    }
    Ok(())
}

fn check_header(text: &str, meaning: &str) -> Result<(), Fault> {
    not_empty(text).and_then(|()| parse_header(meaning).map(drop))
}

fn check_model_type(architecture: &str, model_type: &str) -> Result<(), Fault> {
    not_empty(architecture).and_then(|()| not_empty(model_type))
}
