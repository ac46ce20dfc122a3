//! Failures of training: each cause once, with its first line of evidence and its role.

use bstr::ByteSlice;
use serde::{Deserialize, Serialize};

use super::super::redact::presentable;
use super::evidence::{
    Sign, TrainingFailureClass, Weight, sign_anywhere, sign_of_exception, sign_of_message,
};
use super::launcher::{self, ChildEnd, RootCauseReader};
use super::lines::split_rank;
use super::roles;
use super::traceback::{self, Part, Prelude, Traceback};

/// The longest text of a failure, in characters.
pub(super) const MAX_TEXT_CHARS: usize = 500;
/// More failures than a training has causes.
const MAX_FAILURES: usize = 64;
/// Exceptions of one chain that are remembered.
const MAX_CHAIN: usize = 16;
/// Ranks whose tracebacks are followed at the same time.
const MAX_STREAMS: usize = 64;
/// A traceback begins within so many lines of what introduces it.
const PRELUDE_REACH: u64 = 2;

/// Whether a failure is the cause or an effect of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// The cause.
    Root,
    /// Follows from another failure.
    Cascade,
}

impl Role {
    /// Returns the name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Cascade => "cascade",
        }
    }
}

/// A failure of training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Why.
    pub class: TrainingFailureClass,
    /// Cause or effect.
    pub role: Role,
    /// The line of `text`, counted from 1.
    pub line: u64,
    /// The first line of evidence: readable, redacted, at most 500 characters.
    pub text: String,
    /// Whether training ended by it; what only a metric shows ends nothing.
    pub ends_training: bool,
}

impl Failure {
    /// Moves it to stronger evidence.
    fn restate(&mut self, class: TrainingFailureClass, line: u64, text: String) {
        self.class = class;
        self.line = line;
        self.text = text;
    }
}

/// Where a failure was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Source {
    /// In a metric; nothing ended by it.
    Metric,
    /// In the output of training itself.
    Process,
    /// In what a launcher says of its child.
    Launcher { informative: bool, is_torchrun: bool },
}

/// A failure with what decides about it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) source: Source,
    weight: Weight,
    pub(super) failure: Failure,
    /// Its exceptions' lines without their digits, as hashes: other ranks repeat them.
    likenesses: Vec<u64>,
    /// What was last given out, as a hash.
    given: Option<u64>,
}

/// Reads failures from the lines of a log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct FailureTracker {
    /// The failures of the present training.
    entries: Vec<Entry>,
    /// How many failures the trainings before had.
    passed: usize,
    /// Tracebacks that are being read, by rank; `None` for output without a rank's prefix.
    tracebacks: Vec<(Option<u32>, Traceback)>,
    prelude: (Prelude, u64),
    root_cause: RootCauseReader,
    changed: bool,
}

impl FailureTracker {
    /// Returns whether the next line matters whatever it holds.
    pub(super) fn needs_every_line(&self) -> bool {
        !self.tracebacks.is_empty() || self.root_cause.is_inside()
    }

    /// Returns whether a failure ended the present training.
    pub(super) fn has_ended_training(&self) -> bool {
        self.entries.iter().any(|entry| entry.source != Source::Metric)
    }

    /// Begins another training of the same log.
    pub(super) fn begin_training(&mut self) {
        self.passed = self.passed.saturating_add(self.entries.len());
        self.entries.clear();
        self.changed = false;
        self.tracebacks.clear();
        self.root_cause = RootCauseReader::default();
    }

    /// Takes note of what a metric shows, which was not told before.
    pub(super) fn saw_metric(&mut self, class: TrainingFailureClass, line: u64, text: String) {
        let sign = Sign { class, weight: Weight::Specific };
        self.push(Source::Metric, sign, line, text);
    }

    /// Reads a line without escape sequences; a blank one ends the message of an exception.
    pub(super) fn read(&mut self, line: u64, text: &[u8]) {
        let (rank, text) = split_rank(text);
        self.read_root_cause(line, text);
        if text.contains_str(traceback::HEADER) {
            self.read_header(rank, line, text);
            return;
        }
        if launcher::is_scheduler_line(text) {
            self.read_other(line, text);
            return;
        }
        let part = self.read_traceback(rank, line, text);
        match part {
            Part::Inside | Part::Exception(_) | Part::Message => {}
            Part::Other | Part::Over => self.read_other(line, text),
        }
    }

