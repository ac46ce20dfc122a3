//! The serde mirror of the merged configuration: every key with its type, nothing resolved yet.
//!
//! Unknown fields are refused and none has a default, so this mirror and the list of keys in
//! `schema.rs` cannot drift apart: the built-in defaults would no longer load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use regex::Regex;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::alerts::{parse_format, parse_kind};
use super::problem::Fault;
use super::units::{parse_duration, parse_size};
use super::words::{
    parse_adopt, parse_backend, parse_device, parse_header, parse_launcher, parse_log_write,
    parse_mode, parse_pattern, parse_platform, parse_severity,
};
use super::{Adopt, Backend, Device, Launcher, LogWrite, Platform};
use crate::model::alert::{AlertFormat, AlertKind};
use crate::model::measurement::Severity;
use crate::model::observation::HeaderNames;

/// All sections.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) project: Project,
    pub(super) watch: Watch,
    pub(super) analysis: Analysis,
    pub(super) launcher: LauncherSection,
    pub(super) gates: BTreeMap<String, RawGate>,
    pub(super) training: Training,
    pub(super) log: Log,
    pub(super) status: Status,
    pub(super) discipline: Discipline,
    pub(super) wandb: Wandb,
    pub(super) publish: Publish,
    /// Replaced whole by the last layer that has any, as the lists below.
    pub(super) training_scripts: Vec<RawTrainingScript>,
    pub(super) evaluation_scripts: Vec<RawEvaluationScript>,
    #[serde(default)]
    pub(super) alerts: Vec<RawAlert>,
}

/// `[project]`; an empty text stands for "not set".
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Project {
    /// Read by the loader before this mirror exists; kept so that the key is known here.
    #[serde(rename = "root")]
    pub(super) _root: String,
    pub(super) training_dir: String,
    pub(super) shell_logs: Vec<String>,
    pub(super) run_logs_dir: String,
    pub(super) evaluation_dir: String,
    pub(super) state_dir: String,
    pub(super) experiment_log: String,
    pub(super) run_reports_dir: String,
    #[serde(deserialize_with = "pattern")]
    pub(super) run_pattern: Regex,
    pub(super) machine: String,
}

/// `[watch]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watch {
    #[serde(deserialize_with = "duration")]
    pub(super) reconcile: Duration,
    #[serde(deserialize_with = "backend")]
    pub(super) backend: Backend,
    #[serde(deserialize_with = "duration")]
    pub(super) settle: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) stuck_after: Duration,
}

/// `[analysis]`; an empty text stands for "not set".
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Analysis {
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) python: String,
    pub(super) dataset: String,
    pub(super) model_type: String,
    #[serde(deserialize_with = "duration")]
    pub(super) timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub(super) kill_grace: Duration,
    pub(super) max_concurrent: usize,
    pub(super) retries: u32,
    #[serde(deserialize_with = "duration")]
    pub(super) retry_for: Duration,
    #[serde(deserialize_with = "adopt")]
    pub(super) adopt: Adopt,
    #[serde(deserialize_with = "device")]
    pub(super) device: Device,
    #[serde(deserialize_with = "size")]
    pub(super) min_free_gpu_memory: u64,
    pub(super) nice: u8,
    pub(super) pin: bool,
    #[serde(deserialize_with = "duration")]
    pub(super) keep_reports: Duration,
    pub(super) env_file: String,
    pub(super) env: BTreeMap<String, String>,
    pub(super) model_types: BTreeMap<String, String>,
}

/// `[launcher]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LauncherSection {
    #[serde(deserialize_with = "launcher")]
    pub(super) kind: Launcher,
}

/// One gate without its name; what is missing is judged after the layers were merged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGate {
    #[serde(default)]
    pub(super) measurement: Option<String>,
    #[serde(default)]
    pub(super) min: Option<f64>,
    #[serde(default)]
    pub(super) max: Option<f64>,
    #[serde(default)]
    pub(super) reference: Option<u64>,
    #[serde(default = "fail", deserialize_with = "severity")]
    pub(super) severity: Severity,
}

/// One of `[[alerts]]`; what is missing is judged after the layers were merged.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAlert {
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default = "json", deserialize_with = "alert_format")]
    pub(super) format: AlertFormat,
    #[serde(default = "everything", deserialize_with = "alert_kinds")]
    pub(super) on: Vec<AlertKind>,
}

