//! The command line of one analysis: model type, placeholders, limits.

use std::collections::BTreeSet;

use crate::model::analysis::{ProgramFacts, ProgramKind, ProgramTemplate, fill_placeholders};
use crate::model::checkpoint::ModelConfig;
use crate::model::ids::CheckpointId;
use crate::settings::AnalysisSettings;

/// The script's own default for `--max_seq_length`, in tokens.
const DEFAULT_SEQUENCE_LENGTH: u64 = 512;

/// The architectures of the watched project and the model type that its analysis script knows
/// them by. Source: the script's own `--model_type` choices.
const MODEL_TYPES: [(&str, &str); 5] = [
    ("ConceptEncoderForMaskedLMPerceiver", "perceiver_mlm"),
    ("ConceptEncoderForMaskedLMPerceiverPosOnly", "perceiver_posonly_mlm"),
    ("ConceptEncoderForMaskedLMWeighted", "weighted_mlm"),
    ("ConceptEncoderForMaskedDiffusion", "diffusion_mlm"),
    ("RecursiveConceptEncoderForMaskedLM", "recursive_mlm"),
];

/// Model types that a program has rejected, each with the protocol of that program.
pub type Rejected = BTreeSet<(String, String)>;

/// Fills in everything of the command line that is known before the checkpoint is pinned;
/// `{checkpoint}` and `{output_json}` stay.
///
/// # Errors
/// Says why this checkpoint cannot be analyzed by this program: its model type is unknown or was
/// rejected, or there is no interpreter.
pub fn template(
    facts: &ProgramFacts,
    settings: &AnalysisSettings,
    checkpoint: &CheckpointId,
    config: &ModelConfig,
    rejected: &Rejected,
) -> Result<ProgramTemplate, String> {
    let model_type = check(facts, settings, config, rejected)?.map(str::to_owned);
    let python = facts.python.as_ref().cloned().unwrap_or_default();
    let step = checkpoint.name.step().map_or_else(|| "final".to_owned(), |step| step.to_string());
    let root = facts.root.to_string_lossy();
    let values = [
        ("{run_id}", checkpoint.run.as_str()),
        ("{step}", &step),
        ("{model_type}", model_type.as_deref().unwrap_or_default()),
        ("{root}", &root),
        ("{python}", &python),
    ];
    let mut argv: Vec<String> =
        facts.argv.iter().map(|part| fill_placeholders(part, &values)).collect();
    if facts.kind == ProgramKind::Script {
        let length = config.max_sequence_length.unwrap_or(DEFAULT_SEQUENCE_LENGTH);
        argv.push("--max_seq_length".to_owned());
        argv.push(length.min(DEFAULT_SEQUENCE_LENGTH).to_string());
    }
    argv.extend(settings.args.iter().map(|part| fill_placeholders(part, &values)));
    let mut env = facts.environment.clone();
    env.entry("OMP_NUM_THREADS".to_owned()).or_insert_with(|| threads(facts.cores).to_string());
    Ok(ProgramTemplate {
        argv,
        env,
        secrets: facts.secrets.clone(),
        working_directory: facts.root.clone(),
        model_type,
        protocol: facts.protocol.clone(),
        is_probe: facts.kind == ProgramKind::Probe,
        timeout: settings.timeout,
        kill_grace: settings.kill_grace,
        pin: settings.pin,
    })
}

/// Says whether a checkpoint with this configuration can be analyzed by this program, and as which
/// model type if the program needs one. Cheap: it is asked of each of thousands that wait.
///
/// # Errors
/// As [`template`].
pub fn check<'given>(
    facts: &ProgramFacts,
    settings: &'given AnalysisSettings,
    config: &ModelConfig,
    rejected: &Rejected,
) -> Result<Option<&'given str>, String> {
    let needs = |placeholder: &str| facts.argv.iter().any(|part| part.contains(placeholder));
    let model_type = needs("{model_type}").then(|| model_type(settings, config)).transpose()?;
    if let Some(model_type) = model_type
        && rejected.iter().any(|(known, by)| known == model_type && *by == facts.protocol)
    {
        return Err(format!("the analysis program does not know model type `{model_type}`"));
    }
    match &facts.python {
        Err(problem) if needs("{python}") => Err(problem.clone()),
        _ => Ok(model_type),
    }
}

