//! Facts that training prints about itself: run id, W&B page, planned steps, data set sizes.
//!
//! Source of the lines: the watched project's trainers, transformers' `Trainer` and `wandb`.

use bstr::ByteSlice;
use serde::{Deserialize, Serialize};

use super::frames::Phase;
use crate::model::ids::{CheckpointName, RunId};

/// Ranks that begin together form their run ids within so many seconds.
const RANKS_BEGIN_WITHIN_SECONDS: i64 = 60;
/// Longer values are no paths or addresses.
const MAX_VALUE_BYTES: usize = 4_096;

/// Something that the log states.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// The run's id. A later one replaces it: it comes from a line that is closer to the files.
    Run(RunId),
    /// The run's page at W&B.
    WandbUrl(String),
    /// Planned optimizer steps.
    TotalSteps(u64),
    /// Examples of the training set.
    TrainExamples(u64),
    /// Examples of the evaluation set.
    EvalExamples(u64),
    /// A checkpoint is about to be written; its files may not exist yet.
    CheckpointSaving(RunId, CheckpointName),
    /// A training begins; the log may hold several. What was known of the run stays until another
    /// one is named.
    TrainingBegins,
    /// Training came to its planned end.
    Completed,
}

/// Texts without which a line holds no fact.
pub(super) const LABELS: [&str; 16] = [
    OUTPUT_DIRECTORY,
    RUN_NAME,
    SAVING,
    WANDB_DATA,
    VIEW_RUN,
    TOTAL_STEPS,
    NUM_EXAMPLES,
    TRAIN_SIZE,
    TEST_SIZE,
    EVAL_SIZE,
    RUNNING_TRAINING,
    RUNNING_EVALUATION,
    RUNNING_PREDICTION,
    COMPLETED,
    TRAINER_COMPLETED,
    WANDB_SUMMARY,
];

const OUTPUT_DIRECTORY: &str = "Output directory:";
const RUN_NAME: &str = "Run name:";
const SAVING: &str = "Saving model checkpoint to ";
const WANDB_DATA: &str = "Run data is saved locally in";
const VIEW_RUN: &str = "View run ";
const TOTAL_STEPS: &str = "Total optimization steps =";
const NUM_EXAMPLES: &str = "Num examples =";
const TRAIN_SIZE: &str = "Train dataset size:";
const TEST_SIZE: &str = "Test dataset size:";
const EVAL_SIZE: &str = "Eval dataset size:";
const RUNNING_TRAINING: &str = "***** Running training *****";
const RUNNING_EVALUATION: &str = "***** Running Evaluation *****";
const RUNNING_PREDICTION: &str = "***** Running Prediction *****";
const COMPLETED: &str = "Training completed successfully!";
const TRAINER_COMPLETED: &str = "Training completed. Do not forget to share your model";
const WANDB_SUMMARY: &str = "Run summary:";

/// How sure a line makes of the run id: what names the files is nearest to the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Certainty {
    /// Known from a training before, or from none at all.
    Before,
    Name,
    Page,
    Wandb,
    Folder,
    Saving,
}

/// Remembers which facts are known, so that each is reported once.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FactReader {
    run: Option<(Certainty, RunId)>,
    url: Option<String>,
    known: Vec<Fact>,
    section: Section,
}

/// Under which of the trainer's headings the log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Section {
    #[default]
    None,
    Training,
    Evaluation,
}

impl FactReader {
    /// Reads the facts of a line without escape sequences; `phase` is that of the training so far.
    pub(super) fn read(&mut self, text: &[u8], phase: Phase) -> Vec<Fact> {
        let mut facts = Vec::new();
        self.read_section(text, phase, &mut facts);
        self.read_run(text, phase, &mut facts);
        self.read_url(text, phase, &mut facts);
        self.read_numbers(text, &mut facts);
        if text.contains_str(COMPLETED) || text.contains_str(TRAINER_COMPLETED) {
            facts.push(Fact::Completed);
        }
        facts
    }

    fn read_section(&mut self, text: &[u8], phase: Phase, facts: &mut Vec<Fact>) {
        if text.contains_str(RUNNING_TRAINING) {
            self.section = Section::Training;
            self.begin_training(phase);
            facts.push(Fact::TrainingBegins);
        } else if text.contains_str(RUNNING_EVALUATION) {
            self.section = Section::Evaluation;
        } else if text.contains_str(RUNNING_PREDICTION) {
            self.section = Section::None;
        }
    }

