//! What is looked at before a training begins.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::audit::begin;
use crate::audit::scripts::{self, Plan, Source};
use crate::document::{self, ownership};
use crate::git::{making, starting};
use crate::host;
use crate::model::status::GpuStatus;
use crate::record::history::Reader;
use crate::record::replace;
use crate::settings::{Platform, Settings};

use super::super::devices::Devices;
use super::super::discipline;
use super::super::reading;
use super::Wanted;

/// Changed files that are named.
const SHOWN: usize = 5;
/// Imported files that are read.
const IMPORTED: usize = 200;
/// Free space below which a training may not find room for its checkpoints, in bytes.
const LITTLE_SPACE: u64 = 20 << 30;

/// What was found, none of which refuses the start.
#[derive(Debug, Default)]
pub struct Checked {
    /// The script, relative to the root.
    pub script: String,
    /// What is fine, one line each.
    pub fine: Vec<String>,
    /// What is not, with what to do.
    pub warnings: Vec<String>,
    pub(super) plan: Plan,
}

/// Looks at script, checkout, program, GPUs and disk.
pub(super) async fn check(settings: &Settings, wanted: &Wanted) -> anyhow::Result<Checked> {
    let root = &settings.paths.root;
    let script = registered(settings, &wanted.script)?;
    let mut checked = Checked { script, ..Checked::default() };
    let changed = changed(settings).await?;
    if changed.is_empty() {
        checked.fine.push("checkout: clean".to_owned());
    } else {
        let named: Vec<&str> = changed.iter().take(SHOWN).map(String::as_str).collect();
        let more = changed.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let said = format!("the checkout has changes: {}{more}", named.join(", "));
        if !wanted.allow_dirty {
            bail!("{said}; commit them, or begin with `--allow-dirty`");
        }
        checked.warnings.push(format!("{said}; the commit is not what is trained"));
    }
    look_at_program(root, settings, &mut checked);
    look_at_gpus(&mut checked).await?;
    look_at_disk(settings, &mut checked);
    Ok(checked)
}

/// Returns the script relative to the root if it is registered for this platform.
fn registered(settings: &Settings, script: &Path) -> anyhow::Result<String> {
    let root = &settings.paths.root;
    let from_here = std::path::absolute(script).context("no current folder")?;
    let inside = |path: &Path| {
        let inside = path.strip_prefix(root).ok()?;
        let plain = inside.components().filter(|part| *part != Component::CurDir);
        plain.collect::<PathBuf>().to_str().map(str::to_owned)
    };
    // From the current folder if it is there, else from the root.
    let name = [from_here.canonicalize().ok(), root.join(script).canonicalize().ok()]
        .into_iter()
        .flatten()
        .find_map(|path| inside(&path));
    let Some(name) = name else {
        bail!("there is no script `{}` in `{}`", script.display(), root.display());
    };
    let all = &settings.training_scripts;
    let Some(known) = all.iter().find(|known| known.path == name) else {
        let own = all.iter().filter(|known| known.platform == this_platform());
        let names: Vec<&str> = own.map(|known| known.path.as_str()).collect();
        bail!(
            "`{name}` is not registered: add it to `[[training_scripts]]`, or use one of {}",
            names.join(", ")
        );
    };
    if known.platform != this_platform() {
        let (own, here) = (known.platform.as_str(), this_platform().as_str());
        bail!("`{name}` is registered for {own}, and this is {here}");
    }
    Ok(name)
}

fn this_platform() -> Platform {
    if cfg!(target_os = "macos") { Platform::Macos } else { Platform::Linux }
}

/// Returns what is changed in the checkout, without what only runscribe changed and what lies in its
/// own folders and those of the trainings, or was left by a write that was cut off.
async fn changed(settings: &Settings) -> anyhow::Result<Vec<String>> {
    let root = &settings.paths.root;
    let layout = making::layout(root).await;
    let top = layout.map_err(|error| discipline::no_checkout(root, error))?.top;
    let found = starting::changes(root).await?;
    let paths = &settings.paths;
    let not_code = [
        &paths.state,
        &paths.training,
        &paths.run_logs,
        &paths.evaluation,
        &paths.run_reports,
        &paths.experiment_log,
        &root.join("wandb"),
    ];
    let mut changed = Vec::new();
    for (is_tracked, name) in found {
        let path = top.join(name.trim_end_matches('/'));
        let is_around = |own: &Path| own.starts_with(&path) && name.ends_with('/');
        let is_produced = not_code.iter().any(|own| path.starts_with(own) || is_around(own));
        let is_log = path == paths.experiment_log;
        let is_produced = is_produced || replace::is_leftover(&path);
        if !is_tracked && is_produced || is_log && is_only_ours(settings, &top, &name).await? {
            continue;
        }
        changed.push(name);
    }
    Ok(changed)
}

/// Returns whether the log differs from HEAD by nothing but what runscribe wrote.
async fn is_only_ours(settings: &Settings, top: &Path, name: &str) -> anyhow::Result<bool> {
    let Ok(origin) = starting::committed(top, name).await else { return Ok(false) };
    let Some(now) = replace::read(&settings.paths.experiment_log)? else { return Ok(false) };
    Ok(ownership::are_all_ours(&origin, &now.text, &own_writing(settings)?))
}

