//! Raw values to checked settings: paths made absolute, gates completed, and what only several
//! values together can get wrong.

use std::path::{Component, Path, PathBuf};

use super::alerts::MOST_RECEIVERS;
use super::lists::ALERTS;
use super::problem::Fault;
use super::raw::{
    Analysis, Discipline, Log, Project, Raw, RawAlert, RawGate, Status, Training, Wandb, Watch,
};
use super::scripts::{evaluation_scripts, training_scripts};
use super::{
    AlertAddress, AlertSettings, AnalysisSettings, DisciplineSettings, LogSettings, Paths,
    PublishSettings, Settings, StatusSettings, TagForms, TrainingSettings, WandbSettings,
    WatchSettings,
};
use crate::model::measurement::Gate;

/// What the settings depend on beside the layers.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    /// The project's root, absolute.
    pub(super) root: PathBuf,
    /// Where the root comes from.
    pub(super) root_origin: String,
    /// The socket that the command line names, absolute.
    pub(super) socket: Option<PathBuf>,
    /// The service's runtime folder, absolute.
    pub(super) runtime_directory: Option<PathBuf>,
}

/// Something wrong with a key of the merged configuration.
pub(super) type Finding = (String, Fault);

/// Turns merged values into settings; `gate_order` names the gates in the order of the layers.
pub(super) fn check(
    raw: Raw,
    gate_order: &[String],
    surroundings: &Surroundings,
) -> (Settings, Vec<Finding>) {
    let mut findings = Vec::new();
    let paths = resolve_paths(&raw.project, &surroundings.root);
    let discipline = discipline_settings(raw.discipline, &paths.root);
    findings.extend(writes_into_training(&paths, &discipline));
    let commands =
        [("analysis.command", &raw.analysis.command), ("publish.command", &raw.publish.command)];
    for (key, command) in commands {
        if command.first().is_some_and(|program| program.trim().is_empty()) {
            let fault = Fault::new("names no program; its first item is empty");
            findings.push((key.to_owned(), fault));
        }
    }
    let mut gates = Vec::new();
    for name in gate_order {
        let Some(gate) = raw.gates.get(name) else { continue };
        match check_gate(name, gate) {
            Ok(gate) => gates.push(gate),
            Err(fault) => findings.push((format!("gates[{name}]"), fault)),
        }
    }
    let alerts = check_alerts(raw.alerts, &mut findings);
    let settings = Settings {
        alerts,
        status: status_settings(raw.status, &paths, surroundings),
        analysis: analysis_settings(raw.analysis, &paths.root),
        run_pattern: raw.project.run_pattern,
        machine: set(raw.project.machine),
        paths,
        watch: watch_settings(&raw.watch),
        gates,
        launcher: raw.launcher.kind,
        training: training_settings(&raw.training),
        log: log_settings(raw.log),
        discipline,
        training_scripts: training_scripts(raw.training_scripts, &mut findings),
        evaluation_scripts: evaluation_scripts(raw.evaluation_scripts, &mut findings),
        wandb: wandb_settings(raw.wandb),
        publish: PublishSettings { command: raw.publish.command },
    };
    (settings, findings)
}

fn resolve_paths(project: &Project, root: &Path) -> Paths {
    Paths {
        root: root.to_owned(),
        training: under(root, &project.training_dir),
        shell_logs: project.shell_logs.iter().map(|text| under(root, text)).collect(),
        run_logs: under(root, &project.run_logs_dir),
        evaluation: under(root, &project.evaluation_dir),
        state: under(root, &project.state_dir),
        experiment_log: under(root, &project.experiment_log),
        run_reports: under(root, &project.run_reports_dir),
    }
}

/// Finds paths that would have runscribe write under the training folder, which it never does.
fn writes_into_training(paths: &Paths, discipline: &DisciplineSettings) -> Vec<Finding> {
    let training = without_dots(&paths.training);
    [
        ("project.state_dir", &paths.state),
        ("project.experiment_log", &paths.experiment_log),
        ("project.run_reports_dir", &paths.run_reports),
        ("discipline.changelog", &discipline.changelog),
        ("discipline.todos", &discipline.todos),
    ]
    .into_iter()
    .filter(|(_, path)| without_dots(path).starts_with(&training))
    .map(|(key, path)| {
        let problem = format!(
            "`{}` lies in `project.training_dir`, where runscribe never writes",
            path.display()
        );
        (key.to_owned(), Fault::new(problem))
    })
    .collect()
}

