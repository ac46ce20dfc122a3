//! What a run's own files outside its checkpoints say of it: machine, shell log and its newest
//! metrics, W&B page, commit and tag.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::host::run_files;
use crate::model::ids::RunId;
use crate::model::journal::{LoggedMetric, RunFacts};
use crate::parse::shell_log::{LogItem, Metric, MetricKind, ShellLogParser, Thresholds};
use crate::settings::Settings;
use crate::{git, wandb};

/// Longer logs are not read for their metrics, in bytes: reading them anew for each checkpoint
/// would be felt.
const MAX_LOG_BYTES: u64 = 256 << 20;
/// Bytes handed to the parser at a time.
const CHUNK: usize = 1 << 20;
/// Metrics that may wait for the progress bar that tells their step.
const WAITING: usize = 256;
/// Metrics that are kept of training, and of evaluations.
const KEPT: [(bool, usize); 2] = [(false, 6), (true, 2)];

/// Looks for everything that a run's files outside its checkpoints say of it.
pub(super) fn read(settings: &Settings, run: &RunId) -> RunFacts {
    let paths = &settings.paths;
    let began = run.stamp().and_then(|stamp| {
        let zoned = stamp.to_zoned(jiff::tz::TimeZone::system()).ok()?;
        Some(SystemTime::from(zoned.timestamp()))
    });
    let log = began.and_then(|began| run_files::shell_log(&paths.shell_logs, run, began));
    let relative = |path: PathBuf| {
        let inside = path.strip_prefix(&paths.root).map(Path::to_path_buf).unwrap_or(path);
        inside.to_string_lossy().into_owned()
    };
    let wandb_url = log.as_deref().and_then(run_files::wandb_url);
    let recorded = wandb::git_facts(&paths.root.join("wandb"), run);
    RunFacts {
        git_commit: recorded.commit,
        git_tag: recorded.tag.or_else(|| git::train_tag(&paths.root, run)),
        machine: run_files::machine(&paths.run_logs, run),
        logged: log.as_deref().map(|log| logged(log, settings)).unwrap_or_default(),
        shell_log: log.map(relative),
        wandb_url,
    }
}

/// Returns the newest metrics of a shell log.
fn logged(log: &Path, settings: &Settings) -> Vec<LoggedMetric> {
    let thresholds = Thresholds {
        loss_factor: settings.training.loss_factor,
        grad_norm_factor: settings.training.grad_norm_factor,
    };
    read_metrics(log, thresholds).unwrap_or_else(|error| {
        tracing::debug!(log = %log.display(), %error, "the metrics of a shell log cannot be read");
        Vec::new()
    })
}

fn read_metrics(log: &Path, thresholds: Thresholds) -> io::Result<Vec<LoggedMetric>> {
    let mut file = File::open(log)?;
    if file.metadata()?.len() > MAX_LOG_BYTES {
        return Err(io::Error::other("it is too long"));
    }
    let (mut parser, mut newest) = (ShellLogParser::new(thresholds), Newest::default());
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = file.read(&mut buffer)?;
        let chunk = buffer.get(..length).unwrap_or_default();
        if chunk.is_empty() {
            break;
        }
        parser.push(chunk).into_iter().for_each(|item| newest.add(item));
    }
    parser.finish().0.into_iter().for_each(|item| newest.add(item));
    Ok(newest.kept())
}

/// The newest metrics, some of which still wait for their step.
#[derive(Debug, Default)]
struct Newest(VecDeque<(u64, Metric, Option<u64>)>);

impl Newest {
    fn add(&mut self, item: LogItem) {
        match item {
            LogItem::Metric { index, metric } if metric.kind != MetricKind::Summary => {
                self.0.push_back((index, metric, None));
                if self.0.len() > WAITING {
                    self.0.pop_front();
                }
            }
            LogItem::MetricStep { index, step } => {
                if let Some(known) = self.0.iter_mut().rfind(|(known, ..)| *known == index) {
                    known.2 = Some(step);
                }
            }
            LogItem::Metric { .. } | LogItem::Fact { .. } | LogItem::Failure { .. } => {}
        }
    }

    fn kept(self) -> Vec<LoggedMetric> {
        let all: Vec<LoggedMetric> =
            self.0.iter().map(|(_, metric, step)| told(metric, *step)).collect();
        let newest = |(is_evaluation, count): (bool, usize)| {
            let of_kind = all.iter().filter(move |one| one.is_evaluation == is_evaluation);
            of_kind.rev().take(count).cloned()
        };
        let mut kept: Vec<LoggedMetric> = KEPT.into_iter().flat_map(newest).collect();
        kept.sort_by_key(|one| one.line);
        kept
    }
}

fn told(metric: &Metric, step: Option<u64>) -> LoggedMetric {
    let value = |(name, value): &(String, crate::parse::shell_log::MetricValue)| {
        format!("{name} {}", value.as_f64()).replace("NaN", "nan")
    };
    LoggedMetric {
        line: metric.line,
        step,
        is_evaluation: metric.kind == MetricKind::Eval,
        text: metric.values.iter().map(value).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Vec<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/parse/shell_logs");
        let thresholds = Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 };
        let metrics = read_metrics(&Path::new(folder).join(name), thresholds).unwrap();
        metrics
            .into_iter()
            .map(|one| format!("{} at {:?}: {}", one.line, one.step, one.text))
            .collect()
    }

    #[test]
    fn the_newest_metrics_are_told_with_line_and_step() {
        expect_test::expect![["
            8 at None: loss 8.6969, grad_norm 2.585, learning_rate 0.00027, epoch 0.01
            9 at None: loss 8.6391, grad_norm 2.292, learning_rate 0.00027, epoch 0.02
            13 at Some(4): eval_loss 8.23, eval_runtime 0.5, eval_samples_per_second 160, eval_steps_per_second 10, epoch 0.02
            16 at None: loss 8.4723, grad_norm 1.718, learning_rate 0.00027, epoch 0.03
            17 at None: loss 8.3238, grad_norm 1.86, learning_rate 0.00027, epoch 0.04"]].assert_eq(&read("diffusion_clean.log").join("\n"));
    }

    #[test]
    fn what_is_no_number_is_told_as_the_log_prints_it() {
        let metrics = read("diffusion_nan.log");
        assert!(metrics.iter().any(|one| one.contains("grad_norm nan")), "{metrics:?}");
    }

    #[test]
    fn a_log_that_is_not_there_tells_nothing() {
        let thresholds = Thresholds { loss_factor: 3.0, grad_norm_factor: 100.0 };
        assert!(read_metrics(Path::new("/nonexistent"), thresholds).is_err());
    }
}
