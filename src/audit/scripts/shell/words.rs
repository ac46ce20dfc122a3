//! Words of a shell script: quotes, variables and substitutions.

use super::super::variables::{Word, above};
use super::{Read, Reader};

impl Reader<'_> {
    pub(super) fn word(&mut self) -> Read {
        let mut read = Read::default();
        let mut current = Word::default();
        let mut has_current = false;
        while let Some(character) = self.cursor.peek(0) {
            match character {
                '\'' => {
                    self.cursor.skip(1);
                    current.text.push_str(&self.until('\''));
                    (has_current, read.is_quoted) = (true, true);
                }
                '"' => {
                    self.cursor.skip(1);
                    has_current |= self.double_quoted(&mut read.words, &mut current);
                    read.is_quoted = true;
                }
                '\\' if self.cursor.peek(1) == Some('\n') => self.cursor.skip(2),
                '\\' => {
                    current.text.extend(self.cursor.peek(1));
                    self.cursor.skip(2);
                    has_current = true;
                }
                '$' | '`' => {
                    let value = self.substitution(0);
                    has_current |= splice(&mut read.words, &mut current, &value);
                }
                character if character.is_whitespace() || ";&|<>()".contains(character) => break,
                character => {
                    current.text.push(character);
                    self.cursor.skip(1);
                    has_current = true;
                }
            }
        }
        if has_current {
            read.words.push(current);
        }
        read
    }

    /// Returns whether a word is there afterwards; `"${LIST[@]}"` of an empty list is none.
    fn double_quoted(&mut self, words: &mut Vec<Word>, current: &mut Word) -> bool {
        let mut is_only_list = true;
        let mut has_any = false;
        while let Some(character) = self.cursor.peek(0) {
            match character {
                '"' => {
                    self.cursor.skip(1);
                    break;
                }
                '\\' if self.cursor.peek(1) == Some('\n') => self.cursor.skip(2),
                '\\' if self.cursor.peek(1).is_some_and(|next| "\"$`\\".contains(next)) => {
                    current.text.extend(self.cursor.peek(1));
                    self.cursor.skip(2);
                    is_only_list = false;
                }
                '$' | '`' => {
                    let is_list = self.is_whole_list();
                    let value = self.substitution(0);
                    if is_list {
                        has_any |= spread(words, current, &value);
                    } else {
                        current.push(&one(&value));
                        is_only_list = false;
                    }
                }
                character => {
                    current.text.push(character);
                    self.cursor.skip(1);
                    is_only_list = false;
                }
            }
        }
        !is_only_list || has_any || words.is_empty() && !current.text.is_empty()
    }

    fn is_whole_list(&self) -> bool {
        let ahead: String = self.cursor.ahead(80);
        let inner = ahead.strip_prefix("${").and_then(|rest| rest.split_once('}'));
        ahead.starts_with("$@") || inner.is_some_and(|(inner, _)| inner.ends_with("[@]"))
    }

    /// Reads what stands behind `$`, or between backticks.
    fn substitution(&mut self, depth: usize) -> Vec<Word> {
        if self.cursor.peek(0) == Some('`') {
            self.cursor.skip(1);
            let inner = self.until('`');
            return vec![self.output_of(&inner)];
        }
        self.cursor.skip(1);
        match self.cursor.peek(0) {
            Some('(') => {
                let inner = self.enclosed('(', ')', depth);
                vec![self.output_of(&inner)]
            }
            Some('{') => {
                let inner = self.enclosed('{', '}', depth);
                self.parameter(&inner)
            }
            Some(character) if character.is_alphabetic() || character == '_' => {
                let name = self.name();
                self.variable(&name)
            }
            Some(character) if "@*#?$!-0123456789".contains(character) => {
                self.cursor.skip(1);
                vec![Word::unknown(format!("`${character}` is known only when it runs"))]
            }
            _ => vec![Word::known("$")],
        }
    }

    /// `${NAME}`, `${NAME:-default}`, `${LIST[@]}`; other forms are not followed.
    fn parameter(&mut self, inner: &str) -> Vec<Word> {
        let end = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, operation) = inner.split_at(end);
        let value = self.variable(name);
        match operation {
            "" | "[@]" | "[*]" if !name.is_empty() => value,
            _ if [":-", "-", ":=", "="].iter().any(|form| operation.starts_with(form)) => {
                if let Some(value) = self.variables.get(name) {
                    value
                } else {
                    let default = operation.trim_start_matches([':', '-', '=']);
                    let reason = format!("`{name}` comes from the environment, else `{default}`");
                    vec![Word::unknown(reason)]
                }
            }
            _ => vec![Word::unknown(format!("`${{{inner}}}` is not followed"))],
        }
    }

    fn variable(&self, name: &str) -> Vec<Word> {
        match self.variables.get(name) {
            Some(value) => value,
            None if name == "PWD" => vec![Word::known(folder_name(&self.variables.folder))],
            None => vec![Word::unknown(format!("`{name}` comes from the environment"))],
        }
    }

    /// The output of a command is not known, but for the ways to name the script's own folder and
    /// the root.
    fn output_of(&self, inner: &str) -> Word {
        let is_own = inner.contains("BASH_SOURCE") || inner.contains("$0");
        let levels = inner.matches("dirname").count() + inner.matches("/..").count();
        if is_own && levels > 0 {
            return Word::known(folder_name(&above(self.script, levels)));
        }
        match inner.trim() {
            "pwd" => Word::known(folder_name(&self.variables.folder)),
            "git rev-parse --show-toplevel" => Word::known("."),
            other => Word::unknown(format!("it is the output of `{other}`")),
        }
    }
}

fn folder_name(folder: &str) -> String {
    if folder.is_empty() { ".".to_owned() } else { folder.to_owned() }
}

fn one(value: &[Word]) -> Word {
    let mut whole = Word::default();
    for (place, word) in value.iter().enumerate() {
        if place > 0 {
            whole.text.push(' ');
        }
        whole.push(word);
    }
    whole
}

/// An unquoted value is split at its blanks; returns whether a word is under way.
fn splice(words: &mut Vec<Word>, current: &mut Word, value: &[Word]) -> bool {
    let parts: Vec<Word> = value.iter().flat_map(split).collect();
    spread(words, current, &parts)
}

fn split(word: &Word) -> Vec<Word> {
    match word.value() {
        Some(text) => text.split_whitespace().map(Word::known).collect(),
        None => vec![word.clone()],
    }
}

fn spread(words: &mut Vec<Word>, current: &mut Word, parts: &[Word]) -> bool {
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            words.push(std::mem::take(current));
        }
        current.push(part);
    }
    !parts.is_empty()
}
