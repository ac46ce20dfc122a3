#![expect(clippy::disallowed_methods, reason = "IO shell: commands read and print")]
//! IO shell. The commands: one file each. They parse arguments, call the daemon's functions or the
//! pure stages, print for people on stdout, log to stderr, and return an exit code.

mod adopt;
mod analyze;
mod begin;
mod changelog;
mod check;
mod compare;
mod config;
mod demo;
mod doctor;
mod evaluate;
mod explain;
mod gate;
mod hook;
mod interruption;
mod logging;
mod output;
mod parse;
mod probe;
mod publish;
mod queue;
mod report;
mod row;
mod shell;
mod status;
mod sync;
mod tag;
mod tail;
mod todo;
mod watch;

pub mod status_text;
pub mod tail_text;
pub mod terminal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::settings::Sources;
use logging::LogFormat;
use output::Output;

/// Exit codes, as the contract lists them.
pub mod exit {
    /// It failed.
    pub const FAILED: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// Findings, or a failed gate.
    pub const FINDINGS: u8 = 3;
    /// Undecided.
    pub const UNDECIDED: u8 = 4;
    /// The daemon is not reachable.
    pub const UNREACHABLE: u8 = 69;
    /// The configuration, or what it points at, cannot be used.
    pub const CONFIGURATION: u8 = 78;
}

const EXAMPLES: &str = "\
Examples:
  runscribe demo                               see it work, in under a minute
  runscribe watch --root ~/project             watch a project (Ctrl-C stops it)
  runscribe status                             is my run healthy, and how far is it
  runscribe gate RUN && ./evaluate.sh RUN      evaluate only what did not collapse

Exit codes: 0 done, 1 failed, 2 usage, 3 findings or a failed gate, 4 undecided (gate),
69 daemon not reachable, 78 configuration error.";

/// Watches the checkpoints of training runs, has each one analyzed, judges the effective rank and
/// writes what it saw into the project's experiment log.
#[derive(Debug, Parser)]
#[command(name = "runscribe", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Arguments that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
struct Common {
    /// The project's root [default: the nearest folder upward with a runscribe.toml or the
    /// training folder, else the current folder]
    #[arg(long, global = true, value_name = "DIR")]
    root: Option<PathBuf>,
    /// A configuration file, read after /etc/runscribe/config.toml and <root>/runscribe.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The daemon's status socket [default: found through `daemon.json` in the state folder]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Read this in place of /etc/runscribe/config.toml
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    system_config: Option<PathBuf>,
    /// Log more (twice: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Log errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// The form of logs on stderr
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        env = "RUNSCRIBE_LOG_FORMAT",
        default_value = "auto"
    )]
    log_format: LogFormat,
}

