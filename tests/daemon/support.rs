//! A throw-away project, the real program as a process, and waiting for conditions instead of
//! sleeping.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use runscribe::probe::synthetic::{SyntheticTensor, collapsing_matrix, safetensors_bytes};
use serde_json::{Value, json};

/// Nothing that these tests wait for takes this long on a working machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Concepts C and hidden size H of the test's models: the gate of 10/128 scales to 5.
pub(crate) const CONCEPTS: usize = 128;
pub(crate) const HIDDEN: usize = 64;

/// A research project in a temporary folder.
pub(crate) struct Project {
    folder: tempfile::TempDir,
}

/// A report that the fake analysis gives.
#[derive(Clone, Copy)]
pub(crate) struct FakeReport {
    pub(crate) rank: f64,
    pub(crate) mean_similarity: f64,
    pub(crate) max_similarity: f64,
}

impl Project {
    /// Makes a project whose analysis is the scripted fake. It runs at the priority of the tests: an
    /// idle one would take forever beside other work.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("runscribe-test-").tempdir().unwrap();
        let project = Self { folder };
        for name in ["Cache/Training", "Cache/logs", "fake", "docs/2_Experiments_Registry"] {
            fs::create_dir_all(project.path(name)).unwrap();
        }
        let fake = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/analysis/fake_analysis");
        project.configure(&format!(
            "[analysis]\ncommand = [\"{fake}\", \"{{root}}/fake\", \"{{checkpoint}}\", \
             \"{{output_json}}\", \"{{model_type}}\"]\nkill_grace = \"300ms\"\nnice = 0\n\
             [watch]\nsettle = \"300ms\"\nreconcile = \"2s\"\n"
        ));
        project.script("default", FakeReport { rank: 20.0, ..FakeReport::healthy() });
        project
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.path("runscribe.toml"), text).unwrap();
    }

    /// Says what the fake analysis reports for a checkpoint (or `default`).
    pub(crate) fn script(&self, checkpoint: &str, report: FakeReport) {
        let folder = self.path("fake").join(checkpoint);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("stdout.txt"), report.text()).unwrap();
        fs::write(folder.join("out.json"), report.json()).unwrap();
    }

    /// Puts one file into the fake analysis' script of a checkpoint.
    pub(crate) fn script_file(&self, checkpoint: &str, name: &str, content: &str) {
        let folder = self.path("fake").join(checkpoint);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), content).unwrap();
    }

    /// Replaces text in one file of the fake analysis' script.
    pub(crate) fn replace_in_script(&self, checkpoint: &str, name: &str, from: &str, to: &str) {
        let path = self.path("fake").join(checkpoint).join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no {from} in {text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Appends to the configuration.
    pub(crate) fn append_configuration(&self, text: &str) {
        let before = fs::read_to_string(self.path("runscribe.toml")).unwrap();
        self.configure(&(before + text));
    }

    /// Replaces text in the configuration.
    pub(crate) fn replace_configuration(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("runscribe.toml")).unwrap();
        assert!(text.contains(from), "no {from} in {text}");
        self.configure(&text.replace(from, to));
    }

    /// Limits an analysis' time and its quick retries.
    pub(crate) fn set_timeout(&self, timeout: &str, retries: u32) {
        let text = fs::read_to_string(self.path("runscribe.toml")).unwrap();
        let limits = format!("[analysis]\ntimeout = \"{timeout}\"\nretries = {retries}\n");
        self.configure(&text.replacen("[analysis]\n", &limits, 1));
    }

    /// Gives an analysis this long between TERM and KILL.
    pub(crate) fn set_grace(&self, grace: &str) {
        let text = fs::read_to_string(self.path("runscribe.toml")).unwrap();
        self.configure(
            &text.replace("kill_grace = \"300ms\"", &format!("kill_grace = \"{grace}\"")),
        );
    }

    /// Returns the command lines of processes that still work for this project's fake analysis.
    pub(crate) fn processes_of_the_fake(&self) -> Vec<String> {
        let folder = self.path("fake").to_string_lossy().into_owned();
        command_lines().into_iter().filter(|line| line.contains(&folder)).collect()
    }

    /// Returns the ids of the processes that the fake analysis started: itself, and what it left
    /// behind.
    pub(crate) fn pids_of_the_fake(&self) -> Vec<i32> {
        let read =
            |name: &str| fs::read_to_string(self.path("fake").join(name)).unwrap_or_default();
        let both = read("started.log") + &read("left.log");
        both.lines().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    }

    /// Asserts that nothing that the fake analysis started is left, by id and by command line.
    pub(crate) fn assert_nothing_is_left(&self) {
        let alive: Vec<i32> =
            self.pids_of_the_fake().into_iter().filter(|pid| is_alive(*pid)).collect();
        assert_eq!(alive, Vec::<i32>::new());
        assert_eq!(self.processes_of_the_fake(), Vec::<String>::new());
    }

    /// Returns how often the fake analysis was started, by checkpoint.
    pub(crate) fn starts(&self) -> BTreeMap<String, usize> {
        let text = fs::read_to_string(self.path("fake/started.log")).unwrap_or_default();
        let mut starts = BTreeMap::new();
        for name in text.lines().filter_map(|line| line.split(' ').nth(1)) {
            *starts.entry(name.to_owned()).or_default() += 1;
        }
        starts
    }

    /// Writes a checkpoint in the trainer's order, the trainer state last.
    pub(crate) fn save(&self, run: &str, step: u64) {
        let folder = self.path("Cache/Training").join(run).join(format!("checkpoint-{step}"));
        fs::create_dir_all(&folder).unwrap();
        write_model(&folder, step, 1.0);
        fs::write(folder.join("optimizer.pt"), vec![0x80; 4096]).unwrap();
        fs::write(folder.join("scheduler.pt"), vec![0x80; 100]).unwrap();
        write_state(&folder, step);
    }

    /// Writes a checkpoint with a value that is not finite in its weights.
    pub(crate) fn save_not_finite(&self, run: &str, step: u64) {
        let folder = self.path("Cache/Training").join(run).join(format!("checkpoint-{step}"));
        fs::create_dir_all(&folder).unwrap();
        write_model(&folder, step, f32::NAN);
        write_state(&folder, step);
    }

    /// Writes a run's final model with the weights of a step.
    pub(crate) fn save_final(&self, run: &str, step: u64) {
        let folder = self.path("Cache/Training").join(run).join(run);
        fs::create_dir_all(&folder).unwrap();
        write_model(&folder, step, 1.0);
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.path("docs/2_Experiments_Registry/master_experiment_log.md")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Returns the cells of the observations table, row by row.
    pub(crate) fn observations(&self) -> Vec<Vec<String>> {
        let log = self.log();
        let Some((_, table)) = log.split_once("## Checkpoint Observations") else {
            return Vec::new();
        };
        let rows = table.lines().skip_while(|line| !line.starts_with('|'));
        rows.take_while(|line| line.starts_with('|'))
            .skip(2)
            .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().into()).collect())
            .collect()
    }

    /// Returns the failure notes' file names.
    pub(crate) fn notes(&self) -> Vec<String> {
        let folder = self.path("docs/2_Experiments_Registry/run_reports");
        let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        // What is being written has a hidden name until it is whole.
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    /// Runs the program to its end with a clean environment.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        command(arguments).arg("--root").arg(self.root()).output().unwrap()
    }

    pub(crate) fn start(&self) -> Daemon {
        self.start_with(&[])
    }

    /// Starts the daemon with further arguments.
    pub(crate) fn start_with_arguments(&self, arguments: &[&str]) -> Daemon {
        let mut command = command(&["watch"]);
        command.args(arguments).arg("--root");
        Daemon::start(self, command, &self.path("Cache/runscribe/status.sock"))
    }

    /// Starts the daemon with further variables in its environment.
    pub(crate) fn start_with(&self, environment: &[(&str, &Path)]) -> Daemon {
        self.start_serving(&self.path("Cache/runscribe/status.sock"), environment)
    }

    /// The same where the socket is expected elsewhere.
    pub(crate) fn start_serving(&self, socket: &Path, environment: &[(&str, &Path)]) -> Daemon {
        let mut command = command(&["watch", "--root"]);
        command.envs(environment.iter().copied());
        Daemon::start(self, command, socket)
    }

    /// Starts the daemon with a stderr whose reader is gone before it says anything.
    pub(crate) fn start_without_a_reader(&self) -> Daemon {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(&["watch", "--root"]);
        let child = command.arg(self.root()).stderr(writer).stdout(Stdio::null()).spawn().unwrap();
        let socket = self.path("Cache/runscribe/status.sock");
        let mut daemon = Daemon { child: Some(child), socket, log: self.path("daemon.log") };
        daemon.wait_for("the socket", || ());
        daemon
    }

    /// Starts the daemon under a limit on open files: `-Sn` for a soft one, `-n` for both.
    pub(crate) fn start_with_open_files(&self, kind: &str, limit: u32) -> Daemon {
        let plain = command(&["watch", "--root"]);
        let mut limited = Command::new("/bin/sh");
        limited.args(["-c", "ulimit \"$0\" \"$1\" && shift && exec \"$@\""]);
        limited.args([kind, &limit.to_string()]);
        limited.arg(plain.get_program()).args(plain.get_args()).env_clear();
        limited.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        Daemon::start(self, limited, &self.path("Cache/runscribe/status.sock"))
    }
}

