//! Everything before the first turn of the loop: guards, journal, socket, workers.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch as state};
use tokio_util::sync::CancellationToken;

use crate::analyze::Workshop;
use crate::analyze::program::Surroundings;
use crate::engine::{Event, World};
use crate::host;
use crate::model::journal::Memory;
use crate::model::measurement::EMBEDDING_WEIGHT_RANK;
use crate::model::status::{DaemonStatus, Status};
use crate::publish::{
    self, BindError, BoundSocket, CommandRequest, HistoryRequest, Identity, Limits, Publisher,
    Server,
};
use crate::record::delivery::Delivery;
use crate::record::editing::Editor;
use crate::record::history::Reader;
use crate::record::journal::Journal;
use crate::record::keeping::Keeper;
use crate::record::opening::OpenError;
use crate::record::places::Places;
use crate::record::recorder::{self, Output, Recorder, Request};
use crate::settings::Settings;
use crate::systemd::Notifier;
use crate::watch::tail::{self, LogEvent, RecordedLog, TailConfig, TailInbox};
use crate::watch::{self, Inbox, WatchConfig, WatchEvent};

use super::alerts::Alerts;
use super::analyses::Analyses;
use super::commands::{self, Ordered};
use super::devices::Devices;
use super::helpers::Helpers;
use super::log_branch::{self, Documents};
use super::log_store::JournaledLogs;
use super::signals::Asking;
use super::workers::Workers;
use super::{Fatal, Options, executable, load_settings, now, reading};

/// Sightings that may wait for the loop. The scan blocks beyond that and looks again later.
const SIGHTINGS: usize = 256;
/// What shell logs say that may wait for the loop. Beyond that they are not read on.
const LOGS: usize = 16;
const NEWS: usize = 64;
const RECORDS: usize = 64;
const HISTORY: usize = 256;
/// Commands that wait; whoever gives more waits for room.
const ORDERS: usize = 16;
/// Open files that clients leave to everything else.
const RESERVED_FILES: usize = 256;

/// The daemon, wired together and not yet turning.
pub(super) struct House {
    pub(super) world: World,
    pub(super) analyses: Analyses,
    pub(super) workers: Workers,
    pub(super) signals: Asking,
    pub(super) sightings: mpsc::Receiver<WatchEvent>,
    pub(super) logs: mpsc::Receiver<LogEvent>,
    pub(super) news: mpsc::Receiver<Event>,
    pub(super) orders: mpsc::Receiver<Ordered>,
    pub(super) helpers: Helpers,
    pub(super) devices: Devices,
    pub(super) alerts: Alerts,
    pub(super) records: std::sync::mpsc::SyncSender<Request>,
    pub(super) recorded: mpsc::Receiver<Output>,
    pub(super) publisher: Publisher,
    pub(super) snapshots: state::Sender<Arc<Status>>,
    pub(super) watch: Arc<Inbox>,
    pub(super) tail: Arc<TailInbox>,
    pub(super) stop: CancellationToken,
    pub(super) notifier: Notifier,
}

/// Opens everything. What fails here leaves nothing running.
pub(super) async fn open(options: &Options) -> Result<House, Fatal> {
    let signals = Asking::new().context("cannot take over the signals")?;
    let settings = load_settings::load(&options.sources)?.settings;
    refuse_foreign_root(&settings.paths.root)?;
    let (journal, memory, history) = open_journal(&settings).await?;
    sweep_state(&settings).await;
    log_branch::make_readable(&settings, &memory).await;
    let socket = bind(&settings).await?;
    tracing::info!(
        root = %settings.paths.root.display(),
        runs = memory.runs.len(),
        observations = memory.observations.len(),
        "watching"
    );
    let open_files = raise_open_files();
    let settings = Arc::new(settings);
    wire(&settings, (journal, memory, history), socket, signals, open_files)
}

/// Makes room for a thousand clients. Returns the limit that the programs it starts shall have.
fn raise_open_files() -> Option<u64> {
    host::raise_open_files().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit on open files; many clients may find no room");
        None
    })
}

