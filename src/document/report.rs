//! The run report: everything that is recorded of a run, as Markdown with a plot beside it.

use crate::model::checkpoint::LossEntry;
use crate::model::evaluation::{GateOverride, KnownEvaluation};
use crate::model::ids::{CheckpointName, RunId};
use crate::model::journal::RunFacts;
use crate::model::measurement::{GLOBAL_EFFECTIVE_RANK, RankReading, Verdict};
use crate::model::observation::Observation;

use super::cells;
use super::escape::{self, CELL_LIMIT};
use super::note::{
    self, UNKNOWN, add, address, code_or_unknown, concept_health, file_part, item, text_or_unknown,
    training, trajectory,
};
use super::plot::{Line, Look, Panel, Plot, Point};
use super::scores;

/// How the last line of a report begins, which tells whether a person has changed it.
const SEAL: &str = "<!-- runscribe report ";

/// Everything that a report tells. Texts are plain and become escaped.
#[derive(Debug, Clone)]
pub struct ReportFacts<'a> {
    /// The run.
    pub run: &'a RunId,
    /// All its observations in the order of their times.
    pub observations: &'a [Observation],
    /// What its own files say, the machine as the log spells it.
    pub files: &'a RunFacts,
    /// The losses that its trainer logged.
    pub losses: &'a [LossEntry],
    /// Its failure notes: kind, and path as seen from the report's folder.
    pub notes: &'a [(String, String)],
    /// What its evaluations said, and where its gate was overridden for them; both oldest first.
    pub evaluations: (&'a [KnownEvaluation], &'a [GateOverride]),
    /// The file name of the plot, in the report's folder.
    pub plot: &'a str,
    /// Where all of it comes from: one line each.
    pub evidence: &'a [String],
}

/// Returns a report's file name, `<run id>_report.md`, safe for any file system.
pub fn report_file(run: &RunId) -> String {
    let safe = file_part(run.as_str(), 200);
    let is_exact = safe == run.as_str();
    let mark = if is_exact { String::new() } else { format!("-{}", escape::digest(run.as_str())) };
    format!("{safe}{mark}_report.md")
}

/// Writes the whole report.
pub fn run_report(facts: &ReportFacts<'_>) -> String {
    let newest = facts.observations.last();
    let caption = format!("Rank and loss of {} over steps", facts.run);
    let picture = format!(
        "## Rank and loss over steps\n\n![{}]({})\n",
        escape::escaped(&caption, CELL_LIMIT),
        escape::link_target(facts.plot)
    );
    let sections = [
        head(facts),
        summary(facts),
        picture,
        trajectory(facts.observations),
        newest.map_or_else(String::new, concept_health),
        training(newest.and_then(|observation| observation.training.as_ref())),
        scores::report_section(facts.evaluations.0, facts.evaluations.1),
        evidence(facts.evidence),
        "## Interpretation\n\n—\n".to_owned(),
    ];
    let text = sections.into_iter().filter(|section| !section.is_empty());
    sealed(&text.collect::<Vec<_>>().join("\n"))
}

fn sealed(text: &str) -> String {
    format!("{text}\n{SEAL}{} -->\n", escape::digest(text))
}

/// Returns whether a text is a report as it was written: nobody's words are in it.
pub fn is_untouched(text: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(text) else { return false };
    let Some((before, _)) = text.rsplit_once(&format!("\n{SEAL}")) else { return false };
    sealed(before) == text
}

fn head(facts: &ReportFacts<'_>) -> String {
    let run = escape::code(facts.run.as_str());
    let newest = facts.observations.last();
    let architecture = newest.and_then(|observation| cells::architecture(&observation.config));
    let wandb = facts.files.wandb_url.as_deref();
    let lines = [
        ("Date", newest.map_or_else(|| UNKNOWN.into(), |newest| newest.time.table_form())),
        ("Machine", text_or_unknown(facts.files.machine.as_deref())),
        ("Run ID", run.clone()),
        ("Architecture", text_or_unknown(architecture.as_deref())),
        ("WandB", wandb.map_or_else(|| UNKNOWN.into(), address)),
        ("Raw shell log", code_or_unknown(facts.files.shell_log.as_deref())),
        ("Git commit", code_or_unknown(facts.files.git_commit.as_deref())),
        ("Git tag", code_or_unknown(facts.files.git_tag.as_deref())),
    ];
    let mut head = format!("# Report of {run}\n\n");
    for (name, value) in lines {
        // Two spaces at its end make a line of its own.
        add(&mut head, &format!("**{name}:** {value}  "));
    }
    head
}

fn summary(facts: &ReportFacts<'_>) -> String {
    let mut section = String::from("## Summary\n\n");
    let Some(newest) = facts.observations.last() else {
        add(&mut section, "- No checkpoint of this run has been analyzed.");
        return section;
    };
    let failed = facts.observations.iter().filter(|observation| is_failed(observation)).count();
    let count = facts.observations.len();
    add(&mut section, &format!("- Observations: {count}, {failed} of them below a gate."));
    let place = cells::place(newest.checkpoint.name);
    let rank = cells::rank(newest).map_or(String::new(), |rank| format!(", rank {rank}"));
    let verdict = cells::verdict(newest);
    add(&mut section, &format!("- Newest verdict: {verdict} at {place}{rank}."));
    let measured = readings(facts.observations);
    let name = cells::rank_name(measurement(facts.observations));
    for (what, extreme) in
        [("Highest", highest(&measured, 1.0)), ("Lowest", highest(&measured, -1.0))]
    {
        if let Some((observation, reading)) = extreme {
            let threshold = reading.gate.as_ref().map(|gate| gate.threshold);
            let value = cells::on_its_side(reading.value, threshold);
            let place = cells::place(observation.checkpoint.name);
            add(&mut section, &format!("- {what} {name}: {value} at {place}."));
        }
    }
    for (kind, file) in facts.notes {
        let (kind, target) = (escape::escaped(kind, CELL_LIMIT), escape::link_target(file));
        add(&mut section, &format!("- Failure note: [{kind}]({target})."));
    }
    section
}

