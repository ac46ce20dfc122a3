//! From what a program left behind to a result: a failure with its class, or a report and why not
//! to believe it.

use std::path::Path;

use super::child::ChildRun;
use super::reports::ProgramOutput;
use crate::model::analysis::{
    AnalysisOrder, AnalysisResult, Ending, FailureClass, ProgramTemplate,
};
use crate::model::measurement::Report;
use crate::parse::redact::redact_with;
use crate::parse::{report, stderr};

/// Turns output into a result. Exit 0 without one readable, complete report is `no_report`.
pub(super) fn read(
    order: &AnalysisOrder,
    checkpoint: &Path,
    ran: &ChildRun,
    output: &ProgramOutput,
) -> AnalysisResult {
    let (elapsed, secrets) = (ran.elapsed, &order.program.secrets);
    let ProgramOutput { json, stdout, stderr } = output;
    if ran.ending != Ending::Exit(0) {
        let class = failure_class(ran, output);
        let evidence = stderr::evidence(ran.ending, stderr, secrets);
        return AnalysisResult::Failed { elapsed, class, evidence };
    }
    let json = json.as_deref().map(report::from_json);
    let combined = report::combine(json, Some(report::text_report(stdout)));
    let Some(report) = combined.report else {
        let problems = redact_with(&combined.problems.join("; "), secrets);
        let evidence = format!("exit 0 without a complete report: {problems}");
        return AnalysisResult::Failed { elapsed, class: FailureClass::NoReport, evidence };
    };
    let mut disbelief = combined.disagreements;
    let random = stderr::newly_initialized_encoder(stderr);
    disbelief.extend(random.or_else(|| stderr::newly_initialized_encoder(stdout)));
    disbelief.extend(other_subject(&order.program, checkpoint, &report));
    // The probe takes the script's options and has no batches to count.
    if !order.program.is_probe {
        disbelief.extend(too_few_batches(&order.program.argv, &report));
    }
    let disbelief = disbelief.iter().map(|reason| redact_with(reason, secrets)).collect();
    AnalysisResult::Reported { elapsed, report: Box::new(report), disbelief }
}

/// Returns why the program failed. One that was killed while the kernel killed for memory was most
/// likely what the kernel killed: it says nothing of it, and the program cannot.
fn failure_class(ran: &ChildRun, output: &ProgramOutput) -> FailureClass {
    match stderr::failure_class(ran.ending, &output.stderr, &output.stdout) {
        FailureClass::Killed if ran.kernel_was_out_of_memory => FailureClass::OutOfMemory,
        class => class,
    }
}

/// Says so when the report is about another checkpoint or model type than was asked for.
fn other_subject(program: &ProgramTemplate, checkpoint: &Path, report: &Report) -> Option<String> {
    let is_asked = |path: &str| names_same_checkpoint(Path::new(path), checkpoint);
    if let Some(path) = report.model_path.as_deref().filter(|path| !is_asked(path)) {
        return Some(format!("the report is about another checkpoint: {path}"));
    }
    let asked = program.model_type.as_deref()?;
    let used = report.model_type.as_deref().filter(|used| *used != asked)?;
    Some(format!("the report used model type {used}, not {asked}"))
}

/// Whether two paths end in the same `<run id>/<checkpoint name>`, which is what identifies a
/// checkpoint wherever it lies: a pin, its place, or a path that a program has resolved.
fn names_same_checkpoint(one: &Path, other: &Path) -> bool {
    let ending = |path: &Path| {
        let name = path.file_name()?.to_owned();
        Some((path.parent()?.file_name()?.to_owned(), name))
    };
    ending(one).is_some_and(|ending_of_one| Some(ending_of_one) == ending(other))
}

/// Says so when the command line asks for more batches than the report is of. Where it does not
/// ask, as many as the data set gives are right.
fn too_few_batches(argv: &[String], report: &Report) -> Option<String> {
    const OPTION: &str = "--num_batches";
    let after = argv.iter().zip(argv.iter().skip(1)).filter(|(option, _)| *option == OPTION);
    let separate = after.map(|(_, value)| value.as_str()).next_back();
    let joined = argv.iter().rev().find_map(|part| part.strip_prefix(OPTION)?.strip_prefix('='));
    let asked: u64 = separate.or(joined)?.parse().ok()?;
    let done = report.batches.filter(|done| *done < asked)?;
    Some(format!("the report is of {done} batches, not {asked}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::child::Captured;

    #[test]
    fn a_checkpoint_is_known_by_run_and_name_wherever_it_lies() {
        let pinned = Path::new("/state/pins/7-1/run_a/checkpoint-20");
        for (path, same) in [
            ("/project/Cache/Training/run_a/checkpoint-20", true),
            ("/project/Cache/Training/run_a/checkpoint-20/", true),
            ("/project/Cache/Training/run_b/checkpoint-20", false),
            ("/project/Cache/Training/run_a/checkpoint-2", false),
            ("checkpoint-20", false),
            ("", false),
        ] {
            assert_eq!(names_same_checkpoint(Path::new(path), pinned), same, "{path}");
        }
    }

    #[test]
    fn what_the_kernel_killed_for_memory_is_told_from_what_somebody_killed() {
        let class = |ending, kernel_was_out_of_memory, stderr: &[u8]| {
            let elapsed = std::time::Duration::ZERO;
            let (stdout, printed) = (Captured::default(), Captured::default());
            let ran =
                ChildRun { ending, elapsed, kernel_was_out_of_memory, stdout, stderr: printed };
            let (json, stdout, stderr) = (None, Vec::new(), stderr.to_vec());
            failure_class(&ran, &ProgramOutput { json, stdout, stderr })
        };
        assert_eq!(class(Ending::Signal(9), true, b""), FailureClass::OutOfMemory);
        assert_eq!(class(Ending::Exit(137), true, b""), FailureClass::OutOfMemory);
        assert_eq!(class(Ending::Signal(9), false, b""), FailureClass::Killed);
        assert_eq!(class(Ending::Exit(1), true, b"size mismatch for x"), FailureClass::Shape);
    }

    #[test]
    fn fewer_batches_than_asked_are_noticed() {
        let json = br#"{"global_effective_rank": 20.0, "n_batches": 3, "model_path": "r/c"}"#;
        let report = report::from_json(json).unwrap();
        for (argv, says) in [
            ("python script.py", None),
            ("python script.py --num_batches 3", None),
            ("python script.py --num_batches 2", None),
            ("python script.py --num_batches", None),
            ("python script.py --num_batches many", None),
            ("python script.py --num_batches 4", Some("the report is of 3 batches, not 4")),
            ("python script.py --num_batches=20", Some("the report is of 3 batches, not 20")),
            // The last one counts, as argparse has it.
            ("python script.py --num_batches 20 --num_batches 3", None),
        ] {
            let argv: Vec<String> = argv.split(' ').map(str::to_owned).collect();
            assert_eq!(too_few_batches(&argv, &report).as_deref(), says, "{argv:?}");
        }
    }
}
