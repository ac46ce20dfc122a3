//! Alerts: told once, told to be over once, no faster than the limit, and never lost silently.

use super::*;
use crate::engine::alerts;
use crate::model::alert::AlertKind;
use crate::model::alert::AlertState;
use crate::settings::AlertAddress;

const OTHER_RUN: &str = "mlm_H64L2C128D2_20261123_070000";

impl Play {
    fn with_receivers(receivers: &[(&str, &[AlertKind])]) -> Self {
        let mut play = Self::new();
        play.tell(receivers);
        play
    }

    /// One receiver that wants everything.
    fn with_receiver() -> Self {
        Self::with_receivers(&[("https://one/", &AlertKind::ALL)])
    }

    fn tell(&mut self, receivers: &[(&str, &[AlertKind])]) {
        let mut settings = crate::settings::defaults(Path::new("/project"));
        settings.alerts = receivers
            .iter()
            .map(|(url, on)| AlertSettings {
                address: AlertAddress::parse(url).unwrap_or_else(|fault| panic!("{fault}")),
                format: crate::model::alert::AlertFormat::Json,
                on: on.to_vec(),
            })
            .collect();
        self.event(Event::Reloaded(Arc::new(settings), Vec::new()));
    }

    /// Lets time pass, at whose end everything was just scanned.
    fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
        let ended = self.now;
        let took = Duration::from_millis(1);
        self.event(Event::Reconciled { ended, took, watches: 1, backend: "inotify" });
        self.event(Event::Tick);
    }

    /// Makes durable what was decided.
    fn commit(&mut self) {
        let transactions = self.world.alerts.decided;
        self.event(Event::Recorded { last_seq: 1, transactions });
    }

    /// Lets all receivers answer until nothing more is sent, and returns what they were sent.
    fn answered(&mut self, answer: impl Fn(&Alert) -> AlertOutcome) -> Vec<Alert> {
        let mut all = Vec::new();
        self.commit();
        while !self.sent.is_empty() {
            for (receiver, alert) in std::mem::take(&mut self.sent) {
                let outcome = answer(&alert);
                self.event(Event::AlertSent(receiver, alert.id.clone(), outcome));
                all.push(alert);
            }
            self.commit();
        }
        all
    }

    fn delivered(&mut self) -> Vec<String> {
        self.answered(|_| AlertOutcome::Delivered).iter().map(line).collect()
    }

    fn verdict(&mut self, run: &str, step: u64, rank: f64) {
        let name = format!("checkpoint-{step}");
        self.show(run, &[(&name, complete(&format!("{run}{step}{rank}")))]);
        self.end(reported(rank));
    }
}

fn line(alert: &Alert) -> String {
    let state = match alert.state {
        AlertState::Raised => "!",
        AlertState::Recovered => "ok",
    };
    format!("{state} {} {}", alert.kind.as_str(), alert.title.replace(RUN, "RUN"))
}

fn later(problem: &str) -> AlertOutcome {
    AlertOutcome::Later { problem: problem.to_owned(), wait: None }
}

#[test]
fn nobody_is_told_where_nobody_asked() {
    let mut play = Play::new();
    play.verdict(RUN, 20, 3.0);
    play.pass(600);
    assert_eq!(play.delivered(), Vec::<String>::new());
    assert_eq!(play.journal.memory.troubles, Vec::new());
    // Who asks later hears of what happens then.
    play.tell(&[("https://one/", &AlertKind::ALL)]);
    assert_eq!(play.delivered(), Vec::<String>::new());
}

#[test]
fn a_failed_verdict_is_told_once_and_its_end_once() {
    let mut play = Play::with_receiver();
    play.verdict(RUN, 20, 30.0);
    assert_eq!(play.delivered(), Vec::<String>::new());
    play.verdict(RUN, 40, 3.0);
    play.verdict(RUN, 60, 2.0);
    let told = play.answered(|_| AlertOutcome::Delivered);
    assert_eq!(
        told.iter().map(line).collect::<Vec<_>>(),
        ["! fail RUN: verdict fail at checkpoint-40"]
    );
    assert_eq!(told[0].facts["rank"], 3.0);
    assert_eq!(told[0].text, "effective rank 3.0 < 10.0 (10/128)");
    // An older checkpoint that passes says nothing of the newer one.
    play.verdict(RUN, 30, 30.0);
    assert_eq!(play.delivered(), Vec::<String>::new());
    play.verdict(RUN, 80, 30.0);
    play.verdict(RUN, 100, 30.0);
    assert_eq!(play.delivered(), ["ok fail RUN: the verdict is no longer fail"]);
    play.verdict(RUN, 120, 3.0);
    assert_eq!(play.delivered(), ["! fail RUN: verdict fail at checkpoint-120"]);
}

