//! The decider held against its contract: scripted histories, then random ones.

mod alerts;
mod begun;
mod commands;
mod evaluations;
mod failures;
mod training;

use std::path::{Path, PathBuf};

use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};

use super::memory_journal::MemoryJournal;
use super::*;
use crate::model::Timestamp;
use crate::model::analysis::{AnalysisResult, FailureClass, ProgramKind, Twin};
use crate::model::checkpoint::{
    CheckpointSighting, CompleteCheckpoint, Condition, ModelConfig, TrainingPoint,
};
use crate::model::ids::FolderIdentity;
use crate::model::journal::Memory;
use crate::model::measurement::{Report, ReportSource};
use crate::model::observation::{DocumentEdit, Observation};
use crate::model::shell_log::LogPosition;
use crate::model::status::DaemonStatus;
use crate::parse::shell_log::{LogReader, Thresholds};

const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";
const HOME: FolderIdentity = FolderIdentity { device: 1, inode: 2 };

/// A world with a journal made of what was recorded, so that it can be started again.
struct Play {
    world: World,
    now: Moment,
    orders: Vec<AnalysisOrder>,
    journal: MemoryJournal,
    rescans: usize,
    inode: u64,
    /// The last answer to a command.
    answer: Option<Answer>,
    /// Alerts that were given to be sent.
    sent: Vec<(ReceiverKey, Alert)>,
    /// Runs that W&B's service was to be asked for.
    asked_wandb: Vec<RunId>,
    /// Alerts that were sent and are given up if they are not taken.
    last_tries: usize,
}

impl Play {
    /// Starts on a project whose first scan is long over.
    fn new() -> Self {
        let mut play = Self::first_start();
        play.event(Event::FirstScanDone);
        play
    }

    fn first_start() -> Self {
        let journal = MemoryJournal::new();
        let now = Moment::parse("2026-11-23T08:00:00+01:00").unwrap_or(EPOCH);
        let world = world(journal.memory.clone(), now);
        let mut play = Self {
            world,
            now,
            orders: Vec::new(),
            journal,
            rescans: 0,
            inode: 100,
            answer: None,
            sent: Vec::new(),
            asked_wandb: Vec::new(),
            last_tries: 0,
        };
        play.prepare();
        play
    }

    fn prepare(&mut self) {
        let facts = ProgramFacts {
            kind: ProgramKind::Script,
            argv: vec!["analysis".to_owned(), "{model_type}".to_owned()],
            python: Ok("python".to_owned()),
            environment: std::collections::BTreeMap::new(),
            secrets: crate::model::secrets::Secrets::default(),
            protocol: "aaaa1111".to_owned(),
            root: PathBuf::from("/project"),
            cores: 4,
        };
        let readiness = Readiness::Ready { program: "analysis".to_owned() };
        self.event(Event::Program(Box::new(facts), readiness));
        self.list(&[RUN], HOME);
    }

    /// The daemon dies and starts again with what the journal holds.
    fn restart(&mut self) {
        self.orders.clear();
        self.sent.clear();
        self.world = world(self.journal.memory.clone(), self.now);
        self.prepare();
        self.event(Event::FirstScanDone);
    }

    fn later(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.event(Event::Tick);
    }

    fn event(&mut self, event: Event) {
        self.now = self.now.after(Duration::from_millis(10));
        let before = leaves_runs(&self.world, &event).then(|| snapshot(&self.world, self.now));
        let effects = step(&mut self.world, event, self.now);
        if let Some(before) = before.filter(|_| effects.is_empty()) {
            // As text, in which also values that are no numbers are equal.
            let rest = format!("{:?}", snapshot_of_the_rest(&before, &self.world, self.now));
            let whole = format!("{:?}", snapshot(&self.world, self.now));
            assert_eq!(rest, whole, "it did not leave the runs alone");
        }
        for effect in effects {
            match effect {
                Effect::Record(transaction) => self.journal.record(transaction),
                Effect::Analyze(order) => self.orders.push(*order),
                Effect::RescanRun(_) | Effect::RescanAll(_) => self.rescans += 1,
                Effect::AskWandb(run) => self.asked_wandb.push(run),
                Effect::ReadRunFacts(_) | Effect::LookForWriters(_) => {}
                Effect::Answer(_, answer) => self.answer = Some(answer),
                Effect::SendAlert { receiver, alert, is_last } => {
                    self.last_tries += usize::from(is_last);
                    self.sent.push((receiver.address.key(), *alert));
                }
            }
        }
    }

    fn list(&mut self, runs: &[&str], identity: FolderIdentity) {
        let inode = self.inode;
        let runs = runs.iter().map(|run| (RunId::new(*run), folder(inode))).collect();
        self.event(Event::TrainingFolder(TrainingFolder::Listed { identity, runs }));
    }

