//! Which events and which conditions people are alerted of.
//!
//! Trouble is alerted once for each run and cause until it has ended; its end is told where the
//! trouble was. Both are part of the transaction that holds the event, so an alert is as durable as
//! what it tells of.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::alert::{Alert, AlertKind, AlertState, QueuedAlert, ReceiverKey, Trouble};
use crate::model::event::{Happening, NewEvent};
use crate::model::ids::{CheckpointName, RunId};
use crate::model::journal::Change;
use crate::model::measurement::Verdict;
use crate::model::time::Moment;

use super::Decisions;
use super::alert_conditions::{self, Condition};
use super::alert_queue::{self, Queue};
use super::world::World;

/// Longer texts are cut: a message is no place for a whole traceback.
const LONGEST_TEXT: usize = 1200;
/// How often the daemon's own conditions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The causes of a run, each alone or before a `:`.
const FAIL: &str = "fail";
const STALLED: &str = "stalled";
const TRAINING: &str = "training_failure:";
const ANALYSIS: &str = "analysis:";

/// What is known of alerts.
#[derive(Debug, Default)]
pub(crate) struct Alerts {
    /// Trouble that was alerted and has not ended, and the checkpoint that it was seen at.
    pub(crate) troubles: BTreeMap<Trouble, Option<CheckpointName>>,
    /// What waits for each receiver.
    pub(crate) queues: BTreeMap<ReceiverKey, Queue>,
    /// How many transactions were decided in this life, and how many of them are durable.
    pub(crate) decided: u64,
    pub(crate) durable: u64,
    /// Since when each condition of the daemon is bad.
    pub(super) bad_since: BTreeMap<&'static str, Moment>,
    looked_at: Option<Moment>,
}

impl Alerts {
    /// Takes in what the journal remembers of them.
    pub(crate) fn remembered(
        troubles: Vec<(Trouble, Option<CheckpointName>)>,
        alerts: Vec<QueuedAlert>,
    ) -> Self {
        let queues = alert_queue::remembered(alerts);
        Self { troubles: troubles.into_iter().collect(), queues, ..Self::default() }
    }
}

/// What an alert will say.
pub(super) struct Draft {
    pub(super) kind: AlertKind,
    pub(super) trouble: Trouble,
    pub(super) checkpoint: Option<CheckpointName>,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) facts: BTreeMap<String, Value>,
}

/// Decides what people are alerted of after a step, and what is sent now.
pub(super) fn decide(world: &mut World, is_tick: bool, now: Moment, out: &mut Decisions) {
    if nobody_asks(world) {
        return;
    }
    for event in out.transaction.events.clone() {
        of_event(world, &event, now, out);
    }
    let is_due = world.alerts.looked_at.is_none_or(|at| now.since(at.timestamp()) >= LOOK_EVERY);
    if is_tick && is_due {
        world.alerts.looked_at = Some(now);
        look_at_conditions(world, now, out);
    }
    alert_queue::send_due(world, now, out);
}

/// Returns how soon time alone may make something to tell or to send.
pub(super) fn next_look(world: &World, now: Moment) -> Duration {
    match world.alerts.looked_at {
        _ if nobody_asks(world) => Duration::MAX,
        Some(at) if alert_queue::is_empty(world) => {
            LOOK_EVERY.saturating_sub(now.since(at.timestamp()))
        }
        _ => Duration::ZERO,
    }
}

fn nobody_asks(world: &World) -> bool {
    let alerts = &world.alerts;
    world.settings.alerts.is_empty() && alerts.troubles.is_empty() && alerts.queues.is_empty()
}

