//! What the host offers for analyses: the program, its interpreter, its environment, and whether
//! a self-test of it succeeds.

mod protocol;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::child::{self, ChildRun, Limits, Plan, Stop};
use crate::model::analysis::{
    Ending, EnvironmentSources, ProgramFacts, ProgramKind, fill_placeholders,
};
use crate::model::secrets::Secrets;
use crate::model::status::Readiness;
use crate::parse::redact;
use crate::settings::Settings;
use crate::settings::env_file::parse_env_file;

/// The watched project's own analysis script, relative to its root.
pub const SCRIPT: &str = "analysis/run_concept_analysis.py";
/// Importing torch takes 6–8 s on a quiet host, and minutes from a cold network disk.
const IMPORT_LIMIT: Duration = Duration::from_mins(3);
const QUICK_LIMIT: Duration = Duration::from_secs(20);
/// Time from TERM to KILL of a helper that is past its limit.
const GRACE: Duration = Duration::from_secs(1);

/// What `discover` cannot see itself.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The daemon's own environment.
    pub environment: Vec<(String, String)>,
    /// The running program, for the embedded probe.
    pub executable: PathBuf,
    /// The executable that becomes the supervisor of what is run.
    pub supervisor: PathBuf,
    /// The soft limit on open files that it gets, where that is not the daemon's own.
    pub open_files: Option<u64>,
    /// Whether earlier observations were made by a real analysis, so that the probe must not
    /// stand in for a script that is missing now.
    pub script_existed: bool,
    /// Cores of the host.
    pub cores: usize,
    /// Builds a child's environment; what passes is for `schedule` to say.
    pub build_environment: fn(&EnvironmentSources) -> BTreeMap<String, String>,
}

/// Finds the program and tests it. Never fails: what is wrong is the readiness.
///
/// A program that was `known` as ready and has not changed is not tested again: importing torch
/// costs seconds of a core.
pub async fn discover(
    settings: &Settings,
    surroundings: &Surroundings,
    known: Option<&(ProgramFacts, Readiness)>,
) -> (ProgramFacts, Readiness) {
    let root = settings.paths.root.clone();
    let found = tokio::task::spawn_blocking({
        let (settings, surroundings) = (settings.clone(), surroundings.clone());
        move || Found::look(&settings, &surroundings)
    })
    .await;
    let found = found.unwrap_or_else(|error| Found::nothing(&error.to_string()));
    if let Some(known) = known.filter(|(facts, readiness)| found.is_ready(facts, readiness)) {
        return known.clone();
    }
    let needs_python = found.argv.iter().any(|part| part.contains("{python}"));
    let house = House::of(settings, surroundings, &found);
    let python = if needs_python {
        python(settings, surroundings, &house).await
    } else {
        Err("the analysis program needs no Python".to_owned())
    };
    let readiness = readiness(&found, needs_python, &python, &house).await;
    let facts = ProgramFacts {
        kind: found.kind,
        argv: found.argv,
        python,
        environment: found.environment,
        secrets: found.secrets,
        protocol: found.protocol,
        root,
        cores: surroundings.cores,
    };
    (facts, readiness)
}

/// Finds the project's Python, as for an analysis.
///
/// # Errors
/// Says what was looked for.
pub async fn interpreter(
    settings: &Settings,
    surroundings: &Surroundings,
) -> Result<String, String> {
    let (own, around) = (settings.clone(), surroundings.clone());
    let found = tokio::task::spawn_blocking(move || Found::look(&own, &around)).await;
    let found = found.map_err(|error| error.to_string())?;
    let house = House::of(settings, surroundings, &found);
    python(settings, surroundings, &house).await
}

/// Where helpers run.
struct House<'a> {
    supervisor: &'a Path,
    environment: &'a BTreeMap<String, String>,
    secrets: &'a Secrets,
    root: &'a Path,
    limits: Limits,
}

impl<'a> House<'a> {
    fn of(settings: &'a Settings, surroundings: &'a Surroundings, found: &'a Found) -> Self {
        Self {
            supervisor: &surroundings.supervisor,
            environment: &found.environment,
            secrets: &found.secrets,
            root: &settings.paths.root,
            limits: Limits {
                timeout: QUICK_LIMIT,
                kill_grace: GRACE,
                nice: settings.analysis.nice,
                open_files: surroundings.open_files,
            },
        }
    }
}

