//! The text form of a report, as it was captured:
//!
//! ```text
//! =================================================================
//! CONCEPT SPACE GEOMETRY REPORT
//! =================================================================
//! Model           : /home/user/project/Cache/Training/…/checkpoint-20
//! Concepts (C)    : 128
//!
//! ─── Collapse Detection ─────────────────────────────────────
//!   Global effective rank (raw)              13.1880   ✗ POOR
//!   …
//! =================================================================
//! ```
//!
//! A value is the first word after its label; grades and remarks behind it are the script's own
//! opinion and are not read. Lines that are not known are skipped.

use std::collections::BTreeMap;

use crate::model::measurement::{
    EMBEDDING_WEIGHT_RANK, GLOBAL_EFFECTIVE_RANK, MAX_CONCEPT_SIMILARITY, MEAN_CONCEPT_SIMILARITY,
    Report, ReportSource,
};

const HEADING: &[u8] = b"CONCEPT SPACE GEOMETRY REPORT";

/// The printed labels, and the names that the JSON form has for the same numbers.
///
/// Two lines have no counterpart there: what is labeled "Collapsed dimensions" is the share of
/// *active* ones, and the dominance ratio is σ₁ / Σσ, not a share of the variance.
const LABELS: [(&str, &str); 20] = [
    ("Global effective rank (raw)", GLOBAL_EFFECTIVE_RANK),
    ("Global effective rank (normalized 0-1)", "global_effective_rank_normalized"),
    ("Embedding weight rank (raw)", EMBEDDING_WEIGHT_RANK),
    ("Embedding weight rank (normalized 0-1)", "embedding_weight_rank_normalized"),
    ("RankMe (entropy-based rank)", "rankme"),
    ("Participation ratio (raw)", "participation_ratio"),
    ("Participation ratio (normalized)", "participation_ratio_normalized"),
    ("Dimensions needed for 95% variance", "dimensions_for_95_variance"),
    ("Collapsed dimensions (ratio)", "active_dimensions_ratio"),
    ("Isotropy (min/max eigenvalue ratio)", "isotropy"),
    ("Mean pairwise concept similarity", MEAN_CONCEPT_SIMILARITY),
    ("Max pairwise concept similarity", MAX_CONCEPT_SIMILARITY),
    ("Uniformity loss (lower = more spread)", "uniformity_loss"),
    ("Mean dimension std", "mean_dimension_std"),
    ("Min dimension std", "min_dimension_std"),
    ("Mean concept L2 norm", "mean_concept_norm"),
    ("Std concept L2 norm", "std_concept_norm"),
    ("Min concept L2 norm", "min_concept_norm"),
    ("Max concept L2 norm", "max_concept_norm"),
    ("Top-1 dominance ratio", "top1_dominance_ratio"),
];

/// A report in text form, with the precision that its numbers were printed with.
#[derive(Debug, Clone, PartialEq)]
pub struct TextReport {
    /// What it says.
    pub report: Report,
    half_units: BTreeMap<String, f64>,
}

impl TextReport {
    /// Returns half a unit in the last printed place of a measurement: how far the printed number
    /// may be from the true one. 0 for a measurement that was not printed.
    pub fn rounding(&self, measurement: &str) -> f64 {
        self.half_units.get(measurement).copied().unwrap_or(0.0)
    }
}

/// Reads the last report in arbitrary output, as [`super::from_text`] does, and keeps the precision
/// of its numbers.
pub fn text_report(bytes: &[u8]) -> Result<TextReport, String> {
    let body = after_last_heading(bytes).ok_or("no concept space geometry report in the text")?;
    let body = String::from_utf8_lossy(body);
    let mut lines = body.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    let incomplete = |what: &str| Err(format!("the text report is incomplete: {what}"));
    let Some(rule) = lines.next().filter(|line| is_rule(line)) else {
        return incomplete("no rule under its heading");
    };
    let mut reader = Reader {
        text: TextReport { report: super::empty(ReportSource::Text), half_units: BTreeMap::new() },
        expects_singular_values: false,
    };
    let mut closed = false;
    for line in lines {
        closed = line == rule;
        if closed {
            break;
        }
        reader.read(line);
    }
    if !closed {
        return incomplete("no rule at its end");
    }
    let mut text = reader.text;
    if super::RANKS.iter().all(|rank| !text.report.measurements.contains_key(*rank)) {
        return incomplete("no `Global effective rank (raw)` line");
    }
    for (label, missing) in [
        ("Model", text.report.model_path.is_none()),
        ("Batches analysed", text.report.batches.is_none()),
    ] {
        if missing {
            text.report.problems.push(format!("no usable `{label}` line in the text report"));
        }
    }
    Ok(text)
}

