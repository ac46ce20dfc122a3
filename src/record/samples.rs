//! What the tests of this room share: facts in the captured forms, a project folder with a clock
//! of its own, and a small editor that is a real one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Now;
use super::delivery::Delivery;
use super::editing::{AppliedEdit, Editor, Setting};
use super::history::Reader;
use super::journal::Journal;
use super::keeping::InPlace;
use super::places::Places;
use super::recorder::{Output, Recorder, Request};
use crate::model::analysis::FailureClass;
use crate::model::checkpoint::{CompleteCheckpoint, ModelConfig, TrainingPoint};
use crate::model::event::{Happening, NewEvent};
use crate::model::ids::{CheckpointId, CheckpointName, Digest, FolderIdentity, RunId};
use crate::model::journal::{Change, KnownRun, RunFacts, Transaction};
use crate::model::measurement::{FiniteWeights, Judgment, RankGate, RankReading, Verdict};
use crate::model::observation::{
    CellFill, DocumentEdit, HeaderNames, Observation, ObservationOutcome, ObservationRow, RunColumn,
};
use crate::model::time::Moment;

/// A run with H ≥ C.
pub(super) const DIFFUSION: &str = "diffusion_H512L2C128D2_20260223_203349";
/// A run with H < C.
pub(super) const PERCEIVER: &str = "perceiver_mlm_H64L2C128_20261123_063802";

pub(super) fn moment(text: &str) -> Moment {
    Moment::parse(text).unwrap()
}

pub(super) fn checkpoint(run: &str, name: &str) -> CheckpointId {
    CheckpointId { run: RunId::new(run), name: name.parse().unwrap() }
}

pub(super) fn digest(seed: &str) -> Digest {
    Digest::from_bytes(seed.as_bytes())
}

pub(super) fn known_run(run: &str, inode: u64) -> KnownRun {
    KnownRun {
        run: RunId::new(run),
        identity: FolderIdentity { device: 64769, inode },
        training_folder: FolderIdentity { device: 64769, inode: 9 },
        first_seen: moment("2026-02-23T20:33:49+01:00"),
        old_since: None,
        gone: false,
        facts: RunFacts::default(),
    }
}

pub(super) fn training(step: u64) -> TrainingPoint {
    TrainingPoint {
        step,
        total_steps: Some(20_000),
        epoch: Some(0.5),
        loss: Some(2.25),
        loss_step: Some(step),
        grad_norm: Some(1.5),
        learning_rate: Some(0.000_25),
        eval_loss: Some(1.4375),
        eval_step: Some(step),
        not_finite: Vec::new(),
    }
}

pub(super) fn content(seed: &str, step: u64) -> CompleteCheckpoint {
    CompleteCheckpoint {
        digest: digest(seed),
        weights_digest: digest(&format!("{seed} weights")),
        weights_bytes: 202_334_720,
        weights_files: vec!["model.safetensors".into()],
        config: ModelConfig {
            architecture: Some("ConceptEncoderForMaskedDiffusion".into()),
            concepts: Some(128),
            hidden: Some(512),
            layers: Some(2),
            max_sequence_length: Some(512),
        },
        training: Some(training(step)),
    }
}

pub(super) fn complete(run: &str, name: &str, seed: &str) -> Change {
    let checkpoint = checkpoint(run, name);
    let step = checkpoint.name.step().unwrap_or(0);
    let time = moment("2026-02-25T14:02:00.5+01:00");
    Change::CheckpointComplete { checkpoint, content: content(seed, step).into(), time }
}

pub(super) fn judgment(value: f64, hidden: u64) -> Judgment {
    Judgment {
        verdict: Verdict::Warn,
        reasons: vec!["mean_concept_similarity 0.6 > 0.5".into()],
        remarks: vec!["duplicate concepts".into()],
        rank: Some(RankReading {
            measurement: "global_effective_rank".into(),
            value,
            concepts: Some(128),
            hidden: Some(hidden),
            gate: Some(RankGate {
                name: "effective-rank".into(),
                threshold: 5.0,
                min: 10.0,
                reference: Some(128),
            }),
        }),
        failure_kind: None,
    }
}