impl FakeReport {
    pub(crate) fn healthy() -> Self {
        Self { rank: 20.0, mean_similarity: 0.2286, max_similarity: 0.7389 }
    }

    pub(crate) fn with_rank(rank: f64) -> Self {
        Self { rank, ..Self::healthy() }
    }

    fn text(self) -> String {
        let rule = "=".repeat(65);
        format!(
            "Device: cpu\nLoading model from: @MODEL_PATH@\n\n{rule}\nCONCEPT SPACE GEOMETRY \
             REPORT\n{rule}\nModel           : @MODEL_PATH@\nModel type      : @MODEL_TYPE@\n\
             Concepts (C)    : {CONCEPTS}\nHidden dim (H)  : {HIDDEN}\nBatches analysed: 3\n\n\
             ─── Collapse Detection ─────────────────────────────────────\n  \
             Global effective rank (raw)              {:.4}   ✗ POOR\n  \
             Global effective rank (normalized 0-1)   {:.3}   ✗ POOR\n\n\
             ─── Concept Diversity ──────────────────────────────────────\n  \
             Mean pairwise concept similarity         {:.4}   ✓ GOOD\n  \
             Max pairwise concept similarity          {:.4}   △ OK\n\n\
             ─── Recommendations ────────────────────────────────────────\n  → none\n{rule}\n",
            self.rank,
            self.rank / HIDDEN as f64,
            self.mean_similarity,
            self.max_similarity
        )
    }

