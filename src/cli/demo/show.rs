//! What a person sees of the demo: one line a checkpoint with its rank as a bar, then the diff.

use std::io;

use similar::{ChangeTag, TextDiff};

use crate::model::measurement::Verdict;
use crate::publish::wire::{Event, Happened};

use super::super::output::{Outcome, Output};
use super::super::terminal::spark_line;
use super::project::Project;

/// Width of the bar that stands for full rank, in characters.
const BAR: f64 = 32.0;

/// The running display.
pub(super) struct Show {
    ranks: Vec<Option<f64>>,
    final_written: bool,
    note: Option<String>,
    run: String,
}

impl Show {
    pub(super) fn new(project: &Project) -> Self {
        let run = project.run.to_string();
        Self { ranks: Vec::new(), final_written: false, note: None, run }
    }

    pub(super) fn heading(&self, output: &mut Output) -> io::Result<()> {
        let run = output.paint("1", &self.run);
        output.line(&format!("A simulated trainer trains {run}; the daemon watches.\n"))?;
        let heading = format!(
            "  {:<16} {:>5}  {:<32}  {:<8} {}",
            "checkpoint", "rank", "of 128", "verdict", "so far"
        );
        output.line(&output.paint("2", &heading))
    }

    /// Whether the final model stands in the log and the failure was noted.
    pub(super) fn is_over(&self) -> bool {
        self.final_written && self.note.is_some()
    }

    pub(super) fn event(&mut self, event: &Event, output: &mut Output) -> io::Result<()> {
        match &event.what {
            Happened::Verdict { verdict, rank, threshold, .. } => {
                let name = event.checkpoint.as_deref().unwrap_or_default();
                let line = self.verdict(name, *verdict, rank.unwrap_or(0.0), *threshold, output);
                output.line(&line)
            }
            Happened::ObservationWritten { .. } => {
                self.final_written |= event.checkpoint.as_deref() == Some("final");
                Ok(())
            }
            Happened::FailureNoted { note, .. } => {
                self.note = Some(note.clone());
                let text = format!("  failure note written: {note}");
                output.line(&output.paint("31", &text))
            }
            Happened::CheckpointGone => {
                output.line("  a checkpoint was rotated away before its analysis began")
            }
            _ => Ok(()),
        }
    }

    fn verdict(
        &mut self,
        name: &str,
        verdict: Verdict,
        rank: f64,
        threshold: Option<f64>,
        output: &Output,
    ) -> String {
        if name != "final" {
            self.ranks.push(Some(rank));
        }
        let filled = ((rank / 128.0) * BAR).round().clamp(1.0, BAR);
        let gate = threshold.map(|threshold| (threshold / 128.0 * BAR).round());
        let bar: String = (0..32_u8)
            .map(|cell| match f64::from(cell) {
                cell if cell < filled => '█',
                cell if Some(cell) == gate => '│',
                _ => '·',
            })
            .collect();
        let color = if verdict == Verdict::Fail { "1;31" } else { "32" };
        let verdict = output.paint(color, &format!("{:<8}", verdict.to_string()));
        let bar = output.paint(color, &bar);
        format!("  {name:<16} {rank:>5.1}  {bar}  {verdict} {}", spark_line(&self.ranks))
    }
}

/// Shows what was written into the experiment log, and where the note is.
pub(super) fn ending(project: &Project, output: &mut Output) -> Outcome {
    let after = std::fs::read_to_string(project.log())?;
    output.line("\nWhat the experiment log got:\n")?;
    let diff = TextDiff::from_lines(&project.log_before, &after);
    for group in diff.grouped_ops(1) {
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let (sign, color) = match change.tag() {
                ChangeTag::Insert => ("+", "32"),
                ChangeTag::Delete => ("-", "31"),
                ChangeTag::Equal => (" ", "2"),
            };
            let line = format!("{sign} {}", change.value().trim_end_matches('\n'));
            output.line(&output.paint(color, &line))?;
        }
    }
    let reports = project.root.join("docs/2_Experiments_Registry/run_reports");
    output.line("")?;
    for entry in std::fs::read_dir(reports)? {
        output.line(&format!("Failure note: {}", entry?.path().display()))?;
    }
    Ok(())
}
