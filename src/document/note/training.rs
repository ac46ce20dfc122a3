//! The failure note of a training that failed, or is not healthy.

use crate::document::cells;
use crate::document::escape::{self, CELL_LIMIT};
use crate::model::checkpoint::TrainingPoint;
use crate::model::ids::{CheckpointName, RunId};
use crate::model::numbers::grouped;
use crate::model::observation::Observation;
use crate::model::time::Moment;

use super::{
    EVIDENCE_LIMIT, RunFiles, UNKNOWN, add, concept_health, evidence_list, head, item, training,
    trajectory,
};

/// Everything that the note of a training failure tells. Texts are plain and become escaped.
#[derive(Debug, Clone)]
pub struct TrainingNoteFacts<'a> {
    /// Whose training.
    pub run: &'a RunId,
    /// When it was noticed.
    pub time: Moment,
    /// The class of the failure, such as `out_of_memory`.
    pub class: &'a str,
    /// Whether training ended by it.
    pub ends_training: bool,
    /// The first line of evidence, or what is known where no line tells.
    pub text: &'a str,
    /// The line's number in the log.
    pub line: Option<u64>,
    /// The lines around it.
    pub excerpt: &'a [String],
    /// Where training stood.
    pub training: Option<TrainingPoint>,
    /// The newest complete checkpoint.
    pub checkpoint: Option<CheckpointName>,
    /// All observations of the run, oldest first.
    pub trajectory: &'a [Observation],
    /// What is known of the run's files.
    pub files: RunFiles,
    /// Files, line numbers, exit codes: one line each.
    pub evidence: Vec<String>,
}

impl TrainingNoteFacts<'_> {
    /// Returns what failed, as Markdown: `out_of_memory at step 1,200`.
    fn headline(&self) -> String {
        let step = self.training.as_ref().map(|point| point.step);
        training_headline(self.class, self.ends_training, step)
    }
}

/// Returns what failed and where, as Markdown: `out_of_memory at step 1,200`. What ends nothing is
/// found in the midst of training, at or before the step where that is: `non_finite by step 60`.
pub fn training_headline(class: &str, ends_training: bool, step: Option<u64>) -> String {
    let class = escape::escaped(class, CELL_LIMIT);
    let when = if ends_training { "at" } else { "by" };
    step.map_or_else(|| class.clone(), |step| format!("{class} {when} step {}", grouped(step)))
}

/// Writes the whole note in the project's report form (design, section 8.2).
pub fn training_note(facts: &TrainingNoteFacts<'_>) -> String {
    let title = format!("{}: {}", escape::code(facts.run.as_str()), facts.headline());
    let newest = facts.trajectory.last();
    let health = match newest {
        Some(newest) => {
            let place = cells::place(newest.checkpoint.name);
            let section = concept_health(newest);
            section.replacen("\n\n", &format!("\n\nAt {place}:\n\n"), 1)
        }
        None => format!("## Concept health\n\n{UNKNOWN}\n"),
    };
    let checkpoint = facts.checkpoint.map(|name| name.to_string());
    let sections = [
        head(&title, facts.run, facts.time, (checkpoint.as_deref(), &facts.files)),
        what_happened(facts),
        trajectory(facts.trajectory),
        health,
        training(facts.training.as_ref()),
        evidence(facts),
        decision(facts),
    ];
    sections.join("\n")
}

fn what_happened(facts: &TrainingNoteFacts<'_>) -> String {
    let mut section = String::from("## What happened\n\n");
    let class = escape::code(facts.class);
    let sentence = if facts.ends_training {
        format!("Training ended: {class}.\n")
    } else {
        format!("Training is not healthy: {class}. It did not end by this.\n")
    };
    add(&mut section, &sentence);
    add(&mut section, &format!("- {}", item(facts.text, EVIDENCE_LIMIT)));
    let point = facts.training.as_ref();
    let progress = super::happening::progress(point);
    add(&mut section, &format!("- Training: {progress}"));
    section
}

fn evidence(facts: &TrainingNoteFacts<'_>) -> String {
    let place = facts.files.shell_log.as_ref().map(|log| match facts.line {
        Some(line) => format!("{log}, line {line}"),
        None => log.clone(),
    });
    let mut section = evidence_list(place.into_iter().chain(facts.evidence.iter().cloned()));
    if !facts.excerpt.is_empty() {
        add(&mut section, "\nThe log around the first line of evidence:\n");
        for line in facts.excerpt {
            // Indentation makes code of it, whatever it holds.
            let readable = escape::readable(line, EVIDENCE_LIMIT);
            add(&mut section, format!("    {readable}").trim_end());
        }
    }
    section
}

fn decision(facts: &TrainingNoteFacts<'_>) -> String {
    let what = if facts.ends_training {
        "Nothing was restarted or deleted. A final model of this run does not exist unless training is \
         taken up again."
    } else {
        "Training was not stopped."
    };
    format!("## Decision\n\n{what} The interpretation is left to a person.\n")
}
