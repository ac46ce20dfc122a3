//! `demo`: a throw-away project, a simulated trainer and the real daemon, as separate processes.

mod project;
mod show;
pub(super) mod trainer;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::daemon::{Client, executable};
use crate::publish::wire::{Event, Happened, Message, Subscription};

use super::exit;
use super::interruption::interrupted;
use super::output::{Ended, Outcome, Output};
use project::Project;
use show::Show;

/// The whole demo takes some 15 seconds; a host that needs more than this is in trouble.
const LIMIT: Duration = Duration::from_secs(40);
const START_LIMIT: Duration = Duration::from_secs(15);
/// With the limit above this stays below a minute, whatever happens.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Needs neither Python nor a GPU: the embedded probe measures the concept embedding weights of
checkpoints whose rank decays step by step, and the demo's configuration sets a gate on that.

Examples:
  runscribe demo
  runscribe demo --dir /tmp/project      keeps everything there, to look around")]
pub(super) struct Arguments {
    /// The project's root, made if missing and kept; must be empty [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the temporary folder
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(arguments: &Arguments, output: &mut Output) -> Outcome {
    let folder = Folder::open(arguments)?;
    let project = Project::make(&folder.root)?;
    output.line(&format!("A throw-away project in {}\n", project.root.display()))?;
    let mut processes = Processes::default();
    let played = tokio::select! {
        played = timeout(LIMIT, play(&project, &mut processes, output)) => {
            played.unwrap_or_else(|_| Err(anyhow!("not done after {} s", LIMIT.as_secs()).into()))
        }
        name = interrupted() => Err(Ended::Failed(exit::FAILED, format!("stopped by {name}"))),
    };
    processes.stop().await;
    if let Err(Ended::Failed(code, message)) = played {
        let log = std::fs::read_to_string(project.daemon_log()).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        let log = format!("{message}\nthe daemon's last words:\n{}", tail.join("\n"));
        return Err(Ended::Failed(code, log));
    }
    played?;
    show::ending(&project, output)?;
    folder.close(output)
}

/// Where the demo lives, and whether it stays.
struct Folder {
    root: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Folder {
    fn open(arguments: &Arguments) -> Result<Self, Ended> {
        let usage = |text: String| Ended::Failed(exit::USAGE, text);
        if let Some(dir) = &arguments.dir {
            std::fs::create_dir_all(dir)
                .with_context(|| format!("cannot make `{}`", dir.display()))?;
            let mut entries = std::fs::read_dir(dir)?;
            if entries.next().is_some() {
                let dir = dir.display();
                return Err(usage(format!("`{dir}` is not empty; give an empty or a new folder")));
            }
            return Ok(Self { root: dir.canonicalize()?, temporary: None });
        }
        let temporary = tempfile::Builder::new().prefix("runscribe-demo-").tempdir()?;
        if arguments.keep {
            return Ok(Self { root: temporary.keep(), temporary: None });
        }
        Ok(Self { root: temporary.path().canonicalize()?, temporary: Some(temporary) })
    }

    fn close(self, output: &mut Output) -> Outcome {
        match self.temporary {
            Some(temporary) => {
                temporary.close()?;
                output.line("The project was removed; `runscribe demo --keep` keeps it.")?;
            }
            None => output.line(&format!("The project stays in {}", self.root.display()))?,
        }
        Ok(())
    }
}

/// The demo's children. Dropping them kills what is left.
#[derive(Default)]
struct Processes {
    daemon: Option<Child>,
    trainer: Option<Child>,
}

impl Processes {
    /// Ends both, the daemon by TERM as systemd would. One that has ended by itself is no error.
    async fn stop(&mut self) {
        if let Some(trainer) = &mut self.trainer {
            trainer.kill().await.unwrap_or_default();
        }
        if let Some(daemon) = &mut self.daemon {
            if let Some(pid) = daemon.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) {
                kill_process(pid, Signal::TERM).unwrap_or_default();
            }
            if timeout(STOP_LIMIT, daemon.wait()).await.is_err() {
                daemon.kill().await.unwrap_or_default();
            }
        }
    }
}

async fn play(project: &Project, processes: &mut Processes, output: &mut Output) -> Outcome {
    let daemon = processes.daemon.insert(start_daemon(project)?);
    let mut client = connect(project, daemon).await?;
    processes.trainer = Some(start_trainer(project)?);
    let mut show = Show::new(project);
    show.heading(output)?;
    while !show.is_over() {
        let message = client.next().await.map_err(anyhow::Error::from)?;
        match message.context("the daemon closed its socket")? {
            Message::Event(event) => happened(&mut show, &event, output)?,
            Message::Error { message } => return Err(anyhow!(message).into()),
            _ => {}
        }
    }
    documents_done(project).await
}

fn happened(show: &mut Show, event: &Event, output: &mut Output) -> Outcome {
    if let Happened::AnalysisFailed { class, evidence, .. } = &event.what {
        return Err(anyhow!("an analysis failed ({class}): {evidence}").into());
    }
    Ok(show.event(event, output)?)
}

fn start_daemon(project: &Project) -> Result<Child, Ended> {
    let log = std::fs::File::create(project.daemon_log())?;
    let mut command = own_command(&["watch", "--root"], &project.root);
    command.stderr(log).stdout(Stdio::null());
    Ok(command.spawn().context("cannot start the daemon")?)
}

fn start_trainer(project: &Project) -> Result<Child, Ended> {
    let mut command = own_command(&["demo-trainer", "--root"], &project.root);
    command.args(["--run", project.run.as_str()]).stderr(Stdio::inherit()).stdout(Stdio::null());
    Ok(command.spawn().context("cannot start the simulated trainer")?)
}

/// The program itself with a clean environment, so that the demo shows what anybody would see.
fn own_command(arguments: &[&str], root: &Path) -> Command {
    let mut command = Command::new(executable());
    // The host's own configuration is for its own projects.
    command.args(["--system-config", "/nonexistent"]);
    command.args(arguments).arg(root).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    for name in ["TZ", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Waits until the daemon answers; it binds its socket within milliseconds.
async fn connect(project: &Project, daemon: &mut Child) -> Result<Client, Ended> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        if let Some(status) = daemon.try_wait()? {
            return Err(anyhow!("the daemon ended at once ({status})").into());
        }
        let everything = Subscription { since: Some(0), ..Subscription::default() };
        match Client::connect(&project.socket(), &everything).await {
            Ok((client, _)) => return Ok(client),
            Err(error) if Instant::now() > deadline => {
                return Err(anyhow::Error::from(error).into());
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits until the daemon has looked a second time at everything that it wrote.
async fn documents_done(project: &Project) -> Outcome {
    loop {
        let once = Subscription { once: true, ..Subscription::default() };
        let connected = Client::connect(&project.socket(), &once).await;
        let (mut client, _) = connected.map_err(anyhow::Error::from)?;
        while let Some(message) = client.next().await.map_err(anyhow::Error::from)? {
            if let Message::Status(status) = message
                && status.documents.pending == 0
            {
                return Ok(());
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}
