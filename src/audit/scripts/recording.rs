//! Whether a training program records the state of its code in W&B.

use super::Source;
use super::dictionary::{Added, Keys, Place, Program};
use super::python::{self, File, Statement, Token};

/// The function of the project that tells commit, tag and the like.
const GIT_FACTS: &str = "get_git_info";

/// An answer that reading gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It does: in which file, at which line.
    Yes {
        /// The file, relative to the root.
        path: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// It does not, and how that is known.
    No(String),
    /// Reading does not tell, and why.
    Undecided(String),
}

/// What a program records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// Whether `get_git_info()` is called.
    pub git_info: Answer,
    /// Whether it starts W&B by itself.
    pub wandb_init: Answer,
    /// Whether each of the wanted keys is in W&B's configuration, in their order.
    pub keys: Vec<(String, Answer)>,
}

/// Reads whether a program records the wanted keys. `imported` are the files of the project that it
/// imports, as far as they are there ([`super::imports`]).
pub fn recording(entry: Source<'_>, imported: &[Source<'_>], wanted: &[String]) -> Recording {
    let sources = std::iter::once(entry).chain(imported.iter().copied());
    let program = Program::new(sources.map(python::read).collect());
    let starts = starts(&program);
    let git_info = called(&program, GIT_FACTS);
    let wandb_init = match starts.first() {
        Some(start) => reached(&program, start.place).unwrap_or_else(|| start.found(&program)),
        None => Answer::No(no_start(&program, entry.path)),
    };
    let keys = wanted.iter().map(|key| {
        let answer = match (&wandb_init, starts.as_slice()) {
            (_, []) => Answer::No(format!("`{}` starts W&B nowhere by itself", entry.path)),
            (Answer::Undecided(reason), _) => Answer::Undecided(reason.clone()),
            _ => worst(starts.iter().map(|start| start.answer(&program, key))),
        };
        (key.clone(), answer)
    });
    let keys = keys.collect();
    Recording { git_info, wandb_init, keys }
}

/// One place that starts W&B, with the configuration that it is given.
struct Start {
    place: Place,
    keys: Keys,
}

impl Start {
    fn found(&self, program: &Program) -> Answer {
        at(program, self.place)
    }

    fn answer(&self, program: &Program, key: &str) -> Answer {
        let keys = &self.keys;
        if keys.known.contains(key) {
            return self.found(program);
        }
        if let Some(reason) = keys.possible.get(key) {
            return Answer::Undecided(reason.clone());
        }
        if let Some(reason) = keys.open.first() {
            return Answer::Undecided(reason.clone());
        }
        let path = program.files.get(self.place.file).map_or("", |file| file.path.as_str());
        if keys.has_attributes && names(program, key) {
            let reason = "attributes of objects are recorded, and it may be one of them";
            return Answer::Undecided(reason.to_owned());
        }
        Answer::No(format!("`{path}` gives W&B no `{key}`"))
    }
}

/// Finds `wandb.init(…)` under whatever name, and `accelerator.init_trackers(…)`.
fn starts(program: &Program) -> Vec<Start> {
    let mut found = Vec::new();
    for (file, content) in program.files.iter().enumerate() {
        let aliases = aliases(content);
        for (number, statement) in content.statements.iter().enumerate() {
            let place = Place { file, statement: number };
            let Some(arguments) = init_arguments(&statement.tokens, &aliases) else { continue };
            let mut keys = configuration(program, arguments, place);
            for later in later(program, content, place, &aliases) {
                keys.add(later);
            }
            found.push(Start { place, keys });
        }
    }
    // What the program itself does comes first; an imported function counts when it is called.
    let own = found.iter().any(|start| reached(program, start.place).is_none());
    found.retain(|start| !own || reached(program, start.place).is_none());
    found
}

fn aliases(file: &File) -> Vec<String> {
    let mut aliases = vec!["wandb".to_owned()];
    for statement in &file.statements {
        if let [Token::Name(import), Token::Name(module), Token::Name(word), Token::Name(alias)] =
            statement.tokens.as_slice()
            && import == "import"
            && module == "wandb"
            && word == "as"
        {
            aliases.push(alias.clone());
        }
    }
    aliases
}

fn init_arguments<'a>(tokens: &'a [Token], aliases: &[String]) -> Option<&'a [Token]> {
    let at = tokens.windows(4).position(|four| match four {
        [Token::Name(module), Token::Symbol("."), Token::Name(name), Token::Symbol("(")] => {
            name == "init" && aliases.contains(module) || name == "init_trackers"
        }
        _ => false,
    })?;
    python::enclosed(tokens.get(at + 3..)?).map(|(arguments, _)| arguments)
}

fn configuration(program: &Program, arguments: &[Token], place: Place) -> Keys {
    let mut keys = Keys::default();
    for argument in python::split(arguments, ",") {
        match argument {
            [Token::Name(name), Token::Symbol("="), value @ ..] if name == "config" => {
                keys.add(program.keys(value, place, 0));
            }
            [Token::Symbol("**"), ..] => {
                let reason = "what W&B is started with is computed (`**`)";
                keys.open.push(reason.to_owned());
            }
            _ => {}
        }
    }
    keys
}

