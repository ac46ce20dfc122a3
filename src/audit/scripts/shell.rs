//! Shell scripts as commands.

mod words;

use super::Source;
use super::command::Command;
use super::cursor::Cursor;
use super::variables::{Variables, Word};

/// Characters of a script that are looked at.
const LONGEST: usize = 1 << 20;
/// Nesting of quotes and substitutions that is followed.
const DEEPEST: usize = 16;

/// Reads the commands of a script.
pub(super) fn read(source: Source<'_>) -> Vec<Command> {
    let mut reader = Reader {
        script: source.path,
        cursor: Cursor::new(source.text, LONGEST),
        variables: Variables::default(),
        heredocs: Vec::new(),
        subshells: 0,
    };
    reader.commands()
}

struct Reader<'a> {
    script: &'a str,
    cursor: Cursor,
    variables: Variables,
    /// Ends of the documents that begin on the next line.
    heredocs: Vec<String>,
    subshells: usize,
}

/// A word, and whether it was quoted: an unquoted variable is split, a quoted word is no keyword.
#[derive(Debug, Default)]
struct Read {
    words: Vec<Word>,
    is_quoted: bool,
}

impl Reader<'_> {
    fn commands(&mut self) -> Vec<Command> {
        let mut found = Vec::new();
        let mut is_piped = false;
        while self.cursor.peek(0).is_some() {
            let command = self.command(is_piped);
            let separator = self.separator();
            is_piped = separator == Some('|');
            if !command.words.is_empty() {
                found.push(command);
            }
        }
        found
    }

    /// Reads up to a separator. Keywords open and close blocks, assignments set variables.
    fn command(&mut self, is_piped: bool) -> Command {
        let mut words: Vec<Word> = Vec::new();
        let mut line = self.cursor.line;
        // `python a.py)` ends the subshell that it still runs in.
        let mut stands = (self.variables.folder.clone(), self.variables.depth());
        while let Some(character) = self.cursor.peek(0) {
            match character {
                '\n' | ';' | '|' | '&' if !self.is_redirection() => break,
                '#' => self.cursor.skip_line(),
                '\\' if self.cursor.peek(1) == Some('\n') => self.cursor.skip(2),
                '(' | ')' => self.parenthesis(&mut words),
                '<' | '>' | '&' => self.redirection(&mut words),
                character if character.is_whitespace() => self.cursor.skip(1),
                _ if words.is_empty() && self.assignment() => {}
                _ => {
                    if words.is_empty() {
                        line = self.cursor.line;
                        stands = (self.variables.folder.clone(), self.variables.depth());
                    }
                    let read = self.word();
                    let is_keyword = words.is_empty() && !read.is_quoted && self.keyword(&read);
                    if !is_keyword {
                        words.extend(read.words);
                    }
                }
            }
        }
        let (folder, depth) = stands;
        if self.variables.depth() >= depth {
            self.variables.change_folder(&words);
        }
        let is_declaration = words.first().and_then(Word::value).is_some_and(is_declaring);
        let words = if is_declaration { Vec::new() } else { words };
        Command { line, folder, words, is_piped }
    }

    /// A subshell is a block; `name()` begins a function, `a)` a branch of a case.
    fn parenthesis(&mut self, words: &mut Vec<Word>) {
        let is_open = self.cursor.peek(0) == Some('(');
        if is_open && self.cursor.peek(1) == Some(')') {
            self.cursor.skip(2);
            words.clear();
            return;
        }
        self.cursor.skip(1);
        if is_open {
            self.subshells += 1;
            self.variables.open();
        } else if self.subshells > 0 {
            self.subshells -= 1;
            self.variables.close();
        } else {
            words.clear();
            self.variables.branch();
        }
    }

    /// Returns whether the word was one, and follows its block.
    fn keyword(&mut self, read: &Read) -> bool {
        let Some(word) = read.words.first().and_then(Word::value) else { return false };
        match word {
            "if" | "for" | "while" | "until" | "case" | "{" | "select" => self.variables.open(),
            "else" | "elif" => self.variables.branch(),
            "fi" | "done" | "esac" | "}" => self.variables.close(),
            "then" | "do" | "!" | "function" | "export" | "local" | "readonly" | "declare"
            | "typeset" => {}
            _ => return false,
        }
        self.cursor.skip_blanks();
        match word {
            // The variable of a loop has many values.
            "for" | "select" => {
                let name = self.name();
                let reason = format!("`{name}` runs over a list");
                self.variables.set(&name, vec![Word::unknown(reason)]);
            }
            "case" => {
                self.word();
                self.cursor.skip_blanks();
                self.word();
            }
            "function" => drop(self.name()),
            _ => {}
        }
        true
    }

    /// Reads `NAME=value`, `NAME+=value` and `NAME=(…)`; returns whether there was one.
    fn assignment(&mut self) -> bool {
        let begin = (self.cursor.at, self.cursor.line);
        let name = self.name();
        let adds = self.cursor.peek(0) == Some('+') && self.cursor.peek(1) == Some('=');
        if name.is_empty() || !adds && self.cursor.peek(0) != Some('=') {
            (self.cursor.at, self.cursor.line) = begin;
            return false;
        }
        self.cursor.skip(if adds { 2 } else { 1 });
        let value = if self.cursor.peek(0) == Some('(') {
            self.cursor.skip(1);
            self.list()
        } else {
            let read = self.word();
            let mut whole = Word::default();
            for (place, word) in read.words.iter().enumerate() {
                if place > 0 {
                    whole.text.push(' ');
                }
                whole.push(word);
            }
            vec![whole]
        };
        if adds {
            self.variables.append(&name, value);
        } else {
            self.variables.set(&name, value);
        }
        true
    }

    fn list(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some(character) = self.cursor.peek(0) {
            match character {
                ')' => {
                    self.cursor.skip(1);
                    break;
                }
                '#' => self.cursor.skip_line(),
                '\\' if self.cursor.peek(1) == Some('\n') => self.cursor.skip(2),
                character if character.is_whitespace() || "();&|<>".contains(character) => {
                    self.cursor.skip(1);
                }
                _ => words.extend(self.word().words),
            }
        }
        words
    }

    /// Reads from an opening to its closing character, quotes and nesting minded.
    fn enclosed(&mut self, open: char, close: char, depth: usize) -> String {
        let begin = self.cursor.at + 1;
        let mut level = 0_usize;
        while let Some(character) = self.cursor.peek(0) {
            self.cursor.skip(1);
            match character {
                '\\' => self.cursor.skip(1),
                '\'' if depth < DEEPEST => drop(self.until('\'')),
                character if character == open => level += 1,
                character if character == close => {
                    level = level.saturating_sub(1);
                    if level == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        let end = self.cursor.at.saturating_sub(1).max(begin);
        self.cursor.text(begin, end)
    }

    fn is_redirection(&self) -> bool {
        let before = self.cursor.before();
        self.cursor.peek(0) == Some('&')
            && (self.cursor.peek(1) == Some('>') || before == Some('>'))
    }

    /// `> file`, `2>&1`, `<<END`: no words of the command.
    fn redirection(&mut self, words: &mut Vec<Word>) {
        let before = self.cursor.before();
        if before.is_some_and(|character| character.is_ascii_digit())
            && words.last().is_some_and(|word| word.text.chars().all(|c| c.is_ascii_digit()))
        {
            words.pop();
        }
        let is_document = self.cursor.peek(0) == Some('<') && self.cursor.peek(1) == Some('<');
        let is_string = is_document && self.cursor.peek(2) == Some('<');
        self.cursor.skip_while(|character| "<>&|-".contains(character));
        self.cursor.skip_blanks();
        if self.cursor.peek(0) == Some('(') {
            drop(self.enclosed('(', ')', 0));
            return;
        }
        let target = self.word();
        if let Some(word) = target.words.first()
            && is_document
            && !is_string
        {
            self.heredocs.push(word.text.clone());
        }
    }

    fn separator(&mut self) -> Option<char> {
        let first = self.cursor.peek(0)?;
        self.cursor.skip(1);
        let is_double = self.cursor.peek(0) == Some(first) && matches!(first, '&' | '|' | ';');
        if is_double {
            self.cursor.skip(1);
        }
        if first == '\n' {
            self.skip_documents();
        }
        if is_double && first == ';' {
            self.variables.branch();
        }
        // `|&` is a pipe as well.
        if first == '|' && self.cursor.peek(0) == Some('&') {
            self.cursor.skip(1);
        }
        (!is_double).then_some(first)
    }

    fn skip_documents(&mut self) {
        for end in std::mem::take(&mut self.heredocs) {
            while self.cursor.peek(0).is_some() {
                let begin = self.cursor.at;
                self.cursor.skip_line();
                let line: String = self.cursor.text(begin, self.cursor.at);
                self.cursor.skip(1);
                if line.trim() == end {
                    break;
                }
            }
        }
    }

    fn name(&mut self) -> String {
        let begin = self.cursor.at;
        self.cursor.skip_while(|c| c == '_' || c.is_alphanumeric());
        let name: String = self.cursor.text(begin, self.cursor.at);
        if name.starts_with(|c: char| c.is_ascii_digit()) { String::new() } else { name }
    }

    fn until(&mut self, end: char) -> String {
        let begin = self.cursor.at;
        self.cursor.skip_while(|character| character != end);
        let text = self.cursor.text(begin, self.cursor.at);
        self.cursor.skip(1);
        text
    }
}

fn is_declaring(word: &str) -> bool {
    matches!(word, "unset" | "set" | "shopt" | "trap")
}