#[test]
fn what_is_not_durable_is_not_sent() {
    let mut play = Play::with_receiver();
    play.commit();
    play.verdict(RUN, 40, 3.0);
    play.pass(60);
    assert_eq!(play.sent.len(), 0);
    assert!(alerts_on_their_way(&play.world));
    play.commit();
    assert_eq!(play.sent.len(), 1);
    assert!(alerts_in_flight(&play.world));
}

#[test]
fn a_restart_repeats_what_was_not_marked_and_nothing_else() {
    let mut play = Play::with_receiver();
    play.verdict(RUN, 40, 3.0);
    assert_eq!(play.delivered().len(), 1);
    play.verdict(RUN, 60, 30.0);
    play.commit();
    let (_, before) = play.sent.remove(0);
    // Killed before the outcome was known.
    play.restart();
    play.tell(&[("https://one/", &AlertKind::ALL)]);
    play.verdict(RUN, 80, 30.0);
    assert_eq!(play.answered(|_| AlertOutcome::Delivered), [before]);
    play.verdict(RUN, 100, 3.0);
    assert_eq!(play.delivered().len(), 1);
    assert_eq!(play.journal.memory.alerts, []);
    // What was told stays told in the next life.
    play.restart();
    play.tell(&[("https://one/", &AlertKind::ALL)]);
    play.verdict(RUN, 120, 3.0);
    assert_eq!(play.delivered(), Vec::<String>::new());
    play.verdict(RUN, 140, 30.0);
    assert_eq!(play.delivered().len(), 1);
}

#[test]
fn each_receiver_hears_what_it_asked_for_and_waits_for_no_other() {
    let mut play = Play::with_receivers(&[
        ("https://down/", &[AlertKind::Fail]),
        ("https://up/", &[AlertKind::Fail, AlertKind::Degraded]),
        ("https://deaf/", &[AlertKind::Stalled]),
    ]);
    play.verdict(RUN, 40, 3.0);
    play.verdict(RUN, 60, 30.0);
    play.commit();
    let receivers: Vec<ReceiverKey> = play.sent.iter().map(|sent| sent.0.clone()).collect();
    assert_eq!(receivers.len(), 2);
    let (down, first) = play.sent.remove(0);
    let (up, _) = play.sent.remove(0);
    play.event(Event::AlertSent(down, first.id, later("answered 503")));
    play.event(Event::AlertSent(up, play_id(&play), AlertOutcome::Delivered));
    assert_eq!(play.sent.len(), 1, "the second message of the one that answers");
    let status = snapshot(&play.world, play.now);
    let waiting: Vec<u64> = status.alerts.iter().map(|one| one.waiting).collect();
    assert_eq!(waiting, [2, 1, 0]);
    assert_eq!(status.alerts[0].problem.as_deref(), Some("answered 503"));
    assert!(status.problems.iter().any(|problem| problem.contains("https://down/…")));
}

/// All receivers get the same id of one alert.
fn play_id(play: &Play) -> String {
    play.journal.memory.alerts[0].alert.id.clone()
}

#[test]
fn a_failed_attempt_is_repeated_ever_more_rarely_and_then_given_up() {
    let mut play = Play::with_receiver();
    play.verdict(RUN, 40, 3.0);
    let mut attempts = Vec::new();
    for minute in 0..25 * 60 {
        if !play.answered(|_| later("answered 503")).is_empty() {
            attempts.push(minute);
        }
        play.pass(60);
    }
    assert!((80..140).contains(&attempts.len()), "{} attempts: {attempts:?}", attempts.len());
    assert!(attempts.last().is_some_and(|last| (24 * 60 - 1..=24 * 60 + 20).contains(last)));
    assert_eq!(play.last_tries, 1, "only of the last one it was said that none follows");
    let status = snapshot(&play.world, play.now);
    assert_eq!((status.alerts[0].waiting, status.alerts[0].lost), (0, 1));
    assert_eq!(play.journal.memory.alerts, []);
    // The next one is tried at once, and its success ends the complaint.
    play.verdict(RUN, 60, 30.0);
    assert_eq!(play.delivered().len(), 1);
    assert_eq!(snapshot(&play.world, play.now).alerts[0].problem, None);
}

#[test]
fn a_receivers_wish_is_respected_within_bounds() {
    for (wish, silent, after) in [(600, 590, 620), (1_000_000, 3500, 3700)] {
        let mut play = Play::with_receiver();
        play.verdict(RUN, 40, 3.0);
        let wait = Some(Duration::from_secs(wish));
        play.answered(|_| AlertOutcome::Later { problem: "answered 429".to_owned(), wait });
        play.pass(silent);
        assert_eq!(play.delivered(), Vec::<String>::new());
        play.pass(after - silent);
        assert_eq!(play.delivered().len(), 1);
    }
}

