//! The demo's project: a configuration, an experiment log, empty folders.

use std::io;
use std::path::{Path, PathBuf};

use crate::daemon::now;
use crate::model::ids::RunId;

/// Where the demo's log stands: the contract's default place.
const LOG: &str = "docs/2_Experiments_Registry/master_experiment_log.md";

const CONFIGURATION: &str = "\
# The demo's configuration. A real project needs none: its own analysis script measures the
# representations. Here the embedded probe measures the concept embedding weights, so the gate
# names that measurement. There is no training to be careful of, so it runs like anything else.

[analysis]
nice = 0

[watch]
reconcile = \"5s\"
settle = \"500ms\"

[[gates]]
name = \"effective-rank\"
measurement = \"embedding_weight_rank\"
min = 10.0
reference = 128
severity = \"fail\"
";

const EXPERIMENT_LOG: &str = "\
# Master Experiment Log

Every training run of this project, newest last. People edit this file, and runscribe fills in
what it can measure.

## Training Runs

| Date | Run ID / Model Type | Architecture | Pretraining Data | Machine | Epochs | Concept Losses | Task Loss | Eff. Rank | Key GLUE Scores | Speed (Steps/s) | WandB Link | Git Tag | Conclusion / Takeaway |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
| 2026-02-07 | `perceiver_mlm_H512L6C128_20260207_205017` | H512 L6 C128 | Minipile | Odin | 20 | none | 2.540 | **12.4 / 128** (9.7%) | **MRPC:** 81.3% | 3.1 | -- | -- | The baseline of all later runs. |
";

/// The demo's project on disk.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) root: PathBuf,
    /// The run that the simulated trainer will make.
    pub(super) run: RunId,
    /// The experiment log as it was before.
    pub(super) log_before: String,
}

impl Project {
    /// Makes the project in an empty folder.
    pub(super) fn make(root: &Path) -> io::Result<Self> {
        for folder in ["Cache/Training", "Cache/logs", "Cache/runscribe"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        let log = root.join(LOG);
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&log, EXPERIMENT_LOG)?;
        std::fs::write(root.join("runscribe.toml"), CONFIGURATION)?;
        let stamp = now().local().strftime("%Y%m%d_%H%M%S").to_string();
        let run = RunId::new(format!("diffusion_H128L2C128D2_{stamp}"));
        Ok(Self { root: root.to_owned(), run, log_before: EXPERIMENT_LOG.to_owned() })
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join(LOG)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.root.join("Cache/runscribe/status.sock")
    }

    pub(super) fn daemon_log(&self) -> PathBuf {
        self.root.join("Cache/runscribe/daemon.log")
    }
}
