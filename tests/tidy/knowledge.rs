//! Who knows whom: every path of the crate that a file names stands in the table.

use super::finding::Finding;
use super::references::{Reference, references};
use super::source::Source;
use super::table;

/// Returns the references of a file under `src/` that the table does not allow.
pub(crate) fn forbidden_references(source: &Source) -> Vec<Finding> {
    let Some(name) = table::room_of(&source.path) else { return Vec::new() };
    let allowed = match name {
        "lib" => &[],
        "main" => table::MAIN,
        _ => match table::room(name) {
            Some(room) => room.may_use,
            None => return vec![unknown_room(source, name)],
        },
    };
    references(&source.tokens, &source.module())
        .iter()
        .filter(|reference| !is_allowed(&reference.path, name, allowed))
        .map(|reference| forbidden(source, name, allowed, reference))
        .collect()
}

fn is_allowed(path: &[String], room: &str, allowed: &[&str]) -> bool {
    path.first().is_some_and(|first| first == room)
        || allowed.iter().any(|entry| {
            let segments: Vec<&str> = entry.split("::").collect();
            path.len() >= segments.len() && segments.iter().zip(path).all(|(a, b)| *a == b)
        })
}

fn forbidden(source: &Source, room: &str, allowed: &[&str], reference: &Reference) -> Finding {
    let rule = if reference.path.first().is_none_or(|first| first == "*") {
        format!("`{room}` names the crate's root, behind which every room stands")
    } else {
        format!("`{room}` must not use `crate::{}`", reference.path.join("::"))
    };
    let may = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
    let advice = format!(
        "it may use {may}: take what is needed as an argument, or let the daemon connect the two"
    );
    Finding::new(&source.path, reference.line, rule, advice)
}

fn unknown_room(source: &Source, name: &str) -> Finding {
    Finding::new(
        &source.path,
        1,
        format!("`{name}` is no room of the house"),
        "move it into a room, or give it a row in the table of tests/tidy/table.rs",
    )
}
