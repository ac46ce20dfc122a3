//! Failures that metrics show: values that are not finite, and divergence.
//!
//! Source of the rules: the design, section 9. Each is reported once per training, at its first
//! line of evidence.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

use super::metrics::{Metric, MetricKind};

/// Losses or gradient norms in a row that make a divergence.
const STREAK: usize = 3;
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
    divergence_seen: bool,
    lowest_loss: Option<f64>,
    lowest_evaluations: Vec<(String, f64)>,
    gradient_norms: RunningMedian,
    high_losses: Streak,
    high_gradients: Streak,
}

impl HealthWatch {
    /// Begins to watch a training.
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            non_finite_seen: false,
            divergence_seen: false,
            lowest_loss: None,
            lowest_evaluations: Vec::new(),
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
            MetricKind::Eval => self.see_evaluation(metric, &here),
            MetricKind::Train | MetricKind::Summary => None,
        };
        if let Some(evidence) = diverged
            && !std::mem::replace(&mut self.divergence_seen, true)
        {
            found.push((Ailment::Divergence, evidence));
        }
        found
    }

    fn see_training(&mut self, metric: &Metric, here: &dyn Fn() -> Evidence) -> Option<Evidence> {
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
        by_loss.or(by_gradient)
    }

    fn see_evaluation(&mut self, metric: &Metric, here: &dyn Fn() -> Evidence) -> Option<Evidence> {
        let mut is_high = false;
        let losses = metric.values.iter().filter(|(name, _)| is_evaluation_loss(name));
        for (name, loss) in losses.map(|(name, value)| (name, value.as_f64())) {
            let has_room = self.lowest_evaluations.len() < MAX_EVALUATIONS;
            match self.lowest_evaluations.iter_mut().find(|(known, _)| known == name) {
                Some((_, lowest)) => {
                    is_high |= is_above(loss, self.thresholds.loss_factor, Some(*lowest));
                    if loss > 0.0 {
                        *lowest = lowest.min(loss);
                    }
                }
                None if loss > 0.0 && loss.is_finite() && has_room => {
                    self.lowest_evaluations.push((name.clone(), loss));
                }
                None => {}
            }
        }
        is_high.then(here)
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

/// High values in a row, with the first one's line.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Streak {
    count: usize,
    first: Option<Evidence>,
}

impl Streak {
    /// Takes note of a value; once the streak is long enough, its first line is the evidence.
    fn see(&mut self, is_high: bool, here: &dyn Fn() -> Evidence) -> Option<Evidence> {
        if !is_high {
            *self = Self::default();
            return None;
        }
        self.count += 1;
        let first = self.first.get_or_insert_with(here);
        (self.count >= STREAK).then(|| first.clone())
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
