//! A source text as one flat list of tokens, which macros and attributes cannot hide from.
//!
//! Syntax trees stop at macro invocations; tokens do not. Comments are not tokens, and doc comments,
//! which the lexer turns into attributes, are left out.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier or keyword.
    Word(String),
    /// One character of punctuation.
    Mark(char),
    /// A literal in its own spelling.
    Literal(String),
    /// The beginning of a group; the end's index.
    Open(Delimiter, usize),
    /// The end of a group.
    Close,
}

/// A token and its lines, from 1.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its first line.
    pub(crate) line: usize,
    /// Its last line, which differs for literals of several lines.
    pub(crate) last_line: usize,
}

/// Returns the tokens of a stream, groups opened up.
pub(crate) fn flatten(stream: TokenStream) -> Vec<Token> {
    let mut tokens = Vec::new();
    append(stream, &mut tokens);
    tokens
}

fn append(stream: TokenStream, tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        if is_doc_comment(&tree) {
            trees.next_if(|next| matches!(next, TokenTree::Punct(mark) if mark.as_char() == '!'));
            let _brackets = trees.next();
            continue;
        }
        match tree {
            TokenTree::Group(group) => append_group(&group, tokens),
            TokenTree::Ident(word) => push(Kind::Word(word.to_string()), word.span(), tokens),
            TokenTree::Punct(mark) => push(Kind::Mark(mark.as_char()), mark.span(), tokens),
            TokenTree::Literal(literal) => {
                push(Kind::Literal(literal.to_string()), literal.span(), tokens);
            }
        }
    }
}

fn append_group(group: &Group, tokens: &mut Vec<Token>) {
    let open = tokens.len();
    push(Kind::Open(group.delimiter(), open), group.span_open(), tokens);
    append(group.stream(), tokens);
    let close = tokens.len();
    push(Kind::Close, group.span_close(), tokens);
    if let Some(token) = tokens.get_mut(open) {
        token.kind = Kind::Open(group.delimiter(), close);
    }
}

fn push(kind: Kind, span: Span, tokens: &mut Vec<Token>) {
    tokens.push(Token { kind, line: span.start().line, last_line: span.end().line });
}

/// The `#` of a doc comment carries the comment's own text, that of an attribute is a `#`.
fn is_doc_comment(tree: &TokenTree) -> bool {
    let TokenTree::Punct(mark) = tree else { return false };
    mark.as_char() == '#' && mark.span().source_text().is_some_and(|text| text.starts_with('/'))
}

/// Looking at a place in a list of tokens; past the end there is nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    tokens: &'a [Token],
}

impl<'a> Cursor<'a> {
    /// Returns a view of the tokens.
    pub(crate) fn new(tokens: &'a [Token]) -> Self {
        Self { tokens }
    }

    /// Returns what stands at an index.
    pub(crate) fn kind(self, index: usize) -> Option<&'a Kind> {
        self.tokens.get(index).map(|token| &token.kind)
    }

    /// Returns the line of the token at an index; 0 past the end.
    pub(crate) fn line(self, index: usize) -> usize {
        self.tokens.get(index).map_or(0, |token| token.line)
    }

    /// Returns the identifier at an index.
    pub(crate) fn word(self, index: usize) -> Option<&'a str> {
        if let Some(Kind::Word(word)) = self.kind(index) { Some(word) } else { None }
    }

    /// Returns whether that character of punctuation stands at an index.
    pub(crate) fn is_mark(self, index: usize, mark: char) -> bool {
        self.kind(index) == Some(&Kind::Mark(mark))
    }

    /// Returns whether `::` begins at an index.
    pub(crate) fn is_path_separator(self, index: usize) -> bool {
        self.is_mark(index, ':') && self.is_mark(index + 1, ':')
    }

    /// Returns the end of the group of that kind that begins at an index.
    pub(crate) fn group_end(self, index: usize, delimiter: Delimiter) -> Option<usize> {
        match self.kind(index) {
            Some(Kind::Open(found, end)) if *found == delimiter => Some(*end),
            _ => None,
        }
    }

    /// Returns the end of the brackets of the attribute that begins at an index with its `#`.
    pub(crate) fn attribute_end(self, index: usize) -> Option<usize> {
        if !self.is_mark(index, '#') {
            return None;
        }
        let brackets = if self.is_mark(index + 1, '!') { index + 2 } else { index + 1 };
        self.group_end(brackets, Delimiter::Bracket)
    }
}
