//! The probe's report in the analysis program's own forms: text for people, JSON for programs.
//!
//! Source of the forms: captured output of the watched project's `run_concept_analysis.py`, whose
//! JSON is Python's `json.dump(indent=2)` with bare `NaN`. What was measured on weights says so: the
//! rank has labels and keys of its own, and there are no grades, which were meant for
//! representations.

use serde_json::Value;

use super::spectrum::ProbeNumbers;

const RULE: &str = "=================================================================";
const SECTION_WIDTH: usize = 60;
const LABEL_WIDTH: usize = 39;

/// What was measured, as the reports name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The checkpoint as it was given on the command line.
    pub model_path: &'a str,
    /// The model type as it was given on the command line, or the architecture.
    pub model_type: &'a str,
}

/// Returns the report as text, with a newline at its end.
pub fn text_report(subject: Subject<'_>, numbers: &ProbeNumbers) -> String {
    let mut text = header(subject, numbers);
    section(&mut text, "Collapse Detection");
    row(&mut text, "Embedding weight rank (raw)", numbers.rank, 4);
    row(&mut text, "Embedding weight rank (normalized 0-1)", numbers.rank_normalized, 3);
    row(&mut text, "RankMe (entropy-based rank)", numbers.rankme, 4);
    row(&mut text, "Participation ratio (raw)", numbers.participation_ratio, 4);
    row(&mut text, "Participation ratio (normalized)", numbers.participation_ratio_normalized, 3);
    section(&mut text, "Concept Diversity");
    row(&mut text, "Mean pairwise concept similarity", numbers.mean_similarity, 4);
    row(&mut text, "Max pairwise concept similarity", numbers.max_similarity, 4);
    section(&mut text, "Concept Norms");
    let norms = [
        ("Mean concept L2 norm", numbers.mean_norm),
        ("Std concept L2 norm", numbers.std_norm),
        ("Min concept L2 norm", numbers.min_norm),
        ("Max concept L2 norm", numbers.max_norm),
    ];
    for (label, norm) in norms {
        line(&mut text, &format!("  {label:<20} : {}", fixed(norm, 4)));
    }
    section(&mut text, "Top-5 Singular Values (concept embedding weights)");
    let top: Vec<String> =
        numbers.top_singular_values.iter().map(|value| fixed(*value, 3)).collect();
    line(&mut text, &format!("  {}", top.join(", ")));
    line(&mut text, RULE);
    text
}

/// Returns the report as JSON: two spaces of indentation, no newline at the end, and the bare
/// tokens `NaN` and `Infinity` where a number has no value, as Python writes and reads them. C and H
/// are in the text only, as in the analysis program's reports.
pub fn json_report(subject: Subject<'_>, numbers: &ProbeNumbers) -> String {
    let mut fields = vec![
        ("model_path", Value::from(subject.model_path).to_string()),
        ("model_type", Value::from(subject.model_type).to_string()),
        ("n_batches", "1".to_owned()),
        ("n_samples", "0".to_owned()),
        ("measured_on", Value::from("concept_embedding_weights").to_string()),
    ];
    fields.extend(numbers.named().map(|(name, value)| (name, json_number(value))));
    fields.push(("top5_singular_values", json_array(&numbers.top_singular_values)));
    let lines: Vec<String> =
        fields.iter().map(|(name, value)| format!("  \"{name}\": {value}")).collect();
    format!("{{\n{}\n}}", lines.join(",\n"))
}

fn header(subject: Subject<'_>, numbers: &ProbeNumbers) -> String {
    let mut text = String::new();
    for heading in ["", RULE, "CONCEPT SPACE GEOMETRY REPORT", RULE] {
        line(&mut text, heading);
    }
    let facts = [
        ("Model", one_line(subject.model_path)),
        ("Model type", one_line(subject.model_type)),
        ("Concepts (C)", numbers.concepts.to_string()),
        ("Hidden dim (H)", numbers.hidden.to_string()),
        ("Batches analysed", "1".to_owned()),
        ("Measured on", "concept embedding weights, not representations".to_owned()),
    ];
    for (label, value) in facts {
        line(&mut text, &format!("{label:<16}: {value}"));
    }
    text
}

/// Replaces control characters, so that a path with a newline cannot forge a line of the report.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

fn section(text: &mut String, title: &str) {
    let fill = SECTION_WIDTH.saturating_sub(title.chars().count() + 5);
    line(text, &format!("\n─── {title} {}", "─".repeat(fill)));
}

fn row(text: &mut String, label: &str, value: f64, decimals: usize) {
    line(text, &format!("  {label:<LABEL_WIDTH$}  {}", fixed(value, decimals)));
}

/// Prints like Python's `f"{value:.{decimals}f}"`, except that numbers of hundreds of digits get an
/// exponent.
fn fixed(value: f64, decimals: usize) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf" } else { "-inf" }.to_owned()
    } else if value.abs() < 1e15 {
        format!("{value:.decimals$}")
    } else {
        format!("{value:.decimals$e}")
    }
}