/// What a look at the files says.
struct Found {
    kind: ProgramKind,
    argv: Vec<String>,
    environment: BTreeMap<String, String>,
    secrets: Secrets,
    protocol: String,
    problem: Option<String>,
}

impl Found {
    fn nothing(problem: &str) -> Self {
        Self {
            kind: ProgramKind::Probe,
            argv: Vec::new(),
            environment: BTreeMap::default(),
            secrets: Secrets::default(),
            protocol: String::new(),
            problem: Some(problem.to_owned()),
        }
    }

    /// Whether this is what was found before, and it was ready and still can be.
    fn is_ready(&self, facts: &ProgramFacts, readiness: &Readiness) -> bool {
        let python = facts.python.as_ref();
        self.problem.is_none()
            && matches!(readiness, Readiness::Ready { .. })
            && (self.kind, &self.argv, &self.protocol, &self.environment, &self.secrets)
                == (facts.kind, &facts.argv, &facts.protocol, &facts.environment, &facts.secrets)
            && python.map_or(true, |python| Path::new(python).exists())
    }

    fn look(settings: &Settings, surroundings: &Surroundings) -> Self {
        let (kind, argv, problem) = command(settings, surroundings);
        let sources = environment_sources(settings, surroundings);
        Self {
            protocol: protocol::digest(settings, kind, &argv),
            environment: (surroundings.build_environment)(&sources),
            secrets: secrets(&sources),
            kind,
            argv,
            problem,
        }
    }
}

fn command(
    settings: &Settings,
    surroundings: &Surroundings,
) -> (ProgramKind, Vec<String>, Option<String>) {
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let configured = &settings.analysis.command;
    if !configured.is_empty() {
        return (ProgramKind::Configured, configured.clone(), None);
    }
    let script = settings.paths.root.join(SCRIPT);
    if script.is_file() || surroundings.script_existed {
        let mut argv = words(&["{python}", SCRIPT, "--model_path", "{checkpoint}"]);
        argv.extend(words(&["--model_type", "{model_type}", "--output_json", "{output_json}"]));
        let mut missing = (!script.is_file()).then(|| {
            format!("`{SCRIPT}` was there and is missing; restore it or set `analysis.command`")
        });
        if let Some(dataset) = dataset(settings) {
            missing = missing.or_else(|| missing_dataset(&dataset, &settings.paths.root));
            argv.extend(["--dataset".to_owned(), dataset]);
        }
        return (ProgramKind::Script, argv, missing);
    }
    let mut argv = vec![surroundings.executable.to_string_lossy().into_owned()];
    argv.extend(words(&["probe", "--model_path", "{checkpoint}"]));
    argv.extend(words(&["--output_json", "{output_json}"]));
    (ProgramKind::Probe, argv, None)
}

/// Returns the data set that is passed on, if one is.
pub fn dataset(settings: &Settings) -> Option<String> {
    let own = settings.paths.state.join("dataset");
    settings
        .analysis
        .dataset
        .clone()
        .or_else(|| own.exists().then(|| own.to_string_lossy().into_owned()))
}

/// Says so when a data set that is given as a path is not there. A name such as `user/set` may be one
/// of the hub's, which only the script can find out.
fn missing_dataset(dataset: &str, root: &Path) -> Option<String> {
    let dataset = fill_placeholders(dataset, &[("{root}", &root.to_string_lossy())]);
    let is_path = ["/", "./", "../"].iter().any(|start| dataset.starts_with(start));
    (is_path && !root.join(&dataset).exists())
        .then(|| format!("the data set `{dataset}` is not there; set `analysis.dataset`"))
}

