//! Environment variables `RUNSCRIBE__SECTION__KEY` to one layer.

use config::ValueKind;

use super::layer::Layer;
use super::lists;
use super::problem::Fault;
use super::rule::Rule;
use super::schema::{self, GATES, Key};

/// What every variable of ours begins with.
const PREFIX: &str = "RUNSCRIBE__";

/// Reads all variables of ours; others are none of our business.
///
/// Sections and keys may be in any case. A third part names an entry of a table and keeps its
/// spelling: `RUNSCRIBE__ANALYSIS__ENV__HF_HOME`.
pub(super) fn read(variables: &[(String, String)]) -> Layer {
    let mut layer = Layer::default();
    for (variable, text) in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let origin = format!("environment {variable}");
        let mut parts = name.splitn(3, "__");
        let section = parts.next().unwrap_or_default().to_lowercase();
        let key = parts.next().map(str::to_lowercase);
        let entry = parts.next();
        let path: Vec<&str> =
            [Some(section.as_str()), key.as_deref(), entry].into_iter().flatten().collect();
        let set = match target(&section, key.as_deref(), entry) {
            Ok(key) => value(key, entry, text),
            Err(fault) => Err(fault),
        };
        match set {
            Ok(kind) => layer.put(&origin, &path, kind),
            Err(fault) => layer.problems.push(fault.at(origin, path.join("."))),
        }
    }
    layer
}

/// Finds the key that a variable is meant to set.
fn target(section: &str, key: Option<&str>, entry: Option<&str>) -> Result<&'static Key, Fault> {
    if section == GATES || lists::find(section).is_some() {
        return Err(Fault::new(format!(
            "is a list of tables, which a variable cannot hold; write `[[{section}]]` in a file"
        )));
    }
    let name = key.unwrap_or_default();
    let found = schema::find(section, name);
    let is_table = |key: &&Key| matches!(key.rule, Rule::Table(_));
    if let Some(key) = found.filter(|key| entry.is_none() || is_table(key)) {
        return Ok(key);
    }
    let mut fault = if !schema::has_section(section) {
        schema::unknown_section(section)
    } else if name.is_empty() {
        Fault::new("names a section and no key of it")
    } else {
        schema::unknown_key(section, name)
    };
    // A suggestion must be something that can be put into the place of the wrong thing.
    fault.suggestion = fault.suggestion.map(|meant| match (meant.split_once('.'), key) {
        (Some((section, key)), _) => spelled(&[section, key]),
        (None, Some(key)) if !schema::has_section(section) => spelled(&[&meant, key]),
        (None, Some(_)) => spelled(&[section, &meant]),
        (None, None) => spelled(&[&meant, "…"]),
    });
    Err(fault)
}

fn spelled(parts: &[&str]) -> String {
    format!("{PREFIX}{}", parts.join("__").to_uppercase())
}

