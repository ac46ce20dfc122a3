//! Which keys a dictionary of a Python program has, as far as its source tells.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::python::{self, File, Statement, Token};

/// Calls and variables that are followed into each other.
const DEEPEST: usize = 12;
/// Tokens and statements that are looked at for all dictionaries of a program: where each variable
/// is made of others several times, the ways to go through them have no end.
const MOST: usize = 2_000_000;

/// The keys of a dictionary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Keys {
    /// It always has them.
    pub(super) known: BTreeSet<String>,
    /// It may have them; why that is not certain.
    pub(super) possible: BTreeMap<String, String>,
    /// It holds the attributes of objects as well, whose classes may lie elsewhere.
    pub(super) has_attributes: bool,
    /// Why it may have any other key as well.
    pub(super) open: Vec<String>,
}

impl Keys {
    fn open(reason: impl Into<String>) -> Self {
        Self { open: vec![reason.into()], ..Self::default() }
    }

    fn one(key: &str) -> Self {
        Self { known: BTreeSet::from([key.to_owned()]), ..Self::default() }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.known.extend(other.known);
        self.possible.extend(other.possible);
        self.has_attributes |= other.has_attributes;
        self.open.extend(other.open);
        self.possible.retain(|key, _| !self.known.contains(key));
    }

    /// What is certain becomes possible only.
    pub(super) fn loosened(mut self, reason: &str) -> Self {
        for key in std::mem::take(&mut self.known) {
            self.possible.insert(key, reason.to_owned());
        }
        self
    }

    /// What holds when the one or the other is the dictionary.
    fn either(self, other: Self) -> Self {
        let both: BTreeSet<String> = self.known.intersection(&other.known).cloned().collect();
        let reason = "it is not set on every path";
        let mut whole = self.loosened(reason);
        whole.add(other.loosened(reason));
        whole.add(Self { known: both, ..Self::default() });
        whole
    }

    fn renamed(self, rename: &dyn Fn(&str) -> String) -> Self {
        Self {
            known: self.known.iter().map(|key| rename(key)).collect(),
            possible: self.possible.into_iter().map(|(key, why)| (rename(&key), why)).collect(),
            has_attributes: self.has_attributes,
            open: self.open,
        }
    }
}

/// Where an expression stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Which file.
    pub(super) file: usize,
    /// Which statement.
    pub(super) statement: usize,
}

/// The files that expressions are looked up in.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) files: Vec<File>,
    /// What is left of [`MOST`].
    left: Cell<usize>,
}

impl Program {
    pub(super) fn new(files: Vec<File>) -> Self {
        Self { files, left: Cell::new(MOST) }
    }

    /// Takes so many steps off what is left.
    fn can_afford(&self, steps: usize) -> bool {
        let rest = self.left.get().checked_sub(steps);
        self.left.set(rest.unwrap_or_default());
        rest.is_some()
    }

    pub(super) fn statement(&self, place: Place) -> Option<&Statement> {
        self.files.get(place.file)?.statements.get(place.statement)
    }

    /// Returns the keys of the dictionary that an expression is.
    pub(super) fn keys(&self, expression: &[Token], place: Place, depth: usize) -> Keys {
        if depth > DEEPEST || !self.can_afford(expression.len() + 1) {
            return Keys::open("it is nested too deeply");
        }
        let alternatives = python::split(expression, "|");
        if alternatives.len() > 1 {
            let mut whole = Keys::default();
            for part in alternatives {
                whole.add(self.keys(part, place, depth + 1));
            }
            return whole;
        }
        match expression {
            [Token::Symbol("("), ..] => match python::enclosed(expression) {
                Some((inner, [])) => self.keys(inner, place, depth + 1),
                _ => not_followed(expression),
            },
            [Token::Symbol("{"), ..] => match python::enclosed(expression) {
                Some((inner, [])) => self.display(inner, place, depth),
                _ => not_followed(expression),
            },
            [Token::Name(name)] if name == "None" => Keys::default(),
            [Token::Name(name)] => self.variable(name, place, depth),
            _ => self.call(expression, place, depth),
        }
    }