fn own_writing(settings: &Settings) -> anyhow::Result<ownership::OwnWriting> {
    let mut own = ownership::OwnWriting::default();
    if let Some(memory) = reading::memory(&settings.paths.state)? {
        own.observations = memory.observations.iter().map(key).collect();
        own.notes = memory.notes.into_iter().map(|(_, _, file)| file).collect();
        for known in memory.runs {
            own.rows.entry(known.run.to_string()).or_default();
        }
        let reader = Reader::open(&settings.paths.state)?;
        for (run, value) in reader.cells()? {
            let cell = document::escape::reading(value.as_bytes());
            own.rows.entry(run).or_insert_with(BTreeSet::new).insert(cell);
        }
    }
    for begun in super::memory::read(settings)? {
        let cells = begun.cells.iter().map(|cell| cell.value.clone());
        let read = cells.chain(begun.plan).map(|cell| document::escape::reading(cell.as_bytes()));
        let read: Vec<String> = read.collect();
        // The run that it became has these cells as well.
        let became = own
            .rows
            .keys()
            .filter(|run| crate::model::ids::RunId::new(run.as_str()).base() == begun.run);
        for run in became.cloned().collect::<Vec<_>>() {
            own.rows.entry(run).or_default().extend(read.iter().cloned());
        }
        own.rows.entry(begun.run).or_default().extend(read);
    }
    Ok(own)
}

fn key(observation: &crate::model::observation::Observation) -> (String, String, String) {
    let row = document::cells::observation_row(observation);
    (row.time, row.run, row.checkpoint)
}

/// Reads what the script starts and what that records. Nothing of it is run.
fn look_at_program(root: &Path, settings: &Settings, checked: &mut Checked) {
    let script = checked.script.clone();
    let read = |path: &str| {
        let bytes = reading::bytes(&root.join(path)).ok()?;
        Some(scripts::decoded(&bytes))
    };
    let Some(text) = read(&script) else {
        checked.warnings.push(format!("`{script}` cannot be read: what it starts is not known"));
        return;
    };
    let launcher = scripts::launcher(Source { path: &script, text: &text });
    let start = match launcher.entry() {
        Ok(start) => start,
        Err(reason) => {
            let said = format!("what `{script}` starts is not decided by reading ({reason})");
            checked.warnings.push(said);
            return;
        }
    };
    checked.plan = scripts::plan(start);
    let entry = start.entry.strip_prefix(&format!("{}/", root.display())).unwrap_or(&start.entry);
    let Some(program) = read(entry) else {
        let said = format!("`{script}` starts `{entry}`, which cannot be read in the project");
        checked.warnings.push(said);
        return;
    };
    checked.fine.push(format!("program: `{script}` starts `{entry}`"));
    let source = Source { path: entry, text: &program };
    let paths = scripts::imports(source);
    let files = paths.iter().filter(|path| root.join(path).is_file()).take(IMPORTED);
    let files: Vec<(&String, String)> =
        files.filter_map(|path| Some((path, read(path)?))).collect();
    let imported: Vec<Source<'_>> =
        files.iter().map(|(path, text)| Source { path, text }).collect();
    let recording = scripts::recording(source, &imported, &settings.wandb.required_keys);
    checked.warnings.extend(begin::lacks(entry, &recording));
}

async fn look_at_gpus(checked: &mut Checked) -> anyhow::Result<()> {
    let reading = Devices::on_a_thread()?.gpus().read().await;
    if let Some(note) = reading.note {
        checked.warnings.push(format!("GPUs: {note}"));
    }
    for gpu in reading.gpus {
        match in_use(&gpu) {
            None => checked.fine.push(format!("GPU {}: {}, free", gpu.index, gpu.name)),
            Some(why) => checked.warnings.push(format!("GPU {}: {why}", gpu.index)),
        }
    }
    Ok(())
}

fn in_use(gpu: &GpuStatus) -> Option<String> {
    if let Some(problem) = &gpu.problem {
        return Some(format!("it cannot be used: {problem}"));
    }
    match gpu.processes.as_deref() {
        Some([]) => None,
        Some([process]) => Some(format!("process {process} computes on it")),
        Some(several) => Some(format!("{} processes compute on it", several.len())),
        None => Some("who computes on it cannot be read".to_owned()),
    }
}

fn look_at_disk(settings: &Settings, checked: &mut Checked) {
    let training = &settings.paths.training;
    let place = training.ancestors().find(|folder| folder.exists()).unwrap_or(training);
    let gib = |bytes: u64| bytes >> 30;
    match host::disk_space(place) {
        Some((free, total)) if free < LITTLE_SPACE => checked.warnings.push(format!(
            "disk: {} of {} GiB free at `{}`: make room before the checkpoints need it",
            gib(free),
            gib(total),
            place.display()
        )),
        Some((free, total)) => {
            checked.fine.push(format!("disk: {} of {} GiB free", gib(free), gib(total)));
        }
        None => checked.warnings.push("disk: its free space cannot be read".to_owned()),
    }
}