fn of_event(world: &mut World, event: &NewEvent, now: Moment, out: &mut Decisions) {
    let Some(run) = &event.run else { return };
    match &event.what {
        Happening::Verdict { verdict: Verdict::Fail, .. } => {
            if let Some(draft) = failed_verdict(run, event) {
                raise(world, draft, now, out);
            }
        }
        Happening::Verdict { verdict: Verdict::Pass | Verdict::Warn, reasons, .. } => {
            let trouble = trouble(run, FAIL);
            let failed_at = world.alerts.troubles.get(&trouble).copied().flatten();
            // What an older checkpoint says does not end the trouble of a newer one.
            if failed_at <= event.checkpoint {
                let title = format!("{run}: the verdict is no longer fail");
                let place = event.checkpoint.map_or_else(String::new, |name| name.to_string());
                let text = format!("{place}: {}", joined(reasons, "passes its gates"));
                end(world, &[trouble], (AlertKind::Fail, title, text), now, out);
            }
        }
        Happening::TrainingFailure { failure, evidence, log, line } => {
            let facts = [
                ("failure", json!(failure)),
                ("log", json!(log)),
                ("line", json!(line)),
                ("evidence", json!(bounded(evidence))),
            ];
            let place = match (log, line) {
                (Some(log), Some(line)) => format!("\n{log}, line {line}"),
                (Some(log), None) => format!("\n{log}"),
                (None, _) => String::new(),
            };
            let draft = Draft {
                kind: AlertKind::TrainingFailure,
                trouble: trouble(run, &format!("{TRAINING}{failure}")),
                checkpoint: event.checkpoint,
                title: format!("{run}: training failure ({failure})"),
                text: format!("{}{place}", bounded(evidence)),
                facts: named(facts),
            };
            raise(world, draft, now, out);
        }
        Happening::RunState { state, evidence } => {
            training_state(world, run, (state, evidence), now, out);
        }
        Happening::AnalysisFailed { .. } => analysis_failed(world, run, event, now, out),
        Happening::AnalysisFinished { .. } => {
            let troubles = troubles_of(world, run, ANALYSIS);
            let title = format!("{run}: its checkpoints can be analyzed again");
            let text = event.checkpoint.map_or_else(String::new, |name| format!("{name} was"));
            end(world, &troubles, (AlertKind::Degraded, title, text), now, out);
        }
        Happening::RunGone => forget(world, &troubles_of(world, run, ""), out),
        Happening::RunSeen { renamed_from: Some(before), .. } => renamed(world, before, run),
        _ => {}
    }
}

fn failed_verdict(run: &RunId, event: &NewEvent) -> Option<Draft> {
    let Happening::Verdict { reasons, rank, measurement, concepts, hidden, threshold, .. } =
        &event.what
    else {
        return None;
    };
    let place = event.checkpoint.map_or_else(String::new, |name| format!(" at {name}"));
    Some(Draft {
        kind: AlertKind::Fail,
        trouble: trouble(run, FAIL),
        checkpoint: event.checkpoint,
        title: format!("{run}: verdict fail{place}"),
        text: joined(reasons, "it does not pass its gates"),
        facts: named([
            ("verdict", json!("fail")),
            ("reasons", json!(reasons)),
            ("rank", json!(rank)),
            ("measurement", json!(measurement)),
            ("concepts", json!(concepts)),
            ("hidden", json!(hidden)),
            ("threshold", json!(threshold)),
        ]),
    })
}

fn training_state(
    world: &mut World,
    run: &RunId,
    (state, evidence): (&str, &str),
    now: Moment,
    out: &mut Decisions,
) {
    let stalled = trouble(run, STALLED);
    match state {
        "stalled" => {
            let draft = Draft {
                kind: AlertKind::Stalled,
                trouble: stalled,
                checkpoint: None,
                title: format!("{run}: training stalled"),
                text: bounded(evidence),
                facts: named([("evidence", json!(bounded(evidence)))]),
            };
            raise(world, draft, now, out);
        }
        "training" | "complete" => {
            let goes =
                if state == "training" { "training goes on" } else { "training is complete" };
            let message = |kind| (kind, format!("{run}: {goes}"), bounded(evidence));
            end(world, &[stalled], message(AlertKind::Stalled), now, out);
            let failures = troubles_of(world, run, TRAINING);
            end(world, &failures, message(AlertKind::TrainingFailure), now, out);
        }
        // What became of it is told by another alert, or is not known: no recovery.
        _ => forget(world, &[stalled], out),
    }
}

/// An analysis that fails is tried again a few times before anybody is told.
fn analysis_failed(
    world: &mut World,
    run: &RunId,
    event: &NewEvent,
    now: Moment,
    out: &mut Decisions,
) {
    let Happening::AnalysisFailed { class, attempt, retry_at, evidence, .. } = &event.what else {
        return;
    };
    if retry_at.is_some() && *attempt <= world.settings.analysis.retries {
        return;
    }
    let class = class.as_str();
    let again = match retry_at {
        Some(at) => format!("tried again at {at}"),
        None => "not tried again".to_owned(),
    };
    let place = event.checkpoint.map_or_else(String::new, |name| format!("{name}: "));
    let draft = Draft {
        kind: AlertKind::Degraded,
        trouble: trouble(run, &format!("{ANALYSIS}{class}")),
        checkpoint: event.checkpoint,
        title: format!("{run}: the analysis fails ({class})"),
        text: format!("{place}{again}\n{}", bounded(evidence)),
        facts: named([
            ("class", json!(class)),
            ("attempt", json!(attempt)),
            ("retry_at", json!(retry_at)),
            ("evidence", json!(bounded(evidence))),
        ]),
    };
    raise(world, draft, now, out);
}