fn environment_sources(settings: &Settings, surroundings: &Surroundings) -> EnvironmentSources {
    let file = match std::fs::read_to_string(&settings.analysis.env_file) {
        Ok(text) => {
            let (pairs, problems) = parse_env_file(&text);
            for problem in problems {
                tracing::warn!(problem, "a line of the environment file is not understood");
            }
            pairs
        }
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, "cannot read the environment file");
            }
            Vec::new()
        }
    };
    let neighbor = settings.paths.root.parent().map(|parent| parent.join("hf_home"));
    let hf_home = neighbor.filter(|path| path.is_dir());
    EnvironmentSources {
        own: surroundings.environment.clone(),
        file,
        configured: settings.analysis.env.clone(),
        hf_home: hf_home.map(|path| path.to_string_lossy().into_owned()),
    }
}

fn secrets(sources: &EnvironmentSources) -> Secrets {
    let listed = sources.own.iter().chain(&sources.file).map(|(name, value)| (name, value));
    let all = listed.chain(&sources.configured);
    redact::secrets_among(all.map(|(name, value)| (name.as_str(), value.as_str())))
}

async fn readiness(
    found: &Found,
    needs_python: bool,
    python: &Result<String, String>,
    house: &House<'_>,
) -> Readiness {
    let not_ready = |problem: String| Readiness::NotReady { problem };
    if let Some(problem) = &found.problem {
        return not_ready(problem.clone());
    }
    if !needs_python {
        let program = found.argv.first().cloned().unwrap_or_default();
        let what = match found.kind {
            ProgramKind::Probe => "embedded probe (weights only)".to_owned(),
            ProgramKind::Configured | ProgramKind::Script => program.clone(),
        };
        let paths = found.environment.get("PATH").map(String::as_str).unwrap_or_default();
        let there = program.contains('{') || find_program(&program, paths, house.root).is_some();
        return if there {
            Readiness::Ready { program: what }
        } else {
            not_ready(format!("`{program}` of `analysis.command` is not an executable file"))
        };
    }
    match python {
        Err(problem) => not_ready(problem.clone()),
        Ok(python) if found.kind == ProgramKind::Configured => {
            let line = format!("{} with {python}", found.argv.join(" "));
            Readiness::Ready { program: redact::redact_with(&line, house.secrets) }
        }
        Ok(python) => match imports(python, house, Imports::Load).await {
            Ok(()) => Readiness::Ready { program: format!("{SCRIPT} with {python}") },
            Err(problem) => not_ready(format!("`{python}` cannot run the analysis: {problem}")),
        },
    }
}

/// Finds a program as a shell would: a path as it is, a bare name in the folders of `paths`.
pub fn find_program(program: &str, paths: &str, root: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let is_executable = |path: &PathBuf| {
        let metadata = std::fs::metadata(path);
        metadata.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(root.join(program)).filter(is_executable);
    }
    let folders = paths.split(':').filter(|folder| !folder.is_empty());
    folders.map(|folder| Path::new(folder).join(program)).find(is_executable)
}

/// Finds the interpreter: the setting, `.venv`, Poetry's environment, or a `python3` that has the
/// libraries.
async fn python(
    settings: &Settings,
    surroundings: &Surroundings,
    house: &House<'_>,
) -> Result<String, String> {
    let root = house.root;
    let paths = house.environment.get("PATH").map(String::as_str).unwrap_or_default();
    if let Some(python) = &settings.analysis.python {
        return find_program(python, paths, root)
            .map(|path| path.to_string_lossy().into_owned())
            .ok_or_else(|| format!("`analysis.python` names `{python}`, which cannot be run"));
    }
    let own = root.join(".venv/bin/python");
    if own.exists() {
        return Ok(own.to_string_lossy().into_owned());
    }
    let home = surroundings.environment.iter().find(|(key, _)| key == "HOME");
    let home = PathBuf::from(home.map(|(_, value)| value.as_str()).unwrap_or_default());
    if is_poetry_project(root)
        && let Some(python) = poetry_python(house, paths, &home).await
    {
        return Ok(python);
    }
    let homes = [home.join(".pyenv/shims/python3"), home.join(".local/bin/python3")];
    let system = ["/usr/local/bin/python3", "/usr/bin/python3"].map(PathBuf::from);
    let candidates = find_program("python3", paths, root).into_iter().chain(homes).chain(system);
    for candidate in candidates.filter(|path| path.exists()) {
        let candidate = candidate.to_string_lossy().into_owned();
        if imports(&candidate, house, Imports::Find).await.is_ok() {
            return Ok(candidate);
        }
    }
    Err("no Python has torch, transformers and datasets; set `analysis.python`".to_owned())
}

