//! Plots over optimizer steps as SVG text, readable on light and on dark pages.
//!
//! Text and axes take a gray with enough contrast on both, lighter where the reader prefers a dark
//! page: the page's own theme need not be that of the system, so neither may lean on the other.

mod scale;

use std::fmt::Write as _;

use super::escape::{self, CELL_LIMIT};
use scale::Scale;

/// How every plot begins; a file that begins otherwise was not made here.
pub const BEGINNING: &str =
    "<svg xmlns=\"http://www.w3.org/2000/svg\" data-generator=\"runscribe\"";

const WIDTH: f64 = 720.0;
const PANEL_HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 28.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 34.0;
/// Points of a line that are drawn; more would fall on the same pixels.
const POINTS: usize = 1_200;

const STYLE: &str = "\
svg { color: #6e7781; font: 12px system-ui, -apple-system, 'DejaVu Sans', sans-serif; }
text { fill: currentColor; }
.axis { stroke: currentColor; stroke-opacity: 0.6; }
.grid { stroke: currentColor; stroke-opacity: 0.2; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.rank { stroke: #2f81f7; } .dot.rank { fill: #2f81f7; } text.rank { fill: #2f81f7; stroke: none; }
.loss { stroke: #8b949e; } text.loss { fill: #8b949e; stroke: none; } .dot.loss { fill: #8b949e; }
.eval { stroke: #bf8700; } .dot.eval { fill: #bf8700; } text.eval { fill: #bf8700; stroke: none; }
.dot { stroke: none; } .failed { fill: #e5534b !important; }
.limit { stroke: #e5534b; stroke-dasharray: 6 4; } text.limit { fill: #e5534b; stroke: none; }
@media (prefers-color-scheme: dark) { svg { color: #9198a1; } }
";

/// Panels one below the other, over the same steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot {
    /// What it shows, for those who hear it read.
    pub title: String,
    /// The panels from top to bottom.
    pub panels: Vec<Panel>,
}

/// Lines over one axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What the axis measures.
    pub label: String,
    /// The lines.
    pub lines: Vec<Line>,
    /// A horizontal line with its text.
    pub limit: Option<(f64, String)>,
    /// Whether the axis begins at zero.
    pub from_zero: bool,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it is called in the legend.
    pub name: String,
    /// How it looks.
    pub look: Look,
    /// Its points by step.
    pub points: Vec<Point>,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A rank: every point is a measurement of its own.
    Rank,
    /// A training loss: too many points for dots.
    Loss,
    /// An evaluation loss.
    Evaluation,
}

impl Look {
    fn class(self) -> &'static str {
        match self {
            Self::Rank => "rank",
            Self::Loss => "loss",
            Self::Evaluation => "eval",
        }
    }
}

/// One point of a line; one that is not finite breaks the line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The optimizer step.
    pub step: u64,
    /// The value.
    pub value: f64,
    /// Whether a new line begins here, because the one before is not comparable.
    pub begins: bool,
    /// Whether it failed a gate.
    pub failed: bool,
}

/// Draws a plot as a whole SVG file.
pub fn svg(plot: &Plot) -> String {
    let height = 12.0 + plot.panels.iter().map(|_| PANEL_HEIGHT).sum::<f64>();
    let title = xml(&plot.title);
    let mut svg = format!(
        "{BEGINNING} viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n"
    );
    let steps = Scale::of_steps(plot.panels.iter().flat_map(steps_of), (LEFT, WIDTH - RIGHT));
    let mut top = 0.0;
    for panel in &plot.panels {
        add(&mut svg, &drawn(panel, &steps, top));
        top += PANEL_HEIGHT;
    }
    svg.push_str("</svg>\n");
    svg
}

fn steps_of(panel: &Panel) -> impl Iterator<Item = u64> + '_ {
    panel.lines.iter().flat_map(|line| line.points.iter().map(|point| point.step))
}

fn drawn(panel: &Panel, steps: &Scale, top: f64) -> String {
    let (upper, lower) = (top + TOP, top + PANEL_HEIGHT - BOTTOM);
    let values = panel.lines.iter().flat_map(|line| line.points.iter().map(|point| point.value));
    let limit = panel.limit.as_ref().map(|(limit, _)| *limit);
    let values = Scale::of_values(values.chain(limit), panel.from_zero, (lower, upper));
    let mut group = String::from("<g>\n");
    for (value, text) in values.ticks() {
        let y = values.at(value);
        add(&mut group, &line("grid", (LEFT, y), (WIDTH - RIGHT, y)));
        add(&mut group, &label("end", (LEFT - 8.0, y + 4.0), "", &text));
    }
    for (step, text) in steps.ticks() {
        let x = steps.at(step);
        add(&mut group, &line("axis", (x, lower), (x, lower + 4.0)));
        add(&mut group, &label("middle", (x, lower + 18.0), "", &text));
    }
    add(&mut group, &line("axis", (LEFT, lower), (WIDTH - RIGHT, lower)));
    add(&mut group, &label("start", (LEFT, top + 24.0), "", &panel.label));
    add(&mut group, &legend(panel, top + 24.0));
    if let Some((limit, text)) = &panel.limit {
        let y = values.at(*limit);
        add(&mut group, &line("limit", (LEFT, y), (WIDTH - RIGHT, y)));
        add(&mut group, &label("start", (LEFT + 8.0, y - 5.0), "limit", text));
    }
    for one in &panel.lines {
        add(&mut group, &polyline(one, steps, &values));
    }
    group.push_str("</g>");
    group
}

/// Names the lines of a panel at its right; one line alone is named by the axis.
fn legend(panel: &Panel, y: f64) -> String {
    let mut legend = String::new();
    let mut x = WIDTH - RIGHT;
    let shown = panel.lines.iter().filter(|line| !line.points.is_empty());
    for one in shown.rev().filter(|_| panel.lines.len() > 1) {
        add(&mut legend, &label("end", (x, y), one.look.class(), &one.name));
        #[expect(clippy::cast_precision_loss, reason = "the length of a short name")]
        let width = 8.0 * one.name.chars().count() as f64;
        x -= width + 16.0;
    }
    legend
}

fn polyline(one: &Line, steps: &Scale, values: &Scale) -> String {
    let points = thinned(&one.points);
    let class = one.look.class();
    let place = |point: &Point| {
        #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^52")]
        let x = steps.at(point.step as f64);
        (x, values.at(point.value))
    };
    let mut drawn = String::new();
    let mut path = String::new();
    let mut is_joined = false;
    for point in &points {
        if !point.value.is_finite() {
            is_joined = false;
            continue;
        }
        let (x, y) = place(point);
        if !is_joined || point.begins {
            add(&mut path, &format!("M{x:.1} {y:.1}"));
        }
        // Also to the place itself: a point alone is a dot then.
        add(&mut path, &format!("L{x:.1} {y:.1}"));
        is_joined = true;
    }
    if !path.is_empty() {
        add(&mut drawn, &format!("<path class=\"line {class}\" d=\"{}\"/>", path.trim_end()));
    }
    let has_dots = one.look != Look::Loss || points.len() == 1;
    for point in points.iter().filter(|point| has_dots && point.value.is_finite()) {
        let (x, y) = place(point);
        let failed = if point.failed { " failed" } else { "" };
        let dot = format!(
            "<circle class=\"dot {class}{failed}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"
        );
        add(&mut drawn, &dot);
    }
    drawn
}

/// Leaves the smallest and the largest of neighbors when there are too many points.
fn thinned(points: &[Point]) -> Vec<Point> {
    if points.len() <= POINTS {
        return points.to_vec();
    }
    let bucket = (2 * points.len()).div_ceil(POINTS);
    let extremes = |bucket: &[Point]| {
        let by_value = |left: &&Point, right: &&Point| left.value.total_cmp(&right.value);
        let low = bucket.iter().min_by(by_value).copied();
        let high = bucket.iter().max_by(by_value).copied();
        let mut both: Vec<Point> = low.into_iter().chain(high).collect();
        both.sort_by_key(|point| point.step);
        both.dedup();
        both
    };
    points.chunks(bucket).flat_map(extremes).collect()
}

fn line(class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>")
}

fn label(anchor: &str, (x, y): (f64, f64), class: &str, text: &str) -> String {
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<text{class} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", xml(text))
}

/// Makes text from outside harmless inside an element.
fn xml(text: &str) -> String {
    escape::readable(text, CELL_LIMIT)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn add(text: &mut String, line: &str) {
    // Writing into a string cannot fail.
    if !line.is_empty() && writeln!(text, "{}", line.trim_end()).is_err() {
        text.clear();
    }
}
