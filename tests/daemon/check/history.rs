//! A project with two hundred runs, each with its folder, W&B files, row, tag and report, and with a
//! changelog and tasks that fit.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};

use crate::support::Project;

pub(crate) const RUNS: usize = 200;
pub(crate) const LOG: &str = "docs/2_Experiments_Registry/master_experiment_log.md";
const FEATURES: usize = 20;

pub(crate) const ENTRY: &str = "import wandb\nfrom training.git_info import get_git_info\n\n\
    def main():\n    \
    wandb.init(project=\"MrCogito\", config={\"lr\": 1, **{f\"git_{k}\": v for k, v in get_git_info().items()}})\n    \
    trainer.train()\n\nif __name__ == \"__main__\":\n    main()\n";
pub(crate) const ENTRY_WITHOUT_GIT: &str = "import wandb\n\n\
    def main():\n    wandb.init(project=\"MrCogito\", config={\"lr\": 1})\n    trainer.train()\n\n\
    if __name__ == \"__main__\":\n    main()\n";
const GIT_INFO: &str = "def get_git_info():\n    \
    return {\"commit\": \"x\", \"tag\": \"x\", \"branch\": \"x\", \"dirty\": False}\n";

/// The project.
pub(crate) struct History {
    pub(crate) project: Project,
    /// The commit that all runs were trained from.
    pub(crate) commit: String,
}

/// Returns the id of a run.
pub(crate) fn run(number: usize) -> String {
    format!("diffusion_H{}L2C128D2_20260301_120000", 512 + number)
}

/// Returns the tag of a run.
pub(crate) fn day_tag(number: usize) -> String {
    format!("train/diffusion_H{}L2C128D2_20260301", 512 + number)
}

/// Returns the path of a run's report.
pub(crate) fn report(number: usize) -> String {
    format!("docs/2_Experiments_Registry/run_reports/{}_report.md", run(number))
}

impl History {
    pub(crate) fn new() -> Self {
        let project = Project::new();
        project.append_configuration(
            "[[training_scripts]]\npath = \"scripts/train.sh\"\nplatform = \"linux\"\nmodel = \"D\"\n\
             [[evaluation_scripts]]\npath = \"scripts/evaluate.sh\"\nplatform = \"linux\"\n\
             benchmarks = [\"mrpc\"]\n",
        );
        let mut history = Self { project, commit: String::new() };
        history.git(&["init", "-q", "-b", "main"]);
        history.write(".gitignore", "Cache/\nwandb/\nfake/\n");
        history.write("scripts/train.sh", "#!/bin/bash\npython training/train.py --lr 1\n");
        history.write("scripts/evaluate.sh", "#!/bin/bash\npython evaluation/evaluate.py\n");
        history.write("training/train.py", ENTRY);
        history.write("training/git_info.py", GIT_INFO);
        history.write("nn/model.py", "x = 1\n");
        history.commit = history.commit_all("arch: the model");
        history.write_log();
        history.write_changelog();
        history.write_todos();
        for number in 0..RUNS {
            let name = run(number);
            history.save_run(&name, &history.config(&name));
            let back =
                "# Report\n\nBack to [the log](../master_experiment_log.md#training-runs).\n";
            history.write(&report(number), &format!("{back}Commit `{}`.\n", history.commit));
        }
        history.commit_all("docs(log): all of it");
        history.make_tags();
        history
    }

    fn write_log(&self) {
        let mut log =
            "# Master Experiment Log\n\n## Training Runs\n\n| Date | Run ID / Model Type | \
            Architecture | Pretraining Data | Machine | Epochs | Concept Losses | Task Loss | Eff. \
            Rank | Key GLUE Scores | Speed (Steps/s) | WandB Link | Git Tag | Conclusion / \
            Takeaway |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
                .to_owned();
        for number in 0..RUNS {
            let (run, tag) = (run(number), day_tag(number));
            writeln!(
                log,
                "| 2026-03-01 | `{run}` | H512 L2 | minipile | Polonez | 5 | vicreg | 1.{number:02} | \
                 **20.1 / 128** | **MRPC:** 80.{number}% | 0.5 | \
                 [W&B](https://wandb.ai/e/MrCogito/runs/{run}) | `{tag}` | Good. \
                 [Report](run_reports/{run}_report.md) |"
            )
            .unwrap();
        }
        self.write(LOG, &log);
    }

    /// Both forms in turn, newest first.
    fn write_changelog(&self) {
        let mut text = "# Changelog\n\n## [Unreleased]\n\n---\n".to_owned();
        for number in (0..FEATURES).rev() {
            let what = if number % 2 == 0 {
                format!(
                    "**What changed:** `nn/model.py`: part {number}\n\n**Why:** Reason {number}.\n"
                )
            } else {
                format!(
                    "**Motivation:** Reason {number}.\n\n### Changed — `nn/model.py`\n\n- part\n"
                )
            };
            write!(
                text,
                "\n## [2026-02-{:02}] — Feature {number}\n\n{what}\n**Git tag:** \
                 `arch/feature-{number}`\n\n**Related TODO:** TODO {number}\n\n---\n",
                number + 1
            )
            .unwrap();
        }
        self.write("CHANGELOG.md", &text);
    }

