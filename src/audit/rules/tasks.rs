//! T6: tasks that are marked done without a date or without a commit.

use super::quoted;
use crate::audit::facts::Facts;
use crate::audit::finding::{Audit, Code, Place, Severity};
use crate::audit::reading::Reading;

pub(super) fn examine(reading: &Reading, facts: &Facts, audit: &mut Audit) {
    let Some(page) = &reading.todos else { return };
    // A step is done with its task.
    let tasks = reading.tasks.tasks.iter().filter(|task| task.is_done && task.parent.is_none());
    for task in tasks {
        let is_old = facts.since.zip(task.date).is_some_and(|(since, date)| date < since);
        let lacking = match (task.date, task.commits.is_empty()) {
            (None, true) => "date and commit",
            (None, false) => "date",
            (Some(_), true) => "commit",
            (Some(_), false) => continue,
        };
        if is_old {
            continue;
        }
        let (name, wanted) = match &task.number {
            Some(number) => (format!("TODO {number}"), format!("TODO {number}")),
            None => (task.title.clone(), format!("line:{}", task.line)),
        };
        let sentence = format!("the task `{name}` is marked done without {lacking}");
        let command = format!("runscribe todo done {} --commit COMMIT", quoted(&wanted));
        let place = Place::line(&page.path, task.line);
        audit.add((Code::T6, Severity::Warning), place, name, sentence, command);
    }
}
