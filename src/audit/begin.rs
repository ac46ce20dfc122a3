//! The beginning of a training: what its row holds, and what its program lacks.

use crate::document::cells;
use crate::document::escape;
use crate::document::pending::{PENDING, PendingRow, PlanColumn};
use crate::model::observation::{CellFill, RunColumn};
use crate::model::time::Moment;

use super::scripts::{Answer, Plan, Recording};

/// Characters of a cell that are kept.
const CELL_LIMIT: usize = 200;

/// A training that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// The run id without its time stamp.
    pub run: &'a str,
    /// Its tag.
    pub tag: &'a str,
    /// When.
    pub now: Moment,
    /// This host.
    pub machine: &'a str,
    /// The script, relative to the root.
    pub script: &'a str,
    /// What is planned.
    pub plan: &'a Plan,
}

/// Says why a name is no run id without its time stamp.
///
/// # Errors
/// The reason, and what to give.
pub fn check_run(name: &str) -> Result<(), String> {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "_-.+".contains(character);
    if name.is_empty() || !name.chars().all(is_plain) || name.starts_with(['-', '.']) {
        return Err(format!(
            "`{name}` is no run id: give family and dimensions, such as `diffusion_H512L6C128D2`"
        ));
    }
    let run = crate::model::ids::RunId::new(name);
    if run.stamp().is_some() {
        return Err(format!(
            "`{name}` has a time stamp, which the training gives it: leave it out (`{}`)",
            run.base()
        ));
    }
    Ok(())
}

/// Returns what a plan says, with what a person gave in place of what the script says.
pub fn planned(given: Plan, read: Plan) -> Plan {
    Plan {
        data: given.data.or(read.data),
        epochs: given.epochs.or(read.epochs),
        losses: given.losses.or(read.losses),
        parameters: given.parameters.or(read.parameters),
    }
}

/// Returns the pending row of a training.
pub fn pending_row(beginning: Beginning<'_>) -> PendingRow {
    let Beginning { run, tag, now, machine, script, plan } = beginning;
    let fill = |column, value: String| CellFill { column, value };
    let what = plan.parameters.clone().unwrap_or_else(|| script.to_owned());
    let conclusion = format!("{PENDING}: {}", escape::escaped(&what, CELL_LIMIT));
    let architecture = architecture(run).map(|value| fill(RunColumn::Architecture, value));
    let mut row_cells = vec![fill(RunColumn::Date, now.date_form())];
    row_cells.extend(architecture);
    row_cells.push(fill(RunColumn::Machine, machine.to_owned()));
    row_cells.extend(cells::git_tag_fill(tag));
    row_cells.push(fill(RunColumn::Conclusion, conclusion));
    let columns = [
        (PlanColumn::Data, &plan.data),
        (PlanColumn::Epochs, &plan.epochs),
        (PlanColumn::Losses, &plan.losses),
    ];
    let plan = columns.into_iter().filter_map(|(column, value)| Some((column, value.clone()?)));
    PendingRow { run: run.to_owned(), tag: tag.to_owned(), cells: row_cells, plan: plan.collect() }
}

/// Reads `H512 L6 C128` from `diffusion_H512L6C128D2`.
fn architecture(run: &str) -> Option<String> {
    let last = run.rsplit('_').next()?;
    let mut rest = last;
    let mut parts = Vec::new();
    for letter in ["H", "L", "C"] {
        let behind = rest.strip_prefix(letter)?;
        let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
        let (number, next) = behind.split_at(end);
        parts.push(format!("{letter}{number}"));
        rest = next;
        if number.is_empty() {
            return None;
        }
    }
    Some(parts.join(" "))
}

/// Returns what a program does not record, or of which it is not known, each with what to do.
pub fn lacks(program: &str, recording: &Recording) -> Vec<String> {
    let mut lines = Vec::new();
    let mut tell = |what: String, answer: &Answer, mend: String| match answer {
        Answer::Yes { .. } => {}
        Answer::No(why) => lines.push(format!("{what} ({why}): {mend}")),
        Answer::Undecided(why) => {
            lines.push(format!(
                "whether it is so is not decided by reading: {what} ({why}): {mend}"
            ));
        }
    };
    tell(
        format!("`{program}` does not call `get_git_info()`"),
        &recording.git_info,
        "call it and pass its values to `wandb.init(config=…)`".to_owned(),
    );
    tell(
        format!("`{program}` does not start W&B"),
        &recording.wandb_init,
        "call `wandb.init(config=…)` with commit, tag and branch".to_owned(),
    );
    if matches!(recording.wandb_init, Answer::Yes { .. }) {
        for (key, answer) in &recording.keys {
            let mend = match key.strip_prefix("git_") {
                Some(fact) => format!("let `get_git_info()` return `{fact}` as well"),
                None => "add it to the configuration".to_owned(),
            };
            tell(format!("`{key}` is not recorded in W&B"), answer, mend);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_names_have_no_stamp_and_nothing_odd() {
        for name in ["diffusion_H512L6C128D2", "tsdae_posonly_H64L2C8"] {
            assert_eq!(check_run(name), Ok(()));
        }
        for (name, reason) in [
            ("", "is no run id"),
            ("a b", "is no run id"),
            ("../x", "is no run id"),
            ("-x", "is no run id"),
            ("d_H1L1C1_20260223_203349", "leave it out (`d_H1L1C1`)"),
        ] {
            assert!(check_run(name).unwrap_err().contains(reason), "{name}");
        }
    }

    #[test]
    fn the_row_holds_what_is_planned() {
        let plan = Plan {
            epochs: Some("20".to_owned()),
            parameters: Some("LR 3e-4 | cosine".to_owned()),
            ..Plan::default()
        };
        let now = Moment::parse("2026-02-23T20:33:49+01:00").unwrap();
        let beginning = Beginning {
            run: "diffusion_H512L6C128D2",
            tag: "train/x",
            now,
            machine: "odin",
            script: "scripts/a.sh",
            plan: &plan,
        };
        let row = pending_row(beginning);
        let values: Vec<&str> = row.cells.iter().map(|cell| cell.value.as_str()).collect();
        let expected =
            ["2026-02-23", "H512 L6 C128", "odin", "`train/x`", "PENDING: LR 3e-4 \\| cosine"];
        assert_eq!(values, expected);
        assert_eq!(row.plan, [(PlanColumn::Epochs, "20".to_owned())]);
        let bare = pending_row(Beginning { run: "model", plan: &Plan::default(), ..beginning });
        assert_eq!(bare.cells.last().unwrap().value, "PENDING: scripts/a.sh");
        assert_eq!(bare.cells.len(), 4);
        assert_eq!(architecture("x_H512L6"), None);
    }
}
