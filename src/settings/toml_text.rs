//! TOML text to one layer, with the line of everything that is wrong, and values back to TOML.
//!
//! The text is walked by hand and not deserialized, because one run must report every problem and
//! because deserializing would lose the lines.

use std::fmt::Write as _;

use config::{Map, Value, ValueKind};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::layer::Layer;
use super::lists::{self, List};
use super::problem::{ConfigProblem, Fault, shortened};
use super::rule::Rule;
use super::schema::{self, GATES, Key, RESERVED_GATE};

/// Longest name of a gate; it becomes a part of file names.
const GATE_NAME_BYTES: usize = 64;

/// Whether a file may name the project's root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RootKey {
    Allowed,
    Forbidden,
}

/// Reads one file's text; `origin` is its path as shown to people.
pub(super) fn read(origin: &str, text: &str, root_key: RootKey) -> Layer {
    let line_starts =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let layer = Layer::default();
    let mut reader = Reader { origin, text, root_key, line_starts, layer, problems: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    // What a parser recovers after an error is a guess; problems found in a guess help nobody.
    if errors.is_empty() {
        reader.read_sections(table.get_ref());
    }
    for error in errors {
        let (line, column) = reader.position(error.span().map_or(text.len(), |span| span.start));
        let problem = Fault::new(format!("is not TOML: {}", error.message().replace('\n', ", ")));
        reader.problems.push((line, problem.at(format!("{origin}:{line}:{column}"), "")));
    }
    reader.problems.sort_by_key(|(line, _)| *line);
    let mut layer = reader.layer;
    layer.problems = reader.problems.into_iter().map(|(_, problem)| problem).collect();
    layer
}

/// Reads a TOML list such as `["a", "b"]` from one line of text.
///
/// # Errors
///
/// A fault for text that is not a list.
pub(super) fn read_list(text: &str) -> Result<ValueKind, Fault> {
    let not_a_list =
        || Fault::new(format!("`{}` is neither a TOML list nor a,b,c", shortened(text)));
    let parsed = DeValue::parse(text).map_err(|_| not_a_list())?;
    match parsed.get_ref() {
        list @ DeValue::Array(_) => plain(list),
        _ => Err(not_a_list()),
    }
}

/// Writes a value as TOML on one line.
pub(super) fn write(value: &ValueKind) -> String {
    match value {
        ValueKind::String(text) => quoted(text),
        // The debug form of a float has a point or an exponent, as TOML asks for.
        ValueKind::Float(number) => format!("{number:?}"),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| write(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        ValueKind::Table(table) => {
            let mut entries: Vec<String> = table
                .iter()
                .map(|(name, value)| format!("{} = {}", bare_or_quoted(name), write(&value.kind)))
                .collect();
            entries.sort();
            if entries.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", entries.join(", "))
            }
        }
        other => other.to_string(),
    }
}

/// Writes a text in quotes: literal ones where that spares backslashes, else escaped.
pub(super) fn quoted(text: &str) -> String {
    if text.contains('\\') && !text.contains('\'') && !text.contains(char::is_control) {
        return format!("'{text}'");
    }
    let mut result = String::with_capacity(text.len() + 2);
    result.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => result.extend(['\\', character]),
            '\n' => result.push_str("\\n"),
            '\t' => result.push_str("\\t"),
            control if control.is_control() => {
                // Writing to a string cannot fail.
                let _written = write!(result, "\\u{:04X}", u32::from(control));
            }
            other => result.push(other),
        }
    }
    result.push('"');
    result
}

/// Writes a key, in quotes only where TOML asks for them.
pub(super) fn bare_or_quoted(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !key.is_empty() && key.bytes().all(bare) { key.to_owned() } else { quoted(key) }
}

struct Reader<'text> {
    origin: &'text str,
    text: &'text str,
    root_key: RootKey,
    line_starts: Vec<usize>,
    layer: Layer,
    problems: Vec<(usize, ConfigProblem)>,
}