    /// Shows a run with these checkpoints, each with the content it holds.
    fn show(&mut self, run: &str, checkpoints: &[(&str, Condition)]) {
        let sighting = self.sighting(run, checkpoints, self.now.timestamp());
        self.event(Event::Run(sighting));
    }

    fn sighting(
        &self,
        run: &str,
        checkpoints: &[(&str, Condition)],
        newest: Timestamp,
    ) -> RunSighting {
        RunSighting {
            run: RunId::new(run),
            identity: folder(self.inode),
            training_folder: HOME,
            newest_modified: Some(newest),
            checkpoints: checkpoints
                .iter()
                .map(|(name, condition)| CheckpointSighting {
                    name: name.parse().unwrap_or(CheckpointName::Final),
                    folder: PathBuf::from("/project/Cache/Training").join(run).join(name),
                    signature: 1,
                    newest_change: Some(newest),
                    newest_modified: Some(newest),
                    condition: condition.clone(),
                })
                .collect(),
        }
    }

    /// Ends the oldest order with a result.
    fn end(&mut self, result: AnalysisResult) {
        let order = self.orders.remove(0);
        self.event(Event::Analyzed(Box::new(outcome(&order, result))));
    }

    fn names(&self) -> Vec<String> {
        self.orders.iter().map(|order| order.checkpoint.name.to_string()).collect()
    }

    fn count(&self, wanted: fn(&Happening) -> bool) -> usize {
        self.journal.events.iter().filter(|event| wanted(event)).count()
    }

    fn notes(&self) -> usize {
        let is_note = |edit: &&DocumentEdit| matches!(edit, DocumentEdit::FailureNote { .. });
        self.journal.documents.iter().filter(is_note).count()
    }

    /// Shows a log with this content, as its reader reads it.
    fn log(&mut self, path: &str, text: &str) {
        self.log_at(path, text, self.now.timestamp());
    }

    fn log_at(&mut self, path: &str, text: &str, modified: Timestamp) {
        let thresholds = Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 };
        let mut reader = LogReader::new(thresholds);
        reader.push(text.as_bytes());
        let length = text.len() as u64;
        let parser = reader.put_away();
        self.event(Event::ShellLog(Box::new(LogSighting {
            key: LogKey::new(path),
            path: path.to_owned(),
            position: LogPosition { offset: length, parser, ..LogPosition::default() },
            reading: reader.reading().clone(),
            length,
            modified,
        })));
    }

    /// Returns the text of the failure note of a kind.
    fn note(&self, kind: &str) -> String {
        let ending = format!("_{kind}.md");
        let note = self.journal.documents.iter().find_map(|edit| match edit {
            DocumentEdit::FailureNote { file, text, .. } if file.ends_with(&ending) => {
                Some(text.clone())
            }
            _ => None,
        });
        note.unwrap_or_default()
    }

    fn newest(&self) -> &Observation {
        &self.journal.memory.observations[self.journal.memory.observations.len() - 1]
    }
}

const EPOCH: Moment = Moment::new(Timestamp::UNIX_EPOCH, jiff::tz::Offset::UTC);

fn folder(inode: u64) -> FolderIdentity {
    FolderIdentity { device: 1, inode }
}

fn world(memory: Memory, now: Moment) -> World {
    let settings = Arc::new(crate::settings::defaults(Path::new("/project")));
    World::new(settings, memory, DaemonStatus::default(), now)
}

fn complete(content: &str) -> Condition {
    with_weights(content, content)
}

fn with_weights(content: &str, weights: &str) -> Condition {
    Condition::Complete(Arc::new(CompleteCheckpoint {
        digest: Digest::from_stored(content),
        weights_digest: Digest::from_stored(weights),
        weights_bytes: 4,
        weights_files: vec!["model.safetensors".to_owned()],
        config: ModelConfig {
            architecture: Some("ConceptEncoderForMaskedDiffusion".to_owned()),
            concepts: Some(128),
            hidden: Some(512),
            layers: Some(2),
            max_sequence_length: Some(512),
        },
        training: Some(TrainingPoint { step: 20, loss: Some(8.1), ..TrainingPoint::default() }),
    }))
}

fn incomplete() -> Condition {
    Condition::Incomplete { missing: vec!["no `trainer_state.json`".to_owned()] }
}

fn outcome(order: &AnalysisOrder, result: AnalysisResult) -> AnalysisOutcome {
    AnalysisOutcome {
        number: order.number,
        checkpoint: order.checkpoint.clone(),
        digest: order.content.digest.clone(),
        weights_sha256: Some(order.content.weights_digest.clone()),
        finite: None,
        conditions: vec!["pinned".to_owned()],
        result,
    }
}

