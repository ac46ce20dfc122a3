//! The settings in force as people read them: each value with its origin, as TOML.

use std::fmt::Write as _;

use config::{Value, ValueKind};

use super::AlertAddress;
use super::check::Surroundings;
use super::compose::{Loaded, lookup};
use super::layer::BUILT_IN;
use super::lists::{ALERTS, LISTS, List};
use super::problem::one_line;
use super::rule::Rule;
use super::schema::{self, GATES, Key};
use super::toml_text::{bare_or_quoted, quoted, write};

/// Values longer than this do not push the origins of their neighbors to the right.
const ALIGNED_WIDTH: usize = 60;

/// What marks the name of a variable whose value is a secret.
const SECRET_NAMES: [&str; 6] = ["TOKEN", "KEY", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"];

/// One value in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveValue {
    /// The full key: `watch.settle`, `gates[effective-rank].min`, `analysis.env.HF_HOME`.
    pub key: String,
    /// The value as TOML on one line; values of variables with secret-looking names are redacted.
    pub value: String,
    /// `default`, a file's path, `environment <variable>`, `--root`, or how a root was found.
    pub origin: String,
}

/// Prints settings as TOML, with each value's origin as a comment.
///
/// The text can be loaded again with `--config` and gives the same settings, except for redacted
/// values.
pub fn render_effective(loaded: &Loaded) -> String {
    let mut text = "# The settings in force. Later layers win.\n".to_owned();
    for (header, lines) in by_header(&loaded.effective) {
        let printed: Vec<(String, &str)> = lines
            .iter()
            .map(|(name, line)| (format!("{name} = {}", line.value), line.origin.as_str()))
            .collect();
        let widths = printed.iter().map(|(line, _)| line.chars().count());
        let width = widths.filter(|width| *width <= ALIGNED_WIDTH).max().unwrap_or_default();
        // Writing to a string cannot fail.
        let _written = writeln!(text, "\n{header}");
        for (line, origin) in printed {
            let _written = writeln!(text, "{line:width$}  # {}", one_line(origin));
        }
    }
    text
}

/// Lists every value of the merged configuration with its origin.
pub(super) fn effective_values(
    merged: &Value,
    gate_order: &[String],
    surroundings: &Surroundings,
) -> Vec<EffectiveValue> {
    let mut values = Vec::new();
    for (index, key) in schema::KEYS.iter().enumerate() {
        if let Some(value) = lookup(merged, &[key.section, key.name]) {
            values.extend(of_key(key, value, surroundings));
        }
        let next = schema::KEYS.get(index + 1).map(|next| next.section);
        if key.section == "analysis" && next != Some("analysis") {
            values.extend(gate_order.iter().flat_map(|name| of_gate(name, merged)));
        }
    }
    values.extend(LISTS.iter().flat_map(|list| of_list(list, merged)));
    values
}

fn of_key(key: &Key, value: &Value, surroundings: &Surroundings) -> Vec<EffectiveValue> {
    let path = format!("{}.{}", key.section, key.name);
    let text_and_origin = match (path.as_str(), &surroundings.socket, &value.kind) {
        ("project.root", ..) => {
            (quoted(&surroundings.root.to_string_lossy()), surroundings.root_origin.clone())
        }
        ("status.socket", Some(socket), _) => {
            (quoted(&socket.to_string_lossy()), "--socket".to_owned())
        }
        ("status.socket", None, ValueKind::String(text)) if text.is_empty() => {
            default_socket(surroundings)
        }
        (_, _, ValueKind::Table(table)) if !table.is_empty() => return of_table(&path, value),
        _ => (write(&value.kind), origin(value)),
    };
    let (value, origin) = text_and_origin;
    vec![EffectiveValue { key: path, value, origin }]
}

/// Says where the socket is when nobody named one.
fn default_socket(surroundings: &Surroundings) -> (String, String) {
    match &surroundings.runtime_directory {
        Some(folder) => {
            let socket = folder.join("status.sock");
            (quoted(&socket.to_string_lossy()), "environment RUNTIME_DIRECTORY".to_owned())
        }
        None => ("\"\"".to_owned(), BUILT_IN.to_owned()),
    }
}

