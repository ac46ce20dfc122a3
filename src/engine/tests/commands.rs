//! What a person asks for: pause and resume, a checkpoint first, another try, old runs.

use super::*;
use crate::model::command::Whom;

impl Play {
    /// Asks for something and returns the answer.
    pub(super) fn ask(&mut self, order: Order) -> Answer {
        self.answer = None;
        self.event(Event::Command(1, order));
        self.answer.take().unwrap_or_else(|| Err("no answer".to_owned()))
    }

    /// Shows healthy checkpoints of the run, each with its name as its content.
    fn show_complete(&mut self, run: &str, names: &[&str]) {
        let checkpoints: Vec<_> = names.iter().map(|name| (*name, complete(name))).collect();
        self.show(run, &checkpoints);
    }

    fn reasons(&self) -> Vec<String> {
        let status = snapshot(&self.world, self.now);
        status.queue.iter().map(|one| format!("{}: {}", one.checkpoint, one.reason)).collect()
    }

    /// Lists two runs whose files are older than the first start, and ends the first scan.
    fn with_old_runs() -> Self {
        let mut play = Self::first_start();
        play.list(&[RUN, OTHER], HOME);
        let newest = play.now.timestamp() - jiff::Span::new().hours(30);
        for run in [RUN, OTHER] {
            let checkpoints =
                [("checkpoint-20", complete(run)), ("checkpoint-40", complete("forty"))];
            let sighting = play.sighting(run, &checkpoints, newest);
            play.event(Event::Run(sighting));
        }
        play.event(Event::FirstScanDone);
        assert!(play.orders.is_empty());
        play
    }

    /// The scan looks again at an old run, in which nothing has changed.
    fn look_at_old(&mut self, run: &str) {
        let newest = self.now.timestamp() - jiff::Span::new().hours(31);
        let checkpoints = [("checkpoint-20", complete(run)), ("checkpoint-40", complete("forty"))];
        let sighting = self.sighting(run, &checkpoints, newest);
        self.event(Event::Run(sighting));
    }
}

/// Returns one of the orders that there are, about a checkpoint of the run.
pub(super) fn order(which: u8, name: &str) -> Order {
    match which {
        0 => Order::Pause,
        1 | 2 => Order::Resume,
        3 => Order::Analyze(id(RUN, name)),
        4 => Order::Retry(id(RUN, name)),
        _ => Order::Adopt(Whom::All),
    }
}

const OTHER: &str = "perceiver_mlm_H64L2C128_20261122_073802";

fn id(run: &str, name: &str) -> CheckpointId {
    CheckpointId { run: RunId::new(run), name: name.parse().unwrap() }
}

#[test]
fn a_pause_lets_the_running_analysis_end_starts_no_other_and_outlives_a_restart() {
    let mut play = Play::new();
    play.show_complete(RUN, &["checkpoint-20", "checkpoint-40"]);
    assert_eq!(play.names(), ["checkpoint-40"]);
    let answer = play.ask(Order::Pause).unwrap();
    assert!(answer.contains("1 running analysis comes to its end"), "{answer}");
    assert!(play.ask(Order::Pause).unwrap().contains("paused already since"));
    play.end(reported(20.0));
    assert_eq!(play.newest().checkpoint.name, CheckpointName::Step(40));
    assert!(play.orders.is_empty());
    let waits = "checkpoint-20: paused since 2026-11-23 08:00:00 +01:00; `runscribe queue resume` \
                 goes on";
    assert_eq!(play.reasons(), [waits]);
    play.restart();
    play.show_complete(RUN, &["checkpoint-20", "checkpoint-40", "checkpoint-60"]);
    assert!(play.orders.is_empty());
    let paused = snapshot(&play.world, play.now).paused;
    assert_eq!(paused.as_deref(), Some("2026-11-23T08:00:00+01:00"));
    assert_eq!(play.ask(Order::Resume).unwrap(), "resumed; 2 checkpoints are waiting");
    assert_eq!(play.names(), ["checkpoint-60"]);
    assert_eq!(play.ask(Order::Resume).unwrap(), "not paused");
    play.restart();
    assert_eq!(snapshot(&play.world, play.now).paused, None);
}