fn reported(rank: f64) -> AnalysisResult {
    let values = [
        ("global_effective_rank", rank),
        ("mean_concept_similarity", 0.2),
        ("max_concept_similarity", 0.7),
    ];
    let report = Report {
        source: ReportSource::Json,
        model_path: None,
        model_type: None,
        concepts: Some(128),
        hidden: Some(512),
        batches: Some(20),
        measurements: values.map(|(name, value)| (name.to_owned(), Some(value))).into(),
        problems: Vec::new(),
    };
    AnalysisResult::Reported {
        elapsed: Duration::from_secs(9),
        report: Box::new(report),
        disbelief: Vec::new(),
    }
}

fn failed(class: FailureClass) -> AnalysisResult {
    let evidence = "exit 1".to_owned();
    AnalysisResult::Failed { elapsed: Duration::from_secs(1), class, evidence }
}

#[test]
fn a_complete_checkpoint_is_announced_analyzed_and_observed_once() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-20", incomplete())]);
    assert!(play.orders.is_empty() && play.journal.memory.checkpoints.is_empty());
    for _ in 0..3 {
        play.show(RUN, &[("checkpoint-20", complete("a"))]);
    }
    assert_eq!(play.names(), ["checkpoint-20"]);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointComplete { .. })), 1);
    play.end(reported(20.0));
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    play.restart();
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    assert!(play.orders.is_empty());
    assert_eq!(play.journal.memory.observations.len(), 1);
    assert_eq!(play.notes(), 0);
}

#[test]
fn nothing_starts_before_the_first_scan_ended() {
    let mut play = Play::first_start();
    play.show(RUN, &[("checkpoint-20", complete("a"))]);
    assert!(play.orders.is_empty());
    play.event(Event::FirstScanDone);
    assert_eq!(play.names(), ["checkpoint-20"]);
}

#[test]
fn a_failure_note_tells_what_the_shell_log_says_at_that_step() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    play.log(
        "Cache/logs/shell_x.log",
        &format!(
            "Output directory: Cache/Training/{RUN}\n{{'loss': 8.3, 'grad_norm': 2.0}}\n\
             {{'loss': 8.1, 'grad_norm': 2.29}}\n{{'loss': 7.9, 'grad_norm': 2.0}}\n"
        ),
    );
    play.end(reported(2.0));
    let note = play.note("effective-rank");
    assert!(note.contains("line 3: loss 8.1, grad"), "{note}");
    assert!(!note.contains("loss 7.9") && !note.contains("loss 8.3"), "of other steps: {note}");
}

#[test]
fn a_failing_rank_makes_one_note_however_often_it_fails() {
    let mut play = Play::new();
    let mut shown = Vec::new();
    for (step, rank) in [(10, 12.0), (20, 9.9), (30, 8.0), (40, 15.0), (50, 7.0)] {
        shown.push((format!("checkpoint-{step}"), complete(&step.to_string())));
        let borrowed: Vec<(&str, Condition)> =
            shown.iter().map(|(name, condition)| (name.as_str(), condition.clone())).collect();
        play.show(RUN, &borrowed);
        play.end(reported(rank));
    }
    assert_eq!(play.journal.memory.observations.len(), 5);
    assert_eq!(play.notes(), 1);
    let text = play.journal.documents.iter().find_map(|edit| match edit {
        DocumentEdit::FailureNote { text, .. } => Some(text.clone()),
        _ => None,
    });
    let text = text.unwrap();
    assert!(text.contains("9.9") && text.contains("checkpoint-10"), "{text}");
    play.restart();
    play.show(RUN, &[("checkpoint-60", complete("60"))]);
    play.end(reported(6.0));
    assert_eq!(play.notes(), 1);
}

#[test]
fn resaved_content_is_a_new_checkpoint_and_the_old_one_is_gone() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x")), ("checkpoint-20", complete("a"))]);
    assert_eq!(play.names(), ["checkpoint-20"]);
    play.show(RUN, &[("checkpoint-1", complete("y")), ("checkpoint-20", complete("a"))]);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointGone)), 1);
    play.end(reported(20.0));
    play.end(reported(20.0));
    assert_eq!(play.journal.memory.observations.len(), 2);
    assert_eq!(play.newest().digest.as_str(), "y");
}

#[test]
fn a_rotated_checkpoint_is_gone_unless_its_analysis_runs() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x")), ("checkpoint-2", complete("y"))]);
    play.show(RUN, &[]);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointGone)), 1);
    // The running one goes on from its pin; its report still is a fact of that content.
    play.end(reported(20.0));
    assert_eq!(play.journal.memory.observations.len(), 1);
    assert!(play.orders.is_empty());
    // One that could not be finished before its files went is gone after all.
    play.show(RUN, &[("checkpoint-3", complete("z"))]);
    play.show(RUN, &[]);
    play.end(AnalysisResult::Changed);
    play.show(RUN, &[]);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointGone)), 2);
}

