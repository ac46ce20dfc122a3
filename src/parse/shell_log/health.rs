//! Failures that metrics show: values that are not finite, and divergence.
//!
//! Source of the rules: the design, section 9. Values that are not finite are reported once per
//! training, divergence once per episode of a cause, each at its first line of evidence. The
//! causes are the training loss, the evaluation loss and the gradient norm; an episode ends when as
//! many values in a row are below the threshold as began it.

#[cfg(test)]
mod families;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::metrics::{Metric, MetricKind};

/// Losses or gradient norms in a row that make a divergence, or end one.
const STREAK: u32 = 3;
/// Gradient norms that a median needs.
const MEDIAN_AT_LEAST: usize = 10;
/// Gradient norms that the running median is taken of: the newest ones.
const MEDIAN_WINDOW: usize = 101;
/// Evaluation data sets whose losses are told apart.
const MAX_EVALUATIONS: usize = 32;

/// When training counts as diverging.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// A loss this many times the lowest so far.
    pub loss_factor: f64,
    /// A gradient norm this many times the running median.
    pub grad_norm_factor: f64,
}

/// What a metric shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ailment {
    /// A loss or gradient norm is NaN or infinite.
    NonFinite,
    /// Losses or gradient norms run away.
    Divergence,
}

/// A line of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evidence {
    pub(super) line: u64,
    pub(super) text: String,
}

/// Watches the metrics of one training.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct HealthWatch {
    thresholds: Thresholds,
    non_finite_seen: bool,
    lowest_loss: Option<f64>,
    evaluations: Vec<Evaluation>,
    gradient_norms: RunningMedian,
    high_losses: Streak,
    high_gradients: Streak,
}

/// The losses of one evaluation data set.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Evaluation {
    name: String,
    lowest: f64,
    /// Whether its last loss was high.
    is_high: bool,
}

impl HealthWatch {
    /// Begins to watch a training.
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            non_finite_seen: false,
            lowest_loss: None,
            evaluations: Vec::new(),
            gradient_norms: RunningMedian::default(),
            high_losses: Streak::default(),
            high_gradients: Streak::default(),
        }
    }

    /// Lets these thresholds count from now on.
    pub(super) fn use_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// Takes note of a metric and returns what it shows for the first time.
    ///
    /// `text` makes the line's text; it is asked only when the line is evidence, as few are.
    pub(super) fn see(
        &mut self,
        metric: &Metric,
        text: &dyn Fn() -> String,
    ) -> Vec<(Ailment, Evidence)> {
        let here = || Evidence { line: metric.line, text: text() };
        let mut found = Vec::new();
        let is_finite = !metric.not_finite().into_iter().any(is_watched);
        if !is_finite && !std::mem::replace(&mut self.non_finite_seen, true) {
            found.push((Ailment::NonFinite, here()));
        }
        let diverged = match metric.kind {
            // A loss beside a NaN gradient norm is no loss: the trainer's NaN filter prints 0.0.
            MetricKind::Train if is_finite => self.see_training(metric, &here),
            MetricKind::Eval if self.see_evaluation(metric) => vec![here()],
            MetricKind::Train | MetricKind::Eval | MetricKind::Summary => Vec::new(),
        };
        found.extend(diverged.into_iter().map(|evidence| (Ailment::Divergence, evidence)));
        found
    }

    fn see_training(&mut self, metric: &Metric, here: &dyn Fn() -> Evidence) -> Vec<Evidence> {
        let by_loss = metric.value("loss").and_then(|loss| {
            let is_high = is_above(loss, self.thresholds.loss_factor, self.lowest_loss);
            keep_lowest(&mut self.lowest_loss, loss);
            self.high_losses.see(is_high, here)
        });
        let by_gradient = metric.value("grad_norm").and_then(|norm| {
            let median = self.gradient_norms.median();
            let is_high = is_above(norm, self.thresholds.grad_norm_factor, median);
            self.gradient_norms.add(norm);
            self.high_gradients.see(is_high, here)
        });
        by_loss.into_iter().chain(by_gradient).collect()
    }

    /// Returns whether an evaluation loss runs away that was the first to do so.
    fn see_evaluation(&mut self, metric: &Metric) -> bool {
        let was_high = self.evaluations.iter().any(|evaluation| evaluation.is_high);
        let mut becomes_high = false;
        let losses = metric.values.iter().filter(|(name, _)| is_evaluation_loss(name));
        for (name, loss) in losses.map(|(name, value)| (name, value.as_f64())) {
            let has_room = self.evaluations.len() < MAX_EVALUATIONS;
            match self.evaluations.iter_mut().find(|known| known.name == *name) {
                // NaN says nothing about how high a loss is, and is reported as what it is.
                Some(_) if loss.is_nan() => {}
                Some(known) => {
                    known.is_high = is_above(loss, self.thresholds.loss_factor, Some(known.lowest));
                    becomes_high |= known.is_high;
                    if loss > 0.0 {
                        known.lowest = known.lowest.min(loss);
                    }
                }
                None if loss > 0.0 && loss.is_finite() && has_room => {
                    let (name, lowest) = (name.clone(), loss);
                    self.evaluations.push(Evaluation { name, lowest, is_high: false });
                }
                None => {}
            }
        }
        becomes_high && !was_high
    }
}