impl fmt::Debug for RawAlert {
    /// Prints nothing of the address, which may be a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RawAlert").field("format", &self.format).finish_non_exhaustive()
    }
}

/// `[training]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Training {
    pub(super) stall_factor: f64,
    #[serde(deserialize_with = "duration")]
    pub(super) stall_floor: Duration,
    pub(super) grad_norm_factor: f64,
    pub(super) loss_factor: f64,
    #[serde(deserialize_with = "size")]
    pub(super) read_at_start: u64,
    #[serde(deserialize_with = "size")]
    pub(super) old_log_tail: u64,
}

/// `[log]`.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own for a person")]
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    pub(super) observations: bool,
    pub(super) fill_run_row: bool,
    pub(super) add_missing_rows: bool,
    pub(super) failure_notes: bool,
    #[serde(deserialize_with = "log_write")]
    pub(super) write: LogWrite,
    pub(super) push: bool,
    #[serde(deserialize_with = "headers")]
    pub(super) headers: HeaderNames,
}

/// `[status]`; an empty text stands for "not set".
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Status {
    pub(super) socket: String,
    #[serde(deserialize_with = "mode")]
    pub(super) socket_mode: u32,
    pub(super) socket_group: String,
    pub(super) keep_events: u64,
}

/// `[discipline]`; an empty text stands for "not set".
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Discipline {
    pub(super) changelog: String,
    pub(super) todos: String,
    pub(super) commit_prefixes: Vec<String>,
    pub(super) since: String,
    pub(super) tags: RawTagForms,
}

/// `[discipline.tags]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTagForms {
    pub(super) arch: String,
    pub(super) train: String,
    pub(super) eval: String,
}

/// `[wandb]`; an empty text stands for "not set".
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wandb {
    pub(super) project: String,
    pub(super) entity: String,
    pub(super) base_url: String,
    pub(super) required_keys: Vec<String>,
}

/// `[publish]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    pub(super) command: Vec<String>,
}

/// One of `[[training_scripts]]`; what is missing is judged after the layers were merged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTrainingScript {
    pub(super) path: Option<String>,
    #[serde(default, deserialize_with = "platform")]
    pub(super) platform: Option<Platform>,
    pub(super) model: Option<String>,
}

/// One of `[[evaluation_scripts]]`; what is missing is judged after the layers were merged.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawEvaluationScript {
    pub(super) path: Option<String>,
    #[serde(default, deserialize_with = "platform")]
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    pub(super) benchmarks: Vec<String>,
}

/// A gate that does not say how bad it is to miss it is meant seriously.
fn fail() -> Severity {
    Severity::Fail
}

fn json() -> AlertFormat {
    AlertFormat::Json
}

fn everything() -> Vec<AlertKind> {
    AlertKind::ALL.to_vec()
}

fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, Fault>,
) -> Result<T, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parsed(deserializer, parse_duration)
}

/// A plain number of bytes reaches this as its digits.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    parsed(deserializer, parse_size)
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Regex, D::Error> {
    parsed(deserializer, parse_pattern)
}

fn backend<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Backend, D::Error> {
    parsed(deserializer, parse_backend)
}

fn adopt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Adopt, D::Error> {
    parsed(deserializer, parse_adopt)
}

fn device<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Device, D::Error> {
    parsed(deserializer, parse_device)
}

fn launcher<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Launcher, D::Error> {
    parsed(deserializer, parse_launcher)
}

fn log_write<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LogWrite, D::Error> {
    parsed(deserializer, parse_log_write)
}

fn platform<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Platform>, D::Error> {
    parsed(deserializer, parse_platform).map(Some)
}

fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    parsed(deserializer, parse_mode)
}

fn alert_format<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AlertFormat, D::Error> {
    parsed(deserializer, parse_format)
}

fn alert_kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AlertKind>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    words.iter().map(|word| parse_kind(word).map_err(D::Error::custom)).collect()
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderNames, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let meaning = |(text, word): (String, String)| {
        let meaning = parse_header(&word).map_err(|fault| D::Error::custom(fault.problem))?;
        Ok((text, meaning))
    };
    texts.into_iter().map(meaning).collect()
}

fn severity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Severity, D::Error> {
    parsed(deserializer, parse_severity)
}
