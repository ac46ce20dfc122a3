//! One layer of the configuration: what a single source sets, each value with its origin.

use config::{ConfigError, Map, Source, Value, ValueKind};

use super::lists;
use super::problem::ConfigProblem;
use super::schema;

/// The origin of the built-in defaults.
pub(super) const BUILT_IN: &str = "default";

/// What one source sets; only values that passed their rule are in it.
///
/// Gates are kept as a table by name, so that merging layers merges their fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    values: Map<String, Value>,
    /// Names of the gates it mentions, in their order, each with its place.
    pub(super) gates: Vec<(String, String)>,
    /// What was wrong in it.
    pub(super) problems: Vec<ConfigProblem>,
}

impl Layer {
    /// Returns the layer of built-in defaults.
    pub(super) fn of_defaults() -> Self {
        let mut layer = Self::default();
        for key in schema::KEYS {
            layer.put_default(key);
        }
        for (name, fields) in schema::DEFAULT_GATES {
            layer.put_gate(BUILT_IN, BUILT_IN, name);
            for (field, literal) in *fields {
                layer.put(BUILT_IN, &[schema::GATES, name, field], literal.value());
            }
        }
        for list in lists::LISTS {
            if let Some(items) = list.default_items() {
                layer.put(BUILT_IN, &[list.name], items);
            }
        }
        layer
    }

    /// Returns the layer of a source that could not be read.
    pub(super) fn of_problems(problems: Vec<ConfigProblem>) -> Self {
        Self { problems, ..Self::default() }
    }

    /// Sets one value.
    pub(super) fn put(&mut self, origin: &str, path: &[&str], kind: ValueKind) {
        put_into(&mut self.values, path, Value::new(Some(&origin.to_owned()), kind));
    }

    /// Sets a key to its default.
    pub(super) fn put_default(&mut self, key: &schema::Key) {
        self.put(BUILT_IN, &[key.section, key.name], key.default.value());
        if let schema::Literal::Entries(entries) = key.default {
            for (name, text) in entries {
                self.put(BUILT_IN, &[key.section, key.name, name], (*text).into());
            }
        }
    }

    /// Notes that a gate is mentioned, and at which place; its fields follow.
    pub(super) fn put_gate(&mut self, origin: &str, place: &str, name: &str) {
        self.put(origin, &[schema::GATES, name], ValueKind::Table(Map::new()));
        self.gates.push((name.to_owned(), place.to_owned()));
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.values.clone())
    }
}

fn put_into(table: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => {
            table.insert((*name).to_owned(), value);
        }
        [name, rest @ ..] => {
            let empty = || Value::new(None, ValueKind::Table(Map::new()));
            let inner = table.entry((*name).to_owned()).or_insert_with(empty);
            if let ValueKind::Table(inner) = &mut inner.kind {
                put_into(inner, rest, value);
            }
        }
    }
}