    /// Behind a training that did something, lines about the next one are read afresh.
    fn begin_training(&mut self, phase: Phase) {
        if phase != Phase::Beginning {
            self.known.clear();
            if let Some((certainty, _)) = &mut self.run {
                *certainty = Certainty::Before;
            }
        }
    }

    fn read_run(&mut self, text: &[u8], phase: Phase, facts: &mut Vec<Fact>) {
        if let Some(path) = value_after(text, SAVING) {
            if let Some((run, name)) = saved_checkpoint(path) {
                self.learn_run(Certainty::Saving, run.clone(), phase, facts);
                facts.push(Fact::CheckpointSaving(run, name));
            }
            return;
        }
        let folder = |label| value_after(text, label).map(|path| last_two_components(path).1);
        if let Some(run) = folder(OUTPUT_DIRECTORY).and_then(stamped) {
            self.learn_run(Certainty::Folder, run, phase, facts);
        } else if let Some(run) = folder(WANDB_DATA).and_then(wandb_folder_run) {
            self.learn_run(Certainty::Wandb, run, phase, facts);
        } else if let Some(run) = value_after(text, RUN_NAME).and_then(stamped) {
            self.learn_run(Certainty::Name, run, phase, facts);
        }
    }

    fn read_url(&mut self, text: &[u8], phase: Phase, facts: &mut Vec<Fact>) {
        let Some((_, after)) = text.split_once_str(VIEW_RUN) else { return };
        let Some(at) = after.find("http") else { return };
        let (name, url) = after.split_at_checked(at).unwrap_or((after, &[]));
        let end = url.find_byteset(" \t?#'\"<>").unwrap_or(url.len());
        let url = url.get(..end).unwrap_or_default().to_str_lossy();
        let Some((_, id)) = url.split_once("/runs/") else { return };
        let name = name.trim_ascii().strip_suffix(b"at:").or(name.trim_ascii().strip_suffix(b"at"));
        let named =
            name.and_then(|name| stamped(name.trim_ascii())).or_else(|| stamped(id.as_bytes()));
        if let Some(run) = named {
            self.learn_run(Certainty::Page, run, phase, facts);
        }
        if self.url.as_deref() != Some(&*url) && url.len() <= MAX_VALUE_BYTES {
            self.url = Some(url.to_string());
            facts.push(Fact::WandbUrl(url.into_owned()));
        }
    }

    fn read_numbers(&mut self, text: &[u8], facts: &mut Vec<Fact>) {
        let number = |label| value_after(text, label).and_then(grouped_number);
        let examples = number(NUM_EXAMPLES);
        let found = [
            number(TOTAL_STEPS).map(Fact::TotalSteps),
            examples.filter(|_| self.section == Section::Training).map(Fact::TrainExamples),
            examples.filter(|_| self.section == Section::Evaluation).map(Fact::EvalExamples),
            number(TRAIN_SIZE).map(Fact::TrainExamples),
            number(TEST_SIZE).or_else(|| number(EVAL_SIZE)).map(Fact::EvalExamples),
        ];
        for fact in found.into_iter().flatten() {
            let same_kind =
                |known: &Fact| std::mem::discriminant(known) == std::mem::discriminant(&fact);
            if self.known.contains(&fact) && !matches!(fact, Fact::TotalSteps(_)) {
                continue;
            }
            self.known.retain(|known| !same_kind(known));
            self.known.push(fact.clone());
            facts.push(fact);
        }
    }

    fn learn_run(&mut self, certainty: Certainty, run: RunId, phase: Phase, facts: &mut Vec<Fact>) {
        if self.begins_another(certainty, &run, phase) {
            self.begin_training(phase);
            facts.push(Fact::TrainingBegins);
        }
        let is_news = self.run.as_ref().is_none_or(|(known, _)| certainty > *known);
        if is_news {
            if self.run.as_ref().is_none_or(|(_, known)| *known != run) {
                facts.push(Fact::Run(run.clone()));
            }
            self.run = Some((certainty, run));
        }
    }

    /// Returns whether a line that names a run's files is about another training than the one
    /// before: trainers that print no heading can be told apart by nothing else.
    fn begins_another(&self, certainty: Certainty, run: &RunId, phase: Phase) -> bool {
        let Some((known_certainty, known)) = &self.run else { return false };
        let names_files = certainty >= Certainty::Wandb;
        if !names_files || known == run || *known_certainty == Certainty::Before {
            return false;
        }
        match phase {
            Phase::Beginning => false,
            // Another rank may name a run of its own, and a line that is nearer to the files may
            // correct the name.
            Phase::Trained => certainty <= *known_certainty && !began_together(known, run),
            Phase::Ended => true,
        }
    }
}

