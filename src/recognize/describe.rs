//! Plain sentences about a checkpoint's condition, for people.

use jiff::Timestamp;

use crate::model::checkpoint::{CompleteCheckpoint, Condition};
use crate::model::numbers::grouped;

/// Says in one or two sentences what the condition of a checkpoint is and why.
pub fn describe(condition: &Condition, now: Timestamp) -> String {
    match condition {
        Condition::Complete(checkpoint) => describe_complete(checkpoint),
        Condition::Settling { until } => {
            let seconds = until.duration_since(now).as_secs_f64().max(0.0);
            format!(
                "All its files are whole. It counts as complete in {seconds:.1} s if nothing \
                 changes until then."
            )
        }
        Condition::Incomplete { missing } => {
            format!("It is incomplete: {}.", missing.join("; "))
        }
        Condition::Damaged { problem } => {
            format!("It is damaged: {problem}. It is reported, but not judged.")
        }
        Condition::Unreadable { problem } => {
            format!("It cannot be judged, because it cannot be read: {problem}.")
        }
    }
}

fn describe_complete(checkpoint: &CompleteCheckpoint) -> String {
    let files = match checkpoint.weights_files.as_slice() {
        [file] => format!("`{file}`"),
        files => format!("{} files", files.len()),
    };
    let bytes = grouped(checkpoint.weights_bytes);
    let training = checkpoint.training.as_ref().map_or_else(String::new, |point| {
        let total = point.total_steps.map_or_else(String::new, |total| format!(" of {total}"));
        format!(" It was saved at step {}{total}.", point.step)
    });
    format!("It is complete, with {bytes} bytes of weights in {files}.{training}")
}
