//! The three forms in which findings are printed.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::Shown;
use crate::audit::finding::{Finding, Place, Severity};
use crate::cli::output::Output;
use crate::cli::terminal::clean;

/// A finding with its fingerprint.
pub(super) type Listed<'a> = (&'a Finding, String);

/// The version of the JSON form.
const VERSION: u32 = 1;

/// Prints findings grouped by document, then what could not be looked at, then how many there are.
pub(super) fn text(shown: &Shown<'_>, output: &mut Output) -> io::Result<()> {
    let mut group = "";
    for (finding, _) in shown.new {
        if finding.place.group() != group {
            let before = if group.is_empty() { "" } else { "\n" };
            group = finding.place.group();
            output.line(&format!("{before}{}", output.paint("1", &clean(group))))?;
        }
        let (color, word) = match finding.severity {
            Severity::Error => ("1;31", "error"),
            Severity::Warning => ("33", "warning"),
        };
        let place = match &finding.place {
            Place::File(_, Some(line)) => line.to_string(),
            Place::File(_, None) => "-".to_owned(),
            Place::Commit(name) | Place::Tag(name) => clean(name),
        };
        let word = output.paint(color, word);
        let (code, sentence) = (finding.code, clean(&finding.sentence));
        output.line(&format!("  {place:>5}  {code:<3}  {word}: {sentence}"))?;
        output.line(&format!("         -> {}", clean(&finding.command)))?;
    }
    if !shown.new.is_empty() {
        output.line("")?;
    }
    for note in &shown.audit.notes {
        output.line(&format!("note: {}", clean(note)))?;
    }
    output.line(&shown.summary())
}

/// Returns the findings as one object.
pub(super) fn json(shown: &Shown<'_>, root: &Path) -> Value {
    let findings: Vec<Value> = shown.new.iter().map(one).collect();
    json!({
        "version": VERSION,
        "root": root,
        "findings": findings,
        "known": shown.known,
        "mended": shown.mended,
        "notes": shown.audit.notes,
    })
}

fn one((finding, fingerprint): &Listed<'_>) -> Value {
    let (file, line, commit, tag) = match &finding.place {
        Place::File(path, line) => (Some(path), *line, None, None),
        Place::Commit(hash) => (None, None, Some(hash), None),
        Place::Tag(name) => (None, None, None, Some(name)),
    };
    json!({
        "code": finding.code,
        "severity": finding.severity,
        "file": file,
        "line": line,
        "commit": commit,
        "tag": tag,
        "sentence": finding.sentence,
        "command": finding.command,
        "fingerprint": fingerprint,
    })
}

/// Prints annotations of a workflow.
///
/// Source of the form: GitHub's documentation of workflow commands.
pub(super) fn github(shown: &Shown<'_>, output: &mut Output) -> io::Result<()> {
    for (finding, _) in shown.new {
        let mut properties = Vec::new();
        if let Place::File(path, line) = &finding.place {
            properties.push(format!("file={}", property(path)));
            properties.extend(line.map(|line| format!("line={line}")));
        }
        properties.push(format!("title={}", finding.code));
        let word = finding.severity.as_str();
        let command = &finding.command;
        let message = match &finding.place {
            Place::File(..) => format!("{} -> {command}", finding.sentence),
            place => format!("{place}: {} -> {command}", finding.sentence),
        };
        output.line(&format!("::{word} {}::{}", properties.join(","), data(&message)))?;
    }
    for note in &shown.audit.notes {
        output.line(&format!("::notice ::{}", data(note)))?;
    }
    output.line(&clean(&shown.summary()))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::audit::finding::{Audit, Code};

    fn finding(code: Code, place: Place) -> Finding {
        Finding {
            code,
            severity: Severity::Warning,
            place,
            subject: "x".to_owned(),
            sentence: "100% of `x`\nis wrong".to_owned(),
            command: "runscribe row x".to_owned(),
        }
    }

    #[test]
    fn the_json_form_is_what_other_programs_rely_on() {
        let findings = [
            finding(Code::T10, Place::line("docs/log.md", 7)),
            finding(Code::T8, Place::Commit("54ee870".to_owned())),
        ];
        let listed: Vec<Listed<'_>> = findings.iter().map(|one| (one, "0f".to_owned())).collect();
        let audit = Audit { findings: Vec::new(), notes: vec!["no git".to_owned()] };
        let shown = Shown { audit: &audit, new: &listed, known: 2, mended: 1 };
        let text = serde_json::to_string_pretty(&json(&shown, Path::new("/p"))).unwrap();
        expect![[r#"
            {
              "version": 1,
              "root": "/p",
              "findings": [
                {
                  "code": "T10",
                  "severity": "warning",
                  "file": "docs/log.md",
                  "line": 7,
                  "commit": null,
                  "tag": null,
                  "sentence": "100% of `x`\nis wrong",
                  "command": "runscribe row x",
                  "fingerprint": "0f"
                },
                {
                  "code": "T8",
                  "severity": "warning",
                  "file": null,
                  "line": null,
                  "commit": "54ee870",
                  "tag": null,
                  "sentence": "100% of `x`\nis wrong",
                  "command": "runscribe row x",
                  "fingerprint": "0f"
                }
              ],
              "known": 2,
              "mended": 1,
              "notes": [
                "no git"
              ]
            }"#]]
        .assert_eq(&text);
        assert_eq!(data(&findings[0].sentence), "100%25 of `x`%0Ais wrong");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
    }
}