fn is_poetry_project(root: &Path) -> bool {
    let names_poetry = |text: String| text.contains("[tool.poetry");
    root.join("poetry.lock").is_file()
        || std::fs::read_to_string(root.join("pyproject.toml")).is_ok_and(names_poetry)
}

/// Asks Poetry for its environment; Poetry's usual homes are not on a service's PATH.
async fn poetry_python(house: &House<'_>, paths: &str, home: &Path) -> Option<String> {
    let homes = [
        ".local/bin/poetry",
        ".poetry/bin/poetry",
        ".pyenv/shims/poetry",
        ".local/share/pypoetry/venv/bin/poetry",
    ];
    let in_homes = homes.iter().map(|tail| home.join(tail)).find(|path| path.exists());
    let poetry = find_program("poetry", paths, house.root).or(in_homes)?;
    let argv = [&*poetry.to_string_lossy(), "env", "info", "-p"];
    let ran = finish(house, &argv, QUICK_LIMIT).await.ok()?;
    let folder = String::from_utf8(ran.stdout.to_bytes()).ok()?;
    let python = Path::new(folder.trim()).join("bin/python");
    (ran.ending == Ending::Exit(0) && python.exists())
        .then(|| python.to_string_lossy().into_owned())
}

/// How far the libraries are tried.
#[derive(Clone, Copy)]
enum Imports {
    /// Only whether they are installed: a tenth of a second.
    Find,
    /// Whether they really load: several seconds.
    Load,
}

async fn imports(python: &str, house: &House<'_>, how: Imports) -> Result<(), String> {
    let (code, limit) = match how {
        Imports::Find => (
            "import importlib.util as u, sys; \
             sys.exit([n for n in ('torch', 'transformers', 'datasets') if not u.find_spec(n)] or 0)",
            QUICK_LIMIT,
        ),
        Imports::Load => ("import torch, transformers, datasets", IMPORT_LIMIT),
    };
    let ran = finish(house, &[python, "-c", code], limit).await;
    let ran = ran.map_err(|error| error.to_string())?;
    if ran.ending == Ending::Exit(0) {
        return Ok(());
    }
    let stderr = ran.stderr.to_bytes();
    let text = String::from_utf8_lossy(&stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(redact::redact_with(last, house.secrets))
}

/// Runs a helper to its end, under the same supervision as an analysis. Fails when it does not exit
/// in time.
async fn finish(house: &House<'_>, argv: &[&str], limit: Duration) -> io::Result<ChildRun> {
    let mut env = house.environment.clone();
    env.insert("CUDA_VISIBLE_DEVICES".to_owned(), String::new());
    let plan = Plan {
        supervisor: house.supervisor.to_owned(),
        argv: argv.iter().map(|part| (*part).to_owned()).collect(),
        env,
        working_directory: house.root.to_owned(),
        limits: Limits { timeout: limit, ..house.limits },
        output: None,
    };
    let ran = child::run(plan, &Stop::default()).await?;
    match ran.ending {
        Ending::Deadline => {
            Err(io::Error::other(format!("no answer within {} s", limit.as_secs())))
        }
        Ending::Exit(_) | Ending::Signal(_) => Ok(ran),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_given_as_a_path_must_be_there_and_a_name_may_be_the_hubs() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("data/mini")).unwrap();
        let there = folder.path().join("data/mini");
        for (dataset, is_missing) in [
            (there.to_str().unwrap(), false),
            ("./data/mini", false),
            ("{root}/data/mini", false),
            ("data/mini", false),
            ("user/minipile", false),
            ("minipile", false),
            ("/nonexistent/minipile", true),
            ("./data/other", true),
            ("{root}/data/other", true),
        ] {
            let missing = missing_dataset(dataset, folder.path());
            assert_eq!(missing.is_some(), is_missing, "{dataset}: {missing:?}");
        }
    }
}