    fn write_todos(&self) {
        let mut text = "# Active TODOs\n".to_owned();
        for number in 0..FEATURES {
            let done = if number % 2 == 0 {
                format!(
                    " DONE ✅\n\n**Done date: 2026-02-25 (commit `{}`)**\n\n**Status:** [x] Done\n",
                    self.commit.get(..8).unwrap()
                )
            } else {
                "\n\n**Status:** [ ] open\n".to_owned()
            };
            write!(text, "\n## TODO {number}: Task {number} (Priority: HIGH, Effort: 1 day){done}")
                .unwrap();
        }
        text.push_str("\n## Later\n\n- [ ] something\n");
        self.write("docs/1_Strategy_and_Plans/active_todos.md", &text);
    }

    /// Returns the configuration that a run's W&B files hold.
    pub(crate) fn config(&self, run: &str) -> String {
        format!(
            "{{'run': '{run}', 'git_commit': '{}', 'git_tag': 'train/x', 'git_branch': 'main', \
             'git_dirty': False}}",
            self.commit
        )
    }

    /// Writes a finished run and its W&B files; returns the place of those.
    pub(crate) fn save_run(&self, run: &str, config: &str) -> String {
        self.write(&format!("Cache/Training/{run}/{run}/config.json"), "{}");
        self.save_wandb(run, config)
    }

    /// Writes the W&B files of a run; returns their place.
    pub(crate) fn save_wandb(&self, run: &str, config: &str) -> String {
        let folder = format!("wandb/offline-run-20260301_120002-{run}");
        self.write(&format!("{folder}/logs/debug.log"), &format!("config: {config}\n"));
        folder
    }

    pub(crate) fn wandb_folder(&self, run: &str) -> std::path::PathBuf {
        self.project.path(&format!("wandb/offline-run-20260301_120002-{run}"))
    }

    /// All tags at once: two hundred processes would take seconds.
    fn make_tags(&self) {
        let trainings = (0..RUNS).map(day_tag);
        let features = (0..FEATURES).map(|number| format!("arch/feature-{number}"));
        let mut stream = String::new();
        for name in trainings.chain(features) {
            let head = "from refs/heads/main^0\ntagger A <a@b> 1772366400 +0000\ndata 1\nx\n";
            write!(stream, "tag {name}\n{head}").unwrap();
        }
        self.import(&stream);
    }

    /// Adds commits to the branch, and tags of trainings that have no row.
    pub(crate) fn grow(&self, commits: usize, tags: usize) {
        let mut stream = String::new();
        for number in 0..commits {
            let from = if number == 0 { "from refs/heads/main^0\n" } else { "" };
            let subject = format!("feat: number {number}");
            write!(
                stream,
                "commit refs/heads/main\ncommitter A <a@b> {} +0000\ndata {}\n{subject}\n{from}\
                 M 100644 inline src/{}.py\ndata 1\nx\n",
                1_772_366_500 + number,
                subject.len(),
                number % 100
            )
            .unwrap();
        }
        for number in 0..tags {
            let head = "from refs/heads/main^0\ntagger A <a@b> 1772366400 +0000\ndata 1\nx\n";
            write!(stream, "tag train/lost{number}_20260301\n{head}").unwrap();
        }
        self.import(&stream);
    }

    fn import(&self, stream: &str) {
        let mut command = self.command(&["fast-import", "--quiet"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), stream.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    pub(crate) fn tag(&self, name: &str) {
        self.git(&["tag", "-a", name, "-m", name]);
    }

    pub(crate) fn commit_all(&self, subject: &str) -> String {
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "--allow-empty", "-m", subject]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(self.project.root());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@b");
        }
        command
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.project.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn append(&self, path: &str, text: &str) {
        let before = fs::read_to_string(self.project.path(path)).unwrap();
        self.write(path, &(before + text));
    }

    /// Replaces what stands in a file exactly once.
    #[track_caller]
    pub(crate) fn replace(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.project.path(path)).unwrap();
        assert_eq!(text.matches(from).count(), 1, "{from} in {path}");
        self.write(path, &text.replace(from, to));
    }

    /// Returns the place of the first line with these words.
    #[track_caller]
    pub(crate) fn place(&self, path: &str, words: &str) -> String {
        let text = fs::read_to_string(self.project.path(path)).unwrap();
        let line = text.lines().position(|line| line.contains(words));
        format!("{path}:{}", line.unwrap_or_else(|| panic!("no {words} in {path}")) + 1)
    }

    /// Returns the place of a run's row.
    #[track_caller]
    pub(crate) fn row(&self, number: usize) -> String {
        self.place(LOG, &format!("| `{}` |", run(number)))
    }
}