#[test]
fn a_failure_whose_files_vanish_before_the_next_attempt_is_final() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    play.end(failed(FailureClass::OutOfMemory));
    play.show(RUN, &[]);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointGone)), 0);
    assert_eq!(play.newest().note, "out_of_memory");
    play.later(7200);
    assert!(play.orders.is_empty());
}

#[test]
fn an_unmounted_training_folder_makes_nothing_gone() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x")), ("checkpoint-2", complete("y"))]);
    let below = FolderIdentity { device: 9, inode: 9 };
    for restarted in [false, true] {
        if restarted {
            play.restart();
        }
        play.list(&[], below);
        play.list(&[], below);
        play.event(Event::TrainingFolder(TrainingFolder::Missing));
        let unreadable = TrainingFolder::Unreadable("permission denied".to_owned());
        play.event(Event::TrainingFolder(unreadable));
    }
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointGone)), 0);
    assert_eq!(play.count(|what| matches!(what, Happening::RunGone)), 0);
    play.list(&[], HOME);
    assert_eq!(play.count(|what| matches!(what, Happening::RunGone)), 1);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointGone)), 2);
}

#[test]
fn a_renamed_run_keeps_its_past_and_a_reused_inode_does_not_inherit_one() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    play.end(reported(5.0));
    let renamed = "renamed_H64L2C128_20261123_063802";
    play.list(&[renamed], HOME);
    play.show(renamed, &[("checkpoint-1", complete("x"))]);
    assert!(play.orders.is_empty());
    assert_eq!(play.newest().checkpoint.run.as_str(), renamed);
    let was_renamed =
        |what: &Happening| matches!(what, Happening::RunSeen { renamed_from: Some(_), .. });
    assert_eq!(play.count(was_renamed), 1);
    // The folder is deleted, and another run's folder gets its inode.
    let other = "other_H64L2C128_20261124_000000";
    play.list(&[other], HOME);
    play.show(other, &[("checkpoint-1", complete("z"))]);
    play.end(reported(5.0));
    assert_eq!(play.count(|what| matches!(what, Happening::RunGone)), 1);
    assert_eq!(play.notes(), 2);
}

#[test]
fn a_final_model_with_a_twin_gets_its_measurements_and_is_not_analyzed() {
    let mut play = Play::new();
    let both = [("checkpoint-20", with_weights("a", "w")), ("final", with_weights("f", "w"))];
    play.show(RUN, &both);
    // The twin goes first, although final models lead the queue.
    assert_eq!(play.names(), ["checkpoint-20"]);
    play.end(reported(20.0));
    assert_eq!(play.names(), ["final"]);
    let twin = play.orders[0].twin.clone().unwrap();
    let measured = play.journal.memory.observations[0].clone();
    assert_eq!((twin.name, twin.time), (measured.checkpoint.name, measured.time));
    assert!(Twin::may_be(&measured, &play.orders[0].content));
    play.end(AnalysisResult::SameWeights(Box::new(measured)));
    let observation = play.newest();
    assert_eq!(observation.note, "= checkpoint-20");
    assert_eq!(observation.measurements, play.journal.memory.observations[0].measurements);
}

#[test]
fn a_final_model_is_analyzed_itself_when_its_twin_cannot_be() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-20", with_weights("a", "w"))]);
    play.end(failed(FailureClass::Tokenizer));
    let both = [("checkpoint-20", with_weights("a", "w")), ("final", with_weights("f", "w"))];
    play.show(RUN, &both);
    assert_eq!(play.names(), ["final"]);
    assert!(play.orders[0].twin.is_none());
}

#[test]
fn after_the_newest_of_a_run_its_others_go_oldest_first() {
    // Told of what was left alone, the newest of that was the newest of the run, and a run with a
    // hundred checkpoints was analyzed backwards.
    let mut play = Play::new();
    let names = ["checkpoint-10", "checkpoint-20", "checkpoint-30", "checkpoint-40"];
    play.show(RUN, &names.map(|name| (name, complete(name))));
    let mut seen = Vec::new();
    while !play.orders.is_empty() {
        seen.append(&mut play.names());
        play.end(reported(20.0));
    }
    assert_eq!(seen, ["checkpoint-40", "checkpoint-10", "checkpoint-20", "checkpoint-30"]);
}

#[test]
fn failures_that_may_pass_are_retried_and_others_are_final() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    play.end(failed(FailureClass::OutOfMemory));
    assert!(play.orders.is_empty() && play.journal.memory.observations.is_empty());
    play.later(4);
    assert!(play.orders.is_empty());
    play.later(2);
    assert_eq!(play.orders[0].attempt, 2);
    play.end(failed(FailureClass::CorruptWeights));
    assert_eq!(play.journal.memory.observations.len(), 1);
    assert_eq!(play.newest().note, "corrupt_weights");
    play.later(100_000);
    assert!(play.orders.is_empty());
}

