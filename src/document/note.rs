//! The failure note: a document about a run that failed. Facts only; what is unknown is `—`.

mod happening;
mod training;

use std::fmt::Write as _;

use crate::model::checkpoint::TrainingPoint;
use crate::model::ids::{CheckpointName, RunId};
use crate::model::journal::RunFacts;
use crate::model::measurement::definition;
use crate::model::observation::Observation;
use crate::model::time::Moment;

use super::cells;
use super::escape::{self, CELL_LIMIT};
use super::table;

pub use training::{TrainingNoteFacts, training_headline, training_note};

pub(super) const UNKNOWN: &str = "—";

/// Measurements that are shown at most; a report from outside may hold any number.
const MEASUREMENTS: usize = 100;

/// Lines of evidence that are shown at most.
const EVIDENCE: usize = 200;

/// Characters of one line of evidence that are shown at most.
pub(super) const EVIDENCE_LIMIT: usize = 500;

/// Everything that a failure note tells. Texts are plain and become escaped.
#[derive(Debug, Clone)]
pub struct NoteFacts<'a> {
    /// The observation that failed.
    pub observation: &'a Observation,
    /// All observations of the run, this one among them, in any order.
    pub trajectory: &'a [Observation],
    /// What is known of the run's files.
    pub files: RunFiles,
    /// Files, line numbers, exit codes: one line each.
    pub evidence: Vec<String>,
}

/// What is known of a run's files outside its checkpoints.
#[derive(Debug, Clone, Default)]
pub struct RunFiles {
    /// The machine that trained, as the log spells it.
    pub machine: Option<String>,
    /// The run's page at W&B.
    pub wandb: Option<String>,
    /// Its shell log, relative to the root.
    pub shell_log: Option<String>,
    /// The commit that the run itself recorded.
    pub git_commit: Option<String>,
    /// The tag that the run itself recorded.
    pub git_tag: Option<String>,
}

impl From<RunFacts> for RunFiles {
    fn from(facts: RunFacts) -> Self {
        let git_tag = facts.training_tag().map(str::to_owned);
        let RunFacts { machine, shell_log, wandb_url, git_commit, git_tag: _, begun: _ } = facts;
        Self { machine, wandb: wandb_url, shell_log, git_commit, git_tag }
    }
}

/// Writes the whole note in the project's report form (design, section 8.2).
pub fn failure_note(facts: &NoteFacts<'_>) -> String {
    let run = &facts.observation.checkpoint.run;
    let name = facts.observation.checkpoint.name.to_string();
    let title = format!("{}: {}", escape::code(run.as_str()), what(facts.observation));
    let sections = [
        head(&title, run, facts.observation.time, (Some(&name), &facts.files)),
        happening::what_happened(facts.observation),
        trajectory(facts.trajectory),
        concept_health(facts.observation),
        training(facts.observation.training.as_ref()),
        evidence(facts),
        decision(facts.observation),
    ];
    sections.join("\n")
}

/// Returns a note's file name, `<run id>_failure_<YYYYMMDD>_<kind>.md`, safe for any file system.
///
/// A name in which characters had to be replaced or left out gets a digest, so that the notes of
/// two runs never share a file.
pub fn note_file(run: &RunId, moment: Moment, kind: &str) -> String {
    let date = moment.compact_date();
    let safe_run = file_part(run.as_str(), 150);
    let safe_kind = file_part(kind, 50);
    let is_exact = safe_run == run.as_str() && safe_kind == kind;
    let mark = if is_exact {
        String::new()
    } else {
        format!("-{}", escape::digest(&format!("{run}/{kind}")))
    };
    format!("{safe_run}_failure_{date}_{safe_kind}{mark}.md")
}

pub(super) fn file_part(text: &str, limit: usize) -> String {
    let safe = |character: char| match character {
        '-' | '_' | '.' => character,
        _ if character.is_ascii_alphanumeric() => character,
        _ => '_',
    };
    let part: String = text.chars().take(limit).map(safe).collect();
    // A leading dot hides a file.
    match part.strip_prefix('.') {
        Some(rest) => format!("_{rest}"),
        None if part.is_empty() => "_".into(),
        None => part,
    }
}

