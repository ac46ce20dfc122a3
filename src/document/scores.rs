//! Scores of evaluations as the cells of the experiment log.
//!
//! Shares are percentages with one decimal, correlations numbers with three. A score that is not of
//! the measure by which its task is compared says which one it is.

use crate::model::evaluation::{
    ACCURACY, EvaluationReport, F1, GateOverride, KnownEvaluation, MATTHEWS, PEARSON, SPEARMAN,
    Suite, task_order, task_title, usual_metric,
};
use crate::model::observation::{CellFill, EvaluationCells, RunColumn};

use super::escape::{self, CELL_LIMIT};
use super::table;

/// Returns the `Key GLUE Scores` cell of one report for each task:
/// `**MRPC:** 82.2% <br> **QQP:** 61.5%`; nothing if none of them has a score.
pub fn glue_fill(reports: &[&EvaluationReport]) -> Option<CellFill> {
    let value = cell(reports, |report, metric| {
        let is_usual = metric == usual_metric(&report.task);
        if is_usual { "" } else { short_name(metric) }
    });
    (!value.is_empty()).then_some(CellFill { column: RunColumn::GlueScores, value })
}

/// Returns the cells of a sweep's row of one report for each task.
pub fn evaluation_cells(reports: &[&EvaluationReport]) -> EvaluationCells {
    let with_one = in_order(reports).filter(|report| report.headline().is_some());
    let tasks: Vec<String> =
        with_one.map(|report| escape::escaped(&report.task, CELL_LIMIT)).collect();
    let scores =
        cell(reports, |_, metric| if metric == ACCURACY { "" } else { short_name(metric) });
    EvaluationCells {
        tasks: tasks.join(", "),
        scores,
        wandb: wandb(reports),
        conclusion: String::new(),
    }
}

/// Returns the `Eval Type` cell: what was evaluated, and as which type of model.
pub fn kind(report: &EvaluationReport) -> String {
    let what = family(report);
    match &report.model_type {
        Some(model_type) => format!("{what} {}", escape::code(model_type)),
        None => what,
    }
}

/// Returns the family of benchmarks that a report belongs to; a sweep stays inside of one.
pub fn family(report: &EvaluationReport) -> String {
    match (report.suite, report.task.as_str()) {
        (Suite::Glue, _) => "GLUE".to_owned(),
        (_, "sick_relatedness" | "sick_entailment") => "SICK".to_owned(),
        (_, task) => escape::escaped(&task_title(task), CELL_LIMIT),
    }
}

/// Returns the report's section about evaluations: every report with a score, and every time that the
/// gate was overridden; empty if there is neither.
pub(super) fn report_section(known: &[KnownEvaluation], overrides: &[GateOverride]) -> String {
    let row = |one: &KnownEvaluation| {
        let (metric, value) = one.report.headline()?;
        let model = one.model.as_ref().ok()?.checkpoint.to_string();
        let title = escape::escaped(&task_title(&one.report.task), CELL_LIMIT);
        Some(table::row([
            one.report.stamp.strftime("%Y-%m-%d %H:%M").to_string(),
            escape::code(&model),
            kind(&one.report),
            title,
            short_name(metric).to_owned(),
            score(metric, value),
            escape::code(&one.report.name),
        ]))
    };
    let rows: Vec<String> = known.iter().filter_map(row).collect();
    if rows.is_empty() && overrides.is_empty() {
        return String::new();
    }
    let mut section = String::from("## Evaluation\n\n");
    if !rows.is_empty() {
        section.push_str("| Date | Model | Evaluated as | Task | Measure | Score | Report |\n");
        section.push_str("|---|---|---|---|---|---|---|\n");
        section.push_str(&(rows.join("\n") + "\n"));
    }
    if !rows.is_empty() && !overrides.is_empty() {
        section.push('\n');
    }
    for one in overrides {
        let [action, verdict, reason] =
            [&one.action, &one.verdict, &one.reason].map(|text| escape::escaped(text, CELL_LIMIT));
        let time = one.time.table_form();
        let line = format!("- Gate overridden at {time} to {action} ({verdict}): {reason}\n");
        section.push_str(&line);
    }
    section
}

/// Prints a score: `82.2%`, `0.650`.
pub fn score(metric: &str, value: f64) -> String {
    if matches!(metric, F1 | ACCURACY) {
        format!("{:.1}%", value * 100.0)
    } else {
        format!("{value:.3}")
    }
}

/// Joins the scores in the project's order of tasks; `suffix` says what stands behind a task's name.
fn cell<'a>(
    reports: &[&'a EvaluationReport],
    suffix: impl Fn(&EvaluationReport, &'a str) -> &'a str,
) -> String {
    let scores = in_order(reports).filter_map(|report| {
        let (metric, value) = report.headline()?;
        let title = escape::escaped(&task_title(&report.task), CELL_LIMIT);
        let suffix = suffix(report, metric);
        let space = if suffix.is_empty() { "" } else { " " };
        Some(format!("**{title}{space}{suffix}:** {}", score(metric, value)))
    });
    scores.collect::<Vec<_>>().join(" <br> ")
}

fn in_order<'a>(reports: &[&'a EvaluationReport]) -> impl Iterator<Item = &'a EvaluationReport> {
    let mut reports: Vec<&EvaluationReport> = reports.to_vec();
    reports.sort_by_key(|report| (task_order(&report.task), report.task.clone()));
    reports.into_iter()
}

/// One link where all tasks share a page, else one for each of them.
fn wandb(reports: &[&EvaluationReport]) -> String {
    let with_page: Vec<(&EvaluationReport, &str)> = in_order(reports)
        .filter_map(|report| Some((report, report.wandb_url.as_deref()?)))
        .filter(|(_, url)| escape::is_web_address(url))
        .collect();
    let Some((_, first)) = with_page.first() else { return String::new() };
    if with_page.iter().all(|(_, url)| url == first) {
        return format!("[link]({first})");
    }
    let link = |(report, url): &(&EvaluationReport, &str)| {
        format!("[{}]({url})", escape::escaped(&task_title(&report.task), CELL_LIMIT))
    };
    with_page.iter().map(link).collect::<Vec<_>>().join(" <br> ")
}

fn short_name(metric: &str) -> &'static str {
    match metric {
        F1 => "F1",
        ACCURACY => "acc",
        PEARSON => "P",
        SPEARMAN => "S",
        MATTHEWS => "MCC",
        _ => "score",
    }
}