#[test]
fn a_retry_survives_a_restart() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    play.end(failed(FailureClass::OutOfMemory));
    play.restart();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    assert!(play.orders.is_empty());
    play.later(60);
    assert_eq!(play.orders[0].attempt, 2);
}

#[test]
fn interruptions_are_no_attempts_until_there_are_twenty() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    for _ in 0..20 {
        assert_eq!(play.orders[0].attempt, 1);
        play.restart();
        play.show(RUN, &[("checkpoint-1", complete("x"))]);
    }
    play.end(AnalysisResult::Interrupted);
    assert_eq!(play.newest().note, "killed");
}

#[test]
fn a_rejected_model_type_waits_for_another_program() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    play.end(failed(FailureClass::ModelType));
    play.restart();
    play.show(RUN, &[("checkpoint-1", complete("x")), ("checkpoint-2", complete("y"))]);
    assert!(play.orders.is_empty());
    let queue = snapshot(&play.world, play.now).queue;
    assert!(queue[0].reason.contains("does not know model type"), "{}", queue[0].reason);
    let mut program = play.world.program.clone().unwrap();
    "bbbb2222".clone_into(&mut program.protocol);
    let readiness = Readiness::Ready { program: "analysis".to_owned() };
    play.event(Event::Program(Box::new(program), readiness));
    assert_eq!(play.names(), ["checkpoint-2"]);
}

#[test]
fn a_result_for_files_that_changed_is_thrown_away() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    play.end(AnalysisResult::Changed);
    assert!(play.orders.is_empty(), "not before it was looked at again");
    assert_eq!(play.rescans, 1);
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    assert_eq!(play.names(), ["checkpoint-1"]);
    play.end(reported(20.0));
    assert_eq!(play.journal.memory.observations.len(), 1);
}

#[test]
fn nothing_starts_and_nothing_is_lost_while_the_journal_cannot_commit() {
    let mut play = Play::new();
    play.event(Event::CommitTrouble(Some("no space".to_owned())));
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    assert!(play.orders.is_empty() && play.journal.events.is_empty());
    play.event(Event::CommitTrouble(None));
    assert_eq!(play.rescans, 1);
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    assert_eq!(play.names(), ["checkpoint-1"]);
}

#[test]
fn old_runs_are_listed_until_a_file_of_theirs_changes() {
    let mut play = Play::first_start();
    let announced =
        |play: &Play| play.count(|what| matches!(what, Happening::CheckpointComplete { .. }));
    let long_ago = play.now.timestamp() - Duration::from_hours(72);
    let seen = play.sighting(RUN, &[("checkpoint-1", complete("x"))], long_ago);
    play.event(Event::Run(seen.clone()));
    play.event(Event::FirstScanDone);
    assert!(play.orders.is_empty() && play.journal.documents.is_empty());
    assert_eq!(announced(&play), 1, "once per content, analyzed or not");
    assert_eq!(play.journal.memory.checkpoints[0].standing, Standing::Listed);
    play.restart();
    play.event(Event::Run(seen));
    assert!(play.orders.is_empty());
    play.show(RUN, &[("checkpoint-1", complete("x")), ("checkpoint-2", complete("y"))]);
    assert_eq!(play.names(), ["checkpoint-2"]);
    assert_eq!(announced(&play), 2);
    play.end(reported(20.0));
    assert_eq!(play.names(), ["checkpoint-1"], "what was listed is analyzed after all");
}

#[test]
fn an_old_rank_shadow_is_no_run() {
    let mut play = Play::first_start();
    let long_ago = play.now.timestamp() - Duration::from_hours(72);
    let missing = vec!["no `config.json`".to_owned(), "no weights".to_owned()];
    let nothing = Condition::Incomplete { missing };
    let seen = play.sighting(RUN, &[("checkpoint-1", nothing)], long_ago);
    play.event(Event::Run(seen));
    play.event(Event::FirstScanDone);
    assert_eq!(play.count(|what| matches!(what, Happening::RunSeen { .. })), 0);
}

#[test]
fn a_lost_journal_repeats_nothing_that_stands_in_the_log() {
    let mut play = Play::first_start();
    let row = (RUN.to_owned(), "checkpoint-1".to_owned());
    play.world.use_made_before([row].into());
    play.show(RUN, &[("checkpoint-1", complete("x")), ("checkpoint-2", complete("y"))]);
    play.event(Event::FirstScanDone);
    assert_eq!(play.names(), ["checkpoint-2"]);
    play.end(reported(20.0));
    assert!(play.orders.is_empty());
    // Other content under the same name is new.
    play.show(RUN, &[("checkpoint-1", complete("z")), ("checkpoint-2", complete("y"))]);
    assert_eq!(play.names(), ["checkpoint-1"]);
}