fn of_table(path: &str, table: &Value) -> Vec<EffectiveValue> {
    let ValueKind::Table(entries) = &table.kind else { return Vec::new() };
    let mut values: Vec<EffectiveValue> = entries
        .iter()
        .map(|(name, value)| EffectiveValue {
            key: format!("{path}.{name}"),
            value: if is_secret(path, name) {
                "\"[redacted]\"".to_owned()
            } else {
                write(&value.kind)
            },
            origin: origin(value),
        })
        .collect();
    values.sort_by(|left, right| left.key.cmp(&right.key));
    values
}

fn of_gate(name: &str, merged: &Value) -> Vec<EffectiveValue> {
    let field = |(field, _): &(&str, Rule)| {
        let value = lookup(merged, &[GATES, name, field])?;
        Some(EffectiveValue {
            key: format!("{GATES}[{name}].{field}"),
            value: write(&value.kind),
            origin: origin(value),
        })
    };
    schema::GATE_FIELDS.iter().filter_map(field).collect()
}

/// Lists the items of a list; of an address that is a secret only the host.
fn of_list(list: &'static List, merged: &Value) -> Vec<EffectiveValue> {
    let Some(ValueKind::Array(items)) = lookup(merged, &[list.name]).map(|value| &value.kind)
    else {
        return Vec::new();
    };
    let fields = items.iter().enumerate().flat_map(|(position, item)| {
        let field = move |(field, _): &(&str, Rule)| {
            let value = lookup(item, &[field])?;
            let shown = match (&value.kind, list.name, *field) {
                (ValueKind::String(url), ALERTS, "url") => AlertAddress::parse(url)
                    .map_or_else(|_| "[redacted]".to_owned(), |address| address.to_string())
                    .into(),
                (kind, ..) => kind.clone(),
            };
            Some(EffectiveValue {
                key: format!("{}[{}].{field}", list.name, position + 1),
                value: write(&shown),
                origin: origin(value),
            })
        };
        list.fields.iter().filter_map(field)
    });
    fields.collect()
}

fn origin(value: &Value) -> String {
    // Only empty tables lose their origin when layers are merged; the defaults are the first.
    value.origin().unwrap_or(BUILT_IN).to_owned()
}

fn is_secret(path: &str, name: &str) -> bool {
    let name = name.to_uppercase();
    path == "analysis.env" && SECRET_NAMES.iter().any(|mark| name.contains(mark))
}

/// Names and values under one header, in order.
type Group<'values> = (String, Vec<(String, &'values EffectiveValue)>);

/// Sorts values under the headers they are printed below, in order of first appearance.
fn by_header(values: &[EffectiveValue]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for value in values {
        let (header, name) = header_and_name(&value.key);
        match groups.iter_mut().find(|(other, _)| *other == header) {
            Some((_, lines)) => lines.push((name, value)),
            None => groups.push((header, vec![(name, value)])),
        }
    }
    groups
}

/// Returns what stands above a key in a file, and its name below that.
fn header_and_name(key: &str) -> (String, String) {
    let gate = key.strip_prefix("gates[").and_then(|rest| rest.split_once("]."));
    if let Some((gate, field)) = gate {
        return (format!("[[{GATES}]]\nname = {}", quoted(gate)), field.to_owned());
    }
    for list in LISTS {
        let item = key.strip_prefix(list.name).and_then(|rest| rest.strip_prefix('['));
        if let Some((number, field)) = item.and_then(|rest| rest.split_once("].")) {
            return (format!("# {} {number}\n[[{}]]", list.item, list.name), field.to_owned());
        }
    }
    for table in schema::KEYS.iter().filter(|key| matches!(key.rule, Rule::Table(_))) {
        let path = format!("{}.{}", table.section, table.name);
        let entry = key.strip_prefix(&path).and_then(|rest| rest.strip_prefix('.'));
        if let Some(entry) = entry {
            return (format!("[{path}]"), bare_or_quoted(entry));
        }
    }
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    (format!("[{section}]"), name.to_owned())
}