    /// Gives the failures that are new or changed, with their indices.
    pub(super) fn take_changes(&mut self) -> Vec<(usize, Failure)> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        let roles: Vec<Role> =
            self.entries.iter().map(|entry| roles::role_of(entry, &self.entries)).collect();
        let mut changes = Vec::new();
        for ((index, entry), role) in self.entries.iter_mut().enumerate().zip(roles) {
            entry.failure.role = role;
            let told = digest(&entry.failure);
            if entry.given.replace(told) != Some(told) {
                changes.push((self.passed.saturating_add(index), entry.failure.clone()));
            }
        }
        changes
    }

    fn read_root_cause(&mut self, line: u64, text: &[u8]) {
        if let Some(end) = self.root_cause.read(text) {
            self.torchrun_ended(end, line, text);
        }
    }

    fn read_header(&mut self, rank: Option<u32>, line: u64, text: &[u8]) {
        let (prelude, at) = self.prelude;
        let prelude =
            if line.saturating_sub(at) <= PRELUDE_REACH { prelude } else { Prelude::None };
        let known = self.tracebacks.iter().position(|(known, _)| *known == rank);
        let traceback = match known.map(|at| self.tracebacks.swap_remove(at)) {
            Some((_, before)) => before.header(line, text, prelude),
            None => Traceback::begin(line, text, prelude),
        };
        if self.tracebacks.len() < MAX_STREAMS {
            self.tracebacks.push((rank, traceback));
        }
    }

    fn read_traceback(&mut self, rank: Option<u32>, line: u64, text: &[u8]) -> Part {
        let Some(at) = self.tracebacks.iter().position(|(known, _)| *known == rank) else {
            return Part::Other;
        };
        let (_, mut traceback) = self.tracebacks.swap_remove(at);
        let part = traceback.line(line, text);
        match &part {
            Part::Exception(name) => {
                traceback.failure = self.exception(&traceback, name, line, text);
            }
            Part::Message => self.message(&traceback, line, text),
            Part::Inside | Part::Other | Part::Over => {}
        }
        if part != Part::Over {
            self.tracebacks.push((rank, traceback));
        }
        part
    }

    /// Takes note of an exception; gives the index of its failure.
    fn exception(
        &mut self,
        traceback: &Traceback,
        name: &str,
        line: u64,
        text: &[u8],
    ) -> Option<usize> {
        let shown = presentable(text, MAX_TEXT_CHARS);
        if let Some(end) = launcher::exception_end(name, text, traceback.context.is_launcher) {
            let is_torchrun = name.ends_with("ChildFailedError");
            return match self.torchrun_entry() {
                Some(known) if is_torchrun => Some(known),
                _ => self.add_launcher(end, is_torchrun, line, shown),
            };
        }
        let sign = sign_of_exception(name, text, traceback.context);
        let matters = match traceback.prelude {
            Prelude::None => true,
            Prelude::Ignored => false,
            Prelude::Thread => sign.weight >= Weight::Specific,
        };
        if !matters {
            return None;
        }
        match traceback.failure {
            Some(index) => {
                self.join_chain(index, sign, line, shown);
                Some(index)
            }
            None => self.add(Source::Process, sign, line, shown),
        }
    }

    /// A chain of exceptions is one failure, and its strongest line is its evidence. Of lines
    /// that are equally strong but disagree, the last one is what ended the process.
    fn join_chain(&mut self, index: usize, sign: Sign, line: u64, text: String) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        if entry.likenesses.len() < MAX_CHAIN {
            entry.likenesses.push(likeness(&text));
        }
        let is_specific = sign.weight >= Weight::Specific;
        let disagrees = is_specific && sign.class != entry.failure.class;
        if sign.weight > entry.weight || (sign.weight == entry.weight && disagrees) {
            entry.weight = sign.weight;
            entry.failure.restate(sign.class, line, text);
            self.changed = true;
        }
    }

    /// A further line of a message decides only if it says more than the lines before it.
    fn message(&mut self, traceback: &Traceback, line: u64, text: &[u8]) {
        let (Some(index), Some(sign)) = (traceback.failure, sign_of_message(text)) else { return };
        let is_stronger =
            |entry: &&mut Entry| entry.source == Source::Process && sign.weight > entry.weight;
        if let Some(entry) = self.entries.get_mut(index).filter(is_stronger) {
            let text = presentable(text, MAX_TEXT_CHARS);
            entry.weight = sign.weight;
            entry.failure.restate(sign.class, line, text);
            self.changed = true;
        }
    }

    /// Reads a line that belongs to no traceback.
    fn read_other(&mut self, line: u64, text: &[u8]) {
        let prelude = Prelude::of(text);
        if prelude != Prelude::None {
            self.prelude = (prelude, line);
        }
        if let Some(end) = launcher::agent_end(text) {
            self.torchrun_ended(end, line, text);
        } else if let Some(end) = launcher::shell_end(text) {
            self.add_launcher(end, false, line, presentable(text, MAX_TEXT_CHARS));
        } else if let Some(sign) = sign_of_other(text) {
            self.add(Source::Process, sign, line, presentable(text, MAX_TEXT_CHARS));
        }
    }

    fn torchrun_entry(&self) -> Option<usize> {
        let is_torchrun =
            |entry: &Entry| matches!(entry.source, Source::Launcher { is_torchrun: true, .. });
        self.entries.iter().position(is_torchrun)
    }

    /// Takes note of what torchrun says of its first failed child. The block that names the root
    /// cause comes last and replaces what was said before.
    fn torchrun_ended(&mut self, end: ChildEnd, line: u64, text: &[u8]) {
        let text = presentable(text, MAX_TEXT_CHARS);
        let known = self.torchrun_entry();
        match known.and_then(|index| self.entries.get_mut(index)) {
            Some(entry) => {
                entry.source = Source::Launcher { informative: end.informative, is_torchrun: true };
                entry.failure.restate(end.class, line, text);
                self.changed = true;
            }
            None => {
                self.add_launcher(end, true, line, text);
            }
        }
    }

    fn add_launcher(
        &mut self,
        end: ChildEnd,
        is_torchrun: bool,
        line: u64,
        text: String,
    ) -> Option<usize> {
        let source = Source::Launcher { informative: end.informative, is_torchrun };
        self.add(source, Sign { class: end.class, weight: Weight::Generic }, line, text)
    }

    /// Adds a failure unless it repeats one that is known; gives the index of either.
    fn add(&mut self, source: Source, sign: Sign, line: u64, text: String) -> Option<usize> {
        let without_digits = likeness(&text);
        let is_repeat = |entry: &Entry| {
            entry.source == source
                && (entry.likenesses.contains(&without_digits)
                    || (entry.failure.class == sign.class && is_one_cause(sign.class)))
        };
        match self.entries.iter().position(is_repeat) {
            Some(known) => Some(known),
            None => self.push(source, sign, line, text),
        }
    }

    /// Adds a failure if there is room for it; gives its index.
    fn push(&mut self, source: Source, sign: Sign, line: u64, text: String) -> Option<usize> {
        if self.entries.len() >= MAX_FAILURES {
            return None;
        }
        self.changed = true;
        let likenesses = vec![likeness(&text)];
        let ends_training = source != Source::Metric;
        let failure = Failure { class: sign.class, role: Role::Root, line, text, ends_training };
        self.entries.push(Entry { source, weight: sign.weight, failure, likenesses, given: None });
        Some(self.entries.len() - 1)
    }
}

/// Returns whether all failures of a class have one cause, whatever words each rank has for it.
fn is_one_cause(class: TrainingFailureClass) -> bool {
    matches!(
        class,
        TrainingFailureClass::OutOfMemory
            | TrainingFailureClass::Nccl
            | TrainingFailureClass::DiskFull
            | TrainingFailureClass::Interrupted
            | TrainingFailureClass::NonFinite
    )
}

/// Returns what a line outside of tracebacks says; `what():` is C++'s exception line.
fn sign_of_other(text: &[u8]) -> Option<Sign> {
    if text.trim_ascii_start().starts_with(b"what():") {
        sign_of_message(text)
    } else {
        sign_anywhere(text)
    }
}

/// Returns a hash of a text without its digits: process ids, ports and GPU numbers differ between
/// ranks.
fn likeness(text: &str) -> u64 {
    hash(text.bytes().filter(|byte| !byte.is_ascii_digit()))
}

fn digest(failure: &Failure) -> u64 {
    let Failure { class, role, line, text, ends_training: _ } = failure;
    let names = class.as_str().bytes().chain(role.as_str().bytes());
    hash(names.chain(line.to_le_bytes()).chain(text.bytes()))
}

/// FNV-1a, which stays the same from one build to the next.
fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
