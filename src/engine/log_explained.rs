//! A shell log in plain sentences: what it belongs to, how far it was read, and what it says.

use crate::judge::training::standing_failure;
use crate::model::ids::RunId;
use crate::model::numbers::grouped;
use crate::model::shell_log::LoggedTraining;

use super::log::Log;
use super::world::World;

/// Says what is known of the log with this path; nothing if there is none.
pub fn explain_log(world: &World, path: &str) -> Option<Vec<String>> {
    let logs = world.logs.values().filter(|log| log.known.path == path);
    let log = logs.max_by_key(|log| log.known.modified)?;
    let mut lines = vec![how_far(log)];
    if log.known.old_since.is_some() {
        lines.push(
            "It was old when it was first seen: nothing that it says is announced until it is \
             written to."
                .to_owned(),
        );
    }
    let trainings = log.known.reading.trainings.iter().zip(&log.runs);
    lines.extend(trainings.map(|(training, run)| training_told(training, run.as_ref())));
    lines.extend(
        log.reason.as_ref().map(|reason| ended(&format!("It belongs to no run: {reason}"))),
    );
    let newest = log.known.run.as_ref().and_then(|run| world.runs.get(run)?.training.as_ref());
    lines.extend(newest.map(|training| {
        let (state, evidence) = (training.known.state, &training.evidence);
        ended(&format!("The run's training was last said to be {state}: {evidence}"))
    }));
    Some(lines)
}

/// Ends a sentence, unless what it quotes has ended it.
fn ended(sentence: &str) -> String {
    let is_ended = sentence.ends_with(['.', '…', '!', '?']);
    if is_ended { sentence.to_owned() } else { format!("{sentence}.") }
}

fn how_far(log: &Log) -> String {
    let length = grouped(log.known.length);
    let read = if log.is_read() {
        "read to its end".to_owned()
    } else {
        format!("of which {} are read", grouped(log.known.position.offset))
    };
    let skipped = match log.known.reading.skipped {
        0 => String::new(),
        skipped => format!(" The first {} were passed over.", grouped(skipped)),
    };
    format!("It is a shell log of {length} bytes, {read}.{skipped}")
}

fn training_told(training: &LoggedTraining, run: Option<&RunId>) -> String {
    let run = run.map_or_else(|| "a training".to_owned(), |run| format!("run `{run}`"));
    let step = match (training.step, training.total_steps) {
        (Some(step), Some(total)) => format!(", step {} of {}", grouped(step), grouped(total)),
        (Some(step), None) => format!(", step {}", grouped(step)),
        (None, _) => String::new(),
    };
    let end = match (training.completed, standing_failure(training)) {
        (Some(line), _) => format!("; it came to its end at line {line}"),
        (None, Some(failure)) => format!("; {} at line {}", failure.class, failure.line),
        (None, None) => String::new(),
    };
    format!("From line {} it tells of {run}{step}{end}.", training.first_line)
}

#[cfg(test)]
mod tests {
    use super::ended;

    #[test]
    fn a_sentence_ends_once() {
        for (text, expected) in
            [("it is slow", "it is slow."), ("line 3: Killed.", "line 3: Killed."), ("a…", "a…")]
        {
            assert_eq!(ended(text), expected);
        }
    }
}