#[test]
fn a_stuck_checkpoint_is_reported_once_for_as_long_as_it_stays_the_same() {
    let mut play = Play::new();
    let stuck = |play: &Play| play.count(|what| matches!(what, Happening::CheckpointStuck { .. }));
    let shown = [("checkpoint-1", complete("x")), ("checkpoint-2", incomplete())];
    let first = play.sighting(RUN, &shown, play.now.timestamp());
    for _ in 0..4 {
        play.later(1200);
        play.event(Event::Run(first.clone()));
    }
    assert_eq!(stuck(&play), 1);
    play.restart();
    play.event(Event::Run(first));
    play.later(7200);
    assert_eq!(stuck(&play), 1, "a restart is no news");
    // It goes on and stops again.
    let mut later = play.sighting(RUN, &shown, play.now.timestamp());
    later.checkpoints.iter_mut().for_each(|seen| seen.signature = 2);
    play.event(Event::Run(later.clone()));
    play.later(3000);
    assert_eq!(stuck(&play), 1);
    play.later(700);
    assert_eq!(stuck(&play), 2);
}

#[test]
fn snapshots_share_what_stays_the_same() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    let before = snapshot(&play.world, play.now);
    let same = snapshot_after(&before, &play.world, play.now);
    assert!(Arc::ptr_eq(&before.runs[0], &same.runs[0]));
    play.end(reported(20.0));
    let after = snapshot_after(&before, &play.world, play.now);
    assert_eq!(after.runs[0].checkpoints.analyzed, 1);
    assert_eq!(before.runs[0].checkpoints.analyzed, 0);
}

/// Nothing happens by the passing of time where nothing trains and nothing waits.
#[test]
fn ticks_come_as_often_as_something_waits_for_them() {
    let mut play = Play::new();
    let within = |play: &Play| wants_tick_within(&play.world, play.now).as_millis();
    play.later(60);
    assert_eq!(within(&play), 5000, "what does not come is looked for now and then");
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    assert_eq!(within(&play), 0, "it is being analyzed");
    play.end(reported(20.0));
    play.later(60);
    assert_eq!(within(&play), 5000);
    play.world.restless.insert(RunId::new(RUN));
    assert_eq!(within(&play), 0, "it was not looked at");
    let looked_at = play.now;
    play.world.restless_looked_at = Some(looked_at);
    assert_eq!(within(&play), 1000);
    play.world.restless.clear();
    play.now = looked_at.after(Duration::from_secs(9));
    assert_eq!(within(&play), 0, "a tick that is late is due");
}

/// A reading of the host makes a new snapshot, and of a thousand runs none is looked at for it.
#[test]
fn readings_leave_every_run_as_it_was_and_are_told() {
    let mut play = Play::new();
    let settling =
        Condition::Settling { until: play.now.after(Duration::from_secs(50)).timestamp() };
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    play.show("tsdae_20261123_073802", &[("checkpoint-1", settling)]);
    play.end(reported(20.0));
    let before = snapshot(&play.world, play.now);
    let host = || HostStatus { name: "gpu7".to_owned(), ..HostStatus::default() };
    let reading = || Event::Host(host(), Some(7));
    assert!(leaves_runs(&play.world, &reading()) && leaves_runs(&play.world, &Event::Tick));
    play.later(10);
    play.event(reading());
    let after = snapshot_of_the_rest(&before, &play.world, play.now);
    assert_eq!(after, snapshot(&play.world, play.now), "also how long the other one settles");
    assert_ne!((&after.time, &after.host), (&before.time, &before.host));
    let (same, other): (Vec<_>, Vec<_>) =
        before.runs.iter().zip(&after.runs).partition(|(old, new)| Arc::ptr_eq(old, new));
    assert_eq!((same.len(), other.len()), (1, 1));
    assert!(!leaves_runs(&play.world, &Event::ShellLogsRead));
}

/// Whoever looks into a dead network folder gets no error, and no answer either.
#[test]
fn a_full_scan_that_does_not_end_is_a_stated_problem() {
    let mut play = Play::new();
    let hangs = |play: &Play| {
        let problems = snapshot(&play.world, play.now).problems;
        problems.iter().any(|problem| problem.starts_with("no full scan of"))
    };
    let scanned = |play: &mut Play| {
        let (ended, took) = (play.now, Duration::from_millis(5));
        play.event(Event::Reconciled { ended, took, watches: 2, backend: "inotify" });
    };
    play.later(60);
    assert!(!hangs(&play));
    scanned(&mut play);
    play.later(85);
    assert!(!hangs(&play));
    play.later(10);
    assert!(hangs(&play));
    scanned(&mut play);
    assert!(!hangs(&play));
}

