//! The command lines of an evaluation: the project's registered script where it can be told which
//! model to evaluate, else the Python program under it; one step for each task.
//!
//! Source: the project's `scripts/evaluate_concept_encoder_{glue,sick,paws}.sh` and the programs that
//! they start. The GLUE script takes the model from `MODEL_PATH_OVERRIDE` and `MODEL_TYPE_OVERRIDE`,
//! its `all-glue` sets a list and runs nothing; the other two have the model written in.

/// The variable by which a script is told which model to evaluate.
pub const PATH_OVERRIDE: &str = "MODEL_PATH_OVERRIDE";
const TYPE_OVERRIDE: &str = "MODEL_TYPE_OVERRIDE";
/// The Python program under the GLUE script.
pub const GLUE_ENTRY: &str = "evaluation/evaluate_model_on_glue.py";
/// The Python program under the other scripts.
pub const BENCHMARK_ENTRY: &str = "evaluation/evaluate_on_benchmark.py";

/// All tasks of GLUE but WNLI, which tells nothing.
const ALL_GLUE: [&str; 9] =
    ["cola", "rte", "mrpc", "stsb", "sst2", "qnli", "qqp", "mnli-matched", "mnli-mismatched"];
/// Those that tell something of concepts, in the project's order.
const USUAL_GLUE: [&str; 5] = ["mrpc", "stsb", "qqp", "mnli-matched", "mnli-mismatched"];
const SICK: [&str; 2] = ["sick_relatedness", "sick_entailment"];

/// A family of benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// GLUE, by fine-tuning a classifier for each task.
    Glue,
    /// SICK: relatedness and entailment.
    Sick,
    /// PAWS: paraphrases with the same words.
    Paws,
}

/// What is to be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// On what.
    pub suite: Suite,
    /// Which tasks; empty: the usual ones.
    pub tasks: Vec<String>,
    /// The model's folder, as it is given to the program.
    pub model: String,
    /// As which type it was trained.
    pub trained_as: String,
}

/// What the project offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offered {
    /// The scripts registered for this platform that are there.
    pub scripts: Vec<Script>,
    /// The Python programs that are there.
    pub entries: Vec<String>,
}

/// A registered script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Its path, relative to the root.
    pub path: String,
    /// The benchmarks that it is registered for.
    pub benchmarks: Vec<String>,
    /// Whether it can be told which model to evaluate.
    pub takes_a_model: bool,
    /// Whether it can be executed as it is.
    pub is_executable: bool,
}

/// One program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What people call it.
    pub name: String,
    /// argv; `{python}` stands for the interpreter.
    pub argv: Vec<String>,
    /// Variables that it needs beside the usual ones.
    pub environment: Vec<(String, String)>,
    /// The tasks of which it is to write reports.
    pub expects: Vec<String>,
}

impl Suite {
    /// Returns its name on the command line and in tags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Glue => "glue",
            Self::Sick => "sick",
            Self::Paws => "paws",
        }
    }
}

/// Returns as which type a model is evaluated: perceivers through their decoder, all others as they
/// were trained.
pub fn evaluated_as(trained_as: &str) -> &str {
    if trained_as.starts_with("perceiver") { "perceiver_decoder_cls" } else { trained_as }
}

/// Returns what is to be run, in order.
///
/// # Errors
/// A task is unknown, or the project offers neither a script nor a program for it.
pub fn steps(asked: &Asked, offered: &Offered) -> Result<Vec<Step>, String> {
    match asked.suite {
        Suite::Glue => glue(asked, offered),
        Suite::Sick => benchmark(asked, offered, "sick_all", &SICK),
        Suite::Paws => benchmark(asked, offered, "paws", &["paws"]),
    }
}

/// One step for each task: a task that fails stops no other one.
fn glue(asked: &Asked, offered: &Offered) -> Result<Vec<Step>, String> {
    let is_for = |script: &&Script| {
        script.benchmarks.iter().any(|benchmark| ALL_GLUE.contains(&benchmark.as_str()))
    };
    let script = offered.scripts.iter().find(is_for);
    let usual: Vec<String> = match script {
        Some(script) => script.benchmarks.clone(),
        None => USUAL_GLUE.map(str::to_owned).to_vec(),
    };
    let tasks = tasks(&asked.tasks, &usual, &ALL_GLUE)?;
    let usable = script.filter(|script| script.takes_a_model);
    let step = |task: String| {
        let (argv, environment) = match usable {
            Some(script) => (script_argv(script, Some(&task)), overrides(asked)),
            None => (glue_argv(asked, &task), Vec::new()),
        };
        Step { name: task.clone(), argv, environment, expects: vec![task] }
    };
    if usable.is_none() && !offered.entries.iter().any(|entry| entry == GLUE_ENTRY) {
        return Err(missing("GLUE", GLUE_ENTRY));
    }
    Ok(tasks.into_iter().map(step).collect())
}

