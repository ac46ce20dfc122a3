//! A place in a script that is read character by character, and the line that it is in.

/// Where a reader stands.
#[derive(Debug)]
pub(super) struct Cursor {
    characters: Vec<char>,
    /// The place of the next character.
    pub(super) at: usize,
    /// Its line; the first is 1.
    pub(super) line: usize,
}

impl Cursor {
    /// Stands at the beginning of a text, of which so many characters are looked at.
    pub(super) fn new(text: &str, longest: usize) -> Self {
        Self { characters: text.chars().take(longest).collect(), at: 0, line: 1 }
    }

    /// Returns a character ahead; the next one is 0 ahead.
    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        self.characters.get(self.at + ahead).copied()
    }

    /// Returns the character that was passed last.
    pub(super) fn before(&self) -> Option<char> {
        self.at.checked_sub(1).and_then(|at| self.characters.get(at)).copied()
    }

    /// Passes over characters.
    pub(super) fn skip(&mut self, count: usize) {
        let passed = self.characters.iter().skip(self.at).take(count);
        self.line += passed.filter(|character| **character == '\n').count();
        self.at += count;
    }

    /// Passes over characters as long as they are wanted.
    pub(super) fn skip_while(&mut self, is_wanted: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&is_wanted) {
            self.skip(1);
        }
    }

    /// Passes over spaces and tabs.
    pub(super) fn skip_blanks(&mut self) {
        self.skip(self.blanks());
    }

    /// Passes over what is left of the line, not over its end.
    pub(super) fn skip_line(&mut self) {
        self.skip_while(|character| character != '\n');
    }

    /// Returns how many spaces and tabs come next.
    pub(super) fn blanks(&self) -> usize {
        let rest = self.characters.iter().skip(self.at);
        rest.take_while(|character| matches!(character, ' ' | '\t')).count()
    }

    /// Returns the next characters, at most so many.
    pub(super) fn ahead(&self, count: usize) -> String {
        self.characters.iter().skip(self.at).take(count).collect()
    }

    /// Returns what stands between two places; nothing if the text ends before the second.
    pub(super) fn text(&self, begin: usize, end: usize) -> String {
        self.characters.get(begin..end).unwrap_or_default().iter().collect()
    }
}
