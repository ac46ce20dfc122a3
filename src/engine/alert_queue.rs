//! What waits for each receiver, and when it is sent: in order, one at a time, no faster than the
//! limit, again after a failure, and not for ever.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::model::alert::{Alert, AlertOutcome, AlertState, QueuedAlert, ReceiverKey, Trouble};
use crate::model::ids::Digest;
use crate::model::journal::Change;
use crate::model::status::ReceiverStatus;
use crate::model::time::Moment;
use crate::settings::AlertSettings;

use super::alert_conditions::JOURNAL;
use super::world::World;
use super::{Decisions, Effect};

/// So many messages may follow each other at once, then one for each `REFILL`.
const BURST: u32 = 10;
const REFILL: Duration = Duration::from_mins(1);
/// More than this are not kept for a receiver: later ones are told of in the last one.
const MOST_WAITING: usize = 200;
/// Titles of other alerts that a message quotes.
const QUOTED_TITLES: usize = 5;
/// The first wait after a failure; it doubles up to the longest one.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(15);
/// A receiver's own wish is heard up to here.
const LONGEST_WISH: Duration = Duration::from_hours(1);
/// After this nobody needs the message any more.
const GIVE_UP: Duration = Duration::from_hours(24);
const ID_BYTES: usize = 8;

/// What waits for one receiver.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Waiting>,
    /// The id of the one that is being sent.
    in_flight: Option<String>,
    /// Whether that one is given up if it is not taken this time.
    is_last_try: bool,
    /// Failed attempts of the first one.
    attempts: u32,
    /// Not before this.
    next_try: Option<Moment>,
    /// Messages sent of the burst, and since when one of them is being forgotten.
    spent: u32,
    refilled_at: Option<Moment>,
    /// Whether the limit has held something back.
    is_limited: bool,
    /// Why the last attempt failed.
    problem: Option<String>,
    /// Messages that were never taken.
    lost: u64,
}

#[derive(Debug)]
struct Waiting {
    alert: Alert,
    /// The transaction that makes it durable; it is not sent before.
    transaction: u64,
    /// Whether a receiver may have seen its id: then its text stays as it is.
    is_tried: bool,
}

/// Returns what tells an alert from all others.
pub(super) fn id(journal: &str, trouble: &Trouble, state: AlertState, now: Moment) -> String {
    let run = trouble.run.as_ref().map_or("", |run| run.as_str());
    let text = format!("{journal}\n{run}\n{}\n{state:?}\n{now}", trouble.cause);
    let digest = Sha256::digest(text.as_bytes());
    Digest::from_bytes(digest.get(..ID_BYTES).unwrap_or_default()).as_str().to_owned()
}

/// Takes in what waited when the daemon ended.
pub(super) fn remembered(alerts: Vec<QueuedAlert>) -> BTreeMap<ReceiverKey, Queue> {
    let mut queues: BTreeMap<ReceiverKey, Queue> = BTreeMap::new();
    for QueuedAlert { receiver, alert } in alerts {
        let waiting = &mut queues.entry(receiver).or_default().waiting;
        // Only the first one of each may have been on its way when the daemon ended.
        let is_tried = waiting.is_empty();
        waiting.push_back(Waiting { alert, transaction: 0, is_tried });
    }
    queues
}

/// Puts an alert at the end of a receiver's queue.
pub(super) fn add(world: &mut World, receiver: &ReceiverKey, alert: Alert, out: &mut Decisions) {
    let transaction = world.alerts.decided + 1;
    let queue = world.alerts.queues.entry(receiver.clone()).or_default();
    let is_urgent = is_urgent(&alert);
    if queue.waiting.len() >= MOST_WAITING && !is_urgent {
        if let Some(last) = queue.waiting.back_mut() {
            absorb(&mut last.alert, &alert);
            last.transaction = transaction;
            store(receiver, &last.alert, out);
        }
        return;
    }
    store(receiver, &alert, out);
    // What says that nothing can be stored does not wait for what cannot be stored.
    let end = queue.waiting.len();
    let place = if is_urgent { usize::from(queue.is_busy()).min(end) } else { end };
    queue.waiting.insert(place, Waiting { alert, transaction, is_tried: false });
}