/// One step for all, or one for each task that was asked for.
fn benchmark(
    asked: &Asked,
    offered: &Offered,
    all: &str,
    known: &[&str],
) -> Result<Vec<Step>, String> {
    let name = asked.suite.as_str();
    let every: Vec<String> = known.iter().map(|task| (*task).to_owned()).collect();
    let chosen = tasks(&asked.tasks, &every, known)?;
    let is_for = |script: &&Script| {
        script.takes_a_model && script.benchmarks.iter().any(|one| one.starts_with(name))
    };
    let is_whole = chosen.len() == known.len();
    if let Some(script) = offered.scripts.iter().find(is_for).filter(|_| is_whole) {
        let (argv, environment) = (script_argv(script, None), overrides(asked));
        return Ok(vec![Step { name: name.to_owned(), argv, environment, expects: chosen }]);
    }
    if !offered.entries.iter().any(|entry| entry == BENCHMARK_ENTRY) {
        return Err(missing(&name.to_uppercase(), BENCHMARK_ENTRY));
    }
    let step = |benchmark: &str, expects: Vec<String>| Step {
        name: benchmark.to_owned(),
        argv: words(&["{python}", BENCHMARK_ENTRY, "--benchmark", benchmark], asked),
        environment: Vec::new(),
        expects,
    };
    if is_whole {
        return Ok(vec![step(all, chosen)]);
    }
    Ok(chosen.into_iter().map(|task| step(&task, vec![task.clone()])).collect())
}

/// Returns the tasks that were asked for, each once.
fn tasks(asked: &[String], usual: &[String], known: &[&str]) -> Result<Vec<String>, String> {
    let mut tasks: Vec<String> = Vec::new();
    for one in asked {
        let meant: Vec<String> = match one.as_str() {
            "all" => usual.to_vec(),
            "all-glue" if known.contains(&"mrpc") => ALL_GLUE.map(str::to_owned).to_vec(),
            task if known.contains(&task) => vec![task.to_owned()],
            other => {
                let list = known.join(", ");
                return Err(format!("`{other}` is no task of this suite; there are {list}"));
            }
        };
        tasks.extend(meant);
    }
    if tasks.is_empty() {
        tasks = usual.to_vec();
    }
    let mut seen = Vec::new();
    tasks.retain(|task| {
        let is_new = !seen.contains(task);
        seen.push(task.clone());
        is_new
    });
    Ok(tasks)
}

fn overrides(asked: &Asked) -> Vec<(String, String)> {
    let model_type = evaluated_as(&asked.trained_as).to_owned();
    vec![(PATH_OVERRIDE.to_owned(), asked.model.clone()), (TYPE_OVERRIDE.to_owned(), model_type)]
}

fn script_argv(script: &Script, task: Option<&str>) -> Vec<String> {
    let interpreter = (!script.is_executable).then(|| "bash".to_owned());
    let path =
        if script.is_executable { format!("./{}", script.path) } else { script.path.clone() };
    interpreter.into_iter().chain([path]).chain(task.map(str::to_owned)).collect()
}

/// The script's own parameters, so that scores can be compared with those that it brings.
fn glue_argv(asked: &Asked, task: &str) -> Vec<String> {
    let epochs = match task {
        "sst2" => "5",
        "qnli" | "qqp" | "mnli-matched" | "mnli-mismatched" => "3",
        _ => "20",
    };
    let mut argv = words(&["{python}", GLUE_ENTRY, "--task", task], asked);
    let rest = ["--tokenizer_name", &asked.model, "--batch_size", "96", "--epochs", epochs];
    argv.extend(rest.map(str::to_owned));
    argv.extend(["--learning_rate", "1e-5"].map(str::to_owned));
    argv
}

fn words(words: &[&str], asked: &Asked) -> Vec<String> {
    let model = ["--model_type", evaluated_as(&asked.trained_as), "--model_name_or_path"];
    words
        .iter()
        .chain(&model)
        .chain(&[asked.model.as_str()])
        .map(|word| (*word).to_owned())
        .collect()
}

