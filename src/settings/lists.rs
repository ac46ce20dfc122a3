//! Sections that are lists of tables, `[[alerts]]` and the registered scripts: which fields their
//! items have, and what they hold without any configuration. The last layer that has such a list
//! replaces it whole.

use config::{Map, Value, ValueKind};

use super::alerts::{check_address, parse_format, parse_kind};
use super::layer::BUILT_IN;
use super::rule::Rule;
use super::schema::{Literal, not_empty};
use super::words::{check_path, parse_platform};

/// One list.
#[derive(Debug)]
pub(super) struct List {
    /// The name of the section.
    pub(super) name: &'static str,
    /// What one of its items is called.
    pub(super) item: &'static str,
    /// The fields of an item, in the order in which they are shown.
    pub(super) fields: &'static [(&'static str, Rule)],
    /// The items without any configuration.
    default: &'static [&'static [(&'static str, Literal)]],
}

/// The name of the list of receivers of alerts.
pub(super) const ALERTS: &str = "alerts";
/// The name of the list of scripts that start a training.
pub(super) const TRAINING_SCRIPTS: &str = "training_scripts";
/// The name of the list of scripts that evaluate a model.
pub(super) const EVALUATION_SCRIPTS: &str = "evaluation_scripts";

/// Every list, in the order in which they are shown.
pub(super) const LISTS: &[List] = &[
    List {
        name: TRAINING_SCRIPTS,
        item: "training script",
        fields: &[("path", SCRIPT), ("platform", PLATFORM), ("model", Rule::Text(not_empty))],
        default: &[
            &training("scripts/train_weighted_mlm.ps1", "windows", "Weighted MLM"),
            &training("scripts/train_perceiver_mlm.ps1", "windows", "Perceiver MLM"),
            &training("scripts/test_diffusion_local.ps1", "windows", "Diffusion"),
            &training("scripts/test_tsdae_local.ps1", "windows", "TSDAE"),
            &training("scripts/train_mlm_multigpu_perceiver.sh", "linux", "Perceiver MLM"),
            &training("scripts/train_recursive_mlm.sh", "linux", "Recursive MLM"),
            &training("scripts/train_diffusion_multigpu.sh", "linux", "Diffusion"),
        ],
    },
    List {
        name: EVALUATION_SCRIPTS,
        item: "evaluation script",
        fields: &[("path", SCRIPT), ("platform", PLATFORM), ("benchmarks", Rule::Texts(not_empty))],
        default: &[
            &evaluation("scripts/evaluate_concept_encoder_glue.ps1", "windows", GLUE),
            &evaluation("scripts/evaluate_concept_encoder_glue.sh", "linux", GLUE),
            &evaluation("scripts/evaluate_concept_encoder_sick.sh", "linux", &["sick"]),
            &evaluation("scripts/evaluate_concept_encoder_paws.sh", "linux", &["paws"]),
        ],
    },
    List {
        name: ALERTS,
        item: "receiver",
        fields: &[
            ("url", Rule::Text(check_address)),
            ("format", Rule::Text(|text| parse_format(text).map(drop))),
            ("on", Rule::Texts(|text| parse_kind(text).map(drop))),
        ],
        default: &[],
    },
];

const SCRIPT: Rule = Rule::Text(check_path);
const PLATFORM: Rule = Rule::Text(|text| parse_platform(text).map(drop));
const GLUE: &[&str] = &["mrpc", "stsb", "qqp", "mnli-matched", "mnli-mismatched"];

type Fields = [(&'static str, Literal); 3];

const fn training(path: &'static str, platform: &'static str, model: &'static str) -> Fields {
    [
        ("path", Literal::Text(path)),
        ("platform", Literal::Text(platform)),
        ("model", Literal::Text(model)),
    ]
}

const fn evaluation(
    path: &'static str,
    platform: &'static str,
    benchmarks: &'static [&'static str],
) -> Fields {
    [
        ("path", Literal::Text(path)),
        ("platform", Literal::Text(platform)),
        ("benchmarks", Literal::Texts(benchmarks)),
    ]
}

/// Finds a list by the name of its section.
pub(super) fn find(section: &str) -> Option<&'static List> {
    LISTS.iter().find(|list| list.name == section)
}

impl List {
    /// Returns the items without any configuration; `None` for an empty list, which needs no layer.
    pub(super) fn default_items(&self) -> Option<ValueKind> {
        let built_in = |kind| Value::new(Some(&BUILT_IN.to_owned()), kind);
        let item = |fields: &&[(&str, Literal)]| {
            let fields = fields
                .iter()
                .map(|(name, literal)| ((*name).to_owned(), built_in(literal.value())));
            built_in(ValueKind::Table(fields.collect::<Map<_, _>>()))
        };
        let items: Vec<Value> = self.default.iter().map(item).collect();
        (!items.is_empty()).then_some(ValueKind::Array(items))
    }
}