fn began_together(one: &RunId, other: &RunId) -> bool {
    let (Some((base, begun)), Some((other_base, other_begun))) =
        (one.split_stamp(), other.split_stamp())
    else {
        return false;
    };
    base == other_base
        && begun.duration_until(other_begun).as_secs().abs() <= RANKS_BEGIN_WITHIN_SECONDS
}

/// Returns whether a line is W&B's heading of the final values, printed when its run ends.
pub(super) fn is_wandb_summary(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"wandb:") && text.contains_str(WANDB_SUMMARY)
}

/// Returns what stands behind a label, without quotes and brackets around it.
fn value_after<'a>(text: &'a [u8], label: &str) -> Option<&'a [u8]> {
    let (_, value) = text.split_once_str(label)?;
    let value = value.trim_with(|character| {
        character.is_whitespace() || matches!(character, '\'' | '"' | '`' | '[' | ']')
    });
    (!value.is_empty() && value.len() <= MAX_VALUE_BYTES).then_some(value)
}

/// Returns the last but one and the last component of a path, with `/` or `\` between.
fn last_two_components(path: &[u8]) -> (&[u8], &[u8]) {
    let mut components =
        path.rsplit(|byte| matches!(byte, b'/' | b'\\')).filter(|component| !component.is_empty());
    let last = components.next().unwrap_or_default();
    (components.next().unwrap_or_default(), last)
}

/// Accepts a run id only with its time stamp: `results` and W&B's random ids are no runs.
fn stamped(name: &[u8]) -> Option<RunId> {
    let run = RunId::new(name.to_str().ok()?);
    run.stamp().is_some().then_some(run)
}

/// Reads the run from `[offline-]run-<YYYYMMDD>_<HHMMSS>-<run id>`.
fn wandb_folder_run(folder: &[u8]) -> Option<RunId> {
    let folder = folder.strip_prefix(b"offline-").unwrap_or(folder);
    let (stamp, run) = folder.strip_prefix(b"run-")?.split_once_str("-")?;
    let is_stamp =
        stamp.len() == 15 && stamp.iter().all(|byte| byte.is_ascii_digit() || *byte == b'_');
    is_stamp.then(|| stamped(run)).flatten()
}

/// Reads `<run>/checkpoint-<step>`, and `<run>/<run>` of a final model.
fn saved_checkpoint(path: &[u8]) -> Option<(RunId, CheckpointName)> {
    let (parent, last) = last_two_components(path);
    if let Some(run) = stamped(last) {
        return Some((run, CheckpointName::Final));
    }
    let name = last.to_str().ok()?.parse().ok()?;
    Some((stamped(parent)?, name))
}

