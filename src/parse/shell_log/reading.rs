//! A log as a cumulative, bounded reading: what all of it up to here says, however long it is.
//!
//! Items are taken in frame by frame, together with the progress right behind the frame, so that
//! the pieces in which a log comes make no difference.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::excerpt::Excerpts;
use super::frames::Seen;
use super::{
    Fact, Failure, LogItem, Metric, MetricKind, MetricValue, Progress, Role, ShellLogParser,
    Thresholds,
};
use crate::model::shell_log::{LogFailure, LogMetric, LogMetricKind, LogReading, LoggedTraining};

/// Trainings of one log that are kept, the newest ones.
const MAX_TRAININGS: usize = 4;
/// Metrics of a training that are kept, the newest ones of training and of all others.
const MAX_TRAIN_METRICS: usize = 20;
const MAX_OTHER_METRICS: usize = 10;
/// Values of a metric that are kept, the first ones, and bytes of one's name.
const MAX_VALUES: usize = 32;
const MAX_NAME_BYTES: usize = 64;
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
    book: Book,
}

/// Which of the parser's items stand where in the newest training.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Book {
    /// The numbers of the metrics that are kept, as the parser counts them.
    metrics: VecDeque<u64>,
    /// The number of the first failure.
    first_failure: usize,
    /// How many failures it has, kept or not.
    failures: usize,
    /// The bar's clock at the last line of training.
    printed_at: Option<u64>,
    excerpts: Excerpts,
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
                book: Book::default(),
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
        let Self { state: State { parser, book }, reading } = self;
        parser.read(bytes, &mut |seen| book.enter(seen, reading));
        if let Some(training) = reading.trainings.last_mut() {
            show(&parser.progress(), training);
        }
    }

    /// Returns what everything that was read so far says.
    pub fn reading(&self) -> &LogReading {
        &self.reading
    }
}

impl Book {
    fn enter(&mut self, seen: &mut Seen<'_>, reading: &mut LogReading) {
        if let Some(text) = seen.text
            && let Some((failures, line)) = self.excerpts.see(seen.line, text)
            && let Some(training) = reading.trainings.last_mut()
        {
            for failure in failures {
                let place = failure.checked_sub(self.first_failure);
                if let Some(known) = place.and_then(|place| training.failures.get_mut(place)) {
                    known.excerpt.push(line.clone());
                }
            }
        }
        if seen.items.is_empty() {
            return;
        }
        let progress = seen.progress.progress();
        for item in seen.items.drain(..) {
            if matches!(item, LogItem::Fact { fact: Fact::TrainingBegins, .. }) {
                self.begin_training(seen.line, seen.before, reading);
            }
            if let Some(training) = reading.trainings.last_mut() {
                self.take(item, &progress, training);
            }
        }
    }

    fn take(&mut self, item: LogItem, progress: &Progress, training: &mut LoggedTraining) {
        match item {
            LogItem::Metric { index, metric } => self.metric(index, metric, progress, training),
            LogItem::MetricStep { index, step } => {
                let place = self.metrics.iter().position(|known| *known == index);
                if let Some(metric) = place.and_then(|place| training.metrics.get_mut(place)) {
                    metric.step = Some(step);
                }
            }
            LogItem::Fact { line, fact } => take_fact(line, fact, training),
            LogItem::Failure { index, failure } => self.failure(index, failure, training),
        }
    }

    /// Opens a place for another training, unless the one before did nothing yet.
    fn begin_training(&mut self, line: u64, before: Option<&Progress>, reading: &mut LogReading) {
        let has_place = reading.trainings.last().is_some_and(|newest| {
            newest.metrics.is_empty() && newest.completed.is_none() && newest.failures.is_empty()
        });
        self.first_failure += std::mem::take(&mut self.failures);
        self.excerpts.begin_training();
        if has_place {
            return;
        }
        if let (Some(before), Some(ended)) = (before, reading.trainings.last_mut()) {
            show(before, ended);
        }
        self.metrics.clear();
        self.printed_at = None;
        let run = reading.trainings.last().and_then(|before| before.run.clone());
        let next = LoggedTraining { first_line: line, run, ..LoggedTraining::default() };
        reading.trainings.push(next);
        let surplus = reading.trainings.len().saturating_sub(MAX_TRAININGS);
        reading.trainings.drain(..surplus);
    }