/// Sends what is due to each receiver that is not busy.
pub(super) fn send_due(world: &mut World, now: Moment, out: &mut Decisions) {
    if world.stopping {
        return;
    }
    let durable = world.alerts.durable;
    for settings in &world.settings.alerts {
        let receiver = settings.address.key();
        let Some(queue) = world.alerts.queues.get_mut(&receiver) else { continue };
        if queue.is_due(durable, now) {
            queue.fold(&receiver, durable, out);
            queue.send(settings, now, out);
        }
    }
}

/// Takes in what became of one that was sent.
pub(super) fn sent(
    world: &mut World,
    (receiver, id): (&ReceiverKey, &str),
    outcome: AlertOutcome,
    now: Moment,
    out: &mut Decisions,
) {
    let Some(queue) = world.alerts.queues.get_mut(receiver) else { return };
    if queue.in_flight.as_deref() != Some(id) {
        return;
    }
    queue.in_flight = None;
    if queue.waiting.is_empty() {
        return;
    }
    queue.problem = match outcome {
        AlertOutcome::Delivered => None,
        AlertOutcome::Later { problem, wait } if !queue.is_last_try => {
            queue.attempts = queue.attempts.saturating_add(1);
            let own = wait_after(queue.attempts, id);
            let wait = own.max(wait.unwrap_or_default().min(LONGEST_WISH));
            queue.next_try = Some(now.after(wait));
            queue.problem = Some(problem);
            return;
        }
        AlertOutcome::Later { problem, .. } => {
            queue.lost += 1;
            Some(format!("given up after 24 h: {problem}"))
        }
        AlertOutcome::Refused { problem } => {
            queue.lost += 1;
            Some(problem)
        }
    };
    queue.attempts = 0;
    queue.next_try = None;
    let taken = queue.waiting.pop_front();
    out.transaction.changes.extend(
        taken.map(|first| Change::AlertEnded { receiver: receiver.clone(), id: first.alert.id }),
    );
}

/// Drops what waits for receivers that are not configured any more.
pub(super) fn drop_unknown(world: &mut World, out: &mut Decisions) {
    let known: BTreeSet<ReceiverKey> =
        world.settings.alerts.iter().map(|alert| alert.address.key()).collect();
    world.alerts.queues.retain(|receiver, queue| {
        if known.contains(receiver) {
            return true;
        }
        let ids = queue.waiting.drain(..).map(|one| one.alert.id);
        let ended = ids.map(|id| Change::AlertEnded { receiver: receiver.clone(), id });
        out.transaction.changes.extend(ended);
        false
    });
}

/// Returns how each receiver is reached, in the order of the configuration.
pub(super) fn status(world: &World) -> Vec<ReceiverStatus> {
    let status = |settings: &AlertSettings| {
        let queue = world.alerts.queues.get(&settings.address.key());
        ReceiverStatus {
            address: settings.address.to_string(),
            format: settings.format.as_str(),
            waiting: queue.map_or(0, |queue| queue.waiting.len() as u64),
            lost: queue.map_or(0, |queue| queue.lost),
            problem: queue.and_then(|queue| queue.problem.clone()),
        }
    };
    world.settings.alerts.iter().map(status).collect()
}

/// Returns whether nothing waits to be sent.
pub(super) fn is_empty(world: &World) -> bool {
    world.alerts.queues.values().all(|queue| queue.waiting.is_empty())
}

/// Returns whether anything is being sent.
pub fn alerts_in_flight(world: &World) -> bool {
    world.alerts.queues.values().any(Queue::is_busy)
}

/// Returns whether anything is being sent or will be at once: neither held back by the limit nor
/// waiting for another attempt.
pub fn alerts_on_their_way(world: &World) -> bool {
    let comes = |queue: &Queue| {
        queue.is_busy() || (!queue.waiting.is_empty() && queue.attempts == 0 && !queue.is_limited)
    };
    world.alerts.queues.values().any(comes)
}

