//! The observations of a run as the decider keeps them: of each what it compares, shows and writes
//! into trajectories. All of it is in the journal.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::document::cells;
use crate::model::analysis::FailureClass;
use crate::model::checkpoint::{ModelConfig, TrainingPoint};
use crate::model::ids::{CheckpointId, CheckpointName, Digest, RunId};
use crate::model::measurement::{
    GLOBAL_EFFECTIVE_RANK, Judgment, MAX_CONCEPT_SIMILARITY, MEAN_CONCEPT_SIMILARITY, RankReading,
    Verdict,
};
use crate::model::observation::{CellFill, Observation, ObservationOutcome};
use crate::model::time::Moment;

use super::contents::make_room;

/// So many texts and readings are shared; with more, what runs have in common is in memory more than
/// once and nothing else happens.
const SHARED: usize = 512;

/// What many observations have in common.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    texts: BTreeSet<Arc<str>>,
    /// Rank readings without their rank: the measurement, its dimensions and its gate.
    readings: Vec<Arc<RankReading>>,
}

/// All observations of a run.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    /// Oldest first.
    all: Vec<Observed>,
    newest: Option<Box<Newest>>,
    /// Number of concepts C of the newest one that was judged.
    pub(crate) concepts: Option<u64>,
    /// Where training stood at the newest one that says so.
    training: Option<Box<TrainingPoint>>,
    /// The rank cell of the run's row, and the observation that it is of: the final model's, else
    /// that of the highest step.
    rank: Option<Box<Cell>>,
    /// The loss cell likewise.
    loss: Option<Box<Cell>>,
}

/// One observation.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) time: Moment,
    pub(crate) name: CheckpointName,
    pub(crate) digest: Digest,
    pub(crate) protocol: Arc<str>,
    pub(crate) outcome: Outcome,
    /// Stands for the digest of the weights: different ones are different weights.
    weights: u64,
    rank: Option<Rank>,
    /// Mean and max; NaN where there is none.
    similarities: [f64; 2],
    /// The step of training.
    step: Option<u64>,
    /// NaN also where it is known to have been one.
    eval_loss: Option<f64>,
    note: Box<str>,
}

/// How an observation came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Judged(Verdict),
    Failed(FailureClass),
}

#[derive(Debug, Clone)]
struct Rank {
    value: f64,
    reading: Arc<RankReading>,
}

/// What is wanted of the newest observation only.
#[derive(Debug)]
struct Newest {
    /// Reasons and remarks of its judgment.
    reasons: Vec<String>,
    /// The last line of the evidence that its analysis failed.
    evidence: String,
    measurements: Box<[(Arc<str>, Option<f64>)]>,
}

#[derive(Debug)]
struct Cell {
    of: (CheckpointName, Moment),
    fill: Option<CellFill>,
}

impl Shared {
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = text.into();
        if self.texts.len() < SHARED {
            self.texts.insert(Arc::clone(&shared));
        }
        shared
    }

    fn reading(&mut self, reading: &RankReading) -> Arc<RankReading> {
        let frame = RankReading { value: 0.0, ..reading.clone() };
        if let Some(known) = self.readings.iter().find(|known| ***known == frame) {
            return Arc::clone(known);
        }
        let shared = Arc::new(frame);
        if self.readings.len() < SHARED {
            self.readings.push(Arc::clone(&shared));
        }
        shared
    }
}

impl Observed {
    fn new(made: &Observation, shared: &mut Shared) -> Self {
        let measured = |name: &str| made.measurements.get(name).copied().flatten();
        let judgment = made.judgment();
        let training = made.training.as_ref();
        Self {
            time: made.time,
            name: made.checkpoint.name,
            digest: made.digest.clone(),
            protocol: shared.text(&made.protocol),
            outcome: match &made.outcome {
                ObservationOutcome::Judged(judgment) => Outcome::Judged(judgment.verdict),
                ObservationOutcome::AnalysisFailed { class, .. } => Outcome::Failed(*class),
            },
            weights: weights(&made.weights_digest),
            rank: judgment
                .and_then(|judgment| judgment.rank.as_ref())
                .map(|rank| Rank { value: rank.value, reading: shared.reading(rank) }),
            similarities: [MEAN_CONCEPT_SIMILARITY, MAX_CONCEPT_SIMILARITY]
                .map(|name| measured(name).unwrap_or(f64::NAN)),
            step: training.map(|training| training.step),
            eval_loss: training.and_then(|training| {
                let named = || training.not_finite.iter().any(|name| name == "eval_loss");
                training.eval_loss.or_else(|| named().then_some(f64::NAN))
            }),
            note: note(made).into(),
        }
    }