#[test]
fn a_refused_one_is_given_up_at_once_and_said() {
    let mut play = Play::with_receiver();
    play.verdict(RUN, 40, 3.0);
    let refused = |_: &Alert| AlertOutcome::Refused { problem: "answered 404".to_owned() };
    assert_eq!(play.answered(refused).len(), 1);
    let status = snapshot(&play.world, play.now);
    assert_eq!((status.alerts[0].waiting, status.alerts[0].lost), (0, 1));
    assert_eq!(status.alerts[0].problem.as_deref(), Some("answered 404"));
}

#[test]
fn too_many_are_told_of_in_one_and_none_is_lost() {
    let mut play = Play::with_receiver();
    for step in 1..=40 {
        // Each fails, and each next one passes: forty alerts.
        play.verdict(RUN, step, if step % 2 == 1 { 3.0 } else { 30.0 });
    }
    assert_eq!(play.delivered().len(), 10);
    play.pass(30);
    assert_eq!(play.delivered(), Vec::<String>::new());
    assert!(!alerts_on_their_way(&play.world));
    play.pass(31);
    let told = play.answered(|_| AlertOutcome::Delivered);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].more_count, told[0].more.len()), (29, 5));
    assert_eq!(play.journal.memory.alerts, []);
    // After a quiet time there is room again.
    play.pass(700);
    for step in 41..=50 {
        play.verdict(RUN, step, if step % 2 == 1 { 3.0 } else { 30.0 });
    }
    assert_eq!(play.delivered().len(), 10);
}

#[test]
fn what_waits_for_a_receiver_that_is_away_is_bounded() {
    let mut play = Play::with_receiver();
    play.verdict(RUN, 1, 3.0);
    play.answered(|_| later("connection refused"));
    for step in 2..=400 {
        play.verdict(RUN, step, if step % 2 == 1 { 3.0 } else { 30.0 });
    }
    assert_eq!(play.journal.memory.alerts.len(), 200);
    play.pass(3600);
    let mut told = play.answered(|_| AlertOutcome::Delivered);
    for _ in 0..20 {
        play.pass(61);
        told.extend(play.answered(|_| AlertOutcome::Delivered));
    }
    let count: u64 = told.iter().map(|alert| 1 + alert.more_count).sum();
    assert_eq!(count, 400);
    assert_eq!(play.journal.memory.alerts, []);
}

#[test]
fn training_is_followed_from_stall_to_recovery() {
    let mut play = Play::with_receiver();
    let run = RunId::new(RUN);
    let states =
        [("stalled", "silent"), ("stalled", "silent"), ("training", "a line"), ("training", "x")];
    for (state, evidence) in states {
        told(&mut play, &run, run_state(state, evidence));
    }
    assert_eq!(
        play.delivered(),
        ["! stalled RUN: training stalled", "ok stalled RUN: training goes on"]
    );
    told(&mut play, &run, failure("out_of_memory"));
    told(&mut play, &run, failure("out_of_memory"));
    told(&mut play, &run, failure("nccl"));
    told(&mut play, &run, run_state("failed", "x"));
    told(&mut play, &run, run_state("training", "restarted"));
    assert_eq!(
        play.delivered(),
        [
            "! training_failure RUN: training failure (out_of_memory)",
            "! training_failure RUN: training failure (nccl)",
            "ok training_failure RUN: training goes on",
        ]
    );
    // A stall that becomes a failure has not recovered.
    told(&mut play, &run, run_state("stalled", "silent"));
    told(&mut play, &run, run_state("failed", "x"));
    told(&mut play, &run, run_state("complete", "x"));
    assert_eq!(play.delivered(), ["! stalled RUN: training stalled"]);
    assert_eq!(play.journal.memory.troubles, []);
}

#[test]
fn a_run_that_is_renamed_or_deleted_takes_its_trouble_along() {
    let mut play = Play::with_receiver();
    let (run, other) = (RunId::new(RUN), RunId::new(OTHER_RUN));
    told(&mut play, &run, run_state("stalled", "silent"));
    told(&mut play, &other, Happening::RunSeen { old: false, renamed_from: Some(run) });
    told(&mut play, &other, run_state("training", "a line"));
    assert_eq!(play.delivered().len(), 2);
    told(&mut play, &other, run_state("stalled", "silent"));
    told(&mut play, &other, Happening::RunGone);
    assert_eq!(play.delivered().len(), 1);
    assert!(play.world.alerts.troubles.is_empty());
}