/// Writes the title and the lines below it; a checkpoint may be known or not.
fn head(
    title: &str,
    run: &RunId,
    time: Moment,
    (checkpoint, files): (Option<&str>, &RunFiles),
) -> String {
    let lines = [
        ("Date", time.table_form()),
        ("Machine", text_or_unknown(files.machine.as_deref())),
        ("Run ID", escape::code(run.as_str())),
        ("WandB", files.wandb.as_deref().map_or_else(|| UNKNOWN.into(), address)),
        ("Raw shell log", code_or_unknown(files.shell_log.as_deref())),
        ("Checkpoint", code_or_unknown(checkpoint)),
        ("Git commit", code_or_unknown(files.git_commit.as_deref())),
        ("Git tag", code_or_unknown(files.git_tag.as_deref())),
    ];
    let mut head = format!("# Failure of {title}\n\n");
    for (name, value) in lines {
        // Two spaces at its end make a line of its own.
        add(&mut head, &format!("**{name}:** {value}  "));
    }
    head
}

fn what(observation: &Observation) -> String {
    let place = cells::place(observation.checkpoint.name);
    cells::headline(observation)
        .unwrap_or_else(|| format!("{} at {place}", cells::verdict(observation)))
}

pub(super) fn trajectory(observations: &[Observation]) -> String {
    let mut ordered: Vec<&Observation> = observations.iter().collect();
    ordered.sort_by_key(|observation| (observation.checkpoint.name, observation.time));
    let mut section = String::from("## Trajectory\n\n");
    let header = [
        "Checkpoint",
        "Step",
        "Time",
        "Eff. Rank",
        "Mean sim.",
        "Max sim.",
        "Eval loss",
        "Verdict",
        "Note",
    ];
    add(&mut section, &table::row(header.map(str::to_owned)));
    add(&mut section, "|---|---|---|---|---|---|---|---|---|");
    let mut previous: Option<&str> = None;
    let mut has_change = false;
    for observation in ordered {
        let changed = previous.is_some_and(|protocol| protocol != observation.protocol);
        has_change |= changed;
        add(&mut section, &trajectory_row(observation, changed));
        previous = Some(&observation.protocol);
    }
    if has_change {
        add(
            &mut section,
            "\nThe protocol of the analysis changed where the Note says so; values on the two sides of a change are not comparable.",
        );
    }
    section
}

fn trajectory_row(observation: &Observation, protocol_changed: bool) -> String {
    let row = cells::observation_row(observation);
    let step = match observation.checkpoint.name {
        CheckpointName::Step(step) => Some(step),
        CheckpointName::Final => observation.training.as_ref().map(|training| training.step),
    };
    let mut note = escape::escaped(&row.note, CELL_LIMIT);
    let protocol: String =
        escape::readable(&observation.protocol, CELL_LIMIT).chars().take(4).collect();
    let remark = format!("protocol {}", escape::escaped(&protocol, CELL_LIMIT));
    if protocol_changed && !note.contains(&remark) {
        note = if note.is_empty() { remark } else { format!("{note}; {remark}") };
    }
    table::row([
        escape::code(&row.checkpoint),
        number(step),
        row.time,
        or_unknown(&row.rank),
        or_unknown(&row.mean_similarity),
        or_unknown(&row.max_similarity),
        or_unknown(&row.eval_loss),
        row.verdict,
        note,
    ])
}

pub(super) fn concept_health(observation: &Observation) -> String {
    let mut section = String::from("## Concept health\n\n");
    if observation.measurements.is_empty() {
        add(&mut section, UNKNOWN);
        return section;
    }
    add(&mut section, "| Measurement | Value | Definition |\n|---|---|---|");
    for (name, value) in observation.measurements.iter().take(MEASUREMENTS) {
        let definition = definition(name).unwrap_or_default().to_owned();
        add(&mut section, &table::row([escape::code(name), significant(*value), definition]));
    }
    let left_out = observation.measurements.len().saturating_sub(MEASUREMENTS);
    if left_out > 0 {
        add(&mut section, &format!("\n{left_out} more measurements are left out."));
    }
    section
}

