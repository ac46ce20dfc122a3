//! The simulated trainer: a process of its own that saves checkpoints in the real order and layout
//! and writes a shell log. Source of the order: traces of real saves and rotations.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::now;
use crate::model::ids::RunId;
use crate::probe::synthetic::{SyntheticTensor, collapsing_matrix, safetensors_bytes};

use super::super::output::Outcome;

/// Concepts C and hidden size H of the simulated model.
const CONCEPTS: usize = 128;
const HIDDEN: usize = 128;
const VOCABULARY: usize = 512;
/// Steps between checkpoints, and between lines of metrics.
const SAVE_STEPS: u32 = 500;
const LOG_STEPS: u32 = 100;
/// The rank of each checkpoint's concept matrix: a collapse, as it happens without a loss that
/// keeps the concepts apart.
const RANKS: [f64; 6] = [58.0, 41.0, 27.5, 18.2, 12.6, 7.4];
/// Steps of the whole training.
const TOTAL_STEPS: u32 = 6 * SAVE_STEPS;
/// Checkpoints that are kept; older ones are rotated away, as `save_total_limit` does.
const KEPT: usize = 4;
/// Time for one simulated step's share between two lines of metrics.
const FRAME: Duration = Duration::from_millis(45);

/// Arguments of the hidden command.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    run: String,
}

pub(crate) fn run(root: Option<&Path>, arguments: &Arguments) -> Outcome {
    let root = root.ok_or_else(|| anyhow::anyhow!("--root is missing"))?;
    let run = RunId::new(arguments.run.clone());
    let mut training = Training::begin(root, run)?;
    for (index, rank) in RANKS.iter().enumerate() {
        training.train(index)?;
        let step = step_of(index);
        training.save(step, *rank)?;
        training.rotate(index)?;
    }
    Ok(training.finish()?)
}

/// Returns the step of the checkpoint with this index.
fn step_of(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(1) * SAVE_STEPS
}

struct Training {
    folder: PathBuf,
    run: RunId,
    log: File,
    history: Vec<Value>,
}

impl Training {
    fn begin(root: &Path, run: RunId) -> io::Result<Self> {
        let logs = root.join("Cache/logs");
        let folder = root.join("Cache/Training").join(run.as_str());
        fs::create_dir_all(&folder)?;
        fs::create_dir_all(logs.join(run.as_str()))?;
        let (now, pid) = (now(), std::process::id());
        let seconds = now.timestamp().as_second();
        let events = format!("events.out.tfevents.{seconds}.demo-host.{pid}.0");
        fs::write(logs.join(run.as_str()).join(events), b"")?;
        let stamp = now.local().strftime("%Y%m%d_%H%M%S").to_string();
        let mut log = File::create(logs.join(format!("shell_diffusion_{stamp}.log")))?;
        writeln!(log, "wandb: Tracking run with wandb version 0.31.0")?;
        writeln!(
            log,
            "wandb: Run data is saved locally in {}/wandb/offline-run-{stamp}-{run}",
            root.display()
        )?;
        Ok(Self { folder, run, log, history: Vec::new() })
    }

    /// Writes progress frames and metrics until the next checkpoint is due.
    fn train(&mut self, index: usize) -> io::Result<()> {
        let total = TOTAL_STEPS;
        let before = step_of(index) - SAVE_STEPS;
        for line in 1..=SAVE_STEPS / LOG_STEPS {
            let step = before + line * LOG_STEPS;
            for frame in (step - LOG_STEPS..step).step_by(25) {
                self.frame(frame, total)?;
                pause();
            }
            let loss = 2.0 + 6.5 / (1.0 + f64::from(step) / 400.0);
            let grad_norm = 1.2 + 1.0 / (1.0 + f64::from(step) / 900.0);
            let learning_rate = 3e-4 * (1.0 - f64::from(step) / (f64::from(total) + 1.0));
            let epoch = f64::from(step) / f64::from(total);
            write!(self.log, "\r{:46}\r", "")?;
            writeln!(
                self.log,
                "{{'loss': {loss:.4}, 'grad_norm': {grad_norm:.6}, \
                 'learning_rate': {learning_rate:.3e}, 'epoch': {epoch:.2}}}"
            )?;
            self.history.push(json!({
                "epoch": epoch, "grad_norm": grad_norm, "learning_rate": learning_rate,
                "loss": loss, "step": step,
            }));
        }
        self.evaluate(before + SAVE_STEPS, total)
    }

    fn evaluate(&mut self, step: u32, total: u32) -> io::Result<()> {
        let eval_loss = 2.1 + 6.2 / (1.0 + f64::from(step) / 400.0);
        let epoch = f64::from(step) / f64::from(total);
        self.frame(step, total)?;
        write!(self.log, "\n\r  0%|          | 0/5 [00:00<?, ?it/s]\x1b[A\r{:46}\r", "")?;
        writeln!(
            self.log,
            "\x1b[A{{'eval_loss': {eval_loss:.6}, 'eval_runtime': 0.1851, 'epoch': {epoch:.2}}}"
        )?;
        self.history.push(json!({"epoch": epoch, "eval_loss": eval_loss, "step": step}));
        Ok(())
    }

