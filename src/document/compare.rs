//! Two runs beside each other: what was measured of both at equal steps, as a Markdown table.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::model::ids::{CheckpointName, RunId};
use crate::model::measurement::{MAX_CONCEPT_SIMILARITY, MEAN_CONCEPT_SIMILARITY};
use crate::model::observation::Observation;

use super::cells;
use super::columns::EMPTY;
use super::escape;
use super::table;

/// Steps that are listed when two runs have none in common.
const LISTED: usize = 12;

/// One of the two runs, with its observations in the order of their times.
#[derive(Debug, Clone, Copy)]
pub struct Compared<'a> {
    /// The run.
    pub run: &'a RunId,
    /// What was observed of it.
    pub observations: &'a [Observation],
}

/// The newest observation of each checkpoint.
type Newest<'a> = BTreeMap<CheckpointName, &'a Observation>;

/// Returns the comparison: a line for each run, the table, and what stands against comparing them.
///
/// # Errors
/// No checkpoint of the same step was observed of both; the text lists the steps of each.
pub fn comparison(left: Compared<'_>, right: Compared<'_>) -> Result<String, String> {
    let both = [newest(left.observations), newest(right.observations)];
    let [of_left, of_right] = &both;
    let shared: Vec<CheckpointName> =
        of_left.keys().filter(|name| of_right.contains_key(name)).copied().collect();
    if shared.is_empty() {
        let steps =
            |compared: &Compared<'_>, newest| format!("`{}` has {}", compared.run, listed(newest));
        return Err(format!(
            "no checkpoint of the same step was analyzed of both runs: {}, {}",
            steps(&left, of_left),
            steps(&right, of_right)
        ));
    }
    let mut text = String::new();
    for (letter, compared) in [("A", left), ("B", right)] {
        add(&mut text, &format!("{letter}: {}  ", escape::code(compared.run.as_str())));
    }
    add(&mut text, "");
    let mut header = vec!["Checkpoint".to_owned()];
    for (name, _) in COLUMNS {
        header.extend([format!("{name} A"), format!("{name} B")]);
    }
    let rule = format!("|{}", "---|".repeat(header.len()));
    add(&mut text, &table::row(header));
    add(&mut text, &rule);
    for name in &shared {
        let pair = both.each_ref().map(|newest| newest.get(name).copied());
        add(&mut text, &table::row(cells_of(*name, pair)));
    }
    let remarks = remarks(&shared, &both);
    if !remarks.is_empty() {
        add(&mut text, "");
    }
    for remark in remarks {
        add(&mut text, &format!("- {remark}"));
    }
    Ok(text)
}

/// Reads one cell; nothing for what is not known.
type Read = fn(&Observation) -> Option<String>;

/// What is compared, and how it is read from an observation.
const COLUMNS: [(&str, Read); 6] = [
    ("Eff. Rank", cells::rank),
    ("Mean sim.", |one| cells::measured(one, MEAN_CONCEPT_SIMILARITY)),
    ("Max sim.", |one| cells::measured(one, MAX_CONCEPT_SIMILARITY)),
    ("Loss", |one| cells::train_loss(one.training.as_ref())),
    ("Eval loss", |one| cells::eval_loss(one.training.as_ref())),
    ("Verdict", |one| Some(cells::verdict(one).to_owned())),
];

fn cells_of(name: CheckpointName, pair: [Option<&Observation>; 2]) -> Vec<String> {
    let mut row = vec![escape::code(&name.to_string())];
    for (_, read) in COLUMNS {
        let cell = |one: Option<&Observation>| one.and_then(read).unwrap_or_else(|| EMPTY.into());
        row.extend(pair.map(cell));
    }
    row
}

fn newest(observations: &[Observation]) -> Newest<'_> {
    let mut newest = Newest::new();
    for one in observations {
        let kept = newest.entry(one.checkpoint.name).or_insert(one);
        if kept.time <= one.time {
            *kept = one;
        }
    }
    newest
}

fn listed(newest: &Newest<'_>) -> String {
    if newest.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = newest.keys().take(LISTED).map(ToString::to_string).collect();
    let more = newest.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

/// What a reader must know before comparing the numbers.
fn remarks(shared: &[CheckpointName], both: &[Newest<'_>; 2]) -> Vec<String> {
    let of_shared =
        || both.iter().flat_map(|newest| shared.iter().filter_map(|name| newest.get(name)));
    let mut remarks = Vec::new();
    let protocols: BTreeSet<&str> = of_shared().map(|one| one.protocol.as_str()).collect();
    if protocols.len() > 1 {
        let list: Vec<String> = protocols.into_iter().map(escape::code).collect();
        remarks.push(format!(
            "They were measured in different ways (protocols {}): the ranks cannot be compared.",
            list.join(", ")
        ));
    }
    let shapes: BTreeSet<(Option<u64>, Option<u64>)> =
        of_shared().map(|one| (one.concepts, one.hidden)).collect();
    if shapes.len() > 1 {
        remarks.push(
            "They differ in concepts or hidden size: compare the shares, not the ranks.".to_owned(),
        );
    }
    let last = both.each_ref().map(|newest| {
        newest.get(&CheckpointName::Final)?.training.as_ref().map(|training| training.step)
    });
    if let [Some(of_left), Some(of_right)] = last
        && of_left != of_right
    {
        remarks
            .push(format!("The final models are of other steps: A of {of_left}, B of {of_right}."));
    }
    for (letter, newest) in ["A", "B"].into_iter().zip(both) {
        let alone = newest.len() - shared.len();
        if alone > 0 {
            remarks.push(format!("{letter} alone has {alone} more."));
        }
    }
    remarks
}

fn add(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _written = writeln!(text, "{line}");
}
