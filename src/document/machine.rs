//! The spelling of a host's name that the log's Machine column already uses.

use crate::model::observation::{HeaderNames, RunColumn};

use super::columns;
use super::escape;
use super::run_row;
use super::table;

/// Returns how the column writes this host: a cell with the same letters and digits, else a cell
/// that contains the name as words (`Polonez (4x RTX 3090)`), else the name itself.
pub(super) fn spelling(file: &[u8], host: &str, headers: &HeaderNames) -> String {
    let wanted = wanted(host);
    let mut containing = None;
    for cell in cells(file, headers) {
        let words = words(&cell);
        if wanted.contains(&words.concat()) {
            return cell;
        }
        if containing.is_none() && is_one_machine(&cell) && has_name(&words, &wanted) {
            containing = Some(cell);
        }
    }
    containing.unwrap_or_else(|| host.to_owned())
}

/// Returns whether a text names this machine: with the same letters and digits, or among its words.
pub(super) fn is(text: &str, host: &str) -> bool {
    let (words, wanted) = (words(text), wanted(host));
    wanted.contains(&words.concat()) || has_name(&words, &wanted)
}

/// Walks the cells of the column that name one machine.
pub(super) fn single_machines<'a>(
    file: &'a [u8],
    headers: &'a HeaderNames,
) -> impl Iterator<Item = String> + 'a {
    let is_named = |cell: &String| !columns::is_empty(cell.as_bytes()) && is_one_machine(cell);
    cells(file, headers).filter(is_named)
}

/// Returns the host's name and its first part, as comparable words.
fn wanted(host: &str) -> Vec<String> {
    let short = host.split('.').next().unwrap_or(host);
    [host, short].map(plain).into_iter().filter(|name| !name.is_empty()).collect()
}

fn cells<'a>(file: &'a [u8], headers: &'a HeaderNames) -> impl Iterator<Item = String> + 'a {
    run_row::run_tables(file, headers).flat_map(move |(table, _)| {
        let column = table
            .columns(file)
            .position(|header| columns::run_column(&header, headers) == Some(RunColumn::Machine));
        table.rows(file).filter_map(move |row| {
            let cell = table::cells(file, row).nth(column?)?;
            Some(escape::reading(table::trimmed(file, &cell)))
        })
    })
}

/// A cell that lists several machines is no spelling of one of them.
fn is_one_machine(cell: &str) -> bool {
    !cell.contains(['+', ',', ';', '&', '/', '→', '\n'])
}

fn has_name(words: &[String], wanted: &[String]) -> bool {
    (0..words.len()).any(|start| {
        let mut joined = String::new();
        words.iter().skip(start).take(8).any(|word| {
            joined.push_str(word);
            wanted.contains(&joined)
        })
    })
}

fn words(text: &str) -> Vec<String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn plain(text: &str) -> String {
    words(text).concat()
}
