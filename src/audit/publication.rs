//! Whether a model may be published: what each condition says, and what to do where one is not met.

use crate::model::ids::RunId;
use crate::model::measurement::Verdict;

/// What is known of a run that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The verdict on its final model, if there is one.
    pub verdict: Option<Verdict>,
    /// That verdict and why, in one line.
    pub verdict_text: String,
    /// Tasks that the final model has a score of.
    pub scored_tasks: Vec<String>,
    /// Its run report, as seen from the root.
    pub report: Option<String>,
    /// The tag of its training.
    pub tag: Option<String>,
    /// Whether the remote has that tag: the remote's name, or why that is not known.
    pub pushed: Result<Pushed, String>,
}

/// Whether a remote has a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The remote.
    pub remote: String,
    /// Whether it has the tag.
    pub has_tag: bool,
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Whether it is met.
    pub is_met: bool,
    /// What is there, or what is missing.
    pub text: String,
    /// The command that helps, if one does.
    pub command: Option<String>,
}

/// Returns all conditions, in the order in which they are met.
pub fn conditions(run: &RunId, facts: &Facts) -> Vec<Condition> {
    vec![verdict(facts), scores(run, facts), report(run, facts), tag(facts)]
}

fn met(text: String) -> Condition {
    Condition { is_met: true, text, command: None }
}

fn missing(text: String, command: Option<String>) -> Condition {
    Condition { is_met: false, text, command }
}

fn verdict(facts: &Facts) -> Condition {
    let text = format!("verdict of the final model: {}", facts.verdict_text);
    if facts.verdict == Some(Verdict::Pass) { met(text) } else { missing(text, None) }
}

fn scores(run: &RunId, facts: &Facts) -> Condition {
    if facts.scored_tasks.is_empty() {
        let text = "no evaluation report of the final model has a score".to_owned();
        return missing(text, Some(format!("runscribe evaluate {run}")));
    }
    met(format!("evaluation scores: {}", facts.scored_tasks.join(", ")))
}

fn report(run: &RunId, facts: &Facts) -> Condition {
    match &facts.report {
        Some(report) => met(format!("run report: {report}")),
        None => {
            missing("there is no run report".to_owned(), Some(format!("runscribe report {run}")))
        }
    }
}

fn tag(facts: &Facts) -> Condition {
    let Some(tag) = &facts.tag else {
        let text = "no git tag of this training is known; `runscribe begin` makes one before it";
        return missing(text.to_owned(), None);
    };
    match &facts.pushed {
        Ok(Pushed { remote, has_tag: true }) => met(format!("git tag: {tag}, also at {remote}")),
        Ok(Pushed { remote, has_tag: false }) => missing(
            format!("git tag {tag} is not at {remote}"),
            Some(format!("git push {remote} refs/tags/{tag}")),
        ),
        Err(why) => missing(format!("whether git tag {tag} is pushed is not known: {why}"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            verdict: Some(Verdict::Pass),
            verdict_text: "pass: all gates passed".to_owned(),
            scored_tasks: vec!["mrpc".to_owned(), "qqp".to_owned()],
            report: Some("docs/run_reports/x_report.md".to_owned()),
            tag: Some("train/x_20260223".to_owned()),
            pushed: Ok(Pushed { remote: "origin".to_owned(), has_tag: true }),
        }
    }

    fn unmet(change: impl FnOnce(&mut Facts)) -> Vec<(String, Option<String>)> {
        let mut changed = facts();
        change(&mut changed);
        let all = conditions(&RunId::new("x_20260223_203349"), &changed);
        assert_eq!(all.len(), 4);
        let unmet = all.into_iter().filter(|one| !one.is_met);
        unmet.map(|one| (one.text, one.command)).collect()
    }

    #[test]
    fn a_run_with_all_that_is_asked_for_lacks_nothing() {
        assert_eq!(unmet(|_| ()), []);
    }

    #[test]
    fn only_a_final_model_that_passed_is_good_enough() {
        for verdict in [None, Some(Verdict::Warn), Some(Verdict::Fail), Some(Verdict::Unknown)] {
            assert_eq!(unmet(|facts| facts.verdict = verdict).len(), 1, "{verdict:?}");
        }
    }

    #[test]
    fn what_is_missing_is_said_with_the_command_that_makes_it() {
        let one =
            |text: &str, command: Option<&str>| vec![(text.to_owned(), command.map(str::to_owned))];
        assert_eq!(
            unmet(|facts| facts.scored_tasks.clear()),
            one(
                "no evaluation report of the final model has a score",
                Some("runscribe evaluate x_20260223_203349")
            )
        );
        assert_eq!(
            unmet(|facts| facts.report = None),
            one("there is no run report", Some("runscribe report x_20260223_203349"))
        );
        assert_eq!(
            unmet(|facts| {
                facts.pushed = Ok(Pushed { remote: "origin".to_owned(), has_tag: false });
            }),
            one(
                "git tag train/x_20260223 is not at origin",
                Some("git push origin refs/tags/train/x_20260223")
            )
        );
        assert_eq!(
            unmet(|facts| facts.pushed = Err("no route to host".to_owned())),
            one("whether git tag train/x_20260223 is pushed is not known: no route to host", None)
        );
        assert_eq!(unmet(|facts| facts.tag = None).len(), 1);
    }
}
