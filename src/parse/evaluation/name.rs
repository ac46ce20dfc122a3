//! The names of report files.

use jiff::civil::DateTime;

use crate::model::evaluation::Suite;

/// Tasks whose names hold a separator.
const TASKS: [&str; 3] = ["all-tasks", "mnli-mismatched", "mnli-matched"];

/// What the name of a report's file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// The part that all files of the report share.
    pub stem: String,
    /// Which form it has.
    pub suite: Suite,
    /// The task; `all-tasks` where its rows name them.
    pub task: String,
    /// The model, as the program spells it there.
    pub model: String,
    /// When it was written.
    pub stamp: DateTime,
}

/// Which of a report's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All measures.
    Results,
    /// The model and how it was evaluated.
    Metadata,
    /// The main measure of each task.
    Summary,
}

impl FileName {
    /// Reads a file's name; nothing if it is not one of a report.
    ///
    /// `glue-mrpc-perceiver-mlm-h512l6c128-20260208-211633-42M-20260222_1012-summary.csv`; an
    /// `-enc` behind the size marks an encoder that was evaluated without its decoder.
    pub fn parse(name: &str) -> Option<(Self, Part)> {
        let (stem, part) = name.strip_suffix(".csv")?.rsplit_once('-')?;
        let part = match part {
            "results" => Part::Results,
            "metadata" => Part::Metadata,
            "summary" => Part::Summary,
            _ => return None,
        };
        let (rest, stamp) = stem.rsplit_once('-')?;
        let is_stamp = stamp.len() == 13 && stamp.bytes().all(|b| b.is_ascii_digit() || b == b'_');
        let stamp = DateTime::strptime("%Y%m%d_%H%M", stamp).ok().filter(|_| is_stamp)?;
        let (suite, rest) = match rest.split_once('-')? {
            ("glue", rest) => (Suite::Glue, rest),
            ("bench", rest) => (Suite::Benchmark, rest),
            _ => return None,
        };
        let (task, model) = split(without_size(rest));
        let (task, model) = (task.to_owned(), model.to_owned());
        Some((Self { stem: stem.to_owned(), suite, task, model, stamp }, part))
    }
}

/// Takes the number of parameters off the end.
fn without_size(rest: &str) -> &str {
    let bare = rest.strip_suffix("-enc").unwrap_or(rest);
    let is_size = |size: &str| {
        let digits = size.strip_suffix('M').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    match bare.rsplit_once('-') {
        Some((model, size)) if is_size(size) => model,
        _ => rest,
    }
}

/// Splits the task from the model behind it.
fn split(rest: &str) -> (&str, &str) {
    let known = TASKS.iter().find_map(|task| {
        let model = rest.strip_prefix(task)?.strip_prefix('-')?;
        Some((*task, model))
    });
    known.or_else(|| rest.split_once('-')).unwrap_or((rest, ""))
}
