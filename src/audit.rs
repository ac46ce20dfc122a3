//! Pure. The discipline of experiment tracking: what its documents and scripts say, how tags and
//! commits are named, what an edit of the documents looks like, and what a publication asks for.
//!
//! [`reading::read`] reads the documents once, [`reading::Reading::questions`] says what must be
//! looked up for them, and [`audit()`] holds them against the [`facts`]: where code, tag, run, row,
//! report and changelog are not linked. What cannot be known is said once and never assumed.

mod paths;
mod rules;
mod troubles;
mod words;

pub mod begin;
pub mod changelog;
pub mod conventions;
pub mod facts;
pub mod finding;
pub mod new_entry;
pub mod publication;
pub mod reading;
pub mod scripts;
pub mod todo_done;
pub mod todos;

use facts::Facts;
use finding::{Audit, Code, Finding, Place};
use reading::Reading;

/// A name that a document mentions, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The number of the line.
    pub line: usize,
    /// The name.
    pub name: String,
}

/// Applies all rules; the findings are sorted by document and line.
pub fn audit(reading: &Reading, facts: &Facts) -> Audit {
    let mut audit = Audit::default();
    for unknown in &facts.unknown {
        audit.note(unknown.clone());
    }
    for rule in rules::ALL {
        rule(reading, facts, &mut audit);
    }
    audit.findings.sort_by(|left, right| order(left).cmp(&order(right)));
    audit
}

fn order(finding: &Finding) -> (&Place, Code, &str) {
    (&finding.place, finding.code, &finding.subject)
}
