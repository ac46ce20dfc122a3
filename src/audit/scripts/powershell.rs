//! PowerShell scripts as commands.

use super::Source;
use super::command::Command;
use super::cursor::Cursor;
use super::variables::{Variables, Word, above, joined};

/// Characters of a script that are looked at.
const LONGEST: usize = 1 << 20;
/// Nesting of lists that is followed.
const DEEPEST: usize = 64;

/// Reads the commands of a script.
pub(super) fn read(source: Source<'_>) -> Vec<Command> {
    let mut reader = Reader {
        script: source.path,
        cursor: Cursor::new(source.text, LONGEST),
        variables: Variables::default(),
        lists: 0,
    };
    reader.commands()
}

struct Reader<'a> {
    script: &'a str,
    cursor: Cursor,
    variables: Variables,
    /// The lists that are being read.
    lists: usize,
}

impl Reader<'_> {
    fn commands(&mut self) -> Vec<Command> {
        let mut found = Vec::new();
        let mut is_piped = false;
        while let Some(character) = self.cursor.peek(0) {
            match character {
                '\n' | ';' | '|' | '&' => {
                    // `&` calls what follows; `&&` and `||` separate.
                    let is_double = self.cursor.peek(1) == Some(character);
                    is_piped = character == '|' && !is_double;
                    self.cursor.skip(if is_double { 2 } else { 1 });
                }
                '{' => {
                    self.variables.open();
                    self.cursor.skip(1);
                }
                '}' => {
                    self.variables.close();
                    self.cursor.skip(1);
                }
                _ if self.blank() => {}
                _ => {
                    let command = self.command(is_piped);
                    is_piped = false;
                    if !command.words.is_empty() {
                        found.push(command);
                    }
                }
            }
        }
        found
    }

    fn command(&mut self, is_piped: bool) -> Command {
        let line = self.cursor.line;
        let mut words = Vec::new();
        while let Some(character) = self.cursor.peek(0) {
            match character {
                '\n' | ';' | '|' | '{' | '}' => break,
                '&' if !words.is_empty() => break,
                _ if self.blank() => {}
                '$' if words.is_empty() && self.assignment() => break,
                '(' | '[' if words.is_empty() => {
                    drop(self.enclosed());
                }
                ')' | ']' => self.cursor.skip(1),
                '>' => self.redirection(&mut words),
                '(' | '@' if character == '(' || self.cursor.peek(1) == Some('(') => {
                    words.extend(self.list());
                }
                _ => words.extend(self.word()),
            }
        }
        if words
            .first()
            .and_then(Word::value)
            .is_some_and(|word| word.eq_ignore_ascii_case("param"))
        {
            words.clear();
        }
        let folder = self.variables.folder.clone();
        self.variables.change_folder(&words);
        Command { line, folder, words, is_piped }
    }

    /// `> file` and `2>&1` are no words of the command.
    fn redirection(&mut self, words: &mut Vec<Word>) {
        let is_stream = |word: &Word| word.text == "*" || word.text.parse::<u8>().is_ok();
        if words.last().is_some_and(is_stream) {
            words.pop();
        }
        self.cursor.skip_while(|character| character == '>' || character == '&');
        self.cursor.skip_blanks();
        drop(self.word());
    }

    /// Reads `$name = …` and `$name += …`; returns whether there was one.
    fn assignment(&mut self) -> bool {
        let begin = (self.cursor.at, self.cursor.line);
        self.cursor.skip(1);
        let name = self.name();
        self.cursor.skip_blanks();
        let adds = self.cursor.peek(0) == Some('+') && self.cursor.peek(1) == Some('=');
        let sets = self.cursor.peek(0) == Some('=');
        if name.is_empty() || !adds && !sets {
            (self.cursor.at, self.cursor.line) = begin;
            return false;
        }
        self.cursor.skip(if adds { 2 } else { 1 });
        let value = self.expression();
        if adds {
            self.variables.append(&name, value);
        } else {
            self.variables.set(&name, value);
        }
        true
    }

    /// Reads the right side of an assignment up to its end.
    fn expression(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(character) = self.cursor.peek(0) {
            match character {
                '\n' | ';' | '|' | '{' | '}' => break,
                _ if self.blank() => {}
                ',' => self.cursor.skip(1),
                '(' | '@' if character == '(' || self.cursor.peek(1) == Some('(') => {
                    words.extend(self.list());
                }
                _ => words.extend(self.word()),
            }
        }
        called(&words, self.script).map_or(words, |word| vec![word])
    }

    /// `@( … )` and `( … )`: a list, or a call whose value is known.
    fn list(&mut self) -> Vec<Word> {
        if self.cursor.peek(0) == Some('@') {
            self.cursor.skip(1);
        }
        self.cursor.skip(1);
        let mut words = Vec::new();
        if self.lists == DEEPEST {
            return words;
        }
        self.lists += 1;
        while let Some(character) = self.cursor.peek(0) {
            match character {
                ')' => {
                    self.cursor.skip(1);
                    break;
                }
                ',' | '\n' => self.cursor.skip(1),
                _ if self.blank() => {}
                '(' => words.extend(self.list()),
                '@' if self.cursor.peek(1) == Some('(') => words.extend(self.list()),
                _ => words.extend(self.word()),
            }
        }
        self.lists -= 1;
        called(&words, self.script).map_or(words, |word| vec![word])
    }

    /// Passes over one blank, comment or continued line; returns whether there was one.
    fn blank(&mut self) -> bool {
        match (self.cursor.peek(0), self.cursor.peek(1)) {
            (Some('`'), Some('\n')) => self.cursor.skip(2),
            (Some('`'), Some('\r')) => self.cursor.skip(3),
            (Some('<'), Some('#')) => {
                while self.cursor.peek(0).is_some()
                    && !(self.cursor.peek(0) == Some('#') && self.cursor.peek(1) == Some('>'))
                {
                    self.cursor.skip(1);
                }
                self.cursor.skip(2);
            }
            (Some('#'), _) => {
                self.cursor.skip_line();
            }
            (Some(character), _) if character != '\n' && character.is_whitespace() => {
                self.cursor.skip(1);
            }
            _ => return false,
        }
        true
    }

    fn word(&mut self) -> Vec<Word> {
        let begin = self.cursor.at;
        let mut current = Word::default();
        while let Some(character) = self.cursor.peek(0) {
            match character {
                '\'' => current.text.push_str(&self.single_quoted()),
                '"' => self.double_quoted(&mut current),
                '@' if self.cursor.at == begin && self.cursor.peek(1).is_some_and(is_name) => {
                    self.cursor.skip(1);
                    let name = self.name();
                    return self.variable(&name);
                }
                '$' => {
                    let value = self.substitution();
                    let is_alone = self.cursor.peek(0).is_none_or(ends_word);
                    if current == Word::default() && is_alone {
                        return value;
                    }
                    for word in &value {
                        current.push(word);
                    }
                }
                '`' if self.cursor.peek(1).is_some_and(|next| next != '\n' && next != '\r') => {
                    current.text.extend(self.cursor.peek(1));
                    self.cursor.skip(2);
                }
                character if ends_word(character) => break,
                character => {
                    current.text.push(character);
                    self.cursor.skip(1);
                }
            }
        }
        if self.cursor.at == begin {
            self.cursor.skip(1);
        }
        vec![current]
    }

    fn single_quoted(&mut self) -> String {
        let mut text = String::new();
        self.cursor.skip(1);
        while let Some(character) = self.cursor.peek(0) {
            self.cursor.skip(1);
            if character == '\'' {
                if self.cursor.peek(0) != Some('\'') {
                    break;
                }
                self.cursor.skip(1);
            }
            text.push(character);
        }
        text
    }

    fn double_quoted(&mut self, current: &mut Word) {
        self.cursor.skip(1);
        while let Some(character) = self.cursor.peek(0) {
            match character {
                '"' => {
                    self.cursor.skip(1);
                    break;
                }
                '`' => {
                    current.text.extend(self.cursor.peek(1));
                    self.cursor.skip(2);
                }
                '$' => {
                    for word in self.substitution() {
                        current.push(&word);
                    }
                }
                character => {
                    current.text.push(character);
                    self.cursor.skip(1);
                }
            }
        }
    }

    /// Reads what stands behind `$`.
    fn substitution(&mut self) -> Vec<Word> {
        self.cursor.skip(1);
        match self.cursor.peek(0) {
            Some('(') => {
                let inner = self.enclosed();
                vec![Word::unknown(format!("it is the value of `$({inner})`"))]
            }
            Some('{') => {
                let inner = self.enclosed();
                self.variable(&inner)
            }
            Some(character) if is_name(character) => {
                let name = self.name();
                let is_member =
                    self.cursor.peek(0) == Some('.') && self.cursor.peek(1).is_some_and(is_name);
                if is_member {
                    return vec![self.member(&name)];
                }
                self.variable(&name)
            }
            _ => vec![Word::known("$")],
        }
    }

    /// `$MyInvocation.MyCommand.Path` is the script itself.
    fn member(&mut self, name: &str) -> Word {
        let mut whole = name.to_owned();
        while self.cursor.peek(0) == Some('.') && self.cursor.peek(1).is_some_and(is_name) {
            self.cursor.skip(1);
            whole = format!("{whole}.{}", self.name());
        }
        if whole.eq_ignore_ascii_case("MyInvocation.MyCommand.Path") {
            return Word::known(self.script);
        }
        Word::unknown(format!("`${whole}` is known only when it runs"))
    }

    /// Names of variables are the same in any letter case.
    fn variable(&self, name: &str) -> Vec<Word> {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "psscriptroot" => vec![Word::known(place(&above(self.script, 1)))],
            "pscommandpath" => vec![Word::known(self.script)],
            "true" | "false" | "null" => vec![Word::known(name)],
            "pwd" => vec![Word::known(place(&self.variables.folder))],
            _ => match self.variables.get(&name) {
                Some(value) => value,
                None if name.starts_with("env:") => {
                    vec![Word::unknown(format!("`${name}` comes from the environment"))]
                }
                None => vec![Word::unknown(format!("`${name}` is not set in the script"))],
            },
        }
    }

    /// Reads from an opening to its closing bracket.
    fn enclosed(&mut self) -> String {
        let begin = self.cursor.at + 1;
        let mut level = 0_usize;
        while let Some(character) = self.cursor.peek(0) {
            match character {
                '\'' => {
                    drop(self.single_quoted());
                    continue;
                }
                '(' | '[' | '{' => level += 1,
                ')' | ']' | '}' => level = level.saturating_sub(1),
                _ => {}
            }
            self.cursor.skip(1);
            if level == 0 {
                break;
            }
        }
        let end = self.cursor.at.saturating_sub(1).max(begin);
        self.cursor.text(begin, end)
    }

    fn name(&mut self) -> String {
        let begin = self.cursor.at;
        while self.cursor.peek(0).is_some_and(|c| is_name(c) || c == ':' && self.is_in_scope()) {
            self.cursor.skip(1);
        }
        let name: String = self.cursor.text(begin, self.cursor.at);
        let name = name.to_ascii_lowercase();
        ["script:", "global:", "local:"]
            .iter()
            .find_map(|scope| name.strip_prefix(scope))
            .map_or(name.clone(), str::to_owned)
    }

    /// A colon belongs to a name before another character of one: `$env:HF_HOME`.
    fn is_in_scope(&self) -> bool {
        self.cursor.peek(1).is_some_and(is_name)
    }
}