impl Queue {
    fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether the first one may be sent now.
    fn is_due(&mut self, durable: u64, now: Moment) -> bool {
        let Some(first) = self.waiting.front() else { return false };
        let is_durable = first.transaction <= durable || is_urgent(&first.alert);
        // A clock that was set back must not make a wait of years.
        let waits =
            self.next_try.is_some_and(|at| now < at && at.since(now.timestamp()) <= LONGEST_WISH);
        if self.is_busy() || waits || !is_durable {
            return false;
        }
        // One that is tried again was counted when it was tried first.
        if self.attempts == 0 && !self.has_room(now) {
            self.is_limited = true;
            return false;
        }
        true
    }

    fn has_room(&mut self, now: Moment) -> bool {
        let since = *self.refilled_at.get_or_insert(now);
        let passed = now.since(since.timestamp()).as_secs() / REFILL.as_secs();
        if now < since || self.spent == 0 {
            self.refilled_at = Some(now);
        } else if passed > 0 {
            let refilled = u32::try_from(passed).unwrap_or(u32::MAX);
            self.spent = self.spent.saturating_sub(refilled);
            self.refilled_at = Some(since.after(REFILL.saturating_mul(refilled)));
        }
        self.spent < BURST
    }

    /// Where the limit held messages back, tells of all that wait in the first one that was not
    /// tried yet: it has an id that no receiver has seen.
    fn fold(&mut self, receiver: &ReceiverKey, durable: u64, out: &mut Decisions) {
        let is_new = self.waiting.front().is_some_and(|first| !first.is_tried);
        if !self.is_limited || !is_new {
            return;
        }
        self.is_limited = false;
        let Some(mut first) = self.waiting.pop_front() else { return };
        let may_be_told = |next: &Waiting| next.transaction <= durable && !next.is_tried;
        while self.waiting.front().is_some_and(may_be_told) {
            let Some(next) = self.waiting.pop_front() else { break };
            absorb(&mut first.alert, &next.alert);
            let id = next.alert.id;
            out.transaction.changes.push(Change::AlertEnded { receiver: receiver.clone(), id });
        }
        store(receiver, &first.alert, out);
        self.waiting.push_front(first);
    }

    fn send(&mut self, settings: &AlertSettings, now: Moment, out: &mut Decisions) {
        let Some(first) = self.waiting.front_mut() else { return };
        first.is_tried = true;
        if self.attempts == 0 {
            self.refilled_at.get_or_insert(now);
            self.spent += 1;
        }
        self.in_flight = Some(first.alert.id.clone());
        // Decided here, so that who sends it says the right thing of a failure.
        self.is_last_try = now.since(first.alert.time.timestamp()) >= GIVE_UP;
        let (receiver, alert) = (Box::new(settings.clone()), Box::new(first.alert.clone()));
        let is_last = self.is_last_try;
        out.effects.push(Effect::SendAlert { receiver, alert, is_last });
    }
}

/// Whether it must go out although it cannot be stored.
fn is_urgent(alert: &Alert) -> bool {
    alert.run.is_none() && alert.cause == JOURNAL && alert.state == AlertState::Raised
}

fn store(receiver: &ReceiverKey, alert: &Alert, out: &mut Decisions) {
    let queued = QueuedAlert { receiver: receiver.clone(), alert: alert.clone() };
    out.transaction.changes.push(Change::Alert(Box::new(queued)));
}

fn absorb(into: &mut Alert, other: &Alert) {
    into.more_count += 1 + other.more_count;
    let titles = std::iter::once(&other.title).chain(&other.more);
    let room = QUOTED_TITLES.saturating_sub(into.more.len());
    into.more.extend(titles.take(room).cloned());
}

/// Returns the wait after so many failures, a fifth shorter or longer so that many messages do not
/// come at once. The id is as good as chance, and the same in every life.
fn wait_after(attempts: u32, id: &str) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    let wait = doubled.min(LONGEST_WAIT);
    let seed = Sha256::digest(format!("{id} {attempts}").as_bytes());
    let share = seed.first().copied().unwrap_or_default();
    wait.mul_f64(0.8 + 0.4 * f64::from(share) / 255.0)
}