fn look_at_conditions(world: &mut World, now: Moment, out: &mut Decisions) {
    for Condition { cause, patience, bad, fine, state } in alert_conditions::all(world) {
        let trouble = Trouble { run: None, cause: cause.to_owned() };
        match state {
            Some(Err(reason)) => {
                let since = *world.alerts.bad_since.entry(cause).or_insert(now);
                if now.since(since.timestamp()) < patience {
                    continue;
                }
                let draft = Draft {
                    kind: AlertKind::Degraded,
                    trouble,
                    checkpoint: None,
                    title: format!("runscribe: {bad}"),
                    text: bounded(&reason),
                    facts: BTreeMap::new(),
                };
                raise(world, draft, now, out);
            }
            Some(Ok(())) => {
                world.alerts.bad_since.remove(cause);
                let message = (AlertKind::Degraded, format!("runscribe: {fine}"), String::new());
                end(world, &[trouble], message, now, out);
            }
            None => {}
        }
    }
}

/// Tells of trouble, unless it was told of before or nobody wants to hear of it.
fn raise(world: &mut World, draft: Draft, now: Moment, out: &mut Decisions) {
    let receivers = receivers(world, draft.kind);
    if receivers.is_empty() || world.alerts.troubles.contains_key(&draft.trouble) {
        return;
    }
    world.alerts.troubles.insert(draft.trouble.clone(), draft.checkpoint);
    let change = Change::TroubleBegan(draft.trouble.clone(), draft.checkpoint);
    out.transaction.changes.push(change);
    tell(world, &receivers, draft, (AlertState::Raised, now), out);
}

/// Ends trouble, and tells so once if any of it had been told of.
fn end(
    world: &mut World,
    troubles: &[Trouble],
    (kind, title, text): (AlertKind, String, String),
    now: Moment,
    out: &mut Decisions,
) {
    let known: Vec<Trouble> = troubles
        .iter()
        .filter(|trouble| world.alerts.troubles.contains_key(trouble))
        .cloned()
        .collect();
    forget(world, &known, out);
    let Some(trouble) = known.into_iter().next() else { return };
    let draft = Draft { kind, trouble, checkpoint: None, title, text, facts: BTreeMap::new() };
    let receivers = receivers(world, kind);
    tell(world, &receivers, draft, (AlertState::Recovered, now), out);
}

/// Ends trouble without a word.
fn forget(world: &mut World, troubles: &[Trouble], out: &mut Decisions) {
    for trouble in troubles {
        if world.alerts.troubles.remove(trouble).is_some() {
            out.transaction.changes.push(Change::TroubleEnded(trouble.clone()));
        }
    }
}

fn tell(
    world: &mut World,
    receivers: &BTreeSet<ReceiverKey>,
    draft: Draft,
    (state, now): (AlertState, Moment),
    out: &mut Decisions,
) {
    let Draft { kind, trouble, checkpoint, title, text, facts } = draft;
    let alert = Alert {
        id: alert_queue::id(&world.daemon.journal, &trouble, state, now),
        kind,
        state,
        cause: trouble.cause,
        run: trouble.run,
        checkpoint,
        time: now.whole_seconds(),
        title,
        text,
        facts,
        more: Vec::new(),
        more_count: 0,
    };
    for receiver in receivers {
        alert_queue::add(world, receiver, alert.clone(), out);
    }
}

fn receivers(world: &World, kind: AlertKind) -> BTreeSet<ReceiverKey> {
    let wanting = world.settings.alerts.iter().filter(|alert| alert.on.contains(&kind));
    wanting.map(|alert| alert.address.key()).collect()
}

/// The journal renames them as well.
fn renamed(world: &mut World, from: &RunId, to: &RunId) {
    for trouble in troubles_of(world, from, "") {
        if let Some(checkpoint) = world.alerts.troubles.remove(&trouble) {
            let trouble = Trouble { run: Some(to.clone()), ..trouble };
            world.alerts.troubles.insert(trouble, checkpoint);
        }
    }
}

fn troubles_of(world: &World, run: &RunId, causes: &str) -> Vec<Trouble> {
    let of_run =
        |trouble: &&Trouble| trouble.run.as_ref() == Some(run) && trouble.cause.starts_with(causes);
    world.alerts.troubles.keys().filter(of_run).cloned().collect()
}

fn trouble(run: &RunId, cause: &str) -> Trouble {
    Trouble { run: Some(run.clone()), cause: cause.to_owned() }
}

fn joined(reasons: &[String], otherwise: &str) -> String {
    if reasons.is_empty() { otherwise.to_owned() } else { bounded(&reasons.join("; ")) }
}

/// Keeps the end of a long text: that is where programs say why they failed.
fn bounded(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(LONGEST_TEXT);
    if skipped == 0 {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(skipped)).collect()
}

fn named<const N: usize>(facts: [(&str, Value); N]) -> BTreeMap<String, Value> {
    let known = facts.into_iter().filter(|(_, value)| !value.is_null());
    known.map(|(name, value)| (name.to_owned(), value)).collect()
}