    /// Returns the verdict, if the gates were asked.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        match self.outcome {
            Outcome::Judged(verdict) => Some(verdict),
            Outcome::Failed(_) => None,
        }
    }

    /// Returns the rank and the name of its measurement.
    pub(crate) fn rank(&self) -> Option<(f64, &str)> {
        self.rank.as_ref().map(|rank| (rank.value, rank.reading.measurement.as_str()))
    }

    /// Returns whether the weights may have been the same: if not, they were others.
    pub(crate) fn may_have_weights(&self, digest: &Digest) -> bool {
        self.weights == weights(digest)
    }

    /// Returns an observation that a trajectory shows as it shows the whole one.
    fn for_trajectory(&self, run: &RunId) -> Observation {
        let names = [MEAN_CONCEPT_SIMILARITY, MAX_CONCEPT_SIMILARITY];
        let similarities = names.into_iter().zip(self.similarities);
        let similarities = similarities.filter(|(_, value)| !value.is_nan());
        let rank = self.rank.as_ref();
        Observation {
            time: self.time,
            checkpoint: CheckpointId { run: run.clone(), name: self.name },
            digest: self.digest.clone(),
            weights_sha256: None,
            weights_digest: Digest::from_stored(""),
            config: ModelConfig::default(),
            measurements: similarities
                .map(|(name, value)| (name.to_owned(), Some(value)))
                .collect(),
            concepts: None,
            hidden: None,
            finite: None,
            outcome: match self.outcome {
                Outcome::Judged(verdict) => ObservationOutcome::Judged(Judgment {
                    verdict,
                    reasons: Vec::new(),
                    remarks: Vec::new(),
                    rank: rank.map(|rank| RankReading {
                        value: rank.value,
                        ..RankReading::clone(&rank.reading)
                    }),
                    failure_kind: None,
                }),
                Outcome::Failed(class) => {
                    ObservationOutcome::AnalysisFailed { class, evidence: String::new() }
                }
            },
            training: self.step.map(|step| TrainingPoint {
                step,
                eval_loss: self.eval_loss,
                ..TrainingPoint::default()
            }),
            protocol: self.protocol.to_string(),
            same_as: None,
            conditions: Vec::new(),
            note: self.note.to_string(),
        }
    }
}

/// The note; where there is none, what a row shows in its place.
fn note(made: &Observation) -> String {
    match &made.outcome {
        _ if !made.note.trim().is_empty() => made.note.clone(),
        ObservationOutcome::Judged(judgment) => judgment.reasons.join("; "),
        ObservationOutcome::AnalysisFailed { class, .. } => class.as_str().to_owned(),
    }
}

fn weights(digest: &Digest) -> u64 {
    let mut hasher = DefaultHasher::new();
    digest.hash(&mut hasher);
    hasher.finish()
}

impl Newest {
    fn new(made: &Observation, shared: &mut Shared) -> Self {
        let (reasons, evidence) = match &made.outcome {
            ObservationOutcome::Judged(judgment) => {
                let new = |remark: &&String| !judgment.reasons.contains(*remark);
                let remarks = judgment.remarks.iter().filter(new);
                (judgment.reasons.iter().chain(remarks).cloned().collect(), String::new())
            }
            ObservationOutcome::AnalysisFailed { class, evidence } => {
                let last = evidence.lines().last().unwrap_or_default().to_owned();
                (vec![format!("analysis failed: {}", class.as_str())], last)
            }
        };
        let measurements =
            made.measurements.iter().map(|(name, value)| (shared.text(name), *value)).collect();
        Self { reasons, evidence, measurements }
    }
}

impl Observations {
    /// Adds the newest observation.
    pub(crate) fn add(&mut self, made: &Observation, shared: &mut Shared) {
        if made.judgment().is_some() {
            self.concepts = made.concepts;
        }
        if let Some(training) = &made.training {
            self.training = Some(Box::new(training.clone()));
        }
        if is_believed_rank(made) {
            replace(&mut self.rank, made, cells::effective_rank_fill);
        }
        if made.checkpoint.name != CheckpointName::Final {
            replace(&mut self.loss, made, cells::task_loss_fill);
        }
        make_room(&mut self.all);
        self.all.push(Observed::new(made, shared));
        self.newest = Some(Box::new(Newest::new(made, shared)));
    }

