//! IO shell. Reads the layers from their files, finds the project's root, and hands both to the
//! pure part.
#![expect(clippy::disallowed_methods, reason = "IO shell: reads configuration files")]

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use config::{Value, ValueKind};

use super::check::{Surroundings, under};
use super::compose::{Loaded, compose, lookup, merge};
use super::environment;
use super::layer::Layer;
use super::problem::{ConfigProblem, ConfigProblems, Fault};
use super::toml_text::{self, RootKey};

/// The project's own configuration file, in its root.
const PROJECT_FILE: &str = "runscribe.toml";
/// Largest configuration file that is read, in bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// Where configuration comes from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The host's own file, `/etc/runscribe/config.toml`; it may be absent.
    pub system_file: PathBuf,
    /// `--root`.
    pub root: Option<PathBuf>,
    /// `--config`; it must exist.
    pub config: Option<PathBuf>,
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// Environment variables, all of them.
    pub environment: Vec<(String, String)>,
    /// What relative paths of the command line are relative to, and where the search for the root
    /// begins; absolute.
    pub current_dir: PathBuf,
}

/// Loads and checks the configuration.
///
/// # Errors
///
/// Every problem of every layer at once.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigProblems> {
    let config_file = sources.config.as_ref().map(|path| under(&sources.current_dir, path));
    let is_config_file =
        |path: &Path| config_file.as_ref().is_some_and(|config| is_same(config, path));
    let system = if is_config_file(&sources.system_file) {
        Layer::default()
    } else {
        read_if_present(&sources.system_file, RootKey::Allowed)
    };
    let named = config_file.as_ref().map(|path| read_existing(path, RootKey::Allowed));
    let named = named.unwrap_or_default();
    let environment = environment::read(&sources.environment);

    let known = [Layer::of_defaults(), system, named, environment];
    let (root, root_problem) = find_root(sources, &known);
    let project_file = root.path.join(PROJECT_FILE);
    let is_read = is_config_file(&project_file) || is_same(&project_file, &sources.system_file);
    let project =
        if is_read { Layer::default() } else { read_if_present(&project_file, RootKey::Forbidden) };
    let [defaults, system, named, environment] = known;
    let surroundings = Surroundings {
        root: root.path,
        root_origin: root.origin,
        socket: sources.socket.as_ref().map(|path| under(&sources.current_dir, path)),
        runtime_directory: runtime_directory(&sources.environment),
    };
    let layers = [defaults, system, project, named, environment];
    compose(&layers, &surroundings, root_problem.into_iter().collect())
}

/// The project's root and how it was found.
struct Root {
    path: PathBuf,
    origin: String,
}

/// Finds the root: the command line's, a file's, else the nearest folder that looks like one.
fn find_root(sources: &Sources, layers: &[Layer]) -> (Root, Option<ConfigProblem>) {
    let merged = merge(layers).unwrap_or_default();
    if let Some(root) = &sources.root {
        let origin = "--root".to_owned();
        return existing(Root { path: under(&sources.current_dir, root), origin });
    }
    let root_key = lookup(&merged, &["project", "root"]);
    if let Some(Value { kind: ValueKind::String(root), .. }) = root_key
        && !root.trim().is_empty()
    {
        let origin = root_key.and_then(Value::origin).unwrap_or_default().to_owned();
        // A file that moves between hosts means "beside me", and services start in `/`.
        let folder = Path::new(&origin).parent().unwrap_or(Path::new("/"));
        return existing(Root { path: under(folder, root), origin });
    }
    let training = match lookup(&merged, &["project", "training_dir"]).map(|value| &value.kind) {
        Some(ValueKind::String(training)) => training.as_str(),
        _ => "",
    };
    existing(discover(&sources.current_dir, Path::new(training)))
}

fn discover(current: &Path, training: &Path) -> Root {
    for folder in current.ancestors() {
        if folder.join(PROJECT_FILE).is_file() {
            let origin = format!("found: it holds `{PROJECT_FILE}`");
            return Root { path: folder.to_owned(), origin };
        }
        // An absolute training folder says nothing about any ancestor.
        if training.is_relative() && folder.join(training).is_dir() {
            let origin = format!("found: it holds `{}`", training.display());
            return Root { path: folder.to_owned(), origin };
        }
    }
    Root { path: current.to_owned(), origin: "the current folder".to_owned() }
}

/// Resolves links on the way to the root, and says what is wrong with it unless it is a folder.
fn existing(root: Root) -> (Root, Option<ConfigProblem>) {
    let shown = root.path.display();
    let fault = match root.path.canonicalize() {
        Ok(path) if path.is_dir() => return (Root { path, ..root }, None),
        Ok(_) => Fault::new(format!("the root `{shown}` is not a folder")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Fault::new(format!("the root `{shown}` does not exist"))
        }
        Err(error) => Fault::new(format!("the root `{shown}` cannot be used: {error}")),
    };
    let problem = fault.at(root.origin.clone(), "project.root");
    (root, Some(problem))
}

/// Reads a file that need not exist.
fn read_if_present(path: &Path, root_key: RootKey) -> Layer {
    match path.metadata() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Layer::default()
        }
        // Opening a pipe that nobody writes to would wait forever.
        Ok(metadata) if !metadata.is_file() => unreadable(path, "is not a file"),
        _ => read_existing(path, root_key),
    }
}

fn read_existing(path: &Path, root_key: RootKey) -> Layer {
    match read_bounded(path) {
        Ok(bytes) if bytes.len() as u64 > LARGEST_FILE => {
            unreadable(path, "is larger than 1 MiB, which no configuration is")
        }
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => toml_text::read(&path.display().to_string(), &text, root_key),
            Err(_) => unreadable(path, "is not UTF-8 text"),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => unreadable(path, "does not exist"),
        Err(error) => unreadable(path, &format!("cannot be read: {error}")),
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, problem: &str) -> Layer {
    let problem = Fault::new(problem).at(path.display().to_string(), "");
    Layer::of_problems(vec![problem])
}

fn is_same(left: &Path, right: &Path) -> bool {
    match (left.canonicalize(), right.canonicalize()) {
        (Ok(left), Ok(right)) => left == right,
        _ => left == right,
    }
}

/// Returns the first folder that systemd made for the service (`RuntimeDirectory=`), if any.
fn runtime_directory(environment: &[(String, String)]) -> Option<PathBuf> {
    let (_, folders) = environment.iter().rfind(|(name, _)| name == "RUNTIME_DIRECTORY")?;
    let first = Path::new(folders.split(':').next()?);
    first.is_absolute().then(|| first.to_owned())
}

#[cfg(test)]
mod tests;
