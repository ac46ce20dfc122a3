//! Which run a shell log belongs to that names none.
//!
//! A launcher names its log `shell_<family>_<YYYYMMDD>_<HHMMSS>.log` some seconds before training
//! forms the run id `<family>_H<hidden>L<layers>…_<YYYYMMDD>_<HHMMSS>` from its own clock. A log is
//! tied to a run by that when exactly one run fits.

use jiff::SignedDuration;
use jiff::civil::DateTime;

use crate::model::ids::RunId;

/// A run may be stamped so much earlier than its log: clocks of a second's resolution.
const EARLIER: SignedDuration = SignedDuration::from_secs(5);
/// A run is stamped at most so much later: imports and the data set come first.
const LATER: SignedDuration = SignedDuration::from_mins(15);
/// What the names of logs begin with.
const PREFIX: &str = "shell_";

/// Returns the family and the time in a log's name, if it has both. What rotation appends does not
/// matter.
pub fn family_and_time(path: &str) -> Option<(String, DateTime)> {
    let name = path.rsplit('/').next()?;
    let stem = name.split('.').next()?;
    let stem = RunId::new(stem.strip_prefix(PREFIX)?);
    let (family, time) = stem.split_stamp()?;
    (!family.is_empty()).then(|| (family.to_owned(), time))
}

/// Returns the run that a log without a run's name belongs to, or why that cannot be said. `runs`
/// are all candidates.
///
/// # Errors
/// None of them fits, or several do.
pub fn run_by_name<'run>(
    path: &str,
    runs: impl IntoIterator<Item = &'run RunId>,
) -> Result<RunId, String> {
    let Some((family, time)) = family_and_time(path) else {
        return Err("it names no run, and its own name is not \
                    `shell_<family>_<YYYYMMDD>_<HHMMSS>`"
            .to_owned());
    };
    let fits = |run: &&RunId| {
        let Some((base, stamp)) = run.split_stamp() else { return false };
        let distance = stamp.duration_since(time);
        is_of_family(base, &family) && (-EARLIER..=LATER).contains(&distance)
    };
    let mut fitting: Vec<&RunId> = runs.into_iter().filter(fits).collect();
    fitting.sort();
    match fitting.as_slice() {
        [run] => Ok((*run).clone()),
        [] => Err(format!(
            "it names no run, and no run of the family `{family}` began within 15 minutes after it"
        )),
        [first, second, ..] => Err(format!(
            "it names no run, and {} fit by family and time, such as `{first}` and `{second}`",
            fitting.len()
        )),
    }
}

/// Whether a run id without its stamp is `<family>_H<hidden>…`, or the family alone. A longer
/// family begins with the shorter one, so the size must follow.
fn is_of_family(base: &str, family: &str) -> bool {
    base.strip_prefix(family).is_some_and(|rest| {
        let size = rest.strip_prefix("_H").map(str::as_bytes);
        rest.is_empty() || size.is_some_and(|size| size.first().is_some_and(u8::is_ascii_digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linked(path: &str, runs: &[&str]) -> Result<String, String> {
        let runs: Vec<RunId> = runs.iter().map(|run| RunId::new(*run)).collect();
        run_by_name(path, &runs).map(|run| run.to_string())
    }

    #[test]
    fn a_log_belongs_to_the_one_run_that_fits_by_family_and_time() {
        let run = "tsdae_posonly_H64L2C128_20261123_063802";
        for (path, runs, fits) in [
            ("Cache/logs/shell_tsdae_posonly_20261123_063745.log", vec![run], true),
            ("shell_tsdae_posonly_20261123_063745.log.1", vec![run], true),
            ("shell_tsdae_posonly_20261123_063807.log", vec![run], true),
            ("shell_tsdae_posonly_20261123_063808.log", vec![run], false),
            ("shell_tsdae_posonly_20261123_062302.log", vec![run], true),
            ("shell_tsdae_posonly_20261123_062301.log", vec![run], false),
            ("shell_tsdae_20261123_063745.log", vec![run], false),
            ("shell_tsdae_posonly_20261123_063745.log", vec![], false),
            (
                "shell_tsdae_posonly_20261123_063745.log",
                vec![run, "tsdae_posonly_H64L2C32_20261123_064000"],
                false,
            ),
            ("shell_x_20261123_063745.log", vec!["x_20261123_063802"], true),
            ("training_20261123_063745.log", vec!["training_20261123_063802"], false),
            ("shell_20261123_063745.log", vec![run], false),
            ("notes.txt", vec![run], false),
            ("", vec![run], false),
        ] {
            let found = linked(path, &runs);
            assert_eq!(found.is_ok(), fits, "{path} {runs:?}: {found:?}");
        }
    }

    #[test]
    fn families_that_begin_alike_are_told_apart() {
        let runs = [
            "perceiver_mlm_H64L2C128_20261123_063802",
            "perceiver_posonly_mlm_H64L2C128_20261123_063803",
        ];
        let log = "shell_perceiver_mlm_20261123_063745.log";
        assert_eq!(linked(log, &runs), Ok(runs[0].to_owned()));
        let log = "shell_perceiver_posonly_mlm_20261123_063745.log";
        assert_eq!(linked(log, &runs), Ok(runs[1].to_owned()));
    }

    #[test]
    fn the_reason_says_what_is_missing() {
        expect_test::expect![[r#"Err("it names no run, and no run of the family `x` began within 15 minutes after it")"#]]
            .assert_eq(&format!("{:?}", linked("shell_x_20261123_063745.log", &[])));
    }
}