#[test]
fn failing_analyses_are_told_once_for_each_run_and_class_after_the_quick_retries() {
    let mut play = Play::with_receiver();
    play.show(RUN, &[("checkpoint-20", complete("a")), ("checkpoint-40", complete("b"))]);
    for attempt in 0..4 {
        assert_eq!(play.delivered(), Vec::<String>::new(), "attempt {attempt}");
        while !play.orders.is_empty() {
            play.end(failed(FailureClass::OutOfMemory));
        }
        if attempt == 2 {
            break;
        }
        play.pass(3600);
    }
    assert_eq!(play.delivered(), ["! degraded RUN: the analysis fails (out_of_memory)"]);
    play.pass(7200);
    play.end(failed(FailureClass::OutOfMemory));
    assert_eq!(play.delivered(), Vec::<String>::new());
    play.pass(7200);
    play.end(reported(30.0));
    assert_eq!(play.delivered(), ["ok degraded RUN: its checkpoints can be analyzed again"]);
}

#[test]
fn conditions_of_the_daemon_are_told_when_they_last() {
    let mut play = Play::with_receiver();
    let degraded = |why: &str| Event::WatchDegraded(Some(why.to_owned()));
    play.event(degraded("no inotify watch is left"));
    play.pass(30);
    play.event(Event::WatchDegraded(None));
    play.pass(60);
    assert_eq!(play.delivered(), Vec::<String>::new(), "it passed by itself");
    play.event(degraded("no inotify watch is left"));
    play.pass(30);
    play.event(degraded("still none"));
    play.pass(31);
    play.pass(31);
    let told = play.answered(|_| AlertOutcome::Delivered);
    assert_eq!(
        told.iter().map(line).collect::<Vec<_>>(),
        ["! degraded runscribe: checkpoints are not watched as they should be"]
    );
    assert_eq!(told[0].text, "still none");
    play.restart();
    play.tell(&[("https://one/", &AlertKind::ALL)]);
    play.pass(2);
    assert_eq!(play.delivered(), ["ok degraded runscribe: checkpoints are watched again"]);
}

#[test]
fn a_journal_that_cannot_be_written_is_told_although_it_cannot_be_stored() {
    let mut play = Play::with_receiver();
    play.commit();
    play.event(Event::CommitTrouble(Some("the disk is full".to_owned())));
    // This one waits for the journal, and must not hold up the other.
    told(&mut play, &RunId::new(RUN), run_state("stalled", "silent"));
    play.pass(5);
    play.pass(11);
    let sent: Vec<String> = play.sent.iter().map(|sent| line(&sent.1)).collect();
    assert_eq!(sent, ["! degraded runscribe: the journal cannot be written"]);
    let (receiver, alert) = play.sent.remove(0);
    play.event(Event::AlertSent(receiver, alert.id, AlertOutcome::Delivered));
    assert_eq!(play.sent.len(), 0);
    play.event(Event::CommitTrouble(None));
    play.pass(2);
    let told = play.delivered();
    assert_eq!(
        told,
        [
            "! stalled RUN: training stalled",
            "ok degraded runscribe: the journal can be written again",
        ]
    );
    assert_eq!(play.journal.memory.alerts, []);
}

#[test]
fn a_receiver_that_is_taken_away_leaves_nothing_behind() {
    let mut play = Play::with_receiver();
    play.verdict(RUN, 40, 3.0);
    assert_eq!(play.journal.memory.alerts.len(), 1);
    play.tell(&[("https://two/", &AlertKind::ALL)]);
    assert_eq!(play.journal.memory.alerts, []);
    // The outcome of what was on its way is of no interest any more.
    assert_eq!(play.delivered(), Vec::<String>::new());
}

/// Lets the decider tell people of an event that it would have decided by itself.
fn told(play: &mut Play, run: &RunId, what: Happening) {
    let mut out = Decisions::default();
    out.event(play.now, run, None, what);
    play.now = play.now.after(Duration::from_millis(10));
    alerts::decide(&mut play.world, false, play.now, &mut out);
    play.world.alerts.decided += 1;
    for effect in out.into_effects() {
        match effect {
            Effect::Record(transaction) => play.journal.record(transaction),
            Effect::SendAlert { receiver, alert, .. } => {
                play.sent.push((receiver.address.key(), *alert));
            }
            other => panic!("{other:?}"),
        }
    }
}

fn run_state(state: &str, evidence: &str) -> Happening {
    Happening::RunState { state: state.to_owned(), evidence: evidence.to_owned() }
}

fn failure(class: &str) -> Happening {
    Happening::TrainingFailure {
        failure: class.to_owned(),
        evidence: "RuntimeError: x".to_owned(),
        log: Some("Cache/logs/shell_a.log".to_owned()),
        line: Some(7),
    }
}
