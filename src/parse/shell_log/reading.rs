//! A log as a cumulative, bounded reading: what all of it up to here says, however long it is.
//!
//! Items are taken in frame by frame, together with the progress right behind the frame, so that
//! the pieces in which a log comes make no difference.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::progress::Progress;
use super::{
    Fact, Failure, LogItem, Metric, MetricKind, MetricValue, Role, ShellLogParser, Thresholds,
};
use crate::model::shell_log::{LogFailure, LogMetric, LogMetricKind, LogReading, LoggedTraining};

/// Trainings of one log that are kept, the newest ones.
const MAX_TRAININGS: usize = 4;
/// Metrics of a training that are kept, the newest ones of training and of all others.
const MAX_TRAIN_METRICS: usize = 20;
const MAX_OTHER_METRICS: usize = 10;
/// Failures of a training that are kept, the first ones.
const MAX_FAILURES: usize = 8;
/// Intervals between lines that are kept, the newest ones.
const MAX_INTERVALS: usize = 9;

/// Reads a log piece by piece into a [`LogReading`]; can be put away and taken up again.
#[derive(Debug)]
pub struct LogReader {
    state: State,
    reading: LogReading,
}

/// All that is needed to read on, beside the reading itself.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    parser: ShellLogParser,
    /// The numbers of the newest training's metrics, as the parser counts them.
    metrics: VecDeque<u64>,
    /// Where the failures stand, by the parser's numbers: training and place, if they are kept.
    failures: Vec<Option<(u64, usize)>>,
    /// How many trainings were dropped at the front.
    dropped: u64,
    /// The progress when the newest training began: what still stands there says nothing of it.
    before: Progress,
    /// The bar's clock at the last line of training.
    printed_at: Option<u64>,
}

/// A state that is one of another version, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("the state of the parser cannot be used: {0}")]
pub struct StateError(#[from] serde_json::Error);

impl LogReader {
    /// Begins at the start of a log.
    pub fn new(thresholds: Thresholds) -> Self {
        Self::at_line(thresholds, 1)
    }

    /// Begins at the start of this line, counted from 1. Where the lines before were not counted,
    /// lines are counted from where reading began.
    pub fn at_line(thresholds: Thresholds, line: u64) -> Self {
        let first = LoggedTraining { first_line: line, ..LoggedTraining::default() };
        Self {
            state: State {
                parser: ShellLogParser::at_line(thresholds, line),
                metrics: VecDeque::new(),
                failures: Vec::new(),
                dropped: 0,
                before: Progress::default(),
                printed_at: None,
            },
            reading: LogReading { trainings: vec![first], skipped: 0 },
        }
    }

    /// Takes up a log where it was put away, exactly as if there had been no break.
    ///
    /// # Errors
    /// The state is not one that this version wrote.
    pub fn take_up(
        thresholds: Thresholds,
        state: &str,
        reading: LogReading,
    ) -> Result<Self, StateError> {
        let mut state: State = serde_json::from_str(state)?;
        state.parser.use_thresholds(thresholds);
        Ok(Self { state, reading })
    }

    /// Returns all that is needed to take the log up again, as JSON; the reading is kept beside it.
    pub fn put_away(&self) -> String {
        // Keys are texts and numbers finite, so that there is nothing to go wrong; and what cannot
        // be taken up is read anew.
        serde_json::to_string(&self.state).unwrap_or_default()
    }

    /// Reads the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut start = 0;
        for position in memchr::memchr2_iter(b'\r', b'\n', bytes) {
            self.push_frame(bytes.get(start..=position).unwrap_or_default());
            start = position + 1;
        }
        self.push_frame(bytes.get(start..).unwrap_or_default());
        let progress = self.state.parser.progress();
        self.state.show(&progress, &mut self.reading);
    }

    /// Returns what everything that was read so far says.
    pub fn reading(&self) -> &LogReading {
        &self.reading
    }

    fn push_frame(&mut self, frame: &[u8]) {
        let items = self.state.parser.push(frame);
        if items.is_empty() {
            return;
        }
        let line = self.state.parser.line();
        let line = if frame.ends_with(b"\n") { line.saturating_sub(1) } else { line };
        let progress = self.state.parser.progress();
        for item in items {
            self.state.take(item, (line, &progress), &mut self.reading);
        }
    }
}