    /// Returns all of them, oldest first.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Observed> {
        self.all.iter()
    }

    /// Returns the newest one that the gates were asked about.
    pub(crate) fn newest_judged(&self) -> Option<&Observed> {
        self.all.iter().rev().find(|one| one.verdict().is_some())
    }

    /// Returns the newest one.
    pub(crate) fn newest(&self) -> Option<&Observed> {
        self.all.last()
    }

    /// Returns where training stood at the newest one that says so.
    pub(crate) fn training(&self) -> Option<&TrainingPoint> {
        self.training.as_deref()
    }

    /// Returns the reasons of the newest one, remarks among them.
    pub(crate) fn reasons(&self) -> &[String] {
        self.newest.as_deref().map(|newest| newest.reasons.as_slice()).unwrap_or_default()
    }

    /// Returns the last line of what the newest one says of the failure of its analysis.
    pub(crate) fn evidence(&self) -> &str {
        self.newest.as_deref().map(|newest| newest.evidence.as_str()).unwrap_or_default()
    }

    /// Returns what the run's row gets of the results: rank and loss of the final model, else of
    /// the highest step that was analyzed.
    pub(crate) fn result_fills(&self) -> Vec<CellFill> {
        let cells = self.rank.iter().chain(&self.loss);
        cells.filter_map(|cell| cell.fill.clone()).collect()
    }

    /// Returns observations that a trajectory shows as it shows the whole ones; the newest, which
    /// is the last one, with all its measurements.
    pub(crate) fn trajectory(&self, run: &RunId) -> Vec<Observation> {
        let mut shown: Vec<Observation> =
            self.all.iter().map(|one| one.for_trajectory(run)).collect();
        if let (Some(last), Some(newest)) = (shown.last_mut(), &self.newest) {
            let measurements = newest.measurements.iter();
            last.measurements =
                measurements.map(|(name, value)| (name.to_string(), *value)).collect();
        }
        shown
    }
}

/// Whether an observation's rank is one that the gates could judge.
fn is_believed_rank(made: &Observation) -> bool {
    made.judgment().is_some_and(|judgment| {
        judgment.verdict != Verdict::Unknown
            && judgment.rank.as_ref().is_some_and(|rank| rank.measurement == GLOBAL_EFFECTIVE_RANK)
    })
}