fn is_watched(name: &str) -> bool {
    matches!(name, "loss" | "grad_norm" | "train_loss") || is_evaluation_loss(name)
}

fn is_evaluation_loss(name: &str) -> bool {
    name.starts_with("eval_") && name.ends_with("_loss")
}

/// Compares with a multiple of a positive base; of anything else multiples mean nothing.
fn is_above(value: f64, factor: f64, base: Option<f64>) -> bool {
    base.is_some_and(|base| base > 0.0 && value >= factor * base)
}

fn keep_lowest(lowest: &mut Option<f64>, value: f64) {
    if value > 0.0 {
        *lowest = Some(lowest.map_or(value, |known| known.min(value)));
    }
}

/// Values in a row that disagree with what was last concluded, with the first high one's line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Streak {
    is_diverged: bool,
    count: u32,
    first: Option<Evidence>,
}

impl Streak {
    /// Takes note of a value; when an episode begins, its first line is the evidence.
    fn see(&mut self, is_high: bool, here: &dyn Fn() -> Evidence) -> Option<Evidence> {
        if is_high == self.is_diverged {
            self.count = 0;
            self.first = None;
            return None;
        }
        if is_high {
            self.first.get_or_insert_with(here);
        }
        self.count += 1;
        if self.count < STREAK {
            return None;
        }
        self.is_diverged = is_high;
        self.count = 0;
        self.first.take()
    }
}

/// The median of the newest values, with bounded memory.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "VecDeque<f64>", into = "VecDeque<f64>")]
struct RunningMedian {
    in_order_of_time: VecDeque<f64>,
    sorted: Vec<f64>,
}

impl From<VecDeque<f64>> for RunningMedian {
    fn from(in_order_of_time: VecDeque<f64>) -> Self {
        let mut median = Self::default();
        for value in in_order_of_time {
            median.add(value);
        }
        median
    }
}

impl From<RunningMedian> for VecDeque<f64> {
    fn from(median: RunningMedian) -> Self {
        median.in_order_of_time
    }
}

impl RunningMedian {
    /// Returns the median, if there are enough values for one.
    fn median(&self) -> Option<f64> {
        let middle = self.sorted.len() / 2;
        let upper = self.sorted.get(middle)?;
        if self.sorted.len() < MEDIAN_AT_LEAST {
            return None;
        }
        if self.sorted.len() % 2 == 1 {
            return Some(*upper);
        }
        let lower = self.sorted.get(middle.checked_sub(1)?)?;
        Some(f64::midpoint(*lower, *upper))
    }

