//! `probe`: the embedded analyzer, with the analysis program's own command line.

use std::path::PathBuf;

use crate::daemon::reading;
use crate::probe;

use super::output::{Outcome, Output};

/// Arguments of `probe`; those that only a real analysis needs are accepted and ignored, so that
/// one command line fits both.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It measures the concept embedding *weights*, not representations: on real runs their rank hardly
moves while the rank of the representations collapses. Its measurement is therefore called
embedding_weight_rank (nuclear norm / spectral norm of the weights), and no default gate reads it.
That ratio is never larger than RankMe's entropy-based rank, and often far smaller.

Example:
  runscribe probe --model_path Cache/Training/RUN/checkpoint-5000 --output_json probe.json")]
pub(super) struct Arguments {
    /// The checkpoint's folder
    #[arg(long = "model_path", value_name = "DIR")]
    model_path: PathBuf,
    /// Shown in the report
    #[arg(long = "model_type", value_name = "TYPE")]
    model_type: Option<String>,
    /// Where the JSON report goes
    #[arg(long = "output_json", value_name = "FILE")]
    output_json: Option<PathBuf>,
    /// Ignored: weights need no data
    #[arg(long = "num_batches", value_name = "N", hide_short_help = true)]
    num_batches: Option<u64>,
    /// Ignored: weights need no data
    #[arg(long = "batch_size", value_name = "N", hide_short_help = true)]
    batch_size: Option<u64>,
    /// Ignored: weights need no data
    #[arg(long = "dataset", value_name = "D", hide_short_help = true)]
    dataset: Option<String>,
    /// Ignored: weights need no data
    #[arg(long = "max_seq_length", value_name = "N", hide_short_help = true)]
    max_seq_length: Option<u64>,
}

pub(super) fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    let matrix = reading::concept_matrix(&arguments.model_path)?;
    let numbers = probe::measure(&matrix);
    let model_path = arguments.model_path.to_string_lossy();
    let model_type = arguments.model_type.as_deref().unwrap_or("unknown");
    let subject = probe::Subject { model_path: &model_path, model_type };
    output.text(&probe::text_report(subject, &numbers))?;
    if let Some(path) = &arguments.output_json {
        reading::write_report(path, &probe::json_report(subject, &numbers))?;
        output.line(&format!("\nResults saved to: {}", path.display()))?;
    }
    Ok(())
}