impl State {
    fn take(&mut self, item: LogItem, here: (u64, &Progress), reading: &mut LogReading) {
        if Self::begins_training(&item, reading) {
            self.begin(here, reading);
        }
        let Some(training) = reading.trainings.last_mut() else { return };
        match item {
            LogItem::Metric { index, metric } => self.metric(index, metric, here.1, training),
            LogItem::MetricStep { index, step } => {
                let place = self.metrics.iter().position(|known| *known == index);
                if let Some(metric) = place.and_then(|place| training.metrics.get_mut(place)) {
                    metric.step = Some(step);
                }
            }
            LogItem::Fact { line, fact } => take_fact(line, fact, training),
            LogItem::Failure { index, failure } => self.failure(index, failure, reading),
        }
    }

    /// Whether an item belongs to another training than all before.
    fn begins_training(item: &LogItem, reading: &LogReading) -> bool {
        let Some(training) = reading.trainings.last() else { return true };
        let has_trained = !training.metrics.is_empty()
            || training.completed.is_some()
            || training.failures.iter().any(|failure| failure.ends_training);
        match item {
            LogItem::Fact { fact: Fact::TrainingBegins, .. } => has_trained,
            LogItem::Fact { fact: Fact::Run(run), .. } => {
                has_trained && training.run.as_ref().is_some_and(|known| known != run)
            }
            _ => false,
        }
    }

    fn begin(&mut self, (line, progress): (u64, &Progress), reading: &mut LogReading) {
        self.show(progress, reading);
        self.before = progress.clone();
        self.metrics.clear();
        self.printed_at = None;
        let run = reading.trainings.last().and_then(|before| before.run.clone());
        let next = LoggedTraining { first_line: line, run, ..LoggedTraining::default() };
        reading.trainings.push(next);
        if reading.trainings.len() > MAX_TRAININGS {
            reading.trainings.remove(0);
            self.dropped += 1;
        }
    }

    /// Shows the progress in the newest training.
    fn show(&self, progress: &Progress, reading: &mut LogReading) {
        if *progress == self.before {
            return;
        }
        let Some(training) = reading.trainings.last_mut() else { return };
        training.step = progress.step;
        training.total_steps = progress.total_steps;
        training.steps_per_second = progress.rate_steps_per_second.filter(|rate| rate.is_finite());
        training.elapsed_seconds = progress.elapsed_seconds;
    }

    fn metric(
        &mut self,
        index: u64,
        metric: Metric,
        progress: &Progress,
        training: &mut LoggedTraining,
    ) {
        let (is_train, kind) = match metric.kind {
            MetricKind::Train => (true, LogMetricKind::Train),
            MetricKind::Eval => (false, LogMetricKind::Eval),
            MetricKind::Summary => (false, LogMetricKind::Summary),
        };
        if is_train {
            let now = progress.elapsed_seconds.filter(|_| *progress != self.before);
            if let (Some(before), Some(now)) = (self.printed_at, now)
                && let Some(interval) = now.checked_sub(before)
            {
                training.metric_intervals.push(interval);
                let spare = training.metric_intervals.len().saturating_sub(MAX_INTERVALS);
                training.metric_intervals.drain(..spare);
            }
            self.printed_at = now.or(self.printed_at);
        }
        let values = metric.values.into_iter().map(|(name, value)| (name, as_text(value)));
        let metric = LogMetric { line: metric.line, kind, step: None, values: values.collect() };
        training.metrics.push(metric);
        self.metrics.push_back(index);
        let is_alike = |one: &LogMetric| (one.kind == LogMetricKind::Train) == is_train;
        let alike = training.metrics.iter().filter(|one| is_alike(one)).count();
        if alike > if is_train { MAX_TRAIN_METRICS } else { MAX_OTHER_METRICS }
            && let Some(oldest) = training.metrics.iter().position(is_alike)
        {
            training.metrics.remove(oldest);
            self.metrics.remove(oldest);
        }
    }