/// Returns the model type for a checkpoint: the setting, else the configured table, else the
/// built-in one. Never a guess: a wrong type measures a random encoder and exits 0.
///
/// # Errors
/// Names the architecture that no table knows.
pub fn model_type<'given>(
    settings: &'given AnalysisSettings,
    config: &ModelConfig,
) -> Result<&'given str, String> {
    if let Some(model_type) = &settings.model_type {
        return Ok(model_type);
    }
    let Some(architecture) = config.architecture.as_deref() else {
        return Err("`config.json` names no architecture; set `analysis.model_type`".to_owned());
    };
    let configured = settings.model_types.get(architecture).map(String::as_str);
    let built_in = || MODEL_TYPES.iter().find(|(name, _)| *name == architecture).map(|row| row.1);
    configured.or_else(built_in).ok_or_else(|| {
        format!("unknown architecture `{architecture}`; add it to `[analysis.model_types]`")
    })
}

/// Returns how many threads an analysis may use: a quarter of the cores, at most 4, because
/// training's data loaders need the rest.
fn threads(cores: usize) -> usize {
    (cores / 4).clamp(1, 4)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::model::ids::{CheckpointName, RunId};
    use crate::model::secrets::Secrets;

    fn facts(kind: ProgramKind, argv: &[&str]) -> ProgramFacts {
        ProgramFacts {
            kind,
            argv: argv.iter().map(ToString::to_string).collect(),
            python: Ok("/venv/bin/python".to_owned()),
            environment: BTreeMap::new(),
            secrets: Secrets::default(),
            protocol: "3f2a".to_owned(),
            root: PathBuf::from("/project"),
            cores: 8,
        }
    }

    fn checkpoint() -> CheckpointId {
        CheckpointId {
            run: RunId::new("diffusion_H64L2C128D2_20261123_063802"),
            name: CheckpointName::Step(20),
        }
    }

    fn config(architecture: &str, length: u64) -> ModelConfig {
        ModelConfig {
            architecture: Some(architecture.to_owned()),
            max_sequence_length: Some(length),
            ..ModelConfig::default()
        }
    }

    fn argv_of(
        facts: &ProgramFacts,
        config: &ModelConfig,
        rejected: &Rejected,
    ) -> Result<String, String> {
        let settings = crate::settings::defaults(Path::new("/project")).analysis;
        template(facts, &settings, &checkpoint(), config, rejected).map(|done| done.argv.join(" "))
    }

    #[test]
    fn the_script_gets_its_model_type_and_a_length_it_can_stand() {
        let script =
            facts(ProgramKind::Script, &["{python}", "a.py", "--model_type", "{model_type}"]);
        for (length, shown) in [(64, 64), (512, 512), (2048, 512)] {
            assert_eq!(
                argv_of(
                    &script,
                    &config("ConceptEncoderForMaskedDiffusion", length),
                    &Rejected::new()
                ),
                Ok(format!(
                    "/venv/bin/python a.py --model_type diffusion_mlm --max_seq_length {shown}"
                ))
            );
        }
    }

    #[test]
    fn an_unknown_architecture_is_skipped_only_where_the_type_matters() {
        let script = facts(ProgramKind::Script, &["a.py", "{model_type}"]);
        let probe = facts(ProgramKind::Probe, &["probe", "{checkpoint}"]);
        let unknown = config("SomethingElse", 64);
        assert_eq!(
            argv_of(&script, &unknown, &Rejected::new()),
            Err("unknown architecture `SomethingElse`; add it to `[analysis.model_types]`".into())
        );
        assert_eq!(argv_of(&probe, &unknown, &Rejected::new()), Ok("probe {checkpoint}".into()));
    }

    #[test]
    fn a_rejected_type_is_skipped_until_the_program_changes() {
        let recursive = config("RecursiveConceptEncoderForMaskedLM", 64);
        let rejected = Rejected::from([("recursive_mlm".to_owned(), "3f2a".to_owned())]);
        let mut script = facts(ProgramKind::Script, &["a.py", "{model_type}"]);
        assert!(argv_of(&script, &recursive, &rejected).is_err());
        "77aa".clone_into(&mut script.protocol);
        assert!(argv_of(&script, &recursive, &rejected).is_ok());
    }

    #[test]
    fn placeholders_are_filled_once_and_other_braces_stay() {
        let values = [("{run_id}", "{step}"), ("{step}", "20")];
        for (part, filled) in [
            ("{run_id}/{step}", "{step}/20"),
            ("{\"a\": {step}}", "{\"a\": 20}"),
            ("{unknown}{", "{unknown}{"),
            ("{{step}}", "{20}"),
            ("ü{step}ü", "ü20ü"),
        ] {
            assert_eq!(fill_placeholders(part, &values), filled, "{part}");
        }
    }

    #[test]
    fn an_analysis_gets_few_threads() {
        for (cores, allowed) in [(1, 1), (8, 2), (16, 4), (128, 4)] {
            assert_eq!(threads(cores), allowed);
        }
    }
}