#[test]
fn a_checkpoint_that_was_asked_for_goes_before_all_others() {
    let mut play = Play::new();
    play.ask(Order::Pause).unwrap();
    play.show_complete(RUN, &["checkpoint-20", "checkpoint-40", "checkpoint-60", "final"]);
    for name in ["checkpoint-20", "checkpoint-40"] {
        let answer = play.ask(Order::Analyze(id(RUN, name))).unwrap();
        assert!(answer.contains("is the next one when the queue, paused since"), "{answer}");
    }
    let waiting: Vec<String> = play.reasons();
    let waiting: Vec<&str> =
        waiting.iter().filter_map(|one| Some(one.split_once(':')?.0)).collect();
    assert_eq!(waiting, ["checkpoint-40", "checkpoint-20", "final", "checkpoint-60"]);
    play.restart();
    play.show_complete(RUN, &["checkpoint-20", "checkpoint-40", "checkpoint-60", "final"]);
    play.ask(Order::Resume).unwrap();
    for expected in ["checkpoint-40", "checkpoint-20", "final", "checkpoint-60"] {
        assert_eq!(play.names(), [expected]);
        play.end(reported(20.0));
    }
    let again = play.ask(Order::Analyze(id(RUN, "checkpoint-20"))).unwrap_err();
    assert!(again.contains("verdict pass; `runscribe analyze`"), "{again}");
}

#[test]
fn what_cannot_be_analyzed_is_refused_with_its_reason() {
    let mut play = Play::new();
    play.show(RUN, &[("checkpoint-20", complete("a")), ("checkpoint-40", incomplete())]);
    for order in [Order::Analyze, Order::Retry] {
        let mut refusal = |run, name| play.ask(order(id(run, name))).unwrap_err();
        assert_eq!(refusal("no_such_run", "final"), "there is no run `no_such_run`");
        assert!(refusal(RUN, "checkpoint-40").contains("incomplete"));
        assert!(refusal(RUN, "checkpoint-60").contains("The last scan did not see it."));
        assert!(refusal(RUN, "checkpoint-20").contains("is being analyzed"));
    }
    assert_eq!(play.rescans, 4);
}

#[test]
fn what_waits_for_something_else_is_said_to_and_does_not_hold_up_the_others() {
    let mut play = Play::new();
    play.show_complete(RUN, &["checkpoint-20", "checkpoint-40"]);
    play.world.rejected.insert(("diffusion_mlm".to_owned(), "aaaa1111".to_owned()));
    let said = play.ask(Order::Analyze(id(RUN, "checkpoint-20"))).unwrap();
    assert!(said.contains("does not know model type `diffusion_mlm`"), "{said}");
    let again = play.ask(Order::Retry(id(RUN, "checkpoint-20"))).unwrap();
    assert!(again.contains("is queued already: the analysis program does not know"), "{again}");
    play.world.rejected.clear();
    play.end(reported(20.0));
    assert_eq!(play.names(), ["checkpoint-20"]);
}

#[test]
fn nothing_is_changed_while_the_journal_cannot_commit() {
    let mut play = Play::new();
    play.event(Event::CommitTrouble(Some("the disk is full".to_owned())));
    let before = play.journal.memory.clone();
    for order in [Order::Pause, Order::Resume, Order::Adopt(Whom::All)] {
        assert!(play.ask(order).unwrap_err().contains("the disk is full"));
    }
    assert_eq!(play.journal.memory, before);
}

#[test]
fn a_failure_that_waits_is_tried_at_once_and_counts_anew() {
    let mut play = Play::new();
    play.show_complete(RUN, &["checkpoint-20"]);
    for wait in [5, 20, 3600] {
        play.end(failed(FailureClass::Hub));
        assert!(play.orders.is_empty());
        play.later(wait);
    }
    play.end(failed(FailureClass::Hub));
    assert!(
        play.reasons()[0].contains("attempt 4 failed (hub), next try at"),
        "{:?}",
        play.reasons()
    );
    assert!(play.ask(Order::Retry(id(RUN, "checkpoint-20"))).unwrap().contains("queued again"));
    assert_eq!(play.orders[0].attempt, 1);
    play.restart();
    play.show_complete(RUN, &["checkpoint-20"]);
    assert_eq!(play.orders[0].attempt, 1);
}

#[test]
fn hourly_attempts_go_on_for_a_day_and_then_it_is_final() {
    let mut play = Play::new();
    play.show_complete(RUN, &["checkpoint-20"]);
    let began = play.now;
    let mut attempts = 0;
    while play.journal.memory.observations.is_empty() {
        if play.orders.is_empty() {
            // Never sooner than said, and not later than the next tick after it.
            let reason = play.reasons().remove(0);
            assert!(reason.contains("failed (hub), next try at"), "{reason}");
            play.later(5);
        } else {
            attempts += 1;
            assert_eq!(play.orders[0].attempt, attempts);
            play.end(failed(FailureClass::Hub));
        }
    }
    // The first one, two quick ones, and one for each hour of the day.
    assert_eq!(attempts, 1 + 2 + 23);
    let lasted = play.now.since(began.timestamp());
    let hours = Duration::from_hours(23)..Duration::from_hours(24);
    assert!(hours.contains(&lasted), "{lasted:?}");
    assert_eq!(play.newest().note, "hub");
}