pub(super) fn training(training: Option<&TrainingPoint>) -> String {
    let mut section = String::from("## Training at that point\n\n");
    let unknown = TrainingPoint::default();
    let point = training.unwrap_or(&unknown);
    let value = |name: &str, value: Option<f64>| match value {
        None if point.not_finite.iter().any(|known| known == name) => "nan".to_owned(),
        Some(value) if !value.is_finite() => value.to_string().to_lowercase(),
        other => significant(other),
    };
    let step = training.map(|training| training.step);
    let rows = [
        ("Optimizer step", number(step), number(step)),
        ("Planned steps", number(point.total_steps), UNKNOWN.into()),
        ("Epoch", value("epoch", point.epoch), number(step)),
        ("Loss", value("loss", point.loss), number(point.loss_step)),
        ("Gradient norm", value("grad_norm", point.grad_norm), number(point.loss_step)),
        ("Learning rate", value("learning_rate", point.learning_rate), number(point.loss_step)),
        ("Evaluation loss", value("eval_loss", point.eval_loss), number(point.eval_step)),
    ];
    add(&mut section, "| What | Value | At step |\n|---|---|---|");
    for (name, value, step) in rows {
        add(&mut section, &table::row([name.to_owned(), value, step]));
    }
    section
}

fn evidence(facts: &NoteFacts<'_>) -> String {
    let conditions = facts.observation.conditions.iter();
    let conditions = conditions.map(|condition| format!("Analysis: {condition}"));
    let protocol = Some(&facts.observation.protocol).filter(|protocol| !protocol.is_empty());
    let identity = [format!("Checkpoint content: {}", facts.observation.digest)];
    let weights =
        facts.observation.weights_sha256.as_ref().map(|sha| format!("Weights SHA-256: {sha}"));
    let protocol = protocol.map(|protocol| format!("Protocol of the analysis: {protocol}"));
    let all = facts
        .evidence
        .iter()
        .cloned()
        .chain(conditions)
        .chain(identity)
        .chain(weights)
        .chain(protocol);
    evidence_list(all)
}

fn evidence_list(lines: impl Iterator<Item = String>) -> String {
    let mut section = String::from("## Evidence\n\n");
    for line in lines.take(EVIDENCE) {
        add(&mut section, &format!("- {}", item(&line, EVIDENCE_LIMIT)));
    }
    section
}

fn decision(observation: &Observation) -> String {
    let run = escape::code(observation.checkpoint.run.as_str());
    format!(
        "## Decision\n\nEvaluation of this run is stopped. `runscribe gate` answers 3 for {run} as \
         long as its newest verdict is `fail`. The interpretation is left to a person.\n"
    )
}

pub(super) fn add(section: &mut String, line: &str) {
    // Writing into a string cannot fail.
    if writeln!(section, "{line}").is_err() {
        section.clear();
    }
}

/// Escapes a text for the start of a list item, where a few characters begin blocks.
pub(super) fn item(text: &str, limit: usize) -> String {
    let escaped = escape::escaped(text, limit);
    let digits = escaped.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = escaped.split_at_checked(digits).unwrap_or_default();
    let begins_a_block = match digits {
        0 => rest.starts_with(['#', '>', '-', '+', '=']),
        _ => rest.starts_with(['.', ')']),
    };
    if escaped.is_empty() {
        UNKNOWN.into()
    } else if begins_a_block {
        format!("{number}\\{rest}")
    } else {
        escaped
    }
}

/// Prints a web address as a link, and anything else as text.
pub(super) fn address(text: &str) -> String {
    if escape::is_web_address(text) { format!("<{text}>") } else { text_or_unknown(Some(text)) }
}

pub(super) fn text_or_unknown(text: Option<&str>) -> String {
    let escaped = escape::escaped(text.unwrap_or_default(), CELL_LIMIT);
    if escaped.is_empty() { UNKNOWN.into() } else { escaped }
}

pub(super) fn code_or_unknown(text: Option<&str>) -> String {
    text.filter(|text| !text.trim().is_empty()).map_or_else(|| UNKNOWN.into(), escape::code)
}

fn or_unknown(cell: &str) -> String {
    if cell == super::columns::EMPTY { UNKNOWN.into() } else { cell.to_owned() }
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| UNKNOWN.into(), |value| value.to_string())
}

/// Prints six significant digits.
fn significant(value: Option<f64>) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return UNKNOWN.into() };
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e9).contains(&magnitude) {
        return format!("{value:.5e}");
    }
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    rounded.to_string()
}