impl Common {
    fn sources(&self) -> Sources {
        crate::daemon::load_settings::sources(
            self.root.clone(),
            self.config.clone(),
            self.socket.clone(),
            self.system_config.clone(),
        )
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Watch(watch::Arguments),
    /// Show it at work on a throw-away project, without Python and without a GPU
    Demo(demo::Arguments),
    /// Show what the daemon knows right now
    Status(status::Arguments),
    /// Follow the events
    Tail(tail::Arguments),
    /// Analyze one checkpoint now and print report and verdict; nothing is recorded
    Analyze(analyze::Arguments),
    /// Begin a training: checks, tag and a pending row in the experiment log
    Begin(begin::Arguments),
    /// See and change what waits to be analyzed
    Queue(queue::Arguments),
    /// Have runs analyzed that were old at the first start
    Adopt(adopt::Arguments),
    /// Look at what would stop the work on this host, and say what to do
    Doctor(doctor::Arguments),
    /// Audit the links between code, tags, runs, log, reports and changelog
    Check(check::Arguments),
    /// Say by exit code whether a run's newest verdict lets it be evaluated
    Gate(gate::Arguments),
    /// Print a run's row of the experiment log, to paste it where the log is edited by hand
    Row(row::Arguments),
    /// Show two runs at equal steps: rank, similarity, losses
    Compare(compare::Arguments),
    /// Evaluate a run's final model on the project's benchmarks, unless its gate is closed
    Evaluate(evaluate::Arguments),
    /// Write the report of a run, with a plot of rank and loss over steps
    Report(report::Arguments),
    /// Bring evaluation reports from another host, or to it, over ssh
    Sync(sync::Arguments),
    /// Publish a run's model, when nothing that should be there is missing
    Publish(publish::Arguments),
    /// Make an annotated tag in the project's form on HEAD
    Tag(tag::Arguments),
    /// Add an entry to the CHANGELOG, in its form and in its place
    Changelog(changelog::Arguments),
    /// Mark a task done, with its day and its commit
    Todo(todo::Arguments),
    /// Check the prefixes of commits as they are made
    Hook(hook::Arguments),
    /// Measure the concept embedding weights of a checkpoint, without Python
    Probe(probe::Arguments),
    /// Say what runscribe makes of a path, and why
    Explain(explain::Arguments),
    /// Print what a parser makes of a file, as JSON
    Parse(parse::Arguments),
    /// Print the effective settings with the origin of each value
    Config(config::Arguments),
    /// Print completions for a shell
    Completions(shell::Completions),
    /// Print the manual page
    Man,
    /// Write the demo's checkpoints and its shell log
    #[command(hide = true)]
    DemoTrainer(demo::trainer::Arguments),
}

impl Command {
    /// Returns whether the command changes something, or says by its exit code what it found.
    fn acts_or_judges(&self) -> bool {
        matches!(
            self,
            Self::Analyze(_)
                | Self::Begin(_)
                | Self::Queue(_)
                | Self::Adopt(_)
                | Self::Doctor(_)
                | Self::Check(_)
                | Self::Gate(_)
                | Self::Evaluate(_)
                | Self::Report(_)
                | Self::Sync(_)
                | Self::Publish(_)
                | Self::Tag(_)
                | Self::Changelog(_)
                | Self::Todo(_)
                | Self::Hook(_)
        )
    }
}

/// Parses arguments, runs the command and returns the program's exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(code) = crate::daemon::supervise(&arguments) {
        return code;
    }
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return output::clap_message(&error),
    };
    let Common { log_format, verbose, quiet, .. } = arguments.common;
    logging::start_logging(log_format, verbose, quiet);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("runscribe")
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return output::failure(&format!("cannot start the runtime: {error}")),
    };
    let code = runtime.block_on(Box::pin(run(arguments)));
    // A thread that hangs on a dead network folder must not keep the process.
    runtime.shutdown_background();
    code
}

async fn run(arguments: Arguments) -> ExitCode {
    let common = arguments.common;
    let mut output = Output::standard();
    if arguments.command.acts_or_judges() {
        output.go_on_unread();
    }
    let result = match arguments.command {
        Command::Watch(arguments) => watch::run(&common, &arguments, &mut output).await,
        Command::Demo(arguments) => demo::run(&arguments, &mut output).await,
        Command::Status(arguments) => status::run(&common, &arguments, &mut output).await,
        Command::Tail(arguments) => tail::run(&common, &arguments, &mut output).await,
        Command::Analyze(arguments) => analyze::run(&common, &arguments, &mut output).await,
        Command::Begin(arguments) => begin::run(&common, &arguments, &mut output).await,
        Command::Queue(arguments) => queue::run(&common, &arguments, &mut output).await,
        Command::Adopt(arguments) => adopt::run(&common, &arguments, &mut output).await,
        Command::Doctor(arguments) => doctor::run(&common, &arguments, &mut output).await,
        Command::Check(arguments) => check::run(&common, &arguments, &mut output).await,
        Command::Gate(arguments) => gate::run(&common, &arguments, &mut output),
        Command::Row(arguments) => row::run(&common, &arguments, &mut output),
        Command::Compare(arguments) => compare::run(&common, &arguments, &mut output),
        Command::Evaluate(arguments) => evaluate::run(&common, &arguments, &mut output).await,
        Command::Report(arguments) => report::run(&common, &arguments, &mut output),
        Command::Sync(arguments) => sync::run(&common, &arguments, &mut output).await,
        Command::Publish(arguments) => publish::run(&common, &arguments, &mut output).await,
        Command::Tag(arguments) => tag::run(&common, &arguments, &mut output).await,
        Command::Changelog(arguments) => changelog::run(&common, &arguments, &mut output).await,
        Command::Todo(arguments) => todo::run(&common, &arguments, &mut output).await,
        Command::Hook(arguments) => hook::run(&common, &arguments, &mut output).await,
        Command::Probe(arguments) => probe::run(&arguments, &mut output),
        Command::Explain(arguments) => explain::run(&common, &arguments, &mut output),
        Command::Parse(arguments) => parse::run(&common, &arguments, &mut output),
        Command::Config(arguments) => config::run(&common, &arguments, &mut output),
        Command::Completions(arguments) => shell::completions(&arguments, &mut output),
        Command::Man => shell::man(&mut output),
        Command::DemoTrainer(arguments) => demo::trainer::run(common.root.as_deref(), &arguments),
    };
    output::exit_code(result)
}