/// Takes the cell of an observation that is not of an earlier step than the one before.
fn replace(
    cell: &mut Option<Box<Cell>>,
    made: &Observation,
    fill: impl FnOnce(&Observation) -> Option<CellFill>,
) {
    let of = (made.checkpoint.name, made.time);
    if cell.as_ref().is_none_or(|known| known.of <= of) {
        *cell = Some(Box::new(Cell { of, fill: fill(made) }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::note::{self, NoteFacts, RunFiles, TrainingNoteFacts};
    use crate::model::Timestamp;
    use crate::model::measurement::RankGate;

    const RUN: &str = "diffusion_H64L2C128D2_20261123_063802";

    fn moment(second: i64) -> Moment {
        Moment::new(Timestamp::from_second(second).unwrap(), jiff::tz::offset(1))
    }

    fn judged(step: u64, rank: f64) -> Observation {
        let gate = RankGate {
            name: "effective-rank".to_owned(),
            threshold: 5.0,
            min: 10.0,
            reference: Some(128),
        };
        let reading = RankReading {
            measurement: GLOBAL_EFFECTIVE_RANK.to_owned(),
            value: rank,
            concepts: Some(128),
            hidden: Some(64),
            gate: Some(gate),
        };
        let fails = rank < 5.0;
        let reasons: Vec<String> = fails.then(|| format!("rank {rank} < 5")).into_iter().collect();
        let training = TrainingPoint {
            step,
            loss: Some(8.3),
            eval_loss: Some(8.25),
            ..TrainingPoint::default()
        };
        Observation {
            time: moment(i64::try_from(step).unwrap()),
            checkpoint: CheckpointId { run: RunId::new(RUN), name: CheckpointName::Step(step) },
            digest: Digest::from_bytes(&step.to_le_bytes().repeat(2)),
            weights_sha256: None,
            weights_digest: Digest::from_stored(format!("w{step}")),
            config: ModelConfig::default(),
            measurements: [
                (GLOBAL_EFFECTIVE_RANK, Some(rank)),
                (MEAN_CONCEPT_SIMILARITY, Some(0.2286)),
                (MAX_CONCEPT_SIMILARITY, Some(f64::INFINITY)),
                ("other", None),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            concepts: Some(128),
            hidden: Some(64),
            finite: None,
            note: reasons.join("; "),
            outcome: ObservationOutcome::Judged(Judgment {
                verdict: if fails { Verdict::Fail } else { Verdict::Pass },
                reasons,
                remarks: vec!["duplicate concepts".to_owned()],
                rank: Some(reading),
                failure_kind: fails.then(|| "effective-rank".to_owned()),
            }),
            training: Some(training),
            protocol: "aaaa1111".to_owned(),
            same_as: None,
            conditions: vec!["on the CPU".to_owned()],
        }
    }

    /// One of each kind that a row of a trajectory can be made of, the whole newest one last.
    fn all_kinds() -> Vec<Observation> {
        let mut kinds = vec![judged(20, 4.96), judged(40, 5.04), judged(60, 4.0)];
        kinds[1].training.as_mut().unwrap().eval_loss = None;
        kinds[1].training.as_mut().unwrap().not_finite = vec!["eval_loss".to_owned()];
        kinds[2].note = " ".to_owned();
        let mut failed = judged(80, 9.0);
        let class = FailureClass::Shape;
        failed.outcome = ObservationOutcome::AnalysisFailed { class, evidence: "a\nb".to_owned() };
        failed.measurements.clear();
        failed.note = String::new();
        let mut last = judged(100, 7.0);
        last.checkpoint.name = CheckpointName::Final;
        last.protocol = "bbbb2222".to_owned();
        last.note = "= checkpoint-80 | `x`".to_owned();
        let mut untrained = judged(90, 7.0);
        untrained.training = None;
        untrained.measurements.insert(MEAN_CONCEPT_SIMILARITY.to_owned(), None);
        kinds.extend([failed, untrained, last]);
        kinds
    }

    fn kept(made: &[Observation]) -> Observations {
        let (mut kept, mut shared) = (Observations::default(), Shared::default());
        for one in made {
            kept.add(one, &mut shared);
        }
        kept
    }

    #[test]
    fn notes_tell_of_what_is_kept_as_of_the_whole() {
        let made = all_kinds();
        let run = RunId::new(RUN);
        for count in 1..=made.len() {
            let made = &made[..count];
            let shown = kept(made).trajectory(&run);
            let failure = |trajectory: &[Observation]| {
                note::failure_note(&NoteFacts {
                    observation: &made[count - 1],
                    trajectory,
                    files: RunFiles::default(),
                    evidence: Vec::new(),
                })
            };
            assert_eq!(failure(&shown), failure(made));
            let training = |trajectory: &[Observation]| {
                note::training_note(&TrainingNoteFacts {
                    run: &run,
                    time: moment(200),
                    class: "out_of_memory",
                    ends_training: true,
                    text: "killed",
                    line: None,
                    excerpt: &[],
                    training: None,
                    checkpoint: None,
                    trajectory,
                    files: RunFiles::default(),
                    evidence: Vec::new(),
                })
            };
            assert_eq!(training(&shown), training(made));
        }
    }

    #[test]
    fn the_run_row_gets_the_final_model_else_the_highest_step() {
        let mut made = all_kinds();
        assert_eq!(
            kept(&made).result_fills(),
            [cells::effective_rank_fill(&made[5]), None].into_iter().flatten().collect::<Vec<_>>()
        );
        made.swap(0, 2);
        let fills = kept(&made[..3]).result_fills();
        let expected = [cells::effective_rank_fill(&made[0]), cells::task_loss_fill(&made[0])];
        assert_eq!(fills, expected.map(Option::unwrap));
    }

    #[test]
    fn the_newest_is_known_by_its_reasons_or_its_evidence() {
        let made = all_kinds();
        let first = kept(&made[..1]);
        assert_eq!(first.reasons(), ["rank 4.96 < 5", "duplicate concepts"]);
        assert_eq!((first.evidence(), first.concepts), ("", Some(128)));
        let steps = [1, 4, 5, 6].map(|count| kept(&made[..count]).training().unwrap().step);
        assert_eq!(steps, [20, 80, 80, 100]);
        let failed = kept(&made[..4]);
        assert_eq!(
            (failed.reasons(), failed.evidence()),
            (&["analysis failed: shape".to_owned()][..], "b")
        );
        let judged = failed.newest_judged().and_then(Observed::rank);
        assert_eq!(judged, Some((4.0, GLOBAL_EFFECTIVE_RANK)));
        assert!(failed.newest().unwrap().may_have_weights(&made[3].weights_digest));
        assert!(!failed.newest().unwrap().may_have_weights(&made[2].weights_digest));
    }

    /// A run of months has thousands of them, so what each costs is part of the contract.
    #[test]
    fn an_observation_at_rest_is_small_and_shares_what_is_common() {
        assert!(size_of::<Observed>() <= 224, "{} bytes", size_of::<Observed>());
        let (mut kept, mut shared) = (Observations::default(), Shared::default());
        for step in 0..1000 {
            kept.add(&judged(step, 7.0), &mut shared);
        }
        assert_eq!(shared.readings.len(), 1);
        assert_eq!(shared.texts.len(), 5, "the protocol and four measurements");
        assert!(kept.all.capacity() < 1130, "{}", kept.all.capacity());
    }
}