fn missing(what: &str, entry: &str) -> String {
    format!(
        "nothing here evaluates on {what}: no script in `[[evaluation_scripts]]` for this platform \
         takes a model, and `{entry}` is not there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(takes_a_model: bool) -> Offered {
        let script = |path: &str, benchmarks: &[&str], takes_a_model| Script {
            path: path.to_owned(),
            benchmarks: benchmarks.iter().map(|one| (*one).to_owned()).collect(),
            takes_a_model,
            is_executable: false,
        };
        Offered {
            scripts: vec![
                script("scripts/sick.sh", &["sick"], false),
                script("scripts/glue.sh", &USUAL_GLUE, takes_a_model),
            ],
            entries: vec![GLUE_ENTRY.to_owned(), BENCHMARK_ENTRY.to_owned()],
        }
    }

    fn asked(suite: Suite, tasks: &[&str]) -> Asked {
        Asked {
            suite,
            tasks: tasks.iter().map(|one| (*one).to_owned()).collect(),
            model: "Cache/Training/r/r".to_owned(),
            trained_as: "perceiver_posonly_mlm".to_owned(),
        }
    }

    fn lines(asked: &Asked, offered: &Offered) -> Vec<String> {
        let steps = steps(asked, offered).unwrap();
        steps
            .iter()
            .map(|step| format!("{} > {}", step.argv.join(" "), step.expects.join(" ")))
            .collect()
    }

    #[test]
    fn a_script_that_takes_a_model_is_run_for_each_task() {
        let steps = steps(&asked(Suite::Glue, &[]), &offered(true)).unwrap();
        let argv: Vec<String> = steps.iter().map(|step| step.argv.join(" ")).collect();
        assert_eq!(argv.first().unwrap(), "bash scripts/glue.sh mrpc");
        assert_eq!(argv.len(), 5);
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            variable("MODEL_PATH_OVERRIDE", "Cache/Training/r/r"),
            variable("MODEL_TYPE_OVERRIDE", "perceiver_decoder_cls"),
        ];
        assert!(steps.iter().all(|step| step.environment == expected));
        // Its own list of all tasks runs nothing, so each of them is run.
        let all = lines(&asked(Suite::Glue, &["all-glue", "mrpc"]), &offered(true));
        assert_eq!(all.len(), 9);
        assert!(all.contains(&"bash scripts/glue.sh cola > cola".to_owned()));
    }

    #[test]
    fn a_script_with_the_model_written_in_is_by_passed() {
        let model = "--model_type perceiver_decoder_cls --model_name_or_path Cache/Training/r/r";
        assert_eq!(
            lines(&asked(Suite::Glue, &["qqp"]), &offered(false)),
            [format!(
                "{{python}} {GLUE_ENTRY} --task qqp {model} --tokenizer_name Cache/Training/r/r \
                 --batch_size 96 --epochs 3 --learning_rate 1e-5 > qqp"
            )]
        );
        assert_eq!(
            lines(&asked(Suite::Sick, &[]), &offered(true)),
            [format!(
                "{{python}} {BENCHMARK_ENTRY} --benchmark sick_all {model} > sick_relatedness \
                 sick_entailment"
            )]
        );
        assert_eq!(
            lines(&asked(Suite::Sick, &["sick_entailment"]), &offered(true)),
            [format!(
                "{{python}} {BENCHMARK_ENTRY} --benchmark sick_entailment {model} > sick_entailment"
            )]
        );
        assert_eq!(
            lines(&asked(Suite::Paws, &[]), &offered(true)),
            [format!("{{python}} {BENCHMARK_ENTRY} --benchmark paws {model} > paws")]
        );
    }

    #[test]
    fn what_nothing_can_evaluate_is_refused_with_what_is_missing() {
        let nothing = Offered::default();
        for suite in [Suite::Glue, Suite::Sick, Suite::Paws] {
            let problem = steps(&asked(suite, &[]), &nothing).unwrap_err();
            assert!(problem.contains("[[evaluation_scripts]]"), "{problem}");
        }
        let problem = steps(&asked(Suite::Glue, &["mrpcc"]), &offered(true)).unwrap_err();
        assert!(problem.starts_with("`mrpcc` is no task of this suite"), "{problem}");
        assert!(steps(&asked(Suite::Paws, &["all-glue"]), &offered(true)).is_err());
    }

    #[test]
    fn only_perceivers_are_evaluated_as_something_else() {
        for (trained, evaluated) in [
            ("perceiver_mlm", "perceiver_decoder_cls"),
            ("diffusion_mlm", "diffusion_mlm"),
            ("weighted_mlm", "weighted_mlm"),
        ] {
            assert_eq!(evaluated_as(trained), evaluated);
        }
    }
}
