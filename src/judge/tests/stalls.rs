//! Synthetic trainings with an injected clock: who is said to be stalled, wrongly or rightly.

use std::time::Duration;

use crate::judge::pace::{Pace, estimate};
use crate::judge::training::{LogSigns, TrainingSigns, judge_training};
use crate::model::Timestamp;
use crate::model::shell_log::LoggedTraining;
use crate::model::time::Moment;
use crate::model::training::{KnownState, TrainingState};
use crate::settings::{TrainingSettings, defaults};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// A pseudo-random number below a bound.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

/// Output of a training: when, in seconds, and whether it shows progress.
type Output = Vec<(u64, bool)>;

struct Family {
    name: &'static str,
    output: Output,
    /// Whether a process goes on without a word after the last output.
    hangs: bool,
    /// By when, after the last output, that must be said.
    within: u64,
}

fn settings() -> TrainingSettings {
    defaults(std::path::Path::new("/project")).training.clone()
}

/// Lines of progress at an interval with some jitter, and other lines or pauses between them.
fn steady(
    dice: &mut Dice,
    (start, interval, jitter, count): (u64, u64, u64, u64),
    extra: impl Fn(u64) -> (u64, Vec<u64>),
) -> Output {
    let (mut time, mut output) = (start, Vec::new());
    for number in 0..count {
        time += interval + dice.below(jitter);
        output.push((time, true));
        let (pause, lines) = extra(number);
        for after in lines {
            output.push((time + after, false));
        }
        time += pause;
    }
    output
}

fn healthy(name: &'static str, output: Output) -> Family {
    Family { name, output, hangs: false, within: 0 }
}

fn families() -> Vec<Family> {
    let mut dice = Dice(42);
    let mut all = evenly_paced(&mut dice);
    all.extend(unevenly_paced(&mut dice));
    all.extend(hanging(&mut dice));
    for family in &mut all {
        family.output.sort_unstable();
    }
    all
}

fn evenly_paced(dice: &mut Dice) -> Vec<Family> {
    let none = |_| (0, Vec::new());
    vec![
        healthy(
            "a line per half hour, bursts at evaluations",
            steady(dice, (0, 30 * MINUTE, 4 * MINUTE, 60), |number| match number % 5 {
                4 => (12 * MINUTE, vec![1, 2, 11 * MINUTE, 11 * MINUTE + 2]),
                _ => (0, vec![]),
            }),
        ),
        healthy(
            "a bar each second, saves of 90 s",
            steady(dice, (0, 1, 1, 20_000), |number| {
                if number % 1000 == 999 { (90, vec![]) } else { (0, vec![]) }
            }),
        ),
        healthy(
            "a bar each second, silent evaluations of 8 min",
            steady(dice, (0, 1, 1, 20_000), |number| {
                if number % 5000 == 4999 { (8 * MINUTE, vec![]) } else { (0, vec![]) }
            }),
        ),
        healthy("a line per minute", steady(dice, (0, MINUTE, 20, 600), none)),
        healthy("no line but every 100 min", steady(dice, (0, 100 * MINUTE, 60, 20), none)),
    ]
}

/// Lines whose distances grow or shrink.
fn at_distances(distance: impl Fn(u64) -> u64) -> Output {
    let mut time = 0;
    let mut output = Vec::new();
    for line in 1..60 {
        time += distance(line);
        output.push((time, true));
    }
    output
}

fn unevenly_paced(dice: &mut Dice) -> Vec<Family> {
    let mut prepared = vec![(5, false), (9, false), (40, false)];
    prepared.extend(steady(dice, (90 * MINUTE, 1, 1, 5000), |_| (0, Vec::new())));
    vec![
        healthy("data preparation of 90 min, then a bar", prepared),
        healthy("slow start that gets faster", at_distances(|line| 25 * MINUTE / line + 20)),
        healthy("gets slower little by little", at_distances(|line| MINUTE + line * 10)),
    ]
}

fn hanging(dice: &mut Dice) -> Vec<Family> {
    let dies = [
        ("dies: a bar each second", 1, 11 * MINUTE),
        ("dies: a line per minute", MINUTE, 12 * MINUTE),
        ("dies: a line per half hour", 30 * MINUTE, 3 * HOUR),
    ];
    let mut all: Vec<Family> = dies
        .into_iter()
        .map(|(name, interval, within)| {
            let steps = (0, interval, interval / 10 + 1, 200);
            let output = steady(dice, steps, |_| (0, Vec::new()));
            Family { name, output, hangs: true, within }
        })
        .collect();
    all.push(Family {
        name: "hangs before the first step",
        output: vec![(10, false), (30, false)],
        hangs: true,
        within: 2 * HOUR + MINUTE,
    });
    all
}

