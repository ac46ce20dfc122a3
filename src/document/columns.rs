//! What the columns of the project's tables are called, and which of its cells are empty.

use crate::model::observation::{HeaderMeaning, HeaderNames, RunColumn};

use super::escape;

/// The columns of the table under `## Training Runs`, in the project's order.
pub(super) const RUN_TABLE: [&str; 14] = [
    "Date",
    "Run ID / Model Type",
    "Architecture",
    "Pretraining Data",
    "Machine",
    "Epochs",
    "Concept Losses",
    "Task Loss",
    "Eff. Rank",
    "Key GLUE Scores",
    "Speed (Steps/s)",
    "WandB Link",
    "Git Tag",
    "Conclusion / Takeaway",
];

/// What stands in a cell of which nothing is known.
pub(super) const EMPTY: &str = "--";

/// What a header cell says, as comparable names, one per alternative: lower case, letters and
/// digits only, without what stands in parentheses. `Run ID / Model Type` has two.
pub(super) fn names(header: &str) -> Vec<String> {
    without_parentheses(header)
        .split(['/', '\n'])
        .map(normalized)
        .filter(|name| !name.is_empty())
        .collect()
}

/// Returns whether a column holds run ids.
pub(super) fn is_run_id(header: &str, own: &HeaderNames) -> bool {
    match meaning(header, own) {
        Some(meaning) => meaning == HeaderMeaning::RunId,
        None => is_usual_run_id(header),
    }
}

/// Returns which fillable column a header cell names: by the project's own names first. A header
/// that names two different ones is none: one cell cannot hold both.
pub(super) fn run_column(header: &str, own: &HeaderNames) -> Option<RunColumn> {
    match meaning(header, own) {
        Some(HeaderMeaning::Column(column)) => Some(column),
        Some(HeaderMeaning::RunId) => None,
        None => usual_run_column(header),
    }
}

/// What the project says of a header: of its whole text, in any letter case.
fn meaning(header: &str, own: &HeaderNames) -> Option<HeaderMeaning> {
    let whole = normalized(header);
    own.iter().find(|(text, _)| normalized(text) == whole).map(|(_, meaning)| *meaning)
}

fn is_usual_run_id(header: &str) -> bool {
    names(header).iter().any(|name| matches!(name.as_str(), "run id" | "run" | "runid"))
}

fn usual_run_column(header: &str) -> Option<RunColumn> {
    if is_usual_run_id(header) {
        return None;
    }
    let mut columns: Vec<RunColumn> =
        names(header).iter().filter_map(|name| column(name)).collect();
    columns.dedup();
    match columns.as_slice() {
        [column] => Some(*column),
        _ => None,
    }
}

/// Returns whether a cell is empty in the project's sense, so that a known fact may be filled in.
pub(super) fn is_empty(cell: &[u8]) -> bool {
    // Emphasis and entities make the longest form of these words a short one still.
    if cell.len() > 64 {
        return cell.trim_ascii().is_empty();
    }
    let text = escape::reading(cell);
    matches!(text.as_str(), "" | "-" | "--" | "—" | "?")
        || text.eq_ignore_ascii_case("tbd")
        || text.eq_ignore_ascii_case("pending")
}

fn column(name: &str) -> Option<RunColumn> {
    match name {
        "date" => Some(RunColumn::Date),
        "architecture" | "arch" => Some(RunColumn::Architecture),
        "machine" | "host" => Some(RunColumn::Machine),
        "task loss" => Some(RunColumn::TaskLoss),
        "eff rank" | "effective rank" => Some(RunColumn::EffectiveRank),
        "key glue scores" | "glue scores" | "glue" => Some(RunColumn::GlueScores),
        "speed" => Some(RunColumn::Speed),
        "wandb link" | "wandb" | "w&b link" | "w&b" => Some(RunColumn::WandbLink),
        "git tag" => Some(RunColumn::GitTag),
        "conclusion" | "takeaway" => Some(RunColumn::Conclusion),
        _ => None,
    }
}