    fn failure(&mut self, index: usize, failure: Failure, reading: &mut LogReading) {
        let newest = self.dropped + reading.trainings.len().saturating_sub(1) as u64;
        let Some(training) = reading.trainings.last_mut() else { return };
        let ends = failure.class.ends_training();
        if ends && failure.role == Role::Root {
            training.completed = None;
        }
        let failure = logged(failure);
        if let Some(known) = self.failures.get(index) {
            let at = known.and_then(|(number, _)| number.checked_sub(self.dropped));
            let at = at.and_then(|at| usize::try_from(at).ok());
            let training = at.and_then(|at| reading.trainings.get_mut(at));
            let place = known.map(|(_, place)| place);
            if let (Some(training), Some(place)) = (training, place)
                && let Some(known) = training.failures.get_mut(place)
            {
                *known = failure;
            }
            return;
        }
        let has_room = training.failures.len() < MAX_FAILURES;
        self.failures.push(has_room.then_some((newest, training.failures.len())));
        if has_room {
            training.failures.push(failure);
        }
    }
}

fn take_fact(line: u64, fact: Fact, training: &mut LoggedTraining) {
    match fact {
        Fact::Run(run) => training.run = Some(run),
        Fact::WandbUrl(url) => training.wandb_url = Some(url),
        Fact::TotalSteps(total) => training.total_steps = Some(total),
        Fact::TrainExamples(count) => training.train_examples = Some(count),
        Fact::EvalExamples(count) => training.eval_examples = Some(count),
        Fact::CheckpointSaving(_, name) => training.checkpoint = Some(name),
        Fact::TrainingBegins => training.completed = None,
        Fact::Completed => training.completed = Some(line),
    }
}

fn logged(failure: Failure) -> LogFailure {
    LogFailure {
        class: failure.class.as_str().to_owned(),
        is_cascade: failure.role == Role::Cascade,
        ends_training: failure.class.ends_training(),
        line: failure.line,
        excerpt: vec![failure.text.clone()],
        text: failure.text,
    }
}