    fn json(self) -> String {
        let value = json!({
            "model_path": "@MODEL_PATH@", "model_type": "@MODEL_TYPE@", "n_batches": 3,
            "n_samples": 24, "max_concept_similarity": self.max_similarity,
            "mean_concept_similarity": self.mean_similarity,
            "global_effective_rank": self.rank,
            "global_effective_rank_normalized": self.rank / HIDDEN as f64,
        });
        format!("{value:#}")
    }
}

fn write_model(folder: &Path, step: u64, factor: f32) {
    let config = json!({
        "architectures": ["ConceptEncoderForMaskedDiffusion"], "concept_num": CONCEPTS,
        "hidden_size": HIDDEN, "num_hidden_layers": 2, "max_sequence_length": 64,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut values = collapsing_matrix(CONCEPTS, HIDDEN, 20.0, step);
    values[0] *= factor;
    let bytes = safetensors_bytes(&[SyntheticTensor {
        name: "encoder.concept_embeddings.weight".to_owned(),
        shape: vec![CONCEPTS as u64, HIDDEN as u64],
        values,
    }]);
    fs::write(folder.join(".tmpAbCdEf"), bytes.unwrap()).unwrap();
    fs::rename(folder.join(".tmpAbCdEf"), folder.join("model.safetensors")).unwrap();
    fs::write(folder.join("tokenizer_config.json"), "{}").unwrap();
}

fn write_state(folder: &Path, step: u64) {
    let state = json!({
        "global_step": step, "max_steps": 1000, "epoch": 0.1,
        "log_history": [
            {"step": step, "loss": 8.3238, "grad_norm": 1.86, "learning_rate": 2.4e-4},
            {"step": step, "eval_loss": 8.2392},
        ],
    });
    fs::write(folder.join("trainer_state.json"), state.to_string()).unwrap();
}

/// The time zone of whoever runs the program: for an hour or two of each day another day than UTC's.
pub(crate) const TIME_ZONE: &str = "Europe/Berlin";

/// The program with a clean environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runscribe"));
    command.args(arguments).env_clear().env("TZ", TIME_ZONE).env("NO_COLOR", "1");
    command.env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Option<Child>,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    fn start(project: &Project, mut command: Command, socket: &Path) -> Self {
        let log = project.path("daemon.log");
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command.arg(project.root()).stderr(file).stdout(Stdio::null()).spawn().unwrap();
        let mut daemon = Self { child: Some(child), socket: socket.to_owned(), log };
        daemon.wait_for("the socket", || ());
        daemon
    }

    fn wait_for(&mut self, what: &str, _: impl Fn()) {
        let deadline = Instant::now() + LIMIT;
        while self.try_snapshot().is_none() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "the daemon ended ({ended:?}):\n{}", self.log_text());
            assert!(Instant::now() < deadline, "no {what} in time:\n{}", self.log_text());
            pause();
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a request line and returns the messages until one of type `last`.
    pub(crate) fn messages(&self, request: &str, last: &str) -> Vec<Value> {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        writeln!(stream, "{request}").unwrap();
        let mut messages = Vec::new();
        for line in BufReader::new(stream).lines() {
            let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let is_last = message["type"] == last;
            messages.push(message);
            if is_last {
                break;
            }
        }
        messages
    }

    /// Returns all events so far, in order.
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut events = self.messages("{\"since\":0}", "live");
        events.retain(|message| message["type"] == "event");
        events
    }

    fn try_snapshot(&self) -> Option<Value> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(LIMIT)).ok()?;
        writeln!(stream, "{{\"once\":true}}").ok()?;
        let lines = BufReader::new(stream).lines();
        let messages =
            lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok());
        messages.into_iter().find(|message: &Value| message["type"] == "status")
    }

    pub(crate) fn snapshot(&self) -> Value {
        self.try_snapshot().unwrap_or_else(|| panic!("no snapshot:\n{}", self.log_text()))
    }

    /// Waits until a condition on the snapshot holds; prints it and the log if it never does.
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let snapshot = self.snapshot();
            if holds(&snapshot) {
                return snapshot;
            }
            assert!(
                Instant::now() < deadline,
                "waited in vain for {what}\nstatus: {snapshot:#}\nlog:\n{}",
                self.log_text()
            );
            pause();
        }
    }

    /// Waits until this many observations were made and all documents were written and looked at
    /// a second time.
    pub(crate) fn wait_for_observations(&self, count: u64) {
        self.wait_until(&format!("{count} observations in the log"), |status| {
            let runs = status["runs"].as_array().unwrap();
            let analyzed: u64 =
                runs.iter().map(|run| run["checkpoints"]["analyzed"].as_u64().unwrap()).sum();
            // Between a decision and its commit nothing is pending yet: on a busy host a snapshot
            // falls into that moment. The rows' own events tell that it is over.
            let is_row = |event: &&Value| event["kind"] == "observation_written";
            analyzed >= count
                && status["documents"]["pending"] == 0
                && self.events().iter().filter(is_row).count() as u64 >= count
        });
    }

    /// Kills the daemon as the kernel would, with no chance to clean up.
    pub(crate) fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.child.as_ref().unwrap());
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Sends TERM and waits until the daemon has said that it stops.
    pub(crate) fn ask_to_stop(&self) {
        self.signal(rustix::process::Signal::TERM);
        wait("the daemon to take notice", || self.log_text().contains("stopping"));
    }

    /// Asks it to stop and returns its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            pause();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the daemon did not stop:\n{}", self.log_text());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Returns the exit code of a command that ended by itself.
pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Returns what a command printed.
pub(crate) fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns what a command said on standard error.
pub(crate) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the command lines of all processes.
pub(crate) fn command_lines() -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

/// Whether a process lives. One that has ended may still be a zombie of whoever inherited it.
pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// Gives another process a moment; always inside a loop with a deadline.
#[expect(clippy::disallowed_methods, reason = "waiting for another process, with a deadline")]
pub(crate) fn pause() {
    std::thread::sleep(Duration::from_millis(10));
}

/// Waits until a condition outside the daemon holds.
pub(crate) fn wait(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        pause();
    }
}