#[test]
fn side_by_side_analyses_are_limited_and_a_final_model_still_waits_for_its_twin() {
    let mut play = Play::new();
    let mut settings = (*play.world.settings).clone();
    settings.analysis.max_concurrent = 2;
    play.event(Event::Reloaded(Arc::new(settings), Vec::new()));
    let shared = with_weights("forty", "same");
    play.show(
        RUN,
        &[
            ("checkpoint-20", complete("twenty")),
            ("checkpoint-40", shared),
            ("checkpoint-30", complete("thirty")),
            ("final", with_weights("last", "same")),
        ],
    );
    assert_eq!(play.names(), ["checkpoint-40", "checkpoint-20"]);
    let final_waits = "final: its weights may be those of checkpoint-40, which goes first";
    assert_eq!(
        play.reasons(),
        [final_waits, "checkpoint-30: its turn comes after those before it"]
    );
    play.end(reported(20.0));
    assert_eq!(play.names(), ["checkpoint-20", "final"]);
    assert!(play.orders[1].twin.is_some());
}

#[test]
fn a_failure_for_good_is_tried_again_when_a_person_asks_and_stays_as_history() {
    let mut play = Play::new();
    play.show_complete(RUN, &["checkpoint-20"]);
    play.end(failed(FailureClass::Tokenizer));
    assert!(play.newest().judgment().is_none());
    let refused = play.ask(Order::Analyze(id(RUN, "checkpoint-20"))).unwrap_err();
    assert!(refused.contains(&format!("`runscribe queue retry {RUN} checkpoint-20`")), "{refused}");
    play.ask(Order::Retry(id(RUN, "checkpoint-20"))).unwrap();
    assert_eq!(play.names(), ["checkpoint-20"]);
    // The daemon dies meanwhile: the second analysis is still owed.
    play.restart();
    play.show_complete(RUN, &["checkpoint-20"]);
    play.end(reported(20.0));
    let observations = &play.journal.memory.observations;
    let judged: Vec<bool> = observations.iter().map(|one| one.judgment().is_some()).collect();
    assert_eq!(judged, [false, true]);
    assert_ne!(observations[0].time, observations[1].time);
    let refused = play.ask(Order::Retry(id(RUN, "checkpoint-20"))).unwrap_err();
    assert!(refused.contains("verdict pass"), "{refused}");
}

#[test]
fn old_runs_are_adopted_by_name_all_of_them_or_none() {
    let mut play = Play::with_old_runs();
    let unknown = Whom::Runs(vec![RunId::new(RUN), RunId::new("unknown")]);
    let refused = play.ask(Order::Adopt(unknown)).unwrap_err();
    assert!(refused.contains("there is no run `unknown`"), "{refused}");
    play.look_at_old(RUN);
    assert!(play.orders.is_empty());
    let named = Whom::Runs(vec![RunId::new(RUN), RunId::new(RUN)]);
    assert_eq!(play.ask(Order::Adopt(named.clone())).unwrap(), "1 run adopted");
    assert_eq!(play.rescans, 1);
    play.look_at_old(RUN);
    play.look_at_old(OTHER);
    assert_eq!(play.names(), ["checkpoint-40"]);
    play.end(reported(20.0));
    play.end(reported(20.0));
    assert!(play.orders.is_empty(), "the other run was not named: {:?}", play.names());
    // Adopting is durable, and repeating it is harmless.
    play.restart();
    play.list(&[RUN, OTHER], HOME);
    play.look_at_old(RUN);
    play.look_at_old(OTHER);
    assert_eq!(play.ask(Order::Adopt(named)).unwrap(), "0 runs adopted; 1 run watched already");
    assert_eq!(play.ask(Order::Adopt(Whom::All)).unwrap(), "1 run adopted");
    play.look_at_old(OTHER);
    assert_eq!(play.names(), ["checkpoint-40"]);
}

#[test]
fn one_checkpoint_of_an_old_run_can_be_asked_for_and_the_run_stays_old() {
    let mut play = Play::with_old_runs();
    play.ask(Order::Analyze(id(RUN, "checkpoint-20"))).unwrap();
    assert_eq!(play.names(), ["checkpoint-20"]);
    play.look_at_old(RUN);
    play.end(reported(20.0));
    assert_eq!(play.newest().checkpoint, id(RUN, "checkpoint-20"));
    assert!(play.orders.is_empty(), "{:?}", play.names());
    let retry = play.ask(Order::Retry(id(RUN, "checkpoint-40"))).unwrap_err();
    assert!(retry.contains(&format!("`runscribe adopt {RUN}`")), "{retry}");
}