/// Plays a family and returns how often it was said to be stalled although output came later, and
/// after how many seconds its end was noticed.
fn play(family: &Family) -> (usize, Option<u64>) {
    let settings = settings();
    let start = Timestamp::from_second(1_790_000_000).unwrap();
    let at = |seconds: u64| start.checked_add(Duration::from_secs(seconds)).unwrap();
    let mut pace = Pace::default();
    let training = LoggedTraining::default();
    let (mut false_alarms, mut step) = (0, 0);
    let ends = family.output.iter().skip(1).map(|(time, _)| Some(*time)).chain([None]);
    for ((time, is_progress), next) in family.output.iter().zip(ends) {
        step += u64::from(*is_progress);
        let limit = pace.limit(pace.learned(&[], None), &settings);
        pace.saw_output(at(*time), *is_progress, step, limit);
        let end = next.or(family.hangs.then_some(*time + 24 * HOUR));
        let Some(end) = end else { continue };
        let known = KnownState {
            state: TrainingState::Training,
            since: Moment::new(start, jiff::tz::Offset::UTC),
            evidence: String::new(),
            writers: vec![1],
        };
        // Between two outputs nothing changes but the time.
        for now in (*time..end).step_by(10) {
            let learned = pace.learned(&[], None);
            let log = LogSigns {
                path: "a.log",
                training: &training,
                followed_by: None,
                began: None,
                grown_at: at(*time),
                is_read: true,
                writers: Some(&[1]),
                kernel: None,
                kernel_note: None,
            };
            let signs = TrainingSigns {
                final_model: None,
                log: Some(log),
                saved_at: None,
                checkpoints_come: false,
                limit: pace.limit(learned, &settings),
                learned,
                before: Some(&known),
                now: Moment::new(at(now), jiff::tz::Offset::UTC),
            };
            if judge_training(&signs).state == TrainingState::Stalled {
                if next.is_none() {
                    return (false_alarms, Some(now - *time));
                }
                false_alarms += 1;
                break;
            }
        }
    }
    (false_alarms, None)
}

#[test]
fn silence_is_judged_by_what_is_usual_for_each_training() {
    eprintln!("{:<50} {:>13} {:>9}", "family", "false alarms", "noticed");
    for family in families() {
        let (false_alarms, noticed) = play(&family);
        let told = noticed.map_or("--".to_owned(), |seconds| format!("{} min", seconds / 60));
        eprintln!("{:<50} {false_alarms:>13} {told:>9}", family.name);
        assert_eq!(false_alarms, 0, "{}", family.name);
        assert_eq!(noticed.is_some(), family.hangs, "{}", family.name);
        if let Some(noticed) = noticed {
            assert!(noticed >= 10 * MINUTE, "{}: sooner than the floor", family.name);
            assert!(noticed <= family.within, "{}: {noticed} s", family.name);
        }
    }
}

/// A silence that nobody could foresee is said once, and is ordinary from then on.
#[test]
fn a_pause_that_comes_again_is_no_alarm_the_second_time() {
    let mut dice = Dice(7);
    let output = steady(&mut dice, (0, 1, 1, 6000), |number| {
        if number % 1500 == 1499 { (15 * MINUTE, vec![]) } else { (0, vec![]) }
    });
    let family = Family { name: "pauses", output, hangs: false, within: 0 };
    assert_eq!(play(&family), (1, None));
}

#[test]
fn an_estimate_leaves_pauses_out_and_needs_a_minute() {
    let start = Timestamp::from_second(1_790_000_000).unwrap();
    let at = |seconds: u64| start.checked_add(Duration::from_secs(seconds)).unwrap();
    let mut pace = Pace::default();
    let limit = Duration::from_mins(10);
    for (time, step) in [(0, 0), (30, 60)] {
        pace.saw_output(at(time), true, step, limit);
    }
    assert_eq!(pace.observed(), None);
    for (time, step) in [(60, 120), (90, 180), (690, 240), (720, 300)] {
        pace.saw_output(at(time), true, step, limit);
    }
    let speed = pace.observed().unwrap();
    assert!((speed.steps_per_second - 2.0).abs() < 1e-9, "{speed:?}");
    let now = Moment::new(at(720), jiff::tz::Offset::UTC);
    let (end, basis) = estimate((300, 2700), now, &speed).unwrap();
    assert_eq!(end.since(now.timestamp()).as_secs(), 1200);
    assert_eq!(basis, "300 of 2,700 steps, 2.0 steps/s over the last 12 min");
    assert_eq!(estimate((3000, 2700), now, &speed), None);
}