impl Reader<'_> {
    /// Returns the line and the column, in characters, of an offset; both start at 1.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    fn place(&self, offset: usize) -> String {
        format!("{}:{}", self.origin, self.position(offset).0)
    }

    fn report(&mut self, offset: usize, key: &str, fault: Fault) {
        let problem = fault.at(self.place(offset), key);
        self.problems.push((self.position(offset).0, problem));
    }

    fn read_sections(&mut self, table: &DeTable<'_>) {
        for (name, value) in table {
            let (at, section) = (name.span().start, name.get_ref().as_ref());
            if let Some(list) = lists::find(section) {
                self.read_list(at, list, value.get_ref());
                continue;
            }
            match value.get_ref() {
                _ if section == GATES => self.read_gates(at, value.get_ref()),
                _ if !schema::has_section(section) => {
                    let mut fault = schema::unknown_section(section);
                    if !value.get_ref().is_table() {
                        "unknown key".clone_into(&mut fault.problem);
                    }
                    self.report(at, section, fault);
                }
                DeValue::Table(keys) => self.read_section(section, keys),
                _ => {
                    let problem = format!("is a section; write `[{section}]` and its keys below");
                    self.report(at, section, Fault::new(problem));
                }
            }
        }
    }

    fn read_section(&mut self, section: &str, keys: &DeTable<'_>) {
        for (name, value) in keys {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            let path = format!("{section}.{name}");
            match schema::find(section, name) {
                None => self.report(at, &path, schema::unknown_key(section, name)),
                Some(key) => match checked(&key.rule, value) {
                    Err(fault) => self.report(at, &path, fault),
                    Ok(_) if matches!(key.rule, Rule::Table(_)) => self.read_table(key, value),
                    Ok(value) => self.keep(at, key, value),
                },
            }
        }
    }

    fn keep(&mut self, at: usize, key: &Key, value: ValueKind) {
        let names_root = (key.section, key.name) == ("project", "root");
        let is_empty = matches!(&value, ValueKind::String(text) if text.is_empty());
        if names_root && !is_empty && self.root_key == RootKey::Forbidden {
            let problem = "a project cannot name its own root; only `/etc/runscribe/config.toml` \
                           and the file of `--config` can, or use `--root`";
            return self.report(at, "project.root", Fault::new(problem));
        }
        self.layer.put(self.origin, &[key.section, key.name], value);
    }

    /// Reads a table whose keys are anybody's, in their own spelling.
    fn read_table(&mut self, key: &Key, table: &Spanned<DeValue<'_>>) {
        self.layer.put(self.origin, &[key.section, key.name], ValueKind::Table(Map::new()));
        let DeValue::Table(entries) = table.get_ref() else { return };
        for (name, value) in entries {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            let entry = plain(value.get_ref())
                .and_then(|kind| key.rule.check_entry(name, &kind).map(|()| kind));
            match entry {
                Ok(kind) => self.layer.put(self.origin, &[key.section, key.name, name], kind),
                Err(fault) => {
                    self.report(at, &format!("{}.{}.{name}", key.section, key.name), fault);
                }
            }
        }
    }

    /// Reads a list, which is one value: lists of several layers are not merged.
    fn read_list(&mut self, at: usize, list: &List, value: &DeValue<'_>) {
        let DeValue::Array(items) = value else {
            let problem = format!("is a list; write `[[{}]]` for each {}", list.name, list.item);
            return self.report(at, list.name, Fault::new(problem));
        };
        let mut tables: Vec<Value> = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(fields) = item.get_ref() else {
                let fault = Fault::new(format!("write `[[{}]]` for each {}", list.name, list.item));
                self.report(item.span().start, list.name, fault);
                continue;
            };
            let origin = self.place(item.span().start);
            let fields = self.read_item(list, index + 1, fields);
            tables.push(Value::new(Some(&origin), fields));
        }
        self.layer.put(self.origin, &[list.name], ValueKind::Array(tables));
    }

    fn read_item(
        &mut self,
        list: &List,
        number: usize,
        fields: &DeTable<'_>,
    ) -> Map<String, Value> {
        let mut table = Map::new();
        for (field, value) in fields {
            let (at, field) = (field.span().start, field.get_ref().as_ref());
            let read = match schema::field(list.fields, field) {
                Some(rule) => checked(&rule, value),
                None => Err(schema::unknown_list_field(list, field)),
            };
            match read {
                Ok(kind) => {
                    let origin = self.place(at);
                    table.insert(field.to_owned(), Value::new(Some(&origin), kind));
                }
                Err(fault) => self.report(at, &format!("{}[{number}].{field}", list.name), fault),
            }
        }
        table
    }

    fn read_gates(&mut self, at: usize, value: &DeValue<'_>) {
        let DeValue::Array(gates) = value else {
            return self.report(
                at,
                GATES,
                Fault::new("is a list; write `[[gates]]` for each gate"),
            );
        };
        for (index, gate) in gates.iter().enumerate() {
            let at = gate.span().start;
            match gate.get_ref() {
                DeValue::Table(fields) => self.read_gate(at, index + 1, fields),
                _ => self.report(at, GATES, Fault::new("write `[[gates]]` for each gate")),
            }
        }
    }

    fn read_gate(&mut self, at: usize, number: usize, fields: &DeTable<'_>) {
        let name = fields.get("name").map(|name| (name.span().start, self.gate_name(name)));
        let name = match name {
            None => Err((at, Fault::new("has no `name`"))),
            Some((at, name)) => name.map_err(|fault| (at, fault)),
        };
        let label = match &name {
            Ok(name) => format!("{GATES}[{name}]"),
            Err(_) => format!("{GATES}[#{number}]"),
        };
        match &name {
            Ok(name) => self.layer.put_gate(self.origin, &self.place(at), name),
            Err((at, fault)) => self.report(*at, &format!("{label}.name"), fault.clone()),
        }
        for (field, value) in fields {
            let (at, field) = (field.span().start, field.get_ref().as_ref());
            if field == "name" {
                continue;
            }
            let read = match schema::gate_field(field) {
                Some(rule) => checked(&rule, value),
                None => Err(schema::unknown_gate_field(field)),
            };
            match (read, &name) {
                (Ok(kind), Ok(name)) => self.layer.put(self.origin, &[GATES, name, field], kind),
                (Ok(_), Err(_)) => {}
                (Err(fault), _) => self.report(at, &format!("{label}.{field}"), fault),
            }
        }
    }

    /// Reads a gate's name, which becomes a part of a failure note's file name.
    fn gate_name(&self, value: &Spanned<DeValue<'_>>) -> Result<String, Fault> {
        let Some(name) = value.get_ref().as_str() else {
            return Err(Fault::new("must be text in quotes"));
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > GATE_NAME_BYTES || !name.bytes().all(allowed) {
            let problem = format!(
                "`{}` is no name for a gate; use at most {GATE_NAME_BYTES} letters, digits, `-` and `_`",
                shortened(name)
            );
            return Err(Fault::new(problem));
        }
        if name == RESERVED_GATE {
            return Err(Fault::new(format!("`{name}` is built in and cannot be configured")));
        }
        if self.layer.gates.iter().any(|(other, _)| other == name) {
            return Err(Fault::new(format!(
                "`{name}` is the name of an earlier gate in this file"
            )));
        }
        Ok(name.to_owned())
    }
}