    /// `{"a": 1, **b}` and `{f"git_{k}": v for k, v in b.items()}`.
    fn display(&self, inner: &[Token], place: Place, depth: usize) -> Keys {
        let mut keys = Keys::default();
        for item in python::split(inner, ",") {
            match item {
                [] => {}
                [Token::Symbol("**"), spread @ ..] => {
                    keys.add(self.keys(spread, place, depth + 1));
                }
                _ if is_comprehension(item) => {
                    // Its loop variables stand behind a comma.
                    keys.add(self.comprehension(inner, place, depth));
                    break;
                }
                [Token::Text { value, is_format: false }, Token::Symbol(":"), ..] => {
                    keys.add(Keys::one(value));
                }
                _ => keys.open.push("a key is computed".to_owned()),
            }
        }
        keys
    }

    fn comprehension(&self, inner: &[Token], place: Place, depth: usize) -> Keys {
        let Some(at) = inner.iter().position(|token| token.is_name("for")) else {
            return not_followed(inner);
        };
        let (head, clause) = inner.split_at(at);
        let key = python::split(head, ":").first().copied().unwrap_or_default();
        let Some(looped) = Loop::of(clause) else { return not_followed(inner) };
        let keys = self.keys(looped.over, place, depth + 1);
        let Some((before, after)) = affixes(key, &looped.key) else { return not_followed(inner) };
        let keys = keys.renamed(&|key| format!("{before}{key}{after}"));
        if looped.is_filtered { keys.loosened("it may be left out by a filter") } else { keys }
    }

    fn call(&self, expression: &[Token], place: Place, depth: usize) -> Keys {
        let is_attributes = matches!(
            expression,
            [.., Token::Symbol("."), Token::Name(last)] if last == "__dict__"
        );
        if is_attributes {
            return Keys { has_attributes: true, ..Keys::default() };
        }
        let Some((name, arguments)) = python::call(expression) else {
            return not_followed(expression);
        };
        let last = name.rsplit('.').next().unwrap_or(&name);
        match last {
            "vars" | "asdict" | "to_dict" | "to_sanitized_dict" | "model_dump" => {
                Keys { has_attributes: true, ..Keys::default() }
            }
            "dict" | "OrderedDict" | "deepcopy" | "update" => {
                self.arguments(arguments, place, depth)
            }
            "copy" if name != "copy.copy" => {
                let own: Vec<Token> =
                    expression.iter().take_while(|t| !t.is("(")).cloned().collect();
                let own = own.get(..own.len().saturating_sub(2)).unwrap_or_default();
                self.keys(own, place, depth + 1)
            }
            _ => self.function(last, depth),
        }
    }

    /// The keys of what a dictionary is made of or updated with: `(other, a=1, **more)`.
    pub(super) fn arguments(&self, arguments: &[Token], place: Place, depth: usize) -> Keys {
        let mut keys = Keys::default();
        for argument in python::split(arguments, ",") {
            match argument {
                [] => {}
                [Token::Symbol("**"), spread @ ..] => {
                    keys.add(self.keys(spread, place, depth + 1));
                }
                [Token::Name(name), Token::Symbol("="), ..] => {
                    // An option of W&B's own `update`, and no key.
                    if name != "allow_val_change" {
                        keys.add(Keys::one(name));
                    }
                }
                other => keys.add(self.keys(other, place, depth + 1)),
            }
        }
        keys
    }

    /// What a function of the files returns. A return of nothing or of an empty dictionary is the
    /// case without a repository, and says nothing of the keys.
    fn function(&self, name: &str, depth: usize) -> Keys {
        let Some(header) = self.definition(name) else {
            return Keys::open(format!("`{name}` is not defined in the files that were read"));
        };
        let Some(file) = self.files.get(header.file) else { return Keys::default() };
        if !self.can_afford(file.statements.len()) {
            return Keys::open(format!("`{name}` is nested too deeply"));
        }
        let returned = file.statements.iter().enumerate().filter(|(_, statement)| {
            statement.function == Some(header.statement)
                && statement.tokens.first().is_some_and(|token| token.is_name("return"))
        });
        let mut whole: Option<Keys> = None;
        for (number, statement) in returned {
            let place = Place { file: header.file, statement: number };
            let value = statement.tokens.get(1..).unwrap_or_default();
            let keys = self.keys(value, place, depth + 1);
            if keys != Keys::default() {
                whole = Some(match whole {
                    Some(before) => before.either(keys),
                    None => keys,
                });
            }
        }
        whole.unwrap_or_else(|| Keys::open(format!("what `{name}` returns is not seen")))
    }

