//! Layers to settings: merging, checking, and where each value came from.

use config::{Config, ConfigError, Value, ValueKind};
use serde::Deserialize as _;

use super::Settings;
use super::check::{Surroundings, check};
use super::effective::{EffectiveValue, effective_values};
use super::layer::Layer;
use super::lists::LISTS;
use super::problem::{ConfigProblem, ConfigProblems, Fault};
use super::raw::Raw;

/// The settings in force, and the origin of each value.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Checked settings.
    pub settings: Settings,
    /// Every value in the order of the sections, with its origin.
    pub effective: Vec<EffectiveValue>,
}

/// Merges layers, the later over the earlier ones.
pub(super) fn merge(layers: &[Layer]) -> Result<Value, ConfigError> {
    let builder =
        layers.iter().fold(Config::builder(), |builder, layer| builder.add_source(layer.clone()));
    Ok(builder.build()?.cache)
}

/// Finds a value of the merged configuration.
pub(super) fn lookup<'value>(merged: &'value Value, path: &[&str]) -> Option<&'value Value> {
    path.iter().try_fold(merged, |value, name| match &value.kind {
        ValueKind::Table(table) => table.get(*name),
        _ => None,
    })
}

/// Merges and checks layers, of which the first holds the defaults.
///
/// # Errors
///
/// Every problem of every layer, in their order, `problems` first, then those that only the
/// merged values show.
pub(super) fn compose(
    layers: &[Layer],
    surroundings: &Surroundings,
    mut problems: Vec<ConfigProblem>,
) -> Result<Loaded, ConfigProblems> {
    problems.extend(layers.iter().flat_map(|layer| layer.problems.iter().cloned()));
    let unmergeable = |error: ConfigError| {
        ConfigProblems(vec![Fault::new(error.to_string()).at("all layers together", "")])
    };
    let merged = merge(layers).map_err(unmergeable)?;
    let raw = Raw::deserialize(merged.clone()).map_err(unmergeable)?;
    let gate_order = gate_order(layers);
    let (settings, findings) = check(raw, &gate_order, surroundings);
    for (key, fault) in findings {
        // A gate whose field was refused lacks that field only because it was refused.
        if !problems.iter().any(|problem| problem.key.starts_with(&key)) {
            let origin = origin_of(&key, &merged, layers);
            problems.push(fault.at(origin, key));
        }
    }
    if !problems.is_empty() {
        return Err(ConfigProblems(problems));
    }
    let effective = effective_values(&merged, &gate_order, surroundings);
    Ok(Loaded { settings, effective })
}

/// Names the gates in the order in which the layers first mention them.
fn gate_order(layers: &[Layer]) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    for (name, _) in layers.iter().flat_map(|layer| &layer.gates) {
        if !order.contains(name) {
            order.push(name.clone());
        }
    }
    order
}