pub(super) fn observation(run: &str, name: &str, seed: &str, time: &str) -> Observation {
    let checkpoint = checkpoint(run, name);
    let hidden = if run == PERCEIVER { 64 } else { 512 };
    Observation {
        time: moment(time),
        digest: digest(seed),
        weights_sha256: Some(digest("sha")),
        weights_digest: digest(&format!("{seed} weights")),
        config: ModelConfig::default(),
        measurements: [("global_effective_rank".into(), Some(10.125)), ("rankme".into(), None)]
            .into(),
        concepts: Some(128),
        hidden: Some(hidden),
        finite: Some(FiniteWeights::NotScanned { reason: "pickled".into() }),
        outcome: ObservationOutcome::Judged(judgment(10.125, hidden)),
        training: Some(training(checkpoint.name.step().unwrap_or(0))),
        protocol: "3f2a".into(),
        same_as: (checkpoint.name == CheckpointName::Final).then_some(CheckpointName::Step(80)),
        conditions: vec!["cpu: no GPU".into()],
        note: "duplicate concepts | `x`".into(),
        checkpoint,
    }
}

pub(super) fn failed_observation(run: &str, name: &str, seed: &str, time: &str) -> Observation {
    Observation {
        outcome: ObservationOutcome::AnalysisFailed {
            class: FailureClass::Tokenizer,
            evidence: "exit 1".into(),
        },
        ..observation(run, name, seed, time)
    }
}

pub(super) fn observed(run: &str, name: &str, seed: &str, time: &str) -> Change {
    Change::Observed(Box::new(observation(run, name, seed, time)))
}

pub(super) fn event(run: &str) -> NewEvent {
    NewEvent {
        time: moment("2026-02-25T14:03:07.25+01:00"),
        run: Some(RunId::new(run)),
        checkpoint: Some(CheckpointName::Step(20)),
        what: Happening::CheckpointGone,
    }
}

pub(super) fn row(run: &str, step: u64) -> DocumentEdit {
    DocumentEdit::ObservationRow(ObservationRow {
        time: format!("2026-02-25 14:03:{:02} +01:00", step % 60),
        run: run.into(),
        checkpoint: format!("checkpoint-{step}"),
        rank: "10.1 / 128 (7.9%)".into(),
        mean_similarity: "0.187".into(),
        max_similarity: "1.000".into(),
        eval_loss: "--".into(),
        verdict: "pass".into(),
        note: String::new(),
    })
}

pub(super) fn fill(run: &str, value: &str) -> DocumentEdit {
    DocumentEdit::RunRow {
        run: RunId::new(run),
        fills: vec![CellFill { column: RunColumn::EffectiveRank, value: value.into() }],
        add_missing: true,
        headers: HeaderNames::new(),
    }
}

pub(super) fn note_file(run: &str) -> String {
    format!("{run}_failure_20260225_effective-rank.md")
}

pub(super) fn note(run: &str) -> DocumentEdit {
    DocumentEdit::FailureNote {
        run: RunId::new(run),
        file: note_file(run),
        text: format!("# Failure of {run}\n"),
    }
}

pub(super) fn note_line(run: &str) -> DocumentEdit {
    DocumentEdit::FailureLine {
        run: RunId::new(run),
        file: note_file(run),
        summary: "rank 7.3".into(),
    }
}

/// An editor of lines: an observation is a line, a run's row is `RUN <run>=<rank>`.
pub(super) const LINES: Editor = Editor { apply: apply_line, contains: contains_line };

fn apply_line(
    log: Option<&[u8]>,
    edit: &DocumentEdit,
    written: &dyn Fn(RunColumn) -> Option<String>,
    setting: &Setting,
) -> Result<AppliedEdit, String> {
    let text = String::from_utf8_lossy(log.unwrap_or(b"# Log\n")).into_owned();
    if text.contains("<<<<<<<") {
        return Err("it has conflict markers: resolve them".into());
    }
    let unchanged = AppliedEdit { bytes: text.clone().into_bytes(), ..AppliedEdit::default() };
    let appended = |line: String| AppliedEdit {
        bytes: format!("{text}{line}\n").into_bytes(),
        changed: true,
        cells: Vec::new(),
    };
    let DocumentEdit::RunRow { run, fills, add_missing, .. } = edit else {
        let wanted = line_of(edit, &setting.reports);
        let there = text.lines().any(|line| line == wanted);
        return Ok(if there { unchanged } else { appended(wanted) });
    };
    let Some(fill) = fills.first() else { return Ok(unchanged) };
    let cells = vec![(fill.column, fill.value.clone())];
    let prefix = format!("RUN {run}=");
    let Some(value) = text.lines().find_map(|line| line.strip_prefix(&prefix)) else {
        let added = AppliedEdit { cells, ..appended(format!("{prefix}{}", fill.value)) };
        return Ok(if *add_missing { added } else { unchanged });
    };
    let ours = written(fill.column).as_deref() == Some(value);
    if value == fill.value || !(ours || value == "--") {
        return Ok(unchanged);
    }
    let new = text.replace(&format!("{prefix}{value}\n"), &format!("{prefix}{}\n", fill.value));
    Ok(AppliedEdit { changed: new != text, bytes: new.into_bytes(), cells })
}