    fn frame(&mut self, step: u32, total: u32) -> io::Result<()> {
        let percent = step * 100 / total;
        let filled = usize::try_from(percent / 10).unwrap_or(10);
        let bar = format!("{}{}", "█".repeat(filled), " ".repeat(10 - filled));
        let (done, left) = (step / 120, (total - step) / 120);
        write!(
            self.log,
            "\r{percent:3}%|{bar}| {step}/{total} [00:{done:02}<00:{left:02}, 119.55it/s]"
        )
    }

    /// Saves a checkpoint in the trainer's order: config, weights, the rest, trainer state last.
    fn save(&mut self, step: u32, rank: f64) -> io::Result<()> {
        let folder = self.folder.join(format!("checkpoint-{step}"));
        fs::create_dir(&folder)?;
        write_model(&folder, rank)?;
        fs::write(folder.join("training_args.bin"), vec![0x80; 512])?;
        fs::write(folder.join("optimizer.pt"), vec![0x80; 64 << 10])?;
        fs::write(folder.join("scheduler.pt"), vec![0x80; 1465])?;
        fs::write(folder.join("rng_state.pth"), vec![0x80; 14_455])?;
        let state = json!({
            "best_metric": null, "epoch": 1.0, "global_step": step,
            "log_history": self.history, "max_steps": TOTAL_STEPS,
            "save_steps": SAVE_STEPS, "logging_steps": LOG_STEPS,
        });
        fs::write(folder.join("trainer_state.json"), format!("{state:#}\n"))
    }

    /// Deletes the oldest checkpoint in the trainer's order: its state and config go last.
    fn rotate(&self, index: usize) -> io::Result<()> {
        let Some(oldest) = (index + 1).checked_sub(KEPT).filter(|oldest| *oldest > 0) else {
            return Ok(());
        };
        let step = step_of(oldest - 1);
        let folder = self.folder.join(format!("checkpoint-{step}"));
        for name in [
            "training_args.bin",
            "tokenizer_config.json",
            "rng_state.pth",
            "scheduler.pt",
            "optimizer.pt",
            "model.safetensors",
            "trainer_state.json",
            "config.json",
        ] {
            fs::remove_file(folder.join(name))?;
        }
        fs::remove_dir(folder)
    }

    /// Saves the final model: the last checkpoint's weights, then the tokenizer once more.
    fn finish(mut self) -> io::Result<()> {
        let folder = self.folder.join(self.run.as_str());
        fs::create_dir(&folder)?;
        write_model(&folder, RANKS.last().copied().unwrap_or(1.0))?;
        fs::write(folder.join("training_args.bin"), vec![0x80; 512])?;
        write_tokenizer(&folder)?;
        writeln!(self.log, "{{'train_runtime': 9.31, 'train_loss': 3.92, 'epoch': 1.0}}")?;
        writeln!(self.log, "Training completed successfully!")
    }
}

/// Paces the trainer: a simulated step takes time.
#[expect(clippy::disallowed_methods, reason = "the simulated trainer is slow on purpose")]
fn pause() {
    std::thread::sleep(FRAME);
}

fn write_model(folder: &Path, rank: f64) -> io::Result<()> {
    let config = json!({
        "architectures": ["ConceptEncoderForMaskedDiffusion"], "concept_num": CONCEPTS,
        "hidden_size": HIDDEN, "max_sequence_length": 512, "model_type": "concept_encoder",
        "num_hidden_layers": 2, "vocab_size": VOCABULARY,
    });
    fs::write(folder.join("config.json"), format!("{config:#}\n"))?;
    let tensor = |name: &str, rows: usize, values: Vec<f32>| SyntheticTensor {
        name: name.to_owned(),
        shape: vec![rows as u64, HIDDEN as u64],
        values,
    };
    let concepts = collapsing_matrix(CONCEPTS, HIDDEN, rank, 7);
    let tokens = collapsing_matrix(VOCABULARY, HIDDEN, 60.0, 11);
    let bytes = safetensors_bytes(&[
        tensor("encoder.concept_embeddings.weight", CONCEPTS, concepts),
        tensor("encoder.token_embeddings.weight", VOCABULARY, tokens),
    ])
    .map_err(io::Error::other)?;
    // The trainer writes under a temporary name of full size first, then renames.
    let temporary = folder.join(".tmpD3m0Xy");
    fs::write(&temporary, bytes)?;
    fs::rename(temporary, folder.join("model.safetensors"))?;
    write_tokenizer(folder)
}

fn write_tokenizer(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("tokenizer_config.json"), "{\"model_max_length\": 512}\n")
}
