//! A shell log as the decider knows it.

use crate::judge::pace::Pace;
use crate::model::Timestamp;
use crate::model::ids::RunId;
use crate::model::journal::KnownLog;
use crate::model::shell_log::LoggedTraining;
use crate::model::time::Moment;
use crate::settings::TrainingSettings;

use super::shell_logs::is_progress;

/// One log.
#[derive(Debug)]
pub(crate) struct Log {
    /// What the journal knows of it, without the state of its parser.
    pub(crate) known: KnownLog,
    /// The run of each of its trainings, as far as that can be said.
    pub(crate) runs: Vec<Option<RunId>>,
    /// Why its newest training has no run.
    pub(crate) reason: Option<String>,
    /// When it grew last, as far as clocks can be believed.
    pub(crate) grown_at: Timestamp,
    /// What is learned while it grows.
    pub(crate) awake: Option<Box<Awake>>,
}

/// What is learned of a log while it grows.
#[derive(Debug, Default)]
pub(crate) struct Awake {
    /// How often its newest training shows that it goes on.
    pub(crate) pace: Pace,
    /// Which processes write it; `None`: not known, or it cannot be told.
    pub(crate) writers: Option<Vec<u32>>,
    /// When that was asked last.
    pub(crate) asked: Option<Moment>,
    /// Since when a failure in it waits for what the log says next.
    pub(crate) failing_since: Option<Moment>,
}

impl Log {
    /// Makes a log of what is known of it.
    pub(crate) fn new(known: KnownLog, now: Moment) -> Self {
        let grown_at = known.modified.min(now.timestamp());
        Self { known, runs: Vec::new(), reason: None, grown_at, awake: None }
    }

    /// Goes on from what was known of it before.
    pub(crate) fn go_on(&mut self, before: Self, settings: &TrainingSettings, now: Moment) {
        let has_grown = self.known.length > before.known.length;
        self.known.run.clone_from(&before.known.run);
        self.grown_at = if !has_grown {
            before.grown_at
        } else if before.awake.is_some() {
            // It grew under our eyes, whatever the clock of its file system says.
            now.timestamp()
        } else {
            self.grown_at
        };
        let newest = self.known.reading.trainings.last();
        let is_progress = match (before.known.reading.trainings.last(), newest) {
            (Some(was), Some(is)) if was.first_line == is.first_line => {
                self.awake = before.awake;
                is_progress(was, is)
            }
            // What was learned of the training before says nothing of this one.
            (_, Some(is)) => is_progress(&LoggedTraining::default(), is),
            (_, None) => false,
        };
        if has_grown {
            self.learn(is_progress, settings);
        }
    }

    fn learn(&mut self, is_progress: bool, settings: &TrainingSettings) {
        let at = self.grown_at;
        let Some(training) = self.known.reading.trainings.last() else { return };
        let step = training.step.unwrap_or(0);
        let pace = &mut self.awake.get_or_insert_default().pace;
        let learned = pace.learned(&training.metric_intervals, None);
        let limit = pace.limit(learned, settings);
        pace.saw_output(at, is_progress, step, limit);
    }

    /// Returns the newest training of a run in it, and its position.
    pub(crate) fn training_of(&self, run: &RunId) -> Option<(usize, &LoggedTraining)> {
        let position = self.runs.iter().rposition(|one| one.as_ref() == Some(run))?;
        Some((position, self.known.reading.trainings.get(position)?))
    }

    /// Whether it was read to its end.
    pub(crate) fn is_read(&self) -> bool {
        self.known.position.offset >= self.known.length
    }
}