#[test]
fn a_renamed_run_is_not_reported_as_stuck_again() {
    let mut play = Play::new();
    let shown = [("checkpoint-1", complete("x")), ("checkpoint-2", incomplete())];
    let saved_at = play.now.timestamp();
    let seen = play.sighting(RUN, &shown, saved_at);
    play.event(Event::Run(seen));
    play.later(7200);
    let renamed = RUN.replace("diffusion", "renamed");
    play.list(&[&renamed], HOME);
    let seen = play.sighting(&renamed, &shown, saved_at);
    play.event(Event::Run(seen));
    play.later(7200);
    assert_eq!(play.count(|what| matches!(what, Happening::RunGone)), 0);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointStuck { .. })), 1);
}

/// While gigabytes of optimizer state are written, no file that decides on completeness changes.
#[test]
fn a_save_that_goes_on_is_not_stuck() {
    let mut play = Play::new();
    for _ in 0..6 {
        play.show(RUN, &[("checkpoint-1", incomplete())]);
        play.later(1800);
    }
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointStuck { .. })), 0);
}

/// A full disk at the very first save leaves a run without anything complete, so it is not known.
#[test]
fn a_run_that_never_had_a_complete_checkpoint_is_reported_as_stuck_and_a_shadow_is_not() {
    let mut play = Play::new();
    let nothing = |missing: &[&str]| Condition::Incomplete {
        missing: missing.iter().map(ToString::to_string).collect(),
    };
    let shadow = RUN.replace("063802", "063810");
    let empty = nothing(&["no `config.json`", "no weights", "no `trainer_state.json`"]);
    for (run, condition) in [(RUN, nothing(&["no `trainer_state.json`"])), (&shadow, empty)] {
        let seen = play.sighting(run, &[("checkpoint-1", condition)], play.now.timestamp());
        play.event(Event::Run(seen));
    }
    play.later(7200);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointStuck { .. })), 1);
    assert_eq!(play.count(|what| matches!(what, Happening::RunSeen { .. })), 0);
}

#[test]
fn a_damaged_checkpoint_is_reported_without_a_long_wait() {
    let mut play = Play::new();
    let damaged = Condition::Damaged { problem: "ends in zeros".to_owned() };
    let seen = play.sighting(RUN, &[("checkpoint-1", damaged)], play.now.timestamp());
    play.event(Event::Run(seen));
    play.later(1);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointStuck { .. })), 0);
    play.later(31);
    assert_eq!(play.count(|what| matches!(what, Happening::CheckpointStuck { .. })), 1);
    assert!(play.orders.is_empty());
}

/// What was seen half a minute ago proves nothing: the folder may be unmounted or unreadable now.
#[test]
fn a_broken_checkpoint_is_gone_only_after_another_look_at_it() {
    let mut play = Play::new();
    let gone = |play: &Play| play.count(|what| matches!(what, Happening::CheckpointGone));
    play.show(RUN, &[("checkpoint-1", complete("x")), ("checkpoint-2", complete("y"))]);
    let saved_at = play.now.timestamp();
    let shown = [("checkpoint-1", incomplete()), ("checkpoint-2", complete("y"))];
    let seen = play.sighting(RUN, &shown, saved_at);
    play.event(Event::Run(seen.clone()));
    play.later(31);
    assert_eq!((play.rescans, gone(&play)), (1, 0));
    let problem = "may not be read".to_owned();
    play.event(Event::RunUnreadable { run: RunId::new(RUN), problem });
    play.later(31);
    assert_eq!((play.rescans, gone(&play)), (1, 0), "nothing is asked of what cannot answer");
    play.event(Event::Run(seen));
    assert_eq!(gone(&play), 1);
}

#[test]
fn a_changed_protocol_is_said_in_the_note() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-1", complete("x"))]);
    play.end(reported(20.0));
    let mut program = play.world.program.clone().unwrap();
    "3f2abbbb".clone_into(&mut program.protocol);
    let readiness = Readiness::Ready { program: "analysis".to_owned() };
    play.event(Event::Program(Box::new(program), readiness));
    play.show(RUN, &[("checkpoint-2", complete("y"))]);
    play.end(reported(20.0));
    assert_eq!(play.newest().note, "protocol 3f2a");
}