/// Returns what follows the last line that is the heading and nothing else.
fn after_last_heading(bytes: &[u8]) -> Option<&[u8]> {
    memchr::memmem::rfind_iter(bytes, HEADING).find_map(|at| {
        let (before, rest) = bytes.split_at_checked(at)?;
        let after = rest.get(HEADING.len()..)?;
        let line_before = before.rsplit(|byte| is_line_end(*byte)).next()?;
        let line_after = after.split(|byte| is_line_end(*byte)).next()?;
        let alone = line_before.trim_ascii().is_empty() && line_after.trim_ascii().is_empty();
        alone.then_some(after)
    })
}

fn is_line_end(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

fn is_rule(line: &str) -> bool {
    line.len() >= 10 && line.bytes().all(|byte| byte == b'=')
}

struct Reader {
    text: TextReport,
    /// The heading of the singular values was the last line: they stand on the next one.
    expects_singular_values: bool,
}

impl Reader {
    fn read(&mut self, line: &str) {
        let expects_singular_values = self.expects_singular_values;
        self.expects_singular_values = line.contains("Top-5 Singular Values");
        if expects_singular_values && self.read_singular_values(line) {
            return;
        }
        for (label, name) in LABELS {
            if let Some(rest) = after_label(line, label) {
                self.read_measurement(name, rest);
                return;
            }
        }
        if let Some((key, value)) = line.split_once(':') {
            self.read_description(key.trim(), value.trim());
        }
    }

    /// Reads a list such as `43.667, 21.691`; returns whether the line is one.
    fn read_singular_values(&mut self, line: &str) -> bool {
        let words = line.split(',').map(str::trim);
        let values: Option<Vec<_>> = words.map(Printed::parse).collect();
        let Some(values) = values else { return false };
        for (rank, value) in (1..=5).zip(values) {
            self.add(super::singular_value_name(rank), &value);
        }
        true
    }

    fn read_measurement(&mut self, name: &str, rest: &str) {
        let word = rest.split_whitespace().next().unwrap_or_default();
        if self.text.report.measurements.contains_key(name) {
            let problem = format!("`{name}` stands twice in the text report");
            self.text.report.problems.push(problem);
        } else if let Some(value) = Printed::parse(word) {
            self.add(name.to_owned(), &value);
        } else {
            self.text.report.problems.push(format!("`{name}` cannot be read from the text report"));
            self.text.report.measurements.insert(name.to_owned(), None);
        }
    }

    fn read_description(&mut self, key: &str, value: &str) {
        let report = &mut self.text.report;
        match key {
            "Model" => report.model_path = Some(value.to_owned()),
            "Model type" => report.model_type = Some(value.to_owned()),
            "Concepts (C)" => report.concepts = value.parse().ok(),
            "Hidden dim (H)" => report.hidden = value.parse().ok(),
            "Batches analysed" | "Batches analyzed" => report.batches = value.parse().ok(),
            _ => {}
        }
    }

    fn add(&mut self, name: String, printed: &Printed) {
        self.text.half_units.insert(name.clone(), printed.half_unit);
        super::add_number(&mut self.text.report, name, printed.value);
    }
}

/// Returns what follows a label, without the colon that some labels have.
fn after_label<'line>(line: &'line str, label: &str) -> Option<&'line str> {
    let rest = line.strip_prefix(label)?;
    let value = rest.trim_start().trim_start_matches(':');
    // A longer word that only begins with the label is another label.
    (value.len() < rest.len()).then_some(value)
}

/// A number as it was printed.
struct Printed {
    value: f64,
    /// Half a unit in its last printed place.
    half_unit: f64,
}

impl Printed {
    /// Parses a number in Python's notation; `nan`, `inf` and `-inf` included.
    fn parse(word: &str) -> Option<Self> {
        let value = word.parse::<f64>().ok()?;
        let (digits, exponent) = word.split_once(['e', 'E']).unwrap_or((word, "0"));
        let places = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let last_place = exponent.parse().unwrap_or(0_i32) - i32::try_from(places).ok()?;
        Some(Self { value, half_unit: 0.5 * 10_f64.powi(last_place) })
    }
}
