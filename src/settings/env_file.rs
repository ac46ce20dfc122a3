//! Files of `KEY=value` lines, as `.env` files are written.
//!
//! Source of the format: python-dotenv, which the watched project uses. Nothing is expanded: `$X`
//! stays as it stands.

/// Reads the lines of an environment file: the pairs in their order (of a name that comes twice
/// the later one counts), and what could not be read, without any value, since values are secrets.
///
/// Understood are comments, `export`, values in single quotes (literal) and double quotes (with
/// `\n`, `\r`, `\t`, `\"`, `\\`, `\$`), both also over several lines, and a comment after a value.
pub fn parse_env_file(text: &str) -> (Vec<(String, String)>, Vec<String>) {
    let mut pairs = Vec::new();
    let mut problems = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut line_number = 1;
    while !rest.is_empty() {
        let (line, after_line) = rest.split_once('\n').unwrap_or((rest, ""));
        let statement = line.trim_start();
        let mut after = after_line;
        if !statement.trim_end().is_empty() && !statement.starts_with('#') {
            match parse_pair(statement, rest, line.len() - statement.len()) {
                Ok(pair) => {
                    after = pair.rest;
                    pairs.push((pair.name.to_owned(), pair.value));
                }
                Err(problem) => problems.push(format!("line {line_number}: {problem}")),
            }
        }
        let taken = rest.len() - after.len();
        line_number += rest.get(..taken).unwrap_or_default().matches('\n').count();
        rest = after;
    }
    (pairs, problems)
}

struct Pair<'text> {
    name: &'text str,
    value: String,
    /// The text from the next line on.
    rest: &'text str,
}

/// Reads one pair that begins on a line; a quoted value may reach into `text` behind that line.
fn parse_pair<'text>(
    statement: &'text str,
    text: &'text str,
    indent: usize,
) -> Result<Pair<'text>, String> {
    let (left, _) = statement.split_once('=').ok_or("no `=`")?;
    let after_equals = text.get(indent + left.len() + 1..).unwrap_or_default();
    let left = left.trim();
    let exported = left.strip_prefix("export").filter(|name| name.starts_with([' ', '\t']));
    let name = exported.unwrap_or(left).trim();
    if !is_name(name) {
        return Err("the text before `=` is no name of a variable".to_owned());
    }
    let value_start = after_equals.trim_start_matches([' ', '\t']);
    let quote = value_start.chars().next().filter(|first| matches!(first, '"' | '\''));
    let (value, rest) = if let Some(quote) = quote {
        parse_quoted(value_start.get(1..).unwrap_or_default(), quote)
            .ok_or_else(|| format!("the quote of `{name}` does not end"))?
    } else {
        let (line, rest) = value_start.split_once('\n').unwrap_or((value_start, ""));
        (without_comment(line).to_owned(), rest)
    };
    if value.contains('\0') {
        return Err(format!("the value of `{name}` holds a NUL byte"));
    }
    Ok(Pair { name, value, rest })
}

/// Reads up to the closing quote; returns the value and the text from the next line on.
fn parse_quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            _ if character == quote => {
                let after = text.get(at + 1..).unwrap_or_default();
                let (tail, rest) = after.split_once('\n').unwrap_or((after, ""));
                let tail = tail.trim();
                return (tail.is_empty() || tail.starts_with('#')).then_some((value, rest));
            }
            '\\' if quote == '"' => value.extend(unescaped(characters.next()?.1)),
            other => value.push(other),
        }
    }
    None
}

/// Returns what a backslash and a character stand for; unknown pairs stay as they are.
fn unescaped(character: char) -> Vec<char> {
    match character {
        'n' => vec!['\n'],
        'r' => vec!['\r'],
        't' => vec!['\t'],
        '"' | '\\' | '$' => vec![character],
        other => vec!['\\', other],
    }
}

/// Cuts a comment, which needs a space before its `#`, and the spaces around the value.
fn without_comment(line: &str) -> &str {
    let is_comment = |at: &usize| {
        line.get(..*at).unwrap_or_default().chars().next_back().is_none_or(char::is_whitespace)
    };
    let end = line.match_indices('#').map(|(at, _)| at).find(is_comment);
    line.get(..end.unwrap_or(line.len())).unwrap_or_default().trim()
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::proptest;

    use super::*;

    #[test]
    fn reads_what_env_files_hold() {
        let text = include_str!("../../tests/fixtures/settings/project.env");
        let (pairs, problems) = parse_env_file(text);
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        expect![[r#"
            WANDB_API_KEY: "0123abcd"
            HF_HOME: "/data/hf_home"
            SPACED: "value with spaces"
            HASH: "a#b"
            QUOTED: "two words # not a comment"
            LITERAL: "$HOME and \\n stay"
            ESCAPED: "line one\nline \"two\" \\q $HOME"
            EMPTY: ""
            EMPTY_QUOTED: ""
            UNEXPANDED: "$HOME/x"
            MULTI: "first\nsecond"
            AFTER: "1"
            WANDB_API_KEY: "later"
            LAST: "no newline at the end""#]]
        .assert_eq(&pairs.join("\n"));
        expect![[r"
            line 16: no `=`
            line 17: the text before `=` is no name of a variable
            line 18: the text before `=` is no name of a variable
            line 19: the text before `=` is no name of a variable"]]
        .assert_eq(&problems.join("\n"));
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_do_not_matter() {
        let (pairs, problems) = parse_env_file("\u{feff}A=1\r\nB=\"x\"\r\nC='y' # z\r\n\r\nD=");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs, [pair("A", "1"), pair("B", "x"), pair("C", "y"), pair("D", "")]);
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn an_open_quote_costs_one_line_and_not_the_rest_of_the_file() {
        let (pairs, problems) = parse_env_file("A=\"secret\nB=2\nC='x' y\nD=4\n");
        assert_eq!(pairs.iter().map(|pair| pair.0.as_str()).collect::<Vec<_>>(), ["B", "D"]);
        let expected =
            ["line 1: the quote of `A` does not end", "line 3: the quote of `C` does not end"];
        assert_eq!(problems, expected);
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "([ -~\n]{0,30}|[A-C]=[\"'x$\\\\ #\n]{0,8}\n){0,6}") {
            let (pairs, problems) = parse_env_file(&text);
            assert!(pairs.len() + problems.len() <= text.lines().count());
            for (name, value) in pairs {
                assert!(!name.contains(['=', ' ']) && !value.contains('\0'));
            }
        }
    }
}