fn line_of(edit: &DocumentEdit, link: &str) -> String {
    match edit {
        DocumentEdit::ObservationRow(row) => {
            format!("| {} | {} | {} |", row.time, row.run, row.checkpoint)
        }
        DocumentEdit::FailureLine { file, summary, .. } => format!("- [{summary}]({link}/{file})"),
        DocumentEdit::EvaluationRow(row) => format!("{} {}", row.kind, row.run),
        DocumentEdit::TieRow { run, tag, .. } => format!("TIE {run}={tag}"),
        DocumentEdit::RunRow { .. } | DocumentEdit::FailureNote { .. } => String::new(),
    }
}

fn contains_line(log: &[u8], edit: &DocumentEdit) -> bool {
    let text = String::from_utf8_lossy(log).into_owned();
    match edit {
        DocumentEdit::RunRow { run, .. } => {
            let empty = format!("RUN {run}=--");
            text.lines().any(|line| line.starts_with(&format!("RUN {run}=")) && line != empty)
        }
        _ => text.lines().any(|line| line == line_of(edit, "run_reports")),
    }
}

/// A project in a temporary folder, and a clock that only the test moves.
#[derive(Debug)]
pub(super) struct Project {
    folder: TempDir,
    started: Now,
    passed: Duration,
    pub(super) hold: fn(&Path) -> Option<String>,
    /// Whether the clock that people read stands still, so that no file ever looks old by it.
    pub(super) stands_still: bool,
}

impl Project {
    pub(super) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("docs")).unwrap();
        Self {
            folder,
            started: Now::read(),
            passed: Duration::ZERO,
            hold: |_| None,
            stands_still: false,
        }
    }

    pub(super) fn root(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn state(&self) -> PathBuf {
        self.root().join("state")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root().join("docs/log.md")
    }

    pub(super) fn note(&self, run: &str) -> PathBuf {
        self.root().join("docs/run_reports").join(note_file(run))
    }

    pub(super) fn now(&self) -> Now {
        let shown = if self.stands_still { Duration::ZERO } else { self.passed };
        Now {
            instant: self.started.instant + self.passed,
            moment: self.started.moment.after(shown),
        }
    }

    pub(super) fn pass(&mut self, milliseconds: u64) {
        self.passed += Duration::from_millis(milliseconds);
    }

    /// Moves the clock to a due time.
    pub(super) fn pass_to(&mut self, due: Instant) {
        self.passed = self.passed.max(due.saturating_duration_since(self.started.instant));
    }

    pub(super) fn journal(&self) -> Journal {
        Journal::open(&self.state(), 1000).unwrap().0
    }

    pub(super) fn reader(&self) -> Reader {
        Reader::open(&self.state()).unwrap()
    }

    /// Begins a life of the recorder.
    pub(super) fn recorder(&self) -> Recorder {
        let places = Places {
            root: self.root().to_owned(),
            log: self.log(),
            reports: self.root().join("docs/run_reports"),
            keeper: Arc::new(InPlace(self.hold)),
        };
        let journal = self.journal();
        let delivery = Delivery::new(&journal, places, LINES, self.now()).unwrap();
        Recorder::new(journal, delivery)
    }

    /// Takes turns until nothing is due within the next minute or so many turns are over.
    pub(super) fn turns(&mut self, recorder: &mut Recorder, at_most: usize) -> Vec<Output> {
        let mut outputs = Vec::new();
        for _ in 0..at_most {
            let turn = recorder.turn(self.now());
            outputs.extend(turn.outputs);
            match turn.wake {
                Some(due) => self.pass_to(due),
                None => break,
            }
        }
        outputs
    }

    /// Takes turns until nothing is left to do.
    pub(super) fn settle(&mut self, recorder: &mut Recorder) -> Vec<Output> {
        self.turns(recorder, 500)
    }

    pub(super) fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Names in the log's folder, hidden ones included.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.root().join("docs"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// A request for these documents.
pub(super) fn request(ticket: u64, documents: Vec<DocumentEdit>) -> Request {
    Request::Commit { ticket, transaction: Transaction { documents, ..Transaction::default() } }
}

/// The kinds of all recorded events, in order.
pub(super) fn kinds(outputs: &[Output]) -> Vec<&'static str> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Recorded(recorded) => Some(recorded.events()),
            _ => None,
        })
        .flatten()
        .map(|stored| stored.event.what.kind())
        .collect()
}