    fn metric(
        &mut self,
        index: u64,
        metric: Metric,
        progress: &Progress,
        training: &mut LoggedTraining,
    ) {
        let is_train = metric.kind == MetricKind::Train;
        if is_train {
            self.measure_interval(progress, training);
        }
        training.metrics.push(logged_metric(metric));
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

    fn measure_interval(&mut self, progress: &Progress, training: &mut LoggedTraining) {
        let Some(now) = progress.elapsed_seconds else { return };
        let interval = self.printed_at.replace(now).and_then(|before| now.checked_sub(before));
        training.metric_intervals.extend(interval);
        let surplus = training.metric_intervals.len().saturating_sub(MAX_INTERVALS);
        training.metric_intervals.drain(..surplus);
    }

    fn failure(&mut self, index: usize, failure: Failure, training: &mut LoggedTraining) {
        if failure.ends_training && failure.role == Role::Root {
            training.completed = None;
        }
        let Some(place) = index.checked_sub(self.first_failure) else { return };
        self.failures = self.failures.max(place.saturating_add(1));
        let known = training.failures.get_mut(place);
        if known.is_none() && place >= MAX_FAILURES {
            return;
        }
        let excerpt = match &known {
            Some(known) if known.line == failure.line => known.excerpt.clone(),
            _ => self.excerpts.around(index, failure.line, &failure.text),
        };
        let failure = LogFailure {
            class: failure.class.as_str().to_owned(),
            is_cascade: failure.role == Role::Cascade,
            ends_training: failure.ends_training,
            line: failure.line,
            text: failure.text,
            excerpt,
        };
        match known {
            Some(known) => *known = failure,
            None => training.failures.push(failure),
        }
    }
}

/// Shows the progress in the training that it is about.
fn show(progress: &Progress, training: &mut LoggedTraining) {
    training.step = progress.step;
    training.total_steps = progress.total_steps;
    training.steps_per_second = progress.rate_steps_per_second;
    training.elapsed_seconds = progress.elapsed_seconds;
}

fn take_fact(line: u64, fact: Fact, training: &mut LoggedTraining) {
    match fact {
        Fact::Run(run) => training.run = Some(run),
        Fact::WandbUrl(url) => training.wandb_url = Some(url),
        Fact::TrainExamples(count) => training.train_examples = Some(count),
        Fact::EvalExamples(count) => training.eval_examples = Some(count),
        Fact::CheckpointSaving(_, name) => training.checkpoint = Some(name),
        Fact::TrainingBegins => training.completed = None,
        Fact::Completed => training.completed = Some(line),
        // The progress knows it as well.
        Fact::TotalSteps(_) => {}
    }
}

fn logged_metric(metric: Metric) -> LogMetric {
    let kind = match metric.kind {
        MetricKind::Train => LogMetricKind::Train,
        MetricKind::Eval => LogMetricKind::Eval,
        MetricKind::Summary => LogMetricKind::Summary,
    };
    let is_kept = |(name, _): &(String, MetricValue)| name.len() <= MAX_NAME_BYTES;
    let values = metric.values.into_iter().filter(is_kept).take(MAX_VALUES);
    let values = values.map(|(name, value)| (name, as_text(value))).collect();
    LogMetric { line: metric.line, kind, step: None, values }
}

/// Prints a number so that it reads back as the same one, NaN and infinities included.
fn as_text(value: MetricValue) -> String {
    match value {
        MetricValue::Integer(value) => value.to_string(),
        MetricValue::Float(value) if value.is_nan() => "nan".to_owned(),
        MetricValue::Float(value) if value == 0.0 || (1e-5..1e16).contains(&value.abs()) => {
            value.to_string()
        }
        MetricValue::Float(value) => format!("{value:e}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

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

    /// A script that starts the next training into the same log, from trainers without headings.
    #[test]
    fn another_run_s_files_begin_another_training() {
        let reading = whole(
            b"Output directory: Cache/Training/a_H1L1C1_20260101_000000\n{'loss': 1.5}\n\
              \r 20%|#         | 8/40 [00:04<00:04, 2.00it/s]\r 25%|#         | 10/40 [00:05<00:04, \
              2.00it/s]\nOutput directory: Cache/Training/b_H1L1C1_20260101_001000\n\
              \r  5%|#         | 1/20 [00:01<00:19, 1.00it/s]\n{'loss': 2.5}\n",
        );
        let told: Vec<_> = reading
            .trainings
            .iter()
            .map(|one| {
                let run = one.run.as_ref().map(|run| run.as_str().to_owned());
                (one.first_line, run.unwrap(), one.step, one.total_steps, one.metrics.len())
            })
            .collect();
        assert_eq!(
            told,
            [
                (1, "a_H1L1C1_20260101_000000".to_owned(), Some(10), Some(40), 1),
                (4, "b_H1L1C1_20260101_001000".to_owned(), Some(1), Some(20), 1),
            ]
        );
    }

    #[test]
    fn a_failure_quotes_the_lines_around_it() {
        let log =
            b"{'loss': 2.5, 'epoch': 1}\n  4%|#| 17/400 [00:06<02:37,  2.43it/s]Traceback (most \
            recent call last):\n  File \"train.py\", line 1, in <module>\n    main()\n    ^^^^\n\
            RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)\n\
            export WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567\nbehind it\n";
        let failure = &whole(log).trainings[0].failures[0];
        expect_test::expect![[r#"
            {'loss': 2.5, 'epoch': 1}
            Traceback (most recent call last):
            File "train.py", line 1, in <module>
            main()
            RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)
            export WANDB_API_KEY=[redacted]
            behind it"#]]
        .assert_eq(&failure.excerpt.join("\n"));
        assert!(failure.ends_training && failure.line == 6);
    }

    #[test]
    fn how_often_training_prints_is_read_off_its_own_clock() {
        let mut log = String::new();
        for (clock, loss) in [("29:50", 2.5), ("59:50", 2.4), ("1:29:50", 2.3)] {
            writeln!(log, "\r 4%|#| 17/400 [{clock}<?, 2.0s/it]\r{{'loss': {loss}}}").unwrap();
        }
        let reading = whole(log.as_bytes());
        assert_eq!(reading.trainings[0].metric_intervals, [1800, 1800]);
    }

    /// The journal holds a state for each log.
    #[test]
    fn states_of_ordinary_logs_are_small() {
        let long: String = (1..1_000).fold(String::new(), |all, n| {
            let (loss, norm) = (8.0 / f64::from(n), 2.292_624_950_408_935_5 / f64::from(n));
            format!("{all}{{'loss': {loss:.4}, 'grad_norm': {norm}, 'epoch': 0.02}}\n")
        });
        for log in fixtures().into_iter().chain([long.into_bytes()]) {
            let mut reader = LogReader::new(THRESHOLDS);
            reader.push(&log);
            let length = reader.put_away().len();
            println!("{length} bytes");
            assert!(length <= 5_000, "{length}: {}", reader.put_away());
        }
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
