//! Metrics of a run from its shell log and from its trainer's state, as one list without doubles.
//!
//! The log has what was printed, also after the newest checkpoint, and never a step. The trainer's
//! `log_history` has the same entries with their steps and all digits, up to the checkpoint. Both
//! are in the order of training, so they are laid side by side where all that overlaps is equal at
//! the printed precision. Where no place fits, or several do, nothing is guessed.

use crate::model::shell_log::{LogMetric, LogMetricKind};
use crate::model::training::{MetricSource, RunMetric, TrainerMetric};

/// Returns the newest metrics of a run, at most so many, in the order of training.
pub fn merge(logged: &[LogMetric], history: &[TrainerMetric], newest: usize) -> Vec<RunMetric> {
    let merged = match alignment(logged, history) {
        Some(shift) => laid_together(logged, history, shift),
        None => history.iter().map(of_history).chain(logged.iter().map(of_log)).collect(),
    };
    let skipped = merged.len().saturating_sub(newest);
    merged.into_iter().skip(skipped).collect()
}

/// How far the log's first entry lies behind the history's first one; negative if before.
type Shift = isize;

/// Returns the one shift at which the two overlap and agree. Of several the one with the largest
/// overlap counts, if no other is as large.
fn alignment(logged: &[LogMetric], history: &[TrainerMetric]) -> Option<Shift> {
    let (log_length, history_length) = (signed(logged.len()), signed(history.len()));
    let mut best: Option<(usize, Shift)> = None;
    let mut is_tie = false;
    for shift in (1 - log_length)..history_length {
        let mut pairs = overlap(logged, history, shift).peekable();
        if pairs.peek().is_none() || !pairs.all(|(line, entry)| agree(line, entry)) {
            continue;
        }
        let length = overlap(logged, history, shift).count();
        match best {
            Some((known, _)) if known > length => {}
            Some((known, _)) if known == length => is_tie = true,
            _ => (best, is_tie) = (Some((length, shift)), false),
        }
    }
    best.filter(|_| !is_tie).map(|(_, shift)| shift)
}

fn overlap<'a>(
    logged: &'a [LogMetric],
    history: &'a [TrainerMetric],
    shift: Shift,
) -> impl Iterator<Item = (&'a LogMetric, &'a TrainerMetric)> {
    let (log_first, history_first) = firsts(shift);
    logged.iter().skip(log_first).zip(history.iter().skip(history_first))
}

/// Returns where the overlap begins in the log and in the history.
fn firsts(shift: Shift) -> (usize, usize) {
    if shift < 0 { (shift.unsigned_abs(), 0) } else { (0, shift.unsigned_abs()) }
}

fn laid_together(logged: &[LogMetric], history: &[TrainerMetric], shift: Shift) -> Vec<RunMetric> {
    let (log_first, history_first) = firsts(shift);
    let length = overlap(logged, history, shift).count();
    let before = logged.iter().take(log_first).map(of_log);
    let before = before.chain(history.iter().take(history_first).map(of_history));
    let both = overlap(logged, history, shift).map(|(line, entry)| RunMetric {
        line: Some(line.line),
        source: MetricSource::Both,
        ..of_history(entry)
    });
    let after = history.iter().skip(history_first + length).map(of_history);
    let after = after.chain(logged.iter().skip(log_first + length).map(of_log));
    before.chain(both).chain(after).collect()
}

fn of_log(metric: &LogMetric) -> RunMetric {
    let value = |(name, text): &(String, String)| Some((name.clone(), text.parse().ok()?));
    RunMetric {
        step: metric.step,
        line: Some(metric.line),
        kind: metric.kind,
        values: metric.values.iter().filter_map(value).collect(),
        source: MetricSource::ShellLog,
    }
}

fn of_history(metric: &TrainerMetric) -> RunMetric {
    RunMetric {
        step: Some(metric.step),
        line: None,
        kind: metric.kind,
        values: metric.values.clone(),
        source: MetricSource::TrainerState,
    }
}

/// Whether a printed line can be this entry: of the same kind, of no other step, and equal in all
/// that both have, which must be more than the epoch.
fn agree(line: &LogMetric, entry: &TrainerMetric) -> bool {
    if line.kind != entry.kind || line.step.is_some_and(|step| step != entry.step) {
        return false;
    }
    let mut shared = 0;
    for (name, printed) in &line.values {
        let Some((_, value)) = entry.values.iter().find(|(known, _)| known == name) else {
            continue;
        };
        if !is_printed_as(*value, printed) {
            return false;
        }
        shared += usize::from(name != "epoch");
    }
    // A summary's own numbers are not all in the history.
    shared > 0 || (line.kind == LogMetricKind::Summary && !line.values.is_empty())
}

/// Whether a number rounds to a printed one, at its precision.
pub fn is_printed_as(value: f64, printed: &str) -> bool {
    let Ok(number) = printed.parse::<f64>() else { return false };
    if !number.is_finite() || !value.is_finite() {
        return (number.is_nan() && value.is_nan()) || number.to_bits() == value.to_bits();
    }
    let (mantissa, exponent) = printed.split_once(['e', 'E']).unwrap_or((printed, "0"));
    let decimals = mantissa.split_once('.').map_or(0, |(_, digits)| digits.len());
    let (Ok(exponent), Ok(decimals)) = (exponent.parse::<i32>(), i32::try_from(decimals)) else {
        return false;
    };
    let last_digit = 10_f64.powi(exponent.saturating_sub(decimals));
    (value - number).abs() <= 0.5 * last_digit * (1.0 + 1e-6)
}