/// Reads `3,920`.
fn grouped_number(text: &[u8]) -> Option<u64> {
    let digits: String = text
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || **byte == b',')
        .filter(|byte| **byte != b',')
        .map(|byte| char::from(*byte))
        .collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

    fn facts(lines: &[&str]) -> String {
        facts_in(Phase::Beginning, lines)
    }

    fn facts_in(phase: Phase, lines: &[&str]) -> String {
        let mut reader = FactReader::default();
        let facts: Vec<Fact> =
            lines.iter().flat_map(|line| reader.read(line.as_bytes(), phase)).collect();
        format!("{facts:?}")
    }

    #[test]
    fn every_way_to_name_a_run_is_read() {
        for line in [
            format!("07:04:39 - INFO - Output directory: /p/Cache/Training/{RUN}"),
            format!("Output directory: C:\\p\\Training\\{RUN}\\"),
            format!("  - Run name: {RUN}"),
            format!(
                "wandb: Run data is saved locally in /p/wandb/offline-run-20261123_063802-{RUN}"
            ),
            format!("wandb: Run data is saved locally in ./wandb/run-20261123_063802-{RUN}"),
        ] {
            assert_eq!(facts(&[&line]), format!("[Run(RunId({RUN:?}))]"), "{line}");
        }
    }

    #[test]
    fn what_is_no_run_id_is_not_taken_for_one() {
        for line in [
            "Output directory: ./results",
            "Output directory:",
            "Run name: My first try",
            "wandb: Run data is saved locally in /p/wandb/run-20261123_063802-a1b2c3d4",
            "wandb: Run data is saved locally in /p/wandb/latest-run",
            "Saving model checkpoint to /p/Training/mrpc/checkpoint-20",
            "Saving model checkpoint to /",
            "  Num examples = 80",
            "View run without address",
        ] {
            assert_eq!(facts(&[line]), "[]", "{line}");
        }
    }

    #[test]
    fn saved_checkpoints_name_run_and_step() {
        assert_eq!(
            facts(&[
                &format!("Saving model checkpoint to /p/Training/{RUN}/checkpoint-20"),
                &format!("Saving model checkpoint to /p/Training/{RUN}/{RUN}"),
            ]),
            format!(
                "[Run(RunId({RUN:?})), CheckpointSaving(RunId({RUN:?}), Step(20)), \
                 CheckpointSaving(RunId({RUN:?}), Final)]"
            )
        );
    }

    #[test]
    fn the_line_that_is_nearest_to_the_files_decides() {
        let named = facts(&[
            "Run name: a_20261123_063801",
            "Output directory: /p/b_20261123_063801",
            "Output directory: /p/c_20261123_063809",
            "Run name: a_20261123_063801",
            "Saving model checkpoint to /p/d_20261123_063801/checkpoint-1",
        ]);
        assert_eq!(
            named,
            "[Run(RunId(\"a_20261123_063801\")), Run(RunId(\"b_20261123_063801\")), \
             Run(RunId(\"d_20261123_063801\")), \
             CheckpointSaving(RunId(\"d_20261123_063801\"), Step(1))]"
        );
    }

    #[test]
    fn wandb_pages_are_read_without_their_query() {
        let url = format!("https://wandb.ai/entity/project/runs/{RUN}");
        let expected = format!("[Run(RunId({RUN:?})), WandbUrl({url:?})]");
        assert_eq!(facts(&[&format!("wandb: 🚀 View run {RUN} at: {url}?apiKey=0123")]), expected);
        assert_eq!(
            facts(&[&format!("wandb: View run at {url}"), &format!("View run at {url}")]),
            expected
        );
        assert_eq!(
            facts(&["wandb: View run some name at: https://wandb.ai/e/p/runs/a1b2"]),
            "[WandbUrl(\"https://wandb.ai/e/p/runs/a1b2\")]"
        );
    }

    #[test]
    fn sizes_belong_to_the_heading_above_them() {
        assert_eq!(
            facts(&[
                "Train dataset size: 3,920",
                "***** Running training *****",
                "  Num examples = 3,920",
                "  Total optimization steps = 1,000",
                "***** Running Evaluation *****",
                "  Num examples = 80",
                "***** Running Prediction *****",
                "  Num examples = 7",
            ]),
            "[TrainExamples(3920), TrainingBegins, TotalSteps(1000), EvalExamples(80)]"
        );
    }

    #[test]
    fn files_of_another_run_begin_another_training() {
        let saving = |run: &str| format!("Saving model checkpoint to /p/{run}/checkpoint-5");
        let folder = |run: &str| format!("Output directory: /p/{run}");
        let name = |run: &str| format!("Run name: {run}");
        let (a, rank, b) = ("a_20261123_063801", "a_20261123_063819", "a_20261123_070000");
        for (phase, first, second, begins) in [
            (Phase::Trained, folder(a), folder(b), true),
            (Phase::Trained, folder(a), folder(a), false),
            (Phase::Trained, folder(a), folder(rank), false),
            (Phase::Trained, name(a), saving(b), false),
            (Phase::Trained, folder(a), name(b), false),
            (Phase::Ended, folder(a), folder(rank), true),
            (Phase::Ended, saving(a), folder(b), true),
            (Phase::Ended, folder(a), name(b), false),
            (Phase::Beginning, folder(a), folder(b), false),
        ] {
            let named = facts_in(phase, &[&first, &second]);
            assert_eq!(named.contains("TrainingBegins"), begins, "{phase:?} {first} {second}");
        }
    }

    /// The heading of a training stands behind the line that names its run, or before it.
    #[test]
    fn a_run_that_is_named_behind_the_heading_begins_no_third_training() {
        let named = facts_in(
            Phase::Ended,
            &[
                "Output directory: /p/a_20261123_063801",
                "***** Running training *****",
                "Run name: b_20261123_063901",
                "Saving model checkpoint to /p/b_20261123_063901/checkpoint-5",
            ],
        );
        assert_eq!(
            named,
            "[Run(RunId(\"a_20261123_063801\")), TrainingBegins, \
             Run(RunId(\"b_20261123_063901\")), \
             CheckpointSaving(RunId(\"b_20261123_063901\"), Step(5))]"
        );
    }
}