/// Returns the receivers of alerts. The address tells one from another, so each may stand once.
fn check_alerts(raw: Vec<RawAlert>, findings: &mut Vec<Finding>) -> Vec<AlertSettings> {
    let mut alerts: Vec<AlertSettings> = Vec::new();
    if raw.len() > MOST_RECEIVERS {
        let fault = Fault::new(format!("are more than {MOST_RECEIVERS}"));
        findings.push((ALERTS.to_owned(), fault));
    }
    for (position, alert) in raw.into_iter().enumerate() {
        let address = match alert.url {
            Some(url) => AlertAddress::parse(&url),
            None => Err(Fault::new("has no `url`")),
        };
        let address = address.and_then(|address| {
            let is_twin = alerts.iter().any(|other| other.address == address);
            let twin = || Fault::new("has the `url` of an earlier one; name all in one `on`");
            if is_twin { Err(twin()) } else { Ok(address) }
        });
        match address {
            Ok(address) => {
                alerts.push(AlertSettings { address, format: alert.format, on: alert.on });
            }
            Err(fault) => findings.push((format!("{ALERTS}[{}]", position + 1), fault)),
        }
    }
    alerts
}

fn check_gate(name: &str, gate: &RawGate) -> Result<Gate, Fault> {
    let Some(measurement) = gate.measurement.clone() else {
        return Err(Fault::new("has no `measurement`"));
    };
    match (gate.min, gate.max) {
        (None, None) => return Err(Fault::new("has neither `min` nor `max`")),
        (Some(min), Some(max)) if min > max => {
            return Err(Fault::new(format!("nothing passes: min {min} is larger than max {max}")));
        }
        (None, Some(_)) if gate.reference.is_some() => {
            return Err(Fault::new("has a `reference`, which scales `min`, and no `min`"));
        }
        _ => {}
    }
    Ok(Gate {
        name: name.to_owned(),
        measurement,
        min: gate.min,
        max: gate.max,
        reference: gate.reference,
        severity: gate.severity,
    })
}

fn watch_settings(raw: &Watch) -> WatchSettings {
    WatchSettings {
        reconcile: raw.reconcile,
        backend: raw.backend,
        settle: raw.settle,
        stuck_after: raw.stuck_after,
    }
}

fn analysis_settings(raw: Analysis, root: &Path) -> AnalysisSettings {
    AnalysisSettings {
        command: raw.command,
        args: raw.args,
        python: set(raw.python),
        dataset: set(raw.dataset),
        model_type: set(raw.model_type),
        timeout: raw.timeout,
        kill_grace: raw.kill_grace,
        max_concurrent: raw.max_concurrent,
        retries: raw.retries,
        retry_for: raw.retry_for,
        adopt: raw.adopt,
        device: raw.device,
        min_free_gpu_memory: raw.min_free_gpu_memory,
        nice: raw.nice,
        pin: raw.pin,
        keep_reports: raw.keep_reports,
        env_file: under(root, &raw.env_file),
        env: raw.env,
        model_types: raw.model_types,
    }
}

fn training_settings(raw: &Training) -> TrainingSettings {
    TrainingSettings {
        stall_factor: raw.stall_factor,
        stall_floor: raw.stall_floor,
        grad_norm_factor: raw.grad_norm_factor,
        loss_factor: raw.loss_factor,
        read_at_start: raw.read_at_start,
        old_log_tail: raw.old_log_tail,
    }
}

fn log_settings(raw: Log) -> LogSettings {
    LogSettings {
        observations: raw.observations,
        fill_run_row: raw.fill_run_row,
        add_missing_rows: raw.add_missing_rows,
        failure_notes: raw.failure_notes,
        write: raw.write,
        push: raw.push,
        headers: raw.headers,
    }
}

fn discipline_settings(raw: Discipline, root: &Path) -> DisciplineSettings {
    DisciplineSettings {
        changelog: under(root, &raw.changelog),
        todos: under(root, &raw.todos),
        commit_prefixes: raw.commit_prefixes,
        since: set(raw.since),
        tags: TagForms { arch: raw.tags.arch, train: raw.tags.train, eval: raw.tags.eval },
    }
}

fn wandb_settings(raw: Wandb) -> WandbSettings {
    WandbSettings {
        project: raw.project,
        entity: set(raw.entity),
        base_url: raw.base_url,
        required_keys: raw.required_keys,
    }
}

fn status_settings(raw: Status, paths: &Paths, surroundings: &Surroundings) -> StatusSettings {
    let configured = set(raw.socket).map(|socket| under(&paths.root, &socket));
    let folder = surroundings.runtime_directory.as_ref().unwrap_or(&paths.state);
    StatusSettings {
        socket: surroundings
            .socket
            .clone()
            .or(configured)
            .unwrap_or_else(|| folder.join("status.sock")),
        socket_mode: raw.socket_mode,
        socket_group: set(raw.socket_group),
        keep_events: raw.keep_events,
    }
}

/// Joins a path with a folder, without `.` and doubled or trailing slashes.
pub(super) fn under(folder: &Path, path: impl AsRef<Path>) -> PathBuf {
    folder.join(path).components().collect()
}

/// Returns `None` for the empty text, which stands for "not set".
fn set(text: String) -> Option<String> {
    Some(text).filter(|text| !text.trim().is_empty())
}

/// Resolves `..` by the letter, which is all that can be done without looking at the disk.
fn without_dots(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            result.pop();
        } else {
            result.push(component);
        }
    }
    result
}