fn checked(rule: &Rule, value: &Spanned<DeValue<'_>>) -> Result<ValueKind, Fault> {
    let kind = plain(value.get_ref())?;
    rule.check(&kind)?;
    Ok(kind)
}

/// Converts a parsed value; its depth is bounded by the parser.
fn plain(value: &DeValue<'_>) -> Result<ValueKind, Fault> {
    Ok(match value {
        DeValue::String(text) => ValueKind::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(ValueKind::I64)
            .map_err(|_| Fault::new(format!("`{}` needs more than 64 bits", number.as_str())))?,
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map(ValueKind::Float)
            .map_err(|_| Fault::new(format!("`{}` is no number", number.as_str())))?,
        DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
        DeValue::Datetime(_) => return Err(Fault::new("is a date; write it as text in quotes")),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| Ok(plain(item.get_ref())?.into()));
            ValueKind::Array(items.collect::<Result<_, Fault>>()?)
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(name, value)| {
                Ok((name.get_ref().to_string(), plain(value.get_ref())?.into()))
            });
            ValueKind::Table(entries.collect::<Result<_, Fault>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use config::Source as _;
    use expect_test::expect;
    use proptest::prelude::{any, proptest};

    use super::*;

    fn report(text: &str) -> String {
        let layer = read("c.toml", text, RootKey::Forbidden);
        let values = layer.collect().map(ValueKind::Table).unwrap_or_default();
        let problems: Vec<String> = layer.problems.iter().map(ToString::to_string).collect();
        format!("{}\n{}\n", write(&values), problems.join("\n"))
    }

    #[test]
    fn every_wrong_value_is_reported_with_its_line() {
        let text = include_str!("../../tests/fixtures/settings/wrong_values.toml");
        expect![[r#"
            { analysis = { env = { GOOD = "kept" }, model_types = {} } }
            c.toml:1: `watch.reconcile`: must be at least `10ms`
            c.toml:2: `watch.settle`: expected text in quotes, found the number 2; did you mean `"2s"`?
            c.toml:3: `watch.backend`: `inotfy` is not one of `auto`, `inotify`, `poll`; did you mean `"inotify"`?
            c.toml:4: `watch.stuck_after`: `one hour` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit
            c.toml:7: `project.root`: a project cannot name its own root; only `/etc/runscribe/config.toml` and the file of `--config` can, or use `--root`
            c.toml:8: `project.training_dir`: must not be empty
            c.toml:9: `project.shell_logs`: expected a list of texts, found the text `Cache/logs`; did you mean `["Cache/logs"]`?
            c.toml:10: `project.run_logs_dir`: `~` is not expanded here; write the whole path
            c.toml:11: `project.state_dir`: expected text in quotes, found the number 7; did you mean `"7"`?
            c.toml:12: `project.experiment_log`: must not hold a NUL byte
            c.toml:13: `project.run_pattern`: `_(\d{8}` is not a regular expression: unclosed group
            c.toml:16: `analysis.command`: item 1: expected text in quotes, found the number 1; did you mean `"1"`?
            c.toml:17: `analysis.args`: item 2: expected text in quotes, found a list
            c.toml:18: `analysis.timeout`: must be at least `10ms`
            c.toml:19: `analysis.max_concurrent`: is 0 and must be at least 1
            c.toml:20: `analysis.retries`: is -1 and must be at least 0
            c.toml:21: `analysis.retry_for`: is a date; write it as text in quotes
            c.toml:22: `analysis.adopt`: `al` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit, and not `all`; did you mean `"all"`?
            c.toml:23: `analysis.device`: `gpu0` is not one of `auto`, `cpu`, `cuda:0`, `cuda:1` …
            c.toml:24: `analysis.min_free_gpu_memory`: `4G` is not a size like `4GiB`, `512 MB` or plain bytes: unknown unit `G`; did you mean `"4GiB"`?
            c.toml:25: `analysis.nice`: is -5 and must be at least 0
            c.toml:26: `analysis.pin`: expected `true` or `false`, found the text `true`; did you mean `true`?
            c.toml:27: `analysis.keep_reports`: `90` is not a duration like `30s`, `15m` or `1h30m`: a number has no unit; did you mean `"90s"`?
            c.toml:28: `analysis.env_file`: must not be empty
            c.toml:29: `analysis.python`: expected text in quotes, found the number 3.12; did you mean `"3.12"`?
            c.toml:30: `analysis.env.A`: expected text in quotes, found the number 1; did you mean `"1"`?
            c.toml:30: `analysis.env.B=C`: is no name of an environment variable
            c.toml:30: `analysis.env.D`: expected text in quotes, found a list
            c.toml:31: `analysis.model_types.X`: must not be empty
            c.toml:34: `training.stall_factor`: is 0 and must be larger than 0
            c.toml:35: `training.stall_floor`: `-1s` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit
            c.toml:36: `training.loss_factor`: is NaN and must be a finite number
            c.toml:37: `training.grad_norm_factor`: expected a number, found the text `100`; did you mean `100`?
            c.toml:38: `training.inner`: unknown key
            c.toml:42: `log.observations`: expected `true` or `false`, found the number 1
            c.toml:45: `status.socket`: `~` is not expanded here; write the whole path
            c.toml:46: `status.socket_mode`: expected text in quotes, found the number 660; did you mean `"660"`?
            c.toml:47: `status.keep_events`: `99999999999999999999` needs more than 64 bits
        "#]].assert_eq(&report(text));
    }

    #[test]
    fn every_unknown_key_is_reported_with_what_was_meant() {
        let text = include_str!("../../tests/fixtures/settings/unknown_keys.toml");
        expect![[r#"
            { alerts = [{ url = "https://example.org" }], discipline = { changelog = "CHANGELOG.md" } }
            c.toml:1: `settle`: unknown key; did you mean `watch.settle`?
            c.toml:2: `log`: is a section; write `[log]` and its keys below
            c.toml:4: `wach`: unknown section; did you mean `watch`?
            c.toml:8: `watch.setle`: unknown key; did you mean `settle`?
            c.toml:9: `watch.stuck-after`: unknown key; did you mean `stuck_after`?
            c.toml:10: `watch.timeout`: unknown key; did you mean `analysis.timeout`?
            c.toml:11: `watch.Reconcile`: unknown key; did you mean `reconcile`?
            c.toml:12: `watch.strange\u{1b}[31m\nkey`: unknown key
            c.toml:14: `analysis.enviroment`: unknown key; did you mean `env`?
            c.toml:23: `projects`: unknown section; did you mean `project`?
            c.toml:26: `statuss`: unknown section; did you mean `status`?
        "#]]
        .assert_eq(&report(text));
    }

    #[test]
    fn every_wrong_gate_is_reported() {
        let text = include_str!("../../tests/fixtures/settings/wrong_gates.toml");
        expect![[r#"
            { gates = { effective-rank = {}, good = { max = -3, measurement = "participation_ratio" }, no-measurement = { min = 1 } } }
            c.toml:3: `gates[effective-rank].minn`: unknown key; did you mean `min`?
            c.toml:4: `gates[effective-rank].min`: expected a number, found the text `5`; did you mean `5`?
            c.toml:5: `gates[effective-rank].severity`: `error` is not one of `warn`, `fail`
            c.toml:6: `gates[effective-rank].reference`: is 0 and must be at least 1
            c.toml:8: `gates[#2].name`: has no `name`
            c.toml:10: `gates[#2].max`: is inf and must be a finite number
            c.toml:13: `gates[#3].name`: `` is no name for a gate; use at most 64 letters, digits, `-` and `_`
            c.toml:16: `gates[#4].name`: `../../etc/passwd` is no name for a gate; use at most 64 letters, digits, `-` and `_`
            c.toml:19: `gates[#5].name`: must be text in quotes
            c.toml:22: `gates[#6].name`: `finite-weights` is built in and cannot be configured
            c.toml:25: `gates[#7].name`: `effective-rank` is the name of an earlier gate in this file
            c.toml:26: `gates[#7].min`: is NaN and must be a finite number
            c.toml:32: `gates[good].Name`: unknown key; did you mean `name`?
            c.toml:36: `gates[no-measurement].measurement`: must not be empty
        "#]].assert_eq(&report(text));
    }

    #[test]
    fn text_that_is_no_toml_is_reported_with_line_and_column() {
        let text = include_str!("../../tests/fixtures/settings/broken.toml");
        expect![[r"
            {}
            c.toml:3:10: is not TOML: string values must be quoted, expected literal string
            c.toml:5:15: is not TOML: unexpected key or value, expected newline, `#`
        "]]
        .assert_eq(&report(text));
        let deep = format!("a = {}", "[".repeat(100_000));
        for text in
            [&deep, "[watch]\nsettle = \"1s\"\nsettle = \"2s\"\n", "\u{0}", "x", "[watch\n", "a = "]
        {
            let layer = read("c.toml", text, RootKey::Allowed);
            assert!(!layer.problems.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn tables_keep_the_spelling_of_their_keys() {
        let text = "[analysis.env]\nHF_Home = \"/x\"\n\"a.B\" = \"\"\n[analysis.model_types]\nMyEncoder = \"t\"\n";
        expect![[r#"
            { analysis = { env = { "a.B" = "", HF_Home = "/x" }, model_types = { MyEncoder = "t" } } }

        "#]].assert_eq(&report(text));
    }

    #[test]
    fn a_root_is_refused_only_where_it_is_set() {
        assert_eq!(read("c.toml", "[project]\nroot = \"\"", RootKey::Forbidden).problems, []);
        assert_eq!(read("c.toml", "[project]\nroot = \"/x\"", RootKey::Allowed).problems, []);
        assert_eq!(
            read("c.toml", "[project]\nroot = \"/x\"", RootKey::Forbidden).problems.len(),
            1
        );
    }

    proptest! {
        #[test]
        fn any_text_is_written_so_that_toml_reads_it_again(text in any::<String>()) {
            let list = ValueKind::Array(vec![text.clone().into()]);
            assert_eq!(read_list(&write(&list)), Ok(list));
            let line = format!("{} = 1", bare_or_quoted(&text));
            let table: Result<toml::Table, _> = toml::from_str(&line);
            assert_eq!(table.map(|table| table.keys().cloned().collect()), Ok(vec![text]));
        }

        #[test]
        fn any_file_is_read(text in "(\\[+[a-z.]{1,8}\\]+\n|[a-z_.]{1,8} = [0-9a-z\"\\[\\]{}.]{0,6}\n|.{0,9}\n){0,8}") {
            let layer = read("c.toml", &text, RootKey::Forbidden);
            for problem in layer.problems {
                assert!(problem.origin.starts_with("c.toml:"), "{problem}");
                assert!(!problem.to_string().contains('\n'));
            }
        }

        #[test]
        fn any_file_of_known_sections_is_read(
            section in proptest::sample::select(&["watch", "analysis", "gates", "project", "status"][..]),
            key in proptest::sample::select(&["name", "settle", "env", "nice", "min", "root"][..]),
            value in "(-?[0-9]{1,22}|\"[a-z0-9]{0,5}\"|nan|1e400|\\[1,\"a\"\\]|\\{a=1\\}|2026-01-01|0x7f)",
            listed in any::<bool>(),
        ) {
            let header = if listed { format!("[[{section}]]") } else { format!("[{section}]") };
            let layer = read("c.toml", &format!("{header}\n{key} = {value}\n"), RootKey::Allowed);
            for problem in layer.problems {
                assert!(problem.key.is_empty() || problem.key.starts_with(section), "{problem}");
            }
        }
    }
}
