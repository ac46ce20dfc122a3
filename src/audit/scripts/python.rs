//! Python source as statements of tokens: enough to see calls, dictionaries and where they stand.

use std::collections::BTreeSet;

use super::Source;
use super::cursor::Cursor;

/// Characters of a file that are looked at.
const LONGEST: usize = 2 << 20;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    /// A string; an f-string with its placeholders as they stand there.
    Text {
        value: String,
        is_format: bool,
    },
    Number,
    Symbol(&'static str),
}

impl Token {
    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self, Self::Symbol(own) if *own == symbol)
    }

    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            _ => None,
        }
    }

    pub(super) fn is_name(&self, name: &str) -> bool {
        self.name() == Some(name)
    }
}

/// A logical line.
#[derive(Debug, Clone, Default)]
pub(super) struct Statement {
    /// Its first line, counted from 1.
    pub(super) line: usize,
    pub(super) indent: usize,
    pub(super) tokens: Vec<Token>,
    /// The headers of the conditions and loops that it stands in, as statement numbers: where they
    /// are the beginning of another statement's, it is always run before that one.
    pub(super) branch: Vec<usize>,
    /// The header of the function that it stands in.
    pub(super) function: Option<usize>,
}

/// A file in statements.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    pub(super) path: String,
    pub(super) statements: Vec<Statement>,
}

/// Symbols of several characters that mean something of their own here.
const LONG_SYMBOLS: [&str; 9] = ["**", "==", "!=", "<=", ">=", ":=", "->", "|=", "+="];
const SHORT_SYMBOLS: &str = "()[]{},:.=|+-*/%&^~<>@;!";

/// Returns where the modules may lie that a file imports, relative to the root, best guess first:
/// only those that exist are meant.
pub fn imports(source: Source<'_>) -> Vec<String> {
    let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (mut found, mut known) = (Vec::new(), BTreeSet::new());
    for statement in &read(source).statements {
        for module in modules(&statement.tokens, folder) {
            let bases = if module.is_relative { vec![""] } else { vec!["", folder] };
            for base in bases {
                let path = if base.is_empty() {
                    module.path.clone()
                } else {
                    format!("{base}/{}", module.path)
                };
                for path in [format!("{path}.py"), format!("{path}/__init__.py")] {
                    if known.insert(path.clone()) {
                        found.push(path);
                    }
                }
            }
        }
    }
    found
}

struct Module {
    path: String,
    is_relative: bool,
}