fn signed(length: usize) -> isize {
    isize::try_from(length).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{captures, checkpoint, shell_log};
    use super::*;

    fn line(line: u64, kind: LogMetricKind, values: &[(&str, &str)]) -> LogMetric {
        let values = values.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
        LogMetric { line, kind, step: None, values }
    }

    fn entry(step: u64, kind: LogMetricKind, values: &[(&str, f64)]) -> TrainerMetric {
        let values = values.iter().map(|(name, value)| ((*name).into(), *value)).collect();
        TrainerMetric { step, kind, values }
    }

    fn told(merged: &[RunMetric]) -> String {
        let one = |metric: &RunMetric| {
            let step = metric.step.map_or("?".to_owned(), |step| step.to_string());
            let line = metric.line.map_or("-".to_owned(), |line| line.to_string());
            format!("step {step} line {line} {:?} {:?}", metric.source, metric.kind)
        };
        merged.iter().map(one).collect::<Vec<_>>().join("\n")
    }

    const TRAIN: LogMetricKind = LogMetricKind::Train;

    #[test]
    fn what_overlaps_is_told_once_with_the_step_of_the_state_and_the_line_of_the_log() {
        let logged = [
            line(8, TRAIN, &[("loss", "8.64"), ("grad_norm", "2.29"), ("epoch", "0.02")]),
            line(9, TRAIN, &[("loss", "8.5"), ("grad_norm", "2.1"), ("epoch", "0.03")]),
            line(12, LogMetricKind::Eval, &[("eval_loss", "8.4"), ("epoch", "0.03")]),
            line(15, TRAIN, &[("loss", "8.3"), ("grad_norm", "2"), ("epoch", "0.04")]),
        ];
        let history = [
            entry(5, TRAIN, &[("loss", 8.7), ("grad_norm", 2.5), ("epoch", 0.0102)]),
            entry(10, TRAIN, &[("loss", 8.6391), ("grad_norm", 2.292_6), ("epoch", 0.0204)]),
            entry(15, TRAIN, &[("loss", 8.52), ("grad_norm", 2.08), ("epoch", 0.0306)]),
            entry(15, LogMetricKind::Eval, &[("eval_loss", 8.39), ("epoch", 0.0306)]),
        ];
        let expected = expect_test::expect![[r"
            step 5 line - TrainerState Train
            step 10 line 8 Both Train
            step 15 line 9 Both Train
            step 15 line 12 Both Eval
            step ? line 15 ShellLog Train"]];
        expected.assert_eq(&told(&merge(&logged, &history, 20)));
        assert_eq!(merge(&logged, &history, 2).len(), 2);
        // Either source alone.
        assert_eq!(merge(&logged, &[], 20).len(), 4);
        assert_eq!(merge(&[], &history, 20).len(), 4);
    }

    /// A run whose loss is NaN prints the same again and again: only what differs could tell.
    #[test]
    fn no_step_is_guessed_where_several_places_fit() {
        let nan = |number| line(number, TRAIN, &[("loss", "0"), ("grad_norm", "nan")]);
        let state = |step| entry(step, TRAIN, &[("loss", 0.0), ("grad_norm", f64::NAN)]);
        let merged = merge(&[nan(1), nan(2)], &[state(5), state(10), state(15)], 20);
        assert_eq!(merged.len(), 5, "{merged:?}");
        assert!(merged.iter().all(|one| one.source != MetricSource::Both), "{merged:?}");
        let with_rate = |number, rate: &str| {
            line(number, TRAIN, &[("loss", "0"), ("grad_norm", "nan"), ("learning_rate", rate)])
        };
        let at_rate = |step, rate| {
            let values = [("loss", 0.0), ("grad_norm", f64::NAN), ("learning_rate", rate)];
            entry(step, TRAIN, &values)
        };
        let merged = merge(
            &[with_rate(1, "0.00027"), with_rate(2, "2e-4")],
            &[at_rate(5, 2.7e-4), at_rate(10, 2e-4)],
            20,
        );
        assert_eq!(told(&merged), "step 5 line 1 Both Train\nstep 10 line 2 Both Train");
    }

    #[test]
    fn what_disagrees_stays_apart() {
        let logged = [line(3, TRAIN, &[("loss", "8.64"), ("epoch", "0.02")])];
        for history in [
            [entry(10, TRAIN, &[("loss", 8.7), ("epoch", 0.02)])],
            [entry(10, TRAIN, &[("epoch", 0.02)])],
            [entry(10, LogMetricKind::Eval, &[("loss", 8.64), ("epoch", 0.02)])],
        ] {
            assert_eq!(merge(&logged, &history, 20).len(), 2, "{history:?}");
        }
        let certain = LogMetric { step: Some(11), ..logged[0].clone() };
        let history = [entry(10, TRAIN, &[("loss", 8.64)])];
        assert_eq!(merge(&[certain], &history, 20).len(), 2);
    }

    #[test]
    fn a_captured_log_and_its_trainers_state_become_one_list() {
        let Some(log) = captures::read("shell_logs/diffusion_clean.log") else { return };
        let Some(state) = captures::read("checkpoints/trainer_state.diffusion.json") else {
            return;
        };
        let thresholds = shell_log::Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 };
        let mut reader = shell_log::LogReader::new(thresholds);
        reader.push(&log);
        let logged = &reader.reading().trainings[0].metrics;
        let history = checkpoint::metric_history(&state, 20).unwrap();
        let merged = merge(logged, &history, 20);
        let both = merged.iter().filter(|one| one.source == MetricSource::Both).count();
        assert_eq!(both, history.len().min(logged.len()), "{}", told(&merged));
        assert!(merged.iter().filter(|one| one.kind == TRAIN).all(|one| one.step.is_some()));
    }
}