/// What is put into W&B's configuration after the start, in the same function.
fn later<'a>(
    program: &'a Program,
    file: &'a File,
    start: Place,
    aliases: &'a [String],
) -> impl Iterator<Item = Keys> + 'a {
    let used = program.statement(start);
    let run = used.and_then(|used| match used.tokens.as_slice() {
        [Token::Name(name), Token::Symbol("="), ..] => Some(name.as_str()),
        _ => None,
    });
    let behind = file.statements.iter().enumerate().skip(start.statement + 1);
    behind.filter_map(move |(number, statement)| {
        let used = used?;
        if statement.function != used.function {
            return None;
        }
        let rest = config_of(&statement.tokens, aliases, run)?;
        let here = Place { statement: number, ..start };
        match rest {
            [Token::Symbol("."), Token::Name(key), Token::Symbol("="), ..] => {
                let key = [Token::Text { value: key.clone(), is_format: false }];
                Some(program.added(Added::Key(&key), here, used, 0))
            }
            _ => Some(program.added(Added::of(rest)?, here, used, 0)),
        }
    })
}

/// Returns what follows `wandb.config`, `wandb.run.config` or `run.config`.
fn config_of<'a>(
    tokens: &'a [Token],
    aliases: &[String],
    run: Option<&str>,
) -> Option<&'a [Token]> {
    let (first, rest) = tokens.split_first()?;
    let name = first.name()?;
    if !aliases.iter().any(|alias| alias == name) && run != Some(name) {
        return None;
    }
    let rest = match rest {
        [Token::Symbol("."), Token::Name(word), behind @ ..] if word == "run" => behind,
        other => other,
    };
    match rest {
        [Token::Symbol("."), Token::Name(word), behind @ ..] if word == "config" => Some(behind),
        _ => None,
    }
}

/// Whether a function is called by the program, by itself or in what it imports.
fn called(program: &Program, function: &str) -> Answer {
    let mut undecided = None;
    for (file, content) in program.files.iter().enumerate() {
        for (number, statement) in content.statements.iter().enumerate() {
            if !calls(statement, function) {
                continue;
            }
            let place = Place { file, statement: number };
            match reached(program, place) {
                None => return at(program, place),
                Some(answer) => undecided = undecided.or(Some(answer)),
            }
        }
    }
    let entry = program.files.first().map_or("", |file| file.path.as_str());
    let reason = format!("`{entry}` does not call `{function}()`, nor does what it imports");
    undecided.unwrap_or(Answer::No(reason))
}

fn calls(statement: &Statement, function: &str) -> bool {
    let is_definition = statement.tokens.iter().take(2).any(|token| token.is_name("def"));
    let mut pairs = statement.tokens.windows(2);
    !is_definition
        && pairs
            .any(|pair| matches!(pair, [Token::Name(name), Token::Symbol("(")] if name == function))
}

/// Returns why it is not known that the program comes to a place; `None` where it does: in its own
/// file, or in an imported function that it calls.
fn reached(program: &Program, place: Place) -> Option<Answer> {
    if place.file == 0 {
        return None;
    }
    let file = program.files.get(place.file)?;
    let header = program.statement(place)?.function;
    let name = header
        .and_then(|header| file.statements.get(header))
        .and_then(|header| header.tokens.iter().skip_while(|token| !token.is_name("def")).nth(1))
        .and_then(Token::name);
    let entry = program.files.first()?;
    let is_called = |name: &str| entry.statements.iter().any(|own| calls(own, name));
    match name {
        Some(name) if is_called(name) => None,
        Some(name) => Some(Answer::Undecided(format!(
            "it stands in `{name}` of `{}`, which `{}` does not call by itself",
            file.path, entry.path
        ))),
        None => None,
    }
}

fn no_start(program: &Program, entry: &str) -> String {
    let has_trainer = names(program, "report_to") || names(program, "Trainer");
    let trainer = if has_trainer {
        "; the Trainer's own start of W&B (`report_to`) records no git facts"
    } else {
        ""
    };
    format!("`{entry}` calls no `wandb.init`{trainer}")
}

/// Whether a word stands anywhere in the code; what is written about it in prose does not count.
fn names(program: &Program, word: &str) -> bool {
    let is_prose =
        |statement: &&Statement| matches!(statement.tokens.as_slice(), [Token::Text { .. }]);
    let statements = program.files.iter().flat_map(|file| &file.statements);
    let mut tokens = statements.filter(|one| !is_prose(one)).flat_map(|one| &one.tokens);
    tokens.any(|token| match token {
        Token::Name(name) => name == word,
        Token::Text { value, .. } => value.contains(word),
        _ => false,
    })
}

fn at(program: &Program, place: Place) -> Answer {
    let path = program.files.get(place.file).map(|file| file.path.clone()).unwrap_or_default();
    let line = program.statement(place).map_or(0, |statement| statement.line);
    Answer::Yes { path, line }
}

/// What holds for all places: one that does not is worse than one of which it is not known.
fn worst(answers: impl Iterator<Item = Answer>) -> Answer {
    let rank = |answer: &Answer| match answer {
        Answer::No(_) => 0,
        Answer::Undecided(_) => 1,
        Answer::Yes { .. } => 2,
    };
    let unknown = || Answer::Undecided("nothing starts W&B".to_owned());
    answers.min_by_key(rank).unwrap_or_else(unknown)
}