/// Returns how many clients there may be at a time: however many want to connect, files remain for
/// the journal, the checkpoints and the analyses.
fn room_for_clients() -> usize {
    let most = Limits::default().clients;
    let Some(files) = host::open_files() else { return most };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    most.min(files - RESERVED_FILES.min(files / 2))
}

/// A client that is there before the first scan begins where the journal ends.
fn first_snapshot(settings: &Settings, memory: &Memory) -> Status {
    let daemon = DaemonStatus { seq: memory.last_seq, ..daemon_status(settings) };
    Status { daemon, ..Status::default() }
}

fn wire(
    settings: &Arc<Settings>,
    (journal, memory, past): (Journal, Memory, Reader),
    socket: BoundSocket,
    signals: Asking,
    open_files: Option<u64>,
) -> Result<House, Fatal> {
    let (stop, mut workers) = (CancellationToken::new(), Workers::default());
    let (to_loop, sightings) = mpsc::channel(SIGHTINGS);
    let (news_sender, news) = mpsc::channel(NEWS);
    let (records, requests) = std::sync::mpsc::sync_channel(RECORDS);
    let (to_recorder, from_recorder) = mpsc::channel(RECORDS);
    let inbox = Arc::new(Inbox::default());
    let publisher = Publisher::new(memory.last_seq);
    let (snapshots, latest) = state::channel(Arc::new(first_snapshot(settings, &memory)));
    let devices = Devices::start(&mut workers, news_sender.clone())?;
    let news_of_log = (records.clone(), news_sender.clone());
    let keeper = log_branch::keep(&mut workers, settings, news_of_log, &stop);
    let alerts = Alerts::start(&mut workers, settings, news_sender.clone(), stop.clone());
    let helpers = {
        let settings = Arc::clone(settings);
        let surroundings = Surroundings { open_files, ..surroundings(&memory) };
        Helpers::start(&mut workers, settings, surroundings, news_sender, stop.clone())?
    };
    helpers.sample_gpus(&mut workers, devices.gpus(), stop.clone());
    helpers.write_address(socket.path());
    let (history, questions) = mpsc::channel(HISTORY);
    let who = identity(settings, &memory);
    let (commands, orders) = take_commands(&mut workers, settings, &stop);
    let server = server(who, publisher.clone(), latest, Ways { history, commands });
    let (logs, tail) = follow_logs(&mut workers, settings, &memory, &helpers)?;
    let world = world(settings, memory);
    start_watching(&mut workers, WatchConfig::from(&**settings), to_loop, &inbox)?;
    let recorder = open_recorder(settings, journal, keeper)?;
    keep_journal(&mut workers, (recorder, requests, to_recorder), (past, questions))?;
    workers.spawn("socket", server.serve(socket, stop.clone()));
    let workshop = reading::workshop(settings, &settings.paths.state, &devices);
    let workshop = Workshop { open_files, ..workshop };
    Ok(House {
        world,
        analyses: Analyses::new(workshop),
        workers,
        signals,
        sightings,
        logs,
        news,
        orders,
        helpers,
        devices,
        alerts,
        records,
        recorded: from_recorder,
        publisher,
        snapshots,
        watch: inbox,
        tail,
        stop,
        notifier: Notifier::from_environment(),
    })
}

/// The recorder with what it is asked and where it answers.
type Recording = (Recorder, std::sync::mpsc::Receiver<Request>, mpsc::Sender<Output>);

/// Starts the threads that write the journal and read it: one writer, and a reader of old events.
fn keep_journal(
    workers: &mut Workers,
    (recorder, requests, to_recorder): Recording,
    (past, questions): (Reader, mpsc::Receiver<HistoryRequest>),
) -> anyhow::Result<()> {
    workers
        .spawn_thread("record", move || Ok(recorder::run(recorder, &requests, &to_recorder)?))?;
    workers.spawn_thread("history", move || {
        answer_history(&past, questions);
        Ok(())
    })
}

