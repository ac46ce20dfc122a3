//! `check`: is code linked to tag, run, row, report and changelog, and back?

mod baseline;
mod forms;

use std::path::PathBuf;

use crate::audit::finding::{Audit, Severity, fingerprints};
use crate::daemon::{auditing, load_settings};
use crate::model::numbers::counted;

use super::output::{Ended, Outcome, Output};
use super::terminal::clean;
use super::{Common, exit};
use baseline::Baseline;
use forms::Listed;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Looks at experiment log, CHANGELOG, tasks, run reports, git history and tags, W&B folders of runs,
and registered scripts. Changes nothing, takes no lock of git, and needs no daemon.

  T1  a tag that is named and does not exist (with --remote: or is not pushed)
  T2  a train tag without row, a row without tag, an arch tag that the CHANGELOG does not name
  T3  a run without row, a row whose run was never seen
  T4  a link that leads nowhere, a report that nothing links to, a run that needs a report
  T5  model code without CHANGELOG entry, entries out of form or order, a wrong W&B link
  T6  a task done without date or commit, a commit that does not exist
  T7  a run whose W&B config lacks a key, with an unknown commit or a dirty checkout
  T8  commits with an unknown prefix, tags outside of the conventions
  T9  scripts that are missing, or launch what does not record git
  T10 empty result cells of a finished run

Examples:
  runscribe check
  runscribe check --baseline audit.json --write-baseline    accept what is there
  runscribe check --baseline audit.json                     fail on what is new
  runscribe check --format github --remote                  in a workflow of GitHub

Exit codes: 0 nothing is found, 3 something is, 1 the audit failed, 78 configuration error.")]
pub(super) struct Arguments {
    /// How findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// A file of findings that are known and not reported again
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write all findings of today into the baseline, and report none
    #[arg(long, requires = "baseline")]
    write_baseline: bool,
    /// Ask the remote whether tags are pushed
    #[arg(long)]
    remote: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people, grouped by document
    Text,
    /// One JSON object
    Json,
    /// Annotations of a workflow of GitHub
    Github,
}

pub(super) async fn run(common: &Common, arguments: &Arguments, output: &mut Output) -> Outcome {
    let settings = load_settings::load(&common.sources())?.settings;
    let audit = Box::pin(auditing::examine(&settings, arguments.remote)).await?;
    let fingerprints = fingerprints(&audit.findings);
    let all: Vec<Listed<'_>> = audit.findings.iter().zip(fingerprints).collect();
    if let Some(path) = arguments.baseline.as_deref().filter(|_| arguments.write_baseline) {
        Baseline::check_replaceable(path)?;
        let text = Baseline::of(&all).print()?;
        auditing::save(path, &text)?;
        let known = counted(all.len() as u64, "finding");
        output.line(&clean(&format!("{known} written to `{}`", path.display())))?;
        return Ok(());
    }
    let baseline = arguments.baseline.as_deref().map(Baseline::read).transpose()?;
    let known = |listed: &Listed<'_>| {
        baseline.as_ref().is_some_and(|baseline| baseline.contains(&listed.1))
    };
    let (old, new): (Vec<_>, Vec<_>) = all.into_iter().partition(known);
    let mended = baseline.as_ref().map_or(0, |baseline| baseline.len().saturating_sub(old.len()));
    let shown = Shown { audit: &audit, new: &new, known: old.len(), mended };
    match arguments.format {
        Format::Text => forms::text(&shown, output)?,
        Format::Json => output.json(&forms::json(&shown, &settings.paths.root))?,
        Format::Github => forms::github(&shown, output)?,
    }
    if new.is_empty() { Ok(()) } else { Err(Ended::Code(exit::FINDINGS)) }
}

/// What is printed.
struct Shown<'a> {
    audit: &'a Audit,
    new: &'a [Listed<'a>],
    /// How many findings the baseline holds back.
    known: usize,
    /// How many findings of the baseline are no more.
    mended: usize,
}

impl Shown<'_> {
    fn summary(&self) -> String {
        let of = |severity| {
            self.new.iter().filter(|(finding, _)| finding.severity == severity).count() as u64
        };
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
        let found = if self.new.is_empty() {
            "nothing found".to_owned()
        } else {
            format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"))
        };
        let known = match self.known {
            0 => String::new(),
            known => format!("; {} in the baseline", counted(known as u64, "known finding")),
        };
        let mended = match self.mended {
            0 => String::new(),
            mended => format!(
                "; {} of the baseline no more (`--write-baseline` drops what is mended)",
                counted(mended as u64, "finding")
            ),
        };
        format!("{found}{known}{mended}")
    }
}