fn value(key: &Key, entry: Option<&str>, text: &str) -> Result<ValueKind, Fault> {
    if let Some(entry) = entry {
        let kind = ValueKind::String(text.to_owned());
        key.rule.check_entry(entry, &kind)?;
        return Ok(kind);
    }
    if (key.section, key.name) == ("project", "root") {
        return Err(Fault::new("cannot be set by a variable; use `--root`"));
    }
    let kind = key.rule.read_variable(text)?;
    key.rule.check(&kind)?;
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use config::Source as _;
    use expect_test::expect;

    use super::*;
    use crate::settings::toml_text;

    fn report(variables: &[(&str, &str)]) -> String {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let layer = read(&variables.iter().map(owned).collect::<Vec<_>>());
        let values = layer.collect().map(ValueKind::Table).unwrap_or_default();
        let problems: Vec<String> = layer.problems.iter().map(ToString::to_string).collect();
        format!("{}\n{}\n", toml_text::write(&values), problems.join("\n"))
    }

    #[test]
    fn variables_set_values_of_the_kind_that_their_key_asks_for() {
        let variables = [
            ("PATH", "/bin"),
            ("RUNSCRIBE_LOG", "debug"),
            ("RUNSCRIBE__WATCH__SETTLE", "5s"),
            ("RUNSCRIBE__watch__backend", "poll"),
            ("RUNSCRIBE__ANALYSIS__PIN", "false"),
            ("RUNSCRIBE__ANALYSIS__NICE", "19"),
            ("RUNSCRIBE__ANALYSIS__MIN_FREE_GPU_MEMORY", "123"),
            ("RUNSCRIBE__ANALYSIS__ARGS", "--a, --b=1,"),
            ("RUNSCRIBE__ANALYSIS__COMMAND", r#"["x,y", 'z']"#),
            ("RUNSCRIBE__ANALYSIS__ENV__HF_Home__X", "a=b"),
            ("RUNSCRIBE__ANALYSIS__MODEL_TYPES__MyEncoder", "weighted_mlm"),
            ("RUNSCRIBE__TRAINING__LOSS_FACTOR", "4"),
            ("RUNSCRIBE__PROJECT__MACHINE", ""),
            ("RUNSCRIBE__PROJECT__SHELL_LOGS", ""),
        ];
        expect![[r#"
            { analysis = { args = ["--a", "--b=1"], command = ["x,y", "z"], env = { HF_Home__X = "a=b" }, min_free_gpu_memory = "123", model_types = { MyEncoder = "weighted_mlm" }, nice = 19, pin = false }, project = { machine = "", shell_logs = [] }, training = { loss_factor = 4.0 }, watch = { backend = "poll", settle = "5s" } }

        "#]].assert_eq(&report(&variables));
    }

    #[test]
    fn every_wrong_variable_is_reported() {
        let variables = [
            ("RUNSCRIBE__", "x"),
            ("RUNSCRIBE__WATCH", "x"),
            ("RUNSCRIBE__WACH__SETTLE", "1s"),
            ("RUNSCRIBE__WATCH__SETLE", "1s"),
            ("RUNSCRIBE__WATCH__SETTLE__X", "1s"),
            ("RUNSCRIBE__WATCH__TIMEOUT", "1s"),
            ("RUNSCRIBE__SETTLE", "1s"),
            ("RUNSCRIBE__ALERTS__URL", "x"),
            ("RUNSCRIBE__WATCH__RECONCILE", "often"),
            ("RUNSCRIBE__ANALYSIS__NICE", "-5"),
            ("RUNSCRIBE__ANALYSIS__NICE", "low"),
            ("RUNSCRIBE__ANALYSIS__PIN", "yes"),
            ("RUNSCRIBE__ANALYSIS__ENV", "A=1"),
            ("RUNSCRIBE__ANALYSIS__ENV__", "1"),
            ("RUNSCRIBE__ANALYSIS__ARGS", r#"["open"#),
            ("RUNSCRIBE__ANALYSIS__ARGS", "[1]"),
            ("RUNSCRIBE__TRAINING__LOSS_FACTOR", "NaN"),
            ("RUNSCRIBE__GATES__0__MIN", "5"),
            ("RUNSCRIBE__PROJECT__ROOT", "/x"),
        ];
        expect![[r#"
            {}
            environment RUNSCRIBE__: unknown section
            environment RUNSCRIBE__WATCH: `watch`: names a section and no key of it
            environment RUNSCRIBE__WACH__SETTLE: `wach.settle`: unknown section; did you mean `RUNSCRIBE__WATCH__SETTLE`?
            environment RUNSCRIBE__WATCH__SETLE: `watch.setle`: unknown key; did you mean `RUNSCRIBE__WATCH__SETTLE`?
            environment RUNSCRIBE__WATCH__SETTLE__X: `watch.settle.X`: unknown key; did you mean `RUNSCRIBE__WATCH__SETTLE`?
            environment RUNSCRIBE__WATCH__TIMEOUT: `watch.timeout`: unknown key; did you mean `RUNSCRIBE__ANALYSIS__TIMEOUT`?
            environment RUNSCRIBE__SETTLE: `settle`: unknown section; did you mean `RUNSCRIBE__WATCH__SETTLE`?
            environment RUNSCRIBE__ALERTS__URL: `alerts.url`: is a list of tables, which a variable cannot hold; write `[[alerts]]` in a file
            environment RUNSCRIBE__WATCH__RECONCILE: `watch.reconcile`: `often` is not a duration like `30s`, `15m` or `1h30m`: a number must come before each unit
            environment RUNSCRIBE__ANALYSIS__NICE: `analysis.nice`: is -5 and must be at least 0
            environment RUNSCRIBE__ANALYSIS__NICE: `analysis.nice`: expected a whole number, found `low`
            environment RUNSCRIBE__ANALYSIS__PIN: `analysis.pin`: expected `true` or `false`, found `yes`
            environment RUNSCRIBE__ANALYSIS__ENV: `analysis.env`: is a table; set one entry of it, with `__` and the entry's name at the end
            environment RUNSCRIBE__ANALYSIS__ENV__: `analysis.env.`: is no name of an environment variable
            environment RUNSCRIBE__ANALYSIS__ARGS: `analysis.args`: `["open` is neither a TOML list nor a,b,c
            environment RUNSCRIBE__ANALYSIS__ARGS: `analysis.args`: item 1: expected text in quotes, found the number 1; did you mean `"1"`?
            environment RUNSCRIBE__TRAINING__LOSS_FACTOR: `training.loss_factor`: is NaN and must be a finite number
            environment RUNSCRIBE__GATES__0__MIN: `gates.0.MIN`: is a list of tables, which a variable cannot hold; write `[[gates]]` in a file
            environment RUNSCRIBE__PROJECT__ROOT: `project.root`: cannot be set by a variable; use `--root`
        "#]].assert_eq(&report(&variables));
    }
}