fn without_parentheses(header: &str) -> String {
    let mut depth = 0_usize;
    let mut kept = String::new();
    for character in header.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(character),
            _ => {}
        }
    }
    kept
}

fn normalized(name: &str) -> String {
    let spaced: String = name
        .chars()
        .map(
            |character| {
                if character.is_alphanumeric() || character == '&' { character } else { ' ' }
            },
        )
        .collect();
    spaced.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_of_the_project_is_recognized_as_what_it_is() {
        let found: Vec<_> = RUN_TABLE.iter().map(|header| usual_run_column(header)).collect();
        assert_eq!(
            found,
            [
                Some(RunColumn::Date),
                None,
                Some(RunColumn::Architecture),
                None,
                Some(RunColumn::Machine),
                None,
                None,
                Some(RunColumn::TaskLoss),
                Some(RunColumn::EffectiveRank),
                Some(RunColumn::GlueScores),
                Some(RunColumn::Speed),
                Some(RunColumn::WandbLink),
                Some(RunColumn::GitTag),
                Some(RunColumn::Conclusion),
            ]
        );
        assert!(is_usual_run_id("Run ID / Model Type"));
    }

    #[test]
    fn headers_are_recognized_in_other_spellings() {
        let check =
            |header: &str, expected| assert_eq!(usual_run_column(header), expected, "{header}");
        check("EFFECTIVE RANK", Some(RunColumn::EffectiveRank));
        check("eff rank (of 128)", Some(RunColumn::EffectiveRank));
        check("W&B", Some(RunColumn::WandbLink));
        check("Takeaway\nConclusion", Some(RunColumn::Conclusion));
        check("Speed", Some(RunColumn::Speed));
        check("Task Loss / Eff. Rank", None);
        check("Loss", None);
        check("", None);
        for header in ["run-id", "Run_ID", "Run", "Model Type / Run ID", "Run ID (W&B)"] {
            assert!(is_usual_run_id(header), "{header}");
            check(header, None);
        }
        for header in ["Runs", "Run IDs and more", "Prune ID"] {
            assert!(!is_usual_run_id(header), "{header}");
        }
    }

    #[test]
    fn the_project_s_own_header_texts_come_first() {
        let own = HeaderNames::from([
            ("Val. Loss (dev)".to_owned(), HeaderMeaning::Column(RunColumn::TaskLoss)),
            ("experiment".to_owned(), HeaderMeaning::RunId),
            ("Run".to_owned(), HeaderMeaning::Column(RunColumn::Conclusion)),
        ]);
        let check = |header, expected| assert_eq!(run_column(header, &own), expected, "{header}");
        check("VAL LOSS (Dev)", Some(RunColumn::TaskLoss));
        check("Val. Loss", None);
        check("Run", Some(RunColumn::Conclusion));
        check("Experiment", None);
        check("Eff. Rank", Some(RunColumn::EffectiveRank));
        assert!(is_run_id("Experiment", &own) && is_run_id("Run ID", &own));
        assert!(!is_run_id("Run", &own));
    }

    #[test]
    fn empty_cells_are_the_agreed_ones_only() {
        for cell in [
            "",
            "   ",
            "-",
            "--",
            "—",
            "?",
            "TBD",
            "tbd",
            "pending",
            "**TBD**",
            "*--*",
            "_?_",
            "__Pending__",
            "***—***",
            "`--`",
            "&nbsp;",
            "<br>",
        ] {
            assert!(is_empty(cell.as_bytes()), "{cell}");
        }
        for cell in [
            "PENDING: LR 3e-4 cosine, batch 512",
            "n/a",
            "0",
            "---",
            "TBD?",
            "x",
            "~~--~~",
            "no",
            "<!-- later -->",
        ] {
            assert!(!is_empty(cell.as_bytes()), "{cell}");
        }
        assert!(is_empty(" ".repeat(5_000).as_bytes()));
    }
}