/// Prints a number so that it reads back as the same one, NaN and infinities included.
fn as_text(value: MetricValue) -> String {
    match value {
        MetricValue::Integer(value) => value.to_string(),
        MetricValue::Float(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const THRESHOLDS: Thresholds = Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 };

    #[expect(clippy::disallowed_methods, reason = "all fixtures, whichever they are")]
    fn fixtures() -> Vec<Vec<u8>> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/parse/shell_logs");
        let walk = walkdir::WalkDir::new(folder).sort_by_file_name();
        let files = walk.into_iter().map(|entry| entry.unwrap()).filter(|entry| {
            entry.file_type().is_file()
                && entry.path().extension().is_some_and(|ending| ending == "log")
        });
        let logs: Vec<Vec<u8>> = files.map(|entry| std::fs::read(entry.path()).unwrap()).collect();
        assert!(!logs.is_empty(), "no logs in {folder}");
        logs
    }

    fn whole(log: &[u8]) -> LogReading {
        let mut reader = LogReader::new(THRESHOLDS);
        reader.push(log);
        reader.reading().clone()
    }

    /// Puts the reader away and takes it up, as a restart does.
    fn restarted(reader: &LogReader) -> LogReader {
        let reading = serde_json::to_string(reader.reading()).unwrap();
        let reading = serde_json::from_str(&reading).unwrap();
        LogReader::take_up(THRESHOLDS, &reader.put_away(), reading).unwrap()
    }

    fn in_pieces(log: &[u8], cuts: &[usize]) -> LogReading {
        let mut reader = LogReader::new(THRESHOLDS);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (log.len() + 1)).collect();
        cuts.sort_unstable();
        let mut start = 0;
        for cut in cuts {
            reader.push(&log[start..cut]);
            start = cut;
            reader = restarted(&reader);
        }
        reader.push(&log[start..]);
        reader.reading().clone()
    }

    #[test]
    fn every_fixture_reads_the_same_in_pieces_with_restarts_between() {
        for log in fixtures() {
            let expected = whole(&log);
            let cuts: Vec<usize> = (0..log.len()).step_by(log.len() / 23 + 1).collect();
            assert_eq!(in_pieces(&log, &cuts), expected);
            let joined = [log.as_slice(), b"\n", log.as_slice()].concat();
            assert_eq!(in_pieces(&joined, &cuts), whole(&joined));
        }
    }

    #[test]
    fn readings_and_states_stay_small() {
        let line = b"{'loss': 1.5, 'grad_norm': 2.2926249504089355, 'epoch': 0.02}\n\
            {'eval_loss': 8.2, 'eval_runtime': 0.18, 'epoch': 0.04}\n***** Running training *****\n\
            RuntimeError: mat1 and mat2 shapes cannot be multiplied\n";
        let mut reader = LogReader::new(THRESHOLDS);
        for _ in 0..2000 {
            reader.push(line);
        }
        reader.push(&vec![0xff; 1 << 20]);
        assert_eq!(reader.reading().trainings.len(), MAX_TRAININGS);
        let state = reader.put_away();
        assert!(state.len() < 256 << 10, "{}", state.len());
        let mut again = restarted(&reader);
        reader.push(b"\n{'loss': 2.5}\n");
        again.push(b"\n{'loss': 2.5}\n");
        assert_eq!(again.reading(), reader.reading());
    }

    #[test]
    fn numbers_that_are_none_survive_a_restart() {
        let log = b"{'eval_loss': inf}\n{'loss': nan, 'grad_norm': 'inf'}\n{'loss': 0.0, \
            'grad_norm': nan}\n{'eval_loss': -inf}\n";
        let cuts: Vec<usize> = (0..log.len()).collect();
        assert_eq!(in_pieces(log, &cuts), whole(log));
        let metric = &whole(log).trainings[0].metrics[1];
        assert!(metric.value("loss").unwrap().is_nan());
        assert_eq!(metric.value("grad_norm"), Some(f64::INFINITY));
    }

    #[test]
    fn a_state_of_another_version_is_refused() {
        for state in ["", "{}", "[1]", "{\"parser\":1}"] {
            assert!(LogReader::take_up(THRESHOLDS, state, LogReading::default()).is_err());
        }
    }

    #[test]
    fn each_training_of_a_log_has_its_own_place() {
        let reading = whole(
            b"Output directory: Cache/Training/a_H1L1C1_20260101_000000\n{'loss': 1.5}\n\
              Training completed successfully!\n***** Running training *****\n\
              Saving model checkpoint to Cache/Training/b_H1L1C1_20260101_000100/checkpoint-5\n\
              {'loss': 2.5}\n\
              ValueError: no\nTraceback (most recent call last):\n  File \"x\"\nValueError: no\n",
        );
        let told: Vec<_> = reading
            .trainings
            .iter()
            .map(|one| (one.first_line, one.run.as_ref().unwrap().as_str(), one.completed))
            .collect();
        assert_eq!(
            told,
            [(1, "a_H1L1C1_20260101_000000", Some(3)), (4, "b_H1L1C1_20260101_000100", None)]
        );
        assert_eq!(reading.trainings[1].failures[0].class, "python_exception");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_read_the_same_in_any_pieces(
            seed in 0_usize..64,
            noise in prop::collection::vec((any::<usize>(), any::<u8>()), 0..20),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let logs = fixtures();
            let mut log = logs[seed % logs.len()].clone();
            log.truncate(20_000);
            for (place, byte) in noise {
                let place = place % log.len().max(1);
                if let Some(known) = log.get_mut(place) {
                    *known = byte;
                }
            }
            prop_assert_eq!(in_pieces(&log, &cuts), whole(&log));
        }
    }
}
