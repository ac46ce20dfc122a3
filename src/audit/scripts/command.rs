//! From the words of a command to the Python program that it starts.

use std::rc::Rc;

use super::variables::{Word, joined};
use super::{Launcher, Parameter, Start, Undecided};

/// A simple command of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// Its line, counted from 1.
    pub(super) line: usize,
    /// The folder that it runs in, relative to the root.
    pub(super) folder: Rc<str>,
    /// Its words, the program first.
    pub(super) words: Vec<Word>,
    /// Whether it reads what the command before it prints.
    pub(super) is_piped: bool,
}

/// Programs that start what stands behind their own options.
const WRAPPERS: [&str; 21] = [
    "chrt",
    "command",
    "conda",
    "env",
    "exec",
    "ionice",
    "micromamba",
    "nice",
    "nohup",
    "numactl",
    "pipenv",
    "pixi",
    "poetry",
    "setsid",
    "srun",
    "start-process",
    "stdbuf",
    "sudo",
    "time",
    "timeout",
    "uv",
];
/// Programs that start a script several times.
const SPAWNERS: [&str; 4] = ["accelerate", "deepspeed", "torchrun", "torchx"];
/// Modules of Python that start the script behind their own options.
const SPAWNING_MODULES: [&str; 5] = [
    "accelerate.commands.launch",
    "accelerate.commands.accelerate_cli",
    "torch.distributed.launch",
    "torch.distributed.run",
    "deepspeed.launcher.runner",
];
/// Modules and programs that are tools and no entries.
const TOOLS: [&str; 9] =
    ["compileall", "ensurepip", "http", "json", "pip", "pytest", "site", "venv", "wandb"];
/// Programs that run another script.
const SHELLS: [&str; 8] = ["bash", "dash", "pwsh", "powershell", "sh", "source", ".", "zsh"];

enum Found {
    Start(Box<Start>),
    Undecided(String),
    Nothing,
}

/// Returns what the commands start. Of a pipe the first Python program is the entry: what follows
/// it filters its output.
pub(super) fn starts(commands: &[Command]) -> Launcher {
    let mut launcher = Launcher::default();
    let mut has_started = false;
    for command in commands {
        has_started &= command.is_piped;
        if has_started {
            continue;
        }
        match look(command) {
            Found::Start(start) => {
                has_started = true;
                launcher.starts.push(*start);
            }
            Found::Undecided(reason) => {
                launcher.undecided.push(Undecided { line: command.line, reason });
            }
            Found::Nothing => {}
        }
    }
    launcher
}

fn look(command: &Command) -> Found {
    let words = command.words.as_slice();
    let Some((first, rest)) = words.split_first() else { return Found::Nothing };
    let Some(name) = first.value().map(program_name) else {
        return unknown_program(command, first, rest);
    };
    if name == "eval" {
        let is_eval = |word: &Word| word.value().map(program_name).as_deref() == Some("eval");
        let words = rest.iter().flat_map(split).skip_while(is_eval).collect();
        let folder = Rc::clone(&command.folder);
        return look(&Command { line: command.line, folder, words, is_piped: command.is_piped });
    }
    if SHELLS.contains(&name.as_str()) {
        return another_script(rest);
    }
    let is_wrapper = WRAPPERS.contains(&name.as_str());
    let at = words.iter().position(is_launching).filter(|at| *at == 0 || is_wrapper);
    if let Some((program, arguments)) = at.and_then(|at| words.get(at..)?.split_first()) {
        let name = program.value().map(program_name).unwrap_or_default();
        return if is_python(&name) {
            python(command, arguments)
        } else {
            spawned(command, arguments, Vec::new())
        };
    }
    match rest.iter().find(|word| is_script(word)) {
        Some(_) if is_wrapper => spawned(command, rest, Vec::new()),
        _ if is_script(first) => started(command, first, rest, Vec::new()),
        _ => wrapped_unknown(is_wrapper, &name, rest),
    }
}

fn split(word: &Word) -> Vec<Word> {
    match word.value() {
        Some(text) => text.split_whitespace().map(Word::known).collect(),
        None => vec![word.clone()],
    }
}

/// `uv run $SCRIPT`: something is started, and reading does not tell what.
fn wrapped_unknown(is_wrapper: bool, name: &str, rest: &[Word]) -> Found {
    let target = rest.iter().find(|word| !word.text.starts_with('-') && word.text != "run");
    match target.and_then(|word| word.unknown.as_deref()) {
        Some(reason) if is_wrapper => Found::Undecided(format!("what `{name}` starts: {reason}")),
        _ => Found::Nothing,
    }
}

/// A program that is not known, with a script behind it, is an interpreter of whatever name.
fn unknown_program(command: &Command, first: &Word, rest: &[Word]) -> Found {
    match rest.first() {
        Some(word) if is_script(word) => {
            started(command, word, rest.get(1..).unwrap_or_default(), Vec::new())
        }
        _ if rest.iter().any(is_script) => spawned(command, rest, Vec::new()),
        _ => {
            let reason = first.unknown.clone().unwrap_or_default();
            Found::Undecided(format!("the program is not known: {reason}"))
        }
    }
}

fn another_script(rest: &[Word]) -> Found {
    let is_launcher = |name: &str| {
        let name = name.to_ascii_lowercase();
        [".sh", ".ps1"].iter().any(|end| name.ends_with(end))
    };
    match rest.iter().find(|word| !word.text.starts_with('-')) {
        Some(word) if word.value().is_some_and(is_launcher) => {
            Found::Undecided(format!("it runs another script, `{}`", word.text))
        }
        _ => Found::Nothing,
    }
}