/// The value of `Split-Path -Parent X` and `Join-Path A B`; any other call has one that is not
/// known.
fn called(words: &[Word], script: &str) -> Option<Word> {
    let name = words.first()?.value()?.to_ascii_lowercase();
    let arguments: Vec<&Word> =
        words.iter().skip(1).filter(|word| !word.text.starts_with('-')).collect();
    let values: Option<Vec<&str>> = arguments.iter().map(|word| word.value()).collect();
    let is_call = name.contains('-') && name.chars().all(|c| c.is_ascii_alphabetic() || c == '-');
    match (name.as_str(), values.as_deref()) {
        ("split-path", Some([path])) => Some(Word::known(place(&above(&joined("", path), 1)))),
        ("join-path", Some([folder, path])) => Some(Word::known(joined(folder, path))),
        ("get-location", _) => Some(Word::known(".")),
        _ if is_call && !name.starts_with('-') => {
            Some(Word::unknown(format!("it is the value of `{name}` in `{script}`")))
        }
        _ => None,
    }
}

fn is_name(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn ends_word(character: char) -> bool {
    character.is_whitespace() || ",;|(){}`&>".contains(character)
}

fn place(folder: &str) -> String {
    if folder.is_empty() { ".".to_owned() } else { folder.to_owned() }
}