fn start_watching(
    workers: &mut Workers,
    watched: WatchConfig,
    to_loop: mpsc::Sender<WatchEvent>,
    inbox: &Arc<Inbox>,
) -> anyhow::Result<()> {
    let (asked, kept) = (Arc::clone(inbox), Arc::clone(inbox));
    workers.spawn_looker("watch", move || {
        watch::run(watched, to_loop, &asked);
        Ok(())
    })?;
    workers.spawn_looker("watches", move || {
        watch::keep(&kept);
        Ok(())
    })
}

/// Starts to follow the shell logs and evaluation reports, and returns where those of the first kind
/// are told and asked for.
fn follow_logs(
    workers: &mut Workers,
    settings: &Settings,
    memory: &Memory,
    helpers: &Helpers,
) -> anyhow::Result<(mpsc::Receiver<LogEvent>, Arc<TailInbox>)> {
    helpers.follow_evaluations(workers, settings, &memory.evaluations)?;
    let (output, logs) = mpsc::channel(LOGS);
    let (inbox, config) = (Arc::new(TailInbox::default()), TailConfig::from(settings));
    let recorded = memory.shell_logs.iter().map(RecordedLog::from).collect();
    let store = Box::new(JournaledLogs::new(settings.paths.state.clone()));
    let asked = Arc::clone(&inbox);
    workers.spawn_looker("shell logs", move || {
        tail::run(config, recorded, store, output, &asked);
        Ok(())
    })?;
    Ok((logs, inbox))
}

fn world(settings: &Arc<Settings>, memory: Memory) -> World {
    let made_before = made_before(settings, &memory);
    let mut world = World::new(Arc::clone(settings), memory, daemon_status(settings), now());
    world.use_made_before(made_before);
    world.log = log_branch::first_status(settings);
    world
}

/// Returns where the socket's commands go, and where they arrive as orders.
fn take_commands(
    workers: &mut Workers,
    settings: &Arc<Settings>,
    stop: &CancellationToken,
) -> (mpsc::Sender<CommandRequest>, mpsc::Receiver<Ordered>) {
    let (commands, asked) = mpsc::channel(ORDERS);
    let (to_loop, orders) = mpsc::channel(ORDERS);
    let work = commands::serve(Arc::clone(settings), asked, to_loop, stop.clone());
    workers.spawn("commands", work);
    (commands, orders)
}

fn server(
    identity: Identity,
    publisher: Publisher,
    snapshots: state::Receiver<Arc<Status>>,
    ways: Ways,
) -> Server {
    let Ways { history, commands } = ways;
    let limits = Limits { clients: room_for_clients(), ..Limits::default() };
    Server { identity, publisher, snapshots, history, commands, limits, clock: now }
}

/// Where the socket's questions and commands go.
struct Ways {
    history: mpsc::Sender<HistoryRequest>,
    commands: mpsc::Sender<CommandRequest>,
}

pub(super) fn open_recorder(
    settings: &Settings,
    journal: Journal,
    keeper: Arc<dyn Keeper>,
) -> anyhow::Result<Recorder> {
    let Documents { root, log, reports } = log_branch::documents(settings);
    let places = Places { root, log, reports, keeper };
    let editor = Editor::of_experiment_log();
    let delivery = Delivery::new(&journal, places, editor, crate::record::Now::read())?;
    Ok(Recorder::new(journal, delivery))
}

/// A daemon started as root for another user's project would run that user's code as root.
fn refuse_foreign_root(root: &Path) -> Result<(), Fatal> {
    let owner = host::owner(root);
    if rustix::process::geteuid().is_root() && owner.is_some_and(|owner| owner != 0) {
        return Err(Fatal::Unusable(format!(
            "`{}` belongs to another user, and analyzing it as root would run that user's code as \
             root; start runscribe as that user (`User=` in the unit)",
            root.display()
        )));
    }
    Ok(())
}