fn json_number(value: f64) -> String {
    match serde_json::Number::from_f64(value) {
        Some(number) => number.to_string(),
        None if value.is_nan() => "NaN".to_owned(),
        None if value > 0.0 => "Infinity".to_owned(),
        None => "-Infinity".to_owned(),
    }
}

fn json_array(values: &[f64]) -> String {
    if values.is_empty() {
        return "[]".to_owned();
    }
    let lines: Vec<String> =
        values.iter().map(|value| format!("    {}", json_number(*value))).collect();
    format!("[\n{}\n  ]", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::matrix::ConceptMatrix;
    use super::super::spectrum::measure;
    use super::*;

    const SUBJECT: Subject<'_> =
        Subject { model_path: "Cache/Training/x/checkpoint-20", model_type: "diffusion_mlm" };

    fn numbers(shape: [u64; 2], values: &[f32]) -> Option<ProbeNumbers> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Some(measure(&ConceptMatrix::decode("F32", &shape, &bytes).ok()?))
    }

    #[test]
    fn text_has_the_form_of_the_analysis() {
        let numbers = numbers([3, 2], &[3.0, 4.0, -4.0, 3.0, 0.0, 2.5]).unwrap();
        expect![[r"

            =================================================================
            CONCEPT SPACE GEOMETRY REPORT
            =================================================================
            Model           : Cache/Training/x/checkpoint-20
            Model type      : diffusion_mlm
            Concepts (C)    : 3
            Hidden dim (H)  : 2
            Batches analysed: 1
            Measured on     : concept embedding weights, not representations

            ─── Collapse Detection ─────────────────────────────────────
              Embedding weight rank (raw)              1.8944
              Embedding weight rank (normalized 0-1)   0.947
              RankMe (entropy-based rank)              1.9969
              Participation ratio (raw)                1.9756
              Participation ratio (normalized)         0.988

            ─── Concept Diversity ──────────────────────────────────────
              Mean pairwise concept similarity         0.4667
              Max pairwise concept similarity          0.8000

            ─── Concept Norms ──────────────────────────────────────────
              Mean concept L2 norm : 4.1667
              Std concept L2 norm  : 1.1785
              Min concept L2 norm  : 2.5000
              Max concept L2 norm  : 5.0000

            ─── Top-5 Singular Values (concept embedding weights) ──────
              5.590, 5.000
            =================================================================
        "]]
        .assert_eq(&text_report(SUBJECT, &numbers));
    }

    #[test]
    fn json_has_the_form_of_the_analysis() {
        let numbers = numbers([3, 2], &[3.0, 4.0, -4.0, 3.0, 0.0, 0.0]).unwrap();
        let json = json_report(SUBJECT, &numbers);
        let parsed: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["n_batches"], 1);
        assert_eq!(parsed["measured_on"], "concept_embedding_weights");
        assert_eq!(parsed["embedding_weight_rank"].as_f64().map(f64::round), Some(2.0));
        assert!(parsed.get("global_effective_rank").is_none());
        assert_eq!(parsed["top5_singular_values"].as_array().map(Vec::len), Some(2));
        // Python's `json.dump(…, indent=2)` and serde's pretty form are the same.
        assert_eq!(json, serde_json::to_string_pretty(&parsed).unwrap());
    }

    #[test]
    fn numbers_without_a_value_are_bare_tokens() {
        let numbers = numbers([2, 2], &[1.0, f32::NAN, 0.0, 1.0]).unwrap();
        let json = json_report(SUBJECT, &numbers);
        assert!(json.contains("\n  \"embedding_weight_rank\": NaN,\n"), "{json}");
        assert!(json.ends_with("\n  \"top5_singular_values\": []\n}"), "{json}");
        let text = text_report(SUBJECT, &numbers);
        assert!(text.contains("Embedding weight rank (raw)              nan\n"), "{text}");
    }

    #[test]
    fn a_path_cannot_forge_a_line_or_break_the_json() {
        let subject = Subject { model_path: "x\nConcepts (C)    : 8\"", model_type: "\u{1b}[2J" };
        let numbers = numbers([1, 1], &[2.0]).unwrap();
        let text = text_report(subject, &numbers);
        assert_eq!(text.matches("\nConcepts (C)").count(), 1, "{text}");
        assert!(!text.contains('\u{1b}'));
        let json = json_report(subject, &numbers).replace("NaN", "null");
        let parsed: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["model_path"], subject.model_path);
    }

    #[test]
    fn numbers_print_as_python_prints_them() {
        let cases = [
            (0.0, "0.000"),
            (13.1881, "13.188"),
            (2e-300, "0.000"),
            (1e300, "1.000e300"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(fixed(value, 3), expected);
        }
    }
}