/// Behind `python`: options, then a script, `-m` and a module, `-c` and code, or `-`.
fn python(command: &Command, arguments: &[Word]) -> Found {
    let mut at = 0;
    while let Some(word) = arguments.get(at) {
        let behind = |skipped: usize| arguments.get(at + skipped..).unwrap_or_default();
        match word.text.as_str() {
            "-c" | "-" | "-V" | "--version" | "-h" | "--help" => return Found::Nothing,
            "-m" => return module(command, behind(1)),
            "-X" | "-W" | "--check-hash-based-pycs" => at += 2,
            option if option.starts_with('-') && word.unknown.is_none() => at += 1,
            _ => return started(command, word, behind(1), Vec::new()),
        }
    }
    Found::Nothing
}

fn module(command: &Command, arguments: &[Word]) -> Found {
    let Some((name, rest)) = arguments.split_first() else { return Found::Nothing };
    let Some(module) = name.value() else {
        let reason = name.unknown.clone().unwrap_or_default();
        return Found::Undecided(format!("the module behind `-m`: {reason}"));
    };
    if SPAWNING_MODULES.contains(&module) {
        return spawned(command, rest, Vec::new());
    }
    let top = module.split('.').next().unwrap_or(module);
    if TOOLS.contains(&top) {
        return Found::Nothing;
    }
    let path = Word::known(format!("{}.py", module.replace('.', "/")));
    started(command, &path, rest, Vec::new())
}

/// Behind `accelerate launch` and its like: options of which reading does not tell whether a value
/// follows, then the script, or `-m` and a module.
fn spawned(command: &Command, arguments: &[Word], launching: Vec<Parameter>) -> Found {
    let is_module = |word: &Word| matches!(word.text.as_str(), "-m" | "--module");
    let module_at = arguments.iter().position(is_module).map(|at| at + 1);
    let script_at = arguments.iter().position(is_script);
    let first = |word: &&Word| word.unknown.is_some() && !word.text.starts_with('-');
    match (module_at, script_at) {
        (Some(at), _) if script_at.is_none_or(|script| at <= script) => {
            let options = arguments.get(..at.saturating_sub(1)).unwrap_or_default();
            let own = [launching, parameters(options)].concat();
            let found = module(command, arguments.get(at..).unwrap_or_default());
            with_launching(found, own)
        }
        (_, Some(at)) => {
            let (options, behind) = arguments.split_at(at);
            let own = [launching, parameters(options)].concat();
            let Some((script, rest)) = behind.split_first() else { return Found::Nothing };
            started(command, script, rest, own)
        }
        _ => match arguments.iter().find(first).and_then(|word| word.unknown.as_deref()) {
            Some(reason) => Found::Undecided(format!("the script that is launched: {reason}")),
            None => Found::Nothing,
        },
    }
}

fn with_launching(found: Found, launching: Vec<Parameter>) -> Found {
    match found {
        Found::Start(start) => Found::Start(Box::new(Start { launching, ..*start })),
        other => other,
    }
}

fn started(command: &Command, script: &Word, rest: &[Word], launching: Vec<Parameter>) -> Found {
    let Some(path) = script.value() else {
        let reason = script.unknown.clone().unwrap_or_default();
        return Found::Undecided(format!("the script `{}` that is started: {reason}", script.text));
    };
    Found::Start(Box::new(Start {
        line: command.line,
        entry: joined(&command.folder, path),
        launching,
        parameters: parameters(rest),
    }))
}

/// `--name value`, `--name=value` and flags; words behind a name belong to it up to the next one. A
/// short option is one, too: `Start-Process … -Wait` is no part of the value before it.
fn parameters(words: &[Word]) -> Vec<Parameter> {
    let mut found: Vec<(String, Vec<Word>)> = Vec::new();
    for word in words {
        if let Some(option) = word.text.strip_prefix("--") {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => {
                    let value = Word { text: value.to_owned(), unknown: word.unknown.clone() };
                    (name, vec![value])
                }
                None => (option, Vec::new()),
            };
            found.push((name.replace('-', "_"), value));
        } else if let Some(option) = word.text.strip_prefix('-').filter(|rest| is_name(rest)) {
            found.push((option.to_owned(), Vec::new()));
        } else if let Some((_, values)) = found.last_mut() {
            values.push(word.clone());
        }
    }
    let whole = |values: &[Word]| {
        let values: Result<Vec<String>, String> = values.iter().map(Word::result).collect();
        values.map(|values| values.join(" ").trim().to_owned())
    };
    found.into_iter().map(|(name, values)| Parameter { name, value: whole(&values) }).collect()
}

fn is_name(option: &str) -> bool {
    option.starts_with(|character: char| character.is_ascii_alphabetic())
}

fn is_launching(word: &Word) -> bool {
    let Some(name) = word.value().map(program_name) else { return false };
    is_python(&name) || SPAWNERS.contains(&name.as_str())
}

fn is_python(name: &str) -> bool {
    let version = name.strip_prefix("python").or_else(|| name.strip_prefix("pypy"));
    name == "py" || version.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn is_script(word: &Word) -> bool {
    word.text.to_ascii_lowercase().ends_with(".py") && !word.text.starts_with('-')
}

fn program_name(path: &str) -> String {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path).to_ascii_lowercase();
    name.strip_suffix(".exe").map(str::to_owned).unwrap_or(name)
}