/// One thing that may happen in a random history.
#[derive(Debug, Clone)]
enum Move {
    Show(Vec<(u8, u8)>),
    List(bool),
    End(u8),
    Restart,
    Later(u16),
    Trouble(bool),
    Ask(u8, u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let show = proptest::collection::vec((0..5_u8, 0..4_u8), 0..5).prop_map(Move::Show);
    let one = prop_oneof![
        6 => show,
        1 => any::<bool>().prop_map(Move::List),
        4 => any::<u8>().prop_map(Move::End),
        1 => proptest::strategy::Just(Move::Restart),
        2 => any::<u16>().prop_map(Move::Later),
        1 => any::<bool>().prop_map(Move::Trouble),
        2 => (0..6_u8, 0..5_u8).prop_map(|(what, name)| Move::Ask(what, name)),
    ];
    proptest::collection::vec(one, 0..60)
}

fn play_move(play: &mut Play, next: Move) {
    match next {
        Move::Show(list) => {
            let mut seen = std::collections::BTreeMap::new();
            for (name, content) in list {
                let name = if name == 0 { "final".into() } else { format!("checkpoint-{name}") };
                let condition =
                    if content == 0 { incomplete() } else { complete(&format!("{name}{content}")) };
                seen.insert(name, condition);
            }
            let seen: Vec<(&str, Condition)> =
                seen.iter().map(|(name, condition)| (name.as_str(), condition.clone())).collect();
            play.show(RUN, &seen);
        }
        Move::List(there) => play.list(if there { &[RUN] } else { &[] }, HOME),
        Move::End(_) if play.orders.is_empty() => {}
        Move::End(kind) => play.end(match kind % 6 {
            0 => AnalysisResult::Changed,
            1 => failed(FailureClass::OutOfMemory),
            2 => failed(FailureClass::Usage),
            3 => AnalysisResult::Interrupted,
            _ => reported(f64::from(kind) / 8.0),
        }),
        Move::Restart => play.restart(),
        Move::Later(seconds) => play.later(u64::from(seconds)),
        Move::Trouble(on) => {
            play.event(Event::CommitTrouble(on.then(|| "no space".to_owned())));
        }
        Move::Ask(what, name) => {
            let name = if name == 0 { "final".into() } else { format!("checkpoint-{name}") };
            let answer = play.ask(commands::order(what, &name));
            assert!(!answer.is_err_and(|why| why == "no answer"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: never a second observation of a content but after a
    /// failure that a person had tried again, never two with the same time, never a second
    /// announcement, never a second note of a kind, never two orders for one content at a time,
    /// and none that begins while the queue is paused.
    #[test]
    fn no_history_makes_anything_happen_twice(history in moves()) {
        let mut play = Play::new();
        for next in history {
            let newest = play.world.next_order;
            play_move(&mut play, next);
            assert!(play.world.paused.is_none() || play.world.next_order <= newest);
            let mut running: Vec<_> =
                play.orders.iter().map(|order| (&order.checkpoint, &order.content.digest)).collect();
            running.sort();
            running.dedup();
            assert_eq!(running.len(), play.orders.len());
        }
        let observations = &play.journal.memory.observations;
        for (position, one) in observations.iter().enumerate() {
            for later in &observations[position + 1..] {
                if later.checkpoint == one.checkpoint {
                    assert_ne!(later.time, one.time);
                    assert!(later.digest != one.digest || one.judgment().is_none());
                }
            }
        }
        let announced = play.count(|what| matches!(what, Happening::CheckpointComplete { .. }));
        assert_eq!(announced, play.journal.memory.checkpoints.len());
        for known in &play.journal.memory.checkpoints {
            let mut newest_first = play.journal.memory.observations.iter().rev();
            let newest = newest_first.find(|one| {
                one.checkpoint == known.checkpoint && one.digest == known.content.digest
            });
            let is_observed = known.standing == Standing::Observed;
            assert!(newest.is_some() || !is_observed, "{known:?}");
            // A failure may be owed another try; a verdict is the end of it.
            assert!(is_observed || newest.is_none_or(|one| one.judgment().is_none()), "{known:?}");
        }
        assert!(play.notes() <= 1);
    }

    /// What stays complete is observed in the end, whatever happened before.
    #[test]
    fn what_stays_complete_is_observed_in_the_end(history in moves()) {
        let mut play = Play::new();
        for next in history {
            play_move(&mut play, next);
        }
        play.event(Event::CommitTrouble(None));
        assert!(play.ask(Order::Resume).is_ok());
        play.list(&[RUN], HOME);
        let last = [("checkpoint-7", complete("last"))];
        play.show(RUN, &last);
        for _ in 0..40 {
            play.later(7200);
            play.show(RUN, &last);
            while !play.orders.is_empty() {
                play.end(reported(20.0));
            }
        }
        let of_last = |one: &&Observation| one.digest.as_str() == "last";
        assert_eq!(play.journal.memory.observations.iter().filter(of_last).count(), 1);
        assert!(play.world.pending.is_empty());
    }
}