/// Returns where a finding's key was set last: for a gate the place of its newest mention.
fn origin_of(key: &str, merged: &Value, layers: &[Layer]) -> String {
    let gate = key.strip_prefix("gates[").and_then(|rest| rest.strip_suffix(']'));
    if let Some(gate) = gate {
        let mut mentions = layers.iter().rev().flat_map(|layer| &layer.gates);
        return mentions
            .find(|(name, _)| name == gate)
            .map_or_else(String::new, |found| found.1.clone());
    }
    for list in LISTS {
        let number = key.strip_prefix(list.name).and_then(|rest| rest.strip_prefix('['));
        let number = number.and_then(|rest| rest.strip_suffix(']')?.parse::<usize>().ok());
        if let Some(number) = number
            && let Some(ValueKind::Array(all)) = lookup(merged, &[list.name]).map(|it| &it.kind)
            && let Some(item) = all.get(number.saturating_sub(1))
        {
            return item.origin().unwrap_or_default().to_owned();
        }
    }
    let path: Vec<&str> = key.split('.').collect();
    lookup(merged, &path).and_then(Value::origin).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use config::Source as _;
    use expect_test::{expect, expect_file};

    use super::*;
    use crate::settings::effective::render_effective;
    use crate::settings::toml_text::{self, RootKey};
    use crate::settings::{defaults, lists, schema};

    const DEFAULT_FILE: &str = include_str!("../../config/runscribe.toml");

    fn surroundings() -> Surroundings {
        Surroundings {
            root: "/project".into(),
            root_origin: "--root".to_owned(),
            socket: None,
            runtime_directory: None,
        }
    }

    fn load_texts(texts: &[&str]) -> Result<Loaded, ConfigProblems> {
        let named = texts.iter().enumerate().map(|(index, text)| {
            toml_text::read(&format!("layer{}.toml", index + 1), text, RootKey::Allowed)
        });
        let layers: Vec<Layer> = std::iter::once(Layer::of_defaults()).chain(named).collect();
        compose(&layers, &surroundings(), Vec::new())
    }

    /// Returns every path that a layer sets, with its value as TOML.
    fn flat(layer: &Layer) -> BTreeMap<String, String> {
        fn walk(path: &str, value: &ValueKind, result: &mut BTreeMap<String, String>) {
            match value {
                ValueKind::Table(table) => {
                    result.insert(path.to_owned(), "(table)".to_owned());
                    for (name, value) in table {
                        walk(&format!("{path}/{name}"), &value.kind, result);
                    }
                }
                other => {
                    result.insert(path.to_owned(), toml_text::write(other));
                }
            }
        }
        let mut result = BTreeMap::new();
        walk("", &ValueKind::Table(layer.collect().unwrap_or_default()), &mut result);
        result
    }

    /// Names everything in which a file and the built-in defaults differ.
    fn differences(file: &str, built_in: &Layer) -> Vec<String> {
        let layer = toml_text::read("config/runscribe.toml", file, RootKey::Forbidden);
        let problems = layer.problems.iter().map(ToString::to_string);
        let (file, built_in) = (flat(&layer), flat(built_in));
        let mut different: Vec<String> = problems.collect();
        for path in file.keys().chain(built_in.keys()) {
            if file.get(path) != built_in.get(path) {
                different.push(path.clone());
            }
        }
        different
    }

    #[test]
    fn the_default_file_lists_every_key_at_its_default() {
        assert_eq!(differences(DEFAULT_FILE, &Layer::of_defaults()), Vec::<String>::new());
        let loaded = load_texts(&[DEFAULT_FILE]).map(|loaded| format!("{:?}", loaded.settings));
        assert_eq!(loaded, Ok(format!("{:?}", defaults(Path::new("/project")))));
        let order =
            |layer: &Layer| layer.gates.iter().map(|gate| gate.0.clone()).collect::<Vec<_>>();
        let file = toml_text::read("", DEFAULT_FILE, RootKey::Forbidden);
        assert_eq!(order(&file), order(&Layer::of_defaults()));
    }

    #[test]
    fn a_key_missing_on_either_side_would_be_noticed() {
        let mut lines = 0;
        for (number, line) in DEFAULT_FILE.lines().enumerate() {
            let is_table = line.starts_with("[analysis.") || line.starts_with("[log.headers");
            if line.starts_with('#') || !(line.contains(" = ") || is_table) {
                continue;
            }
            lines += 1;
            let others = DEFAULT_FILE.lines().enumerate().filter(|(other, _)| *other != number);
            let shorter: Vec<&str> = others.map(|(_, line)| line).collect();
            let found = differences(&shorter.join("\n"), &Layer::of_defaults());
            assert!(!found.is_empty(), "nobody misses {line}");
        }
        let gate_fields: usize =
            schema::DEFAULT_GATES.iter().map(|(_, fields)| fields.len() + 1).sum();
        let entries = |key: &schema::Key| match key.default {
            // The line of a table that has entries is not counted, they are.
            schema::Literal::Entries(entries) => entries.len() - 1,
            _ => 0,
        };
        let entries: usize = schema::KEYS.iter().map(entries).sum();
        assert_eq!(lines, schema::KEYS.len() + gate_fields + entries + list_fields());
        for left_out in schema::KEYS {
            let mut built_in = Layer::default();
            for key in schema::KEYS.iter().filter(|key| !std::ptr::eq(*key, left_out)) {
                built_in.put_default(key);
            }
            let path = format!("/{}/{}", left_out.section, left_out.name);
            assert!(differences(DEFAULT_FILE, &built_in).contains(&path), "nobody misses {path}");
        }
    }

    /// Counts the fields of all items that lists have by default.
    fn list_fields() -> usize {
        let fields = |list: &lists::List| match list.default_items() {
            Some(ValueKind::Array(items)) => items.len() * list.fields.len(),
            _ => 0,
        };
        LISTS.iter().map(fields).sum()
    }

    #[test]
    fn each_comment_of_the_default_file_stands_above_a_key() {
        // A key in no paragraph that begins with a comment would be one that nobody explains.
        for paragraph in DEFAULT_FILE.split("\n\n").filter(|text| text.contains(" = ")) {
            let first = paragraph.lines().find(|line| !line.starts_with('['));
            let second_gate = paragraph.contains("pairwise-similarity");
            assert!(second_gate || first.is_some_and(|line| line.starts_with('#')), "{paragraph}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let settings = defaults(Path::new("/project"));
        expect_file!["../../tests/fixtures/settings/defaults.txt"].assert_debug_eq(&settings);
    }

    #[test]
    fn later_layers_win_and_gates_merge_by_name() {
        let loaded = load_texts(&[
            "[watch]\nsettle = \"1s\"\nreconcile = \"10s\"\n[analysis]\nargs = [\"a\", \"b\"]\n\
             [analysis.env]\nA = \"1\"\nB = \"1\"\n\
             [[gates]]\nname = \"new\"\nmeasurement = \"participation_ratio\"\nmin = 2",
            "[watch]\nsettle = \"500ms\"\n[analysis]\nargs = [\"c\"]\nenv.B = \"2\"\n\
             [[gates]]\nname = \"effective-rank\"\nmin = 12.5\nmax = 100\n\
             [[gates]]\nname = \"new\"\nseverity = \"warn\"",
        ]);
        let loaded = loaded.unwrap();
        assert_eq!(loaded.settings.analysis.args, ["c"]);
        let changed = loaded.effective.iter().filter(|value| value.origin != "default");
        let lines: Vec<String> = changed
            .map(|line| format!("{} = {}  # {}", line.key, line.value, line.origin))
            .collect();
        expect![[r#"
            project.root = "/project"  # --root
            watch.reconcile = "10s"  # layer1.toml
            watch.settle = "500ms"  # layer2.toml
            analysis.args = ["c"]  # layer2.toml
            analysis.env.A = "1"  # layer1.toml
            analysis.env.B = "2"  # layer2.toml
            gates[effective-rank].min = 12.5  # layer2.toml
            gates[effective-rank].max = 100  # layer2.toml
            gates[new].measurement = "participation_ratio"  # layer1.toml
            gates[new].min = 2  # layer1.toml
            gates[new].severity = "warn"  # layer2.toml"#]]
        .assert_eq(&lines.join("\n"));
        let gates: Vec<String> =
            loaded.settings.gates.iter().map(|gate| format!("{gate:?}")).collect();
        expect![[r#"
            Gate { name: "effective-rank", measurement: "global_effective_rank", min: Some(12.5), max: Some(100.0), reference: Some(128), severity: Fail }
            Gate { name: "pairwise-similarity", measurement: "mean_concept_similarity", min: None, max: Some(0.5), reference: None, severity: Warn }
            Gate { name: "new", measurement: "participation_ratio", min: Some(2.0), max: None, reference: None, severity: Warn }"#]].assert_eq(&gates.join("\n"));
    }

    #[test]
    fn what_only_several_values_together_get_wrong_is_reported() {
        let problems = load_texts(&[
            "[project]\nstate_dir = \"Cache/Training/../Training/state\"\nexperiment_log = \"Cache/x.md\"\n\
             [[gates]]\nname = \"empty\"\n\
             [[gates]]\nname = \"open\"\nmeasurement = \"x\"\n\
             [[gates]]\nname = \"measures-nothing\"\nmin = 1\n\
             [[gates]]\nname = \"backwards\"\nmeasurement = \"x\"\nmin = 2\nmax = 1\n\
             [[gates]]\nname = \"scales-nothing\"\nmeasurement = \"x\"\nmax = 1\nreference = 128\n\
             [[gates]]\nname = \"misspelt\"\nmeasurement = \"x\"\nminn = 1\n",
            "[analysis]\ncommand = [\"\", \"x\"]\n[project]\ntraining_dir = \"./Cache//Training/\"\n\
             [[gates]]\nname = \"pairwise-similarity\"\nmin = 0.9\n",
        ]);
        expect![[r"
            9 problems in the configuration:
              layer1.toml:25: `gates[misspelt].minn`: unknown key; did you mean `min`?
              layer1.toml: `project.state_dir`: `/project/Cache/Training/../Training/state` lies in `project.training_dir`, where runscribe never writes
              layer2.toml: `analysis.command`: names no program; its first item is empty
              layer2.toml:5: `gates[pairwise-similarity]`: nothing passes: min 0.9 is larger than max 0.5
              layer1.toml:4: `gates[empty]`: has no `measurement`
              layer1.toml:6: `gates[open]`: has neither `min` nor `max`
              layer1.toml:9: `gates[measures-nothing]`: has no `measurement`
              layer1.toml:12: `gates[backwards]`: nothing passes: min 2 is larger than max 1
              layer1.toml:17: `gates[scales-nothing]`: has a `reference`, which scales `min`, and no `min`
            correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"]].assert_eq(&problems.unwrap_err().to_string());
    }

    #[test]
    fn effective_settings_are_toml_that_loads_again() {
        let loaded =
            load_texts(&["[project]\nmachine = 'back\\slash and \"quotes\"'\n[analysis]\n\
             min_free_gpu_memory = 1024\nadopt = \"all\"\ndevice = \"cuda:1\"\n\
             [analysis.env]\nHF_HOME = \"/x\"\n\"odd name\" = \"multi\\nline\"\n\
             [analysis.model_types]\nMyEncoder = \"weighted_mlm\"\n"]);
        let loaded = loaded.unwrap();
        let text = render_effective(&loaded);
        expect_file!["../../tests/fixtures/settings/effective.toml"].assert_eq(&text);
        let again = load_texts(&[&text]).unwrap();
        assert_eq!(format!("{:?}", again.settings), format!("{:?}", loaded.settings));
    }

    #[test]
    fn the_last_list_of_receivers_wins_and_no_address_is_shown() {
        let first = "[[alerts]]\nurl = \"https://old/secret\"\n";
        let second = "[[alerts]]\nurl = \"https://hooks.slack.com/services/secret\"\n\
                      format = \"slack\"\non = [\"fail\"]\n\
                      [[alerts]]\nurl = \"http://10.0.0.7:8080/secret\"\n";
        let loaded = load_texts(&[first, second]).unwrap();
        expect![[r"
            [AlertSettings { address: https://hooks.slack.com/…, format: Slack, on: [Fail] }, AlertSettings { address: http://10.0.0.7:8080/…, format: Json, on: [Fail, TrainingFailure, Stalled, Degraded] }]"]]
        .assert_eq(&format!("{:?}", loaded.settings.alerts));
        let shown = render_effective(&loaded);
        let (_, alerts) = shown.split_once("# receiver 1").unwrap();
        expect![[r#"

            [[alerts]]
            url = "https://hooks.slack.com/…"  # layer2.toml:2
            format = "slack"                   # layer2.toml:3
            on = ["fail"]                      # layer2.toml:4

            # receiver 2
            [[alerts]]
            url = "http://10.0.0.7:8080/…"  # layer2.toml:6
        "#]]
        .assert_eq(alerts);
        let none = load_texts(&[first, "alerts = []"]).unwrap();
        assert_eq!(none.settings.alerts, []);
        // What was shown is not taken for an address.
        assert!(load_texts(&[&shown]).is_err());
    }

    #[test]
    fn wrong_receivers_are_reported_and_not_quoted() {
        let problems = load_texts(&[
            "[[alerts]]\nurl = \"hooks.slack.com/secret\"\n\
             [[alerts]]\nurl = 7\nformat = \"slak\"\non = [\"fial\"]\nwhen = \"fail\"\n\
             [[alerts]]\nformat = \"ntfy\"\n\
             [[alerts]]\nurl = \"https://ntfy.sh/secret\"\n\
             [[alerts]]\nurl = \"https://ntfy.sh/secret\"\non = \"fail\"\n",
            "[alerts]\nurl = \"https://ntfy.sh/secret\"\n",
        ]);
        let text = problems.unwrap_err().to_string();
        assert!(!text.contains("secret"), "{text}");
        expect![[r#"
            8 problems in the configuration:
              layer1.toml:2: `alerts[1].url`: is no address such as `https://…`: relative URL without a base
              layer1.toml:4: `alerts[2].url`: expected text in quotes, found the number 7
              layer1.toml:5: `alerts[2].format`: `slak` is not one of `json`, `slack`, `discord`, `ntfy`; did you mean `"slack"`?
              layer1.toml:6: `alerts[2].on`: item 1: `fial` is not one of `fail`, `training_failure`, `stalled`, `degraded`; did you mean `"fail"`?
              layer1.toml:7: `alerts[2].when`: unknown key
              layer1.toml:14: `alerts[5].on`: expected a list of texts, found the text `fail`; did you mean `["fail"]`?
              layer2.toml:1: `alerts`: is a list; write `[[alerts]]` for each receiver
              layer1.toml:8: `alerts[3]`: has no `url`
            correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"#]].assert_eq(&text);
    }

    #[test]
    fn scripts_and_forms_of_tags_are_checked_and_a_later_list_replaces_an_earlier_one() {
        let replaced = "[[training_scripts]]\npath = \"train.sh\"\nplatform = \"linux\"\n\
                        model = \"x\"\n[discipline.tags]\narch = \"a/{feature}\"\n";
        let loaded = load_texts(&[replaced]).unwrap().settings;
        assert_eq!(loaded.training_scripts.len(), 1);
        assert_eq!(loaded.evaluation_scripts.len(), 4);
        assert_eq!(loaded.discipline.tags.arch, "a/{feature}");
        assert_eq!(loaded.discipline.tags.train, "train/{run}_{date}");
        let problems = load_texts(&[
            "[[training_scripts]]\npath = \"a.sh\"\nplatform = \"linx\"\nmodel = \"x\"\n\
             [[training_scripts]]\npath = \"b.sh\"\nplatform = \"linux\"\n\
             [[training_scripts]]\npath = \"c.sh\"\nplatform = \"linux\"\nmodel = \"x\"\n\
             [[training_scripts]]\npath = \"c.sh\"\nplatform = \"linux\"\nmodel = \"y\"\n\
             [[evaluation_scripts]]\nplatform = \"linux\"\nbenchmark = \"x\"\n\
             [discipline]\nchangelog = \"Cache/Training/x.md\"\ncommit_prefixes = [\"fix:\"]\n\
             [discipline.tags]\narch = \"arch\"\ntran = \"x\"\n[wandb]\nbase_url = \"api\"\n\
             [publish]\ncommand = [\"\"]\n[log]\nwrite = \"inplace\"\n",
        ]);
        expect![[r#"
            11 problems in the configuration:
              layer1.toml:3: `training_scripts[1].platform`: `linx` is not one of `linux`, `macos`, `windows`; did you mean `"linux"`?
              layer1.toml:18: `evaluation_scripts[1].benchmark`: unknown key; did you mean `benchmarks`?
              layer1.toml:21: `discipline.commit_prefixes`: item 1: `fix:` is no word; write it without `:`
              layer1.toml:23: `discipline.tags.arch`: must hold `{feature}` once
              layer1.toml:24: `discipline.tags.tran`: is no kind of tag; did you mean `train`?
              layer1.toml:26: `wandb.base_url`: is no address such as `https://…`: relative URL without a base
              layer1.toml:30: `log.write`: `inplace` is not one of `in-place`, `branch`; did you mean `"in-place"`?
              layer1.toml: `discipline.changelog`: `/project/Cache/Training/x.md` lies in `project.training_dir`, where runscribe never writes
              layer1.toml: `publish.command`: names no program; its first item is empty
              layer1.toml:5: `training_scripts[2]`: has no `model`
              layer1.toml:12: `training_scripts[4]`: has the `path` of an earlier one
            correct them, then try `runscribe config --check`; the default file `config/runscribe.toml` explains every key"#]].assert_eq(&problems.unwrap_err().to_string());
    }

    #[test]
    fn secrets_are_not_shown() {
        let loaded =
            load_texts(&["[analysis.env]\nHF_TOKEN = \"hf_abc\"\nwandb_api_key = \"k_abc\"\n"]);
        let loaded = loaded.unwrap();
        assert!(!render_effective(&loaded).contains("abc"));
        assert_eq!(
            loaded.settings.analysis.env.get("HF_TOKEN").map(String::as_str),
            Some("hf_abc")
        );
    }
}