fn is_failed(observation: &Observation) -> bool {
    observation.judgment().is_some_and(|judgment| judgment.verdict == Verdict::Fail)
}

fn evidence(lines: &[String]) -> String {
    let mut section = String::from("## Evidence\n\n");
    for line in lines {
        add(&mut section, &format!("- {}", item(line, note::EVIDENCE_LIMIT)));
    }
    if lines.is_empty() {
        add(&mut section, UNKNOWN);
    }
    section
}

/// Returns the rank measurement that the run's newest reading has: only it is compared with itself.
fn measurement(observations: &[Observation]) -> &str {
    let names = observations.iter().rev().filter_map(|one| one.judgment()?.rank.as_ref());
    names.map(|reading| reading.measurement.as_str()).next().unwrap_or(GLOBAL_EFFECTIVE_RANK)
}

fn readings(observations: &[Observation]) -> Vec<(&Observation, &RankReading)> {
    let wanted = measurement(observations);
    let reading = |one: &'_ Observation| -> bool {
        let rank = one.judgment().and_then(|judgment| judgment.rank.as_ref());
        rank.is_some_and(|rank| rank.measurement == wanted && rank.value.is_finite())
    };
    let of_rank = observations.iter().filter(|one| reading(one));
    of_rank.filter_map(|one| Some((one, one.judgment()?.rank.as_ref()?))).collect()
}

/// Returns the first of the largest values, or of the smallest with a negative sign.
fn highest<'a>(
    measured: &[(&'a Observation, &'a RankReading)],
    sign: f64,
) -> Option<(&'a Observation, &'a RankReading)> {
    let by_value = |left: &&(&Observation, &RankReading), right: &&(&Observation, &RankReading)| {
        (left.1.value * sign).total_cmp(&(right.1.value * sign))
    };
    measured.iter().rev().max_by(by_value).copied()
}

/// Returns the plot of a report: rank with its gate above, losses below, over the same steps.
pub fn plot(facts: &ReportFacts<'_>) -> Plot {
    let measured = readings(facts.observations);
    let name = cells::rank_name(measurement(facts.observations));
    let concepts = measured.iter().rev().find_map(|(_, reading)| reading.concepts);
    let of = concepts.map_or(String::new(), |concepts| format!(" of {concepts}"));
    let gate = measured.iter().rev().find_map(|(_, reading)| {
        let gate = reading.gate.as_ref()?;
        let form = cells::gate_form(gate, cells::dimensions(reading));
        Some((gate.threshold, format!("gate {form}")))
    });
    let rank = Line { name: name.clone(), look: Look::Rank, points: rank_points(&measured) };
    let (loss, eval_loss) = losses(facts);
    let lines = vec![
        Line { name: "training".to_owned(), look: Look::Loss, points: loss },
        Line { name: "evaluation".to_owned(), look: Look::Evaluation, points: eval_loss },
    ];
    let label = format!("{name}{of}");
    let ranks = Panel { label, lines: vec![rank], limit: gate, from_zero: true };
    let label = "loss, over optimizer steps".to_owned();
    let losses = Panel { label, lines, limit: None, from_zero: false };
    let title = format!("Rank and loss of {} over optimizer steps", facts.run);
    Plot { title, panels: vec![ranks, losses] }
}

fn rank_points(measured: &[(&Observation, &RankReading)]) -> Vec<Point> {
    let mut ordered: Vec<_> = measured
        .iter()
        // The same weights are the same measurement.
        .filter(|(observation, _)| observation.same_as.is_none())
        .filter_map(|(observation, reading)| Some((step_of(observation)?, *observation, *reading)))
        .collect();
    ordered.sort_by_key(|(step, observation, _)| (*step, observation.time));
    let mut protocol = None;
    let point = |(step, observation, reading): (u64, &Observation, &RankReading)| {
        let begins = protocol
            .replace(observation.protocol.clone())
            .is_some_and(|before| before != observation.protocol);
        Point { step, value: reading.value, begins, failed: is_failed(observation) }
    };
    ordered.into_iter().map(point).collect()
}

fn step_of(observation: &Observation) -> Option<u64> {
    match observation.checkpoint.name {
        CheckpointName::Step(step) => Some(step),
        CheckpointName::Final => observation.training.as_ref().map(|training| training.step),
    }
}

/// The losses that the trainer logged, else those that stand at the observed checkpoints.
fn losses(facts: &ReportFacts<'_>) -> (Vec<Point>, Vec<Point>) {
    let point = |step, value| Point { step, value, begins: false, failed: false };
    let at_checkpoints = || {
        facts.observations.iter().filter_map(|one| one.training.as_ref()).flat_map(|training| {
            let loss = |step, loss, eval_loss| LossEntry { step, loss, eval_loss };
            let trained = training.loss_step.map(|step| loss(step, training.loss, None));
            let evaluated = training.eval_step.map(|step| loss(step, None, training.eval_loss));
            trained.into_iter().chain(evaluated)
        })
    };
    let mut entries = facts.losses.to_vec();
    if entries.is_empty() {
        entries.extend(at_checkpoints());
    }
    entries.sort_by_key(|entry| entry.step);
    entries.dedup();
    let of = |value: fn(&LossEntry) -> Option<f64>| {
        entries.iter().filter_map(|one| Some(point(one.step, value(one)?))).collect()
    };
    (of(|entry| entry.loss), of(|entry| entry.eval_loss))
}