    /// Returns the header of a function.
    pub(super) fn definition(&self, name: &str) -> Option<Place> {
        self.files.iter().enumerate().find_map(|(file, content)| {
            let is_header = |statement: &Statement| {
                let mut tokens = statement.tokens.iter().skip_while(|t| t.is_name("async"));
                tokens.next().is_some_and(|token| token.is_name("def"))
                    && tokens.next().is_some_and(|token| token.is_name(name))
            };
            let statement = content.statements.iter().position(is_header)?;
            Some(Place { file, statement })
        })
    }

    /// What a variable holds where it is used: what was assigned and added before, in its function
    /// or else in the file.
    fn variable(&self, name: &str, place: Place, depth: usize) -> Keys {
        let Some(used) = self.statement(place) else { return Keys::default() };
        let local = used.function.and_then(|_| self.built(name, place, used.function, depth));
        let global = || self.built(name, place, None, depth);
        local
            .or_else(global)
            .unwrap_or_else(|| Keys::open(format!("`{name}` is set where reading does not follow")))
    }

    fn built(
        &self,
        name: &str,
        place: Place,
        function: Option<usize>,
        depth: usize,
    ) -> Option<Keys> {
        let file = self.files.get(place.file)?;
        let used = self.statement(place)?;
        if !self.can_afford(place.statement) {
            return Some(Keys::open(format!("`{name}` is nested too deeply")));
        }
        let before = file.statements.get(..place.statement)?.iter().enumerate();
        let mut keys: Option<Keys> = None;
        for (number, statement) in before.filter(|(_, other)| other.function == function) {
            let here = Place { file: place.file, statement: number };
            let Some(change) = Change::of(&statement.tokens, name) else { continue };
            let is_certain =
                function != used.function || used.branch.starts_with(&statement.branch);
            keys = match change {
                Change::Set(value) => {
                    let new = self.keys(value, here, depth + 1);
                    match keys.take() {
                        Some(old) if !is_certain => Some(old.either(new)),
                        None if !is_certain => Some(new.loosened("it is set under a condition")),
                        _ => Some(new),
                    }
                }
                Change::Add(added) => {
                    let mut whole = keys.take().unwrap_or_default();
                    whole.add(self.added(added, here, used, depth));
                    Some(whole)
                }
            };
        }
        keys
    }

    /// What a statement adds to a dictionary that is used at another one.
    pub(super) fn added(
        &self,
        added: Added<'_>,
        here: Place,
        used: &Statement,
        depth: usize,
    ) -> Keys {
        let Some(statement) = self.statement(here) else { return Keys::default() };
        let mut branch = statement.branch.clone();
        let keys = match added {
            Added::Arguments(arguments) => self.arguments(arguments, here, depth + 1),
            Added::Merged(value) => self.keys(value, here, depth + 1),
            Added::Key([Token::Text { value, is_format: false }]) => Keys::one(value),
            Added::Key(key) => match self.looped(key, statement, here, depth) {
                Some(keys) => {
                    branch.pop();
                    keys
                }
                None => Keys::open("a key is computed"),
            },
        };
        let is_certain = used.branch.starts_with(&branch);
        if is_certain { keys } else { keys.loosened("it is set under a condition") }
    }

    /// `for k, v in get_git_info().items(): config[f"git_{k}"] = v`.
    fn looped(
        &self,
        key: &[Token],
        statement: &Statement,
        here: Place,
        depth: usize,
    ) -> Option<Keys> {
        let header = *statement.branch.last()?;
        let header = self.statement(Place { statement: header, ..here })?;
        let clause = header.tokens.strip_suffix(&[Token::Symbol(":")])?;
        let looped = Loop::of(clause)?;
        let (before, after) = affixes(key, &looped.key)?;
        let keys = self.keys(looped.over, here, depth + 1);
        Some(keys.renamed(&|key| format!("{before}{key}{after}")))
    }
}