/// Opens the journal, and once more for reading what is old: later there may be no file left to open
/// it with.
async fn open_journal(settings: &Settings) -> Result<(Journal, Memory, Reader), Fatal> {
    let (state, keep) = (settings.paths.state.clone(), settings.status.keep_events);
    let opened = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&state).map_err(|error| {
            Fatal::Unusable(format!(
                "cannot make the state folder `{}`: {error}; check `project.state_dir`",
                state.display()
            ))
        })?;
        let refused = |error: OpenError| match error {
            OpenError::Locked { .. } => Fatal::AlreadyRunning(error.to_string()),
            error if error.needs_a_person() => Fatal::Unusable(error.to_string()),
            error => Fatal::Failed(error.into()),
        };
        let (journal, memory) = Journal::open(&state, keep).map_err(refused)?;
        Ok((journal, memory, Reader::open(&state).map_err(refused)?))
    });
    opened.await.map_err(anyhow::Error::from)?
}

/// Clears what an earlier life left: pins that nobody uses, reports that are too old. What cannot be
/// cleared costs space and nothing else.
async fn sweep_state(settings: &Settings) {
    let (state, keep) = (settings.paths.state.clone(), settings.analysis.keep_reports);
    let swept = tokio::task::spawn_blocking(move || {
        for (what, swept) in [
            ("pins", crate::analyze::pin::sweep(&state)),
            ("outputs", crate::analyze::reports::sweep_outputs(&state)),
            ("reports", crate::analyze::reports::sweep(&state, keep)),
        ] {
            match swept {
                Ok(0) => {}
                Ok(count) => tracing::info!(what, count, "swept"),
                Err(error) => tracing::warn!(what, %error, "cannot sweep"),
            }
        }
    });
    if let Err(error) = swept.await {
        tracing::error!(%error, "sweeping panicked");
    }
}

async fn bind(settings: &Settings) -> Result<BoundSocket, Fatal> {
    publish::bind(&settings.status, &settings.paths.state).await.map_err(|error| match error {
        BindError::AlreadyRunning { .. } => Fatal::AlreadyRunning(error.to_string()),
        error => Fatal::Failed(error.into()),
    })
}

fn identity(settings: &Settings, memory: &Memory) -> Identity {
    Identity {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        journal: memory.journal.clone(),
        pid: std::process::id(),
        host: host::host_name(),
        root: settings.paths.root.to_string_lossy().into_owned(),
    }
}

fn daemon_status(settings: &Settings) -> DaemonStatus {
    DaemonStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        root: settings.paths.root.to_string_lossy().into_owned(),
        ..DaemonStatus::default()
    }
}

/// Returns what analyses find around them.
pub(super) fn surroundings(memory: &Memory) -> Surroundings {
    let by_script = |one: &crate::model::observation::Observation| {
        !one.measurements.is_empty() && !one.measurements.contains_key(EMBEDDING_WEIGHT_RANK)
    };
    Surroundings {
        environment: super::environment(),
        executable: executable(),
        supervisor: crate::analyze::child::OWN_EXECUTABLE.into(),
        open_files: None,
        script_existed: memory.observations.iter().any(by_script),
        cores: available_parallelism().map_or(1, std::num::NonZero::get),
        build_environment: crate::schedule::environment::build,
    }
}

/// With a new journal, observations that stand in the log count as made.
fn made_before(
    settings: &Settings,
    memory: &Memory,
) -> std::collections::BTreeSet<(String, String)> {
    if !memory.fresh {
        return std::collections::BTreeSet::new();
    }
    let logs = [log_branch::documents(settings).log, settings.paths.experiment_log.clone()];
    let mut made = std::collections::BTreeSet::new();
    for log in logs {
        match std::fs::read(&log) {
            Ok(log) => {
                let rows = crate::document::observed(&log).into_iter();
                made.extend(rows.map(|(_, run, checkpoint)| (run, checkpoint)));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "cannot read the experiment log"),
        }
    }
    made
}

/// Answers the socket's questions about old events from a connection of its own.
fn answer_history(reader: &Reader, mut questions: mpsc::Receiver<HistoryRequest>) {
    while let Some(question) = questions.blocking_recv() {
        let events = reader.events(question.after, question.limit, None);
        // A client that left needs no answer.
        drop(question.reply.send(events.map_err(|error| error.to_string())));
    }
}