    /// Adds a finite value.
    fn add(&mut self, value: f64) {
        if self.in_order_of_time.len() == MEDIAN_WINDOW
            && let Some(oldest) = self.in_order_of_time.pop_front()
        {
            let at = self.sorted.partition_point(|known| *known < oldest);
            if at < self.sorted.len() {
                self.sorted.remove(at);
            }
        }
        self.in_order_of_time.push_back(value);
        let at = self.sorted.partition_point(|known| *known < value);
        self.sorted.insert(at, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::metrics::MetricValue;
    use super::*;

    fn watch(metrics: &[(MetricKind, &[(&str, f64)])]) -> Vec<(Ailment, u64)> {
        let mut watch = HealthWatch::new(Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 });
        let mut found = Vec::new();
        for ((kind, values), line) in metrics.iter().zip(1..) {
            let values = values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), MetricValue::Float(*value)))
                .collect();
            let metric = Metric { line, kind: *kind, values };
            let ailments = watch.see(&metric, &String::new);
            found.extend(ailments.into_iter().map(|(ailment, evidence)| (ailment, evidence.line)));
        }
        found
    }

    fn losses(values: &[f64]) -> Vec<(Ailment, u64)> {
        let entries: Vec<[(&str, f64); 1]> = values.iter().map(|loss| [("loss", *loss)]).collect();
        let metrics: Vec<_> =
            entries.iter().map(|entry| (MetricKind::Train, entry.as_slice())).collect();
        watch(&metrics)
    }

    #[test]
    fn three_high_losses_in_a_row_are_divergence() {
        for (values, expected) in [
            (vec![3.0, 2.0, 6.0, 7.0, 6.0, 9.0], vec![(Ailment::Divergence, 3)]),
            (vec![3.0, 2.0, 6.0, 7.0, 5.9, 6.0, 6.0], vec![]),
            (vec![2.0, 5.999, 5.999, 5.999], vec![]),
            (vec![0.0, 1.0, 1.0, 1.0], vec![]),
            (vec![-1.0, 5.0, 5.0, 5.0], vec![]),
            (vec![], vec![]),
        ] {
            assert_eq!(losses(&values), expected, "{values:?}");
        }
    }

    #[test]
    fn one_high_evaluation_loss_is_divergence() {
        let eval = |loss: f64| [("eval_loss", loss), ("epoch", 1.0)];
        let (first, low, high) = (eval(3.0), eval(2.0), eval(6.0));
        let metrics = [first, low, high, high].map(|values| values.to_vec());
        let metrics: Vec<_> =
            metrics.iter().map(|values| (MetricKind::Eval, &values[..])).collect();
        assert_eq!(watch(&metrics), [(Ailment::Divergence, 3)]);
    }

    #[test]
    fn gradient_norms_need_ten_values_before_they_can_diverge() {
        let norms = |calm: usize| {
            let mut values: Vec<[(&str, f64); 1]> = vec![[("grad_norm", 1.0)]; calm];
            values.extend([[("grad_norm", 100.0)]; 3]);
            let metrics: Vec<_> =
                values.iter().map(|entry| (MetricKind::Train, entry.as_slice())).collect();
            watch(&metrics)
        };
        assert_eq!(norms(10), [(Ailment::Divergence, 11)]);
        assert!(norms(9).is_empty());
    }

    #[test]
    fn the_first_value_that_is_not_finite_counts_once() {
        let train = MetricKind::Train;
        assert_eq!(
            watch(&[
                (train, &[("loss", 5.2), ("learning_rate", f64::NAN)]),
                (train, &[("loss", 0.0), ("grad_norm", f64::NAN)]),
                (MetricKind::Eval, &[("eval_loss", f64::INFINITY)]),
                (train, &[("loss", 5.0), ("grad_norm", 1.0)]),
            ]),
            [(Ailment::NonFinite, 2)]
        );
        assert_eq!(
            watch(&[(MetricKind::Summary, &[("train_loss", f64::NAN)])]),
            [(Ailment::NonFinite, 1)]
        );
    }

    #[test]
    fn the_median_follows_the_newest_values() {
        let mut median = RunningMedian::default();
        for value in 0..3_000_u32 {
            median.add(f64::from(value));
        }
        assert_eq!(median.median(), Some(2_949.0));
        assert_eq!(median.sorted.len(), MEDIAN_WINDOW);
    }
}