/// `import a.b, c` and `from .a import b`, where `b` may be a module as well.
fn modules(tokens: &[Token], folder: &str) -> Vec<Module> {
    let dotted = |tokens: &[Token]| {
        let names = tokens.iter().map_while(|t| t.name().or(t.is(".").then_some("")));
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/")
    };
    let module = |path: String, is_relative| Module { path, is_relative };
    match tokens.split_first() {
        Some((first, rest)) if first.is_name("import") => rest
            .split(|token| token.is(","))
            .map(|part| {
                let end = part.iter().position(|t| t.is_name("as")).unwrap_or(part.len());
                module(dotted(part.get(..end).unwrap_or_default()), false)
            })
            .filter(|module| !module.path.is_empty())
            .collect(),
        Some((first, rest)) if first.is_name("from") => {
            let Some(end) = rest.iter().position(|token| token.is_name("import")) else {
                return Vec::new();
            };
            let (from, names) = rest.split_at(end);
            let dots = from.iter().take_while(|token| token.is(".")).count();
            let mut base: Vec<&str> =
                if dots > 0 { folder.split('/').collect() } else { Vec::new() };
            base.truncate(base.len().saturating_sub(dots.saturating_sub(1)));
            let inside = dotted(from.get(dots..).unwrap_or_default());
            base.push(&inside);
            let base =
                base.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            let names = names.iter().skip(1).filter_map(Token::name).filter(|name| *name != "as");
            let inner = names.map(|name| format!("{base}/{name}"));
            let all = std::iter::once(base.clone()).chain(inner);
            all.filter(|path| !path.is_empty())
                .map(|path| module(path.trim_start_matches('/').to_owned(), dots > 0))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Reads a file. Total: what is no Python gives odd statements.
pub(super) fn read(source: Source<'_>) -> File {
    let mut statements = lines(source.text);
    place(&mut statements);
    File { path: source.path.to_owned(), statements }
}

fn lines(text: &str) -> Vec<Statement> {
    let mut reader = Reader { cursor: Cursor::new(text, LONGEST), depth: 0 };
    let mut statements = Vec::new();
    let mut current = Statement::default();
    let mut indent = reader.cursor.blanks();
    while let Some(character) = reader.cursor.peek(0) {
        if current.tokens.is_empty() {
            (current.line, current.indent) = (reader.cursor.line, indent);
        }
        match character {
            '\n' if reader.depth == 0 => {
                reader.cursor.skip(1);
                indent = reader.cursor.blanks();
                end(&mut current, &mut statements);
            }
            ';' if reader.depth == 0 => {
                reader.cursor.skip(1);
                end(&mut current, &mut statements);
            }
            '#' => reader.cursor.skip_line(),
            '\\' if reader.cursor.peek(1) == Some('\n') => reader.cursor.skip(2),
            _ if character.is_whitespace() => reader.cursor.skip(1),
            _ => current.tokens.extend(reader.token()),
        }
    }
    end(&mut current, &mut statements);
    statements
}

fn end(current: &mut Statement, statements: &mut Vec<Statement>) {
    let statement = std::mem::take(current);
    if !statement.tokens.is_empty() {
        statements.push(statement);
    }
}

/// Finds the conditions and the function that each statement stands in.
fn place(statements: &mut [Statement]) {
    let mut headers: Vec<(usize, usize, Header)> = Vec::new();
    for (number, statement) in statements.iter_mut().enumerate() {
        headers.retain(|(indent, _, _)| *indent < statement.indent);
        let numbers = |wanted: Header| {
            headers.iter().filter(move |(_, _, kind)| *kind == wanted).map(|(_, number, _)| *number)
        };
        statement.branch = numbers(Header::Condition).collect();
        statement.function = numbers(Header::Function).next_back();
        if let Some(kind) = header(&statement.tokens) {
            headers.push((statement.indent, number, kind));
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    Condition,
    Function,
}

fn header(tokens: &[Token]) -> Option<Header> {
    let first = tokens.iter().find(|token| !token.is_name("async"))?.name()?;
    match first {
        "if" | "elif" | "else" | "for" | "while" | "except" | "match" | "case" => {
            Some(Header::Condition)
        }
        "def" => Some(Header::Function),
        _ => None,
    }
}

struct Reader {
    cursor: Cursor,
    depth: usize,
}

impl Reader {
    fn token(&mut self) -> Option<Token> {
        let character = self.cursor.peek(0)?;
        if character == '_' || character.is_alphabetic() {
            return Some(self.name_or_text());
        }
        if character.is_ascii_digit() {
            self.cursor.skip_while(|c| c.is_alphanumeric() || c == '.' || c == '_');
            return Some(Token::Number);
        }
        if character == '\'' || character == '"' {
            return Some(self.text(""));
        }
        self.symbol(character)
    }

    fn symbol(&mut self, character: char) -> Option<Token> {
        let two: String = self.cursor.ahead(2);
        if let Some(symbol) = LONG_SYMBOLS.iter().find(|symbol| **symbol == two) {
            self.cursor.skip(2);
            return Some(Token::Symbol(symbol));
        }
        self.cursor.skip(1);
        match character {
            '(' | '[' | '{' => self.depth += 1,
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        let at = SHORT_SYMBOLS.find(character)?;
        SHORT_SYMBOLS.get(at..=at).map(Token::Symbol)
    }

    fn name_or_text(&mut self) -> Token {
        let begin = self.cursor.at;
        self.cursor.skip_while(|c| c == '_' || c.is_alphanumeric());
        let name: String = self.cursor.text(begin, self.cursor.at);
        let lower = name.to_lowercase();
        let is_prefix = ["r", "b", "u", "f", "br", "rb", "fr", "rf"].contains(&lower.as_str());
        match self.cursor.peek(0) {
            Some('\'' | '"') if is_prefix => self.text(&lower),
            _ => Token::Name(name),
        }
    }

    fn text(&mut self, prefix: &str) -> Token {
        let quote = self.cursor.peek(0);
        let is_long = self.cursor.peek(1) == quote && self.cursor.peek(2) == quote;
        self.cursor.skip(if is_long { 3 } else { 1 });
        let mut value = String::new();
        while let Some(character) = self.cursor.peek(0) {
            let is_quote = Some(character) == quote;
            if is_quote
                && (!is_long || self.cursor.peek(1) == quote && self.cursor.peek(2) == quote)
            {
                self.cursor.skip(if is_long { 3 } else { 1 });
                break;
            }
            if character == '\n' && !is_long {
                break;
            }
            if character == '\\' && !prefix.contains('r') {
                self.cursor.skip(1);
            }
            value.extend(self.cursor.peek(0));
            self.cursor.skip(1);
        }
        Token::Text { value, is_format: prefix.contains('f') }
    }
}

/// Splits at a symbol outside of all brackets.
pub(super) fn split<'a>(tokens: &'a [Token], symbol: &str) -> Vec<&'a [Token]> {
    let mut parts = Vec::new();
    let (mut depth, mut begin) = (0_usize, 0);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Symbol("(" | "[" | "{") => depth += 1,
            Token::Symbol(")" | "]" | "}") => depth = depth.saturating_sub(1),
            other if depth == 0 && other.is(symbol) => {
                parts.push(tokens.get(begin..at).unwrap_or_default());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(tokens.get(begin..).unwrap_or_default());
    parts
}

/// Returns what stands in the brackets that open at the first token, and what follows them.
pub(super) fn enclosed(tokens: &[Token]) -> Option<(&[Token], &[Token])> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Symbol("(" | "[" | "{") => depth += 1,
            Token::Symbol(")" | "]" | "}") => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some((tokens.get(1..at)?, tokens.get(at + 1..)?));
                }
            }
            _ if at == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Returns what is called in an expression that is one call: its dotted name and its arguments.
pub(super) fn call(tokens: &[Token]) -> Option<(String, &[Token])> {
    let open = tokens.iter().position(|token| token.is("("))?;
    let (name, rest) = tokens.split_at(open);
    let (arguments, behind) = enclosed(rest)?;
    let is_name = name.iter().all(|token| token.name().is_some() || token.is("."));
    (behind.is_empty() && is_name && !name.is_empty()).then(|| (dotted(name), arguments))
}

/// Writes a dotted name.
pub(super) fn dotted(tokens: &[Token]) -> String {
    tokens.iter().map(|token| token.name().unwrap_or(".")).collect()
}