/// What a statement does to a variable.
enum Change<'a> {
    Set(&'a [Token]),
    Add(Added<'a>),
}

/// What a statement adds to a dictionary.
#[derive(Debug, Clone, Copy)]
pub(super) enum Added<'a> {
    /// `.update(…)`.
    Arguments(&'a [Token]),
    /// `|= …`.
    Merged(&'a [Token]),
    /// `[…] = …`.
    Key(&'a [Token]),
}

impl<'a> Change<'a> {
    fn of(tokens: &'a [Token], name: &str) -> Option<Self> {
        let (first, rest) = tokens.split_first()?;
        if !first.is_name(name) {
            return None;
        }
        match rest {
            [Token::Symbol("="), value @ ..] => Some(Self::Set(value)),
            [Token::Symbol(":"), annotated @ ..] => {
                let at = annotated.iter().position(|token| token.is("="))?;
                Some(Self::Set(annotated.get(at + 1..)?))
            }
            _ => Added::of(rest).map(Self::Add),
        }
    }
}

impl<'a> Added<'a> {
    /// Reads what stands behind the name of a dictionary.
    pub(super) fn of(rest: &'a [Token]) -> Option<Self> {
        match rest {
            [Token::Symbol("|="), value @ ..] => Some(Self::Merged(value)),
            [Token::Symbol("."), Token::Name(method), open @ ..] if method == "update" => {
                let (arguments, _) = python::enclosed(open)?;
                Some(Self::Arguments(arguments))
            }
            [Token::Symbol("."), Token::Name(method), open @ ..] if method == "setdefault" => {
                let (arguments, _) = python::enclosed(open)?;
                python::split(arguments, ",").first().map(|key| Self::Key(key))
            }
            [Token::Symbol("["), ..] => match python::enclosed(rest)? {
                (key, [Token::Symbol("="), ..]) => Some(Self::Key(key)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// A loop over the items of a dictionary: `for k, v in X.items()`.
struct Loop<'a> {
    key: String,
    over: &'a [Token],
    is_filtered: bool,
}

impl<'a> Loop<'a> {
    fn of(clause: &'a [Token]) -> Option<Self> {
        let inside = clause.iter().position(|token| token.is_name("in"))?;
        let key = clause.get(1..inside)?.iter().find_map(Token::name)?.to_owned();
        let behind = clause.get(inside + 1..)?;
        let end = behind.iter().position(|token| token.is_name("if"));
        let over = behind.get(..end.unwrap_or(behind.len()))?;
        let items = [
            Token::Symbol("."),
            Token::Name("items".into()),
            Token::Symbol("("),
            Token::Symbol(")"),
        ];
        let over = over.strip_suffix(&items).unwrap_or(over);
        Some(Self { key, over, is_filtered: end.is_some() })
    }
}

fn is_comprehension(item: &[Token]) -> bool {
    item.iter().any(|token| token.is_name("for"))
}

/// What a computed key puts before and after a loop's variable: `f"git_{k}"`, `"git_" + k`, `k`.
fn affixes(key: &[Token], variable: &str) -> Option<(String, String)> {
    match key {
        [Token::Name(name)] if name == variable => Some((String::new(), String::new())),
        [Token::Text { value, is_format: false }, Token::Symbol("+"), Token::Name(name)]
            if name == variable =>
        {
            Some((value.clone(), String::new()))
        }
        [Token::Text { value, is_format: true }] => {
            let (before, after) = value.split_once(&format!("{{{variable}}}"))?;
            let is_plain = !before.contains('{') && !after.contains('{');
            is_plain.then(|| (before.to_owned(), after.to_owned()))
        }
        _ => None,
    }
}

fn not_followed(expression: &[Token]) -> Keys {
    let names: Vec<&str> = expression.iter().filter_map(Token::name).take(3).collect();
    Keys::open(format!("an expression with `{}` is not followed", names.join("`, `")))
}
